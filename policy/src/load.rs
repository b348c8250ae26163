//! From files to a policy: which files belong to it, whether they can be trusted, and whether they held still.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::compile::compile;
use crate::document::Document;
use crate::policy::Policy;
use crate::problem::{Escaped, OneLine, Place, Problem, Problems};
use crate::scenario::Outcome;
use crate::sources::{Hash, Sources};
use crate::users::Draft;

/// A policy that may be put in force, and what somebody should look at all the same.
#[derive(Debug)]
pub struct Loaded {
    /// The policy.
    pub policy: Policy,
    /// Its warnings.
    pub warnings: Vec<Problem>,
}

/// Why there is no policy.
#[derive(Debug)]
pub enum Failure {
    /// The file is not there.
    Missing(PathBuf),
    /// The file says nothing. A policy that admits nobody on purpose says `version = 1`.
    Empty(PathBuf),
    /// The file, or one that it includes, is not a policy; all the problems, at least one of them an error.
    Invalid(Vec<Problem>),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(f, "{}: there is no such file", OneLine(&path.to_string_lossy())),
            Self::Empty(path) => {
                let path = path.to_string_lossy();
                write!(f, "{}: the file is empty (write `version = 1` for a policy that admits nobody)", OneLine(&path))
            }
            Self::Invalid(problems) => {
                let errors = problems.iter().filter(|p| p.severity == crate::Severity::Error).count();
                write!(f, "{errors} error{}", if errors == 1 { "" } else { "s" })
            }
        }
    }
}

/// Whose files may make policy: root's, those of the process's user, and of whom else is named (S18).
#[derive(Clone, Debug)]
pub struct Trust {
    users: Vec<u32>,
    /// Who has to be able to read the files, where that is somebody else.
    reader: Option<Reader>,
}

impl Trust {
    /// Root and the user that this process runs as.
    #[must_use]
    pub fn process() -> Self {
        Self { users: vec![0, rustix::process::geteuid().as_raw()], reader: None }
    }

    /// Root and the broker's user of this name, who has to be able to read the files: what the plugin itself trusts. `None`
    /// where this machine has no such user.
    #[must_use]
    pub fn broker(name: &str) -> Option<Self> {
        let reader = Reader::named(name)?;
        Some(Self { users: vec![0, reader.user], reader: Some(reader) })
    }

    /// What keeps the file at this path from being trusted or, by who has to read it, from being read.
    #[must_use]
    pub fn objections(&self, path: &Path) -> Vec<String> {
        let mut loader = Loader::new(self, &[]);
        let looked = fs::canonicalize(path).and_then(|resolved| Ok((fs::metadata(&resolved)?, resolved)));
        match looked {
            Ok((metadata, resolved)) => loader.trusts(&Arc::from(path), &resolved, &metadata),
            Err(error) => return vec![format!("it cannot be read: {error}")],
        }
        loader.problems.into_sorted().into_iter().map(|problem| problem.text).collect()
    }

    /// And the user of this name, if there is one; for a tool that checks a policy for the broker's user.
    #[must_use]
    pub fn and_user(mut self, name: &str) -> Self {
        self.users.extend(user_id(name));
        self
    }

    /// And tell what the user of this name could not read. Root reads everything, and so would not notice.
    #[must_use]
    pub fn read_by(mut self, name: &str) -> Self {
        self.reader = Reader::named(name);
        self
    }

    /// What keeps a file or folder from being trusted.
    fn objection(&self, metadata: &Metadata) -> Option<String> {
        let (owner, mode) = (metadata.uid(), metadata.mode());
        if !self.users.contains(&owner) {
            return Some(format!(
                "is owned by user {owner}, who could change it (`chown root`, or to the broker's user)"
            ));
        }
        // In a sticky folder nobody can replace what is somebody else's.
        let sticky = metadata.is_dir() && mode & 0o1000 != 0 && owner == 0;
        if mode & 0o022 != 0 && !sticky {
            return Some(format!("can be written by others, mode {:04o} (`chmod go-w`)", mode & 0o7777));
        }
        None
    }
}

/// The id of the user of this name on this machine.
#[must_use]
pub fn user_id(name: &str) -> Option<u32> {
    Reader::named(name).map(|reader| reader.user)
}

/// The ids of the user of this name on this machine, and of its first group.
#[must_use]
pub fn user_ids(name: &str) -> Option<(u32, u32)> {
    Reader::named(name).and_then(|reader| Some((reader.user, *reader.groups.first()?)))
}

/// A user of this machine, and what it may read.
#[derive(Clone, Debug)]
struct Reader {
    name: String,
    user: u32,
    groups: Vec<u32>,
}

impl Reader {
    fn named(name: &str) -> Option<Self> {
        let passwd = fs::read_to_string("/etc/passwd").ok()?;
        let mut entries = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let entry = entries.find(|entry| entry.first() == Some(&name))?;
        let mut groups = vec![entry.get(3)?.parse().ok()?];
        for line in fs::read_to_string("/etc/group").unwrap_or_default().lines() {
            if let [_, _, id, members] = line.split(':').collect::<Vec<_>>()[..] {
                if members.split(',').any(|member| member == name) {
                    groups.extend(id.parse::<u32>().ok());
                }
            }
        }
        Some(Self { name: name.to_owned(), user: entry.get(2)?.parse().ok()?, groups })
    }

    /// Whether the file may be read or, with 1 for 4, the folder be passed, by owner, group and mode.
    fn may(&self, bit: u32, metadata: &Metadata) -> bool {
        let shift = if metadata.uid() == self.user {
            6
        } else if self.groups.contains(&metadata.gid()) {
            3
        } else {
            0
        };
        self.user == 0 || metadata.mode() & (bit << shift) != 0
    }
}

/// Reads the policy at this path and all that it includes, checks it, compiles it and runs its tests.
///
/// A policy that breaks one of its own promises is not returned: its failed tests are among the problems.
///
/// # Errors
/// [`Failure::Missing`] and [`Failure::Empty`] speak of this file alone; a missing included file makes the policy invalid.
pub fn load(path: &Path, trust: &Trust) -> Result<Loaded, Failure> {
    load_with(path, trust, &[])
}

/// Loads the policy as [`load`] would once some of its files have been replaced, and nothing is yet: for a tool that checks
/// an edit before it takes effect.
///
/// # Errors
/// As [`load`].
pub fn load_with(path: &Path, trust: &Trust, replacing: &[Replacement]) -> Result<Loaded, Failure> {
    read(path, trust, replacing).0.and_then(Compiled::keeping_its_promises)
}

/// As [`load`], and what it looked at, also where it failed: for whoever looks for changes.
pub fn load_with_sources(path: &Path, trust: &Trust) -> (Result<Loaded, Failure>, Sources) {
    let (result, sources) = read(path, trust, &[]);
    (result.and_then(Compiled::keeping_its_promises), sources)
}

/// A file that is about to be renamed.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// The name that it will have, resolved but for its last part, which need not be there yet.
    pub file: PathBuf,
    /// The name that it has now.
    pub by: PathBuf,
}

/// Runs the tests of the policy at this path: what came of each line, failed ones included, but not the policy.
///
/// # Errors
/// As [`load`], except that a failed test is none.
pub fn test(path: &Path, trust: &Trust) -> Result<Vec<Outcome>, Failure> {
    read(path, trust, &[]).0.map(|compiled| compiled.policy.run_tests())
}

/// Reads and compiles the policy at this path, from files that held still.
fn read(path: &Path, trust: &Trust, replacing: &[Replacement]) -> (Result<Compiled, Failure>, Sources) {
    const TRIES: u32 = 5;
    let mut tries = 0;
    loop {
        tries += 1;
        let mut loader = Loader::new(trust, replacing);
        let result = loader.load(path);
        // Files that somebody is still writing are read again: they say something, but perhaps not what is meant.
        match loader.changed() {
            // Who writes a file in place empties it first.
            None if tries == 1 && matches!(result, Err(Failure::Empty(_))) => {
                std::thread::sleep(Duration::from_millis(50))
            }
            None => return (result, loader.sources),
            Some(_) if tries < TRIES => std::thread::sleep(Duration::from_millis(50)),
            Some(file) => {
                let mut problems = Problems::default();
                problems.error(Place::whole(&file), "the file changed while it was read");
                return (Err(Failure::Invalid(problems.into_sorted())), loader.sources);
            }
        }
    }
}

/// Reads a policy from a text, as if it were the whole of the file of this name; it cannot include others.
///
/// # Errors
/// As [`load`], but never [`Failure::Missing`].
pub fn parse(text: &str, name: &str) -> Result<Loaded, Failure> {
    let file: Arc<Path> = Arc::from(Path::new(name));
    let mut problems = Problems::default();
    let mut users = Draft::default();
    let document = Document::read(text, &file, &mut users, &mut problems);
    if let Some(include) = document.include.first() {
        problems.error(include.place.clone(), "a policy that is not a file cannot include others");
    }
    Compiled::new(&file, vec![(Arc::clone(&file), document)], users, problems).and_then(Compiled::keeping_its_promises)
}

/// A policy without errors whose tests were not run yet, and its warnings.
pub(crate) struct Compiled {
    pub(crate) policy: Policy,
    problems: Problems,
}

impl Compiled {
    pub(crate) fn new(
        main: &Arc<Path>,
        documents: Vec<(Arc<Path>, Document)>,
        users: Draft,
        mut problems: Problems,
    ) -> Result<Self, Failure> {
        if !problems.has_errors() && documents.first().is_some_and(|(_, document)| document.is_empty) {
            return Err(Failure::Empty(main.to_path_buf()));
        }
        let policy = compile(main, documents, users, &mut problems);
        if problems.has_errors() {
            Err(Failure::Invalid(problems.into_sorted()))
        } else {
            Ok(Self { policy, problems })
        }
    }

    fn keeping_its_promises(mut self) -> Result<Loaded, Failure> {
        for outcome in self.policy.run_tests().into_iter().filter(|outcome| !outcome.passed) {
            self.problems.error(outcome.place, format!("a test of the policy fails: {}", outcome.text));
        }
        let errors = self.problems.has_errors();
        let problems = self.problems.into_sorted();
        if errors { Err(Failure::Invalid(problems)) } else { Ok(Loaded { policy: self.policy, warnings: problems }) }
    }
}

/// One load: the files read so far.
struct Loader<'t> {
    trust: &'t Trust,
    replacing: &'t [Replacement],
    problems: Problems,
    documents: Vec<(Arc<Path>, Document)>,
    users: Draft,
    seen: HashSet<(u64, u64)>,
    folders: HashSet<PathBuf>,
    read: Vec<(Arc<Path>, Stamp)>,
    sources: Sources,
    /// The bytes of all of them.
    size: u64,
}

/// The most bytes that the files of a policy may have together, so that 32 bits number whatever is in them.
pub(crate) const LARGEST: u64 = 1 << 30;

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl<'t> Loader<'t> {
    fn new(trust: &'t Trust, replacing: &'t [Replacement]) -> Self {
        Self {
            trust,
            replacing,
            problems: Problems::default(),
            documents: Vec::new(),
            users: Draft::default(),
            seen: HashSet::new(),
            folders: HashSet::new(),
            read: Vec::new(),
            sources: Sources::default(),
            size: 0,
        }
    }

    fn load(&mut self, path: &Path) -> Result<Compiled, Failure> {
        let main: Arc<Path> = Arc::from(path);
        if let Err(error) = self.file(&main, &[]) {
            if error.kind() == io::ErrorKind::NotFound {
                return Err(Failure::Missing(path.to_path_buf()));
            }
            self.problems.error(Place::whole(&main), format!("cannot be read: {error}"));
        }
        let Self { documents, users, problems, .. } = self;
        Compiled::new(&main, std::mem::take(documents), std::mem::take(users), std::mem::take(problems))
    }

    /// The first file that is no longer what was read.
    fn changed(&self) -> Option<Arc<Path>> {
        let unchanged = |path: &Path, stamp: &Stamp| fs::metadata(path).is_ok_and(|now| Stamp::of(&now) == *stamp);
        self.read.iter().find(|(path, stamp)| !unchanged(path, stamp)).map(|(path, _)| Arc::clone(path))
    }

    /// Reads one file and what it includes. An error is one of opening or reading it; everything else is a problem.
    fn file(&mut self, path: &Arc<Path>, includers: &[(u64, u64)]) -> io::Result<()> {
        self.sources.file(path);
        let replacement = self.replacement(path);
        let resolved = fs::canonicalize(replacement.unwrap_or(path))?;
        // Nonblocking, for a pipe would be waited for.
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(&resolved)?;
        let metadata = file.metadata()?;
        let stamp = Stamp::of(&metadata);
        self.read.push((replacement.map_or_else(|| Arc::clone(path), Arc::from), stamp));
        if includers.contains(&stamp.file) {
            self.problems.error(Place::whole(path), "the file includes itself, perhaps through another");
            return Ok(());
        }
        if !self.seen.insert(stamp.file) {
            self.problems.error(Place::whole(path), "the file is included twice");
            return Ok(());
        }
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        self.size += metadata.size();
        if self.size > LARGEST {
            self.problems.error(Place::whole(path), "the policy is larger than 1 GiB in all");
            return Ok(());
        }
        self.trusts(path, &resolved, &metadata);
        let mut bytes = Vec::new();
        file.take(LARGEST).read_to_end(&mut bytes)?;
        let (hash, document) = hash_beside(&bytes, || self.document(path, &bytes));
        self.sources.held(path, hash);
        drop(bytes);
        if metadata.mode() & 0o004 != 0 && document.has_passwords {
            self.problems
                .warning(Place::whole(path), "holds passwords that everybody on this machine may read (`chmod o-r`)");
        }
        let include = document.include.clone();
        self.documents.push((Arc::clone(path), document));
        let includers = [includers, &[stamp.file]].concat();
        for pattern in include {
            self.include(path, &pattern.value, &pattern.place, &includers);
        }
        Ok(())
    }

    /// What is about to take the place of the file at this path.
    fn replacement(&self, path: &Path) -> Option<&'t Path> {
        if self.replacing.is_empty() {
            return None;
        }
        let resolved = fs::canonicalize(path).or_else(|_| {
            let (folder, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default());
            fs::canonicalize(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
                .map(|folder| folder.join(name))
        });
        let resolved = resolved.ok()?;
        self.replacing.iter().find(|replacement| replacement.file == resolved).map(|replacement| &*replacement.by)
    }

    fn include(&mut self, from: &Path, pattern: &str, place: &Place, includers: &[(u64, u64)]) {
        const DEEPEST: usize = 8;
        if includers.len() > DEEPEST {
            self.problems.error(place.clone(), format!("files include each other more than {DEEPEST} deep"));
            return;
        }
        let shown = Escaped(pattern.as_bytes());
        if pattern.is_empty() || pattern.contains('\0') {
            self.problems.error(place.clone(), "an included file needs a name");
            return;
        }
        let path = from.parent().unwrap_or(Path::new("")).join(pattern);
        self.sources.pattern(&path);
        let paths = match expand(&path, self.replacing) {
            Ok(paths) => paths,
            Err(problem) => {
                self.problems.error(place.clone(), format!("`{shown}` cannot be included: {problem}"));
                return;
            }
        };
        for path in paths {
            let path: Arc<Path> = Arc::from(path);
            if let Err(error) = self.file(&path, includers) {
                self.documents.push((Arc::clone(&path), Document::broken()));
                self.problems.error(
                    place.clone(),
                    format!("`{}` cannot be included: {error}", Escaped(path.as_os_str().as_bytes())),
                );
            }
        }
    }

    /// Checks the owner and mode of the file that was opened, and of each folder on the way to it.
    fn trusts(&mut self, path: &Arc<Path>, resolved: &Path, metadata: &Metadata) {
        if let Some(objection) = self.trust.objection(metadata) {
            self.problems.error(Place::whole(path), format!("the file {objection}"));
        }
        let reader = self.trust.reader.as_ref();
        if let Some(reader) = reader.filter(|reader| !reader.may(4, metadata)) {
            let text = format!("the broker's user `{0}` cannot read the file (`chown {0}`)", reader.name);
            self.problems.error(Place::whole(path), text);
        }
        for folder in resolved.ancestors().skip(1) {
            if !self.folders.insert(folder.to_path_buf()) {
                break;
            }
            self.sources.folder(folder);
            match fs::metadata(folder) {
                Ok(metadata) => {
                    if let Some(reader) = reader.filter(|reader| !reader.may(1, &metadata)) {
                        let folder = folder.to_string_lossy();
                        let text = format!(
                            "the broker's user `{}` may not enter the folder `{}` (`chmod o+x`)",
                            reader.name,
                            OneLine(&folder)
                        );
                        self.problems.error(Place::whole(path), text);
                    }
                    if let Some(objection) = self.trust.objection(&metadata) {
                        self.problems.error(
                            Place::whole(path),
                            format!("its folder `{}` {objection}", OneLine(&folder.to_string_lossy())),
                        );
                    }
                }
                Err(error) => {
                    self.problems.error(
                        Place::whole(path),
                        format!("its folder `{}` cannot be looked at: {error}", OneLine(&folder.to_string_lossy())),
                    );
                }
            }
        }
    }

    fn document(&mut self, path: &Arc<Path>, bytes: &[u8]) -> Document {
        match std::str::from_utf8(bytes) {
            Ok(text) => Document::read(text, path, &mut self.users, &mut self.problems),
            Err(error) => {
                let good = error.valid_up_to();
                let line = bytes.iter().take(good).filter(|b| **b == b'\n').count() + 1;
                let place = Place { file: Arc::clone(path), line: u32::try_from(line).unwrap_or(u32::MAX), column: 1 };
                self.problems.error(place, "not UTF-8, as TOML must be");
                Document::broken()
            }
        }
    }
}

/// The hash of what a file holds, and what else is made of it meanwhile: where it is large, each on a processor of its own.
fn hash_beside<T>(bytes: &[u8], read: impl FnOnce() -> T) -> (Hash, T) {
    const LARGE: usize = 1 << 20;
    if bytes.len() < LARGE {
        return (Hash::of(bytes), read());
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("mqtt-acl-hash".into());
        let hash = thread.spawn_scoped(scope, || Hash::of(bytes)).ok();
        let read = read();
        // Where there are no more threads, or one is lost, it is made here.
        (hash.and_then(|hash| hash.join().ok()).unwrap_or_else(|| Hash::of(bytes)), read)
    })
}

/// The files that an `include` of the file `from` means, whether they are there or not.
///
/// # Errors
/// Why it means none, for a person.
pub fn included(from: &Path, include: &str) -> Result<Vec<PathBuf>, String> {
    expand(&from.parent().unwrap_or(Path::new("")).join(include), &[])
}

/// Whether an `include` of the file `from` would mean this file, were it there.
#[must_use]
pub fn includes(from: &Path, include: &str, file: &Path) -> bool {
    let path = from.parent().unwrap_or(Path::new("")).join(include);
    let (Some(name), Some(wanted)) = (path.file_name(), file.file_name()) else { return false };
    let folder = |path: &Path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::canonicalize(folder).ok()
    };
    folder(&path).is_some_and(|same| folder(file) == Some(same)) && means(name.as_bytes(), wanted.as_bytes())
}

/// The files that an `include` means: itself, or, where its last part holds a `*`, those that fit, in the order of their
/// bytes, also those that are about to be there.
pub(crate) fn expand(path: &Path, replacing: &[Replacement]) -> Result<Vec<PathBuf>, String> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err("it is not a file".into());
    };
    if folder.as_os_str().as_bytes().contains(&b'*') {
        return Err("`*` stands only in the last part of a path".into());
    }
    if !name.as_bytes().contains(&b'*') {
        return Ok(vec![path.to_path_buf()]);
    }
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let unreadable = |error: io::Error| {
        format!(
            "its folder `{}` cannot be read: {error} (make the folder, or correct the path)",
            OneLine(&folder.to_string_lossy())
        )
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let found = entry.map_err(unreadable)?.file_name();
        if means(name.as_bytes(), found.as_bytes()) {
            paths.push(folder.join(found));
        }
    }
    for Replacement { file, .. } in replacing {
        let (Some(parent), Some(new)) = (file.parent(), file.file_name()) else { continue };
        let path = folder.join(new);
        if fs::canonicalize(folder).is_ok_and(|folder| folder == parent)
            && means(name.as_bytes(), new.as_bytes())
            && !paths.contains(&path)
        {
            paths.push(path);
        }
    }
    paths.sort_unstable_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    Ok(paths)
}

/// Whether a pattern means a file of this name. Dot files and editors' backups (`~`) fit no `*`.
fn means(pattern: &[u8], name: &[u8]) -> bool {
    if !pattern.contains(&b'*') {
        return pattern == name;
    }
    !name.starts_with(b".") && !name.ends_with(b"~") && fits(pattern, name)
}

/// Whether a file name fits a pattern in which `*` stands for any characters.
pub(crate) fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let mut parts = pattern.split(|b| *b == b'*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts.filter(|part| !part.is_empty()) {
        match rest.windows(part.len()).position(|window| window == part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_fit_patterns() {
        for (pattern, name) in [("*.toml", "a.toml"), ("a*b*c", "abc"), ("a*b*c", "aXbbXc"), ("*", "x"), ("a*", "a")] {
            assert!(fits(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in [("*.toml", "a.tom"), ("a*b*c", "acb"), ("a*a", "a"), ("*b*b", "b")] {
            assert!(!fits(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
    }
}
