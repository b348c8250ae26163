//! What a message costs a broker that decides about it, by number of rules and of users.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::access::Access;
use crate::callgrind::{self, Counter};
use crate::decide::RULES;
use crate::pair::{exchange, open, subscribe};
use crate::profile::Profile;
use crate::report::{Figure, Report};
use crate::stats::median;
use crate::support::broker::{Broker, Install};
use crate::support::mqtt::{field, packet};
use crate::workload::{Message, NEWS, SERVICE, SERVICE_READS, Size, TOPICS, device};
use crate::{Bench, Benchmark};

pub(crate) const BENCHMARK: Benchmark = Benchmark {
    name: "publish",
    rows: &[
        ("rules", "instructions of a message and of a delivery, by number of rules"),
        ("users", "instructions of a message and of a delivery, by number of users"),
        ("throughput", "messages per second"),
    ],
    measure,
};

/// The table that the chart is drawn from.
pub(crate) const BY_RULES: &str = "publish, by rules";
const SUBSCRIBERS: usize = 200;
const PAYLOAD: &[u8] = b"sixteen bytes..!";

struct Sizes {
    /// Messages of the smaller of two counts.
    messages: usize,
    /// Who gets each of the news.
    subscribers: usize,
    /// News of the same.
    news: usize,
    rules: &'static [usize],
    users: &'static [usize],
    /// Measurements of throughput, and how long each takes at least.
    rounds: usize,
    round: Duration,
}

const FULL: Sizes = Sizes {
    messages: TOPICS,
    subscribers: SUBSCRIBERS,
    news: 20,
    rules: &RULES,
    users: &[1, 10_000, 1_000_000],
    rounds: 7,
    round: Duration::from_millis(400),
};
const SMOKE: Sizes = Sizes {
    messages: 20,
    subscribers: 10,
    news: 1,
    rules: &[10],
    users: &[],
    rounds: 1,
    round: Duration::from_millis(10),
};

fn measure(bench: &Bench, report: &mut Report) {
    let sizes = if bench.smoke { &SMOKE } else { &FULL };
    for install in &bench.installs {
        for row in bench.rows(&BENCHMARK) {
            bench.measure(&BENCHMARK, row, &install.version, report, |report| match row {
                "rules" => by_rules(install, sizes, report, bench.smoke),
                "users" => by_users(install, sizes, report),
                _ => throughput(install, sizes, report),
            });
        }
    }
}

/// What callgrind says of one broker: instructions.
#[derive(Clone, Copy)]
struct Counts {
    /// Of a message from one publisher to one subscriber, always the same.
    one_topic: f64,
    /// Of such a message, of a thousand topics and a hundred publishers in rotation.
    rotation: f64,
    /// Of one that is refused, with the PINGREQ behind it.
    refused: f64,
    /// Of a delivery, of a message that goes to so many.
    delivery: f64,
    subscribers: usize,
    /// Of the plugin's callback, in rotation.
    check: f64,
}

impl Counts {
    const UNKNOWN: Self = Self {
        one_topic: f64::NAN,
        rotation: f64::NAN,
        refused: f64::NAN,
        delivery: f64::NAN,
        subscribers: 0,
        check: f64::NAN,
    };
}

fn by_rules(install: &Install, sizes: &Sizes, report: &mut Report, smoke: bool) {
    let version = &install.version;
    let Some(probe) = callgrind::probe(install) else {
        report.skip(&format!("{version}, instructions of a message: its valgrind does not run here"));
        return;
    };
    let mut trivial = Counts::UNKNOWN;
    let mut ours = Vec::new();
    let all = [Access::None, Access::Trivial, Access::Threaded, Access::AclFile, Access::DynamicSecurity, Access::Ours];
    for access in all {
        for rules in if access.decides() { sizes.rules } else { &[0] } {
            let size = Size { rules: *rules, users: SUBSCRIBERS };
            let (counts, profile) = count(install, access, size, sizes, &probe);
            if access == Access::Trivial {
                trivial = counts;
            }
            report.line(BY_RULES, version, access.name(), line(size, &counts, &trivial));
            if access == Access::Ours {
                ours.push((*rules, counts));
                if *rules == 10 {
                    functions(version, &profile, report);
                }
            }
        }
    }
    if !smoke {
        compare(version, &ours, &trivial, report);
    }
}

/// Ours by number of rules with what it is meant to cost.
fn compare(version: &str, ours: &[(usize, Counts)], trivial: &Counts, report: &mut Report) {
    for (rules, counts) in ours.iter().filter(|(rules, _)| *rules <= 10) {
        let above = [
            ("one topic: a message", counts.one_topic - trivial.one_topic, 300.0),
            ("rotation: a message", counts.rotation - trivial.rotation, 300.0),
            ("a delivery", counts.delivery - trivial.delivery, 150.0),
        ];
        for (what, above, most) in above {
            let text = format!("{rules} rules, {what} {above:.0} instructions above trivial's (at most {most})");
            report.target(BY_RULES, version, above <= most, text);
        }
    }
    let of = |wanted: usize| ours.iter().find(|(rules, _)| *rules == wanted).map(|(_, counts)| counts);
    let (Some(few), Some(many)) = (of(10), of(10_000)) else { return };
    let ratios = [
        ("one topic", many.one_topic / few.one_topic),
        ("rotation", many.rotation / few.rotation),
        ("delivery", many.delivery / few.delivery),
    ];
    for (what, ratio) in ratios {
        let text = format!("10,000 rules against 10, {what}: {ratio:.3} (at most 1.05)");
        report.target(BY_RULES, version, ratio <= 1.05, text);
    }
}

fn by_users(install: &Install, sizes: &Sizes, report: &mut Report) {
    const ROW: &str = "publish, by users";
    let version = &install.version;
    let Some(probe) = callgrind::probe(install) else {
        report.skip(&format!("{version}, instructions of a message by users: its valgrind does not run here"));
        return;
    };
    for users in sizes.users {
        let size = Size { rules: 10, users: *users };
        let (counts, _) = count(install, Access::Ours, size, sizes, &probe);
        report.line(ROW, version, "ours", line(size, &counts, &Counts::UNKNOWN));
    }
}

fn line(size: Size, counts: &Counts, trivial: &Counts) -> Vec<Figure> {
    let is_alike = counts.subscribers == trivial.subscribers;
    let delivery_above = if is_alike { counts.delivery - trivial.delivery } else { f64::NAN };
    vec![
        ("rules", size.rules as f64),
        ("users", size.users as f64),
        ("one_topic", counts.one_topic),
        ("one_topic_above", counts.one_topic - trivial.one_topic),
        ("rotation", counts.rotation),
        ("rotation_above", counts.rotation - trivial.rotation),
        ("delivery", counts.delivery),
        ("delivery_above", delivery_above),
        ("refused", counts.refused),
        ("check", counts.check),
    ]
}

/// Where our instructions go.
fn functions(version: &str, profile: &Profile, report: &mut Report) {
    const ROW: &str = "publish, by function";
    let checks = profile.function("on_acl_check").calls as f64;
    for (name, cost) in profile.of_file("libmqtt_acl.so") {
        let (inclusive, own) = (cost.inclusive as f64 / checks, cost.own as f64 / checks);
        if inclusive >= 1.0 {
            report.line(
                ROW,
                version,
                name,
                vec![("inclusive", inclusive), ("own", own), ("calls", cost.calls as f64 / checks)],
            );
        }
    }
}

/// Counts in one broker; and the profile of the rotation.
fn count(install: &Install, access: Access, size: Size, sizes: &Sizes, probe: &Path) -> (Counts, Profile) {
    let start = Instant::now();
    let setup = access.setup(install, size).under_callgrind(probe).patience(START);
    let broker = Broker::running(install, &setup);
    let subscribers = affordable(access, size).clamp(2, sizes.subscribers);
    let peers = Peers::connect(&broker, access, size, subscribers);
    wait_for_rest(&broker);
    let mut counter = Counter::start(&broker);
    let messages = affordable(access, size).clamp(2, sizes.messages);

    let one = size.one_topic();
    let profile = counter.count(messages, || peers.settle(), |_| peers.deliver(&one));
    let one_topic = profile.total as f64 / messages as f64;

    let allowed = size.allowed();
    let profile = counter.count(messages, || peers.settle(), |number| peers.deliver(&allowed[shuffled(number)]));
    let rotation = profile.total as f64 / messages as f64;
    let check = access.callback().map_or(f64::NAN, |name| {
        let cost = profile.function(name);
        assert_eq!(cost.calls as usize, 2 * messages, "{name} is called for each message and each delivery");
        cost.inclusive as f64 / cost.calls as f64
    });

    let refused = if access.decides() {
        let refused = size.refused();
        // Refusals are logged, together, from time to time.
        let some = messages.min(SUBSCRIBERS);
        let refuse = |number| peers.refuse(&refused[shuffled(number)]);
        counter.count_quietest(some, || peers.settle(), refuse).total as f64 / some as f64
    } else {
        f64::NAN
    };

    let news = (affordable(access, size) / subscribers).clamp(1, sizes.news);
    let delivery = counter.count(news, || peers.settle(), |_| peers.tell_news()).total as f64;
    let delivery = delivery / (news * subscribers) as f64;
    peers.check_nothing_is_left();
    drop(peers);
    broker.stop();
    eprintln!(
        "  {}, {} rules, {} users: {:.1} s",
        access.name(),
        size.rules,
        size.users,
        start.elapsed().as_secs_f64()
    );
    (Counts { one_topic, rotation, refused, delivery, subscribers, check }, profile)
}

/// How long a broker may take to start and to end under valgrind, and with a million users.
const START: Duration = Duration::from_secs(600);
/// How many decisions can be counted where one rule is looked at after the other, some 500 instructions each: beyond that they
/// make up nearly everything, and few are enough.
fn affordable(access: Access, size: Size) -> usize {
    const INSTRUCTIONS: usize = 50_000_000;
    if access.is_linear() { INSTRUCTIONS / 500 / (size.rules + 10) } else { usize::MAX }
}

/// The whole of a rotation, whichever part of it is taken.
fn shuffled(number: usize) -> usize {
    number * 617 % TOPICS
}

/// Everybody who is connected to one broker.
struct Peers {
    publishers: HashMap<String, TcpStream>,
    /// Reads what they say, and tells the news.
    service: TcpStream,
    subscribers: Vec<TcpStream>,
}

impl Peers {
    fn connect(broker: &Broker, access: Access, size: Size, subscribers: usize) -> Self {
        let client = |user: &str, client_id: &str| open(broker.port, &access.connect(user, client_id));
        let mut service = client(SERVICE, SERVICE);
        SERVICE_READS.iter().for_each(|filter| subscribe(&mut service, filter));
        let mut publishers = HashMap::new();
        for Message { user, client_id, .. } in size.allowed() {
            publishers.entry(user.clone()).or_insert_with(|| client(&user, &client_id));
        }
        let subscriber = |number: usize| {
            let user = device(number % size.users);
            let mut subscriber = client(&user, &format!("{user}-reads-{number}"));
            subscribe(&mut subscriber, "news/#");
            subscriber
        };
        Self { publishers, service, subscribers: (0..subscribers).map(subscriber).collect() }
    }

    /// A message on its way, until it has arrived.
    fn deliver(&self, message: &Message) {
        let packet = publish(&message.topic);
        exchange(&mut Both(self.publisher(message), &self.service), &packet, &packet);
    }

    /// A message that does not arrive, until the broker is through with it.
    fn refuse(&self, message: &Message) {
        let packets = [&publish(&message.topic)[..], &PING].concat();
        exchange(&mut self.publisher(message), &packets, &PONG);
    }

    /// One message to all subscribers.
    fn tell_news(&self) {
        let packet = publish(NEWS);
        (&self.service).write_all(&packet).expect("the news are told");
        let mut received = vec![0; packet.len()];
        for mut subscriber in &self.subscribers {
            subscriber.read_exact(&mut received).expect("the news arrive");
            assert_eq!(received, packet);
        }
    }

    /// Until the broker waits for more.
    fn settle(&self) {
        exchange(&mut &self.service, &PING, &PONG);
    }

    /// Nothing arrived that was refused.
    fn check_nothing_is_left(&self) {
        self.subscribers.iter().chain([&self.service]).for_each(|mut stream| exchange(&mut stream, &PING, &PONG));
    }

    fn publisher(&self, message: &Message) -> &TcpStream {
        &self.publishers[&message.user]
    }
}

const PING: [u8; 2] = [0xc0, 0];
const PONG: [u8; 2] = [0xd0, 0];

/// QoS 0, so the packet that arrives is the one that was sent.
fn publish(topic: &str) -> Vec<u8> {
    packet(0x30, &[&field(topic.as_bytes())[..], PAYLOAD].concat())
}

/// What goes into one connection and comes out of another.
struct Both<'a>(&'a TcpStream, &'a TcpStream);

impl Write for Both<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Read for Both<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.1.read(buffer)
    }
}

fn throughput(install: &Install, sizes: &Sizes, report: &mut Report) {
    const ROW: &str = "publish, throughput";
    /// Messages that are on their way at once.
    const AT_ONCE: usize = 100;
    let version = &install.version;
    let mut all = Vec::new();
    for access in [Access::None, Access::Trivial, Access::AclFile, Access::DynamicSecurity, Access::Ours] {
        for rules in if access.decides() { &[10, 10_000][..] } else { &[0] } {
            let size = Size { rules: *rules, users: SUBSCRIBERS };
            let broker = Broker::running(install, &access.setup(install, size));
            let peers = Peers::connect(&broker, access, size, 0);
            all.push((access, size, broker, peers, Vec::new(), Vec::new()));
        }
    }
    for _ in 0..sizes.rounds {
        for (_, size, broker, peers, rates, costs) in &mut all {
            let messages: Vec<_> =
                size.allowed().into_iter().map(|message| (publish(&message.topic), message)).collect();
            let (start, before, mut sent) = (Instant::now(), cpu_time(broker), 0);
            for batch in messages.chunks(AT_ONCE).cycle() {
                for (packet, message) in batch {
                    peers.publisher(message).write_all(packet).expect("a message is sent");
                }
                let mut received = vec![0; batch.iter().map(|(packet, _)| packet.len()).sum()];
                (&peers.service).read_exact(&mut received).expect("all messages arrive");
                sent += batch.len();
                if start.elapsed() >= sizes.round {
                    break;
                }
            }
            rates.push(sent as f64 / start.elapsed().as_secs_f64());
            costs.push((cpu_time(broker) - before).as_secs_f64() * 1e6 / sent as f64);
        }
    }
    for (access, size, broker, peers, rates, costs) in all {
        drop(peers);
        broker.stop();
        let line = vec![
            ("rules", size.rules as f64),
            ("messages_per_s", median(&rates).round()),
            ("slowest", rates.iter().copied().fold(f64::INFINITY, f64::min).round()),
            ("fastest", rates.iter().copied().fold(0.0, f64::max).round()),
            ("cpu_us", median(&costs)),
        ];
        report.line(ROW, version, access.name(), line);
    }
}

/// What the broker's main thread has had of the processors.
fn cpu_time(broker: &Broker) -> Duration {
    let folder = format!("/proc/{}", broker.pid().as_raw_nonzero());
    had(Path::new(&folder)).unwrap_or_else(|| panic!("{folder}: no schedstat"))
}

/// What a thread has had of them, if it is still there.
fn had(thread: &Path) -> Option<Duration> {
    let text = fs::read_to_string(thread.join("schedstat")).ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// Until no thread of the broker does much: what a policy of a million users leaves to do after the start would be counted.
fn wait_for_rest(broker: &Broker) {
    const LOOK: Duration = Duration::from_millis(250);
    let folder = format!("/proc/{}/task", broker.pid().as_raw_nonzero());
    let all = || -> Duration {
        let threads = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
        threads.flatten().filter_map(|thread| had(&thread.path())).sum()
    };
    let start = Instant::now();
    let mut before = all();
    loop {
        thread::sleep(LOOK);
        let now = all();
        if now.saturating_sub(before) < LOOK / 10 {
            return;
        }
        before = now;
        assert!(start.elapsed() < START, "the broker does not come to rest");
    }
}
