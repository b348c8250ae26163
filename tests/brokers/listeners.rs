//! Settings of the broker beside the plugin: listeners of their own, anonymous clients, mount points, 2.1's HTTP API.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use crate::support::broker::{Install, PASSWORD, PLUGIN, Setup};
use crate::support::mqtt::{Client, Connect, NOT_AUTHORIZED, Publish, REFUSED_3, V5, V31, V311, tcp};
use crate::support::websocket;

crate::tests![
    allow_anonymous_opens_nothing,
    the_anonymous_section_is_for_anonymous_alone,
    the_anonymous_section_needs_the_brokers_consent,
    per_listener_settings_with_one_plugin,
    per_listener_settings_with_two_policies,
    a_plugin_above_the_listeners_guards_none_of_them,
    per_listener_settings_logins_right_after_sighup_are_checked,
    a_plugin_named_twice_opens_nothing,
    websocket_clients_are_clients_like_others if lacks_websockets,
    websocket_logins_right_after_sighup_are_checked if lacks_websockets,
    a_mount_point_is_part_of_the_topic,
    the_http_api_needs_its_own_right if lacks_http_api,
];

const ALICE: &str = r#"
version = 1
[users.alice]
publish   = ["a/#"]
subscribe = ["a/#"]
password  = "{password}"
"#;

const BOB: &str = r#"
version = 1
[users.bob]
publish   = ["b/#"]
subscribe = ["b/#"]
password  = "{password}"
"#;

fn login(name: &str) -> Connect {
    Connect::new(V5, name).username(name).password(PASSWORD)
}

/// The code that a CONNECT to this port is answered with.
fn answer(port: u16, connect: &Connect) -> u8 {
    Client::open(port, connect.version).connect(connect).expect("a CONNACK").1
}

fn allow_anonymous_opens_nothing(install: &Install) {
    let setup = Setup::policy(ALICE).setting("allow_anonymous true");
    install.with(&setup, |broker| {
        for version in [V31, V311, V5] {
            broker.assert_refused(&Connect::new(version, "nobody"));
            broker.assert_refused(&Connect::new(version, "alice"));
            broker.assert_refused(&Connect::new(version, "alice").username("alice").password("wrong"));
            broker.assert_refused(&Connect::new(version, "alice").username("alice"));
            broker.assert_refused(&Connect::new(version, "mallory").username("mallory").password("x"));
        }
        broker.client_with(&login("alice")).disconnect();
    });
}

/// S6.
/// 2.0 drops anonymous sessions at SIGHUP by itself where it is not told to allow them, and frees offline ones twice.
fn the_anonymous_section_needs_the_brokers_consent(install: &Install) {
    let policy = format!("{ALICE}[anonymous]\nclient_id = [\"guest-*\"]\npublish = [\"open/#\"]\n");
    let guest = Connect::new(V5, "guest-1");
    install.with(&Setup::policy(&policy), |broker| {
        if install.is_at_least("2.1.0") {
            broker.client_with(&guest).disconnect();
        } else {
            assert!(broker.log_text().contains("[anonymous] is not in force"), "{}", broker.log_text());
            broker.assert_refused(&guest);
            broker.reload(&policy);
            broker.assert_refused(&guest);
        }
    });
}

fn the_anonymous_section_is_for_anonymous_alone(install: &Install) {
    let policy = format!(
        "{ALICE}\n[roles.all]\nsubscribe = [\"#\"]\n[[match]]\nusername = \"*\"\nroles = [\"all\"]\n\
         [anonymous]\nclient_id = [\"guest-*\"]\npublish = [\"open/#\"]\nsubscribe = [\"open/#\"]\n"
    );
    let setup = Setup::policy(&policy).setting("allow_anonymous true");
    install.with(&setup, |broker| {
        let mut clients = Vec::new();
        for version in [V31, V311, V5] {
            let mut guest = broker.client_with(&Connect::new(version, format!("guest-{version}")));
            assert_eq!(guest.subscribe("open/#"), Ok(1));
            assert_eq!(guest.publish(&Publish::new("open/x", "x")), Ok(0));
            guest.publish(&Publish::new("a/x", "x")).expect("an answer");
            assert_eq!(guest.topics(), ["open/x"]);
            broker.assert_refused(&Connect::new(version, "alice"));
            broker.assert_refused(&Connect::new(version, "guest-x").username("mallory").password("x"));
            guest.unsubscribe("open/#").expect("an answer");
            clients.push(guest);
        }
        let mut guest = broker.client_with(&Connect::new(V5, "guest-5"));
        // A match is for listed users.
        assert_eq!(guest.subscribe("#"), Ok(NOT_AUTHORIZED));
        let mut alice = broker.client_with(&login("alice"));
        assert_eq!(alice.publish(&Publish::new("open/x", "x")), Ok(NOT_AUTHORIZED));
        assert_eq!(alice.subscribe("#"), Ok(1));
        // SIGHUP drops no anonymous client while the section and the setting are there.
        broker.reload(&policy);
        assert_eq!(guest.ping(), Ok(()));
        assert_eq!(clients[0].ping(), Ok(()));
        broker.reload(ALICE);
        broker.assert_refused(&Connect::new(V5, "guest-6"));
        // Dropped or not: without rights.
        assert_ne!(guest.publish(&Publish::new("open/x", "x")).map(|code| code & 0x80), Ok(0));
    });
}

fn per_listener_settings_with_one_plugin(install: &Install) {
    let conf = format!(
        "per_listener_settings true\nlistener {{port}} 127.0.0.1\n{PLUGIN}listener {{port2}} 127.0.0.1\nallow_anonymous true\n"
    );
    install.with(&Setup::conf(&conf).with_policy(ALICE), |broker| {
        let mut alice = broker.client_with(&login("alice"));
        assert_eq!(alice.subscribe("a/#"), Ok(1));
        assert_eq!(alice.publish(&Publish::new("b/x", "x")), Ok(NOT_AUTHORIZED));
        broker.assert_refused(&login("bob"));
        broker.assert_refused(&Connect::new(V311, "x"));
        // The other listener is none of the plugin's business; deliveries to this one are.
        let mut other = Client::open(broker.port2, V5);
        assert_eq!(other.connect(&Connect::new(V5, "other")), Ok((false, 0)));
        for topic in ["a/x", "b/x"] {
            assert_eq!(other.publish(&Publish::new(topic, "x")).map(|code| code & 0x80), Ok(0));
        }
        assert_eq!(alice.topics(), ["a/x"]);

        broker.reload_and_knock(&format!("{ALICE}{}", BOB.replace("version = 1", "")));
        broker.client_with(&login("bob")).disconnect();
        broker.reload_and_knock(BOB);
        broker.assert_refused(&login("alice"));
        assert_ne!(alice.publish(&Publish::new("a/x", "x")).map(|code| code & 0x80), Ok(0));
        assert_eq!(other.ping(), Ok(()));
    });
}

fn per_listener_settings_with_two_policies(install: &Install) {
    let conf = format!(
        "per_listener_settings true\nlistener {{port}} 127.0.0.1\n{PLUGIN}\
         listener {{port2}} 127.0.0.1\nplugin {{plugin}}\nplugin_opt_policy_file {{folder}}/bob.toml\n"
    );
    let setup = Setup::conf(&conf).with_policy(ALICE).file("bob.toml", BOB);
    install.with(&setup, |broker| {
        for (port, in_, out) in [(broker.port, "alice", "bob"), (broker.port2, "bob", "alice")] {
            assert_eq!(answer(port, &login(in_)), 0);
            assert_eq!(answer(port, &login(out)), NOT_AUTHORIZED);
            assert_eq!(answer(port, &Connect::new(V311, "x")), REFUSED_3);
        }
        let mut bob = Client::open(broker.port2, V5);
        assert_eq!(bob.connect(&login("bob")), Ok((false, 0)));
        assert_eq!(bob.publish(&Publish::new("a/x", "x")), Ok(NOT_AUTHORIZED));
        broker.hang_up();
        for _ in 0..20 {
            assert_eq!(answer(broker.port, &login("bob")), NOT_AUTHORIZED);
            assert_eq!(answer(broker.port2, &login("alice")), NOT_AUTHORIZED);
        }
        assert_eq!(bob.ping(), Ok(()));
    });
}

/// What `mqtt-acl doctor` warns of: on 2.0 such a plugin is the default listener's alone, and 2.1 does not start.
fn a_plugin_above_the_listeners_guards_none_of_them(install: &Install) {
    let conf = format!(
        "per_listener_settings true\n{PLUGIN}port {{port2}}\nbind_address 127.0.0.1\nallow_anonymous true\n\
         listener {{port}} 127.0.0.1\nallow_anonymous true\n"
    );
    let setup = Setup::conf(&conf).with_policy(ALICE);
    install.with_if_it_starts(&setup, |broker| {
        assert!(install.version.starts_with("2.0."), "{}", install.version);
        assert_eq!(answer(broker.port, &Connect::new(V5, "nobody")), 0);
        assert_eq!(answer(broker.port2, &Connect::new(V5, "nobody")), NOT_AUTHORIZED);
    });
}

/// S21, S23: without a TICK that ends the SIGHUP pass, no time window may let a stranger in.
fn per_listener_settings_logins_right_after_sighup_are_checked(install: &Install) {
    let conf = format!("per_listener_settings true\nlistener {{port}} 127.0.0.1\n{PLUGIN}");
    install.with(&Setup::conf(&conf).with_policy(ALICE), |broker| {
        let mut alice = broker.client_with(&login("alice"));
        for _ in 0..20 {
            broker.hang_up();
            for version in [V31, V311, V5] {
                let connect = Connect::new(version, "alice");
                broker.assert_refused(&connect.clone().username("alice").password("wrong"));
                broker.assert_refused(&connect.clone().username("alice"));
                broker.assert_refused(&connect.clone().username("bob").password(PASSWORD));
                broker.assert_refused(&connect);
            }
            assert_eq!(alice.ping(), Ok(()));
        }
        broker.client(V311, "alice", "alice-more").disconnect();
    });
}

/// Twice in one scope: 2.0 refuses the second registration, 2.1 asks both (contract 1.2). Either the broker does not
/// start, or everything is still checked.
fn a_plugin_named_twice_opens_nothing(install: &Install) {
    let conf = format!("listener {{port}} 127.0.0.1\n{PLUGIN}{PLUGIN}");
    let setup = Setup::conf(&conf).with_policy(ALICE);
    install.with_if_it_starts(&setup, |broker| {
        broker.assert_refused(&login("bob"));
        broker.assert_refused(&Connect::new(V5, "alice").username("alice").password("wrong"));
        broker.assert_refused(&Connect::new(V5, "x"));
        let mut alice = broker.client_with(&login("alice"));
        assert_eq!(alice.publish(&Publish::new("b/x", "x")), Ok(NOT_AUTHORIZED));
        assert_eq!(alice.subscribe("#"), Ok(NOT_AUTHORIZED));
        broker.reload(ALICE);
        assert_eq!(alice.ping(), Ok(()));
    });
}

/// Debian builds 2.0.11 without them.
fn lacks_websockets(install: &Install) -> Option<&'static str> {
    (!install.is_at_least("2.0.21")).then_some("this broker has no WebSocket listeners")
}

fn websockets() -> Setup {
    let listeners = "listener {port} 127.0.0.1\nlistener {port2} 127.0.0.1\nprotocol websockets\n";
    Setup::conf(&format!("{PLUGIN}{listeners}")).with_policy(ALICE)
}

fn websocket_clients_are_clients_like_others(install: &Install) {
    install.with(&websockets(), |broker| {
        for version in [V31, V311, V5] {
            let answer =
                |connect: &Connect| websocket::open(broker.port2, version).connect(connect).map(|answer| answer.1);
            let connect = Connect::new(version, "alice");
            assert_ne!(answer(&connect), Ok(0));
            assert_ne!(answer(&connect.clone().username("alice").password("wrong")), Ok(0));
            assert_ne!(answer(&connect.clone().username("bob").password(PASSWORD)), Ok(0));
            let mut alice = websocket::open(broker.port2, version);
            assert_eq!(alice.connect(&connect.username("alice").password(PASSWORD)), Ok((false, 0)));
            assert_eq!(alice.subscribe("a/#"), Ok(1));
            assert_eq!(alice.publish(&Publish::new("a/x", "x")), Ok(0));
            alice.publish(&Publish::new("b/x", "x")).expect("an answer");
            assert_eq!(alice.topics(), ["a/x"]);
        }
    });
}

/// 2.0 serves its WebSocket clients between the SIGHUP pass and the TICK: a CONNECT that came meanwhile must not be taken
/// for a session of the pass (S21).
fn websocket_logins_right_after_sighup_are_checked(install: &Install) {
    // A reload that takes its time, so that some CONNECT comes meanwhile.
    let setup = websockets().setting(&"# slow to read\n".repeat(500_000));
    install.with(&setup, |broker| {
        let wrong = Connect::new(V5, "alice").username("alice").password("wrong");
        for _ in 0..3 {
            let mut intruders: Vec<_> = (0..20).map(|_| websocket::open(broker.port2, V5)).collect();
            thread::scope(|scope| {
                scope.spawn(|| broker.hang_up());
                for intruder in &mut intruders {
                    intruder.send_connect(&wrong);
                    thread::park_timeout(Duration::from_millis(10));
                }
            });
            for mut intruder in intruders {
                assert_eq!(intruder.connack(), Ok((false, NOT_AUTHORIZED)), "{}", broker.log_text());
            }
        }
    });
}

fn a_mount_point_is_part_of_the_topic(install: &Install) {
    let conf = format!("listener {{port}} 127.0.0.1\nmount_point a/\n{PLUGIN}");
    install.with(&Setup::conf(&conf).with_policy(ALICE), |broker| {
        let mut alice = broker.client_with(&login("alice"));
        assert_eq!(alice.subscribe("#"), Ok(1));
        assert_eq!(alice.publish(&Publish::new("x", "x")), Ok(0));
        // 2.0.11 forgets to take it off again.
        let kept = if install.is_at_least("2.0.21") { "x" } else { "a/x" };
        assert_eq!(alice.topics(), [kept]);
    });
}

fn lacks_http_api(install: &Install) -> Option<&'static str> {
    (!install.is_at_least("2.1")).then_some("2.0 has no http_api listener")
}

/// S14.
fn the_http_api_needs_its_own_right(install: &Install) {
    let policy = format!(
        "{ALICE}\n[roles.monitor]\napi = true\n[users.ops]\nroles = [\"monitor\"]\npassword = \"{{password}}\"\n\
         [users.root]\nsubscribe = [\"#\", \"/api/#\"]\npublish = [\"#\"]\nclient_id = [\"*\"]\npassword = \"{{password}}\"\n"
    );
    let conf = format!("listener {{port}} 127.0.0.1\n{PLUGIN}listener {{port2}} 127.0.0.1\nprotocol http_api\n");
    install.with(&Setup::conf(&conf).with_policy(&policy), |broker| {
        // ops:sesame, ops:wrong, alice:sesame, root:sesame, mallory:sesame
        let logins = [
            ("b3BzOnNlc2FtZQ==", "/api/v1/version", 200),
            ("b3BzOnNlc2FtZQ==", "/api/v1/systree", 200),
            ("b3BzOnNlc2FtZQ==", "/", 401),
            ("b3BzOnNlc2FtZQ==", "/etc/passwd", 401),
            ("b3BzOndyb25n", "/api/v1/version", 401),
            ("YWxpY2U6c2VzYW1l", "/api/v1/version", 401),
            ("cm9vdDpzZXNhbWU=", "/api/v1/version", 401),
            ("bWFsbG9yeTpzZXNhbWU=", "/api/v1/version", 401),
        ];
        for (login, path, status) in logins {
            assert_eq!(get(broker.port2, path, login), status, "{login} {path}");
        }
        for version in [V31, V311, V5] {
            for user in ["ops", "root", "alice"] {
                broker.assert_refused(&Connect::new(version, "http-api").username(user).password(PASSWORD));
            }
        }
        // The right to the API is no right to topics.
        let mut ops = broker.client_with(&login("ops"));
        for filter in ["/api/v1/version", "/api/#", "#"] {
            assert_eq!(ops.subscribe(filter), Ok(NOT_AUTHORIZED));
        }
        broker.reload(&policy);
        assert_eq!(get(broker.port2, "/api/v1/version", "b3BzOnNlc2FtZQ=="), 200);
    });
}

/// The status of a GET.
fn get(port: u16, path: &str, login: &str) -> u16 {
    let mut stream = tcp(port);
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Basic {login}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("{answer:?}"))
}
