//! Memory for users, in blocks: nothing is copied because a list grows, and what is put in order comes to lie where other users lay.

use super::{Head, Shared, User, change};

/// Users one after another, none of them in two blocks.
#[derive(Default)]
pub(super) struct Blocks(Vec<Vec<u8>>);

/// Where a user is: the number of its block, and where it begins there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct At(u32);

/// How many bytes a block has room for. One for a long name may have more.
pub(super) const BLOCK: usize = 32 * 1024 - 64;
const _: () = assert!(BLOCK <= At::LAST, "each user of a block can be told from the others");

impl At {
    const BITS: u32 = 15;
    const LAST: usize = (1 << Self::BITS) - 1;
    /// How many blocks can be told apart, of 4 GiB. The files of a policy have 1 GiB at most, which fill little more than half of
    /// them, whatever they are full of.
    const BLOCKS: u32 = u32::MAX >> Self::BITS;
    /// There is no such block. An empty place after a long name begins here.
    pub(super) const NOWHERE: Self = Self(u32::MAX);

    pub(super) fn new(block: usize, start: usize) -> Self {
        let block = u32::try_from(block).ok().filter(|block| *block < Self::BLOCKS && start <= Self::LAST);
        block.map_or(Self::NOWHERE, |block| Self(block << Self::BITS | start as u32))
    }

    #[inline]
    pub(super) fn block(self) -> usize {
        (self.0 >> Self::BITS) as usize
    }

    #[inline]
    pub(super) fn start(self) -> usize {
        self.0 as usize & Self::LAST
    }
}

impl Blocks {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether all of them can be told apart.
    pub(super) fn have_room(&self) -> bool {
        self.0.len() <= At::BLOCKS as usize
    }

    pub(super) fn push(&mut self, block: Vec<u8>) {
        self.0.push(block);
    }

    pub(super) fn get(&self, block: usize) -> Option<&Vec<u8>> {
        self.0.get(block)
    }

    pub(super) fn get_mut(&mut self, block: usize) -> Option<&mut Vec<u8>> {
        self.0.get_mut(block)
    }

    /// Keeps so many.
    pub(super) fn truncate(&mut self, blocks: usize) {
        self.0.truncate(blocks);
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.0.shrink_to_fit();
    }

    pub(super) fn user<'p>(&'p self, shared: &'p Shared, at: At) -> Option<User<'p>> {
        shared.user(self.0.get(at.block())?.get(at.start()..)?)
    }

    pub(super) fn change(&mut self, at: At, how: impl FnOnce(&mut Head)) {
        if let Some(bytes) = self.0.get_mut(at.block()).and_then(|block| block.get_mut(at.start()..)) {
            change(bytes, how);
        }
    }

    /// The users from one place to another, or to the end of the block.
    #[inline]
    pub(super) fn between(&self, start: At, end: At) -> Option<&[u8]> {
        let block = self.0.get(start.block())?;
        let end = if end.block() == start.block() { end.start() } else { block.len() };
        block.get(start.start()..end)
    }

    /// All users, as they lie.
    pub(super) fn users<'p>(&'p self, shared: &'p Shared) -> impl Iterator<Item = User<'p>> {
        self.0.iter().flat_map(|block| shared.users(block))
    }

    /// Changes whichever users this says.
    pub(super) fn change_each(&mut self, shared: &Shared, mut how: impl FnMut(User<'_>) -> Option<Head>) {
        for block in &mut self.0 {
            let mut rest = block.as_mut_slice();
            while let Some(user) = shared.user(rest) {
                let size = user.size();
                if let Some(new) = how(user) {
                    change(rest, |head| *head = new);
                }
                rest = rest.get_mut(size..).unwrap_or_default();
            }
        }
    }
}
