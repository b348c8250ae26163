//! Who may do something to a topic: everybody, one by one, each decided as if it asked.

use crate::binding::Pattern;
use crate::decision::{Action, Client, Decision, Grant, RuleId, Verb};
use crate::policy::{Policy, SetId};
use crate::template::Names;

/// Somebody who may do it; made by [`Policy::who_can`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Able<'p> {
    /// Who.
    pub who: Who<'p>,
    /// Under which client ids.
    pub ids: Ids,
    /// The rule that grants it.
    pub rule: RuleId,
}

/// Who a client is to a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who<'p> {
    /// A listed user.
    User(&'p [u8]),
    /// Clients without a user name.
    Anonymous,
    /// Names that no user table lists and a `[[match]]` with `unlisted` admits: such as fit this pattern, or this name.
    Unlisted(String),
}

/// Which of a client's ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ids {
    /// All that it may have.
    All,
    /// All that it may have but these, for a rule names `%c`.
    AllBut(Vec<Vec<u8>>),
    /// These alone, for a rule names `%c`.
    Only(Vec<Vec<u8>>),
}

impl Policy {
    /// Tells of everybody who may do this to the topic or filter: the listed users in the order of their names, then
    /// anonymous clients and names that nobody lists.
    ///
    /// A decision depends on the client id only as far as a rule's `%c` stands for it, and then on nothing but which level
    /// of the topic it is or, where a part of a filter is enough, which text of a deny. So an id for each of these texts,
    /// and one that is none of them, decide for all.
    pub fn who_can<'p>(&'p self, verb: Verb, topic: &[u8], mut tell: impl FnMut(Able<'p>)) {
        let inquiry = Inquiry { policy: self, action: verb.on(topic), topic, named: self.sets_with_client_template() };
        let mut names: Vec<&[u8]> = self.users.iter().map(|user| user.name()).collect();
        names.sort_unstable();
        for name in names {
            if let Some((ids, rule)) = inquiry.ids_of(Some(name)) {
                tell(Able { who: Who::User(name), ids, rule });
            }
        }
        if let Some((ids, rule)) = inquiry.ids_of(None) {
            tell(Able { who: Who::Anonymous, ids, rule });
        }
        for (who, name) in inquiry.unlisted() {
            if let Some((ids, rule)) = inquiry.ids_of(Some(name.as_bytes())) {
                tell(Able { who: Who::Unlisted(who), ids, rule });
            }
        }
    }

    /// Of each rule set: whether one of its rules names `%c`.
    fn sets_with_client_template(&self) -> Vec<bool> {
        let mut named = vec![false; self.sets.len()];
        for rule in self.rules.iter().filter(|rule| rule.text.contains("%c")) {
            if let Some(set) = named.get_mut(rule.set as usize) {
                *set = true;
            }
        }
        named
    }
}

struct Inquiry<'p, 't> {
    policy: &'p Policy,
    action: Action<'t>,
    topic: &'t [u8],
    named: Vec<bool>,
}

impl Inquiry<'_, '_> {
    fn ids_of(&self, user: Option<&[u8]>) -> Option<(Ids, RuleId)> {
        let usual = self.policy.usual_client_id(user);
        let sets = self.policy.sets_of(&Client { user, id: &usual });
        let is_named = sets.iter().any(|set| self.named.get(*set as usize) == Some(&true));
        if !is_named {
            let usual = self.rule(user, &usual).map(|rule| (Ids::All, rule));
            // The usual id may be one that a `deny.client_id` takes away.
            return usual.or_else(|| {
                if self.admits(user, &self.policy.usual_client_id(user)) {
                    return None;
                }
                let mut others = self.policy.candidate_ids(user, &[]);
                others.find_map(|id| self.rule(user, &id)).map(|rule| (Ids::All, rule))
            });
        }
        let texts = self.telling_texts(user, &sets);
        let mut candidates = self.policy.candidate_ids(user, &texts);
        let other = candidates.find(|id| !texts.contains(&id.as_slice()) && self.admits(user, id));
        let mut telling: Vec<Vec<u8>> = texts.iter().filter(|id| self.admits(user, id)).map(|id| id.to_vec()).collect();
        if let Some(rule) = other.as_ref().and_then(|id| self.rule(user, id)) {
            telling.retain(|id| self.rule(user, id).is_none());
            let ids = if telling.is_empty() { Ids::All } else { Ids::AllBut(telling) };
            return Some((ids, rule));
        }
        let rule = telling.iter().find_map(|id| self.rule(user, id))?;
        let all = telling.len();
        telling.retain(|id| self.rule(user, id).is_some());
        Some((if other.is_none() && telling.len() == all { Ids::All } else { Ids::Only(telling) }, rule))
    }

    /// The texts that it may matter whether a client id is one of, in order.
    fn telling_texts<'a>(&'a self, user: Option<&'a [u8]>, sets: &[SetId]) -> Vec<&'a [u8]> {
        let mut texts: Vec<&[u8]> = self.levels().collect();
        let part_is_enough =
            matches!(self.action, Action::Subscribe(_)) && self.policy.each(sets).any(|set| set.overlap);
        if part_is_enough {
            texts.extend(user);
            let denies =
                sets.iter().flat_map(|set| self.policy.rules.of(*set)).filter(|(_, rule)| rule.key == "deny.subscribe");
            texts.extend(denies.flat_map(|(_, rule)| rule.text.split('/')).map(str::as_bytes));
        }
        texts.retain(|text| !text.is_empty());
        texts.sort_unstable();
        texts.dedup();
        texts
    }

    /// Names that nobody lists: for each pattern one that is like any other, and those that the topic holds.
    fn unlisted(&self) -> Vec<(String, String)> {
        let mut names = Vec::new();
        let blocks = || self.policy.matches.iter().filter(|block| block.unlisted);
        let is_listed = |name: &str| self.policy.users.contains(name.as_bytes());
        for pattern in blocks().flat_map(|block| &block.names) {
            let (text, open) = match pattern {
                Pattern::Any => (String::new(), true),
                Pattern::Text { .. } => pattern.text_for(&Names::NONE).unwrap_or_default(),
            };
            let mut name = text.clone();
            let shown = if open { format!("{text}*") } else { text };
            if open {
                name.push('x');
                while is_listed(&name) || self.levels().any(|level| level == name.as_bytes()) {
                    name.push('x');
                }
            }
            if !is_listed(&name) && !names.iter().any(|(known, _)| *known == shown) {
                names.push((shown, name));
            }
        }
        for level in self.levels().filter_map(|level| std::str::from_utf8(level).ok()) {
            let known = is_listed(level) || names.iter().any(|(known, _)| known == level);
            if !known && blocks().any(|block| block.fits(level.as_bytes())) {
                names.push((level.to_owned(), level.to_owned()));
            }
        }
        names
    }

    fn levels(&self) -> impl Iterator<Item = &[u8]> {
        self.topic.split(|b| *b == b'/').filter(|level| !level.is_empty())
    }

    fn rule(&self, user: Option<&[u8]>, id: &[u8]) -> Option<RuleId> {
        match self.policy.authorize(&Client { user, id }, self.action) {
            Decision::Allow(Grant::Rule(rule)) => Some(rule),
            Decision::Allow(_) | Decision::Deny(_) => None,
        }
    }

    fn admits(&self, user: Option<&[u8]>, id: &[u8]) -> bool {
        self.policy.authorize(&Client { user, id }, Action::Connect).is_allow()
    }
}
