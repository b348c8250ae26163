//! The text of one policy file, cut into sections: what stands before the first header, and each header with what
//! follows it.
//!
//! An edit takes the sections of one user out, changes them with all their comments and layout, and puts them back; the
//! rest of the file, which may hold a hundred thousand others, is not looked at again.

use std::cell::OnceCell;
use std::ops::Range;

use toml_edit::{DocumentMut, InlineTable, Item, Key, TableLike, Value};
use toml_parser::decoder::Encoding;
use toml_parser::parser::{Event, EventKind, parse_document};
use toml_parser::{ParseError, Raw, Source, Span};

/// The text of a file, and where its sections are.
#[derive(Debug)]
pub(crate) struct Text {
    text: String,
    /// Found out when it is asked for, for the last edit's are asked for by nobody.
    parts: OnceCell<Parts>,
}

/// What is where in a text.
#[derive(Debug, Default)]
struct Parts {
    sections: Vec<Section>,
    users: Vec<Mention>,
    passwords: usize,
}

/// A user, in one of the sections.
#[derive(Debug)]
pub(crate) struct Mention {
    pub(crate) name: String,
    section: usize,
    /// Where the name stands.
    offset: usize,
}

#[derive(Clone, Debug)]
struct Section {
    kind: Kind,
    /// From its header on, without the comments above.
    span: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// What stands before the first header; whether that has `users = { ... }`, which no header can add to.
    Top {
        users: bool,
    },
    /// `[users]`
    Users,
    /// `[users.NAME]`
    User,
    /// `[users.NAME.deny]`
    Part,
    Other,
}

impl Kind {
    fn is_of_users(self) -> bool {
        matches!(self, Self::Users | Self::User | Self::Part)
    }
}

/// A new user's table.
#[derive(Debug, Default)]
pub(crate) struct NewUser {
    pub(crate) name: String,
    pub(crate) roles: Vec<String>,
    pub(crate) client_id: Vec<String>,
    pub(crate) password: Option<String>,
}

impl Text {
    /// Cuts a text into its sections.
    ///
    /// # Errors
    /// The text has not the form of TOML; the values themselves are not looked into.
    pub(crate) fn new(text: String) -> Result<Self, ParseError> {
        let parts = OnceCell::from(Scanner::scan(&text)?);
        Ok(Self { text, parts })
    }

    fn parts(&self) -> &Parts {
        // What is written here is TOML; were it not, the check of the whole policy would refuse it.
        self.parts.get_or_init(|| Scanner::scan(&self.text).unwrap_or_default())
    }

    fn sections(&self) -> &[Section] {
        &self.parts().sections
    }

    /// How many passwords the users have, about.
    pub(crate) fn passwords(&self) -> usize {
        self.parts().passwords
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The users of the file, in its order; one whose rules fill several sections more than once.
    pub(crate) fn users(&self) -> &[Mention] {
        &self.parts().users
    }

    /// The line of each mention, counted from one.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&str, usize)> {
        let (mut line, mut seen) = (1, 0);
        self.parts().users.iter().map(move |mention| {
            line += self.text.get(seen..mention.offset).unwrap_or_default().bytes().filter(|b| *b == b'\n').count();
            seen = mention.offset;
            (mention.name.as_str(), line)
        })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.parts().users.iter().any(|mention| mention.name == name)
    }

    /// The top-level array of texts of this name, as far as it is one.
    pub(crate) fn top_texts(&self, key: &str) -> Vec<String> {
        let Some(section) = self.sections().first() else { return Vec::new() };
        let Ok(document) = self.document(section) else { return Vec::new() };
        let array = document.get(key).and_then(Item::as_array);
        array.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Whether the user's own table is here, has this key, and where.
    fn table_with(&self, name: &str, has: impl Fn(&dyn TableLike) -> bool) -> Option<usize> {
        self.own_tables(name).find(|at| self.look(*at, name, &has).unwrap_or(false))
    }

    /// The sections that hold the user's own table, not only one within it.
    fn own_tables(&self, name: &str) -> impl Iterator<Item = usize> {
        let kind = |at: usize| self.sections().get(at).map(|section| section.kind);
        self.users()
            .iter()
            .filter(move |mention| mention.name == name && kind(mention.section) != Some(Kind::Part))
            .map(|mention| mention.section)
    }

    fn look<T>(&self, at: usize, name: &str, read: impl FnOnce(&dyn TableLike) -> T) -> Option<T> {
        let document = self.document(self.sections().get(at)?).ok()?;
        document.get("users")?.get(name)?.as_table_like().map(read)
    }

    /// Whether the user has this key here.
    pub(crate) fn has_key(&self, name: &str, key: &str) -> bool {
        self.table_with(name, |table| table.contains_key(key)).is_some()
    }

    /// Whether more is said of the user here than a password and that it is disabled (S2).
    pub(crate) fn defines(&self, name: &str) -> bool {
        let of_name = self.parts().users.iter().filter(|mention| mention.name == name);
        let mut kinds = of_name.filter_map(|mention| self.sections().get(mention.section));
        kinds.any(|section| section.kind == Kind::Part)
            || self
                .table_with(name, |table| table.iter().any(|(key, _)| !matches!(key, "password" | "disabled")))
                .is_some()
    }

    /// The user's password strings here, the current one first.
    pub(crate) fn passwords_of(&self, name: &str) -> Vec<String> {
        let texts = |item: &Item| match item {
            Item::Value(Value::String(text)) => vec![text.value().clone()],
            Item::Value(Value::Array(array)) => array.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let of = |at| self.look(at, name, |table| table.get("password").map(texts).unwrap_or_default());
        self.own_tables(name).filter_map(of).find(|passwords| !passwords.is_empty()).unwrap_or_default()
    }

    /// Sets a key of the user's table, which is made where there is none.
    pub(crate) fn set(&mut self, name: &str, key: &str, value: Value) {
        let found = self.table_with(name, |table| table.contains_key(key)).or_else(|| self.own_tables(name).next());
        let Some(at) = found else {
            return match self.sections().first() {
                Some(Section { kind: Kind::Top { users: true }, .. }) => self.change(0, |users| {
                    let table = InlineTable::from_iter([(key, value)]);
                    users.insert(name, Item::Value(Value::InlineTable(table)));
                }),
                _ => self.insert(&[format!("[users.{}]\n{key} = {value}\n", Key::new(name).display_repr())]),
            };
        };
        self.change(at, |users| {
            let Some(table) = users.get_mut(name).and_then(Item::as_table_like_mut) else { return };
            let mut value = value;
            if let Some(old) = table.get(key).and_then(Item::as_value) {
                *value.decor_mut() = old.decor().clone();
            }
            table.insert(key, Item::Value(value));
        });
    }

    /// Takes a key out of the user's table; whether it was there.
    pub(crate) fn unset(&mut self, name: &str, key: &str) -> bool {
        let mut found = false;
        while let Some(at) = self.table_with(name, |table| table.contains_key(key)) {
            found = true;
            let alone = self.parts().users.iter().filter(|mention| mention.name == name).count() == 1;
            self.change(at, |users| {
                let Some(table) = users.get_mut(name).and_then(Item::as_table_like_mut) else { return };
                table.remove(key);
                // `NAME.key = ...` was all that there was of the table.
                if alone && table.is_empty() && table.is_dotted() {
                    users.insert(name, Item::Value(Value::InlineTable(InlineTable::new())));
                }
            });
        }
        found
    }

    /// Takes the user out; whether it was there.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let mut at: Vec<_> = self.parts().users.iter().filter(|m| m.name == name).map(|m| m.section).collect();
        let found = !at.is_empty();
        at.dedup();
        // From the end, so that what stands before stays where it was found.
        for at in at.into_iter().rev() {
            match self.sections().get(at).map(|section| section.kind) {
                Some(Kind::User | Kind::Part) => self.cut(at),
                _ => self.change(at, |users| {
                    users.remove(name);
                }),
            }
        }
        found
    }

    /// Adds users that are not there yet, beside the others.
    pub(crate) fn add(&mut self, new: &[NewUser]) {
        if let Some(Section { kind: Kind::Top { users: true }, .. }) = self.sections().first() {
            return self.change(0, |users| {
                for user in new {
                    users.insert(&user.name, Item::Value(Value::InlineTable(user.inline())));
                }
            });
        }
        let tables: Vec<_> = new.iter().map(NewUser::table).collect();
        self.insert(&tables);
    }

    /// Puts tables behind those of the other users.
    fn insert(&mut self, tables: &[String]) {
        let position = self.users_end();
        let before = self.text.get(..position).unwrap_or_default();
        let apart = self.stand_apart();
        let mut text = String::new();
        if !(position <= self.start() || before.ends_with('\n')) {
            text.push('\n');
        }
        for table in tables {
            if apart && !(text.is_empty() && position <= self.start()) {
                text.push('\n');
            }
            text.push_str(table);
        }
        let new = self.broken_alike(&text);
        self.splice(position..position, &new);
    }

    /// Where a further user belongs: behind the last one or, without any, at the end.
    fn users_end(&self) -> usize {
        let last = self.sections().iter().rfind(|section| section.kind.is_of_users());
        last.map_or(self.text.len(), |section| section.span.end)
    }

    /// Whether the tables of the users have a blank line between them, as they have unless the last two do without.
    fn stand_apart(&self) -> bool {
        let mut last = self.sections().iter().enumerate().rev().filter(|(_, section)| section.kind.is_of_users());
        let Some((at, section)) = last.next() else { return true };
        let Some(before) = at.checked_sub(1).and_then(|at| self.sections().get(at)) else { return true };
        !matches!(before.kind, Kind::User | Kind::Part) || before.span.end != section.span.start
    }

    /// Where the text begins, behind the mark that some editors write.
    fn start(&self) -> usize {
        if self.text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 }
    }

    fn document(&self, section: &Section) -> Result<DocumentMut, toml_edit::TomlError> {
        self.text.get(section.span.clone()).unwrap_or_default().parse()
    }

    /// Changes the users in a section.
    fn change(&mut self, at: usize, change: impl FnOnce(&mut dyn TableLike)) {
        let Some(section) = self.sections().get(at).cloned() else { return };
        let Ok(mut document) = self.document(&section) else { return };
        let Some(users) = document.get_mut("users").and_then(Item::as_table_like_mut) else { return };
        change(users);
        let new = self.broken_alike(&document.to_string());
        self.splice(section.span, &new);
    }

    /// Takes a section out, with the comment above it and the blank lines on one of its sides.
    fn cut(&mut self, at: usize) {
        let Some(section) = self.sections().get(at) else { return };
        let end = section.span.end;
        let followed = self.sections().get(at + 1).is_some_and(|next| next.span.start == end);
        let before = self.text.get(..section.span.start).unwrap_or_default();
        let least =
            at.checked_sub(1).and_then(|before| self.sections().get(before)).map_or(0, |before| before.span.end);
        // A comment goes with its paragraph: where more tables follow in it, it may be about them too.
        let mut start = section.span.start;
        if !followed {
            for line in before.split_inclusive('\n').rev() {
                if !line.trim_start().starts_with('#') || start - line.len() < least {
                    break;
                }
                start -= line.len();
            }
        }
        let before = self.text.get(..start).unwrap_or_default();
        let after = self.text.get(end..).unwrap_or_default();
        let blanks = |lines: &mut dyn Iterator<Item = &str>| -> usize {
            lines.take_while(|line| line.trim().is_empty()).map(str::len).sum()
        };
        let range = if after.trim().is_empty() {
            start - blanks(&mut before.split_inclusive('\n').rev())..self.text.len()
        } else if before.split_inclusive('\n').next_back().is_none_or(|line| line.trim().is_empty()) {
            start..end + blanks(&mut after.split_inclusive('\n'))
        } else {
            start..end
        };
        self.splice(range, "");
    }

    fn splice(&mut self, range: Range<usize>, new: &str) {
        self.text.replace_range(range, new);
        self.parts = OnceCell::new();
    }

    fn line_break(&self) -> &'static str {
        let first = self.text.find('\n').and_then(|at| self.text.get(..at));
        if first.is_some_and(|line| line.ends_with('\r')) { "\r\n" } else { "\n" }
    }

    /// The text with the line breaks of this file.
    fn broken_alike(&self, text: &str) -> String {
        match self.line_break() {
            "\n" => text.to_owned(),
            other => text.replace("\r\n", "\n").replace('\n', other),
        }
    }
}

impl NewUser {
    fn table(&self) -> String {
        let mut text = format!("[users.{}]\n", Key::new(&self.name).display_repr());
        let rows =
            [("roles", self.list(&self.roles)), ("client_id", self.list(&self.client_id)), ("password", self.secret())];
        let rows: Vec<_> = rows.into_iter().filter_map(|(key, value)| value.map(|value| (key, value))).collect();
        let width = rows.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        for (key, value) in rows {
            text.push_str(&format!("{key:width$} = {value}\n"));
        }
        text
    }

    fn inline(&self) -> InlineTable {
        let mut table = InlineTable::new();
        for (key, value) in
            [("roles", self.list(&self.roles)), ("client_id", self.list(&self.client_id)), ("password", self.secret())]
        {
            if let Some(value) = value {
                table.insert(key, value);
            }
        }
        table
    }

    fn list(&self, texts: &[String]) -> Option<Value> {
        (!texts.is_empty()).then(|| Value::Array(texts.iter().collect()))
    }

    fn secret(&self) -> Option<Value> {
        self.password.as_deref().map(Value::from)
    }
}

/// Goes through the events of a file and notes where its sections and users are.
struct Scanner<'t> {
    text: &'t str,
    sections: Vec<Section>,
    users: Vec<Mention>,
    passwords: usize,
    /// The keys of the header, or of the entry, that is being read.
    path: Vec<(String, usize)>,
    in_header: bool,
    /// How many tables and lists deep the value is.
    depth: usize,
    /// Whether the next key at depth one begins an entry of an inline table.
    fresh: bool,
}

impl<'t> Scanner<'t> {
    fn scan(text: &'t str) -> Result<Parts, ParseError> {
        let tokens: Vec<_> = Source::new(text).lex().collect();
        let mut scanner = Self::new(text);
        let mut error: Option<ParseError> = None;
        parse_document(&tokens, &mut |event: Event| scanner.event(event), &mut error);
        error.map_or_else(|| Ok(scanner.finish()), Err)
    }

    fn new(text: &'t str) -> Self {
        let start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self {
            text,
            sections: vec![Section { kind: Kind::Top { users: false }, span: start..start }],
            users: Vec::new(),
            passwords: 0,
            path: Vec::new(),
            in_header: false,
            depth: 0,
            fresh: false,
        }
    }

    fn event(&mut self, event: Event) {
        let span = event.span();
        match event.kind() {
            EventKind::Whitespace | EventKind::Comment => return,
            EventKind::Newline => {
                if self.depth == 0 {
                    self.path.clear();
                }
                return;
            }
            EventKind::StdTableOpen | EventKind::ArrayTableOpen => self.open(span),
            EventKind::StdTableClose => self.close(false),
            EventKind::ArrayTableClose => self.close(true),
            EventKind::SimpleKey => self.key(span, event.encoding()),
            EventKind::KeyValSep if self.depth == 0 => self.entry(),
            EventKind::InlineTableOpen => {
                self.depth += 1;
                self.fresh = self.depth == 1;
            }
            EventKind::ArrayOpen => self.depth += 1,
            EventKind::InlineTableClose | EventKind::ArrayClose => self.depth = self.depth.saturating_sub(1),
            EventKind::ValueSep => self.fresh = self.depth == 1,
            _ => {}
        }
        if let Some(section) = self.sections.last_mut() {
            section.span.end = section.span.end.max(span.end());
        }
    }

    fn open(&mut self, span: Span) {
        let start = self.text.get(..span.start()).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
        let start = self.sections.last().map_or(start, |before| before.span.end.max(start));
        self.sections.push(Section { kind: Kind::Other, span: start..span.end() });
        self.path.clear();
        self.in_header = true;
    }

    fn close(&mut self, array: bool) {
        self.in_header = false;
        let at = self.sections.len() - 1;
        let Some(section) = self.sections.last_mut() else { return };
        let mut path = std::mem::take(&mut self.path).into_iter();
        if array || path.next().is_none_or(|(first, _)| first != "users") {
            return;
        }
        section.kind = match path.len() {
            0 => Kind::Users,
            1 => Kind::User,
            _ => Kind::Part,
        };
        if let Some((name, offset)) = path.next() {
            self.users.push(Mention { name, section: at, offset });
        }
    }

    fn key(&mut self, span: Span, encoding: Option<Encoding>) {
        let raw = self.text.get(span.start()..span.end()).unwrap_or_default();
        let kind = self.sections.last().map(|section| section.kind);
        let of_users =
            kind.is_some_and(Kind::is_of_users) || self.path.first().is_some_and(|(first, _)| first == "users");
        if of_users && !self.in_header && raw.trim_matches(['"', '\'']) == "password" {
            self.passwords += 1;
        }
        if self.depth > 1 || (self.depth == 1 && !self.fresh) {
            return;
        }
        if self.depth == 0 && !self.in_header && matches!(kind, Some(Kind::User | Kind::Part | Kind::Other)) {
            return;
        }
        let mut name = String::new();
        Raw::new_unchecked(raw, encoding, span).decode_key(&mut name, &mut ());
        if self.depth == 0 {
            self.path.push((name, span.start()));
        } else if self.path.len() == 1 && of_users && matches!(kind, Some(Kind::Top { .. })) {
            // `users = { NAME = ... }`
            self.fresh = false;
            self.mention(name, span.start());
        }
    }

    /// The keys of an entry are known.
    fn entry(&mut self) {
        let mention = match self.sections.last().map(|section| section.kind) {
            Some(Kind::Users) => self.path.first().cloned(),
            Some(Kind::Top { .. }) if self.path.first().is_some_and(|(first, _)| first == "users") => {
                if let (1, Some(section)) = (self.path.len(), self.sections.last_mut()) {
                    section.kind = Kind::Top { users: true };
                }
                self.path.get(1).cloned()
            }
            _ => None,
        };
        if let Some((name, offset)) = mention {
            self.mention(name, offset);
        }
    }

    fn mention(&mut self, name: String, offset: usize) {
        let section = self.sections.len() - 1;
        // Several dotted keys of one user follow each other, as a rule.
        if self.users.last().is_none_or(|last| last.section != section || last.name != name) {
            self.users.push(Mention { name, section, offset });
        }
    }

    /// Gives each section its last line whole, and the comments right behind it, but not those right before a header.
    fn finish(mut self) -> Parts {
        let starts: Vec<_> = self.sections.iter().skip(1).map(|section| section.span.start).collect();
        let ends = starts.into_iter().chain([self.text.len()]);
        for (section, limit) in self.sections.iter_mut().zip(ends) {
            let rest = self.text.get(section.span.end..limit).unwrap_or_default();
            let mut lines = rest.split_inclusive('\n').peekable();
            // Before the first header there may be nothing but comments.
            let is_empty = section.span.is_empty();
            let mut end = section.span.end + if is_empty { 0 } else { lines.next().map_or(0, str::len) };
            let line_end = end;
            while let Some(line) = lines.next_if(|line| line.trim_start().starts_with('#')) {
                end += line.len();
            }
            let runs_into_header = lines.peek().is_none() && limit < self.text.len();
            section.span.end = if runs_into_header || is_empty { line_end } else { end };
        }
        Parts { sections: self.sections, users: self.users, passwords: self.passwords }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use toml::{Table, Value as Plain};

    use super::*;

    const FILE: &str = "\
# The users
version = 1            # of the language

[users.alice]          # a person
roles    = [
    \"operator\",        # for now
]
password = \"$a\"        # changed in May

# Meters
[users.meter1]
password = \"$b\"
[users.meter1.deny]
publish = [\"x\"]
[users.meter2]
password = \"$c\"
# to be replaced

# What is promised.

[[test]]
user = \"alice\"
";

    fn text(text: &str) -> Text {
        Text::new(text.to_owned()).unwrap()
    }

    #[track_caller]
    fn edited(before: &str, edit: impl FnOnce(&mut Text), after: &str) {
        let mut text = text(before);
        edit(&mut text);
        assert_eq!(text.as_str(), after);
    }

    fn new(name: &str, password: &str) -> NewUser {
        NewUser { name: name.into(), password: Some(password.into()), ..NewUser::default() }
    }

    #[test]
    fn users_are_found_where_they_are() {
        let text = text(FILE);
        let found: Vec<_> = text.lines().collect();
        assert_eq!(found, [("alice", 4), ("meter1", 11), ("meter1", 13), ("meter2", 15)]);
        assert_eq!(text.passwords(), 3);
        assert!(text.defines("alice") && text.defines("meter1") && !text.defines("meter2"));
        assert_eq!(text.passwords_of("meter2"), ["$c"]);
    }

    #[test]
    fn a_value_is_changed_and_nothing_else() {
        let after = FILE.replace("\"$a\"        #", "\"$z\"        #");
        edited(FILE, |text| text.set("alice", "password", "$z".into()), &after);
        let after = FILE.replace("$b\"\n", "$b\"\ndisabled = true\n");
        edited(FILE, |text| text.set("meter1", "disabled", true.into()), &after);
        edited(&after, |text| assert!(text.unset("meter1", "disabled")), FILE);
        edited(FILE, |text| assert!(!text.unset("meter1", "disabled")), FILE);
    }

    #[test]
    fn a_new_user_stands_behind_the_last_one() {
        let after = FILE.replace("# to be replaced\n", "# to be replaced\n[users.\"a b\"]\npassword = \"$n\"\n");
        edited(FILE, |text| text.add(&[new("a b", "$n")]), &after);
        edited("version = 1\n", |text| text.add(&[new("a", "$n")]), "version = 1\n\n[users.a]\npassword = \"$n\"\n");
        edited("", |text| text.add(&[new("a", "$n")]), "[users.a]\npassword = \"$n\"\n");
        edited("# x", |text| text.add(&[new("a", "$n")]), "# x\n\n[users.a]\npassword = \"$n\"\n");
        let all = NewUser {
            name: "a".into(),
            roles: vec!["r".into(), "s".into()],
            client_id: vec!["%u".into()],
            password: Some("$n".into()),
        };
        let after = "[users.a]\nroles     = [\"r\", \"s\"]\nclient_id = [\"%u\"]\npassword  = \"$n\"\n";
        edited("", |text| text.add(&[all]), after);
    }

    #[test]
    fn a_removed_user_takes_its_own_comment_along() {
        let after = "# The users\nversion = 1            # of the language\n\n# Meters\n[users.meter1]";
        let mut edited = text(FILE);
        assert!(edited.remove("alice") && edited.as_str().starts_with(after), "{}", edited.as_str());
        // That comment may be about the other meters too.
        let mut edited = text(FILE);
        assert!(edited.remove("meter1"));
        assert!(edited.as_str().contains("May\n\n# Meters\n[users.meter2]\n"), "{}", edited.as_str());
        let of_bob = "[users.a]\n\n# Bob, room 12\n[users.bob]\nroles = []\n\n[users.c]\n";
        super::tests::edited(of_bob, |text| assert!(text.remove("bob")), "[users.a]\n\n[users.c]\n");
        super::tests::edited(of_bob, |text| assert!(text.remove("c")), of_bob.strip_suffix("\n[users.c]\n").unwrap());
        super::tests::edited(of_bob, |text| assert!(!text.remove("d")), of_bob);
    }

    #[test]
    fn other_ways_to_write_a_user() {
        edited(
            "users = { a = { roles = [\"r\"] } } # all\n",
            |text| text.add(&[new("b", "$n")]),
            "users = { a = { roles = [\"r\"] } , b = { password = \"$n\" } } # all\n",
        );
        edited(
            "users.a.roles = [\"r\"]\nusers.b.disabled = true # bad\n",
            |text| text.set("a", "password", "$n".into()),
            "users.a.roles = [\"r\"]\nusers.a.password = \"$n\"\nusers.b.disabled = true # bad\n",
        );
        edited(
            "[users]\na = { password = \"$a\" } # A\nb.roles = []\n",
            |text| assert!(text.remove("b")),
            "[users]\na = { password = \"$a\" } # A\n",
        );
        edited(
            "[users.a.deny]\npublish = []\n",
            |text| text.set("a", "password", "$n".into()),
            "[users.a.deny]\npublish = []\n\n[users.a]\npassword = \"$n\"\n",
        );
    }

    #[test]
    fn line_breaks_stay_windows_and_the_mark_in_front() {
        let before = "\u{feff}version = 1\r\n\r\n[users.a]\r\nroles = []\r\n";
        let after = format!("{before}disabled = true\r\n");
        edited(before, |text| text.set("a", "disabled", true.into()), &after);
        let after = format!("{before}\r\n[users.b]\r\npassword = \"$n\"\r\n");
        edited(before, |text| text.add(&[new("b", "$n")]), &after);
    }

    #[test]
    fn what_is_not_toml_is_refused() {
        assert!(Text::new("[users".into()).is_err());
        assert!(Text::new("a = [\n[users.b]".into()).is_err());
    }

    /// A piece of a file: a table, or entries of one.
    fn piece() -> impl Strategy<Value = String> {
        let name = prop_oneof![Just("a"), Just("b"), Just("\"a b\""), Just("'#c'"), Just("\"\\u0061\"")];
        let key = prop_oneof![
            Just("roles = [\"r\", # one\n  \"s\"]"),
            Just("password = \"$p\" # p"),
            Just("password = [\"$p\",'$q']"),
            Just("disabled = true"),
            Just("deny = { publish = [\"#\"] }"),
            Just("client_id = [\"\"\"%u\n[users.a]\"\"\"]"),
        ];
        let rows = prop::collection::vec(key, 0..3).prop_map(|rows| rows.join("\n"));
        prop_oneof![
            4 => (name.clone(), rows.clone()).prop_map(|(name, rows)| format!("[users.{name}]  # h\n{rows}\n")),
            1 => (name.clone(), rows.clone()).prop_map(|(name, _)| format!("[ users . {name} . deny ]\npublish = []\n")),
            1 => name.clone().prop_map(|name| format!("[users]\n{name} = {{ password = \"$i\" }}\nz.roles = []\n")),
            1 => Just("[roles.r]\npublish = [\"[users.a]\"]\n".to_owned()),
            1 => Just("[[test]]\nuser = \"a\"\n".to_owned()),
            1 => Just("[[match]]\nusername = \"a*\"\n[users-of]\nx = 1\n".to_owned()),
        ]
    }

    fn file() -> impl Strategy<Value = String> {
        let top = prop_oneof![
            4 => Just("version = 1\n"),
            1 => Just(""),
            1 => Just("# only a comment\n"),
            1 => Just("users = { a = { password = \"$t\" }, b = {} }\n"),
            1 => Just("users.a.password = \"$t\"\nusers.\"a b\".disabled = false\n"),
        ];
        let between =
            prop_oneof![Just(""), Just("\n"), Just("# between\n"), Just("\n# between\n\n"), Just("  \n  # x\n")];
        let pieces = prop::collection::vec((between, piece()), 0..6);
        (top, pieces, any::<bool>(), any::<bool>())
            .prop_map(|(top, pieces, windows, cut)| {
                let mut text = top.to_owned();
                pieces.into_iter().for_each(|(between, piece)| text.extend([between, &piece]));
                let text = if cut { text.trim_end().to_owned() } else { text };
                if windows { text.replace('\n', "\r\n") } else { text }
            })
            .prop_filter("TOML", |text| text.parse::<Table>().is_ok())
    }

    fn users_of(table: &mut Table) -> &mut Table {
        table.entry("users").or_insert_with(|| Plain::Table(Table::new())).as_table_mut().unwrap()
    }

    /// Without tables that say nothing, which an edit may leave behind.
    fn plain(mut table: Table) -> Table {
        if table.get("users").and_then(Plain::as_table).is_some_and(Table::is_empty) {
            table.remove("users");
        }
        table
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Whatever the layout, the file says afterwards what it said before, and the edit.
        #[test]
        fn an_edit_does_what_it_says_and_nothing_else(
            before in file(),
            name in prop_oneof![Just("a"), Just("b"), Just("a b"), Just("#c"), Just("z"), Just("new \"one\"\\")],
            edit in 0..5,
        ) {
            let mut text = text(&before);
            let mut expected: Table = before.parse().unwrap();
            let users = users_of(&mut expected);
            let was_there = users.contains_key(name);
            prop_assert_eq!(text.has(name), was_there);
            match edit {
                0 if !was_there => {
                    text.add(&[new(name, "$new"), new("other", "$o")]);
                    for (name, password) in [(name, "$new"), ("other", "$o")] {
                        users.insert(name.into(), Table::from_iter([("password".into(), password.into())]).into());
                    }
                }
                1 => {
                    prop_assert_eq!(text.remove(name), was_there);
                    users.remove(name);
                }
                2 if was_there => {
                    text.set(name, "password", "$new".into());
                    users.get_mut(name).unwrap().as_table_mut().unwrap().insert("password".into(), "$new".into());
                }
                3 if was_there => {
                    text.set(name, "disabled", true.into());
                    users.get_mut(name).unwrap().as_table_mut().unwrap().insert("disabled".into(), true.into());
                }
                4 if was_there => {
                    let removed = users.get_mut(name).unwrap().as_table_mut().unwrap().remove("disabled").is_some();
                    prop_assert_eq!(text.unset(name, "disabled"), removed);
                }
                _ => {}
            }
            let after: Table = text.as_str().parse().unwrap();
            prop_assert_eq!(plain(after), plain(expected), "{}\n-->\n{}", before, text.as_str());
            let lone = |text: &str| text.matches('\n').count() != text.matches("\r\n").count();
            prop_assert!(!before.contains("\r\n") || !lone(text.as_str()), "{:?}", text.as_str());
            // Comments that are not the user's own stay.
            let count = |text: &str| text.lines().filter(|line| line.trim() == "# between").count();
            if edit != 1 {
                prop_assert_eq!(count(&before), count(text.as_str()), "{}\n-->\n{}", before, text.as_str());
            }
        }
    }
}
