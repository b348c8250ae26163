use std::fs::File;
use std::process::Stdio;

use crate::host::{Folder, Ran, good};

#[test]
fn version_and_help_are_results() {
    let folder = Folder::new();
    folder.run("--version").is(0, concat!("mqtt-acl ", env!("CARGO_PKG_VERSION"), "\n"), "");
    for words in [
        "--help",
        "-h",
        "check --help",
        "test --help",
        "hash --help",
        "explain --help",
        "token --help",
        "user --help",
        "user add --help",
        "user remove --help",
        "user disable --help",
        "user enable --help",
        "user passwd --help",
        "user list --help",
        "user show --help",
        "doctor --help",
        "schema --help",
        "who-can --help",
    ] {
        let ran = folder.run(words);
        assert_eq!((ran.status, ran.err.as_str()), (Some(0), ""), "{words}");
        for part in ["Usage: mqtt-acl", "Examples:\n  mqtt-acl ", "Exit status:\n  0  ", "\n  2  wrong usage"] {
            assert!(ran.out.contains(part), "{words}: {part}");
        }
        let longest = ran.out.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(100), "{words}: {longest:?}");
    }
}

#[test]
fn wrong_usage_is_2_and_says_what_is_right() {
    let folder = Folder::with(good());
    for (words, part) in [
        ("", "Usage: mqtt-acl <COMMAND>"),
        ("chekc", "similar subcommands exist: 'schema', 'check'"),
        ("user", "Usage: mqtt-acl user <COMMAND>"),
        ("user ad x", "a similar subcommand exists: 'add'"),
        ("user remove", "<NAME>..."),
        ("user show", "<NAME>"),
        ("doctor a b", "unexpected argument 'b'"),
        ("schema a", "unexpected argument 'a'"),
        ("check a b", "unexpected argument 'b'"),
        ("check --brokeruser x", "a similar argument exists: '--broker-user'"),
        ("check --broker-user no-such-user policy.toml", "this machine has no user `no-such-user`"),
        ("test --broker-user no-such-user policy.toml", "this machine has no user `no-such-user`"),
        ("explain", "<FILE>"),
        ("explain policy.toml --user dev1", "<ACTION>"),
        ("explain policy.toml --user dev1 eat x", "[possible values: connect, publish, subscribe, receive]"),
        ("explain policy.toml connect", "<--user <NAME>|--anonymous>"),
        ("explain policy.toml --user dev1 --anonymous connect", "cannot be used with '--anonymous'"),
        ("explain policy.toml connect --anonymous --user dev1", "cannot be used with"),
        ("explain policy.toml --user dev1 publish", "<TOPIC>"),
        ("explain policy.toml --user dev1 connect x", "`connect` takes no topic (leave out `x`)"),
        ("who-can", "<ACTION> <TOPIC>"),
        ("who-can publish", "<TOPIC>"),
        ("who-can eat x", "[possible values: publish, subscribe, receive]"),
        (
            "who-can publish a/+ policy.toml",
            "`a/+` is not a topic name (write one topic, without wildcards, or ask what",
        ),
        ("who-can subscribe a/#/b policy.toml", "`a/#/b` is not a topic filter (write wildcards as whole levels"),
        ("who-can subscribe $share/a policy.toml", "`$share/a` is not a topic filter"),
    ] {
        let ran = folder.run(words);
        assert_eq!((ran.status, ran.out.as_str()), (Some(2), ""), "{words}: {ran:?}");
        assert!(ran.err.contains(part), "{words}: {}", ran.err);
    }
}

#[test]
fn arguments_do_not_reach_the_terminals_controls() {
    let folder = Folder::with(good());
    let evil = "\u{1b}[2J\u{7}\r\u{202e}x";
    let evil_path = format!("none/{evil}");
    for arguments in [
        vec![evil],
        vec!["check", evil],
        vec!["check", "policy.toml", evil],
        vec!["check", "--broker-user", evil],
        vec!["test", evil],
        vec!["user", evil],
        vec!["user", "add", evil, "--no-password", "--policy", "policy.toml"],
        vec!["user", "add", "x", "--no-password", "--role", evil, "--policy", "policy.toml"],
        vec!["user", "add", "x", "--no-password", "--file", evil, "--policy", "policy.toml"],
        vec!["user", "add", "x", "--token", "--out", &evil_path, "--policy", "policy.toml"],
        vec!["user", "add", "--from", evil, "--policy", "policy.toml"],
        vec!["user", "show", evil, "--policy", "policy.toml"],
        vec!["user", "list", "--policy", evil],
        vec!["token", evil, "--policy", "policy.toml"],
        vec!["doctor", evil],
        vec!["doctor", "policy.toml", "--mosquitto", evil],
        vec!["explain", evil, "--user", "dev1", "connect"],
        vec!["explain", "policy.toml", "--user", evil, "connect"],
        vec!["explain", "policy.toml", "--user", "dev1", "--client-id", evil, "connect"],
        vec!["explain", "policy.toml", "--user", "dev1", "publish", evil],
        vec!["explain", "policy.toml", "--user", "dev1", "subscribe", evil],
        vec!["explain", "policy.toml", "--user", "dev1", "connect", evil],
        vec!["explain", "policy.toml", "--user", "dev1", evil],
        vec!["explain", "policy.toml", "--user", evil, "publish", evil, "--json"],
        vec!["who-can", "publish", evil, "policy.toml"],
        vec!["who-can", "publish", evil, "policy.toml", "--json"],
        vec!["who-can", evil, "x", "policy.toml"],
        vec!["who-can", "publish", "x", evil],
    ] {
        let ran = folder.run_with(&arguments);
        ran.is_tame();
        assert!(matches!(ran.status, Some(1 | 2)), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_panic() {
    let folder = Folder::with(good());
    for words in [
        "check policy.toml",
        "test policy.toml",
        "explain policy.toml --user dev1 connect",
        "who-can publish dt/dev1/x policy.toml",
        "--help",
    ] {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        let mut command = folder.command(words.split_whitespace());
        let ran = Ran::of(command.stdout(writer).output().unwrap());
        ran.is(1, "", "");
    }
}

#[test]
fn a_result_that_cannot_be_written_is_a_problem() {
    let folder = Folder::with(good());
    let Ok(full) = File::options().write(true).open("/dev/full") else {
        return crate::host::skipped("there is no /dev/full");
    };
    let mut command = folder.command(["check", "policy.toml"]);
    let ran = Ran::of(command.stdout(Stdio::from(full)).output().unwrap());
    ran.is(1, "", "mqtt-acl: the result cannot be written: No space left on device (os error 28)\n");
}

#[test]
fn nobody_to_complain_to_is_no_panic() {
    let folder = Folder::new();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    drop(reader);
    let mut command = folder.command(["check", "policy.toml"]);
    Ran::of(command.stderr(writer).output().unwrap()).is(1, "", "");
}
