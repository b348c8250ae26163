//! The thread that watches and reads policies, so that the broker's only thread never does.
//!
//! ```text
//! main thread                    loader
//!   reload ── ask, ring ───────>   watch     waits for that, or for a file to change
//!                                  read      mqtt_acl_policy::load, once the files hold still
//!   TICK <── Delivery ──────────             a policy to put in force, or why there is none
//!   swap ── give back, ring ───>             frees what was replaced
//!                                  state_dir keeps what is in force
//!                                  files     writes the metrics
//! ```
//!
//! The thread runs only where nothing else wants the processor, so the main thread must never wait for it: there is no lock
//! between them, and neither frees what the other allocated, since an allocator has locks, too. What the main thread is
//! given goes back.
#![forbid(unsafe_code)]

mod files;
mod state_dir;
mod watch;

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use crossbeam_queue::SegQueue;
use mqtt_acl_policy::{
    Failure, Hash, Loaded, OneLine, Place, Policy, Problem, Severity, Sources, Trust, Unkept, load_with_sources,
};

use crate::broker::{Broker, Level};
use crate::conf;
use crate::options::{OnBadPolicy, Options};
use crate::state::State;
use crate::threads::{self, Waker};

use files::Durable;
use state_dir::StateDir;
use watch::{Bell, Watch};

/// So long the files must not change before they are read: whoever edits them may be at it.
const QUIET: Duration = Duration::from_millis(100);
/// And no longer than this, for somebody may never end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Reading that takes longer is said.
const LONG: Duration = Duration::from_secs(1);
/// How often the counters are told, in `$SYS` and in the metrics file.
const TELL: Duration = Duration::from_secs(10);
/// How often it is noted that what is kept is still in force.
const CONFIRM: Duration = Duration::from_secs(3600);

/// What came of a load.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The files' policy, to put in force.
    Policy { policy: Arc<Policy>, problems: Vec<Problem>, hash: Option<Hash> },
    /// The broker starts with broken files: the policy that was good, and since when it was in force; without so many users
    /// whom the files no longer list or disable.
    LastGood { policy: Arc<Policy>, since: SystemTime, left_out: usize, failed: Failed },
    /// The files say what is in force.
    Unchanged,
    /// There is no policy.
    Failure(Failed),
}

/// Why there is no policy, for people and, in a word, for programs (S33); and the problems.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) code: &'static str,
    pub(crate) summary: String,
    pub(crate) problems: Vec<Problem>,
}

/// What the main thread is given, and gives back.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    /// To be logged.
    pub(crate) notes: Vec<(Level, String)>,
    pub(crate) outcome: Option<Outcome>,
}

impl Failed {
    /// Whether there is nothing to read: at the start that is a policy, which denies everything (S17).
    pub(crate) fn is_absence(&self) -> bool {
        self.code == "missing" || self.code == "empty"
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        let summary = failure.to_string();
        let (code, problems) = match failure {
            Failure::Missing(_) => ("missing", Vec::new()),
            Failure::Empty(_) => ("empty", Vec::new()),
            Failure::Invalid(problems) => ("invalid", problems),
        };
        Self { code, summary, problems }
    }
}

/// The thread and what goes back and forth.
#[derive(Debug)]
pub(crate) struct Loader {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    bell: Bell,
    asked: AtomicBool,
    ended: AtomicBool,
    /// Whether there is a delivery.
    ready: AtomicBool,
    delivery: ArcSwapOption<Delivery>,
    returned: SegQueue<Returned>,
}

#[derive(Debug)]
enum Returned {
    Delivery(Arc<Delivery>),
    /// A policy that is no longer in force; freeing a large one takes a while.
    Policy(#[expect(dead_code, reason = "it is only dropped")] Arc<Policy>),
}

impl Loader {
    /// Starts the thread, and waits for what the policy says as the broker starts; `waker` wakes the main loop when a later
    /// one is ready.
    pub(crate) fn start(
        broker: &'static Broker,
        options: Options,
        state: Arc<State>,
        waker: Option<Waker>,
        takes_long: impl FnOnce(),
    ) -> io::Result<(Self, Arc<Delivery>)> {
        let shared = Arc::new(Shared {
            bell: Bell::new()?,
            asked: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            delivery: ArcSwapOption::empty(),
            returned: SegQueue::new(),
        });
        let theirs = Arc::clone(&shared);
        let (first, started) = channel();
        let thread = threads::spawn("mqtt-acl-load", move || {
            Thread::new(broker, options, state, waker, theirs).run(&first);
        })?;
        let loader = Self { shared, thread: Some(thread) };
        let delivery = match started.recv_timeout(LONG) {
            Err(RecvTimeoutError::Timeout) => {
                takes_long();
                started.recv().ok()
            }
            delivery => delivery.ok(),
        };
        let delivery = delivery.ok_or_else(|| io::Error::other("it ended at once"))?;
        Ok((loader, delivery))
    }

    /// Asks for the policy to be read again.
    pub(crate) fn request(&self) {
        self.shared.asked.store(true, Ordering::Release);
        self.shared.bell.ring();
    }

    /// Whether nothing is ready for the main thread.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        !self.shared.ready.load(Ordering::Acquire)
    }

    /// What is ready for the main thread, which has to give it back.
    pub(crate) fn delivery(&self) -> Option<Arc<Delivery>> {
        if self.is_quiet() {
            return None;
        }
        self.shared.ready.store(false, Ordering::Relaxed);
        self.shared.delivery.swap(None)
    }

    /// Gives back what was delivered, once it is in force.
    pub(crate) fn give_back(&self, delivery: Arc<Delivery>) {
        self.shared.returned.push(Returned::Delivery(delivery));
        self.shared.bell.ring();
    }

    /// Gives a policy away to be freed.
    pub(crate) fn free(&self, policy: Arc<Policy>) {
        self.shared.returned.push(Returned::Policy(policy));
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.shared.bell.ring();
        self.thread.take().into_iter().for_each(threads::join);
    }
}

/// The thread's own.
struct Thread {
    broker: &'static Broker,
    options: Options,
    state: Arc<State>,
    waker: Option<Waker>,
    shared: Arc<Shared>,
    watch: Watch,
    /// What the last load looked at.
    sources: Sources,
    /// What the main thread has put in force, and the hash of its files.
    in_force: Arc<Policy>,
    hash: Option<Hash>,
    /// The delivery that the main thread was last given.
    given: Option<Arc<Delivery>>,
    /// Whether the last load failed.
    failed: bool,
    /// Lines for the next delivery.
    notes: Vec<(Level, String)>,
    state_dir: Option<StateDir>,
    /// What is to be kept once it is in force: since when.
    to_keep: Option<SystemTime>,
    confirm_at: Option<Instant>,
    tell_at: Instant,
    /// What was told already.
    keep_failed: bool,
    metrics_failed: bool,
}

impl Thread {
    fn new(
        broker: &'static Broker,
        options: Options,
        state: Arc<State>,
        waker: Option<Waker>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            broker,
            state,
            waker,
            shared,
            watch: Watch::new(options.watch),
            sources: Sources::default(),
            in_force: Arc::new(Policy::deny_all()),
            hash: None,
            given: None,
            failed: false,
            notes: Vec::new(),
            state_dir: None,
            to_keep: None,
            confirm_at: None,
            // There is nothing to tell before the main thread has taken up the first policy.
            tell_at: Instant::now() + TELL,
            keep_failed: false,
            metrics_failed: false,
            options,
        }
    }

    fn run(mut self, first: &Sender<Arc<Delivery>>) {
        let outcome = self.start();
        threads::give_memory_back();
        let delivery = self.pack(Some(outcome));
        if first.send(delivery).is_err() {
            return;
        }
        threads::yield_to_all();
        loop {
            let most = self.tell_at.saturating_duration_since(Instant::now());
            self.watch.wait(&self.shared.bell, &self.sources, most);
            if self.has_ended() {
                return;
            }
            self.collect();
            self.keep();
            let has_changed = !self.is_asked() && self.has_changed();
            let asked = self.shared.asked.swap(false, Ordering::AcqRel);
            if asked || has_changed {
                self.load(asked);
            }
            self.tell();
            if !self.notes.is_empty() {
                self.deliver(None);
            }
        }
    }

    fn is_asked(&self) -> bool {
        self.shared.asked.load(Ordering::Acquire)
    }

    fn has_ended(&self) -> bool {
        self.shared.ended.load(Ordering::Acquire)
    }

    /// What the policy says as the broker starts.
    fn start(&mut self) -> Outcome {
        if self.options.on_bad_policy == OnBadPolicy::LastGood {
            match StateDir::open(&self.options.state_dir, &self.options.policy_file) {
                Ok(state_dir) => self.state_dir = Some(state_dir),
                Err(why) => self.note(Level::Warning, format!("the last good policy is not kept: {why}")),
            }
        }
        match self.read() {
            Ok(loaded) => self.policy(loaded),
            Err(failed) if failed.is_absence() => {
                self.failed = true;
                Outcome::Failure(failed)
            }
            Err(failed) => {
                self.failed = true;
                self.last_good(failed)
            }
        }
    }

    /// What is used in place of broken files.
    fn last_good(&mut self, failed: Failed) -> Outcome {
        let Some(state_dir) = &self.state_dir else { return Outcome::Failure(failed) };
        let (last_good, confirmed) = match state_dir.read() {
            Ok(Some(kept)) => kept,
            Ok(None) => return Outcome::Failure(failed),
            Err(why) => {
                self.note(Level::Error, format!("the last good policy cannot be used: {why}"));
                return Outcome::Failure(failed);
            }
        };
        // A clock that is behind must not keep it from being used, nor one that was ahead.
        let age = SystemTime::now().duration_since(confirmed).unwrap_or_default();
        if age > self.options.last_good_max_age {
            let days = age.as_secs() / 86_400;
            self.note(
                Level::Error,
                format!("the last good policy cannot be used: it was last in force {days} days ago (mend the policy)"),
            );
            return Outcome::Failure(failed);
        }
        let since = last_good.since();
        match last_good.restore() {
            Ok((mut policy, left_out)) => {
                self.fit(&mut policy);
                let policy = Arc::new(policy);
                Outcome::LastGood { policy, since, left_out, failed }
            }
            Err(failure) => {
                self.note(Level::Error, format!("the last good policy cannot be used: {failure}"));
                Outcome::Failure(failed)
            }
        }
    }

    /// Whether the files are no longer what was loaded, and have come to rest. Requests go first.
    fn has_changed(&mut self) -> bool {
        if !self.watch.is_due() {
            return false;
        }
        if !self.watch.looked() && !self.sources.have_changed() {
            return false;
        }
        let start = Instant::now();
        let mut glance = self.sources.glance();
        let mut since = start;
        while since.elapsed() < QUIET || (self.watch.is_written() && start.elapsed() < PATIENCE) {
            self.watch.wait(&self.shared.bell, &self.sources, QUIET);
            // A folder may be busy.
            std::thread::sleep(QUIET / 5);
            if self.has_ended() {
                return false;
            }
            if self.is_asked() || start.elapsed() > PATIENCE {
                break;
            }
            let next = self.sources.glance();
            if self.watch.looked() || next != glance {
                glance = next;
                since = Instant::now();
            }
        }
        true
    }

    fn load(&mut self, asked: bool) {
        let result = self.read();
        // What was not taken up by now never will be.
        drop(self.take_back());
        let was_failed = std::mem::replace(&mut self.failed, result.is_err());
        match result {
            Err(failed) => self.deliver(Some(Outcome::Failure(failed))),
            Ok(_) if self.hash.is_some() && self.sources.hash() == self.hash => {
                if asked || was_failed {
                    self.deliver(Some(Outcome::Unchanged));
                }
            }
            Ok(mut loaded) => {
                loaded.policy.inherit(&self.in_force);
                let outcome = self.policy(loaded);
                self.deliver(Some(outcome));
            }
        }
    }

    fn policy(&self, loaded: Loaded) -> Outcome {
        Outcome::Policy { policy: Arc::new(loaded.policy), problems: loaded.warnings, hash: self.sources.hash() }
    }

    /// Reads the policy as this broker may be given it, and watches what it was read from.
    fn read(&mut self) -> Result<Loaded, Failed> {
        let path = &self.options.policy_file;
        self.watch.looked();
        // A panic must not end the thread: there would never be a new policy again.
        let start = Instant::now();
        let read = catch_unwind(AssertUnwindSafe(|| load_with_sources(path, &Trust::process())));
        if start.elapsed() > LONG {
            let took = start.elapsed().as_secs_f64();
            self.note(Level::Notice, format!("the policy took {took:.1} s to read"));
        }
        let Ok((result, sources)) = read else {
            // The same files would cause another, so the next one waits for SIGHUP.
            self.sources = Sources::default();
            return Err(Failed { code: "panic", summary: "a panic while it was read".into(), problems: Vec::new() });
        };
        if let Some(line) = self.watch.follow(&sources) {
            self.note(Level::Warning, line);
        }
        self.sources = sources;
        let mut loaded = result?;
        if self.fit(&mut loaded.policy) {
            let text = "[anonymous] is not in force: this broker is not told `allow_anonymous true`, and would then free \
                        anonymous sessions twice at SIGHUP (add that line to mosquitto.conf, and restart)";
            let place = Place::whole(&Arc::from(self.options.policy_file.as_path()));
            loaded.warnings.push(Problem { place, severity: Severity::Warning, text: text.into() });
        }
        Ok(loaded)
    }

    /// Takes away what this broker must not have; whether there was something.
    fn fit(&self, policy: &mut Policy) -> bool {
        !self.broker.is_2_1() && conf::allows_anonymous() == Some(false) && policy.drop_anonymous()
    }

    /// Takes a delivery back that the main thread has not taken up; else it is in force, or will be at once.
    fn take_back(&mut self) -> Option<Outcome> {
        let Some(delivery) = self.shared.delivery.swap(None) else {
            self.settle();
            return None;
        };
        self.given = None;
        // Nothing else holds it.
        let delivery = Arc::into_inner(delivery)?;
        self.notes.splice(0..0, delivery.notes);
        delivery.outcome
    }

    /// The main thread has what it was given.
    fn settle(&mut self) {
        let Some(given) = self.given.take() else { return };
        match &given.outcome {
            Some(Outcome::Policy { policy, hash, .. }) => {
                self.in_force = Arc::clone(policy);
                self.hash = *hash;
                self.to_keep = Some(SystemTime::now());
                self.confirm_at = None;
                self.tell_at = Instant::now();
            }
            Some(Outcome::LastGood { policy, .. }) => {
                self.in_force = Arc::clone(policy);
                self.hash = None;
                self.tell_at = Instant::now();
            }
            Some(Outcome::Unchanged | Outcome::Failure(_)) => self.tell_at = Instant::now(),
            None => {}
        }
    }

    /// Frees what the main thread has given back.
    fn collect(&mut self) {
        while let Some(returned) = self.shared.returned.pop() {
            match (returned, &self.given) {
                (Returned::Delivery(delivery), Some(given)) if Arc::ptr_eq(&delivery, given) => self.settle(),
                _ => {}
            }
        }
    }

    /// Keeps what is in force, as soon as it is; and notes now and then that it still is.
    fn keep(&mut self) {
        let Some(state_dir) = &self.state_dir else { return };
        let now = Instant::now();
        match self.to_keep {
            // Files that have changed since are read again before long.
            Some(since) if self.hash.is_some() && self.sources.hash() == self.hash => {
                match state_dir.keep(&self.sources, since) {
                    Err(Unkept::Changed) => return,
                    Err(Unkept::Other(why)) => {
                        // It is older than what was in force since, and has users who may have been removed.
                        state_dir.forget();
                        if !std::mem::replace(&mut self.keep_failed, true) {
                            let line =
                                format!("the last good policy is not kept, so a broken one would stop a start: {why}");
                            self.note(Level::Warning, line);
                        }
                    }
                    Ok(()) => {
                        self.keep_failed = false;
                        self.confirm_at = Some(now + CONFIRM);
                    }
                }
                self.to_keep = None;
            }
            None if self.confirm_at.is_some_and(|at| at <= now) => {
                // Next time will do.
                let _ = state_dir.confirm();
                self.confirm_at = Some(now + CONFIRM);
            }
            _ => {}
        }
    }

    /// Brings `$SYS` and the metrics file up to date where that is due.
    fn tell(&mut self) {
        let now = Instant::now();
        if now < self.tell_at {
            return;
        }
        self.tell_at = now + TELL;
        self.state.is_due();
        let Some(path) = &self.options.metrics_file else { return };
        let text = self.state.metrics();
        let written = files::replace::<io::Error>(path, 0o644, Durable::No, |to| to.write_all(text.as_bytes()));
        let failed = written.is_err();
        if let (Err(error), false) = (written, self.metrics_failed) {
            let path = OneLine(&path.to_string_lossy()).to_string();
            self.note(Level::Warning, format!("the metrics file `{path}` cannot be written: {error}"));
        }
        self.metrics_failed = failed;
    }

    fn note(&mut self, level: Level, line: String) {
        self.notes.push((level, line));
    }

    fn pack(&mut self, outcome: Option<Outcome>) -> Arc<Delivery> {
        let delivery = Arc::new(Delivery { notes: std::mem::take(&mut self.notes), outcome });
        self.given = Some(Arc::clone(&delivery));
        delivery
    }

    fn deliver(&mut self, outcome: Option<Outcome>) {
        let waits = self.take_back();
        let delivery = self.pack(outcome.or(waits));
        self.shared.delivery.store(Some(delivery));
        self.shared.ready.store(true, Ordering::Release);
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }
}
