//! Logins whose password takes time to check: who waits, who does not, and what nobody gains by it.

use std::thread;
use std::time::{Duration, Instant};

use regex::Regex;

use crate::support::broker::{Broker, Install, PASSWORD, PLUGIN, Setup, TOKEN};
use crate::support::mqtt::{Client, Connect, Gone, NOT_AUTHORIZED, PATIENCE, Publish, REFUSED_3, V5, V31, V311};

crate::tests![
    others_are_served_while_a_password_is_checked if cannot_wait,
    a_result_is_not_for_whoever_comes_next if cannot_wait,
    the_will_of_who_never_logged_in_is_not_published if cannot_wait,
    going_away_while_waiting_is_survived_under_valgrind if cannot_wait,
    sighup_while_somebody_waits if cannot_wait,
    a_policy_that_changes_meanwhile_counts if cannot_wait,
    whoever_pipelines_gets_in_at_the_second_try if cannot_wait,
    without_delay_whoever_pipelines_gets_in_at_once,
    mqtt_5_clients_that_pipeline_get_in_at_once,
    a_client_id_cannot_be_locked_out,
    the_broker_stops_while_somebody_waits,
    a_storm_of_logins_gets_in,
    too_many_at_once_are_told_to_come_again if cannot_wait,
    guessing_is_stopped_and_locks_nobody_out,
    nobody_can_have_another_address_banned,
    trusted_addresses_may_guess,
    a_right_password_under_a_wrong_client_id_is_not_remembered,
];

fn cannot_wait(install: &Install) -> Option<&'static str> {
    (!install.is_at_least("2.1")).then_some("2.0 makes no client wait for its login")
}

const POLICY: &str = r##"
version = 1
[anonymous]
publish = ["#"]
[users.person]
publish = ["a/#"]
subscribe = ["#"]
password = "{slow}"
[users.other]
subscribe = ["#"]
password = "{password}"
[users.device]
client_id = ["*"]
password = "{token}"
"##;

fn setup() -> Setup {
    Setup::policy(POLICY).setting("allow_anonymous true")
}

fn connect(version: u8, user: &str, password: &str) -> Connect {
    Connect::new(version, user).username(user).password(password)
}

/// A CONNECT that is sent, and not answered yet.
fn begin(broker: &Broker, connect: &Connect) -> Client {
    let mut client = Client::open(broker.port, connect.version);
    client.send_connect(connect);
    client
}

/// Waits until the broker has read everything that was sent to it before.
fn settle(broker: &Broker) {
    broker.client_with(&Connect::new(V311, "settle").username("device").password(TOKEN)).disconnect();
}

/// Logs in as often as it takes.
fn insist(broker: &Broker, connect: &Connect, tries: usize) -> Client {
    for _ in 0..tries {
        let (client, answer) = broker.try_client(connect);
        if answer.is_ok_and(|(_, code)| code == 0) {
            return client;
        }
        thread::sleep(Duration::from_millis(300));
    }
    panic!("not let in after {tries} tries: {connect:?}\n{}", broker.log_text());
}

fn others_are_served_while_a_password_is_checked(install: &Install) {
    install.with(&setup(), |broker| {
        let mut other = broker.client(V311, "other", "other");
        let (sender, answers) = std::sync::mpsc::channel();
        let mut person = begin(broker, &connect(V311, "person", PASSWORD));
        let waiting = thread::spawn({
            let sender = sender.clone();
            move || {
                let answer = person.connack();
                sender.send("person").expect("the test listens");
                answer
            }
        });
        while !waiting.is_finished() {
            other.ping().expect("the client stays connected");
            sender.send("other").expect("the test listens");
        }
        assert_eq!(waiting.join().expect("no panic"), Ok((false, 0)));
        let before = answers.try_iter().take_while(|who| *who == "other").count();
        assert!(before >= 3, "the broker was busy for the time of a hash: {before}");
    });
}

/// The broker lets in whoever waits under the id by then.
fn a_result_is_not_for_whoever_comes_next(install: &Install) {
    install.with(&setup(), |broker| {
        for version in [V31, V311] {
            let person = begin(broker, &Connect::new(version, "shared").username("device").password("wrong"));
            drop(person);
            let good = begin(broker, &connect(version, "person", PASSWORD));
            settle(broker);
            drop(good);
            settle(broker);
            let (mut thief, answer) = broker.try_client(&connect(version, "person", "wrong"));
            assert!(matches!(answer, Ok((false, REFUSED_3)) | Err(Gone::Closed)), "{answer:?}");
            thief.closed();
            broker.reload(&format!("{POLICY}# forgets nothing\n"));
            broker.write_policy(POLICY);
        }
    });
}

fn the_will_of_who_never_logged_in_is_not_published(install: &Install) {
    install.with(&setup(), |broker| {
        let mut watcher = broker.client(V311, "other", "other");
        assert_eq!(watcher.subscribe("#"), Ok(1));
        // Nobody stops anonymous clients from publishing this.
        broker.client_with(&Connect::new(V311, "anybody").will(Publish::new("a/allowed", "x")));
        assert_eq!(watcher.next_message().topic, "a/allowed");
        for (number, password) in [PASSWORD, "wrong"].into_iter().enumerate() {
            let will = Publish::new(format!("a/will/{number}"), "forged").qos(1).retain();
            let id = format!("person-{number}");
            let connect = Connect::new(V311, id).username("person").password(password).will(will);
            let start = broker.log_len();
            let person = begin(broker, &connect);
            settle(broker);
            drop(person);
            broker.wait_log(
                start,
                |line| line.contains("refused will: the client is not logged in"),
                "the refused will",
            );
        }
        assert_eq!(watcher.topics(), [""; 0]);
    });
}

/// 2.1.2 would free an MQTT 5 client that waits, and still send its will when the delay is over.
fn going_away_while_waiting_is_survived_under_valgrind(install: &Install) {
    install.with(&setup().with_policy(&POLICY.replace("{slow}", "{argon2id}")).under_valgrind(), |broker| {
        for version in [V31, V311, V5] {
            for password in [PASSWORD, "wrong"] {
                let mut connect = connect(version, "person", password).will(Publish::new("a/will", "x"));
                connect.will_delay = 1;
                connect.session_expiry = (version == V5).then_some(1);
                drop(begin(broker, &connect));
                settle(broker);
            }
        }
        // Until every delay is over.
        for _ in 0..4 {
            thread::sleep(Duration::from_secs(1));
            settle(broker);
        }
    });
}

fn sighup_while_somebody_waits(install: &Install) {
    install.with(&setup(), |broker| {
        let mut other = broker.client(V311, "other", "other");
        let mut person = begin(broker, &connect(V311, "person", PASSWORD));
        settle(broker);
        broker.reload_logs("policy in force");
        assert_eq!(person.connack(), Ok((false, 0)));
        broker.reload_logs("policy in force");
        assert_eq!((person.ping(), other.ping()), (Ok(()), Ok(())), "SIGHUP ended a session");
    });
}

fn a_policy_that_changes_meanwhile_counts(install: &Install) {
    install.with(&setup(), |broker| {
        // Under an id of its own each, for an id that waited has to rest.
        for (id, changed, code) in [
            ("person-1", POLICY.replace("[users.person]", "[users.person]\ndisabled = true"), REFUSED_3),
            ("person-2", POLICY.replace("{slow}", "{argon2id}"), 0),
            ("person-3", POLICY.replace("{slow}", "{token}"), REFUSED_3),
        ] {
            // Where the machine is busy the check may be done before there is a new policy.
            let is_decided = (0..10).any(|round| {
                // The first makes it forget whom it let in before.
                broker.reload(&POLICY.replace("{slow}", "{token}"));
                broker.reload(POLICY);
                let id = format!("{id}-{round}");
                let mut person = begin(broker, &Connect::new(V311, id).username("person").password(PASSWORD));
                settle(broker);
                let start = broker.log_len();
                broker.write_policy(&changed);
                broker.hang_up_at_once();
                broker.wait_log(start, |line| line.contains("policy in force"), "the new policy");
                person.connack() == Ok((false, code))
            });
            assert!(is_decided, "{changed}\n{}", broker.log_text());
        }
    });
}

/// CONNECT and PINGREQ in one go.
fn pipelined(broker: &Broker, version: u8) -> Result<(bool, u8), Gone> {
    let mut client = Client::open(broker.port, version);
    let mut bytes = connect(version, "person", PASSWORD).encode();
    bytes.extend([0xc0, 0]);
    client.send(&bytes);
    let answer = client.connack()?;
    client.ping().map(|()| answer)
}

fn whoever_pipelines_gets_in_at_the_second_try(install: &Install) {
    install.with(&setup(), |broker| {
        assert_eq!(pipelined(broker, V311), Err(Gone::Closed));
        insist(broker, &connect(V5, "person", PASSWORD), 10);
        assert_eq!(pipelined(broker, V311), Ok((false, 0)));
    });
}

fn without_delay_whoever_pipelines_gets_in_at_once(install: &Install) {
    let policy = format!("{POLICY}[logins]\ndelayed = false\n");
    install.with(&setup().with_policy(&policy), |broker| {
        assert_eq!(pipelined(broker, V311), Ok((false, 0)));
    });
}

fn mqtt_5_clients_that_pipeline_get_in_at_once(install: &Install) {
    install.with(&setup(), |broker| {
        assert_eq!(pipelined(broker, V5), Ok((false, 0)));
    });
}

/// S27: while a client waits, 2.1 turns everybody else under its id away.
fn a_client_id_cannot_be_locked_out(install: &Install) {
    install.with(&setup().with_policy(&POLICY.replace("{slow}", "{argon2id}")), |broker| {
        let attack = Connect::new(V311, "victim").username("unknown").password("x");
        let device = Connect::new(V311, "victim").username("device").password(TOKEN);
        thread::scope(|scope| {
            let attackers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..300 {
                            let (_, answer) = broker.try_client(&attack);
                            assert!(matches!(answer, Ok((false, REFUSED_3)) | Err(Gone::Closed)), "{answer:?}");
                        }
                    })
                })
                .collect();
            while attackers.iter().any(|attacker| !attacker.is_finished()) {
                insist(broker, &device, 20).disconnect();
            }
        });
    });
}

fn the_broker_stops_while_somebody_waits(install: &Install) {
    let broker = Broker::running(install, &setup());
    let _waiting: Vec<_> = (0..20)
        .map(|number| begin(&broker, &Connect::new(V311, format!("person-{number}")).username("person").password("x")))
        .collect();
    settle(&broker);
    broker.stop();
}

/// Users of their own, with argon2id, all at once and each as often as it takes.
fn a_storm_of_logins_gets_in(install: &Install) {
    let mut policy = "version = 1\n".to_owned();
    for number in 0..100 {
        policy += &format!("[users.u{number}]\npassword = \"{{argon2id}}\"\n");
    }
    install.with(&Setup::policy(&policy), |broker| {
        thread::scope(|scope| {
            for number in 0..100 {
                let version = [V311, V5][number % 2];
                scope.spawn(move || insist(broker, &connect(version, &format!("u{number}"), PASSWORD), 200));
            }
        });
    });
}

fn too_many_at_once_are_told_to_come_again(install: &Install) {
    const SERVER_BUSY: u8 = 137;
    let mut policy = "version = 1\n".to_owned();
    for number in 0..100 {
        policy += &format!("[users.u{number}]\npassword = \"{{slow}}\"\n");
    }
    install.with(&Setup::policy(&policy), |broker| {
        let mut clients: Vec<_> =
            (0..100).map(|number| begin(broker, &connect(V311, &format!("u{number}"), PASSWORD))).collect();
        let late = |n| Connect::new(V5, format!("u{n}-late")).username(format!("u{n}")).password(PASSWORD);
        let mut late: Vec<_> = (0..10).map(|n| begin(broker, &late(n))).collect();
        let late: Vec<_> = late.iter_mut().map(Client::connack).collect();
        assert!(late.contains(&Ok((false, SERVER_BUSY))), "{late:?}");
        let answers: Vec<_> = clients.iter_mut().map(|client| client.connack().expect("an answer").1).collect();
        let refused = answers.iter().filter(|code| **code == REFUSED_3).count();
        assert!((1..100).contains(&refused), "{answers:?}");
    });
}

fn guessing_setup(guard: &str) -> Setup {
    let conf = format!("listener {{port}} 127.0.0.1\nlistener {{port2}} ::1\n{PLUGIN}");
    let policy = r#"
version = 1
[users.person]
password = "{argon2id}"
[users.second]
password = "{argon2id}"
[users.device]
password = "{token}"
"#;
    Setup::conf(&conf).with_policy(&format!("{policy}[guard]\n{guard}\n"))
}

/// The filter that README gives operators.
fn fail2ban() -> Regex {
    let readme = include_str!("../../README.md");
    let filter = readme.lines().find_map(|line| line.strip_prefix("failregex = ")).expect("a filter in README");
    Regex::new(&filter.replace("<HOST>", "(?<host>[0-9a-fA-F:.]+)")).expect("a regular expression")
}

/// Whoever reads the log for addresses must not be given one by a client.
fn nobody_can_have_another_address_banned(install: &Install) {
    install.with(&guessing_setup("user_failures = 1\naddress_failures = 1"), |broker| {
        let forged = "1795381503: mqtt-acl: guessing: x; address 203.0.113.9,";
        let short = "mqtt-acl: guessing: x; address 203.0.113.9,";
        for number in 0..20 {
            for text in [forged, short] {
                let connect = Connect::new(V311, format!("{text} {number}")).username(text).password("wrong");
                let _ = broker.try_client(&connect);
            }
            thread::sleep(Duration::from_millis(20));
        }
        let banned: Vec<_> =
            broker.log_text().lines().filter_map(|line| Some(fail2ban().captures(line)?["host"].to_owned())).collect();
        assert!(!banned.is_empty() && banned.iter().all(|host| host == "127.0.0.1"), "{banned:?}");
    });
}

/// S28, the third promise: one line tells it, with the address.
fn guessing_is_stopped_and_locks_nobody_out(install: &Install) {
    install.with(&guessing_setup("user_failures = 5"), |broker| {
        let guess = |user: &str| {
            let id = format!("{user}-x");
            let (_, answer) = broker.try_client(&Connect::new(V311, id).username(user).password("wrong"));
            assert!(matches!(answer, Ok((false, REFUSED_3))), "{answer:?}");
        };
        let right = |user: &str, password: &str| connect(V5, user, password);
        broker.client_with(&right("second", PASSWORD)).disconnect();
        let told = || broker.log_text().matches("mqtt-acl: guessing: too many wrong passwords").count();
        let start = broker.log_len();
        while told() == 0 {
            for user in ["person", "second", "device", "nobody"] {
                guess(user);
            }
            thread::sleep(Duration::from_millis(50));
        }
        for _ in 0..30 {
            ["person", "second", "device", "nobody"].into_iter().for_each(guess);
        }
        let line = broker.wait_log(start, |line| line.contains("guessing: "), "the episode");
        let found = fail2ban().captures(&line).map(|found| found["host"].to_owned());
        assert_eq!(found.as_deref(), Some("127.0.0.1"), "{line}");
        // Its first login, from here: refused. Those that are remembered, tokens, and from elsewhere: not.
        assert_eq!(broker.try_client(&right("person", PASSWORD)).1, Ok((false, NOT_AUTHORIZED)));
        broker.client_with(&right("second", PASSWORD)).disconnect();
        broker.client_with(&right("device", TOKEN)).disconnect();
        let elsewhere = (0..20).find(|_| {
            let answer = Client::open_v6(broker.port2, V5).connect(&right("person", PASSWORD));
            thread::sleep(Duration::from_millis(300));
            answer == Ok((false, 0))
        });
        assert!(elsewhere.is_some(), "{}", broker.log_text());
        assert!(told() <= 4, "one line for each user:\n{}", broker.log_text());
    });
}

fn trusted_addresses_may_guess(install: &Install) {
    let guard = "user_failures = 1\naddress_failures = 1\ntrusted = [\"127.0.0.1\"]";
    install.with(&guessing_setup(guard), |broker| {
        let wrong = connect(V5, "person", "wrong");
        for _ in 0..5 {
            assert!(matches!(broker.try_client(&wrong).1, Ok((false, NOT_AUTHORIZED | 137))));
            thread::sleep(Duration::from_millis(100));
        }
        insist(broker, &connect(V5, "person", PASSWORD), 20);
        assert!(!broker.log_text().contains("guessing"), "{}", broker.log_text());
    });
}

/// Or the quick second answer would tell that the password is right (S30).
fn a_right_password_under_a_wrong_client_id_is_not_remembered(install: &Install) {
    install.with(&guessing_setup("user_failures = 3"), |broker| {
        let wrong_id = Connect::new(V5, "not-its-id").username("person").password(PASSWORD);
        let start = broker.log_len();
        let deadline = Instant::now() + PATIENCE;
        // Some are checked after they were answered, and count then.
        while !broker.log_from(start).contains("guessing: ") {
            assert!(Instant::now() < deadline, "it does not count as a failure:\n{}", broker.log_text());
            assert!(matches!(broker.try_client(&wrong_id).1, Ok((false, NOT_AUTHORIZED | 137))));
            thread::sleep(Duration::from_millis(100));
        }
    });
}
