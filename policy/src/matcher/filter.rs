//! What the rules say of a topic filter: whether they cover it, and which of them have topics in common with it.

use std::ops::ControlFlow;

use smallvec::SmallVec;

use super::{Edge, Forest, Kind, Kinds, NONE, NodeId, Root};
use crate::decision::RuleId;
use crate::template::{Names, Variable};
use crate::topic::{Level, Levels, is_reserved};

/// A rule and a filter that have topics in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meeting<'m> {
    pub(crate) rule: RuleId,
    forest: &'m Forest,
    node: NodeId,
    rest: bool,
    filter: &'m [Level<'m>],
    names: Names<'m>,
}

impl Forest {
    /// Whether every topic of the filter is matched by some rule of this kind in some of the trees; if so, by which.
    ///
    /// There are more texts for a level than any policy names, so a `+` of the filter is matched by the rules exactly when a
    /// text that no rule names is: only the rules' `+` and `#` can match that. The same holds for each level that `#` stands
    /// for, of which there may be none or any number: the rules must match all of these, with as many `+` or with `#`.
    /// So one walk along the filter decides exactly, unions included, without branching.
    pub(crate) fn cover(
        &self,
        trees: impl Iterator<Item = Root>,
        filter: &[Level<'_>],
        names: &Names<'_>,
        kind: Kind,
    ) -> Option<RuleId> {
        type Active = SmallVec<[NodeId; 16]>;
        let reserved = filter.first().is_some_and(|level| level.is_reserved());
        let mut active: Active = trees.filter(|tree| self.has(*tree, kind)).map(|Root(root)| root).collect();
        let rest = |active: &Active| active.iter().find_map(|id| self.ends(self.node(*id)?.rest).of(kind));
        let exact = |active: &Active| active.iter().find_map(|id| self.ends(self.node(*id)?.exact).of(kind));
        let plus = |active: &Active| -> Active {
            active.iter().filter_map(|id| Some(self.node(*id)?.plus).filter(|child| *child != NONE)).collect()
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
                    let mut next = if wild { plus(&active) } else { Active::new() };
                    for id in &active {
                        let Some(node) = self.node(*id) else { continue };
                        next.extend(self.variables(node.variable, names).filter(|(_, v)| v == text).map(|(id, _)| id));
                        next.extend(Some(self.literal(node, text)).filter(|child| *child != NONE));
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

    /// Visits every rule of this kind that has a topic in common with the filter, looking at so many nodes at most.
    pub(crate) fn meet<'m, B>(
        &'m self,
        Root(root): Root,
        filter: &'m [Level<'m>],
        names: Names<'m>,
        kind: Kind,
        most: usize,
        mut visit: impl FnMut(Meeting<'m>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let reserved = filter.first().is_some_and(|level| level.is_reserved());
        // Each entry is a node and its depth, which is the filter's level that comes next, until that is `#`; and whether
        // the literals after it in its parent's list are meant too, which may be many.
        let mut stack: SmallVec<[(NodeId, usize, bool); 16]> = SmallVec::new();
        stack.push((root, 0, false));
        for _ in 0..most {
            let Some((id, depth, siblings)) = stack.pop() else { break };
            let Some(node) = self.node(id) else { continue };
            if siblings && node.next != NONE {
                stack.push((node.next, depth, true));
            }
            let hidden = siblings && depth == 1 && self.label(node).is_some_and(is_reserved);
            if hidden || !node.kinds.has(kind.bit(), Kinds::BELOW) {
                continue;
            }
            let level = match filter.get(depth) {
                None if filter.last() == Some(&Level::Rest) => Some(Level::Rest),
                level => level.copied(),
            };
            // Where all that the two have in common at this level is the empty topic, they have nothing there.
            let is_empty = depth == 1 && (node.is_empty_level() || filter.first() == Some(&Level::Literal(b"")));
            if !(reserved && id == root || is_empty && level.is_none()) {
                if let Some(rule) = self.ends(node.rest).of(kind) {
                    visit(Meeting { rule, forest: self, node: id, rest: true, filter, names })?;
                }
            }
            if id != root && !is_empty && matches!(level, None | Some(Level::Rest)) {
                if let Some(rule) = self.ends(node.exact).of(kind) {
                    visit(Meeting { rule, forest: self, node: id, rest: false, filter, names })?;
                }
            }
            let Some(level) = level else { continue };
            let mut follow = |child: NodeId, siblings: bool| {
                if child != NONE {
                    stack.push((child, depth + 1, siblings));
                }
            };
            if !(reserved && id == root) {
                follow(node.plus, false);
            }
            for (child, value) in self.variables(node.variable, &names) {
                if !matches!(level, Level::Literal(text) if text != value) {
                    follow(child, false);
                }
            }
            match level {
                Level::Literal(text) => follow(self.literal(node, text), false),
                Level::Plus | Level::Rest => follow(node.literal, true),
            }
        }
        ControlFlow::Continue(())
    }

    /// The variables from this one on that stand for something, and what they stand for.
    fn variables<'v>(&self, first: NodeId, names: &Names<'v>) -> impl Iterator<Item = (NodeId, &'v [u8])> {
        self.siblings(first).filter_map(|(id, node)| match node.edge {
            Edge::Variable(variable) => Some((id, names.value(variable)?)),
            _ => None,
        })
    }
}

impl<'m> Meeting<'m> {
    /// The filter of the topics in common. There always is one: level by level the narrower of the two.
    pub(crate) fn common(&self) -> Levels<'m> {
        let mut path: SmallVec<[Edge; 16]> = SmallVec::new();
        let mut labels: Levels<'m> = Levels::new();
        let mut at = self.node;
        while let Some(node) = self.forest.node(at).filter(|node| node.edge != Edge::Root) {
            path.push(node.edge);
            labels.push(Level::Literal(self.forest.label(node).unwrap_or_default()));
            at = node.parent;
        }
        let depth = path.len();
        let value = |variable: Variable| Level::Literal(self.names.value(variable).unwrap_or_default());
        let mut levels: Levels<'m> = path
            .into_iter()
            .zip(labels)
            .rev()
            .enumerate()
            .map(|(at, (edge, label))| match edge {
                Edge::Literal { .. } => label,
                Edge::Variable(variable) => value(variable),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Template;
    use crate::topic;

    fn tree(filters: &[&str]) -> (Forest, Root) {
        let mut forest = Forest::new();
        let root = forest.plant();
        for (number, filter) in filters.iter().enumerate() {
            let rule = RuleId(u32::try_from(number).unwrap());
            forest.insert(root, &Template::parse(filter).unwrap(), Kind::AllowSubscribe, rule);
        }
        (forest, root)
    }

    fn names() -> Names<'static> {
        Names::new(Some(b"u1"), b"c1", &[])
    }

    fn covers(filters: &[&str], filter: &str) -> bool {
        let filter = topic::Filter::parse(filter.as_bytes()).unwrap();
        let (forest, root) = tree(filters);
        forest.cover([root].into_iter(), filter.levels(), &names(), Kind::AllowSubscribe).is_some()
    }

    /// The common filters of a rule and a filter, as text.
    fn common(rule: &str, filter: &str) -> Vec<String> {
        let (forest, root) = tree(&[rule]);
        let filter = topic::Filter::parse(filter.as_bytes()).unwrap();
        let mut found = Vec::new();
        let _ = forest.meet::<()>(root, filter.levels(), names(), Kind::AllowSubscribe, usize::MAX, |meeting| {
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
