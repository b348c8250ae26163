//! The audit file: what happened, as lines of JSON, for machines (`plugin_opt_audit_file`).
//!
//! ```text
//! {"address":"192.0.2.7","at":"2026-01-31T12:00:00.000Z","client":"dev00001","event":"login","user":"dev00001"}
//! ```
//!
//! A thread writes it. The broker hands its records over and never waits: where the disk is full, slow or gone, they are
//! counted, and once it can be written again a record with the event `lost` tells how many.
//!
//! Names and topics are bytes that clients chose. What is UTF-8 stands as it is, each other byte as `\xHH`, and `\` as `\\`,
//! so that nothing is lost and nothing can be forged; what is longer than 1,024 bytes, in a refusal 256, is cut, and the record says
//! `"cut":true`.
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use mqtt_acl_policy::OneLine;
use serde_json::{Map, Value};

use crate::threads;

/// Records that wait for the disk.
const WAITING: usize = 4_096;
/// Failed logins that are written in a second: a flood of them must not fill the disk.
const FAILURES: u64 = 100;
const LONGEST: usize = 1_024;
/// While the file cannot be opened: how often that is tried.
const RETRY: Duration = Duration::from_secs(1);

/// The audit file, or that there is none.
#[derive(Debug)]
pub(crate) struct Audit(Option<Writer>);

#[derive(Debug)]
struct Writer {
    /// `None` once the thread is told to end.
    records: Option<SyncSender<Job>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    failures: Mutex<Failures>,
    /// Whether any failures are counted.
    counts: AtomicBool,
}

#[derive(Debug)]
enum Job {
    Write(Record),
    /// See whether the file is to be opened anew.
    Look,
}

#[derive(Debug, Default)]
struct Shared {
    reopen: AtomicBool,
    /// Records that were not written.
    lost: AtomicU64,
    has_news: AtomicBool,
    /// For the broker's log.
    news: Mutex<Vec<String>>,
}

#[derive(Debug)]
struct Failures {
    since: Instant,
    count: u64,
}

/// One line in the making.
#[derive(Debug)]
pub(crate) struct Record {
    at: SystemTime,
    fields: Map<String, Value>,
}

impl Record {
    pub(crate) fn new(event: &'static str) -> Self {
        Self { at: SystemTime::now(), fields: Map::new() }.with("event", event)
    }

    pub(crate) fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.fields.insert(key.to_owned(), value.into());
        self
    }

    /// A field that holds what a client, or the broker, says.
    pub(crate) fn bytes(self, key: &'static str, bytes: Option<&[u8]>) -> Self {
        let Some(bytes) = bytes else { return self };
        let shown = bytes.get(..LONGEST).unwrap_or(bytes);
        let record = self.with(key, escaped(shown));
        if shown.len() < bytes.len() { record.with("cut", true) } else { record }
    }

    fn line(mut self) -> Vec<u8> {
        self.fields.insert("at".to_owned(), humantime::format_rfc3339_millis(self.at).to_string().into());
        format!("{}\n", Value::Object(self.fields)).into_bytes()
    }
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(&chunk.valid().replace('\\', "\\\\"));
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

impl Audit {
    /// Starts the thread, if there is to be a file.
    pub(crate) fn start(path: Option<PathBuf>) -> io::Result<Self> {
        let Some(path) = path else { return Ok(Self(None)) };
        let (records, queue) = sync_channel(WAITING);
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        // It takes no signal: neither SIGXFSZ, where a file would grow too large, nor SIGPIPE ends the broker.
        let thread = threads::spawn("mqtt-acl-audit", move || run(&path, &queue, &theirs))?;
        let failures = Mutex::new(Failures { since: Instant::now(), count: 0 });
        let audit = Self(Some(Writer {
            records: Some(records),
            shared,
            thread: Some(thread),
            failures,
            counts: AtomicBool::new(false),
        }));
        // The file is there from the start, and the log says so if not.
        audit.send(|| Job::Look);
        Ok(audit)
    }

    pub(crate) fn note(&self, record: impl FnOnce() -> Record) {
        self.send(|| Job::Write(record()));
    }

    /// Notes a login that failed, unless there were too many within this second.
    pub(crate) fn note_failure(&self, record: impl FnOnce() -> Record) {
        let Self(Some(writer)) = self else { return };
        let (left_out, is_written) = {
            let mut failures = writer.failures();
            let left_out = failures.renew(Instant::now());
            failures.count += 1;
            writer.counts.store(true, Ordering::Relaxed);
            (left_out, failures.count <= FAILURES)
        };
        self.note_left_out(left_out);
        if is_written {
            self.note(record);
        }
    }

    /// SIGHUP: whoever rotates log files has renamed this one.
    pub(crate) fn reopen(&self) {
        if let Self(Some(writer)) = self {
            writer.shared.reopen.store(true, Ordering::Release);
            self.send(|| Job::Look);
        }
    }

    /// Whether TICK would find neither news nor failures that are counted.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        let Self(Some(writer)) = self else { return true };
        !writer.shared.has_news.load(Ordering::Acquire) && !writer.counts.load(Ordering::Relaxed)
    }

    /// TICK: what the broker's log should say.
    pub(crate) fn news(&self) -> Vec<String> {
        let Self(Some(writer)) = self else { return Vec::new() };
        let left_out = {
            let mut failures = writer.failures();
            let left_out = failures.renew(Instant::now());
            writer.counts.store(failures.count > 0, Ordering::Relaxed);
            left_out
        };
        self.note_left_out(left_out);
        if !writer.shared.has_news.load(Ordering::Acquire) {
            return Vec::new();
        }
        writer.shared.has_news.store(false, Ordering::Release);
        std::mem::take(&mut writer.shared.news.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note_left_out(&self, count: u64) {
        if count > 0 {
            self.note(|| Record::new("refused_logins_left_out").with("count", count));
        }
    }

    fn send(&self, job: impl FnOnce() -> Job) {
        let Self(Some(Writer { records: Some(records), shared, .. })) = self else { return };
        let job = job();
        let is_record = matches!(job, Job::Write(_));
        if records.try_send(job).is_err() && is_record {
            shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Writer {
    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failures {
    /// Begins a new second where the old one is over; how many were left out of that.
    fn renew(&mut self, now: Instant) -> u64 {
        if self.count == 0 || now.duration_since(self.since) < Duration::from_secs(1) {
            return 0;
        }
        self.since = now;
        std::mem::take(&mut self.count).saturating_sub(FAILURES)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.records = None;
        self.thread.take().into_iter().for_each(threads::join);
    }
}

fn run(path: &Path, queue: &Receiver<Job>, shared: &Shared) {
    let mut output = Output { path, shared, file: None, is_cut: false, tried: None, has_failed: false };
    while let Ok(job) = queue.recv() {
        if shared.reopen.swap(false, Ordering::AcqRel) {
            output.file = None;
            output.tried = None;
        }
        match job {
            Job::Write(record) => output.write(record),
            Job::Look => output.look(),
        }
    }
    output.tell_lost();
}

struct Output<'a> {
    path: &'a Path,
    shared: &'a Shared,
    file: Option<File>,
    /// Whether the file ends with a part of a line.
    is_cut: bool,
    tried: Option<Instant>,
    has_failed: bool,
}

impl Output<'_> {
    fn write(&mut self, record: Record) {
        self.tell_lost();
        let result = self.append(&record.line());
        self.note(result, 1);
    }

    fn look(&mut self) {
        let result = self.opened().map(|_| ());
        self.note(result, 0);
    }

    /// Writes how many records were lost, once that can be written.
    fn tell_lost(&mut self) {
        let lost = self.shared.lost.swap(0, Ordering::Relaxed);
        if lost > 0 && self.append(&Record::new("lost").with("count", lost).line()).is_err() {
            self.shared.lost.fetch_add(lost, Ordering::Relaxed);
        }
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let is_cut = self.is_cut;
        let mut file = self.opened()?;
        if is_cut {
            file.write_all(b"\n")?;
        }
        let mut rest = line;
        let result = loop {
            if rest.is_empty() {
                break Ok(());
            }
            match file.write(rest) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.is_cut = result.is_err() && rest.len() < line.len();
        result
    }

    /// The file, opened if it is not. What hangs, or is not the file that was meant, is refused: a FIFO, a link.
    fn opened(&mut self) -> io::Result<&File> {
        if self.file.is_none() {
            if self.tried.is_some_and(|tried| tried.elapsed() < RETRY) {
                return Err(io::ErrorKind::NotFound.into());
            }
            self.tried = Some(Instant::now());
            let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
            let file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(self.path)?;
            if !file.metadata()?.is_file() {
                return Err(io::Error::other("it is not a regular file"));
            }
            self.is_cut = false;
            self.file = Some(file);
        }
        self.file.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Tells the broker's log when the file cannot be written any more, and when it can again.
    fn note(&mut self, result: io::Result<()>, records: u64) {
        let path = self.path.to_string_lossy();
        let news = match result {
            Ok(()) if self.has_failed => format!("the audit file {} is written again", OneLine(&path)),
            Ok(()) => return,
            Err(error) => {
                self.shared.lost.fetch_add(records, Ordering::Relaxed);
                if self.has_failed {
                    return;
                }
                format!("the audit file {} cannot be written, its records are lost: {error}", OneLine(&path))
            }
        };
        self.has_failed = !self.has_failed;
        self.shared.news.lock().unwrap_or_else(PoisonError::into_inner).push(news);
        self.shared.has_news.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn lines(path: &Path) -> Vec<Value> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn news(audit: &Audit) -> String {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            if let Some(news) = audit.news().first() {
                return news.clone();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("no news");
    }

    #[test]
    fn a_record_is_a_line_of_json_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let audit = Audit::start(Some(path.clone())).unwrap();
        let hostile: &[u8] = b"a\"b\\x\xff\n\xc3\xa9\0";
        audit.note(|| Record::new("login").bytes("user", Some(hostile)).bytes("client", None).with("count", 3_u64));
        audit.note(|| Record::new("login").bytes("user", Some(&[b'x'; LONGEST + 1])));
        drop(audit);
        let lines = lines(&path);
        assert_eq!(lines[0]["user"], "a\"b\\\\x\\xff\n\u{e9}\0");
        assert_eq!((&lines[0]["event"], &lines[0]["count"]), (&"login".into(), &3.into()));
        assert!(lines[0].get("client").is_none() && lines[0].get("cut").is_none());
        assert_eq!(lines[1]["cut"], true);
        assert_eq!(lines[1]["user"].as_str().unwrap().len(), LONGEST);
        let at = lines[0]["at"].as_str().unwrap();
        let age = SystemTime::now().duration_since(humantime::parse_rfc3339(at).unwrap()).unwrap();
        assert!(age < Duration::from_secs(60), "{at}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_was_renamed_is_left_at_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("audit"), folder.path().join("audit.1"));
        let audit = Audit::start(Some(path.clone())).unwrap();
        audit.note(|| Record::new("one"));
        while !path.exists() || lines(&path).is_empty() {}
        fs::rename(&path, &old).unwrap();
        audit.note(|| Record::new("two"));
        while lines(&old).len() < 2 {}
        audit.reopen();
        audit.note(|| Record::new("three"));
        drop(audit);
        let events =
            |path: &Path| lines(path).iter().map(|line| line["event"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!((events(&old), events(&path)), (vec!["one".into(), "two".into()], vec!["three".into()]));
    }

    #[test]
    fn what_is_no_file_is_refused_and_said() {
        let folder = tempfile::tempdir().unwrap();
        let (link, target) = (folder.path().join("link"), folder.path().join("target"));
        symlink(&target, &link).unwrap();
        for path in [link.as_path(), Path::new("/dev/full"), folder.path(), &folder.path().join("none/audit")] {
            let audit = Audit::start(Some(path.to_owned())).unwrap();
            audit.note(|| Record::new("one"));
            assert!(news(&audit).contains("cannot be written"), "{}", path.display());
        }
        assert!(!target.exists());
    }

    #[test]
    fn what_was_lost_is_told_once_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("later/audit");
        let audit = Audit::start(Some(path.clone())).unwrap();
        for _ in 0..5 {
            audit.note(|| Record::new("one"));
        }
        assert!(news(&audit).contains("cannot be written"));
        let Audit(Some(writer)) = &audit else { panic!("it was started") };
        while writer.shared.lost.load(Ordering::Relaxed) < 5 {
            std::thread::sleep(Duration::from_millis(1));
        }
        fs::create_dir(folder.path().join("later")).unwrap();
        audit.reopen();
        assert!(news(&audit).contains("written again"));
        audit.note(|| Record::new("two"));
        drop(audit);
        let lines = lines(&path);
        assert_eq!((&lines[0]["event"], &lines[0]["count"]), (&"lost".into(), &5.into()));
        assert_eq!(lines[1]["event"], "two");
    }

    #[test]
    fn a_flood_of_failures_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let audit = Audit::start(Some(path.clone())).unwrap();
        for _ in 0..10 * FAILURES {
            audit.note_failure(|| Record::new("refused_login"));
        }
        std::thread::sleep(Duration::from_secs(1));
        audit.news();
        drop(audit);
        let lines = lines(&path);
        let written = lines.iter().filter(|line| line["event"] == "refused_login").count() as u64;
        let left_out: u64 = lines.iter().filter_map(|line| line.get("count")?.as_u64()).sum();
        assert!(written < 10 * FAILURES, "{written}");
        assert_eq!(written + left_out, 10 * FAILURES);
    }
}
