//! Rules read one by one, as they are written: what a single rule has to do with a topic or a filter.
//!
//! The trees of [`crate::matcher`] decide; this explains, in time that grows with the rules, and so off the hot path.

use crate::Client;
use crate::matcher::Forest;
use crate::policy::Policy;
use crate::template::{self, Names, Variable};
use crate::topic::{Level, is_reserved};

/// The texts that a client's rules stand for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'a> {
    names: Names<'a>,
    forest: &'a Forest,
    /// An attribute that the user does not have, and what if it had.
    supposed: Option<(&'a str, &'a [u8])>,
}

/// What a level of a rule asks of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted<'a> {
    Text(&'a [u8]),
    Any,
    Rest,
    /// It stands for something that the client does not have.
    Nothing,
}

impl<'a> Values<'a> {
    /// The same if the user had this attribute.
    pub(crate) fn supposing(self, attribute: &'a str, value: &'a [u8]) -> Self {
        Self { supposed: Some((attribute, value)), ..self }
    }

    /// The first level of a rule that is an attribute which the user does not have, and its name.
    pub(crate) fn lacking(self, rule: &'a str) -> Option<(usize, &'a str)> {
        rule.split('/').enumerate().find_map(|(at, level)| match template::level(level) {
            Ok(template::Level::Attribute(name)) if self.wanted(level) == Wanted::Nothing => Some((at, name)),
            _ => None,
        })
    }

    /// What each level of a rule asks for.
    pub(crate) fn levels(self, rule: &'a str) -> impl Iterator<Item = Wanted<'a>> {
        rule.split('/').map(move |level| self.wanted(level))
    }

    pub(crate) fn wanted(self, level: &'a str) -> Wanted<'a> {
        let variable = match template::level(level) {
            Ok(template::Level::Literal(text)) => return Wanted::Text(text.as_bytes()),
            Ok(template::Level::Plus) => return Wanted::Any,
            Ok(template::Level::Rest) => return Wanted::Rest,
            Ok(template::Level::User) => Some(Variable::User),
            Ok(template::Level::Client) => Some(Variable::Client),
            Ok(template::Level::Attribute(name)) => match self.supposed {
                Some((supposed, value)) if supposed == name => return Wanted::Text(value),
                _ => self.forest.attribute(name).map(Variable::Attribute),
            },
            Err(_) => None,
        };
        variable.and_then(|variable| self.names.value(variable)).map_or(Wanted::Nothing, Wanted::Text)
    }

    /// Whether the rule matches this topic name.
    pub(crate) fn fits(self, rule: &'a str, topic: &[u8]) -> bool {
        let reserved = is_reserved(topic);
        let mut topic = topic.split(|b| *b == b'/');
        for (at, wanted) in self.levels(rule).enumerate() {
            let wild = at > 0 || !reserved;
            let fits = match (wanted, topic.next()) {
                (Wanted::Rest, _) => return wild,
                (Wanted::Any, Some(_)) => wild,
                (Wanted::Text(text), Some(here)) => text == here,
                _ => false,
            };
            if !fits {
                return false;
            }
        }
        topic.next().is_none()
    }

    /// Whether the rule by itself matches every topic of the filter. Rules that only do so together are none.
    pub(crate) fn contains(self, rule: &'a str, filter: &[Level<'_>]) -> bool {
        let reserved = filter.first().is_some_and(|level| level.is_reserved());
        let mut filter = filter.iter();
        for (at, wanted) in self.levels(rule).enumerate() {
            let wild = at > 0 || !reserved;
            let contains = match (wanted, filter.next()) {
                (Wanted::Rest, _) => return wild,
                (Wanted::Any, Some(Level::Literal(_))) => wild,
                (Wanted::Any, Some(Level::Plus)) => true,
                (Wanted::Text(text), Some(Level::Literal(here))) => text == *here,
                _ => false,
            };
            if !contains {
                return false;
            }
        }
        filter.next().is_none()
    }

    /// Whether some topic fits both the rule and the filter.
    pub(crate) fn meets(self, rule: &'a str, filter: &[Level<'_>]) -> bool {
        let is_empty = rule.starts_with('/') || filter.first() == Some(&Level::Literal(b""));
        let mut wanted = self.levels(rule);
        for at in 0.. {
            let here = filter.get(at);
            let meets = match (wanted.next(), here) {
                (Some(Wanted::Nothing), _) => false,
                // `a/#` and `a` have `a` in common, but there is no empty topic.
                (Some(Wanted::Rest), None) | (None, Some(Level::Rest)) => return at != 1 || !is_empty,
                (None, None) => return true,
                (None, Some(_)) | (Some(_), None) => false,
                (Some(Wanted::Rest), Some(level)) => return at > 0 || !level.is_reserved(),
                (Some(Wanted::Any), Some(Level::Rest)) => return wanted.all(|wanted| wanted != Wanted::Nothing),
                (Some(Wanted::Text(text)), Some(Level::Rest)) => {
                    return (at > 0 || !is_reserved(text)) && wanted.all(|wanted| wanted != Wanted::Nothing);
                }
                (Some(Wanted::Any), Some(level)) => at > 0 || !level.is_reserved(),
                (Some(Wanted::Text(text)), Some(Level::Plus)) => at > 0 || !is_reserved(text),
                (Some(Wanted::Text(text)), Some(Level::Literal(here))) => text == *here,
            };
            if !meets {
                return false;
            }
        }
        false
    }
}

impl Policy {
    pub(crate) fn values<'a>(&'a self, client: &Client<'a>) -> Values<'a> {
        let names = Names::new(client.user, client.id, self.attributes_of(client));
        Values { names, forest: &self.forest, supposed: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::Filter;

    fn policy() -> Policy {
        Policy::deny_all()
    }

    #[test]
    fn rules_fit_topics() {
        let policy = policy();
        let values = policy.values(&Client { user: Some(b"u1"), id: b"c1" });
        for (rule, topic) in
            [("a/#", "a"), ("a/+/%u", "a//u1"), ("%c/x", "c1/x"), ("#", "/"), ("$SYS/#", "$SYS/a"), ("+", "a")]
        {
            assert!(values.fits(rule, topic.as_bytes()), "{rule} {topic}");
        }
        for (rule, topic) in
            [("a/+", "a"), ("+/a", "$SYS/a"), ("#", "$SYS"), ("a/%u", "a/c1"), ("a", "a/"), ("%x", "x")]
        {
            assert!(!values.fits(rule, topic.as_bytes()), "{rule} {topic}");
        }
        let strange = policy.values(&Client { user: Some(b"+"), id: b"$c" });
        assert!(!strange.fits("%u", b"+"));
        assert!(!strange.fits("%c", b"$c"));
        assert!(!values.fits("%{site}", b"%{site}"));
    }

    #[test]
    fn rules_contain_and_meet_filters() {
        let policy = policy();
        let values = policy.values(&Client { user: Some(b"u1"), id: b"c1" });
        for (rule, filter, contains, meets) in [
            ("a/#", "a", true, true),
            ("a/#", "a/+/#", true, true),
            ("a", "a/#", false, true),
            ("a/+/#", "a/#", false, true),
            ("a/%u/#", "a/#", false, true),
            ("a/%u/#", "a/u1/+", true, true),
            ("a/+", "+/b", false, true),
            ("a/b", "a/c", false, false),
            ("#", "$SYS/#", false, false),
            ("$SYS/a", "#", false, false),
            ("+/a", "$SYS/a", false, false),
            ("$SYS/a", "+/a", false, false),
            ("/#", "+", false, false),
            ("/#", "/+", true, true),
            ("$SYS/#", "$SYS/+", true, true),
            ("a/b", "a", false, false),
            ("a", "a/b", false, false),
        ] {
            let parsed = Filter::parse(filter.as_bytes()).unwrap();
            assert_eq!(values.contains(rule, parsed.levels()), contains, "{rule} contains {filter}");
            assert_eq!(values.meets(rule, parsed.levels()), meets, "{rule} meets {filter}");
        }
    }
}
