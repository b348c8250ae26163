//! What was allowed before: a decision depends on the policy, the client and the topic alone, so it need not be made again.
//!
//! Devices say the same few things again and again. Each entry holds all that its decision depends on and is compared with
//! the question to the last byte, so that whatever has changed is decided anew. Only what is allowed is remembered, and only
//! where it takes little room; what is forgotten, or never fits, costs a decision and nothing else.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::bytes::Word;
use crate::decision::{Action, Client};
use crate::policy::Policy;

/// Messages that were allowed, for the use of one thread: another that notes something meanwhile could make one entry of two
/// messages.
#[derive(Debug)]
pub struct Memo {
    sets: Box<[Set]>,
}

/// The entries where a message may be: the one noted last, and the one before it.
type Set = [Entry; 2];

/// So many of these there are: 3 MiB in all.
const SETS: usize = 8192;

/// What is longer is not remembered.
const LONGEST_NAME: usize = 31;
const LONGEST_TOPIC: usize = 63;

/// Three lines of the processor's cache.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Entry {
    /// Which policy decided, about which action, and the lengths of the texts. No question's is 0.
    stamp: AtomicU64,
    id: [AtomicU64; 4],
    user: [AtomicU64; 4],
    topic: [AtomicU64; 8],
}

/// A question, as an entry holds it.
struct Question<'q> {
    stamp: u64,
    id: &'q [u8],
    user: &'q [u8],
    topic: &'q [u8],
}

impl Default for Memo {
    fn default() -> Self {
        Self { sets: (0..SETS).map(|_| Default::default()).collect() }
    }
}

impl Memo {
    /// Whether this policy allowed the same, and that was noted last of what has its place there.
    #[inline]
    pub fn knows(&self, policy: &Policy, client: &Client<'_>, action: Action<'_>) -> bool {
        let Some(question) = Question::of(policy, client, action) else { return false };
        self.set(&question).is_some_and(|[first, _]| first.answers(&question))
    }

    /// Whether this policy allowed the same, and that was noted before the last. Apart, so that the other takes less.
    #[inline]
    pub fn knew(&self, policy: &Policy, client: &Client<'_>, action: Action<'_>) -> bool {
        let Some(question) = Question::of(policy, client, action) else { return false };
        self.set(&question).is_some_and(|[_, second]| second.answers(&question))
    }

    /// Notes that this policy allows this.
    pub fn note(&self, policy: &Policy, client: &Client<'_>, action: Action<'_>) {
        let Some(question) = Question::of(policy, client, action) else { return };
        let Some([first, second]) = self.set(&question) else { return };
        // Of the two the second goes, and the first takes its place.
        second.copy(first);
        first.write(&question);
    }

    #[inline]
    fn set(&self, question: &Question<'_>) -> Option<&Set> {
        self.sets.get(question.hash() as usize % SETS)
    }
}

impl<'q> Question<'q> {
    #[inline(always)]
    fn of(policy: &Policy, client: &Client<'q>, action: Action<'q>) -> Option<Self> {
        let (kind, topic) = match action {
            Action::Receive(topic) => (1, topic),
            Action::Publish(topic) => (2, topic),
            _ => return None,
        };
        let (id, user) = (client.id, client.user?);
        // Both are one less than a power of two.
        if id.len() | user.len() > LONGEST_NAME {
            return None;
        }
        if topic.len() > LONGEST_TOPIC {
            return None;
        }
        let shape = kind << 16 | id.len() << 11 | user.len() << 6 | topic.len();
        // Which leaves the numbers of policies 46 bits.
        Some(Self { stamp: policy.identity.number() << 18 | shape as u64, id, user, topic })
    }

    /// Of a part of what there is: what is not told apart here shares two places.
    #[inline]
    fn hash(&self) -> u64 {
        const SPREAD: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0x94d0_49bb_1331_11eb];
        let [a, b] = SPREAD;
        let middle = self.topic.get(self.topic.len() / 3..).and_then(|rest| rest.first_chunk());
        let middle = middle.map_or(self.stamp, |middle| u64::from_le_bytes(*middle));
        let product = u128::from(last(self.topic) ^ a) * u128::from(middle.rotate_left(32) ^ last(self.id) ^ b);
        // Every bit of the factors tells in one of the halves.
        let sum = (product >> u64::BITS) as u64 ^ product as u64;
        sum >> (u64::BITS - SETS.trailing_zeros())
    }
}

/// The last eight bytes, or all where there are fewer.
#[inline]
fn last(text: &[u8]) -> u64 {
    text.last_chunk().map_or_else(|| Word::first(text).0, |last| u64::from_le_bytes(*last))
}

/// The words that stand for a text of up to 64 bytes: those from its beginning and those up to its end, which overlap where
/// they have to. So texts of the same length have the same words only if they are the same.
#[inline]
fn each_word(text: &[u8], mut look: impl FnMut(usize, u64) -> bool) -> bool {
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let (Some((first, second)), Some((third, last))) = (text.split_first_chunk(), text.split_last_chunk()) else {
        return look(0, Word::first(text).0);
    };
    if !look(0, word(first)) || !look(1, word(last)) {
        return false;
    }
    if text.len() <= 16 {
        return true;
    }
    if let (Some(second), Some(third), true) = (second.first_chunk(), third.last_chunk(), text.len() <= 32) {
        return look(2, word(second)) && look(3, word(third));
    }
    let (mut rest, mut number) = (second, 2);
    while let Some((next, after)) = rest.split_first_chunk().filter(|(_, after)| !after.is_empty()) {
        if !look(number, word(next)) {
            return false;
        }
        (rest, number) = (after, number + 1);
    }
    true
}

impl Entry {
    #[inline(always)]
    fn answers(&self, question: &Question<'_>) -> bool {
        let Question { stamp, id, user, topic } = *question;
        self.stamp.load(Ordering::Relaxed) == stamp
            && holds(&self.topic, topic)
            && holds(&self.id, id)
            && holds(&self.user, user)
    }

    fn write(&self, question: &Question<'_>) {
        // Not an answer while it is half written.
        self.stamp.store(0, Ordering::Relaxed);
        for (words, text) in
            [(&self.id[..], question.id), (&self.user[..], question.user), (&self.topic[..], question.topic)]
        {
            each_word(text, |at, word| words.get(at).map(|place| place.store(word, Ordering::Relaxed)).is_some());
        }
        self.stamp.store(question.stamp, Ordering::Release);
    }

    fn copy(&self, other: &Self) {
        let words = |entry: &'_ Self| -> [u64; 16] {
            let mut words = entry.id.iter().chain(&entry.user).chain(&entry.topic);
            std::array::from_fn(|_| words.next().map_or(0, |word| word.load(Ordering::Relaxed)))
        };
        self.stamp.store(0, Ordering::Relaxed);
        for (place, word) in self.id.iter().chain(&self.user).chain(&self.topic).zip(words(other)) {
            place.store(word, Ordering::Relaxed);
        }
        self.stamp.store(other.stamp.load(Ordering::Relaxed), Ordering::Release);
    }
}

/// Whether these words are the text, whose length is known to be the same.
#[inline]
fn holds(words: &[AtomicU64], text: &[u8]) -> bool {
    each_word(text, |at, word| words.get(at).is_some_and(|known| known.load(Ordering::Relaxed) == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        crate::parse("version = 1\n[users.u]\npublish = [\"#\"]\n", "p.toml").unwrap().policy
    }

    fn recalls(memo: &Memo, policy: &Policy, client: &Client<'_>, action: Action<'_>) -> bool {
        memo.knows(policy, client, action) || memo.knew(policy, client, action)
    }

    #[test]
    fn what_differs_in_anything_is_not_known() {
        let (policy, other) = (policy(), policy());
        let texts =
            ["a", "b", "ab", "abcdefgh", "abcdefgi", "abcdefghi", "bbcdefghi", "abcdefgh12345678", "abcdefgh1234567"];
        let clients =
            || texts.iter().flat_map(|id| texts.iter().map(move |user| (id.as_bytes(), Some(user.as_bytes()))));
        let actions =
            || texts.iter().flat_map(|topic| [Action::Publish(topic.as_bytes()), Action::Receive(topic.as_bytes())]);
        let mut noted = 0;
        for (number, (id, user)) in clients().enumerate() {
            for (which, action) in actions().enumerate() {
                let memo = Memo::default();
                let client = Client { user, id };
                memo.note(&policy, &client, action);
                assert!(recalls(&memo, &policy, &client, action));
                assert!(!recalls(&memo, &other, &client, action));
                assert!(!recalls(&memo, &policy, &Client { user: None, id }, action));
                // All the others would be tens of thousands.
                for other in clients().skip(number % 7).step_by(7) {
                    for (other_which, other_action) in actions().enumerate() {
                        let asked = Client { user: other.1, id: other.0 };
                        let same = other == (id, user) && which == other_which;
                        assert_eq!(recalls(&memo, &policy, &asked, other_action), same, "{client:?} {asked:?}");
                    }
                }
                noted += 1;
                if noted > 200 {
                    return;
                }
            }
        }
    }

    /// Whatever place a message has, its entry is compared to the last byte.
    #[test]
    fn each_byte_counts_at_each_length() {
        let (policy, memo) = (policy(), Memo::default());
        let text =
            |length: usize, salt: usize| (0..length).map(|at| b'a' + ((at + salt) % 26) as u8).collect::<Vec<_>>();
        for length in 1..=LONGEST_TOPIC {
            let name = 1 + length % LONGEST_NAME;
            let noted = [text(name, 1), text(1 + LONGEST_NAME - name, 2), text(length, 3)];
            fn asked([id, user, topic]: &[Vec<u8>; 3]) -> (Client<'_>, Action<'_>) {
                (Client { user: Some(user), id }, Action::Publish(topic))
            }
            let (client, action) = asked(&noted);
            memo.note(&policy, &client, action);
            let [entry, _] = memo.set(&Question::of(&policy, &client, action).unwrap()).unwrap();
            let answers = |texts: &[Vec<u8>; 3]| {
                let (client, action) = asked(texts);
                entry.answers(&Question::of(&policy, &client, action).unwrap())
            };
            assert!(answers(&noted), "{length}");
            for (which, text) in noted.iter().enumerate() {
                for at in 0..text.len() {
                    let mut other = noted.clone();
                    other[which][at] ^= 1;
                    assert!(!answers(&other), "{length}, {which}, {at}");
                }
            }
        }
    }

    #[test]
    fn what_is_long_or_nobodys_or_no_message_is_not_remembered() {
        let policy = policy();
        let memo = Memo::default();
        let long = [b'x'; 64];
        for (client, action, fits) in [
            (Client { user: Some(b"u"), id: b"i" }, Action::Publish(&long[..63]), true),
            (Client { user: Some(b"u"), id: b"i" }, Action::Publish(&long), false),
            (Client { user: Some(&long[..31]), id: &long[..31] }, Action::Publish(b"t"), true),
            (Client { user: Some(&long[..32]), id: b"i" }, Action::Publish(b"t"), false),
            (Client { user: Some(b"u"), id: &long[..32] }, Action::Publish(b"t"), false),
            (Client { user: None, id: b"i" }, Action::Publish(b"t"), false),
            (Client { user: Some(b"u"), id: b"i" }, Action::Subscribe(b"t"), false),
            (Client { user: Some(b"u"), id: b"i" }, Action::Connect, false),
        ] {
            memo.note(&policy, &client, action);
            assert_eq!(recalls(&memo, &policy, &client, action), fits, "{action:?}");
        }
    }

    #[test]
    fn topics_that_differ_in_their_last_byte_have_places_of_their_own() {
        let policy = policy();
        let memo = Memo::default();
        let client = Client { user: Some(b"u"), id: b"dev0000012" };
        let topics: Vec<String> = (0..1000).map(|number| format!("plant/line0/cell3/set/{number:03}")).collect();
        topics.iter().for_each(|topic| memo.note(&policy, &client, Action::Publish(topic.as_bytes())));
        let known =
            topics.iter().filter(|topic| recalls(&memo, &policy, &client, Action::Publish(topic.as_bytes()))).count();
        assert!(known > 950, "{known}");
    }

    #[test]
    fn a_crowd_forgets_and_never_mistakes() {
        let policy = policy();
        let memo = Memo::default();
        let topics: Vec<String> = (0..30_000).map(|number| format!("dt/{number}")).collect();
        let client = Client { user: Some(b"u"), id: b"u" };
        topics.iter().for_each(|topic| memo.note(&policy, &client, Action::Publish(topic.as_bytes())));
        let known =
            topics.iter().filter(|topic| recalls(&memo, &policy, &client, Action::Publish(topic.as_bytes()))).count();
        assert!((4_000..=2 * SETS).contains(&known), "{known}");
        assert!(!topics.iter().any(|topic| recalls(&memo, &policy, &client, Action::Receive(topic.as_bytes()))));
    }
}
