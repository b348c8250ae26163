//! READ: every delivery is checked, whatever was subscribed before.

use crate::support::broker::{Broker, Install, Setup};
use crate::support::mqtt::{Client, NOT_AUTHORIZED, Publish, V5, V31, V311};

crate::tests![
    a_subscription_that_outlives_its_right_delivers_nothing,
    a_denied_delivery_does_not_disturb_the_publisher,
    a_retained_message_is_delivered_by_right,
    a_retained_message_needs_its_publisher_to_keep_its_right,
    queued_messages_are_checked_at_their_delivery,
    a_right_that_comes_back_delivers_again,
];

const BOTH: &str = r##"
version = 1
[users.reader]
subscribe = ["a/#", "b/#"]
password  = "{password}"
[users.writer]
publish   = ["#"]
password  = "{password}"
"##;

const ONLY_A: &str = r##"
version = 1
[users.reader]
subscribe = ["a/#"]
password  = "{password}"
[users.writer]
publish   = ["#"]
password  = "{password}"
"##;

const SILENT_WRITER: &str = r##"
version = 1
[users.reader]
subscribe = ["a/#", "b/#"]
password  = "{password}"
[users.writer]
password  = "{password}"
"##;

fn subscribed(broker: &Broker, version: u8) -> Client {
    let mut reader = broker.client(version, "reader", &format!("reader-{version}"));
    assert_eq!(reader.subscribe_all(&["a/#", "b/#"], 2), Ok(vec![2, 2]));
    reader
}

fn send(writer: &mut Client, topic: &str) {
    for qos in 0..=2 {
        assert_eq!(writer.publish(&Publish::new(topic, "x").qos(qos)).map(|code| code & 0x80), Ok(0));
    }
}

fn a_subscription_that_outlives_its_right_delivers_nothing(install: &Install) {
    install.with(&Setup::policy(BOTH), |broker| {
        let mut readers = [V31, V311, V5].map(|version| subscribed(broker, version));
        let mut writer = broker.client(V5, "writer", "writer");
        broker.reload(ONLY_A);
        send(&mut writer, "a/1");
        send(&mut writer, "b/1");
        for reader in &mut readers {
            // Whoever lost a right may be disconnected; what it gets until then is what it may read.
            if reader.ping().is_ok() {
                assert!(reader.topics().iter().all(|topic| topic == "a/1"));
            }
        }
        let mut reader = broker.client(V5, "reader", "reader");
        assert_eq!(reader.subscribe_all(&["a/#", "b/#"], 1), Ok(vec![1, NOT_AUTHORIZED]));
        assert_eq!(writer.ping(), Ok(()), "the publisher is disturbed");
    });
}

/// Any other answer than 0 or 12 would cost the publisher its connection (contract 3.2).
fn a_denied_delivery_does_not_disturb_the_publisher(install: &Install) {
    let broker = install.reference();
    let mut lenient = broker.client(V311, "lenient", "lenient-denied");
    assert_eq!(lenient.subscribe("#"), Ok(1));
    for version in [V31, V311, V5] {
        let mut bob = broker.client(version, "bob", &format!("bob-denied-{version}"));
        send(&mut bob, "own/bob/denied");
        assert_eq!(bob.ping(), Ok(()));
    }
    let topics = lenient.topics();
    assert!(topics.iter().all(|topic| topic.starts_with("le/")), "{topics:?}");
}

fn a_retained_message_is_delivered_by_right(install: &Install) {
    let broker = install.reference();
    let mut operator = broker.client(V5, "mqttuser", "mqttuser-keeps");
    for topic in ["le/x", "le/hidden", "own/bob/kept"] {
        assert_eq!(operator.publish(&Publish::new(topic, "kept").retain()).map(|code| code & 0x80), Ok(0));
    }
    operator.disconnect();
    for version in [V31, V311, V5] {
        let mut lenient = broker.client(version, "lenient", &format!("lenient-kept-{version}"));
        assert_eq!(lenient.subscribe("#"), Ok(1));
        let kept = lenient.received().into_iter().filter(|message| message.retain);
        assert_eq!(kept.map(|message| message.topic).collect::<Vec<_>>(), ["le/x"]);
        let mut bob = broker.client(version, "bob", &format!("bob-kept-{version}"));
        assert_eq!(bob.subscribe("own/bob/+"), Ok(1));
        assert!(bob.topics().contains(&"own/bob/kept".to_owned()));
    }
    let mut operator = broker.client(V5, "mqttuser", "mqttuser-keeps");
    for topic in ["le/x", "le/hidden", "own/bob/kept"] {
        let _ = operator.publish(&Publish::new(topic, "").retain());
    }
}

/// `check_retain_source`: the broker asks about the publisher, who is long gone, with a client made on its stack
/// (contract 3.1). It is the default, and said here all the same.
fn a_retained_message_needs_its_publisher_to_keep_its_right(install: &Install) {
    let setup = Setup::policy(BOTH).setting("check_retain_source true");
    install.with(&setup, |broker| {
        let mut writer = broker.client(V311, "writer", "writer");
        assert_eq!(writer.publish(&Publish::new("a/kept", "x").retain()), Ok(0));
        writer.disconnect();
        // An id that the broker made is bound to nobody, and must not count against its user later.
        let mut nameless = broker.client(V311, "writer", "");
        assert_eq!(nameless.publish(&Publish::new("b/kept", "x").retain()), Ok(0));
        nameless.disconnect();
        for policy in [BOTH, SILENT_WRITER, BOTH] {
            broker.reload(policy);
            let mut reader = broker.client(V311, "reader", "reader");
            assert_eq!(reader.subscribe_all(&["a/#", "b/#"], 1), Ok(vec![1, 1]));
            let expected: &[&str] = if policy == BOTH { &["a/kept", "b/kept"] } else { &[] };
            assert_eq!(reader.topics(), expected);
        }
    });
}

fn queued_messages_are_checked_at_their_delivery(install: &Install) {
    install.with(&Setup::policy(BOTH), |broker| {
        let connect = |version: u8| {
            let id = format!("reader-queue-{version}");
            let connect = crate::support::mqtt::Connect::new(version, id).persistent(600);
            connect.username("reader").password(crate::support::broker::PASSWORD)
        };
        for version in [V31, V311, V5] {
            let mut reader = broker.client_with(&connect(version));
            assert_eq!(reader.subscribe_all(&["a/#", "b/#"], 1), Ok(vec![1, 1]));
            reader.disconnect();
        }
        let mut writer = broker.client(V5, "writer", "writer");
        for topic in ["a/queued", "b/queued"] {
            assert_eq!(writer.publish(&Publish::new(topic, "x")), Ok(0));
        }
        broker.reload(ONLY_A);
        for version in [V31, V311, V5] {
            let mut reader = broker.client_with(&connect(version));
            assert!(reader.topics().iter().all(|topic| topic == "a/queued"));
        }
    });
}

fn a_right_that_comes_back_delivers_again(install: &Install) {
    install.with(&Setup::policy(ONLY_A), |broker| {
        broker.reload(BOTH);
        let mut reader = subscribed(broker, V311);
        let mut writer = broker.client(V311, "writer", "writer");
        send(&mut writer, "b/back");
        assert_eq!(reader.topics().len(), 3);
    });
}
