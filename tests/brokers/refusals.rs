//! A log that answers: what was refused, of whom, why, and how often (S15, S32).

use crate::support::broker::{Broker, Install, PASSWORD, Setup};
use crate::support::mqtt::{Connect, NOT_AUTHORIZED, Publish, V5, V31, V311};

crate::tests![
    the_same_again_is_counted,
    other_kinds_have_lines_of_their_own,
    wills_are_named_as_such,
    what_a_client_publishes_is_no_will,
    a_delayed_will_is_named_as_such,
    nothing_is_logged_about_the_log_itself,
];

const POLICY: &str = r##"
version = 1
[users.alice]
publish   = ["own/alice/#"]
subscribe = ["own/alice/#"]
deny      = { publish = ["own/alice/no/#"] }
password  = "{password}"
[users.bob]
publish   = ["own/bob/#"]
password  = "{password}"
"##;

const VERSIONS: [u8; 3] = [V31, V311, V5];

fn with_policy(install: &Install, test: impl FnOnce(&Broker)) {
    install.with(&Setup::policy(POLICY), test);
}

/// All lines about refusals so far.
fn refusals(broker: &Broker) -> Vec<String> {
    broker.log_text().lines().filter(|line| line.contains("mqtt-acl: refused")).map(str::to_owned).collect()
}

fn wait_for(broker: &Broker, parts: &[&str]) -> String {
    broker.wait_log(0, |line| parts.iter().all(|part| line.contains(part)), &parts.join(" ... "))
}

fn the_same_again_is_counted(install: &Install) {
    with_policy(install, |broker| {
        let mut alice = broker.client(V5, "alice", "alice-1");
        for number in 0..1_235 {
            let topic = format!("own/bob/{number}/x");
            assert_eq!(alice.publish(&Publish::new(topic, "x")), Ok(NOT_AUTHORIZED));
        }
        let line =
            wait_for(broker, &["mqtt-acl: refused publish: no rule grants it; address 127.0.0.1, user \"alice\""]);
        assert!(
            line.contains("client \"alice-1\", topic \"own/bob/0/x\"; differs from user `alice` publish"),
            "{line}"
        );
        assert_eq!(refusals(broker).len(), 1, "{:#?}", refusals(broker));
        broker.reload(&format!("{POLICY}\n# changed\n"));
        let line = wait_for(
            broker,
            &["mqtt-acl: refused publish 1,234 times in ", " s: no rule grants it; address 127.0.0.1"],
        );
        assert!(line.contains("client \"alice-1\", topic \"own/bob/0/x\" or the like"), "{line}");
        // The new policy has reasons of its own.
        assert_eq!(alice.publish(&Publish::new("own/bob/7/x", "x")), Ok(NOT_AUTHORIZED));
        wait_for(broker, &["refused publish: no rule", "own/bob/7/x"]);
        assert_eq!(refusals(broker).len(), 3, "{:#?}", refusals(broker));
    });
}

fn other_kinds_have_lines_of_their_own(install: &Install) {
    with_policy(install, |broker| {
        let rule = POLICY.lines().position(|line| line.contains("own/alice/no")).expect("the rule") + 1;
        for id in ["alice", "alice-2"] {
            let mut alice = broker.client(V5, "alice", id);
            for _ in 0..3 {
                for topic in ["own/bob/a", "own/bob/b", "own/alice/no/1"] {
                    assert_eq!(alice.publish(&Publish::new(topic, "x")), Ok(NOT_AUTHORIZED));
                }
                assert_eq!(alice.subscribe("own/bob/a"), Ok(NOT_AUTHORIZED));
                assert_eq!(alice.subscribe("#"), Ok(NOT_AUTHORIZED));
            }
            let id = format!("client \"{id}\", ");
            wait_for(broker, &["refused publish: denied by", &format!("policy.toml:{rule}"), &id, "own/alice/no/1"]);
            wait_for(broker, &["refused subscribe: only a part", "own/alice/#", "policy.toml:", &id, "topic \"#\""]);
            wait_for(broker, &["refused subscribe: no rule", &id, "own/bob/a"]);
        }
        assert_eq!(refusals(broker).len(), 10, "{:#?}", refusals(broker));
    });
}

fn with_will(version: u8, id: &str, topic: &str) -> Connect {
    Connect::new(version, id).username("alice").password(PASSWORD).will(Publish::new(topic, "gone"))
}

/// S15: of those whose connection broke off, that were taken over, and that broke the protocol.
fn wills_are_named_as_such(install: &Install) {
    with_policy(install, |broker| {
        for version in VERSIONS {
            for (way, number) in [("dropped", 0), ("taken", 1), ("breach", 2)] {
                let (id, topic) = (format!("alice-{way}-{version}"), format!("own/{way}/v{version}"));
                let connect = with_will(version, &id, &topic);
                let mut client = broker.client_with(&connect);
                // It may be at the place of one that ended before.
                assert!(client.publish(&Publish::new(format!("own/before/{way}"), "x")).is_ok());
                match number {
                    0 => drop(client),
                    1 => drop(broker.client_with(&Connect::new(version, &id).username("alice").password(PASSWORD))),
                    _ => client.send(&[0xf0, 0xff, 0xff, 0xff, 0xff, 0xff]),
                }
                wait_for(broker, &["mqtt-acl: refused will: no rule", &format!("client \"{id}\""), &topic]);
                wait_for(broker, &["mqtt-acl: refused publish: no rule", &format!("client \"{id}\""), "own/before"]);
            }
        }
        assert!(!refusals(broker).iter().any(|line| line.contains("or will")), "{:#?}", refusals(broker));
    });
}

/// The broker uses the memory of clients that are gone for those that come.
fn what_a_client_publishes_is_no_will(install: &Install) {
    with_policy(install, |broker| {
        for number in 0..30 {
            let (version, id) = (VERSIONS[number % 3], format!("alice-{}", number % 2));
            let mut alice = broker.client(version, "alice", &id);
            assert!(alice.publish(&Publish::new("own/bob/x", "x")).is_ok());
            if number % 4 == 0 { drop(alice) } else { alice.disconnect() }
        }
        broker.reload(&format!("{POLICY}\n# changed\n"));
        let lines = refusals(broker);
        assert!(lines.len() >= 2 && lines.iter().all(|line| line.contains("refused publish")), "{lines:#?}");
    });
}

fn a_delayed_will_is_named_as_such(install: &Install) {
    with_policy(install, |broker| {
        let mut connect = with_will(V5, "alice-delayed", "own/bob/delayed").persistent(60);
        connect.will_delay = 1;
        let mut client = broker.client_with(&connect);
        assert_eq!(client.subscribe("own/alice/#"), Ok(1));
        drop(client);
        wait_for(broker, &["mqtt-acl: refused will: no rule", "alice-delayed", "own/bob/delayed"]);
    });
}

/// Each line would be a message to whoever asks, and a refusal in turn.
fn nothing_is_logged_about_the_log_itself(install: &Install) {
    let setup = Setup::policy(POLICY).setting("log_dest topic");
    install.with(&setup, |broker| {
        let mut alice = broker.client(V5, "alice", "alice");
        assert_eq!(alice.subscribe("$SYS/broker/log/#"), Ok(NOT_AUTHORIZED));
        assert_eq!(alice.publish(&Publish::new("own/bob/x", "x")), Ok(NOT_AUTHORIZED));
        wait_for(broker, &["refused publish"]);
        assert_eq!(refusals(broker).len(), 1, "{:#?}", refusals(broker));
    });
}
