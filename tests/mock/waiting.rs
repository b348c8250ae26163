//! Logins that wait, case by case; [`crate::model`] has them in every order.

use crate::{
    ALICE, OTHERS, OWN, audit, device,
    host::{BUSY, Broker, Client, DELAYED, Host, WRITE},
    library::{faulty_library, library},
    policy::{PASSWORD, Policy, slow_devices, very_slow_device},
};

const REFUSED: i32 = 11;

/// Who handles SIGURG, as the host tells it.
const NOBODY: Option<i32> = Some(0);
const THE_HOST: Option<i32> = Some(1);
const THE_PLUGIN: Option<i32> = Some(2);

fn run(host: &mut Host) -> Policy {
    run_with(host, &slow_devices(["alice", "bob"]))
}

fn run_with(host: &mut Host, policy: &str) -> Policy {
    let policy = Policy::new(policy);
    host.run(&library(), &policy.file());
    host.tick();
    policy
}

/// The loop waits for the network for as long as the host is given, unless a result wakes it (S26).
pub(crate) fn results_wake_the_loop(host: &mut Host) {
    const INTERRUPTED: Option<i32> = Some(4);
    assert_eq!(host.ask("urgent").value, NOBODY);
    let _policy = run(host);
    if host.broker == Broker::V2_0 {
        assert_eq!(host.ask("urgent").value, NOBODY, "an idle 2.0 ticks ten times a second");
        return;
    }
    assert_eq!(host.ask("urgent").value, THE_PLUGIN);
    for number in 0..5 {
        let client = Client { id: Some(format!("alice-{number}").into()), ..device("alice") };
        let wrong = Client { password: Some(b"wrong".to_vec()), ..client };
        assert_eq!(host.arrive(3, &wrong), Some(DELAYED));
        let completion = format!("complete alice-{number} 11 3");
        // A result that a TICK saw before the signal came wakes the loop once for nothing.
        let is_answered = (0..5).any(|_| {
            assert_eq!(host.ask("idle 8000").value, INTERRUPTED, "nothing but the network or a signal ends the wait");
            host.tick().says(&completion)
        });
        assert!(is_answered, "woken for nothing");
    }
    host.cleanup();
    assert_eq!(host.ask("urgent").value, NOBODY, "the handler would be code that is unmapped");
    host.unload();
}

/// What handles the signal already goes on handling it; the loop is not woken then, and ticks as it does.
pub(crate) fn another_handler_is_left_alone(host: &mut Host) {
    assert_eq!(host.ask("urgent take").value, THE_HOST);
    let _policy = run(host);
    assert_eq!(host.ask("urgent").value, THE_HOST);
    assert!(host.login(ALICE, &device("alice")));
    host.cleanup();
    assert_eq!(host.ask("urgent").value, THE_HOST);
    host.unload();
    assert_eq!(host.ask("urgent leave").value, NOBODY);
}

pub(crate) fn the_last_instance_restores_the_handler(host: &mut Host) {
    let policy = run(host);
    host.load(1, 1, &library());
    assert_eq!(host.init(&[("policy_file", &policy.file())]).value, Some(0));
    host.plugin = 0;
    host.cleanup();
    host.unload();
    host.plugin = 1;
    let expected = if host.broker == Broker::V2_1 { THE_PLUGIN } else { NOBODY };
    assert_eq!(host.ask("urgent").value, expected);
    assert!(host.login(ALICE, &device("alice")));
    host.cleanup();
    assert_eq!(host.ask("urgent").value, NOBODY);
    host.unload();
}

/// 2.0 unmaps the library then.
pub(crate) fn cleanup_amid_checks(host: &mut Host) {
    for _ in 0..3 {
        let _policy = run(host);
        for number in 0..20 {
            let client = Client { id: Some(format!("alice-{number}").into()), ..device("alice") };
            let wrong = Client { password: Some(format!("wrong {number}").into()), ..client };
            let answer = host.arrive(3 + number, &wrong);
            assert!(matches!(answer, Some(DELAYED | REFUSED | BUSY)), "{answer:?}");
        }
        host.cleanup();
        host.assert_no_thread("a worker outlived the library");
        host.unload();
    }
}

/// What cannot wait any more is refused unchecked, while those who are known go in and out.
pub(crate) fn a_full_queue_refuses(host: &mut Host) {
    let _policy = run_with(host, &(slow_devices(["alice"]) + &very_slow_device("bob")));
    assert!(host.login(ALICE, &device("alice")));
    let client = |number: usize| Client {
        id: Some(format!("bob-{number}").into()),
        password: Some(format!("wrong {number}").into()),
        ..device("bob")
    };
    let mut waits = 0;
    while host.arrive(3, &client(waits)) == Some(DELAYED) {
        waits += 1;
        assert!(waits < 1_000, "there is no end to those who may wait");
        host.ask("drop 3");
    }
    assert!(waits >= 16, "{waits}");
    let newcomers = [client(waits), Client { mqtt_5: true, ..client(waits) }];
    for newcomer in newcomers.iter().cycle().take(10) {
        // At the end of each turn there may be room for one.
        let answer = host.arrive(3, newcomer);
        assert!(matches!(answer, Some(BUSY | DELAYED | REFUSED)), "{answer:?}");
        host.ask("drop 3");
    }
    assert!(host.auth(ALICE, Some(b"alice"), Some(PASSWORD)), "who is remembered does not wait");
    assert!(host.acl(WRITE, ALICE, OWN));
}

/// With the hook that panics in a worker when the user name is `panic!`.
pub(crate) fn a_worker_that_panics(host: &mut Host) {
    let policy = Policy::new(&slow_devices(["alice"]));
    host.run(&faulty_library(), &policy.file());
    host.tick();
    for number in 0..5 {
        let id = format!("{number}");
        assert!(!host.login(3, &Client { id: Some(id.clone().into()), ..device("panic!") }));
        assert!(host.login(ALICE, &Client { id: Some(format!("alice-{number}").into()), ..device("alice") }));
        assert!(!host.auth(ALICE, Some(b"alice"), Some(b"wrong")));
    }
    assert!(host.acl(WRITE, ALICE, OWN));
    assert_eq!(host.reload(), crate::host::Outcome::InForce);
}

/// The broker would publish them, of clients that were never let in.
pub(crate) fn wills_of_those_who_wait(host: &mut Host) {
    let _policy = run(host);
    let will = |client| Client { will: Some(OTHERS.into()), ..client };
    let mallory = Client { id: Some(b"bob-1".to_vec()), ..device("mallory") };
    assert_eq!(host.arrive(3, &will(mallory)), Some(DELAYED));
    assert!(host.ask("drop 3").says("will 12"), "while it waits");
    // Somebody else comes to lie where it lay.
    assert_eq!(host.arrive(3, &will(device("bob"))), Some(DELAYED));
    audit::until(|| {
        let turn = host.turn();
        // On a busy machine a worker may get its turn too late.
        turn.says("complete bob 0 3")
            || (turn.says("complete bob 11 3") && host.arrive(3, &will(device("bob"))) == Some(0))
    });
    assert!(host.acl(WRITE, 3, OTHERS));
    assert!(host.ask("drop 3").says("will 0"));
}
