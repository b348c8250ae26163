//! A policy file for one test, in a folder that S18 trusts.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// What every listed device logs in with: `PASSWORD` under PBKDF2-HMAC-SHA512, Mosquitto's own format. One round, for what
/// takes more is not always checked at once.
pub(crate) const PASSWORD: &[u8] = b"secret";
const HASH: &str =
    "$7$1$bW9zcXVpdHRvLWFj$0l1zVcIRG4t3qw6gx6glMGLO0tJkLAmDH9slEYDcnhJB9XHU6tlqWWwF7xWvOVul+UjOuL5pRNn+Gei84tJ3xA==";

/// The same with 5,000 rounds: some milliseconds.
const SLOW_HASH: &str =
    "$7$5000$bW9zcXVpdHRvLWFj$scBj8dYLtd06e1uUN1iaqPZF5ZGuQzwrJZ/BFBXupGtJc1xbJg0YO0Ft7Fa5YzJHCoR7bwxOXftv/gNfeaFvLg==";

/// The same with 40,000 rounds: far longer than it takes a client to arrive, under valgrind and on a busy machine too.
const VERY_SLOW_HASH: &str = "$7$40000$bW9zcXVpdHRvLWFj$3Nm8egMvX92x/YY37KFsMSThfXLKLy1eFmXAe8Eca1euEXK15p1X1IoAseGNGYAOyS4pog4H8WaQdxJB8yJd4g==";

/// Wrong passwords come by the thousands here, and not to be counted.
const ROLES: &str = r#"version = 1
guard.trusted = ["192.0.2.0/24"]
logins.share = 90

[roles.device]
client_id = ["%u", "%u-*"]
publish = ["dt/demo/+/%u/#", "cmd/demo/+/%u/#"]
subscribe = ["cmd/demo/+/%u/#"]

[roles.api]
api = true
"#;

/// A policy in which these users are devices.
pub(crate) fn devices<'a>(users: impl IntoIterator<Item = &'a str>) -> String {
    users.into_iter().map(|user| device(user, HASH)).fold(ROLES.to_owned(), |text, user| text + &user)
}

/// The same with passwords that take time to check.
pub(crate) fn slow_devices<'a>(users: impl IntoIterator<Item = &'a str>) -> String {
    devices(users).replace(HASH, SLOW_HASH)
}

/// One more user for such a policy, whose password takes far longer.
pub(crate) fn very_slow_device(user: &str) -> String {
    device(user, VERY_SLOW_HASH)
}

fn device(user: &str, hash: &str) -> String {
    format!("\n[users.\"{user}\"]\nroles = [\"device\"]\npassword = \"{hash}\"\n")
}

/// A file that goes when the test ends.
#[derive(Debug)]
pub(crate) struct Policy {
    folder: tempfile::TempDir,
}

impl Policy {
    pub(crate) fn missing() -> Self {
        // Whatever the umask is: others may not write here.
        let folder = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap();
        Self { folder }
    }

    pub(crate) fn new(text: &str) -> Self {
        let policy = Self::missing();
        policy.write(text);
        policy
    }

    /// Replaces the file in one step, as a careful editor does.
    pub(crate) fn write(&self, text: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(&new, self.file()).unwrap();
    }

    pub(crate) fn remove(&self) {
        fs::remove_file(self.file()).unwrap();
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("policy.toml")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}
