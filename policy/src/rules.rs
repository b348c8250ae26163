//! The rules of a policy as it writes them: asked for when somebody wants to know why, and packed, for a fleet may have very
//! many of them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::decision::RuleId;
use crate::policy::SetId;
use crate::problem::Place;

/// All of them, those of a rule set one after another, and the sets in their order.
#[derive(Default)]
pub(crate) struct Rules {
    packed: Vec<Packed>,
    texts: String,
    files: Vec<Arc<Path>>,
}

/// One filter that the policy names, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule<'p> {
    pub(crate) set: SetId,
    pub(crate) key: &'static str,
    pub(crate) text: &'p str,
    file: &'p Arc<Path>,
    line: u32,
    column: u32,
}

/// A text that is kept here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    start: u32,
    length: u32,
}

#[derive(Clone, Copy)]
struct Packed {
    set: SetId,
    text: Piece,
    /// Which file; and which key, in the lowest bits.
    file_and_key: u32,
    line: u32,
    column: u32,
}

/// The keys under which rules stand.
pub(crate) const KEYS: [&str; 5] = ["publish", "subscribe", "receive", "deny.publish", "deny.subscribe"];
/// As many bits as a key takes.
const KEY_BITS: u32 = 3;

impl Rules {
    /// Adds a rule to the last of the sets that has any, or to one after it. The key is one of [`KEYS`].
    pub(crate) fn push(&mut self, set: SetId, key: &'static str, text: &str, place: &Place) -> RuleId {
        // A load reads at most 2^30 bytes, and each rule takes some of them, as each file does.
        let id = RuleId(u32::try_from(self.packed.len()).unwrap_or(u32::MAX));
        let text = self.keep(text);
        // Mostly it is the file of the rule before. Another may be there twice, for a search would take its time: a fleet may
        // have a file for each device.
        if self.files.last() != Some(&place.file) {
            self.files.push(Arc::clone(&place.file));
        }
        let file = self.files.len() - 1;
        let key = KEYS.iter().position(|known| *known == key).unwrap_or_default();
        let file_and_key = u32::try_from(file << KEY_BITS | key).unwrap_or_default();
        self.packed.push(Packed { set, text, file_and_key, line: place.line, column: place.column });
        id
    }

    /// Keeps a text that belongs to the rules.
    pub(crate) fn keep(&mut self, text: &str) -> Piece {
        let number = |number| u32::try_from(number).unwrap_or_default();
        let piece = Piece { start: number(self.texts.len()), length: number(text.len()) };
        self.texts.push_str(text);
        piece
    }

    /// Gives back what was set aside for more.
    pub(crate) fn shrink(&mut self) {
        self.packed.shrink_to_fit();
        self.texts.shrink_to_fit();
    }

    pub(crate) fn text(&self, Piece { start, length }: Piece) -> &str {
        let rest = self.texts.get(start as usize..).unwrap_or_default();
        rest.get(..length as usize).unwrap_or_default()
    }

    pub(crate) fn get(&self, id: RuleId) -> Option<Rule<'_>> {
        self.unpack(self.packed.get(id.0 as usize)?)
    }

    pub(crate) fn len(&self) -> usize {
        self.packed.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Rule<'_>> {
        self.packed.iter().filter_map(|rule| self.unpack(rule))
    }

    /// The rules of one rule set, in the order of the keys.
    pub(crate) fn of(&self, set: SetId) -> impl Iterator<Item = (RuleId, Rule<'_>)> {
        let from = self.packed.partition_point(|rule| rule.set < set);
        let rules = self.packed.get(from..).unwrap_or_default();
        (from..).zip(rules).take_while(move |(_, rule)| rule.set == set).filter_map(|(number, rule)| {
            let id = RuleId(u32::try_from(number).ok()?);
            Some((id, self.unpack(rule)?))
        })
    }

    fn unpack(&self, packed: &Packed) -> Option<Rule<'_>> {
        let Packed { set, text, file_and_key, line, column } = *packed;
        let (file, key) = (file_and_key >> KEY_BITS, file_and_key & ((1 << KEY_BITS) - 1));
        let (file, key) = (self.files.get(file as usize)?, KEYS.get(key as usize)?);
        Some(Rule { set, key, text: self.text(text), file, line, column })
    }
}

impl Rule<'_> {
    pub(crate) fn place(&self) -> Place {
        Place { file: Arc::clone(self.file), line: self.line, column: self.column }
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The names of holders are among the texts.
        f.debug_list().entries(self.iter()).entry(&self.texts).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_comes_back() {
        let place = |file: &str, line| Place { file: Arc::from(Path::new(file)), line, column: line + 7 };
        let mut rules = Rules::default();
        let all: Vec<_> = (0..40_u32)
            .map(|number| {
                let (file, key) = (["a.toml", "b.toml"][number as usize / 20], KEYS[number as usize % KEYS.len()]);
                (number / 4, key, format!("dt/{number}/#"), place(file, number))
            })
            .collect();
        let name = rules.keep("alice");
        for (number, (set, key, text, place)) in (0..).zip(&all) {
            assert_eq!(rules.push(*set, key, text, place), RuleId(number));
        }
        assert_eq!((rules.len(), rules.text(name)), (all.len(), "alice"));
        for (number, (set, key, text, place)) in (0..).zip(&all) {
            let rule = rules.get(RuleId(number)).unwrap();
            assert_eq!((rule.set, rule.key, rule.text, &rule.place()), (*set, *key, text.as_str(), place));
        }
        assert!(rules.get(RuleId(40)).is_none());
        let of: Vec<_> = rules.of(3).map(|(id, rule)| (id.0, rule.set)).collect();
        assert_eq!(of, [(12, 3), (13, 3), (14, 3), (15, 3)]);
        assert_eq!(rules.of(10).count(), 0);
        assert_eq!(rules.iter().count(), all.len());
    }
}
