//! How much of the broker's time checking passwords may take where the broker has to wait for it.
//!
//! In each turn of the broker's loop at most one password is checked that takes long. When several were checked in a row, the
//! broker has half of the time for everybody else, for in one turn it reads but one packet of each client. Beyond a first
//! second, checking takes its share of the time and no more.
//!
//! What counts is the processor's time: where the broker has to share the processor, that is not for logins to pay.
#![forbid(unsafe_code)]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What may be spent at once after a time of quiet: logins come in groups.
const BURST: Duration = Duration::from_secs(1);
/// How much of the time checks may take that follow each other, in percent, and what may be owed then. A check earns half of
/// what it takes while it lasts.
const SHARE_IN_A_ROW: u32 = 50;
const IN_A_ROW: Duration = Duration::from_millis(150);
/// What may be spent in one turn of the loop before another check begins: several quick ones, or one that takes long.
const IN_A_TURN: Duration = Duration::from_millis(10);
/// Where no TICK tells that a turn of the loop is over, this much time does.
const TURN: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct Budget(Mutex<State>);

#[derive(Debug)]
struct State {
    all: Debt,
    row: Debt,
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
        Self(Mutex::new(State { all: none(), row: none(), turn: (Duration::ZERO, now) }))
    }

    /// Whether a password may be checked now; `ticks` is whether [`Budget::turn`] tells when a turn is over.
    pub(crate) fn allows(&self, share: u32, ticks: bool, now: Instant) -> bool {
        let mut state = self.state();
        if !ticks && now.saturating_duration_since(state.turn.1) >= TURN {
            state.turn.0 = Duration::ZERO;
        }
        let turn = state.turn.0 < IN_A_TURN;
        let all = state.all.pay(share, now) < BURST;
        let row = state.row.pay(SHARE_IN_A_ROW, now) < IN_A_ROW;
        turn && row && all
    }

    /// Notes what a check took.
    pub(crate) fn spent(&self, took: Duration, now: Instant) {
        let mut state = self.state();
        state.all.owed += took;
        state.row.owed += took;
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

    #[test]
    fn a_storm_takes_its_share_and_the_burst() {
        for (share, expected) in [(25, 15.0 + 1.0), (50, 30.0 + 0.5)] {
            let start = Instant::now();
            let budget = Budget::new(start);
            let mut now = start;
            let mut taken = Duration::ZERO;
            while now < start + Duration::from_secs(60) {
                if budget.allows(share, true, now) {
                    now += HASH;
                    taken += HASH;
                    budget.spent(HASH, now);
                }
                budget.turn();
                now += Duration::from_micros(100);
            }
            let taken = taken.as_secs_f64();
            assert!((taken - expected).abs() < 1.0, "{share} %: {taken} s of 60, not {expected}");
        }
    }

    #[test]
    fn twenty_in_a_row_and_then_half_of_the_time() {
        let start = Instant::now();
        let budget = Budget::new(start);
        let mut now = start;
        let mut begun = Vec::new();
        while begun.len() < 30 {
            if budget.allows(90, true, now) {
                begun.push(now);
                now += HASH;
                budget.spent(HASH, now);
            }
            budget.turn();
            now += Duration::from_micros(100);
        }
        let gaps: Vec<_> =
            begun.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() / HASH.as_secs_f64()).collect();
        assert!(
            gaps[..18].iter().all(|gap| *gap < 1.1) && gaps[22..].iter().all(|gap| (gap - 2.0).abs() < 0.1),
            "{gaps:?}"
        );
    }

    #[test]
    fn quick_ones_share_a_turn() {
        let now = Instant::now();
        let budget = Budget::new(now);
        let quick = Duration::from_micros(150);
        let checked = (0..100).take_while(|_| {
            let allowed = budget.allows(25, true, now);
            budget.spent(quick, now);
            allowed
        });
        assert_eq!(checked.count(), 67);
    }

    #[test]
    fn one_in_a_turn() {
        let now = Instant::now();
        let budget = Budget::new(now);
        assert!(budget.allows(25, true, now));
        budget.spent(HASH, now);
        assert!(!budget.allows(25, true, now + TURN), "the turn goes on until a TICK");
        assert!(!budget.allows(25, false, now) && budget.allows(25, false, now + TURN));
        budget.turn();
        assert!(budget.allows(25, true, now));
    }
}
