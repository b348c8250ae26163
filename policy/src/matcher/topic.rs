//! What the rules say of a topic name.

use smallvec::SmallVec;

use super::{Edge, FEW, Forest, Kind, NONE, Node, NodeId, Root};
use crate::bytes::{Word, same};
use crate::decision::RuleId;
use crate::template::Names;
use crate::topic;

/// A topic name, ready to be walked along.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Topic<'t> {
    text: &'t [u8],
    /// Its last bytes, eight or all of them, behind zeros.
    last: u64,
}

/// What the rules of a tree say of one topic.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    pub(crate) allow: Option<RuleId>,
    pub(crate) deny: Option<RuleId>,
}

impl Found {
    #[inline]
    pub(crate) fn add(&mut self, other: Self) {
        self.allow = self.allow.or(other.allow);
        self.deny = self.deny.or(other.deny);
    }
}

impl<'t> Topic<'t> {
    #[inline]
    pub(crate) fn new(text: &'t [u8]) -> Self {
        let last = match text.last_chunk() {
            Some(last) => u64::from_le_bytes(*last),
            None => text.iter().fold(0, |word, byte| word >> 8 | u64::from(*byte) << 56),
        };
        Self { text, last }
    }

    /// Eight bytes from here on; behind the end there is one `/`, and then zeros.
    #[inline]
    fn word(&self, at: usize) -> Word {
        let rest = self.text.get(at..).unwrap_or_default();
        match rest.first_chunk() {
            Some(eight) => Word(u64::from_le_bytes(*eight)),
            None => {
                let bits = 8 * rest.len() as u32;
                // The shift drops what lies before, which may be all.
                let left = self.last.checked_shr(64 - bits).unwrap_or(0);
                Word(left | u64::from(b'/') << bits)
            }
        }
    }

    /// Where the level ends that begins here with this word.
    #[inline]
    fn end(&self, mut at: usize, mut word: Word) -> usize {
        loop {
            if let Some(position) = word.position(b'/') {
                return at + position;
            }
            at += 8;
            word = self.word(at);
        }
    }

    /// Where this level ends, if it is the one that begins here.
    #[inline]
    fn end_of(&self, at: usize, level: &[u8]) -> Option<usize> {
        let end = at + level.len();
        let ends = self.text.get(end).is_none_or(|byte| *byte == b'/');
        (ends && same(self.text.get(at..end)?, level)).then_some(end)
    }
}

impl Forest {
    /// What the rules of a tree say of a topic name. A deny that is found ends the search: nothing overrides it.
    pub(crate) fn find(&self, root: Root, topic: &Topic<'_>, names: &Names<'_>, allow: Kind, deny: Kind) -> Found {
        let wanted = allow.bit() | deny.bit();
        let mut found = Found::default();
        let Some(mut node) = self.node(root.0).filter(|node| node.kinds & wanted != 0) else { return found };
        let mut id = root.0;
        let denies = node.kinds & deny.bit() != 0;
        // Wildcards match no first level that begins with `$`.
        let mut wild = !topic::is_reserved(topic.text);
        // Where the level below the node begins, which is beyond the end where there is none.
        let mut at = 0;
        // Where the walk goes on when it ends: a node, and where the level below it begins.
        let mut later: SmallVec<[(NodeId, usize); 16]> = SmallVec::new();
        loop {
            let is_end = at > topic.text.len();
            let here = if wild { node.rest_kinds } else { 0 } | if is_end { node.exact_kinds } else { 0 };
            if here & wanted != 0 {
                if wild {
                    self.note(&mut found, node.rest, allow, deny);
                }
                if is_end {
                    self.note(&mut found, node.exact, allow, deny);
                }
                if found.deny.is_some() || (found.allow.is_some() && !denies) {
                    return found;
                }
            }
            // The one to go on with; there rarely are several.
            let mut next = None;
            if !is_end {
                let mut follow = |way: (NodeId, usize)| {
                    if let Some(other) = next.replace(way) {
                        later.push(other);
                    }
                };
                let word = topic.word(at);
                if node.plus != NONE && wild {
                    follow((node.plus, topic.end(at, word) + 1));
                }
                if node.variable != NONE {
                    for (id, child) in self.siblings(node.variable) {
                        let Edge::Variable(variable) = child.edge else { continue };
                        if let Some(end) = names.value(variable).and_then(|value| topic.end_of(at, value)) {
                            follow((id, end + 1));
                        }
                    }
                }
                if node.literal != NONE {
                    if let Some(way) = self.literal_at(id, node, topic, at, word) {
                        follow(way);
                    }
                }
            }
            wild = true;
            loop {
                let Some((way, start)) = next.take().or_else(|| later.pop()) else { return found };
                if let Some(child) = self.node(way).filter(|child| child.kinds & wanted != 0) {
                    (id, node, at) = (way, child, start);
                    break;
                }
            }
        }
    }

    #[inline]
    fn literal_at(&self, id: NodeId, node: &Node, topic: &Topic<'_>, at: usize, word: Word) -> Option<(NodeId, usize)> {
        if node.literals > FEW {
            let end = topic.end(at, word);
            let child = self.literal(id, topic.text.get(at..end)?);
            return (child != NONE).then_some((child, end + 1));
        }
        for (id, child) in self.siblings(node.literal) {
            let Edge::Literal { length, .. } = child.edge else { continue };
            if word.0 << child.shift == child.word {
                let end = at + usize::from(length);
                // Eight bytes or more do not fit a word with the `/` behind them.
                if length < 8 || topic.end_of(at, self.label(child)?).is_some() {
                    return Some((id, end + 1));
                }
            }
        }
        None
    }

    fn note(&self, found: &mut Found, ends: super::EndsId, allow: Kind, deny: Kind) {
        let ends = self.ends(ends);
        found.allow = found.allow.or(ends.of(allow));
        found.deny = found.deny.or(ends.of(deny));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_with_a_slash_and_zeros() {
        for length in 0..30 {
            let text: Vec<u8> = (b'A'..).take(length).collect();
            let topic = Topic::new(&text);
            for at in 0..=length {
                let mut expected: Vec<u8> = text[at..].iter().copied().chain([b'/']).chain([0; 8]).collect();
                expected.truncate(8);
                assert_eq!(topic.word(at).0.to_le_bytes(), *expected, "{length} {at}");
                assert_eq!(topic.end(at, topic.word(at)), length);
            }
        }
    }

    #[test]
    fn levels_end_where_they_end() {
        let topic = Topic::new(b"a/bc//12345678/x");
        for (at, level, end) in [
            (0, "a", Some(1)),
            (2, "bc", Some(4)),
            (2, "b", None),
            (5, "", Some(5)),
            (6, "12345678", Some(14)),
            (15, "x", Some(16)),
        ] {
            assert_eq!(topic.end_of(at, level.as_bytes()), end, "{at} {level}");
        }
        assert_eq!(topic.end_of(15, b"xy"), None);
    }
}
