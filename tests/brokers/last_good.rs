//! A broker that starts with a broken policy: the last good one, without those whom the files no longer admit (S17, S19).

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::live::{is_admitted, live, operator, policy, wait_in_force};
use crate::support::broker::{Broker, Install};
use crate::support::mqtt::PATIENCE;

crate::tests![
    a_broken_policy_runs_the_last_good_one_without_those_removed,
    a_last_good_policy_has_its_time,
    a_broken_policy_may_be_refused,
    the_emergency_stop_is_stronger,
    what_is_kept_is_for_the_broker_alone,
    a_broker_that_is_killed_starts_again,
];

/// What is kept, once it is.
fn kept(broker: &Broker) -> PathBuf {
    let folder = broker.folder.join("data/mqtt-acl");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let files = fs::read_dir(&folder).map(|files| files.flatten().map(|file| file.path()).collect::<Vec<_>>());
        match files.unwrap_or_default().into_iter().find(|path| path.to_string_lossy().ends_with(".last-good")) {
            Some(path) => return path,
            None => assert!(Instant::now() < deadline, "nothing is kept:\n{}", broker.log_text()),
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until this is what is kept.
fn wait_kept(broker: &Broker, policy: &str) {
    let text = crate::support::broker::fill_policy(policy);
    let deadline = Instant::now() + PATIENCE;
    while !String::from_utf8_lossy(&fs::read(kept(broker)).unwrap_or_default()).contains(&text) {
        assert!(Instant::now() < deadline, "not kept:\n{}", broker.log_text());
        thread::sleep(Duration::from_millis(10));
    }
}

/// Something that is no policy, with all that this one says.
fn broken(policy: &str) -> String {
    format!("{policy}\n[users.half")
}

fn a_broken_policy_runs_the_last_good_one_without_those_removed(install: &Install) {
    let good = policy(&["alice", "bob", "carol"]);
    install.with(&live(&good), |broker| {
        wait_kept(broker, &good);
        broker.stop();
        // Bob was removed, and carol disabled, before the editor was left in the middle of a line.
        let edited = policy(&["alice", "carol"]).replace("[users.carol]", "[users.carol]\ndisabled = true");
        broker.write_policy(&broken(&edited));
        let start = broker.log_len();
        for _ in 0..2 {
            broker.start_again();
            let line = broker.wait_log(start, |line| line.contains("running the policy of "), "which policy runs");
            assert!(line.contains("without 2 users"), "{line}");
            assert!(broker.log_from(start).contains("policy.toml:"), "the problems are told");
            assert!(is_admitted(broker, "alice"));
            assert!(!is_admitted(broker, "bob") && !is_admitted(broker, "carol"));
            let mut operator = operator(broker);
            operator.wait("policy/error", |error| error == "invalid");
            let date = operator.wait("policy/last-good-of", |date| !date.is_empty());
            assert!(line.contains(&date), "{line} and {date}");
            drop(operator);
            // What is kept is still the whole, so that nothing is lost by starting again.
            wait_kept(broker, &good);
            broker.stop();
        }
        broker.start_again();
        let mut operator = operator(broker);
        operator.wait("policy/last-good-of", |date| !date.is_empty());
        let start = broker.log_len();
        broker.write_policy(&good);
        wait_in_force(broker, start);
        operator.wait("policy/error", |error| error == "none");
        assert!(is_admitted(broker, "bob") && is_admitted(broker, "carol"), "mended, to what was kept");
        drop(operator);
        let mut late = self::operator(broker);
        late.listen();
        assert!(!late.told.contains_key("policy/last-good-of"), "the date is taken away: {:?}", late.told);
    });
}

fn a_last_good_policy_has_its_time(install: &Install) {
    let good = policy(&["alice"]);
    install.with(&live(&good), |broker| {
        wait_kept(broker, &good);
        broker.stop();
        broker.write_policy(&broken(&good));
        let confirm = |days: u64| {
            let time = SystemTime::now() - Duration::from_secs(days * 86_400);
            File::open(kept(broker)).and_then(|file| file.set_modified(time)).expect("the time is set");
        };
        confirm(31);
        let said = broker.refuses_to_start_again();
        assert!(said.contains("last in force 31 days ago") && said.contains("does not start"), "{said}");
        confirm(29);
        broker.start_again();
        assert!(is_admitted(broker, "alice"));
        broker.stop();
        // Using it makes it no younger.
        confirm(31);
        broker.refuses_to_start_again();
        // A good policy does.
        broker.write_policy(&good);
        broker.start_again();
        let deadline = Instant::now() + PATIENCE;
        while fs::metadata(kept(broker))
            .and_then(|file| file.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age.as_secs() > 86_400))
        {
            assert!(Instant::now() < deadline, "it is not confirmed");
            thread::sleep(Duration::from_millis(10));
        }
    });
}

fn a_broken_policy_may_be_refused(install: &Install) {
    let good = policy(&["alice"]);
    let refuse = |options: &str| live(&good).option(options);
    for options in ["plugin_opt_on_bad_policy refuse\n", "plugin_opt_on_bad_policy last-good\n"] {
        install.with(&refuse(options), |broker| {
            let refuses = options.contains("refuse");
            if refuses {
                wait_in_force(broker, 0);
            } else {
                wait_kept(broker, &good);
            }
            broker.stop();
            broker.write_policy(&broken(&good));
            if refuses {
                let said = broker.refuses_to_start_again();
                assert!(said.contains("policy.toml:") && said.contains("does not start"), "{said}");
                assert!(fs::read_dir(broker.folder.join("data/mqtt-acl")).is_err(), "nothing is kept");
                broker.write_policy(&good);
            }
            broker.start_again();
            assert!(is_admitted(broker, "alice"));
        });
    }
}

/// S17: a policy that is missing or empty denies everything, whatever is kept.
fn the_emergency_stop_is_stronger(install: &Install) {
    let good = policy(&["alice"]);
    install.with(&live(&good), |broker| {
        wait_kept(broker, &good);
        for stop in [true, false] {
            broker.stop();
            if stop {
                fs::remove_file(broker.policy_file()).expect("removed");
            } else {
                broker.write_policy("# nothing\n");
            }
            broker.start_again();
            assert!(!is_admitted(broker, "alice") && !is_admitted(broker, "operator"));
        }
        let start = broker.log_len();
        broker.write_policy(&good);
        wait_in_force(broker, start);
        assert!(is_admitted(broker, "alice"), "the folder of what was missing is watched, too");
    });
}

fn what_is_kept_is_for_the_broker_alone(install: &Install) {
    let good = policy(&["alice"]);
    install.with(&live(&good), |broker| {
        wait_kept(broker, &good);
        let mode = |path: PathBuf| fs::metadata(path).expect("it is there").permissions().mode() & 0o7777;
        assert_eq!(mode(kept(broker)), 0o600);
        assert_eq!(mode(broker.folder.join("data/mqtt-acl")), 0o700);
        // What others could have written is not used.
        broker.stop();
        broker.write_policy(&broken(&good));
        let path = kept(broker);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("the mode is set");
        let said = broker.refuses_to_start_again();
        assert!(said.contains("others could have written it"), "{said}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("the mode is set");
        let whole = fs::read(&path).expect("what is kept");
        fs::write(&path, &whole[..whole.len() - 1]).expect("cut");
        let said = broker.refuses_to_start_again();
        assert!(said.contains("it is damaged"), "{said}");
        fs::write(&path, whole).expect("whole again");
        broker.start_again();
        assert!(is_admitted(broker, "alice"));
    });
}

/// SIGKILL while policies are taken up and kept. The mock host does the same more often.
fn a_broker_that_is_killed_starts_again(install: &Install) {
    install.with(&live(&policy(&["alice"])), |broker| {
        wait_kept(broker, &policy(&["alice"]));
        for round in 0..4_u32 {
            for edit in 0..=round {
                broker.write_policy(&policy(&["alice", &format!("u{round}x{edit}")]));
                thread::sleep(Duration::from_millis(u64::from(73 * (round + 1))));
            }
            broker.kill();
            broker.write_policy(&broken(&policy(&["alice"])));
            broker.start_again();
            assert!(is_admitted(broker, "alice"));
            let start = broker.log_len();
            broker.write_policy(&policy(&["alice", "bob"]));
            wait_in_force(broker, start);
            assert!(is_admitted(broker, "bob"));
        }
    });
}
