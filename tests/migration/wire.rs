//! `acl_file` of 2.0, which is a part of the broker: asked over the wire, of brokers that take one file after another at
//! SIGHUP.

use std::collections::BTreeSet;
use std::fs;

use fastrand::Rng;
use mqtt_acl_import::acl::{Access, AclFile, Dialect};

use crate::generate::{CLIENTS, USERS, acl_file};
use crate::support::broker::{Broker, Install, PASSWORD, Setup};
use crate::support::mqtt::{Client, Connect, V311, field, packet};
use crate::{Tally, is_full, random, read, topics};

/// A user who may do everything, so that others can be watched, and handed something.
const ROOT: &str = "root of all";
const ROOTS: [&str; 4] = ["#", "$d/#", "$other/#", "$other1/#"];

/// So many messages at once: a broker drops what it cannot send.
const BATCH: usize = 100;

pub(crate) fn acl_file_decides_as_2_0() {
    let mut random = random();
    let installs = Install::all().unwrap_or_else(|problem| panic!("{problem}"));
    for install in installs.iter().filter(|install| !install.is_at_least("2.1")) {
        compare(install, &mut random);
    }
}

fn compare(install: &Install, random: &mut Rng) {
    let least = if is_full() { 100_000 } else { 5_000 };
    let passwords: String = [ROOT].iter().chain(&USERS).map(|user| format!("{user}:{{password}}\n")).collect();
    let conf =
        "listener {port} 127.0.0.1\nallow_anonymous true\nacl_file {folder}/acl\npassword_file {folder}/passwd\n";
    let setup = Setup::conf(conf).file("acl", "user x\n").file("passwd", &passwords);
    let broker = Broker::running(install, &setup);
    let mut tally = Tally::default();
    while tally.decided() < least {
        let rules: String = ROOTS.iter().map(|filter| format!("topic readwrite {filter}\n")).collect();
        let text = format!("{}user {ROOT}\n{rules}", acl_file(random, 12));
        let file = read(&text, Dialect::V2_0);
        let new = broker.folder.join("acl.new");
        fs::write(&new, &text).unwrap();
        fs::rename(new, broker.folder.join("acl")).unwrap();
        let start = broker.log_len();
        broker.hang_up();
        broker.wait_log(start, |line| line.contains("Reloading config"), "a reload");
        let mut root = login(&broker, Some(ROOT), "root");
        let codes = root.subscribe_all(&ROOTS, 0).unwrap();
        assert_eq!(codes, [0; ROOTS.len()]);
        for (user, id) in CLIENTS {
            if user != Some("nobody") {
                client(&broker, &mut root, &file, (user, id), random, &mut tally, &text);
            }
        }
    }
    broker.stop();
    println!("{}", install.version);
    tally.assert(least);
}

fn client(
    broker: &Broker,
    root: &mut Client,
    file: &AclFile,
    (user, id): (Option<&str>, &str),
    random: &mut Rng,
    tally: &mut Tally,
    text: &str,
) {
    let asker = mqtt_acl_policy::Client { user: user.map(str::as_bytes), id: id.as_bytes() };
    let mut topics: Vec<String> = topics(file.filters(Dialect::V2_0, &asker), random)
        .into_iter()
        .map(|topic| String::from_utf8(topic).unwrap())
        // Nobody is asked about these, or nobody could watch.
        .filter(|topic| {
            !topic.starts_with('$') || ["$d", "$other", "$other1"].contains(&topic.split('/').next().unwrap())
        })
        .collect();
    topics.sort_unstable();
    topics.dedup();
    let mut connection = login(broker, user, id);
    for topics in topics.chunks(BATCH) {
        let codes = connection.subscribe_all(topics, 0).unwrap();
        assert!(codes.iter().all(|code| *code == 0), "2.0 refuses no SUBSCRIBE: {codes:?}");
        publish(root, topics, b"read");
        let read = received(&mut connection, b"read");
        publish(&mut connection, topics, b"write");
        let written = received(root, b"write");
        // What came of its own messages.
        received(&mut connection, b"write");
        received(root, b"write");
        for topic in topics {
            for (access, seen) in [(Access::Read, &read), (Access::Write, &written)] {
                let verdict = file.decide(&asker, access, topic.as_bytes());
                assert_eq!(
                    verdict.is_allow(),
                    seen.contains(topic),
                    "what is expected, and what 2.0 does, of {access:?} {topic} by {user:?} with id {id}\n{text}"
                );
                tally.add(verdict);
            }
        }
    }
    connection.disconnect();
}

fn login(broker: &Broker, user: Option<&str>, id: &str) -> Client {
    let mut connect = Connect::new(V311, id);
    if let Some(user) = user {
        connect = connect.username(user).password(PASSWORD);
    }
    broker.client_with(&connect)
}

/// Publishes to all of them at once, and waits until the broker has seen the last.
fn publish(client: &mut Client, topics: &[String], payload: &[u8]) {
    let packets: Vec<u8> =
        topics.iter().flat_map(|topic| packet(0x30, &[field(topic.as_bytes()), payload.to_vec()].concat())).collect();
    client.send(&packets);
    client.ping().unwrap();
}

fn received(client: &mut Client, payload: &[u8]) -> BTreeSet<String> {
    let messages = client.received().into_iter();
    messages.filter(|message| message.payload == payload).map(|message| message.topic).collect()
}
