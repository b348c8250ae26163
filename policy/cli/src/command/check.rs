use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::exit::{Exit, Outcome};
use crate::source::{self, Owners, USUAL_FILE};
use crate::text::{complain, count, say};

/// Say everything that is wrong with a policy, and run its tests
///
/// Reads the policy with all that it includes, checks it, and runs its `[[test]]` blocks, as the broker does before a
/// policy takes effect. Every problem is a line on standard error, `file:line:column: problem (what to write instead)`;
/// warnings do not keep a policy from being used.
///
/// A policy that is missing, or says nothing at all, is a problem: a broker that starts with it admits nobody. Files and
/// folders that others could change are problems too. Files of yours are trusted here, but not by the broker: give what
/// you install to root or to the broker's user. In its usual place, and wherever `--broker-user` is given, the files must
/// also be readable for that user.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mqtt-acl check
  mqtt-acl check policy.toml && sudo systemctl reload mosquitto

Exit status:
  0  the policy can be used
  1  it cannot
  2  wrong usage")]
pub(crate) struct Check {
    /// The policy
    #[arg(default_value = USUAL_FILE)]
    file: PathBuf,
    #[command(flatten)]
    owners: Owners,
}

impl Check {
    pub(crate) fn run(self, out: &mut impl Write) -> Outcome {
        let loaded = source::load(&self.file, &self.owners.trust_and_read(&self.file)?)?;
        loaded.warnings.iter().for_each(complain);
        let size = loaded.policy.size();
        let tests = match loaded.policy.run_tests().len() {
            0 => "no tests".to_owned(),
            tests => format!("{} passed", count(tests, "test")),
        };
        say(
            out,
            format_args!(
                "{}: ok: {}, {}, {}, {tests}",
                self.file.display(),
                count(size.users, "user"),
                count(size.roles, "role"),
                count(size.rules, "rule"),
            ),
        )?;
        Ok(Exit::Fine)
    }
}
