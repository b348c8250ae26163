//! A policy that was in force, kept whole, for a start with one that is broken since (S19).
//!
//! What is kept is the text of all of its files, one after the other, with the path and the hash of each. So it is read and
//! compiled like the files themselves, its reasons name the files and lines that people know, and no second format can say
//! something else. Nothing is used unless all the hashes are right.
//!
//! ```text
//! mqtt-acl last good 1
//! policy HASH            of the list below, as `sha256sum` writes it
//! since SECONDS          since when it is in force, in Unix time
//! files COUNT
//! HASH LENGTH PATH       for each
//! ...                    the texts
//! ```

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use crate::document::Document;
use crate::load::{Compiled, Failure, LARGEST};
use crate::policy::Policy;
use crate::problem::Problems;
use crate::recover::Recovered;
use crate::sources::{Hash, Sources, list_hash};
use crate::users::Draft;

const FIRST: &str = "mqtt-acl last good 1";

/// A policy that was in force.
#[derive(Debug)]
pub struct LastGood {
    hash: Hash,
    since: SystemTime,
    files: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    path: Arc<Path>,
    hash: Hash,
    length: u64,
    text: String,
}

/// Why a policy is not kept, or what is kept cannot be used.
#[derive(Debug)]
pub enum Unkept {
    /// A file is no longer the one that was loaded; there will be another load.
    Changed,
    /// Something else, in words.
    Other(String),
}

impl fmt::Display for Unkept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed => f.write_str("its files have changed since it was loaded"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl From<io::Error> for Unkept {
    fn from(error: io::Error) -> Self {
        Self::Other(error.to_string())
    }
}

impl LastGood {
    /// Writes what can be read again: the files of a load, as they were then.
    ///
    /// # Errors
    /// [`Unkept::Changed`] where a file is no longer as it was; nothing that was written is of use then.
    pub fn keep(sources: &Sources, since: SystemTime, to: &mut impl Write) -> Result<(), Unkept> {
        let mut open = Vec::with_capacity(sources.files.len());
        let mut head = String::new();
        for file in &sources.files {
            if file.path.as_os_str().as_bytes().contains(&b'\n') {
                return Err(Unkept::Other("the path of a file holds a line break".into()));
            }
            // Of what was not a file when it was loaded, nothing was.
            let read = File::open(&file.path).map_err(|_| Unkept::Changed)?;
            open.push((read.metadata()?.len(), file, read));
        }
        let hash = sources.hash().ok_or(Unkept::Changed)?;
        let since = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        head.push_str(&format!("{FIRST}\npolicy {hash}\nsince {since}\nfiles {}\n", open.len()));
        to.write_all(head.as_bytes())?;
        for (length, file, _) in &open {
            write!(to, "{} {length} ", file.hash)?;
            to.write_all(file.path.as_os_str().as_bytes())?;
            to.write_all(b"\n")?;
        }
        for (length, file, read) in open {
            let mut read = Hashing { inner: read.take(length), hasher: Sha256::new() };
            io::copy(&mut read, to)?;
            if Hash::end(read.hasher) != file.hash {
                return Err(Unkept::Changed);
            }
        }
        Ok(())
    }

    /// Reads what was kept.
    ///
    /// # Errors
    /// Where it is not whole, or not what this version writes.
    pub fn read(from: &mut impl BufRead) -> Result<Self, Unkept> {
        let mut last_good = Self::read_head(from)?;
        for file in &mut last_good.files {
            let mut bytes = Vec::new();
            from.take(file.length).read_to_end(&mut bytes)?;
            if bytes.len() as u64 != file.length || Hash::of(&bytes) != file.hash {
                return Err(damaged());
            }
            // What is not UTF-8 was never in force.
            file.text = String::from_utf8(bytes).map_err(|_| damaged())?;
        }
        Ok(last_good)
    }

    /// Reads which policy was kept, without its text.
    ///
    /// # Errors
    /// As [`LastGood::read`].
    pub fn read_head(from: &mut impl BufRead) -> Result<Self, Unkept> {
        if line(from)? != FIRST.as_bytes() {
            return Err(Unkept::Other("it is not what this version keeps".into()));
        }
        let hash = Hash::parse(&value(from, "policy")?).ok_or_else(damaged)?;
        let seconds = value(from, "since")?.parse().map_err(|_| damaged())?;
        let since = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or_else(damaged)?;
        let count: u32 = value(from, "files")?.parse().map_err(|_| damaged())?;
        let mut files = Vec::new();
        for _ in 0..count {
            let line = line(from)?;
            let mut parts = line.splitn(3, |b| *b == b' ');
            let mut text = || parts.next().and_then(|part| std::str::from_utf8(part).ok());
            let hash = text().and_then(Hash::parse).ok_or_else(damaged)?;
            let length = text().and_then(|text| text.parse().ok()).ok_or_else(damaged)?;
            let path = parts.next().filter(|path| !path.is_empty()).ok_or_else(damaged)?.to_vec();
            let path = Arc::from(Path::new(&std::ffi::OsString::from_vec(path)));
            files.push(Kept { path, hash, length, text: String::new() });
        }
        let last_good = Self { hash, since, files };
        let size = last_good.files.iter().map(|file| file.length).fold(0, u64::saturating_add);
        let list = list_hash(last_good.files.iter().map(|file| (&file.hash, &*file.path)));
        if list != hash || size > LARGEST { Err(damaged()) } else { Ok(last_good) }
    }

    /// The hash of the policy, as [`Sources::hash`] tells it.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Since when it was in force.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.since
    }

    /// The file that includes the others.
    #[must_use]
    pub fn main(&self) -> Option<&Path> {
        self.paths().next()
    }

    /// The policy, without the users whom the files no longer list or disable, as far as they can be read now; and how many
    /// these are. Its tests are not run: they were when it was put in force, and may need those users.
    ///
    /// # Errors
    /// Where this version does not take it.
    pub fn restore(self) -> Result<(Policy, usize), Failure> {
        let recovered = Recovered::from(&self);
        let mut problems = Problems::default();
        let mut users = Draft::default();
        let mut read =
            |file: &Kept| (Arc::clone(&file.path), Document::read(&file.text, &file.path, &mut users, &mut problems));
        let documents: Vec<_> = self.files.iter().map(&mut read).collect();
        let main = self.files.first().map_or_else(|| Arc::from(Path::new("")), |file| Arc::clone(&file.path));
        let mut policy = Compiled::new(&main, documents, users, problems)?.policy;
        if !recovered.anonymous {
            policy.drop_anonymous();
        }
        // A name stays its user's: as an id, others must not have it because of this.
        let left_out = policy.disable(|name| std::str::from_utf8(name).map_or(true, |name| recovered.is_gone(name)));
        Ok((policy, left_out))
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| &*file.path)
    }

    pub(crate) fn text(&self, path: &Path) -> Option<&str> {
        self.files.iter().find(|file| *file.path == *path).map(|file| file.text.as_str())
    }
}

fn damaged() -> Unkept {
    Unkept::Other("it is damaged".into())
}

/// The next line, without its end.
fn line(from: &mut impl BufRead) -> Result<Vec<u8>, Unkept> {
    /// Longer than any path.
    const LONGEST: u64 = 1 << 16;
    let mut line = Vec::new();
    from.take(LONGEST).read_until(b'\n', &mut line)?;
    if line.pop() == Some(b'\n') { Ok(line) } else { Err(damaged()) }
}

/// The value of a line `NAME VALUE`.
fn value(from: &mut impl BufRead, name: &str) -> Result<String, Unkept> {
    let line = String::from_utf8(line(from)?).map_err(|_| damaged())?;
    let value = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' '));
    value.map(str::to_owned).ok_or_else(damaged)
}

/// Hashes what is read through it.
struct Hashing<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::{Action, Client, Trust, load_with_sources};

    struct Folder(tempfile::TempDir);

    impl Folder {
        /// A policy of two files, in a folder that is trusted.
        fn new() -> Self {
            let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
            fs::create_dir(folder.path().join("users.d")).unwrap();
            fs::set_permissions(folder.path().join("users.d"), Permissions::from_mode(0o700)).unwrap();
            let folder = Self(folder);
            folder.write(
                "p.toml",
                "version = 1\ninclude = [\"users.d/*.toml\"]\n[users.a]\npublish = [\"x\"]\n[users.b]\n[anonymous]\n",
            );
            folder.write("users.d/c.toml", "[users.c]\npublish = [\"y\"]\n");
            folder
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.0.path().join(name), text).unwrap();
            fs::set_permissions(self.0.path().join(name), Permissions::from_mode(0o600)).unwrap();
        }

        fn remove(&self, name: &str) {
            fs::remove_file(self.0.path().join(name)).unwrap();
        }

        fn sources(&self) -> Sources {
            let (loaded, sources) = load_with_sources(&self.0.path().join("p.toml"), &Trust::process());
            loaded.unwrap();
            sources
        }

        fn kept(&self) -> Vec<u8> {
            let mut kept = Vec::new();
            LastGood::keep(&self.sources(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000), &mut kept).unwrap();
            kept
        }
    }

    fn restore(kept: &[u8]) -> (Policy, usize) {
        LastGood::read(&mut &*kept).unwrap().restore().unwrap()
    }

    /// The users that are admitted, `-` for the anonymous client.
    fn admitted(policy: &Policy) -> String {
        ["a", "b", "c"]
            .into_iter()
            .filter(|name| {
                let client = Client { user: Some(name.as_bytes()), id: name.as_bytes() };
                policy.authorize(&client, Action::Connect).is_allow()
            })
            .chain(policy.authorize(&Client { user: None, id: b"x" }, Action::Connect).is_allow().then_some("-"))
            .collect()
    }

    #[test]
    fn what_was_kept_is_restored_with_its_places() {
        let folder = Folder::new();
        let kept = folder.kept();
        let last_good = LastGood::read(&mut &*kept).unwrap();
        assert_eq!(Some(last_good.hash()), folder.sources().hash());
        assert_eq!(last_good.since(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
        let (policy, left_out) = last_good.restore().unwrap();
        assert_eq!((admitted(&policy).as_str(), left_out), ("abc-", 0));
        let client = Client { user: Some(b"c"), id: b"c" };
        let decision = policy.authorize(&client, Action::Publish(b"y"));
        assert!(policy.reason(&client, decision).to_string().contains("users.d/c.toml:2"));
    }

    #[test]
    fn who_is_gone_stays_gone() {
        type Case<'c> = (&'c str, &'c dyn Fn(&Folder), &'c str);
        let cases: &[Case<'_>] = &[
            ("nothing", &|_| {}, "abc-"),
            (
                "a broken table",
                &|f| {
                    f.write("p.toml", "version = 1\ninclude = [\"users.d/*.toml\"]\n[users.a]\n[users.b\n[anonymous]\n")
                },
                "ac-",
            ),
            ("no include any more", &|f| f.write("p.toml", "version = 1\n[users.a]\nx = 1\n[users.b]\n"), "ab"),
            ("include in doubt", &|f| f.write("p.toml", "version = \n[users.a]\n[users.b]\n"), "abc"),
            ("disabled elsewhere", &|f| f.write("users.d/z.toml", "[users.a]\ndisabled = true\n[users.x\n"), "bc-"),
            ("a file deleted", &|f| f.remove("users.d/c.toml"), "ab-"),
            ("main deleted", &|f| f.remove("p.toml"), ""),
            (
                "a folder in place of a file",
                &|f| {
                    f.remove("users.d/c.toml");
                    fs::create_dir(f.0.path().join("users.d/c.toml")).unwrap();
                },
                "abc-",
            ),
            (
                "the included folder gone",
                &|f| fs::rename(f.0.path().join("users.d"), f.0.path().join("gone")).unwrap(),
                "abc-",
            ),
            (
                "no text at all",
                &|f| {
                    fs::write(f.0.path().join("p.toml"), b"\xff\xfe\n[users.a]\n").unwrap();
                },
                "ac",
            ),
        ];
        for (name, spoil, expected) in cases {
            let folder = Folder::new();
            let kept = folder.kept();
            spoil(&folder);
            assert_eq!(admitted(&restore(&kept).0), *expected, "{name}");
        }
    }

    #[test]
    fn a_name_that_is_gone_is_nobody_elses_client_id() {
        let folder = Folder::new();
        folder.write("users.d/c.toml", "[users.c]\nclient_id = [\"*\"]\n");
        let kept = folder.kept();
        let may_be_a =
            |policy: &Policy| policy.authorize(&Client { user: Some(b"c"), id: b"a" }, Action::Connect).is_allow();
        folder.write("p.toml", "version = 1\ninclude = [\"users.d/*.toml\"]\n[users.b]\nx = 1\n");
        let (policy, left_out) = restore(&kept);
        assert_eq!((admitted(&policy).as_str(), left_out, may_be_a(&policy)), ("bc", 1, false));
    }

    #[test]
    fn what_changed_since_is_not_kept() {
        let folder = Folder::new();
        let sources = folder.sources();
        folder.write("users.d/c.toml", "[users.c]\npublish = [\"z\"]\n");
        for _ in 0..2 {
            let kept = LastGood::keep(&sources, SystemTime::now(), &mut Vec::new());
            assert!(matches!(kept, Err(Unkept::Changed)), "{kept:?}");
            let _ = fs::remove_file(folder.0.path().join("users.d/c.toml"));
        }
    }

    #[test]
    fn what_is_damaged_is_not_used() {
        let kept = Folder::new().kept();
        for length in 0..kept.len() {
            assert!(LastGood::read(&mut &kept[..length]).is_err(), "cut at {length}");
        }
        // The time alone is not hashed: its digits are the only bytes that may be others.
        let since = kept.windows(10).position(|window| window == b"since 1000").unwrap() + 6;
        for at in (0..kept.len()).filter(|at| !(since..since + 4).contains(at)) {
            let mut wrong = kept.clone();
            wrong[at] ^= 1;
            assert!(LastGood::read(&mut &*wrong).is_err(), "byte {at}");
        }
        let huge = b"mqtt-acl last good 1\npolicy 00\nsince 1\nfiles 4294967295\n";
        assert!(LastGood::read(&mut &huge[..]).is_err());
    }
}
