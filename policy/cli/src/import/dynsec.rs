//! dynamic-security: its file, how it decides, and the policy that comes of it.
//!
//! It looks through the roles of a client in the order of their priority, then through those of its groups, and in each
//! role through the rules in the order of theirs; the first that fits decides. What it says about being handed messages and
//! about subscribing is told apart, and what no rule speaks of is as `defaultACLAccess` says: usually nobody publishes or
//! subscribes, and everybody is handed what it has subscribed to.

mod file;
mod translate;

use std::collections::{BTreeMap, HashMap, HashSet};

use mqtt_acl_policy::{Client, Problem};

use crate::acl::{Access, Dialect, Verdict};
use crate::check::{Cause, Source};
use crate::draft::Draft;

pub use file::read;
pub use translate::import;

/// The file.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub(crate) file: Option<std::sync::Arc<std::path::Path>>,
    pub(crate) roles: BTreeMap<String, Role>,
    pub(crate) groups: BTreeMap<String, Group>,
    /// In the order of the file.
    pub(crate) clients: Vec<User>,
    pub(crate) by_name: HashMap<String, usize>,
    pub(crate) anonymous_group: Option<String>,
    pub(crate) defaults: Defaults,
}

/// `defaultACLAccess`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Defaults {
    pub(crate) send: bool,
    pub(crate) receive: bool,
    pub(crate) subscribe: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Role {
    pub(crate) line: u32,
    pub(crate) comment: Vec<String>,
    pub(crate) wildcards: bool,
    /// Highest priority first.
    pub(crate) send: Vec<Acl>,
    pub(crate) receive: Vec<Acl>,
    pub(crate) literal: Vec<Acl>,
    pub(crate) pattern: Vec<Acl>,
}

#[derive(Clone, Debug)]
pub(crate) struct Acl {
    pub(crate) topic: String,
    pub(crate) allow: bool,
    pub(crate) priority: i64,
    pub(crate) line: u32,
}

/// Names in the order in which they count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) roles: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) line: u32,
    pub(crate) comment: Vec<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) disabled: bool,
    pub(crate) password: Option<String>,
    /// Its own roles, and then those of its groups.
    pub(crate) roles: Vec<String>,
}

/// Which list of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Send,
    Receive,
    Literal,
    Pattern,
}

/// A rule: its role, its list, and its number there.
pub(crate) type RuleId = (String, Kind, usize);

/// A policy that was made from the file, and all that is needed to hold it against it.
#[derive(Debug)]
pub struct Import {
    pub(crate) config: Config,
    /// The policy.
    pub draft: Draft,
    /// What somebody should know, where it stands in the file.
    pub notes: Vec<Problem>,
    /// Whose readings count. The first is the one that the policy follows.
    pub(crate) dialects: Vec<Dialect>,
    pub(crate) left_out: HashSet<RuleId>,
    pub(crate) left_out_for: HashSet<(String, RuleId)>,
    /// Denies that the policy has, for the roles together that have them.
    pub(crate) hoisted: HashMap<Vec<String>, HashSet<RuleId>>,
    pub(crate) overlap: bool,
    pub(crate) bind: bool,
}

/// In which points the file is read otherwise than by its broker.
#[derive(Clone, Copy, Debug, Default)]
struct Deviations {
    left_out: bool,
    hoist: bool,
    /// Only what may be subscribed to is handed out, where no rule speaks of it.
    default: bool,
}

impl Config {
    pub(crate) fn roles_of(&self, user: Option<&[u8]>) -> Option<&[String]> {
        match user {
            None => {
                let group = self.groups.get(self.anonymous_group.as_ref()?)?;
                Some(&group.roles)
            }
            Some(name) => {
                let at = self.by_name.get(std::str::from_utf8(name).ok()?)?;
                self.clients.get(*at).map(|client| client.roles.as_slice())
            }
        }
    }

    fn user(&self, name: &[u8]) -> Option<&User> {
        self.clients.get(*self.by_name.get(std::str::from_utf8(name).ok()?)?)
    }

    /// The rules of one kind, in the order in which they count.
    pub(crate) fn rules<'c>(&'c self, roles: &'c [String], kind: Kind) -> impl Iterator<Item = (RuleId, &'c Acl)> {
        roles.iter().filter_map(|name| Some((name, self.roles.get(name)?))).flat_map(move |(name, role)| {
            role.list(kind).iter().enumerate().map(move |(number, acl)| ((name.clone(), kind, number), acl))
        })
    }

    /// What the broker answers.
    #[must_use]
    pub fn decide(&self, dialect: Dialect, client: &Client<'_>, access: Access, topic: &[u8]) -> Verdict {
        let Some(roles) = self.roles_of(client.user) else {
            let known = client.user.is_none();
            return if known { self.by_default(access, topic) } else { Verdict::Default(false) };
        };
        let kind = match access {
            Access::Write => Kind::Send,
            Access::Read => Kind::Receive,
            Access::Subscribe => return self.subscribe(dialect, roles, client, topic),
        };
        let found = self.rules(roles, kind).find(|(_, acl)| matches(&acl.topic, topic, client, dialect, false));
        found.map_or_else(|| self.by_default(access, topic), |(_, acl)| Verdict::Rule(acl.allow))
    }

    /// The texts that rules name as levels.
    pub(crate) fn levels(&self) -> HashSet<&str> {
        let lists = self.roles.values().flat_map(|role| [&role.send, &role.receive, &role.literal, &role.pattern]);
        lists.flatten().flat_map(|acl| acl.topic.split('/')).collect()
    }

    fn subscribe(&self, dialect: Dialect, roles: &[String], client: &Client<'_>, filter: &[u8]) -> Verdict {
        let has_wildcard = filter.iter().any(|b| matches!(b, b'+' | b'#'));
        for role in roles.iter().filter_map(|name| self.roles.get(name)) {
            if !role.wildcards && has_wildcard && dialect == Dialect::V2_1 {
                return Verdict::Rule(false);
            }
            let literal = role.literal.iter().find(|acl| acl.topic.as_bytes() == filter);
            let pattern = || role.pattern.iter().find(|acl| matches(&acl.topic, filter, client, dialect, true));
            if let Some(acl) = literal.or_else(pattern) {
                return Verdict::Rule(acl.allow);
            }
        }
        self.by_default(Access::Subscribe, filter)
    }

    fn by_default(&self, access: Access, topic: &[u8]) -> Verdict {
        let allows = match access {
            Access::Write => self.defaults.send,
            Access::Read => self.defaults.receive,
            Access::Subscribe => self.defaults.subscribe,
        };
        Verdict::Default(allows && !topic.starts_with(b"$CONTROL"))
    }
}

impl Role {
    pub(crate) fn list(&self, kind: Kind) -> &[Acl] {
        match kind {
            Kind::Send => &self.send,
            Kind::Receive => &self.receive,
            Kind::Literal => &self.literal,
            Kind::Pattern => &self.pattern,
        }
    }
}

/// Whether a rule is about the topic or, if it is about a filter, contains it: `+` contains `+`, and only `#` contains `#`.
pub(crate) fn matches(rule: &str, topic: &[u8], client: &Client<'_>, dialect: Dialect, is_filter: bool) -> bool {
    if is_filter && dialect == Dialect::V2_0 {
        return contains(rule.as_bytes(), topic);
    }
    let is_reserved = |text: &[u8]| text.first() == Some(&b'$');
    if is_reserved(rule.as_bytes()) != is_reserved(topic) {
        return false;
    }
    let mut topic = topic.split(|b| *b == b'/');
    for level in rule.split('/') {
        if level == "#" {
            return true;
        }
        let Some(text) = topic.next() else { return false };
        let fits = match level {
            "+" => !(is_filter && text == b"#"),
            "%u" | "%c" if dialect == Dialect::V2_1 => {
                let name = if level == "%u" { client.user } else { Some(client.id) };
                name.is_some_and(|name| !name.is_empty() && name == text && !(is_filter && matches!(name, b"+" | b"#")))
            }
            level => level.as_bytes() == text,
        };
        if !fits {
            return false;
        }
    }
    topic.next().is_none()
}

/// The same for filters as 2.0 sees it: level by level, `#` at the end apart, and whatever begins with `$`.
fn contains(rule: &[u8], filter: &[u8]) -> bool {
    if rule == b"#" {
        return true;
    }
    let without_rest = |text: &[u8]| -> (Vec<Vec<u8>>, bool) {
        let stem = if text == b"#" { Some(&b""[..]) } else { text.strip_suffix(b"/#") };
        (stem.unwrap_or(text).split(|b| *b == b'/').map(<[u8]>::to_vec).collect(), stem.is_some())
    };
    let ((rule, rule_rest), (filter, filter_rest)) = (without_rest(rule), without_rest(filter));
    (rule_rest || (!filter_rest && rule.len() == filter.len()))
        && rule.len() <= filter.len()
        && rule.iter().zip(&filter).all(|(level, text)| level == b"+" || level == text)
}

impl Import {
    fn dialect(&self) -> Dialect {
        self.dialects.first().copied().unwrap_or(Dialect::V2_1)
    }

    fn is_left_out(&self, rule: &RuleId, user: Option<&[u8]>) -> bool {
        self.left_out.contains(rule)
            || user.is_some_and(|name| {
                let name = String::from_utf8_lossy(name).into_owned();
                !self.left_out_for.is_empty() && self.left_out_for.contains(&(name, rule.clone()))
            })
    }

    /// What a broker would answer about a topic that deviated so.
    fn decide(
        &self,
        dialect: Dialect,
        client: &Client<'_>,
        access: Access,
        topic: &[u8],
        deviations: Deviations,
    ) -> bool {
        let Some(roles) = self.config.roles_of(client.user) else { return false };
        let rules = |kind: Kind| {
            self.config
                .rules(roles, kind)
                .filter(|(id, _)| !(deviations.left_out && self.is_left_out(id, client.user)))
                .filter(|(_, acl)| matches(&acl.topic, topic, client, dialect, false))
        };
        let kind = if access == Access::Write { Kind::Send } else { Kind::Receive };
        if deviations.hoist {
            let hoisted = self.hoisted.get(roles);
            let is_hoisted = |id: &RuleId| hoisted.is_some_and(|hoisted| hoisted.contains(id));
            let subscribing = [Kind::Literal, Kind::Pattern].into_iter().filter(|_| access == Access::Read);
            if std::iter::once(kind).chain(subscribing).flat_map(rules).any(|(id, _)| is_hoisted(&id)) {
                return false;
            }
        }
        if let Some((_, acl)) = rules(kind).next() {
            return acl.allow;
        }
        let by_default = self.config.by_default(access, topic).is_allow();
        if !deviations.default || !by_default {
            return by_default;
        }
        // `#`, which stands for what is open to all, does not reach `$`; and nothing is handed out that nobody asked for.
        let is_open = topic.first() != Some(&b'$');
        match access {
            Access::Write => is_open,
            _ => (self.config.defaults.subscribe && is_open) || self.grants_subscription(client, topic),
        }
    }

    /// Whether some rule lets the client subscribe to it, denies apart.
    fn grants_subscription(&self, client: &Client<'_>, topic: &[u8]) -> bool {
        let Some(roles) = self.config.roles_of(client.user) else { return false };
        [Kind::Literal, Kind::Pattern].into_iter().any(|kind| {
            self.config.rules(roles, kind).any(|(id, acl)| {
                acl.allow
                    && !self.is_left_out(&id, client.user)
                    && matches(&acl.topic, topic, client, self.dialect(), false)
            })
        })
    }
}

impl Source for Import {
    fn readings(&self) -> Vec<&'static str> {
        self.dialects.iter().map(|dialect| dialect.name()).collect()
    }

    fn filters(&self, client: &Client<'_>) -> Vec<Vec<u8>> {
        let mut filters = vec![b"$CONTROL/#".to_vec(), b"$CONTROLx/#".to_vec()];
        let Some(roles) = self.config.roles_of(client.user) else { return filters };
        for kind in [Kind::Send, Kind::Receive, Kind::Literal, Kind::Pattern] {
            for (_, acl) in self.config.rules(roles, kind) {
                for dialect in &self.dialects {
                    let name = |level: &str| -> Option<Vec<u8>> {
                        match level {
                            "%u" if *dialect == Dialect::V2_1 => client.user.map(<[u8]>::to_vec),
                            "%c" if *dialect == Dialect::V2_1 => Some(client.id.to_vec()),
                            level => Some(level.as_bytes().to_vec()),
                        }
                    };
                    let levels: Option<Vec<_>> = acl.topic.split('/').map(name).collect();
                    filters.extend(levels.map(|levels| levels.join(&b'/')));
                }
            }
        }
        filters.retain(|filter| mqtt_acl_policy::is_topic_filter(filter));
        filters
    }

    fn says(&self, reading: usize, client: &Client<'_>, access: Access, topic: &[u8]) -> Verdict {
        let dialect = self.dialects.get(reading).copied().unwrap_or(self.dialect());
        self.config.decide(dialect, client, access, topic)
    }

    fn would_say(&self, client: &Client<'_>, access: Access, topic: &[u8]) -> bool {
        let all = Deviations { left_out: true, hoist: true, default: true };
        self.decide(self.dialect(), client, access, topic, all)
    }

    fn cause(&self, reading: usize, client: &Client<'_>, access: Access, topic: &[u8], verdict: bool) -> Cause {
        let dialect = self.dialects.get(reading).copied().unwrap_or(self.dialect());
        let none = Deviations::default();
        let tried = [
            (Cause::LeftOut, dialect, Deviations { left_out: true, ..none }),
            (Cause::DenyWins, dialect, Deviations { hoist: true, ..none }),
            (Cause::Default, dialect, Deviations { default: true, ..none }),
            (Cause::Brokers, self.dialect(), none),
        ];
        tried
            .into_iter()
            .find(|(_, dialect, deviations)| self.decide(*dialect, client, access, topic, *deviations) == verdict)
            .map_or(Cause::Together, |(cause, ..)| cause)
    }

    fn admits(&self, user: Option<&[u8]>, id: &[u8]) -> bool {
        user.and_then(|name| self.config.user(name))
            .and_then(|user| user.client_id.as_ref())
            .is_none_or(|only| only.as_bytes() == id)
    }

    fn keeps_client_ids(&self) -> bool {
        let rules =
            self.config.roles.values().flat_map(|role| [&role.send, &role.receive, &role.literal, &role.pattern]);
        rules.flatten().any(|acl| acl.topic.contains("%c"))
    }

    fn rules_of(&self, user: &str) -> Vec<String> {
        self.config.user(user.as_bytes()).map(|user| user.roles.clone()).unwrap_or_default()
    }

    fn overlaps(&self) -> bool {
        self.overlap
    }

    fn subscribable(&self, client: &Client<'_>, topic: &[u8]) -> bool {
        let is_open = self.config.defaults.subscribe && topic.first() != Some(&b'$');
        (is_open || self.grants_subscription(client, topic)) && self.would_say(client, Access::Read, topic)
    }
}
