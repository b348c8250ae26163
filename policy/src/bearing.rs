//! All the rules that bear on a request, not only the one that decided it: what a decision overrode, and what else would
//! have come to the same.

use std::fmt;

use crate::decision::{Action, Client, RuleId};
use crate::policy::{Holder, Policy, SetId};
use crate::problem::{Escaped, OneLine, Place};
use crate::rules::Rule;
use crate::topic::Subscription;

/// The rules that bear on a request, in the order of the policy; made by [`Policy::bearing`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bearing {
    /// Rules that grant it. For a subscription: each that grants all of it or, where none does, each that grants a part.
    pub grants: Vec<RuleId>,
    /// Whether each of these grants all of it, were it not for the denies.
    pub whole: bool,
    /// Rules that deny it. For a subscription: each that denies a part of it.
    pub denies: Vec<RuleId>,
}

/// The rules of a policy that grant and that deny an action.
pub(crate) struct Keys {
    pub(crate) allow: &'static [&'static str],
    pub(crate) deny: &'static str,
}

impl Keys {
    /// `None` for what no rule is about.
    pub(crate) fn of(action: Action<'_>) -> Option<Self> {
        match action {
            Action::Publish(_) => Some(Self { allow: &["publish"], deny: "deny.publish" }),
            Action::Subscribe(_) => Some(Self { allow: &["subscribe"], deny: "deny.subscribe" }),
            Action::Receive(_) => Some(Self { allow: &["subscribe", "receive"], deny: "deny.subscribe" }),
            Action::Connect | Action::Unsubscribe | Action::Api(_) => None,
        }
    }
}

impl Policy {
    /// The rules that bear on this request, of those that the client holds; whether it is admitted does not matter.
    #[must_use]
    pub fn bearing(&self, client: &Client<'_>, action: Action<'_>) -> Bearing {
        let mut bearing = Bearing::default();
        let (Some(keys), values, sets) = (Keys::of(action), self.values(client), self.held_sets(client)) else {
            return bearing;
        };
        let rules = || sets.iter().flat_map(|set| self.rules.of(*set));
        let allows = |rule: &Rule<'_>| keys.allow.contains(&rule.key);
        let denies = |rule: &Rule<'_>| keys.deny == rule.key;
        if let Action::Publish(topic) | Action::Receive(topic) = action {
            let fitting = |wanted: &dyn Fn(&Rule<'_>) -> bool| {
                rules().filter(|(_, rule)| wanted(rule) && values.fits(rule.text, topic)).map(|(id, _)| id).collect()
            };
            bearing = Bearing { grants: fitting(&allows), whole: true, denies: fitting(&denies) };
        }
        let Action::Subscribe(text) = action else { return bearing };
        let Ok(Subscription { group, filter }) = Subscription::parse(text) else { return bearing };
        let granting: Vec<_> = rules()
            .filter(|(_, rule)| allows(rule) && group.is_none_or(|group| self.admits_group(rule.set, group)))
            .collect();
        let fitting = |fits: &dyn Fn(&Rule<'_>) -> bool| {
            granting.iter().filter(|(_, rule)| fits(rule)).map(|(id, _)| *id).collect::<Vec<_>>()
        };
        bearing.grants = fitting(&|rule| values.contains(rule.text, filter.levels()));
        bearing.whole = !bearing.grants.is_empty();
        if !bearing.whole {
            bearing.grants = fitting(&|rule| values.meets(rule.text, filter.levels()));
        }
        bearing.denies = rules()
            .filter(|(_, rule)| denies(rule) && values.meets(rule.text, filter.levels()))
            .map(|(id, _)| id)
            .collect();
        bearing
    }

    /// A rule in words, and its place.
    #[must_use]
    pub fn rule(&self, id: RuleId) -> Option<RuleView<'_>> {
        let rule = self.rules.get(id)?;
        let holder = match self.sets.get(rule.set as usize).map(|set| &set.holder) {
            Some(Holder::Role(name)) => ("role", Some(self.rules.text(*name))),
            Some(Holder::User(name)) => ("user", Some(self.rules.text(*name))),
            Some(Holder::Anonymous) | None => ("anonymous", None),
        };
        Some(RuleView { rule, holder })
    }

    /// The rule sets of a client, those of a disabled user too.
    pub(crate) fn held_sets(&self, client: &Client<'_>) -> Vec<SetId> {
        let held = client.user.and_then(|name| self.users.get(name)).map(|user| user.sets().to_vec());
        held.unwrap_or_else(|| self.sets_of(client))
    }

    pub(crate) fn admits_group(&self, set: SetId, group: &[u8]) -> bool {
        self.sets.get(set as usize).is_some_and(|set| set.admits_group(group))
    }
}

/// A rule of a policy, for a person or a script; made by [`Policy::rule`].
#[derive(Clone, Copy, Debug)]
pub struct RuleView<'a> {
    rule: Rule<'a>,
    holder: (&'static str, Option<&'a str>),
}

impl<'a> RuleView<'a> {
    /// Whose it is: `role`, `user` or `anonymous`, and the name.
    #[must_use]
    pub fn holder(&self) -> (&'static str, Option<&'a str>) {
        self.holder
    }

    /// `publish`, `subscribe`, `receive`, `deny.publish` or `deny.subscribe`.
    #[must_use]
    pub fn key(&self) -> &'static str {
        self.rule.key
    }

    /// Its filter, as the policy writes it.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.rule.text
    }

    /// Where it stands.
    #[must_use]
    pub fn place(&self) -> Place {
        self.rule.place()
    }
}

impl fmt::Display for RuleView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.holder {
            (kind, Some(name)) => write!(f, "{kind} `{}`", Escaped(name.as_bytes()))?,
            (kind, None) => write!(f, "[{kind}]")?,
        }
        let (Rule { key, text, .. }, place) = (self.rule, self.place());
        let file = place.file.to_string_lossy();
        write!(f, " {key} `{}` ({}:{})", Escaped(text.as_bytes()), OneLine(&file), place.line)
    }
}
