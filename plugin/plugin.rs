//! One loaded instance of the plugin: the policy in force, and what it answers to the broker's events.

mod login;
mod refused;
mod sweep;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use mqtt_acl_policy::{self as policy, Action, Decision, Escaped, HTTP_API, Memo, OneLine, Policy, Problem, Severity};

use crate::answer::Answer;
use crate::audit::Audit;
use crate::broker::{Broker, Level};
use crate::event::{Access, AclCheck, Client};
use crate::in_force::InForce;
use crate::journal::Journal;
use crate::loader::{Failed, Loader, Outcome};
use crate::logins::{self, Logins};
use crate::options::Options;
use crate::refusals::{Cause, Refusals};
use crate::sessions::{Owner, sessions};
use crate::state::{self, State};
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
    policy: InForce,
    /// What this policy allowed.
    memo: Memo,
    loader: Loader,
    state: Arc<State>,
    logins: Logins,
    tickless: Tickless,
    sweep: Mutex<Option<sweep::Sweep>>,
    /// Whether there is one.
    sweeps: AtomicBool,
    refusals: Refusals<Arc<refused::Details>>,
    audit: Audit,
    /// Whether the broker is re-authenticating every session, which it does between RELOAD and TICK.
    in_pass: AtomicBool,
}

/// Why a session that was kept is refused everything.
const KEPT: &str = "what the client logged in with is no longer good";

impl Plugin {
    /// Starts the thread that reads the policy, now and later. `None`, and a log that says why, where the policy is broken
    /// and there is no last good one: the broker must not start without one. A missing or an empty one denies everything
    /// (S17).
    pub(crate) fn start(broker: &'static Broker, options: Options) -> Option<Self> {
        let journal = Journal::new(broker);
        let path = options.policy_file.clone();
        let audit_file = options.audit_file.clone();
        let state = Arc::<State>::default();
        let takes_long = || {
            let line = format!("reading {}, which takes over a second", OneLine(&path.to_string_lossy()));
            journal.say(Level::Notice, &line);
        };
        let (loader, delivery) = match Loader::start(broker, options, Arc::clone(&state), waker(broker), takes_long) {
            Ok(started) => started,
            Err(error) => {
                journal
                    .say(Level::Error, &format!("the broker does not start: no thread for loading policies: {error}"));
                return None;
            }
        };
        delivery.notes.iter().for_each(|(level, line)| journal.say(*level, line));
        let policy = match &delivery.outcome {
            Some(Outcome::Policy { policy, problems, hash }) => {
                state.in_force(policy, *hash);
                announce(&journal, &path, policy, problems);
                Arc::clone(policy)
            }
            Some(Outcome::LastGood { policy, since, left_out, failed }) => {
                state.last_good(policy, *since, failed.code);
                announce_last_good(&journal, *since, *left_out, failed);
                Arc::clone(policy)
            }
            Some(Outcome::Failure(failed)) if failed.is_absence() => {
                state.failed(failed.code);
                let why = &failed.summary;
                journal.say(Level::Error, &format!("{why}; everything is denied until there is a policy"));
                Arc::new(Policy::deny_all())
            }
            outcome => {
                if let Some(Outcome::Failure(Failed { summary, problems, .. })) = outcome {
                    tell(&journal, problems);
                    let path = path.to_string_lossy();
                    journal.say(Level::Error, &format!("the broker does not start: {}: {summary}", OneLine(&path)));
                }
                return None;
            }
        };
        let hash = match &delivery.outcome {
            Some(Outcome::Policy { hash, .. }) => *hash,
            _ => None,
        };
        loader.give_back(delivery);
        let logins = match Logins::start(waker(broker)) {
            Ok(logins) => logins,
            Err(error) => {
                let text = format!("the broker does not start: no thread for checking passwords: {error}");
                journal.say(Level::Error, &text);
                return None;
            }
        };
        let audit = match Audit::start(audit_file) {
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
            policy: InForce::new(policy),
            memo: Memo::default(),
            loader,
            state,
            logins,
            tickless: Tickless::default(),
            sweep: Mutex::default(),
            sweeps: AtomicBool::new(false),
            refusals: Refusals::new(),
            audit,
            in_pass: AtomicBool::new(false),
        };
        plugin.policy.with(|policy| plugin.audit_policy(policy, hash));
        Some(plugin)
    }

    pub(crate) fn broker(&self) -> &'static Broker {
        self.broker
    }

    /// ACL_CHECK: everything else that a client does. Asked for every message and every delivery, most of which are like
    /// one before.
    #[inline]
    pub(crate) fn acl_check(&self, event: AclCheck<'_>) -> Answer {
        let action = match event.access {
            Access::Read => Action::Receive(event.topic),
            Access::Write if !logins::pending().is_stranger(event.key()) => Action::Publish(event.topic),
            _ => return self.decide(event),
        };
        let Some(id) = event.id else { return Answer::ACL_DENIED };
        let client = policy::Client { user: event.username, id };
        let knows = |policy: &Policy| self.memo.knows(policy, &client, action);
        if self.tickless.ticks() && self.policy.peek(knows) == Some(true) {
            self.state.counters.decided(true);
            return Answer::SUCCESS;
        }
        self.decide(event)
    }

    #[inline(never)]
    fn decide(&self, event: AclCheck<'_>) -> Answer {
        let Some(id) = event.id else { return Answer::ACL_DENIED };
        inject_fault(&[id, event.topic]);
        let ticks = self.tickless.ticks();
        if !ticks {
            self.do_without_tick();
        }
        let action = match event.access {
            Access::Read if id == HTTP_API.as_bytes() && self.is_http_caller(&event.client(self.broker)) => {
                Action::Api(event.topic)
            }
            Access::Read => Action::Receive(event.topic),
            Access::Write if logins::pending().is_stranger(event.key()) => return self.refuse_stranger(&event),
            Access::Write => Action::Publish(event.topic),
            Access::Subscribe => Action::Subscribe(event.topic),
            Access::Unsubscribe => Action::Unsubscribe,
        };
        let client = policy::Client { user: event.username, id };
        if ticks && self.policy.peek(|policy| self.memo.knew(policy, &client, action)) == Some(true) {
            self.state.counters.decided(true);
            return Answer::SUCCESS;
        }
        self.policy.with(|policy| {
            let decision = policy.authorize(&client, action);
            let kept = !ticks && event.access != Access::Unsubscribe && self.tickless.is_kept(id);
            let allowed = decision.is_allow() && !kept;
            self.count(action, allowed);
            match decision {
                Decision::Deny(refusal) => self.refuse(&event, policy, Cause::Policy(refusal)),
                Decision::Allow(_) if kept => self.refuse(&event, policy, Cause::Kept),
                Decision::Allow(_) => {
                    match event.access {
                        Access::Subscribe => self.note_subscription(&event),
                        Access::Unsubscribe => sessions().unsubscribed(event.key(), event.topic),
                        Access::Read | Access::Write => {}
                    }
                    if ticks && self.policy.is_main_thread() {
                        self.memo.note(policy, &client, action);
                    }
                    Answer::SUCCESS
                }
            }
        })
    }

    #[cold]
    fn refuse(&self, event: &AclCheck<'_>, policy: &Policy, cause: Cause) -> Answer {
        self.note_refused(event, policy, cause);
        Answer::ACL_DENIED
    }

    fn count(&self, action: Action<'_>, allowed: bool) {
        // The HTTP listener has a thread of its own.
        if matches!(action, Action::Api(_)) {
            self.state.counters.decided_for_http(allowed);
        } else {
            self.state.counters.decided(allowed);
        }
    }

    #[cold]
    fn refuse_stranger(&self, event: &AclCheck<'_>) -> Answer {
        self.state.counters.decided(false);
        self.policy.with(|policy| self.note_refused(event, policy, Cause::Stranger));
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

    /// TICK: a turn of the broker's loop is over, which most have been of no concern to the plugin.
    #[inline]
    pub(crate) fn tick(&self) {
        self.logins.turn();
        if !self.is_quiet() {
            self.work();
        }
    }

    /// Whether TICK has nothing to do. Every message may take a turn of the loop, so each part tells by a flag.
    #[inline]
    fn is_quiet(&self) -> bool {
        self.tickless.ticks()
            && !self.in_pass.load(Ordering::Relaxed)
            && sessions().is_quiet()
            && self.logins.is_quiet()
            && self.loader.is_quiet()
            && !self.sweeps.load(Ordering::Relaxed)
            && self.refusals.is_quiet()
            && self.audit.is_quiet()
            && self.journal.is_quiet()
            && self.state.is_quiet()
    }

    /// The end of the pass, and the moment to put a new policy in force.
    #[inline(never)]
    fn work(&self) {
        self.tickless.tick();
        self.in_pass.store(false, Ordering::Relaxed);
        sessions().turn();
        self.finish_logins();
        self.swap();
        self.sweep();
        self.tell_refusals();
        self.journal.flush();
        self.state.publish(self.broker);
    }

    /// What TICK would do, where nothing ticks. Called at every event.
    fn do_without_tick(&self) {
        let duty = self.tickless.duty();
        if duty == Duty::TellAndTick {
            let line = "this broker does not tick (2.0.11 with per_listener_settings): a new policy takes effect at the next \
                        event, a second after SIGHUP at the earliest, and disconnects nobody, and $SYS does not tell of it";
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
        let Some(delivery) = self.loader.delivery() else { return };
        delivery.notes.iter().for_each(|(level, line)| self.journal.say(*level, line));
        match &delivery.outcome {
            None => {}
            Some(Outcome::Policy { policy, problems, hash }) => {
                let before = self.policy.share();
                let replaced = self.policy.swap(Arc::clone(policy));
                self.state.in_force(policy, *hash);
                self.close_refusals();
                announce(&self.journal, &self.path, policy, problems);
                self.audit_policy(policy, *hash);
                self.begin_sweep(before);
                replaced.into_iter().for_each(|old| self.loader.free(old));
            }
            Some(Outcome::Unchanged) => {
                self.state.mended();
                let line = format!("policy in force, unchanged: {}", OneLine(&self.path.to_string_lossy()));
                self.journal.say(Level::Notice, &line);
            }
            // The second is for the start alone.
            Some(Outcome::Failure(failed) | Outcome::LastGood { failed, .. }) => {
                self.state.failed(failed.code);
                tell(&self.journal, &failed.problems);
                let summary = &failed.summary;
                self.audit_no_policy(summary, &failed.problems);
                self.journal.say(Level::Error, &format!("policy not loaded, the one in force stays: {summary}"));
            }
        }
        // All of it is the loader's to free.
        self.loader.give_back(delivery);
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

/// 2.0 can make nobody wait, so nothing there is urgent.
fn waker(broker: &Broker) -> Option<Waker> {
    if broker.is_2_1() { Waker::of_this_thread() } else { None }
}

fn announce_last_good(journal: &Journal, since: SystemTime, left_out: usize, failed: &Failed) {
    tell(journal, &failed.problems);
    let without = match left_out {
        0 => String::new(),
        1 => ", without a user whom the files no longer list or disable".into(),
        users => format!(", without {users} users whom the files no longer list or disable"),
    };
    let (date, why) = (state::iso_8601(since), &failed.summary);
    journal.say(
        Level::Error,
        &format!("policy not loaded: {why}; running the policy of {date}, the last good one{without}"),
    );
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
