//! What a load looked at: its files and what they held, and where to look for a change.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::load::{expand, fits};

/// A SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash([u8; 32]);

impl Hash {
    /// That of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    pub(crate) fn end(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }

    pub(crate) fn parse(digits: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() || !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A file of a policy, and the hash of what was read of it.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) path: Arc<Path>,
    pub(crate) hash: Hash,
}

/// What a load looked at, also where it failed.
#[derive(Debug, Default)]
pub struct Sources {
    /// In the order in which they were read.
    pub(crate) files: Vec<File>,
    looked: Vec<(Look, Seen)>,
    /// Real folders, and the names in them that count: of files, and of links on the way to them.
    watched: BTreeMap<PathBuf, Vec<OsString>>,
    /// The real folder of each folder that was walked.
    walked: HashMap<PathBuf, Option<PathBuf>>,
}

/// Something that was looked at.
#[derive(Debug)]
enum Look {
    /// A file, whichever a link leads to.
    File(Arc<Path>),
    /// A folder whose owner and mode count.
    Folder(PathBuf),
    /// A path whose last part holds a `*`.
    Pattern(PathBuf),
}

/// What was there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    /// Device, inode, size, and when it or its owner and mode last changed.
    File(u64, u64, u64, (i64, i64), (i64, i64)),
    /// Device, inode, owner and mode.
    Folder(u64, u64, u32, u32),
    Paths(Vec<PathBuf>),
}

/// What is there at a moment, to tell whether it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glance(Vec<Seen>);

impl Sources {
    /// The SHA-256 of what `sha256sum` prints of the files, in the order in which they were read; none where there is none.
    #[must_use]
    pub fn hash(&self) -> Option<Hash> {
        (!self.files.is_empty()).then(|| list_hash(self.files.iter().map(|file| (&file.hash, &*file.path))))
    }

    /// The folders in which something may happen that changes the policy. Each is the real one, and was there.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        self.watched.keys().map(PathBuf::as_path)
    }

    /// Whether this name in one of the folders is that of a file that was read, or would be.
    #[must_use]
    pub fn concerns(&self, folder: &Path, name: &OsStr) -> bool {
        self.watched.get(folder).is_some_and(|names| names.iter().any(|known| fits(known.as_bytes(), name.as_bytes())))
    }

    /// What is there now of all that was looked at.
    #[must_use]
    pub fn glance(&self) -> Glance {
        Glance(self.looked.iter().map(|(look, _)| look.now()).collect())
    }

    /// Whether something is no longer as the load found it.
    #[must_use]
    pub fn have_changed(&self) -> bool {
        self.looked.iter().any(|(look, seen)| look.now() != *seen)
    }

    /// Notes a file that is about to be read, if it is there.
    pub(crate) fn file(&mut self, path: &Arc<Path>) {
        self.walk(path);
        self.look(Look::File(Arc::clone(path)));
    }

    /// Notes what a file held.
    pub(crate) fn held(&mut self, path: &Arc<Path>, hash: Hash) {
        self.files.push(File { path: Arc::clone(path), hash });
    }

    /// Notes a folder whose owner and mode count.
    pub(crate) fn folder(&mut self, folder: &Path) {
        self.look(Look::Folder(folder.to_path_buf()));
    }

    /// Notes the path of an `include`, with or without a `*`.
    pub(crate) fn pattern(&mut self, path: &Path) {
        if path.file_name().is_some_and(|name| name.as_bytes().contains(&b'*')) {
            self.walk(path);
            self.look(Look::Pattern(path.to_path_buf()));
        }
    }

    fn look(&mut self, look: Look) {
        let seen = look.now();
        self.looked.push((look, seen));
    }

    /// Goes along a path, and notes the folder of its end and of each link on the way; where something is missing, the
    /// folder in which it would be.
    fn walk(&mut self, path: &Path) {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = match self.walked.get(parent) {
            Some(known) => known.clone(),
            None => {
                let real = self.resolve(PathBuf::new(), parent);
                self.walked.insert(parent.to_path_buf(), real.clone());
                real
            }
        };
        let (Some(folder), Some(name)) = (folder, path.file_name()) else { return };
        self.watch(&folder, name);
        if let Ok(target) = fs::read_link(folder.join(name)) {
            let end = self.resolve(folder, &target);
            if let Some((folder, name)) = end.as_deref().and_then(|end| Some((end.parent()?, end.file_name()?))) {
                self.watch(folder, name);
            }
        }
    }

    /// Where a path leads from a real folder, noting each link on the way. None where it leads nowhere.
    fn resolve(&mut self, from: PathBuf, path: &Path) -> Option<PathBuf> {
        /// As Linux allows.
        const LINKS: u32 = 40;
        let mut links = 0;
        let mut at = if from.as_os_str().is_empty() { fs::canonicalize(".").ok()? } else { from };
        let parts = |path: &Path| path.components().rev().map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>();
        let mut rest = parts(path);
        while let Some(part) = rest.pop() {
            match Path::new(&part).components().next() {
                Some(Component::RootDir) => at = PathBuf::from("/"),
                Some(Component::ParentDir) => {
                    at.pop();
                }
                Some(Component::Normal(name)) => {
                    let next = at.join(name);
                    let Ok(metadata) = fs::symlink_metadata(&next) else {
                        self.watch(&at, name);
                        return None;
                    };
                    if metadata.is_symlink() {
                        links += 1;
                        self.watch(&at, name);
                        rest.extend(parts(&fs::read_link(&next).ok().filter(|_| links <= LINKS)?));
                    } else {
                        at = next;
                    }
                }
                _ => {}
            }
        }
        Some(at)
    }

    fn watch(&mut self, folder: &Path, name: &OsStr) {
        let names = self.watched.entry(folder.to_path_buf()).or_default();
        // Files that one pattern found are that pattern's.
        if !names.iter().any(|known| fits(known.as_bytes(), name.as_bytes())) {
            names.push(name.to_owned());
        }
    }
}

impl Look {
    fn now(&self) -> Seen {
        match self {
            Self::File(path) => fs::metadata(path).map_or(Seen::Nothing, |metadata| Seen::file(&metadata)),
            Self::Folder(path) => fs::metadata(path).map_or(Seen::Nothing, |metadata| Seen::folder(&metadata)),
            Self::Pattern(path) => expand(path, &[]).map_or(Seen::Nothing, Seen::Paths),
        }
    }
}

impl Seen {
    fn file(of: &Metadata) -> Self {
        Self::File(of.dev(), of.ino(), of.size(), (of.mtime(), of.mtime_nsec()), (of.ctime(), of.ctime_nsec()))
    }

    fn folder(of: &Metadata) -> Self {
        Self::Folder(of.dev(), of.ino(), of.uid(), of.mode())
    }
}

/// The hash of the list that `sha256sum` prints of files with these hashes.
pub(crate) fn list_hash<'f>(files: impl Iterator<Item = (&'f Hash, &'f Path)>) -> Hash {
    let mut list = Sha256::new();
    for (hash, path) in files {
        list.update(format!("{hash}  "));
        list.update(path.as_os_str().as_bytes());
        list.update("\n");
    }
    Hash::end(list)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn sources(path: &Path) -> Sources {
        let mut sources = Sources::default();
        sources.file(&Arc::from(path));
        sources
    }

    #[test]
    fn every_link_on_the_way_is_watched() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(root.join("..v1/deep")).unwrap();
        fs::write(root.join("..v1/deep/p.toml"), "version = 1\n").unwrap();
        symlink("..v1", root.join("..data")).unwrap();
        symlink("..data/deep/p.toml", root.join("p.toml")).unwrap();
        let sources = sources(&root.join("p.toml"));
        for (at, name) in [("", "p.toml"), ("", "..data"), ("..v1/deep", "p.toml")] {
            assert!(sources.concerns(&root.join(at), OsStr::new(name)), "{at} {name}: {sources:?}");
        }
        assert!(!sources.concerns(&root, OsStr::new("other")));
        assert!(!sources.have_changed());

        fs::create_dir_all(root.join("..v2/deep")).unwrap();
        fs::write(root.join("..v2/deep/p.toml"), "version = 1\n").unwrap();
        symlink("..v2", root.join("..new")).unwrap();
        assert!(!sources.have_changed());
        fs::rename(root.join("..new"), root.join("..data")).unwrap();
        assert!(sources.have_changed(), "the link leads elsewhere");
    }

    #[test]
    fn what_is_missing_is_watched_where_it_would_be() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        let sources = sources(&root.join("a/b/p.toml"));
        assert!(sources.concerns(&root, OsStr::new("a")));
        fs::create_dir_all(root.join("a/b")).unwrap();
        assert!(!sources.have_changed());
        fs::write(root.join("a/b/p.toml"), "").unwrap();
        assert!(sources.have_changed());
    }

    #[test]
    fn a_pattern_finds_what_comes_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        let mut sources = Sources::default();
        sources.pattern(&root.join("*.toml"));
        assert!(sources.concerns(&root, OsStr::new("a.toml")) && !sources.concerns(&root, OsStr::new("a.tmp")));
        let before = sources.glance();
        fs::write(root.join("a.tmp"), "").unwrap();
        assert!(!sources.have_changed());
        fs::write(root.join("a.toml"), "").unwrap();
        assert!(sources.have_changed() && sources.glance() != before);
        fs::remove_file(root.join("a.toml")).unwrap();
        assert!(!sources.have_changed() && sources.glance() == before);
    }

    #[test]
    fn a_loop_of_links_ends() {
        let folder = tempfile::tempdir().unwrap();
        symlink("b", folder.path().join("a")).unwrap();
        symlink("a", folder.path().join("b")).unwrap();
        assert_eq!(sources(&folder.path().join("a")).folders().count(), 1);
    }

    #[test]
    fn hashes_are_those_of_sha256sum() {
        let mut sources = Sources::default();
        assert_eq!(sources.hash(), None);
        sources.held(&Arc::from(Path::new("/p")), Hash::of(b"abc"));
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sources.files[0].hash.to_string(), abc);
        assert_eq!(Hash::parse(abc), Some(Hash::of(b"abc")));
        assert_eq!(sources.hash(), Some(Hash::of(format!("{abc}  /p\n").as_bytes())));
        for wrong in ["", "ba78", &abc.to_uppercase(), &abc.replace('b', "g"), &format!("{abc}00")] {
            assert_eq!(Hash::parse(wrong), None, "{wrong}");
        }
    }
}
