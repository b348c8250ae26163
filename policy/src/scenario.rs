//! The policy's own tests: what a user can and cannot do, checked before the policy takes effect (S16).

use std::fmt;

use crate::binding::Pattern;
use crate::decision::{Action, Client, Decision};
use crate::policy::{Policy, RuleSet};
use crate::problem::{Escaped, Place};
use crate::template::Names;

/// A `[[test]]` block.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) place: Place,
    /// `None` for the anonymous client.
    pub(crate) user: Option<Box<str>>,
    pub(crate) client_id: Option<Box<str>>,
    pub(crate) expectations: Vec<Expectation>,
}

/// One thing that a `[[test]]` block says can or cannot be done.
#[derive(Debug)]
pub(crate) struct Expectation {
    pub(crate) place: Place,
    pub(crate) can: bool,
    pub(crate) deed: Deed,
}

/// What is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Connect,
    Publish(Box<str>),
    Subscribe(Box<str>),
    Receive(Box<str>),
}

impl Deed {
    fn action(&self) -> Action<'_> {
        match self {
            Self::Connect => Action::Connect,
            Self::Publish(topic) => Action::Publish(topic.as_bytes()),
            Self::Subscribe(filter) => Action::Subscribe(filter.as_bytes()),
            Self::Receive(topic) => Action::Receive(topic.as_bytes()),
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Publish(topic) => write!(f, "publish `{}`", Escaped(topic.as_bytes())),
            Self::Subscribe(filter) => write!(f, "subscribe `{}`", Escaped(filter.as_bytes())),
            Self::Receive(topic) => write!(f, "receive `{}`", Escaped(topic.as_bytes())),
        }
    }
}

/// What came of one line of a `[[test]]` block.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Where the policy expects it.
    pub place: Place,
    /// Whether the policy does what its test says.
    pub passed: bool,
    /// What was tried, by whom, and what came of it and why.
    pub text: String,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed { "ok" } else { "FAILED" };
        write!(f, "{}: {verdict}: {}", self.place, self.text)
    }
}

impl Policy {
    /// Runs the policy's `[[test]]` blocks.
    #[must_use]
    pub fn run_tests(&self) -> Vec<Outcome> {
        self.scenarios.iter().flat_map(|scenario| self.run(scenario)).collect()
    }

    fn run(&self, scenario: &Scenario) -> Vec<Outcome> {
        let user = scenario.user.as_deref().map(str::as_bytes);
        let id = match &scenario.client_id {
            Some(id) => id.as_bytes().to_vec(),
            None => self.usual_client_id(user),
        };
        let client = Client { user, id: &id };
        let mut outcomes = Vec::new();
        let admission = self.authorize(&client, Action::Connect);
        let expects_refusal = scenario.expectations.iter().any(|e| !e.can && e.deed == Deed::Connect);
        if !admission.is_allow() && !expects_refusal {
            let text = format!("{} would not be admitted: {}", who(&client), self.reason(&client, admission));
            outcomes.push(Outcome { place: scenario.place.clone(), passed: false, text });
        }
        for expectation in &scenario.expectations {
            let decision = self.authorize(&client, expectation.deed.action());
            let allowed = matches!(decision, Decision::Allow(_));
            let can = if allowed { "can" } else { "cannot" };
            let text = format!("{} {can} {}: {}", who(&client), expectation.deed, self.reason(&client, decision));
            outcomes.push(Outcome { place: expectation.place.clone(), passed: allowed == expectation.can, text });
        }
        outcomes
    }

    /// The client id that a user has unless something else is said: the first one that its `client_id` spells out, or
    /// its own name.
    #[must_use]
    pub fn usual_client_id(&self, user: Option<&[u8]>) -> Vec<u8> {
        let sets = self.sets_of(&Client { user, id: b"" });
        let names = Names::new(user, b"", self.attributes_of(&Client { user, id: b"" }));
        let patterns = |set: &RuleSet| set.client_ids().unwrap_or_default().to_vec();
        let texts: Vec<_> =
            self.each(&sets).flat_map(patterns).filter_map(|pattern: Pattern| pattern.text_for(&names)).collect();
        let literal = texts.iter().find(|(_, open)| !open).map(|(text, _)| text.clone());
        let open = || texts.first().map(|(text, _)| format!("{text}1"));
        match (literal.or_else(open), user) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(user)) => user.to_vec(),
            (None, None) => b"anonymous".to_vec(),
        }
    }

    /// Client ids that are likely the client's own: the usual one, and one of each form that they can have, which is none
    /// of these texts where the form leaves a choice.
    pub(crate) fn candidate_ids(&self, user: Option<&[u8]>, avoid: &[&[u8]]) -> impl Iterator<Item = Vec<u8>> {
        const AUTO: &str = "auto-00000000-0000-4000-8000-000000000000";
        let sets = self.held_sets(&Client { user, id: b"" });
        let names = Names::new(user, b"", self.attributes_of(&Client { user, id: b"" }));
        let name = user.map(String::from_utf8_lossy).unwrap_or_default();
        let named = || self.each(&sets).filter_map(|set| set.client_ids()).flatten();
        let is_named = named().next().is_some();
        let mut forms: Vec<(String, bool)> = named().filter_map(|pattern| pattern.text_for(&names)).collect();
        if named().any(|pattern| *pattern == Pattern::Any) || (!is_named && user.is_none()) {
            forms.push(("client".to_owned(), true));
        } else if !is_named {
            forms.extend([(name.to_string(), false), (format!("{name}-"), true)]);
        }
        forms.push((AUTO.to_owned(), false));
        let ids = forms.into_iter().map(move |(mut text, open)| {
            if open {
                text.push('1');
                while avoid.contains(&text.as_bytes()) {
                    text.push('1');
                }
            }
            text.into_bytes()
        });
        std::iter::once(self.usual_client_id(user)).chain(ids)
    }
}

fn who(client: &Client<'_>) -> String {
    match client.user {
        Some(user) => format!("user `{}` with client id `{}`", Escaped(user), Escaped(client.id)),
        None => format!("an anonymous client with client id `{}`", Escaped(client.id)),
    }
}
