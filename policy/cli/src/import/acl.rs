//! `acl_file`, as Mosquitto 2.0 and 2.1 read it and decide by it, and its likeness in mosquitto-go-auth's `files` backend.
//!
//! This is reference code: it says in plain words what the broker does, so that what becomes of a file can be held against
//! it. It reads strictly: what a broker would refuse, or take for something that nobody means, is a problem.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use mqtt_acl_policy::{Client, Escaped, Place, Problem, Severity, is_topic_filter};

/// Whose reading of the file counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Mosquitto 2.0: `%u` and `%c` are replaced wherever they stand, and what comes of it is a filter.
    V2_0,
    /// Mosquitto 2.1: `%u` and `%c` are whole levels, compared as they are.
    V2_1,
    /// mosquitto-go-auth with its `files` backend alone.
    GoAuth,
}

impl Dialect {
    /// Its name, for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V2_0 => "Mosquitto 2.0",
            Self::V2_1 => "Mosquitto 2.1",
            Self::GoAuth => "mosquitto-go-auth",
        }
    }
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// To be handed a message.
    Read,
    /// To publish.
    Write,
    /// To subscribe.
    Subscribe,
}

/// What a line grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grant {
    /// Nothing: it denies.
    Deny,
    /// These.
    Allow {
        /// Being handed messages.
        read: bool,
        /// Publishing.
        write: bool,
        /// Subscribing, and nothing else; go-auth only.
        subscribe: bool,
    },
}

impl Grant {
    const READ: Self = Self::Allow { read: true, write: false, subscribe: false };
    const WRITE: Self = Self::Allow { read: false, write: true, subscribe: false };
    const READ_WRITE: Self = Self::Allow { read: true, write: true, subscribe: false };
    const SUBSCRIBE: Self = Self::Allow { read: false, write: false, subscribe: true };

    /// Whether it grants this access to a topic.
    #[must_use]
    pub fn covers(self, access: Access) -> bool {
        match (self, access) {
            (Self::Deny, _) => false,
            (Self::Allow { read, .. }, Access::Read) => read,
            (Self::Allow { write, .. }, Access::Write) => write,
            (Self::Allow { subscribe, .. }, Access::Subscribe) => subscribe,
        }
    }
}

/// The number of a rule.
pub type RuleNumber = usize;

/// A line that grants or denies.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The topic filter.
    pub filter: String,
    /// What it grants.
    pub grant: Grant,
    /// Whether `%u` and `%c` stand for something in it.
    pub is_pattern: bool,
    /// Where it stands.
    pub line: u32,
}

/// The rules of one user, and what stands above them.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Its rules, in the order of the file.
    pub rules: Vec<RuleNumber>,
    /// The comment above it.
    pub comment: Vec<String>,
    /// Where it begins.
    pub line: u32,
}

/// A file that was read.
#[derive(Clone, Debug)]
pub struct AclFile {
    /// Its name.
    pub file: Arc<Path>,
    /// Whose reading it is.
    pub dialect: Dialect,
    /// All its rules.
    pub rules: Vec<Rule>,
    /// The users' sections, by name.
    pub users: HashMap<String, Section>,
    /// The names of the users, in the order of the file.
    pub order: Vec<String>,
    /// Rules of clients without a user name.
    pub anonymous: Vec<RuleNumber>,
    /// Rules that everybody has.
    pub common: Section,
}

/// What decided, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A rule did.
    Rule(bool),
    /// No rule did, and that means this.
    Default(bool),
}

impl Verdict {
    /// Whether the answer is yes.
    #[must_use]
    pub fn is_allow(self) -> bool {
        matches!(self, Self::Rule(true) | Self::Default(true))
    }
}

/// In which points a file is read otherwise than by its broker, to account for what a policy says otherwise.
#[derive(Clone, Copy)]
pub struct Deviations<'d> {
    /// Rules that do not count for this user name.
    pub left_out: &'d dyn Fn(RuleNumber, Option<&[u8]>) -> bool,
    /// A deny of everybody's rules wins over what the user's own rules grant.
    pub deny_wins: bool,
    /// Patterns also count for names and client ids with wildcards in them, which they never match.
    pub wildcard_names: bool,
    /// A wildcard at the first level does not match what begins with `$`.
    pub hidden_topics: bool,
}

impl std::fmt::Debug for Deviations<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deviations").field("deny_wins", &self.deny_wins).finish_non_exhaustive()
    }
}

impl Deviations<'_> {
    /// As the broker reads it.
    pub const NONE: Deviations<'static> =
        Deviations { left_out: &|_, _| false, deny_wins: false, wildcard_names: false, hidden_topics: false };
}

impl AclFile {
    /// What the broker answers.
    #[must_use]
    pub fn decide(&self, client: &Client<'_>, access: Access, topic: &[u8]) -> Verdict {
        self.decide_as(self.dialect, client, access, topic, &Deviations::NONE)
    }

    /// What a broker of this dialect answers, or would if it read the file in this other way.
    #[must_use]
    pub fn decide_as(
        &self,
        dialect: Dialect,
        client: &Client<'_>,
        access: Access,
        topic: &[u8],
        deviations: &Deviations<'_>,
    ) -> Verdict {
        let matches = |number: RuleNumber| {
            self.rules.get(number).is_some_and(|rule| {
                !(deviations.left_out)(number, client.user)
                    && concrete(rule, dialect, client).is_some_and(|filter| {
                        matches(&filter, topic, dialect != Dialect::GoAuth || deviations.hidden_topics)
                    })
            })
        };
        let denies = |number: RuleNumber| self.grant(number) == Some(Grant::Deny) && matches(number);
        let grants = |number: RuleNumber| {
            self.grant(number).is_some_and(|grant| {
                grant.covers(access) || (access == Access::Subscribe && dialect.subscribes(grant, topic))
            }) && matches(number)
        };
        if dialect != Dialect::GoAuth && access == Access::Subscribe {
            return Verdict::Default(true);
        }
        let own: &[RuleNumber] = match client.user.map(std::str::from_utf8) {
            None if dialect == Dialect::GoAuth => &[],
            None => &self.anonymous,
            Some(name) => name.ok().and_then(|name| self.users.get(name)).map_or(&[], |section| &section.rules),
        };
        let common = &self.common.rules;
        let own_denies = own.iter().any(|number| denies(*number));
        let common_denies = || common.iter().any(|number| denies(*number));
        if own_denies || ((dialect == Dialect::GoAuth || deviations.deny_wins) && common_denies()) {
            return Verdict::Rule(false);
        }
        if own.iter().any(|number| grants(*number)) {
            return Verdict::Rule(true);
        }
        if dialect != Dialect::GoAuth && !common.is_empty() && !deviations.wildcard_names {
            let has_wildcard = |name: &[u8]| name.iter().any(|b| matches!(b, b'+' | b'#'));
            if client.user.is_some_and(has_wildcard) || has_wildcard(client.id) {
                return Verdict::Rule(false);
            }
        }
        if common_denies() {
            return Verdict::Rule(false);
        }
        if common.iter().any(|number| grants(*number)) { Verdict::Rule(true) } else { Verdict::Default(false) }
    }

    /// The filters that decide what this client may do, as this dialect reads them.
    #[must_use]
    pub fn filters(&self, dialect: Dialect, client: &Client<'_>) -> Vec<Vec<u8>> {
        let own: &[RuleNumber] = match client.user.map(std::str::from_utf8) {
            None => &self.anonymous,
            Some(name) => name.ok().and_then(|name| self.users.get(name)).map_or(&[], |section| &section.rules),
        };
        let rules = own.iter().chain(&self.common.rules).filter_map(|number| self.rules.get(*number));
        rules.filter_map(|rule| concrete(rule, dialect, client)).filter(|filter| is_topic_filter(filter)).collect()
    }

    fn grant(&self, number: RuleNumber) -> Option<Grant> {
        self.rules.get(number).map(|rule| rule.grant)
    }

    /// Where a rule stands, for people.
    #[must_use]
    pub fn place(&self, number: RuleNumber) -> Place {
        let line = self.rules.get(number).map_or(0, |rule| rule.line);
        Place { file: Arc::clone(&self.file), line, column: 1 }
    }
}

impl Dialect {
    /// Whether a line that is not about subscribing lets a client subscribe.
    fn subscribes(self, grant: Grant, filter: &[u8]) -> bool {
        match grant {
            Grant::Deny => false,
            // go-auth's `readwrite` is everything; its `read` subscribes to anything but `#`.
            Grant::Allow { read, write, .. } => self == Self::GoAuth && read && (write || filter != b"#"),
        }
    }
}

/// The filter that a rule is for this client; none where it does not count.
fn concrete(rule: &Rule, dialect: Dialect, client: &Client<'_>) -> Option<Vec<u8>> {
    let text = rule.filter.as_bytes();
    // go-auth replaces in the lines of everybody, whether they say `topic` or `pattern`.
    if !rule.is_pattern {
        return Some(text.to_vec());
    }
    let user = client.user.unwrap_or_default();
    match dialect {
        Dialect::GoAuth => Some(replace(&replace(text, b"%c", client.id), b"%u", user)),
        _ if contains(text, b"%u") && client.user.is_none() => None,
        Dialect::V2_0 => Some(replace(&replace(text, b"%c", client.id), b"%u", user)),
        Dialect::V2_1 => {
            let mut filter = Vec::new();
            for (at, level) in text.split(|b| *b == b'/').enumerate() {
                if at > 0 {
                    filter.push(b'/');
                }
                let name = match level {
                    b"%u" => user,
                    b"%c" => client.id,
                    level => {
                        filter.extend_from_slice(level);
                        continue;
                    }
                };
                // One level of a topic is never empty-named, nor more than one level. A rule that begins with a name does not
                // begin with `$`, whatever the name.
                if name.is_empty() || name.contains(&b'/') || (at == 0 && name.first() == Some(&b'$')) {
                    return None;
                }
                filter.extend_from_slice(name);
            }
            Some(filter)
        }
    }
}

pub(crate) fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Every occurrence, from left to right.
pub(crate) fn replace(text: &[u8], part: &[u8], by: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.first() {
        match rest.strip_prefix(part) {
            Some(after) => {
                result.extend_from_slice(by);
                rest = after;
            }
            None => {
                result.push(*first);
                rest = rest.get(1..).unwrap_or_default();
            }
        }
    }
    result
}

/// Whether the topic, or the filter that is taken for one, is matched.
fn matches(filter: &[u8], topic: &[u8], hides_reserved: bool) -> bool {
    let is_reserved = |text: &[u8]| text.first() == Some(&b'$');
    if hides_reserved && is_reserved(filter) != is_reserved(topic) {
        return false;
    }
    let mut topic = topic.split(|b| *b == b'/');
    let mut levels = filter.split(|b| *b == b'/').peekable();
    while let Some(level) = levels.next() {
        if level == b"#" {
            return levels.peek().is_none();
        }
        match topic.next() {
            Some(text) if level == b"+" || level == text => {}
            _ => return false,
        }
    }
    topic.next().is_none()
}

/// Reads a file.
///
/// # Errors
/// All its problems.
pub fn read(text: &[u8], file: &Arc<Path>, dialect: Dialect) -> Result<AclFile, Vec<Problem>> {
    let acl = AclFile {
        file: Arc::clone(file),
        dialect,
        rules: Vec::new(),
        users: HashMap::new(),
        order: Vec::new(),
        anonymous: Vec::new(),
        common: Section::default(),
    };
    let mut reader = Reader { acl, user: None, comment: Vec::new(), problems: Vec::new(), line: 0 };
    for line in text.split(|b| *b == b'\n') {
        reader.line += 1;
        match std::str::from_utf8(line) {
            Ok(line) => reader.line(line),
            Err(_) => reader.problem("the line is not UTF-8, as topics and names must be"),
        }
    }
    if reader.problems.is_empty() { Ok(reader.acl) } else { Err(reader.problems) }
}

struct Reader {
    acl: AclFile,
    user: Option<String>,
    comment: Vec<String>,
    problems: Vec<Problem>,
    line: u32,
}

/// What C's `isspace` takes for a blank.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r')
}

impl Reader {
    fn problem(&mut self, text: impl Into<String>) {
        let place = Place { file: Arc::clone(&self.acl.file), line: self.line, column: 1 };
        self.problems.push(Problem { place, severity: Severity::Error, text: text.into() });
    }

    fn line(&mut self, line: &str) {
        let is_go = self.acl.dialect == Dialect::GoAuth;
        let line = line.trim_end_matches(is_blank);
        if let Some(comment) = line.strip_prefix('#') {
            self.comment.push(comment.trim().to_owned());
            return;
        }
        let line = if is_go { line.trim_matches(is_blank) } else { line.trim_start_matches(' ') };
        if line.is_empty() {
            // A blank line takes a comment away from what is below it.
            self.comment.clear();
            return;
        }
        let word_end = |c: char| c == ' ' || (is_go && is_blank(c));
        let (word, rest) = line.split_once(word_end).unwrap_or((line, ""));
        match word {
            "user" => self.user(rest.trim_matches(is_blank)),
            "topic" | "pattern" => self.rule(word, rest.trim_start_matches(word_end)),
            _ => {
                let shown = Escaped(word.as_bytes()).to_string();
                let hint = if word.contains('\t') {
                    "a tab does not end a word here: write a space"
                } else {
                    "write `user`, `topic` or `pattern`, or `#` at the very beginning for a comment"
                };
                self.problem(format!("`{shown}` does not begin a line of such a file ({hint})"));
            }
        }
    }

    fn user(&mut self, name: &str) {
        if name.is_empty() {
            self.problem("`user` needs a name");
            return;
        }
        if name.chars().any(char::is_control) {
            let shown = Escaped(name.as_bytes()).to_string();
            self.problem(format!("`{shown}` holds a control character, which no user name may"));
            return;
        }
        let comment = std::mem::take(&mut self.comment);
        if !self.acl.users.contains_key(name) {
            self.acl.order.push(name.to_owned());
        }
        let line = self.line;
        let section = self.acl.users.entry(name.to_owned()).or_insert_with(|| Section { line, ..Section::default() });
        section.comment.extend(comment);
        self.user = Some(name.to_owned());
    }

    fn rule(&mut self, kind: &str, rest: &str) {
        let is_go = self.acl.dialect == Dialect::GoAuth;
        let word_end = |c: char| c == ' ' || (is_go && is_blank(c));
        let (grant, filter) = match rest.split_once(word_end) {
            None => (Grant::READ_WRITE, rest),
            Some((word, filter)) => {
                let grant = match word {
                    "read" => Grant::READ,
                    "write" => Grant::WRITE,
                    "readwrite" => Grant::READ_WRITE,
                    "deny" => Grant::Deny,
                    "subscribe" if is_go => Grant::SUBSCRIBE,
                    _ => {
                        let shown = Escaped(word.as_bytes()).to_string();
                        self.problem(format!(
                            "`{shown}` is no access (write `read`, `write`, `readwrite` or `deny` before a topic that holds a \
                             space)"
                        ));
                        return;
                    }
                };
                (grant, filter.trim_matches(is_blank))
            }
        };
        if filter.is_empty() {
            self.problem(format!("`{kind}` needs a topic"));
            return;
        }
        if !is_topic_filter(filter.as_bytes()) || filter.bytes().filter(|b| *b == b'/').count() > 200 {
            let shown = Escaped(filter.as_bytes()).to_string();
            self.problem(format!("`{shown}` is not a topic filter (a wildcard is a whole level, and `#` the last)"));
            return;
        }
        let is_common = kind == "pattern" || (is_go && self.user.is_none());
        let number = self.acl.rules.len();
        let comment = std::mem::take(&mut self.comment);
        self.acl.rules.push(Rule { filter: filter.to_owned(), grant, is_pattern: is_common, line: self.line });
        let section = if is_common {
            Some(&mut self.acl.common)
        } else {
            self.user.as_ref().and_then(|user| self.acl.users.get_mut(user))
        };
        match section {
            Some(section) => {
                section.rules.push(number);
                section.comment.extend(comment);
            }
            None => self.acl.anonymous.push(number),
        }
    }
}
