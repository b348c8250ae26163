//! What is done to users by their names alone.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::{Target, name};
use crate::edit::Editor;
use crate::exit::{Error, Exit, Outcome};

/// Take users out of the policy, with their passwords
///
/// A removed user may do nothing any more, also in a session that is connected. Where a `[[test]]` of the policy speaks of
/// the user, take that out first. `disable` keeps the user's table, for later.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mqtt-acl user remove dev00004
  mqtt-acl user remove dev00004 dev00005 --policy policy.toml

Exit status:
  0  they are gone
  1  refused, and nothing was changed: one is not listed, or the policy would not be good without it
  2  wrong usage")]
pub(crate) struct Remove {
    /// Their names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    target: Target,
}

/// Shut users out, until they are enabled
///
/// Sets `disabled = true`, which nothing else in the policy overrides: the user is admitted nowhere, not with its password
/// and not with a certificate.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mqtt-acl user disable dev00004
  mqtt-acl user disable --json dev00004 dev00005

Exit status:
  0  they are shut out, whether before or not
  1  refused, and nothing was changed: one is not listed, or a test of the policy says otherwise
  2  wrong usage")]
pub(crate) struct Disable {
    /// Their names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    target: Target,
}

/// Let users in again that `disable` shut out
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mqtt-acl user enable dev00004

Exit status:
  0  nothing shuts them out any more
  1  refused, and nothing was changed: one is not listed
  2  wrong usage")]
pub(crate) struct Enable {
    /// Their names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    target: Target,
}

impl Remove {
    pub(crate) fn run(self, out: &mut impl Write) -> Outcome {
        each(&self.names, &self.target, out, Editor::remove)
    }
}

impl Disable {
    pub(crate) fn run(self, out: &mut impl Write) -> Outcome {
        each(&self.names, &self.target, out, Editor::disable)
    }
}

impl Enable {
    pub(crate) fn run(self, out: &mut impl Write) -> Outcome {
        each(&self.names, &self.target, out, Editor::enable)
    }
}

fn each(
    names: &[String],
    target: &Target,
    out: &mut impl Write,
    change: impl Fn(&mut Editor, &str) -> Result<(), Error>,
) -> Outcome {
    for text in names {
        name(text)?;
    }
    let mut editor = target.edit()?;
    for name in names {
        change(&mut editor, name)?;
    }
    let saved = editor.save(None)?;
    target.tell(out, &saved, json!({ "users": names }))?;
    Ok(Exit::Fine)
}
