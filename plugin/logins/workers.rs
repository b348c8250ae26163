//! The threads that check passwords, so that the broker's only one need not.
#![forbid(unsafe_code)]

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, available_parallelism};
use std::time::{Duration, Instant};

use mqtt_acl_policy::{Fingerprint, Policy, Verdict};
use zeroize::Zeroizing;

use super::guard::{Excess, Guard, Origin, Standing};
use super::pending::Ticket;
use crate::plugin::inject_fault;
use crate::threads::{self, Waker};

/// A login is answered within this time, or refused. Clients give up after much more.
pub(crate) const DEADLINE: Duration = Duration::from_secs(3);
/// How much work each of the two queues may hold: so much that the last of it is done before the deadline.
const BACKLOG: Duration = Duration::from_millis(1200);
/// What a check is taken to need until one was seen.
const FIRST_GUESS: Duration = Duration::from_millis(20);
/// How much may wait, whatever the checks take.
const JOBS: std::ops::RangeInclusive<usize> = 16..=512;
/// At most so many threads, each of which holds the memory of one argon2id at a time.
const THREADS: usize = 4;

/// A login whose password is to be checked.
pub(crate) struct Job {
    pub(crate) policy: Arc<Policy>,
    pub(crate) id: Box<[u8]>,
    pub(crate) user: Box<[u8]>,
    pub(crate) password: Zeroizing<Vec<u8>>,
    /// As the broker tells it, for the log.
    pub(crate) address: Option<Box<[u8]>>,
    pub(crate) names_its_address: bool,
    pub(crate) origin: Option<Origin>,
    pub(crate) is_suspect: bool,
    /// Whether it is a caller of the HTTP listener.
    pub(crate) is_http: bool,
    pub(crate) since: Instant,
    /// The client that waits for the result. Without one, the result is for when it comes again.
    pub(crate) ticket: Option<Ticket>,
}

/// What became of a job.
#[derive(Debug)]
pub(crate) enum Finding {
    Checked(Verdict),
    /// There had been too many failures by the time it was its turn.
    Guarded(Excess),
    /// Its turn came too late, or checking it panicked.
    Unchecked,
}

/// The threads, and what goes back and forth.
#[derive(Debug)]
pub(crate) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    guard: Arc<Guard>,
    waker: Option<Waker>,
    queue: Mutex<Queue>,
    /// Rung when there is a job, or the end.
    bell: Condvar,
    /// Whether something is done.
    ready: AtomicBool,
    done: Mutex<Vec<(Box<Job>, Finding)>>,
}

#[derive(Debug)]
struct Queue {
    /// Somebody waits for these.
    awaited: VecDeque<Box<Job>>,
    /// Nobody does for these.
    silent: Lane,
    /// Whose turn it is: neither of them is to hold the other up.
    silent_is_next: bool,
    /// The silent logins that are in the queue or being checked: one is enough of each.
    silent_logins: HashSet<Fingerprint>,
    /// What a check takes, by those of late.
    cost: Duration,
    is_over: bool,
}

#[derive(Debug, Default)]
struct Lane {
    /// Those without many failures of late come first.
    clean: VecDeque<Box<Job>>,
    suspect: VecDeque<Box<Job>>,
}

impl Lane {
    /// Takes a job on, or gives it back where so many wait already. Suspects have half of the room.
    fn push(&mut self, job: Box<Job>, room: usize) -> Result<(), Box<Job>> {
        let (lane, room) = if job.is_suspect { (&mut self.suspect, room / 2) } else { (&mut self.clean, room) };
        if lane.len() >= room {
            return Err(job);
        }
        lane.push_back(job);
        Ok(())
    }

    fn pop(&mut self) -> Option<Box<Job>> {
        self.clean.pop_front().or_else(|| self.suspect.pop_front())
    }
}

impl Queue {
    fn pop(&mut self) -> Option<Box<Job>> {
        self.silent_is_next = !self.silent_is_next;
        if self.silent_is_next {
            self.awaited.pop_front().or_else(|| self.silent.pop())
        } else {
            self.silent.pop().or_else(|| self.awaited.pop_front())
        }
    }
}

impl Workers {
    /// Starts the threads: half as many as there are processors.
    pub(crate) fn start(guard: Arc<Guard>, waker: Option<Waker>) -> io::Result<Self> {
        let count = available_parallelism().map_or(1, |processors| (processors.get() / 2).clamp(1, THREADS));
        let shared = Arc::new(Shared {
            guard,
            waker,
            queue: Mutex::new(Queue {
                awaited: VecDeque::new(),
                silent: Lane::default(),
                silent_is_next: false,
                silent_logins: HashSet::new(),
                cost: FIRST_GUESS,
                is_over: false,
            }),
            bell: Condvar::new(),
            ready: AtomicBool::new(false),
            done: Mutex::default(),
        });
        let mut workers = Self { shared, threads: Vec::new() };
        for _ in 0..count {
            let shared = Arc::clone(&workers.shared);
            // If this fails, those that did start are ended by dropping what holds them.
            workers.threads.push(threads::spawn("mqtt-acl-login", move || shared.work())?);
        }
        Ok(workers)
    }

    /// Takes a job on, or gives it back where too much waits already.
    pub(crate) fn take(&self, job: Box<Job>) -> Result<(), Box<Job>> {
        let mut queue = self.shared.queue();
        let room = BACKLOG.as_micros() / queue.cost.as_micros().max(1) * self.threads.len() as u128;
        let room = usize::try_from(room).unwrap_or(usize::MAX).clamp(*JOBS.start(), *JOBS.end());
        if job.ticket.is_some() {
            if queue.awaited.len() >= room {
                return Err(job);
            }
            queue.awaited.push_back(job);
        } else {
            let Some(login) = job.policy.fingerprint(&job.user, &job.password) else { return Err(job) };
            if queue.silent_logins.contains(&login) {
                return Ok(());
            }
            queue.silent.push(job, room)?;
            queue.silent_logins.insert(login);
        }
        drop(queue);
        self.shared.bell.notify_one();
        Ok(())
    }

    /// Whether anything was done since [`Workers::done`].
    #[inline]
    pub(crate) fn is_ready(&self) -> bool {
        self.shared.ready.load(Ordering::Acquire)
    }

    /// What was done since the last call.
    pub(crate) fn done(&self) -> Vec<(Box<Job>, Finding)> {
        if !self.is_ready() {
            return Vec::new();
        }
        let mut done = self.shared.done.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.ready.store(false, Ordering::Relaxed);
        std::mem::take(&mut *done)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.queue().is_over = true;
        self.shared.bell.notify_all();
        self.threads.drain(..).for_each(threads::join);
    }
}

impl Shared {
    fn work(&self) {
        while let Some(job) = self.next() {
            // A panic must not end the thread: nobody would be let in any more.
            let finding = catch_unwind(AssertUnwindSafe(|| self.check(&job))).unwrap_or(Finding::Unchecked);
            if job.ticket.is_none() {
                if let Some(login) = job.policy.fingerprint(&job.user, &job.password) {
                    self.queue().silent_logins.remove(&login);
                }
            }
            let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push((job, finding));
            // Under the lock, so that it is never taken back for what was pushed after.
            self.ready.store(true, Ordering::Release);
            drop(done);
            self.wake();
        }
    }

    /// The next job; `None` when it is over.
    fn next(&self) -> Option<Box<Job>> {
        /// A signal that comes just before the main loop begins to wait is lost. Another one is not.
        const AGAIN: Duration = Duration::from_millis(2);
        let mut queue = self.queue();
        loop {
            if queue.is_over {
                return None;
            }
            if let Some(job) = queue.pop() {
                return Some(job);
            }
            if self.waker.is_some() && self.ready.load(Ordering::Relaxed) {
                (queue, _) = self.bell.wait_timeout(queue, AGAIN).unwrap_or_else(PoisonError::into_inner);
                self.wake();
            } else {
                queue = self.bell.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn check(&self, job: &Job) -> Finding {
        if job.since.elapsed() > DEADLINE {
            return Finding::Unchecked;
        }
        // The same login may have been let in since.
        if let Some(verdict) = job.policy.recall(&job.user, Some(&job.password)) {
            return Finding::Checked(verdict);
        }
        if let Standing::Refused(excess) = self.guard.judge(job.policy.limits(), &job.user, job.origin) {
            return Finding::Guarded(excess);
        }
        inject_fault(&[&job.user]);
        let start = Instant::now();
        let verdict = job.policy.verify(&job.user, &job.password);
        let mut queue = self.queue();
        queue.cost = (queue.cost * 7 + start.elapsed()) / 8;
        Finding::Checked(verdict)
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing is called while it is held that could leave it half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without the password.
impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("ticket", &self.ticket).field("since", &self.since).finish_non_exhaustive()
    }
}
