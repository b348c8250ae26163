//! The shape of a policy file: TOML in, typed tables with the place of every value out.
//!
//! Reading goes on after a problem, so that one look at a file finds everything that is wrong with its shape. What the
//! values mean together is judged in [`crate::compile`].

mod plain;

use std::collections::HashSet;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use crate::limits;
use crate::problem::{Escaped, Place, Problems};
use crate::scenario::Deed;
use crate::topic;
use crate::users::{Draft, Listing, PASSWORDS, Spot};
use plain::{Left, Rest};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

type Text = Located<String>;

/// One policy file.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) version: Option<Place>,
    pub(crate) include: Vec<Text>,
    pub(crate) roles: Vec<(Text, RuleTable)>,
    pub(crate) anonymous: Option<(Place, RuleTable)>,
    pub(crate) matches: Vec<MatchTable>,
    pub(crate) tests: Vec<TestTable>,
    pub(crate) logins: Option<(Place, LoginsTable)>,
    pub(crate) guard: Option<(Place, GuardTable)>,
    /// Whether a user in it has a password.
    pub(crate) has_passwords: bool,
    /// Whether it says anything at all; a file of blanks and comments does not.
    pub(crate) is_empty: bool,
    /// Whether it could not be read, so that what it says is not known.
    pub(crate) is_broken: bool,
}

/// The keys that roles, users and `[anonymous]` have in common.
#[derive(Debug, Default)]
pub(crate) struct RuleTable {
    pub(crate) client_id: Option<Located<Vec<Text>>>,
    pub(crate) publish: Vec<Text>,
    pub(crate) subscribe: Vec<Text>,
    pub(crate) receive: Vec<Text>,
    pub(crate) deny_publish: Vec<Text>,
    pub(crate) deny_subscribe: Vec<Text>,
    pub(crate) deny_client_id: Vec<Text>,
    pub(crate) overlap: bool,
    pub(crate) share: Option<Vec<Text>>,
    pub(crate) api: bool,
    pub(crate) auto_id: Option<bool>,
}

impl RuleTable {
    /// The filters of all its rules.
    pub(crate) fn filters(&self) -> impl Iterator<Item = &Text> {
        [&self.publish, &self.subscribe, &self.receive, &self.deny_publish, &self.deny_subscribe].into_iter().flatten()
    }
}

#[derive(Debug)]
pub(crate) struct MatchTable {
    pub(crate) place: Place,
    pub(crate) username: Vec<Text>,
    pub(crate) roles: Vec<Text>,
    pub(crate) unlisted: Option<Place>,
    /// Whether something in it could not be read, so that what it lacks may be just that.
    pub(crate) is_broken: bool,
}

#[derive(Debug)]
pub(crate) struct TestTable {
    pub(crate) place: Place,
    pub(crate) user: Option<Text>,
    pub(crate) anonymous: bool,
    pub(crate) client_id: Option<Text>,
    pub(crate) can: Vec<Located<Deed>>,
    pub(crate) cannot: Vec<Located<Deed>>,
    /// Whether something in it could not be read.
    pub(crate) is_broken: bool,
}

/// What is left out stays as it is by default.
#[derive(Debug, Default)]
pub(crate) struct LoginsTable {
    pub(crate) delayed: Option<bool>,
    pub(crate) share: Option<u32>,
}

#[derive(Debug, Default)]
pub(crate) struct GuardTable {
    pub(crate) trusted: Vec<Text>,
    pub(crate) user_failures: Option<u32>,
    pub(crate) address_failures: Option<u32>,
    pub(crate) minutes: Option<u32>,
}

const TOP_KEYS: &[&str] = &["version", "include", "roles", "users", "anonymous", "match", "logins", "guard", "test"];
const RULE_KEYS: &[&str] =
    &["client_id", "publish", "subscribe", "receive", "deny", "overlap", "share", "api", "auto_id"];
const USER_KEYS: &[&str] = &["roles", "password", "disabled", "attributes"];

impl Document {
    /// What stands for a file that cannot be read.
    pub(crate) fn broken() -> Self {
        Self { is_broken: true, ..Self::default() }
    }

    /// Reads a file's text; its users are added to the draft.
    pub(crate) fn read(text: &str, file: &Arc<Path>, users: &mut Draft, problems: &mut Problems) -> Self {
        Self::read_leaving(text, file, Left::default(), users, problems)
    }

    /// The same, with all of it read by TOML.
    #[cfg(test)]
    fn read_all(text: &str, file: &Arc<Path>, users: &mut Draft, problems: &mut Problems) -> Self {
        Self::read_leaving(text, file, Left { all: true, ..Left::default() }, users, problems)
    }

    fn read_leaving(text: &str, file: &Arc<Path>, mut left: Left, users: &mut Draft, problems: &mut Problems) -> Self {
        loop {
            let mark = users.begin(file);
            let rest = plain::split(text, file, &left, |table| list(users, table));
            let (table, errors) = DeTable::parse_recoverable(&rest.text);
            // Only TOML can tell what tables mean together that name the same user.
            let plain = users.count(mark);
            let names = beside(table.get_ref(), &rest.text);
            // After a mistake, what TOML makes of a table depends on those around it, too.
            let names = names.filter(|_| errors.is_empty() || text.len() > RECOVERED);
            let both = match names {
                Some(names) => users.names_among(mark, &names),
                None if plain == 0 => Vec::new(),
                None => {
                    left.all = true;
                    users.forget(mark);
                    continue;
                }
            };
            let mut found = problems.clone();
            let mut document = None;
            if both.is_empty() {
                let mut reader = Reader { file, lines: Lines::of(&rest), users, problems: &mut found };
                for error in &errors {
                    let place = reader.place(&error.span().unwrap_or(0..0));
                    let message = error.message().replace('\n', ", ");
                    reader.problems.error(place, format!("not TOML: {message}"));
                }
                // What recovery makes of a broken file would only raise problems that are none.
                document = errors.is_empty().then(|| reader.document(table.get_ref()));
            }
            let repeated = users.end(mark);
            if !both.is_empty() || !repeated.is_empty() {
                left.names.extend(both.into_iter().chain(repeated));
                users.forget(mark);
                continue;
            }
            *problems = found;
            let Some(document) = document else {
                users.forget(mark);
                return Self::broken();
            };
            let is_empty = document.is_empty && plain == 0;
            return Self { is_empty, has_passwords: users.has_passwords(mark), ..document };
        }
    }
}

/// The longest text of which TOML reads everything once there is a mistake in it, to tell of all that follows from it: while it
/// does, it takes seventeen times the text. Of longer ones it tells what is wrong with each table that is not plain.
const RECOVERED: usize = 8 << 20;

/// The users of a text beside which plain tables may stand; `None` where its `users` are not tables, so that none may.
fn beside<'d>(table: &'d DeTable<'_>, text: &str) -> Option<HashSet<&'d str>> {
    let Some(users) = table.get("users") else { return Some(HashSet::new()) };
    let is_inline = text.get(users.span().start..).is_some_and(|text| text.starts_with('{'));
    let tables = users.get_ref().as_table().filter(|_| !is_inline)?;
    Some(tables.keys().map(|key| key.get_ref().as_ref()).collect())
}

/// Adds a plain table.
fn list(users: &mut Draft, table: plain::Table<'_>) {
    let plain::Table { name, line, column, roles, password, disabled, only_secrets, rules } = table;
    let (password, spot) = password.unzip();
    let layout = users.layout(column, &roles, spot.as_slice());
    let rules = rules.filter(|rules| !rules.is_empty());
    let attributes = Vec::new();
    users.add(Listing {
        name,
        line,
        layout,
        passwords: password.as_slice(),
        disabled,
        only_secrets,
        attributes,
        rules,
    });
}

impl RuleTable {
    fn is_empty(&self) -> bool {
        let Self {
            client_id,
            publish,
            subscribe,
            receive,
            deny_publish,
            deny_subscribe,
            deny_client_id,
            overlap,
            share,
            api,
            auto_id,
        } = self;
        [publish, subscribe, receive, deny_publish, deny_subscribe, deny_client_id].iter().all(|list| list.is_empty())
            && client_id.is_none()
            && share.is_none()
            && auto_id.is_none()
            && !overlap
            && !api
    }
}

/// Reads typed values, and notes where a file says something else.
struct Reader<'r> {
    file: &'r Arc<Path>,
    lines: Lines<'r>,
    users: &'r mut Draft,
    problems: &'r mut Problems,
}

type Key<'d> = Spanned<DeString<'d>>;
type Value<'d> = Spanned<DeValue<'d>>;

impl Reader<'_> {
    fn document(&mut self, table: &DeTable<'_>) -> Document {
        let mut document = Document { is_empty: table.is_empty(), ..Document::default() };
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "version" => document.version = self.version(value),
                "include" => document.include = self.texts(value, "include").unwrap_or_default(),
                "roles" => document.roles = self.tables(value, "roles", Self::role),
                "users" => self.users(value),
                "anonymous" => {
                    document.anonymous = self
                        .table(value, "anonymous")
                        .map(|table| (self.place(&key.span()), self.rules(table, "[anonymous]", &[])));
                }
                "match" => document.matches = self.blocks(value, "match", Self::match_block),
                "test" => document.tests = self.blocks(value, "test", Self::test_block),
                "logins" => document.logins = self.section(key, value, Self::logins),
                "guard" => document.guard = self.section(key, value, Self::guard),
                other => self.unknown(key, other, "the policy", TOP_KEYS),
            }
        }
        document
    }

    fn version(&mut self, value: &Value<'_>) -> Option<Place> {
        let place = self.place(&value.span());
        match value.get_ref().as_integer().map(|number| number.as_str().to_owned()) {
            Some(number) if number == "1" => return Some(place),
            Some(number) => {
                self.problems.error(place.clone(), format!("version `{number}` is not known (write `version = 1`)"))
            }
            None => self.wrong(value, "version", "a number, `version = 1`"),
        }
        Some(place)
    }

    fn section<T>(
        &mut self,
        key: &Key<'_>,
        value: &Value<'_>,
        read: impl FnOnce(&mut Self, &DeTable<'_>) -> T,
    ) -> Option<(Place, T)> {
        let table = self.table(value, key.get_ref())?;
        Some((self.place(&key.span()), read(self, table)))
    }

    fn logins(&mut self, table: &DeTable<'_>) -> LoginsTable {
        let mut logins = LoginsTable::default();
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "delayed" => logins.delayed = Some(self.flag(value, "delayed")),
                "share" => logins.share = self.number(value, "share", limits::SHARE),
                other => self.unknown(key, other, "`[logins]`", &["delayed", "share"]),
            }
        }
        logins
    }

    fn guard(&mut self, table: &DeTable<'_>) -> GuardTable {
        let mut guard = GuardTable::default();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            match name {
                "trusted" => guard.trusted = self.texts(value, name).unwrap_or_default(),
                "user_failures" => guard.user_failures = self.number(value, name, limits::FAILURES),
                "address_failures" => guard.address_failures = self.number(value, name, limits::FAILURES),
                "minutes" => guard.minutes = self.number(value, name, limits::MINUTES),
                other => {
                    self.unknown(key, other, "`[guard]`", &["trusted", "user_failures", "address_failures", "minutes"]);
                }
            }
        }
        guard
    }

    fn role(&mut self, table: &DeTable<'_>, name: &Text) -> RuleTable {
        self.rules(table, &format!("role `{}`", Escaped(name.value.as_bytes())), &[])
    }

    fn users(&mut self, value: &Value<'_>) {
        self.tables(value, "users", Self::user);
    }

    fn user(&mut self, table: &DeTable<'_>, name: &Text) {
        let what = format!("user `{}`", Escaped(name.value.as_bytes()));
        if name.value.len() > topic::LONGEST {
            let text = format!("{what} has a name of more than {} bytes, which no client can send", topic::LONGEST);
            self.problems.error(name.place.clone(), text);
            return;
        }
        let rules = self.rules(table, &what, USER_KEYS);
        let (mut roles, mut passwords, mut disabled, mut only_secrets) = (Vec::new(), Vec::new(), false, true);
        let mut attributes = Vec::new();
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "password" => passwords = self.one_or_more(value, "password"),
                // What is not a flag was meant to be one, and no doubt favours the user.
                "disabled" => disabled = self.flag(value, "disabled") || value.get_ref().as_bool().is_none(),
                "roles" => {
                    roles = self.texts(value, "roles").unwrap_or_default();
                    only_secrets = false;
                }
                "attributes" => {
                    attributes = self.attributes(value);
                    only_secrets = false;
                }
                _ => only_secrets = false,
            }
        }
        let line = name.place.line;
        let spot = |place: &Place| Spot { down: place.line.wrapping_sub(line), column: place.column };
        let spots: Vec<_> = passwords.iter().map(|password| spot(&password.place)).collect();
        let roles: Vec<_> = roles.iter().map(|role| (role.value.as_str(), spot(&role.place))).collect();
        let layout = self.users.layout(name.place.column, &roles, &spots);
        let passwords: Vec<_> = passwords.iter().take(PASSWORDS).map(|password| password.value.as_str()).collect();
        let rules = (!rules.is_empty()).then(|| Box::new(rules));
        self.users.add(Listing {
            name: &name.value,
            line,
            layout,
            passwords: &passwords,
            disabled,
            only_secrets,
            attributes,
            rules,
        });
    }

    fn attributes(&mut self, value: &Value<'_>) -> Vec<(Text, Text)> {
        let mut attributes = Vec::new();
        let Some(table) = value.get_ref().as_table() else {
            self.wrong(value, "attributes", "a table of texts, `attributes = { site = \"bne\" }`");
            return attributes;
        };
        for (key, value) in table {
            let name = Located { value: key.get_ref().to_string(), place: self.place(&key.span()) };
            let what = format!("attributes.{}", Escaped(name.value.as_bytes()));
            if let Some(text) = self.text(value, &what) {
                attributes.push((name, text));
            }
        }
        attributes
    }

    /// Reads the keys of a rule set; `beside` names the further keys of its table, which somebody else reads.
    fn rules(&mut self, table: &DeTable<'_>, what: &str, beside: &[&str]) -> RuleTable {
        let mut rules = RuleTable::default();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            match name {
                "client_id" => {
                    let place = self.place(&value.span());
                    rules.client_id = self.texts(value, name).map(|value| Located { value, place });
                }
                "publish" => rules.publish = self.texts(value, name).unwrap_or_default(),
                "subscribe" => rules.subscribe = self.texts(value, name).unwrap_or_default(),
                "receive" => rules.receive = self.texts(value, name).unwrap_or_default(),
                "overlap" => rules.overlap = self.flag(value, name),
                "share" => rules.share = self.texts(value, name),
                "api" => rules.api = self.flag(value, name),
                "auto_id" => rules.auto_id = Some(self.flag(value, name)),
                "deny" => {
                    if let Some(table) = self.table(value, "deny") {
                        self.denies(table, &mut rules);
                    }
                }
                _ if beside.contains(&name) => {}
                _ => {
                    let known: Vec<_> = beside.iter().chain(RULE_KEYS).copied().collect();
                    self.unknown(key, name, what, &known);
                }
            }
        }
        rules
    }

    fn denies(&mut self, table: &DeTable<'_>, rules: &mut RuleTable) {
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "publish" => rules.deny_publish = self.texts(value, "deny.publish").unwrap_or_default(),
                "subscribe" => rules.deny_subscribe = self.texts(value, "deny.subscribe").unwrap_or_default(),
                "client_id" => rules.deny_client_id = self.texts(value, "deny.client_id").unwrap_or_default(),
                "receive" => {
                    let place = self.place(&key.span());
                    self.problems.error(
                        place,
                        "`deny.receive` is not a key (write `deny.subscribe`, which also denies deliveries)",
                    );
                }
                other => self.unknown(key, other, "`deny`", &["publish", "subscribe", "client_id"]),
            }
        }
    }

    fn match_block(&mut self, table: &DeTable<'_>, place: Place) -> MatchTable {
        let before = self.problems.errors();
        let mut block = MatchTable { place, username: Vec::new(), roles: Vec::new(), unlisted: None, is_broken: false };
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "username" => block.username = self.one_or_more(value, "username"),
                "roles" => block.roles = self.texts(value, "roles").unwrap_or_default(),
                "unlisted" => block.unlisted = self.flag(value, "unlisted").then(|| self.place(&value.span())),
                other => self.unknown(key, other, "`[[match]]`", &["username", "roles", "unlisted"]),
            }
        }
        block.is_broken = self.problems.errors() > before;
        block
    }

    fn test_block(&mut self, table: &DeTable<'_>, place: Place) -> TestTable {
        let before = self.problems.errors();
        let mut test = TestTable {
            place,
            user: None,
            anonymous: false,
            client_id: None,
            can: Vec::new(),
            cannot: Vec::new(),
            is_broken: false,
        };
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "user" => test.user = self.text(value, "user"),
                "anonymous" => test.anonymous = self.flag(value, "anonymous"),
                "client_id" => test.client_id = self.text(value, "client_id"),
                "can" => test.can = self.deeds(value, "can"),
                "cannot" => test.cannot = self.deeds(value, "cannot"),
                other => self.unknown(key, other, "`[[test]]`", &["user", "anonymous", "client_id", "can", "cannot"]),
            }
        }
        test.is_broken = self.problems.errors() > before;
        test
    }

    fn deeds(&mut self, value: &Value<'_>, what: &str) -> Vec<Located<Deed>> {
        let mut deeds = Vec::new();
        let Some(table) = self.table(value, what) else { return deeds };
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let deed: fn(Box<str>) -> Deed = match name {
                "connect" => {
                    let place = self.place(&value.span());
                    match value.get_ref().as_bool() {
                        Some(true) => deeds.push(Located { value: Deed::Connect, place }),
                        _ => self.wrong(value, "connect", "`true`; what must not be goes under `cannot`"),
                    }
                    continue;
                }
                "publish" => Deed::Publish,
                "subscribe" => Deed::Subscribe,
                "receive" => Deed::Receive,
                other => {
                    self.unknown(key, other, format!("`{what}`"), &["connect", "publish", "subscribe", "receive"]);
                    continue;
                }
            };
            let texts = self.texts(value, name).unwrap_or_default();
            deeds.extend(texts.into_iter().map(|text| Located { value: deed(text.value.into()), place: text.place }));
        }
        deeds
    }

    /// A table of tables: `[what.NAME]`.
    fn tables<T>(
        &mut self,
        value: &Value<'_>,
        what: &str,
        mut read: impl FnMut(&mut Self, &DeTable<'_>, &Text) -> T,
    ) -> Vec<(Text, T)> {
        let mut tables = Vec::new();
        let Some(table) = self.table(value, what) else { return tables };
        // TOML's tables come sorted by their keys; a person reads down the file.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let name = Located { value: key.get_ref().to_string(), place: self.place(&key.span()) };
            if let Some(table) = self.table(value, &format!("{what}.{}", Escaped(name.value.as_bytes()))) {
                let table = read(self, table, &name);
                tables.push((name, table));
            }
        }
        tables
    }

    /// An array of tables: `[[what]]`.
    fn blocks<T>(
        &mut self,
        value: &Value<'_>,
        what: &str,
        mut read: impl FnMut(&mut Self, &DeTable<'_>, Place) -> T,
    ) -> Vec<T> {
        let mut blocks = Vec::new();
        let Some(array) = value.get_ref().as_array() else {
            self.wrong(value, what, &format!("blocks headed `[[{what}]]`"));
            return blocks;
        };
        for item in array.iter() {
            match item.get_ref().as_table() {
                Some(table) => {
                    let place = self.place(&item.span());
                    blocks.push(read(self, table, place));
                }
                None => self.wrong(item, what, &format!("blocks headed `[[{what}]]`")),
            }
        }
        blocks
    }

    fn table<'d>(&mut self, value: &'d Value<'_>, what: &str) -> Option<&'d DeTable<'d>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong(value, what, "a table");
        }
        table
    }

    fn flag(&mut self, value: &Value<'_>, what: &str) -> bool {
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.wrong(value, what, "`true` or `false`");
            false
        })
    }

    fn number(&mut self, value: &Value<'_>, what: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let wanted = format!("a number from {} to {}", range.start(), range.end());
        let Some(number) = value.get_ref().as_integer() else {
            self.wrong(value, what, &wanted);
            return None;
        };
        let read = i64::from_str_radix(number.as_str(), number.radix());
        let fits = read.as_ref().ok().and_then(|read| u32::try_from(*read).ok()).filter(|read| range.contains(read));
        if fits.is_none() {
            let place = self.place(&value.span());
            let text = read.map_or_else(|_| number.as_str().to_owned(), |read| read.to_string());
            self.problems.error(place, format!("`{what}` is `{}` (write {wanted})", Escaped(text.as_bytes())));
        }
        fits
    }

    fn text(&mut self, value: &Value<'_>, what: &str) -> Option<Text> {
        match value.get_ref().as_str() {
            Some(text) => Some(Located { value: text.to_owned(), place: self.place(&value.span()) }),
            None => {
                self.wrong(value, what, "a text in quotes");
                None
            }
        }
    }

    fn texts(&mut self, value: &Value<'_>, what: &str) -> Option<Vec<Text>> {
        match value.get_ref().as_array() {
            Some(array) => Some(self.items(array, what)),
            None => {
                let example = match value.get_ref().as_str() {
                    Some(text) => format!("a list of texts, `{} = [\"{}\"]`", what, Escaped(text.as_bytes())),
                    None => "a list of texts, `[\"...\"]`".to_owned(),
                };
                self.wrong(value, what, &example);
                None
            }
        }
    }

    fn one_or_more(&mut self, value: &Value<'_>, what: &str) -> Vec<Text> {
        match value.get_ref().as_array() {
            Some(array) => self.items(array, what),
            None => self.text(value, what).into_iter().collect(),
        }
    }

    fn items(&mut self, array: &DeArray<'_>, what: &str) -> Vec<Text> {
        array.iter().filter_map(|item| self.text(item, what)).collect()
    }

    fn wrong(&mut self, value: &Value<'_>, what: &str, wanted: &str) {
        let place = self.place(&value.span());
        let kind = value.get_ref().type_str();
        self.problems.error(place, format!("`{what}` is of type {kind} (write {wanted})"));
    }

    fn unknown(&mut self, key: &Key<'_>, name: &str, what: impl Display, known: &[&str]) {
        let remedy = match self.problems.nearest(name, known.iter().copied()) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("known are `{}`", known.join("`, `")),
        };
        let place = self.place(&key.span());
        self.problems.error(place, format!("`{}` is not a key of {what} ({remedy})", Escaped(name.as_bytes())));
    }

    fn place(&self, span: &Range<usize>) -> Place {
        self.lines.place(self.file, span.start)
    }
}

/// Where the lines of a text begin, and which they are in the file.
struct Lines<'t> {
    text: &'t str,
    starts: &'t [(usize, u32)],
}

impl<'t> Lines<'t> {
    fn of(rest: &'t Rest<'_>) -> Self {
        Self { text: &rest.text, starts: &rest.lines }
    }

    fn place(&self, file: &Arc<Path>, offset: usize) -> Place {
        let number = self.starts.partition_point(|(start, _)| *start <= offset);
        let (start, line) = number.checked_sub(1).and_then(|at| self.starts.get(at)).copied().unwrap_or((0, 1));
        let before = self.text.get(start..offset).unwrap_or_default();
        // No editor counts the mark that some begin a file with.
        let before = before.strip_prefix('\u{feff}').unwrap_or(before);
        Place { file: Arc::clone(file), line, column: u32::try_from(before.chars().count() + 1).unwrap_or(u32::MAX) }
    }
}

#[cfg(test)]
mod tests;
