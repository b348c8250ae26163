//! Benchmarks of the plugin inside the stock brokers, beside its peers. `tests/bench.sh` runs them, and explains.

#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a benchmark ends by panicking")]

mod access;
mod callgrind;
mod chart;
mod clients;
mod decide;
mod edit;
mod load;
mod logins;
mod pair;
mod peers;
mod profile;
mod publish;
mod report;
mod stats;
mod users;
mod workload;

#[expect(dead_code, reason = "the engine's own tests use all of it")]
#[path = "../../policy/tests/support/scale.rs"]
mod scale;

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

use report::Report;
use support::broker::{Engine, Install, plugin};

/// The stock brokers that are measured: the oldest, and the one that can wait.
const VERSIONS: [&str; 2] = ["2.0.11", "2.1.2"];

/// All benchmarks, in the order of `all`.
const BENCHMARKS: [Benchmark; 4] = [decide::BENCHMARK, publish::BENCHMARK, load::BENCHMARK, logins::BENCHMARK];

/// What is measured by one name.
#[derive(Clone, Copy)]
struct Benchmark {
    name: &'static str,
    /// Its parts, and what each looks at.
    rows: &'static [(&'static str, &'static str)],
    measure: fn(&Bench, &mut Report),
}

/// What is wanted, and where.
struct Bench {
    benchmarks: Vec<Benchmark>,
    /// The brokers that are measured.
    installs: Vec<Install>,
    /// Tiny sizes, whose figures say nothing.
    smoke: bool,
    /// Writes down how many instructions a decision may take from now on.
    record: bool,
    json: Option<PathBuf>,
    svg: Option<PathBuf>,
    rows: Vec<String>,
    versions: Vec<String>,
}

fn main() -> ExitCode {
    let result = Bench::from_arguments(env::args().skip(1)).and_then(|mut bench| {
        bench.find_brokers()?;
        let report = bench.run();
        print!("{}", report.text());
        if let Some(file) = &bench.json {
            fs::write(file, report.json()).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        if let Some(file) = &bench.svg {
            let svg = chart::draw(&report, publish::BY_RULES)
                .ok_or("the chart needs the rules of publish in both brokers")?;
            fs::write(file, svg).map_err(|error| format!("{}: {error}", file.display()))?;
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

impl Bench {
    fn from_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let name = arguments.next().unwrap_or_default();
        let benchmarks: Vec<_> =
            BENCHMARKS.into_iter().filter(|benchmark| name == "all" || name == benchmark.name).collect();
        if benchmarks.is_empty() {
            let known = names(BENCHMARKS.iter().map(|benchmark| benchmark.name));
            return Err(format!("`{name}` is not a benchmark: there are {known}, and all"));
        }
        let (installs, json, svg, rows, versions) = (Vec::new(), None, None, Vec::new(), Vec::new());
        let mut bench = Self { benchmarks, installs, smoke: false, record: false, json, svg, rows, versions };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("`{argument}` needs a value"));
            match argument.as_str() {
                "--smoke" => bench.smoke = true,
                "--record" => bench.record = true,
                "--json" => bench.json = Some(PathBuf::from(value()?)),
                "--svg" => bench.svg = Some(PathBuf::from(value()?)),
                "--row" => {
                    let row = value()?;
                    let known = || bench.benchmarks.iter().flat_map(|benchmark| benchmark.rows).map(|(name, _)| *name);
                    if !known().any(|name| name == row) {
                        return Err(format!("`{row}` is not a row: there are {}", names(known())));
                    }
                    bench.rows.push(row);
                }
                "--broker" => bench.versions.push(value()?),
                _ => return Err(format!("`{argument}` is not an option (tests/bench.sh --help names them)")),
            }
        }
        Ok(bench)
    }

    fn find_brokers(&mut self) -> Result<(), String> {
        if self.benchmarks.iter().all(|benchmark| benchmark.name == decide::BENCHMARK.name) {
            return Ok(());
        }
        if !plugin().is_file() {
            return Err(format!("{} is missing: cargo build --release --workspace", plugin().display()));
        }
        self.installs = Install::all()?;
        self.installs.retain(|install| VERSIONS.contains(&install.version.as_str()));
        self.installs.retain(|install| self.versions.is_empty() || self.versions.contains(&install.version));
        if self.installs.is_empty() {
            return Err("none of these brokers is prepared".to_owned());
        }
        for install in &mut self.installs {
            // As plain processes: an engine's own work for a signal or a log line would be measured as the broker's.
            install.engine = Engine::Unpacked;
        }
        Ok(())
    }

    fn run(&self) -> Report {
        let mut report = Report::default();
        report.header = header();
        for benchmark in &self.benchmarks {
            let start = Instant::now();
            (benchmark.measure)(self, &mut report);
            report.header.push((benchmark.name, format!("took {:.0} s", start.elapsed().as_secs_f64())));
        }
        report
    }

    /// The parts of a benchmark that are wanted.
    fn rows(&self, benchmark: &Benchmark) -> impl Iterator<Item = &'static str> {
        let names = benchmark.rows.iter().map(|(name, _)| *name);
        names.filter(|name| self.rows.is_empty() || self.rows.iter().any(|row| row == name))
    }

    /// Measures a part; whatever goes wrong there is a failure of the report, and not the end.
    fn measure(
        &self,
        benchmark: &Benchmark,
        row: &str,
        place: &str,
        report: &mut Report,
        deed: impl FnOnce(&mut Report),
    ) {
        let what = benchmark.rows.iter().find(|(name, _)| *name == row).map_or("", |(_, what)| *what);
        eprintln!("{place}, {what}");
        let start = Instant::now();
        let done = panic::catch_unwind(AssertUnwindSafe(|| deed(report)));
        eprintln!("  {:.1} s", start.elapsed().as_secs_f64());
        report.check(done.is_ok(), || format!("{place} {row}: {}", message(done)));
    }
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
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

/// The arguments, but for where the figures are written to.
fn command(mut arguments: impl Iterator<Item = String>) -> String {
    let mut kept = Vec::new();
    while let Some(argument) = arguments.next() {
        if matches!(argument.as_str(), "--json" | "--svg") {
            arguments.next();
        } else {
            kept.push(argument);
        }
    }
    kept.join(" ")
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
    vec![
        ("date", output("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        ("machine", machine),
        ("commit", output("git", &["describe", "--always", "--dirty"])),
        ("command", format!("tests/bench.sh {}", command(env::args().skip(1)))),
    ]
}
