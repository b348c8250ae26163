//! How far something is that takes a while, on a terminal and nowhere else.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Does something, and says what it is if that takes over a second.
pub(crate) fn saying<T>(what: &str, work: impl FnOnce() -> T) -> T {
    const LONG: Duration = Duration::from_secs(1);
    if !io::stderr().is_terminal() {
        return work();
    }
    let (done, is_done) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if is_done.recv_timeout(LONG) == Err(RecvTimeoutError::Timeout) {
                let _ = write!(io::stderr(), "\r{what} ...");
                let _ = is_done.recv();
                let _ = write!(io::stderr(), "\r{}\r", " ".repeat(what.len() + 4));
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// A bar on standard error, which goes away when it is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    total: usize,
    /// In percent; `None` where nobody would see it.
    shown: Option<usize>,
}

impl Progress {
    pub(crate) fn of(what: &'static str, total: usize) -> Self {
        let is_seen = io::stderr().is_terminal() && total > 0;
        let mut progress = Self { what, total, shown: is_seen.then_some(usize::MAX) };
        progress.at(0);
        progress
    }

    /// So many are done.
    pub(crate) fn at(&mut self, done: usize) {
        const WIDTH: usize = 40;
        let percent = done.min(self.total) * 100 / self.total.max(1);
        if self.shown.is_none_or(|shown| shown == percent) {
            return;
        }
        self.shown = Some(percent);
        let full = percent * WIDTH / 100;
        let bar = format!("{}{}", "#".repeat(full), "-".repeat(WIDTH - full));
        let _ = write!(io::stderr(), "\r{} [{bar}] {percent:3} %", self.what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            // Over the bar, and back to where it began.
            let _ = write!(io::stderr(), "\r{}\r", " ".repeat(self.what.len() + 50));
        }
    }
}
