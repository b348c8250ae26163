//! Thousands of calls with hostile arguments, while the policy changes, compared with a model of a few lines.

use std::{collections::BTreeSet, env, sync::OnceLock};

use fastrand::Rng;

use crate::{
    assert_harmless,
    host::{Client, Host, READ, SUBSCRIBE, UNSUBSCRIBE, Under, WRITE, Who},
    library::library,
    policy::{PASSWORD, Policy, devices},
};

const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];
const CLIENTS: usize = 8;

pub(crate) fn calls(host: &mut Host) {
    let random = &mut Rng::with_seed(seed());
    let policy = Policy::new(&devices(USERS));
    host.run(&library(), &policy.file());
    let mut model = Model { in_force: USERS.into(), loading: None, allowed: 0 };
    let mut clients = vec![Client::default(); CLIENTS];
    let mut read = host.log.len();
    let calls = if host.under == Under::Valgrind { 3_000 } else { 20_000 };
    for _ in 0..calls {
        let number = random.usize(..CLIENTS);
        match random.u32(..100) {
            0..10 => {
                clients[number] = client(random);
                host.client(number, &clients[number]);
            }
            10..25 => login(host, random, &mut model, number, &clients[number]),
            25..90 => access(host, random, &mut model, number, &clients[number]),
            90..93 => host.disconnect(if random.bool() { Who::Null } else { Who::Client(number) }, random.i32(..)),
            93..97 => _ = host.tick(),
            97 => _ = host.ask(&format!("connect 0 {number}")),
            98 => assert_harmless(
                host,
                pick(random, &[2, 3, 9, 10, 11, 28]),
                random.i32(-1..40),
                pick(random, &["null", "zero"]),
            ),
            _ if model.loading.is_none() => {
                model.loading = Some(edit(random, &policy, &model.in_force));
                host.sighup();
                host.tick();
            }
            _ => {}
        }
        for line in &host.log[read..] {
            if line.contains("mqtt-acl: policy in force") || line.contains("mqtt-acl: policy not loaded") {
                model.settle();
            }
        }
        read = host.log.len();
    }
    assert!(model.allowed > calls / 40, "too few calls were granted to prove anything: {}", model.allowed);
}

/// The seed of this run: that of `MQTT_ACL_SEED`, or a new one.
pub(crate) fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| {
        let seed = env::var("MQTT_ACL_SEED")
            .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("MQTT_ACL_SEED is a number"));
        println!("random calls: MQTT_ACL_SEED={seed}");
        seed
    })
}

type Users = BTreeSet<&'static str>;

/// Who is listed; while a new policy loads, the answer may be that of the old one or that of the new one.
#[derive(Debug)]
struct Model {
    in_force: Users,
    loading: Option<Users>,
    allowed: u32,
}

impl Model {
    fn settle(&mut self) {
        if let Some(users) = self.loading.take() {
            self.in_force = users;
        }
    }

    /// Checks an answer to a client of `user`, whose request would be granted if the user were listed.
    fn check(&mut self, allowed: bool, user: Option<&[u8]>, granted_if_listed: bool, what: &str) {
        let right = |users: &Users| granted_if_listed && users.iter().any(|name| user == Some(name.as_bytes()));
        let (old, new) = (right(&self.in_force), right(self.loading.as_ref().unwrap_or(&self.in_force)));
        assert!(allowed == old || allowed == new, "allowed: {allowed}; {what}; {self:?}");
        self.allowed += u32::from(allowed);
    }
}

fn login(host: &mut Host, random: &mut Rng, model: &mut Model, number: usize, client: &Client) {
    let password = if random.bool() { Some(PASSWORD.to_vec()) } else { text(random) };
    let allowed = host.auth(number, client.user.as_deref(), password.as_deref());
    let granted = bound(client) && client.address.is_some() && password.as_deref() == Some(PASSWORD);
    model.check(allowed, client.user.as_deref(), granted, &format!("login of {client:?} with {password:?}"));
}

fn access(host: &mut Host, random: &mut Rng, model: &mut Model, number: usize, client: &Client) {
    let (who, known) = match random.u32(..10) {
        0 => (Who::Null, None),
        1 => (Who::OnStack(number), Some(client)),
        _ => (Who::Client(number), Some(client)),
    };
    let access = if random.u32(..10) == 0 { random.i32(..) } else { pick(random, &[READ, WRITE, SUBSCRIBE]) };
    let topic = topic(random, client.user.as_deref());
    let allowed = host.acl_of(access, who, topic.as_deref());
    if access != UNSUBSCRIBE {
        let user = known.and_then(|client| client.user.as_deref());
        let granted = known.is_some_and(bound) && topic.as_deref().is_some_and(|topic| covered(access, user, topic));
        model.check(allowed, user, granted, &format!("access {access} of {who:?} {client:?} to {topic:?}"));
    }
}

/// The binding `["%u", "%u-*"]`, for user names without a hyphen.
fn bound(client: &Client) -> bool {
    let (Some(id), Some(user)) = (&client.id, &client.user) else {
        return false;
    };
    id.strip_prefix(&user[..])
        .is_some_and(|rest| rest.is_empty() || rest.len() > 1 && rest[0] == b'-' && !rest.contains(&b'/'))
}

/// The rules of the role, for topics that the broker would take.
fn covered(access: i32, user: Option<&[u8]>, topic: &[u8]) -> bool {
    let levels: Vec<_> = topic.split(|byte| *byte == b'/').collect();
    let first: &[&[u8]] = if access == WRITE { &[b"dt", b"cmd"] } else { &[b"cmd"] };
    [READ, WRITE, SUBSCRIBE].contains(&access)
        && levels.len() > 3
        && first.contains(&levels[0])
        && levels[1] == b"demo"
        && user == Some(levels[3])
        && levels[2] != b"#"
}

/// Writes a new policy, good or bad, and returns who is listed once it has loaded.
fn edit(random: &mut Rng, policy: &Policy, in_force: &Users) -> Users {
    if random.u32(..4) == 0 {
        policy.write(pick(random, &["", "version = 1\nbogus = 1\n", "\u{0}", "[users.mallory]\n"]));
        return in_force.clone();
    }
    let users: Users = USERS.into_iter().filter(|_| random.u32(..4) > 0).collect();
    policy.write(&devices(users.iter().copied()));
    users
}

fn client(random: &mut Rng) -> Client {
    let user = if random.u32(..4) > 0 { Some(pick(random, &USERS).into()) } else { text(random) };
    let id = match random.u32(..8) {
        0 => text(random),
        1 => user.clone().map(|user: Vec<u8>| [&user[..], b"-", &text(random).unwrap_or_default()].concat()),
        _ => user.clone(),
    };
    Client { id, user, address: Some(b"192.0.2.7".to_vec()), ..Client::default() }
}

fn text(random: &mut Rng) -> Option<Vec<u8>> {
    const TEXTS: [&[u8]; 10] =
        [b"", b"mallory", b"ALICE", b"alice2", b"$SYS", b"%u", b"http-api", b"alice\xff", b"secre", b"secret "];
    match random.u32(..10) {
        0 => None,
        1 => Some((0..random.usize(..300)).map(|_| random.u8(1..)).collect()),
        _ => Some(pick(random, &TEXTS).to_vec()),
    }
}

fn topic(random: &mut Rng, user: Option<&[u8]>) -> Option<Vec<u8>> {
    const LEVELS: [&[u8]; 9] = [b"dt", b"cmd", b"demo", b"1", b"+", b"#", b"", b"$SYS", b"\xff"];
    match random.u32(..10) {
        0 => text(random),
        1 => Some((0..random.usize(1..8)).map(|_| pick(random, &LEVELS)).collect::<Vec<_>>().join(&b'/')),
        _ => {
            let name = if random.u32(..4) > 0 { user.unwrap_or(b"alice") } else { pick(random, &USERS).as_bytes() };
            Some(
                [pick(random, &[&b"dt"[..], b"cmd"]), b"demo", pick(random, &[&b"1"[..], b"x", b""]), name, b"senml"]
                    .join(&b'/'),
            )
        }
    }
}

pub(crate) fn pick<T: Copy>(random: &mut Rng, from: &[T]) -> T {
    from[random.usize(..from.len())]
}
