//! Random edits under traffic: every decision is that of the last good policy, and nobody is disconnected who lost nothing.
//!
//! `tests/soak.sh` makes it long. `MQTT_ACL_SOAK_EDITS` and `MQTT_ACL_SOAK_CLIENTS` set its size, `MQTT_ACL_SEED` repeats a
//! run; with `MQTT_ACL_SOAK_BY=watch` nobody sends SIGHUP, for a plugin that watches its policy.

use std::env;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;

use crate::support::broker::{Broker, Install, PLUGIN, Setup, TOKEN};
use crate::support::mqtt::{Client, Connect, FAILURE_3, NOT_AUTHORIZED, Publish, REFUSED_3, V5, V311};

crate::tests![random_edits_under_traffic];

const USERS: usize = 20;
const TOPICS: [&str; 5] = ["t/a", "t/b", "t/c", "u/a", "u/b"];
/// What a filter of a rule or a subscription may be, and the topics of `TOPICS` that it covers.
const FILTERS: [(&str, &[usize]); 8] = [
    ("t/a", &[0]),
    ("t/b", &[1]),
    ("t/+", &[0, 1, 2]),
    ("u/#", &[3, 4]),
    ("u/a", &[3]),
    ("+/a", &[0, 3]),
    ("#", &[0, 1, 2, 3, 4]),
    ("t/c", &[2]),
];
/// A second password string for each user: of a token that nobody has.
const OTHER: &str = "$token$bkAHzq35dAkzl9Z12d5LIfjLygc3310Wbe5TO6N7fAM";
const PAYLOAD: &str = "x";

/// A user of the policy; the numbers are those of `FILTERS`.
#[derive(Clone, Debug, Default)]
struct User {
    disabled: bool,
    /// Whether the token that all clients have is one of its passwords.
    knows: bool,
    publish: Vec<usize>,
    subscribe: Vec<usize>,
}

type Policy = Vec<Option<User>>;

/// One of the clients, and what it subscribed to.
struct Session {
    number: usize,
    user: usize,
    version: u8,
    client: Option<Client>,
    filters: Vec<usize>,
}

fn number(name: &str, default: usize) -> usize {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn name(user: usize) -> String {
    format!("user{user}")
}

fn text(policy: &Policy) -> String {
    let mut text = String::from(
        "version = 1\n[users.traffic]\npublish = [\"x/#\"]\nsubscribe = [\"x/#\"]\npassword = \"{token}\"\n",
    );
    for (number, user) in policy.iter().enumerate() {
        let Some(user) = user else { continue };
        let list = |filters: &[usize]| filters.iter().map(|filter| FILTERS[*filter].0).collect::<Vec<_>>();
        let password = if user.knows { "{token}" } else { OTHER };
        writeln!(
            text,
            "[users.{}]\npassword = [\"{password}\"]\ndisabled = {}\npublish = {:?}\nsubscribe = {:?}",
            name(number),
            user.disabled,
            list(&user.publish),
            list(&user.subscribe)
        )
        .expect("a text grows");
    }
    text
}

fn person(random: &mut Rng) -> Option<User> {
    let mut some = || (0..FILTERS.len()).filter(|_| random.u32(..3) == 0).collect::<Vec<_>>();
    let (publish, subscribe) = (some(), some());
    let chance = |random: &mut Rng, one_in: u32| random.u32(..one_in) == 0;
    (!chance(random, 12)).then(|| User { disabled: chance(random, 12), knows: !chance(random, 12), publish, subscribe })
}

impl User {
    fn covers(filters: &[usize], topic: usize) -> bool {
        filters.iter().any(|filter| FILTERS[*filter].1.contains(&topic))
    }

    fn may_publish(&self, topic: usize) -> bool {
        !self.disabled && Self::covers(&self.publish, topic)
    }

    /// Whether one filter is within the others, as topics that exist nowhere are too: of these few, `#` only within itself.
    fn may_subscribe(&self, filter: usize) -> bool {
        const WITHIN: [(&str, &[&str]); 8] = [
            ("t/a", &["t/a", "t/+", "+/a", "#"]),
            ("t/b", &["t/b", "t/+", "#"]),
            ("t/+", &["t/+", "#"]),
            ("u/#", &["u/#", "#"]),
            ("u/a", &["u/a", "u/#", "+/a", "#"]),
            ("+/a", &["+/a", "#"]),
            ("#", &["#"]),
            ("t/c", &["t/c", "t/+", "#"]),
        ];
        !self.disabled && self.subscribe.iter().any(|rule| WITHIN[filter].1.contains(&FILTERS[*rule].0))
    }
}

fn may_log_in(policy: &Policy, user: usize) -> bool {
    policy[user].as_ref().is_some_and(|user| !user.disabled && user.knows)
}

/// Whether a session keeps all that it has.
fn keeps(policy: &Policy, session: &Session) -> bool {
    may_log_in(policy, session.user)
        && policy[session.user]
            .as_ref()
            .is_some_and(|user| session.filters.iter().all(|filter| user.may_subscribe(*filter)))
}

/// A pair of clients that no edit concerns: each message must arrive.
fn traffic(broker: &Broker, stop: &AtomicBool, sent: &AtomicU64) {
    let connect = |id: &str| broker.client_with(&Connect::new(V311, id).username("traffic").password(TOKEN));
    let (mut from, mut to) = (connect("traffic-1"), connect("traffic-2"));
    assert_eq!(to.subscribe("x/#"), Ok(1));
    while !stop.load(Ordering::Relaxed) {
        assert_eq!(from.publish(&Publish::new("x/y", PAYLOAD)), Ok(0), "the traffic was held up");
        assert_eq!(to.next_message().topic, "x/y");
        sent.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(2));
    }
}

fn random_edits_under_traffic(install: &Install) {
    let (edits, clients) = (number("MQTT_ACL_SOAK_EDITS", 60), number("MQTT_ACL_SOAK_CLIENTS", 200));
    let seed = env::var("MQTT_ACL_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("{}: MQTT_ACL_SEED={seed}, {edits} edits, {clients} clients", install.version);
    let mut random = Rng::with_seed(seed);
    let policy: Policy = (0..USERS).map(|_| person(&mut random)).collect();
    let watches = env::var("MQTT_ACL_SOAK_BY").is_ok_and(|by| by == "watch");
    let plugin = PLUGIN.replace("plugin_opt_watch false", &format!("plugin_opt_watch {watches}"));
    let conf = format!("listener {{port}} 127.0.0.1\n{plugin}");
    install.with(&Setup::conf(&conf).with_policy(&text(&policy)), |broker| {
        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            let load = scope.spawn(|| traffic(broker, &stop, &sent));
            let mut soak = Soak { broker, random, policy, sessions: Vec::new(), watches, count: Count::default() };
            soak.run(edits, clients, || assert!(!load.is_finished(), "the traffic ended"));
            stop.store(true, Ordering::Relaxed);
            load.join().expect("the traffic went on");
            println!("{}: {:?}, {} messages beside it", install.version, soak.count, sent.load(Ordering::Relaxed));
            let Count { good, broken, kicked, decisions, spared, .. } = soak.count;
            assert!(good > edits / 3 && broken > edits / 10, "{:?}", soak.count);
            assert!(kicked > edits / 4 && spared > edits && decisions > edits, "{:?}", soak.count);
            assert!(sent.load(Ordering::Relaxed) > 10);
        });
    });
}

struct Soak<'a> {
    broker: &'a Broker,
    random: Rng,
    policy: Policy,
    sessions: Vec<Session>,
    watches: bool,
    count: Count,
}

#[derive(Debug, Default)]
struct Count {
    good: usize,
    broken: usize,
    kicked: usize,
    spared: usize,
    decisions: usize,
    allowed: usize,
    /// The broker's memory in pages, a quarter through and at the end.
    memory: (u64, u64),
}

impl Soak<'_> {
    fn run(&mut self, edits: usize, clients: usize, check: impl Fn()) {
        self.sessions = (0..clients)
            .map(|number| {
                let version = if number % 2 == 0 { V5 } else { V311 };
                Session { number, user: number % USERS, version, client: None, filters: Vec::new() }
            })
            .collect();
        for edit in 0..edits {
            for number in 0..clients {
                // In the first round all of them, then whoever was kicked some time.
                if edit == 0 || self.random.u32(..4) == 0 {
                    self.connect(number);
                }
            }
            for _ in 0..10 {
                self.decide();
            }
            self.edit();
            check();
            if edit == edits / 4 {
                self.count.memory.0 = self.broker.memory();
            }
        }
        self.count.memory.1 = self.broker.memory();
        let (before, after) = self.count.memory;
        // What 200 clients make the broker keep comes and goes; 8 MiB are no leak, and a leak would be more.
        assert!(after < before + 2_048, "{:?}", self.count);
    }

    fn connect(&mut self, number: usize) {
        let session = &mut self.sessions[number];
        if session.client.is_some() {
            return;
        }
        let id = format!("{}-{}", name(session.user), session.number);
        let connect = Connect::new(session.version, id).username(name(session.user)).password(TOKEN);
        let (client, answer) = self.broker.try_client(&connect);
        let refused = if session.version == V5 { NOT_AUTHORIZED } else { REFUSED_3 };
        let expected = if may_log_in(&self.policy, session.user) { 0 } else { refused };
        assert_eq!(answer, Ok((false, expected)), "{} {:?}", name(session.user), self.policy[session.user]);
        self.count.decisions += 1;
        session.filters.clear();
        session.client = (expected == 0).then_some(client);
    }

    /// Somebody does something, and the answer is that of the policy in force.
    fn decide(&mut self) {
        let number = self.random.usize(..self.sessions.len());
        let (filter, topic) = (self.random.usize(..FILTERS.len()), self.random.usize(..TOPICS.len()));
        let (subscribes, gives_up) = (self.random.bool(), self.random.u32(..4) == 0);
        let session = &mut self.sessions[number];
        let Some(client) = &mut session.client else { return };
        let Some(user) = &self.policy[session.user] else { panic!("a client of nobody is connected") };
        self.count.decisions += 1;
        if gives_up {
            if let Some(filter) = session.filters.pop() {
                client.unsubscribe(FILTERS[filter].0).expect("an UNSUBACK");
            }
        } else if subscribes {
            let granted = user.may_subscribe(filter);
            let refused = if session.version == V5 { NOT_AUTHORIZED } else { FAILURE_3 };
            let code = client.subscribe(FILTERS[filter].0);
            assert_eq!(code, Ok(if granted { 1 } else { refused }), "{} by {user:?}", FILTERS[filter].0);
            if granted && !session.filters.contains(&filter) {
                session.filters.push(filter);
            }
            self.count.allowed += usize::from(granted);
        } else {
            let granted = user.may_publish(topic);
            let code = client.publish(&Publish::new(TOPICS[topic], PAYLOAD)).expect("an answer");
            let told = session.version == V5;
            assert!(!told || (code != NOT_AUTHORIZED) == granted, "{}: {code} by {user:?}", TOPICS[topic]);
            self.count.allowed += usize::from(granted);
        }
    }

    /// A new policy, or what is none.
    fn edit(&mut self) {
        let start = self.broker.log_len();
        if self.random.u32(..3) == 0 {
            let broken =
                ["", "version = 1\nbogus = 1\n", "[users.mallory]\n", "version = 1\n[users.a]\nroles = [\"none\"]\n"];
            self.broker.write_policy(broken[self.random.usize(..broken.len())]);
            self.ask();
            self.broker.wait_log(start, |line| line.contains("policy not loaded"), "that it is broken");
            self.count.broken += 1;
        } else {
            for user in &mut self.policy {
                if self.random.u32(..8) == 0 {
                    *user = person(&mut self.random);
                }
            }
            // The same text again would be no change.
            self.broker.write_policy(&format!("{}# {start}\n", text(&self.policy)));
            self.ask();
            self.broker.wait_log(start, |line| line.contains("mqtt-acl: policy change: "), "the end of the sweep");
            self.count.good += 1;
        }
        for session in &mut self.sessions {
            let is_kept = keeps(&self.policy, session);
            let Some(client) = &mut session.client else { continue };
            if is_kept {
                // Those that were not kicked are asked now and then: an answer takes its time.
                if self.random.u32(..8) == 0 {
                    assert_eq!(
                        client.ping(),
                        Ok(()),
                        "{} was disconnected:\n{}",
                        session.number,
                        self.broker.log_text()
                    );
                }
                self.count.spared += 1;
            } else {
                client.closed();
                session.client = None;
                self.count.kicked += 1;
            }
        }
    }

    fn ask(&self) {
        if !self.watches {
            self.broker.hang_up_at_once();
        }
    }
}
