//! The users of a policy, packed: a fleet may have a million of them, and every message asks for one.
//!
//! All that is known of a user lies in one run of bytes, so that whoever finds it has it in the processor's cache. The runs
//! lie in the order of the hashes of their users' names, so that what finds one is small, too. Lists of rule sets, and what
//! password strings have in common, are kept once, for very many users share them.

mod blocks;
mod draft;
mod parts;

use std::fmt;

use smallvec::SmallVec;

use crate::credential::{Credential, Shape};
use crate::fingerprint::Slot;
use crate::hash::{Ends, Seed, spread};
use crate::policy::SetId;
use blocks::{At, Blocks};

pub(crate) use draft::{Draft, Listing, PASSWORDS, Spot};

/// The users, by name.
#[derive(Default)]
pub(crate) struct Users {
    /// In the order of the hashes of their names, as far as places tell them apart.
    blocks: Blocks,
    /// Where each place begins, and where the last one ends. There are about as many places as users.
    starts: Vec<At>,
    shared: Shared,
    seed: Seed,
    count: usize,
}

/// A user of the policy.
#[derive(Clone, Copy)]
pub(crate) struct User<'p> {
    shared: &'p Shared,
    head: Head,
    /// The name, the password strings, and whatever comes after them.
    rest: &'p [u8],
}

/// The password strings of a user. The first is the current one; the others are being replaced.
pub(crate) type Credentials<'p> = SmallVec<[Credential<'p>; 1]>;

impl Users {
    #[inline]
    pub(crate) fn get(&self, name: &[u8]) -> Option<User<'_>> {
        let Some(ends) = Ends::of(name) else { return self.find(name) };
        let is_it = |other: &[u8]| other.len() == name.len() && Ends::of(other) == Some(ends);
        self.among(self.seed.hash_ends(ends, name.len()), is_it)
    }

    /// Finds any name. Apart, for its loops and calls would make the usual way longer.
    #[inline(never)]
    fn find(&self, name: &[u8]) -> Option<User<'_>> {
        self.among(self.seed.hash(name), |other| other == name)
    }

    #[inline]
    fn among(&self, hash: u64, is_it: impl Fn(&[u8]) -> bool) -> Option<User<'_>> {
        let place = part_of(hash, self.starts.len().saturating_sub(1));
        let [start, end] = *self.starts.get(place..)?.first_chunk()?;
        let mut bytes = self.blocks.between(start, end)?;
        loop {
            let user = self.shared.user(bytes)?;
            if is_it(user.name()) {
                return Some(user);
            }
            bytes = bytes.get(user.size()..)?;
        }
    }

    pub(crate) fn contains(&self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Whether there was room for all of them.
    fn is_whole(&self) -> bool {
        self.blocks.have_room()
    }

    /// Disables users; how many were not already.
    pub(crate) fn disable(&mut self, is_meant: impl Fn(&[u8]) -> bool) -> usize {
        let mut count = 0;
        self.blocks.change_each(&self.shared, |user| {
            let is_news = !user.is_disabled() && is_meant(user.name());
            is_news.then(|| {
                count += 1;
                Head { flags: user.head.flags | Head::DISABLED, ..user.head }
            })
        });
        count
    }

    /// All of them, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = User<'_>> {
        self.blocks.users(&self.shared)
    }
}

/// Which of so many parts of all hashes this one is in.
#[inline]
fn part_of(hash: u64, parts: usize) -> usize {
    ((u128::from(spread(hash)) * parts as u128) >> 64) as usize
}

impl<'p> User<'p> {
    #[inline]
    pub(crate) fn name(&self) -> &'p [u8] {
        self.rest.get(..usize::from(self.head.name)).unwrap_or_default()
    }

    /// The rule sets that apply to it.
    #[inline]
    pub(crate) fn sets(&self) -> &'p [SetId] {
        self.shared.list(self.head.sets)
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
        let (shared, mut rest) = (self.shared, self.packed());
        (0..self.head.count()).map_while(move |_| {
            let (number, after) = rest.split_first_chunk()?;
            let shape = *shared.shapes.get(u32::from_le_bytes(*number) as usize)?;
            let (bytes, after) = after.split_at_checked(shape.size())?;
            rest = after;
            Some((shape, bytes))
        })
    }

    /// The password strings as they are stored.
    fn packed(&self) -> &'p [u8] {
        let after = self.rest.get(usize::from(self.head.name)..).unwrap_or_default();
        after.get(..usize::from(self.head.strings)).unwrap_or_default()
    }

    /// How many bytes it takes.
    #[inline]
    fn size(&self) -> usize {
        HEAD + usize::from(self.head.name) + usize::from(self.head.strings)
    }
}

/// What users share.
#[derive(Default)]
struct Shared {
    /// Lists of rule sets, each after its length.
    lists: Vec<SetId>,
    shapes: Vec<Shape>,
}

/// What comes before a user's name.
#[derive(Clone, Copy)]
struct Head {
    /// The length of the name.
    name: u16,
    /// How many bytes the password strings take.
    strings: u16,
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
        let (short, number) = (u16::from_le_bytes, u32::from_le_bytes);
        Self {
            name: short([a, b]),
            strings: short([c, d]),
            sets: number([e, f, g, h]),
            slot: number([i, j, k, l]),
            flags,
        }
    }

    fn write(self) -> [u8; HEAD] {
        let [a, b] = self.name.to_le_bytes();
        let [c, d] = self.strings.to_le_bytes();
        let [e, f, g, h] = self.sets.to_le_bytes();
        let [i, j, k, l] = self.slot.to_le_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, self.flags]
    }

    fn count(self) -> u32 {
        u32::from(self.flags & Self::COUNT)
    }
}

impl Shared {
    /// The user whose bytes these begin with.
    #[inline]
    fn user<'p>(&'p self, bytes: &'p [u8]) -> Option<User<'p>> {
        let (head, rest) = bytes.split_first_chunk()?;
        Some(User { shared: self, head: Head::read(head), rest })
    }

    /// The users whose bytes these are.
    fn users<'p>(&'p self, mut bytes: &'p [u8]) -> impl Iterator<Item = User<'p>> {
        std::iter::from_fn(move || {
            let user = self.user(bytes)?;
            bytes = bytes.get(user.size()..).unwrap_or_default();
            Some(user)
        })
    }

    #[inline]
    fn list(&self, at: u32) -> &[SetId] {
        let Some((length, rest)) = self.lists.get(at as usize..).and_then(<[_]>::split_first) else { return &[] };
        rest.get(..*length as usize).unwrap_or_default()
    }
}

/// Changes the user whose bytes these begin with.
fn change(bytes: &mut [u8], how: impl FnOnce(&mut Head)) {
    if let Some(bytes) = bytes.first_chunk_mut::<HEAD>() {
        let mut head = Head::read(bytes);
        how(&mut head);
        *bytes = head.write();
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
    use std::collections::HashSet;
    use std::path::Path;
    use std::sync::Arc;

    use super::draft::Mark;
    use super::*;
    use crate::document::Located;

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
        let (users, slots, is_whole) = users(&[&list[1..]]).finish();
        assert_eq!((users.len(), slots, is_whole), (names.len() - 1, 0, true));
        for name in &names {
            assert_eq!(users.get(name.as_bytes()).unwrap().name(), name.as_bytes());
            for at in 0..name.len() {
                let mut other = name.clone().into_bytes();
                other[at] ^= 0x80;
                assert!(users.get(&other).is_none(), "{name} {at}");
            }
            assert!(users.get(&name.as_bytes()[..name.len() - 1]).is_none());
        }
        let mut all: Vec<_> = users.iter().map(|user| user.name()).collect();
        let mut expected: Vec<_> = names[1..].iter().map(|name| name.as_bytes()).collect();
        all.sort_unstable();
        expected.sort_unstable();
        assert_eq!(all, expected);
    }

    #[test]
    fn however_many_there_are_each_is_found() {
        /// What is added to a name, by its number.
        type Length = fn(usize) -> usize;
        // Long names have blocks of their own, or share them; very many users fill blocks again that others lay in.
        let lengths: [Length; 4] = [|_| 0, |_| 65_520, |number| number % 3 * 32_000, |number| number * 331 % 65_520];
        let of_all = lengths.map(|length| [0, 1, 2, 3, 63, 64, 65, 100, 400].map(|count| (count, length)));
        let many: Length = |number| if number % 1000 == 999 { 40_000 } else { 0 };
        for (count, length) in of_all.into_iter().flatten().chain([(5000, lengths[0]), (150_000, many)]) {
            let names: Vec<String> =
                (0..count).map(|number| format!("device-{number}{}", "x".repeat(length(number)))).collect();
            let passwords = [&[TOKEN] as &[&str], &[], &[ARGON2ID, TOKEN]];
            let list: Vec<_> = names.iter().map(String::as_str).zip(passwords.into_iter().cycle()).collect();
            let (first, second) = list.split_at(count / 2);
            let (users, slots, is_whole) = users(&[first, second]).finish();
            assert_eq!((users.len(), users.iter().count(), is_whole), (count, count, true));
            let mut taken = HashSet::new();
            for (name, passwords) in list {
                let user = users.get(name.as_bytes()).unwrap();
                assert_eq!((user.name(), user.credentials().len()), (name.as_bytes(), passwords.len()));
                taken.extend(user.credentials().iter().map(|credential| format!("{:?}", credential.slot)));
                assert!(users.get(format!("{name}.").as_bytes()).is_none());
            }
            assert_eq!(taken.len(), slots as usize, "each password string has a slot of its own");
        }
    }

    /// Each of them looks past those that come before it in its place: half a one, where chance alone decides.
    #[test]
    fn names_that_are_counted_through_do_not_come_near_each_other() {
        let names: Vec<String> = (0..1000).map(|number| format!("dev{number:07}")).collect();
        for _ in 0..200 {
            let seed = Seed::default();
            let mut places = [0_usize; 1024];
            names.iter().for_each(|name| places[part_of(seed.hash(name.as_bytes()), places.len())] += 1);
            let passed: usize = places.iter().map(|count| count * count.saturating_sub(1) / 2).sum();
            assert!(passed < 750, "{passed}");
        }
    }

    #[test]
    fn what_a_file_added_is_forgotten_whole() {
        fn add(draft: &mut Draft, file: &str, count: usize) -> Mark {
            let mark = draft.begin(&Arc::from(Path::new(file)));
            let layout = draft.layout(8, &[], &[]);
            for line in 0..count {
                let name = format!("{file}-{line}");
                // The last of them cannot be read.
                let passwords = [&[TOKEN, "x"] as &[&str], &[ARGON2ID]][line % 2];
                let attribute = |text: &str| Located { value: text.to_owned(), place: draft.place(0) };
                draft.add(Listing {
                    name: &name,
                    line: line as u32,
                    layout,
                    passwords,
                    disabled: false,
                    only_secrets: false,
                    attributes: vec![(attribute("site"), attribute("bne"))],
                    rules: Some(Box::default()),
                });
            }
            draft.end(mark);
            mark
        }
        for (before, forgotten, after) in [(0, 1, 1), (1, 3000, 1), (3000, 1, 3000), (700, 5000, 900)] {
            let mut draft = Draft::default();
            add(&mut draft, "a", before);
            let mark = add(&mut draft, "b", forgotten);
            draft.forget(mark);
            add(&mut draft, "c", after);
            for number in draft.numbers() {
                let readable = if number as usize % 2 == usize::from(before % 2 == 1 && number as usize >= before) {
                    1
                } else {
                    0
                };
                assert_eq!((draft.unreadable(number).len(), draft.take_attributes(number).len()), (readable, 1));
                assert!(draft.take_rules(number).is_some());
            }
            let (users, ..) = draft.finish();
            assert_eq!(users.len(), before + after);
            for (file, count) in [("a", before), ("b", 0), ("c", after)] {
                let is_there = |line: &usize| users.get(format!("{file}-{line}").as_bytes()).is_some();
                assert_eq!((0..5000).filter(is_there).count(), count, "{file}");
            }
        }
    }

    #[test]
    fn s2_s29_passwords_come_to_their_users_and_each_has_a_slot() {
        let mut draft = users(&[&[("a", &[]), ("b", &[TOKEN, ARGON2ID]), ("c", &[])], &[("c", &[ARGON2ID])]]);
        let groups = draft.take_groups();
        assert_eq!(groups, [vec![2, 3]]);
        draft.define(&groups[0], 2, Some(3), true);
        let list = draft.list(&[7, 9]);
        draft.settle(1, list, true);
        let (users, slots, _) = draft.finish();
        assert_eq!((users.len(), slots), (3, 3));
        let of = |name: &str| users.get(name.as_bytes()).unwrap();
        assert!(!of("a").has_password() && of("a").credentials().is_empty() && of("a").sets().is_empty());
        let [token, argon2id] = &of("b").credentials()[..] else { panic!("two passwords") };
        assert!(token.is_quick() && !argon2id.is_quick());
        assert_eq!((of("b").sets(), of("b").has_own_ids(), of("b").is_disabled()), (&[7, 9][..], true, false));
        let [moved] = &of("c").credentials()[..] else { panic!("one password") };
        assert!(moved.is_same(argon2id) && of("c").is_disabled());
        let mut slots = [token.slot, argon2id.slot, moved.slot];
        slots.sort_unstable_by_key(|slot| format!("{slot:?}"));
        assert_eq!(slots, [0, 1, 2].map(Slot::number));
    }
}
