//! Which attributes users have and which their rules ask for: `%{name}` matches nothing where there is none (S12).

use std::collections::{HashMap, HashSet};

use crate::document::Located;
use crate::matcher::Forest;
use crate::policy::SetId;
use crate::problem::{Escaped, Place, Problems};
use crate::template::{AttributeId, Attributes, is_attribute, is_usable};
use crate::users::User;

type Text = Located<String>;

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// Of each rule set: the attributes that its rules and patterns use, and where first.
    uses: HashMap<SetId, Vec<(AttributeId, Place)>>,
    /// The attributes that some user has.
    known: HashSet<String>,
    lacks: HashMap<(SetId, AttributeId), Lack>,
}

/// Holders of a rule set that lack an attribute.
#[derive(Debug)]
struct Lack {
    first: String,
    /// What the first has instead, probably by mistake.
    instead: Option<String>,
    count: usize,
}

impl Census {
    /// A rule set uses an attribute.
    pub(crate) fn used(&mut self, set: SetId, attribute: AttributeId, place: &Place) {
        let uses = self.uses.entry(set).or_default();
        if !uses.iter().any(|(known, _)| *known == attribute) {
            uses.push((attribute, place.clone()));
        }
    }

    /// Whether any rule set uses any.
    pub(crate) fn has_uses(&self) -> bool {
        !self.uses.is_empty()
    }

    /// A user has these attributes, and holds these rule sets: what its rules need of them.
    pub(crate) fn user(
        &mut self,
        user: &User<'_>,
        attributes: Vec<(Text, Text)>,
        forest: &Forest,
        problems: &mut Problems,
    ) -> Box<Attributes> {
        let mut values = Vec::new();
        for (attribute, value) in &attributes {
            let shown = Escaped(attribute.value.as_bytes());
            if !is_attribute(&attribute.value) {
                let text = format!("`{shown}` is not the name of an attribute (write letters, digits, `-` and `_`)");
                problems.error(attribute.place.clone(), text);
            } else if !is_usable(value.value.as_bytes()) {
                let text = format!(
                    "attribute `{shown}` is `{}`, which cannot stand for a level of a topic (write a text that is not empty, does \
                     not begin with `$` and holds no `+`, `#`, `/` or control character)",
                    Escaped(value.value.as_bytes())
                );
                problems.error(value.place.clone(), text);
            }
            if !self.known.contains(&attribute.value) {
                self.known.insert(attribute.value.clone());
            }
            if let Some(id) = forest.attribute(&attribute.value) {
                values.push((id, value.value.as_bytes().into()));
            }
        }
        if !user.is_disabled() && !self.uses.is_empty() {
            for set in user.sets() {
                for (wanted, _) in self.uses.get(set).into_iter().flatten() {
                    if values.iter().any(|(id, _)| id == wanted) {
                        continue;
                    }
                    let lack = self.lacks.entry((*set, *wanted)).or_insert_with(|| {
                        let unused = attributes.iter().map(|(name, _)| name.value.as_str());
                        let unused = unused.filter(|name| forest.attribute(name).is_none());
                        let wanted = forest.attribute_name(*wanted).unwrap_or_default();
                        let instead = problems.nearest(wanted, unused).map(str::to_owned);
                        Lack { first: String::from_utf8_lossy(user.name()).into_owned(), instead, count: 0 }
                    });
                    lack.count += 1;
                }
            }
        }
        values.into()
    }

    /// Tells of what rules ask for and users do not have.
    pub(crate) fn check(&self, forest: &Forest, unlisted: &[SetId], is_whole: bool, problems: &mut Problems) {
        if !is_whole {
            return;
        }
        let mut uses: Vec<_> =
            self.uses.iter().flat_map(|(set, uses)| uses.iter().map(move |used| (*set, used))).collect();
        uses.sort_by(|(_, (_, one)), (_, (_, other))| one.cmp(other));
        if let Some((_, (_, place))) = uses.iter().find(|(_, (attribute, _))| attribute.0 >= AttributeId::MOST) {
            problems.error(place.clone(), format!("rules use more than {} attributes (use fewer)", AttributeId::MOST));
        }
        for (set, (attribute, place)) in uses {
            let name = forest.attribute_name(*attribute).unwrap_or_default();
            let lack = self.lacks.get(&(set, *attribute));
            if !self.known.contains(name) {
                let meant = problems.nearest(name, self.known.iter().map(String::as_str));
                let remedy = match (meant, lack) {
                    (Some(known), _) => format!("did you mean `%{{{known}}}`?"),
                    (None, Some(_)) => format!("write `attributes = {{ {name} = \"...\" }}` in a user's table"),
                    // A role that nobody holds yet waits for users who will have it.
                    (None, None) => continue,
                };
                problems.error(place.clone(), format!("no user has the attribute `{name}` ({remedy})"));
            } else if let Some(Lack { first, instead, count }) = lack {
                let (first, others) = (Escaped(first.as_bytes()), count - 1);
                let who = match others {
                    0 => format!("user `{first}` lacks"),
                    1 => format!("user `{first}` and 1 other lack"),
                    _ => format!("user `{first}` and {others} others lack"),
                };
                let remedy = match instead {
                    Some(instead) => format!("is its `{}` meant?", Escaped(instead.as_bytes())),
                    None => format!("write `attributes = {{ {name} = \"...\" }}` in the user's table"),
                };
                problems.warning(
                    place.clone(),
                    format!("{who} the attribute `{name}`, without which `%{{{name}}}` matches nothing ({remedy})"),
                );
            }
            if unlisted.contains(&set) {
                problems.warning(
                    place.clone(),
                    format!(
                        "names that `unlisted` admits have no attributes, so `%{{{name}}}` matches nothing for them"
                    ),
                );
            }
        }
    }
}
