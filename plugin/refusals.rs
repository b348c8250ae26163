//! What clients were refused, told so that it answers a question and fills no disk (S32).
//!
//! The first refusal of its kind is logged at once. The same again is counted, and told in one line when the minute is over,
//! or when a new policy comes into force. A kind is the user, the client id, what was tried, why it was refused, and the
//! shape of the topic: levels with a digit in them count as one and the same, and so does what is below the eighth level, so
//! that a device that tries numbered topics is one line.
#![forbid(unsafe_code)]

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mqtt_acl_policy::Refusal;

/// Kinds that are told apart.
const KINDS: usize = 4_096;
const WINDOW: Duration = Duration::from_secs(60);
/// First refusals that are logged in a second, and counts that are told in one TICK.
const LINES: u32 = 50;
/// Levels of a topic that tell kinds apart.
const LEVELS: usize = 8;

/// What a client tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Deed {
    Publish,
    Will,
    /// The connection may have ended before; that cannot be told.
    PublishOrWill,
    Subscribe,
}

/// Why it was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cause {
    Policy(Refusal),
    /// What the client logged in with is no longer good.
    Kept,
    /// The client is not logged in.
    Stranger,
}

/// A refusal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused<'a> {
    pub(crate) deed: Deed,
    pub(crate) cause: Cause,
    pub(crate) user: Option<&'a [u8]>,
    pub(crate) id: &'a [u8],
    pub(crate) topic: &'a [u8],
}

/// So many refusals of a kind within so much time. The details are those of the first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told<T> {
    /// `None` for those beyond the kinds that are told apart.
    pub(crate) details: Option<T>,
    pub(crate) count: u64,
    pub(crate) seconds: u64,
}

/// Counts refusals. `T` is what is told of one.
#[derive(Debug)]
pub(crate) struct Refusals<T> {
    state: Mutex<State<T>>,
    /// Deliveries that were refused.
    deliveries: AtomicU64,
    /// Whether there may be anything to tell, which a clock would tell at a higher price.
    any: AtomicBool,
}

#[derive(Debug)]
struct State<T> {
    hasher: RandomState,
    /// By the hash of the kind: what it is made of may be long.
    kinds: HashMap<u64, Tally<T>>,
    others: u64,
    since: Instant,
    /// What is still to be told of the window before.
    untold: VecDeque<Told<T>>,
    /// The second that is running, and the lines that were logged in it.
    second: (Instant, u32),
    deliveries_told: Instant,
}

#[derive(Debug)]
struct Tally<T> {
    details: T,
    /// Those that were not told yet.
    count: u64,
}

impl<T: Clone> Refusals<T> {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let state = State {
            hasher: RandomState::new(),
            kinds: HashMap::new(),
            others: 0,
            since: now,
            untold: VecDeque::new(),
            second: (now, 0),
            deliveries_told: now,
        };
        Self { state: Mutex::new(state), deliveries: AtomicU64::new(0), any: AtomicBool::new(false) }
    }

    /// Counts a refusal. What is to be logged at once, if it is the first of its kind.
    pub(crate) fn note(&self, refused: &Refused<'_>, now: Instant, details: impl FnOnce() -> T) -> Option<T> {
        let mut state = self.state();
        self.any.store(true, Ordering::Relaxed);
        let kind = refused.kind(&state.hasher);
        if let Some(tally) = state.kinds.get_mut(&kind) {
            tally.count += 1;
            return None;
        }
        if state.kinds.len() >= KINDS {
            state.others += 1;
            return None;
        }
        drop(state);
        // It asks the policy for words, which takes its time.
        let details = details();
        let mut state = self.state();
        self.any.store(true, Ordering::Relaxed);
        if now.duration_since(state.second.0) >= Duration::from_secs(1) {
            state.second = (now, 0);
        }
        if state.kinds.is_empty() && state.others == 0 {
            state.since = now;
        }
        let is_told = state.second.1 < LINES;
        state.second.1 += u32::from(is_told);
        match state.kinds.entry(kind) {
            Entry::Vacant(place) => {
                place.insert(Tally { details: details.clone(), count: u64::from(!is_told) });
            }
            Entry::Occupied(mut other) => other.get_mut().count += u64::from(!is_told),
        }
        is_told.then_some(details)
    }

    /// Counts a delivery that was refused: nobody's deed, and one for every message and subscriber.
    pub(crate) fn note_delivery(&self) {
        self.deliveries.fetch_add(1, Ordering::SeqCst);
        // Last, for whoever clears it looks again after.
        self.any.store(true, Ordering::SeqCst);
    }

    /// Whether nothing is to be told, now or later.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        !self.any.load(Ordering::Relaxed)
    }

    /// What is to be told now: at each TICK, a share of it.
    pub(crate) fn due(&self, now: Instant) -> Vec<Told<T>> {
        let mut state = self.state();
        self.any.store(false, Ordering::SeqCst);
        if !state.is_idle() || self.deliveries.load(Ordering::SeqCst) > 0 {
            self.any.store(true, Ordering::SeqCst);
        }
        if now.duration_since(state.since) >= WINDOW {
            state.close(now);
        }
        let share = state.untold.len().min(LINES as usize);
        state.untold.drain(..share).collect()
    }

    /// A new policy comes into force: what was counted had reasons of the old one.
    pub(crate) fn close(&self, now: Instant) {
        let mut state = self.state();
        state.close(now);
        state.kinds.clear();
    }

    /// How many deliveries were refused within the minute that is over, if any were.
    pub(crate) fn deliveries_due(&self, now: Instant) -> Option<u64> {
        if self.deliveries.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut state = self.state();
        if now.duration_since(state.deliveries_told) < WINDOW {
            return None;
        }
        state.deliveries_told = now;
        Some(self.deliveries.swap(0, Ordering::Relaxed))
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Nothing is called while it is held that could leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> State<T> {
    /// Ends a window. A kind that goes on stays known, so that it is not told as a new one.
    fn is_idle(&self) -> bool {
        self.kinds.is_empty() && self.others == 0 && self.untold.is_empty()
    }

    fn close(&mut self, now: Instant) {
        let seconds = now.duration_since(self.since).as_secs().max(1);
        self.since = now;
        for tally in self.kinds.values_mut().filter(|tally| tally.count > 0) {
            // Nobody reads so far behind.
            if self.untold.len() < 2 * KINDS {
                self.untold.push_back(Told { details: Some(tally.details.clone()), count: tally.count, seconds });
            }
        }
        self.kinds.retain(|_, tally| std::mem::take(&mut tally.count) > 0);
        let others = std::mem::take(&mut self.others);
        if others > 0 {
            self.untold.push_back(Told { details: None, count: others, seconds });
        }
    }
}

impl Refused<'_> {
    fn kind(&self, hasher: &RandomState) -> u64 {
        let mut hash = hasher.build_hasher();
        (self.deed, self.cause, self.user, self.id).hash(&mut hash);
        for level in self.topic.split(|byte| *byte == b'/').take(LEVELS) {
            let is_numbered = level.iter().any(u8::is_ascii_digit);
            (!is_numbered).then_some(level).hash(&mut hash);
        }
        hash.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(topic: &str) -> Refused<'_> {
        let cause = Cause::Policy(Refusal::NoRule);
        Refused { deed: Deed::Publish, cause, user: Some(b"u"), id: b"c", topic: topic.as_bytes() }
    }

    fn note(refusals: &Refusals<String>, refused: &Refused<'_>, now: Instant) -> Option<String> {
        refusals.note(refused, now, || String::from_utf8_lossy(refused.topic).into_owned())
    }

    fn told(topic: &str, count: u64, seconds: u64) -> Told<String> {
        Told { details: Some(topic.to_owned()), count, seconds }
    }

    #[test]
    fn the_first_is_told_at_once_and_the_others_are_counted() {
        let refusals = Refusals::new();
        let start = Instant::now();
        assert_eq!(note(&refusals, &refused("a/1/b"), start).as_deref(), Some("a/1/b"));
        for number in 0..4_211 {
            assert_eq!(note(&refusals, &refused(&format!("a/x{number}/b")), start), None);
        }
        assert_eq!(refusals.due(start + WINDOW / 2), []);
        assert_eq!(refusals.due(start + WINDOW), [told("a/1/b", 4_211, 60)]);
        assert_eq!(note(&refusals, &refused("a/1/b"), start + WINDOW), None, "it goes on");
        assert_eq!(refusals.due(start + 2 * WINDOW), [told("a/1/b", 1, 60)]);
        assert_eq!(refusals.due(start + 3 * WINDOW), []);
        assert!(note(&refusals, &refused("a/1/b"), start + 3 * WINDOW).is_some(), "it had ended");
    }

    #[test]
    fn a_kind_is_who_what_why_and_the_shape_of_the_topic() {
        let refusals = Refusals::new();
        let now = Instant::now();
        let first = refused("a/b");
        let kinds = [
            first,
            Refused { deed: Deed::Will, ..first },
            Refused { cause: Cause::Kept, ..first },
            Refused { user: None, ..first },
            Refused { id: b"d", ..first },
            refused("a/c"),
            refused("a/b/"),
            refused("a/1"),
            refused("1/2/3/4/5/6/7/8"),
        ];
        for kind in kinds {
            assert!(note(&refusals, &kind, now).is_some(), "{kind:?}");
        }
        for same in [first, refused("a/22"), refused("a/0x"), refused("8/7/6/5/4/3/2/1/x/y")] {
            assert!(note(&refusals, &same, now).is_none(), "{same:?}");
        }
    }

    #[test]
    fn lines_and_kinds_are_bounded() {
        let refusals = Refusals::new();
        let now = Instant::now();
        let ids: Vec<_> = (0..KINDS + 7).map(|number| format!("c{number}")).collect();
        let mut lines = 0;
        for id in &ids {
            lines += usize::from(note(&refusals, &Refused { id: id.as_bytes(), ..refused("a") }, now).is_some());
        }
        assert_eq!(lines, LINES as usize);
        refusals.close(now + Duration::from_secs(3));
        let mut all = Vec::new();
        loop {
            let due = refusals.due(now + Duration::from_secs(3));
            assert!(due.len() <= LINES as usize);
            if due.is_empty() {
                break;
            }
            all.extend(due);
        }
        assert_eq!(all.len(), KINDS - LINES as usize + 1);
        assert_eq!(all.last(), Some(&Told { details: None, count: 7, seconds: 3 }));
        assert!(note(&refusals, &Refused { id: b"c0", ..refused("a") }, now + WINDOW).is_some(), "a new policy");
    }

    #[test]
    fn deliveries_are_counted() {
        let refusals = Refusals::<String>::new();
        let start = Instant::now();
        refusals.note_delivery();
        refusals.note_delivery();
        assert_eq!(refusals.deliveries_due(start), None);
        assert_eq!(refusals.deliveries_due(start + 2 * WINDOW), Some(2));
        refusals.note_delivery();
        assert_eq!(refusals.deliveries_due(start + 2 * WINDOW + WINDOW / 2), None);
        assert_eq!(refusals.deliveries_due(start + 3 * WINDOW), Some(1));
        assert_eq!(refusals.deliveries_due(start + 4 * WINDOW), None);
    }
}
