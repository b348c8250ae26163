//! `plugin_opt_audit_file`: what happened, as lines of JSON.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::broker::{Broker, Install, PASSWORD, PLUGIN, Setup, set_mode};
use crate::support::mqtt::{Connect, NOT_AUTHORIZED, PATIENCE, Publish, V5, V311};

crate::tests![
    what_happens_is_written,
    client_text_forges_nothing,
    a_rotated_file_is_left_at_sighup,
    what_is_no_file_does_not_hold_up_the_broker,
];

const POLICY: &str = r##"
version = 1
[users.alice]
publish   = ["a/#"]
subscribe = ["a/#", "b/#"]
password  = "{password}"
[users.bob]
publish   = ["#"]
password  = "{password}"
"##;

const LESS: &str = r##"
version = 1
[users.alice]
publish   = ["a/#"]
subscribe = ["a/#"]
password  = "{password}"
"##;

fn with_audit(install: &Install, test: impl FnOnce(&Broker, &Path)) {
    let conf = format!("listener {{port}} 127.0.0.1\n{PLUGIN}plugin_opt_audit_file {{folder}}/data/audit.json\n");
    install.with(&Setup::conf(&conf).with_policy(POLICY), |broker| {
        let file = broker.folder.join("data/audit.json");
        test(broker, &file);
    });
}

/// What is in the file so far. The broker's user owns it, and only that may read it.
fn records(file: &Path) -> Vec<Value> {
    let Ok(text) = fs::read_to_string(file) else { return Vec::new() };
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Waits for a record with these fields.
fn wait_for(file: &Path, event: &str, fields: &[(&str, &str)]) -> Value {
    let is_wanted = |record: &Value| {
        record["event"] == event
            && fields.iter().all(|(key, value)| record[key].as_str().is_some_and(|text| text.contains(value)))
    };
    let start = Instant::now();
    loop {
        let all = records(file);
        if let Some(record) = all.iter().find(|record| is_wanted(record)) {
            return record.clone();
        }
        assert!(start.elapsed() < PATIENCE, "no {event} with {fields:?}: {all:#?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn what_happens_is_written(install: &Install) {
    with_audit(install, |broker, file| {
        let policy = wait_for(file, "policy", &[("file", "policy.toml")]);
        assert_eq!((&policy["users"], &policy["rules"]), (&2.into(), &4.into()));
        let who = [("user", "alice"), ("client", "alice"), ("address", "127.0.0.1")];
        let mut alice = broker.client(V5, "alice", "alice");
        let login = wait_for(file, "login", &who);
        assert!(login["at"].as_str().is_some_and(|at| at.starts_with("20") && at.ends_with('Z')), "{login}");
        broker.assert_refused(&Connect::new(V5, "alice").username("alice").password("hunter2"));
        wait_for(file, "refused_login", &[who[0], who[1], who[2], ("reason", "password is wrong")]);
        assert_eq!(alice.subscribe("b/#"), Ok(1));
        for _ in 0..5 {
            assert_eq!(alice.publish(&Publish::new("b/x", "x")), Ok(NOT_AUTHORIZED));
        }
        let first = wait_for(file, "refused", &[who[0], who[1], who[2], ("topic", "b/x"), ("action", "publish")]);
        assert_eq!((&first["reason"], &first["count"]), (&"no rule grants it".into(), &1.into()));
        broker.write_policy("version = ");
        broker.reload_logs("policy not loaded");
        let problem = wait_for(file, "policy_not_loaded", &[]);
        assert!(problem["problems"].to_string().contains("policy.toml:1:"), "{problem}");
        broker.reload(LESS);
        alice.closed();
        wait_for(file, "disconnected", &[who[0], who[1], ("reason", "subscription")]);
        // The first is written at once; those that are alike are counted, and written a little later.
        let counts = || -> Vec<u64> {
            records(file).iter().filter(|r| r["event"] == "refused").filter_map(|r| r["count"].as_u64()).collect()
        };
        let start = Instant::now();
        while counts().iter().sum::<u64>() < 5 && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
        let counts = counts();
        assert!(counts[0] == 1 && counts.iter().sum::<u64>() == 5 && counts.len() < 5, "{counts:?}");
        let text = fs::read_to_string(file).expect("the file");
        assert!(!text.contains(PASSWORD) && !text.contains("hunter2"), "{text}");
    });
}

fn client_text_forges_nothing(install: &Install) {
    with_audit(install, |broker, file| {
        let forged = "x\",\"event\":\"login\",\"user\":\"bob\\";
        broker.assert_refused(&Connect::new(V311, forged).username(forged).password("x"));
        let record = wait_for(file, "refused_login", &[]);
        let expected = forged.replace('\\', "\\\\");
        assert_eq!((&record["user"], &record["client"]), (&expected.as_str().into(), &expected.as_str().into()));
        let long = "y".repeat(60_000);
        broker.assert_refused(&Connect::new(V311, "y").username(&long).password("x"));
        let record = wait_for(file, "refused_login", &[("user", "yyy")]);
        assert_eq!(record["cut"], true);
        assert!(record.to_string().len() < 2_000, "{record}");
    });
}

/// As logrotate does it: rename, SIGHUP.
fn a_rotated_file_is_left_at_sighup(install: &Install) {
    with_audit(install, |broker, file| {
        let old: PathBuf = file.with_extension("json.1");
        broker.client(V5, "alice", "alice-1").disconnect();
        wait_for(file, "login", &[("client", "alice-1")]);
        fs::rename(file, &old).expect("the file is renamed");
        broker.client(V5, "alice", "alice-2").disconnect();
        wait_for(&old, "login", &[("client", "alice-2")]);
        broker.reload(POLICY);
        broker.client(V5, "alice", "alice-3").disconnect();
        wait_for(file, "login", &[("client", "alice-3")]);
        let before = records(&old).len();
        assert!(records(file).iter().all(|record| record["client"] != "alice-2"));
        broker.client(V5, "alice", "alice-4").disconnect();
        wait_for(file, "login", &[("client", "alice-4")]);
        assert_eq!(records(&old).len(), before);
    });
}

/// A FIFO that nobody reads, a folder, a link to elsewhere, and a folder that is not there.
fn what_is_no_file_does_not_hold_up_the_broker(install: &Install) {
    for name in ["fifo", "folder", "link", "none/audit"] {
        let conf = format!("listener {{port}} 127.0.0.1\n{PLUGIN}plugin_opt_audit_file {{folder}}/data/{name}\n");
        install.with(&Setup::conf(&conf).with_policy(POLICY), |broker| {
            let path = broker.folder.join("data").join(name);
            let said = |line: &str| line.contains("mqtt-acl: the audit file") && line.contains("cannot be written");
            if name == "none/audit" {
                broker.wait_log(0, said, "what is wrong with the file");
            } else {
                // There was nothing at first, so a file was made.
                while !path.exists() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                fs::remove_file(&path).expect("the file is removed");
                match name {
                    "fifo" => {
                        let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo");
                        assert!(made.success());
                        set_mode(&path, 0o666);
                    }
                    "folder" => fs::create_dir(&path).expect("a folder"),
                    _ => std::os::unix::fs::symlink("elsewhere", &path).expect("a link"),
                }
            }
            let start = broker.log_len();
            broker.reload(POLICY);
            for number in 0..50 {
                broker.client(V5, "alice", &format!("alice-{number}")).disconnect();
            }
            if name != "none/audit" {
                broker.wait_log(start, said, "what is wrong with the file");
            }
            assert!(!broker.folder.join("data/elsewhere").exists(), "it followed the link");
        });
    }
}
