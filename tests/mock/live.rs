//! A policy that is edited while the plugin runs, and a plugin that is killed while it keeps one.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    ALICE, OWN, assert_access, device,
    host::{Host, Outcome, Under, WRITE},
    library::library,
    log_in,
    policy::{Policy, devices},
};

fn watch(host: &mut Host, policy: &Policy) {
    host.load(0, 0, &library());
    let answer = host.init(&[("policy_file", &policy.file()), ("watch", Path::new("true"))]);
    assert_eq!(answer.value, Some(0), "init: {:#?}", answer.lines);
}

/// No callback but TICK puts an edit in force, where there is one; `$SYS` is told from there, too.
pub(crate) fn an_edit_waits_for_tick(host: &mut Host) {
    let policy = Policy::new(&devices(["alice", "bob"]));
    watch(host, &policy);
    let answer = host.tick();
    assert!(answer.says("publish $SYS/broker/mqtt-acl/policy/users 0 1"), "{answer:?}");
    log_in(host);
    policy.write(&devices(["bob"]));
    thread::sleep(Duration::from_millis(500));
    assert_access(host);
    assert_eq!(host.settle(), Outcome::InForce);
    assert!(!host.acl(WRITE, ALICE, OWN));
    let answer = host.tick();
    assert!(!answer.says("publish $SYS/broker/mqtt-acl/policy/users"), "told when it changed, not again: {answer:?}");
    // SIGHUP asks for the same, and is answered where nothing has changed.
    assert_eq!(host.reload(), Outcome::InForce);
    assert!(host.log.iter().any(|line| line.contains("in force, unchanged")), "{:#?}", host.log);
}

/// What is replaced is freed, by the thread that made it.
pub(crate) fn swaps_do_not_grow_memory(host: &mut Host) {
    let names: Vec<_> = (0..300).map(|number| format!("dev{number}")).collect();
    let text = |more: usize| devices(names.iter().map(String::as_str).chain([["alice", "bob"][more % 2]]));
    let policy = Policy::new(&text(0));
    watch(host, &policy);
    host.tick();
    let swaps = if host.under == Under::Valgrind { 4 } else { 40 };
    let swap = |host: &mut Host, number: usize| {
        policy.write(&text(number));
        assert_eq!(host.reload(), Outcome::InForce);
    };
    (1..swaps / 2).for_each(|number| swap(host, number));
    let before = host.memory();
    (swaps / 2..swaps).for_each(|number| swap(host, number));
    let grown = host.memory().saturating_sub(before);
    assert!(grown < 500 || host.under == Under::Valgrind, "{grown} pages");
}

/// `kill -9` at any moment leaves what the next start can use, though the policy is broken by then (S19).
pub(crate) fn killed_at_any_moment(host: &mut Host) {
    let rounds = if host.under == Under::Valgrind { 2 } else { 30 };
    let names: Vec<_> = (0..400).map(|number| format!("dev{number}")).collect();
    let text = |more: &str| devices(names.iter().map(String::as_str).chain(["alice", more]));
    let policy = Policy::new(&text("first"));
    let state = policy.folder().join("state");
    let mut dice = fastrand::Rng::new();
    for round in 0..rounds {
        let mut victim = Host::start(host.broker, Under::Nothing);
        watch(&mut victim, &policy);
        assert!(victim.login(ALICE, &device("alice")), "round {round}: {:#?}", victim.log);
        let last_good = victim.log.iter().any(|line| line.contains("running the policy of "));
        assert_eq!(last_good, round > 0, "round {round}: {:#?}", victim.log);
        for edit in 0..3 {
            policy.write(&text(&format!("u{round}x{edit}")));
            assert_eq!(victim.reload(), Outcome::InForce);
            thread::sleep(Duration::from_micros(dice.u64(0..20_000)));
        }
        if round == 0 {
            wait_kept(&state);
        }
        // It has not ended, so this is SIGKILL.
        drop(victim);
        policy.write(&(text("last") + "\n[users.half"));
        assert!(fs::read_dir(&state).unwrap().count() <= 2, "what is kept, and one that was not finished");
    }
}

fn wait_kept(state: &Path) {
    let kept = || fs::read_dir(state).unwrap().flatten().any(|file| is_kept(&file.path()));
    let start = Instant::now();
    while !kept() {
        assert!(start.elapsed() < Duration::from_secs(20), "nothing is kept");
        thread::sleep(Duration::from_millis(5));
    }
}

fn is_kept(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".last-good") && !name.starts_with('.')
}

/// The thread that reads policies yields to everything else.
pub(crate) fn the_loader_yields(host: &mut Host) {
    const SCHED_IDLE: &str = "5";
    let policy = Policy::new(&devices(["alice"]));
    watch(host, &policy);
    // Of the fields after the name, which is in brackets, it is the 39th.
    let schedulings = || {
        host.stats().into_iter().filter(|stat| stat.contains("(mqtt-acl-load)")).map(|stat| {
            stat.rsplit(')')
                .next()
                .and_then(|rest| rest.split_whitespace().nth(38).map(str::to_owned))
                .unwrap_or_default()
        })
    };
    let start = Instant::now();
    while schedulings().collect::<Vec<_>>() != [SCHED_IDLE] {
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", schedulings().collect::<Vec<_>>());
        thread::sleep(Duration::from_millis(5));
    }
}
