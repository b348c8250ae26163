//! Files that are put in place whole or not at all, whatever interrupts it.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, RenameFlags, XattrFlags};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use crate::exit::Error;
use crate::text::complain;

/// What is going to be in a file, written and safe on the disk, under another name beside it.
#[derive(Debug)]
pub(crate) struct Staged {
    /// Resolved: behind a symbolic link, it is the file that changes, not the link.
    pub(crate) target: PathBuf,
    pub(crate) temporary: PathBuf,
    is_placed: bool,
}

/// Who owns a new file, and who may read it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) mode: u32,
}

impl Staged {
    /// Writes the new content of a file that is there, with its owner, group and mode, and as far as the system lets us,
    /// its ACL and other attributes.
    pub(crate) fn beside(target: &Path, content: &[u8]) -> io::Result<Self> {
        let old = OpenOptions::new().read(true).custom_flags(flags(OFlags::NOFOLLOW)).open(target)?;
        let metadata = old.metadata()?;
        Self::write(target, content, |new| {
            keep(&metadata, new)?;
            copy_attributes(&old, new);
            Ok(())
        })
    }

    /// Writes the content of a file that is not there yet.
    pub(crate) fn new(target: &Path, content: &[u8], access: Access) -> io::Result<Self> {
        Self::write(target, content, |new| {
            if let Some((user, group)) = access.owner {
                rustix::fs::fchown(new, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
            }
            new.set_permissions(fs::Permissions::from_mode(access.mode))
        })
    }

    fn write(target: &Path, content: &[u8], settle: impl FnOnce(&File) -> io::Result<()>) -> io::Result<Self> {
        // Always the same name, so that what a killed run leaves behind does not pile up; a dot file, which no `include`
        // with a `*` means.
        let mut name = OsString::from(".");
        name.push(target.file_name().ok_or_else(|| io::Error::other("it is not a file"))?);
        name.push(".mqtt-acl-new");
        let temporary = folder_of(target).join(name);
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut new = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(flags(OFlags::NOFOLLOW))
            .open(&temporary)?;
        let staged = Self { target: target.to_path_buf(), temporary, is_placed: false };
        new.write_all(content)?;
        settle(&new)?;
        new.sync_all()?;
        Ok(staged)
    }

    /// Puts it in place, and what was there away, in one step.
    pub(crate) fn replace(mut self) -> io::Result<()> {
        fs::rename(&self.temporary, &self.target)?;
        self.placed()
    }

    /// Puts it in place unless there is something already.
    pub(crate) fn create(mut self) -> io::Result<()> {
        use rustix::fs::CWD;
        match rustix::fs::renameat_with(CWD, &self.temporary, CWD, &self.target, RenameFlags::NOREPLACE) {
            // Few file systems know no such renaming.
            Err(Errno::INVAL | Errno::NOSYS) if fs::symlink_metadata(&self.target).is_err() => {
                fs::rename(&self.temporary, &self.target)?;
            }
            Err(Errno::INVAL | Errno::NOSYS) => return Err(Errno::EXIST.into()),
            result => result?,
        }
        self.placed()
    }

    fn placed(&mut self) -> io::Result<()> {
        self.is_placed = true;
        File::open(folder_of(&self.target))?.sync_all()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.is_placed {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Flags of `open`, as std takes them.
pub(crate) fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap_or(0)
}

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn keep(old: &Metadata, new: &File) -> io::Result<()> {
    let made = new.metadata()?;
    let (user, group) = (Uid::from_raw(old.uid()), Gid::from_raw(old.gid()));
    let user = (made.uid() != old.uid()).then_some(user);
    let group = (made.gid() != old.gid()).then_some(group);
    if user.is_some() || group.is_some() {
        rustix::fs::fchown(new, user, group).map_err(|error| {
            let remedy = "only root can keep its owner and group: run this with sudo";
            io::Error::new(io::Error::from(error).kind(), format!("{} ({remedy})", io::Error::from(error)))
        })?;
    }
    // After the owner, for giving a file away takes bits from its mode.
    new.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))
}

/// As far as the system has such and lets us.
fn copy_attributes(old: &File, new: &File) {
    let mut names = vec![0; 64 * 1024];
    let Ok(length) = rustix::fs::flistxattr(old, &mut names) else { return };
    let mut value = vec![0; 64 * 1024];
    for name in names.get(..length).unwrap_or_default().split(|b| *b == 0).filter(|name| !name.is_empty()) {
        if let Ok(length) = rustix::fs::fgetxattr(old, name, &mut value) {
            let _ = rustix::fs::fsetxattr(new, name, value.get(..length).unwrap_or_default(), XattrFlags::empty());
        }
    }
}

/// Keeps others who edit the same policy with this tool waiting, until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "closing it ends the lock")] File);

impl Lock {
    /// Locks the policy in this folder.
    pub(crate) fn of(folder: &Path) -> Result<Self, Error> {
        let failed =
            |error: io::Error| Error::Failed(format!("the folder `{}` cannot be locked: {error}", folder.display()));
        let file = File::open(folder).map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => complain("mqtt-acl: waiting for another that edits this policy"),
            result => return result.map(|()| Self(file)).map_err(|error| failed(error.into())),
        }
        loop {
            match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                result => return result.map(|()| Self(file)).map_err(|error| failed(error.into())),
            }
        }
    }
}
