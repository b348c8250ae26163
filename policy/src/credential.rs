//! Password strings: what the policy's `password` may hold, and how a password is checked against it.

use std::fmt;
use std::sync::Mutex;

use argon2::{Algorithm, Argon2, Params, Version};
use base64ct::{Base64, Base64Unpadded, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What one password string asks of a login: nobody's policy may ask for more.
mod limit {
    /// KiB of memory, times passes. About a quarter of a second.
    pub(super) const ARGON2_WORK: u64 = 256 * 1024;
    /// Iterations of PBKDF2. About half a second.
    pub(super) const PBKDF2_ITERATIONS: u32 = 1_000_000;
    /// Below these a stolen policy file gives its passwords away: OWASP's smallest choice for argon2id, and a tenth of
    /// its figure for PBKDF2-HMAC-SHA512.
    pub(super) const ARGON2_WEAK: u64 = 7 * 1024 * 5;
    pub(super) const PBKDF2_WEAK: u32 = 21_000;
    /// Bytes of salt and of hash.
    pub(super) const SALT: std::ops::RangeInclusive<usize> = 8..=64;
    pub(super) const HASH: std::ops::RangeInclusive<usize> = 16..=64;
}

/// A password string of the policy, ready to check passwords against.
pub(crate) struct Credential {
    scheme: Scheme,
    salt: Box<[u8]>,
    hash: Box<[u8]>,
    /// The login that succeeded last, whatever its client id (S29).
    remembered: Mutex<Option<Fingerprint>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    /// `$argon2id$v=19$m=<KiB>,t=<passes>,p=<lanes>$<salt>$<hash>` (RFC 9106, PHC string format).
    Argon2id { memory: u32, passes: u32, lanes: u32 },
    /// `$7$<iterations>$<salt>$<hash>`: PBKDF2-HMAC-SHA512, as `mosquitto_passwd` writes it.
    Pbkdf2 { iterations: u32 },
}

impl Credential {
    /// Reads a password string.
    ///
    /// # Errors
    /// What is wrong with it, as the tail of a problem's text. The string itself is a secret of sorts and not repeated.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        const INSTEAD: &str = "write the output of `mqtt-acl hash`";
        if let Some(rest) = text.strip_prefix("$argon2id$") {
            return argon2id(rest).map_err(|what| format!("not a readable argon2id string: {what} ({INSTEAD})"));
        }
        if let Some(rest) = text.strip_prefix("$7$") {
            return pbkdf2(rest).map_err(|what| format!("not a readable `$7$` string: {what} ({INSTEAD})"));
        }
        let what = if text.is_empty() {
            "an empty password admits nobody"
        } else if text.starts_with('$') {
            "this kind of password string is not known; `$argon2id$` and Mosquitto's `$7$` are"
        } else {
            "this is not a password string; passwords are never written in the clear"
        };
        Err(format!("{what} ({INSTEAD})"))
    }

    /// What makes the string too weak to be kept, if anything does.
    pub(crate) fn weakness(&self) -> Option<String> {
        match self.scheme {
            Scheme::Argon2id { memory, passes, .. } if work(memory, passes) < limit::ARGON2_WEAK => Some(format!(
                "argon2id with m={memory},t={passes} is quickly guessed (make a new one with `mqtt-acl hash`)"
            )),
            Scheme::Pbkdf2 { iterations } if iterations < limit::PBKDF2_WEAK => Some(format!(
                "`$7$` with {iterations} iterations is quickly guessed (make an argon2id string with `mqtt-acl hash`)"
            )),
            _ => None,
        }
    }

    /// Whether this is the password. Takes milliseconds, as it is meant to.
    pub(crate) fn verify(&self, password: &[u8]) -> bool {
        let mut computed = Zeroizing::new(vec![0; self.hash.len()]);
        match self.scheme {
            Scheme::Argon2id { memory, passes, lanes } => {
                let Ok(params) = Params::new(memory, passes, lanes, None) else { return false };
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                if argon2.hash_password_into(password, &self.salt, &mut computed).is_err() {
                    return false;
                }
            }
            Scheme::Pbkdf2 { iterations } => {
                pbkdf2::pbkdf2_hmac::<Sha512>(password, &self.salt, iterations, &mut computed);
            }
        }
        computed.as_slice().ct_eq(&self.hash).into()
    }

    /// Whether this is the login that succeeded last.
    pub(crate) fn is_remembered(&self, login: &Fingerprint) -> bool {
        self.slot().as_ref() == Some(login)
    }

    pub(crate) fn remember(&self, login: Fingerprint) {
        *self.slot() = Some(login);
    }

    /// Takes over what another policy remembers of the same password string.
    pub(crate) fn inherit(&self, old: &Self) {
        if self.scheme == old.scheme && self.salt == old.salt && self.hash == old.hash {
            *self.slot() = old.slot().clone();
        }
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Fingerprint>> {
        // A panic while the slot is held leaves it whole: it is only ever replaced.
        self.remembered.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The scheme alone: a hash is a secret of sorts.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

fn argon2id(text: &str) -> Result<Credential, String> {
    let mut fields = text.split('$');
    let mut next = || fields.next().ok_or("a field is missing");
    if next()? != "v=19" {
        return Err("only version 19 is known".into());
    }
    let (memory, passes, lanes) = cost(next()?).ok_or("the parameters are not `m=<KiB>,t=<passes>,p=<lanes>`")?;
    let (salt, hash) = (next()?, next()?);
    if fields.next().is_some() {
        return Err("there is text after the hash".into());
    }
    if work(memory, passes) > limit::ARGON2_WORK || lanes > 16 {
        return Err(format!(
            "m={memory},t={passes},p={lanes} is too dear: every login would cost it; m times t may be {} at most, p 16",
            limit::ARGON2_WORK
        ));
    }
    Params::new(memory, passes, lanes, None).map_err(|_| "the parameters are out of argon2's range")?;
    Ok(Credential {
        scheme: Scheme::Argon2id { memory, passes, lanes },
        salt: decode::<Base64Unpadded>(salt, limit::SALT).ok_or("the salt is not base64 of 8 to 64 bytes")?,
        hash: decode::<Base64Unpadded>(hash, limit::HASH).ok_or("the hash is not base64 of 16 to 64 bytes")?,
        remembered: Mutex::default(),
    })
}

fn cost(text: &str) -> Option<(u32, u32, u32)> {
    let mut parameters = text.split(',');
    let mut next = |name: &str| parameters.next()?.strip_prefix(name)?.parse::<u32>().ok();
    let cost = (next("m=")?, next("t=")?, next("p=")?);
    parameters.next().is_none().then_some(cost)
}

/// The time that argon2 takes goes with memory times passes.
fn work(memory: u32, passes: u32) -> u64 {
    u64::from(memory) * u64::from(passes)
}

fn pbkdf2(text: &str) -> Result<Credential, String> {
    let mut fields = text.split('$');
    let mut next = || fields.next().ok_or("a field is missing");
    let iterations = next()?.parse::<u32>().ok().filter(|n| *n >= 1).ok_or("the iterations are not a number")?;
    let (salt, hash) = (next()?, next()?);
    if fields.next().is_some() {
        return Err("there is text after the hash".into());
    }
    if iterations > limit::PBKDF2_ITERATIONS {
        return Err(format!(
            "{iterations} iterations are too dear: every login would cost them; {} at most",
            limit::PBKDF2_ITERATIONS
        ));
    }
    let hash = decode::<Base64>(hash, 64..=64).ok_or("the hash is not base64 of 64 bytes")?;
    let salt = decode::<Base64>(salt, limit::SALT).ok_or("the salt is not base64 of 8 to 64 bytes")?;
    Ok(Credential { scheme: Scheme::Pbkdf2 { iterations }, salt, hash, remembered: Mutex::default() })
}

fn decode<E: Encoding>(text: &str, sizes: std::ops::RangeInclusive<usize>) -> Option<Box<[u8]>> {
    let bytes = E::decode_vec(text).ok()?;
    sizes.contains(&bytes.len()).then(|| bytes.into())
}

/// Makes the argon2id string of a password, with the parameters that OWASP recommends: m=19456,t=2,p=1.
///
/// # Errors
/// Where the system gives no random bytes.
pub fn hash(password: &[u8]) -> Result<String, String> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|e| format!("no random bytes to be had: {e}"))?;
    let mut output = [0; 32];
    let params = Params::DEFAULT;
    let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password, &salt, &mut output)
        .map_err(|e| format!("this password cannot be hashed: {e}"))?;
    Ok(format!(
        "$argon2id$v=19$m={memory},t={passes},p={lanes}${}${}",
        Base64Unpadded::encode_string(&salt),
        Base64Unpadded::encode_string(&output)
    ))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    /// Twelve bytes of salt, as `mosquitto_passwd` 2.0 writes them.
    const SEVEN: &str = "$7$101$c2FsdHNhbHRzYWx0$";

    #[test]
    fn what_hash_makes_is_read_and_strong() {
        let credential = Credential::parse(&hash(b"secret").unwrap()).unwrap();
        assert!(credential.verify(b"secret"));
        assert!(!credential.verify(b"Secret"));
        assert!(!credential.verify(b""));
        assert_eq!(credential.weakness(), None);
    }

    #[test]
    fn seven_is_mosquittos() {
        let mut expected = [0; 64];
        pbkdf2::pbkdf2_hmac::<Sha512>(b"secret", b"saltsaltsalt", 101, &mut expected);
        let credential = Credential::parse(&format!("{SEVEN}{}", Base64::encode_string(&expected))).unwrap();
        assert!(credential.verify(b"secret"));
        assert!(!credential.verify(b"secre"));
        assert!(credential.weakness().unwrap().contains("101 iterations"));
    }

    #[test]
    fn unreadable_strings_say_why_and_do_not_repeat_the_secret() {
        let hash = Base64Unpadded::encode_string(&[1; 32]);
        for (text, part) in [
            ("", "empty"),
            ("hunter2", "never written in the clear"),
            ("$2b$10$abc", "not known"),
            ("$argon2id$v=16$m=8,t=1,p=1$c2FsdHNhbHQ$x", "version 19"),
            ("$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$x", "too dear"),
            ("$argon2id$v=19$t=1,m=8,p=1$c2FsdHNhbHQ$x", "parameters"),
            ("$argon2id$v=19$m=19456,t=2,p=1$c2Fs$x", "salt"),
            ("$7$0$c2FsdHNhbHRzYWx0$x", "iterations"),
            ("$7$9999999$c2FsdHNhbHRzYWx0$x", "too dear"),
            ("$7$101$c2FsdHNhbHRzYWx0$x", "64 bytes"),
            ("$7$101", "missing"),
        ] {
            let problem = Credential::parse(text).unwrap_err();
            assert!(problem.contains(part), "{text}: {problem}");
            assert!(!problem.contains("hunter2"));
        }
        assert!(Credential::parse(&format!("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ${hash}$x")).is_err());
    }

    #[test]
    fn a_login_is_remembered_by_user_and_password() {
        let key = Fingerprints::default();
        let login = |key: &Fingerprints, user: &[u8], password: &[u8]| key.of(b"", Some(user), Some(password)).unwrap();
        let credential = Credential::parse(&hash(b"secret").unwrap()).unwrap();
        credential.remember(login(&key, b"a", b"secret"));
        assert!(credential.is_remembered(&login(&key, b"a", b"secret")));
        for (user, password) in [("a", "secre"), ("as", "ecret"), ("b", "secret")] {
            assert!(!credential.is_remembered(&login(&key, user.as_bytes(), password.as_bytes())));
        }
        assert!(!credential.is_remembered(&login(&Fingerprints::default(), b"a", b"secret")));
    }
}
