//! `password_file`: names and password strings, Mosquitto's and mosquitto-go-auth's.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use mqtt_acl_policy::{Escaped, Place, Problem, Severity, is_password_string};

use crate::acl::Dialect;

/// A line of the file.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The user.
    pub name: String,
    /// Its password string.
    pub password: String,
    /// Where it stands.
    pub line: u32,
}

/// Reads a file: all users in its order.
///
/// # Errors
/// All its problems. What is wrong with a password string never repeats it.
pub fn read(text: &[u8], file: &Arc<Path>, dialect: Dialect) -> Result<Vec<Entry>, Vec<Problem>> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut lines: HashMap<String, u32> = HashMap::new();
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(text.split(|b| *b == b'\n')) {
        let mut problem = |text: String| {
            let place = Place { file: Arc::clone(file), line: number, column: 1 };
            problems.push(Problem { place, severity: Severity::Error, text });
        };
        let Ok(line) = std::str::from_utf8(line) else {
            problem("the line is not UTF-8, as user names must be".into());
            continue;
        };
        let line = line.trim_end_matches(['\r', '\n']);
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let Some((name, password)) = line.split_once(':') else {
            problem("the line has no `:` between a user name and a password string".into());
            continue;
        };
        let (name, password) = match dialect {
            Dialect::GoAuth => (name, password),
            _ => (name.trim(), password.trim()),
        };
        let shown = Escaped(name.as_bytes()).to_string();
        if name.is_empty() || name.chars().any(char::is_control) {
            problem(format!("`{shown}` is no user name"));
        } else if let Some(first) = lines.get(name) {
            problem(format!("user `{shown}` has a password already, at line {first} (keep one)"));
        } else if let Err(what) = is_password_string(password) {
            problem(format!("user `{shown}`: {what}"));
        } else {
            lines.insert(name.to_owned(), number);
            entries.push(Entry { name: name.to_owned(), password: password.to_owned(), line: number });
        }
    }
    if problems.is_empty() { Ok(entries) } else { Err(problems) }
}
