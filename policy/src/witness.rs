//! Topics and filters that stand for all others: so many that two authorities which decide alike about these decide alike
//! about every topic.
//!
//! Whatever decides by matching filters tells two topics apart only if some filter matches one of them and not the other.
//! Which filters match is found level by level: a topic's first levels leave some filters possible, each at some point, and
//! have decided for some that end in `#`. Two beginnings that leave the same are followed by the same, so one of them is
//! enough; and of the texts for a level, those that no filter names leave the same, so one of *them* is enough. That makes
//! a finite number of cases, which [`Walk::topics`] walks breadth first: each topic that it finds stands for all topics
//! that the same filters match. First levels that begin with `$` are told apart from the others, so it also holds for those
//! who let wildcards match them.
//!
//! A subscription is decided by the topics that its filter matches, that is by which of these cases it reaches, or, by those
//! who compare texts, by the filters that it is contained in, level by level, or is the same text as. [`Walk::filters`] walks
//! along all three at once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use crate::decision::Client;
use crate::policy::{Policy, SetId};
use crate::template::{Level, Names, Template, Variable};
use crate::topic::{self, is_reserved};

/// The filters that two authorities decide by.
#[derive(Debug)]
pub struct Filters {
    nodes: Vec<Node>,
}

/// The filters that go on in the same way from here.
#[derive(Debug, Default)]
struct Node {
    literals: BTreeMap<Box<[u8]>, NodeId>,
    plus: Option<NodeId>,
    /// Whether one of them goes on with `#`.
    rest: bool,
}

type NodeId = u32;
const ROOT: NodeId = 0;

/// What the first levels of a topic leave.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Case {
    /// Where the filters stand that are still possible.
    active: Vec<NodeId>,
    /// The filters that end in `#` and match already.
    passed: Vec<NodeId>,
    /// Whether the first level begins with `$`.
    reserved: bool,
}

/// The number of a case.
pub type CaseId = u32;

/// A text for a level.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Text {
    Named(Box<[u8]>),
    /// One that no filter names.
    Other,
    /// The same, beginning with `$`; first levels only.
    OtherReserved,
}

/// Whether everything was looked at.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All cases.
    Whole,
    /// There were more than was allowed.
    Part,
}

impl Extent {
    /// Both, or only a part of either.
    pub fn and(self, other: Self) -> Self {
        if self == Self::Whole { other } else { Self::Part }
    }
}

impl Default for Filters {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl Filters {
    /// Adds a filter; `+` and `#` are what they are in MQTT, everything else is itself.
    pub fn insert(&mut self, filter: &[u8]) {
        let mut at = ROOT;
        for level in topic::levels(filter) {
            at = match level {
                b"#" => {
                    if let Some(node) = self.nodes.get_mut(at as usize) {
                        node.rest = true;
                    }
                    return;
                }
                b"+" => match self.node(at).and_then(|node| node.plus) {
                    Some(child) => child,
                    None => {
                        let child = self.push();
                        if let Some(node) = self.nodes.get_mut(at as usize) {
                            node.plus = Some(child);
                        }
                        child
                    }
                },
                text => match self.node(at).and_then(|node| node.literals.get(text).copied()) {
                    Some(child) => child,
                    None => {
                        let child = self.push();
                        if let Some(node) = self.nodes.get_mut(at as usize) {
                            node.literals.insert(text.into(), child);
                        }
                        child
                    }
                },
            };
        }
    }

    /// Whether some filter names this text as a level.
    #[must_use]
    pub fn names(&self, level: &[u8]) -> bool {
        self.nodes.iter().any(|node| node.literals.contains_key(level))
    }

    /// The texts that filters name as levels.
    #[must_use]
    pub fn texts(&self) -> BTreeSet<&[u8]> {
        self.nodes.iter().flat_map(|node| node.literals.keys().map(|text| &**text)).collect()
    }

    /// A text that no filter names as a level.
    #[must_use]
    pub fn other(&self) -> Vec<u8> {
        let mut number = 0_u32;
        loop {
            let text = if number == 0 { "other".to_owned() } else { format!("other{number}") };
            if !self.names(text.as_bytes()) && !self.names(format!("${text}").as_bytes()) {
                return text.into_bytes();
            }
            number += 1;
        }
    }

    /// Starts to walk along them.
    #[must_use]
    pub fn walk(&self) -> Walk<'_> {
        Walk::new(self)
    }

    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    fn child(&self, id: NodeId, text: &Text) -> Option<NodeId> {
        match text {
            Text::Named(text) => self.node(id)?.literals.get(text).copied(),
            _ => None,
        }
    }

    fn push(&mut self) -> NodeId {
        // Each node takes a byte of some filter at least, and nobody compares 4 GiB of them.
        let id = NodeId::try_from(self.nodes.len()).unwrap_or(ROOT);
        self.nodes.push(Node::default());
        id
    }
}

/// What the first levels of a filter leave.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Along {
    /// The cases of the topics that begin so.
    cases: Vec<CaseId>,
    /// The case of the filters that it is contained in level by level: only a wildcard contains a wildcard, as only a
    /// wildcard matches a text that nobody names.
    contained: CaseId,
    /// Where the filters stand that begin with the same text.
    text: Option<NodeId>,
}

/// A filter that stands for all that reach the same cases.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The filter.
    pub filter: Vec<u8>,
    /// The cases of the topics at the end of its levels, `#` apart.
    cases: Vec<CaseId>,
    /// Whether `#` follows; if not even the level before it counts, only what is below.
    rest: Rest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    None,
    All,
    Below,
}

/// The cases found so far, by number.
#[derive(Debug)]
pub struct Walk<'f> {
    filters: &'f Filters,
    all: Vec<Case>,
    numbers: HashMap<Case, CaseId>,
    steps: HashMap<(CaseId, Text), CaseId>,
    first: CaseId,
    other: Vec<u8>,
}

impl<'f> Walk<'f> {
    fn new(filters: &'f Filters) -> Self {
        let mut walk = Self {
            filters,
            all: Vec::new(),
            numbers: HashMap::new(),
            steps: HashMap::new(),
            first: 0,
            other: filters.other(),
        };
        walk.first = walk.number(Case { active: vec![ROOT], passed: Vec::new(), reserved: false });
        walk
    }

    /// A topic name for each case, with the number of the case: short ones first, and `most` at most.
    pub fn topics(&mut self, most: usize) -> (Vec<(CaseId, Vec<u8>)>, Extent) {
        let mut topics = Vec::new();
        let mut seen: HashSet<CaseId> = HashSet::new();
        let mut queue = VecDeque::from([(self.first, Vec::new(), true)]);
        while let Some((case, path, is_root)) = queue.pop_front() {
            for text in self.texts(case) {
                let next = self.step(case, &text);
                let path = self.extend(&path, is_root, &text);
                // The empty text is no topic, but `/` and what follows are.
                if path.is_empty() {
                    queue.push_back((next, path, false));
                    continue;
                }
                if !seen.insert(next) {
                    continue;
                }
                if topics.len() >= most {
                    return (topics, Extent::Part);
                }
                topics.push((next, path.clone()));
                queue.push_back((next, path, false));
            }
        }
        (topics, Extent::Whole)
    }

    /// A topic filter for each way to subscribe: short ones first, and some `most` at most.
    pub fn filters(&mut self, most: usize) -> (Vec<Subscription>, Extent) {
        let everything = Subscription { filter: b"#".to_vec(), cases: vec![self.first], rest: Rest::Below };
        // Not like `other/#`: the topic before its `/` would be the empty one, which does not exist.
        let blank = self.step(self.first, &Text::Named(b"".as_slice().into()));
        let below_blank = Subscription { filter: b"/#".to_vec(), cases: vec![blank], rest: Rest::Below };
        let mut found = vec![everything, below_blank];
        let mut seen: HashSet<Along> = HashSet::new();
        let first = Along { cases: vec![self.first], contained: self.first, text: Some(ROOT) };
        let mut queue = VecDeque::from([(first, Vec::new(), true)]);
        while let Some((along, path, is_root)) = queue.pop_front() {
            let texts: BTreeSet<Text> = along.cases.iter().flat_map(|case| self.texts(*case)).collect();
            for text in texts.iter().map(Some).chain([None]) {
                let (next, path) = self.filter_step(&along, &path, is_root, text);
                if !seen.insert(next.clone()) {
                    continue;
                }
                if found.len() >= most {
                    return (found, Extent::Part);
                }
                if !path.is_empty() {
                    let (cases, filter) = (next.cases.clone(), [&path, &b"/#"[..]].concat());
                    found.push(Subscription { filter: path.clone(), cases: cases.clone(), rest: Rest::None });
                    found.push(Subscription { filter, cases, rest: Rest::All });
                }
                queue.push_back((next, path, false));
            }
        }
        (found, Extent::Whole)
    }

    /// The cases of all topics that the filter matches. The empty topic, which does not exist, may be one of them; no topic
    /// stands for it alone.
    pub fn reached(&mut self, subscription: &Subscription) -> Vec<CaseId> {
        let mut reached = subscription.cases.clone();
        let mut next = match subscription.rest {
            Rest::None => return reached,
            Rest::All => reached.clone(),
            Rest::Below => std::mem::take(&mut reached),
        };
        let mut seen: HashSet<CaseId> = reached.iter().copied().collect();
        while let Some(case) = next.pop() {
            for text in self.texts(case) {
                // Only `#` itself begins at the first level, and does not match what begins with `$`.
                if case == self.first && text.is_reserved() {
                    continue;
                }
                let child = self.step(case, &text);
                if seen.insert(child) {
                    reached.push(child);
                    next.push(child);
                }
            }
        }
        reached
    }

    /// The text is a literal or, if there is none, `+`.
    fn filter_step(&mut self, along: &Along, path: &[u8], is_root: bool, text: Option<&Text>) -> (Along, Vec<u8>) {
        if let Some(text) = text {
            let next = Along {
                cases: sorted(along.cases.iter().map(|case| self.step(*case, text)).collect()),
                contained: self.step(along.contained, text),
                text: along.text.and_then(|node| self.filters.child(node, text)),
            };
            return (next, self.extend(path, is_root, text));
        }
        let mut cases = Vec::new();
        for case in &along.cases {
            for text in self.texts(*case) {
                if !(is_root && text.is_reserved()) {
                    cases.push(self.step(*case, &text));
                }
            }
        }
        let next = Along {
            cases: sorted(cases),
            contained: self.step(along.contained, &Text::Other),
            text: along.text.and_then(|node| self.filters.node(node)?.plus),
        };
        let separator: &[u8] = if is_root { b"" } else { b"/" };
        (next, [path, separator, b"+"].concat())
    }

    fn number(&mut self, case: Case) -> CaseId {
        if let Some(number) = self.numbers.get(&case) {
            return *number;
        }
        let number = CaseId::try_from(self.all.len()).unwrap_or(CaseId::MAX);
        self.all.push(case.clone());
        self.numbers.insert(case, number);
        number
    }

    /// The texts for the next level that may make a difference.
    fn texts(&self, case: CaseId) -> Vec<Text> {
        let Some(state) = self.all.get(case as usize) else { return Vec::new() };
        let named: BTreeSet<&[u8]> = state
            .active
            .iter()
            .filter_map(|node| self.filters.node(*node))
            .flat_map(|node| node.literals.keys().map(|text| &**text))
            .collect();
        let mut texts: Vec<Text> = named.into_iter().map(|text| Text::Named(text.into())).collect();
        texts.push(Text::Other);
        if case == self.first {
            texts.push(Text::OtherReserved);
        }
        texts
    }

    fn step(&mut self, from: CaseId, text: &Text) -> CaseId {
        if let Some(known) = self.steps.get(&(from, text.clone())) {
            return *known;
        }
        let Some(state) = self.all.get(from as usize) else { return from };
        let mut passed = state.passed.clone();
        let mut active = Vec::new();
        for id in &state.active {
            let Some(node) = self.filters.node(*id) else { continue };
            if node.rest {
                passed.push(*id);
            }
            active.extend(self.filters.child(*id, text));
            active.extend(node.plus);
        }
        let reserved = if from == self.first { text.is_reserved() } else { state.reserved };
        let next = self.number(Case { active: sorted(active), passed: sorted(passed), reserved });
        self.steps.insert((from, text.clone()), next);
        next
    }

    fn extend(&self, path: &[u8], is_root: bool, text: &Text) -> Vec<u8> {
        let mut longer = path.to_vec();
        if !is_root {
            longer.push(b'/');
        }
        match text {
            Text::Named(text) => longer.extend_from_slice(text),
            Text::Other => longer.extend_from_slice(&self.other),
            Text::OtherReserved => {
                longer.push(b'$');
                longer.extend_from_slice(&self.other);
            }
        }
        longer
    }
}

impl Text {
    fn is_reserved(&self) -> bool {
        match self {
            Self::Named(text) => is_reserved(text),
            Self::Other => false,
            Self::OtherReserved => true,
        }
    }
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items.dedup();
    items
}

impl Policy {
    /// Adds the filters that decide what this client may do, with its names filled in.
    pub fn add_filters(&self, client: &Client<'_>, filters: &mut Filters) {
        let names = Names::new(client.user, client.id, self.attributes_of(client));
        for set in self.sets_of(client) {
            self.add_filters_of_set(set, |variable| names.value(variable), filters);
        }
    }

    /// The same for one rule set, given what its variables stand for.
    pub(crate) fn add_filters_of_set<'v>(
        &self,
        set: SetId,
        value: impl Fn(Variable) -> Option<&'v [u8]>,
        filters: &mut Filters,
    ) {
        'rules: for (_, rule) in self.rules.of(set) {
            let Ok(template) = Template::parse(rule.text) else { continue };
            let mut filter = Vec::new();
            for (at, level) in template.levels.iter().enumerate() {
                if at > 0 {
                    filter.push(b'/');
                }
                let text = match level {
                    Level::Literal(text) => Some(text.as_bytes()),
                    Level::Plus => Some(&b"+"[..]),
                    Level::Rest => Some(&b"#"[..]),
                    Level::User => value(Variable::User),
                    Level::Client => value(Variable::Client),
                    Level::Attribute(name) => {
                        self.forest.attribute(name).and_then(|attribute| value(Variable::Attribute(attribute)))
                    }
                };
                let Some(text) = text else { continue 'rules };
                filter.extend_from_slice(text);
            }
            filters.insert(&filter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(texts: &[&str]) -> Filters {
        let mut filters = Filters::default();
        for text in texts {
            filters.insert(text.as_bytes());
        }
        filters
    }

    fn topics(texts: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        let filters = filters(texts);
        let (topics, extent) = filters.walk().topics(10_000);
        found.extend(topics.into_iter().map(|(_, topic)| String::from_utf8(topic).unwrap()));
        assert_eq!(extent, Extent::Whole);
        found
    }

    #[test]
    fn one_topic_for_each_case() {
        assert_eq!(topics(&[]), ["other", "$other"]);
        let found = topics(&["a/+/c"]);
        for topic in ["a", "other", "$other", "a/other", "a/other/c"] {
            assert!(found.contains(&topic.to_owned()), "{topic}: {found:?}");
        }
        assert_eq!(found.len(), 5, "{found:?}");
    }

    #[test]
    fn the_text_that_nobody_names_is_named_by_nobody() {
        assert_eq!(filters(&["other/$other1"]).other(), b"other2");
    }

    #[test]
    fn too_many_cases_are_told() {
        assert_eq!(filters(&["a/b", "c/d"]).walk().topics(3).1, Extent::Part);
        assert_eq!(filters(&["a/b", "c/d"]).walk().filters(4).1, Extent::Part);
    }
}
