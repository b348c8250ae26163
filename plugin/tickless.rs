//! What TICK is for, done without one: 2.0.11 with `per_listener_settings` never ticks (S23).
//!
//! After RELOAD the broker asks about every session again. Elsewhere the next TICK ends that pass; here nothing does, so a
//! BASIC_AUTH may be a CONNECT, which must be checked, or a session, which must not be refused while it is offline: the
//! broker would queue it for expiry twice and then free it twice (S21).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mqtt_acl_policy::{Fingerprint, Fingerprints};

/// The pass takes less. A new policy waits so long, for the pass must not see it.
const PASS: Duration = Duration::from_secs(1);

/// Sessions that are known at most: clients must not be able to fill the memory.
const SESSIONS: usize = 65_536;

/// Whether the broker ticks, and what is needed while it has not.
#[derive(Debug, Default)]
pub(crate) struct Tickless {
    ticked: AtomicBool,
    told: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When it was last open whether a TICK comes: since the first event, and since each RELOAD.
    doubted: Option<Instant>,
    reloaded: bool,
    fingerprints: Fingerprints,
    /// What each client logged in with, by its id. Ids may be long, so their fingerprints stand for them.
    sessions: HashMap<Fingerprint, Fingerprint>,
    /// Sessions that were kept because they could not be refused. They may do nothing.
    kept: HashSet<Fingerprint>,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Nothing: TICK does it, or the time has not come.
    None,
    /// What TICK would do.
    Tick,
    /// That, and to say for the first time that this broker does not.
    TellAndTick,
}

impl Tickless {
    /// The broker ticks after all.
    pub(crate) fn tick(&self) {
        if !self.ticks() {
            self.ticked.store(true, Ordering::Relaxed);
            *self.state() = State::default();
        }
    }

    #[inline]
    pub(crate) fn ticks(&self) -> bool {
        self.ticked.load(Ordering::Relaxed)
    }

    pub(crate) fn reload(&self) {
        if !self.ticks() {
            let mut state = self.state();
            state.doubted = Some(Instant::now());
            state.reloaded = true;
        }
    }

    /// What an event calls for.
    pub(crate) fn duty(&self) -> Duty {
        if self.ticks() {
            return Duty::None;
        }
        if self.state().doubted.get_or_insert_with(Instant::now).elapsed() < PASS {
            return Duty::None;
        }
        if self.told.swap(true, Ordering::Relaxed) { Duty::Tick } else { Duty::TellAndTick }
    }

    /// Whether there was a RELOAD, and no TICK ever.
    pub(crate) fn reloaded(&self) -> bool {
        !self.ticks() && self.state().reloaded
    }

    /// Notes a login that was granted.
    pub(crate) fn granted(&self, id: &[u8], user: Option<&[u8]>, password: Option<&[u8]>) {
        if self.ticks() {
            return;
        }
        let mut state = self.state();
        let (Some(session), Some(login)) = (state.session(id), state.fingerprints.of(id, user, password)) else {
            return;
        };
        state.kept.remove(&session);
        if state.sessions.len() < SESSIONS || state.sessions.contains_key(&session) {
            state.sessions.insert(session, login);
        }
    }

    /// Whether a login that the policy refuses has to be granted all the same, because it may be a session that is asked
    /// about again: it is what this client logged in with, to the letter, or there were too many clients to know. It may
    /// do nothing from now on, so whoever else knows what was good once gains nothing either.
    pub(crate) fn keeps(&self, id: &[u8], user: Option<&[u8]>, password: Option<&[u8]>) -> bool {
        if self.ticks() {
            return false;
        }
        let mut state = self.state();
        let in_pass = state.reloaded && state.doubted.is_some_and(|since| since.elapsed() < PASS);
        let (Some(session), Some(login)) = (state.session(id), state.fingerprints.of(id, user, password)) else {
            return false;
        };
        let possible = match state.sessions.get(&session) {
            Some(known) => *known == login,
            None => state.sessions.len() >= SESSIONS,
        };
        // What cannot be noted as kept would be let in.
        let kept = in_pass && possible && (state.kept.len() < SESSIONS || state.kept.contains(&session));
        if kept {
            state.kept.insert(session);
        }
        kept
    }

    /// Whether the session was only kept.
    pub(crate) fn is_kept(&self, id: &[u8]) -> bool {
        if self.ticks() {
            return false;
        }
        let state = self.state();
        !state.kept.is_empty() && state.session(id).is_none_or(|session| state.kept.contains(&session))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is called while it is held that could leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn session(&self, id: &[u8]) -> Option<Fingerprint> {
        self.fingerprints.of(id, None, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &[u8] = b"id";
    const USER: Option<&[u8]> = Some(b"user");
    const PASSWORD: Option<&[u8]> = Some(b"password");

    #[test]
    fn only_what_logged_in_before_is_kept_and_only_after_reload() {
        let tickless = Tickless::default();
        tickless.granted(ID, USER, PASSWORD);
        assert!(!tickless.keeps(ID, USER, PASSWORD), "no RELOAD yet");
        tickless.reload();
        for (id, user, password) in [
            (&b"other"[..], USER, PASSWORD),
            (ID, Some(&b"other"[..]), PASSWORD),
            (ID, None, PASSWORD),
            (ID, USER, Some(&b"other"[..])),
            (ID, USER, None),
        ] {
            assert!(!tickless.keeps(id, user, password));
        }
        assert!(!tickless.is_kept(ID));
        assert!(tickless.keeps(ID, USER, PASSWORD));
        assert!(tickless.is_kept(ID));
        tickless.granted(ID, USER, Some(b"new"));
        assert!(!tickless.is_kept(ID));
    }

    #[test]
    fn beyond_what_is_known_sessions_are_kept_and_may_do_nothing() {
        let tickless = Tickless::default();
        for number in 0..SESSIONS {
            tickless.granted(format!("id-{number}").as_bytes(), USER, PASSWORD);
        }
        tickless.granted(ID, USER, PASSWORD);
        tickless.reload();
        assert!(!tickless.keeps(b"id-0", USER, Some(b"other")), "known, and not so");
        assert!(tickless.keeps(ID, USER, PASSWORD) && tickless.is_kept(ID));
        assert!(!tickless.is_kept(b"id-1"));
    }

    #[test]
    fn a_broker_that_ticks_needs_none_of_it() {
        let tickless = Tickless::default();
        tickless.granted(ID, USER, PASSWORD);
        tickless.tick();
        tickless.reload();
        assert!(!tickless.keeps(ID, USER, PASSWORD) && !tickless.reloaded() && tickless.duty() == Duty::None);
    }

    #[test]
    fn duty_begins_a_second_after_reload() {
        let tickless = Tickless::default();
        tickless.reload();
        assert_eq!(tickless.duty(), Duty::None);
        std::thread::sleep(PASS);
        assert_eq!(tickless.duty(), Duty::TellAndTick);
        assert_eq!(tickless.duty(), Duty::Tick);
    }
}
