//! The audit file where it cannot be written.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use crate::{
    ALICE, OTHERS, assert_answers, device,
    host::{Host, WRITE},
    library::library,
    policy::{Policy, devices},
};

/// The kernel sends SIGXFSZ, which ends a process that does not expect it.
pub(crate) fn a_disk_that_is_full_does_not_hold_up_the_broker(host: &mut Host) {
    const ROOM: u64 = 3_000;
    let policy = Policy::new(&devices(["alice", "bob"]));
    let file = policy.folder().join("audit.json");
    host.load(0, 0, &library());
    let answer = host.init(&[("policy_file", &policy.file()), ("audit_file", &file)]);
    assert_eq!(answer.value, Some(0), "{:#?}", answer.lines);
    host.tick();
    host.limit_files(Some(ROOM));
    let text = |host: &mut Host| {
        host.tick();
        fs::read_to_string(&file).unwrap_or_default()
    };
    let mut logins = 0;
    let mut log_in = |host: &mut Host| {
        logins += 1;
        assert!(host.login(ALICE, &device("alice")));
        host.disconnect(ALICE, -1);
    };
    let said = |host: &Host, what: &str| host.log.iter().any(|line| line.contains("audit file") && line.contains(what));
    until(|| {
        log_in(host);
        host.tick();
        said(host, "cannot be written")
    });
    for _ in 0..50 {
        log_in(host);
    }
    assert!(host.login(ALICE, &device("alice")));
    assert!(!host.acl(WRITE, ALICE, OTHERS));
    assert!(text(host).len() as u64 <= ROOM);

    host.limit_files(None);
    until(|| {
        log_in(host);
        host.tick();
        said(host, "written again")
    });
    assert!(host.login(super::BOB, &device("bob")));
    assert_answers(host);
    host.cleanup();
    host.unload();
    let whole = fs::read_to_string(&file).unwrap();
    let (mut lost, mut written, mut broken) = (0, 0, 0);
    for line in whole.lines() {
        match serde_json::from_str::<serde_json::Value>(line) {
            Ok(record) if record["event"] == "lost" => lost += record["count"].as_u64().unwrap(),
            Ok(record) => written += u64::from(record["event"] == "login"),
            // Where the disk was full.
            Err(_) => broken += 1,
        }
    }
    assert!(lost > 0 && broken <= 1 && whole.ends_with('\n'), "{lost} lost, {broken} broken: {whole}");
    assert!(written + lost >= logins, "{written} logins written and {lost} records lost of {logins}: {whole}");
}

/// Waits for something that is to come.
pub(crate) fn until(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(120), "it does not come to it");
        thread::sleep(Duration::from_millis(2));
    }
}
