//! Users by the thousand, from a CSV file.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord};
use mqtt_acl_policy::{Escaped, Token};
use serde_json::json;
use zeroize::Zeroizing;

use super::Target;
use crate::edit::{NewUser, Secrets};
use crate::exit::{Error, Exit, Outcome};
use crate::progress::Progress;
use crate::text::{complain, count};

/// What is asked for.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    pub(super) from: &'a Path,
    pub(super) tokens: Option<&'a Path>,
    /// Of the users that name none.
    pub(super) roles: &'a [String],
    pub(super) force: bool,
}

/// Where each column is.
struct Columns {
    username: usize,
    roles: Option<usize>,
    client_id: Option<usize>,
    password: Option<usize>,
}

impl Rows<'_> {
    pub(super) fn add(&self, file: Option<&Path>, target: &Target, out: &mut impl Write) -> Outcome {
        if let Some(path) = self.tokens {
            Secrets::expect(path, self.force)?;
        }
        let mut users = self.read()?;
        let secrets = self.give_tokens(&mut users)?;
        let made = secrets.is_some();
        let mut editor = target.edit()?;
        editor.add(&users, file)?;
        let saved = editor.save(secrets)?;
        let path = self.tokens.filter(|_| made).map(Path::to_string_lossy);
        target.tell(out, &saved, json!({ "users": users.len(), "tokens": path }))?;
        if let (Some(path), false) = (path, target.json) {
            complain(format_args!("{path}: the tokens, which are not shown again"));
        }
        Ok(Exit::Fine)
    }

    fn read(&self) -> Result<Vec<NewUser>, Error> {
        let shown = self.from.display();
        let failed = |error: csv::Error| Error::Failed(format!("{shown}: {}", plain(&error)));
        let mut reader = ReaderBuilder::new().trim(csv::Trim::All).from_path(self.from).map_err(failed)?;
        let columns = self.columns(reader.headers().map_err(failed)?)?;
        let mut users = Vec::new();
        let mut names = HashSet::new();
        for row in reader.into_records() {
            let row = row.map_err(failed)?;
            let line = row.position().map_or(0, csv::Position::line);
            let wrong = |text: String| Error::Failed(format!("{shown}:{line}: {text}"));
            let name = row.get(columns.username).unwrap_or_default();
            if let Err(Error::Usage(problem)) = super::name(name) {
                return Err(wrong(problem));
            }
            if !names.insert(name.to_owned()) {
                return Err(wrong(format!("user `{}` is there twice (keep one)", Escaped(name.as_bytes()))));
            }
            let field = |column: Option<usize>| column.and_then(|at| row.get(at)).unwrap_or_default();
            let words = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
            let mut roles = words(field(columns.roles));
            if roles.is_empty() {
                roles = self.roles.to_vec();
            }
            let password = Some(field(columns.password)).filter(|text| !text.is_empty()).map(str::to_owned);
            users.push(NewUser { name: name.to_owned(), roles, client_id: words(field(columns.client_id)), password });
        }
        if users.is_empty() {
            return Err(Error::Failed(format!("{shown}: there is no user in it")));
        }
        Ok(users)
    }

    fn columns(&self, header: &StringRecord) -> Result<Columns, Error> {
        const KNOWN: [&str; 4] = ["username", "roles", "client_id", "password"];
        let shown = self.from.display();
        if let Some(other) = header.iter().find(|name| !KNOWN.contains(&plain_name(name))) {
            return Err(Error::Failed(format!(
                "{shown}:1: `{}` is not a column (the first line names them; known are `{}`)",
                Escaped(other.as_bytes()),
                KNOWN.join("`, `")
            )));
        }
        let at = |wanted: &str| header.iter().position(|name| plain_name(name) == wanted);
        for name in KNOWN {
            if header.iter().filter(|other| plain_name(other) == name).count() > 1 {
                return Err(Error::Failed(format!("{shown}:1: the column `{name}` is there twice (keep one)")));
            }
        }
        let Some(username) = at("username") else {
            return Err(Error::Failed(format!("{shown}:1: there is no column `username` (the first line names them)")));
        };
        Ok(Columns { username, roles: at("roles"), client_id: at("client_id"), password: at("password") })
    }

    /// Gives a token to each user without a password string, and returns the file for them.
    fn give_tokens(&self, users: &mut [NewUser]) -> Result<Option<Secrets>, Error> {
        let needed = users.iter().filter(|user| user.password.is_none()).count();
        if needed == 0 {
            return Ok(None);
        }
        let Some(path) = self.tokens else {
            return Err(Error::Usage(format!(
                "{} of the CSV file {} no password string and so a token (name the file for them after `--tokens`)",
                count(needed, "user"),
                if needed == 1 { "has" } else { "have" }
            )));
        };
        let mut progress = Progress::of("tokens", users.len());
        // At once as large as it gets, for a buffer that grows leaves secrets behind.
        let room: usize = users.iter().map(|user| 2 * user.name.len() + 64).sum();
        let mut content = Zeroizing::new(Vec::with_capacity(room + 64));
        let mut writer = csv::Writer::from_writer(&mut *content);
        let failed = |error: csv::Error| Error::Failed(plain(&error));
        writer.write_record(["username", "token"]).map_err(failed)?;
        for (done, user) in users.iter_mut().enumerate() {
            if user.password.is_none() {
                let token = Token::new().map_err(Error::Secret)?;
                writer.write_record([&user.name, &*token.secret]).map_err(failed)?;
                user.password = Some(token.string);
            }
            progress.at(done + 1);
        }
        writer.flush().map_err(|error| Error::Failed(error.to_string()))?;
        drop(writer);
        Ok(Some(Secrets { path: path.to_path_buf(), content, force: self.force }))
    }
}

/// Spreadsheets begin a file with a mark, and capitals are no other name.
fn plain_name(name: &str) -> &str {
    name.trim_start_matches('\u{feff}')
}

/// What is wrong, without the names of Rust's types.
fn plain(error: &csv::Error) -> String {
    let line = error.position().map(|position| format!("line {}: ", position.line())).unwrap_or_default();
    match error.kind() {
        csv::ErrorKind::Io(error) => format!("cannot be read: {error}"),
        csv::ErrorKind::Utf8 { .. } => format!("{line}not UTF-8 (save it as UTF-8)"),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{line}{len} fields, where the first line names {expected_len}")
        }
        _ => format!("{line}not CSV"),
    }
}
