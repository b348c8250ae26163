//! What the rules say of a topic name.

use smallvec::SmallVec;

use super::{Children, Edge, FEW, Forest, Kind, Kinds, NONE, Node, Root};
use crate::bytes::{Word, same};
use crate::decision::RuleId;
use crate::template::{Names, Variable};
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

/// What to look for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) allow: Kind,
    pub(crate) deny: Kind,
}

/// Of a literal this long or longer a word holds but a part, and not the `/` behind it.
const LONG: usize = 8;

impl Node {
    /// Whether the level that begins with this word is this literal or, where that is long, may be.
    #[inline]
    fn is_literal(&self, word: Word) -> bool {
        word.0.wrapping_shl(u32::from(self.shift)) == self.word
    }

    /// The length of a literal.
    #[inline]
    fn length(&self) -> usize {
        match self.edge {
            Edge::Literal { length, .. } => usize::from(length),
            _ => 0,
        }
    }
}

impl Forest {
    /// What the rules of a tree say of a topic name. A deny that is found ends the search: nothing overrides it.
    #[inline]
    pub(crate) fn find(&self, root: Root, topic: &Topic<'_>, names: &Names<'_>, wanted: Wanted) -> Found {
        let Some(root) = self.node(root.0) else { return Found::default() };
        if root.kinds.has(wanted.deny.bit(), Kinds::BELOW) {
            Walk::<true> { forest: self, topic, names, wanted }.from(root)
        } else {
            Walk::<false> { forest: self, topic, names, wanted }.from(root)
        }
    }
}

/// A walk down one tree, along one topic.
///
/// `DENIES` is whether the tree has any deny of that kind: in one without, the first rule found decides.
struct Walk<'w, const DENIES: bool> {
    forest: &'w Forest,
    topic: &'w Topic<'w>,
    names: &'w Names<'w>,
    wanted: Wanted,
}

/// A node, and a place in the topic: where the level below it begins, which is beyond the end where there is none; or, of a way
/// that leads there, where its own level ends.
type Place<'w> = (&'w Node, usize);

impl<'w, const DENIES: bool> Walk<'w, DENIES> {
    /// Where but one way leads on from each node, as in most trees, it keeps little in mind but the node and the place in the
    /// topic; where several do, it goes along one and comes back for the others.
    #[inline(never)]
    fn from(&self, root: &'w Node) -> Found {
        let Self { forest, topic, names, .. } = *self;
        let mut found = Found::default();
        let mut later: SmallVec<[Place<'w>; 16]> = SmallVec::new();
        let (mut node, mut at) = (root, 0);
        if topic::is_reserved(topic.text) {
            // Wildcards do not match a first level that begins with `$`, nor do variables stand for it.
            let Some((first, end)) = self.literals(root, 0) else { return found };
            (node, at) = (first, end.wrapping_add(1));
        }
        loop {
            while node.kinds.has(self.kinds(), Kinds::BELOW) {
                if self.is_decided((node, at), &mut found) {
                    return found;
                }
                if self.is_end((node, at)) {
                    break;
                }
                let next = match node.children {
                    Children::FewLiterals => self.few_literals(node, at),
                    Children::ManyLiterals => self.many_literals(node, at),
                    Children::Plus => forest.node(node.plus).map(|child| (child, topic.end(at, topic.word(at)))),
                    Children::User => {
                        let end = names.value(Variable::User).and_then(|name| topic.end_of(at, name));
                        forest.node(node.variable).zip(end)
                    }
                    Children::None => None,
                    Children::Mixed => self.ways((node, at), &mut later),
                };
                let Some((child, end)) = next else { break };
                (node, at) = (child, end.wrapping_add(1));
            }
            match later.pop() {
                Some((other, end)) => (node, at) = (other, end.wrapping_add(1)),
                None => return found,
            }
        }
    }

    /// The kinds of rules that bear on this.
    #[inline]
    fn kinds(&self) -> u8 {
        if DENIES { self.wanted.allow.bit() | self.wanted.deny.bit() } else { self.wanted.allow.bit() }
    }

    #[inline]
    fn is_end(&self, (_, at): Place<'_>) -> bool {
        at > self.topic.text.len()
    }

    /// Notes the rules that end here and fit. Says whether that decides.
    #[inline]
    fn is_decided(&self, place: Place<'_>, found: &mut Found) -> bool {
        #[cfg(test)]
        tests::VISITS.with(|visits| visits.set(visits.get() + 1));
        let node = place.0;
        let rest = node.kinds.has(self.kinds(), Kinds::REST);
        let exact = self.is_end(place) && node.kinds.has(self.kinds(), Kinds::EXACT);
        if !rest && !exact {
            return false;
        }
        for (_, ends) in [(rest, node.rest), (exact, node.exact)].into_iter().filter(|(fits, _)| *fits) {
            let ends = self.forest.ends(ends);
            found.allow = found.allow.or(ends.of(self.wanted.allow));
            if DENIES {
                found.deny = found.deny.or(ends.of(self.wanted.deny));
            }
        }
        if DENIES { found.deny.is_some() } else { found.allow.is_some() }
    }

    /// Where the next level of the topic leads to, and where that level ends: at most one by a literal, and by `+`, and by
    /// variables. One to go along, and the others for later.
    #[inline]
    fn ways(&self, (node, at): Place<'w>, later: &mut SmallVec<[Place<'w>; 16]>) -> Option<Place<'w>> {
        let Self { forest, topic, names, .. } = *self;
        let leads_on = |(child, _): &Place<'w>| child.kinds.has(self.kinds(), Kinds::BELOW);
        let mut way: Option<Place<'w>> = None;
        let mut follow = |other: Option<Place<'w>>| {
            if let Some(before) = other.filter(leads_on).and_then(|other| way.replace(other)) {
                later.push(before);
            }
        };
        if node.plus != NONE {
            follow(forest.node(node.plus).map(|child| (child, topic.end(at, topic.word(at)))));
        }
        if node.variable != NONE {
            for (_, child) in forest.siblings(node.variable) {
                let Edge::Variable(variable) = child.edge else { continue };
                follow(names.value(variable).and_then(|value| topic.end_of(at, value)).map(|end| (child, end)));
            }
        }
        follow(self.literals(node, at));
        way
    }

    #[inline]
    fn literals(&self, node: &Node, at: usize) -> Option<Place<'w>> {
        if node.literals > FEW { self.many_literals(node, at) } else { self.few_literals(node, at) }
    }

    /// The literal child that the next level of the topic is, and where that level ends: looked through one by one.
    #[inline]
    fn few_literals(&self, node: &Node, at: usize) -> Option<Place<'w>> {
        let Self { forest, topic, .. } = *self;
        let word = topic.word(at);
        let mut child = forest.child(node.literal)?;
        while !child.is_literal(word) || (child.length() >= LONG && !self.is_whole(child, at)) {
            child = forest.child(child.next)?;
        }
        Some((child, at.wrapping_add(child.length())))
    }

    /// The same, looked up.
    #[inline]
    fn many_literals(&self, node: &Node, at: usize) -> Option<Place<'w>> {
        let Self { forest, topic, .. } = *self;
        let end = topic.end(at, topic.word(at));
        let child = forest.one_of_many(node, topic.text.get(at..end)?);
        Some((forest.child(child)?, end))
    }

    fn is_whole(&self, child: &Node, at: usize) -> bool {
        self.forest.label(child).is_some_and(|label| self.topic.end_of(at, label).is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::template::Template;

    thread_local! {
        /// The nodes that walks along all ways have looked at.
        pub(super) static VISITS: Cell<u32> = const { Cell::new(0) };
    }

    const WANTED: Wanted = Wanted { allow: Kind::AllowPublish, deny: Kind::DenyPublish };

    fn forest(filters: impl Iterator<Item = (String, Kind)>) -> (Forest, Root) {
        let mut forest = Forest::new();
        let root = forest.plant();
        for (number, (filter, kind)) in filters.enumerate() {
            let rule = RuleId(u32::try_from(number).unwrap());
            forest.insert(root, &Template::parse(&filter).unwrap(), kind, rule);
        }
        (forest, root)
    }

    fn visits(forest: &Forest, root: Root, topic: &str) -> u32 {
        VISITS.set(0);
        forest.find(root, &Topic::new(topic.as_bytes()), &Names::new(Some(b"u"), b"c", &[]), WANTED);
        VISITS.get()
    }

    /// All filters of so many levels of these texts.
    fn all_filters(levels: u32, texts: &[&str]) -> Vec<String> {
        (1..levels).fold(texts.iter().map(|text| (*text).to_owned()).collect(), |filters: Vec<String>, _| {
            filters.iter().flat_map(|filter| texts.iter().map(move |text| format!("{filter}/{text}"))).collect()
        })
    }

    #[test]
    fn a_walk_visits_what_the_topic_reaches_and_nothing_twice() {
        // Nothing fits in the end, so nothing cuts the walk short; a deny elsewhere keeps an allow from doing so.
        let rules = all_filters(9, &["a", "+"]);
        let (forest, root) = forest(
            rules.iter().map(|rule| (format!("{rule}/z"), Kind::AllowPublish)).chain([("z".into(), Kind::DenyPublish)]),
        );
        let all = u32::try_from(forest.nodes.len()).unwrap();
        assert_eq!(visits(&forest, root, "a/a/a/a/a/a/a/a/a"), (1 << 10) - 1, "the whole tree but its `z`");
        assert_eq!(visits(&forest, root, "a/a/a/a/a/a/a/a/a/y"), (1 << 10) - 1);
        assert_eq!(visits(&forest, root, "b/b/b/b/b/b/b/b/b/y"), 10, "only what `+` reaches");
        assert_eq!(visits(&forest, root, &"a".repeat(65_535)), 2, "a long level is one");
        assert!(visits(&forest, root, &vec!["a"; 200].join("/")) <= all);
        assert!(forest.costly(0).iter().any(|(most, _)| (1 << 10..all).contains(most)));
    }

    #[test]
    fn no_topic_costs_more_than_the_policy_is_said_to() {
        let mut dice = 0x2545_f491_4f6c_dd1d_u64;
        let mut roll = move |sides: usize| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice as usize % sides
        };
        let texts = ["a", "b", "c", "long-literal", "+", "%u", "%c", ""];
        for _ in 0..300 {
            let rules: Vec<String> = (0..roll(60))
                .map(|_| (0..=roll(5)).map(|_| texts[roll(texts.len())]).collect::<Vec<_>>().join("/"))
                .filter(|rule| !rule.is_empty())
                .collect();
            let kinds = [Kind::AllowPublish, Kind::DenyPublish];
            let (forest, root) = forest(rules.into_iter().enumerate().map(|(at, rule)| (rule, kinds[at % 2])));
            let most = forest.costly(0).last().map_or(0, |(most, _)| *most);
            for _ in 0..30 {
                let levels = ["a", "b", "c", "u", "long-literal", ""];
                let topic = (0..=roll(5)).map(|_| levels[roll(levels.len())]).collect::<Vec<_>>().join("/");
                if !topic.is_empty() {
                    let visits = visits(&forest, root, &topic);
                    assert!(visits <= most, "{topic}: {visits} > {most}");
                }
            }
        }
    }

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
