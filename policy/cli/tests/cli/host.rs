//! Temporary policies, and the program run on them.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_mqtt-acl");

/// A policy that says something of everything.
pub(crate) const POLICY: &str = r##"version = 1

[roles.device]
publish   = ["dt/%u/#"]
subscribe = ["cmd/%u/#"]
deny      = { publish = ["dt/+/secret"] }

[users.dev1]
roles = ["device"]

[users.gateway]
client_id = ["gw-*"]
receive   = ["dt/#"]

[[test]]
user   = "dev1"
can    = { publish = ["dt/dev1/x"] }
cannot = { publish = ["dt/dev2/x"], connect = true }
"##;

/// The same with a test that holds.
pub(crate) fn good() -> String {
    POLICY.replace(", connect = true", "")
}

/// A folder of its own for a test, in which the program runs.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Whatever the umask is, nobody else writes here; and everybody may look, for the tests as another user.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    pub(crate) fn with(policy: impl AsRef<[u8]>) -> Self {
        let folder = Self::new();
        folder.write("policy.toml", policy, 0o644);
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: impl AsRef<Path>, text: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    pub(crate) fn subfolder(&self, name: &str) {
        let path = self.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(PROGRAM);
        command.current_dir(self.path()).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs the program with these words.
    pub(crate) fn run(&self, words: &str) -> Ran {
        self.run_with(words.split_whitespace())
    }

    pub(crate) fn run_with<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// Runs the program with these words and this standard input.
    pub(crate) fn run_fed(&self, words: &str, input: &[u8]) -> Ran {
        let mut command = self.command(words.split_whitespace());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It need not read all of it.
        let _ = child.stdin.take().unwrap().write_all(input);
        Ran::of(child.wait_with_output().unwrap())
    }
}

/// What came of a run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) status: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            status: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub(crate) fn is(&self, status: i32, out: &str, err: &str) {
        assert_eq!((self.status, self.out.as_str(), self.err.as_str()), (Some(status), out, err));
    }

    /// Nothing that moves a cursor or hides text; whatever was asked for, it stays on its lines.
    #[track_caller]
    pub(crate) fn is_tame(&self) {
        for text in [&self.out, &self.err] {
            assert!(!text.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')), "{text:?}");
        }
    }
}

/// Says that a test was not carried out, where nobody overlooks it.
pub(crate) fn skipped(what: &str) {
    // Not through `eprintln!`, which the test harness keeps to itself when a test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
}
