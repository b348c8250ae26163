//! Clients that wait for their login to be checked, as 2.1 can make them.
//!
//! The broker lets a result in by client id alone: whoever logs in under that id by then would get it. And when a client
//! that waits goes away, the broker tells nobody, and publishes its will. So there is one table for the whole process:
//!
//! * each wait has a number, which a newer login under the same id ends, for that can come only when the client is gone;
//! * a client whose login is not through may publish nothing. Its address in memory tells it, which is sound here and
//!   nowhere else: the broker asks about the will before it frees the client, and whoever comes to lie there next is seen
//!   logging in first.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tells apart the clients that are in memory at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClientKey(pub(crate) usize);

/// One wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    number: u64,
    client: ClientKey,
}

impl Ticket {
    /// Who waits.
    pub(crate) fn client(self) -> ClientKey {
        self.client
    }
}

#[derive(Debug)]
pub(crate) struct Pending {
    /// Whether any client is in `strangers`: the check of each publish looks here first.
    any: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last: u64,
    /// Who waits under which client id.
    waiting: BTreeMap<Box<[u8]>, Ticket>,
    /// Clients that waited, or wait, and are not logged in, with the number of that wait.
    strangers: BTreeMap<ClientKey, u64>,
    /// The one that the broker is being told to let in.
    entering: Option<ClientKey>,
}

impl Pending {
    pub(crate) const fn new() -> Self {
        let state = State { last: 0, waiting: BTreeMap::new(), strangers: BTreeMap::new(), entering: None };
        Self { any: AtomicBool::new(false), state: Mutex::new(state) }
    }

    /// A client begins to wait.
    pub(crate) fn begin(&self, id: &[u8], client: ClientKey) -> Ticket {
        let mut state = self.state();
        state.last += 1;
        let ticket = Ticket { number: state.last, client };
        state.waiting.insert(id.into(), ticket);
        state.strangers.insert(client, ticket.number);
        self.any.store(true, Ordering::Relaxed);
        ticket
    }

    /// A client logs in, so nobody waits under its id any more, if that is certain, nor lies where it lies.
    pub(crate) fn supersede(&self, id: Option<&[u8]>, client: ClientKey) {
        if self.any.load(Ordering::Relaxed) {
            let mut state = self.state();
            if let Some(id) = id {
                state.waiting.remove(id);
            }
            self.forget(&mut state, client);
        }
    }

    /// Ends a wait. Says whether it still was one: if not, the result is nobody's.
    pub(crate) fn end(&self, id: &[u8], ticket: Ticket) -> bool {
        let mut state = self.state();
        let is_current = state.waiting.get(id) == Some(&ticket);
        if is_current {
            state.waiting.remove(id);
        }
        is_current
    }

    /// Lets the broker do its part in letting a client in, while it may publish.
    pub(crate) fn enter(&self, ticket: Ticket, complete: impl FnOnce()) {
        {
            let mut state = self.state();
            // Another client may have come to lie there, and wait, since.
            state.entering = (state.strangers.get(&ticket.client) == Some(&ticket.number)).then_some(ticket.client);
        }
        complete();
        self.state().entering = None;
    }

    /// A client is connected.
    pub(crate) fn connected(&self, client: ClientKey) {
        if self.any.load(Ordering::Relaxed) {
            self.forget(&mut self.state(), client);
        }
    }

    /// Whether a client waits, or waited in vain.
    #[inline]
    pub(crate) fn is_stranger(&self, client: ClientKey) -> bool {
        self.any.load(Ordering::Relaxed) && self.is_listed_stranger(client)
    }

    #[cold]
    fn is_listed_stranger(&self, client: ClientKey) -> bool {
        let state = self.state();
        state.entering != Some(client) && state.strangers.contains_key(&client)
    }

    fn forget(&self, state: &mut State, client: ClientKey) {
        state.strangers.remove(&client);
        if state.strangers.is_empty() && state.waiting.is_empty() {
            self.any.store(false, Ordering::Relaxed);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is called while it is held that could leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &[u8] = b"id";
    const A: ClientKey = ClientKey(0xa);
    const B: ClientKey = ClientKey(0xb);

    #[test]
    fn a_result_is_for_the_wait_that_it_ends() {
        let pending = Pending::new();
        let first = pending.begin(ID, A);
        pending.supersede(Some(ID), B);
        let second = pending.begin(ID, B);
        assert!(!pending.end(ID, first) && pending.end(ID, second) && !pending.end(ID, second));
    }

    #[test]
    fn whoever_waits_is_a_stranger_until_it_is_connected() {
        let pending = Pending::new();
        assert!(!pending.is_stranger(A));
        let ticket = pending.begin(ID, A);
        assert!(pending.is_stranger(A) && !pending.is_stranger(B));
        assert!(pending.end(ID, ticket) && pending.is_stranger(A));
        pending.enter(ticket, || assert!(!pending.is_stranger(A)));
        assert!(pending.is_stranger(A), "the client was gone");
        pending.enter(ticket, || pending.connected(A));
        assert!(!pending.is_stranger(A));
    }

    #[test]
    fn a_late_result_does_not_open_the_door_for_who_lies_there_now() {
        let pending = Pending::new();
        let old = pending.begin(ID, A);
        pending.supersede(Some(b"other"), A);
        pending.begin(b"other", A);
        pending.enter(old, || assert!(pending.is_stranger(A)));
    }

    #[test]
    fn nobody_is_left_when_all_are_in() {
        let pending = Pending::new();
        let ticket = pending.begin(ID, A);
        assert!(pending.end(ID, ticket));
        pending.enter(ticket, || pending.connected(A));
        assert!(!pending.any.load(Ordering::Relaxed));
    }
}
