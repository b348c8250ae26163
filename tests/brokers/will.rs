//! Wills: published when due only where their author may, and never the broker's end.

use crate::support::broker::{Broker, Install, PASSWORD, Setup};
use crate::support::mqtt::{Client, Connect, Publish, V5, V31, V311};

crate::tests![
    an_allowed_will_is_published,
    a_denied_will_is_suppressed,
    a_will_of_a_refused_connection_is_never_published,
    a_delayed_will_is_checked_when_due,
    a_will_at_takeover_is_checked,
    a_will_is_checked_against_the_policy_in_force,
    a_will_to_control_topics_is_harmless,
];

const VERSIONS: [u8; 3] = [V31, V311, V5];

fn watcher(broker: &Broker, id: &str, filter: &str) -> Client {
    let mut watcher = broker.client(V5, "mqttuser", id);
    assert_eq!(watcher.subscribe(filter), Ok(1));
    watcher
}

fn with_will(version: u8, id: &str, topic: &str) -> Connect {
    let will = Publish::new(topic, "gone");
    Connect::new(version, id).username("alice").password(PASSWORD).will(will)
}

/// Ends the connection as a broken network does, and waits until the broker has noticed.
fn break_off(broker: &Broker, client: Client, id: &str) {
    let start = broker.log_len();
    drop(client);
    broker.wait_log(
        start,
        |line| line.contains(id) && (line.contains("closed") || line.contains("disconnected")),
        "the end of a client",
    );
}

fn an_allowed_will_is_published(install: &Install) {
    let broker = install.reference();
    let mut watcher = watcher(broker, "mqttuser-wills", "own/alice/will/+");
    for version in VERSIONS {
        let (id, topic) = (format!("alice-will-{version}"), format!("own/alice/will/{version}"));
        drop(broker.client_with(&with_will(version, &id, &topic)));
        // DISCONNECT comes before the check of the will in every version (contract 0.8).
        assert_eq!(watcher.next_message().topic, topic);
        broker.client_with(&with_will(version, &id, &topic)).disconnect();
        assert_eq!(watcher.topics(), [""; 0], "a will after DISCONNECT");
    }
}

/// S15: the broker cannot refuse it at CONNECT.
fn a_denied_will_is_suppressed(install: &Install) {
    install.with(&Setup::policy(include_str!("policy.toml")), |broker| {
        let mut watcher = watcher(broker, "mqttuser", "own/bob/will/#");
        for version in VERSIONS {
            for qos in 0..=2 {
                // Levels without a digit, for the log counts numbered topics as one.
                let [version_level, qos_level] = [version, qos].map(|number| char::from(b'a' + number));
                let topic = format!("own/bob/will/{version_level}/{qos_level}");
                let mut connect = with_will(version, "alice", &topic);
                connect.will = Some(Publish::new(&topic, "forged").qos(qos).retain());
                drop(broker.client_with(&connect));
                let refused = |line: &str| line.contains("refused") && line.contains(&topic);
                broker.wait_log(0, refused, "the refused will");
            }
        }
        assert_eq!(watcher.topics(), [""; 0]);
        assert_eq!(watcher.subscribe("own/bob/+/+/+"), Ok(1));
        assert_eq!(watcher.topics(), [""; 0], "a refused will was retained");
    });
}

fn a_will_of_a_refused_connection_is_never_published(install: &Install) {
    let broker = install.reference();
    let mut watcher = watcher(broker, "mqttuser-refused-wills", "own/alice/refused-will");
    for version in VERSIONS {
        let will = with_will(version, "alice-refused-will", "own/alice/refused-will");
        broker.assert_refused(&will.clone().password("wrong"));
        broker.assert_refused(&Connect { client_id: b"bob".to_vec(), ..will.clone() });
        broker.assert_refused(&will.username("bob"));
    }
    let mut method = with_will(V5, "alice-method", "own/alice/refused-will");
    method.authentication_method = Some("PLAIN".to_owned());
    assert_eq!(broker.try_client(&method).1, Ok((false, 0x8c)));
    assert_eq!(watcher.topics(), [""; 0]);
}

fn a_delayed_will_is_checked_when_due(install: &Install) {
    let broker = install.reference();
    let mut watcher = watcher(broker, "mqttuser-delayed-wills", "own/+/delayed");
    for (id, topic) in [("alice-delayed-0", "own/bob/delayed"), ("alice-delayed-1", "own/alice/delayed")] {
        let mut connect = with_will(V5, id, topic).persistent(60);
        connect.will_delay = 1;
        break_off(broker, broker.client_with(&connect), id);
    }
    // The refused one was due first.
    assert_eq!(watcher.next_message().topic, "own/alice/delayed");
    assert_eq!(watcher.topics(), [""; 0]);
}

fn a_will_at_takeover_is_checked(install: &Install) {
    let broker = install.reference();
    let mut watcher = watcher(broker, "mqttuser-taken-wills", "own/+/taken");
    for topic in ["own/bob/taken", "own/alice/taken"] {
        let mut first = broker.client_with(&with_will(V311, "alice-taken", topic));
        let second = broker.client_with(&Connect::new(V311, "alice-taken").username("alice").password(PASSWORD));
        first.closed();
        second.disconnect();
    }
    assert_eq!(watcher.topics(), ["own/alice/taken"]);
}

fn a_will_is_checked_against_the_policy_in_force(install: &Install) {
    let policy = |topic: &str| {
        format!(
            r##"version = 1
            [users.alice]
            publish   = ["{topic}"]
            password  = "{{password}}"
            [users.mqttuser]
            subscribe = ["#"]
            password  = "{{password}}""##
        )
    };
    install.with(&Setup::policy(&policy("w/old")), |broker| {
        let mut watcher = watcher(broker, "mqttuser", "#");
        let old = broker.client_with(&with_will(V311, "alice-old", "w/old"));
        let new = broker.client_with(&with_will(V311, "alice-new", "w/new"));
        broker.reload(&policy("w/new"));
        drop((old, new));
        assert_eq!(watcher.next_message().topic, "w/new");
        broker.client(V311, "alice", "alice").disconnect();
        assert_eq!(watcher.topics(), [""; 0]);
    });
}

/// Refused at CONNECT by 2.0.21 and 2.1; 2.0.11 takes it for an ordinary one, and the plugin suppresses it.
fn a_will_to_control_topics_is_harmless(install: &Install) {
    install.with(&Setup::policy(include_str!("policy.toml")), |broker| {
        let topic = "$CONTROL/dynamic-security/v1";
        let connect = with_will(V5, "mqttuser", topic).username("mqttuser");
        let (client, answer) = broker.try_client(&connect);
        drop(client);
        assert_eq!(matches!(answer, Ok((_, 0))), !install.is_at_least("2.0.21"), "{answer:?}");
        if answer.is_ok_and(|(_, code)| code == 0) {
            let refused = |line: &str| line.contains("refused") && line.contains(topic);
            broker.wait_log(0, refused, "the refused will");
        }
    });
}
