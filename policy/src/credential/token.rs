//! Tokens: secrets for devices, made by a machine and never typed.
//!
//! A token has 256 random bits, so nobody guesses one however fast the guesses are checked, and a single SHA-256 keeps it
//! safe in the policy. Checking one takes a microsecond, on every broker version, where a password takes milliseconds.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What every token begins with, for people and for scanners of leaked secrets.
const PREFIX: &str = "mqttacl_";

/// A fresh token and the string for `password`.
#[derive(Debug)]
pub struct Token {
    /// The secret: `mqttacl_`, 43 characters of randomness, 6 of a checksum. For the device, and shown once.
    pub secret: Zeroizing<String>,
    /// The string for `password`: `$token$` and the SHA-256 of the secret.
    pub string: String,
}

impl Token {
    /// Makes a token.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn new() -> Result<Self, String> {
        let mut random = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *random).map_err(|e| format!("no random bytes to be had: {e}"))?;
        let body = Zeroizing::new(URL_SAFE_NO_PAD.encode(*random));
        let secret = Zeroizing::new(format!("{PREFIX}{}{}", *body, checksum(&body)));
        let string = format!("$token${}", URL_SAFE_NO_PAD.encode(digest(secret.as_bytes())));
        Ok(Self { secret, string })
    }
}

/// Whether this looks like a token, and its checksum tells that no character of it was lost or changed.
#[must_use]
pub fn is_token(text: &str) -> bool {
    text.strip_prefix(PREFIX)
        .and_then(|rest| rest.split_at_checked(43))
        .is_some_and(|(body, sum)| checksum(body) == sum && URL_SAFE_NO_PAD.decode(body).is_ok())
}

/// Four bytes of SHA-256, as six characters.
fn checksum(body: &str) -> String {
    let sum: Vec<u8> = Sha256::digest(body.as_bytes()).into_iter().take(4).collect();
    URL_SAFE_NO_PAD.encode(sum)
}

/// What the policy keeps of a token.
pub(super) fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::{Credential, Shape};

    #[test]
    fn a_token_is_checked_by_its_digest() {
        let token = Token::new().unwrap();
        assert_eq!(token.secret.len(), PREFIX.len() + 43 + 6);
        let credential = Credential::parse(&token.string).unwrap();
        assert!(credential.is_quick());
        assert!(credential.verify(token.secret.as_bytes()));
        assert!(!credential.verify(token.string.as_bytes()));
        assert!(!credential.verify(b""));
        assert!(!credential.verify(Token::new().unwrap().secret.as_bytes()));
        assert_eq!(Shape::read(&token.string, &mut Vec::new()).unwrap().weakness(), None);
    }

    #[test]
    fn a_slip_of_the_hand_is_seen() {
        let secret = Token::new().unwrap().secret;
        assert!(is_token(&secret));
        for at in [PREFIX.len(), PREFIX.len() + 20, PREFIX.len() + 42, PREFIX.len() + 48] {
            let mut changed = secret.as_bytes().to_vec();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(!is_token(std::str::from_utf8(&changed).unwrap()), "{at}");
        }
        let shorter = secret.strip_prefix('m').unwrap();
        assert!(!is_token(shorter) && !is_token(&format!("{}x", *secret)) && !is_token(""));
        assert!(!is_token(&format!("{PREFIX}{}", "\u{e9}".repeat(30))));
    }
}
