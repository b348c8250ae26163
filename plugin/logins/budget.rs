//! How much of the broker's time checking passwords may take where the broker has to wait for it.
//!
//! In each turn of the broker's loop at most one password is checked that takes long, so that everybody else is served in
//! between. Beyond a first second, checking takes its share of the time and no more; logins of users or from addresses that failed of late
//! have half of that, so that the other half is left to those that did not (S28).
#![forbid(unsafe_code)]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What may be spent at once after a time of quiet: logins come in groups.
const BURST: Duration = Duration::from_secs(1);
/// What may be spent in one turn of the loop before another check begins: several quick ones, or one that takes long.
const IN_A_TURN: Duration = Duration::from_millis(2);
/// Where no TICK tells that a turn of the loop is over, this much time does.
const TURN: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct Budget(Mutex<State>);

#[derive(Debug)]
struct State {
    /// What everybody spent, and what suspects did.
    all: Debt,
    suspects: Debt,
    /// What was spent in this turn of the loop, and when the last check ended.
    turn: (Duration, Instant),
}

/// Time that was spent and not yet earned again.
#[derive(Debug)]
struct Debt {
    owed: Duration,
    at: Instant,
}

impl Budget {
    pub(crate) fn new(now: Instant) -> Self {
        let none = || Debt { owed: Duration::ZERO, at: now };
        Self(Mutex::new(State { all: none(), suspects: none(), turn: (Duration::ZERO, now) }))
    }

    /// Whether a password may be checked now; `ticks` is whether [`Budget::turn`] tells when a turn is over.
    pub(crate) fn allows(&self, share: u32, is_suspect: bool, ticks: bool, now: Instant) -> bool {
        let mut state = self.state();
        if !ticks && now.saturating_duration_since(state.turn.1) >= TURN {
            state.turn.0 = Duration::ZERO;
        }
        let turn = state.turn.0 < IN_A_TURN;
        let all = state.all.pay(share, now) < BURST;
        let suspects = state.suspects.pay(share, now) < BURST;
        turn && all && (suspects || !is_suspect)
    }

    /// Notes what a check took.
    pub(crate) fn spent(&self, took: Duration, is_suspect: bool, now: Instant) {
        let mut state = self.state();
        state.all.owed += took;
        if is_suspect {
            // Twice what it took, against the same burst and share: half of both.
            state.suspects.owed += 2 * took;
        }
        state.turn = (state.turn.0 + took, now);
    }

    /// TICK: a turn of the broker's loop is over.
    pub(crate) fn turn(&self) {
        self.state().turn.0 = Duration::ZERO;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is called while it is held that could leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Debt {
    fn pay(&mut self, share: u32, now: Instant) -> Duration {
        let earned = now.saturating_duration_since(self.at) * share / 100;
        self.owed = self.owed.saturating_sub(earned);
        self.at = now;
        self.owed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: Duration = Duration::from_millis(15);

    /// How many of a storm of logins are checked in a minute, of `suspects` and others by turns, one at most each turn.
    fn storm(share: u32, suspects: &[bool]) -> Vec<usize> {
        let start = Instant::now();
        let budget = Budget::new(start);
        let mut now = start;
        let mut checked = vec![0; suspects.len()];
        while now < start + Duration::from_secs(60) {
            for (is_suspect, checked) in suspects.iter().zip(&mut checked) {
                if budget.allows(share, *is_suspect, true, now) {
                    now += HASH;
                    budget.spent(HASH, *is_suspect, now);
                    *checked += 1;
                }
                budget.turn();
                now += Duration::from_micros(100);
            }
        }
        checked
    }

    #[test]
    fn a_storm_takes_its_share_and_the_burst() {
        for (share, expected) in [(25, 15.0 + 1.0), (50, 30.0 + 1.0), (90, 54.0 + 1.0)] {
            let taken = storm(share, &[false])[0] as f64 * HASH.as_secs_f64();
            assert!((taken - expected).abs() < 1.0, "{share} %: {taken} s of 60, not {expected}");
        }
    }

    #[test]
    fn suspects_leave_half_to_the_others() {
        let alone = storm(50, &[true])[0] as f64 * HASH.as_secs_f64();
        assert!((alone - 15.5).abs() < 1.0, "{alone} s of 60");
        let [suspects, others] = storm(50, &[true, false])[..] else { panic!() };
        assert!(others * 10 >= suspects * 9 && suspects > 0, "{suspects} of suspects, {others} of others");
    }

    #[test]
    fn quick_ones_share_a_turn() {
        let now = Instant::now();
        let budget = Budget::new(now);
        let quick = Duration::from_micros(150);
        let checked = (0..100).take_while(|_| {
            let allowed = budget.allows(25, false, true, now);
            budget.spent(quick, false, now);
            allowed
        });
        assert_eq!(checked.count(), 14);
    }

    #[test]
    fn one_in_a_turn() {
        let now = Instant::now();
        let budget = Budget::new(now);
        assert!(budget.allows(25, false, true, now));
        budget.spent(HASH, false, now);
        assert!(!budget.allows(25, false, true, now + TURN), "the turn goes on until a TICK");
        assert!(!budget.allows(25, false, false, now) && budget.allows(25, false, false, now + TURN));
        budget.turn();
        assert!(budget.allows(25, false, true, now));
    }
}
