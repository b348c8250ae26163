//! Where a command reads its policy, and whose files it trusts.

use std::path::Path;

use clap::Args;
use mqtt_acl_policy::{Loaded, OneLine, Trust, user_id, user_ids};

use crate::exit::Error;
use crate::progress::saying;

/// Where the plugin looks for its policy unless the broker's configuration says otherwise.
pub(crate) const USUAL_FILE: &str = "/etc/mosquitto/mqtt-acl/policy.toml";

/// The user that Debian's and most other brokers run as.
pub(crate) const USUAL_BROKER_USER: &str = "mosquitto";

/// Loads a policy.
///
/// # Errors
/// [`Error::Policy`].
pub(crate) fn load(file: &Path, trust: &Trust) -> Result<Loaded, Error> {
    let what = format!("reading {}", OneLine(&file.to_string_lossy()));
    saying(&what, || mqtt_acl_policy::load(file, trust)).map_err(Error::Policy)
}

/// Whose files may make policy: root's, the broker's, and those of whoever runs the command (S18).
#[derive(Args, Debug)]
pub(crate) struct Owners {
    /// The user that the broker runs as, whose files are trusted beside root's and yours [default: mosquitto]
    #[arg(long, value_name = "NAME")]
    broker_user: Option<String>,
}

impl Owners {
    /// As [`Owners::trust`], for a policy that the broker's user has to be able to read: the one in its usual place, or
    /// any where that user is named.
    pub(crate) fn trust_and_read(&self, file: &Path) -> Result<Trust, Error> {
        let trust = self.trust()?;
        Ok(match self.broker_user.as_deref() {
            Some(name) => trust.read_by(name),
            None if file == Path::new(USUAL_FILE) => trust.read_by(USUAL_BROKER_USER),
            None => trust,
        })
    }

    /// The user and group of a file that is made for the broker: the broker's, where root makes it.
    pub(crate) fn of_new_files(&self) -> Option<(u32, u32)> {
        let name = self.broker_user.as_deref().unwrap_or(USUAL_BROKER_USER);
        user_ids(name).filter(|_| rustix::process::geteuid().is_root())
    }

    pub(crate) fn trust(&self) -> Result<Trust, Error> {
        match self.broker_user.as_deref() {
            // A machine that only writes policies has no such user, and then there are no files of its either.
            None => Ok(Trust::process().and_user(USUAL_BROKER_USER)),
            Some(name) if user_id(name).is_some() => Ok(Trust::process().and_user(name)),
            Some(name) => Err(Error::Usage(format!(
                "this machine has no user `{name}` (write the one that the broker runs as after `--broker-user`)"
            ))),
        }
    }
}
