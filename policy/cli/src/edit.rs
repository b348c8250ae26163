//! Edits of a policy's users: found in its files, made in their text, checked as a whole, and then put in place.

mod file;
mod sections;

use std::collections::{HashMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mqtt_acl_policy::{Escaped, Failure, Loaded, Policy, Replacement, Trust, included, includes, load, load_with};
use rustix::fs::OFlags;
use toml_edit::{Array, Value};
use zeroize::Zeroizing;

use crate::exit::Error;
use crate::text::complain;

pub(crate) use file::{Access, Staged, folder_of};
pub(crate) use sections::NewUser;

use file::{Lock, flags};
use sections::Text;

/// The files of a policy, as they are now.
#[derive(Debug)]
pub(crate) struct Files {
    main: PathBuf,
    files: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    /// As the policy names it.
    path: PathBuf,
    /// Where it really is.
    target: PathBuf,
    /// What it was when it was read; `None` for a new file.
    stamp: Option<Stamp>,
    text: Text,
    is_changed: bool,
    /// Whether a definition was taken out of it, which happens after what completes it is gone: half of a removal must not
    /// leave a password behind as a user of its own.
    goes_last: bool,
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(u64, u64, u64, i64, i64);

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self(metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec())
    }
}

/// More than this no policy holds.
const LARGEST: u64 = 1 << 30;

impl Files {
    /// Reads the policy's files. They need not make a good policy, but they have to be TOML.
    pub(crate) fn read(main: &Path, trust: &Trust) -> Result<Self, Error> {
        let mut files = Self { main: main.to_path_buf(), files: Vec::new() };
        match files.follow(main, &mut HashSet::new(), 0) {
            Ok(()) => Ok(files),
            // Whoever loads it says best what is wrong with it.
            Err(problem) => Err(match load(main, trust) {
                Err(failure) => Error::Policy(failure),
                Ok(_) => Error::Failed(problem),
            }),
        }
    }

    fn follow(&mut self, path: &Path, seen: &mut HashSet<PathBuf>, depth: u32) -> Result<(), String> {
        const DEEPEST: u32 = 8;
        let source = Source::read(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
        if depth > DEEPEST || !seen.insert(source.target.clone()) {
            return Err(format!("{}: the file is included twice, or too deep", path.display()));
        }
        let include = source.text.top_texts("include");
        self.files.push(source);
        for pattern in include {
            for path in included(path, &pattern)? {
                self.follow(&path, seen, depth + 1)?;
            }
        }
        Ok(())
    }

    /// The user of this name is in one of the files.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.files.iter().any(|source| source.text.has(name))
    }

    /// Fails where a file for secrets would be one of the policy's.
    fn expect_apart(&self, path: &Path) -> Result<(), Error> {
        let target = fs::canonicalize(path).ok();
        let is_part = |source: &Source| {
            target.as_ref() == Some(&source.target)
                || source.text.top_texts("include").iter().any(|pattern| includes(&source.path, pattern, path))
        };
        if self.files.iter().any(is_part) {
            let shown = Escaped(path.as_os_str().as_bytes());
            return Err(Error::Failed(format!(
                "`{shown}` is a file of the policy itself (name another for the token)"
            )));
        }
        Ok(())
    }

    /// Where each user stands, `file:line`, in the order of the files.
    pub(crate) fn places(&self) -> HashMap<String, Vec<String>> {
        let mut places: HashMap<String, Vec<String>> = HashMap::new();
        for source in &self.files {
            for (name, line) in source.text.lines() {
                places.entry(name.to_owned()).or_default().push(format!("{}:{line}", source.path.display()));
            }
        }
        places
    }

    /// Where one user stands.
    pub(crate) fn places_of(&self, name: &str) -> Vec<String> {
        let of = |source: &Source| -> Vec<String> {
            let lines = source.text.lines().filter(|(other, _)| *other == name);
            lines.map(|(_, line)| format!("{}:{line}", source.path.display())).collect()
        };
        self.files.iter().flat_map(of).collect()
    }
}

impl Source {
    fn read(path: &Path) -> io::Result<Self> {
        let target = fs::canonicalize(path)?;
        // Nonblocking, for a pipe would be waited for.
        let file = OpenOptions::new().read(true).custom_flags(flags(OFlags::NONBLOCK)).open(&target)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let mut text = String::new();
        file.take(LARGEST).read_to_string(&mut text)?;
        let text = Text::new(text).map_err(|error| io::Error::other(error.description().to_owned()))?;
        Ok(Self {
            path: path.to_path_buf(),
            target,
            stamp: Some(Stamp::of(&metadata)),
            text,
            is_changed: false,
            goes_last: false,
        })
    }
}

/// One thing that was changed, for the person who asked for it.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) file: PathBuf,
    pub(crate) what: String,
}

/// A policy whose users are being edited. Nothing is written before [`Editor::save`].
#[derive(Debug)]
pub(crate) struct Editor {
    files: Files,
    trust: Trust,
    /// Who owns a file that is made.
    broker: Option<(u32, u32)>,
    changes: Vec<Change>,
    /// What the policy has to say afterwards, or the edit went wrong.
    meant: Vec<(String, State)>,
    _lock: Lock,
}

/// What an edit makes of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Listed,
    Gone,
    Disabled,
    Enabled,
    Passwords(usize),
}

impl State {
    fn holds(self, name: &str, policy: &Policy) -> bool {
        let account = policy.account(name);
        match self {
            Self::Gone => account.is_none(),
            Self::Listed => account.is_some(),
            Self::Disabled => account.is_some_and(|account| account.disabled),
            Self::Enabled => account.is_some_and(|account| !account.disabled),
            Self::Passwords(count) => account.is_some_and(|account| account.passwords.len() == count),
        }
    }
}

impl Editor {
    /// Locks a policy and reads its files.
    pub(crate) fn open(main: &Path, trust: Trust, broker: Option<(u32, u32)>) -> Result<Self, Error> {
        if fs::metadata(main).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Err(Error::Policy(Failure::Missing(main.to_path_buf())));
        }
        let lock = Lock::of(folder_of(main))?;
        let files = Files::read(main, &trust)?;
        Ok(Self { files, trust, broker, changes: Vec::new(), meant: Vec::new(), _lock: lock })
    }

    /// Fails where the user is not listed.
    pub(crate) fn expect(&self, name: &str) -> Result<(), Error> {
        if self.files.has(name) {
            return Ok(());
        }
        let shown = Escaped(name.as_bytes());
        Err(Error::Failed(format!(
            "user `{shown}` is not listed in this policy (`mqtt-acl user list` names those that are, `mqtt-acl user add` \
             adds one)"
        )))
    }

    /// Adds users to one file: the one that is named or, without, where an operator would look for them.
    pub(crate) fn add(&mut self, users: &[NewUser], file: Option<&Path>) -> Result<(), Error> {
        let listed: HashSet<&str> = self
            .files
            .files
            .iter()
            .flat_map(|source| source.text.users())
            .map(|mention| mention.name.as_str())
            .collect();
        let twice: Vec<_> = users.iter().filter(|user| listed.contains(user.name.as_str())).collect();
        if let Some(first) = twice.first() {
            let more = match twice.len() {
                1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            return Err(Error::Failed(format!(
                "user `{}`{more} is listed already, in {} (nothing was changed; `mqtt-acl user passwd` and `mqtt-acl token` \
                 give another secret)",
                Escaped(first.name.as_bytes()),
                self.files.places_of(&first.name).join(" and ")
            )));
        }
        let with_password = users.iter().any(|user| user.password.is_some());
        let at = match file {
            Some(path) => self.named(path)?,
            None => self.usual(with_password)?,
        };
        let Some(source) = self.files.files.get_mut(at) else { return Ok(()) };
        source.text.add(users);
        self.meant.extend(users.iter().map(|user| (user.name.clone(), State::Listed)));
        let what = match users {
            [user] => format!("user `{}` added", Escaped(user.name.as_bytes())),
            _ => format!("{} users added", users.len()),
        };
        self.changed(at, what);
        Ok(())
    }

    /// Takes a user out of every file.
    pub(crate) fn remove(&mut self, name: &str) -> Result<(), Error> {
        self.expect(name)?;
        self.meant.push((name.to_owned(), State::Gone));
        for at in 0..self.files.files.len() {
            let Some(source) = self.files.files.get_mut(at) else { continue };
            let is_definition = source.text.defines(name);
            if source.text.remove(name) {
                source.goes_last |= is_definition;
                self.changed(at, format!("user `{}` removed", Escaped(name.as_bytes())));
            }
        }
        Ok(())
    }

    /// Shuts a user out; whatever else the policy says, nothing lets it in (S2).
    pub(crate) fn disable(&mut self, name: &str) -> Result<(), Error> {
        self.expect(name)?;
        self.meant.push((name.to_owned(), State::Disabled));
        let at = self.place_with(name, "disabled").unwrap_or_else(|| self.definition(name));
        let Some(source) = self.files.files.get_mut(at) else { return Ok(()) };
        let before = source.text.as_str().to_owned();
        source.text.set(name, "disabled", Value::from(true));
        if source.text.as_str() != before {
            self.changed(at, format!("user `{}` disabled", Escaped(name.as_bytes())));
        }
        Ok(())
    }

    /// Lets a user in again.
    pub(crate) fn enable(&mut self, name: &str) -> Result<(), Error> {
        self.expect(name)?;
        self.meant.push((name.to_owned(), State::Enabled));
        for at in 0..self.files.files.len() {
            if self.files.files.get_mut(at).is_some_and(|source| source.text.unset(name, "disabled")) {
                self.changed(at, format!("user `{}` enabled", Escaped(name.as_bytes())));
            }
        }
        Ok(())
    }

    /// The password strings of a user, the current one first.
    pub(crate) fn passwords(&self, name: &str) -> Vec<String> {
        let found = self.place_with(name, "password").and_then(|at| self.files.files.get(at));
        found.map(|source| source.text.passwords_of(name)).unwrap_or_default()
    }

    /// Gives a user these password strings, the current one first, in the place of those that it has.
    pub(crate) fn set_passwords(&mut self, name: &str, passwords: &[String], what: &str) -> Result<(), Error> {
        self.expect(name)?;
        self.meant.push((name.to_owned(), State::Passwords(passwords.len())));
        let at = match self.place_with(name, "password") {
            Some(at) => at,
            None => self.place_for_password(name)?,
        };
        let value = match passwords {
            [one] => Value::from(one.as_str()),
            several => Value::Array(several.iter().collect::<Array>()),
        };
        let Some(source) = self.files.files.get_mut(at) else { return Ok(()) };
        source.text.set(name, "password", value);
        self.changed(at, format!("user `{}`: {what}", Escaped(name.as_bytes())));
        Ok(())
    }

    /// Checks the policy with the edits as the broker would, and puts them in place, after the secrets that come with them.
    /// Nothing is changed on failure.
    ///
    /// # Errors
    /// [`Error::Refused`] where the policy would not be good.
    pub(crate) fn save(self, secrets: Option<Secrets>) -> Result<Saved, Error> {
        if let Some(secrets) = &secrets {
            self.files.expect_apart(&secrets.path)?;
        }
        let mut staged = Vec::new();
        for source in self.files.files.iter().filter(|source| source.is_changed) {
            let content = source.text.as_str().as_bytes();
            let written = match source.stamp {
                Some(_) => Staged::beside(&source.target, content),
                None => Staged::new(&source.target, content, Access { owner: self.broker, mode: 0o640 }),
            };
            let written = written.map_err(|error| {
                Error::Failed(format!("{}: cannot be replaced: {error}; nothing was changed", source.path.display()))
            })?;
            staged.push((source, written));
        }
        let replacing: Vec<_> = staged
            .iter()
            .map(|(_, staged)| Replacement { file: staged.target.clone(), by: staged.temporary.clone() })
            .collect();
        let Loaded { policy, warnings } =
            load_with(&self.files.main, &self.trust, &replacing).map_err(Error::Refused)?;
        if let Some((name, _)) = self.meant.iter().find(|(name, state)| !state.holds(name, &policy)) {
            return Err(Error::Failed(format!(
                "the edit of user `{}` did not come out as it is meant; nothing was changed (edit {} by hand)",
                Escaped(name.as_bytes()),
                self.files.places_of(name).join(" and ")
            )));
        }
        for (source, _) in &staged {
            let now = fs::symlink_metadata(&source.target).ok().map(|metadata| Stamp::of(&metadata));
            if now != source.stamp {
                return Err(Error::Failed(format!(
                    "{}: somebody else changed the file meanwhile; nothing was changed (try again)",
                    source.path.display()
                )));
            }
        }
        for warning in warnings {
            if staged.iter().any(|(source, _)| *source.path == *warning.place.file) {
                complain(warning);
            }
        }
        let made = secrets.map(Secrets::create).transpose()?;
        staged.sort_by_key(|(source, _)| source.goes_last);
        for (source, staged) in staged {
            let placed = if source.stamp.is_some() { staged.replace() } else { staged.create() };
            placed.map_err(|error| {
                if let Some(path) = &made {
                    let _ = fs::remove_file(path);
                }
                Error::Failed(format!("{}: cannot be replaced: {error}", source.path.display()))
            })?;
        }
        Ok(Saved { changes: self.changes, policy })
    }

    fn changed(&mut self, at: usize, what: String) {
        if let Some(source) = self.files.files.get_mut(at) {
            source.is_changed = true;
            self.changes.push(Change { file: source.path.clone(), what });
        }
    }

    fn place_with(&self, name: &str, key: &str) -> Option<usize> {
        self.files.files.iter().position(|source| source.text.has_key(name, key))
    }

    fn definition(&self, name: &str) -> usize {
        let files = || self.files.files.iter();
        files()
            .position(|source| source.text.defines(name))
            .or_else(|| files().position(|source| source.text.has(name)))
            .unwrap_or(0)
    }

    /// Where the first password of a listed user goes: where a new user's would, unless the user has two tables elsewhere.
    fn place_for_password(&mut self, name: &str) -> Result<usize, Error> {
        let definition = self.definition(name);
        let holders: Vec<_> =
            (0..).zip(&self.files.files).filter(|(_, source)| source.text.has(name)).map(|(at, _)| at).collect();
        let usual = self.usual(true)?;
        // The main policy is where one ends up that has no place for secrets.
        if holders.contains(&usual) || (holders.len() == 1 && usual > 0) {
            return Ok(usual);
        }
        Ok(holders.into_iter().find(|at| *at != definition).unwrap_or(definition))
    }

    /// The file with the most of something, the first of several.
    fn most(&self, count: impl Fn(&Text) -> usize) -> Option<usize> {
        let counts = (0..).zip(&self.files.files).map(|(at, source)| (count(&source.text), at));
        counts
            .filter(|(count, _)| *count > 0)
            .max_by_key(|(count, at)| (*count, std::cmp::Reverse(*at)))
            .map(|(_, at)| at)
    }

    /// Where an operator looks for a user: beside the passwords, or beside the users; where there is none yet, in
    /// `users.toml` of a folder that the policy includes, or in the policy itself.
    fn usual(&mut self, with_password: bool) -> Result<usize, Error> {
        let users = |text: &Text| text.users().len();
        let found = if with_password {
            self.most(|text| text.passwords())
        } else {
            self.most(users).or_else(|| self.most(|text| text.passwords()))
        };
        if let Some(at) = found {
            return Ok(at);
        }
        let main = self.files.main.clone();
        let patterns = self.files.files.first().map(|source| source.text.top_texts("include")).unwrap_or_default();
        let new = patterns
            .iter()
            .filter(|pattern| pattern.contains('*'))
            .filter_map(|pattern| Path::new(pattern).parent())
            .map(|folder| folder_of(&main).join(folder).join("users.toml"))
            .map(|path| path.strip_prefix(".").map_or_else(|_| path.clone(), Path::to_path_buf))
            .find(|path| patterns.iter().any(|pattern| includes(&main, pattern, path)));
        match new {
            Some(path) => self.named(&path),
            None => Ok(0),
        }
    }

    /// A file of the policy, or one that would be if it were there.
    fn named(&mut self, path: &Path) -> Result<usize, Error> {
        let shown = Escaped(path.as_os_str().as_bytes());
        let target = fs::canonicalize(path).or_else(|_| {
            fs::canonicalize(folder_of(path)).map(|folder| folder.join(path.file_name().unwrap_or_default()))
        });
        let target = target.map_err(|error| Error::Failed(format!("`{shown}`: {error}")))?;
        if let Some(at) = self.files.files.iter().position(|source| source.target == target) {
            return Ok(at);
        }
        let would_be =
            self.files.files.iter().any(|source| {
                source.text.top_texts("include").iter().any(|pattern| includes(&source.path, pattern, path))
            });
        if !would_be || target.exists() {
            return Err(Error::Failed(format!(
                "`{shown}` is not a part of this policy (name one of its files, or a new one that its `include` means)"
            )));
        }
        let text = Text::new(String::new()).map_err(|error| Error::Failed(error.description().to_owned()))?;
        let path = path.to_path_buf();
        self.files.files.push(Source { path, target, stamp: None, text, is_changed: false, goes_last: false });
        Ok(self.files.files.len() - 1)
    }
}

/// What was put in place.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) changes: Vec<Change>,
    pub(crate) policy: Policy,
}

/// A file for secrets that a command makes: for its owner's eyes only, and never over another unless that is wanted.
#[derive(Debug)]
pub(crate) struct Secrets {
    pub(crate) path: PathBuf,
    pub(crate) content: Zeroizing<Vec<u8>>,
    pub(crate) force: bool,
}

impl Secrets {
    /// Fails early where writing would.
    pub(crate) fn expect(path: &Path, force: bool) -> Result<(), Error> {
        if !force && fs::symlink_metadata(path).is_ok() {
            return Err(Self::failed(path, &io::ErrorKind::AlreadyExists.into()));
        }
        fs::metadata(folder_of(path)).map(drop).map_err(|error| Self::failed(path, &error))
    }

    /// Writes it; its path, if the file is new.
    pub(crate) fn create(self) -> Result<PathBuf, Error> {
        let Self { path, content, force } = self;
        let staged = Staged::new(&path, &content, Access { owner: None, mode: 0o600 });
        let written = staged.and_then(|staged| if force { staged.replace() } else { staged.create() });
        written.map_err(|error| Self::failed(&path, &error))?;
        Ok(path)
    }

    fn failed(path: &Path, error: &io::Error) -> Error {
        let shown = Escaped(path.as_os_str().as_bytes());
        if error.kind() == io::ErrorKind::AlreadyExists {
            return Error::Failed(format!("`{shown}` is there already (`--force` overwrites it)"));
        }
        Error::Failed(format!("`{shown}` cannot be written: {error}"))
    }
}
