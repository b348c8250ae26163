//! Properties: over generated policies, clients and requests, the engine is the plain reference; and some things hold
//! whatever the policy is.
//!
//! Mutations of the engine that were tried by hand, each caught by a test of this file, most by `tables.rs` as well.
//! In the matcher: drop the `$` guard of a topic, of containment, of rules or of filters that meet; let a literal, or `%u`,
//! cover `+`; let `a/+/#` cover `a/#`; count the empty topic; stop at an allow although there are denies.
//! In templates and patterns: let every name stand for a level; let one with `/` or a control character; let `*` cross `/`.
//! In decisions: ignore denies of subscriptions, or of deliveries; look at the first rule set only; grant a shared
//! subscription by overlap; ignore `share`; overlap in spite of denies, or by a role without it; admit disabled users.
//! In client ids: admit a foreign one through `*`; let the shortest name own an id; accept policies whose ids overlap.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod reference;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use mqtt_acl_policy::{Action, Client, Decision, Failure, Policy, Refusal, Severity, is_topic_name, parse};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reference::Reference;

/// Random bytes, spent on choices; when they are used up, the first choice is taken.
struct Dice(std::vec::IntoIter<u8>);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        usize::from(self.0.next().unwrap_or(0)) % sides
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())].clone()
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == sides - 1
    }
}

fn check(cases: u32, mut property: impl FnMut(&mut Dice)) {
    let property = std::cell::RefCell::new(&mut property);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    TestRunner::new(config)
        .run(&vec(any::<u8>(), 700..1_200), |bytes| {
            property.borrow_mut()(&mut Dice(bytes.into_iter()));
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

/// A generated policy.
struct World {
    table: toml::Table,
    /// Whether some role admits every client id; then no rule names `%c` (S12).
    free: bool,
}

const LISTED: [&str; 8] = ["u", "v", "+u", "#", "u/v", "$u", "%u", "\u{e9}"];
const UNLISTED: [&[u8]; 5] = [b"w", b"w\x01", b"w\xff", b"+", b"$SYS"];
const IDS: [&[u8]; 11] = [
    b"c1",
    b"a",
    b"c\xff",
    b"+",
    b"a/b",
    b"$x",
    b"c+",
    b"c\x01",
    b"#",
    b"auto-0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0",
    b"http-api",
];

impl World {
    fn of(dice: &mut Dice) -> Self {
        let mut world = Self { table: toml::Table::new(), free: dice.one_in(3) };
        let mut roles = toml::Table::new();
        for role in ["r0", "r1", "r2"] {
            roles.insert(role.into(), world.rule_set(dice, true).into());
        }
        let mut users = toml::Table::new();
        for name in LISTED {
            let mut user = if dice.one_in(3) { world.rule_set(dice, false) } else { toml::Table::new() };
            user.insert("roles".into(), roles_of(dice).into());
            if dice.one_in(12) {
                user.insert("disabled".into(), true.into());
            }
            users.insert(name.into(), user.into());
        }
        if dice.one_in(2) {
            let mut anonymous = world.rule_set(dice, false);
            if !world.free {
                anonymous.insert("client_id".into(), vec!["c*", "+", "a"].into());
            }
            let text = anonymous.to_string().replace("%u", "b");
            world.table.insert("anonymous".into(), text.parse::<toml::Table>().unwrap().into());
        }
        let mut blocks = Vec::new();
        for (username, unlisted) in [("u*", false), ("*", true)] {
            if dice.one_in(2) {
                let mut block = toml::Table::new();
                block.insert("username".into(), username.into());
                block.insert("roles".into(), dice.pick(&[vec!["r0"], vec!["r2"], vec!["r1", "r2"]]).into());
                block.insert("unlisted".into(), unlisted.into());
                blocks.push(block);
            }
        }
        world.table.insert("version".into(), 1.into());
        world.table.insert("match".into(), blocks.into());
        world.table.insert("roles".into(), roles.into());
        world.table.insert("users".into(), users.into());
        world
    }

    fn rule_set(&self, dice: &mut Dice, is_role: bool) -> toml::Table {
        let mut set = toml::Table::new();
        for (key, most) in [("publish", 4), ("subscribe", 5), ("receive", 2)] {
            set.insert(key.into(), self.rules(dice, most).into());
        }
        let mut deny = toml::Table::new();
        for key in ["publish", "subscribe"] {
            deny.insert(key.into(), self.rules(dice, 2).into());
        }
        if dice.one_in(3) {
            set.insert("deny".into(), deny.into());
        }
        if dice.one_in(4) {
            set.insert("overlap".into(), true.into());
        }
        if dice.one_in(4) {
            set.insert("share".into(), vec!["g"].into());
        }
        if dice.one_in(8) {
            set.insert("auto_id".into(), false.into());
        }
        if is_role && dice.roll(4) > 0 {
            let ids: &[&str] = if self.free { &["*"] } else { &["%u", "%u-*", "c*", "+", "a", "a/b", "$x"] };
            set.insert("client_id".into(), ids.to_vec().into());
        }
        set
    }

    fn rules(&self, dice: &mut Dice, most: usize) -> Vec<String> {
        (0..dice.roll(most + 1)).map(|_| self.rule(dice)).collect()
    }

    fn rule(&self, dice: &mut Dice) -> String {
        let names = if self.free { ["%u", "b"] } else { ["%u", "%c"] };
        let mut levels: Vec<&str> = Vec::new();
        for _ in 0..=dice.roll(3) {
            levels.push(dice.pick(&["a", "b", "+", "a", "", "+", names[0], names[1], "$x"]));
        }
        if dice.one_in(3) {
            levels.truncate(2);
            levels.push("#");
        }
        let rule = levels.join("/");
        if rule.is_empty() { "#".into() } else { rule }
    }

    fn text(&self) -> String {
        self.table.to_string()
    }

    /// The rules of the policy, wherever they stand.
    fn all_rules(&self) -> Vec<String> {
        fn collect(value: &toml::Value, key: &str, rules: &mut Vec<String>) {
            match value {
                toml::Value::Table(table) => table.iter().for_each(|(key, value)| collect(value, key, rules)),
                toml::Value::Array(items) => items.iter().for_each(|item| collect(item, key, rules)),
                toml::Value::String(text) if ["publish", "subscribe", "receive"].contains(&key) => {
                    rules.push(text.clone())
                }
                _ => {}
            }
        }
        let mut rules = Vec::new();
        collect(&self.table.clone().into(), "", &mut rules);
        rules
    }
}

fn roles_of(dice: &mut Dice) -> Vec<&'static str> {
    dice.pick(&[vec!["r0"], vec!["r1", "r0"], vec!["r0", "r1", "r2"], vec!["r2"], vec![]])
}

/// Somebody who asks; mostly somebody who is admitted.
fn who(dice: &mut Dice) -> (Option<Vec<u8>>, Vec<u8>) {
    let user = match dice.roll(12) {
        0..6 => Some(dice.pick(&LISTED[..2]).as_bytes().to_vec()),
        6..9 => Some(dice.pick(&LISTED).as_bytes().to_vec()),
        9..11 => Some(dice.pick(&UNLISTED).to_vec()),
        _ => None,
    };
    let id = match (&user, dice.roll(4)) {
        (Some(user), 0) => user.clone(),
        (Some(user), 1) => [user, &b"-1"[..]].concat(),
        (_, 2) => dice.pick(&IDS[..4]).to_vec(),
        _ => dice.pick(&IDS).to_vec(),
    };
    (user, id)
}

/// A topic that a rule of the policy was made for; or any other.
fn topic(dice: &mut Dice, rules: &[String], client: &Client<'_>) -> Vec<u8> {
    let texts: [&[u8]; 8] = [b"a", b"b", b"", b"z", b"$x", b"%u", client.user.unwrap_or(b"a"), client.id];
    let any = dice.one_in(4);
    let rule = if any || rules.is_empty() { "+/+/#".to_owned() } else { dice.pick(rules) };
    let mut levels: Vec<Vec<u8>> = Vec::new();
    for level in rule.split('/') {
        match level {
            "+" => levels.push(dice.pick(&texts).to_vec()),
            "#" => (0..dice.roll(3)).for_each(|_| levels.push(dice.pick(&texts).to_vec())),
            "%u" => levels.push(client.user.unwrap_or_default().to_vec()),
            "%c" => levels.push(client.id.to_vec()),
            text => levels.push(text.as_bytes().to_vec()),
        }
    }
    let mut topic = levels.join(&b'/');
    topic.retain(|byte| !matches!(byte, b'+' | b'#'));
    if topic.is_empty() { b"a".to_vec() } else { topic }
}

/// A filter near a rule of the policy: it, a part of it, or more than it.
fn filter(dice: &mut Dice, rules: &[String], client: &Client<'_>) -> Vec<u8> {
    let mut levels: Vec<Vec<u8>> = match dice.roll(2) {
        0 if !rules.is_empty() => dice
            .pick(rules)
            .split('/')
            .map(|level| match level {
                "%u" => client.user.unwrap_or(b"a").to_vec(),
                "%c" => client.id.to_vec(),
                text => text.as_bytes().to_vec(),
            })
            .collect(),
        _ => topic(dice, rules, client).split(|b| *b == b'/').map(<[u8]>::to_vec).collect(),
    };
    levels.truncate(3);
    if dice.one_in(4) {
        let at = dice.roll(levels.len());
        levels[at] = b"+".to_vec();
    }
    if dice.one_in(4) {
        let at = dice.roll(levels.len()) + 1;
        levels.truncate(at);
        levels.push(b"#".to_vec());
    }
    levels.join(&b'/')
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Publish,
    Receive,
    Subscribe,
    Share,
}

impl Deed {
    fn action(self, text: &[u8]) -> Action<'_> {
        match self {
            Self::Publish => Action::Publish(text),
            Self::Receive => Action::Receive(text),
            Self::Subscribe | Self::Share => Action::Subscribe(text),
        }
    }

    fn any(dice: &mut Dice, rules: &[String], client: &Client<'_>) -> (Self, Vec<u8>) {
        let deed = dice.pick(&[Self::Publish, Self::Receive, Self::Subscribe, Self::Share]);
        let text = match deed {
            Self::Publish | Self::Receive => topic(dice, rules, client),
            Self::Subscribe => filter(dice, rules, client),
            Self::Share => {
                let group = dice.pick(&[&b"$share/g/"[..], b"$share/h/", b"$share/g/", b"$share/g/", b"$share//"]);
                [group, &filter(dice, rules, client)].concat()
            }
        };
        (deed, text)
    }
}

fn engine(text: &str) -> Policy {
    parse(text, "p.toml").unwrap_or_else(|failure| panic!("{text}\n{failure:#?}")).policy
}

/// Whether the rules decided, rather than who asks.
fn by_rules(decision: Decision) -> bool {
    match decision {
        Decision::Allow(_) => true,
        Decision::Deny(refusal) => {
            matches!(refusal, Refusal::Rule(_) | Refusal::PartlyGranted(_) | Refusal::NoRule | Refusal::ShareGroup)
        }
    }
}

#[test]
fn s8_to_s13_the_engine_is_the_reference() {
    let mut counts: BTreeMap<Deed, [u32; 2]> = BTreeMap::new();
    let mut admitted = [0_u32; 2];
    check(600, |dice| {
        let world = World::of(dice);
        let (text, rules) = (world.text(), world.all_rules());
        let (engine, reference) = (engine(&text), Reference::read(&text));
        for _ in 0..4 {
            let (user, id) = who(dice);
            let client = Client { user: user.as_deref(), id: &id };
            let decision = engine.authorize(&client, Action::Connect);
            assert_eq!(
                decision.is_allow(),
                reference.allows(&client, Action::Connect),
                "{text}\n{client:?} {decision:?}"
            );
            admitted[usize::from(decision.is_allow())] += 1;
            for _ in 0..8 {
                let (deed, topic) = Deed::any(dice, &rules, &client);
                let action = deed.action(&topic);
                let decision = engine.authorize(&client, action);
                let shown = || format!("{text}\n{client:?} {deed:?} `{}`: {decision:?}", topic.escape_ascii());
                assert_eq!(decision.is_allow(), reference.allows(&client, action), "{}", shown());
                if by_rules(decision) {
                    counts.entry(deed).or_default()[usize::from(decision.is_allow())] += 1;
                }
                // Every decision has words, on one line.
                let reason = engine.reason(&client, decision).to_string();
                assert!(!reason.is_empty() && !reason.contains(char::is_control), "{}: {reason:?}", shown());
            }
        }
    });
    println!("{counts:?}, admitted {admitted:?}");
    // A generator that only ever asks for what is refused would prove nothing (S38).
    let share = |[refused, allowed]: [u32; 2]| allowed * 100 / (allowed + refused);
    for (deed, counts) in &counts {
        assert!((20..80).contains(&share(*counts)), "{deed:?}: {counts:?}");
    }
    let all = counts.values().fold([0, 0], |sum, counts| [sum[0] + counts[0], sum[1] + counts[1]]);
    assert!((30..70).contains(&share(all)), "{all:?}");
    assert!(admitted.iter().all(|count| count * 10 >= 3 * (admitted[0] + admitted[1])), "{admitted:?}");
}

#[test]
fn s8_a_further_deny_never_permits_more() {
    let taken = Cell::new(0);
    check(150, |dice| {
        let mut world = World::of(dice);
        let (text, rules) = (world.text(), world.all_rules());
        let deny = world.rule(dice);
        let role = world.table["roles"][dice.pick(&["r0", "r1", "r2"])].as_table_mut().unwrap();
        let key = dice.pick(&["publish", "subscribe"]);
        let denies = role.entry("deny").or_insert_with(|| toml::Table::new().into()).as_table_mut().unwrap();
        let list = denies.entry(key).or_insert_with(|| toml::Value::Array(Vec::new()));
        list.as_array_mut().unwrap().push(deny.clone().into());
        let (before, after) = (engine(&text), engine(&world.text()));
        for _ in 0..4 {
            let (user, id) = who(dice);
            let client = Client { user: user.as_deref(), id: &id };
            for _ in 0..12 {
                let (deed, topic) = Deed::any(dice, &rules, &client);
                let action = deed.action(&topic);
                let [was, is] = [&before, &after].map(|policy| policy.authorize(&client, action).is_allow());
                assert!(was || !is, "{text}\nthe deny `{deny}` lets {client:?} {deed:?} `{}`", topic.escape_ascii());
                taken.set(taken.get() + u32::from(was && !is));
            }
        }
    });
    assert!(taken.get() > 50, "the denies took only {} permissions", taken.get());
}

#[test]
fn s10_what_is_granted_exactly_can_be_received() {
    let granted = Cell::new([0_u32; 2]);
    check(200, |dice| {
        let world = World::of(dice);
        let (text, rules) = (world.text(), world.all_rules());
        let exact = engine(&text.replace("overlap = true", "overlap = false"));
        let lax = engine(&text);
        let reference = Reference::read(&text);
        for _ in 0..6 {
            let (user, id) = who(dice);
            let client = Client { user: user.as_deref(), id: &id };
            let filter = filter(dice, &rules, &client);
            if !reference::is_filter(&filter) || filter.starts_with(b"$share") {
                continue;
            }
            let topics = reference.topics_of(&filter, &client);
            assert!(!topics.is_empty() && topics.iter().all(|topic| is_topic_name(topic)));
            let may = |topic: &Vec<u8>| exact.authorize(&client, Action::Receive(topic)).is_allow();
            let (all, any) = (topics.iter().all(may), topics.iter().any(may));
            let shown = || format!("{text}\n{client:?} `{}`", filter.escape_ascii());
            let [strict, shared, loose] = [(&exact, ""), (&exact, "$share/g/"), (&lax, "")].map(|(policy, prefix)| {
                policy.authorize(&client, Action::Subscribe(&[prefix.as_bytes(), &filter].concat())).is_allow()
            });
            assert!(!strict || all, "{}: subscribed, but not all can be received", shown());
            assert!(!shared || all, "{}: shared, but not all can be received", shown());
            assert!(!shared || strict, "{}: shared is never more than plain", shown());
            assert!(!loose || any, "{}: subscribed, but nothing can be received", shown());
            let mut counts = granted.get();
            counts[usize::from(strict)] += 1;
            granted.set(counts);
        }
    });
    let [refused, allowed] = granted.get();
    assert!(allowed * 10 >= allowed + refused && refused * 10 >= 3 * (allowed + refused), "{:?}", granted.get());
}

#[test]
fn s4_s5_a_policy_is_accepted_exactly_when_no_listed_user_reaches_another() {
    let accepted = Cell::new([0_u32; 2]);
    check(600, |dice| {
        let names = ["d", "d-1", "d-1-2", "e", "e-", "gw", "dd", "d/1", "$d"];
        let patterns = ["%u", "%u-*", "%u*", "gw-%u", "d-9*", "e*", "x*", "d-1", "*", "d/*", "-%u", "gw-*"];
        let mut text = String::from("version = 1\n");
        let list = |dice: &mut Dice| {
            let ids: Vec<&str> = (0..=dice.roll(2)).map(|_| dice.pick(&patterns)).collect();
            if dice.one_in(2) { format!("client_id = {}\n", toml::Value::from(ids)) } else { String::new() }
        };
        for role in ["r0", "r1"] {
            let _ = write!(text, "[roles.{role}]\n{}", list(dice));
        }
        let start = dice.roll(names.len());
        for name in names.iter().cycle().skip(start).take(1 + dice.roll(3)) {
            let roles = dice.pick(&["[]", "[\"r0\"]", "[\"r1\"]"]);
            let _ = write!(text, "[users.\"{name}\"]\nroles = {roles}\n{}", list(dice));
        }
        let reference = Reference::read(&text);
        let collide = reference.ids_collide();
        match parse(&text, "p") {
            Err(failure) => assert!(collide, "{text}\n{failure:#?}"),
            Ok(loaded) => {
                assert!(!collide, "{text}\nis accepted");
                for user in names {
                    for id in [
                        "d", "d-1", "d-1-2", "d-1-2-3", "d-", "d-9", "e", "e-", "e--", "e-1", "gw-d", "gw-1", "x1",
                        "d/1", "d/1-2", "-e",
                    ] {
                        let client = Client { user: Some(user.as_bytes()), id: id.as_bytes() };
                        let decision = loaded.policy.authorize(&client, Action::Connect);
                        assert_eq!(
                            decision.is_allow(),
                            reference.allows(&client, Action::Connect),
                            "{text}\n{user} as {id}: {decision:?}"
                        );
                    }
                }
            }
        }
        let mut counts = accepted.get();
        counts[usize::from(!collide)] += 1;
        accepted.set(counts);
    });
    assert!(accepted.get().iter().all(|count| *count >= 100), "{:?}", accepted.get());
}

#[test]
fn s11_deep_and_long_topics() {
    let counts = Cell::new([0_u32; 2]);
    check(60, |dice| {
        // Rules of 200 levels that share all but their ends.
        let depth = 190 + dice.roll(11);
        let mut rules = Vec::new();
        for _ in 0..12 {
            let mut levels = vec!["a"; depth];
            for _ in 0..dice.roll(3) {
                levels[dice.roll(depth)] = dice.pick(&["+", "b", "", "%u"]);
            }
            if dice.one_in(2) {
                levels.truncate(depth - dice.roll(4));
                levels.push("#");
            }
            rules.push(levels.join("/"));
        }
        let text =
            format!("version = 1\n[users.u]\npublish = {0}\nsubscribe = {0}\n", toml::Value::from(rules.clone()));
        let (engine, reference) = (engine(&text), Reference::read(&text));
        let client = Client { user: Some(b"u"), id: b"u" };
        for _ in 0..20 {
            let mut levels: Vec<&[u8]> =
                dice.pick(&rules).split('/').map(|level| if level == "%u" { &b"u"[..] } else { b"a" }).collect();
            let at = dice.roll(levels.len() * 2);
            if let Some(level) = levels.get_mut(at) {
                *level = dice.pick(&[&b"a"[..], b"b", b"", b"u"]);
            }
            let topic = levels.join(&b'/');
            let allowed = engine.authorize(&client, Action::Publish(&topic)).is_allow();
            assert_eq!(allowed, reference.allows(&client, Action::Publish(&topic)), "{}", topic.escape_ascii());
            assert_eq!(allowed, engine.authorize(&client, Action::Subscribe(&topic)).is_allow(), "a topic is a filter");
            let mut seen = counts.get();
            seen[usize::from(allowed)] += 1;
            counts.set(seen);
        }
    });
    let [refused, allowed] = counts.get();
    assert!(allowed * 10 >= 3 * (allowed + refused) && refused * 10 >= 3 * (allowed + refused), "{:?}", counts.get());
}

/// What a hostile client can send costs no more than a moment: a broker stands still meanwhile.
#[test]
fn hostile_requests_are_cheap() {
    let mut rules: Vec<String> = (0..20_000).map(|n| format!("dt/x/dev{n}/a")).collect();
    rules.extend((1..200).map(|depth| vec!["+"; depth].join("/") + "/end"));
    let text = format!(
        "version = 1\n[roles.r]\nsubscribe = {0}\npublish = {0}\nclient_id = [\"*\"]\ndeny = {{ subscribe = [\"dt/x/no\"] }}\n\
         [anonymous]\npublish = [\"#\"]\n[users.u]\nroles = [\"r\"]\n[users.dash]",
        toml::Value::from(rules)
    );
    let policy = engine(&text);
    let plus = vec!["+"; 32_768].join("/").into_bytes();
    let ends = [&plus[..65_500], b"/#"].concat();
    let (slashes, dashes, long) = (vec![b'/'; 65_535], vec![b'-'; 65_535], vec![b'a'; 65_535]);
    let user = Some(&b"u"[..]);
    for (name, user, id, action) in [
        ("32,768 +", user, &b"u"[..], Action::Subscribe(&plus)),
        ("+ and #", user, b"u", Action::Subscribe(&ends)),
        ("65,535 /", user, b"u", Action::Subscribe(&slashes)),
        ("/ to publish", user, b"u", Action::Publish(&slashes)),
        ("long level", user, b"u", Action::Publish(&long)),
        ("all of a big tree", user, b"u", Action::Subscribe(b"+/+/+/none")),
        ("everything", user, b"u", Action::Subscribe(b"#")),
        ("dashes", None, &dashes, Action::Connect),
        ("dashes", user, &dashes, Action::Publish(b"dt/x/dev1/a")),
        ("long id", None, &long, Action::Connect),
        ("long user", Some(&dashes[..]), &dashes, Action::Connect),
    ] {
        let client = Client { user, id };
        let start = Instant::now();
        let decision = policy.authorize(&client, action);
        let reason = policy.reason(&client, decision).to_string();
        // 1 ms at most in release. What goes with the square of the input takes far longer than this, even here.
        assert!(start.elapsed() < HANG, "{name}: {:?} {decision:?}", start.elapsed());
        assert!(reason.len() < 1_000, "{name}: {reason}");
    }
}

const RICH: &str = r##"version = 1
# a comment
[roles.device]
client_id = ["%u", "%u-*"]
publish = ["dt/+/%u/#", "cmd/%c"]
subscribe = ["cmd/+/%u/#", '$SYS/x']
receive = ["x"]
deny = { publish = ["dt/no"], subscribe = ["cmd/no"], client_id = ["bad-*"] }
overlap = true
share = ["g"]
api = false
auto_id = true
[roles."odd \" name"]
[users.dev1]
roles = ["device"]
password = "$7$101$c2FsdHNhbHRzYWx0$CLbxZW0ExkZIkKSqWhNnFJZtNwDp1vYNPPIYhd9UBrgHAhGF5MxEIbEDtlSnWPM+W3IZZ3Wlr83Mwe1ABdSXMA=="
[users.op]
disabled = true
publish = ["#"]
[anonymous]
client_id = ["guest-*"]
publish = ["p"]
[[match]]
username = ["dev*"]
roles = ["device"]
unlisted = true
[[test]]
user = "dev1"
client_id = "dev1-x"
can = { publish = ["dt/1/dev1/a"], connect = true }
cannot = { subscribe = ["#"], receive = ["y"] }
"##;

const FRAGMENTS: [&str; 44] = [
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "=",
    ".",
    ",",
    "\n",
    "\r\n",
    "\r",
    "\0",
    "\t",
    "\u{feff}",
    "\u{2028}",
    "\u{1b}[31m",
    "\\",
    "\\u0000",
    "\\n",
    "#",
    "+",
    "%u",
    "%c",
    "%{x}",
    "$share/g/",
    "*",
    "-",
    "//",
    "version = 1\n",
    "version = 2\n",
    "[users.dev1]\n",
    "[roles.device]\n",
    "[[test]]\n",
    "deny = 1\n",
    "1e999",
    "99999999999999999999",
    "1979-05-27T07:32:00Z",
    "nan",
    "\u{1f980}",
];

/// So long takes only what goes wrong, however busy the machine.
const HANG: Duration = Duration::from_secs(5);

/// Whatever the text is: it loads, or says in readable lines why not.
fn loads_or_says_why(text: &str) {
    let start = Instant::now();
    let problems = match parse(text, "p.toml") {
        Ok(loaded) => {
            let client = Client { user: Some(b"dev1"), id: b"dev1" };
            let _ = loaded.policy.authorize(&client, Action::Subscribe(b"cmd/#"));
            let _ = loaded.policy.run_tests();
            assert!(loaded.warnings.iter().all(|problem| problem.severity == Severity::Warning));
            loaded.warnings
        }
        Err(Failure::Invalid(problems)) => {
            assert!(problems.iter().any(|problem| problem.severity == Severity::Error), "{text:?}");
            problems
        }
        Err(Failure::Empty(_)) => Vec::new(),
        Err(other) => panic!("{text:?}: {other:?}"),
    };
    assert!(problems.len() <= 101, "{} problems", problems.len());
    for problem in problems {
        let line = problem.to_string();
        assert!(
            !line.contains(char::is_control) && line.starts_with("p.toml:") && line.len() < 2_000,
            "{text:?}\n{line:?}"
        );
        let lines = u32::try_from(text.split('\n').count()).unwrap();
        let whole = line.contains("version of the language is missing") || line.contains("more problems");
        assert!(problem.place.line <= lines && (problem.place.line > 0 || whole), "{text:?}\n{line}");
        assert!(problem.place.column > 0 || whole, "{text:?}\n{line}");
    }
    assert!(start.elapsed() < HANG, "{:?} for {} bytes", start.elapsed(), text.len());
}

#[test]
fn s17_any_text_loads_or_says_why() {
    loads_or_says_why(RICH);
    check(1_500, |dice| {
        let mut text = RICH.as_bytes().to_vec();
        for _ in 0..=dice.roll(5) {
            let at = dice.roll(256) * text.len() / 256;
            let end = (at + dice.roll(40)).min(text.len());
            match dice.roll(4) {
                0 => drop(text.drain(at..end)),
                1 => drop(text.splice(at..at, dice.pick(&FRAGMENTS).bytes())),
                2 => drop(text.splice(at..end, dice.pick(&FRAGMENTS).bytes())),
                _ => {
                    let copy = text[at..end].to_vec();
                    drop(text.splice(at..at, copy));
                }
            }
        }
        loads_or_says_why(&String::from_utf8_lossy(&text));
    });
    check(500, |dice| {
        let text: String = (0..dice.roll(60)).map(|_| dice.pick(&FRAGMENTS)).collect();
        loads_or_says_why(&text);
    });
}

proptest! {
    #![proptest_config(Config { cases: 500, failure_persistence: None, ..Config::default() })]

    #[test]
    fn s17_any_characters_load_or_say_why(text in "\\PC*|[\\x00-\\x7f]*|version = 1\n.*") {
        loads_or_says_why(&text);
    }
}

#[test]
fn s17_monstrous_texts_load_or_say_why() {
    let version = "version = 1\n";
    let many = |count: usize, item: &str| item.repeat(count);
    for text in [
        many(100_000, "["),
        many(100_000, "[["),
        format!("{version}x = {}", many(100_000, "[")),
        format!("{version}x = {}", many(100_000, "{a=")),
        format!("{version}x = {}{}", many(50_000, "["), many(50_000, "]")),
        format!("{version}{}a = 1", many(100_000, "a.")),
        format!("{version}[{}a]", many(100_000, "a.")),
        format!("{version}[users.{}a]", many(100_000, "a.")),
        format!("{version}{} = 1", many(300_000, "k")),
        format!("{version}[roles.{0}]\n[users.a]\nroles = [\"{0}x\"]", many(30_000, "r")),
        format!("{version}[roles.r]\npublish = [\"{}\"]", many(100_000, "a/")),
        format!("{version}[roles.r]\npublish = [\"{}\"]", many(100_000, "%")),
        format!("{version}[roles.r]\nclient_id = [\"{}\"]", many(100_000, "%u")),
        format!("{version}[users.{0}]\nclient_id = [\"{1}\"]", many(1_000, "n"), many(1_000, "%u")),
        format!("{version}[users.a]\npassword = \"{}\"", many(100_000, "$")),
        format!("{version}{}", many(20_000, "x = 1\n")),
        (0..5_000).fold(version.to_owned(), |text, n| format!("{text}[users.u{n}]\nroles = [\"x{n}\"]\nextra = 1\n")),
        many(200_000, "\n"),
        many(200_000, "\0"),
        format!("{version}x = \"{}", many(200_000, "\\u0000")),
    ] {
        loads_or_says_why(&text);
    }
}
