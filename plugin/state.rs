//! What the plugin tells of itself: counters, and which policy is in force. `$SYS/broker/mqtt-acl/...` and the metrics file
//! show the same (S33).
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use mqtt_acl_policy::{Hash, Policy};

use crate::broker::Broker;

/// What was decided so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    allowed: AtomicU64,
    refused: AtomicU64,
    /// The same by the thread of 2.1's HTTP listener.
    http_allowed: AtomicU64,
    http_refused: AtomicU64,
    logins: AtomicU64,
    failures: AtomicU64,
}

impl Counters {
    /// ACL_CHECK was answered. For the main thread only.
    pub(crate) fn decided(&self, allowed: bool) {
        let counter = if allowed { &self.allowed } else { &self.refused };
        // A load and a store, for adding in one step costs as much as a decision. Nobody else writes to these, so nothing is
        // lost; whoever reads sees a number that was right a moment ago.
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// The same on the thread of the HTTP listener.
    pub(crate) fn decided_for_http(&self, allowed: bool) {
        let counter = if allowed { &self.http_allowed } else { &self.http_refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A login was granted, or not.
    pub(crate) fn logged_in(&self, granted: bool) {
        let counter = if granted { &self.logins } else { &self.failures };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn refusals(&self) -> u64 {
        self.refused.load(Ordering::Relaxed).wrapping_add(self.http_refused.load(Ordering::Relaxed))
    }

    fn decisions(&self) -> u64 {
        let allowed = self.allowed.load(Ordering::Relaxed).wrapping_add(self.http_allowed.load(Ordering::Relaxed));
        allowed.wrapping_add(self.refusals())
    }
}

/// Which policy is in force, and what became of the last load.
#[derive(Clone, Debug)]
struct Status {
    hash: Option<Hash>,
    /// How many policies were put in force so far.
    generation: u64,
    since: SystemTime,
    users: usize,
    rules: usize,
    /// Why the files are not in force.
    error: Option<&'static str>,
    /// Since when the last good policy was in force that is used in their place.
    last_good: Option<SystemTime>,
}

/// The state of an instance.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) counters: Counters,
    status: ArcSwap<Status>,
    /// Whether `$SYS` is to be brought up to date.
    due: AtomicBool,
    /// What `$SYS` says.
    published: Mutex<Vec<String>>,
    number: Number,
}

impl Default for State {
    fn default() -> Self {
        let status = Status {
            hash: None,
            generation: 0,
            since: SystemTime::now(),
            users: 0,
            rules: 0,
            error: None,
            last_good: None,
        };
        Self {
            counters: Counters::default(),
            status: ArcSwap::from_pointee(status),
            due: AtomicBool::new(true),
            published: Mutex::default(),
            number: Number::claim(),
        }
    }
}

impl State {
    /// A policy was put in force: that of the files, which have this hash.
    pub(crate) fn in_force(&self, policy: &Policy, hash: Option<Hash>) {
        self.put(policy, hash, None, None);
    }

    /// In place of the files, which are broken, the policy was put in force that was good from then on.
    pub(crate) fn last_good(&self, policy: &Policy, since: SystemTime, error: &'static str) {
        self.put(policy, None, Some(since), Some(error));
    }

    /// What the files say was not put in force.
    pub(crate) fn failed(&self, error: &'static str) {
        self.change(|status| status.error = Some(error));
    }

    /// The files say what is in force.
    pub(crate) fn mended(&self) {
        self.change(|status| status.error = None);
    }

    fn put(&self, policy: &Policy, hash: Option<Hash>, last_good: Option<SystemTime>, error: Option<&'static str>) {
        let size = policy.size();
        self.change(|status| {
            let generation = status.generation + 1;
            let (users, rules) = (size.users, size.rules);
            *status = Status { hash, generation, since: SystemTime::now(), users, rules, error, last_good };
        });
    }

    /// For the main thread only, as is whatever calls it.
    fn change(&self, change: impl FnOnce(&mut Status)) {
        let mut status = Status::clone(&self.status.load());
        change(&mut status);
        self.status.store(Arc::new(status));
        self.is_due();
    }

    /// Asks for `$SYS` to be brought up to date.
    pub(crate) fn is_due(&self) {
        self.due.store(true, Ordering::Relaxed);
    }

    /// Whether `$SYS` is up to date.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        !self.due.load(Ordering::Relaxed)
    }

    /// Brings `$SYS` up to date where that is due. For TICK.
    pub(crate) fn publish(&self, broker: &Broker) {
        if self.is_quiet() {
            return;
        }
        self.due.store(false, Ordering::Relaxed);
        let facts = self.facts();
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *published, facts.iter().map(|fact| fact.value.clone()).collect());
        // The broker is not called with a lock held.
        drop(published);
        for (number, fact) in facts.iter().enumerate() {
            if before.get(number).map_or("", String::as_str) != fact.value {
                broker.publish(&format!("$SYS/broker/mqtt-acl/{}{}", self.number.prefix(), fact.topic), &fact.value);
            }
        }
    }

    fn facts(&self) -> [Fact; 12] {
        let status = self.status.load();
        let counters = &self.counters;
        let fact = |topic, value: String| Fact { topic, value };
        [
            fact("version", env!("CARGO_PKG_VERSION").to_owned()),
            fact("policy/sha256", status.hash.map_or_else(|| "none".to_owned(), |hash| hash.to_string())),
            fact("policy/generation", status.generation.to_string()),
            fact("policy/loaded-at", iso_8601(status.since)),
            fact("policy/users", status.users.to_string()),
            fact("policy/rules", status.rules.to_string()),
            fact("policy/error", status.error.unwrap_or("none").to_owned()),
            // Empty, it takes what was retained away.
            fact("policy/last-good-of", status.last_good.map(iso_8601).unwrap_or_default()),
            fact("logins", counters.logins.load(Ordering::Relaxed).to_string()),
            fact("failures", counters.failures.load(Ordering::Relaxed).to_string()),
            fact("refusals", counters.refusals().to_string()),
            fact("decisions", counters.decisions().to_string()),
        ]
    }

    /// The same as Prometheus reads it.
    pub(crate) fn metrics(&self) -> String {
        let status = self.status.load();
        let counters = &self.counters;
        let seconds =
            |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
        let hash = status.hash.map(|hash| hash.to_string()).unwrap_or_default();
        let mut text = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, labels: String, value: String| {
            // Writing to a text does not fail.
            let _ = write!(
                text,
                "# HELP mqtt_acl_{name} {help}\n# TYPE mqtt_acl_{name} {kind}\nmqtt_acl_{name}{labels} {value}\n"
            );
        };
        let none = String::new;
        metric(
            "info",
            "gauge",
            "The plugin, and the SHA-256 of the policy in force.",
            format!("{{version=\"{}\",policy_sha256=\"{hash}\"}}", env!("CARGO_PKG_VERSION")),
            "1".into(),
        );
        let help = "How many policies were put in force since the broker started.";
        metric("policy_generation", "gauge", help, none(), status.generation.to_string());
        metric("policy_loaded_seconds", "gauge", "When that was, in Unix time.", none(), seconds(status.since));
        metric("policy_users", "gauge", "Users of the policy in force.", none(), status.users.to_string());
        metric("policy_rules", "gauge", "Rules of the policy in force.", none(), status.rules.to_string());
        metric(
            "policy_error",
            "gauge",
            "1 while the files are not what is in force; the code says why.",
            format!("{{code=\"{}\"}}", status.error.unwrap_or("none")),
            u8::from(status.error.is_some()).to_string(),
        );
        metric(
            "policy_last_good_of_seconds",
            "gauge",
            "Since when the last good policy was in force that is used in place of broken files; 0 where none is.",
            none(),
            status.last_good.map_or_else(|| "0".into(), seconds),
        );
        let total = |counter: &AtomicU64| counter.load(Ordering::Relaxed).to_string();
        metric("logins_total", "counter", "Logins that were granted.", none(), total(&counters.logins));
        metric("login_failures_total", "counter", "Logins that were refused.", none(), total(&counters.failures));
        let help = "Publications, subscriptions and deliveries that were refused.";
        metric("refusals_total", "counter", help, none(), counters.refusals().to_string());
        let help = "Publications, subscriptions and deliveries that were decided.";
        metric("decisions_total", "counter", help, none(), counters.decisions().to_string());
        text
    }
}

/// One line of `$SYS`.
struct Fact {
    topic: &'static str,
    value: String,
}

/// A time in UTC, to the second.
pub(crate) fn iso_8601(time: SystemTime) -> String {
    let mut text = String::new();
    // It knows the years 1970 to 9999.
    match write!(text, "{}", humantime::format_rfc3339_seconds(time.max(SystemTime::UNIX_EPOCH))) {
        Ok(()) => text,
        Err(_) => "unknown".into(),
    }
}

/// Tells apart the instances of one broker, whose listeners may each load the plugin.
#[derive(Debug)]
struct Number(u32);

static NUMBERS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

impl Number {
    /// The lowest that is free.
    fn claim() -> Self {
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        let number = (1..).find(|number| !numbers.contains(number)).unwrap_or(0);
        numbers.insert(number);
        Self(number)
    }

    /// The first, which mostly is the only one, needs none.
    fn prefix(&self) -> String {
        if self.0 == 1 { String::new() } else { format!("{}/", self.0) }
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        NUMBERS.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_decided_is_counted() {
        let counters = Counters::default();
        for (allowed, http) in [(true, 1), (true, 0), (false, 1), (true, 1)] {
            counters.decided(allowed);
            (0..http).for_each(|_| counters.decided_for_http(allowed));
        }
        assert_eq!((counters.refusals(), counters.decisions()), (2, 7));
    }

    #[test]
    fn instances_have_numbers_of_their_own() {
        let first = Number::claim();
        let second = Number::claim();
        assert_ne!(first.0, second.0);
        let free = first.0;
        drop(first);
        assert_eq!(Number::claim().0, free);
    }

    #[test]
    fn times_are_those_of_iso_8601() {
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_763_990_000);
        assert_eq!(iso_8601(time), "2025-11-24T13:13:20Z");
        assert_eq!(iso_8601(SystemTime::UNIX_EPOCH - std::time::Duration::from_secs(1)), "1970-01-01T00:00:00Z");
        assert_eq!(iso_8601(time + std::time::Duration::from_secs(1 << 40)), "unknown");
    }

    #[test]
    fn a_status_is_told_until_it_changes() {
        let state = State::default();
        state.in_force(&Policy::deny_all(), Some(Hash::of(b"x")));
        state.failed("invalid");
        let metrics = state.metrics();
        assert!(metrics.contains("mqtt_acl_policy_error{code=\"invalid\"} 1\n"), "{metrics}");
        assert!(metrics.contains(&format!("policy_sha256=\"{}\"", Hash::of(b"x"))), "{metrics}");
        state.mended();
        let metrics = state.metrics();
        assert!(metrics.contains("mqtt_acl_policy_error{code=\"none\"} 0\n"), "{metrics}");
        assert!(metrics.contains("mqtt_acl_policy_generation 1\n"), "{metrics}");
        state.last_good(&Policy::deny_all(), SystemTime::UNIX_EPOCH, "invalid");
        assert!(
            state.facts().iter().any(|fact| fact.topic == "policy/last-good-of" && fact.value.starts_with("1970-"))
        );
    }
}
