//! One loaded instance of the plugin: the policy in force, and what it answers to the broker's events.

mod login;
mod refused;
mod sweep;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use mqtt_acl_policy::{
    self as policy, Action, Decision, Escaped, Failure, HTTP_API, OneLine, Policy, Problem, Severity,
};

use crate::answer::Answer;
use crate::audit::Audit;
use crate::broker::{Broker, Level};
use crate::event::{Access, AclCheck, Client};
use crate::journal::Journal;
use crate::loader::{self, Loader, Outcome};
use crate::logins::{self, Logins};
use crate::options::Options;
use crate::refusals::{Cause, Refusals};
use crate::sessions::{Owner, sessions};
use crate::threads::Waker;
use crate::tickless::{Duty, Tickless};

/// The state of an instance. Everything is shared and nothing is locked while the broker is called: it calls back while
/// it logs, and 2.1's HTTP listener calls from its own thread.
#[derive(Debug)]
pub(crate) struct Plugin {
    broker: &'static Broker,
    /// Tells it from other instances in this process.
    number: Owner,
    journal: Journal,
    path: PathBuf,
    policy: ArcSwap<Policy>,
    loader: Loader,
    logins: Logins,
    tickless: Tickless,
    sweep: Mutex<Option<sweep::Sweep>>,
    refusals: Refusals<Arc<refused::Details>>,
    audit: Audit,
    /// Whether the broker is re-authenticating every session, which it does between RELOAD and TICK.
    in_pass: AtomicBool,
}

/// Why a session that was kept is refused everything.
const KEPT: &str = "what the client logged in with is no longer good";

impl Plugin {
    /// Reads the policy and starts the thread that will read it again. `None`, and a log that says why, where the policy
    /// is broken: the broker must not start without one. A missing or an empty one denies everything (S17).
    pub(crate) fn start(broker: &'static Broker, options: Options) -> Option<Self> {
        let journal = Journal::new(broker);
        let path = options.policy_file;
        let loaded = loader::read(&path, broker);
        let denies_all = match &loaded {
            Err(failure @ (Failure::Missing(_) | Failure::Empty(_))) => Some(failure.to_string()),
            _ => None,
        };
        let policy = match (Outcome::of(loaded), denies_all) {
            (_, Some(why)) => {
                journal.say(
                    Level::Error,
                    &format!("{why}; everything is denied until there is a policy and the broker is reloaded"),
                );
                Arc::new(Policy::deny_all())
            }
            (Outcome::Policy { policy, problems }, None) => {
                announce(&journal, &path, &policy, &problems);
                policy
            }
            (Outcome::Failure { summary, problems }, None) => {
                tell(&journal, &problems);
                journal.say(
                    Level::Error,
                    &format!("the broker does not start: {}: {summary}", OneLine(&path.to_string_lossy())),
                );
                return None;
            }
        };
        let loader = match Loader::start(broker, path.clone(), Arc::clone(&policy)) {
            Ok(loader) => loader,
            Err(error) => {
                journal
                    .say(Level::Error, &format!("the broker does not start: no thread for loading policies: {error}"));
                return None;
            }
        };
        // 2.0 can make nobody wait, so nothing there is urgent.
        let waker = if broker.is_2_1() { Waker::of_this_thread() } else { None };
        let logins = match Logins::start(waker) {
            Ok(logins) => logins,
            Err(error) => {
                let text = format!("the broker does not start: no thread for checking passwords: {error}");
                journal.say(Level::Error, &text);
                return None;
            }
        };
        let audit = match Audit::start(options.audit_file) {
            Ok(audit) => audit,
            Err(error) => {
                let text = format!("the broker does not start: no thread for the audit file: {error}");
                journal.say(Level::Error, &text);
                return None;
            }
        };
        static LAST: AtomicU32 = AtomicU32::new(0);
        let plugin = Self {
            broker,
            number: LAST.fetch_add(1, Ordering::Relaxed),
            journal,
            path,
            policy: ArcSwap::new(policy),
            loader,
            logins,
            tickless: Tickless::default(),
            sweep: Mutex::default(),
            refusals: Refusals::new(),
            audit,
            in_pass: AtomicBool::new(false),
        };
        plugin.audit_policy(&plugin.policy.load(), None);
        Some(plugin)
    }

    pub(crate) fn broker(&self) -> &'static Broker {
        self.broker
    }

    /// ACL_CHECK: everything else that a client does.
    pub(crate) fn acl_check(&self, event: &AclCheck<'_>) -> Answer {
        let Some(id) = event.client.id else { return Answer::ACL_DENIED };
        inject_fault(&[id, event.topic]);
        self.do_without_tick();
        let action = match event.access {
            Access::Read if self.is_http_caller(&event.client) => Action::Api(event.topic),
            Access::Read => Action::Receive(event.topic),
            Access::Write => Action::Publish(event.topic),
            Access::Subscribe => Action::Subscribe(event.topic),
            Access::Unsubscribe => Action::Unsubscribe,
        };
        let client = policy::Client { user: event.client.username, id };
        let policy = self.policy.load();
        if event.access == Access::Write && logins::pending().is_stranger(event.key) {
            self.note_refused(event, &policy, Cause::Stranger);
            return Answer::ACL_DENIED;
        }
        let cause = match policy.authorize(&client, action) {
            Decision::Deny(refusal) => Cause::Policy(refusal),
            Decision::Allow(_) if event.access == Access::Unsubscribe => {
                sessions().unsubscribed(event.key, event.topic);
                return Answer::SUCCESS;
            }
            Decision::Allow(_) if self.tickless.is_kept(id) => Cause::Kept,
            Decision::Allow(_) => {
                if event.access == Access::Subscribe {
                    self.note_subscription(event);
                }
                return Answer::SUCCESS;
            }
        };
        self.note_refused(event, &policy, cause);
        Answer::ACL_DENIED
    }

    /// RELOAD: somebody sent SIGHUP. The pass that follows is answered by the policy in force; the new one is read
    /// meanwhile (S20).
    pub(crate) fn reload(&self) {
        self.tickless.reload();
        self.in_pass.store(self.tickless.ticks(), Ordering::Relaxed);
        self.loader.request();
        self.audit.reopen();
    }

    /// TICK: the end of the pass, and the moment to put a new policy in force.
    pub(crate) fn tick(&self) {
        self.tickless.tick();
        self.in_pass.store(false, Ordering::Relaxed);
        self.logins.turn();
        sessions().turn();
        self.finish_logins();
        self.swap();
        self.sweep();
        self.tell_refusals();
        self.journal.flush();
    }

    /// What TICK would do, where nothing ticks. Called at every event.
    fn do_without_tick(&self) {
        let duty = self.tickless.duty();
        if duty == Duty::TellAndTick {
            let line = "this broker does not tick (2.0.11 with per_listener_settings): a new policy takes effect at the \
                        first event a second after SIGHUP, and disconnects nobody";
            self.journal.say(Level::Warning, line);
        }
        if duty != Duty::None {
            self.finish_logins();
            self.swap();
            self.tell_refusals();
            self.journal.flush();
        }
    }

    /// Puts a policy in force that the loader has ready, or says why there is none.
    fn swap(&self) {
        match self.loader.outcome() {
            None => {}
            Some(Outcome::Policy { policy, problems }) => {
                let old = self.policy.swap(Arc::clone(&policy));
                self.close_refusals();
                announce(&self.journal, &self.path, &policy, &problems);
                self.audit_policy(&policy, None);
                self.begin_sweep(old);
            }
            Some(Outcome::Failure { summary, problems }) => {
                tell(&self.journal, &problems);
                self.audit_no_policy(&summary, &problems);
                self.journal.say(Level::Error, &format!("policy not loaded, the one in force stays: {summary}"));
            }
        }
    }

    /// 2.1's HTTP listener asks under this id and without an address; MQTT clients are refused the id (S14).
    fn is_http_caller(&self, client: &Client<'_>) -> bool {
        self.broker.is_2_1() && client.address.is_none() && client.id == Some(HTTP_API.as_bytes())
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        sessions().forget(self.number);
    }
}

fn tell(journal: &Journal, problems: &[Problem]) {
    for problem in problems {
        let level = if problem.severity == Severity::Error { Level::Error } else { Level::Warning };
        journal.say(level, &problem.to_string());
    }
}

fn announce(journal: &Journal, path: &Path, policy: &Policy, problems: &[Problem]) {
    tell(journal, problems);
    let size = policy.size();
    journal.say(
        Level::Notice,
        &format!(
            "policy in force: {}: {} users, {} roles, {} rules",
            OneLine(&path.to_string_lossy()),
            size.users,
            size.roles,
            size.rules
        ),
    );
}

/// The client of a log line. Its address is the broker's word, and comes first; what follows is the client's own.
struct Who<'a>(&'a Client<'a>);

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Client { id, username, address, names_its_address } = *self.0;
        // Where it is the client's own word, nobody must be banned for it.
        let what = if names_its_address { "alleged address" } else { "address" };
        write!(f, "{what} {}", Escaped(address.unwrap_or(b"unknown")))?;
        match username {
            Some(name) => write!(f, ", user \"{}\"", Escaped(name))?,
            None => f.write_str(", no user name")?,
        }
        write!(f, ", client \"{}\"", Escaped(id.unwrap_or_default()))
    }
}

/// Test builds panic here on purpose.
#[cfg(feature = "fault-injection")]
#[expect(clippy::panic, reason = "the tests want one")]
pub(crate) fn inject_fault(texts: &[&[u8]]) {
    if texts.contains(&&b"panic!"[..]) {
        panic!("injected");
    }
}

#[cfg(not(feature = "fault-injection"))]
pub(crate) fn inject_fault(_: &[&[u8]]) {}
