//! A policy that is edited while the broker runs: taken up without SIGHUP, however it is written, and told in `$SYS`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::broker::{Broker, Install, PASSWORD, Setup, fill_policy, set_mode};
use crate::support::mqtt::{Client, Connect, NOT_AUTHORIZED, PATIENCE, Publish, V5, V311};

crate::tests![
    an_edit_takes_effect_however_it_is_written,
    an_included_file_that_comes_or_goes_takes_effect,
    links_that_lead_elsewhere_take_effect,
    a_half_written_policy_is_waited_out,
    a_broken_edit_changes_nothing_until_it_is_mended,
    a_policy_whose_tests_fail_changes_nothing,
    without_watching_an_edit_waits_for_sighup,
    an_edit_takes_effect_where_nothing_ticks,
    the_state_is_told_to_operators_alone,
    the_metrics_are_what_prometheus_reads,
    a_metrics_file_that_cannot_be_written_is_no_harm,
    an_edit_of_a_thousand_users_takes_effect_within_a_second,
];

/// The plugin as it is by default, with its files where it may write.
pub(crate) const LIVE: &str = "plugin {plugin}\nplugin_opt_policy_file {policy}\n\
                               plugin_opt_state_dir {folder}/data/mqtt-acl\nplugin_opt_metrics_file {folder}/data/mqtt-acl.prom\n";

pub(crate) fn live(policy: &str) -> Setup {
    Setup::conf(&format!("listener {{port}} 127.0.0.1\n{LIVE}")).with_policy(policy)
}

/// A policy with these users, who are devices, and an operator.
pub(crate) fn policy(users: &[&str]) -> String {
    let mut text = String::from(
        r##"version = 1
[roles.device]
publish   = ["dt/%u/#"]
subscribe = ["cmd/%u/#"]
[users.operator]
publish   = ["#"]
subscribe = ["#", "$SYS/broker/mqtt-acl/#"]
password  = "{password}"
[[test]]
user   = "operator"
can    = { receive = ["$SYS/broker/mqtt-acl/version"] }
"##,
    );
    for user in users {
        writeln!(text, "[users.{user}]\nroles = [\"device\"]\npassword = \"{{password}}\"").expect("a text");
    }
    text
}

pub(crate) fn is_admitted(broker: &Broker, user: &str) -> bool {
    broker.try_client(&Connect::new(V5, user).username(user).password(PASSWORD)).1.expect("an answer").1 == 0
}

/// Waits for the log's word on a policy.
pub(crate) fn wait_in_force(broker: &Broker, start: usize) {
    broker.wait_log(start, |line| line.contains("mqtt-acl: policy in force"), "the policy in force");
}

fn wait_not_loaded(broker: &Broker, start: usize) {
    broker.wait_log(start, |line| line.contains("mqtt-acl: policy not loaded"), "the policy not loaded");
}

/// Edits, and waits until the edit is in force.
fn edits(broker: &Broker, edit: impl FnOnce()) {
    let start = broker.log_len();
    edit();
    wait_in_force(broker, start);
}

fn write(path: &Path, text: &str) {
    fs::write(path, fill_policy(text)).expect("written in place");
    set_mode(path, 0o644);
}

fn an_edit_takes_effect_however_it_is_written(install: &Install) {
    install.with(&live(&policy(&["alice"])), |broker| {
        let file = broker.policy_file();
        let mut alice = broker.client(V5, "alice", "alice");
        assert!(!is_admitted(broker, "bob"));
        edits(broker, || write(&file, &policy(&["alice", "bob"])));
        assert!(is_admitted(broker, "bob"), "written in place");
        edits(broker, || broker.write_policy(&policy(&["alice"])));
        assert!(!is_admitted(broker, "bob"), "renamed");
        // As vim does: the old one becomes the backup.
        edits(broker, || {
            fs::rename(&file, broker.folder.join("policy.toml~")).expect("the backup");
            write(&file, &policy(&["alice", "carol"]));
        });
        assert!(is_admitted(broker, "carol"), "moved away and written anew");
        edits(broker, || {
            let text = fill_policy(&policy(&["alice", "dave"]));
            let appended = text.split_at(text.len() / 2);
            let mut to = File::create(&file).expect("truncated");
            to.write_all(appended.0.as_bytes()).expect("the first half");
            to.write_all(appended.1.as_bytes()).expect("the second half");
        });
        assert!(is_admitted(broker, "dave") && !is_admitted(broker, "carol"));
        assert_eq!(alice.ping(), Ok(()), "nobody was disconnected");
        // A change of nothing is none.
        let start = broker.log_len();
        broker.write_policy(&policy(&["alice", "dave"]));
        edits(broker, || broker.hang_up());
        assert!(broker.log_from(start).contains("in force, unchanged"), "{}", broker.log_from(start));
    });
}

fn an_included_file_that_comes_or_goes_takes_effect(install: &Install) {
    let main = policy(&["alice"]).replace("version = 1", "version = 1\ninclude = [\"data/users.d/*.toml\"]");
    let bob = "[users.bob]\nroles = [\"device\"]\npassword = \"{password}\"\n";
    install.with(&live(&policy(&["alice"])), |broker| {
        let data = broker.folder.join("data");
        let users = data.join("users.d");
        // S18: the folder on the way must be safe.
        set_mode(&data, 0o755);
        fs::create_dir(&users).expect("a folder");
        set_mode(&users, 0o755);
        edits(broker, || broker.write_policy(&main));
        edits(broker, || write(&users.join("bob.toml"), bob));
        assert!(is_admitted(broker, "bob"));
        edits(broker, || fs::rename(users.join("bob.toml"), users.join("bob.off")).expect("renamed"));
        assert!(!is_admitted(broker, "bob") && is_admitted(broker, "alice"));
        edits(broker, || fs::rename(users.join("bob.off"), users.join("robert.toml")).expect("renamed"));
        assert!(is_admitted(broker, "bob"));
        edits(broker, || write(&users.join("robert.toml"), &bob.replace("roles", "disabled = true\nroles")));
        assert!(!is_admitted(broker, "bob"));
        edits(broker, || fs::remove_file(users.join("robert.toml")).expect("removed"));
        // The folder itself, moved away and made anew.
        let start = broker.log_len();
        fs::rename(&users, data.join("gone")).expect("renamed");
        wait_not_loaded(broker, start);
        edits(broker, || {
            fs::create_dir(&users).expect("a folder");
            set_mode(&users, 0o755);
            write(&users.join("bob.toml"), bob);
        });
        assert!(is_admitted(broker, "bob"));
        set_mode(&data, 0o777);
    });
}

/// As Kubernetes mounts what changes: a link to a link to a folder, and the one in the middle is exchanged.
fn links_that_lead_elsewhere_take_effect(install: &Install) {
    install.with(&live(&policy(&["alice"])), |broker| {
        let version = |number: u32, users: &[&str]| {
            let folder = broker.folder.join(format!("..v{number}"));
            fs::create_dir(&folder).expect("a folder");
            set_mode(&folder, 0o755);
            write(&folder.join("policy.toml"), &policy(users));
            symlink(format!("..v{number}"), broker.folder.join("..new")).expect("a link");
            fs::rename(broker.folder.join("..new"), broker.folder.join("..data")).expect("exchanged");
        };
        edits(broker, || {
            version(1, &["alice", "bob"]);
            symlink("..data/policy.toml", broker.folder.join("link")).expect("a link");
            fs::rename(broker.folder.join("link"), broker.policy_file()).expect("the policy is a link");
        });
        assert!(is_admitted(broker, "bob"));
        for round in 0..3 {
            edits(broker, || version(2 + 2 * round, &["alice", "carol"]));
            assert!(is_admitted(broker, "carol") && !is_admitted(broker, "bob"));
            edits(broker, || version(3 + 2 * round, &["alice", "bob"]));
            assert!(is_admitted(broker, "bob") && !is_admitted(broker, "carol"));
        }
    });
}

fn a_half_written_policy_is_waited_out(install: &Install) {
    install.with(&live(&policy(&["alice", "bob"])), |broker| {
        let start = broker.log_len();
        // Half of it is a policy, too: without bob.
        let mut to = File::create(broker.policy_file()).expect("truncated");
        to.write_all(fill_policy(&policy(&["alice"])).as_bytes()).expect("the first half");
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(100));
            to.write_all(b"# to be continued\n").expect("more");
            assert!(is_admitted(broker, "bob"), "{}", broker.log_from(start));
        }
        let rest =
            "[users.bob]\nroles = [\"device\"]\npassword = \"{password}\"\n[users.carol]\npassword = \"{password}\"\n";
        to.write_all(fill_policy(rest).as_bytes()).expect("the second half");
        drop(to);
        wait_in_force(broker, start);
        assert!(is_admitted(broker, "bob") && is_admitted(broker, "carol"));
        assert_eq!(
            broker.log_from(start).matches("mqtt-acl: policy in force").count(),
            1,
            "{}",
            broker.log_from(start)
        );
    });
}

/// Somebody who is subscribed to the state, and what `$SYS` says of each topic.
pub(crate) struct Operator {
    pub(crate) client: Client,
    pub(crate) told: BTreeMap<String, String>,
}

pub(crate) fn operator(broker: &Broker) -> Operator {
    let mut client = broker.client(V5, "operator", "operator");
    assert_eq!(client.subscribe("$SYS/broker/mqtt-acl/#"), Ok(1));
    Operator { client, told: BTreeMap::new() }
}

impl Operator {
    pub(crate) fn listen(&mut self) {
        for message in self.client.received() {
            let topic = message.topic.strip_prefix("$SYS/broker/mqtt-acl/").expect("only these are asked for");
            self.told.insert(topic.to_owned(), String::from_utf8(message.payload).expect("a text"));
        }
    }

    /// Waits until a topic is as wanted.
    pub(crate) fn wait(&mut self, topic: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.listen();
            match self.told.get(topic) {
                Some(value) if wanted(value) => return value.clone(),
                other => assert!(Instant::now() < deadline, "$SYS tells of {topic}: {other:?}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The metrics, each with its labels, once they are as wanted.
fn metrics(broker: &Broker, wanted: impl Fn(&BTreeMap<String, f64>) -> bool) -> BTreeMap<String, f64> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(broker.folder.join("data/mqtt-acl.prom")).unwrap_or_default();
        let metrics: BTreeMap<_, _> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.rsplit_once(' ').expect("a name and a value"))
            .map(|(name, value)| (name.to_owned(), value.parse().expect("a number")))
            .collect();
        if wanted(&metrics) {
            return metrics;
        }
        assert!(Instant::now() < deadline, "the metrics never are as wanted:\n{text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn a_broken_edit_changes_nothing_until_it_is_mended(install: &Install) {
    let good = policy(&["alice"]);
    install.with(&live(&good), |broker| {
        let mut operator = operator(broker);
        operator.wait("policy/error", |error| error == "none");
        let hash = operator.wait("policy/sha256", |hash| hash.len() == 64);
        for (text, code) in [
            (format!("{good}[users.bob\n"), "invalid"),
            (format!("{good}publsh = [\"x\"]\n"), "invalid"),
            (String::new(), "empty"),
        ] {
            let start = broker.log_len();
            broker.write_policy(&text);
            wait_not_loaded(broker, start);
            if code == "invalid" {
                assert!(broker.log_from(start).contains("policy.toml:"), "{}", broker.log_from(start));
            }
            operator.wait("policy/error", |error| error == code);
            metrics(broker, |metrics| metrics.get(&format!("mqtt_acl_policy_error{{code=\"{code}\"}}")) == Some(&1.0));
            assert!(is_admitted(broker, "alice") && !is_admitted(broker, "bob"));
            // To the very letter what is in force.
            edits(broker, || broker.write_policy(&good));
            operator.wait("policy/error", |error| error == "none");
        }
        metrics(broker, |metrics| metrics.get("mqtt_acl_policy_error{code=\"none\"}") == Some(&0.0));
        assert!(metrics(broker, |_| true).keys().any(|name| name.contains(&hash)), "the same policy as before");
        let start = broker.log_len();
        fs::remove_file(broker.policy_file()).expect("removed");
        wait_not_loaded(broker, start);
        operator.wait("policy/error", |error| error == "missing");
        assert!(is_admitted(broker, "alice"));
        edits(broker, || broker.write_policy(&policy(&["alice", "bob"])));
        operator.wait("policy/error", |error| error == "none");
        operator.wait("policy/generation", |generation| generation == "2");
    });
}

fn a_policy_whose_tests_fail_changes_nothing(install: &Install) {
    install.with(&live(&policy(&["alice"])), |broker| {
        let start = broker.log_len();
        let test = "[[test]]\nuser = \"bob\"\ncan = { publish = [\"elsewhere\"] }\n";
        broker.write_policy(&format!("{}{test}", policy(&["alice", "bob"])));
        wait_not_loaded(broker, start);
        assert!(broker.log_from(start).contains("a test of the policy fails"), "{}", broker.log_from(start));
        assert!(is_admitted(broker, "alice") && !is_admitted(broker, "bob"));
    });
}

fn without_watching_an_edit_waits_for_sighup(install: &Install) {
    // That it is not watched is what `Setup::policy` says.
    install.with(&Setup::policy(&policy(&["alice"])), |broker| {
        let start = broker.log_len();
        broker.write_policy(&policy(&["alice", "bob"]));
        std::thread::sleep(Duration::from_secs(3));
        assert!(!is_admitted(broker, "bob") && !broker.log_from(start).contains("mqtt-acl: policy"));
        edits(broker, || broker.hang_up());
        assert!(is_admitted(broker, "bob"));
    });
}

/// S23: 2.0.11 does not tick with these settings.
fn an_edit_takes_effect_where_nothing_ticks(install: &Install) {
    let conf = format!("per_listener_settings true\nlistener {{port}} 127.0.0.1\n{LIVE}");
    install.with(&Setup::conf(&conf).with_policy(&policy(&["alice", "bob"])), |broker| {
        let mut alice = broker.client(V5, "alice", "alice");
        let mut bob = broker.client(V5, "bob", "bob");
        assert_eq!(bob.subscribe("cmd/bob/#"), Ok(1));
        broker.write_policy(&policy(&["alice"]));
        let deadline = Instant::now() + PATIENCE;
        // A broker that ticks disconnects him.
        while !matches!(bob.subscribe("cmd/bob/#"), Ok(NOT_AUTHORIZED) | Err(_)) {
            assert!(Instant::now() < deadline, "the new policy never takes effect:\n{}", broker.log_text());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(alice.publish(&Publish::new("dt/alice/x", "x")).map(|code| code & 0x80), Ok(0));
        // The pass after SIGHUP is answered as ever: nobody is refused amid it (S21).
        broker.hang_up();
        assert_eq!(alice.ping(), Ok(()));
        assert!(is_admitted(broker, "alice"));
        // Bob may be taken for a session that is asked about again; it may do nothing.
        let (mut bob, answer) = broker.try_client(&Connect::new(V5, "bob").username("bob").password(PASSWORD));
        if answer.is_ok_and(|(_, code)| code == 0) {
            assert_eq!(bob.subscribe("cmd/bob/#"), Ok(NOT_AUTHORIZED));
        }
    });
}

/// S33.
fn the_state_is_told_to_operators_alone(install: &Install) {
    install.with(&live(&policy(&["alice"])), |broker| {
        let mut alice = broker.client(V311, "alice", "alice");
        for filter in ["$SYS/#", "$SYS/broker/mqtt-acl/#", "$SYS/broker/mqtt-acl/version"] {
            assert_eq!(alice.subscribe(filter), Ok(0x80), "{filter}");
        }
        let mut operator = operator(broker);
        assert_eq!(operator.wait("version", |_| true), env!("CARGO_PKG_VERSION"));
        drop(operator);
        // Whoever comes later is told all of it at once.
        let mut operator = self::operator(broker);
        let messages = operator.client.received();
        // What changes meanwhile comes as well.
        let told: BTreeMap<_, _> = messages
            .into_iter()
            .filter(|message| message.retain)
            .map(|message| (message.topic, String::from_utf8(message.payload).expect("a text")))
            .collect();
        let is = |topic: &str, value: &str| {
            assert_eq!(told.get(&format!("$SYS/broker/mqtt-acl/{topic}")).map(String::as_str), Some(value), "{told:?}");
        };
        is("policy/users", "2");
        is("policy/rules", "5");
        is("policy/generation", "1");
        is("policy/error", "none");
        let text = fs::read(broker.policy_file()).expect("the policy");
        let list = format!("{}  {}\n", mqtt_acl_policy::Hash::of(&text), broker.policy_file().display());
        is("policy/sha256", &mqtt_acl_policy::Hash::of(list.as_bytes()).to_string());
        let loaded = told.get("$SYS/broker/mqtt-acl/policy/loaded-at").expect("a time");
        assert!(loaded.len() == 20 && loaded.ends_with('Z') && loaded.contains('T'), "{loaded}");
        assert!(!told.contains_key("$SYS/broker/mqtt-acl/policy/last-good-of"));
        // Counted, and told before long.
        let before: u64 = told["$SYS/broker/mqtt-acl/refusals"].parse().expect("a number");
        for _ in 0..3 {
            assert_eq!(alice.publish(&Publish::new("dt/bob/x", "x")), Ok(0));
        }
        broker.assert_refused(&Connect::new(V311, "alice").username("alice").password("wrong"));
        let number = |value: &str| value.parse::<u64>().expect("a number");
        operator.wait("failures", |failures| number(failures) == 1);
        operator.wait("refusals", |refusals| number(refusals) >= before + 3);
        operator.wait("logins", |logins| number(logins) >= 3);
        operator.wait("decisions", |decisions| number(decisions) >= before + 10);
        assert_eq!(alice.topics(), [""; 0]);
    });
}

fn the_metrics_are_what_prometheus_reads(install: &Install) {
    install.with(&live(&policy(&["alice"])), |broker| {
        let found = metrics(broker, |metrics| metrics.contains_key("mqtt_acl_policy_users"));
        assert_eq!(found["mqtt_acl_policy_users"], 2.0);
        assert_eq!(found["mqtt_acl_policy_rules"], 5.0);
        assert!(found["mqtt_acl_policy_loaded_seconds"] > 1.7e9);
        let text = fs::read_to_string(broker.folder.join("data/mqtt-acl.prom")).expect("the metrics");
        for line in text.lines() {
            let name = |text: &str| text.bytes().all(|b| b == b'_' || b.is_ascii_lowercase());
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["#", "HELP", metric, ..] => assert!(name(metric), "{line}"),
                ["#", "TYPE", metric, "gauge" | "counter"] => assert!(name(metric), "{line}"),
                [metric, _] => assert!(name(metric.split('{').next().expect("a name")), "{line}"),
                _ => panic!("not a line of metrics: {line}"),
            }
        }
        edits(broker, || broker.write_policy(&policy(&["alice", "bob"])));
        let found = metrics(broker, |metrics| metrics["mqtt_acl_policy_users"] == 3.0);
        assert_eq!(found["mqtt_acl_policy_generation"], 2.0);
    });
}

/// A disk that is full, or not there, is no reason not to serve.
fn a_metrics_file_that_cannot_be_written_is_no_harm(install: &Install) {
    let conf = LIVE
        .replace("{folder}/data/mqtt-acl.prom", "/dev/full/metrics")
        .replace("{folder}/data/mqtt-acl", "/nonexistent/x");
    let setup = Setup::conf(&format!("listener {{port}} 127.0.0.1\n{conf}")).with_policy(&policy(&["alice"]));
    install.with(&setup, |broker| {
        broker.wait_log(
            0,
            |line| line.contains("the metrics file `/dev/full/metrics` cannot be written"),
            "the metrics file",
        );
        broker.wait_log(0, |line| line.contains("the last good policy is not kept: `/nonexistent/x`"), "the folder");
        edits(broker, || broker.write_policy(&policy(&["alice", "bob"])));
        assert!(is_admitted(broker, "bob"));
        for told in ["cannot be written", "is not kept"] {
            assert_eq!(broker.log_text().matches(told).count(), 1, "once:\n{}", broker.log_text());
        }
    });
}

/// The time is told; what is asserted allows for machines that do other things, too.
fn an_edit_of_a_thousand_users_takes_effect_within_a_second(install: &Install) {
    let names: Vec<_> = (0..1_000).map(|number| format!("dev{number:05}")).collect();
    let mut names: Vec<_> = names.iter().map(String::as_str).collect();
    install.with(&live(&policy(&names)), |broker| {
        let mut took = Vec::new();
        for round in 0..5 {
            let added = ["ann", "ben", "cid", "dan", "eve"][round];
            names.push(added);
            let start = Instant::now();
            edits(broker, || broker.write_policy(&policy(&names)));
            took.push(start.elapsed());
            assert!(is_admitted(broker, added));
        }
        took.sort_unstable();
        eprintln!("{}: an edit of 1,000 users is in force after {:?}, at most {:?}", install.version, took[2], took[4]);
        assert!(took[0] < Duration::from_secs(5), "{took:?}");
    });
}
