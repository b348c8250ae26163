//! What a client logged in with, remembered without remembering the password (S29).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::hidden::Hidden;

const LENGTH: usize = 32;

/// The keyed digest of what a client logged in with; worthless outside this process.
#[derive(Clone)]
pub struct Fingerprint([u8; LENGTH]);

/// In constant time.
impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Fingerprint {}

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

/// Makes fingerprints, with a key that is random, made once and never written anywhere.
#[derive(Clone, Debug)]
pub struct Fingerprints(Option<Arc<Hidden>>);

impl Default for Fingerprints {
    fn default() -> Self {
        // Without random bytes nothing is remembered, and every login is checked in full.
        Self(Hidden::new(LENGTH).and_then(|mut key| getrandom::fill(&mut key).is_ok().then(|| Arc::new(key))))
    }
}

impl Fingerprints {
    /// The fingerprint of a login; none where the system gave no random bytes for the key.
    #[must_use]
    pub fn of(&self, id: &[u8], user: Option<&[u8]>, password: Option<&[u8]>) -> Option<Fingerprint> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_ref()?).ok()?;
        for part in [Some(id), user, password] {
            // With its length, so that no part can pass for a piece of another, and a missing one for an empty one.
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            mac.update(&length.to_le_bytes());
            mac.update(part.unwrap_or_default());
        }
        Some(Fingerprint(mac.finalize().into_bytes().into()))
    }
}

/// The login that succeeded last with each password string of a policy, whatever its client id.
///
/// One place for each, so that nobody's login makes another's be forgotten. Zeros are no login.
#[derive(Debug)]
pub(crate) struct Remembered(Mutex<Option<Hidden>>);

/// Which of the password strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u32);

impl Remembered {
    /// Places for so many, which take up memory once they are used.
    pub(crate) fn new(count: u32) -> Self {
        Self(Mutex::new(Hidden::new(count as usize * LENGTH)))
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<Fingerprint> {
        let bytes: [u8; LENGTH] = self.lock().as_deref()?.get(slot.range())?.try_into().ok()?;
        (bytes != [0; LENGTH]).then_some(Fingerprint(bytes))
    }

    pub(crate) fn set(&self, slot: Slot, login: &Fingerprint) {
        if let Some(bytes) = self.lock().as_deref_mut().and_then(|bytes| bytes.get_mut(slot.range())) {
            bytes.copy_from_slice(&login.0);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Hidden>> {
        // A panic while it is held leaves it whole: nothing is called.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// The slot of the password string with this number.
    pub(crate) fn number(number: u32) -> Self {
        Self(number)
    }

    fn range(self) -> std::ops::Range<usize> {
        let start = self.0 as usize * LENGTH;
        start..start + LENGTH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_of_all_the_parts_and_of_this_process() {
        let key = Fingerprints::default();
        let of = |user: &str, password: &str| key.of(b"", Some(user.as_bytes()), Some(password.as_bytes()));
        assert_eq!(of("a", "secret"), of("a", "secret"));
        for (user, password) in [("a", "secre"), ("as", "ecret"), ("b", "secret"), ("", "asecret")] {
            assert_ne!(of("a", "secret"), of(user, password));
        }
        assert_ne!(of("a", "secret"), Fingerprints::default().of(b"", Some(b"a"), Some(b"secret")));
        assert_ne!(key.of(b"", Some(b"a"), Some(b"")), key.of(b"", Some(b"a"), None));
    }

    #[test]
    fn each_slot_holds_its_last_login() {
        let key = Fingerprints::default();
        let login = |password: &[u8]| key.of(b"", Some(b"a"), Some(password)).unwrap();
        let remembered = Remembered::new(3);
        assert_eq!(remembered.get(Slot::number(1)), None);
        remembered.set(Slot::number(1), &login(b"old"));
        remembered.set(Slot::number(1), &login(b"new"));
        assert_eq!(remembered.get(Slot::number(1)), Some(login(b"new")));
        for other in [0, 2, 1000] {
            remembered.set(Slot::number(1000), &login(b"new"));
            assert_eq!(remembered.get(Slot::number(other)), None);
        }
    }
}
