//! Bytes read eight or more at a time: names and levels are short, and calling C's library for them costs more than comparing them.

/// Whether both are the same.
#[inline]
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    // From eight bytes on, the first and the last eight may overlap and are all of up to sixteen.
    match (one.first_chunk::<8>(), other.first_chunk::<8>(), one.last_chunk::<8>(), other.last_chunk::<8>()) {
        _ if one.len() != other.len() => false,
        (Some(a), Some(b), Some(y), Some(z)) if one.len() <= 16 => a == b && y == z,
        (None, None, ..) => one.iter().zip(other).all(|(a, b)| a == b),
        _ => one == other,
    }
}

const EACH: u64 = 0x0101_0101_0101_0101;

/// Eight bytes of a text, the first of them the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u64);

impl Word {
    /// The first eight bytes of a text; zeros where it is shorter.
    #[inline]
    pub(crate) fn first(text: &[u8]) -> Self {
        match (text.first_chunk(), text.first_chunk(), text.last_chunk()) {
            (Some(first), ..) => Self(u64::from_le_bytes(*first)),
            // The two halves may overlap, where they say the same.
            (None, Some(first), Some(last)) => {
                let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
                Self(u64::from(first) | u64::from(last) << (8 * (text.len() - 4)))
            }
            _ => Self(text.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))),
        }
    }

    /// Where the byte is first among the eight.
    #[inline]
    pub(crate) fn position(self, byte: u8) -> Option<usize> {
        let zeros = self.0 ^ (EACH * u64::from(byte));
        // The lowest bit found is true; those above it may be borrowed.
        match zeros.wrapping_sub(EACH) & !zeros & (EACH << 7) {
            0 => None,
            found => Some(found.trailing_zeros() as usize / 8),
        }
    }
}

/// Where the first byte is that this says yes to: sixteen at a time, which the processor does in a few steps.
pub(crate) fn position(bytes: &[u8], is_it: impl Fn(u8) -> bool) -> Option<usize> {
    const STEP: usize = 16;
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<STEP>) {
        if chunk.map(|byte| u8::from(is_it(byte))) != [0; STEP] {
            break;
        }
        at += STEP;
    }
    bytes.get(at..)?.iter().position(|byte| is_it(*byte)).map(|more| at + more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lengths_are_compared_whole() {
        let text: Vec<u8> = (1..=40).collect();
        for length in 0..=40 {
            let one = &text[..length];
            assert!(same(one, one), "{length}");
            assert!(!same(one, &text[..(length + 1) % 41]), "{length}");
            for at in 0..length {
                let mut other = one.to_vec();
                other[at] ^= 0x80;
                assert!(!same(one, &other), "{length} {at}");
            }
        }
    }

    #[test]
    fn the_first_byte_is_found_in_texts_of_any_length() {
        for length in 0..=50 {
            let mut text = vec![b'a'; length];
            assert_eq!(position(&text, |byte| byte == b'$'), None, "{length}");
            for at in (0..length).rev() {
                text[at] = b'$';
                assert_eq!(position(&text, |byte| byte == b'$'), Some(at), "{length}");
            }
        }
    }

    #[test]
    fn a_word_is_a_text_and_zeros() {
        let text: Vec<u8> = (1..=10).collect();
        for length in 0..=10 {
            let mut expected = [0; 8];
            expected[..length.min(8)].copy_from_slice(&text[..length.min(8)]);
            assert_eq!(Word::first(&text[..length]).0.to_le_bytes(), expected, "{length}");
        }
    }

    #[test]
    fn a_byte_is_found_where_it_is_first() {
        for (text, position) in [
            (&b"/aaaaaaa"[..], Some(0)),
            (b"a/", Some(1)),
            (b"aaaaaaa/", Some(7)),
            (b"aaaaaaaa/", None),
            (b"a0//.///", Some(2)),
            (b"", None),
        ] {
            assert_eq!(Word::first(text).position(b'/'), position, "{text:?}");
        }
    }
}
