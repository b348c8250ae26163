//! The compiled form of a rule set's filters: one tree, in which a literal, `+`, `%u` and `%c` are kinds of edges and
//! `#` is a mark on a node.
//!
//! A tree is built once and then only read. All walks are loops over an explicit stack (CVE-2019-11779 is what
//! recursion does), no walk visits a node twice, and none visits a node below which nothing of the wanted kind stands.

use std::hash::BuildHasher;
use std::ops::ControlFlow;

use hashbrown::{DefaultHashBuilder, HashTable};
use smallvec::SmallVec;

use crate::decision::RuleId;
use crate::template::{self, Names, Template, is_usable};
use crate::topic::{Level, is_reserved};

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    AllowPublish,
    /// Grants a subscription; whoever inserts it inserts [`Kind::AllowReceive`] as well.
    AllowSubscribe,
    AllowReceive,
    DenyPublish,
    /// Denies a delivery, and a subscription that meets it.
    DenySubscribe,
}

impl Kind {
    const COUNT: usize = 5;

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The rules that end at one point of the tree: the first one of each kind.
#[derive(Clone, Copy, Debug, Default)]
struct Ends([Option<RuleId>; Kind::COUNT]);

impl Ends {
    fn of(&self, kind: Kind) -> Option<RuleId> {
        self.0.get(kind as usize).copied().flatten()
    }

    fn add(&mut self, kind: Kind, rule: RuleId) {
        if let Some(slot) = self.0.get_mut(kind as usize) {
            slot.get_or_insert(rule);
        }
    }
}

/// How a node is reached from its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
    Root,
    /// By this text, a piece of the tree's.
    Literal {
        start: u32,
        length: u32,
    },
    Plus,
    User,
    Client,
}

/// The index of a node. The root is no node's child, so 0 also says "none".
type NodeId = u32;
const ROOT: NodeId = 0;

#[derive(Debug)]
struct Node {
    parent: NodeId,
    edge: Edge,
    plus: NodeId,
    user: NodeId,
    client: NodeId,
    /// The literal children are a list; where it is long, a lookup by text goes through the table.
    first_literal: NodeId,
    next_literal: NodeId,
    literals: u32,
    /// The kinds of rules that end here or below.
    kinds: u8,
    /// Rules that end with this level.
    exact: EndsId,
    /// Rules that go on with `#` from here, which covers this level too.
    rest: EndsId,
}

/// The index of the rules that end at one point. 0 is none.
type EndsId = u32;
const NOTHING: EndsId = 0;

/// So many literal children are looked through one by one.
const FEW: u32 = 4;

impl Node {
    fn new(parent: NodeId, edge: Edge) -> Self {
        Self {
            parent,
            edge,
            plus: 0,
            user: 0,
            client: 0,
            first_literal: 0,
            next_literal: 0,
            literals: 0,
            kinds: 0,
            exact: NOTHING,
            rest: NOTHING,
        }
    }

    fn has(&self, kinds: u8) -> bool {
        self.kinds & kinds != 0
    }

    fn is_empty_level(&self) -> bool {
        matches!(self.edge, Edge::Literal { length: 0, .. })
    }
}

/// The rules of one rule set.
#[derive(Debug)]
pub(crate) struct RuleTree {
    nodes: Vec<Node>,
    /// What the literals' edges say, one after another.
    text: Vec<u8>,
    /// The first is nothing.
    ends: Vec<Ends>,
    /// (parent, text of the level) to literal child.
    literals: HashTable<NodeId>,
    hasher: DefaultHashBuilder,
}

/// What the rules of a tree say of one topic.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    pub(crate) allow: Option<RuleId>,
    pub(crate) deny: Option<RuleId>,
}

impl RuleTree {
    pub(crate) fn new() -> Self {
        Self {
            nodes: vec![Node::new(ROOT, Edge::Root)],
            text: Vec::new(),
            ends: vec![Ends::default()],
            literals: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    pub(crate) fn insert(&mut self, template: &Template<'_>, kind: Kind, rule: RuleId) {
        let mut at = ROOT;
        let mut rest = false;
        for level in &template.levels {
            at = match level {
                template::Level::Literal(text) => self.literal_or_new(at, text.as_bytes()),
                template::Level::Plus => self.child_or_new(at, Edge::Plus),
                template::Level::User => self.child_or_new(at, Edge::User),
                template::Level::Client => self.child_or_new(at, Edge::Client),
                template::Level::Rest => {
                    rest = true;
                    break;
                }
            };
        }
        // A load reads at most 2^30 bytes, and each rule takes one.
        let new = EndsId::try_from(self.ends.len()).unwrap_or(NOTHING);
        if let Some(node) = self.nodes.get_mut(at as usize) {
            let ends = if rest { &mut node.rest } else { &mut node.exact };
            if *ends == NOTHING {
                *ends = new;
                self.ends.push(Ends::default());
            }
            if let Some(ends) = self.ends.get_mut(*ends as usize) {
                ends.add(kind, rule);
            }
        }
        loop {
            let Some(node) = self.node_mut(at) else { return };
            node.kinds |= kind.bit();
            if at == ROOT {
                return;
            }
            at = node.parent;
        }
    }

    /// Whether any rule of this kind is in the tree.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.node(ROOT).is_some_and(|root| root.has(kind.bit()))
    }

    /// What the rules say of a topic name. A deny that is found ends the search: nothing overrides it.
    pub(crate) fn find(&self, topic: &[u8], names: &Names<'_>, allow: Kind, deny: Kind) -> Found {
        let wanted = allow.bit() | deny.bit();
        let denies = self.has(deny);
        let reserved = is_reserved(topic);
        let mut found = Found::default();
        // A node and where the level below it begins in the topic; and those to look at after it.
        let (mut id, mut start) = (ROOT, 0);
        let mut later: SmallVec<[(NodeId, usize); 16]> = SmallVec::new();
        loop {
            if let Some(node) = self.node(id).filter(|node| node.has(wanted)) {
                let wild = !(reserved && id == ROOT);
                if wild && node.rest != NOTHING {
                    found.add(self.ends(node.rest), allow, deny);
                }
                let below = topic.get(start..);
                if below.is_none() && node.exact != NOTHING {
                    found.add(self.ends(node.exact), allow, deny);
                }
                if found.deny.is_some() || (found.allow.is_some() && !denies) {
                    return found;
                }
                if let Some(below) = below {
                    if wild && node.plus != 0 {
                        later.push((node.plus, start + level(below).len() + 1));
                    }
                    if let Some(name) = names.user.filter(|name| node.user != 0 && begins_with(below, name)) {
                        later.push((node.user, start + name.len() + 1));
                    }
                    if node.client != 0 && begins_with(below, names.client) && is_usable(names.client) {
                        later.push((node.client, start + names.client.len() + 1));
                    }
                    if let Some((child, length)) = self.literal_at(node, id, below) {
                        (id, start) = (child, start + length + 1);
                        continue;
                    }
                }
            }
            match later.pop() {
                Some(next) => (id, start) = next,
                None => return found,
            }
        }
    }

    /// Visits every rule of this kind that has a topic in common with the filter, looking at so many nodes at most.
    pub(crate) fn meet<'m, B>(
        &'m self,
        filter: &'m [Level<'m>],
        names: Names<'m>,
        kind: Kind,
        most: usize,
        mut visit: impl FnMut(Meeting<'m>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let wanted = kind.bit();
        let reserved = filter.first().is_some_and(|level| level.is_reserved());
        // Each entry is a node and its depth, which is the filter's level that comes next, until that is `#`; and whether
        // the literals after it in its parent's list are meant too, which may be many.
        let mut stack: Vec<(NodeId, usize, bool)> = vec![(ROOT, 0, false)];
        for _ in 0..most {
            let Some((id, depth, siblings)) = stack.pop() else { break };
            let Some(node) = self.node(id) else { continue };
            if siblings && node.next_literal != 0 {
                stack.push((node.next_literal, depth, true));
            }
            let hidden = siblings && depth == 1 && self.label(node).is_some_and(is_reserved);
            if hidden || !node.has(wanted) {
                continue;
            }
            let level = match filter.get(depth) {
                None if filter.last() == Some(&Level::Rest) => Some(Level::Rest),
                level => level.copied(),
            };
            // Where all that the two have in common at this level is the empty topic, they have nothing there.
            let is_empty = depth == 1 && (node.is_empty_level() || filter.first() == Some(&Level::Literal(b"")));
            if !(reserved && id == ROOT || is_empty && level.is_none()) {
                if let Some(rule) = self.ends(node.rest).of(kind) {
                    visit(Meeting { rule, tree: self, node: id, rest: true, filter, names })?;
                }
            }
            if id != ROOT && !is_empty && matches!(level, None | Some(Level::Rest)) {
                if let Some(rule) = self.ends(node.exact).of(kind) {
                    visit(Meeting { rule, tree: self, node: id, rest: false, filter, names })?;
                }
            }
            let Some(level) = level else { continue };
            let mut follow = |child: NodeId| {
                if child != 0 {
                    stack.push((child, depth + 1, false));
                }
            };
            if let Level::Literal(text) = level {
                if !(reserved && id == ROOT) {
                    follow(node.plus);
                }
                if names.user_is(text) {
                    follow(node.user);
                }
                if names.client_is(text) {
                    follow(node.client);
                }
                follow(self.literal(id, text));
                continue;
            }
            follow(node.plus);
            if names.user_level().is_some() {
                follow(node.user);
            }
            if names.client_level().is_some() {
                follow(node.client);
            }
            if node.first_literal != 0 {
                stack.push((node.first_literal, depth + 1, true));
            }
        }
        ControlFlow::Continue(())
    }

    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id as usize)
    }

    fn ends(&self, id: EndsId) -> &Ends {
        static NONE: Ends = Ends([None; Kind::COUNT]);
        self.ends.get(id as usize).unwrap_or(&NONE)
    }

    /// The text of a literal edge.
    fn label(&self, node: &Node) -> Option<&[u8]> {
        match node.edge {
            Edge::Literal { start, length } => self.text.get(start as usize..)?.get(..length as usize),
            _ => None,
        }
    }

    /// The literal child that the topic goes on with, and the length of that level.
    fn literal_at(&self, node: &Node, id: NodeId, below: &[u8]) -> Option<(NodeId, usize)> {
        if node.literals > FEW {
            let level = level(below);
            return Some((self.literal(id, level), level.len())).filter(|(child, _)| *child != 0);
        }
        let mut child = node.first_literal;
        while child != 0 {
            let node = self.node(child)?;
            if let Some(label) = self.label(node).filter(|label| begins_with(below, label)) {
                return Some((child, label.len()));
            }
            child = node.next_literal;
        }
        None
    }

    fn hash(&self, parent: NodeId, text: &[u8]) -> u64 {
        self.hasher.hash_one((parent, text))
    }

    /// The literal child of this text, or 0.
    fn literal(&self, parent: NodeId, text: &[u8]) -> NodeId {
        self.literals
            .find(self.hash(parent, text), |id| {
                self.node(*id).is_some_and(|node| node.parent == parent && self.label(node) == Some(text))
            })
            .copied()
            .unwrap_or(0)
    }

    fn literal_or_new(&mut self, parent: NodeId, text: &[u8]) -> NodeId {
        let known = self.literal(parent, text);
        if known != 0 {
            return known;
        }
        // As in `push`, all of this fits.
        let start = u32::try_from(self.text.len()).unwrap_or(0);
        let length = u32::try_from(text.len()).unwrap_or(0);
        self.text.extend_from_slice(text);
        let new = self.push(parent, Edge::Literal { start, length });
        let next = self.node_mut(parent).map(|node| {
            node.literals += 1;
            std::mem::replace(&mut node.first_literal, new)
        });
        if let Some(node) = self.node_mut(new) {
            node.next_literal = next.unwrap_or(0);
        }
        let hash = self.hash(parent, text);
        let mut literals = std::mem::take(&mut self.literals);
        literals.insert_unique(hash, new, |id| match self.node(*id) {
            Some(node) => self.hash(node.parent, self.label(node).unwrap_or_default()),
            None => 0,
        });
        self.literals = literals;
        new
    }

    fn child_or_new(&mut self, parent: NodeId, edge: Edge) -> NodeId {
        let slot = |node: &mut Node| match edge {
            Edge::User => node.user,
            Edge::Client => node.client,
            _ => node.plus,
        };
        let known = self.node_mut(parent).map_or(0, slot);
        if known != 0 {
            return known;
        }
        let new = self.push(parent, edge);
        if let Some(node) = self.node_mut(parent) {
            match edge {
                Edge::User => node.user = new,
                Edge::Client => node.client = new,
                _ => node.plus = new,
            }
        }
        new
    }

    fn push(&mut self, parent: NodeId, edge: Edge) -> NodeId {
        // A load reads at most 2^30 bytes, and each level takes one.
        let id = NodeId::try_from(self.nodes.len()).unwrap_or(ROOT);
        self.nodes.push(Node::new(parent, edge));
        id
    }
}

/// A rule and a filter that have topics in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meeting<'m> {
    pub(crate) rule: RuleId,
    tree: &'m RuleTree,
    node: NodeId,
    rest: bool,
    filter: &'m [Level<'m>],
    names: Names<'m>,
}

impl<'m> Meeting<'m> {
    /// The filter of the topics in common. There always is one: level by level the narrower of the two.
    pub(crate) fn common(&self) -> Vec<Level<'m>> {
        let mut path = Vec::new();
        let mut at = self.node;
        while let Some(node) = self.tree.node(at).filter(|_| at != ROOT) {
            path.push((node.edge, self.tree.label(node)));
            at = node.parent;
        }
        let depth = path.len();
        let mut levels: Vec<Level<'m>> = path
            .into_iter()
            .rev()
            .enumerate()
            .map(|(at, (edge, label))| match edge {
                Edge::Literal { .. } => Level::Literal(label.unwrap_or_default()),
                Edge::User => Level::Literal(self.names.user.unwrap_or_default()),
                Edge::Client => Level::Literal(self.names.client),
                Edge::Plus | Edge::Root => match self.filter.get(at) {
                    Some(Level::Literal(text)) => Level::Literal(text),
                    _ => Level::Plus,
                },
            })
            .collect();
        if self.rest {
            match self.filter.get(depth..) {
                Some(tail) if !tail.is_empty() => levels.extend_from_slice(tail),
                _ if self.filter.last() == Some(&Level::Rest) => levels.push(Level::Rest),
                _ => {}
            }
        }
        levels
    }
}

impl Found {
    fn add(&mut self, ends: &Ends, allow: Kind, deny: Kind) {
        self.allow = self.allow.or(ends.of(allow));
        self.deny = self.deny.or(ends.of(deny));
    }

    pub(crate) fn or(self, other: Self) -> Self {
        Self { allow: self.allow.or(other.allow), deny: self.deny.or(other.deny) }
    }
}

/// The first level of a topic.
fn level(topic: &[u8]) -> &[u8] {
    let end = topic.iter().position(|b| *b == b'/').unwrap_or(topic.len());
    topic.get(..end).unwrap_or_default()
}

/// Whether this is the first level of a topic.
fn begins_with(topic: &[u8], level: &[u8]) -> bool {
    topic.strip_prefix(level).is_some_and(|after| matches!(after.first(), None | Some(b'/')))
}

/// Whether every topic of the filter is matched by some rule of this kind in some of the trees; if so, by which.
///
/// There are more texts for a level than any policy names, so a `+` of the filter is matched by the rules exactly when a
/// text that no rule names is: only the rules' `+` and `#` can match that. The same holds for each level that `#` stands
/// for, of which there may be none or any number: the rules must match all of these, with as many `+` or with `#`.
/// So one walk along the filter decides exactly, unions included, without branching.
pub(crate) fn cover<'t>(
    trees: impl Iterator<Item = &'t RuleTree>,
    filter: &[Level<'_>],
    names: &Names<'_>,
    kind: Kind,
) -> Option<RuleId> {
    type Active<'t> = Vec<(&'t RuleTree, NodeId)>;
    let reserved = filter.first().is_some_and(|level| level.is_reserved());
    let mut active: Active<'t> = trees.filter(|tree| tree.has(kind)).map(|tree| (tree, ROOT)).collect();
    let rest = |active: &Active<'t>| active.iter().find_map(|(tree, id)| tree.ends(tree.node(*id)?.rest).of(kind));
    let exact = |active: &Active<'t>| active.iter().find_map(|(tree, id)| tree.ends(tree.node(*id)?.exact).of(kind));
    let plus = |active: &Active<'t>| -> Active<'t> {
        active
            .iter()
            .filter_map(|(tree, id)| Some((*tree, tree.node(*id)?.plus)).filter(|(_, child)| *child != 0))
            .collect()
    };
    for (depth, level) in filter.iter().enumerate() {
        let wild = !(reserved && depth == 0);
        if wild {
            if let Some(rule) = rest(&active) {
                return Some(rule);
            }
        }
        active = match level {
            Level::Plus => plus(&active),
            Level::Literal(text) => {
                let mut next = if wild { plus(&active) } else { Vec::new() };
                for (tree, id) in &active {
                    let Some(node) = tree.node(*id) else { continue };
                    let user = Some(node.user).filter(|child| *child != 0 && names.user_is(text));
                    let client = Some(node.client).filter(|child| *child != 0 && names.client_is(text));
                    let literal = Some(tree.literal(*id, text)).filter(|child| *child != 0);
                    next.extend([user, client, literal].into_iter().flatten().map(|child| (*tree, child)));
                }
                next
            }
            Level::Rest => {
                let mut last = None;
                // The empty topic does not exist, so `#` and `/#` begin one level down.
                if matches!(filter, [Level::Rest] | [Level::Literal(b""), Level::Rest]) {
                    active = plus(&active);
                }
                while !active.is_empty() {
                    if let Some(rule) = rest(&active) {
                        return Some(last.unwrap_or(rule));
                    }
                    let here = exact(&active)?;
                    last.get_or_insert(here);
                    active = plus(&active);
                }
                return None;
            }
        };
        if active.is_empty() {
            return None;
        }
    }
    rest(&active).or_else(|| exact(&active))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic;

    fn tree(filters: &[&str]) -> RuleTree {
        let mut tree = RuleTree::new();
        for (number, filter) in filters.iter().enumerate() {
            tree.insert(
                &Template::parse(filter).unwrap(),
                Kind::AllowSubscribe,
                RuleId(u32::try_from(number).unwrap()),
            );
        }
        tree
    }

    fn names() -> Names<'static> {
        Names::new(Some(b"u1"), b"c1")
    }

    fn covers(filters: &[&str], filter: &str) -> bool {
        let filter = topic::Filter::parse(filter.as_bytes()).unwrap();
        cover([&tree(filters)].into_iter(), filter.levels(), &names(), Kind::AllowSubscribe).is_some()
    }

    /// The common filters of a rule and a filter, as text.
    fn common(rule: &str, filter: &str) -> Vec<String> {
        let tree = tree(&[rule]);
        let filter = topic::Filter::parse(filter.as_bytes()).unwrap();
        let mut found = Vec::new();
        let _ = tree.meet::<()>(filter.levels(), names(), Kind::AllowSubscribe, usize::MAX, |meeting| {
            let texts: Vec<_> = meeting
                .common()
                .iter()
                .map(|level| match level {
                    Level::Literal(text) => String::from_utf8_lossy(text).into_owned(),
                    Level::Plus => "+".to_owned(),
                    Level::Rest => "#".to_owned(),
                })
                .collect();
            found.push(texts.join("/"));
            ControlFlow::Continue(())
        });
        found
    }

    #[test]
    fn unions_cover() {
        assert!(covers(&["a", "a/+/#"], "a/#"));
        assert!(covers(&["a", "a/+", "a/+/+/#"], "a/#"));
        assert!(!covers(&["a", "a/+/+/#"], "a/#"));
        assert!(!covers(&["a/+/#"], "a/#"));
        assert!(covers(&["+/#"], "#"));
        assert!(covers(&["+", "+/+/#"], "#"));
        assert!(!covers(&["+"], "#"));
        assert!(!covers(&["a", "b"], "+"));
        assert!(covers(&["a/#"], "a"));
        assert!(covers(&["+/%u", "%u/+"], "x/u1"));
        assert!(!covers(&["%u"], "+"));
        assert!(!covers(&["#", "+/#"], "$SYS/#"));
        assert!(covers(&["$SYS/#"], "$SYS/+/a"));
    }

    #[test]
    fn two_filters_that_meet_have_one_in_common() {
        assert_eq!(common("a/+", "+/b"), ["a/b"]);
        assert_eq!(common("a/#", "a/+/#"), ["a/+/#"]);
        assert_eq!(common("a/+/#", "a/#"), ["a/+/#"]);
        assert_eq!(common("a/#", "a"), ["a"]);
        assert_eq!(common("a", "a/#"), ["a"]);
        assert_eq!(common("#", "+/b"), ["+/b"]);
        assert_eq!(common("a/%u/#", "+/+"), ["a/u1"]);
        assert_eq!(common("a/b/#", "#"), ["a/b/#"]);
        assert_eq!(common("+/+", "#"), ["+/+"]);
        assert!(common("$SYS/a", "#").is_empty());
        assert!(common("$SYS/a", "+/a").is_empty());
        assert!(common("#", "$SYS/a").is_empty());
        assert!(common("a/b", "a/c").is_empty());
        assert_eq!(common("$SYS/#", "$SYS/+"), ["$SYS/+"]);
    }
}
