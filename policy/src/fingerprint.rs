//! What a client logged in with, remembered without remembering the password (S29).

use std::fmt;
use std::hash::{Hash, Hasher};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The keyed digest of what a client logged in with; worthless outside this process.
#[derive(Clone)]
pub struct Fingerprint([u8; 32]);

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
#[derive(Clone)]
pub struct Fingerprints(Option<Zeroizing<[u8; 32]>>);

impl Default for Fingerprints {
    fn default() -> Self {
        let mut key = Zeroizing::new([0; 32]);
        // Without random bytes nothing is remembered, and every login is checked in full.
        Self(getrandom::fill(&mut *key).is_ok().then_some(key))
    }
}

impl Fingerprints {
    /// The fingerprint of a login; none where the system gave no random bytes for the key.
    #[must_use]
    pub fn of(&self, id: &[u8], user: Option<&[u8]>, password: Option<&[u8]>) -> Option<Fingerprint> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&**self.0.as_ref()?).ok()?;
        for part in [Some(id), user, password] {
            // With its length, so that no part can pass for a piece of another, and a missing one for an empty one.
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            mac.update(&length.to_le_bytes());
            mac.update(part.unwrap_or_default());
        }
        Some(Fingerprint(mac.finalize().into_bytes().into()))
    }
}

impl fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprints")
    }
}
