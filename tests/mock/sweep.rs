//! After a new policy: random edits, and who is kicked for them.

use std::collections::BTreeMap;

use fastrand::Rng;
use std::fmt::Write as _;

use crate::{
    host::{Broker, Client, Host, Outcome, SUBSCRIBE, UNSUBSCRIBE, Under, WRITE},
    library::library,
    policy::{PASSWORD, Policy, devices},
    random::{pick, seed},
};

const NAMES: [&str; 6] = ["u1", "u2", "u3", "u4", "u5", "u6"];
const FILTERS: [&str; 4] = ["a", "b", "c", "d"];

/// What a user may subscribe to; who is not there is not listed.
type Rights = BTreeMap<&'static str, Vec<&'static str>>;

#[derive(Debug)]
struct Session {
    user: &'static str,
    is_online: bool,
    filters: Vec<&'static str>,
}

fn text(rights: &Rights) -> String {
    let mut text = devices([]);
    let hash = devices(["x"]).lines().find(|line| line.starts_with("password")).unwrap().to_owned();
    for (user, filters) in rights {
        writeln!(text, "[users.{user}]\nsubscribe = {filters:?}\npublish = [\"a\"]\n{hash}").unwrap();
    }
    text
}

fn rights(random: &mut Rng, old: &Rights) -> Rights {
    let mut new = old.clone();
    for name in NAMES {
        match random.u32(..6) {
            0 => drop(new.remove(name)),
            1 | 2 => drop(new.insert(name, FILTERS.into_iter().filter(|_| random.u32(..4) > 0).collect())),
            _ => {}
        }
    }
    new
}

/// Sessions of several users, online and offline, that subscribe, unsubscribe, go and come; one edit in three is broken.
/// After each, those and only those are kicked that lost a subscription which they have, or their user.
pub(crate) fn edits(host: &mut Host) {
    let rounds = if host.under == Under::Valgrind { 60 } else { 600 };
    let mut random = Rng::with_seed(seed());
    let mut now = rights(&mut random, &NAMES.iter().map(|name| (*name, FILTERS.to_vec())).collect());
    let policy = Policy::new(&text(&now));
    host.run(&library(), &policy.file());
    host.tick();
    let mut sessions: BTreeMap<usize, Session> = BTreeMap::new();
    let (mut kicked, mut spared, mut offline) = (0, 0, 0);
    for round in 0..rounds {
        for _ in 0..random.usize(..12) {
            act(host, &mut random, &now, &mut sessions);
        }
        if random.u32(..3) == 0 {
            policy.write(pick(&mut random, &["", "version = 1\nbogus = 1\n", "[users.mallory]\n"]));
            host.log.clear();
            assert_eq!(host.reload(), Outcome::NotLoaded);
            assert!(!host.log.iter().any(|line| line.contains("policy change")), "{:#?}", host.log);
            continue;
        }
        now = rights(&mut random, &now);
        // The same text again would be no change.
        policy.write(&format!("{}# {round}\n", text(&now)));
        // The pass is answered first, and drops nobody.
        host.sighup();
        let mut lines = Vec::new();
        while !lines.iter().any(|line: &String| line.contains("mqtt-acl: policy change: ")) {
            lines.extend(host.tick().lines);
        }
        for (number, session) in &mut sessions {
            let kick = format!("kick {} 1", id(*number, session.user));
            let is_kicked = lines.contains(&kick);
            let granted = now.get(session.user);
            let has_lost = session.filters.iter().any(|filter| granted.is_none_or(|granted| !granted.contains(filter)));
            let expected = has_lost || (granted.is_none() && session.is_online);
            assert_eq!(is_kicked, expected, "{session:?}, granted {granted:?}: {lines:#?}");
            kicked += usize::from(is_kicked && session.is_online);
            offline += usize::from(is_kicked && !session.is_online);
            spared += usize::from(!is_kicked);
            if is_kicked {
                session.is_online = false;
                session.filters.retain(|filter| granted.is_some_and(|granted| granted.contains(filter)));
            }
        }
        assert!(!lines.iter().any(|line| line.starts_with("kick ") && !line.ends_with(" 1")), "{lines:#?}");
    }
    assert!(kicked > rounds / 10 && spared > rounds / 10, "{kicked} {spared}");
    // The few rounds under valgrind need not meet what is rarer.
    assert!(offline > rounds / 30 || host.under == Under::Valgrind, "{offline}");
}

fn id(number: usize, user: &str) -> String {
    format!("{user}-{number}")
}

/// CONNECT of a client whose session outlives the connection: a new one, or the one that the broker keeps.
fn log_in(host: &mut Host, number: usize, user: &str, again: bool) -> bool {
    let client = Client {
        password: Some(PASSWORD.to_vec()),
        will: Some("a".into()),
        kept: again,
        mqtt_5: true,
        ..Client::new(id(number, user), user)
    };
    let admitted = host.login(number, &client);
    // Either way it is a session that the broker keeps.
    host.client(number, &Client { offline: !admitted, kept: true, ..client });
    admitted
}

fn act(host: &mut Host, random: &mut Rng, now: &Rights, sessions: &mut BTreeMap<usize, Session>) {
    let number = random.usize(1..24);
    let Some(session) = sessions.get_mut(&number) else {
        let user = pick(random, &NAMES);
        let admitted = log_in(host, number, user, false);
        assert_eq!(admitted, now.contains_key(user));
        if admitted {
            sessions.insert(number, Session { user, is_online: true, filters: Vec::new() });
        }
        return;
    };
    let granted = now.get(session.user);
    if !session.is_online {
        // It comes back to what the broker kept of it.
        session.is_online = log_in(host, number, session.user, true);
        assert_eq!(session.is_online, granted.is_some());
        return;
    }
    assert_eq!(host.acl(WRITE, number, "a"), granted.is_some());
    let filter = pick(random, &FILTERS);
    match random.u32(..6) {
        0..3 => {
            let is_granted = granted.is_some_and(|granted| granted.contains(&filter));
            assert_eq!(host.acl(SUBSCRIBE, number, filter), is_granted);
            if is_granted && !session.filters.contains(&filter) {
                session.filters.push(filter);
            }
        }
        3 => {
            assert!(host.acl(UNSUBSCRIBE, number, filter));
            session.filters.retain(|known| *known != filter);
        }
        4 => {
            session.is_online = false;
            match host.broker {
                Broker::V2_0 => host.disconnect(number, -1),
                Broker::V2_1 => drop(host.ask(&format!("offline {} {number}", host.plugin))),
            }
        }
        // One that is rejected under the same id ends nothing.
        _ => {
            host.client(40, &Client::new(id(number, session.user), "mallory"));
            host.disconnect(40, 11);
        }
    }
}
