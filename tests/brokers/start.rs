//! How the broker starts, or does not.

use crate::support::broker::{Broker, Install, PASSWORD, Setup};
use crate::support::mqtt::{Connect, V5, V31, V311};

crate::tests![
    a_missing_policy_denies_everything,
    an_empty_policy_denies_everything,
    an_invalid_policy_stops_the_start,
    a_policy_that_others_may_write_stops_the_start,
    a_policy_whose_tests_fail_stops_the_start,
    an_unknown_option_stops_the_start,
    the_policy_in_force_is_logged,
];

const POLICY: &str = "version = 1\n[users.alice]\npassword = \"{password}\"\n";

fn assert_denies_everything(install: &Install, setup: &Setup) {
    install.with(setup, |broker| {
        for version in [V31, V311, V5] {
            broker.assert_refused(&Connect::new(version, "alice").username("alice").password(PASSWORD));
            broker.assert_refused(&Connect::new(version, "x"));
        }
        assert!(broker.log_text().contains("mqtt-acl"), "nothing in the log:\n{}", broker.log_text());
        broker.reload(POLICY);
        broker.client(V311, "alice", "alice").disconnect();
    });
}

/// The broker must not run, and must say why.
fn assert_does_not_start(install: &Install, setup: &Setup, why: &str) {
    let (status, log) = Broker::refusing(install, setup);
    assert!(!status.success(), "{log}");
    assert!(log.lines().any(|line| line.contains("mqtt-acl") && line.contains(why)), "no {why:?} in:\n{log}");
}

/// S17: the emergency stop.
fn a_missing_policy_denies_everything(install: &Install) {
    assert_denies_everything(install, &Setup::policy("").without_policy());
    let anonymous = Setup::policy("").without_policy().setting("allow_anonymous true");
    assert_denies_everything(install, &anonymous);
}

/// CVE-2018-12550: an empty acl_file once allowed everything.
fn an_empty_policy_denies_everything(install: &Install) {
    for empty in ["", "\n", "# nothing\n"] {
        assert_denies_everything(install, &Setup::policy(empty));
    }
}

fn an_invalid_policy_stops_the_start(install: &Install) {
    let bad = format!("{POLICY}publsh = [\"x\"]\n");
    assert_does_not_start(install, &Setup::policy(&bad), "policy.toml:4:1");
    assert_does_not_start(install, &Setup::policy("version = 1\n[users"), "policy.toml:2:");
    assert_does_not_start(install, &Setup::policy("version = 2\n"), "policy.toml:1:");
    let plain = "version = 1\n[users.alice]\npassword = \"sesame\"\n";
    assert_does_not_start(install, &Setup::policy(plain), "policy.toml:3:");
}

fn a_policy_that_others_may_write_stops_the_start(install: &Install) {
    assert_does_not_start(install, &Setup::policy(POLICY).policy_mode(0o666), "policy.toml");
}

fn a_policy_whose_tests_fail_stops_the_start(install: &Install) {
    let failing = format!("{POLICY}[[test]]\nuser = \"alice\"\ncan = {{ publish = [\"x\"] }}\n");
    assert_does_not_start(install, &Setup::policy(&failing), "policy.toml:");
}

fn an_unknown_option_stops_the_start(install: &Install) {
    for option in ["polcy_file /etc/x", "POLICY_FILE /etc/x", "debug true"] {
        let conf = format!("listener {{port}} 127.0.0.1\nplugin {{plugin}}\nplugin_opt_{option}\n");
        let key = option.split(' ').next().expect("a word");
        assert_does_not_start(install, &Setup::conf(&conf).with_policy(POLICY), key);
    }
}

fn the_policy_in_force_is_logged(install: &Install) {
    install.with(&Setup::policy(POLICY), |broker| {
        broker.wait_log(0, |line| line.contains("mqtt-acl: policy in force: "), "the policy in force");
    });
}
