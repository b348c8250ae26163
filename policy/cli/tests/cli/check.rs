use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::host::{Folder, PROGRAM, Ran, good, skipped};

/// A user that owns nothing.
const NOBODY: u32 = 65_534;

#[test]
fn a_good_policy_is_counted_in_one_line() {
    let folder = Folder::with(good());
    folder.run("check policy.toml").is(0, "policy.toml: ok: 2 users, 1 role, 4 rules, 2 tests passed\n", "");
    folder.write("policy.toml", "version = 1\n", 0o644);
    folder.run("check policy.toml").is(0, "policy.toml: ok: 0 users, 0 roles, 0 rules, no tests\n", "");
}

#[test]
fn the_reference_policy_is_good() {
    let folder = Folder::with(include_str!("../../../../deploy/policy.toml"));
    let secret = mqtt_acl_policy::hash(b"secret").unwrap();
    folder.subfolder("users.d");
    folder.write("users.d/device.toml", format!("[users.dev00001]\npassword = \"{secret}\"\n"), 0o640);
    let ran = folder.run("check policy.toml");
    assert_eq!((ran.status, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    assert!(ran.out.starts_with("policy.toml: ok: 5 users, 3 roles, "), "{ran:?}");
    assert!(ran.out.ends_with(" tests passed\n"), "{ran:?}");
}

#[test]
fn warnings_are_said_and_are_no_problem() {
    let folder = Folder::with("version = 1\n[users.a]\nclient_id = [\"*\"]\n");
    let ran = folder.run("check policy.toml");
    assert_eq!((ran.status, ran.out.as_str()), (Some(0), "policy.toml: ok: 1 user, 0 roles, 0 rules, no tests\n"));
    assert!(ran.err.starts_with("policy.toml:3:") && ran.err.contains(": warning: "), "{}", ran.err);
    assert_eq!(ran.err.lines().count(), 1);
}

#[test]
fn every_problem_is_a_line_with_its_place() {
    let folder =
        Folder::with("version = 1\n[roles.a]\npublish = [\"a/#/b\"]\nsubcribe = []\n[users.u]\nroles = [\"b\"]\n");
    let ran = folder.run("check policy.toml");
    assert_eq!((ran.status, ran.out.as_str()), (Some(1), ""));
    let lines: Vec<_> = ran.err.lines().collect();
    assert_eq!(lines.len(), 3, "{}", ran.err);
    assert!(lines[0].starts_with("policy.toml:3:12: `a/#/b`"), "{}", lines[0]);
    assert!(lines[1].starts_with("policy.toml:4:1: `subcribe` is not a key of role `a` (did you mean `subscribe`?)"));
    assert!(lines[2].starts_with("policy.toml:6:10: "), "{}", lines[2]);
}

#[test]
fn a_failed_test_is_a_problem() {
    let folder = Folder::with(crate::host::POLICY);
    folder.run("check policy.toml").is(
        1,
        "",
        "policy.toml:18:47: a test of the policy fails: user `dev1` with client id `dev1` can connect: the user is \
         admitted under this client id\n",
    );
}

#[test]
fn what_is_missing_or_empty_admits_nobody() {
    let folder = Folder::new();
    folder.run("check policy.toml").is(
        1,
        "",
        "policy.toml: there is no such file, and a broker that starts without it admits nobody (name the right one)\n",
    );
    folder.write("policy.toml", "# nothing yet\n\n", 0o644);
    folder.run("check policy.toml").is(
        1,
        "",
        "policy.toml: the file is empty, and a broker that starts with it admits nobody (write `version = 1` if that \
         is meant)\n",
    );
}

#[test]
fn without_a_file_it_is_the_brokers() {
    let ran = Folder::new().run("check");
    let text = [ran.out, ran.err].concat();
    assert!(text.contains("/etc/mosquitto/mqtt-acl/policy.toml"), "{text}");
}

#[test]
fn what_is_not_a_file_is_not_waited_for() {
    let folder = Folder::new();
    folder.subfolder("folder");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("pipe"), mode).unwrap();
    for name in ["folder", "pipe", "/dev/zero", "/dev/null"] {
        for command in ["check", "test"] {
            folder.run_with([command, name]).is(1, "", &format!("{name}: cannot be read: it is not a file\n"));
        }
    }
}

#[test]
fn what_is_not_utf_8_has_its_line() {
    let folder = Folder::with(b"version = 1\n# caf\xe9\n");
    folder.run("check policy.toml").is(1, "", "policy.toml:2:1: not UTF-8, as TOML must be\n");
}

#[test]
fn others_must_not_write() {
    let folder = Folder::new();
    folder.write("policy.toml", good(), 0o664);
    folder.run("check policy.toml").is(
        1,
        "",
        "policy.toml: the file can be written by others, mode 0664 (`chmod go-w`)\n",
    );
    folder.write("policy.toml", good(), 0o644);
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let ran = folder.run("check policy.toml");
    assert_eq!(ran.status, Some(1));
    assert!(ran.err.contains("can be written by others, mode 0777"), "{}", ran.err);
}

#[test]
fn file_names_do_not_reach_the_terminals_controls() {
    let folder = Folder::with("version = 1\ninclude = [\"users.d/*.toml\"]\n");
    folder.subfolder("users.d");
    folder.write("users.d/a\u{1b}[2J\n\u{202e}.toml", "nonsense = 1\n", 0o644);
    let ran = folder.run("check policy.toml");
    ran.is_tame();
    assert_eq!((ran.status, ran.err.lines().count()), (Some(1), 1), "{}", ran.err);
    assert!(ran.err.starts_with("users.d/a\\u{1b}[2J\\u{a}\\u{202e}.toml:1:1: `nonsense`"), "{}", ran.err);
}

/// A copy of the program and the folder's policy, run as another user; `None` where this takes rights we lack.
fn as_nobody(folder: &Folder, arguments: &[&str]) -> Option<Ran> {
    if !rustix::process::geteuid().is_root() {
        skipped("running as another user takes root");
        return None;
    }
    // The build's own folder may be one that only root enters.
    let program = folder.path().join("mqtt-acl");
    // By another process, for one that is started meanwhile would inherit the open file, and keep it from being run.
    assert!(Command::new("cp").arg(PROGRAM).arg(&program).status().unwrap().success());
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(program);
    command.current_dir(folder.path()).args(arguments).uid(NOBODY).gid(NOBODY);
    match command.output() {
        Ok(output) => Some(Ran::of(output)),
        Err(error) => {
            skipped(&format!("another user cannot run what is in the folder for temporary files: {error}"));
            None
        }
    }
}

#[test]
fn what_cannot_be_read_says_so() {
    let folder = Folder::new();
    folder.write("policy.toml", good(), 0o000);
    let ran = if rustix::process::geteuid().is_root() {
        as_nobody(&folder, &["check", "policy.toml"])
    } else {
        Some(folder.run("check policy.toml"))
    };
    let Some(ran) = ran else { return };
    ran.is(1, "", "policy.toml: cannot be read: Permission denied (os error 13)\n");
}

#[test]
fn owners_are_root_the_broker_and_who_runs_it() {
    let folder = Folder::with(good());
    let Some(ran) = as_nobody(&folder, &["check", "policy.toml"]) else { return };
    assert_eq!(ran.status, Some(0), "{ran:?}");
    std::os::unix::fs::chown(folder.path().join("policy.toml"), Some(NOBODY), None).unwrap();
    let ran = as_nobody(&folder, &["check", "policy.toml"]).unwrap();
    assert_eq!(ran.status, Some(0), "{ran:?}");
    folder.run("check policy.toml").is(
        1,
        "",
        "policy.toml: the file is owned by user 65534, who could change it (`chown root`, or to the broker's user)\n",
    );
    if mqtt_acl_policy::user_id("nobody") == Some(NOBODY) {
        assert_eq!(folder.run("check --broker-user nobody policy.toml").status, Some(0));
    } else {
        skipped("there is no user `nobody` of the usual number");
    }
}

#[test]
fn what_the_broker_could_not_read_is_told() {
    if mqtt_acl_policy::user_id("nobody") != Some(NOBODY) || !rustix::process::geteuid().is_root() {
        return skipped("only root can give a file away, and `nobody` has to be there");
    }
    let folder = Folder::with("version = 1\n");
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder.write("policy.toml", "version = 1\n", 0o600);
    let line = "policy.toml: the broker's user `nobody` cannot read the file (`chown nobody`)\n";
    folder.run("check --broker-user nobody policy.toml").is(1, "", line);
    assert_eq!(folder.run("check policy.toml").status, Some(0), "only in its usual place, or where the user is named");
    folder.write("policy.toml", "version = 1\n", 0o644);
    assert_eq!(folder.run("check --broker-user nobody policy.toml").status, Some(0));
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    let ran = folder.run("check --broker-user nobody policy.toml");
    assert!(ran.status == Some(1) && ran.err.contains("may not enter the folder"), "{ran:?}");
}
