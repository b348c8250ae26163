//! How the loader waits: for somebody who asks, and for the policy's files to change.
//!
//! inotify tells that something happened in one of their folders; whether they changed is what a look at them says. So it
//! does not matter by what means a file came to be another. Folders that tell nothing (of other machines, or beyond what the
//! system lets one watch) are looked at from time to time.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mqtt_acl_policy::{OneLine, Sources};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// How often the files are looked at where nothing tells of changes, and where something should.
const BLIND: Duration = Duration::from_secs(2);
const SIGHTED: Duration = Duration::from_secs(30);

/// What may change a file, its name, a link to it, or who may change it.
const EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Wakes the loader.
#[derive(Debug)]
pub(super) struct Bell(OwnedFd);

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(super) fn ring(&self) {
        // It can only fail when it rings already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    fn hush(&self) {
        let _ = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }
}

/// What to wait for beside the bell.
#[derive(Debug)]
pub(super) struct Watch {
    is_on: bool,
    inotify: Option<OwnedFd>,
    folders: HashMap<i32, PathBuf>,
    /// Files that are being written, and when that was last seen.
    writing: HashMap<(PathBuf, OsString), Instant>,
    /// Whether something happened to a file of the policy.
    heard: bool,
    /// When to look at them whatever was heard.
    look_at: Instant,
    /// Whether there are folders that tell nothing, and whether that was said.
    is_blind: bool,
    told: bool,
}

impl Watch {
    /// What watches nothing yet, or never will.
    pub(super) fn new(is_on: bool) -> Self {
        let inotify = is_on.then(|| inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)).and_then(Result::ok);
        Self {
            is_on,
            inotify,
            folders: HashMap::new(),
            writing: HashMap::new(),
            heard: false,
            look_at: Instant::now(),
            is_blind: false,
            told: false,
        }
    }

    /// Watches the folders of what a load looked at, and no others. Says, once, that there are some that cannot be watched.
    pub(super) fn follow(&mut self, sources: &Sources) -> Option<String> {
        if !self.is_on {
            return None;
        }
        // What happened before it was watched shows at the next look.
        self.look_at = Instant::now();
        self.writing.clear();
        let mut problem = None;
        match &self.inotify {
            None => problem = Some("inotify is not to be had".to_owned()),
            Some(inotify) => {
                let mut folders = HashMap::new();
                for folder in sources.folders() {
                    match inotify::add_watch(inotify, folder, EVENTS) {
                        Ok(number) => {
                            folders.insert(number, folder.to_path_buf());
                        }
                        // It went away meanwhile, and the next look will tell.
                        Err(Errno::NOENT | Errno::NOTDIR) => {}
                        Err(error) => problem = Some(format!("`{}`: {error}", OneLine(&folder.to_string_lossy()))),
                    }
                }
                for number in self.folders.keys().filter(|number| !folders.contains_key(number)) {
                    // It may be gone with its folder.
                    let _ = inotify::remove_watch(inotify, *number);
                }
                self.folders = folders;
            }
        }
        self.is_blind = problem.is_some();
        let problem = problem.filter(|_| !std::mem::replace(&mut self.told, true))?;
        let seconds = BLIND.as_secs();
        Some(format!("changes of the policy cannot be watched, {problem}; its files are looked at every {seconds} s"))
    }

    /// Waits until the bell rings, something happens in a folder, or it is time to look.
    pub(super) fn wait(&mut self, bell: &Bell, sources: &Sources, most: Duration) {
        let most = if self.is_on { most.min(self.look_at.saturating_duration_since(Instant::now())) } else { most };
        let timeout =
            Timespec { tv_sec: most.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: most.subsec_nanos().into() };
        let mut events = vec![PollFd::new(&bell.0, PollFlags::IN)];
        events.extend(self.inotify.iter().map(|inotify| PollFd::new(inotify, PollFlags::IN)));
        if let Err(error) = poll(&mut events, Some(&timeout)) {
            // No signal comes here, so this is nothing that passes by itself: at least it must not spin.
            if error != Errno::INTR {
                std::thread::sleep(BLIND);
            }
        }
        bell.hush();
        self.listen(sources);
    }

    /// Whether it is time to look at the files.
    pub(super) fn is_due(&self) -> bool {
        self.is_on && (self.heard || self.look_at <= Instant::now())
    }

    /// They are looked at now; whether something was heard of them since the last time.
    pub(super) fn looked(&mut self) -> bool {
        self.look_at = Instant::now() + if self.is_blind { BLIND } else { SIGHTED };
        std::mem::take(&mut self.heard)
    }

    /// Whether somebody has one of them open who wrote to it of late.
    pub(super) fn is_written(&self) -> bool {
        /// A program may keep a file open for good.
        const FORGOTTEN: Duration = Duration::from_secs(5);
        self.writing.values().any(|since| since.elapsed() < FORGOTTEN)
    }

    fn listen(&mut self, sources: &Sources) {
        let Some(inotify) = &self.inotify else { return };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            let flags = event.events();
            self.heard |= flags.contains(ReadFlags::QUEUE_OVERFLOW);
            let Some(folder) = self.folders.get(&event.wd()) else { continue };
            let Some(name) = event.file_name() else {
                // The folder itself.
                self.look_at = Instant::now();
                continue;
            };
            let name = OsStr::from_bytes(name.to_bytes());
            if !sources.concerns(folder, name) {
                continue;
            }
            self.heard = true;
            let file = (folder.clone(), name.to_owned());
            if flags.contains(ReadFlags::MODIFY) {
                self.writing.insert(file, Instant::now());
            } else if !flags.contains(ReadFlags::ATTRIB) {
                self.writing.remove(&file);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use mqtt_acl_policy::{Trust, load_with_sources};

    use super::*;

    struct Watched {
        folder: tempfile::TempDir,
        watch: Watch,
        bell: Bell,
        sources: Sources,
    }

    impl Watched {
        fn new() -> Self {
            let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
            let path = folder.path().join("p.toml");
            fs::write(&path, "version = 1\n").unwrap();
            let sources = load_with_sources(&path, &Trust::process()).1;
            let mut watch = Watch::new(true);
            assert_eq!(watch.follow(&sources), None);
            assert!(watch.is_due() && !watch.looked() && !watch.is_due());
            Self { folder, watch, bell: Bell::new().unwrap(), sources }
        }

        fn wait(&mut self) {
            self.watch.wait(&self.bell, &self.sources, Duration::from_secs(10));
        }
    }

    #[test]
    fn what_concerns_the_policy_is_heard_and_nothing_else() {
        let mut watched = Watched::new();
        fs::write(watched.folder.path().join(".p.toml.swp"), "x").unwrap();
        watched.wait();
        assert!(!watched.watch.is_due());
        fs::write(watched.folder.path().join("new"), "version = 1\n").unwrap();
        fs::rename(watched.folder.path().join("new"), watched.folder.path().join("p.toml")).unwrap();
        watched.wait();
        assert!(watched.watch.is_due() && watched.watch.looked() && !watched.watch.is_due());
    }

    #[test]
    fn a_file_is_written_until_it_is_closed() {
        let mut watched = Watched::new();
        let mut file = fs::OpenOptions::new().append(true).open(watched.folder.path().join("p.toml")).unwrap();
        file.write_all(b"# half").unwrap();
        watched.wait();
        assert!(watched.watch.is_written());
        drop(file);
        watched.wait();
        assert!(!watched.watch.is_written());
    }

    #[test]
    fn the_bell_ends_the_wait_and_rings_no_more() {
        let mut watched = Watched::new();
        watched.bell.ring();
        watched.bell.ring();
        let start = Instant::now();
        watched.wait();
        assert!(start.elapsed() < Duration::from_secs(9));
        watched.watch.wait(&watched.bell, &watched.sources, Duration::from_millis(50));
        assert!(start.elapsed() >= Duration::from_millis(50));
    }

    #[test]
    fn what_cannot_be_watched_is_looked_at_and_told_once() {
        let mut watched = Watched::new();
        watched.watch.inotify = None;
        let told = watched.watch.follow(&watched.sources);
        assert!(told.is_some_and(|line| line.contains("inotify is not to be had")));
        assert_eq!(watched.watch.follow(&watched.sources), None);
        watched.watch.looked();
        let start = Instant::now();
        watched.wait();
        assert!(watched.watch.is_due() && start.elapsed() >= BLIND);
    }

    #[test]
    fn switched_off_it_looks_at_nothing() {
        let mut watched = Watched::new();
        watched.watch = Watch::new(false);
        assert_eq!(watched.watch.follow(&watched.sources), None);
        fs::remove_file(watched.folder.path().join("p.toml")).unwrap();
        watched.watch.wait(&watched.bell, &watched.sources, Duration::from_millis(20));
        assert!(!watched.watch.is_due());
    }
}
