mod add;
mod bulk;
mod list;
mod passwd;
mod switch;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use mqtt_acl_policy::Escaped;
use serde_json::{Value, json};

use crate::edit::{Editor, Saved};
use crate::exit::{Error, Outcome};
use crate::json;
use crate::source::{Owners, USUAL_FILE};
use crate::text::complain;

/// Add, remove and change users of a policy, and list them
///
/// Each command edits the file of the policy in which the user stands, and keeps its comments and layout. The policy with
/// the edit in it is checked as the broker would check it, tests included, before anything is replaced: what would not be a
/// good policy is refused, with the reason, and nothing is changed. Files are replaced whole, with the owner, group and
/// mode that they had. Commands that run at the same time wait for each other.
///
/// Secrets are asked for on the terminal or read from standard input, never from the command line.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mqtt-acl user add dev00004 --token                  a device: prints its secret
  mqtt-acl user add alice --role operator --password  a person: asks for the password
  mqtt-acl user add --from devices.csv --tokens out.csv
  mqtt-acl user passwd alice
  mqtt-acl user disable dev00004
  mqtt-acl user list

Exit status:
  0  done
  1  refused, and nothing was changed
  2  wrong usage

`mqtt-acl user COMMAND --help` explains a command.")]
pub(crate) struct User {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Add(add::Add),
    Remove(switch::Remove),
    Disable(switch::Disable),
    Enable(switch::Enable),
    Passwd(passwd::Passwd),
    List(list::List),
    Show(list::Show),
}

impl User {
    pub(crate) fn run(self, out: &mut impl Write) -> Outcome {
        match self.command {
            Command::Add(command) => command.run(out),
            Command::Remove(command) => command.run(out),
            Command::Disable(command) => command.run(out),
            Command::Enable(command) => command.run(out),
            Command::Passwd(command) => command.run(out),
            Command::List(command) => command.run(out),
            Command::Show(command) => command.run(out),
        }
    }
}

/// The policy that is edited, and how the result is told.
#[derive(Args, Debug)]
pub(crate) struct Target {
    /// The policy
    #[arg(long, value_name = "FILE", default_value = USUAL_FILE)]
    pub(crate) policy: PathBuf,
    /// Print what was done as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    owners: Owners,
}

impl Target {
    pub(crate) fn edit(&self) -> Result<Editor, Error> {
        Editor::open(&self.policy, self.owners.trust_and_read(&self.policy)?, self.owners.of_new_files())
    }

    pub(crate) fn trust(&self) -> Result<mqtt_acl_policy::Trust, Error> {
        self.owners.trust()
    }

    /// Says what was changed where, and when it takes effect: on standard error, or in the JSON, whose other parts are `more`.
    pub(crate) fn tell(&self, out: &mut impl Write, saved: &Saved, more: Value) -> Result<(), Error> {
        if self.json {
            let changes: Vec<_> = saved
                .changes
                .iter()
                .map(|change| json!({ "file": change.file.to_string_lossy(), "change": change.what }))
                .collect();
            let mut result = json!({ "changes": changes });
            if let (Some(result), Value::Object(more)) = (result.as_object_mut(), more) {
                result.extend(more);
            }
            return Ok(json::write(out, &result)?);
        }
        for change in &saved.changes {
            complain(format_args!("{}: {}", change.file.display(), change.what));
        }
        if saved.changes.is_empty() {
            complain("nothing had to be changed");
        } else {
            complain(
                "in force once the broker reads its policy again: by itself where it watches it, or with \
                 `sudo systemctl reload mosquitto`",
            );
        }
        Ok(())
    }
}

/// A user name that the policy's language takes, told before anything is asked or read.
pub(crate) fn name(text: &str) -> Result<&str, Error> {
    if text.is_empty() {
        return Err(Error::Usage(
            "a user name must not be empty (anonymous clients are `[anonymous]` in the policy)".into(),
        ));
    }
    if let Some(c) = text.chars().find(|c| c.is_control()) {
        return Err(Error::Usage(format!("`{}` is a control character, which no name may hold", c.escape_unicode())));
    }
    Ok(text)
}

/// Refuses a secret among the arguments, without repeating it.
pub(crate) fn no_secret(given: bool, command: &str) -> Result<(), Error> {
    if given {
        return Err(Error::Usage(format!(
            "`{command}` takes no secret as an argument, for others on this machine can see those (it is asked for, or read \
             from standard input)"
        )));
    }
    Ok(())
}

/// What came of a secret: in the file that was named for it, or to be printed.
pub(crate) fn told(path: Option<&Path>) -> String {
    path.map(|path| format!("its token is in `{}`", Escaped(path.as_os_str().as_encoded_bytes()))).unwrap_or_default()
}
