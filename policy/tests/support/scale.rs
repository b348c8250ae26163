//! Policies of any size, for measuring: the same ones on every machine, from the standard library alone.
//!
//! What a fleet's policy looks like (S37): 10 roles, users spread over 20 files that are included, each with a role and one
//! password string, and 5 % of them with rules of their own. Of a hundred password strings 80 are argon2id
//! (m=19456,t=2,p=1), 5 Mosquitto's `$7$` and 15 tokens. The strings are well-formed and nobody knows the passwords; whoever
//! is to log in is put into one more file of `users.d`.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// How large a policy is, and of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    /// How many users there are.
    pub(crate) users: usize,
    /// In how many files.
    pub(crate) files: usize,
    /// How many filters each of the [`ROLES`] holds.
    pub(crate) role_rules: usize,
    /// Of a hundred users, how many have rules of their own.
    pub(crate) own_percent: usize,
    /// How many rules each of these has.
    pub(crate) own_rules: usize,
    /// Of a hundred password strings, how many are argon2id and `$7$`; the others are tokens.
    pub(crate) passwords: [usize; 2],
}

/// What the roles are called: `role0` to `role9`.
pub(crate) const ROLES: usize = 10;

impl Scale {
    /// The usual policy for so many users.
    pub(crate) fn of(users: usize) -> Self {
        Self { users, files: 20, role_rules: 10, own_percent: 5, own_rules: 2, passwords: [80, 5] }
    }

    /// Users with a role and an argon2id string, and nothing else.
    pub(crate) fn plain(users: usize) -> Self {
        Self { own_percent: 0, passwords: [100, 0], ..Self::of(users) }
    }

    /// The name of a user, by its number.
    pub(crate) fn name(number: usize) -> String {
        format!("dev{number:06}")
    }

    /// Writes `policy.toml` and its `users.d` into a folder that is there, readable by their owner alone; returns the path of
    /// the first and the size of all.
    ///
    /// # Errors
    /// Where the system refuses.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<(PathBuf, u64)> {
        let users = folder.join("users.d");
        fs::create_dir_all(&users)?;
        let main = folder.join("policy.toml");
        let mut size = save(&main, |out| out.write_all(self.head(true).as_bytes()))?;
        for file in 0..self.files {
            size += save(&users.join(format!("{file:02}.toml")), |out| {
                let mut text = String::new();
                for number in self.in_file(file) {
                    text.clear();
                    self.user(number, &mut text);
                    out.write_all(text.as_bytes())?;
                }
                Ok(())
            })?;
        }
        Ok((main, size))
    }

    /// The same policy as the text of one file.
    pub(crate) fn text(&self) -> String {
        let mut text = self.head(false);
        for number in (0..self.files).flat_map(|file| self.in_file(file)) {
            self.user(number, &mut text);
        }
        text
    }

    /// How many rules the policy has in all.
    pub(crate) fn rules(&self) -> usize {
        ROLES * self.role_rules + (0..self.users).filter(|number| self.has_own(*number)).count() * self.own_rules
    }

    /// The files are in no order of the names as a whole.
    fn in_file(&self, file: usize) -> impl Iterator<Item = usize> + use<> {
        (file..self.users).step_by(self.files)
    }

    fn head(&self, include: bool) -> String {
        let mut text = "version = 1\n".to_owned();
        if include {
            text.push_str("include = [\"users.d/*.toml\"]\n");
        }
        for role in 0..ROLES {
            let _ = write!(text, "\n[roles.role{role}]\npublish = [");
            for rule in 0..self.role_rules.div_ceil(2) {
                let _ = write!(text, "\"dt/role{role}/{rule}/%u/#\", ");
            }
            text.push_str("]\nsubscribe = [");
            for rule in 0..self.role_rules / 2 {
                let _ = write!(text, "\"cmd/role{role}/{rule}/%u/#\", ");
            }
            text.push_str("]\n");
        }
        text
    }

    fn user(&self, number: usize, text: &mut String) {
        let _ = write!(text, "\n[users.{}]\nroles = [\"role{}\"]\npassword = \"", Self::name(number), number % ROLES);
        let mut random = Random(number as u64);
        let [argon2id, mosquitto] = self.passwords;
        let part = (random.next() % 100) as usize;
        if part < argon2id {
            text.push_str("$argon2id$v=19$m=19456,t=2,p=1$");
            base64(&random.bytes::<16>(), text);
            text.push('$');
            base64(&random.bytes::<32>(), text);
        } else if part < argon2id + mosquitto {
            text.push_str("$7$210000$");
            base64(&random.bytes::<12>(), text);
            text.push('$');
            base64(&random.bytes::<64>(), text);
            text.push_str("==");
        } else {
            text.push_str("$token$");
            base64(&random.bytes::<32>(), text);
        }
        text.push_str("\"\n");
        if self.has_own(number) {
            text.push_str("publish = [");
            for rule in 0..self.own_rules.div_ceil(2) {
                let _ = write!(text, "\"own/{number}/{rule}\", ");
            }
            text.push_str("]\nsubscribe = [");
            for rule in 0..self.own_rules / 2 {
                let _ = write!(text, "\"own/{number}/{rule}/#\", ");
            }
            text.push_str("]\n");
        }
    }

    /// Spread evenly over roles and files.
    fn has_own(&self, number: usize) -> bool {
        (Random(!(number as u64)).next() % 100) < self.own_percent as u64
    }
}

fn save(path: &Path, write: impl FnOnce(&mut BufWriter<fs::File>) -> io::Result<()>) -> io::Result<u64> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    write(&mut out)?;
    out.flush()?;
    Ok(out.get_ref().metadata()?.len())
}

/// SplitMix64: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next() as u8)
    }
}

/// Without padding.
fn base64(bytes: &[u8], text: &mut String) {
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().fold(0, |number, byte| (number << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            text.push(char::from(match (number >> (18 - 6 * digit)) as u8 % 64 {
                value @ 0..26 => b'A' + value,
                value @ 26..52 => b'a' + (value - 26),
                value @ 52..62 => b'0' + (value - 52),
                62 => b'+',
                _ => b'/',
            }));
        }
    }
}
