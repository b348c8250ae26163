//! Log lines, from any thread, without ever making the broker wait.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use crate::broker::{Broker, Level};

/// What clients did that is logged line by line in each window; the rest is counted.
const REMARKS: u32 = 50;
const WINDOW: Duration = Duration::from_secs(1);
/// Lines of other threads that are kept for the main thread.
const KEPT: usize = 1000;

/// The broker's log, as the rest of the plugin uses it.
///
/// The broker may call back while it logs (`log_dest topic`), so no lock is held at that moment.
#[derive(Debug)]
pub(crate) struct Journal {
    broker: &'static Broker,
    main: ThreadId,
    later: Mutex<Vec<(Level, String)>>,
    remarks: Mutex<Remarks>,
    alarms: Mutex<Remarks>,
    /// Whether there may be anything to flush, which a clock would tell at a higher price.
    any: AtomicBool,
}

#[derive(Debug)]
struct Remarks {
    since: Instant,
    logged: u32,
    left_out: u64,
}

impl Journal {
    /// For the main thread to make.
    pub(crate) fn new(broker: &'static Broker) -> Self {
        Self {
            broker,
            main: thread::current().id(),
            later: Mutex::default(),
            remarks: Mutex::default(),
            alarms: Mutex::default(),
            any: AtomicBool::new(false),
        }
    }

    /// Logs a line now, or at the next [`Journal::flush`] where this is not the main thread.
    pub(crate) fn say(&self, level: Level, line: &str) {
        if thread::current().id() == self.main {
            self.broker.log(level, &format!("mqtt-acl: {line}"));
            return;
        }
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        if later.len() < KEPT {
            later.push((level, line.to_owned()));
        }
        self.any.store(true, Ordering::Relaxed);
    }

    /// Logs what a client did, unless there was too much of that of late: nobody must be able to flood the log.
    pub(crate) fn remark(&self, line: impl FnOnce() -> String) {
        self.ration(&self.remarks, Level::Notice, line);
    }

    /// Logs what somebody should look into, which is not to drown in remarks.
    pub(crate) fn alarm(&self, line: impl FnOnce() -> String) {
        self.ration(&self.alarms, Level::Warning, line);
    }

    fn ration(&self, remarks: &Mutex<Remarks>, level: Level, line: impl FnOnce() -> String) {
        let mut remarks = remarks.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = remarks.renew();
        let logged = remarks.logged < REMARKS;
        if logged {
            remarks.logged += 1;
        } else {
            remarks.left_out += 1;
        }
        drop(remarks);
        self.any.store(true, Ordering::Relaxed);
        self.say_left_out(left_out);
        if logged {
            self.say(level, &line());
        }
    }

    /// Whether nothing waits.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        !self.any.load(Ordering::Relaxed)
    }

    /// Logs what waits. For the main thread, at each TICK.
    pub(crate) fn flush(&self) {
        if self.is_quiet() {
            return;
        }
        self.any.store(false, Ordering::Relaxed);
        let later = std::mem::take(&mut *self.later.lock().unwrap_or_else(PoisonError::into_inner));
        for (level, line) in later {
            self.say(level, &line);
        }
        for remarks in [&self.remarks, &self.alarms] {
            let mut remarks = remarks.lock().unwrap_or_else(PoisonError::into_inner);
            let left_out = remarks.renew();
            if remarks.left_out > 0 {
                self.any.store(true, Ordering::Relaxed);
            }
            drop(remarks);
            self.say_left_out(left_out);
        }
    }

    fn say_left_out(&self, count: u64) {
        if count > 0 {
            self.say(Level::Notice, &format!("and {count} more like these within a second"));
        }
    }
}

impl Default for Remarks {
    fn default() -> Self {
        Self { since: Instant::now(), logged: 0, left_out: 0 }
    }
}

impl Remarks {
    /// Begins a new window where the old one is over; returns how many were left out of that.
    fn renew(&mut self) -> u64 {
        if (self.logged == 0 && self.left_out == 0) || self.since.elapsed() < WINDOW {
            return 0;
        }
        self.since = Instant::now();
        self.logged = 0;
        std::mem::take(&mut self.left_out)
    }
}
