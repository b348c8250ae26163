//! CONNECT: who is let in, and under which client id.

use mqtt_acl_policy::Token;

use crate::support::broker::{Install, PASSWORD, Setup};
use crate::support::mqtt::{Connect, Gone, NOT_AUTHORIZED, Publish, V5, V31, V311};

crate::tests![
    the_right_password_is_accepted,
    a_wrong_password_is_refused,
    an_unknown_user_is_refused,
    a_disabled_user_is_refused,
    a_missing_or_empty_password_is_refused,
    anonymous_is_refused,
    an_empty_username_is_anonymous,
    a_password_without_username_is_refused,
    a_password_ends_at_its_first_nul,
    names_that_are_not_text_are_survived,
    a_client_id_belongs_to_its_user,
    the_http_api_id_is_refused,
    takeover_by_another_user_is_refused,
    a_session_is_not_inherited_by_another_user,
    takeover_by_the_same_user_works,
    an_authentication_method_is_refused,
    tokens_are_replaced_without_an_outage,
];

const VERSIONS: [u8; 3] = [V31, V311, V5];

fn the_right_password_is_accepted(install: &Install) {
    for version in VERSIONS {
        // One user with an argon2id hash, one with mosquitto_passwd's.
        install.reference().client(version, "mqttuser", format!("mqttuser-{version}").as_str()).disconnect();
        install.reference().client(version, "alice", format!("alice-right-{version}").as_str()).disconnect();
    }
}

fn a_wrong_password_is_refused(install: &Install) {
    for version in VERSIONS {
        for password in ["", "wrong", "sesam", "sesame ", "Sesame", "sesamee"] {
            for user in ["alice", "mqttuser"] {
                install.reference().assert_refused(&Connect::new(version, user).username(user).password(password));
            }
        }
    }
}

fn an_unknown_user_is_refused(install: &Install) {
    for version in VERSIONS {
        for user in ["mallory", "Alice", "alice ", "dev99999", "*", "own"] {
            install.reference().assert_refused(&Connect::new(version, user).username(user).password(PASSWORD));
        }
    }
}

fn a_disabled_user_is_refused(install: &Install) {
    for version in VERSIONS {
        install.reference().assert_refused(&Connect::new(version, "retired").username("retired").password(PASSWORD));
    }
}

fn a_missing_or_empty_password_is_refused(install: &Install) {
    for version in VERSIONS {
        install.reference().assert_refused(&Connect::new(version, "alice").username("alice"));
        install.reference().assert_refused(&Connect::new(version, "alice").username("alice").password(""));
    }
}

fn anonymous_is_refused(install: &Install) {
    for version in VERSIONS {
        install.reference().assert_refused(&Connect::new(version, "nobody"));
        install.reference().assert_refused(&Connect::new(version, "alice"));
    }
}

fn an_empty_username_is_anonymous(install: &Install) {
    for version in VERSIONS {
        install.reference().assert_refused(&Connect::new(version, "nobody").username("").password(PASSWORD));
        install.reference().assert_refused(&Connect::new(version, "nobody").username(""));
    }
}

/// MQTT 5 allows it; 3.1.1 forbids it, and the broker closes the connection without asking the plugin.
fn a_password_without_username_is_refused(install: &Install) {
    let broker = install.reference();
    broker.assert_refused(&Connect::new(V5, "alice").password(PASSWORD));
    let (_, answer) = broker.try_client(&Connect::new(V311, "alice").password(PASSWORD));
    assert_ne!(answer.map(|(_, code)| code), Ok(0));
}

/// Whatever bytes a name holds, the broker answers or closes, and lives.
fn names_that_are_not_text_are_survived(install: &Install) {
    let broker = install.reference();
    let long = vec![b'x'; 65_535];
    let names: [&[u8]; 12] = [
        b"\xff",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\x00",
        b"alice\x00",
        b"\x01",
        b"\x1b[31m",
        b"\x7f",
        "\u{85}".as_bytes(),
        "\u{fffe}".as_bytes(),
        b"alice\nmqtt-acl: policy in force",
        &long,
    ];
    for version in VERSIONS {
        for name in names {
            for connect in [
                Connect::new(version, "bytes").username(name).password(PASSWORD),
                Connect::new(version, name).username("alice").password(PASSWORD),
                Connect::new(version, "alice").username("alice").password(name),
                Connect::new(version, name).username(name).password(name),
            ] {
                let (_, answer) = broker.try_client(&connect);
                assert_ne!(answer, Err(Gone::Silent), "{connect:?}");
                assert_ne!(answer.map(|(_, code)| code), Ok(0), "{connect:?}");
            }
        }
    }
}

/// Before 2.1.3 no broker tells the length (contract 2.2), so what follows a NUL is never seen.
fn a_password_ends_at_its_first_nul(install: &Install) {
    let broker = install.reference();
    let connect = Connect::new(V311, "alice-nul").username("alice");
    broker.assert_refused(&connect.clone().password("sesa\0me"));
    broker.assert_refused(&connect.clone().password("\0sesame"));
    assert!(broker.try_client(&connect.password("sesame\0me")).1.is_ok());
}

fn a_client_id_belongs_to_its_user(install: &Install) {
    let broker = install.reference();
    for version in VERSIONS {
        let alice = |id: &str| Connect::new(version, id).username("alice").password(PASSWORD);
        for own in ["alice", "alice-1", "alice-a-b", "alice-+"] {
            broker.client_with(&alice(own));
        }
        let auto = "auto-0190D7A2-7C1B-4F9E-8D3A-5B6C7D8E9F00";
        let foreign = ["bob", "bob-1", "alice2", "alice2-1", "Alice", "alice_1", "x", "alice-", "alice/1", "alice-a/b"];
        for id in foreign.into_iter().chain(["auto-", "auto-alice", "auto-0190D7A2", "http-api", "+", "#", "%u"]) {
            broker.assert_refused(&alice(id));
        }
        // An id that has the form of those the broker makes is one of them (S4).
        if version != V31 {
            broker.client_with(&alice(auto));
            broker.client_with(&alice(""));
        }
        // 3.1 allowed 23 bytes, and no broker insists.
        broker.client_with(&alice(&format!("alice-{}", "x".repeat(100))));
    }
}

fn the_http_api_id_is_refused(install: &Install) {
    for version in VERSIONS {
        let connect = Connect::new(version, "http-api").password(PASSWORD);
        for user in ["alice", "mqttuser", "http-api"] {
            install.reference().assert_refused(&connect.clone().username(user));
        }
    }
}

fn takeover_by_another_user_is_refused(install: &Install) {
    let broker = install.reference();
    for version in VERSIONS {
        let id = format!("alice-victim-{version}");
        let mut victim = broker.client(version, "alice", &id);
        assert_eq!(victim.subscribe("own/alice/takeover"), Ok(1));
        for attacker in ["bob", "alice2", "mqttuser", "nobody"] {
            broker.assert_refused(&Connect::new(version, &id).username(attacker).password(PASSWORD));
        }
        broker.assert_refused(&Connect::new(version, &id).username("alice").password("wrong"));
        broker.assert_refused(&Connect::new(version, &id));
        assert_eq!(victim.publish(&Publish::new("own/alice/takeover", "x")), Ok(0), "the victim is disturbed");
        assert_eq!(victim.topics(), ["own/alice/takeover"]);
    }
}

fn a_session_is_not_inherited_by_another_user(install: &Install) {
    let broker = install.reference();
    for version in VERSIONS {
        let topic = format!("own/alice/kept-{version}");
        let kept = Connect::new(version, format!("alice-kept-{version}")).persistent(600);
        let alice = kept.clone().username("alice").password(PASSWORD);
        let mut victim = broker.client_with(&alice);
        assert_eq!(victim.subscribe(&topic), Ok(1));
        victim.disconnect();
        let mut sender = broker.client(version, "alice", "alice-sender");
        assert_eq!(sender.publish(&Publish::new(&topic, "secret")), Ok(0));

        for attacker in ["bob", "mqttuser"] {
            broker.assert_refused(&kept.clone().username(attacker).password(PASSWORD));
        }
        let (mut victim, answer) = broker.try_client(&alice);
        // 3.1 has no flag for a session that was kept.
        assert_eq!(answer, Ok((version != V31, 0)));
        assert_eq!(victim.topics(), [topic]);
        // So that nothing is left behind.
        broker.client(version, "alice", &format!("alice-kept-{version}")).disconnect();
    }
}

fn takeover_by_the_same_user_works(install: &Install) {
    let broker = install.reference();
    for version in VERSIONS {
        let id = format!("bob-again-{version}");
        let mut first = broker.client(version, "bob", &id);
        let mut second = broker.client(version, "bob", &id);
        let reason = first.closed();
        let told = version == V5 && install.is_at_least("2.0.21");
        assert_eq!(reason, told.then_some(0x8e));
        assert_eq!(second.ping(), Ok(()));
    }
}

/// BASIC_AUTH is not asked then (contract 2.1): nobody may get in that way.
fn an_authentication_method_is_refused(install: &Install) {
    let broker = install.reference();
    for method in ["PLAIN", "SCRAM-SHA-1", "mqtt-acl"] {
        for user in ["alice", "nobody"] {
            let mut connect = Connect::new(V5, user).username(user).password(PASSWORD);
            connect.authentication_method = Some(method.to_owned());
            let (_, answer) = broker.patient_client(&connect);
            assert_eq!(answer, Ok((false, 0x8c)), "{connect:?}");
        }
    }
    // 2.1 takes an empty one for none at all, and asks for the password.
    let mut empty = Connect::new(V5, "alice").username("alice").password("wrong");
    empty.authentication_method = Some(String::new());
    let (_, answer) = broker.patient_client(&empty);
    let code = if install.is_at_least("2.1") { NOT_AUTHORIZED } else { 0x8c };
    assert_eq!(answer, Ok((false, code)));
}

fn tokens_are_replaced_without_an_outage(install: &Install) {
    let [old, new] = [(), ()].map(|()| Token::new().unwrap_or_else(|problem| panic!("{problem}")));
    let policy = |passwords: &str| format!("version = 1\n[users.dev]\npassword = [{passwords}]\n");
    let [only_old, both, only_new] = [
        policy(&format!("\"{}\"", old.string)),
        policy(&format!("\"{}\", \"{}\"", new.string, old.string)),
        policy(&format!("\"{}\"", new.string)),
    ];
    let login = |token: &Token| Connect::new(V5, "dev").username("dev").password(token.secret.as_str());
    install.with(&Setup::policy(&only_old), |broker| {
        broker.client_with(&login(&old)).disconnect();
        broker.assert_refused(&login(&new));
        broker.assert_refused(&Connect::new(V5, "dev").username("dev").password(old.string.as_str()));
        broker.reload(&both);
        broker.client_with(&login(&new)).disconnect();
        let start = broker.log_len();
        broker.client_with(&login(&old)).disconnect();
        broker.wait_log(start, |line| line.contains("login with an old password"), "who is behind");
        broker.reload(&only_new);
        broker.client_with(&login(&new)).disconnect();
        broker.assert_refused(&login(&old));
    });
}
