//! What it costs to start with many users, and to read them again: time, memory, and what others notice (S37).

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::access::{Access, dynsec_client};
use crate::edit;
use crate::pair::Pair;
use crate::peers::{COMMON, DYNSEC, dynsec};
use crate::report::{Report, show};
use crate::scale::{ROLES, Scale};
use crate::support::broker::{Broker, Install, PBKDF2, Setup, TOKEN_STRING, set_mode};
use crate::{Bench, Benchmark};

pub(crate) const BENCHMARK: Benchmark = Benchmark {
    name: "load",
    rows: &[
        ("load", "start and SIGHUP with many users"),
        ("edit", "an edit of one among many users, beside a thousand clients"),
    ],
    measure,
};

/// Who reads what of its users from a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    None,
    PasswordFile,
    AclFile,
    DynamicSecurity,
    /// Users with a role and an argon2id string, and nothing else.
    OursPlain,
    Ours,
}

impl Peer {
    const ALL: [Self; 6] =
        [Self::None, Self::PasswordFile, Self::AclFile, Self::DynamicSecurity, Self::OursPlain, Self::Ours];

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::PasswordFile => "password_file",
            Self::AclFile => "acl_file",
            Self::DynamicSecurity => "dynsec",
            Self::OursPlain => "ours, plain",
            Self::Ours => "ours",
        }
    }

    fn limit(self) -> Duration {
        if self.is_large() { 4 * LIMIT } else { LIMIT }
    }

    fn is_ours(self) -> bool {
        matches!(self, Self::OursPlain | Self::Ours)
    }

    /// Those that may be asked for a million.
    fn is_large(self) -> bool {
        self == Self::PasswordFile || self.is_ours()
    }
}

/// Beyond that nobody waits for a broker to start, unless it can have a million users.
const LIMIT: Duration = Duration::from_secs(30);
pub(crate) const PAIR: [&str; 2] = ["pair-publisher", "pair-subscriber"];

fn measure(bench: &Bench, report: &mut Report) {
    for install in &bench.installs {
        for row in bench.rows(&BENCHMARK) {
            bench.measure(&BENCHMARK, row, &install.version, report, |report| match row {
                "edit" => edit::measure(install, bench.smoke, report),
                _ => by_users(install, bench.smoke, report),
            });
        }
    }
}

fn by_users(install: &Install, smoke: bool, report: &mut Report) {
    let sizes: &[usize] = if smoke { &[1, 100] } else { &[1, 10_000, 100_000, 1_000_000] };
    for peer in Peer::ALL {
        let mut base = f64::NAN;
        for users in sizes.iter().filter(|users| **users <= 100_000 || peer.is_large()) {
            let users = if peer == Peer::None { 0 } else { *users };
            let figures = load(install, peer, users, base);
            let is_done = figures.is_some();
            let figures = figures.unwrap_or([f64::NAN; FIGURES]);
            if base.is_nan() {
                base = figures[4];
            }
            line(&install.version, peer, users, figures, report);
            if peer == Peer::None || !is_done {
                break;
            }
        }
    }
}

const FIGURES: usize = 11;
const NAMES: [&str; FIGURES] = [
    "file_mb",
    "read_s",
    "start_s",
    "start_cpu_s",
    "rss_mb",
    "start_peak_mb",
    "bytes_per_user",
    "reload_s",
    "reload_peak_mb",
    "silence_ms",
    "lost",
];

fn line(version: &str, peer: Peer, users: usize, figures: [f64; FIGURES], report: &mut Report) {
    const ROW: &str = "load";
    let name = if figures[2].is_nan() {
        format!("{} (not in {} s)", peer.name(), peer.limit().as_secs())
    } else {
        peer.name().to_owned()
    };
    let users_figure = [("users", users as f64)];
    report.line(ROW, version, &name, users_figure.into_iter().chain(NAMES.into_iter().zip(figures)).collect());
    if !peer.is_ours() || users < 100_000 {
        return;
    }
    let [file, read, start, _, rss, peak, each, ..] = figures;
    let who = format!("{}, {users} users", peer.name());
    if start.is_nan() {
        report.target(ROW, version, false, format!("{who}: it does not start"));
        return;
    }
    let most = if users == 100_000 { 0.3 } else { 1.0 };
    let text = format!("{who}: start {} s beside reading the files (at most {most})", show(start - read));
    report.target(ROW, version, start - read <= most, text);
    if users == 1_000_000 {
        report.target(ROW, version, each <= 100.0, format!("{who}: {} bytes each (at most 100)", show(each)));
        let text = format!(
            "{who}: peak {} MB, {} of them stay (file {} MB, at most twice)",
            show(peak),
            show(rss),
            show(file)
        );
        report.target(ROW, version, peak <= 2.0 * file, text);
    }
}

/// Starts a broker with so many users, and reloads it; none where that takes too long.
fn load(install: &Install, peer: Peer, users: usize, base: f64) -> Option<[f64; FIGURES]> {
    let folder = Folder::new();
    let (conf, size) = write(install, peer, users, &folder.0);
    let mut setup = Setup::conf(&format!("{COMMON}listener {{port}} 127.0.0.1\n{conf}")).patience(peer.limit());
    if peer == Peer::DynamicSecurity {
        setup = setup.copy(DYNSEC, &dynsec(install, "").1);
    }
    let read = reading(&folder.0);
    let start = Instant::now();
    let broker = Broker::try_running(install, &setup).ok()?;
    let (started, cpu) = (start.elapsed().as_secs_f64(), cpu_time(&broker));
    let [rss, peak] = memory(&broker);

    // What peaked before is forgotten.
    let _ = fs::write(proc(&broker, "clear_refs"), "5");
    let access = if peer.is_ours() { Access::Ours } else { Access::None };
    let [publisher, subscriber] = PAIR.map(|name| access.connect(name, name));
    let pair = Pair::start(broker.port, &publisher, &subscriber);
    let (from, log) = (Instant::now(), broker.log_len());
    broker.hang_up();
    if peer.is_ours() {
        broker.wait_log(log, |line| line.contains("policy in force"), "the end of the reload");
    }
    let reloaded = from.elapsed().as_secs_f64();
    thread::sleep(Duration::from_millis(400));
    // Answered once the broker is through with what it does at once.
    drop(broker.client_with(&publisher_again(access)));
    let noticed = pair.stop().between(from, Instant::now());
    let reload = if peer.is_ours() { reloaded } else { noticed.silence / 1000.0 };
    let [_, reload_peak] = memory(&broker);
    broker.stop();
    // Beside the same broker with one of them.
    let each = (rss - base) * MB / users as f64;
    let file = size as f64 / MB;
    let lost = noticed.lost as f64;
    Some([file, read, started, cpu, rss, peak, each, reload, reload_peak, noticed.silence, lost])
}

const MB: f64 = 1e6;

pub(crate) fn publisher_again(access: Access) -> crate::support::mqtt::Connect {
    access.connect(PAIR[0], &format!("{}-again", PAIR[0]))
}

/// A folder that every user may look into.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("mqtt-acl-bench-{}", std::process::id()));
        fs::create_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        set_mode(&folder, 0o755);
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes the peer's file: the lines of mosquitto.conf that name it, and its size.
fn write(install: &Install, peer: Peer, users: usize, folder: &Path) -> (String, u64) {
    let file = folder.join("users");
    let names = || PAIR.map(str::to_owned).into_iter().chain((0..users).map(Scale::name));
    let save = |texts: &mut dyn Iterator<Item = String>| {
        let mut out = BufWriter::new(File::create(&file).expect("a file"));
        texts.for_each(|text| out.write_all(text.as_bytes()).expect("it is written"));
        out.flush().expect("it is written");
        set_mode(&file, 0o644);
        fs::metadata(&file).expect("the file").len()
    };
    let path = file.display();
    match peer {
        Peer::None => ("allow_anonymous true\n".to_owned(), 0),
        Peer::PasswordFile => {
            let size = save(&mut names().map(|name| format!("{name}:{PBKDF2}\n")));
            (format!("allow_anonymous false\npassword_file {path}\n"), size)
        }
        Peer::AclFile => {
            let size = save(&mut names().map(|name| format!("user {name}\ntopic readwrite bench/pair\n")));
            (format!("allow_anonymous true\nacl_file {path}\n"), size)
        }
        Peer::DynamicSecurity => {
            let role = |number: usize| {
                let rules: Vec<_> = ["publishClientSend", "publishClientReceive"]
                    .map(|kind| format!(r#"{{"acltype":"{kind}","topic":"bench/pair","allow":true}}"#))
                    .into();
                format!(r#"{{"rolename":"role{number}","acls":[{}]}}"#, rules.join(","))
            };
            let roles: Vec<_> = (0..ROLES).map(role).collect();
            let access =
                r#"{"publishClientSend":false,"publishClientReceive":false,"subscribe":true,"unsubscribe":true}"#;
            let head =
                format!(r#"{{"defaultACLAccess":{access},"groups":[],"roles":[{}],"clients":["#, roles.join(","));
            let clients = names().enumerate().map(|(number, name)| {
                let role = format!("role{}", number % ROLES);
                format!("{}{}", if number > 0 { "," } else { "" }, dynsec_client(&name, &[(&role, 1)]))
            });
            let size = save(&mut [head].into_iter().chain(clients).chain(["]}".to_owned()]));
            let (lines, _) = dynsec(install, &path.to_string());
            (lines, size)
        }
        Peer::OursPlain | Peer::Ours => {
            let scale = if peer == Peer::Ours { Scale::of(users) } else { Scale::plain(users) };
            let (policy, size) = scale.write(folder).expect("a policy");
            let mut pair = "[roles.pair]\npublish = [\"bench/pair\"]\nsubscribe = [\"bench/pair\"]\n".to_owned();
            for name in PAIR {
                let _ = writeln!(pair, "[users.{name}]\nroles = [\"pair\"]\npassword = \"{TOKEN_STRING}\"");
            }
            fs::write(folder.join("users.d/pair.toml"), pair).expect("the pair");
            let_all_read(folder, &policy);
            (format!("plugin {{plugin}}\nplugin_opt_policy_file {}\n", policy.display()), size)
        }
    }
}

/// Lets the broker's user read a policy and the files that it includes.
pub(crate) fn let_all_read(folder: &Path, policy: &Path) {
    let users = folder.join("users.d");
    set_mode(&users, 0o755);
    let files = fs::read_dir(&users).expect("a folder").flatten().map(|entry| entry.path());
    files.chain([policy.to_owned()]).for_each(|file| set_mode(&file, 0o644));
}

/// How long it takes to read all files of a folder, in seconds: nobody starts faster.
fn reading(folder: &Path) -> f64 {
    let start = Instant::now();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            reading(&path);
        } else {
            std::hint::black_box(fs::read(&path).expect("a file"));
        }
    }
    start.elapsed().as_secs_f64()
}

/// What the process has had of the processors, in seconds.
fn cpu_time(broker: &Broker) -> f64 {
    let text = read(broker, "stat");
    // After the name, which may hold anything, comes the third.
    let after = text.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}

/// What the process has of memory and what it had at most, in megabytes.
fn memory(broker: &Broker) -> [f64; 2] {
    let text = read(broker, "status");
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse::<f64>().ok())
    };
    ["VmRSS:", "VmHWM:"].map(|name| field(name).map_or(f64::NAN, |kilobytes| kilobytes * 1024.0 / MB))
}

fn read(broker: &Broker, name: &str) -> String {
    let file = proc(broker, name);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn proc(broker: &Broker, name: &str) -> PathBuf {
    Path::new("/proc").join(broker.pid().as_raw_nonzero().to_string()).join(name)
}
