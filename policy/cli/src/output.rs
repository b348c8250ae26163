//! A new file that is there whole or not at all, whatever interrupts the one who writes it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::process::Uid;

/// A file that is written and safe on the disk, under another name beside its own.
#[derive(Debug)]
pub(crate) struct Staged {
    target: PathBuf,
    temporary: PathBuf,
    is_placed: bool,
}

impl Staged {
    /// For the eyes of its owner alone, who is somebody else where root gives it away.
    pub(crate) fn new(target: &Path, content: &[u8], owner: Option<u32>) -> io::Result<Self> {
        // Always the same name, so that what a killed run leaves does not pile up; no `include` with a `*` means dot files.
        let mut name = OsString::from(".");
        name.push(target.file_name().ok_or_else(|| io::Error::other("it is not a file"))?);
        name.push(".mqtt-acl-new");
        let temporary = folder_of(target).join(name);
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(nofollow).open(&temporary)?;
        let staged = Self { target: target.to_path_buf(), temporary, is_placed: false };
        file.write_all(content)?;
        if let Some(owner) = owner {
            rustix::fs::fchown(&file, Some(Uid::from_raw(owner)), None)?;
        }
        file.sync_all()?;
        Ok(staged)
    }

    /// Puts it in place; over what is there only if that is meant.
    pub(crate) fn place(mut self, over: bool) -> io::Result<()> {
        if over {
            fs::rename(&self.temporary, &self.target)?;
        } else {
            match rustix::fs::renameat_with(CWD, &self.temporary, CWD, &self.target, RenameFlags::NOREPLACE) {
                // Few file systems know no such renaming; a hard link cannot be made over a file either.
                Err(Errno::INVAL | Errno::NOSYS) => fs::hard_link(&self.temporary, &self.target)?,
                result => {
                    result?;
                    self.is_placed = true;
                }
            }
        }
        self.is_placed |= over;
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

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
