use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::exit::{Error, Exit, Outcome};
use crate::source::{Owners, USUAL_FILE};
use crate::text::say;

/// Run the tests of a policy, and say what came of each
///
/// A `[[test]]` block of the policy says what a user can and cannot do. Each of its lines is printed with where it
/// stands, whether the policy keeps it, what was tried and why it came out so; the last line counts them. A policy that
/// breaks one of its own tests does not take effect.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mqtt-acl test
  mqtt-acl test policy.toml | grep FAILED

A test in a policy:
  [[test]]
  user   = \"dev00001\"
  can    = { publish = [\"dt/demo/1/dev00001/senml\"] }
  cannot = { publish = [\"dt/demo/1/dev00002/senml\"], subscribe = [\"#\"] }

Exit status:
  0  every test passed, or there is none
  1  a test failed, or the policy has other problems
  2  wrong usage")]
pub(crate) struct Test {
    /// The policy
    #[arg(default_value = USUAL_FILE)]
    file: PathBuf,
    #[command(flatten)]
    owners: Owners,
}

impl Test {
    pub(crate) fn run(self, out: &mut impl Write) -> Outcome {
        let outcomes = mqtt_acl_policy::test(&self.file, &self.owners.trust()?).map_err(Error::Policy)?;
        for outcome in &outcomes {
            say(out, outcome)?;
        }
        let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
        if outcomes.is_empty() {
            say(out, "no tests")?;
        } else {
            say(out, format_args!("{} passed, {failed} failed", outcomes.len() - failed))?;
        }
        Ok(if failed == 0 { Exit::Fine } else { Exit::Problems })
    }
}
