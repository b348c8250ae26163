//! Looking up names and levels of topics: texts that are short, in tables that the policy fills and clients ask.

use std::hash::{BuildHasher, RandomState};

/// The first and the last eight bytes of a text that has no others: with its length, the whole of most names and levels, hashed and
/// compared as two numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    first: u64,
    last: u64,
}

const WORD: usize = size_of::<u64>();

impl Ends {
    #[inline]
    pub(crate) fn of(name: &[u8]) -> Option<Self> {
        let (first, last) = (name.first_chunk()?, name.last_chunk()?);
        (name.len() <= 2 * WORD).then(|| Self { first: u64::from_le_bytes(*first), last: u64::from_le_bytes(*last) })
    }
}

/// The key of the hash, which is another in every process.
///
/// Clients choose the texts that are looked up, the policy those that are found. Whoever does not know the key cannot even
/// look for the fullest part of the table, and could not make it any fuller; so multiplying is enough, where a hash made to
/// withstand more would cost each message as much as all the rest of a look-up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed([u64; 2]);

impl Default for Seed {
    fn default() -> Self {
        let random = RandomState::new();
        Self([random.hash_one(0), random.hash_one(1)])
    }
}

impl Seed {
    #[inline]
    pub(crate) fn hash(self, name: &[u8]) -> u64 {
        if let Some(ends) = Ends::of(name) {
            return self.hash_ends(ends, name.len());
        }
        let [mut state, other] = self.0;
        let mut chunks = name.chunks_exact(WORD);
        for chunk in &mut chunks {
            let word = chunk.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            state = fold(state ^ word, other);
        }
        let rest = chunks.remainder().iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        fold(state ^ rest, other.wrapping_add(name.len() as u64))
    }

    #[inline]
    pub(crate) fn hash_ends(self, Ends { first, last }: Ends, length: usize) -> u64 {
        let [one, other] = self.0;
        fold(first ^ one, last ^ other.wrapping_add(length as u64))
    }
}

/// The same hash for places that go by its highest bits: with one key in fifty, those of names that are counted through come
/// near each other.
#[inline]
pub(crate) fn spread(hash: u64) -> u64 {
    fold(hash, 0x9e37_79b9_7f4a_7c15)
}

/// Both halves of a product, on each other.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a).wrapping_mul(u128::from(b));
    (product as u64) ^ ((product >> 64) as u64)
}
