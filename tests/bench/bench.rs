//! Benchmarks of the plugin inside the stock brokers, beside its peers. `tests/bench.sh` runs them, and explains.

#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a benchmark ends by panicking")]

mod load;
mod logins;
mod pair;
mod peers;
mod report;
mod stats;
mod users;

#[expect(dead_code, reason = "the tests use all of it")]
#[path = "../support/mod.rs"]
mod support;

use std::any::Any;
use std::env;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use logins::Sizes;
use peers::Stage;
use report::Report;
use support::broker::{Engine, Install, plugin};
use users::Users;

/// The stock brokers that are measured: the oldest, and the one that can wait.
const VERSIONS: [&str; 2] = ["2.0.11", "2.1.2"];

/// The benchmarks, and the rows of each.
const BENCHMARKS: &[(&str, &[Row])] = &[("logins", logins::ROWS)];

/// A row of tables: its name, what it looks at, and what measures it.
type Row = (&'static str, &'static str, fn(&Stage, &Sizes, &mut Report));

struct Options {
    all_rows: &'static [Row],
    sizes: Sizes,
    json: Option<PathBuf>,
    rows: Vec<String>,
    versions: Vec<String>,
}

fn main() -> ExitCode {
    let result = options(env::args().skip(1)).and_then(|options| {
        let report = run(&options)?;
        print!("{}", report.text());
        if let Some(file) = &options.json {
            fs::write(file, report.json()).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        Ok(report.has_failed())
    });
    match result {
        Ok(false) => ExitCode::SUCCESS,
        Ok(true) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::from(2)
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let name = arguments.next().unwrap_or_default();
    let Some((_, all_rows)) = BENCHMARKS.iter().find(|(benchmark, _)| *benchmark == name) else {
        return Err(format!(
            "`{name}` is not a benchmark: there are {}",
            names(BENCHMARKS.iter().map(|(name, _)| *name))
        ));
    };
    let mut options = Options { all_rows, sizes: Sizes::FULL, json: None, rows: Vec::new(), versions: Vec::new() };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("`{argument}` needs a value"));
        match argument.as_str() {
            "--smoke" => options.sizes = Sizes::SMOKE,
            "--json" => options.json = Some(PathBuf::from(value()?)),
            "--row" => {
                let row = value()?;
                if !all_rows.iter().any(|(name, ..)| *name == row) {
                    return Err(format!(
                        "`{row}` is not a row: there are {}",
                        names(all_rows.iter().map(|(name, ..)| *name))
                    ));
                }
                options.rows.push(row);
            }
            "--broker" => options.versions.push(value()?),
            _ => return Err(format!("`{argument}` is not an option (tests/bench.sh --help names them)")),
        }
    }
    Ok(options)
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

fn run(options: &Options) -> Result<Report, String> {
    let Options { all_rows, sizes, rows, versions, .. } = options;
    if !plugin().is_file() {
        return Err(format!("{} is missing: cargo build --release --workspace", plugin().display()));
    }
    let mut installs = Install::all()?;
    installs.retain(|install| VERSIONS.contains(&install.version.as_str()));
    installs.retain(|install| versions.is_empty() || versions.contains(&install.version));
    if installs.is_empty() {
        return Err("none of these brokers is prepared".to_owned());
    }
    for install in &mut installs {
        // As plain processes: an engine's own work for a signal or a log line would be measured as the broker's.
        install.engine = Engine::Unpacked;
    }
    let wanted: Vec<_> =
        all_rows.iter().filter(|(name, ..)| rows.is_empty() || rows.iter().any(|row| row == name)).collect();
    allow_connections(sizes.connected * 6);

    let mut report = Report::default();
    report.header = header();
    let start = Instant::now();
    for install in &installs {
        let users = Users::make(sizes.crowd, install);
        let stage = Stage::new(install, &users);
        for (name, what, row) in &wanted {
            eprintln!("{}, {what}", install.version);
            let start = Instant::now();
            let done = panic::catch_unwind(AssertUnwindSafe(|| row(&stage, sizes, &mut report)));
            eprintln!("  {:.1} s", start.elapsed().as_secs_f64());
            report.check(done.is_ok(), || format!("{} {name}: {}", install.version, message(done)));
        }
        let stopped = panic::catch_unwind(AssertUnwindSafe(|| stage.stop()));
        report.check(stopped.is_ok(), || format!("{}: a broker does not end: {}", install.version, message(stopped)));
    }
    report.header.push(("took", format!("{:.0} s", start.elapsed().as_secs_f64())));
    Ok(report)
}

fn message(done: Result<(), Box<dyn Any + Send>>) -> String {
    let panic = done.err();
    let text = panic.as_ref().and_then(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied())
    });
    text.and_then(|text| text.lines().next()).unwrap_or("it panicked").to_owned()
}

/// As many sockets as may be had: thousands of clients are connected to each peer.
fn allow_connections(wanted: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    if let Some(maximum) = limit.maximum.filter(|maximum| *maximum < wanted as u64) {
        eprintln!("!! only {maximum} files may be open here, and {wanted} may be needed: ulimit -n {wanted}, as root");
    }
}

fn header() -> Vec<(&'static str, String)> {
    let output = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
        output.map_or("unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = file("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let load = file("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ");
    let machine = format!(
        "{count} x {}, Linux {}, load {load}",
        model.trim_start_matches(['\t', ' ', ':']),
        file("/proc/sys/kernel/osrelease").trim()
    );
    let priority =
        if pair::has_priority() { "" } else { "; the pair has no priority over the load, which only root can give" };
    vec![
        ("date", output("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        ("machine", machine),
        ("commit", output("git", &["describe", "--always", "--dirty"])),
        ("command", format!("tests/bench.sh {}", env::args().skip(1).collect::<Vec<_>>().join(" "))),
        ("pair", format!("QoS 0, 500 messages a second, open loop, over loopback{priority}")),
    ]
}
