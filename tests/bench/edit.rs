//! What others notice of an edit of a large policy (S35): a pair that has nothing to do with it, beside a thousand clients.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::access::Access;
use crate::load::{Folder, PAIR, let_all_read, publisher_again};
use crate::pair::Pair;
use crate::peers::COMMON;
use crate::report::{Report, show};
use crate::scale::Scale;
use crate::stats::median;
use crate::support::broker::{Broker, Install, Setup, TOKEN_STRING, set_mode};
use crate::support::mqtt::Client;
use crate::workload::Size;

/// The user whose edit it is: disabled, and so disconnected, and enabled, in turn.
const EDITED: &str = "edited";
/// How long a broker may take to start with a million users, or to put an edit in force.
const PATIENCE: Duration = Duration::from_secs(60);
/// What may follow once a policy is in force: sessions are looked at in the turns after it.
const AFTER: Duration = Duration::from_millis(500);

struct Sizes {
    users: usize,
    clients: usize,
    rounds: usize,
}

const FULL: Sizes = Sizes { users: 1_000_000, clients: 1_000, rounds: 5 };
const SMOKE: Sizes = Sizes { users: 100, clients: 10, rounds: 2 };

pub(crate) fn measure(install: &Install, smoke: bool, report: &mut Report) {
    const ROW: &str = "load, edit";
    let sizes = if smoke { &SMOKE } else { &FULL };
    let folder = Folder::new();
    let (policy, _) = Scale::of(sizes.users).write(&folder.0).expect("a policy");
    save(&folder.0, sizes.clients, false);
    let_all_read(&folder.0, &policy);
    let conf = format!("plugin {{plugin}}\nplugin_opt_policy_file {}\n", policy.display());
    let setup = Setup::conf(&format!("{COMMON}listener {{port}} 127.0.0.1\n{conf}")).patience(PATIENCE);
    let mut ours = Side::start(install, Access::Ours, &setup, sizes.clients);
    let setup = Access::Trivial.setup(install, Size { rules: 1, users: 1 });
    let mut trivial = Side::start(install, Access::Trivial, &setup, sizes.clients);

    let (mut times, mut silences, mut without, mut above) = (vec![], vec![], vec![], vec![]);
    for round in 0..sizes.rounds {
        let is_disabled = round % 2 == 0;
        let connect = Access::Ours.connect(EDITED, EDITED);
        let client = is_disabled.then(|| ours.broker.client_with(&connect));
        let start = Instant::now();
        let silence = ours.silence(|broker| {
            let (log, start) = (broker.log_len(), Instant::now());
            save(&folder.0, sizes.clients, is_disabled);
            broker.wait_log(log, |line| line.contains("policy in force"), "the edit");
            times.push(start.elapsed().as_secs_f64());
            thread::sleep(AFTER);
        });
        // The same time, in the same minute, where nothing is edited.
        let span = start.elapsed();
        let base = trivial.silence(|_| thread::sleep(span));
        client.into_iter().for_each(|mut client| _ = client.closed());
        let is_admitted = matches!(ours.broker.try_client(&connect).1, Ok((_, 0)));
        assert_eq!(is_admitted, !is_disabled, "the edit is in force");
        silences.push(silence);
        without.push(base);
        above.push(silence - base);
    }
    [&mut ours, &mut trivial].into_iter().for_each(Side::assert_connected);
    let line = vec![
        ("users", sizes.users as f64),
        ("clients", sizes.clients as f64),
        ("in_force_s", median(&times)),
        ("silence_ms", median(&silences)),
        ("trivial_ms", median(&without)),
        ("above_ms", median(&above)),
        ("highest_ms", above.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
    ];
    report.line(ROW, &install.version, "ours", line);
    if !smoke {
        let (users, rounds, above) = (sizes.users, sizes.rounds, median(&above));
        let text = format!(
            "an edit among {users} users: silence {} ms above trivial's, the median of {rounds} (at most 5)",
            show(above)
        );
        report.target(ROW, &install.version, above <= 5.0, text);
    }
    [ours, trivial].into_iter().for_each(|side| _ = side.broker.stop());
}

/// A broker and its clients.
struct Side {
    access: Access,
    broker: Broker,
    clients: Vec<Client>,
}

impl Side {
    fn start(install: &Install, access: Access, setup: &Setup, clients: usize) -> Self {
        let broker = Broker::running(install, setup);
        let client = |number| {
            let name = name(number);
            let mut client = broker.client_with(&access.connect(&name, &name));
            assert_eq!(client.subscribe(&format!("bench/{name}")), Ok(1));
            client
        };
        let clients = (0..clients).map(client).collect();
        Self { access, broker, clients }
    }

    /// The longest time, in milliseconds, in which the pair got nothing while something went on.
    fn silence(&self, deed: impl FnOnce(&Broker)) -> f64 {
        let [publisher, subscriber] = PAIR.map(|name| self.access.connect(name, name));
        let pair = Pair::start(self.broker.port, &publisher, &subscriber);
        let start = Instant::now();
        deed(&self.broker);
        // Answered once the broker is through with what it does at once.
        drop(self.broker.client_with(&publisher_again(self.access)));
        let noticed = pair.stop().between(start, Instant::now());
        assert_eq!(noticed.lost, 0, "messages of the pair");
        noticed.silence
    }

    fn assert_connected(&mut self) {
        for client in &mut self.clients {
            assert_eq!(client.ping(), Ok(()), "a client that the edits do not concern");
        }
    }
}

fn name(number: usize) -> String {
    format!("client{number:04}")
}

/// Writes the file of all who log in, and exchanges it for the old one, as editors do.
fn save(folder: &Path, clients: usize, is_disabled: bool) {
    let mut text = "[roles.pair]\npublish = [\"bench/pair\"]\nsubscribe = [\"bench/pair\"]\n\
                    [roles.client]\nsubscribe = [\"bench/%u\"]\n"
        .to_owned();
    let mut user = |name: &str, role: &str, rest: &str| {
        let _ = writeln!(text, "[users.{name}]\nroles = [\"{role}\"]\npassword = \"{TOKEN_STRING}\"\n{rest}");
    };
    PAIR.iter().for_each(|name| user(name, "pair", ""));
    (0..clients).for_each(|number| user(&name(number), "client", ""));
    user(EDITED, "client", &format!("disabled = {is_disabled}"));
    let (new, file) = (folder.join("new"), folder.join("users.d/clients.toml"));
    fs::write(&new, text).expect("the clients' file");
    set_mode(&new, 0o644);
    fs::rename(&new, &file).expect("the clients' file");
}
