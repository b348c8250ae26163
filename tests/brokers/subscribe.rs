//! SUBSCRIBE and UNSUBSCRIBE: granted exactly when everything that the filter matches may be read.

use crate::support::broker::Install;
use crate::support::mqtt::{FAILURE_3, Gone, NOT_AUTHORIZED, Publish, V5, V31, V311};

crate::tests![
    each_filter_is_answered_by_itself,
    mqtt_3_1_shows_a_refusal_as_granted_and_delivers_nothing,
    a_filter_must_be_contained,
    unions_count,
    deny_holes_count,
    overlap_is_filtered_message_by_message,
    receive_alone_grants_no_subscription,
    system_topics_need_their_own_rule,
    control_topics_are_not_reached,
    unsubscribe_is_always_allowed,
    share_groups_are_stripped,
    share_is_no_way_around,
    share_groups_may_be_restricted,
    share_needs_containment_even_with_overlap,
    malformed_share_is_never_granted,
];

fn each_filter_is_answered_by_itself(install: &Install) {
    let broker = install.reference();
    let filters = ["own/alice/a", "own/bob/a", "own/alice/+", "own/+/a", "own/alice/#", "own/#", "#", "own/alice"];
    for (version, refused) in [(V311, FAILURE_3), (V5, NOT_AUTHORIZED)] {
        let mut alice = broker.client(version, "alice", &format!("alice-filters-{version}"));
        for qos in 0..=2 {
            let expected = [qos, refused, qos, refused, qos, refused, refused, qos];
            assert_eq!(alice.subscribe_all(&filters, qos), Ok(expected.to_vec()));
        }
    }
}

fn mqtt_3_1_shows_a_refusal_as_granted_and_delivers_nothing(install: &Install) {
    let broker = install.reference();
    let mut alice = broker.client(V31, "alice", "alice-old");
    assert_eq!(alice.subscribe_all(&["own/bob/old", "own/#"], 1), Ok(vec![1, 1]));
    let mut bob = broker.client(V31, "bob", "bob-old");
    assert_eq!(bob.publish(&Publish::new("own/bob/old", "x")), Ok(0));
    assert_eq!(alice.topics(), [""; 0]);
}

fn a_filter_must_be_contained(install: &Install) {
    let broker = install.reference();
    let mut service = broker.client(V5, "mqttservice", "mqttservice-contained");
    for filter in ["dt/demo/#", "dt/demo/+/+/#", "cmd/demo/+", "dt/demo", "dt/demo/1/dev00001/senml"] {
        assert_eq!(service.subscribe(filter), Ok(1), "{filter}");
    }
    for filter in
        ["#", "+/#", "dt/#", "+/demo/#", "dt/+/#", "dt", "dt/+", "/dt/demo/#", "DT/demo/#", "+", "+/demo", "/#"]
    {
        assert_eq!(service.subscribe(filter), Ok(NOT_AUTHORIZED), "{filter}");
    }
    let mut operator = broker.client(V5, "mqttuser", "mqttuser-contained");
    for filter in ["#", "+/#", "+", "/#", "a//b", "+/+/+/+"] {
        assert_eq!(operator.subscribe(filter), Ok(1), "{filter}");
    }
}

/// S10: no single rule covers `un/a/#`, both together do.
fn unions_count(install: &Install) {
    let mut user = install.reference().client(V5, "union", "union");
    for filter in ["un/a/#", "un/a", "un/a/+", "un/a/+/#", "un/a/b"] {
        assert_eq!(user.subscribe(filter), Ok(1), "{filter}");
    }
    for filter in ["un/#", "un/+", "un/+/#", "un"] {
        assert_eq!(user.subscribe(filter), Ok(NOT_AUTHORIZED), "{filter}");
    }
}

fn deny_holes_count(install: &Install) {
    let mut user = install.reference().client(V5, "holes", "holes-subscribe");
    for filter in ["ho/open/#", "ho/open", "ho", "ho/secrets/#"] {
        assert_eq!(user.subscribe(filter), Ok(1), "{filter}");
    }
    for filter in ["ho/#", "ho/+", "ho/+/x", "ho/secret", "ho/secret/#", "ho/secret/x", "#"] {
        assert_eq!(user.subscribe(filter), Ok(NOT_AUTHORIZED), "{filter}");
    }
}

fn overlap_is_filtered_message_by_message(install: &Install) {
    let broker = install.reference();
    for (version, refused) in [(V311, FAILURE_3), (V5, NOT_AUTHORIZED)] {
        let mut operator = broker.client(version, "mqttuser", &format!("mqttuser-overlap-{version}"));
        for filter in ["le/+", "le/#", "#", "+/x"] {
            let mut lenient = broker.client(version, "lenient", "lenient");
            assert_eq!(lenient.subscribe(filter), Ok(1), "{filter}");
            for topic in ["le/x", "le/y", "le/z", "le", "le/sub", "le/sub/x", "le/x/y"] {
                assert_eq!(operator.publish(&Publish::new(topic, "x")).map(|code| code & 0x80), Ok(0));
            }
            let expected: &[&str] = match filter {
                "+/x" => &["le/x"],
                "le/+" => &["le/x", "le/y", "le/sub"],
                _ => &["le/x", "le/y", "le/sub", "le/sub/x"],
            };
            assert_eq!(lenient.topics(), expected, "{filter}");
        }
        let mut lenient = broker.client(version, "lenient", "lenient");
        for filter in ["le/z", "le/z/#", "other/#", "$SYS/#"] {
            assert_eq!(lenient.subscribe(filter), Ok(refused), "{filter}");
        }
    }
}

/// S9.
fn receive_alone_grants_no_subscription(install: &Install) {
    let mut receiver = install.reference().client(V5, "receiver", "receiver");
    for filter in ["rc/#", "rc/x", "rc/+"] {
        assert_eq!(receiver.subscribe(filter), Ok(NOT_AUTHORIZED), "{filter}");
    }
}

fn system_topics_need_their_own_rule(install: &Install) {
    let broker = install.reference();
    let mut operator = broker.client(V5, "mqttuser", "mqttuser-sys");
    for filter in ["$SYS/#", "$SYS/broker/version", "$SYS/+/version", "$SYS"] {
        assert_eq!(operator.subscribe(filter), Ok(NOT_AUTHORIZED), "{filter}");
    }
    assert_eq!(operator.subscribe("#"), Ok(1));
    assert!(!operator.topics().iter().any(|topic| topic.starts_with('$')));

    let mut systems = broker.client(V5, "systems", "systems");
    assert_eq!(systems.subscribe("$SYS/broker/version"), Ok(1));
    assert_eq!(systems.next_message().topic, "$SYS/broker/version");
    assert_eq!(systems.subscribe("$SYS/#"), Ok(NOT_AUTHORIZED));
}

fn control_topics_are_not_reached(install: &Install) {
    let mut operator = install.reference().client(V5, "mqttuser", "mqttuser-controls");
    for filter in ["$CONTROL/#", "$CONTROL/dynamic-security/v1", "$x/#"] {
        assert_eq!(operator.subscribe(filter), Ok(NOT_AUTHORIZED), "{filter}");
    }
}

/// S9: a refusal would leave a 3.1.1 client subscribed to what it tried to leave.
fn unsubscribe_is_always_allowed(install: &Install) {
    let broker = install.reference();
    let mut alice = broker.client(V5, "alice", "alice-leaves");
    assert_eq!(alice.subscribe("own/alice/leaves"), Ok(1));
    assert_eq!(alice.unsubscribe("own/alice/leaves"), Ok(vec![0]));
    // 0x11: there was no such subscription. Anything but a refusal.
    for filter in ["own/bob/#", "#", "$SYS/#", "$share/g/own/bob/#"] {
        assert_eq!(alice.unsubscribe(filter), Ok(vec![0x11]), "{filter}");
    }
    let mut alice = broker.client(V311, "alice", "alice-leaves-too");
    assert_eq!(alice.unsubscribe("#"), Ok(vec![]));
}

fn share_groups_are_stripped(install: &Install) {
    let broker = install.reference();
    for (version, refused) in [(V311, FAILURE_3), (V5, NOT_AUTHORIZED)] {
        let mut sharer = broker.client(version, "sharer", &format!("sharer-{version}"));
        for filter in ["$share/g/sh/x", "$share/g/sh/#", "$share/other/sh/+/y", "$share/g/sh"] {
            assert_eq!(sharer.subscribe(filter), Ok(1), "{filter}");
        }
        for filter in ["$share/g/other", "$share/g/#", "$share/sh/x/y", "$share/g/+/x", "$share/g//sh/x"] {
            assert_eq!(sharer.subscribe(filter), Ok(refused), "{filter}");
        }
        let mut operator = broker.client(version, "mqttuser", "mqttuser-sharing");
        assert_eq!(operator.publish(&Publish::new("sh/x", "x")), Ok(0));
        // 3.1.1 is sent a message once, MQTT 5 once for each filter that matches.
        let topics = sharer.topics();
        assert!(!topics.is_empty() && topics.iter().all(|topic| topic == "sh/x"), "{topics:?}");
    }
}

/// Neither does a rule on the raw text open it: `#` is granted to the operator, `$share/..` starts with `$`.
fn share_is_no_way_around(install: &Install) {
    let broker = install.reference();
    let mut alice = broker.client(V5, "alice", "alice-share");
    let filters = [
        "$share/g/own/bob/#",
        "$share/own/alice/own/bob/x",
        "$share/g/own/+/x",
        "$share/g/$share/g/own/alice/x",
        "$share/g/$SYS/#",
        "$SHARE/g/own/alice/x",
        "$share/own/alice/x",
    ];
    for filter in filters {
        assert_eq!(alice.subscribe(filter), Ok(NOT_AUTHORIZED), "{filter}");
    }
    let mut operator = broker.client(V5, "mqttuser", "mqttuser-shared");
    assert_eq!(operator.subscribe("$share/g/#"), Ok(1));
    assert_eq!(operator.subscribe("$share/g/$SYS/#"), Ok(NOT_AUTHORIZED));
}

fn share_groups_may_be_restricted(install: &Install) {
    let mut grouped = install.reference().client(V5, "grouped", "grouped");
    assert_eq!(grouped.subscribe("$share/g1/gr/#"), Ok(1));
    for filter in ["$share/g2/gr/#", "$share/g11/gr/x", "$share/G1/gr/x"] {
        assert_eq!(grouped.subscribe(filter), Ok(NOT_AUTHORIZED), "{filter}");
    }
    assert_eq!(grouped.subscribe("gr/#"), Ok(1));
}

/// S13: a denied member would swallow the group's messages.
fn share_needs_containment_even_with_overlap(install: &Install) {
    let mut lenient = install.reference().client(V5, "lenient", "lenient-share");
    assert_eq!(lenient.subscribe("$share/g/le/sub/#"), Ok(1));
    for filter in ["$share/g/le/+", "$share/g/le/#", "$share/g/#"] {
        assert_eq!(lenient.subscribe(filter), Ok(NOT_AUTHORIZED), "{filter}");
    }
}

/// 2.0 takes any filter that begins with `$share` for a shared one; 2.1 asks first, and then closes the connection
/// (0x82) or answers 0x80 by itself. Never may one of them be granted.
fn malformed_share_is_never_granted(install: &Install) {
    let broker = install.reference();
    let malformed = [
        "$share",
        "$share/",
        "$share/g",
        "$share/g/",
        "$share//sh/x",
        "$share/+/sh/x",
        "$share/#",
        "$shareX/g/sh/x",
        "$shareX/sh/x",
    ];
    for (version, user) in [(V311, "sharer"), (V5, "sharer"), (V311, "mqttuser"), (V5, "mqttuser")] {
        for filter in malformed {
            let mut client = broker.client(version, user, &format!("{user}-malformed-{version}"));
            let answer = client.subscribe(filter);
            let refused = matches!(answer, Ok(FAILURE_3..) | Err(Gone::Closed));
            assert!(refused, "{user}: {filter}: {answer:?}");
            let mut operator = broker.client(V5, "mqttuser", &format!("mqttuser-malformed-sender-{version}-{user}"));
            assert_eq!(operator.publish(&Publish::new("sh/x", "x")).map(|code| code & 0x80), Ok(0));
            if client.ping().is_ok() {
                assert_eq!(client.topics(), [""; 0], "{user}: {filter}");
            }
        }
    }
}
