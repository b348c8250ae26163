//! Users as the files list them: packed as soon as they are read, put together when all the files are.
//!
//! What problems need to know of a user, and what follows from other files, is kept beside the packed bytes until the policy
//! is complete, and is as small: where it stands, and its roles by name, which very many users have in common.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::path::Path;
use std::sync::Arc;

use hashbrown::hash_table::{Entry, HashTable};
use hashbrown::{DefaultHashBuilder, HashMap};

use super::blocks::At;
use super::parts::{End, Parts};
use super::{HEAD, Head, SHAPE, Shared, User, Users};
use crate::credential::Shape;
use crate::document::{Located, RuleTable};
use crate::hash::Seed;
use crate::policy::SetId;
use crate::problem::Place;
use crate::topic::MOST_SEPARATORS;

type Text = Located<String>;

/// How many passwords a user may have: a login may have to try each of them.
pub(crate) const PASSWORDS: usize = 4;

/// The user tables of the files, each with its number, in the order in which they stand.
#[derive(Default)]
pub(crate) struct Draft {
    parts: Parts,
    /// Whether there was no room for a table.
    is_full: bool,
    shared: Shared,
    origins: Vec<Origin>,
    /// The numbers by name: of several tables, the first, until it is known which one defines the user.
    table: HashTable<u32>,
    seed: Seed,
    files: Vec<Arc<Path>>,
    layouts: Vec<Layout>,
    /// The numbers of the layouts by what they are.
    layout_table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    shape_numbers: HashMap<Shape, u32>,
    /// Rules of users' own, by where the user is.
    rules: HashMap<At, Box<RuleTable>>,
    /// What `%{name}` stands for, by where the user is.
    attributes: HashMap<At, Vec<(Text, Text)>>,
    /// What is wrong with password strings, by where the user is, each with its number in the user's list.
    unreadable: HashMap<At, Vec<(usize, String)>>,
    /// Tables whose user an earlier one names: that one, and the later.
    again: Vec<(u32, u32)>,
    /// Which table has the password strings of a user who is defined in another.
    secrets: HashMap<u32, u32>,
}

/// Where a user's table stands.
#[derive(Clone, Copy)]
struct Origin {
    at: At,
    file: u32,
    line: u32,
    layout: u32,
}

/// The roles of a user by name, and where they and the passwords stand, with lines counted from the user's.
struct Layout {
    /// The column of the user's name.
    column: u32,
    roles: Box<[(Box<str>, Spot)]>,
    passwords: Box<[Spot]>,
}

/// Where something of a user's stands, with lines counted from the user's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Spot {
    pub(crate) down: u32,
    pub(crate) column: u32,
}

/// A user's table as it was read.
#[derive(Debug)]
pub(crate) struct Listing<'t> {
    pub(crate) name: &'t str,
    pub(crate) line: u32,
    /// What [`Draft::layout`] said.
    pub(crate) layout: u32,
    /// No more than [`PASSWORDS`].
    pub(crate) passwords: &'t [&'t str],
    pub(crate) disabled: bool,
    /// Whether it holds nothing but `password` and `disabled`, and so may complete a definition in another file (S2).
    pub(crate) only_secrets: bool,
    pub(crate) attributes: Vec<(Text, Text)>,
    pub(crate) rules: Option<Box<RuleTable>>,
}

/// How much there was before a file was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    files: usize,
    tables: usize,
    parts: End,
}

/// Reading files.
impl Draft {
    /// Begins a file.
    pub(crate) fn begin(&mut self, file: &Arc<Path>) -> Mark {
        let mark = Mark { files: self.files.len(), tables: self.origins.len(), parts: self.parts.end() };
        self.files.push(Arc::clone(file));
        mark
    }

    /// Adds a table of the file that was begun last.
    pub(crate) fn add(&mut self, listing: Listing<'_>) {
        let Listing { name, line, layout, passwords, disabled, only_secrets, attributes, rules } = listing;
        let name = name.as_bytes();
        // A hash has at most 64 bytes, and so has its salt.
        let most = HEAD + name.len() + passwords.len() * (SHAPE + 2 * 64);
        let at = self.parts.room(self.seed.hash(name), most);
        let (Ok(name_length), Some(bytes)) = (u16::try_from(name.len()), self.parts.block_mut(at)) else {
            self.is_full = true;
            return;
        };
        let start = bytes.len();
        bytes.extend_from_slice(&[0; HEAD]);
        bytes.extend_from_slice(name);
        let strings_start = bytes.len();
        let mut count = 0;
        for (number, text) in passwords.iter().enumerate() {
            let shape_start = bytes.len();
            bytes.extend_from_slice(&[0; SHAPE]);
            match Shape::read(text, bytes) {
                Ok(shape) => {
                    let shapes = &mut self.shared.shapes;
                    let shape = *self.shape_numbers.entry(shape).or_insert_with(|| {
                        shapes.push(shape);
                        as_number(shapes.len() - 1)
                    });
                    if let Some(before) = bytes.get_mut(shape_start..).and_then(<[u8]>::first_chunk_mut) {
                        *before = shape.to_le_bytes();
                    }
                    count += 1;
                }
                Err(problem) => {
                    bytes.truncate(shape_start);
                    self.unreadable.entry(at).or_default().push((number, problem));
                }
            }
        }
        let strings = u16::try_from(bytes.len() - strings_start).unwrap_or_else(|_| {
            // So few are never so long.
            self.is_full = true;
            bytes.truncate(strings_start);
            count = 0;
            0
        });
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let flags = (count & Head::COUNT)
            | flag(disabled, Head::DISABLED)
            | flag(only_secrets, Head::ONLY_SECRETS)
            | flag(rules.is_some(), Head::RULES);
        // Nobody has the rule sets of another for want of a list.
        super::change(bytes.get_mut(start..).unwrap_or_default(), |head| {
            *head = Head { name: name_length, strings, sets: u32::MAX, slot: 0, flags };
        });
        if let Some(rules) = rules {
            self.rules.insert(at, rules);
        }
        if !attributes.is_empty() {
            self.attributes.insert(at, attributes);
        }
        grow(&mut self.origins);
        self.origins.push(Origin { at, file: as_number(self.files.len().saturating_sub(1)), line, layout });
    }

    /// The number of a layout.
    pub(crate) fn layout(&mut self, column: u32, roles: &[(&str, Spot)], passwords: &[Spot]) -> u32 {
        let Self { layouts, layout_table, hasher, .. } = self;
        let hash = hasher.hash_one((column, roles, passwords));
        let is_it = |number: &u32| {
            layouts.get(*number as usize).is_some_and(|known| {
                let is_role = |((name, spot), (other, place)): (&(Box<str>, Spot), &(&str, Spot))| {
                    &**name == *other && spot == place
                };
                known.column == column
                    && *known.passwords == *passwords
                    && known.roles.len() == roles.len()
                    && known.roles.iter().zip(roles).all(is_role)
            })
        };
        if let Some(number) = layout_table.find(hash, is_it) {
            return *number;
        }
        let number = as_number(layouts.len());
        let copied = roles.iter().map(|(name, spot)| (Box::from(*name), *spot)).collect();
        layouts.push(Layout { column, roles: copied, passwords: passwords.into() });
        let hash_again = |number: &u32| {
            layouts.get(*number as usize).map_or(0, |layout| {
                let roles: Vec<(&str, Spot)> = layout.roles.iter().map(|(name, spot)| (&**name, *spot)).collect();
                hasher.hash_one((layout.column, roles.as_slice(), &*layout.passwords))
            })
        };
        layout_table.insert_unique(hash, number, hash_again);
        number
    }

    /// Whether a table since then has a password.
    pub(crate) fn has_passwords(&self, since: Mark) -> bool {
        let mut origins = self.origins.iter().skip(since.tables);
        origins
            .any(|origin| self.layouts.get(origin.layout as usize).is_some_and(|layout| !layout.passwords.is_empty()))
    }

    /// How many tables there are since then.
    pub(crate) fn count(&self, since: Mark) -> usize {
        self.origins.len() - since.tables
    }

    /// Which of these names tables since then have.
    pub(crate) fn names_among(&self, since: Mark, names: &HashSet<&str>) -> Vec<String> {
        if names.is_empty() {
            return Vec::new();
        }
        let new = self.origins.iter().skip(since.tables).filter_map(|origin| self.at(origin.at));
        let new = new.filter_map(|user| std::str::from_utf8(user.name()).ok());
        new.filter(|name| names.contains(name)).map(str::to_owned).collect()
    }

    /// Ends a file: its tables are found by name from now on. Returns the names that several of them have.
    pub(crate) fn end(&mut self, since: Mark) -> Vec<String> {
        let Self { parts, shared, origins, table, seed, layouts, again, .. } = self;
        let column = |origin: &Origin| layouts.get(origin.layout as usize).map(|layout| layout.column);
        if let Some(new) = origins.get_mut(since.tables..) {
            new.sort_by(|a, b| a.line.cmp(&b.line).then_with(|| column(a).cmp(&column(b))));
        }
        let name = |number: u32| {
            let user = origins.get(number as usize).and_then(|origin| parts.user(shared, origin.at));
            user.map(|user| user.name()).unwrap_or_default()
        };
        let hash = |number: &u32| seed.hash(name(*number));
        table.reserve(origins.len() - since.tables, hash);
        let mut repeated = Vec::new();
        // Users of earlier files who have a table in this one already.
        let mut completed = HashSet::new();
        for number in as_number(since.tables)..as_number(origins.len()) {
            match table.entry(hash(&number), |other| name(*other) == name(number), hash) {
                Entry::Vacant(place) => {
                    place.insert(number);
                }
                Entry::Occupied(first) if (*first.get() as usize) < since.tables && completed.insert(*first.get()) => {
                    again.push((*first.get(), number));
                }
                Entry::Occupied(_) => repeated.push(String::from_utf8_lossy(name(number)).into_owned()),
            }
        }
        repeated
    }

    /// Forgets the file that was begun there.
    pub(crate) fn forget(&mut self, since: Mark) {
        let is_older = |number: &u32| (*number as usize) < since.tables;
        self.table.retain(|number| is_older(number));
        self.again.retain(|(_, number)| is_older(number));
        self.files.truncate(since.files);
        self.origins.truncate(since.tables);
        self.parts.cut(since.parts);
        self.rules.retain(|at, _| !since.parts.is_before(*at));
        self.attributes.retain(|at, _| !since.parts.is_before(*at));
        self.unreadable.retain(|at, _| !since.parts.is_before(*at));
    }
}

/// Putting users together.
impl Draft {
    /// The numbers of all tables.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        0..as_number(self.origins.len())
    }

    /// The tables of each user who has more than one, in their order.
    pub(crate) fn take_groups(&mut self) -> Vec<Vec<u32>> {
        let mut again = std::mem::take(&mut self.again);
        again.sort_unstable();
        let mut groups: Vec<Vec<u32>> = Vec::new();
        for (first, number) in again {
            match groups.last_mut().filter(|group| group.first() == Some(&first)) {
                Some(group) => group.push(number),
                None => groups.push(vec![first, number]),
            }
        }
        groups
    }

    /// Makes one table of a group the one that defines the user; it may take over the password strings of another.
    pub(crate) fn define(&mut self, group: &[u32], definition: u32, secrets: Option<u32>, disabled: bool) {
        let Some(first) = group.first() else { return };
        let hash = self.table_user(*first).map(|user| self.seed.hash(user.name()));
        if let Some(Ok(mut entry)) = hash.map(|hash| self.table.find_entry(hash, |number| number == first)) {
            *entry.get_mut() = definition;
        }
        if let Some(secrets) = secrets {
            self.secrets.insert(definition, secrets);
        }
        self.change(definition, |head| head.flags |= if disabled { Head::DISABLED } else { 0 });
        for number in group.iter().filter(|number| **number != definition) {
            self.drop(*number);
        }
    }

    /// Takes a table out: it is no user.
    pub(crate) fn drop(&mut self, number: u32) {
        self.change(number, |head| head.flags |= Head::NO_USER);
    }

    /// Gives a user the list of its rule sets.
    pub(crate) fn settle(&mut self, number: u32, sets: u32, own_ids: bool) {
        self.change(number, |head| {
            head.sets = sets;
            head.flags |= if own_ids { Head::OWN_IDS } else { 0 };
        });
    }

    /// Stores a list of rule sets, for [`settle`](Self::settle).
    pub(crate) fn list(&mut self, sets: &[SetId]) -> u32 {
        let lists = &mut self.shared.lists;
        let at = as_number(lists.len());
        self.is_full |= at == u32::MAX;
        lists.push(as_number(sets.len()));
        lists.extend_from_slice(sets);
        at
    }

    /// The lists of rule sets that were stored.
    pub(crate) fn lists(&self) -> impl Iterator<Item = &[SetId]> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let (length, rest) = self.shared.lists.get(at..)?.split_first()?;
            at += 1 + *length as usize;
            rest.get(..*length as usize)
        })
    }

    /// How many rule sets users have of their own, and how many levels the rules in these have.
    pub(crate) fn own_rules(&self) -> (usize, usize) {
        // What has more is refused.
        let levels = |text: &Text| 1 + text.value.bytes().filter(|byte| *byte == b'/').count().min(MOST_SEPARATORS);
        let of = |table: &RuleTable| table.filters().map(levels).sum::<usize>();
        (self.rules.len(), self.rules.values().map(|table| of(table)).sum())
    }

    /// Takes the rules of its own that a user has.
    pub(crate) fn take_rules(&mut self, number: u32) -> Option<RuleTable> {
        let origin = self.origins.get(number as usize)?;
        let has = self.at(origin.at).is_some_and(|user| user.head.flags & Head::RULES != 0);
        has.then(|| self.rules.remove(&origin.at)).flatten().map(|rules| *rules)
    }

    /// Takes the attributes that a user has.
    pub(crate) fn take_attributes(&mut self, number: u32) -> Vec<(Text, Text)> {
        if self.attributes.is_empty() {
            return Vec::new();
        }
        self.origins.get(number as usize).and_then(|origin| self.attributes.remove(&origin.at)).unwrap_or_default()
    }

    /// The users, how many password strings they have, and whether there was room for all of them.
    pub(crate) fn finish(self) -> (Users, u32, bool) {
        let place = |number: &u32| self.origins.get(*number as usize).map(|origin| origin.at);
        let secrets = self.secrets.iter().filter_map(|(user, table)| Some((place(user)?, place(table)?))).collect();
        let Self { parts, mut shared, seed, origins, table, is_full, .. } = self;
        let tables = origins.len();
        // What comes now needs memory of its own.
        drop((origins, table));
        shared.lists.shrink_to_fit();
        shared.shapes.shrink_to_fit();
        let (users, slots) = parts.users(shared, seed, &secrets, tables);
        let is_whole = !is_full && users.is_whole();
        (users, slots, is_whole)
    }

    fn change(&mut self, number: u32, change: impl FnOnce(&mut Head)) {
        if let Some(origin) = self.origins.get(number as usize) {
            self.parts.change(origin.at, change);
        }
    }
}

/// What is known of a table, by its number.
impl Draft {
    /// The user that it defines, if it does.
    pub(crate) fn user(&self, number: u32) -> Option<User<'_>> {
        self.table_user(number).filter(|user| user.head.flags & Head::NO_USER == 0)
    }

    /// The user of this name.
    pub(crate) fn number_of(&self, name: &[u8]) -> Option<u32> {
        let is_it = |number: &u32| self.user(*number).is_some_and(|user| user.name() == name);
        self.table.find(self.seed.hash(name), is_it).copied()
    }

    /// The name of its user, whether or not it defines that one.
    pub(crate) fn name(&self, number: u32) -> Option<&[u8]> {
        self.table_user(number).map(|user| user.name())
    }

    /// The user that it is about, by what it says itself.
    fn table_user(&self, number: u32) -> Option<User<'_>> {
        self.at(self.origins.get(number as usize)?.at)
    }

    /// Whether it holds nothing but what may complete a definition (S2).
    pub(crate) fn only_secrets(&self, number: u32) -> bool {
        self.table_user(number).is_some_and(|user| user.head.flags & Head::ONLY_SECRETS != 0)
    }

    pub(crate) fn is_disabled(&self, number: u32) -> bool {
        self.table_user(number).is_some_and(|user| user.is_disabled())
    }

    pub(crate) fn place(&self, number: u32) -> Place {
        let column = self.layout_of(number).map_or(0, |layout| layout.column);
        self.spot(number, Spot { down: 0, column })
    }

    /// Tables with the same one name the same roles.
    pub(crate) fn layout_number(&self, number: u32) -> u32 {
        self.origins.get(number as usize).map_or(u32::MAX, |origin| origin.layout)
    }

    /// Its roles by name, and where each stands.
    pub(crate) fn roles(&self, number: u32) -> impl Iterator<Item = (&str, Place)> {
        let roles = self.layout_of(number).map(|layout| &*layout.roles).unwrap_or_default();
        roles.iter().map(move |(name, spot)| (&**name, self.spot(number, *spot)))
    }

    /// Where its passwords stand, readable or not.
    pub(crate) fn passwords(&self, number: u32) -> impl Iterator<Item = Place> {
        let passwords = self.layout_of(number).map(|layout| &*layout.passwords).unwrap_or_default();
        passwords.iter().map(move |spot| self.spot(number, *spot))
    }

    /// The table that has the passwords of this user.
    pub(crate) fn secrets(&self, number: u32) -> u32 {
        if self.secrets.is_empty() { number } else { self.secrets.get(&number).copied().unwrap_or(number) }
    }

    /// What its readable password strings are like.
    pub(crate) fn shapes(&self, number: u32) -> impl Iterator<Item = Shape> {
        self.table_user(number).into_iter().flat_map(|user| user.shapes())
    }

    /// What is wrong with its other passwords, each with its place among them.
    pub(crate) fn unreadable(&self, number: u32) -> &[(usize, String)] {
        if self.unreadable.is_empty() {
            return &[];
        }
        let at = self.origins.get(number as usize).map(|origin| origin.at);
        at.and_then(|at| self.unreadable.get(&at)).map_or(&[], Vec::as_slice)
    }

    fn at(&self, at: At) -> Option<User<'_>> {
        self.parts.user(&self.shared, at)
    }

    fn layout_of(&self, number: u32) -> Option<&Layout> {
        self.layouts.get(self.layout_number(number) as usize)
    }

    fn spot(&self, number: u32, spot: Spot) -> Place {
        let origin = self.origins.get(number as usize);
        let file = origin.and_then(|origin| self.files.get(origin.file as usize));
        Place {
            file: file.map_or_else(|| Arc::from(Path::new("")), Arc::clone),
            line: origin.map_or(0, |origin| origin.line.wrapping_add(spot.down)),
            column: spot.column,
        }
    }
}

/// Makes room without doubling: what is copied more often is virtual memory, and what stays unused would count.
fn grow<T>(list: &mut Vec<T>) {
    const LEAST: usize = 4096;
    if list.capacity() == list.len() {
        list.reserve_exact((list.len() / 8).max(LEAST));
    }
}

fn as_number(number: usize) -> u32 {
    // The files of a policy have 1 GiB at most.
    u32::try_from(number).unwrap_or(u32::MAX)
}
