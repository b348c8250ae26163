//! What the files of a broken policy still say of users: whom they list, and whom they disable.
//!
//! It only ever takes rights away from a policy that was good once, so what is in doubt counts against a user: one whom no
//! readable part of the files lists is gone, and a `disabled` that is anything but `false` disables. Of a file that cannot
//! be read at all, what it said before holds.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use crate::document::Document;
use crate::last_good::LastGood;
use crate::load::{LARGEST, expand};
use crate::problem::Problems;
use crate::users::Draft;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    listed: HashSet<String>,
    disabled: HashSet<String>,
    /// Whether there is an `[anonymous]`.
    pub(crate) anonymous: bool,
}

/// What one file says.
#[derive(Debug, Default)]
struct Says {
    listed: HashSet<String>,
    disabled: HashSet<String>,
    anonymous: bool,
    include: Vec<String>,
    /// Whether a part that could hold an `include` is unreadable.
    is_unsure: bool,
}

/// A file as it is now.
enum Present {
    Text(String),
    /// It was deleted.
    Gone,
    Unreadable,
}

impl Recovered {
    /// Looks at the files as they are, from the main one on. Where one does not tell what it includes, `before` does.
    pub(crate) fn from(before: &LastGood) -> Self {
        let mut recovered = Self::default();
        let mut waiting: Vec<PathBuf> = before.paths().next().map(Path::to_path_buf).into_iter().collect();
        let mut seen = HashSet::new();
        while let Some(path) = waiting.pop() {
            if !seen.insert(path.clone()) {
                continue;
            }
            let before_it = || before.text(&path).map(Says::of).unwrap_or_default();
            let mut include = Vec::new();
            match Present::at(&path) {
                Present::Text(text) => {
                    let says = Says::of(&text);
                    include.extend(says.include);
                    if says.is_unsure {
                        include.extend(before_it().include);
                    }
                    recovered.listed.extend(says.listed);
                    recovered.disabled.extend(says.disabled);
                    recovered.anonymous |= says.anonymous;
                }
                Present::Gone => {}
                Present::Unreadable => {
                    let said = before_it();
                    include = said.include;
                    recovered.listed.extend(said.listed);
                    recovered.anonymous |= said.anonymous;
                }
            }
            let folder = path.parent().unwrap_or(Path::new(""));
            for pattern in include.iter().map(|pattern| folder.join(pattern)) {
                match expand(&pattern, &[]) {
                    Ok(paths) => waiting.extend(paths),
                    // The folder cannot be read; perhaps its files can.
                    Err(_) => {
                        waiting.extend(before.paths().filter(|path| path.parent() == pattern.parent()).map(Into::into))
                    }
                }
            }
        }
        recovered
    }

    /// Whether the files no longer list the user, or disable it.
    pub(crate) fn is_gone(&self, user: &str) -> bool {
        self.disabled.contains(user) || !self.listed.contains(user)
    }
}

impl Present {
    fn at(path: &Path) -> Self {
        let read = || -> io::Result<Vec<u8>> {
            let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
            let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
            if !file.metadata()?.is_file() {
                return Err(io::Error::other("it is not a file"));
            }
            let mut bytes = Vec::new();
            file.take(LARGEST).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => Self::Text(String::from_utf8_lossy(&bytes).into_owned()),
            // A folder that is missing too may be a disk that is not mounted.
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.parent().is_some_and(is_readable) => {
                Self::Gone
            }
            Err(_) => Self::Unreadable,
        }
    }
}

fn is_readable(folder: &Path) -> bool {
    fs::read_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }).is_ok()
}

impl Says {
    fn of(text: &str) -> Self {
        let mut says = Self::default();
        if says.note(text).is_none() {
            says.sift(text);
        }
        says
    }

    /// Notes what a text says, and tells whom it lists; nothing where it is not TOML.
    fn note(&mut self, text: &str) -> Option<Vec<String>> {
        let mut users = Draft::default();
        let document = Document::read(text, &Arc::from(Path::new("")), &mut users, &mut Problems::default());
        if document.is_broken {
            return None;
        }
        self.anonymous |= document.anonymous.is_some();
        self.include.extend(document.include.into_iter().map(|pattern| pattern.value));
        let mut names = Vec::new();
        for number in users.numbers() {
            let name = users.name(number).map(|name| String::from_utf8_lossy(name).into_owned()).unwrap_or_default();
            if users.is_disabled(number) {
                self.disabled.insert(name.clone());
            }
            self.listed.insert(name.clone());
            names.push(name);
        }
        Some(names)
    }

    /// Reads a text that is not TOML table by table, and those of its tables that are not line by line.
    fn sift(&mut self, text: &str) {
        let mut table = String::new();
        let mut is_first = true;
        for line in text.lines().map(Some).chain([None]) {
            if line.is_none_or(|line| line.trim_start().starts_with('[')) {
                self.sift_table(&table, is_first);
                table.clear();
                is_first = false;
            }
            if let Some(line) = line {
                table.push_str(line);
                table.push('\n');
            }
        }
    }

    fn sift_table(&mut self, table: &str, is_first: bool) {
        if self.note(table).is_some() {
            return;
        }
        self.is_unsure |= is_first;
        let mut lines = table.lines();
        // Before the first header there is none.
        let header = if is_first { "" } else { lines.next().unwrap_or_default() };
        let owners = self.note(header).unwrap_or_default();
        for line in lines {
            let value = line.split_once('=').filter(|(key, _)| key.trim().trim_matches(['"', '\'']) == "disabled");
            match value {
                Some((_, value)) if value.split('#').next().map(str::trim) != Some("false") => {
                    self.disabled.extend(owners.iter().cloned());
                }
                // `bob = { disabled = true }` below `[users]`, `users.bob.disabled = true` above all headers.
                None if owners.is_empty() => {
                    self.note(&format!("{header}\n{line}"));
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that are listed, with a `-` before those that are disabled.
    fn says(text: &str) -> Vec<String> {
        let says = Says::of(text);
        let mut names: Vec<_> = says
            .listed
            .union(&says.disabled)
            .map(|name| format!("{}{name}", if says.disabled.contains(name) { "-" } else { "" }))
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn whole_texts() {
        assert_eq!(says("[users.a]\n[users.\"b c\"]\ndisabled = true\n[roles.r]\n"), ["-b c", "a"]);
        assert_eq!(says("users.a.disabled = true\nusers.b = {}\n"), ["-a", "b"]);
        assert_eq!(says("# [users.a]\n"), [""; 0]);
        // Good TOML, and no good policy.
        assert_eq!(
            says("[users.a]\npublsh = 1\n[users.b]\ndisabled = \"yes\"\n[users.c]\ndisabled = false\n"),
            ["-b", "a", "c"]
        );
        assert_eq!(says("users.a = { disabled = 1 }\nusers.b.disabled = []\n"), ["-a", "-b"]);
        assert_eq!(says("x = 1\n[users]\na = 1\nb = {}\n"), ["b"]);
    }

    #[test]
    fn broken_texts() {
        assert_eq!(says("[users.a]\n[users.b]\ndisabled = true\n[users.c\n"), ["-b", "a"]);
        assert_eq!(says("[users.a]\npublish = [\n  \"x\",\ndisabled = true\n[users.b]\n"), ["-a", "b"]);
        assert_eq!(says("[users.a]\nx = \ndisabled = tru\n[users.b]\nx =\ndisabled=false # not yet\n"), ["-a", "b"]);
        assert_eq!(says("[users.a]\n[users.a]\ndisabled = true\n"), ["-a"], "twice is broken");
        assert_eq!(says("x = \nusers.a.disabled = true\nusers.b = { roles = [] }\n"), ["-a", "b"]);
        assert_eq!(says("[users]\na = { disabled = true }\nb = {\nc = {}\n"), ["-a", "c"]);
        assert_eq!(says("# [users.a]\n[users.b]\n= \n"), ["b"]);
        assert_eq!(says("\u{fffd}\n[users.b]\n"), ["b"]);
        assert_eq!(says("[[[["), [""; 0]);
        assert_eq!(says("[users.a]\n\"disabled\" = x\n"), ["-a"]);
        assert_eq!(says("[users.\"a\\u0062\"]\n=\n"), ["ab"]);
    }

    #[test]
    fn what_is_included_is_known_or_in_doubt() {
        let says = |text: &str| {
            let says = Says::of(text);
            (says.include, says.is_unsure)
        };
        assert_eq!(says("version = 1\ninclude = [\"a\"]\n[users.x\n"), (vec!["a".to_owned()], false));
        assert_eq!(says("version = 1\n[users.x\n"), (Vec::new(), false));
        assert_eq!(says("version = \ninclude = [\"a\"]\n"), (vec!["a".to_owned()], true));
        assert_eq!(says("version = \ninclude = [\n\"a\"]\n"), (Vec::new(), true));
    }
}
