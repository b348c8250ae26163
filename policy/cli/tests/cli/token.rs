use mqtt_acl_policy::{Action, Client, is_token, parse};

use crate::host::{Folder, Ran};

#[test]
fn a_token_and_the_string_that_it_opens() {
    let Ran { status, out, err } = Folder::new().run_fed("token", b"");
    assert_eq!((status, err.as_str()), (Some(0), ""));
    let [token, string] = out.lines().collect::<Vec<_>>()[..] else { panic!("{out}") };
    assert!(is_token(token) && string.starts_with("$token$"), "{out}");
    let policy = parse(&format!("version = 1\n[users.u]\npassword = \"{string}\"\n"), "p").unwrap();
    assert!(policy.warnings.is_empty());
    let client = Client { user: Some(b"u"), id: b"u" };
    let login = |password: &str| policy.policy.login(&client, Some(password.as_bytes()), Action::Connect).is_allow();
    assert!(login(token) && !login(string) && !login(""));
}

#[test]
fn no_two_are_alike() {
    let folder = Folder::new();
    assert_ne!(folder.run_fed("token", b"").out, folder.run_fed("token", b"").out);
}
