//! TLS clients whose certificate is their name: the broker skips BASIC_AUTH, so ACL_CHECK is all there is.

use crate::support::broker::{Broker, Install, PASSWORD, PLUGIN, Setup};
use crate::support::mqtt::{Connect, NOT_AUTHORIZED, Publish, V5, V311};
use crate::support::tls::{Authority, Identity};

crate::tests![
    a_certificate_is_a_login,
    a_certificate_does_not_open_other_client_ids,
    an_unlisted_name_needs_a_match_that_says_so,
    a_session_is_not_inherited_through_a_certificate,
    use_username_as_clientid_keeps_sessions_apart,
];

const POLICY: &str = r##"
version = 1
[roles.own]
publish   = ["own/%u/#"]
subscribe = ["own/%u/#"]
[users.alice]
roles     = ["own"]
password  = "{password}"
[users.bob]
roles     = ["own"]
[users.retired]
roles     = ["own"]
disabled  = true
[users.watcher]
subscribe = ["#"]
password  = "{password}"
[[match]]
username  = "sensor-*"
unlisted  = true
roles     = ["own"]
[[match]]
username  = "meter-*"
roles     = ["own"]
"##;

/// A broker with a TLS listener for certificates (`port2`) beside one for passwords.
fn with_tls(install: &Install, test: impl FnOnce(&Broker, &Authority)) {
    with_tls_and(install, "", test);
}

/// As [`with_tls`], with a further line for that listener.
fn with_tls_and(install: &Install, line: &str, test: impl FnOnce(&Broker, &Authority)) {
    let authority = Authority::new();
    let server = authority.identity("localhost");
    let conf = format!(
        "listener {{port}} 127.0.0.1\n{PLUGIN}listener {{port2}} 127.0.0.1\ncafile {{folder}}/ca.pem\n\
         certfile {{folder}}/server.pem\nkeyfile {{folder}}/server.key\nrequire_certificate true\nuse_identity_as_username true\n{line}\n"
    );
    let setup = Setup::conf(&conf)
        .with_policy(POLICY)
        .file("ca.pem", &authority.pem)
        .file("server.pem", &server.certificate_pem)
        .file("server.key", &server.key_pem());
    install.with(&setup, |broker| test(broker, &authority));
}

fn connect(
    broker: &Broker,
    authority: &Authority,
    identity: &Identity,
    connect: &Connect,
) -> crate::support::mqtt::Client {
    let mut client = authority.client(broker.port2, connect.version, identity);
    let answer = client.connect(connect);
    assert!(matches!(answer, Ok((_, 0))), "{answer:?}: the broker asks nobody:\n{}", broker.log_text());
    client
}

fn a_certificate_is_a_login(install: &Install) {
    with_tls(install, |broker, authority| {
        let identity = authority.identity("alice");
        // What it claims in CONNECT counts for nothing.
        for name in ["alice", "bob"] {
            let claim = Connect::new(V5, "alice").username(name).password("wrong");
            let mut alice = connect(broker, authority, &identity, &claim);
            assert_eq!(alice.subscribe("own/alice/#"), Ok(1));
            assert_eq!(alice.publish(&Publish::new("own/alice/x", "x")), Ok(0));
            assert_eq!(alice.topics(), ["own/alice/x"]);
            assert_eq!(alice.subscribe("own/bob/#"), Ok(NOT_AUTHORIZED));
            assert_eq!(alice.publish(&Publish::new("own/bob/x", "x")), Ok(NOT_AUTHORIZED));
        }
        let mut alice = connect(broker, authority, &identity, &Connect::new(V5, "alice"));
        broker.reload(POLICY);
        assert_eq!(alice.publish(&Publish::new("own/alice/x", "x")).map(|code| code & 0x80), Ok(0));
    });
}

fn a_certificate_does_not_open_other_client_ids(install: &Install) {
    with_tls(install, |broker, authority| {
        let alice = authority.identity("alice");
        let mut watcher = broker.client(V5, "watcher", "watcher");
        assert_eq!(watcher.subscribe("#"), Ok(1));
        for id in ["bob", "bob-1", "watcher-2", "alice2", "x", "http-api"] {
            let will = Publish::new("own/alice/will", "x");
            let mut client = connect(broker, authority, &alice, &Connect::new(V5, id).will(will));
            assert_eq!(client.publish(&Publish::new("own/alice/x", "x")), Ok(NOT_AUTHORIZED), "{id}");
            assert_eq!(client.subscribe("own/alice/#"), Ok(NOT_AUTHORIZED), "{id}");
            let start = broker.log_len();
            drop(client);
            broker.wait_log(
                start,
                |line| line.contains("refused") && line.contains("own/alice/will"),
                "the refused will",
            );
        }
        assert_eq!(watcher.topics(), [""; 0]);
        for id in ["alice", "alice-1", ""] {
            let mut client = connect(broker, authority, &alice, &Connect::new(V5, id));
            assert_eq!(client.publish(&Publish::new("own/alice/x", "x")), Ok(0), "{id}");
        }
    });
}

/// S3.
fn an_unlisted_name_needs_a_match_that_says_so(install: &Install) {
    with_tls(install, |broker, authority| {
        let allowed = |name: &str| {
            let identity = authority.identity(name);
            let mut client = connect(broker, authority, &identity, &Connect::new(V5, name));
            // A wildcard is no level of a topic; the broker would close the connection.
            let level = name.replace(['+', '#'], "x");
            let topic = format!("own/{level}/x");
            let code = client.publish(&Publish::new(&topic, "x")).expect("an answer");
            assert_eq!(client.publish(&Publish::new("own/alice/x", "x")), Ok(NOT_AUTHORIZED));
            let filter = client.subscribe(&topic).expect("an answer");
            assert_eq!(code & 0x80, filter & 0x80);
            code & 0x80 == 0
        };
        assert!(allowed("bob"));
        assert!(allowed("sensor-7"));
        for name in ["meter-7", "stranger", "retired", "sensor", "+", "#", "$SYS"] {
            assert!(!allowed(name), "{name}");
        }
        // Never where there is a password to ask for.
        broker.assert_refused(&Connect::new(V311, "sensor-7").username("sensor-7").password(PASSWORD));
        broker.assert_refused(&Connect::new(V311, "sensor-7").username("sensor-7"));
        broker.assert_refused(&Connect::new(V311, "bob").username("bob").password(""));
    });
}

/// The broker gives it away at CONNECT; what waits in it is still not delivered.
fn a_session_is_not_inherited_through_a_certificate(install: &Install) {
    with_tls(install, |broker, authority| {
        let kept = Connect::new(V5, "alice").persistent(600);
        let login = kept.clone().username("alice").password(PASSWORD);
        let mut alice = broker.client_with(&login);
        assert_eq!(alice.subscribe("own/alice/#"), Ok(1));
        alice.disconnect();
        let mut sender = broker.client(V5, "alice", "alice-sender");
        assert_eq!(sender.publish(&Publish::new("own/alice/secret", "queued")), Ok(0));
        let thief = authority.identity("bob");
        let mut thief = connect(broker, authority, &thief, &kept);
        assert_eq!(sender.publish(&Publish::new("own/alice/secret", "live")).map(|code| code & 0x80), Ok(0));
        if thief.ping().is_ok() {
            assert_eq!(thief.topics(), [""; 0]);
        }
    });
}

/// What README advises: the broker asks nobody at CONNECT, so without the setting a foreign id throws its owner off.
fn use_username_as_clientid_keeps_sessions_apart(install: &Install) {
    for (line, undisturbed) in [("", false), ("use_username_as_clientid true", true)] {
        with_tls_and(install, line, |broker, authority| {
            let mut bob = connect(broker, authority, &authority.identity("bob"), &Connect::new(V5, "bob"));
            let claim = Connect::new(V5, "bob");
            let mut alice = connect(broker, authority, &authority.identity("alice"), &claim);
            assert_eq!(bob.ping().is_ok(), undisturbed, "`{line}`");
            let published = alice.publish(&Publish::new("own/alice/x", "x"));
            assert_eq!(published == Ok(NOT_AUTHORIZED), !undisturbed, "`{line}`: {published:?}");
        });
    }
}
