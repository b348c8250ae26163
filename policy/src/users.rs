//! The users of a policy, packed: a fleet may have a million of them, and every message asks for one.
//!
//! All that is known of a user lies in one run of bytes, so that whoever finds it has it in the processor's cache. Lists of
//! rule sets, and what password strings have in common, are kept once, for very many users share them.

mod draft;

use std::fmt;

use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::credential::{Credential, Shape};
use crate::fingerprint::Slot;
use crate::hash::{Ends, Seed};
use crate::policy::SetId;

pub(crate) use draft::{Draft, Listing, PASSWORDS, Spot};

/// The users, by name.
#[derive(Default)]
pub(crate) struct Users {
    store: Store,
    /// Where in the store each one is.
    table: HashTable<u32>,
    seed: Seed,
}

/// A user of the policy.
#[derive(Clone, Copy)]
pub(crate) struct User<'p> {
    store: &'p Store,
    head: Head,
    /// The name, and the password strings after it.
    rest: &'p [u8],
}

/// The password strings of a user. The first is the current one; the others are being replaced.
pub(crate) type Credentials<'p> = SmallVec<[Credential<'p>; 1]>;

impl Users {
    #[inline]
    pub(crate) fn get(&self, name: &[u8]) -> Option<User<'_>> {
        let Some(ends) = Ends::of(name) else { return self.find(name) };
        let is_it = |other: &[u8]| other.len() == name.len() && Ends::of(other) == Some(ends);
        let at =
            self.table.find(self.seed.hash_ends(ends, name.len()), |at| self.store.name(*at).is_some_and(is_it))?;
        self.store.user(*at)
    }

    /// Finds any name. Apart, for its loops and calls would make the usual way longer.
    #[inline(never)]
    fn find(&self, name: &[u8]) -> Option<User<'_>> {
        let at = self.table.find(self.seed.hash(name), |at| self.store.name(*at) == Some(name))?;
        self.store.user(*at)
    }

    pub(crate) fn contains(&self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Disables users; how many were not already.
    pub(crate) fn disable(&mut self, is_meant: impl Fn(&[u8]) -> bool) -> usize {
        let mut count = 0;
        let mut at = 0;
        while let Some(user) = self.store.user(at) {
            let next = at.wrapping_add(u32::try_from(user.size()).unwrap_or(u32::MAX));
            if !user.is_disabled() && is_meant(user.name()) {
                self.store.set_head(at, |head| head.flags |= Head::DISABLED);
                count += 1;
            }
            at = next;
        }
        count
    }

    /// All of them, as they lie.
    pub(crate) fn iter(&self) -> impl Iterator<Item = User<'_>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let user = self.store.user(at)?;
            at = at.wrapping_add(u32::try_from(user.size()).unwrap_or(u32::MAX));
            Some(user)
        })
    }
}

impl<'p> User<'p> {
    #[inline]
    pub(crate) fn name(&self) -> &'p [u8] {
        self.rest.get(..self.head.name as usize).unwrap_or_default()
    }

    /// The rule sets that apply to it.
    #[inline]
    pub(crate) fn sets(&self) -> &'p [SetId] {
        self.store.list(self.head.sets)
    }

    #[inline]
    pub(crate) fn is_disabled(&self) -> bool {
        self.head.flags & Head::DISABLED != 0
    }

    /// Whether the ids that begin with its name are its own and nothing takes them away: what most clients use, and so
    /// decided before anything else.
    #[inline]
    pub(crate) fn has_own_ids(&self) -> bool {
        self.head.flags & Head::OWN_IDS != 0
    }

    pub(crate) fn has_password(&self) -> bool {
        self.head.count() > 0
    }

    pub(crate) fn credentials(&self) -> Credentials<'p> {
        let slots = (0..self.head.count()).map(|number| Slot::number(self.head.slot.wrapping_add(number)));
        self.strings().zip(slots).filter_map(|((shape, bytes), slot)| shape.credential(bytes, slot)).collect()
    }

    /// What its password strings are like.
    pub(crate) fn shapes(&self) -> impl Iterator<Item = Shape> + use<'p> {
        self.strings().map(|(shape, _)| shape)
    }

    fn strings(&self) -> impl Iterator<Item = (Shape, &'p [u8])> + use<'p> {
        let (store, mut rest) = (self.store, self.packed());
        (0..self.head.count()).map_while(move |_| {
            let (number, after) = rest.split_first_chunk()?;
            let shape = *store.shapes.get(u32::from_le_bytes(*number) as usize)?;
            let (bytes, after) = after.split_at_checked(shape.size())?;
            rest = after;
            Some((shape, bytes))
        })
    }

    /// The password strings as they are stored, and whatever comes after them.
    fn packed(&self) -> &'p [u8] {
        self.rest.get(self.head.name as usize..).unwrap_or_default()
    }

    /// How many bytes it takes.
    fn size(&self) -> usize {
        HEAD + self.head.name as usize + self.packed_size()
    }

    fn packed_size(&self) -> usize {
        self.strings().map(|(_, bytes)| SHAPE + bytes.len()).sum()
    }
}

/// The bytes of all users, and what they share.
#[derive(Default)]
struct Store {
    bytes: Vec<u8>,
    /// Lists of rule sets, each after its length.
    lists: Vec<SetId>,
    shapes: Vec<Shape>,
}

/// What comes before a user's name.
#[derive(Clone, Copy)]
struct Head {
    /// The length of the name.
    name: u32,
    /// Where the list of its rule sets is.
    sets: u32,
    /// The slot of its first password string; the others follow.
    slot: u32,
    /// How many password strings there are, and what else is to be said.
    flags: u8,
}

/// The bytes of a [`Head`].
const HEAD: usize = 13;

/// The bytes of the number of a [`Shape`], before each password string.
const SHAPE: usize = 4;

impl Head {
    /// The part of the flags that counts password strings.
    const COUNT: u8 = 0x07;
    const DISABLED: u8 = 0x08;
    const OWN_IDS: u8 = 0x10;
    /// While loading: it holds nothing but what may complete a definition in another file (S2).
    const ONLY_SECRETS: u8 = 0x20;
    /// While loading: it has rules of its own.
    const RULES: u8 = 0x40;
    /// While loading: another table defines the user, or none.
    const NO_USER: u8 = 0x80;

    #[inline]
    fn read(bytes: &[u8; HEAD]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, flags] = *bytes;
        let number = u32::from_le_bytes;
        Self { name: number([a, b, c, d]), sets: number([e, f, g, h]), slot: number([i, j, k, l]), flags }
    }

    fn write(self) -> [u8; HEAD] {
        let [a, b, c, d] = self.name.to_le_bytes();
        let [e, f, g, h] = self.sets.to_le_bytes();
        let [i, j, k, l] = self.slot.to_le_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, self.flags]
    }

    fn count(self) -> u32 {
        u32::from(self.flags & Self::COUNT)
    }
}

impl Store {
    #[inline]
    fn user(&self, at: u32) -> Option<User<'_>> {
        let (head, rest) = self.bytes.get(at as usize..)?.split_first_chunk()?;
        Some(User { store: self, head: Head::read(head), rest })
    }

    #[inline]
    fn name(&self, at: u32) -> Option<&[u8]> {
        let (head, rest) = self.bytes.get(at as usize..)?.split_first_chunk()?;
        rest.get(..Head::read(head).name as usize)
    }

    #[inline]
    fn list(&self, at: u32) -> &[SetId] {
        let Some((length, rest)) = self.lists.get(at as usize..).and_then(<[_]>::split_first) else { return &[] };
        rest.get(..*length as usize).unwrap_or_default()
    }

    fn set_head(&mut self, at: u32, change: impl FnOnce(&mut Head)) {
        if let Some(bytes) = self.bytes.get_mut(at as usize..).and_then(<[u8]>::first_chunk_mut::<HEAD>) {
            let mut head = Head::read(bytes);
            change(&mut head);
            *bytes = head.write();
        }
    }

    /// Where the next user will be.
    fn end(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }
}

/// A hash is a secret of sorts, and shown to tests alone.
impl fmt::Debug for User<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("User");
        shown.field("name", &self.name()).field("sets", &self.sets()).field("flags", &self.head.flags);
        shown.field("credentials", &self.credentials());
        if cfg!(test) {
            shown.field("bytes", &self.strings().map(|(_, bytes)| bytes).collect::<Vec<_>>());
        }
        shown.finish()
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;

    const TOKEN: &str = "$token$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    const ARGON2ID: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    /// The users of these files, each line of which is a name and passwords.
    fn users(files: &[&[(&str, &[&str])]]) -> Draft {
        let mut draft = Draft::default();
        for file in files {
            let mark = draft.begin(&Arc::from(Path::new("p.toml")));
            for (line, (name, passwords)) in (1..).zip(*file) {
                let spots: Vec<_> = passwords.iter().map(|_| Spot { down: 1, column: 12 }).collect();
                let layout = draft.layout(8, &[], &spots);
                draft.add(Listing {
                    name,
                    line,
                    layout,
                    passwords,
                    disabled: false,
                    only_secrets: true,
                    attributes: Vec::new(),
                    rules: None,
                });
            }
            assert!(draft.end(mark).is_empty());
        }
        draft
    }

    #[test]
    fn each_name_is_found_and_no_other() {
        let letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let names: Vec<String> = (0..letters.len())
            .flat_map(|length| [0, 1].map(|skip| letters.chars().skip(skip).take(length).chain(['.']).collect()))
            .collect();
        let list: Vec<(&str, &[&str])> = names.iter().map(|name| (name.as_str(), &[] as &[&str])).collect();
        let (users, slots) = users(&[&list[1..]]).finish();
        assert_eq!((users.len(), slots), (names.len() - 1, 0));
        for name in &names {
            assert_eq!(users.get(name.as_bytes()).unwrap().name(), name.as_bytes());
            for at in 0..name.len() {
                let mut other = name.clone().into_bytes();
                other[at] ^= 0x80;
                assert!(users.get(&other).is_none(), "{name} {at}");
            }
            assert!(users.get(&name.as_bytes()[..name.len() - 1]).is_none());
        }
        assert!(users.iter().map(|user| user.name()).eq(names[1..].iter().map(|name| name.as_bytes())));
    }

    #[test]
    fn s2_s29_passwords_come_to_their_users_and_each_has_a_slot() {
        let mut draft = users(&[&[("a", &[]), ("b", &[TOKEN, ARGON2ID]), ("c", &[])], &[("c", &[ARGON2ID])]]);
        let groups = draft.take_groups();
        assert_eq!(groups, [vec![2, 3]]);
        draft.define(&groups[0], 2, Some(3), true);
        let list = draft.list(&[7, 9]);
        draft.settle(1, list, true);
        let (users, slots) = draft.finish();
        assert_eq!((users.len(), slots), (3, 3));
        let of = |name: &str| users.get(name.as_bytes()).unwrap();
        assert!(!of("a").has_password() && of("a").credentials().is_empty() && of("a").sets().is_empty());
        let [token, argon2id] = &of("b").credentials()[..] else { panic!("two passwords") };
        assert!(token.is_quick() && !argon2id.is_quick());
        assert_eq!((token.slot, argon2id.slot), (Slot::number(0), Slot::number(1)));
        assert_eq!((of("b").sets(), of("b").has_own_ids(), of("b").is_disabled()), (&[7, 9][..], true, false));
        let [moved] = &of("c").credentials()[..] else { panic!("one password") };
        assert!(moved.is_same(argon2id) && moved.slot == Slot::number(2) && of("c").is_disabled());
    }
}
