//! The sessions that the broker has, as far as the plugin was told of them: who logged in with what, under which client id,
//! and subscribed to what. After a new policy they are looked through for those who lost something.
//!
//! * The table is one for the process: client ids are the broker's, whichever listener's plugin is asked about them.
//! * A connection is known by its address in memory from its login to its DISCONNECT, and by nothing else: DISCONNECT also
//!   tells of connections that were rejected under somebody else's id.
//! * It is bounded, so that no client can fill the memory: what is left out is held by the check of each delivery (S24).
//!   Sessions that are offline make room, oldest first.
#![forbid(unsafe_code)]

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use mqtt_acl_policy::CredentialId;

use crate::logins::ClientKey;

/// Sessions that are known at most, and those of them that are offline.
const SESSIONS: usize = 131_072;
const OFFLINE: usize = 32_768;
/// The memory of all of them, in bytes.
const BYTES: usize = 64 << 20;
/// Subscriptions of a session that are known.
const FILTERS: usize = 64;
/// Connections that have ended and whose wills may be due later.
const ENDED: usize = 65_536;

/// The sessions of this process.
pub(crate) fn sessions() -> &'static Sessions {
    static TABLE: LazyLock<Sessions> = LazyLock::new(Sessions::default);
    &TABLE
}

/// Tells the loaded instances of the plugin apart: each answers for the sessions that it admitted.
pub(crate) type Owner = u32;

#[derive(Debug, Default)]
pub(crate) struct Sessions {
    state: Mutex<State>,
    /// Whether the broker is being told to ask again about subscriptions, which are no new ones then.
    asks_again: AtomicBool,
    /// How many connections have ended.
    ends: AtomicU64,
    /// Whether a client is about to be let in.
    is_entering: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    slots: Vec<Option<Session>>,
    free: Vec<usize>,
    /// By the hash of the client id: ids may be long.
    by_id: HashMap<u64, usize>,
    by_key: HashMap<ClientKey, usize>,
    /// Those that are offline, in the order in which they went.
    offline: BTreeMap<u64, usize>,
    bytes: usize,
    /// The number of the last login, or of the last client that went.
    last: u64,
    hasher: RandomState,
    /// Connections that ended: where they lay, and the hash of their client id.
    ended: HashMap<ClientKey, u64>,
    /// Whether there were more of them than are kept.
    forgot_ended: bool,
    /// The client that the broker is about to let in, on 2.1, which tells when it has.
    entering: Option<Entering>,
}

#[derive(Clone, Copy, Debug)]
struct Entering {
    key: ClientKey,
    /// The hash of its client id.
    id: u64,
    credential: Option<CredentialId>,
}

/// A session of which the plugin was told.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: Box<[u8]>,
    pub(crate) user: Option<Box<[u8]>>,
    owner: Owner,
    /// The number of its login: two of the same session differ.
    pub(crate) generation: u64,
    presence: Presence,
    /// Whether the policy admitted it; on listeners where the broker itself takes the name from a certificate nobody is
    /// asked.
    pub(crate) is_admitted: bool,
    /// What it logged in with, where that was a password.
    pub(crate) credential: Option<CredentialId>,
    /// What it may have subscribed to, as the client wrote it.
    pub(crate) filters: Vec<Box<[u8]>>,
    /// Whether it may have other subscriptions, too.
    pub(crate) has_more: bool,
    /// Whether it is certain that the broker let it in: 2.0 tells only by what comes after.
    is_certain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Online(ClientKey),
    /// Since the event of this number.
    Offline(u64),
}

/// A login that succeeded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Login<'a> {
    pub(crate) owner: Owner,
    pub(crate) id: &'a [u8],
    pub(crate) user: Option<&'a [u8]>,
    pub(crate) key: ClientKey,
    pub(crate) is_clean: bool,
    pub(crate) is_admitted: bool,
    pub(crate) credential: Option<CredentialId>,
    /// As in [`Session`].
    pub(crate) is_certain: bool,
}

/// What comes next in a walk over the sessions of an instance.
#[derive(Debug)]
pub(crate) enum Next<T> {
    Session(T),
    /// Not one that is wanted.
    Other,
    End,
}

/// What becomes of a session whose connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Over,
    /// The broker keeps it, or does not tell, as 2.0 with MQTT 5.
    Kept,
}

/// What came of a kick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kicked {
    /// Somebody was disconnected.
    Disconnected,
    /// Nobody was connected; the broker asked again about what the session keeps.
    Offline,
    /// There is no such session, or not the one that was meant.
    Nobody,
}

/// Whether a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Yes,
    No,
    /// There were too many to know.
    Perhaps,
}

impl Sessions {
    /// A login was granted on 2.1, which tells by [`Sessions::connected`] when the client is in.
    pub(crate) fn entering(&self, key: ClientKey, id: &[u8], credential: Option<CredentialId>) {
        let mut state = self.state();
        let id = state.hasher.hash_one(id);
        state.entering = Some(Entering { key, id, credential });
        self.is_entering.store(true, Ordering::Relaxed);
    }

    /// A client is connected, or as good as.
    pub(crate) fn connected(&self, mut login: Login<'_>) {
        let mut state = self.state();
        if let Some(entering) = state.entering.take().filter(|entering| entering.key == login.key) {
            login.credential = login.credential.or(entering.credential);
        }
        state.connected(login);
    }

    /// A SUBSCRIBE was granted.
    pub(crate) fn subscribed(&self, login: Login<'_>, filter: &[u8]) {
        if !self.asks_again.load(Ordering::Relaxed) {
            self.state().subscribed(login, filter);
        }
    }

    /// A client gives a subscription up.
    pub(crate) fn unsubscribed(&self, key: ClientKey, filter: &[u8]) {
        let mut state = self.state();
        if let Some(slot) = state.by_key.get(&key).copied() {
            state.change(slot, |session| session.filters.retain(|known| **known != *filter));
        }
    }

    /// A connection has ended.
    pub(crate) fn ended(&self, key: ClientKey, id: Option<&[u8]>, session: After) {
        self.ends.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        state.entering = state.entering.filter(|entering| entering.key != key);
        if let Some(id) = id {
            let hash = state.hasher.hash_one(id);
            if state.ended.len() < ENDED || state.ended.contains_key(&key) {
                state.ended.insert(key, hash);
            } else {
                state.forgot_ended = true;
            }
        }
        state.went(key, session);
    }

    /// Whether the connection has ended of what lies there, or is about to: what it publishes is its will then.
    pub(crate) fn has_ended(&self, key: ClientKey, id: &[u8]) -> Ended {
        let state = self.state();
        let hash = state.hasher.hash_one(id);
        // Of one that is taken over, the broker asks about the will first and tells of the end then.
        let is_entering = state.entering.is_some_and(|entering| entering.id == hash && entering.key != key);
        let current = state.find(id).and_then(|slot| state.slots.get(slot)?.as_ref()).map(|session| session.presence);
        if is_entering || matches!(current, Some(Presence::Online(other)) if other != key) {
            return Ended::Yes;
        }
        match state.ended.get(&key) {
            Some(ended) if *ended == hash => Ended::Yes,
            None if state.forgot_ended => Ended::Perhaps,
            _ => Ended::No,
        }
    }

    /// Somebody logs in where another client may have lain.
    pub(crate) fn arrives(&self, key: ClientKey) {
        let mut state = self.state();
        state.ended.remove(&key);
        state.entering = None;
    }

    /// Whether [`Sessions::turn`] would do nothing.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        !self.is_entering.load(Ordering::Relaxed)
    }

    /// Whoever was to be let in is in by now, or was rejected by the broker itself.
    pub(crate) fn turn(&self) {
        if !self.is_quiet() {
            self.is_entering.store(false, Ordering::Relaxed);
            self.state().entering = None;
        }
    }

    /// The number of the last login: those after it were granted by a newer policy.
    pub(crate) fn last(&self) -> u64 {
        self.state().last
    }

    pub(crate) fn knows(&self, id: &[u8]) -> bool {
        self.state().find(id).is_some()
    }

    /// Looks at the next session of an instance that logged in no later than this; nothing may be called meanwhile that
    /// comes back here.
    pub(crate) fn next<T>(
        &self,
        owner: Owner,
        until: u64,
        cursor: &mut usize,
        look: impl FnOnce(&mut Session) -> T,
    ) -> Next<T> {
        let mut state = self.state();
        let Some(slot) = state.slots.get_mut(*cursor) else { return Next::End };
        *cursor += 1;
        match slot {
            Some(session) if session.owner == owner && session.generation <= until => Next::Session(look(session)),
            _ => Next::Other,
        }
    }

    /// Has `kick` disconnect a session, or have the broker ask again about one that is offline, unless somebody has logged in
    /// under its id since (S22); then drops those subscriptions that it may no longer have.
    pub(crate) fn kick(
        &self,
        id: &[u8],
        generation: u64,
        kick: impl FnOnce() -> bool,
        keeps: impl Fn(&[u8]) -> bool,
    ) -> Kicked {
        let Some(was_online) = self.state().is_online(id, generation) else { return Kicked::Nobody };
        let kicked = match self.kick_unseen(kick) {
            // A WebSocket is closed in a later turn of the broker's loop.
            Kicked::Offline if was_online => Kicked::Disconnected,
            kicked => kicked,
        };
        let exists = kicked != Kicked::Nobody;
        let mut state = self.state();
        if let Some(slot) = state.find(id).filter(|_| state.is_online(id, generation).is_some()) {
            state.change(slot, |session| session.filters.retain(|filter| exists && keeps(filter)));
            state.tidy(slot, if exists { After::Kept } else { After::Over });
        }
        kicked
    }

    /// The same for a session that is not in the table. What the broker asks meanwhile are no new subscriptions.
    pub(crate) fn kick_unseen(&self, kick: impl FnOnce() -> bool) -> Kicked {
        let ends = self.ends.load(Ordering::Relaxed);
        self.asks_again.store(true, Ordering::Relaxed);
        let exists = kick();
        self.asks_again.store(false, Ordering::Relaxed);
        match exists {
            false => Kicked::Nobody,
            true if self.ends.load(Ordering::Relaxed) == ends => Kicked::Offline,
            true => Kicked::Disconnected,
        }
    }

    /// An instance ends.
    pub(crate) fn forget(&self, owner: Owner) {
        let mut state = self.state();
        for slot in 0..state.slots.len() {
            if matches!(state.slots.get(slot), Some(Some(session)) if session.owner == owner) {
                state.remove(slot);
            }
        }
        if state.by_id.is_empty() {
            // 2.0 unmaps the library after its last instance, and nobody could free this.
            *state = State::default();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is called while it is held that could leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(&self, id: &[u8]) -> Option<usize> {
        let slot = *self.by_id.get(&self.hasher.hash_one(id))?;
        let session = self.slots.get(slot)?.as_ref()?;
        (*session.id == *id).then_some(slot)
    }

    /// Whether the session of this login is online; `None` where there is none, or another one.
    fn is_online(&self, id: &[u8], generation: u64) -> Option<bool> {
        let session = self.slots.get(self.find(id)?)?.as_ref()?;
        (session.generation == generation).then(|| session.is_online())
    }

    fn connected(&mut self, login: Login<'_>) {
        let Login { owner, id, user, key, is_clean, is_admitted, credential, is_certain } = login;
        self.ended.remove(&key);
        if self.by_key.get(&key).copied() != self.find(id) {
            // Whoever lay there before is gone, and the broker did not tell.
            self.went(key, After::Kept);
        }
        self.last += 1;
        let generation = self.last;
        let presence = Presence::Online(key);
        if let Some(slot) = self.find(id) {
            self.leave_presence(slot);
            self.change(slot, |session| {
                let is_other = session.user.as_deref() != user;
                // At SIGHUP the broker asks again about who is connected.
                let is_same = session.presence == presence && !is_other;
                if !is_same && (is_clean || is_other) {
                    session.filters = Vec::new();
                    // The broker leaves the session to whoever comes next under its id.
                    session.has_more = !is_clean;
                }
                session.user = user.map(Into::into);
                session.owner = owner;
                session.generation = generation;
                session.presence = presence;
                session.is_admitted = is_admitted;
                session.credential = credential;
                // What was restored from disk is gone since the first time.
                session.is_certain |= is_certain;
            });
            self.by_key.insert(key, slot);
            return;
        }
        let session = Session {
            id: id.into(),
            user: user.map(Into::into),
            owner,
            generation,
            presence,
            is_admitted,
            credential,
            filters: Vec::new(),
            // It may have been there before the plugin, or been left out for want of room.
            has_more: !is_clean,
            is_certain,
        };
        if self.make_room(session.size()) {
            self.bytes += session.size();
            let hash = self.hasher.hash_one(id);
            let slot = self.free.pop().unwrap_or(self.slots.len());
            if slot == self.slots.len() {
                self.slots.push(None);
            }
            if let Some(place) = self.slots.get_mut(slot) {
                *place = Some(session);
            }
            if let Some(other) = self.by_id.insert(hash, slot) {
                // Of the same hash, which nobody lives to see.
                self.remove(other);
                self.by_id.insert(hash, slot);
            }
            self.by_key.insert(key, slot);
        }
    }

    fn subscribed(&mut self, login: Login<'_>, filter: &[u8]) {
        let known = |state: &Self| {
            let slot = state.by_key.get(&login.key).copied()?;
            let session = state.slots.get(slot)?.as_ref()?;
            (*session.id == *login.id && session.user.as_deref() == login.user).then_some(slot)
        };
        if known(self).is_none() {
            self.connected(login);
        }
        let Some(slot) = known(self) else { return };
        // What the entry will take, at most.
        let has_room = self.make_room(filter.len() + Session::FILTER);
        self.change(slot, |session| {
            session.is_certain = true;
            match session.filters.iter().any(|known| **known == *filter) {
                true => {}
                false if has_room && session.filters.len() < FILTERS => session.filters.push(filter.into()),
                false => session.has_more = true,
            }
        });
    }

    /// The connection that lay there is gone.
    fn went(&mut self, key: ClientKey, after: After) {
        let Some(slot) = self.by_key.remove(&key) else { return };
        self.last += 1;
        let number = self.last;
        self.change(slot, |session| session.presence = Presence::Offline(number));
        self.offline.insert(number, slot);
        self.tidy(slot, after);
        if self.offline.len() > OFFLINE {
            self.drop_oldest();
        }
    }

    /// Forgets a session that is over.
    fn tidy(&mut self, slot: usize, after: After) {
        let Some(Some(session)) = self.slots.get(slot) else { return };
        if after == After::Over && !session.is_online() {
            self.remove(slot);
        }
    }

    /// Makes room for so many more bytes and one more session, if need be at the cost of those that went first.
    fn make_room(&mut self, bytes: usize) -> bool {
        while self.bytes + bytes > BYTES || self.by_id.len() >= SESSIONS {
            if !self.drop_oldest() {
                return false;
            }
        }
        true
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((_, slot)) = self.offline.pop_first() else { return false };
        self.remove(slot);
        true
    }

    fn remove(&mut self, slot: usize) {
        self.leave_presence(slot);
        let Some(session) = self.slots.get_mut(slot).and_then(Option::take) else { return };
        self.bytes = self.bytes.saturating_sub(session.size());
        self.by_id.remove(&self.hasher.hash_one(&*session.id));
        self.free.push(slot);
    }

    /// Takes a session out of where its presence is noted.
    fn leave_presence(&mut self, slot: usize) {
        match self.slots.get(slot).and_then(Option::as_ref).map(|session| session.presence) {
            Some(Presence::Online(key)) if self.by_key.get(&key) == Some(&slot) => drop(self.by_key.remove(&key)),
            Some(Presence::Offline(number)) => drop(self.offline.remove(&number)),
            Some(Presence::Online(_)) | None => {}
        }
    }

    fn change(&mut self, slot: usize, change: impl FnOnce(&mut Session)) {
        if let Some(Some(session)) = self.slots.get_mut(slot) {
            let before = session.size();
            change(session);
            self.bytes = (self.bytes + session.size()).saturating_sub(before);
        }
    }
}

impl Session {
    /// What a filter takes beside its text.
    const FILTER: usize = 48;

    /// The memory that it takes, with its entries elsewhere, in bytes.
    fn size(&self) -> usize {
        const ENTRIES: usize = 128;
        let filters: usize = self.filters.iter().map(|filter| filter.len() + Self::FILTER).sum();
        size_of::<Option<Self>>() + ENTRIES + self.id.len() + self.user.as_ref().map_or(0, |user| user.len()) + filters
    }

    pub(crate) fn is_online(&self) -> bool {
        matches!(self.presence, Presence::Online(_))
    }

    /// Whether the broker can be told to disconnect it, or to ask again about its subscriptions.
    ///
    /// One that is offline must have been seen online: 2.0 frees a session twice that it restored from disk and that is
    /// kicked (S21).
    pub(crate) fn may_be_kicked(&self) -> bool {
        self.is_online() || self.is_certain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ClientKey = ClientKey(0xa0);
    const B: ClientKey = ClientKey(0xb0);

    fn login<'a>(id: &'a [u8], user: &'a [u8], key: ClientKey) -> Login<'a> {
        let user = Some(user);
        Login { owner: 1, id, user, key, is_clean: true, is_admitted: true, credential: None, is_certain: false }
    }

    fn seen(table: &Sessions) -> Vec<(String, bool, usize, bool)> {
        let mut cursor = 0;
        let mut seen = Vec::new();
        loop {
            match table.next(1, u64::MAX, &mut cursor, |session| {
                let id = String::from_utf8_lossy(&session.id).into_owned();
                (id, session.is_online(), session.filters.len(), session.has_more)
            }) {
                Next::Session(session) => seen.push(session),
                Next::Other => {}
                Next::End => return seen,
            }
        }
    }

    #[test]
    fn a_rejected_connection_does_not_end_the_session_of_its_id() {
        let table = Sessions::default();
        table.connected(login(b"id", b"a", A));
        table.subscribed(login(b"id", b"a", A), b"x/#");
        table.ended(B, Some(b"id"), After::Over);
        assert_eq!(seen(&table), [("id".to_owned(), true, 1, false)]);
        table.connected(login(b"id", b"a", A));
        assert_eq!(seen(&table), [("id".to_owned(), true, 1, false)], "asked about again at SIGHUP");
        table.ended(A, Some(b"id"), After::Kept);
        assert_eq!(seen(&table), [("id".to_owned(), false, 1, false)]);
        table.connected(Login { is_clean: false, ..login(b"id", b"a", B) });
        assert_eq!(seen(&table), [("id".to_owned(), true, 1, false)], "it has its subscriptions again");
        table.connected(Login { is_clean: false, ..login(b"id", b"b", A) });
        assert_eq!(seen(&table), [("id".to_owned(), true, 0, true)], "what another left there is not known");
        table.ended(B, Some(b"id"), After::Over);
        assert_eq!(seen(&table).len(), 1, "the connection that was taken over");
        table.ended(A, Some(b"id"), After::Over);
        assert_eq!(seen(&table).len(), 0);
    }

    #[test]
    fn a_place_that_is_used_again_ends_who_lay_there() {
        let table = Sessions::default();
        table.connected(login(b"one", b"a", A));
        table.subscribed(login(b"one", b"a", A), b"x");
        table.connected(login(b"two", b"a", A));
        assert_eq!(seen(&table), [("one".to_owned(), false, 1, false), ("two".to_owned(), true, 0, false)]);
        table.unsubscribed(A, b"x");
        assert_eq!(seen(&table)[0].2, 1, "not the other's");
    }

    #[test]
    fn filters_are_known_up_to_a_number() {
        let table = Sessions::default();
        for number in 0..FILTERS {
            table.subscribed(login(b"id", b"a", A), format!("t/{number}").as_bytes());
            table.subscribed(login(b"id", b"a", A), b"t/0");
        }
        assert_eq!(seen(&table), [("id".to_owned(), true, FILTERS, false)]);
        table.subscribed(login(b"id", b"a", A), b"more");
        assert_eq!(seen(&table), [("id".to_owned(), true, FILTERS, true)]);
        table.unsubscribed(A, b"t/0");
        assert_eq!(seen(&table), [("id".to_owned(), true, FILTERS - 1, true)]);
        table.connected(login(b"id", b"a", B));
        assert_eq!(seen(&table), [("id".to_owned(), true, 0, false)]);
    }

    #[test]
    fn a_kick_is_for_the_login_that_lost_something() {
        let table = Sessions::default();
        table.subscribed(login(b"id", b"a", A), b"x");
        table.subscribed(login(b"id", b"a", A), b"y");
        let generation = table.last();
        table.connected(Login { is_clean: false, ..login(b"id", b"a", B) });
        assert_eq!(table.kick(b"id", generation, || panic!("somebody else's"), |_| true), Kicked::Nobody);
        let current = table.last();
        let keeps = |filter: &[u8]| filter == b"x";
        let kick = || {
            // The broker asks about what it has, and tells that the connection ends.
            table.subscribed(login(b"id", b"a", B), b"z");
            table.ended(B, Some(b"id"), After::Kept);
            true
        };
        assert_eq!(table.kick(b"id", current, kick, keeps), Kicked::Disconnected);
        assert_eq!(seen(&table), [("id".to_owned(), false, 1, false)]);
        assert_eq!(table.kick(b"id", current, || true, keeps), Kicked::Offline);
        assert_eq!(table.kick(b"id", current, || false, |_| true), Kicked::Nobody, "the broker has none");
        assert_eq!(seen(&table).len(), 0);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_that_are_offline_make_room() {
        let table = Sessions::default();
        for number in 0..OFFLINE + 10 {
            let (id, key) = (format!("id-{number}"), ClientKey(number * 16));
            table.subscribed(login(id.as_bytes(), b"a", key), b"x");
            table.ended(key, Some(id.as_bytes()), After::Kept);
        }
        let all = seen(&table);
        assert_eq!(all.len(), OFFLINE);
        assert!(!table.knows(b"id-9") && table.knows(b"id-10"));

        let long = vec![b'x'; 60_000];
        for number in 0..2_000_usize {
            let id = [number.to_string().as_bytes(), &long].concat();
            table.connected(login(&id, b"a", ClientKey(number * 16 + 1)));
        }
        let state = table.state();
        assert!(state.bytes <= BYTES && state.offline.is_empty(), "{}", state.bytes);
        let sum: usize = state.slots.iter().flatten().map(Session::size).sum();
        assert_eq!(state.bytes, sum);
        assert_eq!(state.by_id.len(), state.by_key.len());
        drop(state);
        table.subscribed(login(&long, b"a", A), b"x");
        assert!(!table.knows(&long));
        table.forget(1);
        let state = table.state();
        assert_eq!((state.bytes, state.slots.capacity()), (0, 0));
    }

    #[test]
    fn who_has_ended_is_told_by_place_and_id() {
        let table = Sessions::default();
        assert_eq!(table.has_ended(A, b"id"), Ended::No);
        table.ended(A, Some(b"id"), After::Over);
        assert_eq!(table.has_ended(A, b"id"), Ended::Yes);
        assert_eq!(table.has_ended(A, b"other"), Ended::No);
        table.connected(login(b"taken", b"a", B));
        assert_eq!(table.has_ended(B, b"taken"), Ended::No);
        assert_eq!(table.has_ended(A, b"taken"), Ended::Yes, "2.0: the new one is in");
        table.entering(A, b"taken", None);
        assert_eq!(table.has_ended(B, b"taken"), Ended::Yes, "2.1: it is about to be");
        table.turn();
        assert_eq!(table.has_ended(B, b"taken"), Ended::No);
        table.arrives(A);
        assert_eq!(table.has_ended(A, b"id"), Ended::No);
        for number in 0..=ENDED {
            table.ended(ClientKey(number * 16), Some(b"id"), After::Over);
        }
        assert_eq!(table.has_ended(ClientKey(ENDED * 16), b"id"), Ended::Perhaps);
    }
}
