//! What a refused request lacks: the nearest request that would be allowed, or the nearest policy that would allow it.
//!
//! Each [`Miss`] is a claim that holds: ask so, or change the policy so, and the decision turns. It is found by reading the
//! rules one by one, within bounds, and confirmed by the engine that decides.

use std::cmp::Reverse;
use std::fmt;

use crate::bearing::Keys;
use crate::decision::{Action, Client, Decision, Grant, Refusal, RuleId, Verb};
use crate::plain::{Values, Wanted};
use crate::policy::{Policy, SetId};
use crate::problem::Escaped;
use crate::rules::Rule;
use crate::template::is_usable;
use crate::topic::{Level, Subscription, is_reserved, is_topic_name};

/// A change that turns a refusal, and in words: one line, which names the rule that is nearly met.
#[derive(Clone, Debug)]
pub struct Miss<'a> {
    policy: &'a Policy,
    action: Action<'a>,
    /// What would have to be different.
    pub change: Change,
}

/// What would have to be different for a request to be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The client id: this one.
    ClientId(Vec<u8>),
    /// The topic or the filter.
    Topic {
        /// The one that would be allowed.
        topic: Vec<u8>,
        /// The rule that it fits.
        rule: RuleId,
        /// Where the two differ.
        differences: Vec<Difference>,
    },
    /// What is done to the topic: this is granted.
    Verb(Verb, Grant),
    /// The group of a shared subscription: the text that would be granted.
    Group(Vec<u8>),
    /// The policy, without these denies: the rule grants it, and they take it away.
    Denies {
        /// The rule that grants it.
        grant: RuleId,
        /// All that take it away.
        denies: Vec<RuleId>,
    },
    /// The policy, with the user not `disabled`.
    Enabled(Grant),
    /// The policy, with an attribute that the user lacks.
    Attribute {
        /// Its name.
        name: Box<str>,
        /// The value that would do.
        value: Vec<u8>,
        /// The rule that would grant it.
        rule: RuleId,
    },
}

/// Where a topic or filter is not what a rule asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The level, counted from 1; of a shared subscription, in what comes after its group.
    pub level: usize,
    /// What stands there; `None` where the topic has ended.
    pub here: Option<Vec<u8>>,
    /// What the rule has there; `None` where the rule has ended.
    pub rule: Option<Box<str>>,
    /// What that stands for, where it is not a text.
    pub value: Option<Vec<u8>>,
}

/// How far a search goes.
#[derive(Clone, Copy, Debug)]
struct Effort {
    /// Bytes of rules that are looked at.
    bytes: usize,
    /// Requests that are decided.
    tries: usize,
    /// Misses that are enough.
    enough: usize,
}

/// For a line of the log, on the broker's only thread: a fraction of a millisecond.
const FOR_LOG: Effort = Effort { bytes: 1 << 15, tries: 16, enough: 1 };
/// For a person.
const FOR_PEOPLE: Effort = Effort { bytes: usize::MAX, tries: 1 << 10, enough: 5 };

/// A topic further than this from a rule is not near.
const MOST_DIFFERENCES: usize = 2;

impl Policy {
    /// The nearest miss of a refused request, if one is near; bounded in time, whatever the policy and the request.
    #[must_use]
    pub fn nearest_miss<'a>(&'a self, client: &Client<'a>, action: Action<'a>) -> Option<Miss<'a>> {
        self.search(client, action, FOR_LOG).pop()
    }

    /// The near misses of a refused request, the nearest first; takes time, for a person.
    #[must_use]
    pub fn near_misses<'a>(&'a self, client: &Client<'a>, action: Action<'a>) -> Vec<Miss<'a>> {
        self.search(client, action, FOR_PEOPLE)
    }

    fn search<'a>(&'a self, client: &Client<'a>, action: Action<'a>, effort: Effort) -> Vec<Miss<'a>> {
        let Decision::Deny(refusal) = self.authorize(client, action) else { return Vec::new() };
        let mut search = Search {
            policy: self,
            client: *client,
            action,
            sets: self.held_sets(client),
            values: self.values(client),
            refusal,
            effort,
            left: effort,
            found: Vec::new(),
        };
        search.run();
        search.found.into_iter().map(|change| Miss { policy: self, action, change }).collect()
    }
}

struct Search<'a> {
    policy: &'a Policy,
    client: Client<'a>,
    action: Action<'a>,
    sets: Vec<SetId>,
    values: Values<'a>,
    refusal: Refusal,
    effort: Effort,
    left: Effort,
    found: Vec<Change>,
}

impl<'a> Search<'a> {
    fn run(&mut self) {
        let ways: &[fn(&mut Self)] = match self.refusal {
            Refusal::Disabled => &[Self::enabled],
            Refusal::ClientId
            | Refusal::ForeignClientId
            | Refusal::AutoId
            | Refusal::DeniedClientId
            | Refusal::ReservedClientId => &[Self::ids],
            Refusal::Rule(_) | Refusal::PartlyGranted(_) | Refusal::NoRule | Refusal::ShareGroup => {
                &[Self::denies, Self::groups, Self::ids_in_topic, Self::attributes, Self::verbs, Self::topics]
            }
            _ => &[],
        };
        for way in ways {
            self.left = self.effort;
            way(self);
            // Where only a deny is in the way, nothing else is of interest.
            let is_denied = matches!(self.found.first(), Some(Change::Denies { .. }));
            if is_denied || self.found.len() >= self.effort.enough {
                self.found.truncate(self.effort.enough);
                return;
            }
        }
    }

    /// Decides another request; `None` where it is refused, or where enough was tried.
    fn grant(&mut self, client: &Client<'_>, action: Action<'_>) -> Option<Grant> {
        self.left.tries = self.left.tries.checked_sub(1)?;
        match self.policy.authorize(client, action) {
            Decision::Allow(grant) => Some(grant),
            Decision::Deny(_) => None,
        }
    }

    /// The client's rules.
    fn rules(&self) -> impl Iterator<Item = (RuleId, Rule<'a>)> + use<'a> {
        let policy = self.policy;
        self.sets.clone().into_iter().flat_map(move |set| policy.rules.of(set))
    }

    /// `None` where enough was read.
    fn read(&mut self, rule: Rule<'_>) -> Option<()> {
        self.left.bytes = self.left.bytes.checked_sub(rule.text.len() + 1)?;
        Some(())
    }

    /// Whether all of the client's rules are more than may be read.
    fn exceeds(&mut self) -> bool {
        self.rules().any(|(_, rule)| self.read(rule).is_none())
    }

    fn enabled(&mut self) {
        if self.policy.is_bound(&self.client, &self.sets, true).is_err() || self.exceeds() {
            return;
        }
        let bearing = self.policy.bearing(&self.client, self.action);
        let grant = match self.action {
            Action::Connect => Some(Grant::Admitted),
            // What several rules grant only together is not gone into.
            _ if bearing.whole && bearing.denies.is_empty() => bearing.grants.first().copied().map(Grant::Rule),
            _ => None,
        };
        self.found.extend(grant.map(Change::Enabled));
    }

    fn ids(&mut self) {
        for id in self.policy.candidate_ids(self.client.user, &[]) {
            if self.grant(&Client { id: &id, ..self.client }, self.action).is_some() {
                self.found.push(Change::ClientId(id));
                return;
            }
        }
    }

    /// A rule with `%c` that another client id of the user's meets, or one that denies and that it evades.
    fn ids_in_topic(&mut self) {
        let Some((_, topic)) = Verb::of(self.action) else { return };
        let mut rules = self.rules();
        let named = loop {
            let Some((_, rule)) = rules.next() else { break false };
            if self.read(rule).is_none() {
                break false;
            }
            if rule.text.split('/').any(|level| level == "%c") {
                break true;
            }
        };
        if !named {
            return;
        }
        let levels: Vec<_> = topic.split(|b| *b == b'/').collect();
        let own = self.policy.candidate_ids(self.client.user, &levels);
        let levels = levels.iter().filter(|level| is_usable(level)).map(|level| level.to_vec());
        let current = self.client.id;
        for id in levels.chain(own).filter(|id| id != current) {
            if self.grant(&Client { id: &id, ..self.client }, self.action).is_some() {
                self.found.push(Change::ClientId(id));
                return;
            }
        }
    }

    fn denies(&mut self) {
        if !matches!(self.refusal, Refusal::Rule(_) | Refusal::PartlyGranted(_)) {
            return;
        }
        if self.exceeds() {
            return;
        }
        let bearing = self.policy.bearing(&self.client, self.action);
        let (Some(grant), false) = (bearing.grants.first().copied(), bearing.denies.is_empty()) else { return };
        let Action::Subscribe(text) = self.action else {
            self.found.push(Change::Denies { grant, denies: bearing.denies });
            return;
        };
        // Rules that grant only a part, even together, grant what is left of it in a role with `overlap` alone.
        let shared = text.starts_with(b"$share");
        let overlaps = |id: &RuleId| {
            let set = self.policy.rules.get(*id).and_then(|rule| self.policy.sets.get(rule.set as usize));
            !shared && set.is_some_and(|set| set.overlap)
        };
        let whole = matches!(self.refusal, Refusal::Rule(_)).then_some(grant);
        if let Some(grant) = whole.or_else(|| bearing.grants.iter().copied().find(overlaps)) {
            self.found.push(Change::Denies { grant, denies: bearing.denies });
        }
    }

    /// A rule that asks for an attribute which the user lacks, and for nothing else.
    fn attributes(&mut self) {
        let (Some(keys), Some(request)) = (Keys::of(self.action), Request::of(self.action)) else { return };
        let is_listed = self.client.user.is_some_and(|user| self.policy.users.contains(user));
        // With the attribute the client id might be one that is denied.
        let depends = self
            .policy
            .each(&self.sets)
            .any(|set| set.denied_client_ids().iter().any(|pattern| pattern.attributes().next().is_some()));
        if !is_listed || depends {
            return;
        }
        for (id, rule) in self.rules() {
            if self.read(rule).is_none() {
                return;
            }
            if !keys.allow.contains(&rule.key) || !rule.text.contains("%{") {
                continue;
            }
            let Some((at, name)) = self.values.lacking(rule.text) else { continue };
            let Some(value) = request.level(at).filter(|value| is_usable(value)) else { continue };
            let supposed = self.values.supposing(name, value);
            let admits = |group: Option<&[u8]>| group.is_none_or(|group| self.policy.admits_group(rule.set, group));
            if !request.is_granted(supposed, rule.text, admits) {
                continue;
            }
            // A deny may ask for the same attribute.
            if self.exceeds() {
                return;
            }
            let mut denies = self.rules().filter(|(_, rule)| rule.key == keys.deny);
            if !denies.any(|(_, deny)| request.is_denied(supposed, deny.text)) {
                self.found.push(Change::Attribute { name: name.into(), value: value.to_vec(), rule: id });
                return;
            }
        }
    }

    fn groups(&mut self) {
        let Action::Subscribe(text) = self.action else { return };
        let Ok(Subscription { group: Some(group), .. }) = Subscription::parse(text) else { return };
        let filter = text.get(b"$share/".len() + group.len() + 1..).unwrap_or_default();
        let policy = self.policy;
        let known = policy.each(&self.sets).filter_map(|set| set.groups()).flatten();
        let texts: Vec<_> = known.map(|group| [b"$share/", group.as_bytes(), b"/", filter].concat()).collect();
        for text in texts.into_iter().chain([filter.to_vec()]) {
            if self.grant(&self.client.clone(), Action::Subscribe(&text)).is_some() {
                self.found.push(Change::Group(text));
                return;
            }
        }
    }

    fn verbs(&mut self) {
        let Some((tried, topic)) = Verb::of(self.action) else { return };
        for verb in Verb::ALL.into_iter().filter(|verb| *verb != tried) {
            if !is_topic_name(topic) || (verb != Verb::Subscribe && topic.starts_with(b"$share")) {
                continue;
            }
            if let Some(grant) = self.grant(&self.client.clone(), verb.on(topic)) {
                self.found.push(Change::Verb(verb, grant));
                return;
            }
        }
    }

    fn topics(&mut self) {
        let Some((verb, text)) = Verb::of(self.action) else { return };
        let Some(keys) = Keys::of(self.action) else { return };
        let (prefix, topic) = match verb {
            Verb::Subscribe => match Subscription::parse(text) {
                Ok(Subscription { group, .. }) => {
                    text.split_at(group.map_or(0, |group| b"$share/".len() + group.len() + 1))
                }
                Err(_) => return,
            },
            Verb::Publish | Verb::Receive => (&b""[..], text),
        };
        let levels: Vec<&[u8]> = topic.split(|b| *b == b'/').collect();
        let mut near = Vec::new();
        for (id, rule) in self.rules().filter(|(_, rule)| keys.allow.contains(&rule.key)) {
            if self.read(rule).is_none() {
                break;
            }
            if let Some(found) = compare(rule.text, &levels, verb == Verb::Subscribe, self.values) {
                near.push((id, found));
            }
        }
        /// More of them only hide the nearest.
        const SHOWN: usize = 3;
        near.sort_by_key(|(_, near)| (near.differences.len(), Reverse(near.same)));
        // Where a topic is one level off, what is two levels off is of no interest.
        let mut nearest = MOST_DIFFERENCES;
        let mut shown = 0;
        for (rule, Near { differences, topic, .. }) in near {
            if differences.len() > nearest {
                return;
            }
            let topic = [prefix, &topic].concat();
            let known = |change: &Change| matches!(change, Change::Topic { topic: known, .. } if *known == topic);
            if self.found.iter().any(known) {
                continue;
            }
            if self.grant(&self.client.clone(), verb.on(&topic)).is_some() {
                nearest = differences.len();
                self.found.push(Change::Topic { topic, rule, differences });
                shown += 1;
            }
            if shown >= SHOWN.min(self.effort.enough) || self.left.tries == 0 {
                return;
            }
        }
    }
}

/// What a request is about.
enum Request<'a> {
    Topic(&'a [u8]),
    Subscription(Box<Subscription<'a>>),
}

impl<'a> Request<'a> {
    fn of(action: Action<'a>) -> Option<Self> {
        match Verb::of(action)? {
            (Verb::Publish | Verb::Receive, topic) => Some(Self::Topic(topic)),
            (Verb::Subscribe, text) => {
                Subscription::parse(text).ok().map(|subscription| Self::Subscription(Box::new(subscription)))
            }
        }
    }

    fn level(&self, at: usize) -> Option<&'a [u8]> {
        match self {
            Self::Topic(topic) => topic.split(|b| *b == b'/').nth(at),
            Self::Subscription(subscription) => match subscription.filter.levels().get(at) {
                Some(Level::Literal(text)) => Some(text),
                _ => None,
            },
        }
    }

    /// Whether the rule by itself grants it, were it not for denies.
    fn is_granted(&self, values: Values<'a>, rule: &'a str, admits: impl Fn(Option<&[u8]>) -> bool) -> bool {
        match self {
            Self::Topic(topic) => values.fits(rule, topic),
            Self::Subscription(subscription) => {
                admits(subscription.group) && values.contains(rule, subscription.filter.levels())
            }
        }
    }

    fn is_denied(&self, values: Values<'a>, rule: &'a str) -> bool {
        match self {
            Self::Topic(topic) => values.fits(rule, topic),
            Self::Subscription(subscription) => values.meets(rule, subscription.filter.levels()),
        }
    }
}

/// A topic or filter that fits a rule, made of one that nearly does.
struct Near {
    topic: Vec<u8>,
    differences: Vec<Difference>,
    /// How many levels are what the rule spells out.
    same: usize,
}

/// What would have to change in a topic or filter to fit the rule, if that is little.
fn compare(rule: &str, levels: &[&[u8]], is_filter: bool, values: Values<'_>) -> Option<Near> {
    let mut topic: Vec<&[u8]> = Vec::new();
    let mut differences = Vec::new();
    let (mut same, mut alike) = (0, false);
    // Where the filter's `#` is replaced by what the rule has from there on.
    let mut replaced = false;
    let mut texts = rule.split('/');
    for at in 0.. {
        let text = texts.next();
        let wanted = text.map(|text| values.wanted(text));
        let here = levels.get(at).copied().filter(|_| !replaced);
        let starts_reserved = at == 0 && here.is_some_and(is_reserved);
        let (level, differs): (Option<&[u8]>, bool) = match (wanted, here) {
            (None, None) => break,
            (None, Some(_)) => (None, true),
            (Some(Wanted::Nothing), _) => return None,
            (Some(Wanted::Rest | Wanted::Any), _) if starts_reserved => return None,
            (Some(Wanted::Rest), _) if replaced => {
                topic.push(b"#");
                break;
            }
            (Some(Wanted::Rest), _) => {
                topic.extend(levels.get(at..).unwrap_or_default());
                break;
            }
            (Some(Wanted::Any), Some(b"#")) if is_filter => (Some(b"+"), true),
            (Some(Wanted::Any), Some(here)) => (Some(here), false),
            (Some(Wanted::Any), None) if is_filter => (Some(b"+"), !replaced),
            // Nothing says what to write.
            (Some(Wanted::Any), None) => return None,
            (Some(Wanted::Text(text)), Some(here)) if text == here => {
                same += 1;
                (Some(text), false)
            }
            (Some(Wanted::Text(text)), here) => (Some(text), !(replaced && here.is_none())),
        };
        topic.extend(level);
        if differs {
            let value = match (text, level) {
                (Some(text), Some(level)) if text.as_bytes() != level && text != "+" => Some(level.to_vec()),
                _ => None,
            };
            alike |= value.is_some() || is_filter && here == Some(b"#");
            alike |= matches!((here, level), (Some(here), Some(level)) if is_alike(here, level));
            differences.push(Difference {
                level: at + 1,
                here: here.map(<[u8]>::to_vec),
                rule: text.map(Into::into),
                value,
            });
            if differences.len() > MOST_DIFFERENCES {
                return None;
            }
        }
        replaced |= is_filter && here == Some(b"#");
        if wanted.is_none() {
            break;
        }
    }
    // One that has nothing in common with the rule is not near it.
    let near = same > 0 || (alike && differences.len() == 1);
    (!differences.is_empty() && near).then(|| Near { topic: topic.join(&b'/'), differences, same })
}

/// Whether one text may well be a misspelling of the other.
fn is_alike(one: &[u8], other: &[u8]) -> bool {
    const LONGEST: usize = 64;
    let (Ok(one), Ok(other)) = (std::str::from_utf8(one), std::str::from_utf8(other)) else { return false };
    one.len() <= LONGEST && other.len() <= LONGEST && strsim::damerau_levenshtein(one, other) <= 1 + other.len() / 4
}

impl fmt::Display for Miss<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.change {
            Change::ClientId(id) => write!(f, "would be allowed for client id `{}`", Escaped(id)),
            // What comes instead of `#` may be many levels.
            Change::Topic { topic, rule, differences }
                if differences.iter().any(|d| d.here.as_deref() == Some(b"#")) =>
            {
                write!(f, "`{}` would be granted by ", Escaped(topic))?;
                self.policy.write_rule(f, *rule)
            }
            Change::Topic { rule, differences, .. } => {
                f.write_str("differs from ")?;
                self.policy.write_rule(f, *rule)?;
                for (number, difference) in differences.iter().enumerate() {
                    f.write_str(if number == 0 { " " } else { ", and " })?;
                    write!(f, "{difference}")?;
                }
                Ok(())
            }
            Change::Verb(verb, grant) => {
                write!(f, "{verb} is ")?;
                self.write_grant(f, *grant)?;
                match Verb::of(self.action) {
                    Some((tried, _)) => write!(f, ", {tried} is not"),
                    None => Ok(()),
                }
            }
            Change::Group(text) => write!(f, "would be granted as `{}`", Escaped(text)),
            Change::Denies { grant, denies } => {
                f.write_str("granted by ")?;
                self.policy.write_rule(f, *grant)?;
                for (number, deny) in denies.iter().take(2).enumerate() {
                    f.write_str(if number == 0 { ", but " } else { " and " })?;
                    self.policy.write_rule(f, *deny)?;
                }
                match denies.len() {
                    1 => f.write_str(" takes it away"),
                    2 => f.write_str(" take it away"),
                    more => write!(f, " and {} more take it away", more - 2),
                }
            }
            Change::Attribute { name, value, rule } => {
                f.write_str("would be granted by ")?;
                self.policy.write_rule(f, *rule)?;
                write!(f, " if the user had the attribute `{name}`, here `{}`", Escaped(value))
            }
            Change::Enabled(grant) => {
                f.write_str("would be ")?;
                self.write_grant(f, *grant)?;
                f.write_str(" if the user were not disabled")
            }
        }
    }
}

impl Miss<'_> {
    fn write_grant(&self, f: &mut fmt::Formatter<'_>, grant: Grant) -> fmt::Result {
        match grant {
            Grant::Rule(rule) => {
                f.write_str("granted by ")?;
                self.policy.write_rule(f, rule)
            }
            Grant::Admitted => f.write_str("admitted"),
            Grant::Unsubscribe | Grant::Api => f.write_str("granted"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, here, rule, value } = self;
        match (here, rule) {
            (Some(here), Some(rule)) => {
                write!(f, "at level {level}: `{}` where the rule has `{}`", Escaped(here), Escaped(rule.as_bytes()))?;
            }
            (None, Some(rule)) => {
                write!(f, "at level {level}: it ends where the rule has `{}`", Escaped(rule.as_bytes()))?;
            }
            (Some(here), None) => write!(f, "at level {level}: `{}` where the rule has ended", Escaped(here))?,
            (None, None) => {}
        }
        match value {
            Some(value) => write!(f, ", here `{}`", Escaped(value)),
            None => Ok(()),
        }
    }
}
