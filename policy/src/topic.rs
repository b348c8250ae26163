//! Topic names, topic filters and their levels (MQTT 5, section 4.7), over bytes.

use smallvec::SmallVec;

use crate::decision::Refusal;

/// The levels of a topic name or a topic filter. An empty text has one empty level.
pub(crate) fn levels(topic: &[u8]) -> impl Iterator<Item = &[u8]> {
    topic.split(|byte| *byte == b'/')
}

/// Whether wildcards must not match this first level (MQTT 5, section 4.7.2).
pub(crate) fn is_reserved(first_level: &[u8]) -> bool {
    first_level.first() == Some(&b'$')
}

/// One level of a topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Level<'a> {
    /// This text and no other.
    Literal(&'a [u8]),
    /// `+`: any one level.
    Plus,
    /// `#`: the level before it and everything below; always the last.
    Rest,
}

impl Level<'_> {
    pub(crate) fn is_reserved(self) -> bool {
        matches!(self, Self::Literal(text) if is_reserved(text))
    }
}

/// As many as filters usually have take no memory from the heap.
pub(crate) type Levels<'a> = SmallVec<[Level<'a>; 16]>;

/// A topic filter, split into its levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter<'a> {
    levels: Levels<'a>,
}

impl<'a> Filter<'a> {
    /// Reads a filter; `None` where a wildcard is not a level of its own, `#` is not the last one, or nothing is there.
    pub(crate) fn parse(text: &'a [u8]) -> Option<Self> {
        if text.is_empty() || text.contains(&0) {
            return None;
        }
        let levels = levels(text)
            .map(|level| match level {
                b"+" => Some(Level::Plus),
                b"#" => Some(Level::Rest),
                _ if level.iter().any(|b| matches!(b, b'+' | b'#')) => None,
                _ => Some(Level::Literal(level)),
            })
            .collect::<Option<Levels<'_>>>()?;
        let (_, before) = levels.split_last()?;
        (!before.contains(&Level::Rest)).then_some(Self { levels })
    }

    /// Its levels.
    pub(crate) fn levels(&self) -> &[Level<'a>] {
        &self.levels
    }
}

/// What a client asks for in SUBSCRIBE: a filter, for itself or for a group that shares the messages (MQTT 5, section 4.8.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscription<'a> {
    /// The group of `$share/<group>/<filter>`.
    pub(crate) group: Option<&'a [u8]>,
    /// The filter, without `$share/<group>/`.
    pub(crate) filter: Filter<'a>,
}

impl<'a> Subscription<'a> {
    /// Reads the text of a SUBSCRIBE.
    ///
    /// Everything that begins with `$share` is either a well-formed shared subscription or refused: 2.0 takes
    /// `$shareX/...` for one too, so reading it as an ordinary filter would open a way round the rules (S13).
    ///
    /// # Errors
    /// The refusal to answer with.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, Refusal> {
        let (group, filter) = match text.strip_prefix(b"$share") {
            None => (None, text),
            Some(shared) => {
                let shared = shared.strip_prefix(b"/").ok_or(Refusal::MalformedShare)?;
                let end = shared.iter().position(|b| *b == b'/').ok_or(Refusal::MalformedShare)?;
                let (group, rest) = shared.split_at(end);
                if group.is_empty() || group.iter().any(|b| matches!(b, b'+' | b'#')) {
                    return Err(Refusal::MalformedShare);
                }
                (Some(group), rest.strip_prefix(b"/").unwrap_or_default())
            }
        };
        match Filter::parse(filter) {
            Some(filter) => Ok(Self { group, filter }),
            None if group.is_some() => Err(Refusal::MalformedShare),
            None => Err(Refusal::MalformedFilter),
        }
    }
}

/// Whether this is a topic name that can be published to: not empty, no wildcard, no NUL, at most 65,535 bytes.
pub fn is_topic_name(text: &[u8]) -> bool {
    !text.is_empty() && text.len() <= LONGEST && !text.iter().any(|b| matches!(b, b'+' | b'#' | 0))
}

/// Whether this is something to subscribe to: a topic filter, or a well-formed `$share/<group>/<filter>`.
pub fn is_subscription(text: &[u8]) -> bool {
    text.len() <= LONGEST && Subscription::parse(text).is_ok()
}

/// Whether this is a topic filter: not empty, wildcards as levels of their own, `#` last, at most 65,535 bytes.
pub fn is_topic_filter(text: &[u8]) -> bool {
    text.len() <= LONGEST && Filter::parse(text).is_some()
}

/// The longest topic, and the longest user name, in bytes (MQTT 5, section 1.5.4).
pub(crate) const LONGEST: usize = 65_535;

/// The most levels that a stock broker takes (`TOPIC_HIERARCHY_LIMIT` in its sources, counted in separators).
pub(crate) const MOST_SEPARATORS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_are_whole_levels_and_rest_is_last() {
        for good in ["a", "/", "+", "#", "a/+/b", "a/#", "+/+/#", "$SYS/#", "a//b"] {
            assert!(Filter::parse(good.as_bytes()).is_some(), "{good}");
        }
        for bad in ["", "a+", "+a", "#/a", "a/#/b", "a#", "a/b+/c", "a\0"] {
            assert!(Filter::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn share_is_stripped_or_refused() {
        let parse = |text: &'static str| Subscription::parse(text.as_bytes());
        let shared = parse("$share/g/a/+").unwrap();
        assert_eq!(shared.group, Some(&b"g"[..]));
        assert_eq!(shared.filter, Filter::parse(b"a/+").unwrap());
        assert_eq!(parse("$share/g//a").unwrap().filter, Filter::parse(b"/a").unwrap());
        assert_eq!(parse("a/$share/g").unwrap().group, None);
        for bad in [
            "$share",
            "$share/",
            "$share/g",
            "$share/g/",
            "$share//a",
            "$share/+/a",
            "$share/g#/a",
            "$shareX/g/a",
            "$share/g/a#",
        ] {
            assert_eq!(parse(bad), Err(Refusal::MalformedShare), "{bad}");
        }
        assert_eq!(parse("a/#/b"), Err(Refusal::MalformedFilter));
    }
}
