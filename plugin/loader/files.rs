//! Files of the plugin's own, which are always whole: whoever is killed while writing leaves the old one.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// Whether a file must outlast a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durable {
    Yes,
    No,
}

/// Replaces a file by what `write` writes; nothing happens where that fails.
pub(super) fn replace<E: From<io::Error>>(
    path: &Path,
    mode: u32,
    durable: Durable,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
) -> Result<(), E> {
    let new = beside(path);
    let result = fill(&new, mode, durable, write).and_then(|()| Ok(fs::rename(&new, path)?));
    if result.is_err() {
        let _ = fs::remove_file(&new);
        return result;
    }
    if durable == Durable::Yes {
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

fn fill<E: From<io::Error>>(
    new: &Path,
    mode: u32,
    durable: Durable,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
) -> Result<(), E> {
    // One may be left from a process that was killed, perhaps with another mode.
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).custom_flags(no_follow).open(new)?;
    let mut buffered = BufWriter::with_capacity(1 << 16, file);
    write(&mut buffered)?;
    buffered.flush()?;
    if durable == Durable::Yes {
        buffered.get_ref().sync_all()?;
    }
    Ok(())
}

/// The name under which the new one is written: no program that reads whole folders takes it for one of its files.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_or_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(beside(&path), "left over").unwrap();
        replace::<io::Error>(&path, 0o600, Durable::Yes, |to| to.write_all(b"one")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let failed = replace::<io::Error>(&path, 0o600, Durable::No, |to| {
            to.write_all(b"two")?;
            Err(io::Error::other("no room"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left over");
    }
}
