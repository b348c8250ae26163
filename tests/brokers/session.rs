//! Sessions that outlive their connection, and SIGHUP: a refusal at the wrong moment makes 2.0 free them twice (S21).

use crate::support::broker::{Broker, Engine, Install, PASSWORD, PLUGIN, Setup};
use crate::support::mqtt::{Connect, Publish, V5, V311};

crate::tests![
    offline_sessions_expire_cleanly_after_a_reload_under_valgrind if lacks_valgrind,
    restored_sessions_expire_cleanly_after_a_reload_under_valgrind if lacks_valgrind,
    offline_sessions_expire_cleanly_with_per_listener_settings_under_valgrind if frees_twice_itself,
    restored_sessions_expire_cleanly_with_per_listener_settings_under_valgrind if frees_twice_itself,
    restored_sessions_keep_their_user,
    the_whole_life_of_a_client_is_clean_under_valgrind if lacks_valgrind,
];

/// It looks for the symbols of the broker's libraries at fixed places, which only a container can give it.
fn lacks_valgrind(install: &Install) -> Option<&'static str> {
    (install.engine == Engine::Unpacked).then_some("valgrind needs a container engine")
}

/// Under `per_listener_settings`, 2.0.21 refuses every offline session at SIGHUP without asking any plugin, because an
/// offline session has no listener: the same fault, with nothing but a password_file too.
fn frees_twice_itself(install: &Install) -> Option<&'static str> {
    let itself = install.is_at_least("2.0.21") && !install.is_at_least("2.1");
    let reason = "this broker frees offline sessions twice by itself there";
    lacks_valgrind(install).or(itself.then_some(reason))
}

const POLICY: &str = r##"
version = 1
[users.alice]
subscribe = ["a/#", "b/#"]
password  = "{password}"
[users.bob]
publish   = ["#"]
subscribe = ["#"]
password  = "{password}"
[users.carol]
subscribe = ["a/#"]
password  = "{password}"
"##;

/// Alice lost a right, Carol is gone.
const LESS: &str = r##"
version = 1
[users.alice]
subscribe = ["a/#"]
password  = "{password}"
[users.bob]
publish   = ["#"]
subscribe = ["#"]
password  = "{password}"
"##;

const PERSISTENCE: &str = "persistence true\npersistence_location {folder}/data/\n";

/// Sessions of users who keep their rights, lose some, and are removed: with a few seconds to live.
fn leave_sessions(broker: &Broker, seconds: u32) {
    for user in ["alice", "bob", "carol"] {
        for (version, expiry) in [(V5, seconds), (V5, seconds + 1), (V311, 0)] {
            let connect = Connect::new(version, format!("{user}-{version}-{expiry}")).persistent(expiry);
            let mut client = broker.client_with(&connect.username(user).password(PASSWORD));
            assert_eq!(client.subscribe_all(&["a/#"], 1), Ok(vec![1]));
            client.disconnect();
        }
    }
}

/// Waits until all those sessions would have expired, and one more has.
fn wait_for_expiry(broker: &Broker, seconds: u32, expiring: &[&str]) {
    let last = Connect::new(V5, "bob-last").persistent(seconds + 2);
    broker.client_with(&last.username("bob").password(PASSWORD)).disconnect();
    let expires = |id: &str| {
        let wanted = format!("Expiring client {id}");
        broker.wait_log(0, |line| line.contains(&wanted), &wanted);
    };
    expires("bob-last");
    for user in expiring {
        expires(&format!("{user}-{V5}-{seconds}"));
        expires(&format!("{user}-{V5}-{}", seconds + 1));
    }
    let mut bob = broker.client(V5, "bob", "bob");
    assert_eq!(bob.publish(&Publish::new("a/x", "x")).map(|code| code & 0x80), Ok(0));
    // The contexts of the expired are freed in the loop that follows.
    assert_eq!(bob.ping(), Ok(()));
}

fn assert_clean(log: &str) {
    assert!(log.contains("ERROR SUMMARY: 0 errors"), "{log}");
}

fn offline_sessions_expire_cleanly_after_a_reload_under_valgrind(install: &Install) {
    let broker = Broker::running(install, &Setup::policy(POLICY).under_valgrind());
    leave_sessions(&broker, 4);
    let mut online = broker.client(V5, "bob", "bob-online");
    for policy in [LESS, POLICY, LESS] {
        broker.reload(policy);
    }
    broker.hang_up();
    assert_eq!(online.publish(&Publish::new("a/x", "x")).map(|code| code & 0x80), Ok(0));
    wait_for_expiry(&broker, 4, &["alice", "bob", "carol"]);
    assert_eq!(online.ping(), Ok(()), "somebody was disconnected for the others");
    broker.assert_serving();
    assert_clean(&broker.stop());
}

fn restored_sessions_expire_cleanly_after_a_reload_under_valgrind(install: &Install) {
    let broker = Broker::running(install, &Setup::policy(POLICY).setting(PERSISTENCE).under_valgrind());
    leave_sessions(&broker, 8);
    broker.restart();
    for policy in [LESS, POLICY, LESS] {
        broker.reload(policy);
    }
    broker.hang_up();
    // 2.0.11 forgets that they expire, unless a refusal reminds it: twice, which is the fault.
    let expiring: &[&str] = if install.is_at_least("2.0.21") { &["alice", "bob", "carol"] } else { &[] };
    wait_for_expiry(&broker, 8, expiring);
    broker.assert_serving();
    assert_clean(&broker.stop());
}

const PER_LISTENER: &str = "per_listener_settings true\nlistener {port} 127.0.0.1\n";

/// 2.0.11 has no TICK then, so nothing but the calls themselves tells when the broker's pass over its sessions ends (S23).
fn offline_sessions_expire_cleanly_with_per_listener_settings_under_valgrind(install: &Install) {
    let setup = Setup::conf(&format!("{PER_LISTENER}{PLUGIN}")).with_policy(POLICY);
    let broker = Broker::running(install, &setup.under_valgrind());
    leave_sessions(&broker, 6);
    for policy in [LESS, POLICY, LESS] {
        broker.reload_and_knock(policy);
    }
    // Now those of removed users are asked about with the policy that lacks them in force.
    for _ in 0..2 {
        broker.reload_and_knock(LESS);
    }
    wait_for_expiry(&broker, 6, &["alice", "bob", "carol"]);
    broker.assert_serving();
    assert_clean(&broker.stop());
}

fn restored_sessions_expire_cleanly_with_per_listener_settings_under_valgrind(install: &Install) {
    let conf = format!("{PERSISTENCE}{PER_LISTENER}{PLUGIN}");
    let broker = Broker::running(install, &Setup::conf(&conf).with_policy(POLICY).under_valgrind());
    leave_sessions(&broker, 8);
    broker.restart();
    let mut carol = broker.client(V5, "carol", "carol-online");
    for policy in [LESS, LESS, LESS] {
        broker.reload_and_knock(policy);
    }
    let _ = carol.ping();
    wait_for_expiry(&broker, 8, &[]);
    broker.assert_serving();
    assert_clean(&broker.stop());
}

/// From disk the broker knows the id and the name of a session, but no password and no address.
fn restored_sessions_keep_their_user(install: &Install) {
    install.with(&Setup::policy(POLICY).setting(PERSISTENCE), |broker| {
        let session = |version| Connect::new(version, format!("alice-kept-{version}")).persistent(600);
        for version in [V311, V5] {
            let mut alice = broker.client_with(&session(version).username("alice").password(PASSWORD));
            assert_eq!(alice.subscribe_all(&["a/#", "b/#"], 1), Ok(vec![1, 1]));
            alice.disconnect();
        }
        broker.restart();
        let mut bob = broker.client(V5, "bob", "bob");
        for topic in ["a/1", "b/1"] {
            assert_eq!(bob.publish(&Publish::new(topic, "x")), Ok(0));
        }
        broker.reload(LESS);
        assert_eq!(bob.publish(&Publish::new("a/2", "x")), Ok(0));
        let _ = bob.publish(&Publish::new("b/2", "x"));
        for version in [V311, V5] {
            for thief in ["bob", "carol"] {
                broker.assert_refused(&session(version).username(thief).password(PASSWORD));
            }
            let (mut alice, answer) = broker.try_client(&session(version).username("alice").password(PASSWORD));
            assert_eq!(answer, Ok((true, 0)));
            assert_eq!(alice.topics(), ["a/1", "a/2"]);
        }
    });
}

/// Every kind of callback once, and the plugin's own start and end.
fn the_whole_life_of_a_client_is_clean_under_valgrind(install: &Install) {
    let broker = Broker::running(install, &Setup::policy(POLICY).under_valgrind());
    for version in [V311, V5] {
        let will = Connect::new(version, "bob-will").will(Publish::new("a/will", "x"));
        drop(broker.client_with(&will.username("bob").password(PASSWORD)));
        let mut alice = broker.client(version, "alice", "alice");
        alice.subscribe_all(&["a/#", "c/#", "#", "$share/g/a/#", "$SYS/#"], 2).expect("a SUBACK");
        alice.unsubscribe("a/1").expect("an UNSUBACK");
        let mut bob = broker.client(version, "bob", "bob");
        for topic in ["a/x", "b/x", "$SYS/x", "$CONTROL/x/v1"] {
            for qos in 0..=2 {
                bob.publish(&Publish::new(topic, "x").qos(qos).retain()).expect("an answer");
            }
        }
        alice.received();
        broker.assert_refused(&Connect::new(version, "alice").username("carol").password(PASSWORD));
        broker.assert_refused(&Connect::new(version, "alice").username("alice").password("wrong"));
    }
    broker.write_policy("version = ");
    broker.reload_logs("policy not loaded");
    broker.reload(LESS);
    broker.assert_serving();
    assert_clean(&broker.stop());
}
