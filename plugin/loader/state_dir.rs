//! The folder in which the last good policy is kept (S19).
#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use mqtt_acl_policy::{Hash, LastGood, OneLine, Sources, Unkept};
use rustix::fs::OFlags;

use super::files::{self, Durable};

/// Listeners may each load the plugin, with the same policy.
static WRITING: Mutex<()> = Mutex::new(());

#[derive(Debug)]
pub(super) struct StateDir {
    /// Where the policy of this instance is kept.
    file: PathBuf,
}

impl StateDir {
    /// The folder, which is made where its parent is there; or why it cannot be used.
    pub(super) fn open(folder: &Path, policy: &Path) -> Result<Self, String> {
        let unusable = |why: String| format!("`{}` {why}", OneLine(&folder.to_string_lossy()));
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(unusable(format!("cannot be made: {error}")));
            }
            _ => {}
        }
        let metadata = fs::metadata(folder).map_err(|error| unusable(format!("cannot be looked at: {error}")))?;
        if !metadata.is_dir() {
            return Err(unusable("is not a folder".into()));
        }
        if !is_ours(&metadata) {
            return Err(unusable("can be written by others (`chmod go-w`, and `chown` to the broker's user)".into()));
        }
        // Instances may have policies of their own.
        let hash = Hash::of(policy.as_os_str().as_bytes()).to_string();
        let name = policy.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { file: folder.join(format!("{name}-{}.last-good", hash.get(..8).unwrap_or_default())) })
    }

    /// What is kept, if anything is, and when it was last in force.
    pub(super) fn read(&self) -> Result<Option<(LastGood, SystemTime)>, Unkept> {
        let Some(file) = self.file()? else { return Ok(None) };
        let confirmed = file.metadata()?.modified()?;
        LastGood::read(&mut BufReader::new(file)).map(|last_good| Some((last_good, confirmed)))
    }

    /// Keeps the policy of these files, which is in force since then.
    pub(super) fn keep(&self, sources: &Sources, since: SystemTime) -> Result<(), Unkept> {
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        if self.holds(sources).unwrap_or(false) {
            return Ok(self.confirm()?);
        }
        files::replace(&self.file, 0o600, Durable::Yes, |to| LastGood::keep(sources, since, to))
    }

    /// What is kept is in force now.
    pub(super) fn confirm(&self) -> io::Result<()> {
        File::open(&self.file)?.set_modified(SystemTime::now())
    }

    /// Forgets what is kept: it is older than what was in force since.
    pub(super) fn forget(&self) {
        let _ = fs::remove_file(&self.file);
    }

    /// Whether these files are kept already.
    fn holds(&self, sources: &Sources) -> Result<bool, Unkept> {
        let Some(file) = self.file()? else { return Ok(false) };
        let mut from = BufReader::new(file);
        Ok(Some(LastGood::read(&mut from)?.hash()) == sources.hash())
    }

    fn file(&self) -> io::Result<Option<File>> {
        let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let metadata = file.metadata()?;
        if metadata.is_file() && is_ours(&metadata) {
            Ok(Some(file))
        } else {
            Err(io::Error::other("others could have written it"))
        }
    }
}

/// Whether nobody but root and this process's user can change it.
fn is_ours(metadata: &fs::Metadata) -> bool {
    let owner = metadata.uid();
    (owner == 0 || owner == rustix::process::geteuid().as_raw()) && metadata.mode() & 0o022 == 0
}
