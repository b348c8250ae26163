mod report;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use mqtt_acl_import::acl::Dialect;
use mqtt_acl_import::check::{Source, check};
use mqtt_acl_import::draft::Draft;
use mqtt_acl_import::{Options, acl, dynsec, from_acl, passwords};
use mqtt_acl_policy::{Failure, Problem, parse, user_id};

use crate::exit::{Error, Exit, Outcome};
use crate::output::{Staged, folder_of};
use crate::progress::Progress;
use crate::source::USUAL_BROKER_USER;
use crate::text::{complain, count, say};

/// Make a policy of what another way to control access says, and prove what it changes
///
/// Reads the files of `acl_file` and `password_file`, of dynamic-security, or of mosquitto-go-auth, and makes a policy of
/// them: users with the same rules get a role, password strings are carried over, comments stay. Then the policy is held
/// against its source, which is read as its broker reads it: every case that the two can tell apart is asked of both. All
/// differences are told, each kind with its cause and an example; for one that has no cause, nothing is written.
///
/// None of these bind client ids to users, so unless `--bind` is given, users of the policy may choose any id that is not
/// another user's. `acl_file` never refuses a SUBSCRIBE; the policy grants those of which something may be read, as a
/// role's `overlap = true` says, and `--exact` only those of which everything may be.
///
/// The policy goes to standard output, or with `--output` to a file that only its owner may read: as root, the broker's
/// user. An existing file is left alone without `--force`. Everything else that is said goes to standard error.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mqtt-acl import mosquitto --acl-file /etc/mosquitto/acl --password-file /etc/mosquitto/passwd
  sudo mqtt-acl import mosquitto --acl-file /etc/mosquitto/acl --password-file /etc/mosquitto/passwd \\
    --bind --output /etc/mosquitto/mqtt-acl/policy.toml
  mqtt-acl import dynsec /var/lib/mosquitto/dynamic-security.json --output policy.toml --passwords passwords.toml
  mqtt-acl import go-auth --password-file passwords --acl-file acls

Exit status:
  0  the policy was written, and whatever it changes has a cause, which is told
  1  the source cannot be read, a difference has no cause, or the file is there already: nothing was written
  2  wrong usage")]
pub(crate) struct Import {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    Mosquitto(Mosquitto),
    Dynsec(Dynsec),
    GoAuth(GoAuth),
}

/// From Mosquitto's `acl_file` and `password_file`
///
/// Mosquitto 2.0 and 2.1 read some lines differently: `%u` as a part of a level, and names with a `/`. Unless `--broker`
/// says which one counts, only what both grant is granted, what either denies is denied, and each such line is told.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mqtt-acl import mosquitto --acl-file /etc/mosquitto/acl --password-file /etc/mosquitto/passwd
  mqtt-acl import mosquitto --broker 2.0 --bind --acl-file acl --password-file passwd --output policy.toml

Exit status:
  0  the policy was written, and whatever it changes has a cause, which is told
  1  the source cannot be read, a difference has no cause, or the file is there already: nothing was written
  2  wrong usage")]
struct Mosquitto {
    /// The file after `acl_file` in mosquitto.conf; left out: everybody may do everything
    #[arg(long, value_name = "FILE", required_unless_present = "password_file")]
    acl_file: Option<PathBuf>,
    /// The file after `password_file` in mosquitto.conf; left out: the users get no passwords
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    stock: Stock,
    #[command(flatten)]
    how: How,
}

/// From the file of Mosquitto's dynamic-security plugin
///
/// Its roles stay roles. It looks through rules in an order and stops at the first that fits, while in a policy a deny wins
/// wherever it stands: denies that have no effect are left out, and where the order makes a difference, it is told.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mqtt-acl import dynsec /var/lib/mosquitto/dynamic-security.json
  sudo mqtt-acl import dynsec /var/lib/mosquitto/dynamic-security.json --output /etc/mosquitto/mqtt-acl/policy.toml

Exit status:
  0  the policy was written, and whatever it changes has a cause, which is told
  1  the source cannot be read, a difference has no cause, or the file is there already: nothing was written
  2  wrong usage")]
struct Dynsec {
    /// The file after `plugin_opt_config_file` in mosquitto.conf
    file: PathBuf,
    #[command(flatten)]
    stock: Stock,
    #[command(flatten)]
    how: How,
}

/// From the `files` backend of mosquitto-go-auth
///
/// Its wildcards also match topics that begin with `$`, which those of a policy never do.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mqtt-acl import go-auth --password-file /etc/mosquitto/passwords --acl-file /etc/mosquitto/acls

Exit status:
  0  the policy was written, and whatever it changes has a cause, which is told
  1  the source cannot be read, a difference has no cause, or the file is there already: nothing was written
  2  wrong usage")]
struct GoAuth {
    /// The file after `auth_opt_files_acl_path` in mosquitto.conf; left out: everybody may do everything
    #[arg(long, value_name = "FILE", required_unless_present = "password_file")]
    acl_file: Option<PathBuf>,
    /// The file after `auth_opt_files_password_path`; left out: the users get no passwords
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    how: How,
}

/// How Mosquitto itself reads it.
#[derive(Args, Debug)]
struct Stock {
    /// The broker whose reading counts [default: both, as far as they agree]
    #[arg(long, value_enum)]
    broker: Option<Broker>,
    /// mosquitto.conf says `allow_anonymous true`: keep the rules of clients without a user name
    #[arg(long)]
    anonymous: bool,
}

/// How to import, and where to.
#[derive(Args, Debug)]
struct How {
    /// Bind client ids to user names: a user may only connect under its own
    #[arg(long)]
    bind: bool,
    /// Grant only subscriptions of which everything may be read
    #[arg(long)]
    exact: bool,
    /// Write the policy to this file
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the passwords to a file of their own, which the policy includes
    #[arg(long, value_name = "FILE", requires = "output")]
    passwords: Option<PathBuf>,
    /// Write over files that are there
    #[arg(long, requires = "output")]
    force: bool,
    /// The user that the broker runs as, who owns the files that root writes [default: mosquitto]
    #[arg(long, value_name = "NAME")]
    broker_user: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Broker {
    /// Mosquitto 2.0
    #[value(name = "2.0")]
    V2_0,
    /// Mosquitto 2.1
    #[value(name = "2.1")]
    V2_1,
}

impl Stock {
    fn dialects(&self) -> Vec<Dialect> {
        match self.broker {
            Some(Broker::V2_0) => vec![Dialect::V2_0],
            Some(Broker::V2_1) => vec![Dialect::V2_1],
            None => vec![Dialect::V2_0, Dialect::V2_1],
        }
    }
}

impl Import {
    pub(crate) fn run(self, out: &mut impl Write) -> Outcome {
        match self.from {
            From::Mosquitto(Mosquitto { acl_file, password_file, stock, how }) => {
                how.files(acl_file.as_deref(), password_file.as_deref(), stock.dialects(), stock.anonymous, out)
            }
            From::GoAuth(GoAuth { acl_file, password_file, how }) => {
                how.files(acl_file.as_deref(), password_file.as_deref(), vec![Dialect::GoAuth], false, out)
            }
            From::Dynsec(Dynsec { file, stock, how }) => {
                let config = read(&file, dynsec::read).map_err(invalid)?;
                let import = dynsec::import(config, &stock.dialects(), &how.options(stock.anonymous));
                how.finish(&import, &import.draft, &import.notes, &[&file], out)
            }
        }
    }
}

impl How {
    fn options(&self, anonymous: bool) -> Options {
        Options { bind: self.bind, anonymous, exact: self.exact }
    }

    fn files(
        &self,
        acl_file: Option<&Path>,
        password_file: Option<&Path>,
        dialects: Vec<Dialect>,
        anonymous: bool,
        out: &mut impl Write,
    ) -> Outcome {
        let dialect = dialects.first().copied().unwrap_or(Dialect::V2_0);
        // Both, so that one look tells all problems.
        let acl = acl_file.map(|file| read(file, |text, name| acl::read(text, name, dialect))).transpose();
        let passwords =
            password_file.map(|file| read(file, |text, name| passwords::read(text, name, dialect))).transpose();
        let (acl, passwords) = match (acl, passwords) {
            (Ok(acl), Ok(passwords)) => (acl, passwords),
            (acl, passwords) => {
                return Err(invalid([acl.err(), passwords.err()].into_iter().flatten().flatten().collect()));
            }
        };
        let import = from_acl::import(acl, passwords, dialects, &self.options(anonymous));
        let files: Vec<&Path> = acl_file.into_iter().chain(password_file).collect();
        self.finish(&import, &import.draft, &import.notes, &files, out)
    }

    /// Checks the policy against its source, and writes it.
    fn finish(
        &self,
        source: &impl Source,
        draft: &Draft,
        notes: &[Problem],
        files: &[&Path],
        out: &mut impl Write,
    ) -> Outcome {
        let owner = self.owner()?;
        self.writable()?;
        let mut draft = draft.clone();
        let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
        draft.header = vec![format!("Made by `mqtt-acl import` from {}.", names.join(" and "))];
        let text = draft.policy(None);
        let loaded = parse(&text, "the new policy").map_err(|failure| self.not_a_policy(failure))?;
        notes.iter().for_each(complain);
        report::warnings(&loaded.warnings);
        let mut bar: Option<Progress> = None;
        let report = check(source, &loaded.policy, &draft, |done, total| {
            bar.get_or_insert_with(|| Progress::of("comparing", total)).at(done);
        });
        drop(bar);
        let size = loaded.policy.size();
        report::print(&report, size.users);
        if report.unexplained_count > 0 {
            return Err(Error::Failed("nothing was written: the policy would not be what its source is".into()));
        }
        let Some(output) = &self.output else {
            out.write_all(text.as_bytes())?;
            return Ok(Exit::Fine);
        };
        let mut staged = Vec::new();
        if let Some(passwords) = &self.passwords {
            let policy = draft.policy(Some(&relative(passwords, output)?));
            // The passwords first: a policy that includes a file which is not there is none.
            staged.push((passwords, self.stage(passwords, &draft.passwords(), owner)?));
            staged.push((output, self.stage(output, &policy, owner)?));
        } else {
            staged.push((output, self.stage(output, &text, owner)?));
        }
        for (path, file) in staged {
            file.place(self.force).map_err(|error| unwritable(path, &error))?;
        }
        say(
            out,
            format_args!("{}: written: {}, {}", output.display(), count(size.users, "user"), count(size.roles, "role")),
        )?;
        Ok(Exit::Fine)
    }

    fn stage(&self, path: &Path, text: &str, owner: Option<u32>) -> Result<Staged, Error> {
        Staged::new(path, text.as_bytes(), owner).map_err(|error| unwritable(path, &error))
    }

    /// Root gives the files to the broker's user, or the broker could not read them.
    fn owner(&self) -> Result<Option<u32>, Error> {
        let name = self.broker_user.as_deref().unwrap_or(USUAL_BROKER_USER);
        match user_id(name) {
            Some(user) if rustix::process::geteuid().is_root() => Ok(Some(user)),
            None if self.broker_user.is_some() => Err(Error::Usage(format!(
                "this machine has no user `{name}` (write the one that the broker runs as after `--broker-user`)"
            ))),
            _ => Ok(None),
        }
    }

    /// Said before the work is done. What comes in between is found when the file is placed.
    fn writable(&self) -> Result<(), Error> {
        for path in [&self.output, &self.passwords].into_iter().flatten() {
            if !self.force && fs::symlink_metadata(path).is_ok() {
                return Err(unwritable(path, &io::Error::from(io::ErrorKind::AlreadyExists)));
            }
            if !folder_of(path).is_dir() {
                return Err(unwritable(path, &io::Error::from(io::ErrorKind::NotFound)));
            }
        }
        Ok(())
    }

    fn not_a_policy(&self, failure: Failure) -> Error {
        complain("mqtt-acl: what comes of it is not a good policy:");
        Error::Policy(failure)
    }
}

/// Reads a file, and what it says.
fn read<T>(path: &Path, parse: impl FnOnce(&[u8], &Arc<Path>) -> Result<T, Vec<Problem>>) -> Result<T, Vec<Problem>> {
    let name: Arc<Path> = Arc::from(path);
    match fs::read(path) {
        Ok(text) => parse(&text, &name),
        Err(error) => {
            let place = mqtt_acl_policy::Place::whole(&name);
            let text = format!("cannot be read: {error}");
            Err(vec![Problem { place, severity: mqtt_acl_policy::Severity::Error, text }])
        }
    }
}

fn invalid(problems: Vec<Problem>) -> Error {
    Error::Policy(Failure::Invalid(problems))
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    let path = path.display();
    Error::Failed(match error.kind() {
        io::ErrorKind::AlreadyExists => format!("{path}: there is such a file already (`--force` writes over it)"),
        io::ErrorKind::NotFound => format!("{path}: its folder does not exist (make it first)"),
        _ => format!("{path}: cannot be written: {error}"),
    })
}

/// The path of the passwords as the policy beside them names it.
fn relative(passwords: &Path, policy: &Path) -> Result<String, Error> {
    let resolve = |path: &Path| {
        fs::canonicalize(folder_of(path)).map_err(|error| unwritable(path, &error)).map(|folder| {
            match path.file_name() {
                Some(name) => folder.join(name),
                None => folder,
            }
        })
    };
    let (passwords, policy) = (resolve(passwords)?, resolve(policy)?);
    let path = passwords.strip_prefix(folder_of(&policy)).unwrap_or(&passwords);
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Error::Usage(format!("`{}` is not UTF-8, so no policy can name it", path.display())))
}
