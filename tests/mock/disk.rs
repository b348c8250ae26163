//! A disk that hangs: whoever writes to it waits, and that must not be the broker, not even at its end.

use std::fs;

use crate::{
    ALICE, BOB, assert_answers,
    audit::until,
    device,
    host::{Host, Outcome, Under},
    library::library,
    policy::{Policy, devices},
};

/// Keeping the last good policy hangs.
pub(crate) fn that_hangs_while_a_policy_is_kept(host: &mut Host) {
    let policy = Policy::new(&devices(["alice", "bob"]));
    host.run(&library(), &policy.file());
    wait_until_it_is_kept(host, &policy);
    host.hang(true);
    policy.write(&devices(["alice", "bob", "carol"]));
    assert_eq!(host.reload(), Outcome::InForce);
    // It is written to a new file, which shows that it has begun.
    until(|| {
        host.tick();
        kept(&policy).contains(&false)
    });
    assert!(host.login(ALICE, &device("alice")) && host.login(BOB, &device("bob")));
    assert_answers(host);
    end(host);
    assert_eq!(kept(&policy), [true], "it was finished");
}

/// Writing the audit file hangs.
pub(crate) fn that_hangs_while_the_audit_file_is_written(host: &mut Host) {
    let policy = Policy::new(&devices(["alice", "bob"]));
    let file = policy.folder().join("audit.json");
    host.load(0, 0, &library());
    let answer = host.init(&[("policy_file", &policy.file()), ("audit_file", &file)]);
    assert_eq!(answer.value, Some(0), "{:#?}", answer.lines);
    until(|| fs::read_to_string(&file).is_ok_and(|text| text.contains("\"policy\"")));
    // Nothing else is to hang.
    wait_until_it_is_kept(host, &policy);
    host.hang(true);
    // More than there is room for, where that does not take minutes.
    let (most, overflows) = if host.under == Under::Valgrind { (100, false) } else { (5_000, true) };
    for _ in 0..most {
        assert!(host.login(ALICE, &device("alice")));
        host.disconnect(ALICE, -1);
    }
    assert!(host.login(ALICE, &device("alice")) && host.login(BOB, &device("bob")));
    assert_answers(host);
    end(host);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.ends_with('\n'), "whole lines");
    assert_eq!(text.contains("\"lost\""), overflows, "what did not fit is counted");
}

/// The broker's end; the thread that waits for the disk goes on in a library that is unmapped otherwise.
fn end(host: &mut Host) {
    host.cleanup();
    host.unload();
    until(|| host.threads().len() <= 1);
    assert_eq!(host.threads().len(), 1, "it waits still, and no other");
    host.hang(false);
    host.assert_no_thread("the one that waited");
}

/// The files of the last good policy: whether each is finished.
fn kept(policy: &Policy) -> Vec<bool> {
    let files = fs::read_dir(policy.folder().join("state")).into_iter().flatten().flatten();
    files.map(|file| !file.file_name().to_string_lossy().starts_with('.')).collect()
}

fn wait_until_it_is_kept(host: &mut Host, policy: &Policy) {
    until(|| {
        host.tick();
        kept(policy) == [true]
    });
}
