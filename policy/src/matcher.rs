//! The compiled form of a policy's filters: a forest with a tree for each rule set, in which a literal, `+` and variables
//! such as `%u` are kinds of edges, and `#` is a mark on a node.
//!
//! It is built once and then only read. Users that share roles share their trees. All walks are loops (CVE-2019-11779 is
//! what recursion does), no walk visits a node twice, and none visits a node below which nothing of the wanted kind stands
//! or that the topic does not reach: a decision is linear in the length of the topic and the nodes that fit it.
//!
//! ```text
//! topic    what the rules say of a topic name: every publish and every delivery
//! filter   what they say of a filter: every subscription
//! cost     how many nodes a topic name can reach
//! ```

mod cost;
mod filter;
mod topic;

use hashbrown::HashTable;

pub(crate) use self::filter::Meeting;
pub(crate) use self::topic::{Topic, Wanted};
use crate::bytes::{Word, same};
use crate::decision::RuleId;
use crate::hash::Seed;
use crate::template::{AttributeId, Level, Template, Variable};

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

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The trees of a policy's rule sets.
#[derive(Debug)]
pub(crate) struct Forest {
    /// The first is nobody's, so that 0 says "none".
    nodes: Vec<Node>,
    /// What the literals' edges say, one after another.
    text: Vec<u8>,
    /// The first is nothing.
    ends: Vec<Ends>,
    /// The literal children of nodes that have many, by parent and text.
    literals: HashTable<NodeId>,
    seed: Seed,
    /// The names of attributes that rules use, in the order of their ids.
    attributes: Vec<Box<str>>,
}

/// Where the tree of a rule set begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Root(NodeId);

/// The index of a node.
type NodeId = u32;
const NONE: NodeId = 0;

/// One line of the processor's cache.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Node {
    /// Of a literal: its first eight bytes, with the `/` that ends a level; compared after a shift that drops what follows.
    word: u64,
    shift: u8,
    /// How many literal children there are, while they are few.
    literals: u8,
    children: Children,
    edge: Edge,
    kinds: Kinds,
    parent: NodeId,
    /// The next child of the same parent that is a literal too, or a variable too.
    next: NodeId,
    literal: NodeId,
    plus: NodeId,
    variable: NodeId,
    /// Rules that end with this level.
    exact: EndsId,
    /// Rules that go on with `#` from here, which covers this level too.
    rest: EndsId,
}

/// What kinds of children a node has. Most have but one, and then there is but one way on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Children {
    None,
    FewLiterals,
    ManyLiterals,
    Plus,
    User,
    Mixed,
}

/// Which kinds of rules there are at a node: in one number, so that one look tells whether there is any of those wanted.
#[derive(Clone, Copy, Debug, Default)]
struct Kinds(u32);

impl Kinds {
    /// Those that end here or below.
    const BELOW: u32 = 0;
    /// Those of `exact`.
    const EXACT: u32 = 8;
    /// Those of `rest`.
    const REST: u32 = 16;

    #[inline]
    fn has(self, kinds: u8, whose: u32) -> bool {
        self.0 & u32::from(kinds) << whose != 0
    }

    fn add(&mut self, kind: Kind, whose: u32) {
        self.0 |= u32::from(kind.bit()) << whose;
    }
}

/// How a node is reached from its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
    Root,
    /// By this text, a piece of the forest's.
    Literal {
        start: u32,
        length: u16,
    },
    Plus,
    Variable(Variable),
}

/// The rules that end at one point of a tree: the first one of each kind. 0 is none, and the others one more than their id.
#[derive(Clone, Copy, Debug, Default)]
struct Ends([u32; Kind::COUNT]);

/// The index of the rules that end at one point. 0 is none.
type EndsId = u32;
const NOTHING: EndsId = 0;

/// So many literal children are looked through one by one; where there are more, they are looked up.
const FEW: u8 = 4;

impl Node {
    fn new(parent: NodeId, edge: Edge) -> Self {
        Self {
            word: 0,
            shift: 0,
            literals: 0,
            children: Children::None,
            edge,
            kinds: Kinds::default(),
            parent,
            next: NONE,
            literal: NONE,
            plus: NONE,
            variable: NONE,
            exact: NOTHING,
            rest: NOTHING,
        }
    }

    /// Notes that it has a child of this kind, too.
    fn has_child(&mut self, kind: Children) {
        self.children = match (self.children, kind) {
            (Children::None, _) | (Children::FewLiterals, Children::ManyLiterals) => kind,
            (known, _) if known == kind => kind,
            _ => Children::Mixed,
        };
    }

    fn is_empty_level(&self) -> bool {
        matches!(self.edge, Edge::Literal { length: 0, .. })
    }
}

impl Ends {
    fn of(&self, kind: Kind) -> Option<RuleId> {
        self.0.get(kind as usize)?.checked_sub(1).map(RuleId)
    }

    fn all(&self) -> impl Iterator<Item = RuleId> {
        self.0.iter().filter_map(|rule| rule.checked_sub(1).map(RuleId))
    }

    fn add(&mut self, kind: Kind, rule: RuleId) {
        if let Some(slot) = self.0.get_mut(kind as usize).filter(|slot| **slot == 0) {
            *slot = rule.0.saturating_add(1);
        }
    }
}

impl Forest {
    pub(crate) fn new() -> Self {
        Self {
            nodes: vec![Node::new(NONE, Edge::Root)],
            text: Vec::new(),
            ends: vec![Ends::default()],
            literals: HashTable::new(),
            seed: Seed::default(),
            attributes: Vec::new(),
        }
    }

    /// A tree without rules yet.
    pub(crate) fn plant(&mut self) -> Root {
        Root(self.push(NONE, Edge::Root))
    }

    pub(crate) fn insert(&mut self, Root(root): Root, template: &Template<'_>, kind: Kind, rule: RuleId) {
        let mut at = root;
        let mut rest = false;
        for level in &template.levels {
            at = match level {
                Level::Literal(text) => self.literal_or_new(at, text.as_bytes()),
                Level::Plus => self.plus_or_new(at),
                Level::User => self.variable_or_new(at, Variable::User),
                Level::Client => self.variable_or_new(at, Variable::Client),
                Level::Attribute(name) => {
                    let attribute = self.attribute_or_new(name);
                    self.variable_or_new(at, Variable::Attribute(attribute))
                }
                Level::Rest => {
                    rest = true;
                    break;
                }
            };
        }
        // A load reads at most 2^30 bytes, and each rule takes one.
        let new = EndsId::try_from(self.ends.len()).unwrap_or(NOTHING);
        if let Some(node) = self.nodes.get_mut(at as usize) {
            let (ends, whose) = if rest { (&mut node.rest, Kinds::REST) } else { (&mut node.exact, Kinds::EXACT) };
            node.kinds.add(kind, whose);
            if *ends == NOTHING {
                *ends = new;
                self.ends.push(Ends::default());
            }
            if let Some(ends) = self.ends.get_mut(*ends as usize) {
                ends.add(kind, rule);
            }
        }
        while let Some(node) = self.nodes.get_mut(at as usize).filter(|_| at != NONE) {
            node.kinds.add(kind, Kinds::BELOW);
            at = node.parent;
        }
    }

    /// Sets aside what so many trees take at most, whose rules have so many levels: growing leaves holes in memory.
    pub(crate) fn reserve(&mut self, trees: usize, levels: usize) {
        // Where there is not so much, as much as is needed may be had.
        let _ = self.nodes.try_reserve(trees.saturating_add(levels));
    }

    /// Gives back what was set aside for more.
    pub(crate) fn shrink(&mut self) {
        self.nodes.shrink_to_fit();
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// Whether any rule of this kind is in the tree.
    #[inline]
    pub(crate) fn has(&self, Root(root): Root, kind: Kind) -> bool {
        self.node(root).is_some_and(|root| root.kinds.has(kind.bit(), Kinds::BELOW))
    }

    /// The attribute of this name, if a rule uses it.
    pub(crate) fn attribute(&self, name: &str) -> Option<AttributeId> {
        self.attributes.iter().position(|known| **known == *name).and_then(|at| u16::try_from(at).ok()).map(AttributeId)
    }

    pub(crate) fn attribute_name(&self, attribute: AttributeId) -> Option<&str> {
        self.attributes.get(usize::from(attribute.0)).map(|name| &**name)
    }

    #[inline]
    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    fn child(&self, id: NodeId) -> Option<&Node> {
        self.node(id).filter(|_| id != NONE)
    }

    fn ends(&self, id: EndsId) -> &Ends {
        static NONE: Ends = Ends([0; Kind::COUNT]);
        self.ends.get(id as usize).unwrap_or(&NONE)
    }

    /// The text of a literal edge.
    fn label(&self, node: &Node) -> Option<&[u8]> {
        match node.edge {
            Edge::Literal { start, length } => self.text.get(start as usize..)?.get(..usize::from(length)),
            _ => None,
        }
    }

    /// A node's literal child of this text, or none.
    fn literal(&self, node: &Node, text: &[u8]) -> NodeId {
        if node.literals > FEW {
            return self.one_of_many(node, text);
        }
        let mut few = self.siblings(node.literal);
        few.find(|(_, child)| self.label(child).is_some_and(|label| same(label, text))).map_or(NONE, |(id, _)| id)
    }

    /// The same where they are many.
    fn one_of_many(&self, node: &Node, text: &[u8]) -> NodeId {
        let Some(parent) = self.child(node.literal).map(|child| child.parent) else { return NONE };
        let is_it = |child: &Node| child.parent == parent && self.label(child).is_some_and(|label| same(label, text));
        let found = self.literals.find(self.hash(parent, text), |id| self.node(*id).is_some_and(is_it));
        found.copied().unwrap_or(NONE)
    }

    fn hash(&self, parent: NodeId, text: &[u8]) -> u64 {
        // Children of different parents may say the same.
        self.seed.hash(text).wrapping_add(u64::from(parent).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The children from here on that are linked: all literals, or all variables.
    fn siblings(&self, mut id: NodeId) -> impl Iterator<Item = (NodeId, &Node)> {
        std::iter::from_fn(move || {
            let this = (id, self.child(id)?);
            id = this.1.next;
            Some(this)
        })
    }

    fn literal_or_new(&mut self, parent: NodeId, text: &[u8]) -> NodeId {
        let known = self.node(parent).map_or(NONE, |node| self.literal(node, text));
        if known != NONE {
            return known;
        }
        // As in `insert`, all of this fits; a filter has at most 65,535 bytes.
        let start = u32::try_from(self.text.len()).unwrap_or(0);
        let length = u16::try_from(text.len()).unwrap_or(0);
        self.text.extend_from_slice(text);
        let new = self.push(parent, Edge::Literal { start, length });
        let mut before = (NONE, 0);
        if let Some(node) = self.nodes.get_mut(parent as usize) {
            node.literals = (node.literals + 1).min(FEW + 1);
            before = (node.literal, node.literals);
            node.literal = new;
            node.has_child(if node.literals > FEW { Children::ManyLiterals } else { Children::FewLiterals });
        }
        if let Some(node) = self.nodes.get_mut(new as usize) {
            node.next = before.0;
            let ended = Word::first(text).0 | u64::from(b'/').checked_shl(8 * u32::from(length.min(8))).unwrap_or(0);
            node.shift = 64 - 8 * u8::try_from((text.len() + 1).min(8)).unwrap_or(8);
            node.word = ended << node.shift;
        }
        match before {
            (_, 0..=FEW) => {}
            // These are many now, and many are looked up.
            (first, _) if self.literals.find(self.hash_of(first), |id| *id == first).is_none() => {
                let all: Vec<_> = self.siblings(new).map(|(id, _)| id).collect();
                all.into_iter().for_each(|id| self.index(id));
            }
            _ => self.index(new),
        }
        new
    }

    fn index(&mut self, id: NodeId) {
        let hash = self.hash_of(id);
        let mut literals = std::mem::take(&mut self.literals);
        literals.insert_unique(hash, id, |id| self.hash_of(*id));
        self.literals = literals;
    }

    fn hash_of(&self, id: NodeId) -> u64 {
        self.node(id).map_or(0, |node| self.hash(node.parent, self.label(node).unwrap_or_default()))
    }

    fn plus_or_new(&mut self, parent: NodeId) -> NodeId {
        let known = self.node(parent).map_or(NONE, |node| node.plus);
        if known != NONE {
            return known;
        }
        let new = self.push(parent, Edge::Plus);
        if let Some(node) = self.nodes.get_mut(parent as usize) {
            node.plus = new;
            node.has_child(Children::Plus);
        }
        new
    }

    fn variable_or_new(&mut self, parent: NodeId, variable: Variable) -> NodeId {
        let first = self.node(parent).map_or(NONE, |node| node.variable);
        let edge = Edge::Variable(variable);
        if let Some((known, _)) = self.siblings(first).find(|(_, node)| node.edge == edge) {
            return known;
        }
        let new = self.push(parent, edge);
        if let Some(node) = self.nodes.get_mut(parent as usize) {
            node.variable = new;
            // Another variable of that kind there cannot be.
            node.has_child(if variable == Variable::User { Children::User } else { Children::Mixed });
        }
        if let Some(node) = self.nodes.get_mut(new as usize) {
            node.next = first;
        }
        new
    }

    pub(crate) fn attribute_or_new(&mut self, name: &str) -> AttributeId {
        self.attribute(name).unwrap_or_else(|| {
            // The first one too many stands for all of them: the check of the policy refuses it.
            let number =
                u16::try_from(self.attributes.len()).map_or(AttributeId::MOST, |number| number.min(AttributeId::MOST));
            if self.attributes.len() <= usize::from(number) {
                self.attributes.push(name.into());
            }
            AttributeId(number)
        })
    }

    fn push(&mut self, parent: NodeId, edge: Edge) -> NodeId {
        // A load reads at most 2^30 bytes, and each level takes one.
        let id = NodeId::try_from(self.nodes.len()).unwrap_or(NONE);
        self.nodes.push(Node::new(parent, edge));
        id
    }
}
