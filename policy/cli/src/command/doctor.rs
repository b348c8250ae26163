mod conf;
mod finding;
mod library;
mod rotation;
mod rules;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use serde_json::json;

use crate::exit::{Error, Exit, Outcome};
use crate::json;
use crate::text::{count, say};

use conf::Conf;
use finding::Severity;

/// Where Debian's package, and most others, keep the broker's configuration.
const USUAL_CONF: &str = "/etc/mosquitto/mosquitto.conf";

/// Look a broker's installation over: what would keep it from starting, and what undermines the policy
///
/// Reads mosquitto.conf as the broker does, with what it includes; the plugin's library, of which nothing is run; and the
/// policy, as the broker's user would read it. Each finding is a line with its place and what to do about it: an error is
/// what lets somebody in past the policy, or keeps the broker from starting or from admitting anybody.
///
/// It only looks. Run it as root, or as a user that may read all of these files.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mqtt-acl doctor
  mqtt-acl doctor /etc/mosquitto/mosquitto.conf --json | jq -r '.findings[].text'

Exit status:
  0  no error is found
  1  there is one, or the configuration cannot be read
  2  wrong usage")]
pub(crate) struct Doctor {
    /// The broker's configuration
    #[arg(default_value = USUAL_CONF)]
    conf: PathBuf,
    /// The broker's program, which tells its version [default: the one in PATH or /usr/sbin]
    #[arg(long, value_name = "FILE")]
    mosquitto: Option<PathBuf>,
    /// Where logrotate keeps what it is to do
    #[arg(long, value_name = "FOLDER", default_value = "/etc/logrotate.d")]
    logrotate: PathBuf,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// The broker's program.
#[derive(Debug)]
struct Broker {
    path: PathBuf,
    /// `None` where it does not tell.
    version: Option<Version>,
}

type Version = (u32, u32, u32);

impl Doctor {
    pub(crate) fn run(self, out: &mut impl Write) -> Outcome {
        let conf = Conf::read(&self.conf).map_err(|error| {
            Error::Failed(format!("{}: cannot be read: {error} (name the broker's configuration)", self.conf.display()))
        })?;
        let broker = self.broker()?;
        let findings = rules::all(&self.conf, &conf, broker.as_ref(), &self.logrotate);
        let number = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        let (errors, warnings) = (number(Severity::Error), number(Severity::Warning));
        if self.json {
            let version = broker.as_ref().and_then(|broker| broker.version);
            json::write(
                out,
                &json!({
                    "ok": errors == 0,
                    "conf": self.conf.to_string_lossy(),
                    "broker": broker.as_ref().map(|broker| broker.path.to_string_lossy()),
                    "version": version.map(shown),
                    "findings": findings.iter().map(finding::Finding::json).collect::<Vec<_>>(),
                }),
            )?;
        } else {
            for finding in &findings {
                say(out, finding)?;
            }
            say(out, format_args!("{}, {}", count(errors, "error"), count(warnings, "warning")))?;
        }
        Ok(if errors == 0 { Exit::Fine } else { Exit::Problems })
    }

    /// The program that is named or, where none is, the one that is found.
    fn broker(&self) -> Result<Option<Broker>, Error> {
        let path = match &self.mosquitto {
            Some(path) if path.is_file() => path.clone(),
            Some(path) => {
                return Err(Error::Usage(format!("`{}` is not there (name the broker's program)", path.display())));
            }
            None => match found("mosquitto") {
                Some(path) => path,
                None => return Ok(None),
            },
        };
        let version = version(&path);
        Ok(Some(Broker { path, version }))
    }
}

/// The program of this name.
fn found(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// What the program says of itself; it ends with 3 after that.
fn version(path: &Path) -> Option<Version> {
    let mut command = Command::new(path);
    let output = command.arg("-h").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.strip_prefix("mosquitto version ")?.lines().next()?.trim().split('.').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some((next()?, next()?, next()?))
}

fn shown((major, minor, patch): Version) -> String {
    format!("{major}.{minor}.{patch}")
}
