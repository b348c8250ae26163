//! The packed tables of users while files are read, and how they come into the order in which users are found.

use hashbrown::HashMap;

use super::blocks::{At, BLOCK, Blocks};
use super::{HEAD, Head, Shared, User, Users, part_of};
use crate::hash::Seed;

/// So many parts that each fits the processor's cache, be there a million users.
const COUNT: usize = 64;

/// The tables, by the parts of the hashes of their users' names, so that putting them in order touches but one part at a time.
pub(super) struct Parts {
    blocks: Blocks,
    /// Of each block, the number of its part.
    owners: Vec<u8>,
    /// Of each part, the block that has room.
    open: [Open; COUNT],
}

#[derive(Clone, Copy, Debug, Default)]
struct Open {
    block: u32,
    /// How many bytes the part has taken with it. None, and it has no block.
    taken: usize,
}

/// How much there was.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    blocks: usize,
    open: [(Open, usize); COUNT],
}

impl End {
    /// Whether that was added later.
    pub(super) fn is_before(&self, at: At) -> bool {
        let is_in_open = |(open, length): &(Open, usize)| open.block as usize == at.block() && at.start() >= *length;
        at.block() >= self.blocks || self.open.iter().filter(|(open, _)| open.taken > 0).any(is_in_open)
    }
}

impl Default for Parts {
    fn default() -> Self {
        Self { blocks: Blocks::default(), owners: Vec::new(), open: [Open::default(); COUNT] }
    }
}

/// The users of one part.
struct Part<'p> {
    blocks: &'p Blocks,
    /// Its blocks.
    numbers: &'p [usize],
    shared: &'p Shared,
    /// Where the password strings of a user are that another table has.
    secrets: &'p HashMap<At, At>,
}

impl<'p> Part<'p> {
    /// Each user, with the table that has its password strings.
    fn users(&self) -> impl Iterator<Item = (User<'p>, User<'p>)> + use<'p> {
        let Self { blocks, numbers, shared, secrets } = *self;
        let in_block = move |number: &usize| {
            let (number, mut start) = (*number, 0);
            shared.users(blocks.get(number).map(Vec::as_slice).unwrap_or_default()).map(move |table| {
                let at = At::new(number, start);
                start += table.size();
                (at, table)
            })
        };
        let users = numbers.iter().flat_map(in_block).filter(|(_, table)| table.head.flags & Head::NO_USER == 0);
        users.map(move |(at, user)| {
            let other = if secrets.is_empty() { None } else { secrets.get(&at) };
            (user, other.and_then(|other| blocks.user(shared, *other)).unwrap_or(user))
        })
    }
}

impl Parts {
    /// Where a user's table goes whose name has this hash, and where there is room for so many bytes.
    pub(super) fn room(&mut self, hash: u64, bytes: usize) -> At {
        let number = part_of(hash, COUNT);
        let Some(open) = self.open.get_mut(number) else { return At::NOWHERE };
        if let Some(block) = self.blocks.get(open.block as usize).filter(|_| open.taken > 0) {
            if block.len() <= BLOCK && block.capacity() - block.len() >= bytes {
                return At::new(open.block as usize, block.len());
            }
        }
        let new = self.blocks.len();
        // What is not used is to be a part of what is.
        let size = (open.taken / 4).clamp(1024, BLOCK).max(bytes);
        *open = Open { block: new as u32, taken: open.taken + size };
        self.blocks.push(Vec::with_capacity(size));
        self.owners.push(number as u8);
        At::new(new, 0)
    }

    pub(super) fn block_mut(&mut self, at: At) -> Option<&mut Vec<u8>> {
        self.blocks.get_mut(at.block())
    }

    pub(super) fn end(&self) -> End {
        let length = |open: Open| self.blocks.get(open.block as usize).map_or(0, Vec::len);
        End { blocks: self.blocks.len(), open: self.open.map(|open| (open, length(open))) }
    }

    /// Forgets what was added later.
    pub(super) fn cut(&mut self, end: End) {
        self.blocks.truncate(end.blocks);
        self.owners.truncate(end.blocks);
        self.open = end.open.map(|(open, _)| open);
        for (open, length) in end.open.into_iter().filter(|(open, _)| open.taken > 0) {
            if let Some(block) = self.blocks.get_mut(open.block as usize) {
                block.truncate(length);
            }
        }
    }

    pub(super) fn user<'p>(&'p self, shared: &'p Shared, at: At) -> Option<User<'p>> {
        self.blocks.user(shared, at)
    }

    pub(super) fn change(&mut self, at: At, how: impl FnOnce(&mut Head)) {
        self.blocks.change(at, how);
    }

    /// The users of so many tables, and how many password strings they have: some of them in other tables.
    pub(super) fn users(self, shared: Shared, seed: Seed, secrets: &HashMap<At, At>, tables: usize) -> (Users, u32) {
        let Self { mut blocks, owners, .. } = self;
        let places = tables.div_ceil(COUNT).max(1);
        let mut ordered = Ordered { starts: Vec::with_capacity(places * COUNT + 1), ..Ordered::default() };
        let (mut sizes, mut count, mut slots) = (vec![0; places], 0, 0);
        for part in 0..COUNT {
            let numbers: Vec<usize> =
                (0..).zip(&owners).filter(|(_, of)| usize::from(**of) == part).map(|(number, _)| number).collect();
            let users = Part { blocks: &blocks, numbers: &numbers, shared: &shared, secrets };
            let place = |user: &User<'_>| part_of(seed.hash(user.name()), places * COUNT).wrapping_sub(part * places);
            sizes.fill(0);
            for (user, strings) in users.users() {
                if let Some(size) = sizes.get_mut(place(&user)) {
                    *size += HEAD + user.name().len() + strings.packed().len();
                }
            }
            let mut cursors = ordered.make_room(&sizes);
            for (user, strings) in users.users() {
                let flags = (user.head.flags & !Head::COUNT) | (strings.head.flags & Head::COUNT);
                let head = Head { strings: strings.head.strings, flags, slot: slots, ..user.head }.write();
                if let Some(cursor) = cursors.get_mut(place(&user)) {
                    [&head, user.name(), strings.packed()].into_iter().for_each(|piece| ordered.write(cursor, piece));
                }
                count += 1;
                slots += strings.head.count();
            }
            // The next part comes to lie where this one lay.
            let emptied = numbers.iter().filter_map(|number| blocks.get_mut(*number).map(std::mem::take));
            ordered.spare.extend(emptied.filter(|block| block.capacity() == BLOCK));
        }
        let (blocks, starts) = ordered.finish();
        (Users { blocks, starts, shared, seed, count }, slots)
    }
}

/// The users that are in order.
#[derive(Default)]
struct Ordered {
    blocks: Blocks,
    /// Where each place begins.
    starts: Vec<At>,
    /// Whole blocks to be filled again.
    spare: Vec<Vec<u8>>,
}

/// Where the next bytes of a place go: the number of the block, and where there.
type Cursor = (usize, usize);

impl Ordered {
    /// Makes room for places of these sizes, none of them in two blocks.
    fn make_room(&mut self, sizes: &[usize]) -> Vec<Cursor> {
        let mut left: usize = sizes.iter().sum();
        let mut room = 0;
        let mut cursors = Vec::with_capacity(sizes.len());
        for size in sizes {
            if *size > room {
                room = left.min(BLOCK).max(*size);
                let spare = if room == BLOCK { self.spare.pop() } else { None };
                let mut block = spare.unwrap_or_else(|| Vec::with_capacity(room));
                block.clear();
                self.blocks.push(block);
            }
            let number = self.blocks.len().saturating_sub(1);
            let start = self.blocks.get(number).map_or(0, Vec::len);
            if let Some(block) = self.blocks.get_mut(number) {
                block.resize(start + size, 0);
            }
            self.starts.push(At::new(number, start));
            cursors.push((number, start));
            room -= size;
            left -= size;
        }
        cursors
    }

    fn write(&mut self, (block, start): &mut Cursor, bytes: &[u8]) {
        let end = *start + bytes.len();
        if let Some(room) = self.blocks.get_mut(*block).and_then(|block| block.get_mut(*start..end)) {
            room.copy_from_slice(bytes);
        }
        *start = end;
    }

    /// The places, and where the last one ends.
    fn finish(mut self) -> (Blocks, Vec<At>) {
        self.starts.push(At::new(self.blocks.len(), 0));
        self.blocks.shrink_to_fit();
        (self.blocks, self.starts)
    }
}
