//! What one decision costs, in process: no broker, nothing but the engine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use toml::{Table, Value};

use crate::callgrind;
use crate::peers::{folder, program};
use crate::report::{Report, show};
use crate::workload::{Size, TOPICS};
use crate::{Bench, Benchmark};

pub(crate) const BENCHMARK: Benchmark = Benchmark {
    name: "decide",
    rows: &[
        ("instructions", "one decision: instructions"),
        ("time", "one decision: nanoseconds, hot, and cold among all users"),
    ],
    measure,
};

/// By number of rules, for a publisher of a hundred.
pub(crate) const RULES: [usize; 5] = [1, 10, 100, 1000, 10_000];
/// Where the broker column of other tables is.
const PLACE: &str = "none";

fn measure(bench: &Bench, report: &mut Report) {
    for row in bench.rows(&BENCHMARK) {
        let deed = if row == "time" { time } else { instructions };
        bench.measure(&BENCHMARK, row, "in process", report, |report| deed(bench, report));
    }
}

fn time(bench: &Bench, report: &mut Report) {
    const ROW: &str = "decide, time";
    let (blocks, most) = if bench.smoke { (3, 10_000) } else { (2000, 1_000_000) };
    let mut sizes: Vec<_> = RULES.map(|rules| Size { rules, users: 100 }).into();
    sizes.extend([1, 10_000, most].map(|users| Size { rules: 10, users }));
    for size in sizes {
        let output =
            decider(&mut Command::new(program(DECIDER)), size, blocks, &["one-topic", "allowed", "refused", "cold"]);
        let medians: Vec<f64> = output.lines().filter_map(|line| line.split(' ').nth(1)?.parse().ok()).collect();
        let [one_topic, allowed, refused, cold] = medians[..] else { panic!("not four medians: {output}") };
        let spread = output.lines().last().map(|line| line.split(' ').skip(2).filter_map(|figure| figure.parse().ok()));
        let [low, high] = spread.into_iter().flatten().collect::<Vec<f64>>()[..] else { panic!("no spread: {output}") };
        let line = [
            ("rules", size.rules as f64),
            ("users", size.users as f64),
            ("one_topic_ns", one_topic),
            ("hot_allowed_ns", allowed),
            ("hot_refused_ns", refused),
            ("cold_ns", cold),
            ("cold_p10_ns", low),
            ("cold_p90_ns", high),
        ];
        report.line(ROW, PLACE, "ours", line.into());
        if size.rules == 10 && !bench.smoke {
            let users = size.users;
            if users == 1 {
                report.target(ROW, PLACE, allowed <= 40.0, format!("hot {} ns (at most 40)", show(allowed)));
            } else if users == most {
                let text = format!("cold among {users} users {} ns (at most 150)", show(cold));
                report.target(ROW, PLACE, cold <= 150.0, text);
            }
        }
    }
}

fn instructions(bench: &Bench, report: &mut Report) {
    const ROW: &str = "decide, instructions";
    const WORKLOADS: [&str; 3] = ["one-topic", "allowed", "refused"];
    let Some(valgrind) = callgrind::system() else {
        report.skip("instructions of a decision: there is no valgrind here (apt-get install valgrind)");
        return;
    };
    let recorded = Recorded::open();
    let mut counted = Table::new();
    for rules in RULES {
        let size = Size { rules, users: 100 };
        let figures = WORKLOADS.map(|workload| {
            const BLOCKS: usize = 3;
            // In each process a user has other neighbours to be told from. Of a hundred users that makes no difference.
            let processes = if workload == "one-topic" { 5 } else { 1 };
            let least = (0..processes).map(|_| count(&valgrind, size, BLOCKS, workload)).min();
            least.expect("one process at least") as f64 / (BLOCKS * TOPICS) as f64
        });
        let [one_topic, allowed, refused] = figures;
        let line = vec![("rules", rules as f64), ("one_topic", one_topic), ("allowed", allowed), ("refused", refused)];
        report.line(ROW, PLACE, "ours", line);
        for (workload, figure) in WORKLOADS.into_iter().zip(figures) {
            counted.insert(format!("{workload}, {rules} rules"), Value::Float(figure.round()));
        }
    }
    if bench.record {
        recorded.write(counted);
        return;
    }
    recorded.compare(&counted, report);
}

/// Instructions of so many blocks, without what comes before them.
fn count(valgrind: &Path, size: Size, blocks: usize, workload: &str) -> i64 {
    let file = folder().join("callgrind.decider");
    let mut command = Command::new(valgrind);
    command.args(["--quiet", "--tool=callgrind", "--toggle-collect=decider::decide"]);
    command.arg(format!("--callgrind-out-file={}", file.display())).arg(program(DECIDER));
    decider(&mut command, size, blocks, &[workload]);
    let profile = callgrind::read(&file);
    assert_eq!(profile.function("decider::decide").calls, blocks as u64, "{workload}: what is to be counted");
    profile.total
}

const DECIDER: &str = "examples/decider";

fn decider(command: &mut Command, size: Size, blocks: usize, workloads: &[&str]) -> String {
    command.args([size.rules, size.users, blocks].map(|number| number.to_string())).args(workloads);
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// How many instructions a decision took when somebody last looked, by compiler and architecture: other compilers make other
/// code.
struct Recorded {
    file: PathBuf,
    all: Table,
    /// The compiler's release and the architecture, as they are written there.
    here: String,
}

impl Recorded {
    /// A rise beyond this fails, in percent.
    const TOLERANCE: f64 = 5.0;
    const ABOUT: &str = "# Instructions of one decision, by compiler and architecture: `tests/bench.sh decide` fails where one takes over \
                         5 % more.\n# Written by `tests/bench.sh decide --record`.\n\n";

    fn open() -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/instructions.toml");
        let text = fs::read_to_string(&file).unwrap_or_default();
        let all = text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let output = Command::new("rustc").arg("-vV").current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("rustc");
        let version = String::from_utf8_lossy(&output.stdout).into_owned();
        let release = version.lines().find_map(|line| line.strip_prefix("release: ")).expect("the compiler's release");
        let here = format!("rustc {release}, {}", env::consts::ARCH);
        Self { file, all, here }
    }

    fn write(mut self, counted: Table) {
        self.all.insert(self.here, Value::Table(counted));
        let text = format!("{}{}", Self::ABOUT, self.all);
        fs::write(&self.file, text).unwrap_or_else(|error| panic!("{}: {error}", self.file.display()));
    }

    fn compare(&self, counted: &Table, report: &mut Report) {
        let Some(recorded) = self.all.get(&self.here).and_then(Value::as_table) else {
            report.skip(&format!(
                "instructions of a decision: none are recorded for {} (tests/bench.sh decide --record)",
                self.here
            ));
            return;
        };
        for (what, figure) in counted {
            let was = recorded.get(what).and_then(Value::as_float).unwrap_or(f64::NAN);
            let is = figure.as_float().unwrap_or(f64::NAN);
            let rise = (is / was - 1.0) * 100.0;
            report.check(rise <= Self::TOLERANCE, || {
                format!(
                    "one decision, {what}: {is} instructions, {rise:+.1} % to the {was} of {} (tests/bench.sh decide --record where that is meant)",
                    self.file.display()
                )
            });
        }
    }
}
