//! One loaded instance of the plugin: the policy in force, and what it answers to the broker's events.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use mqtt_acl_policy::{
    self as policy, Action, Decision, Escaped, Failure, HTTP_API, OneLine, Policy, Problem, Severity, Verdict,
};

use crate::answer::Answer;
use crate::broker::{Broker, Level};
use crate::event::{Access, AclCheck, BasicAuth, Client};
use crate::journal::Journal;
use crate::loader::{self, Loader, Outcome};
use crate::logins::{self, Check, Finding, Hold, Job, Logins, Route};
use crate::options::Options;
use crate::threads::Waker;
use crate::tickless::{Duty, Tickless};

/// The state of an instance. Everything is shared and nothing is locked while the broker is called: it calls back while
/// it logs, and 2.1's HTTP listener calls from its own thread.
#[derive(Debug)]
pub(crate) struct Plugin {
    broker: &'static Broker,
    journal: Journal,
    path: PathBuf,
    policy: ArcSwap<Policy>,
    loader: Loader,
    logins: Logins,
    tickless: Tickless,
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
        Some(Self {
            broker,
            journal,
            path,
            policy: ArcSwap::new(policy),
            loader,
            logins,
            tickless: Tickless::default(),
            in_pass: AtomicBool::new(false),
        })
    }

    pub(crate) fn broker(&self) -> &'static Broker {
        self.broker
    }

    /// BASIC_AUTH: a CONNECT, a session that is checked again after SIGHUP, or a caller of the HTTP listener.
    pub(crate) fn basic_auth(&self, event: &BasicAuth<'_>) -> Answer {
        let Some(id) = event.client.id else { return Answer::AUTH };
        inject_fault(&[id]);
        let http = self.is_http_caller(&event.client);
        if !http && self.belongs_to_pass(event) {
            return Answer::SUCCESS;
        }
        self.do_without_tick();
        if event.is_cut {
            self.journal.remark(|| format!("refused login: the password holds a NUL byte; {}", Who(&event.client)));
            return Answer::AUTH;
        }
        if !http {
            // What comes in the pass may be a session whose id another client waits under.
            let waits_no_more = (!self.in_pass.load(Ordering::Relaxed)).then_some(id);
            logins::pending().supersede(waits_no_more, event.key);
        }
        let client = policy::Client { user: event.client.username, id };
        let purpose = if http { Action::Api(b"/api/") } else { Action::Connect };
        let policy = self.policy.load_full();
        let (decision, verdict) = match client.user {
            None => (policy.authorize(&client, purpose), None),
            Some(user) => {
                let (verdict, was_slow) = match policy.recall(user, event.password) {
                    Some(verdict) => (verdict, false),
                    None => {
                        let password = event.password.unwrap_or_default();
                        let route = self.route(event, http, &policy);
                        match self.logins.check(&policy, &event.client, user, password, route) {
                            Check::Later => return Answer::AUTH_DELAYED,
                            Check::Refused(hold) => return self.hold_back(event, http, hold),
                            Check::Now(verdict) => (verdict, true),
                        }
                    }
                };
                let decision = policy.admit(&client, purpose, &verdict);
                if was_slow && !decision.is_allow() {
                    self.logins.failed(policy.limits(), user, event.client.address);
                }
                (decision, Some(verdict))
            }
        };
        match decision {
            Decision::Allow(_) => {
                self.note_old_password(verdict.as_ref(), &event.client);
                self.tickless.granted(id, client.user, event.password);
                Answer::SUCCESS
            }
            Decision::Deny(_) => {
                let kept = !http && self.tickless.keeps(id, client.user, event.password);
                self.note_refusal(&policy, decision, &event.client, kept);
                if kept { Answer::SUCCESS } else { Answer::AUTH }
            }
        }
    }

    /// How a login can be answered whose password takes time to check.
    fn route(&self, event: &BasicAuth<'_>, http: bool, policy: &Policy) -> Route {
        // Without a TICK nobody would be answered, and a pass before the first one is not known for a pass.
        let answers = self.broker.is_2_1() && self.tickless.ticks();
        let can_wait = answers && !event.is_mqtt_5 && !self.in_pass.load(Ordering::Relaxed);
        if http {
            Route::Http
        } else if can_wait && policy.limits().delayed {
            Route::Later(event.key)
        } else {
            Route::Now { ticks: self.tickless.ticks() }
        }
    }

    /// Answers a login whose password was not checked.
    fn hold_back(&self, event: &BasicAuth<'_>, http: bool, hold: Hold) -> Answer {
        let client = &event.client;
        let id = client.id.unwrap_or_default();
        if !http && self.tickless.keeps(id, client.username, event.password) {
            self.journal.remark(|| format!("kept a session that may do nothing: {hold}; {}", Who(client)));
            return Answer::SUCCESS;
        }
        self.note_hold(hold, client);
        if hold.is_busy() && self.broker.is_2_1() { Answer::SERVER_BUSY } else { Answer::AUTH }
    }

    /// Answers those who wait for what the workers found, and remembers it for those who come again.
    fn finish_logins(&self) {
        for (job, finding) in self.logins.done() {
            self.finish_login(job, finding);
        }
        for (id, ticket) in self.logins.overdue() {
            if logins::pending().end(&id, ticket) {
                self.broker.complete_basic_auth(&id, Answer::AUTH);
            }
        }
    }

    fn finish_login(&self, mut job: Box<Job>, finding: Finding) {
        let policy = self.policy.load_full();
        if !Arc::ptr_eq(&policy, &job.policy) {
            // Freeing the old one is not for this thread.
            self.loader.free(std::mem::replace(&mut job.policy, Arc::clone(&policy)));
        }
        let finding = match finding {
            // What the old one found is nothing to the new one.
            Finding::Checked(verdict) if !policy.found(&verdict) => {
                match policy.recall(&job.user, Some(&job.password)) {
                    Some(verdict) => Finding::Checked(verdict),
                    None => match self.logins.check_again(job) {
                        Ok(()) => return,
                        Err(back) => {
                            job = back;
                            Finding::Unchecked
                        }
                    },
                }
            }
            finding => finding,
        };
        let who = Client { id: Some(&job.id), username: Some(&job.user), address: job.address.as_deref() };
        let client = policy::Client { user: Some(&job.user), id: &job.id };
        let waits = job.ticket.filter(|ticket| logins::pending().end(&job.id, *ticket));
        if job.ticket.is_some() {
            self.logins.rest(&job.id, job.since);
        }
        let admitted = match finding {
            Finding::Checked(verdict) => {
                let decision = policy.admit(&client, Action::Connect, &verdict);
                if decision.is_allow() {
                    self.note_old_password(Some(&verdict), &who);
                } else {
                    self.logins.failed(policy.limits(), &job.user, who.address);
                    self.note_refusal(&policy, decision, &who, false);
                }
                decision.is_allow()
            }
            Finding::Guarded(excess) => {
                self.note_hold(Hold::Guarded(excess), &who);
                false
            }
            Finding::Unchecked => {
                self.note_hold(Hold::OutOfTime, &who);
                false
            }
        };
        match waits {
            Some(ticket) if admitted => {
                logins::pending().enter(ticket, || self.broker.complete_basic_auth(&job.id, Answer::SUCCESS));
            }
            Some(_) => self.broker.complete_basic_auth(&job.id, Answer::AUTH),
            None => {}
        }
    }

    fn note_old_password(&self, verdict: Option<&Verdict>, client: &Client<'_>) {
        if verdict.is_some_and(Verdict::is_old) {
            self.journal.remark(|| format!("login with an old password; {}", Who(client)));
        }
    }

    fn note_refusal(&self, policy: &Policy, decision: Decision, client: &Client<'_>, kept: bool) {
        self.journal.remark(|| {
            let what = if kept { "kept a session that may do nothing" } else { "refused login" };
            let asked = policy::Client { user: client.username, id: client.id.unwrap_or_default() };
            format!("{what}: {}; {}", policy.reason(&asked, decision), Who(client))
        });
        if self.logins.refused(policy.limits(), client.address) {
            self.journal.alarm(|| format!("guessing: too many refused logins from this address; {}", Who(client)));
        }
    }

    /// Logs that a password was not checked: of an episode of guessing, one line.
    fn note_hold(&self, hold: Hold, client: &Client<'_>) {
        match hold {
            Hold::Guarded(excess) if excess.tell => self.journal.alarm(|| format!("guessing: {hold}; {}", Who(client))),
            Hold::Guarded(_) => {}
            _ => self.journal.remark(|| format!("refused login: {hold}; {}", Who(client))),
        }
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
        if event.access == Access::Write && logins::pending().is_stranger(event.key) {
            let why = "the client is not logged in";
            self.journal.remark(|| format!("refused will: {why}; {}", Who(&event.client)));
            return Answer::ACL_DENIED;
        }
        let policy = self.policy.load();
        let decision = policy.authorize(&client, action);
        let kept = self.tickless.is_kept(id) && event.access != Access::Unsubscribe;
        if decision.is_allow() && !kept {
            return Answer::SUCCESS;
        }
        // A refused delivery is nobody's deed, and there is one for every message and subscriber.
        if event.access != Access::Read && !event.topic.starts_with(b"$SYS/broker/log") {
            self.journal.remark(|| {
                let deed = if event.access == Access::Write { "publish" } else { "subscribe" };
                let why = if kept { KEPT.to_owned() } else { policy.reason(&client, decision).to_string() };
                format!("refused {deed}: {why}; {}, topic \"{}\"", Who(&event.client), Escaped(event.topic))
            });
        }
        Answer::ACL_DENIED
    }

    /// RELOAD: somebody sent SIGHUP. The pass that follows is answered by the policy in force; the new one is read
    /// meanwhile (S20).
    pub(crate) fn reload(&self) {
        self.tickless.reload();
        self.in_pass.store(self.tickless.ticks(), Ordering::Relaxed);
        self.loader.request();
    }

    /// TICK: the end of the pass, and the moment to put a new policy in force.
    pub(crate) fn tick(&self) {
        self.tickless.tick();
        self.in_pass.store(false, Ordering::Relaxed);
        self.logins.turn();
        self.finish_logins();
        self.swap();
        self.journal.flush();
    }

    /// DISCONNECT: of use only where nothing ticks.
    pub(crate) fn disconnect(&self) {
        self.do_without_tick();
    }

    /// Whether this certainly is a session that is checked again, not a CONNECT. It stays as it is: refusing an offline
    /// one makes 2.0 free it twice (S21), and what it may do is asked at every message.
    fn belongs_to_pass(&self, event: &BasicAuth<'_>) -> bool {
        // The loop serves WebSockets between the pass and TICK, so theirs can be a CONNECT.
        let in_pass = self.in_pass.load(Ordering::Relaxed) && !event.is_websocket;
        // Where nothing ticks, only this is certain: 2.0 takes no connection whose address it cannot tell, unless over a
        // WebSocket, so a session without one never connected to this broker. It was restored from disk.
        let restored = || {
            event.client.address.is_none() && !event.is_websocket && !self.broker.is_2_1() && self.tickless.reloaded()
        };
        in_pass || restored()
    }

    /// What TICK would do, where nothing ticks. Called at every event.
    fn do_without_tick(&self) {
        let duty = self.tickless.duty();
        if duty == Duty::TellAndTick {
            let line = "this broker does not tick (2.0.11 with per_listener_settings): a new policy takes effect at the \
                        first event a second after SIGHUP";
            self.journal.say(Level::Warning, line);
        }
        if duty != Duty::None {
            self.finish_logins();
            self.swap();
            self.journal.flush();
        }
    }

    /// Puts a policy in force that the loader has ready, or says why there is none.
    fn swap(&self) {
        match self.loader.outcome() {
            None => {}
            Some(Outcome::Policy { policy, problems }) => {
                let old = self.policy.swap(Arc::clone(&policy));
                announce(&self.journal, &self.path, &policy, &problems);
                self.loader.free(old);
            }
            Some(Outcome::Failure { summary, problems }) => {
                tell(&self.journal, &problems);
                self.journal.say(Level::Error, &format!("policy not loaded, the one in force stays: {summary}"));
            }
        }
    }

    /// 2.1's HTTP listener asks under this id and without an address; MQTT clients are refused the id (S14).
    fn is_http_caller(&self, client: &Client<'_>) -> bool {
        self.broker.is_2_1() && client.address.is_none() && client.id == Some(HTTP_API.as_bytes())
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
        let Client { id, username, address } = *self.0;
        write!(f, "address {}", Escaped(address.unwrap_or(b"unknown")))?;
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
