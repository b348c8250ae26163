//! The plugin inside the stock brokers, each test once for every version: what a client sees on the wire.

#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "the benchmarks use the rest")]
#[path = "../support/mod.rs"]
mod support;

mod audit;
mod connect;
mod deliver;
mod deployment;
mod examples;
mod hostile;
mod identity;
mod last_good;
mod listeners;
mod live;
mod log;
mod logins;
mod publish;
mod refusals;
mod reload;
mod session;
mod soak;
mod start;
mod subscribe;
mod sweep;
mod will;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};

use support::broker::{Install, plugin};

/// A test, and what it needs: the reason why it cannot run in a broker that lacks it.
pub(crate) struct Test {
    name: &'static str,
    run: fn(&Install),
    lacks: fn(&Install) -> Option<&'static str>,
}

/// A table of tests: `[name, other if condition]`.
macro_rules! tests {
    ($($name:ident $(if $lacks:expr)?),* $(,)?) => {
        pub(crate) const TESTS: &[$crate::Test] = &[$($crate::Test {
            name: stringify!($name),
            run: $name,
            lacks: { let _lacks: fn(&$crate::Install) -> Option<&'static str> = |_| None; $(let _lacks = $lacks;)? _lacks },
        }),*];
    };
}
pub(crate) use tests;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Tests wait more than they compute.
    arguments.test_threads.get_or_insert(4);
    let installs = match Install::all() {
        Ok(installs) => installs,
        Err(problem) => return fail(&problem),
    };
    if !plugin().is_file() {
        return fail(&format!("{} is missing: cargo build --release", plugin().display()));
    }
    let installs: Vec<_> = installs.into_iter().map(Arc::new).collect();

    let mut trials = Vec::new();
    let mut left_out = Vec::new();
    for test in MODULES.iter().copied().flatten() {
        for install in &installs {
            let name = format!("{}::{}", install.version, test.name);
            match (test.lacks)(install) {
                Some(reason) => {
                    left_out.push(format!("{name}: {reason}"));
                    trials.push(Trial::test(format!("{name} ({reason})"), || Ok(())).with_ignored_flag(true));
                }
                None => trials.push(Trial::test(name, {
                    let install = Arc::clone(install);
                    move || {
                        (test.run)(&install);
                        install.started_reference().inspect(|broker| broker.assert_serving());
                        Ok(())
                    }
                })),
            }
        }
    }

    let whole = !arguments.list && arguments.filter.is_none();
    let conclusion = libtest_mimic::run(&arguments, trials);
    for broker in installs.iter().filter_map(|install| install.started_reference()) {
        broker.stop();
    }
    if whole && !left_out.is_empty() {
        eprintln!("!! {} tests could not run:\n   {}", left_out.len(), left_out.join("\n   "));
    }
    conclusion.exit_code()
}

const MODULES: &[&[Test]] = &[
    audit::TESTS,
    connect::TESTS,
    deliver::TESTS,
    deployment::TESTS,
    examples::TESTS,
    hostile::TESTS,
    identity::TESTS,
    last_good::TESTS,
    listeners::TESTS,
    live::TESTS,
    log::TESTS,
    logins::TESTS,
    publish::TESTS,
    refusals::TESTS,
    reload::TESTS,
    session::TESTS,
    soak::TESTS,
    start::TESTS,
    subscribe::TESTS,
    sweep::TESTS,
    will::TESTS,
];

fn fail(problem: &str) -> ExitCode {
    eprintln!("error: {problem}");
    ExitCode::FAILURE
}
