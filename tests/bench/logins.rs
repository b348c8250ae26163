//! What logins do to everybody else.

use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::{Duration, Instant};

use crate::clients::{Load, Next, Outcome, back_off};
use crate::pair::{Noticed, Pair, has_priority, milliseconds};
use crate::peers::{Peer, Stage, connect};
use crate::report::{Figure, Report, show};
use crate::stats::{kolmogorov_smirnov, median};
use crate::support::mqtt::{Client, REFUSED_3, V311};
use crate::users::{User, Users};
use crate::{Bench, Benchmark, allow_connections, message};

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Users that log in at once.
    pub(crate) crowd: usize,
    pub(crate) storms: usize,
    /// How long a crowd may take to get in, with all its retries.
    pub(crate) patience: Duration,
    pub(crate) connected: usize,
    pub(crate) hang_ups: usize,
    pub(crate) floods: usize,
    pub(crate) flood: Duration,
    pub(crate) guesses: usize,
    /// Too small for its figures to say anything.
    pub(crate) smoke: bool,
}

impl Sizes {
    pub(crate) const FULL: Self = Self {
        crowd: 500,
        storms: 10,
        patience: Duration::from_secs(90),
        connected: 2000,
        hang_ups: 5,
        floods: 3,
        flood: Duration::from_millis(1500),
        guesses: 1000,
        smoke: false,
    };
    pub(crate) const SMOKE: Self = Self {
        crowd: 20,
        storms: 1,
        patience: Duration::from_secs(20),
        connected: 60,
        hang_ups: 1,
        floods: 1,
        flood: Duration::from_millis(1000),
        guesses: 10,
        smoke: true,
    };
}

/// In this order: the first storm needs brokers that remember nobody.
pub(crate) const BENCHMARK: Benchmark = Benchmark {
    name: "logins",
    rows: &[
        ("first", "a crowd logs in for the first time"),
        ("again", "the crowd reconnects: logins that are remembered, and tokens"),
        ("sighup", "SIGHUP with many connected"),
        ("flood", "a flood of wrong passwords against one user, whose device reconnects meanwhile"),
        ("client-id", "an unknown user loops on the client id of a device, which reconnects meanwhile"),
        ("oracle", "unknown user against wrong password"),
    ],
    measure,
};

fn measure(bench: &Bench, report: &mut Report) {
    let sizes = if bench.smoke { &Sizes::SMOKE } else { &Sizes::FULL };
    allow_connections(sizes.connected * 6);
    let priority =
        if has_priority() { "" } else { "; the pair has no priority over the load, which only root can give" };
    report.header.push(("pair", format!("QoS 0, 500 messages a second, open loop, over loopback{priority}")));
    for install in &bench.installs {
        let users = Users::make(sizes.crowd, install);
        let stage = Stage::new(install, &users);
        for row in bench.rows(&BENCHMARK) {
            let deed = match row {
                "first" => first_storm,
                "again" => reconnect_storm,
                "sighup" => hang_up,
                "flood" => flood,
                "client-id" => client_id,
                _ => oracle,
            };
            bench.measure(&BENCHMARK, row, &install.version, report, |report| deed(&stage, sizes, report));
        }
        let stopped = panic::catch_unwind(AssertUnwindSafe(|| stage.stop()));
        report.check(stopped.is_ok(), || format!("{}: a broker does not end: {}", install.version, message(stopped)));
    }
}

/// How the pair's figures are called in all tables.
fn figures(noticed: &Noticed) -> Vec<Figure> {
    let lost = noticed.lost as f64;
    vec![("p50_ms", noticed.p50()), ("p99_ms", noticed.p99()), ("silence_ms", noticed.silence), ("lost", lost)]
}

fn pair(stage: &Stage, port: u16) -> Pair {
    let ends = [&stage.users.publisher, &stage.users.subscriber].map(|user| connect(user, &user.name));
    Pair::start(port, &ends[0], &ends[1])
}

/// What takes less is looked at for so long all the same: the pair sends ten messages meanwhile.
const MOMENT: Duration = Duration::from_millis(20);

/// Runs something beside the pair: what it noticed of that.
fn beside_pair<T>(stage: &Stage, peer: Peer, deed: impl FnOnce(u16) -> T) -> (Noticed, T) {
    let port = stage.broker(peer).port;
    let pair = pair(stage, port);
    let from = Instant::now();
    let result = deed(port);
    let to = Instant::now().max(from + MOMENT);
    thread::sleep(to.saturating_duration_since(Instant::now()));
    (pair.stop().between(from, to), result)
}

/// Everybody at once, until all are in.
struct Storm {
    took: Duration,
    inside: usize,
    tries: u32,
    most_tries: u32,
}

fn storm(load: &mut Load, patience: Duration) -> Storm {
    let start = Instant::now();
    let (mut tries, mut most_tries, mut last) = (0, 0, start);
    load.run(start + patience, |_, tried, outcome| {
        tries += 1;
        most_tries = most_tries.max(tried);
        last = Instant::now();
        if outcome == Outcome::In { Next::Stay } else { Next::Again(back_off(tried)) }
    });
    Storm { took: last - start, inside: load.count_in(), tries, most_tries }
}

fn crowd<'a>(stage: &Stage<'a>, peer: Peer, users: &'a [User]) -> Load<'a> {
    Load::new(stage.broker(peer).port, users.len(), |number, _| connect(&users[number], &users[number].name))
}

/// Long enough for the broker to have seen off those that left.
const PAUSE: Duration = Duration::from_millis(100);

/// Who storms: a peer, by which users, and what that is called.
fn crowds<'a>(stage: &Stage<'a>, sizes: &Sizes, slow: &'static str) -> Vec<(String, Peer, &'a [User])> {
    let people = &stage.users.people[..sizes.crowd];
    let stock = [Peer::None, Peer::Trivial, Peer::PasswordFile, Peer::DynamicSecurity];
    let mut all: Vec<_> = stock.map(|peer| (peer.name().to_owned(), peer, people)).into();
    all.push(("ours, tokens".to_owned(), Peer::Ours, &stage.users.devices[..sizes.crowd]));
    all.push((format!("ours, {slow}"), Peer::Ours, people));
    all
}

fn first_storm(stage: &Stage, sizes: &Sizes, report: &mut Report) {
    const ROW: &str = "first storm";
    let version = &stage.install.version;
    let mut trivial = f64::NAN;
    for (name, peer, users) in crowds(stage, sizes, "argon2id") {
        let mut load = crowd(stage, peer, users);
        let (noticed, storm) = beside_pair(stage, peer, |_| storm(&mut load, sizes.patience));
        load.disconnect();
        thread::sleep(PAUSE);

        let Storm { took, inside, tries, most_tries } = storm;
        let mut line = figures(&noticed);
        line.extend([("in", inside as f64), ("all_in_s", took.as_secs_f64())]);
        line.extend([("tries", f64::from(tries)), ("most_tries", f64::from(most_tries))]);
        report.line(ROW, version, &name, line);
        let all = users.len();
        report.check(inside == all && !noticed.latencies.is_empty(), || {
            format!("{version}, {ROW}, {name}: {inside} of {all} in, {} messages", noticed.latencies.len())
        });
        if peer == Peer::Trivial {
            trivial = noticed.silence;
        }
        if !name.ends_with("argon2id") || sizes.smoke {
            continue;
        }
        let got_in = format!("{inside} of {all} in after {:.1} s, {most_tries} tries at most", took.as_secs_f64());
        report.target(ROW, version, inside == all, format!("{got_in} (all)"));
        let (p50, p99, silence) = (noticed.p50(), noticed.p99(), noticed.silence - trivial);
        if stage.install.is_at_least("2.1") {
            report.target(ROW, version, p99 <= 10.0, format!("p99 {} ms (at most 10)", show(p99)));
        } else {
            let text = format!("silence {} ms above trivial's (at most 40)", show(silence));
            report.target(ROW, version, silence <= 40.0, text);
            report.target(ROW, version, p50 < 20.0, format!("p50 {} ms (under 20)", show(p50)));
        }
    }
}

fn reconnect_storm(stage: &Stage, sizes: &Sizes, report: &mut Report) {
    const ROW: &str = "reconnect storm";
    /// As many as a listener's queue holds: each storm is as fast as its broker, and no faster.
    const AT_ONCE: usize = 90;
    /// They are short where logins are.
    const STORMS_IN_A_ROW: usize = 3;
    let version = &stage.install.version;
    let crowds = crowds(stage, sizes, "remembered");
    // Where the first storm was left out.
    let mut known = crowd(stage, Peer::Ours, &stage.users.people[..sizes.crowd]);
    storm(&mut known, sizes.patience);
    known.disconnect();
    thread::sleep(PAUSE);

    let mut all: Vec<_> = crowds.iter().map(|_| (Noticed::default(), Vec::new(), true)).collect();
    for _ in 0..sizes.storms {
        for ((_, peer, users), (sum, took, complete)) in crowds.iter().zip(&mut all) {
            let pair = pair(stage, stage.broker(*peer).port);
            let mut load = crowd(stage, *peer, users).at_once(AT_ONCE);
            let mut times = Vec::new();
            for _ in 0..STORMS_IN_A_ROW {
                let from = Instant::now();
                let storm = storm(&mut load, sizes.patience);
                times.push((from, Instant::now().max(from + MOMENT)));
                load.disconnect();
                thread::sleep(PAUSE);
                took.push(milliseconds(storm.took));
                *complete &= storm.inside == users.len();
            }
            let messages = pair.stop();
            times.into_iter().for_each(|(from, to)| sum.add(messages.between(from, to)));
        }
    }
    let trivial = all[1].0.p99();
    for ((name, ..), (noticed, took, complete)) in crowds.iter().zip(&all) {
        let mut line = figures(noticed);
        line.push(("all_in_ms", median(took)));
        report.line(ROW, version, name, line);
        report
            .check(*complete && !noticed.latencies.is_empty(), || format!("{version}, {ROW}, {name}: not all got in"));
        if name.starts_with("ours") && !sizes.smoke {
            let p99 = noticed.p99();
            let text = format!("{name}: p99 {} ms (at most 5, or 1.5 x trivial's {})", show(p99), show(trivial));
            report.target(ROW, version, p99 <= 5.0 || p99 <= 1.5 * trivial, text);
        }
    }
}

fn hang_up(stage: &Stage, sizes: &Sizes, report: &mut Report) {
    const ROW: &str = "SIGHUP";
    let version = &stage.install.version;
    let peers = [Peer::None, Peer::Trivial, Peer::PasswordFile, Peer::DynamicSecurity, Peer::Ours];
    let users: Vec<&User> = stage.users.people.iter().chain(&stage.users.devices).collect();
    let mut loads = Vec::new();
    for peer in peers {
        let mut load = Load::new(stage.broker(peer).port, sizes.connected, |number, _| {
            let user = users[number % users.len()];
            connect(user, &format!("{}-{number}", user.name))
        });
        let inside = storm(&mut load, sizes.patience).inside;
        let all = sizes.connected;
        report.check(inside == all, || format!("{version}, {ROW}, {}: {inside} of {all} connected", peer.name()));
        loads.push(load);
    }
    let mut all: Vec<(Noticed, Vec<f64>)> = peers.iter().map(|_| Default::default()).collect();
    for _ in 0..sizes.hang_ups {
        for (peer, (sum, silences)) in peers.into_iter().zip(&mut all) {
            let broker = stage.broker(peer);
            let (noticed, ()) = beside_pair(stage, peer, |_| {
                broker.hang_up();
                thread::sleep(Duration::from_millis(400));
            });
            silences.push(noticed.silence);
            sum.add(noticed);
        }
    }
    let trivial = all[1].1.clone();
    for ((peer, load), (noticed, silences)) in peers.into_iter().zip(&mut loads).zip(&all) {
        let above: Vec<f64> = silences.iter().zip(&trivial).map(|(silence, trivial)| silence - trivial).collect();
        let (above, inside) = (median(&above), load.count_in());
        let mut line = figures(noticed);
        line.extend([
            ("median_silence_ms", median(silences)),
            ("above_trivial_ms", above),
            ("still_in", inside as f64),
        ]);
        report.line(ROW, version, peer.name(), line);
        report.check(inside == sizes.connected && !noticed.latencies.is_empty(), || {
            format!("{version}, {ROW}, {}: {inside} of {} still connected", peer.name(), sizes.connected)
        });
        if peer == Peer::Ours && !sizes.smoke {
            let text = format!("silence {} ms above trivial's, median of {} (at most 5)", show(above), silences.len());
            report.target(ROW, version, above <= 5.0, text);
        }
    }
    loads.iter_mut().for_each(Load::disconnect);
    thread::sleep(5 * PAUSE);
}

/// What attackers were told.
#[derive(Default)]
struct Attack {
    tries: u32,
    inside: u32,
}

/// As fast as the loopback takes them: each attacker tries again as soon as it is refused.
fn attack(load: &mut Load, until: Instant, attack: &mut Attack) {
    load.run(until, |_, _, outcome| {
        attack.tries += 1;
        attack.inside += u32::from(outcome == Outcome::In);
        Next::Again(Duration::ZERO)
    });
}

/// A device that comes and goes: how many tries each of its logins took.
#[derive(Default)]
struct Comings {
    tries: Vec<f64>,
    /// Those of a login that has not succeeded yet.
    vain: u32,
}

/// A device that tries again after 0.1 s.
fn come_and_go(port: u16, user: &User, client_id: &str, until: Instant, comings: &mut Comings) {
    while Instant::now() < until {
        let mut client = Client::open(port, V311);
        comings.vain += 1;
        if client.connect(&connect(user, client_id)) == Ok((false, 0)) {
            comings.tries.push(f64::from(std::mem::take(&mut comings.vain)));
            client.disconnect();
        }
        thread::sleep(PAUSE);
    }
}

const ATTACKERS: usize = 8;

fn flood(stage: &Stage, sizes: &Sizes, report: &mut Report) {
    const ROW: &str = "flood";
    let version = &stage.install.version;
    let (person, device) = (&stage.users.people[0], &stage.users.devices[0]);
    let mut all: Vec<(&str, Peer, &User, Noticed, Attack, Comings)> = [
        ("deny-all", Peer::DenyAll, device),
        ("password_file", Peer::PasswordFile, device),
        ("dynsec", Peer::DynamicSecurity, device),
        ("ours, token", Peer::Ours, device),
        ("ours, remembered", Peer::Ours, person),
    ]
    .map(|(name, peer, user)| (name, peer, user, Noticed::default(), Attack::default(), Comings::default()))
    .into();
    for (_, peer, user, .., comings) in &mut all {
        if *peer != Peer::DenyAll {
            // Its login is remembered, where that is done.
            let soon = Instant::now() + Duration::from_millis(1);
            come_and_go(stage.broker(*peer).port, user, &user.name, soon, comings);
        }
    }
    for _ in 0..sizes.floods {
        for (_, peer, user, sum, attacked, comings) in &mut all {
            let wrong = User { password: "wrong horse".to_owned(), ..user.clone() };
            let (noticed, ()) = beside_pair(stage, *peer, |port| {
                let mut load = Load::new(port, ATTACKERS, |number, tried| {
                    connect(&wrong, &format!("{}-{number}-{tried}", wrong.name))
                });
                let until = Instant::now() + sizes.flood;
                thread::scope(|scope| {
                    scope.spawn(|| attack(&mut load, until, attacked));
                    come_and_go(port, user, &user.name, until, comings);
                });
            });
            sum.add(noticed);
            thread::sleep(PAUSE);
        }
    }
    let deny_all = all[0].3.p99();
    for (name, peer, _, noticed, Attack { tries, inside }, comings) in &all {
        let seconds = sizes.flood.as_secs_f64() * sizes.floods as f64;
        let mut line = figures(noticed);
        line.push(("guesses_per_s", (f64::from(*tries) / seconds).round()));
        line.extend(came(*peer, comings));
        report.line(ROW, version, name, line);
        let heard = !noticed.latencies.is_empty();
        report.check(heard && *inside == 0 && *tries > 0, || {
            format!("{version}, {ROW}, {name}: {inside} of {tries} got in")
        });
        if *peer != Peer::DenyAll {
            report.check(!comings.tries.is_empty(), || format!("{version}, {ROW}, {name}: the device does not get in"));
        }
        if *peer == Peer::Ours && !sizes.smoke {
            let p99 = noticed.p99();
            let text = format!("{name}: p99 {} ms (at most 2 x deny-all's {})", show(p99), show(deny_all));
            report.target(ROW, version, p99 <= 2.0 * deny_all, text);
            let (logins, most) = (comings.tries.len(), most_tries(comings));
            let text = format!("{name}: the device got in {logins} times, with {most:.0} tries at most");
            report.target(ROW, version, logins > 0 && comings.vain == 0, text);
        }
    }
}

fn client_id(stage: &Stage, sizes: &Sizes, report: &mut Report) {
    const ROW: &str = "client id";
    let version = &stage.install.version;
    let device = &stage.users.devices[0];
    for peer in [Peer::PasswordFile, Peer::DynamicSecurity, Peer::Ours, Peer::OursTrusting] {
        let (mut attacked, mut comings) = (Attack::default(), Comings::default());
        let (noticed, ()) = beside_pair(stage, peer, |port| {
            let mut load = Load::new(port, ATTACKERS, |number, tried| {
                let name = format!("nobody-{number}-{tried}");
                connect(&User { name, password: "wrong horse".to_owned(), string: String::new() }, &device.name)
            });
            let until = Instant::now() + 2 * sizes.flood;
            thread::scope(|scope| {
                scope.spawn(|| attack(&mut load, until, &mut attacked));
                come_and_go(port, device, &device.name, until, &mut comings);
            });
        });
        let Attack { tries, inside } = attacked;
        let mut line = figures(&noticed);
        line.push(("tries_per_s", (f64::from(tries) / 2.0 / sizes.flood.as_secs_f64()).round()));
        line.extend(came(peer, &comings));
        report.line(ROW, version, peer.name(), line);
        report.check(inside == 0 && tries > 0 && !noticed.latencies.is_empty(), || {
            format!("{version}, {ROW}, {}: {inside} of {tries} got in", peer.name())
        });
        report.check(!comings.tries.is_empty(), || {
            format!("{version}, {ROW}, {}: the device does not get in", peer.name())
        });
        if matches!(peer, Peer::Ours | Peer::OursTrusting) && !sizes.smoke {
            let most = most_tries(&comings);
            let text = format!(
                "{}: the token device got in within {most:.0} tries, {} times (3)",
                peer.name(),
                comings.tries.len()
            );
            report.target(ROW, version, !comings.tries.is_empty() && most <= 3.0, text);
        }
    }
}

/// The most tries that a login took; one that was still in vain counts too.
fn most_tries(comings: &Comings) -> f64 {
    comings.tries.iter().copied().fold(f64::from(comings.vain), f64::max)
}

fn came(peer: Peer, comings: &Comings) -> [Figure; 3] {
    if peer == Peer::DenyAll {
        return [("device_in", f64::NAN), ("median_tries", f64::NAN), ("most_tries", f64::NAN)];
    }
    let logins = comings.tries.len() as f64;
    [("device_in", logins), ("median_tries", median(&comings.tries)), ("most_tries", most_tries(comings))]
}

fn oracle(stage: &Stage, sizes: &Sizes, report: &mut Report) {
    const ROW: &str = "oracle";
    /// Two samples of one distribution are taken for two as rarely as that.
    const LEVEL: f64 = 0.01;
    let version = &stage.install.version;
    let mixture: Vec<&User> = stage.users.mixed().collect();
    for peer in [Peer::PasswordFile, Peer::DynamicSecurity, Peer::OursTrusting] {
        let port = stage.broker(peer).port;
        // Those who only know people and devices have no mixture of formats either.
        let known = if peer == Peer::OursTrusting { &mixture[..] } else { &mixture[..1] };
        let mut refused = 0;
        let mut guess = |name: String, attempt: usize| {
            let client_id = format!("{name}-{attempt}");
            let user = User { name, password: "wrong horse".to_owned(), string: String::new() };
            let mut client = Client::open(port, V311);
            let start = Instant::now();
            refused += usize::from(client.connect(&connect(&user, &client_id)) == Ok((false, REFUSED_3)));
            let took = start.elapsed();
            // A broker that checks passwords by itself may do so for a share of its time.
            if !stage.install.is_at_least("2.1") {
                thread::sleep(took);
            }
            milliseconds(took)
        };
        let (mut wrong, mut unknown) = (Vec::new(), Vec::new());
        for attempt in 0..sizes.guesses {
            let user = known[fastrand::usize(..known.len())].name.clone();
            let nobody = format!("nobody{attempt:04}");
            if fastrand::bool() {
                wrong.push(guess(user, attempt));
                unknown.push(guess(nobody, attempt));
            } else {
                unknown.push(guess(nobody, attempt));
                wrong.push(guess(user, attempt));
            }
        }
        let (distance, p) = kolmogorov_smirnov(&wrong, &unknown);
        let apart = (median(&unknown) / median(&wrong) - 1.0) * 100.0;
        let medians = [("wrong_p50_ms", median(&wrong)), ("unknown_p50_ms", median(&unknown)), ("apart_%", apart)];
        let line = medians.into_iter().chain([("ks_d", distance), ("ks_p", p)]).collect();
        report.line(ROW, version, peer.name(), line);
        let all = 2 * sizes.guesses;
        report.check(refused == all, || format!("{version}, {ROW}, {}: {refused} of {all} refused", peer.name()));
        if peer == Peer::OursTrusting && !sizes.smoke {
            report.target(ROW, version, apart.abs() <= 5.0, format!("medians {apart:+.1} % apart (at most 5)"));
            let text = format!("Kolmogorov-Smirnov D {distance:.3}, p {p:.3} (p at least {LEVEL})");
            report.target(ROW, version, p >= LEVEL, text);
        }
    }
}
