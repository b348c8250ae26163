//! How much work a topic name can make: how many nodes of a tree fit one.

use super::{Edge, Forest, NONE, NodeId};
use crate::decision::RuleId;

impl Forest {
    /// The trees of which more nodes than this fit one topic name, how many at most, and some rules that overlap so.
    ///
    /// Of the literals below a node one fits, beside `+` and the variables. Taking for each node the literal below which
    /// the most fit counts too many where these do not go together, never too few.
    pub(crate) fn costly(&self, limit: u32) -> Vec<(u32, Vec<RuleId>)> {
        // Children come after their parents, so from the end on what is below a node is known when its turn comes.
        let mut below = vec![Below::default(); self.nodes.len()];
        let mut costly = Vec::new();
        for (at, node) in self.nodes.iter().enumerate().rev() {
            let Some(all) = below.get(at).map(Below::all) else { continue };
            let id = NodeId::try_from(at).unwrap_or(NONE);
            let Some(parent) = below.get_mut(node.parent as usize) else { continue };
            match node.edge {
                Edge::Literal { .. } if all > parent.literal => (parent.literal, parent.through) = (all, id),
                Edge::Literal { .. } => {}
                Edge::Plus | Edge::Variable(_) => parent.others = parent.others.saturating_add(all),
                Edge::Root if all > limit => {
                    costly.push((all, self.examples(id, |id| below.get(id as usize).map(|below| below.through))));
                }
                Edge::Root => {}
            }
        }
        costly.reverse();
        costly
    }

    /// The first few rules that end where such a topic leads.
    fn examples(&self, root: NodeId, through: impl Fn(NodeId) -> Option<NodeId>) -> Vec<RuleId> {
        const ENOUGH: usize = 3;
        let mut rules = Vec::new();
        let mut stack = vec![root];
        while let Some(id) = stack.pop().filter(|_| rules.len() < ENOUGH) {
            let Some(node) = self.node(id) else { continue };
            let ends = [node.rest, node.exact].into_iter().map(|ends| self.ends(ends)).flat_map(|ends| ends.all());
            for rule in ends {
                if rules.len() < ENOUGH && !rules.contains(&rule) {
                    rules.push(rule);
                }
            }
            stack.extend(through(id).filter(|child| *child != NONE));
            stack.extend(self.siblings(node.variable).map(|(id, _)| id));
            stack.extend(Some(node.plus).filter(|child| *child != NONE));
        }
        rules
    }
}

/// How many nodes fit one topic name below a node.
#[derive(Clone, Copy, Debug, Default)]
struct Below {
    /// By the literal below which the most fit, and which that is.
    literal: u32,
    through: NodeId,
    /// By `+` and variables.
    others: u32,
}

impl Below {
    /// With the node itself.
    fn all(&self) -> u32 {
        self.literal.saturating_add(self.others).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::Kind;
    use crate::template::Template;

    fn most(filters: &[&str]) -> u32 {
        let mut forest = Forest::new();
        let other = forest.plant();
        forest.insert(other, &Template::parse("a/b/c").unwrap(), Kind::AllowPublish, RuleId(0));
        let root = forest.plant();
        for filter in filters {
            forest.insert(root, &Template::parse(filter).unwrap(), Kind::AllowPublish, RuleId(0));
        }
        forest.costly(0).pop().unwrap().0
    }

    #[test]
    fn the_nodes_that_fit_one_topic() {
        assert_eq!(most(&[]), 1);
        assert_eq!(most(&["a/b", "a/c", "d/e/f"]), 4);
        assert_eq!(most(&["a/+", "+/b", "%u/%c"]), 7);
        assert_eq!(most(&["a/b", "a/b/#", "a/+/+"]), 5);
    }

    #[test]
    fn the_rules_that_overlap_are_named() {
        let mut forest = Forest::new();
        let root = forest.plant();
        for (number, filter) in ["x", "a/+/c", "a/b/c", "+/b/%u"].iter().enumerate() {
            let rule = RuleId(u32::try_from(number).unwrap());
            forest.insert(root, &Template::parse(filter).unwrap(), Kind::AllowPublish, rule);
        }
        let costly = forest.costly(5);
        assert_eq!(costly.len(), 1);
        assert_eq!(costly[0].1.len(), 3);
        assert!(!costly[0].1.contains(&RuleId(0)));
        assert!(forest.costly(costly[0].0).is_empty());
    }
}
