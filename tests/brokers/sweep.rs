//! After a new policy: who lost something is disconnected, and nobody else.

use crate::support::broker::{Broker, Engine, Install, PASSWORD, PLUGIN, Setup, TOKEN};
use crate::support::mqtt::{Client, Connect, Gone, NOT_AUTHORIZED, Publish, V5, V31, V311};
use crate::support::tls::Authority;
use crate::support::websocket;

crate::tests![
    only_those_who_lost_something_are_disconnected,
    what_only_adds_rights_disconnects_nobody,
    a_replaced_password_ends_its_sessions,
    anonymous_clients_are_disconnected_when_they_are_not_admitted,
    clients_that_a_certificate_names_are_disconnected_too,
    a_kept_session_comes_back_to_what_is_left,
    a_session_that_is_offline_loses_its_subscriptions,
    the_will_of_a_kicked_client_is_checked_by_the_new_policy,
    who_logs_in_under_the_id_meanwhile_is_spared,
    many_subscriptions_are_asked_about_when_rights_shrink,
    a_sighup_with_many_clients_disconnects_nobody,
    a_websocket_that_is_asked_about_at_sighup_is_known_still if lacks_websockets,
    two_listeners_answer_for_their_own_sessions,
    where_nothing_ticks_nobody_is_disconnected if ticks_always,
    kicked_sessions_expire_cleanly_under_valgrind if lacks_valgrind,
    restored_sessions_expire_cleanly_after_a_sweep_under_valgrind if lacks_valgrind,
];

const VERSIONS: [u8; 3] = [V31, V311, V5];

/// Ended by an administrator, in a DISCONNECT of MQTT 5.
const ADMINISTRATIVE_ACTION: u8 = 0x98;

fn lacks_valgrind(install: &Install) -> Option<&'static str> {
    (install.engine == Engine::Unpacked).then_some("valgrind needs a container engine")
}

fn ticks_always(install: &Install) -> Option<&'static str> {
    install.is_at_least("2.0.21").then_some("this broker always ticks")
}

fn lacks_websockets(install: &Install) -> Option<&'static str> {
    (!install.is_at_least("2.0.21")).then_some("this broker is built without WebSockets")
}

/// The line that ends a sweep.
const DONE: &str = "mqtt-acl: policy change: ";

/// Puts a policy in force and waits until all sessions were looked at: the line that tells what came of it.
fn change(broker: &Broker, policy: &str) -> String {
    let start = broker.log_len();
    // The same text again would be no change.
    broker.reload(&format!("{policy}\n# {start}\n"));
    broker.wait_log(start, |line| line.contains(DONE), DONE)
}

fn assert_kicked(client: &mut Client, version: u8) {
    let reason = client.closed();
    assert!(version != V5 || reason == Some(ADMINISTRATIVE_ACTION), "{reason:?}");
}

fn user(name: &str, rules: &str) -> String {
    format!("[users.{name}]\npassword = \"{{password}}\"\n{rules}\n")
}

fn policy(users: &[(&str, &str)]) -> String {
    let users: String = users.iter().map(|(name, rules)| user(name, rules)).collect();
    format!("version = 1\n{users}")
}

const ALL: &str = "publish = [\"a/#\"]\nsubscribe = [\"a/#\", \"b/#\"]";

fn only_those_who_lost_something_are_disconnected(install: &Install) {
    let before = policy(&[
        ("stays", ALL),
        ("removed", ALL),
        ("disabled", ALL),
        ("bound", ALL),
        ("shrinks", ALL),
        ("narrows", ALL),
    ]);
    let after = policy(&[
        ("stays", ALL),
        ("disabled", &format!("{ALL}\ndisabled = true")),
        ("bound", &format!("{ALL}\nclient_id = [\"%u\"]")),
        ("shrinks", "publish = [\"a/#\"]\nsubscribe = [\"a/#\"]"),
        ("narrows", "subscribe = [\"a/#\"]"),
    ]);
    install.with(&Setup::policy(&before), |broker| {
        let mut unaffected = Vec::new();
        let mut affected = Vec::new();
        for version in VERSIONS {
            let client = |user: &str, number: &str, filters: &[&str]| {
                let mut client = broker.client(version, user, &format!("{user}-{number}-{version}"));
                assert_eq!(client.subscribe_all(filters, 1), Ok(vec![1; filters.len()]));
                client
            };
            unaffected.push(client("stays", "1", &["a/#", "b/#"]));
            // They lose rights that they do not use.
            unaffected.push(client("shrinks", "1", &["a/x", "a/#"]));
            unaffected.push(client("narrows", "1", &["a/#"]));
            let mut gave_up = client("shrinks", "2", &["a/x", "b/x"]);
            gave_up.unsubscribe("b/x").expect("an UNSUBACK");
            unaffected.push(gave_up);
            affected.push((version, client("removed", "1", &["a/#"])));
            affected.push((version, client("disabled", "1", &["a/#"])));
            affected.push((version, client("bound", "1", &["a/#"])));
            affected.push((version, client("shrinks", "3", &["a/x", "b/x"])));
        }
        let mut bound = broker.client(V5, "bound", "bound");
        assert_eq!(bound.subscribe("a/#"), Ok(1));
        unaffected.push(bound);
        let line = change(broker, &after);
        assert!(line.contains("25 sessions checked, 12 disconnected"), "{line}");
        for part in ["3 user not listed", "3 user disabled", "3 client id", "3 subscription"] {
            assert!(line.contains(part), "{part}: {line}");
        }
        for (version, client) in &mut affected {
            assert_kicked(client, *version);
        }
        for client in &mut unaffected {
            assert_eq!(client.ping(), Ok(()), "who lost nothing was disconnected:\n{}", broker.log_text());
        }
        // Nothing is left to do.
        let line = change(broker, &after);
        assert!(line.contains(" 0 disconnected") && !line.contains("offline"), "{line}");
    });
}

fn what_only_adds_rights_disconnects_nobody(install: &Install) {
    let little = policy(&[("alice", "subscribe = [\"a/x\", \"%u/#\"]"), ("bob", ALL)]);
    let more = format!(
        "version = 1\n[roles.more]\npublish = [\"#\"]\nsubscribe = [\"#\"]\n[[match]]\nusername = \"*\"\nroles = [\"more\"]\n{}{}{}",
        user("alice", "subscribe = [\"a/+\", \"+/#\"]\nclient_id = [\"%u\", \"%u-*\", \"x-%u\"]"),
        user("bob", ""),
        user("carol", ""),
    );
    install.with(&Setup::policy(&little), |broker| {
        let mut clients = Vec::new();
        for version in VERSIONS {
            let mut alice = broker.client(version, "alice", &format!("alice-{version}"));
            assert_eq!(alice.subscribe_all(&["a/x", "alice/#"], 0), Ok(vec![0, 0]));
            clients.push(alice);
            let mut bob = broker.client_with(
                &Connect::new(version, format!("bob-{version}")).username("bob").password(PASSWORD).persistent(60),
            );
            assert_eq!(bob.subscribe_all(&["b/#", "$share/g/a/#"], 0), Ok(vec![0, 0]));
            clients.push(bob);
        }
        for _ in 0..3 {
            let line = change(broker, &more);
            assert!(line.contains("6 sessions checked, 0 disconnected") && !line.contains("offline"), "{line}");
        }
        for client in &mut clients {
            assert_eq!(client.ping(), Ok(()));
        }
    });
}

fn a_replaced_password_ends_its_sessions(install: &Install) {
    let passwords = |list: &str| format!("version = 1\n[users.alice]\nsubscribe = [\"a/#\"]\npassword = [{list}]\n");
    install.with(&Setup::policy(&passwords("\"{password}\", \"{token}\"")), |broker| {
        let login =
            |id: &str, password: &str| broker.client_with(&Connect::new(V5, id).username("alice").password(password));
        let (mut old, mut new) = (login("alice-old", PASSWORD), login("alice-new", TOKEN));
        let line = change(broker, &passwords("\"{token}\", \"{password}\""));
        assert!(line.contains(" 0 disconnected"), "another order: {line}");
        let line = change(broker, &passwords("\"{token}\""));
        assert!(line.contains("1 disconnected (1 password replaced)"), "{line}");
        assert_kicked(&mut old, V5);
        assert_eq!(new.ping(), Ok(()));
        broker.assert_refused(&Connect::new(V5, "alice-old").username("alice").password(PASSWORD));
        // Of an MQTT 3 client on 2.1, whose login waited for a thread.
        broker.reload(&passwords("\"{argon2id}\""));
        let mut slow = broker.client(V311, "alice", "alice-slow");
        let line = change(broker, &passwords("\"{password}\""));
        assert!(line.contains("1 password replaced"), "{line}");
        assert_kicked(&mut slow, V311);
    });
}

fn anonymous_clients_are_disconnected_when_they_are_not_admitted(install: &Install) {
    let anonymous = |rules: &str| format!("version = 1\n[anonymous]\n{rules}\n{}", user("alice", ALL));
    let open = anonymous("client_id = [\"guest-*\"]\nsubscribe = [\"open/#\", \"more/#\"]");
    install.with(&Setup::policy(&open).setting("allow_anonymous true"), |broker| {
        let guest = |number: u32, filter: &str| {
            let mut guest = broker.client_with(&Connect::new(V5, format!("guest-{number}")));
            assert_eq!(guest.subscribe(filter), Ok(1));
            guest
        };
        let (mut one, mut two, mut alice) =
            (guest(1, "open/#"), guest(2, "more/#"), broker.client(V5, "alice", "alice"));
        let line = change(broker, &anonymous("client_id = [\"guest-*\"]\nsubscribe = [\"open/#\"]"));
        assert!(line.contains("1 disconnected (1 subscription"), "{line}");
        assert_kicked(&mut two, V5);
        assert_eq!(one.ping(), Ok(()));
        let line = change(broker, &format!("version = 1\n{}", user("alice", ALL)));
        assert!(line.contains("1 disconnected (1 client id or anonymous"), "{line}");
        assert_kicked(&mut one, V5);
        assert_eq!(alice.ping(), Ok(()));
    });
}

/// Nobody is asked when they connect. 2.1 tells of them, and 2.0 when they subscribe.
fn clients_that_a_certificate_names_are_disconnected_too(install: &Install) {
    let rights = |unlisted: bool, bob: &str| {
        let matched = format!("[[match]]\nusername = \"sensor-*\"\nroles = [\"own\"]\nunlisted = {unlisted}\n");
        format!(
            "version = 1\n[roles.own]\nsubscribe = [\"own/%u/#\"]\n{}{bob}{}",
            if unlisted { matched } else { String::new() },
            user("watcher", ALL)
        )
    };
    const BOB: &str = "[users.bob]\nroles = [\"own\"]\n";
    let authority = Authority::new();
    let server = authority.identity("localhost");
    let conf = format!(
        "listener {{port}} 127.0.0.1\n{PLUGIN}listener {{port2}} 127.0.0.1\ncafile {{folder}}/ca.pem\n\
         certfile {{folder}}/server.pem\nkeyfile {{folder}}/server.key\nrequire_certificate true\nuse_identity_as_username true\n"
    );
    let setup = Setup::conf(&conf)
        .with_policy(&rights(true, BOB))
        .file("ca.pem", &authority.pem)
        .file("server.pem", &server.certificate_pem)
        .file("server.key", &server.key_pem());
    install.with(&setup, |broker| {
        let connect = |name: &str, id: &str| {
            let mut client = authority.client(broker.port2, V5, &authority.identity(name));
            assert!(matches!(client.connect(&Connect::new(V5, id)), Ok((_, 0))));
            client
        };
        let (mut bob, mut sensor) = (connect("bob", "bob"), connect("sensor-1", "sensor-1"));
        // Admitted to nothing, before and after: it loses nothing.
        let mut foreign = connect("bob", "elsewhere");
        assert_eq!(foreign.subscribe("own/bob/#"), Ok(NOT_AUTHORIZED));
        assert_eq!(bob.subscribe("own/bob/#"), Ok(1));
        assert_eq!(sensor.subscribe("own/sensor-1/#"), Ok(1));
        let line = change(broker, &rights(true, ""));
        assert!(line.contains("1 disconnected (1 user not listed"), "{line}");
        assert_kicked(&mut bob, V5);
        assert_eq!((sensor.ping(), foreign.ping()), (Ok(()), Ok(())));
        let line = change(broker, &rights(false, BOB));
        assert!(line.contains("1 disconnected (1 user not listed"), "{line}");
        assert_kicked(&mut sensor, V5);
        assert_eq!(foreign.ping(), Ok(()));
    });
}

/// The broker asks about each subscription of a session that it keeps, and drops those that are refused.
fn a_kept_session_comes_back_to_what_is_left(install: &Install) {
    let less = policy(&[("alice", "publish = [\"#\"]\nsubscribe = [\"a/#\"]\nreceive = [\"b/#\"]")]);
    let all = policy(&[("alice", "publish = [\"#\"]\nsubscribe = [\"a/#\", \"b/#\"]")]);
    install.with(&Setup::policy(&all), |broker| {
        for version in [V311, V5] {
            let kept = Connect::new(version, "alice-kept").username("alice").password(PASSWORD).persistent(600);
            let mut alice = broker.client_with(&kept);
            assert_eq!(alice.subscribe_all(&["a/#", "b/#"], 1), Ok(vec![1, 1]));
            let line = change(broker, &less);
            assert!(line.contains("1 disconnected (1 subscription"), "{line}");
            assert_kicked(&mut alice, version);
            let (mut alice, answer) = broker.try_client(&kept);
            assert_eq!(answer, Ok((true, 0)));
            for topic in ["a/x", "b/x"] {
                assert_eq!(alice.publish(&Publish::new(topic, "x")).map(|code| code & 0x80), Ok(0));
            }
            // Delivery of the other is granted, so it is the subscription that is gone.
            assert_eq!(alice.topics(), ["a/x"]);
            let line = change(broker, &less);
            assert!(line.contains(" 0 disconnected"), "{line}");
            let line = change(broker, &all);
            assert!(line.contains(" 0 disconnected"), "{line}");
            alice.disconnect();
            broker.client_with(&Connect { clean: true, session_expiry: None, ..kept }).disconnect();
        }
    });
}

fn a_session_that_is_offline_loses_its_subscriptions(install: &Install) {
    let less = policy(&[("alice", "publish = [\"#\"]\nsubscribe = [\"a/#\"]\nreceive = [\"b/#\"]")]);
    let all = policy(&[("alice", "publish = [\"#\"]\nsubscribe = [\"a/#\", \"b/#\"]")]);
    install.with(&Setup::policy(&all), |broker| {
        for version in [V311, V5] {
            let kept = Connect::new(version, format!("alice-{version}")).username("alice").password(PASSWORD);
            let kept = kept.persistent(600);
            let mut alice = broker.client_with(&kept);
            assert_eq!(alice.subscribe_all(&["a/#", "b/#"], 1), Ok(vec![1, 1]));
            alice.disconnect();
            let line = change(broker, &less);
            assert!(line.contains(" 0 disconnected; ") && line.contains("offline"), "{line}");
            let mut other = broker.client(V5, "alice", "alice");
            for topic in ["a/x", "b/x"] {
                assert_eq!(other.publish(&Publish::new(topic, "x")).map(|code| code & 0x80), Ok(0));
            }
            let (mut alice, answer) = broker.try_client(&kept);
            assert_eq!(answer, Ok((true, 0)));
            assert_eq!(alice.topics(), ["a/x"]);
            alice.disconnect();
            change(broker, &all);
        }
    });
}

/// S15.
fn the_will_of_a_kicked_client_is_checked_by_the_new_policy(install: &Install) {
    let rights = |publish: &str| {
        let alice = format!("publish = [\"{publish}\"]\nclient_id = [\"%u\"]");
        policy(&[("alice", &alice), ("watcher", "subscribe = [\"#\"]")])
    };
    let before = policy(&[("alice", "publish = [\"w/#\"]"), ("watcher", "subscribe = [\"#\"]")]);
    for publish in ["w/#", "other"] {
        install.with(&Setup::policy(&before), |broker| {
            let mut watcher = broker.client(V5, "watcher", "watcher");
            assert_eq!(watcher.subscribe("#"), Ok(1));
            let will = Connect::new(V5, "alice-1").username("alice").password(PASSWORD);
            let mut alice = broker.client_with(&will.will(Publish::new("w/will", "x")));
            let start = broker.log_len();
            // The id is not the user's any more; what it may publish is asked under that id too.
            change(broker, &rights(publish));
            assert_kicked(&mut alice, V5);
            broker.wait_log(start, |line| line.contains("mqtt-acl: refused will"), "the refused will");
            assert_eq!(watcher.topics(), [""; 0]);
        });
    }
    // Where only a subscription was lost, the will goes out.
    let (all, less) = ("publish = [\"w/#\"]\nsubscribe = [\"a\", \"b\"]", "publish = [\"w/#\"]\nsubscribe = [\"a\"]");
    let watcher = ("watcher", "subscribe = [\"#\"]");
    install.with(&Setup::policy(&policy(&[("alice", all), watcher])), |broker| {
        let mut watcher_client = broker.client(V5, "watcher", "watcher");
        assert_eq!(watcher_client.subscribe("#"), Ok(1));
        let will = Connect::new(V5, "alice-1").username("alice").password(PASSWORD);
        let mut alice = broker.client_with(&will.will(Publish::new("w/will", "x")));
        assert_eq!(alice.subscribe("b"), Ok(1));
        change(broker, &policy(&[("alice", less), watcher]));
        assert_kicked(&mut alice, V5);
        assert_eq!(watcher_client.next_message().topic, "w/will");
    });
}

/// S22: a login by the new policy is not held to what the one before it lost.
fn who_logs_in_under_the_id_meanwhile_is_spared(install: &Install) {
    let passwords = |list: &str| format!("version = 1\n[users.alice]\nsubscribe = [\"a/#\"]\npassword = [{list}]\n");
    install.with(&Setup::policy(&passwords("\"{password}\", \"{token}\"")), |broker| {
        let first = Connect::new(V5, "alice").username("alice").password(PASSWORD);
        let mut old = broker.client_with(&first);
        let mut new = broker.client_with(&first.clone().password(TOKEN));
        old.closed();
        // Rejected under its id, and for a wrong password.
        broker.assert_refused(&first.clone().password("wrong"));
        let line = change(broker, &passwords("\"{token}\""));
        assert!(line.contains("1 sessions checked, 0 disconnected"), "{line}");
        broker.assert_refused(&first);
        assert_eq!(new.ping(), Ok(()));
        assert_eq!(new.subscribe("a/#"), Ok(1));
    });
}

/// S24.
fn many_subscriptions_are_asked_about_when_rights_shrink(install: &Install) {
    const MORE_THAN_ARE_KNOWN: usize = 100;
    let all = policy(&[("alice", "publish = [\"#\"]\nsubscribe = [\"a/#\", \"b/#\"]")]);
    let more = policy(&[("alice", "publish = [\"#\"]\nsubscribe = [\"a/#\", \"b/#\", \"c/#\"]")]);
    let less = policy(&[("alice", "publish = [\"#\"]\nsubscribe = [\"a/#\"]\nreceive = [\"b/#\"]")]);
    install.with(&Setup::policy(&all), |broker| {
        let kept = Connect::new(V5, "alice").username("alice").password(PASSWORD).persistent(600);
        let mut alice = broker.client_with(&kept);
        let filters: Vec<_> = (0..MORE_THAN_ARE_KNOWN).map(|number| format!("a/{number}")).collect();
        assert!(alice.subscribe_all(&filters, 1).is_ok_and(|codes| codes.iter().all(|code| *code == 1)));
        assert_eq!(alice.subscribe("b/#"), Ok(1));
        let line = change(broker, &more);
        assert!(line.contains("1 sessions checked, 0 disconnected"), "{line}");
        let line = change(broker, &less);
        assert!(line.contains("1 disconnected (1 subscription"), "{line}");
        assert_kicked(&mut alice, V5);
        let (mut alice, _) = broker.try_client(&kept);
        for topic in ["a/99", "b/x"] {
            assert_eq!(alice.publish(&Publish::new(topic, "x")).map(|code| code & 0x80), Ok(0));
        }
        assert_eq!(alice.topics(), ["a/99"]);
    });
}

/// As logrotate and certbot send it. With `FULL`, as tests/run.sh --full sets it, there are 2,000.
fn a_sighup_with_many_clients_disconnects_nobody(install: &Install) {
    let clients = if std::env::var_os("FULL").is_some() { 2_000 } else { 200 };
    let text = "version = 1\n[users.alice]\nsubscribe = [\"a/#\"]\npassword = \"{token}\"\n";
    install.with(&Setup::policy(text), |broker| {
        let mut connected: Vec<_> = (0..clients)
            .map(|number| {
                let login = Connect::new(VERSIONS[number % 3], format!("alice-{number}")).username("alice");
                let mut client = broker.client_with(&login.password(TOKEN));
                assert_eq!(client.subscribe("a/#"), Ok(1));
                client
            })
            .collect();
        for _ in 0..3 {
            let line = change(broker, text);
            assert!(line.contains(&format!("{clients} sessions checked, 0 disconnected")), "{line}");
        }
        for client in &mut connected {
            assert_eq!(client.ping(), Ok(()), "a client was disconnected");
        }
    });
}

/// Where it is not certain that the broker asks about a session, the plugin answers as to a login.
fn a_websocket_that_is_asked_about_at_sighup_is_known_still(install: &Install) {
    let conf = format!("listener {{port}} 127.0.0.1\n{PLUGIN}listener {{port2}} 127.0.0.1\nprotocol websockets\n");
    let rights = |filters: &str| policy(&[("alice", &format!("subscribe = [{filters}]"))]);
    install.with(&Setup::conf(&conf).with_policy(&rights("\"a\", \"b\"")), |broker| {
        let connect = |id: &str, filter: &str| {
            let mut client = websocket::open(broker.port2, V5);
            let login = Connect::new(V5, id).username("alice").password(PASSWORD);
            assert_eq!(client.connect(&login), Ok((false, 0)));
            assert_eq!(client.subscribe(filter), Ok(1));
            client
        };
        let (mut stays, mut loses) = (connect("alice-1", "a"), connect("alice-2", "b"));
        for _ in 0..3 {
            let line = change(broker, &rights("\"a\", \"b\", \"c\""));
            assert!(line.contains(" 0 disconnected"), "{line}");
        }
        let line = change(broker, &rights("\"a\""));
        assert!(line.contains("1 disconnected (1 subscription"), "{line}");
        loses.closed();
        assert_eq!(stays.ping(), Ok(()));
    });
}

/// Each has a policy of its own.
fn two_listeners_answer_for_their_own_sessions(install: &Install) {
    let conf = "per_listener_settings true\n\
                listener {port} 127.0.0.1\nplugin {plugin}\nplugin_opt_policy_file {policy}\n\
                listener {port2} 127.0.0.1\nplugin {plugin}\nplugin_opt_policy_file {folder}/other.toml\n";
    // 2.0.11 does not tick there, and disconnects nobody.
    let is_told = install.is_at_least("2.0.21");
    let rights = policy(&[("alice", "subscribe = [\"a\"]"), ("bob", "subscribe = [\"a\"]")]);
    let setup = Setup::conf(conf).with_policy(&rights).file("other.toml", &rights);
    install.with(&setup, |broker| {
        let login = |port: u16, user: &str| {
            let mut client = Client::open(port, V5);
            assert_eq!(client.connect(&Connect::new(V5, user).username(user).password(PASSWORD)), Ok((false, 0)));
            assert_eq!(client.subscribe("a"), Ok(1));
            client
        };
        let (mut here, mut there) = (login(broker.port, "alice"), login(broker.port2, "bob"));
        let start = broker.log_len();
        broker.write_policy(&policy(&[("carol", "")]));
        broker.hang_up();
        if is_told {
            broker.wait_log(start, |line| line.contains("1 disconnected (1 user not listed"), "the kick");
            assert_kicked(&mut here, V5);
        }
        assert_eq!(there.ping(), Ok(()), "the other listener's policy is as it was");
    });
}

/// S23.
fn where_nothing_ticks_nobody_is_disconnected(install: &Install) {
    let conf = format!("per_listener_settings true\nlistener {{port}} 127.0.0.1\n{PLUGIN}");
    let before = policy(&[("alice", "publish = [\"#\"]"), ("bob", "subscribe = [\"#\"]")]);
    install.with(&Setup::conf(&conf).with_policy(&before), |broker| {
        let mut alice = broker.client(V5, "alice", "alice");
        broker.reload_and_knock(&policy(&[("bob", "subscribe = [\"#\"]")]));
        assert_eq!(alice.ping(), Ok(()));
        assert_eq!(alice.publish(&Publish::new("x", "x")), Ok(NOT_AUTHORIZED));
        let text = broker.log_text();
        assert_eq!(text.matches("disconnects nobody").count(), 1, "{text}");
        assert!(!text.contains(DONE), "{text}");
    });
}

/// Sessions of users who keep their rights, lose some, and are removed, online and offline, with a few seconds to live.
fn leave_and_stay(broker: &Broker, seconds: u32) -> Vec<Client> {
    let mut online = Vec::new();
    for user in ["alice", "bob", "carol"] {
        for (version, stays) in [(V5, false), (V5, true), (V311, false), (V311, true)] {
            let connect = Connect::new(version, format!("{user}-{version}-{stays}")).persistent(seconds);
            let mut client = broker.client_with(&connect.username(user).password(PASSWORD));
            assert_eq!(client.subscribe_all(&["a/#", "b/#", "$share/g/a/#"], 1), Ok(vec![1, 1, 1]));
            if stays {
                online.push(client);
            } else {
                client.disconnect();
            }
        }
    }
    online
}

const FULL: &str = "subscribe = [\"a/#\", \"b/#\"]";
const LESS: &str = "subscribe = [\"a/#\"]";

/// S21: what is kicked with its will expires once.
fn kicked_sessions_expire_cleanly_under_valgrind(install: &Install) {
    let bob = ("bob", "publish = [\"#\"]\nsubscribe = [\"#\"]");
    let full = policy(&[("alice", FULL), bob, ("carol", FULL)]);
    let less = policy(&[("alice", LESS), bob]);
    let broker = Broker::running(install, &Setup::policy(&full).under_valgrind());
    let mut online = leave_and_stay(&broker, 4);
    for policy in [&less, &full, &less] {
        change(&broker, policy);
        broker.hang_up();
    }
    assert_eq!(online.iter_mut().filter_map(|client| client.ping().ok()).count(), 2, "bob's alone");
    wait_for_expiry(&broker, 4, &["alice-5-false", "alice-5-true", "carol-5-false", "carol-5-true", "bob-5-false"]);
    let text = broker.stop();
    assert!(text.contains("ERROR SUMMARY: 0 errors"), "{text}");
}

/// From disk, and never seen by this process: nothing of them is kicked.
fn restored_sessions_expire_cleanly_after_a_sweep_under_valgrind(install: &Install) {
    let bob = ("bob", "publish = [\"#\"]\nsubscribe = [\"#\"]");
    let full = policy(&[("alice", FULL), bob, ("carol", FULL)]);
    let less = policy(&[("alice", LESS), bob]);
    let setup = Setup::policy(&full).setting("persistence true\npersistence_location {folder}/data/\n");
    let broker = Broker::running(install, &setup.under_valgrind());
    drop(leave_and_stay(&broker, 8));
    broker.restart();
    // One comes back, and stays.
    let back = Connect::new(V5, "alice-5-true").persistent(8).username("alice").password(PASSWORD);
    let mut alice = broker.client_with(&back);
    for policy in [&less, &full, &less] {
        change(&broker, policy);
        broker.hang_up();
    }
    assert_eq!(alice.ping(), Err(Gone::Closed), "what it has is not known, and its rights shrank");
    let expiring: &[&str] = if install.is_at_least("2.0.21") { &["alice-5-false", "carol-5-true"] } else { &[] };
    wait_for_expiry(&broker, 8, expiring);
    let text = broker.stop();
    assert!(text.contains("ERROR SUMMARY: 0 errors"), "{text}");
}

/// Waits until those sessions and one more have expired, and what they were is freed.
fn wait_for_expiry(broker: &Broker, seconds: u32, expiring: &[&str]) {
    let last = Connect::new(V5, "bob-last").persistent(seconds + 2);
    broker.client_with(&last.username("bob").password(PASSWORD)).disconnect();
    for id in expiring.iter().chain(&["bob-last"]) {
        let wanted = format!("Expiring client {id}");
        broker.wait_log(0, |line| line.contains(&wanted), &wanted);
    }
    let mut bob = broker.client(V5, "bob", "bob-looks");
    assert_eq!(bob.publish(&Publish::new("a/x", "x")).map(|code| code & 0x80), Ok(0));
    assert_eq!(bob.ping(), Ok(()));
    broker.assert_serving();
}
