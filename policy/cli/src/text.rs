//! Lines for people. Whatever a policy, a file name or an argument holds, none of it reaches the terminal's controls.

use std::fmt::Display;
use std::io::{self, Write};

use mqtt_acl_policy::OneLine;

/// Writes a line of the result.
pub(crate) fn say(out: &mut impl Write, text: impl Display) -> io::Result<()> {
    writeln!(out, "{}", OneLine(&text.to_string()))
}

/// Writes a line to standard error. Where that is closed there is nobody to tell.
pub(crate) fn complain(text: impl Display) {
    let _ = writeln!(io::stderr(), "{}", OneLine(&text.to_string()));
}

/// `1 user`, `2 users`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
