//! The reference deployment's policy keeps its promises.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use mqtt_acl_policy::{Action, Client, parse};

fn reference() -> mqtt_acl_policy::Policy {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/policy.toml")).unwrap();
    // The included files hold passwords and are made when the policy is installed.
    let text = text.replace("include =", "# include =");
    parse(&text, "policy.toml").unwrap_or_else(|failure| panic!("{failure:#?}")).policy
}

#[test]
fn its_own_tests_pass() {
    let outcomes = reference().run_tests();
    assert!(outcomes.len() >= 20, "{}", outcomes.len());
    for outcome in outcomes {
        assert!(outcome.passed, "{outcome}");
    }
}

#[test]
fn reasons_name_the_rule_and_its_line() {
    let policy = reference();
    let client = Client { user: Some(b"dev00001"), id: b"dev00001" };
    let reason = |action| policy.reason(&client, policy.authorize(&client, action)).to_string();
    assert_eq!(
        reason(Action::Publish(b"dt/demo/1/dev00001/x")),
        "granted by role `device` publish `dt/demo/+/%u/#` (policy.toml:16)"
    );
    assert_eq!(reason(Action::Publish(b"dt/demo/1/dev00002/x")), "no rule grants it");
    let client = Client { user: Some(b"dev00001"), id: b"dev00002" };
    let reason = policy.reason(&client, policy.authorize(&client, Action::Connect)).to_string();
    assert_eq!(reason, "the client id is not one of the user's; accepted: `dev00001`, `dev00001-*`");
}
