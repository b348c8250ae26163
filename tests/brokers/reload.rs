//! SIGHUP: a good policy takes effect, a bad one changes nothing, and nobody is disconnected for it.

use std::fs;

use crate::support::broker::{Broker, Install, PASSWORD, Setup, set_mode};
use crate::support::mqtt::{Client, Connect, NOT_AUTHORIZED, Publish, V5, V31, V311};

crate::tests![
    a_good_policy_takes_effect_and_nobody_is_disconnected,
    a_broken_policy_is_reported_and_the_old_one_stays,
    every_problem_is_reported_at_its_place,
    a_policy_whose_tests_fail_does_not_take_effect,
    a_missing_policy_changes_nothing,
    an_empty_policy_changes_nothing,
    an_unreadable_policy_changes_nothing,
    a_policy_that_others_may_write_changes_nothing,
    a_deny_all_that_is_meant_is_obeyed,
    a_removed_user_loses_everything,
    a_changed_password_counts,
    logins_right_after_sighup_are_checked,
    ids_that_the_broker_makes_are_admitted_after_sighup,
    a_burst_of_sighups_is_survived,
];

const OLD: &str = r#"
version = 1
[users.alice]
publish   = ["old/#"]
subscribe = ["old/#", "new/#"]
password  = "{password}"
[users.bob]
publish   = ["old/#"]
password  = "{password}"
"#;

const NEW: &str = r#"
version = 1
[users.alice]
publish   = ["old/#", "new/#"]
subscribe = ["old/#", "new/#"]
password  = "{password}"
[users.bob]
publish   = ["old/#"]
password  = "{password}"
[users.carol]
password  = "{password}"
"#;

const VERSIONS: [u8; 3] = [V31, V311, V5];

/// Clients of every version, and sessions that wait for theirs.
fn connected(broker: &Broker) -> Vec<Client> {
    let mut clients = Vec::new();
    for version in VERSIONS {
        let kept = Connect::new(version, format!("alice-offline-{version}")).persistent(600);
        let mut offline = broker.client_with(&kept.username("alice").password(PASSWORD));
        assert_eq!(offline.subscribe("old/#"), Ok(1));
        offline.disconnect();
        for number in 0..5 {
            clients.push(broker.client(version, "alice", &format!("alice-{version}-{number}")));
        }
    }
    clients
}

fn assert_undisturbed(broker: &Broker, clients: &mut [Client]) {
    for client in clients {
        assert_eq!(client.ping(), Ok(()), "a client was disconnected:\n{}", broker.log_text());
    }
    for version in VERSIONS {
        let kept = Connect::new(version, format!("alice-offline-{version}")).persistent(600);
        let (client, answer) = broker.try_client(&kept.username("alice").password(PASSWORD));
        assert_eq!(answer, Ok((version != V31, 0)), "an offline session was lost");
        client.disconnect();
    }
}

/// The policy in force is still OLD.
fn assert_old(broker: &Broker) {
    let mut alice = broker.client(V5, "alice", "alice-asks");
    assert_eq!(alice.publish(&Publish::new("old/x", "x")).map(|code| code & 0x80), Ok(0));
    assert_eq!(alice.publish(&Publish::new("new/x", "x")), Ok(NOT_AUTHORIZED));
    broker.assert_refused(&Connect::new(V5, "carol").username("carol").password(PASSWORD));
    broker.assert_refused(&Connect::new(V5, "alice").username("alice").password("wrong"));
    broker.assert_refused(&Connect::new(V5, "alice"));
}

/// Runs a reload that must fail, beside clients that must not notice.
fn fails_to_load(install: &Install, spoil: impl FnOnce(&Broker)) {
    install.with(&Setup::policy(OLD), |broker| {
        let mut clients = connected(broker);
        spoil(broker);
        for _ in 0..2 {
            broker.reload_logs("policy not loaded");
            assert_old(broker);
        }
        assert_undisturbed(broker, &mut clients);
        // And it recovers.
        let _ = fs::remove_dir_all(broker.policy_file());
        broker.reload(NEW);
        broker.client(V5, "carol", "carol");
    });
}

fn a_good_policy_takes_effect_and_nobody_is_disconnected(install: &Install) {
    install.with(&Setup::policy(OLD), |broker| {
        let mut clients = connected(broker);
        let mut alice = broker.client(V5, "alice", "alice");
        assert_eq!(alice.subscribe("new/#"), Ok(1));
        assert_eq!(alice.publish(&Publish::new("new/x", "1")), Ok(NOT_AUTHORIZED));
        broker.reload(NEW);
        assert_eq!(alice.publish(&Publish::new("new/x", "2")), Ok(0));
        assert_eq!(alice.received().len(), 1);
        broker.client(V5, "carol", "carol");
        assert_undisturbed(broker, &mut clients);
        broker.reload(OLD);
        assert_old(broker);
        assert_undisturbed(broker, &mut clients);
    });
}

fn a_broken_policy_is_reported_and_the_old_one_stays(install: &Install) {
    fails_to_load(install, |broker| broker.write_policy(&format!("{NEW}\n[users.dave\n")));
}

fn every_problem_is_reported_at_its_place(install: &Install) {
    install.with(&Setup::policy(OLD), |broker| {
        broker.write_policy(
            r#"version = 1
[users.alice]
publsh    = ["old/#"]
subscribe = ["a/#/b"]
roles     = ["nowhere"]
password  = "plain"
"#,
        );
        let start = broker.log_len();
        broker.reload_logs("policy not loaded");
        for line in [3, 4, 5, 6] {
            let place = format!("policy.toml:{line}:");
            broker.wait_log(start, |text| text.contains("mqtt-acl: ") && text.contains(&place), &place);
        }
        assert_old(broker);
    });
}

fn a_policy_whose_tests_fail_does_not_take_effect(install: &Install) {
    fails_to_load(install, |broker| {
        broker.write_policy(&format!("{NEW}\n[[test]]\nuser = \"bob\"\ncan = {{ publish = [\"new/x\"] }}\n"));
    });
}

fn a_missing_policy_changes_nothing(install: &Install) {
    fails_to_load(install, |broker| fs::remove_file(broker.policy_file()).expect("the policy is removed"));
}

fn an_empty_policy_changes_nothing(install: &Install) {
    fails_to_load(install, |broker| broker.write_policy(""));
    fails_to_load(install, |broker| broker.write_policy("# nothing\n\n"));
}

fn an_unreadable_policy_changes_nothing(install: &Install) {
    fails_to_load(install, |broker| {
        broker.write_policy(NEW);
        set_mode(&broker.policy_file(), 0);
    });
    fails_to_load(install, |broker| {
        fs::remove_file(broker.policy_file()).expect("the policy is removed");
        fs::create_dir(broker.policy_file()).expect("a folder in its place");
    });
}

/// S18.
fn a_policy_that_others_may_write_changes_nothing(install: &Install) {
    for mode in [0o666, 0o664] {
        fails_to_load(install, |broker| {
            broker.write_policy(NEW);
            set_mode(&broker.policy_file(), mode);
        });
    }
}

/// S17: it contains `version = 1`, so it is no accident.
fn a_deny_all_that_is_meant_is_obeyed(install: &Install) {
    install.with(&Setup::policy(OLD), |broker| {
        broker.reload("version = 1\n");
        broker.assert_refused(&Connect::new(V5, "alice").username("alice").password(PASSWORD));
    });
}

fn a_removed_user_loses_everything(install: &Install) {
    const WITHOUT_BOB: &str = r#"
        version = 1
        [users.alice]
        publish   = ["old/#"]
        subscribe = ["old/#", "new/#"]
        password  = "{password}"
    "#;
    install.with(&Setup::policy(OLD), |broker| {
        let mut alice = broker.client(V5, "alice", "alice");
        assert_eq!(alice.subscribe("old/#"), Ok(1));
        let mut bobs = VERSIONS.map(|version| broker.client(version, "bob", &format!("bob-{version}")));
        broker.reload(WITHOUT_BOB);
        for bob in &mut bobs {
            // Dropped or refused, as the version can: never heard.
            let _ = bob.publish(&Publish::new("old/bob", "x"));
        }
        assert_eq!(alice.topics(), [""; 0]);
        for version in VERSIONS {
            broker.assert_refused(&Connect::new(version, "bob").username("bob").password(PASSWORD));
        }
        broker.hang_up();
        assert_eq!(alice.publish(&Publish::new("old/x", "x")), Ok(0));
        assert_eq!(alice.topics(), ["old/x"]);
    });
}

fn a_changed_password_counts(install: &Install) {
    // The hash of another password.
    let other = OLD.replacen(
        "{password}",
        "$7$101$X9aGnLYlh470XxDz$AAAAUZw+pPQp9Wlmh9bHfG4DuWnZRLB7jDJhZpyep9AqD270f1vPt8g2gYaHhoPMyriOgUjtWWjDU0wJkb6rBw==",
        1,
    );
    install.with(&Setup::policy(OLD), |broker| {
        broker.client(V311, "alice", "alice").disconnect();
        broker.reload(&other);
        broker.assert_refused(&Connect::new(V311, "alice").username("alice").password(PASSWORD));
        broker.reload(OLD);
        broker.client(V311, "alice", "alice").disconnect();
    });
}

/// The broker asks again about every session at SIGHUP. What the plugin answers then must not open a window for
/// those who come at that moment (S21).
fn logins_right_after_sighup_are_checked(install: &Install) {
    install.with(&Setup::policy(OLD), |broker| {
        let mut clients = connected(broker);
        for _ in 0..20 {
            broker.hang_up();
            for version in VERSIONS {
                broker.assert_refused(&Connect::new(version, "alice").username("alice").password("wrong"));
                broker.assert_refused(&Connect::new(version, "alice").username("alice"));
                broker.assert_refused(&Connect::new(version, "alice-3-0").username("bob").password(PASSWORD));
                broker.assert_refused(&Connect::new(version, "nobody"));
                broker.assert_refused(&Connect::new(version, "mallory").username("mallory").password("x"));
            }
        }
        assert_undisturbed(broker, &mut clients);
    });
}

/// 2.0 forgets its `auto-` at SIGHUP, and makes bare UUIDs from then on.
fn ids_that_the_broker_makes_are_admitted_after_sighup(install: &Install) {
    install.with(&Setup::policy(OLD), |broker| {
        for _ in 0..3 {
            for version in [V311, V5] {
                let mut nameless = broker.client(version, "alice", "");
                assert_eq!(nameless.subscribe("old/#"), Ok(1));
                assert_eq!(nameless.publish(&Publish::new("old/x", "x")), Ok(0));
                assert_eq!(nameless.topics(), ["old/x"]);
            }
            broker.reload(OLD);
        }
    });
}

fn a_burst_of_sighups_is_survived(install: &Install) {
    install.with(&Setup::policy(OLD), |broker| {
        let mut clients = connected(broker);
        for round in 0..20 {
            broker.write_policy(if round % 2 == 0 { NEW } else { OLD });
            broker.hang_up();
        }
        broker.reload(OLD);
        assert_undisturbed(broker, &mut clients);
    });
}
