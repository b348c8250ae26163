//! Logins whose password takes time to check: by whom, when, and whether at all.
//!
//! ```text
//! recall says None ──> guard ──> 2.1, MQTT 3: a worker checks, the client waits (pending)
//!                        │       else, while the budget lasts: checked here and now
//!                        │       else: refused, and a worker checks it for when the client comes again
//!                        ├─────> many failures: the same at once
//!                        └─────> too many failures: refused unchecked
//! ```
//!
//! MQTT 5 clients never wait: 2.1.2 frees one that goes away meanwhile and still sends its will when the Will Delay
//! Interval is over (`will_delay.c`), so that anybody could take the broker down.
#![forbid(unsafe_code)]

mod budget;
mod guard;
mod pending;
mod workers;

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io};

use mqtt_acl_policy::{Limits, Policy, Verdict};
use zeroize::Zeroizing;

use crate::event::Client;
use crate::threads::{self, Waker};

use budget::Budget;
use guard::{Excess, Guard, Of, Standing};
use workers::Workers;

pub(crate) use guard::Origin;
pub(crate) use pending::{ClientKey, Pending, Ticket};
pub(crate) use workers::{Finding, Job};

/// While a client waits, the broker turns everybody else under its id away. So an id may not wait again for a second, nor
/// for four times as long as it waited (S27).
const REST: Duration = Duration::from_secs(1);
const REST_FACTOR: u32 = 4;
/// A client waits no longer, whatever became of the workers.
const GIVE_UP: Duration = workers::DEADLINE.saturating_add(Duration::from_secs(1));

/// Who waits, in this process: client ids are the broker's, whichever listener's plugin is asked about them.
pub(crate) fn pending() -> &'static Pending {
    static PENDING: Pending = Pending::new();
    &PENDING
}

/// The state of one instance.
#[derive(Debug)]
pub(crate) struct Logins {
    guard: Arc<Guard>,
    workers: Workers,
    /// For the broker's loop, and for the thread of 2.1's HTTP listener.
    budget: Budget,
    http_budget: Budget,
    /// Whether anybody waits, or did.
    waits: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Until when client ids may not wait, by their hash: ids may be long.
    resting: HashMap<u64, Instant>,
    hasher: RandomState,
    /// How many they may become before those are forgotten that have rested.
    most: usize,
    /// Who began to wait, in that order.
    began: VecDeque<(Instant, Box<[u8]>, Ticket)>,
}

/// How the answer can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The client can wait.
    Later(ClientKey),
    /// The broker waits; `ticks` is whether it ticks between the turns of its loop.
    Now { ticks: bool },
    /// The thread of the HTTP listener waits.
    Http,
}

/// What to answer.
#[derive(Debug)]
pub(crate) enum Check {
    Now(Verdict),
    Later,
    Refused(Hold),
}

/// Why a password was not checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    Guarded(Excess),
    /// There is too much to check. Try again later.
    Busy,
    /// The user or the address failed often of late, so the broker itself does not check it.
    Suspect,
    /// It did not get its turn in time.
    OutOfTime,
}

impl Hold {
    /// Whether the client is told to try again, which tells nobody anything about the password.
    pub(crate) fn is_busy(self) -> bool {
        matches!(self, Self::Busy)
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Guarded(Excess { of: Of::UserAt, .. }) => {
                "too many wrong passwords for this user from this address, its passwords are not checked for a while"
            }
            Self::Guarded(Excess { of: Of::At, .. }) => {
                "too many wrong passwords from this address, its passwords are not checked for a while"
            }
            Self::Busy => "too many passwords to check just now, this one is checked for when the client comes again",
            Self::Suspect => {
                "too many wrong passwords of late for this user or from this address, this one is checked for when the client \
                 comes again"
            }
            Self::OutOfTime => "the password could not be checked in time",
        })
    }
}

impl Logins {
    /// Starts the workers; `waker` wakes the main loop when they are done.
    pub(crate) fn start(waker: Option<Waker>) -> io::Result<Self> {
        let guard = Arc::<Guard>::default();
        let now = Instant::now();
        Ok(Self {
            workers: Workers::start(Arc::clone(&guard), waker)?,
            guard,
            budget: Budget::new(now),
            http_budget: Budget::new(now),
            waits: AtomicBool::new(false),
            state: Mutex::default(),
        })
    }

    /// A login whose password takes time to check.
    pub(crate) fn check(
        &self,
        policy: &Arc<Policy>,
        client: &Client<'_>,
        user: &[u8],
        password: &[u8],
        route: Route,
    ) -> Check {
        let limits = policy.limits();
        let origin = Origin::of(client, limits);
        let is_suspect = match self.guard.judge(limits, user, origin) {
            Standing::Refused(excess) => return Check::Refused(Hold::Guarded(excess)),
            standing => standing == Standing::Suspect,
        };
        let now = Instant::now();
        let id = client.id.unwrap_or_default();
        let job = |ticket| {
            Box::new(Job {
                policy: Arc::clone(policy),
                id: id.into(),
                user: user.into(),
                password: Zeroizing::new(password.to_vec()),
                address: client.address.map(Into::into),
                names_its_address: client.names_its_address,
                origin,
                is_suspect,
                is_http: route == Route::Http,
                since: now,
                ticket,
            })
        };
        let (budget, ticks) = match route {
            // While somebody waits nobody else can log in under that id, so nobody waits who may be guessing.
            Route::Later(_) | Route::Now { .. } if is_suspect => {
                // Where there is no room either, nothing is lost: the client may come again.
                let _ = self.workers.take(job(None));
                return Check::Refused(Hold::Suspect);
            }
            // Somebody mistyped, or two clients share an id: the broker waits for once.
            Route::Later(_) if self.rests(id, now) => (&self.budget, true),
            Route::Later(client) => {
                let ticket = pending().begin(id, client);
                if self.workers.take(job(Some(ticket))).is_err() {
                    pending().supersede(Some(id), client);
                    return Check::Refused(Hold::Busy);
                }
                let mut state = self.state();
                state.began.push_back((now, id.into(), ticket));
                self.waits.store(true, Ordering::Relaxed);
                // Whoever goes away and comes again gains nothing by it.
                state.rests_until(id, now + GIVE_UP);
                return Check::Later;
            }
            Route::Now { ticks } => (&self.budget, ticks),
            // Turns are for the broker's loop.
            Route::Http => (&self.http_budget, false),
        };
        if budget.allows(limits.share, ticks, now) {
            let start = threads::processor_time();
            let verdict = policy.verify(user, password);
            budget.spent(threads::processor_time().saturating_sub(start), Instant::now());
            return Check::Now(verdict);
        }
        let _ = self.workers.take(job(None));
        Check::Refused(Hold::Busy)
    }

    /// Takes a job back to be checked by another policy.
    pub(crate) fn check_again(&self, job: Box<Job>) -> Result<(), Box<Job>> {
        self.workers.take(job)
    }

    /// A login failed that [`Logins::check`] or a worker had checked.
    pub(crate) fn failed(&self, limits: &Limits, user: &[u8], origin: Option<Origin>) {
        self.guard.failed(limits, user, origin);
    }

    /// A login was refused, however little time that took. Says whether it is to be told that these are too many.
    pub(crate) fn refused(&self, limits: &Limits, origin: Option<Origin>) -> bool {
        self.guard.refused(limits, origin)
    }

    /// TICK: a turn of the broker's loop is over.
    pub(crate) fn turn(&self) {
        self.budget.turn();
    }

    /// Whether nothing was done, and nobody waits.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        !self.workers.is_ready() && !self.waits.load(Ordering::Relaxed)
    }

    /// What the workers have done.
    pub(crate) fn done(&self) -> Vec<(Box<Job>, Finding)> {
        self.workers.done()
    }

    /// Those who have waited for too long. They may have been answered since.
    pub(crate) fn overdue(&self) -> Vec<(Box<[u8]>, Ticket)> {
        if !self.waits.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut state = self.state();
        if state.began.is_empty() {
            self.waits.store(false, Ordering::Relaxed);
            return Vec::new();
        }
        let late = state.began.iter().take_while(|(since, ..)| since.elapsed() > GIVE_UP).count();
        state.began.drain(..late).map(|(_, id, ticket)| (id, ticket)).collect()
    }

    /// A client waited under this id, and does no more.
    pub(crate) fn rest(&self, id: &[u8], since: Instant) {
        let now = Instant::now();
        let until = (since + REST).max(now + REST_FACTOR * (now - since));
        self.state().rests_until(id, until);
    }

    fn rests(&self, id: &[u8], now: Instant) -> bool {
        let state = self.state();
        state.resting.get(&state.hasher.hash_one(id)).is_some_and(|until| *until > now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is called while it is held that could leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn rests_until(&mut self, id: &[u8], until: Instant) {
        const AT_LEAST: usize = 4096;
        if self.resting.len() >= self.most.max(AT_LEAST) {
            let now = Instant::now();
            self.resting.retain(|_, until| *until > now);
            // Twice as many, so that this is not done again and again.
            self.most = 2 * self.resting.len();
        }
        self.resting.insert(self.hasher.hash_one(id), until);
    }
}
