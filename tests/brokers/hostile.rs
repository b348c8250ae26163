//! Input that is too large, too much, or nonsense: the broker and the others must not notice.

use std::thread;

use crate::support::broker::{Broker, Install, PASSWORD};
use crate::support::mqtt::{Client, Connect, Gone, NOT_AUTHORIZED, Publish, V5, V31, V311, field, packet};

crate::tests![
    the_longest_topics_are_decided,
    the_deepest_topics_are_decided,
    a_filter_of_65_000_slashes_is_survived,
    many_filters_in_one_packet_are_decided_one_by_one,
    filters_that_are_dear_to_compare_are_decided_soon,
    garbage_is_survived,
    broken_packets_of_a_known_client_are_survived,
    hammering_is_survived,
];

fn the_longest_topics_are_decided(install: &Install) {
    let mut alice = install.reference().client(V5, "alice", "alice-long");
    let long = |head: &str| format!("{head}{}", "x".repeat(65_535 - head.len()));
    assert_eq!(alice.publish(&Publish::new(long("own/alice/"), "x")).map(|code| code & 0x80), Ok(0));
    assert_eq!(alice.publish(&Publish::new(long("own/bob/"), "x")), Ok(NOT_AUTHORIZED));
    assert_eq!(alice.publish(&Publish::new(long(""), "x")), Ok(NOT_AUTHORIZED));
    assert_eq!(alice.subscribe(&long("own/alice/")), Ok(1));
    assert_eq!(alice.subscribe(&long("own/bob/")), Ok(NOT_AUTHORIZED));
    assert_eq!(alice.subscribe(&long("$share/g/own/bob/")), Ok(NOT_AUTHORIZED));
}

/// The broker allows 200 levels.
fn the_deepest_topics_are_decided(install: &Install) {
    let broker = install.reference();
    let mut alice = broker.client(V5, "alice", "alice-deep");
    for (head, allowed) in [("own/alice", true), ("own/bob", false)] {
        for level in ["", "x", "+"] {
            let deep = format!("{head}{}", format!("/{level}").repeat(198));
            assert_eq!(alice.subscribe(&deep), Ok(if allowed { 1 } else { NOT_AUTHORIZED }));
            if level != "+" {
                let code = alice.publish(&Publish::new(&deep, "x"));
                assert_eq!(code, Ok(if allowed { 0 } else { NOT_AUTHORIZED }));
            }
        }
    }
    let deepest = vec!["+"; 200].join("/");
    assert_eq!(alice.subscribe(&deepest), Ok(NOT_AUTHORIZED));
    let mut operator = broker.client(V5, "mqttuser", "mqttuser-deep");
    assert_eq!(operator.subscribe(&deepest), Ok(1));
}

/// CVE-2019-11779.
fn a_filter_of_65_000_slashes_is_survived(install: &Install) {
    for version in [V31, V311, V5] {
        for user in ["alice", "mqttuser"] {
            for filter in ["/".repeat(65_000), format!("own/alice/{}", "/".repeat(65_000)), "+/".repeat(32_000)] {
                let mut client = install.reference().client(version, user, &format!("{user}-slashes-{version}"));
                assert_ne!(client.subscribe(&filter), Err(Gone::Silent));
                let mut client = install.reference().client(version, user, &format!("{user}-slashes-{version}"));
                assert_ne!(client.publish(&Publish::new(filter.replace('+', "x"), "x")), Err(Gone::Silent));
            }
        }
    }
}

/// 2.1 closes the connection at 100,000 bytes of filters.
fn many_filters_in_one_packet_are_decided_one_by_one(install: &Install) {
    let mut alice = install.reference().client(V5, "alice", "alice-many");
    let filters: Vec<_> =
        (0..4_000).map(|number| format!("own/{}/{number}", if number % 3 == 0 { "alice" } else { "bob" })).collect();
    let codes = alice.subscribe_all(&filters, 0).expect("a SUBACK");
    let expected: Vec<_> = (0..4_000).map(|number| if number % 3 == 0 { 0 } else { NOT_AUTHORIZED }).collect();
    assert!(codes == expected);
}

/// Containment in a union with holes must not take a time that grows with the filter's possible meanings.
fn filters_that_are_dear_to_compare_are_decided_soon(install: &Install) {
    let broker = install.reference();
    let filters: Vec<_> = (0..1_000).map(|number| format!("{}/{number}/#", vec!["+"; 190].join("/"))).collect();
    for user in ["union", "holes", "lenient", "alice", "mqttuser"] {
        let mut client = broker.client(V5, user, &format!("{user}-dear"));
        // Small enough packets to be answered each within the patience of a client.
        for part in filters.chunks(100) {
            assert_eq!(client.subscribe_all(part, 0).map(|codes| codes.len()), Ok(part.len()), "{user}");
        }
    }
}

/// Numbers that look random and are the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        (0..self.next() % (most + 1)).map(|_| self.next() as u8).collect()
    }
}

fn garbage_is_survived(install: &Install) {
    let broker = install.reference();
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for round in 0..300 {
        let mut client = Client::open(broker.port, V5);
        match round % 3 {
            0 => client.send(&noise.bytes(2_000)),
            1 => client.send(&packet(0x10, &noise.bytes(300))),
            _ => {
                // A CONNECT whose fields are noise.
                let mut body = field(b"MQTT");
                body.extend([4, noise.next() as u8, 0, 60]);
                for _ in 0..4 {
                    body.extend(field(&noise.bytes(40)));
                }
                client.send(&packet(0x10, &body));
            }
        }
    }
    broker.assert_serving();
}

fn broken_packets_of_a_known_client_are_survived(install: &Install) {
    let broker = install.reference();
    let mut noise = Noise(0xd1b5_4a32_d192_ed03);
    for round in 0..300 {
        let version = [V31, V311, V5][round % 3];
        let mut client = broker.client(version, "bob", &format!("bob-broken-{version}"));
        for _ in 0..3 {
            let kind = noise.next() as u8;
            let mut body = field(&noise.bytes(30));
            body.extend(noise.bytes(60));
            client.send(&packet(kind, &body));
        }
    }
    broker.assert_serving();
}

fn hammering_is_survived(install: &Install) {
    let broker = install.reference();
    let mut victim = broker.client(V311, "alice2", "alice2");
    thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || hammer(broker, thread));
        }
    });
    assert_eq!(victim.ping(), Ok(()), "a client was disturbed");
}

/// 2.1 closes a connection without an answer while the login of another under the same id is being checked.
fn assert_not_admitted(broker: &Broker, connect: &Connect) {
    let (_, answer) = broker.try_client(connect);
    assert!(matches!(answer, Ok((false, 1..)) | Err(Gone::Closed)), "{answer:?} for {connect:?}");
}

fn hammer(broker: &Broker, thread: usize) {
    for round in 0..100 {
        let version = [V31, V311, V5][round % 3];
        let connect = Connect::new(version, format!("bob-hammer-{}", thread % 2)).username("bob");
        match round % 5 {
            // Gone before the answer.
            0 => drop(Client::open(broker.port, version)),
            1 => Client::open(broker.port, version).send(&[0x10]),
            2 => assert_not_admitted(broker, &connect.password("wrong")),
            3 => assert_not_admitted(broker, &connect.username("alice2").password("wrong")),
            _ => drop(broker.try_client(&connect.password(PASSWORD))),
        }
    }
}
