//! Logins: password strings of other programs' making, and what is remembered of a login.

#![expect(clippy::panic, reason = "a test fails by panicking")]

use mqtt_acl_policy::{Action, Client, Decision, Grant, Policy, Refusal, parse};

fn policy(text: &str) -> Policy {
    parse(&format!("version = 1\n{text}"), "p.toml").unwrap_or_else(|failure| panic!("{text}\n{failure:#?}")).policy
}

fn login(policy: &Policy, user: &str, password: &[u8]) -> Decision {
    let client = Client { user: Some(user.as_bytes()), id: user.as_bytes() };
    policy.login(&client, Some(password), Action::Connect)
}

/// Whether the login is granted, and whether that is known without a check in full.
fn tried(policy: &Policy, user: &str, password: &str) -> (bool, bool) {
    let quick = policy.recall(user.as_bytes(), Some(password.as_bytes())).is_some();
    (login(policy, user, password.as_bytes()).is_allow(), quick)
}

#[test]
fn strings_of_other_programs_are_understood() {
    // What `mosquitto_passwd` 2.0.11 wrote (12 bytes of salt), Python's hashlib (64 bytes, as 2.1 writes them), and the
    // reference implementation of argon2, whose own test vectors the first two of its rows are.
    let rows: [(&str, &str, &[u8]); 13] = [
        (
            "passwd",
            "$7$101$tAMVmwxgm5146Vyh$MAqHFdo17pvJRpSdRmvNCSX74KTg465wyqHuObNg9hOaz6FPO1rwu14wO9Z/pH2J3RSF0yRJJ9uAjkoceKFmNg==",
            b"secret",
        ),
        (
            "passwd, UTF-8",
            "$7$101$SKcOmjFHN0yTDNJZ$ssfXvveYvpDIkQXElx9tRB5j7nDAkO+2zhzblzqyrvADMfsI3TGMj6q+YHVexEpsSA8WqnXfZutsRfd9O2K3pQ==",
            "p\u{e4}\u{df}w\u{f6}rd\u{20ac}\u{1f980}".as_bytes(),
        ),
        (
            "passwd, bytes",
            "$7$101$+Gq7bt55SjVBGEla$z7F9SCMhynDkjd0WnQjW+bUd/LfYzOAz7mErXRHTT4APSYftJIoiOlnu9zgjzRXGT8g3Eek9JF5qxVJ8AiUj7Q==",
            b"caf\xe9\xff\x80",
        ),
        (
            "hashlib",
            "$7$1000$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==$j5aX3DstWRgO5cjjfvKvsf7Z/KK812T4wGDMih+DCHQg8P7++fmj4sZcMp1smkEafZL0QZ29tE5ezahL/nyffw==",
            b"secret",
        ),
        (
            "hashlib, empty",
            "$7$1$c2FsdHNhbHRzYWx0$k1KUJgmiMVxc6V1US9BCKGslOJiWhMguawJ4lYOyRYjy5Kyg2HQu/+6TRpClkbLM/XoXxWsMgLqGeYGPV/9I4Q==",
            b"",
        ),
        (
            "hashlib, NUL",
            "$7$2$c2FsdHNhbHRzYWx0$9mKKo+gbN3BtDr4UKezmWrdMOnOnBeR4n5+RG1Pyu2NG23gT0BtrPwDjaQys6JaBvQJIOmzOG71nuxeDl3r6GQ==",
            b"a\0b",
        ),
        ("argon2", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", b"password"),
        (
            "argon2, two lanes",
            "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
            b"password",
        ),
        (
            "argon2, another",
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$gJ7nvBcFxQh1IVKFS/MiEpoKAD5/Dtz7d04b9qEdSeU",
            b"differentpassword",
        ),
        (
            "argon2, UTF-8",
            "$argon2id$v=19$m=64,t=1,p=4$c2FsdHNhbHRzYWx0$kf5sCa34hKyBz+WfmCHyyg7sL/cEcMYYNlSy/En/l1A",
            "p\u{e4}\u{df}w\u{f6}rd\u{20ac}\u{1f980}".as_bytes(),
        ),
        (
            "argon2, 64 bytes",
            "$argon2id$v=19$m=32,t=3,p=4$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw$MUwJ0xiWYTt8ZDOkP4vJKvPR0WlB+XMo9lAmyEkv2JHkJ+pqbWIwVtYCImKLLX82czKT8KmjTN5WkV3kgC8T5g",
            b"caf\xe9\xff\x80",
        ),
        ("argon2, empty", "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0$MOdHQb9t6csZBlvqltUNIQ", b""),
        ("argon2, NUL", "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0$EdFH+k/7gXWLTjSMr0ud4A", b"a\0b"),
    ];
    for (name, string, password) in rows {
        let policy = policy(&format!("[users.u]\npassword = \"{string}\""));
        assert_eq!(login(&policy, "u", password), Decision::Allow(Grant::Admitted), "{name}");
        for wrong in [&b"Secret"[..], b"secre", b"a", &[b'x'; 65_535]] {
            assert_eq!(login(&policy, "u", wrong), Decision::Deny(Refusal::WrongPassword), "{name}: {wrong:?}");
        }
        // And again, now that a login is remembered.
        assert!(login(&policy, "u", password).is_allow(), "{name}, again");
    }
}

#[test]
fn strings_that_are_nearly_right_are_refused() {
    const HASH: &str = "nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    let seven = |iterations: &str, salt: &str| format!("$7${iterations}${salt}${}==", "A".repeat(86));
    for string in [
        format!("$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ${HASH}"),
        format!("$argon2id$m=256,t=2,p=1$c29tZXNhbHQ${HASH}"),
        format!("$argon2id$v=19$m=256,t=2,p=0$c29tZXNhbHQ${HASH}"),
        format!("$argon2id$v=19$m=7,t=2,p=1$c29tZXNhbHQ${HASH}"),
        format!("$argon2id$v=19$m=256,t=0,p=1$c29tZXNhbHQ${HASH}"),
        format!("$argon2id$v=19$m=4294967295,t=4294967295,p=1$c29tZXNhbHQ${HASH}"),
        format!("$argon2id$v=19$m=4294967296,t=1,p=1$c29tZXNhbHQ${HASH}"),
        format!("$argon2id$v=19$m=256,t=2,p=1,x=1$c29tZXNhbHQ${HASH}"),
        format!("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ${HASH} "),
        format!("$argon2id$v=19$m=256,t=2,p=1$$${HASH}"),
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$".to_owned(),
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ".to_owned(),
        "$argon2id$".to_owned(),
        "$7$".to_owned(),
        seven("0", "c2FsdHNhbHRzYWx0"),
        seven("-1", "c2FsdHNhbHRzYWx0"),
        seven("", "c2FsdHNhbHRzYWx0"),
        seven("1e3", "c2FsdHNhbHRzYWx0"),
        seven("101", "c2FsdA=="),
        seven("101", "c2FsdHNhbHRzYWx0="),
        seven("101", "c2Fsd HNhbHRzYWx0"),
        "$7$101$c2FsdHNhbHRzYWx0$YQ==".to_owned(),
    ] {
        let text = format!("version = 1\n[users.u]\npassword = \"{string}\"");
        assert!(parse(&text, "p.toml").is_err(), "{string}");
    }
}

const FIRST: &str = "$argon2id$v=19$m=6144,t=1,p=1$c2FsdHNhbHRzYWx0$vl+Fp7mKvRyuHOXKH5eeP9EqA+0kar2YWjUk/sP1C8Y";
const SECOND: &str = "$argon2id$v=19$m=6144,t=1,p=1$c2FsdHNhbHRzYWx0$TV7b+w9L4+Xqh29svCT9Qqedz/hNNAovMBge2PM5UhY";
const RIGHT: &str = "$argon2id$v=19$m=6144,t=1,p=1$c2FsdHNhbHRzYWx0$kd25OuOlpeAvaf+YJZfRpuSX33fp/vVwIxMszlNgWYE";

#[test]
fn s29_a_login_is_remembered_with_its_password_string() {
    let old = policy(&format!(
        "[users.a]\npassword = \"{FIRST}\"\n[users.b]\npassword = \"{SECOND}\"\n[users.c]\npassword = \"{FIRST}\"\n[users.d]\npassword = \"{FIRST}\""
    ));
    assert_eq!(tried(&old, "a", "first"), (true, false), "the first time");
    assert_eq!(tried(&old, "a", "first"), (true, true), "remembered");
    assert_eq!(tried(&old, "a", "firsx"), (false, false), "a wrong password is checked in full");
    assert_eq!(tried(&old, "a", "first"), (true, true), "and forgets nothing");
    assert_eq!(tried(&old, "c", "first"), (true, false), "each user's own, also of the same string");
    assert!(tried(&old, "b", "second").0 && tried(&old, "d", "first").0);
    assert_eq!(tried(&old, "b", "first"), (false, false), "another's password is wrong");

    let mut new = policy(&format!(
        "[users.a]\npassword = \"{FIRST}\"\npublish = [\"x\"]\n[users.b]\npassword = \"{FIRST}\"\n[users.c]\npassword = \"{FIRST}\"\ndisabled = true\n[users.e]\npassword = \"{FIRST}\""
    ));
    new.inherit(&old);
    assert_eq!(tried(&new, "a", "first"), (true, true), "the same string: still remembered");
    assert_eq!(tried(&new, "b", "second"), (false, false), "another string: the old password is wrong");
    assert_eq!(tried(&new, "b", "first"), (true, false), "and the new one is checked");
    assert_eq!(login(&new, "c", b"first"), Decision::Deny(Refusal::Disabled), "disabled, though remembered");
    assert_eq!(login(&new, "d", b"first"), Decision::Deny(Refusal::NotListed), "removed, though remembered");
    assert_eq!(tried(&new, "e", "first"), (true, false), "a new user with a known string");
}

#[test]
fn s30_a_right_password_under_a_wrong_client_id_is_not_remembered() {
    let policy = policy(&format!("[users.a]\npassword = \"{FIRST}\""));
    let client = |id| Client { user: Some(b"a"), id };
    for _ in 0..2 {
        assert!(policy.recall(b"a", Some(b"first")).is_none());
        let verdict = policy.verify(b"a", b"first");
        assert_eq!(policy.admit(&client(b"b"), Action::Connect, &verdict), Decision::Deny(Refusal::ClientId));
    }
    let verdict = policy.verify(b"a", b"first");
    assert!(policy.admit(&client(b"a"), Action::Connect, &verdict).is_allow());
    assert!(policy.recall(b"a", Some(b"first")).is_some());
}

#[test]
fn what_one_policy_found_is_nothing_to_another() {
    let text = format!("[users.a]\npassword = \"{FIRST}\"");
    let (one, other) = (policy(&text), policy(&text));
    let verdict = one.verify(b"a", b"first");
    assert!(one.found(&verdict) && !other.found(&verdict));
    let client = Client { user: Some(b"a"), id: b"a" };
    assert_eq!(other.admit(&client, Action::Connect, &verdict), Decision::Deny(Refusal::WrongPassword));
    assert!(other.recall(b"a", Some(b"first")).is_none(), "nor is it remembered there");
}

#[test]
fn s1_the_client_id_is_judged_last_and_always() {
    let string = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    let policy = policy(&format!(
        "[roles.api]\napi = true\n[users.u]\nroles = [\"api\"]\npassword = \"{string}\"\n[users.none]\n\
         [users.off]\ndisabled = true\npassword = \"{string}\""
    ));
    let wrong = Decision::Deny(Refusal::WrongPassword);
    let rows: [(&str, &str, Option<&str>, Action<'_>, Decision); 13] = [
        ("u", "other", Some("x"), Action::Connect, wrong),
        ("u", "other", Some("password"), Action::Connect, Decision::Deny(Refusal::ClientId)),
        ("u", "u", Some("password"), Action::Connect, Decision::Allow(Grant::Admitted)),
        ("u", "other", Some("password"), Action::Connect, Decision::Deny(Refusal::ClientId)),
        ("u", "http-api", Some("password"), Action::Connect, Decision::Deny(Refusal::ReservedClientId)),
        ("u", "http-api", Some("password"), Action::Api(b"/api/v1"), Decision::Allow(Grant::Api)),
        ("u", "http-api", Some("x"), Action::Api(b"/api/v1"), wrong),
        ("u", "u", None, Action::Connect, Decision::Deny(Refusal::NoPasswordGiven)),
        ("u", "u", Some(""), Action::Connect, wrong),
        ("none", "none", Some(""), Action::Connect, Decision::Deny(Refusal::NoPasswordSet)),
        ("off", "off", Some("password"), Action::Connect, Decision::Deny(Refusal::Disabled)),
        ("off", "off", Some("x"), Action::Connect, wrong),
        ("nobody", "nobody", Some("password"), Action::Connect, Decision::Deny(Refusal::NotListed)),
    ];
    for (user, id, password, purpose, expected) in rows {
        let client = Client { user: Some(user.as_bytes()), id: id.as_bytes() };
        let decision = policy.login(&client, password.map(str::as_bytes), purpose);
        assert_eq!(decision, expected, "{user} as {id} with {password:?} for {purpose:?}");
    }
}

#[test]
fn s30_an_unknown_user_is_checked_as_a_wrong_password_is() {
    let slow = policy(&format!("[users.a]\npassword = \"{RIGHT}\"\n[users.none]"));
    let quick = policy("[users.a]\npassword = \"$token$47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU\"\n[users.none]");
    for user in ["a", "nobody", "none", "+", ""] {
        assert!(slow.recall(user.as_bytes(), Some(b"wrong")).is_none(), "{user}: in full");
        assert!(quick.recall(user.as_bytes(), Some(b"wrong")).is_some(), "{user}: at once, as a token is");
        assert!(!login(&slow, user, b"wrong").is_allow() && !login(&quick, user, b"wrong").is_allow(), "{user}");
    }
    // Not even the password of the user whose place it takes admits an unknown name, remembered or not.
    let policy = policy(&format!("[users.a]\npassword = \"{FIRST}\""));
    assert!(login(&policy, "a", b"first").is_allow());
    assert_eq!(login(&policy, "b", b"first"), Decision::Deny(Refusal::NotListed));
}

#[test]
fn a_list_of_passwords_lets_each_of_them_in() {
    let token = mqtt_acl_policy::Token::new().unwrap_or_else(|problem| panic!("{problem}"));
    let policy = policy(&format!("[users.a]\npassword = [\"{}\", \"{FIRST}\"]", token.string));
    let verdict =
        |password: &[u8]| policy.recall(b"a", Some(password)).unwrap_or_else(|| policy.verify(b"a", password)).is_old();
    assert!(login(&policy, "a", token.secret.as_bytes()).is_allow() && !verdict(token.secret.as_bytes()));
    assert!(login(&policy, "a", b"first").is_allow() && verdict(b"first"), "one that is being replaced");
    assert!(!login(&policy, "a", b"second").is_allow() && !verdict(b"second"));
    assert_eq!(tried(&policy, "a", "first"), (true, true), "remembered");
}
