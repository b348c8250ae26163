//! What the broker's log says of a refusal.

use crate::support::broker::{Broker, Install, PASSWORD, Setup};
use crate::support::mqtt::{Connect, NOT_AUTHORIZED, Publish, V5, V311};

crate::tests![
    a_refusal_is_logged_with_its_reason,
    a_refused_client_id_is_logged_with_those_that_are_accepted,
    names_cannot_forge_the_log,
    refusals_do_not_flood_the_log,
    refused_deliveries_are_not_logged,
    secrets_are_not_logged,
];

fn with_reference(install: &Install, test: impl FnOnce(&Broker)) {
    install.with(&Setup::policy(include_str!("policy.toml")), test);
}

/// The first line from there on that tells of a refusal and holds this.
fn refusal(broker: &Broker, start: usize, holds: &str) -> String {
    broker.wait_log(start, |line| line.contains("mqtt-acl: refused") && line.contains(holds), holds)
}

fn a_refusal_is_logged_with_its_reason(install: &Install) {
    with_reference(install, |broker| {
        broker.assert_refused(&Connect::new(V311, "alice").username("alice").password("wrong"));
        refusal(broker, 0, "\"alice\"");
        broker.assert_refused(&Connect::new(V311, "mallory").username("mallory").password("wrong"));
        refusal(broker, 0, "\"mallory\"");
        broker.assert_refused(&Connect::new(V311, "nobody"));
        refusal(broker, 0, "\"nobody\"");

        let mut holes = broker.client(V5, "holes", "holes");
        assert_eq!(holes.publish(&Publish::new("elsewhere", "x")), Ok(NOT_AUTHORIZED));
        refusal(broker, 0, "\"elsewhere\"");
        assert_eq!(holes.subscribe("#"), Ok(NOT_AUTHORIZED));
        refusal(broker, 0, "\"#\"");
        // The rule that denies is named with its place.
        assert_eq!(holes.publish(&Publish::new("ho/x/stop", "x")), Ok(NOT_AUTHORIZED));
        let line = refusal(broker, 0, "\"ho/x/stop\"");
        let rule = include_str!("policy.toml").lines().position(|line| line.contains("ho/+/stop")).expect("the rule");
        assert!(line.contains(&format!("policy.toml:{}", rule + 1)), "{line}");
        assert!(line.contains("127.0.0.1"), "{line}");
    });
}

/// S34.
fn a_refused_client_id_is_logged_with_those_that_are_accepted(install: &Install) {
    with_reference(install, |broker| {
        broker.assert_refused(&Connect::new(V311, "sensor").username("alice").password(PASSWORD));
        let line = refusal(broker, 0, "\"sensor\"");
        assert!(line.contains("alice-*"), "{line}");
    });
}

/// S32.
fn names_cannot_forge_the_log(install: &Install) {
    with_reference(install, |broker| {
        let forged = "x\"; address 10.0.0.1, user \"mqttuser\\";
        broker.assert_refused(&Connect::new(V311, forged).username(forged).password("x"));
        let line = refusal(broker, 0, "10.0.0.1");
        let (address, name) = (line.find("127.0.0.1"), line.find("10.0.0.1"));
        assert!(address < name, "the address comes first: {line}");
        assert!(!line.contains(forged), "not escaped: {line}");

        let start = broker.log_len();
        let long = "x".repeat(10_000);
        broker.assert_refused(&Connect::new(V311, "x").username(&long).password("x"));
        let line = refusal(broker, start, "xxx");
        assert!(line.len() < 1_000 && line.contains("127.0.0.1"), "{line}");
    });
}

/// A client must not be able to fill the disk.
fn refusals_do_not_flood_the_log(install: &Install) {
    with_reference(install, |broker| {
        let mut alice = broker.client(V5, "alice", "alice");
        for number in 0..2_000 {
            assert_eq!(alice.publish(&Publish::new(format!("flood/{number}"), "x")), Ok(NOT_AUTHORIZED));
        }
        // The rest is told when the minute is over, or by a new policy.
        broker.reload(&format!("{}\n# changed\n", include_str!("policy.toml")));
        let counted = |line: &str| line.contains("mqtt-acl: refused publish") && line.contains("times in");
        broker.wait_log(0, counted, "how many there were");
        let text = broker.log_text();
        let lines: Vec<_> = text.lines().filter(|line| line.contains("mqtt-acl: refused publish")).collect();
        let counts = lines.iter().filter_map(|line| line.split("publish ").nth(1)?.split(" times in").next());
        let sum: usize = counts.filter_map(|count| count.replace(',', "").parse::<usize>().ok()).sum();
        assert!(lines.len() < 10 && sum == 1_999, "{sum} of 2,000 in {} lines: {lines:#?}", lines.len());
    });
}

/// S32: there is one for every message and subscriber.
fn refused_deliveries_are_not_logged(install: &Install) {
    with_reference(install, |broker| {
        let mut lenient = broker.client(V311, "lenient", "lenient");
        assert_eq!(lenient.subscribe("#"), Ok(1));
        let mut bob = broker.client(V311, "bob", "bob");
        for _ in 0..10 {
            assert_eq!(bob.publish(&Publish::new("own/bob/x", "x")), Ok(0));
        }
        assert_eq!(lenient.topics(), [""; 0]);
        assert!(!broker.log_text().contains("mqtt-acl: refused"));
    });
}

fn secrets_are_not_logged(install: &Install) {
    with_reference(install, |broker| {
        broker.assert_refused(&Connect::new(V311, "alice").username("alice").password("hunter2"));
        broker.client(V311, "alice", "alice").disconnect();
        let text = broker.log_text();
        assert!(!text.contains("hunter2") && !text.contains(PASSWORD) && !text.contains("$argon2id$v"), "{text}");
    });
}
