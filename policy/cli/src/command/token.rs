use std::io::{IsTerminal, Write};

use clap::Args;

use crate::exit::{Error, Exit, Outcome};
use crate::text::say;

/// Make a secret for a device, and the string of it for `password` in the policy
///
/// A token is a secret of 256 random bits that nobody has to remember: `mqttacl_`, 43 characters, and 6 that tell a slip
/// of the hand. Nobody can guess it, so the broker checks it in a microsecond, where the password of a person takes
/// milliseconds. The first line that is printed is the token, for the device; it is not shown again. The second line is
/// the string for the policy, which tells nobody the token.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mqtt-acl token
  mqtt-acl token | { read -r token; read -r string; ... }

In the policy:
  [users.dev00001]
  password = \"$token$...\"

To replace a token without an outage, list both, the new one first, until the device has it:
  password = [\"$token$NEW\", \"$token$OLD\"]

Exit status:
  0  the token was printed
  1  the system gave no random bytes
  2  wrong usage")]
pub(crate) struct Token {}

impl Token {
    pub(crate) fn run(self, out: &mut impl Write) -> Outcome {
        let token = mqtt_acl_policy::Token::new().map_err(Error::Secret)?;
        say(out, token.secret.as_str())?;
        say(out, &token.string)?;
        if std::io::stdout().is_terminal() {
            eprintln!(
                "The first line is for the device and is not shown again; the second is for `password` in the policy."
            );
        }
        Ok(Exit::Fine)
    }
}
