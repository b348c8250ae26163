//! `mqtt-acl`: what a person asks of a policy, over the same engine that the plugin decides with.

#![forbid(unsafe_code)]

mod command;
mod edit;
mod exit;
mod json;
#[cfg(feature = "pages")]
mod pages;
mod progress;
mod secret;
mod source;
mod text;

use std::io::{self, Write};

use clap::{Parser, Subcommand};

use crate::command::{check, doctor, explain, hash, schema, test, token, user, who_can};
use crate::exit::{Exit, Outcome};

/// Check, test and explain the policy of the Mosquitto plugin mqtt-acl
///
/// The plugin admits clients and decides what they publish and subscribe to by a policy, a TOML file. This tool reads
/// that file with the same code, so what it says is what the broker does.
#[derive(Debug, Parser)]
#[command(
    name = "mqtt-acl",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  mqtt-acl check                          the policy that the broker reads, before a reload
  mqtt-acl test policy.toml               each line of the policy's own tests
  mqtt-acl hash                           a password string for the policy
  mqtt-acl token                          a secret for a device, and its string for the policy
  mqtt-acl user add dev00004 --token      a device, and its secret
  mqtt-acl doctor                         the broker's whole installation
  mqtt-acl explain policy.toml --user dev00001 publish dt/demo/1/dev00001/senml
  mqtt-acl who-can publish dt/demo/1/dev00001/senml

Exit status:
  0  fine; for `explain`: allowed; for `who-can`: somebody
  1  problems, a failed test; for `explain`: refused; for `who-can`: nobody
  2  wrong usage

`mqtt-acl COMMAND --help` explains a command."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Check),
    Test(test::Test),
    Hash(hash::Hash),
    Token(token::Token),
    Explain(explain::Explain),
    User(user::User),
    Doctor(doctor::Doctor),
    Schema(schema::Schema),
    WhoCan(who_can::WhoCan),
}

impl Command {
    fn run(self, out: &mut impl Write) -> Outcome {
        match self {
            Self::Check(command) => command.run(out),
            Self::Test(command) => command.run(out),
            Self::Hash(command) => command.run(out),
            Self::Token(command) => command.run(out),
            Self::Explain(command) => command.run(out),
            Self::User(command) => command.run(out),
            Self::Doctor(command) => command.run(out),
            Self::Schema(command) => command.run(out),
            Self::WhoCan(command) => command.run(out),
        }
    }
}

#[cfg(feature = "pages")]
fn main() -> io::Result<()> {
    pages::write::<Arguments>()
}

#[cfg(not(feature = "pages"))]
fn main() -> Exit {
    run()
}

#[cfg_attr(feature = "pages", expect(dead_code, reason = "that build runs no command"))]
fn run() -> Exit {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return exit::usage(&error),
    };
    let mut out = io::stdout().lock();
    let outcome = arguments.command.run(&mut out);
    outcome.and_then(|exit| Ok(out.flush().map(|()| exit)?)).unwrap_or_else(|error| error.report())
}
