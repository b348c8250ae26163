//! PUBLISH: what a refusal looks like in each version, and that it costs nobody the connection.

use crate::support::broker::{Broker, Install, PASSWORD};
use crate::support::mqtt::{Connect, NOT_AUTHORIZED, Publish, V5, V31, V311};

crate::tests![
    an_allowed_publish_is_delivered,
    a_refused_publish_is_dropped_and_the_publisher_stays,
    a_refused_retained_message_is_not_kept,
    deny_wins_over_allow,
    names_with_meaning_gain_nothing,
    a_name_that_looks_like_a_template_is_only_itself,
    control_topics_are_out_of_reach_of_wildcards,
    system_topics_are_out_of_reach_of_wildcards,
    share_topics_cannot_be_published,
    levels_are_compared_exactly,
];

const VERSIONS: [u8; 3] = [V31, V311, V5];

/// The code of a refused publish: only MQTT 5 has one, and none for QoS 0.
fn refused(version: u8, qos: u8) -> u8 {
    if version == V5 && qos > 0 { NOT_AUTHORIZED } else { 0 }
}

fn watcher(broker: &Broker, id: &str, filter: &str) -> crate::support::mqtt::Client {
    let mut watcher = broker.client(V5, "mqttuser", id);
    assert_eq!(watcher.subscribe(filter), Ok(1));
    watcher
}

fn an_allowed_publish_is_delivered(install: &Install) {
    let broker = install.reference();
    for version in VERSIONS {
        let mut watcher = watcher(broker, "mqttuser-allowed", "own/alice/allowed");
        let mut alice = broker.client(version, "alice", &format!("alice-allowed-{version}"));
        for qos in 0..=2 {
            assert_eq!(alice.publish(&Publish::new("own/alice/allowed", [qos]).qos(qos)), Ok(0));
        }
        let payloads: Vec<_> = watcher.received().into_iter().map(|message| message.payload).collect();
        assert_eq!(payloads, [[0], [1], [2]]);
    }
}

fn a_refused_publish_is_dropped_and_the_publisher_stays(install: &Install) {
    let broker = install.reference();
    for version in VERSIONS {
        let mut watcher = watcher(broker, &format!("mqttuser-refused-{version}"), "own/bob/refused");
        let mut alice = broker.client(version, "alice", &format!("alice-refused-{version}"));
        for qos in 0..=2 {
            for retain in [false, true] {
                let mut publish = Publish::new("own/bob/refused", "x").qos(qos);
                publish.retain = retain;
                assert_eq!(alice.publish(&publish), Ok(refused(version, qos)), "QoS {qos}");
            }
        }
        assert_eq!(alice.publish(&Publish::new("own/alice/refused", "x")).map(|code| code & 0x80), Ok(0));
        assert_eq!(watcher.topics(), [""; 0]);
    }
}

fn a_refused_retained_message_is_not_kept(install: &Install) {
    let broker = install.reference();
    let mut alice = broker.client(V311, "alice", "alice-retained");
    assert_eq!(alice.publish(&Publish::new("own/bob/retained", "x").retain()), Ok(0));
    assert_eq!(watcher(broker, "mqttuser-retained", "own/bob/retained").topics(), [""; 0]);
}

fn deny_wins_over_allow(install: &Install) {
    let broker = install.reference();
    let mut user = broker.client(V5, "holes", "holes-publish");
    let mut watcher = watcher(broker, "mqttuser-deny", "ho/#");
    for (topic, code) in [("ho/deny/stop", NOT_AUTHORIZED), ("ho/deny/stops", 0), ("ho/stop", 0), ("ho/deny/stop/x", 0)]
    {
        assert_eq!(user.publish(&Publish::new(topic, "x")), Ok(code), "{topic}");
    }
    let topics = watcher.topics();
    assert!(!topics.iter().any(|topic| topic == "ho/deny/stop"), "{topics:?}");
}

/// S12: a name that means something to MQTT matches no template, so its holder has no rights at all (CVE-2017-7650).
fn names_with_meaning_gain_nothing(install: &Install) {
    let broker = install.reference();
    for name in ["+", "#", "a/b", "$SYS"] {
        // Its own name is no client id it could have.
        broker.assert_refused(&Connect::new(V5, name).username(name).password(PASSWORD));
        let mut user = broker.client(V5, name, "");
        for topic in ["own/alice/x", "own/x", "own/a/b", "own/a/b/c", "own/$SYS/x", "own/%u/x", "own//x", "own"] {
            assert_eq!(user.publish(&Publish::new(topic, "x")), Ok(NOT_AUTHORIZED), "{name}: {topic}");
        }
        for filter in ["own/+/#", "own/#", "#", "own/alice/#", "own/a/b/#", "own/$SYS/#", "$SYS/#", "own/+/x"] {
            assert_eq!(user.subscribe(filter), Ok(NOT_AUTHORIZED), "{name}: {filter}");
        }
    }
}

fn a_name_that_looks_like_a_template_is_only_itself(install: &Install) {
    let mut user = install.reference().client(V5, "%u", "%u");
    assert_eq!(user.subscribe("own/%u/#"), Ok(1));
    assert_eq!(user.publish(&Publish::new("own/%u/x", "x")), Ok(0));
    assert_eq!(user.subscribe("own/alice/#"), Ok(NOT_AUTHORIZED));
    assert_eq!(user.publish(&Publish::new("own/alice/x", "x")), Ok(NOT_AUTHORIZED));
}

/// S11: `#` does not begin with `$`.
fn control_topics_are_out_of_reach_of_wildcards(install: &Install) {
    let mut operator = install.reference().client(V5, "mqttuser", "mqttuser-control");
    for topic in ["$CONTROL/dynamic-security/v1", "$CONTROL/mqtt-acl/v1", "$CONTROL", "$x", "$"] {
        assert_eq!(operator.publish(&Publish::new(topic, "{}")), Ok(NOT_AUTHORIZED), "{topic}");
    }
}

fn system_topics_are_out_of_reach_of_wildcards(install: &Install) {
    let mut operator = install.reference().client(V5, "mqttuser", "mqttuser-system");
    for qos in [1, 2] {
        let code = operator.publish(&Publish::new("$SYS/broker/version", "forged").qos(qos).retain());
        assert_eq!(code, Ok(NOT_AUTHORIZED));
    }
}

/// The broker itself refuses these, without asking.
fn share_topics_cannot_be_published(install: &Install) {
    let mut operator = install.reference().client(V5, "mqttuser", "mqttuser-share");
    assert_eq!(operator.publish(&Publish::new("$share/g/own/alice/x", "x")), Ok(NOT_AUTHORIZED));
}

fn levels_are_compared_exactly(install: &Install) {
    let mut alice = install.reference().client(V5, "alice", "alice-levels");
    for topic in
        ["own/alice2/x", "own/alic/x", "own/Alice/x", "own//alice/x", "/own/alice/x", "own/alice ", "ownalice/x"]
    {
        assert_eq!(alice.publish(&Publish::new(topic, "x")), Ok(NOT_AUTHORIZED), "{topic}");
    }
    for topic in ["own/alice", "own/alice/", "own/alice//", "own/alice/a/b/c"] {
        assert_eq!(alice.publish(&Publish::new(topic, "x")).map(|code| code & 0x80), Ok(0), "{topic}");
    }
}
