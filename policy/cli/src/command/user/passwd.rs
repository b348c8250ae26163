use std::ffi::OsString;
use std::io::Write;

use clap::Args;
use serde_json::json;

use super::{Target, name, no_secret};
use crate::exit::{Exit, Outcome};
use crate::secret;

/// Give a user another password
///
/// It is asked for twice on a terminal, or read from standard input, and kept as an argon2id string where the old one is. The
/// old password ends, unless `--keep-old` lets it be valid beside the new one. `mqtt-acl token USER` is for devices.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mqtt-acl user passwd alice
  mqtt-acl user passwd alice < secret.txt
  mqtt-acl user passwd alice --keep-old

Exit status:
  0  the new password is in the policy
  1  refused, and nothing was changed: not listed, or a secret that cannot be used
  2  wrong usage")]
pub(crate) struct Passwd {
    /// The user name
    name: String,
    /// Taken so that it is refused without being repeated.
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
    /// Let the password that is current now go on working
    #[arg(long)]
    keep_old: bool,
    #[command(flatten)]
    target: Target,
}

impl Passwd {
    pub(crate) fn run(self, out: &mut impl Write) -> Outcome {
        no_secret(!self.rest.is_empty(), "user passwd")?;
        let name = name(&self.name)?;
        // Nobody should type a password twice for a user that is not there; and nobody else wait for it.
        self.target.edit()?.expect(name)?;
        let string = mqtt_acl_policy::hash(&secret::read()?).map_err(crate::exit::Error::Secret)?;
        let mut editor = self.target.edit()?;
        let mut passwords = vec![string];
        if self.keep_old {
            passwords.extend(editor.passwords(name).into_iter().take(1));
        }
        let what = if passwords.len() > 1 { "new password, the old one valid beside it" } else { "new password" };
        editor.set_passwords(name, &passwords, what)?;
        let saved = editor.save(None)?;
        self.target.tell(out, &saved, json!({ "user": name }))?;
        Ok(Exit::Fine)
    }
}
