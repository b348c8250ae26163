use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use serde_json::json;
use zeroize::Zeroizing;

use super::{Target, bulk, name, no_secret, told};
use crate::edit::{NewUser, Secrets};
use crate::exit::{Error, Exit, Outcome};
use crate::secret;
use crate::text::{complain, say};

/// Add a user, or many from a CSV file
///
/// A device gets a token, a secret that is made here and printed once; a person's password is asked for. The new table goes
/// where the passwords of the other users are, unless `--file` names another file of the policy.
///
/// A CSV file begins with a line that names its columns: `username`, and where wanted `roles` and `client_id` (several are
/// separated by blanks) and `password` (a password string, made by `mqtt-acl hash` or another broker's tool). Each user
/// without a password string gets a token; `--tokens` names the file for `username,token`, which is made readable for you
/// alone. All of them are added, or none.
#[derive(Args, Debug)]
#[command(
    group(ArgGroup::new("who").required(true).args(["name", "from"])),
    group(ArgGroup::new("secret").args(["token", "password", "no_password"])),
    after_help = "\
Examples:
  mqtt-acl user add dev00004 --token
  mqtt-acl user add dev00004 --token --out dev00004.token
  mqtt-acl user add alice --role operator --password
  mqtt-acl user add meter7 --no-password --role meter          known by its certificate
  mqtt-acl user add --from devices.csv --tokens out.csv --role device

A CSV file:
  username,roles
  dev00004,device
  gateway1,device gateway

Exit status:
  0  added
  1  refused, and nothing was changed: listed already, not a good policy with it, a file that is there already
  2  wrong usage"
)]
pub(crate) struct Add {
    /// The user name
    #[arg(requires = "secret")]
    name: Option<String>,
    /// Taken so that it is refused without being repeated.
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
    /// Make a token and print it
    #[arg(long)]
    token: bool,
    /// Ask for a password, or read it from standard input
    #[arg(long)]
    password: bool,
    /// No password: for who is known by a certificate or PSK
    #[arg(long)]
    no_password: bool,
    /// A role, as often as needed; in a CSV file, of the users that name none
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A pattern of client ids, as often as needed, instead of `%u` and `%u-*`
    #[arg(long, value_name = "PATTERN", conflicts_with = "from")]
    client_id: Vec<String>,
    /// The file of the policy that gets the user
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A CSV file of users
    #[arg(long, value_name = "CSV", conflicts_with = "secret")]
    from: Option<PathBuf>,
    /// Where the tokens of the users in the CSV file go
    #[arg(long, value_name = "CSV", requires = "from")]
    tokens: Option<PathBuf>,
    /// Where the token goes instead of standard output
    #[arg(long, value_name = "FILE", requires = "token")]
    out: Option<PathBuf>,
    /// Overwrite the file of the tokens
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    target: Target,
}

impl Add {
    pub(crate) fn run(self, out: &mut impl Write) -> Outcome {
        no_secret(!self.rest.is_empty(), "user add")?;
        match &self.from {
            Some(from) => {
                let rows = bulk::Rows { from, tokens: self.tokens.as_deref(), roles: &self.roles, force: self.force };
                rows.add(self.file.as_deref(), &self.target, out)
            }
            None => self.one(out),
        }
    }

    fn one(&self, out: &mut impl Write) -> Outcome {
        let name = name(self.name.as_deref().unwrap_or_default())?;
        if let Some(path) = &self.out {
            Secrets::expect(path, self.force)?;
        }
        let (string, token) = if self.token {
            let token = mqtt_acl_policy::Token::new().map_err(Error::Secret)?;
            (Some(token.string), Some(token.secret))
        } else if self.password {
            (Some(mqtt_acl_policy::hash(&secret::read()?).map_err(Error::Secret)?), None)
        } else {
            (None, None)
        };
        let user = NewUser {
            name: name.to_owned(),
            roles: self.roles.clone(),
            client_id: self.client_id.clone(),
            password: string,
        };
        let mut editor = self.target.edit()?;
        editor.add(&[user], self.file.as_deref())?;
        let secrets = match (&self.out, &token) {
            (Some(path), Some(token)) => Some(Secrets {
                path: path.clone(),
                content: Zeroizing::new([token.as_bytes(), b"\n"].concat()),
                force: self.force,
            }),
            _ => None,
        };
        let is_kept = secrets.is_some();
        let saved = editor.save(secrets)?;
        let printed = token.as_ref().filter(|_| !is_kept);
        let mut more = json!({ "user": name });
        if let (Some(token), Some(more)) = (printed, more.as_object_mut()) {
            more.insert("token".into(), token.as_str().into());
        }
        if let (Some(token), false) = (printed, self.target.json) {
            say(out, token.as_str())?;
        }
        self.target.tell(out, &saved, more)?;
        if is_kept && !self.target.json {
            complain(told(self.out.as_deref()));
        }
        if saved.policy.account(name).is_some_and(|account| account.roles.is_empty() && !account.own_rules) {
            complain(format_args!(
                "warning: user `{}` has no role, so it may connect and do nothing else (`--role NAME`, or a `[[match]]`)",
                mqtt_acl_policy::Escaped(name.as_bytes())
            ));
        }
        Ok(Exit::Fine)
    }
}
