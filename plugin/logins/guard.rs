//! What keeps strangers from guessing passwords (S28): wrong ones are counted by user and address, and by address, and after
//! too many no more are checked for a while.
//!
//! Only what takes time to check is counted, and only failures: a login that is remembered, or a token, is answered before
//! anybody asks here, so nobody can lock a device out by hammering its name. Nothing is refused for its user name alone.
#![forbid(unsafe_code)]

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mqtt_acl_policy::Limits;

use crate::event::Client;

/// How many counters there are: 1.5 MiB, whatever the world sends. When they run out, the oldest failures are forgotten.
const SETS: usize = 1 << 14;
const WAYS: usize = 4;

/// Counts failures.
#[derive(Debug)]
pub(crate) struct Guard {
    hasher: RandomState,
    start: Instant,
    counters: Mutex<Counters>,
}

/// A key may stand in any place of one set, which its hash tells.
#[derive(Debug)]
struct Counters(Box<[[Counter; WAYS]]>);

/// The failures of one kind. Each moves the moment at which all are forgotten further away, so that moment is the count.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    /// The hash of what is counted; 0 for nothing.
    key: u64,
    /// When all are forgotten, in milliseconds since the guard began.
    until: u64,
    /// When it may be told again that there are too many.
    quiet: u64,
}

/// Where a client logs in from: one IPv4 address, or one IPv6 network of 64 bits, as a household or a server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    Network(IpAddr),
    /// What is no address: a Unix socket, or what a client made up.
    Other,
}

/// Whose failures a counter counts.
#[derive(Hash)]
enum Key<'a> {
    UserAt(&'a [u8], Origin),
    At(Origin),
    User(&'a [u8]),
    /// Of those too that took no time to check: only ever told, never held against anybody.
    ToldAt(Origin),
}

/// What the failures so far mean for a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Neither the user nor the address had more than a few failures of late.
    Clean,
    /// One of them had. It has to leave room for those that had none.
    Suspect,
    /// There were too many: the password is not checked.
    Refused(Excess),
}

/// Too many failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Excess {
    pub(crate) of: Of,
    /// Whether this is to be told: the first time, and once in each window while it goes on.
    pub(crate) tell: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    UserAt,
    At,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            start: Instant::now(),
            counters: Mutex::new(Counters(vec![[Counter::default(); WAYS]; SETS].into())),
        }
    }
}

impl Origin {
    /// Where a login comes from, if the guard is to look at it: not where the broker tells no address, as of the callers of
    /// its HTTP listener, and not where the policy trusts the address.
    pub(crate) fn of(client: &Client<'_>, limits: &Limits) -> Option<Self> {
        let address: Option<IpAddr> = std::str::from_utf8(client.address?).ok().and_then(|text| text.parse().ok());
        let Some(address) = address else { return Some(Self::Other) };
        if limits.trusts(address) && !client.names_its_address {
            return None;
        }
        Some(Self::Network(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
            v4 => v4,
        }))
    }
}

impl Guard {
    /// Judges a login whose password would have to be checked.
    pub(crate) fn judge(&self, limits: &Limits, user: &[u8], origin: Option<Origin>) -> Standing {
        let Some(origin) = origin else { return Standing::Clean };
        let now = self.now();
        let mut counters = self.counters();
        for (key, most, of) in [
            (Key::UserAt(user, origin), limits.user_failures, Of::UserAt),
            (Key::At(origin), limits.address_failures, Of::At),
        ] {
            if let Some(counter) = counters.find(self.hash(&key)).filter(|counter| counter.is_full(limits, most, now)) {
                return Standing::Refused(Excess { of, tell: counter.tell(limits, now) });
            }
        }
        let is_suspect = [
            (Key::UserAt(user, origin), limits.user_failures, 6),
            (Key::At(origin), limits.address_failures, 10),
            (Key::User(user), limits.address_failures, 10),
        ]
        .into_iter()
        .any(|(key, most, part)| {
            // People mistype: a few of the failures that are allowed make nobody suspect.
            let failures = counters.find(self.hash(&key)).map_or(0, |counter| counter.failures(limits, most, now));
            failures > u64::from(most / part)
        });
        if is_suspect { Standing::Suspect } else { Standing::Clean }
    }

    /// Counts a login that failed after its password had been checked.
    pub(crate) fn failed(&self, limits: &Limits, user: &[u8], origin: Option<Origin>) {
        let Some(origin) = origin else { return };
        for (key, most) in [
            (Key::UserAt(user, origin), limits.user_failures),
            (Key::At(origin), limits.address_failures),
            (Key::User(user), limits.address_failures),
        ] {
            self.count(&key, limits, most);
        }
    }

    /// Counts a login that was refused at once. Says whether it is to be told that these are too many.
    pub(crate) fn refused(&self, limits: &Limits, origin: Option<Origin>) -> bool {
        let Some(origin) = origin else { return false };
        let key = Key::ToldAt(origin);
        self.count(&key, limits, limits.address_failures);
        let now = self.now();
        let mut counters = self.counters();
        let full =
            counters.find(self.hash(&key)).filter(|counter| counter.is_full(limits, limits.address_failures, now));
        full.is_some_and(|counter| counter.tell(limits, now))
    }

    fn count(&self, key: &Key<'_>, limits: &Limits, most: u32) {
        let now = self.now();
        if let Some(counter) = self.counters().find_or_make(self.hash(key)) {
            counter.add(limits, most, now);
        }
    }

    fn counters(&self) -> MutexGuard<'_, Counters> {
        // Nothing is called while it is held that could leave it half changed.
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hash(&self, key: &Key<'_>) -> u64 {
        self.hasher.hash_one(key).max(1)
    }

    fn now(&self) -> u64 {
        millis(self.start.elapsed())
    }
}

impl Counters {
    fn find(&mut self, key: u64) -> Option<&mut Counter> {
        self.set(key)?.iter_mut().find(|counter| counter.key == key)
    }

    /// The counter of this key; where it is new, in place of the one that is forgotten first.
    fn find_or_make(&mut self, key: u64) -> Option<&mut Counter> {
        let set = self.set(key)?;
        let counter = set.iter_mut().min_by_key(|counter| if counter.key == key { 0 } else { counter.until + 1 })?;
        if counter.key != key {
            *counter = Counter { key, ..Counter::default() };
        }
        Some(counter)
    }

    fn set(&mut self, key: u64) -> Option<&mut [Counter; WAYS]> {
        let set = usize::try_from(key % SETS as u64).ok()?;
        self.0.get_mut(set)
    }
}

impl Counter {
    fn add(&mut self, limits: &Limits, most: u32, now: u64) {
        let window = millis(limits.window);
        self.until = (self.until.max(now) + each(limits, most)).min(now + window);
    }

    /// How many failures are not forgotten.
    fn failures(&self, limits: &Limits, most: u32, now: u64) -> u64 {
        self.until.saturating_sub(now).div_ceil(each(limits, most))
    }

    fn is_full(&self, limits: &Limits, most: u32, now: u64) -> bool {
        self.failures(limits, most, now) >= u64::from(most)
    }

    fn tell(&mut self, limits: &Limits, now: u64) -> bool {
        let tell = self.quiet <= now;
        if tell {
            self.quiet = now + millis(limits.window);
        }
        tell
    }
}

/// How long it takes to forget one of `most` failures, in milliseconds.
fn each(limits: &Limits, most: u32) -> u64 {
    (millis(limits.window) / u64::from(most)).max(1)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &[u8]) -> Client<'_> {
        Client { id: None, username: None, address: Some(address), names_its_address: false }
    }

    fn at(address: &str) -> Option<Origin> {
        Origin::of(&client(address.as_bytes()), &Limits::default())
    }

    fn limits(user: u32, address: u32) -> Limits {
        let mut limits = Limits::default();
        limits.user_failures = user;
        limits.address_failures = address;
        limits
    }

    fn is_refused(standing: Standing) -> Option<Of> {
        match standing {
            Standing::Refused(excess) => Some(excess.of),
            _ => None,
        }
    }

    #[test]
    fn an_origin_is_an_address_or_a_64() {
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1:2:3"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
        for text in ["", "nowhere", "/run/mosquitto.sock"] {
            assert_eq!(at(text), Some(Origin::Other));
        }
    }

    #[test]
    fn too_many_for_one_user_close_that_user_at_that_address_alone() {
        let (guard, limits) = (Guard::default(), limits(5, 100));
        let (here, there) = (at("192.0.2.1"), at("192.0.2.2"));
        for _ in 0..5 {
            assert_eq!(is_refused(guard.judge(&limits, b"a", here)), None);
            guard.failed(&limits, b"a", here);
        }
        assert_eq!(is_refused(guard.judge(&limits, b"a", here)), Some(Of::UserAt));
        for (user, origin) in [(b"a", there), (b"b", here)] {
            assert_eq!(guard.judge(&limits, user, origin), Standing::Clean, "a few are no guessing");
        }
    }

    #[test]
    fn many_failures_of_a_user_or_from_an_address_make_suspect_what_is_not_refused() {
        let (guard, limits) = (Guard::default(), limits(5, 100));
        for number in 0..30 {
            guard.failed(&limits, b"a", at(&format!("192.0.2.{number}")));
            guard.failed(&limits, format!("user{number}").as_bytes(), at("2001:db8::1"));
        }
        for (user, address, standing) in [
            (&b"a"[..], "198.51.100.1", Standing::Suspect),
            (b"b", "2001:db8::2", Standing::Suspect),
            (b"b", "198.51.100.1", Standing::Clean),
        ] {
            assert_eq!(guard.judge(&limits, user, at(address)), standing);
        }
    }

    #[test]
    fn too_many_from_one_address_close_it_for_all_users() {
        let (guard, limits) = (Guard::default(), limits(5, 10));
        for user in 0..10_u8 {
            assert_eq!(is_refused(guard.judge(&limits, &[user], at("2001:db8::1"))), None);
            guard.failed(&limits, &[user], at("2001:db8::1"));
        }
        assert_eq!(is_refused(guard.judge(&limits, b"other", at("2001:db8::2"))), Some(Of::At));
        assert_eq!(guard.judge(&limits, b"other", at("2001:db8:1::")), Standing::Clean);
    }

    #[test]
    fn an_episode_is_told_once() {
        let (guard, limits) = (Guard::default(), limits(1, 100));
        guard.failed(&limits, b"a", at("192.0.2.1"));
        let told = (0..100).filter(|_| {
            matches!(guard.judge(&limits, b"a", at("192.0.2.1")), Standing::Refused(Excess { tell: true, .. }))
        });
        assert_eq!(told.count(), 1);
    }

    #[test]
    fn failures_are_forgotten() {
        let guard = Guard::default();
        let mut limits = limits(2, 100);
        limits.window = Duration::from_millis(200);
        guard.failed(&limits, b"a", at("192.0.2.1"));
        guard.failed(&limits, b"a", at("192.0.2.1"));
        assert_eq!(is_refused(guard.judge(&limits, b"a", at("192.0.2.1"))), Some(Of::UserAt));
        std::thread::sleep(limits.window);
        assert_eq!(guard.judge(&limits, b"a", at("192.0.2.1")), Standing::Clean);
    }

    #[test]
    fn nobody_is_counted_who_is_trusted_or_has_no_address() {
        let guard = Guard::default();
        for _ in 0..1000 {
            guard.failed(&limits(1, 1), b"a", None);
        }
        assert_eq!(guard.judge(&limits(1, 1), b"a", None), Standing::Clean);
        assert_eq!(guard.judge(&limits(1, 1), b"a", at("192.0.2.1")), Standing::Clean);
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_memory_and_forgets_the_oldest() {
        let (guard, limits) = (Guard::default(), limits(1, 1));
        for number in 0..200_000_u32 {
            let address = std::net::Ipv4Addr::from_bits(number).to_string();
            guard.failed(&limits, b"a", at(&address));
        }
        assert_eq!(guard.counters().0.len(), SETS);
        assert_eq!(
            is_refused(guard.judge(&limits, b"b", at(&std::net::Ipv4Addr::from_bits(199_999).to_string()))),
            Some(Of::At)
        );
    }
}
