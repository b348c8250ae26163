//! The thread that reads policies, so that the broker's only thread never does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use mqtt_acl_policy::{Failure, Loaded, Place, Policy, Problem, Severity, Trust, load};

use crate::broker::Broker;
use crate::conf;
use crate::threads;

/// What came of a load: a policy to put in force, or why there is none; and the problems, errors or warnings.
#[derive(Debug)]
pub(crate) enum Outcome {
    Policy { policy: Arc<Policy>, problems: Vec<Problem> },
    Failure { summary: String, problems: Vec<Problem> },
}

impl Outcome {
    pub(crate) fn of(result: Result<Loaded, Failure>) -> Self {
        match result {
            Ok(loaded) => Self::Policy { policy: Arc::new(loaded.policy), problems: loaded.warnings },
            Err(failure) => {
                let summary = failure.to_string();
                let problems = if let Failure::Invalid(problems) = failure { problems } else { Vec::new() };
                Self::Failure { summary, problems }
            }
        }
    }
}

/// Reads the policy as this broker may be given it.
pub(crate) fn read(path: &Path, broker: &Broker) -> Result<Loaded, Failure> {
    let mut loaded = load(path, &Trust::process())?;
    if !broker.is_2_1() && conf::allows_anonymous() == Some(false) && loaded.policy.drop_anonymous() {
        let text = "[anonymous] is not in force: this broker is not told `allow_anonymous true`, and would then free \
                    anonymous sessions twice at SIGHUP (add that line to mosquitto.conf, and restart)";
        let place = Place::whole(&Arc::from(path));
        loaded.warnings.push(Problem { place, severity: Severity::Warning, text: text.into() });
    }
    Ok(loaded)
}

enum Request {
    Load,
    /// A policy that is no longer in force; freeing a large one takes a while.
    Free(#[expect(dead_code, reason = "it is only dropped")] Arc<Policy>),
}

/// The thread and what goes back and forth.
#[derive(Debug)]
pub(crate) struct Loader {
    /// `None` once it is told to end.
    requests: Option<Sender<Request>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether there is an outcome: looking costs the main thread one load.
    ready: AtomicBool,
    outcome: Mutex<Option<Outcome>>,
}

impl Loader {
    /// Starts the thread; the policy is the one in force, whose remembered logins the next one takes over.
    pub(crate) fn start(broker: &'static Broker, path: PathBuf, in_force: Arc<Policy>) -> std::io::Result<Self> {
        let (requests, queue) = channel();
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = threads::spawn("mqtt-acl-load", move || run(broker, &path, in_force, &queue, &theirs))?;
        Ok(Self { requests: Some(requests), shared, thread: Some(thread) })
    }

    /// Asks for the policy to be read again.
    pub(crate) fn request(&self) {
        self.send(Request::Load);
    }

    /// Gives a policy away to be freed.
    pub(crate) fn free(&self, policy: Arc<Policy>) {
        self.send(Request::Free(policy));
    }

    /// What came of the last request, once.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        if !self.shared.ready.load(Ordering::Acquire) {
            return None;
        }
        let mut outcome = self.shared.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.ready.store(false, Ordering::Relaxed);
        outcome.take()
    }

    fn send(&self, request: Request) {
        // The thread ends only when the sender is dropped, or by a panic, after which the policy in force stays.
        if let Some(requests) = &self.requests {
            let _ = requests.send(request);
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(broker: &Broker, path: &Path, mut in_force: Arc<Policy>, queue: &Receiver<Request>, shared: &Shared) {
    while let Ok(request) = queue.recv() {
        // Several requests that wait are one: the file is read after the last of them. What is to be freed is, here.
        let waiting = std::iter::once(request).chain(queue.try_iter());
        if waiting.filter(|request| matches!(request, Request::Load)).count() == 0 {
            continue;
        }
        // A panic must not end the thread: there would never be a new policy again.
        let loaded = catch_unwind(AssertUnwindSafe(|| {
            let mut loaded = read(path, broker)?;
            loaded.policy.inherit(&in_force);
            Ok(loaded)
        }));
        let outcome = loaded.map_or_else(
            |_| Outcome::Failure { summary: "a panic while it was read".into(), problems: Vec::new() },
            Outcome::of,
        );
        if let Outcome::Policy { policy, .. } = &outcome {
            in_force = Arc::clone(policy);
        }
        let unread = shared.outcome.lock().unwrap_or_else(PoisonError::into_inner).replace(outcome);
        shared.ready.store(true, Ordering::Release);
        // Outside the lock, which TICK may wait for.
        drop(unread);
    }
}
