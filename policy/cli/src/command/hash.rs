use std::ffi::OsString;
use std::io::Write;

use clap::Args;

use crate::exit::{Error, Exit, Outcome};
use crate::secret;
use crate::text::say;

/// Make the password string of a secret, for `password` in the policy
///
/// On a terminal the secret is asked for twice and not shown. Otherwise it is read from standard input, where one line
/// break at its end is taken off and everything else is part of it. What is printed is an argon2id string: it tells who
/// knows the secret, not the secret.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mqtt-acl hash
  mqtt-acl hash < secret.txt
  openssl rand -hex 16 | tee secret.txt | mqtt-acl hash

In the policy, best in a file that only root and the broker may read:
  [users.dev00001]
  password = \"$argon2id$v=19$m=19456,t=2,p=1$...\"

Exit status:
  0  the password string was printed
  1  the secret cannot be used: empty, too long, with a NUL byte, or two that differ
  2  wrong usage")]
pub(crate) struct Hash {
    /// Taken so that it is refused without being repeated.
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    secret: Vec<OsString>,
}

impl Hash {
    pub(crate) fn run(self, out: &mut impl Write) -> Outcome {
        if !self.secret.is_empty() {
            return Err(Error::Usage(
                "`hash` takes no argument, for others on this machine can see those (write the secret to its standard \
                 input)"
                    .into(),
            ));
        }
        let secret = secret::read()?;
        say(out, mqtt_acl_policy::hash(&secret).map_err(Error::Secret)?)?;
        Ok(Exit::Fine)
    }
}
