//! Logins: what BASIC_AUTH is answered, at once or later.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mqtt_acl_policy::{self as policy, Action, Decision, HTTP_API, Policy, Verdict};

use super::{Plugin, Who, inject_fault};
use crate::answer::Answer;
use crate::event::{BasicAuth, Client};
use crate::logins::{self, Check, Finding, Hold, Job, Origin, Route};
use crate::sessions::{Login, sessions};

impl Plugin {
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
            let why = "the password holds a NUL byte";
            self.audit_refused_login(&event.client, why);
            self.journal.remark(|| format!("refused login: {why}; {}", Who(&event.client)));
            self.state.counters.logged_in(false);
            return Answer::AUTH;
        }
        if !http {
            // What comes in the pass may be a session whose id another client waits under.
            let waits_no_more = (!self.in_pass.load(Ordering::Relaxed)).then_some(id);
            logins::pending().supersede(waits_no_more, event.key);
            sessions().arrives(event.key);
        }
        let client = policy::Client { user: event.client.username, id };
        let purpose = if http { Action::Api(b"/api/") } else { Action::Connect };
        let policy = self.policy.share();
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
                    self.logins.failed(policy.limits(), user, Origin::of(&event.client, policy.limits()));
                }
                (decision, Some(verdict))
            }
        };
        match decision {
            Decision::Allow(_) => {
                self.note_old_password(verdict.as_ref(), &event.client);
                self.audit_login(&event.client, verdict.as_ref().is_some_and(Verdict::is_old));
                self.tickless.granted(id, client.user, event.password);
                if !http {
                    self.note_login(event, &policy, verdict.as_ref());
                }
                self.state.counters.logged_in(true);
                Answer::SUCCESS
            }
            Decision::Deny(_) => {
                let kept = !http && self.tickless.keeps(id, client.user, event.password);
                self.note_refusal(&policy, decision, &event.client, kept);
                self.state.counters.logged_in(false);
                if kept { Answer::SUCCESS } else { Answer::AUTH }
            }
        }
    }

    /// Notes who logs in with what. 2.1 tells by CONNECT when the client is in.
    fn note_login(&self, event: &BasicAuth<'_>, policy: &Policy, verdict: Option<&Verdict>) {
        let Client { id: Some(id), username: user, .. } = event.client else { return };
        let credential = verdict.and_then(|verdict| policy.credential(user?, verdict));
        if self.broker.is_2_1() {
            sessions().entering(event.key, id, credential);
        } else {
            sessions().connected(Login {
                owner: self.number,
                id,
                user,
                key: event.key,
                is_clean: event.is_clean,
                is_admitted: true,
                credential,
                is_certain: false,
            });
        }
    }

    /// How a login can be answered whose password takes time to check.
    fn route(&self, event: &BasicAuth<'_>, http: bool, policy: &Policy) -> Route {
        // Without a TICK nobody would be answered, and a pass before the first one is not known for a pass.
        let answers = self.broker.is_2_1() && self.tickless.ticks();
        // That id is refused in the end, and while it waited others under it would be turned away unasked.
        let is_reserved = event.client.id == Some(HTTP_API.as_bytes());
        let can_wait = answers && !event.is_mqtt_5 && !is_reserved && !self.in_pass.load(Ordering::Relaxed);
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
        self.state.counters.logged_in(false);
        if hold.is_busy() && self.broker.is_2_1() { Answer::SERVER_BUSY } else { Answer::AUTH }
    }

    /// Answers those who wait for what the workers found, and remembers it for those who come again.
    pub(super) fn finish_logins(&self) {
        for (job, finding) in self.logins.done() {
            self.finish_login(job, finding);
        }
        for (id, ticket) in self.logins.overdue() {
            if logins::pending().end(&id, ticket) {
                self.note_hold(
                    Hold::OutOfTime,
                    &Client { id: Some(&id), username: None, address: None, names_its_address: false },
                );
                self.state.counters.logged_in(false);
                self.broker.complete_basic_auth(&id, Answer::AUTH);
            }
        }
    }

    fn finish_login(&self, mut job: Box<Job>, finding: Finding) {
        let policy = self.policy.share();
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
        let who = Client {
            id: Some(&job.id),
            username: Some(&job.user),
            address: job.address.as_deref(),
            names_its_address: job.names_its_address,
        };
        let purpose = if job.is_http { Action::Api(b"/api/") } else { Action::Connect };
        let client = policy::Client { user: Some(&job.user), id: &job.id };
        let waits = job.ticket.filter(|ticket| logins::pending().end(&job.id, *ticket));
        if job.ticket.is_some() {
            self.logins.rest(&job.id, job.since);
        }
        let mut credential = None;
        let admitted = match finding {
            Finding::Checked(verdict) => {
                credential = policy.credential(&job.user, &verdict);
                let decision = policy.admit(&client, purpose, &verdict);
                if decision.is_allow() {
                    self.note_old_password(Some(&verdict), &who);
                    // Where nobody waits any more, the client comes again.
                    if waits.is_some() {
                        self.audit_login(&who, verdict.is_old());
                    }
                } else {
                    self.logins.failed(policy.limits(), &job.user, job.origin);
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
        if waits.is_some() {
            self.state.counters.logged_in(admitted);
        }
        match waits {
            Some(ticket) if admitted => {
                sessions().entering(ticket.client(), &job.id, credential);
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
        let asked = policy::Client { user: client.username, id: client.id.unwrap_or_default() };
        self.audit_refused_login(client, policy.reason(&asked, decision));
        self.journal.remark(|| {
            let what = if kept { "kept a session that may do nothing" } else { "refused login" };
            format!("{what}: {}; {}", policy.reason(&asked, decision), Who(client))
        });
        if self.logins.refused(policy.limits(), Origin::of(client, policy.limits())) {
            self.journal.alarm(|| format!("guessing: too many refused logins from this address; {}", Who(client)));
        }
    }

    /// Logs that a password was not checked: of an episode of guessing, one line.
    fn note_hold(&self, hold: Hold, client: &Client<'_>) {
        self.audit_refused_login(client, hold);
        match hold {
            Hold::Guarded(excess) if excess.tell => self.journal.alarm(|| format!("guessing: {hold}; {}", Who(client))),
            Hold::Guarded(_) => {}
            _ => self.journal.remark(|| format!("refused login: {hold}; {}", Who(client))),
        }
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
}
