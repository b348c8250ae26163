//! How a command ends: its exit status, and what is said when it cannot do its work.

use std::io::{self, Write};
use std::process::{ExitCode, Termination};

use clap::error::{ContextKind, ErrorKind};
use mqtt_acl_policy::Failure;
use rustix::process::{Signal, getpid, kill_process};

use crate::text::complain;

/// The exit statuses of every command.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well; for `explain`: allowed.
    Fine = 0,
    /// Problems, a failed test; for `explain`: refused.
    Problems = 1,
    /// The command line makes no sense.
    Usage = 2,
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

/// What comes of a command.
pub(crate) type Outcome = Result<Exit, Error>;

/// Why a command has no result.
#[derive(Debug)]
pub(crate) enum Error {
    /// The command line makes no sense; what to write instead.
    Usage(String),
    /// There is no policy to speak of.
    Policy(Failure),
    /// The secret cannot be had, or cannot be used.
    Secret(String),
    /// It cannot be done; why, and what to do about it.
    Failed(String),
    /// An edit was not made, for the policy would not be one any more.
    Refused(Failure),
    /// Ctrl-C at the prompt.
    Interrupted,
    /// The result could not be written.
    Output(io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Error {
    /// Says it on standard error.
    pub(crate) fn report(self) -> Exit {
        match self {
            Self::Usage(text) => {
                complain(format_args!("mqtt-acl: {text}"));
                return Exit::Usage;
            }
            Self::Refused(failure) => {
                complain("mqtt-acl: nothing was changed, because the policy would then be refused:");
                return Self::Policy(failure).report();
            }
            Self::Policy(Failure::Invalid(problems)) => problems.iter().for_each(complain),
            Self::Policy(Failure::Missing(path)) => complain(format_args!(
                "{}: there is no such file, and a broker that starts without it admits nobody (name the right one)",
                path.display()
            )),
            Self::Policy(Failure::Empty(path)) => complain(format_args!(
                "{}: the file is empty, and a broker that starts with it admits nobody (write `version = 1` if that is \
                 meant)",
                path.display()
            )),
            Self::Secret(text) | Self::Failed(text) => complain(format_args!("mqtt-acl: {text}")),
            // As if the signal had come right away: the shell must see it to end a script.
            Self::Interrupted => {
                let _ = kill_process(getpid(), Signal::INT);
            }
            // Whoever reads along has seen enough. Not fine all the same: the result did not arrive.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Self::Output(error) => complain(format_args!("mqtt-acl: the result cannot be written: {error}")),
        }
        Exit::Problems
    }
}

/// Prints what clap has to say: help and version on standard output, everything else on standard error.
pub(crate) fn usage(error: &clap::Error) -> Exit {
    // Without repeating the value, which may be a secret.
    if let (ErrorKind::TooManyValues, Some(argument)) = (error.kind(), error.get(ContextKind::InvalidArg)) {
        return Error::Usage(format!(
            "`{argument}` takes no value (secrets are asked for, or read from standard input)"
        ))
        .report();
    }
    let text = error.render().to_string();
    if error.use_stderr() {
        text.trim_end().lines().for_each(complain);
        return Exit::Usage;
    }
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Exit::Fine,
        Err(error) => Error::from(error).report(),
    }
}
