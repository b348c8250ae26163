//! Password strings: what the policy's `password` may hold, and how a password is checked against it.

mod read;
mod token;

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::LazyLock;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest as _, Sha256, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub use token::{Token, is_token};

use crate::fingerprint::Slot;

/// A password string of the policy, ready to check passwords against. Its bytes lie with its user.
#[derive(Clone, Copy)]
pub(crate) struct Credential<'p> {
    scheme: Scheme,
    salt: &'p [u8],
    hash: &'p [u8],
    /// Where the policy remembers the login that succeeded last (S29).
    pub(crate) slot: Slot,
}

/// What a password string says beside salt and hash: the same for very many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    scheme: Scheme,
    salt: u8,
    hash: u8,
}

/// Which password string a client logged in with: every policy of this process that holds the same string knows it by the
/// same number, and nothing can be told from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scheme {
    /// A secret of 256 random bits, and so the only one that one SHA-256 is enough for.
    Token,
    Argon2id {
        memory: u32,
        passes: u32,
        lanes: u32,
    },
    Pbkdf2 {
        prf: Prf,
        iterations: u32,
    },
    Bcrypt {
        cost: u32,
    },
    Sha512,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Prf {
    Sha256,
    Sha512,
}

impl Shape {
    /// Reads a password string, and appends its salt and hash to these bytes.
    ///
    /// # Errors
    /// What is wrong with it, as the tail of a problem's text. The string itself is a secret of sorts and not repeated.
    pub(crate) fn read(text: &str, bytes: &mut Vec<u8>) -> Result<Self, String> {
        let read::Parts { scheme, salt, hash } = read::parts(text)?;
        bytes.extend_from_slice(&salt);
        bytes.extend_from_slice(&hash);
        let [salt, hash] = [&salt, &hash].map(|part| u8::try_from(part.len()).unwrap_or(u8::MAX));
        Ok(Self { scheme, salt, hash })
    }

    /// How many bytes salt and hash have together.
    pub(crate) fn size(self) -> usize {
        usize::from(self.salt) + usize::from(self.hash)
    }

    /// The password string that these bytes, of [this size](Self::size), belong to.
    pub(crate) fn credential(self, bytes: &[u8], slot: Slot) -> Option<Credential<'_>> {
        let (salt, hash) = bytes.split_at_checked(usize::from(self.salt))?;
        Some(Credential { scheme: self.scheme, salt, hash, slot })
    }

    /// What makes such strings too weak to be kept, if anything does.
    pub(crate) fn weakness(self) -> Option<String> {
        read::weakness(&self.scheme)
    }

    /// What kind of password string it is, in a word.
    pub(crate) fn kind(self) -> &'static str {
        match self.scheme {
            Scheme::Token => "token",
            Scheme::Argon2id { .. } => "argon2id",
            Scheme::Pbkdf2 { .. } => "pbkdf2",
            Scheme::Bcrypt { .. } => "bcrypt",
            Scheme::Sha512 => "sha512",
        }
    }
}

impl Credential<'_> {
    /// Whether checking takes microseconds and guessing is hopeless, so that it needs no guard.
    pub(crate) fn is_quick(&self) -> bool {
        self.scheme == Scheme::Token
    }

    /// Whether this is the password. Takes milliseconds, as it is meant to, unless it [is quick](Self::is_quick).
    pub(crate) fn verify(&self, password: &[u8]) -> bool {
        let mut computed = Zeroizing::new(vec![0; self.hash.len()]);
        match self.scheme {
            Scheme::Token => computed.copy_from_slice(&token::digest(password)),
            Scheme::Argon2id { memory, passes, lanes } => {
                let Ok(params) = Params::new(memory, passes, lanes, None) else { return false };
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                if argon2.hash_password_into(password, self.salt, &mut computed).is_err() {
                    return false;
                }
            }
            Scheme::Pbkdf2 { prf: Prf::Sha256, iterations } => {
                pbkdf2::pbkdf2_hmac::<Sha256>(password, self.salt, iterations, &mut computed);
            }
            Scheme::Pbkdf2 { prf: Prf::Sha512, iterations } => {
                pbkdf2::pbkdf2_hmac::<Sha512>(password, self.salt, iterations, &mut computed);
            }
            Scheme::Sha512 => {
                computed.copy_from_slice(&Sha512::new().chain_update(password).chain_update(self.salt).finalize());
            }
            Scheme::Bcrypt { .. } => {
                let hash = std::str::from_utf8(self.hash).unwrap_or_default();
                return bcrypt::verify(password, hash).unwrap_or(false);
            }
        }
        computed.as_slice().ct_eq(self.hash).into()
    }

    /// Which password string this is.
    pub(crate) fn id(&self) -> CredentialId {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        CredentialId(KEY.hash_one((self.scheme, self.salt, self.hash)))
    }

    /// Whether both were read from the same password string.
    pub(crate) fn is_same(&self, other: &Credential<'_>) -> bool {
        self.scheme == other.scheme && self.salt == other.salt && self.hash == other.hash
    }
}

/// The scheme alone: a hash is a secret of sorts.
impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

/// Whether a policy may hold this as a password string.
///
/// # Errors
/// What is wrong with it, as the tail of a problem's text, which does not repeat it.
pub fn is_password_string(text: &str) -> Result<(), String> {
    Shape::read(text, &mut Vec::new()).map(|_| ())
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
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(output)
    ))
}

#[cfg(test)]
impl Credential<'static> {
    /// Reads a password string, whose bytes stay for the rest of the test.
    fn parse(text: &str) -> Result<Self, String> {
        let mut bytes = Vec::new();
        let shape = Shape::read(text, &mut bytes)?;
        shape.credential(bytes.leak(), Slot::number(0)).ok_or_else(|| "of another size".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// Of the password `correct horse`, made by Python's `bcrypt` and `hashlib.pbkdf2_hmac`.
    const BCRYPT_AND_GO_AUTH: [&str; 5] = [
        "$2b$04$6jPyoGjvGj8yOvAmyZ2Il.bsieKHyMApxu5J8/LlklIrrChhqf/9i",
        "$2y$04$6jPyoGjvGj8yOvAmyZ2Il.bsieKHyMApxu5J8/LlklIrrChhqf/9i",
        "$2a$04$6jPyoGjvGj8yOvAmyZ2Il.bsieKHyMApxu5J8/LlklIrrChhqf/9i",
        "PBKDF2$sha512$1000$MDEyMzQ1Njc4OWFiY2RlZg==$OM0FAoIqCVK1sWtxDiffVlBejtLa+ks4TP71JiecwuSZCG8iLbnlIEPOMoVX+i2B2wkSxjQ8CRGR9OkNGuIPMQ==",
        "PBKDF2$sha256$1000$MDEyMzQ1Njc4OWFiY2RlZg==$cBg8D2DungRB9k76szThf5ehfyBz991ay6PT8Srwk4M=",
    ];

    #[test]
    fn what_hash_makes_is_read_and_strong() {
        let credential = Credential::parse(&hash(b"secret").unwrap()).unwrap();
        assert!(credential.verify(b"secret"));
        assert!(!credential.verify(b"Secret"));
        assert!(!credential.verify(b""));
        assert_eq!(read::weakness(&credential.scheme), None);
        assert!(!credential.is_quick());
    }

    #[test]
    fn mosquittos_strings() {
        for salt in [&b"saltsaltsalt"[..], &[7; 64]] {
            let salt64 = STANDARD.encode(salt);
            let mut expected = [0; 64];
            pbkdf2::pbkdf2_hmac::<Sha512>(b"secret", salt, 101, &mut expected);
            let seven = format!("$7$101${salt64}${}", STANDARD.encode(expected));
            expected.copy_from_slice(&Sha512::digest([b"secret", salt].concat()));
            let six = format!("$6${salt64}${}", STANDARD.encode(expected));
            for text in [seven, six] {
                let credential = Credential::parse(&text).unwrap();
                assert!(credential.verify(b"secret"), "{text}");
                assert!(!credential.verify(b"secre"), "{text}");
            }
        }
    }

    #[test]
    fn other_plugins_strings() {
        for text in BCRYPT_AND_GO_AUTH {
            let credential = Credential::parse(text).unwrap();
            assert!(credential.verify(b"correct horse"), "{text}");
            assert!(!credential.verify(b"correct horsf"), "{text}");
            assert!(!credential.verify(b""), "{text}");
        }
    }
}
