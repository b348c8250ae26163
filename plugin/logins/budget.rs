//! How much of the broker's time checking passwords may take where the broker has to wait for it.
//!
//! In each turn of the broker's loop one password is checked that takes long, and no more. Where that turns others away there
//! is a crowd, and then some turns pass before the next check: in one turn the broker reads but one packet of each client, and
//! those that came meanwhile come first. Beyond a first while, checking takes its share of the time and no more.
//!
//! What counts is the processor's time: where the broker has to share the processor, that is not for logins to pay.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What may be spent at once after a time of quiet: logins come in groups.
const BURST: Duration = Duration::from_secs(2);
/// What may be spent in one turn of the loop before another check begins: several quick ones, or one that takes long.
const IN_A_TURN: Duration = Duration::from_millis(10);
/// How many turns pass between checks where there is a crowd: about what a check keeps a busy client's packets waiting.
const TURNS_IN_A_CROWD: u32 = 8;
/// Where no TICK tells that a turn of the loop is over, this much time does.
const TURN: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct Budget {
    /// How many turns of the loop are over. Every message may take one, so it is counted without a lock, by one thread.
    turn: AtomicU32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    debt: Debt,
    /// What was spent in this turn of the loop, and when the last check ended.
    spent: Duration,
    ended: Instant,
    /// How many turns are over since, and which the last of them was.
    turns: u32,
    turn: u32,
    /// Whether somebody was turned away since.
    is_crowd: bool,
}

/// Time that was spent and not yet earned again.
#[derive(Debug)]
struct Debt {
    owed: Duration,
    at: Instant,
}

impl Budget {
    pub(crate) fn new(now: Instant) -> Self {
        let debt = Debt { owed: Duration::ZERO, at: now };
        let state = State { debt, spent: Duration::ZERO, ended: now, turns: 0, turn: 0, is_crowd: false };
        Self { turn: AtomicU32::new(0), state: Mutex::new(state) }
    }

    /// Whether a password may be checked now; `ticks` is whether [`Budget::turn`] tells when a turn is over.
    pub(crate) fn allows(&self, share: u32, ticks: bool, now: Instant) -> bool {
        let mut state = self.state();
        if !ticks && now.saturating_duration_since(state.ended) >= TURN {
            state.spent = Duration::ZERO;
            state.turns = TURNS_IN_A_CROWD;
        }
        let is_free = state.spent < IN_A_TURN && !(state.is_crowd && state.turns < TURNS_IN_A_CROWD);
        if !is_free {
            state.is_crowd = true;
        }
        state.debt.pay(share, now) < BURST && is_free
    }

    /// Notes what a check took.
    pub(crate) fn spent(&self, took: Duration, now: Instant) {
        let mut state = self.state();
        state.debt.owed += took;
        state.spent += took;
        if state.spent >= IN_A_TURN {
            state.turns = 0;
            state.is_crowd = false;
        }
        state.ended = now;
    }

    /// TICK: a turn of the broker's loop is over.
    pub(crate) fn turn(&self) {
        self.turn.store(self.turn.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is called while it is held that could leave it half changed.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = self.turn.load(Ordering::Relaxed);
        let over = turn.wrapping_sub(state.turn);
        if over > 0 {
            state.turn = turn;
            state.spent = Duration::ZERO;
            state.turns = state.turns.saturating_add(over);
        }
        state
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
        for (share, expected) in [(25, 15.0 + 2.0), (50, 30.0 + 2.0)] {
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
    fn one_after_the_other_is_no_crowd_and_many_at_once_are() {
        for (at_once, turns_between) in [(1, 1), (2, TURNS_IN_A_CROWD), (100, TURNS_IN_A_CROWD)] {
            let mut now = Instant::now();
            let budget = Budget::new(now);
            let (mut checked, mut turns) = (0, 0);
            while checked < 20 {
                for _ in 0..at_once {
                    if budget.allows(90, true, now) {
                        now += HASH;
                        budget.spent(HASH, now);
                        checked += 1;
                    }
                }
                budget.turn();
                turns += 1;
                now += Duration::from_micros(100);
            }
            assert_eq!(turns, 19 * turns_between + 1, "{at_once} at once");
        }
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
