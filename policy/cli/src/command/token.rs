use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use serde_json::json;
use zeroize::Zeroizing;

use crate::command::user::{Target, name, told};
use crate::edit::Secrets;
use crate::exit::{Error, Exit, Outcome};
use crate::json;
use crate::text::{complain, say};

/// Make a secret for a device, and give it to a user of the policy
///
/// A token is a secret of 256 random bits that nobody has to remember: `mqttacl_`, 43 characters, and 6 that tell a slip
/// of the hand. Nobody can guess it, so the broker checks it in a microsecond, where the password of a person takes
/// milliseconds.
///
/// With USER the token is printed, for the device, and its string becomes the user's password in the policy. A user that has
/// a password keeps it unless you say which way it goes: `--rotate` makes the new token valid beside it, until
/// `--revoke-old` ends the old one; `--replace` ends it at once.
///
/// Without USER the policy is left alone: the first line that is printed is the token, the second the string for
/// `password`, which tells nobody the token.
#[derive(Args, Debug)]
#[command(
    group(ArgGroup::new("way").args(["rotate", "replace", "revoke_old"]).requires("user")),
    after_help = "\
Examples:
  mqtt-acl token dev00001                      its first token
  mqtt-acl token dev00001 --rotate             a new one; the old one goes on working
  mqtt-acl token dev00001 --revoke-old         once the device has the new one
  mqtt-acl token | { read -r token; read -r string; ... }

In the policy:
  [users.dev00001]
  password = \"$token$...\"

While it is being replaced, the new one first:
  password = [\"$token$NEW\", \"$token$OLD\"]

Exit status:
  0  the token was printed; for `--revoke-old`: one password is left
  1  refused, and nothing was changed: not listed, or has a password already
  2  wrong usage"
)]
pub(crate) struct Token {
    /// The user that it is for
    user: Option<String>,
    /// Make the new token valid beside the user's password
    #[arg(long)]
    rotate: bool,
    /// Make the new token the user's only password
    #[arg(long)]
    replace: bool,
    /// Make no token: end all passwords of the user but the current one
    #[arg(long)]
    revoke_old: bool,
    /// Where the token goes instead of standard output
    #[arg(long, value_name = "FILE", requires = "user", conflicts_with = "revoke_old")]
    out: Option<PathBuf>,
    /// Overwrite the file of the token
    #[arg(long, requires = "out")]
    force: bool,
    #[command(flatten)]
    target: Target,
}

impl Token {
    pub(crate) fn run(self, out: &mut impl Write) -> Outcome {
        match &self.user {
            Some(user) if self.revoke_old => self.revoke(name(user)?, out),
            Some(user) => self.give(name(user)?, out),
            None => self.print(out),
        }
    }

    fn print(&self, out: &mut impl Write) -> Outcome {
        let token = mqtt_acl_policy::Token::new().map_err(Error::Secret)?;
        if self.target.json {
            json::write(out, &json!({ "token": token.secret.as_str(), "password": token.string }))?;
            return Ok(Exit::Fine);
        }
        say(out, token.secret.as_str())?;
        say(out, &token.string)?;
        if std::io::stdout().is_terminal() {
            eprintln!(
                "The first line is for the device and is not shown again; the second is for `password` in the policy."
            );
        }
        Ok(Exit::Fine)
    }

    fn give(&self, user: &str, out: &mut impl Write) -> Outcome {
        /// The policy's language allows no more.
        const MOST: usize = 4;
        if let Some(path) = &self.out {
            Secrets::expect(path, self.force)?;
        }
        let mut editor = self.target.edit()?;
        editor.expect(user)?;
        let shown = mqtt_acl_policy::Escaped(user.as_bytes());
        let old = editor.passwords(user);
        if !old.is_empty() && !self.rotate && !self.replace {
            return Err(Error::Failed(format!(
                "user `{shown}` has a password already (`--rotate` makes the token valid beside it, `--replace` instead of it)"
            )));
        }
        if self.rotate && old.len() >= MOST {
            return Err(Error::Failed(format!(
                "user `{shown}` has {} passwords, and {MOST} is the most (`mqtt-acl token {shown} --revoke-old` ends all but \
                 the current one)",
                old.len()
            )));
        }
        let token = mqtt_acl_policy::Token::new().map_err(Error::Secret)?;
        let mut passwords = vec![token.string];
        if self.rotate {
            passwords.extend(old);
        }
        let what = match passwords.len() {
            1 => "new token".to_owned(),
            _ => format!("new token, the old password valid until `mqtt-acl token {shown} --revoke-old`"),
        };
        editor.set_passwords(user, &passwords, &what)?;
        let secrets = self.out.as_ref().map(|path| Secrets {
            path: path.clone(),
            content: Zeroizing::new([token.secret.as_bytes(), b"\n"].concat()),
            force: self.force,
        });
        let saved = editor.save(secrets)?;
        let mut more = json!({ "user": user });
        match (&self.out, more.as_object_mut()) {
            (None, Some(more)) if self.target.json => {
                more.insert("token".into(), token.secret.as_str().into());
            }
            (None, _) => say(out, token.secret.as_str())?,
            (Some(_), _) => {}
        }
        self.target.tell(out, &saved, more)?;
        if self.out.is_some() && !self.target.json {
            complain(told(self.out.as_deref()));
        }
        Ok(Exit::Fine)
    }

    fn revoke(&self, user: &str, out: &mut impl Write) -> Outcome {
        let mut editor = self.target.edit()?;
        editor.expect(user)?;
        let mut passwords = editor.passwords(user);
        if passwords.len() > 1 {
            passwords.truncate(1);
            editor.set_passwords(user, &passwords, "old passwords ended")?;
        }
        let saved = editor.save(None)?;
        self.target.tell(out, &saved, json!({ "user": user }))?;
        Ok(Exit::Fine)
    }
}
