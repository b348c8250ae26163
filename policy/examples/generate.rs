//! Writes a large policy for measuring: `cargo run -p mqtt-acl-policy --example generate -- FOLDER USERS [KIND]`.
//!
//! KIND is `fleet` (5 % of the users have rules of their own, three formats of password strings), `plain` (a role and an
//! argon2id string each) or `rules` (as many rules as users, held by 5 % of them). The loader wants files that nobody else can
//! change, so write them where only root, or you, can.

use std::path::Path;
use std::process::ExitCode;

#[path = "../tests/support/scale.rs"]
#[expect(dead_code, reason = "the tests use all of it")]
mod scale;

use scale::Scale;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (folder, users, kind) = match arguments[..] {
        [folder, users] => (folder, users.parse(), "fleet"),
        [folder, users, kind] => (folder, users.parse(), kind),
        _ => return usage(),
    };
    let scale = match (users, kind) {
        (Ok(users), "fleet") => Scale::of(users),
        (Ok(users), "plain") => Scale::plain(users),
        (Ok(users), "rules") => Scale { own_rules: 20, ..Scale::of(users) },
        _ => return usage(),
    };
    match scale.write(Path::new(folder)) {
        Ok((path, size)) => {
            println!("{}: {} users, {} rules, {size} bytes", path.display(), scale.users, scale.rules());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{folder}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: generate FOLDER USERS [fleet | plain | rules]");
    ExitCode::from(2)
}
