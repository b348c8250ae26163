//! Password strings as they are written: our own, Mosquitto's, and those of other plugins that people move from.

use std::ops::RangeInclusive;

use argon2::Params;
use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use smallvec::SmallVec;

use super::{Prf, Scheme};
use crate::bytes::position;

/// What a password string says.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) scheme: Scheme,
    pub(super) salt: Bytes,
    pub(super) hash: Bytes,
}

/// As many as a salt or a hash may have.
type Bytes = SmallVec<[u8; 64]>;

/// What one password string may ask of a login: the broker waits for it, so nobody's policy may ask for more.
mod most {
    /// argon2id: KiB of memory, times passes. About a quarter of a second.
    pub(super) const ARGON2_WORK: u64 = 256 * 1024;
    /// argon2id: lanes, which are computed one after another here.
    pub(super) const ARGON2_LANES: u32 = 16;
    /// PBKDF2: iterations. About half a second.
    pub(super) const PBKDF2_ITERATIONS: u32 = 1_000_000;
    /// bcrypt: two to the power of this. About half a second.
    pub(super) const BCRYPT_COST: u32 = 13;
}

/// Below these a stolen policy file gives its passwords away.
mod weak {
    /// OWASP's smallest choice for argon2id, m=7168,t=5.
    pub(super) const ARGON2_WORK: u64 = 7 * 1024 * 5;
    /// A tenth of OWASP's figures for PBKDF2.
    pub(super) const PBKDF2_ITERATIONS: u32 = 21_000;
    /// OWASP's smallest.
    pub(super) const BCRYPT_COST: u32 = 10;
}

const SALT: RangeInclusive<usize> = 8..=64;
const HASH: RangeInclusive<usize> = 16..=64;
const INSTEAD: &str = "write the output of `mqtt-acl hash` or `mqtt-acl token`";

/// Reads a password string; what is wrong with it never repeats it, for it is a secret of sorts.
pub(super) fn parts(text: &str) -> Result<Parts, String> {
    const KINDS: [(&str, Reader, &str); 9] = [
        ("$argon2id$", argon2id, "argon2id"),
        ("$token$", token, "`$token$`"),
        ("$7$", mosquitto_pbkdf2, "`$7$`"),
        ("$6$", mosquitto_sha512, "`$6$`"),
        ("$2a$", bcrypt, "bcrypt"),
        ("$2b$", bcrypt, "bcrypt"),
        ("$2y$", bcrypt, "bcrypt"),
        ("PBKDF2$", go_auth_pbkdf2, "`PBKDF2$`"),
        ("$argon2i", unknown_argon2, "argon2id"),
    ];
    for (prefix, read, name) in KINDS {
        if let Some(rest) = text.strip_prefix(prefix) {
            let whole = if prefix.starts_with("$2") { text } else { rest };
            return read(whole).map_err(|what| format!("not a readable {name} string: {what} ({INSTEAD})"));
        }
    }
    let what = if text.is_empty() {
        "an empty password admits nobody"
    } else if text.starts_with('$') {
        "this kind of password string is not known; known are argon2id, `$token$`, bcrypt, and Mosquitto's `$7$` and `$6$`"
    } else {
        "this is not a password string; passwords are never written in the clear"
    };
    Err(format!("{what} ({INSTEAD})"))
}

type Reader = fn(&str) -> Result<Parts, String>;

/// What makes the string too weak to be kept, if anything does.
pub(super) fn weakness(scheme: &Scheme) -> Option<String> {
    let what = match *scheme {
        Scheme::Argon2id { memory, passes, .. } if work(memory, passes) < weak::ARGON2_WORK => {
            format!("argon2id with m={memory},t={passes}")
        }
        Scheme::Pbkdf2 { iterations, .. } if iterations < weak::PBKDF2_ITERATIONS => {
            format!("PBKDF2 with {iterations} iterations")
        }
        Scheme::Bcrypt { cost } if cost < weak::BCRYPT_COST => format!("bcrypt with a cost of {cost}"),
        Scheme::Sha512 => "`$6$`, a single SHA-512,".to_owned(),
        _ => return None,
    };
    Some(format!("{what} is quickly guessed (make a new string with `mqtt-acl hash`)"))
}

/// `$argon2id$v=19$m=<KiB>,t=<passes>,p=<lanes>$<salt>$<hash>` (RFC 9106, PHC string format).
fn argon2id(text: &str) -> Result<Parts, String> {
    let [version, cost, salt, hash] = fields(text)?;
    if version != "v=19" {
        return Err("only version 19 is known".into());
    }
    let (memory, passes, lanes) = argon2_cost(cost).ok_or("the parameters are not `m=<KiB>,t=<passes>,p=<lanes>`")?;
    if work(memory, passes) > most::ARGON2_WORK || lanes > most::ARGON2_LANES {
        return Err(format!(
            "m={memory},t={passes},p={lanes} is too dear: every login would cost it; m times t may be {} at most, p {}",
            most::ARGON2_WORK,
            most::ARGON2_LANES
        ));
    }
    Params::new(memory, passes, lanes, None).map_err(|_| "the parameters are out of argon2's range")?;
    let salt = decode(&STANDARD_NO_PAD, salt, SALT).ok_or("the salt is not base64 of 8 to 64 bytes")?;
    let hash = decode(&STANDARD_NO_PAD, hash, HASH).ok_or("the hash is not base64 of 16 to 64 bytes")?;
    Ok(Parts { scheme: Scheme::Argon2id { memory, passes, lanes }, salt, hash })
}

fn unknown_argon2(_: &str) -> Result<Parts, String> {
    Err("of the kinds of argon2 only argon2id is known".into())
}

/// `$token$<SHA-256 of the token>`.
fn token(text: &str) -> Result<Parts, String> {
    let hash = decode(&URL_SAFE_NO_PAD, text, 32..=32)
        .or_else(|| decode(&STANDARD_NO_PAD, text, 32..=32))
        .ok_or("the digest is not base64 of 32 bytes")?;
    Ok(Parts { scheme: Scheme::Token, salt: Bytes::new(), hash })
}

/// `$7$<iterations>$<salt>$<hash>`: PBKDF2-HMAC-SHA512, as `mosquitto_passwd` writes it.
fn mosquitto_pbkdf2(text: &str) -> Result<Parts, String> {
    let [iterations, salt, hash] = fields(text)?;
    pbkdf2(Prf::Sha512, iterations, salt, hash, 64..=64)
}

/// `PBKDF2$<sha256 or sha512>$<iterations>$<salt>$<hash>`, as mosquitto-go-auth writes it, with its default encoding.
fn go_auth_pbkdf2(text: &str) -> Result<Parts, String> {
    let [prf, iterations, salt, hash] = fields(text)?;
    let prf = match prf {
        "sha256" => Prf::Sha256,
        "sha512" => Prf::Sha512,
        _ => return Err("of its digests `sha256` and `sha512` are known".into()),
    };
    pbkdf2(prf, iterations, salt, hash, HASH)
}

fn pbkdf2(prf: Prf, iterations: &str, salt: &str, hash: &str, sizes: RangeInclusive<usize>) -> Result<Parts, String> {
    let iterations = number(iterations).filter(|n| *n >= 1).ok_or("the iterations are not a number")?;
    if iterations > most::PBKDF2_ITERATIONS {
        return Err(format!(
            "{iterations} iterations are too dear: every login would cost them; {} at most",
            most::PBKDF2_ITERATIONS
        ));
    }
    let bytes = if sizes.start() == sizes.end() { "64 bytes" } else { "16 to 64 bytes" };
    let hash = decode(&STANDARD, hash, sizes).ok_or_else(|| format!("the hash is not base64 of {bytes}"))?;
    let salt = decode(&STANDARD, salt, SALT).ok_or("the salt is not base64 of 8 to 64 bytes")?;
    Ok(Parts { scheme: Scheme::Pbkdf2 { prf, iterations }, salt, hash })
}

/// `$6$<salt>$<hash>`: one SHA-512 of password and salt, as `mosquitto_passwd` wrote it before 2.0.
fn mosquitto_sha512(text: &str) -> Result<Parts, String> {
    let [salt, hash] = fields(text)?;
    let hash = decode(&STANDARD, hash, 64..=64).ok_or("the hash is not base64 of 64 bytes")?;
    let salt = decode(&STANDARD, salt, SALT).ok_or("the salt is not base64 of 8 to 64 bytes")?;
    Ok(Parts { scheme: Scheme::Sha512, salt, hash })
}

/// `$2b$<cost>$<22 characters of salt><31 of hash>`, kept as it is: bcrypt has a base64 of its own.
fn bcrypt(text: &str) -> Result<Parts, String> {
    const OTHERWISE: &str = "it is not `$2b$<two digits of cost>$` and 53 characters";
    // The library reads more than that.
    let cost = text.get(4..6).filter(|_| text.len() == 60).and_then(number).ok_or(OTHERWISE)?;
    text.parse::<bcrypt::HashParts>().map_err(|_| OTHERWISE)?;
    if cost > most::BCRYPT_COST {
        return Err(format!("a cost of {cost} is too dear: every login would cost it; {} at most", most::BCRYPT_COST));
    }
    Ok(Parts { scheme: Scheme::Bcrypt { cost }, salt: Bytes::new(), hash: text.as_bytes().into() })
}

/// The fields between `$`, as many as there must be.
fn fields<const N: usize>(text: &str) -> Result<[&str; N], String> {
    let mut rest = Some(text);
    let mut fields = [""; N];
    for field in &mut fields {
        let text = rest.ok_or("a field is missing")?;
        let end = position(text.as_bytes(), |byte| byte == b'$');
        (*field, rest) = end.and_then(|end| Some((text.get(..end)?, text.get(end + 1..)))).unwrap_or((text, None));
    }
    if rest.is_some() { Err("there is text after the hash".into()) } else { Ok(fields) }
}

fn argon2_cost(text: &str) -> Option<(u32, u32, u32)> {
    let mut parameters = text.split(',');
    let mut next = |name: &str| number(parameters.next()?.strip_prefix(name)?);
    let cost = (next("m=")?, next("t=")?, next("p=")?);
    parameters.next().is_none().then_some(cost)
}

/// A number of digits alone; `parse` would take a `+` too.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// The time that argon2 takes goes with memory times passes.
fn work(memory: u32, passes: u32) -> u64 {
    u64::from(memory) * u64::from(passes)
}

fn decode(engine: &GeneralPurpose, text: &str, sizes: RangeInclusive<usize>) -> Option<Bytes> {
    // Of 64 bytes, and of what the last four characters could be.
    let mut buffer = [0; 66];
    let length = engine.decode_slice(text, &mut buffer).ok().filter(|length| sizes.contains(length))?;
    buffer.get(..length).map(Bytes::from_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreadable_strings_say_why_and_do_not_repeat_the_secret() {
        let hash = STANDARD_NO_PAD.encode([1; 32]);
        for (text, part) in [
            ("", "empty"),
            ("hunter2", "never written in the clear"),
            ("$1$abc", "not known"),
            ("$argon2id$v=16$m=8,t=1,p=1$c2FsdHNhbHQ$x", "version 19"),
            ("$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$x", "too dear"),
            ("$argon2id$v=19$m=19456,t=2,p=17$c2FsdHNhbHQ$x", "too dear"),
            ("$argon2id$v=19$t=1,m=8,p=1$c2FsdHNhbHQ$x", "parameters"),
            ("$argon2id$v=19$m=+8,t=1,p=1$c2FsdHNhbHQ$x", "parameters"),
            ("$argon2id$v=19$m=19456,t=2,p=1$c2Fs$x", "salt"),
            ("$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$x", "only argon2id"),
            ("$7$0$c2FsdHNhbHRzYWx0$x", "iterations"),
            ("$7$9999999$c2FsdHNhbHRzYWx0$x", "too dear"),
            ("$7$101$c2FsdHNhbHRzYWx0$x", "64 bytes"),
            ("$7$101", "missing"),
            ("$6$c2FsdHNhbHRzYWx0$x", "64 bytes"),
            ("$2b$31$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "too dear"),
            ("$2b$10$short", "53 characters"),
            ("$2b$010$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "53 characters"),
            ("$2b$+9$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "53 characters"),
            ("$2b$$9$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "53 characters"),
            ("PBKDF2$md5$1000$c2FsdHNhbHRzYWx0$x", "digests"),
            ("$token$abc", "32 bytes"),
        ] {
            let problem = parts(text).unwrap_err();
            assert!(problem.contains(part), "{text}: {problem}");
            assert!(!problem.contains("hunter2"));
        }
        let trailing = format!("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ${hash}$x");
        assert!(parts(&trailing).unwrap_err().contains("after the hash"));
    }

    #[test]
    fn weak_strings_are_named() {
        let hash = STANDARD.encode([1; 64]);
        let short = STANDARD_NO_PAD.encode([1; 32]);
        for (text, part) in [
            (format!("$7$101$c2FsdHNhbHRzYWx0${hash}"), "101 iterations"),
            (format!("$6$c2FsdHNhbHRzYWx0${hash}"), "`$6$`"),
            (format!("PBKDF2$sha512$1000$c2FsdHNhbHRzYWx0${hash}"), "1000 iterations"),
            (format!("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ${short}"), "m=64,t=1"),
            ("$2b$04$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".into(), "cost of 4"),
        ] {
            let weakness = weakness(&parts(&text).unwrap().scheme).unwrap();
            assert!(weakness.contains(part), "{weakness}");
        }
    }
}
