//! Near misses: whatever one claims is done, and then the plain reference allows what it refused.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "other tests use more of it")]
mod reference;
mod world;

use std::collections::BTreeMap;

use mqtt_acl_policy::{Action, Change, Client, Miss, Policy, RuleId, Verb, parse};
use reference::Reference;
use world::Dice;

/// A request: as whom, what, and on which topic.
struct Request {
    user: Option<&'static str>,
    id: &'static str,
    verb: Verb,
    topic: String,
}

impl Request {
    fn of(dice: &mut Dice) -> Self {
        let user = dice.pick(&[Some("u"), Some("v"), Some("u"), Some("gw"), Some("off"), Some("new1"), None]);
        let id = if dice.one_in(3) {
            dice.pick(&world::IDS)
        } else {
            match user {
                Some("gw") => "gw-1",
                Some("v") => "v-1",
                Some(user) => user,
                None => "anon-1",
            }
        };
        let verb = dice.pick(&Verb::ALL);
        Self { user, id, verb, topic: world::topic(dice, verb) }
    }

    fn client(&self) -> Client<'_> {
        Client { user: self.user.map(str::as_bytes), id: self.id.as_bytes() }
    }

    fn action(&self) -> Action<'_> {
        self.verb.on(self.topic.as_bytes())
    }
}

/// The policy without these rules.
fn without(table: &toml::Table, policy: &Policy, rules: &[RuleId]) -> toml::Table {
    let mut table = table.clone();
    for rule in rules {
        let rule = policy.rule(*rule).unwrap();
        let mut set = match rule.holder() {
            ("role", Some(name)) => &mut table["roles"][name],
            ("user", Some(name)) => &mut table["users"][name],
            _ => &mut table["anonymous"],
        };
        let key = match rule.key().strip_prefix("deny.") {
            Some(key) => {
                set = &mut set["deny"];
                key
            }
            None => rule.key(),
        };
        set[key].as_array_mut().unwrap().retain(|text| text.as_str() != Some(rule.text()));
    }
    table
}

/// Does what a miss claims, and asks the reference: what was changed, and whether it is allowed now.
fn act(table: &toml::Table, policy: &Policy, request: &Request, miss: &Miss<'_>) -> (&'static str, bool) {
    let Request { verb, topic, .. } = request;
    let as_written = Reference::read(&world::expanded(table).to_string());
    let client = request.client();
    match &miss.change {
        Change::ClientId(id) => ("client id", as_written.allows(&Client { id, ..client }, request.action())),
        Change::Topic { topic: new, rule, differences } => {
            let tail = |text: &[u8]| match text.strip_prefix(b"$share/") {
                Some(rest) => rest[rest.iter().position(|b| *b == b'/').unwrap() + 1..].to_vec(),
                None => text.to_vec(),
            };
            let (old, text) = (tail(topic.as_bytes()), policy.rule(*rule).unwrap().text().to_owned());
            for difference in differences {
                let at = difference.level - 1;
                assert_eq!(difference.here.as_deref(), old.split(|b| *b == b'/').nth(at), "{miss}");
                if difference.rule.is_some() {
                    assert_eq!(difference.rule.as_deref(), text.split('/').nth(at), "{miss}");
                }
            }
            assert!(new != topic.as_bytes() && !differences.is_empty(), "{miss}");
            let own = request.user.and_then(|user| table["users"].get(user)?.get("attributes")).cloned();
            let text = world::written_out(&text, &own.unwrap_or_else(|| toml::Table::new().into()));
            assert!(*verb == Verb::Subscribe || reference::fits(&text, new, &client), "{miss}");
            ("topic", as_written.allows(&client, verb.on(new)))
        }
        Change::Verb(other, _) => {
            assert_ne!(other, verb);
            ("verb", as_written.allows(&client, other.on(topic.as_bytes())))
        }
        Change::Group(text) => ("group", as_written.allows(&client, Action::Subscribe(text))),
        Change::Denies { denies, .. } => {
            let changed = without(table, policy, denies);
            ("denies", Reference::read(&world::expanded(&changed).to_string()).allows(&client, request.action()))
        }
        Change::Enabled(_) => {
            let mut changed = table.clone();
            changed["users"][request.user.unwrap()]["disabled"] = false.into();
            ("enabled", Reference::read(&world::expanded(&changed).to_string()).allows(&client, request.action()))
        }
        Change::Attribute { name, value, .. } => {
            let mut changed = table.clone();
            let user = changed["users"][request.user.unwrap()].as_table_mut().unwrap();
            let own = user.entry("attributes").or_insert_with(|| toml::Table::new().into()).as_table_mut().unwrap();
            assert!(own.insert(name.to_string(), std::str::from_utf8(value).unwrap().into()).is_none());
            let changed = Reference::read(&world::expanded(&changed).to_string());
            ("attribute", changed.allows(&client, request.action()))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_miss_claims_turns_the_decision() {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut refused, mut explained) = (0, 0);
    world::check(700, |dice| {
        let table = world::policy(dice);
        let Ok(loaded) = parse(&table.to_string(), "policy.toml") else { panic!("{table}") };
        for _ in 0..8 {
            let request = Request::of(dice);
            let (client, action) = (request.client(), request.action());
            let misses = loaded.policy.near_misses(&client, action);
            if loaded.policy.authorize(&client, action).is_allow() {
                assert!(misses.is_empty());
                continue;
            }
            refused += 1;
            explained += usize::from(!misses.is_empty());
            let nearest = loaded.policy.nearest_miss(&client, action);
            for miss in misses.iter().chain(&nearest) {
                let (kind, turned) = act(&table, &loaded.policy, &request, miss);
                let Request { user, id, verb, topic } = &request;
                assert!(turned, "{user:?} as {id}: {verb} {topic}: {miss}: {:?}\n{table}", miss.change);
                assert!(!miss.to_string().contains('\n'));
                *kinds.entry(kind).or_default() += 1;
            }
        }
    });
    println!("{refused} refusals, {explained} with a near miss: {kinds:?}");
    assert!(refused > 1_500 && explained * 5 > refused, "{explained} of {refused}");
    for kind in ["client id", "topic", "verb", "group", "denies", "enabled", "attribute"] {
        assert!(kinds.get(kind) > Some(&5), "{kind}: {kinds:?}");
    }
}

const POLICY: &str = r##"version = 1
[roles.device]
publish   = ["dt/demo/+/%u/#", "log/%c/x"]
subscribe = ["cmd/demo/+/%u/#", "site/north/state"]
deny      = { publish = ["dt/+/+/+/secret"], subscribe = ["cmd/demo/9/#"] }
share     = ["workers"]

[roles.local]
publish = ["%{site}/dt/%u"]
[users.gw]
attributes = { site = "bne" }
[users.dev00001]
roles = ["device", "local"]
[users.dev00002]
roles = ["device"]
disabled = true
"##;

fn told(user: &str, id: &str, action: Action<'_>) -> Vec<String> {
    let policy = parse(POLICY, "policy.toml").unwrap().policy;
    let client = Client { user: Some(user.as_bytes()), id: id.as_bytes() };
    let misses: Vec<_> = policy.near_misses(&client, action).iter().map(ToString::to_string).collect();
    let nearest = policy.nearest_miss(&client, action).map(|miss| miss.to_string());
    assert_eq!(nearest.as_ref(), misses.first());
    misses
}

#[test]
fn misses_in_words() {
    let publish = "role `device` publish `dt/demo/+/%u/#` (policy.toml:3)";
    let subscribe = "role `device` subscribe `cmd/demo/+/%u/#` (policy.toml:4)";
    for (id, action, first) in [
        (
            "dev00001",
            Action::Publish(b"dt/demo/1/dev00002/senml"),
            format!("differs from {publish} at level 4: `dev00002` where the rule has `%u`, here `dev00001`"),
        ),
        (
            "dev00001",
            Action::Publish(b"dt/dmeo/1/dev00001/senml"),
            format!("differs from {publish} at level 2: `dmeo` where the rule has `demo`"),
        ),
        (
            "dev00001",
            Action::Publish(b"dt/demo/1"),
            format!("differs from {publish} at level 4: it ends where the rule has `%u`, here `dev00001`"),
        ),
        (
            "dev00001",
            Action::Publish(b"dt/demo/1/dev00001/secret"),
            format!(
                "granted by {publish}, but role `device` deny.publish `dt/+/+/+/secret` (policy.toml:5) takes it away"
            ),
        ),
        (
            "dev00001",
            Action::Publish(b"syd/dt/dev00001"),
            "would be granted by role `local` publish `%{site}/dt/%u` (policy.toml:9) if the user had the attribute `site`, \
             here `syd`"
                .into(),
        ),
        ("dev00001", Action::Publish(b"log/dev00001-7/x"), "would be allowed for client id `dev00001-7`".into()),
        ("dev00002", Action::Publish(b"dt/demo/1/dev00001/x"), "would be allowed for client id `dev00001`".into()),
        (
            "dev00001",
            Action::Subscribe(b"dt/demo/1/dev00001/x"),
            format!("publish is granted by {publish}, subscribe is not"),
        ),
        (
            "dev00001",
            Action::Subscribe(b"cmd/demo/1/#"),
            format!("`cmd/demo/1/dev00001/#` would be granted by {subscribe}"),
        ),
        (
            "dev00001",
            Action::Subscribe(b"site/north/state/now"),
            "differs from role `device` subscribe `site/north/state` (policy.toml:4) at level 4: `now` where the rule \
             has ended"
                .into(),
        ),
        (
            "dev00001",
            Action::Subscribe(b"$share/other/site/north/state"),
            "would be granted as `$share/workers/site/north/state`".into(),
        ),
        (
            "dev00001",
            Action::Subscribe(b"cmd/demo/9/dev00001/x"),
            format!(
                "granted by {subscribe}, but role `device` deny.subscribe `cmd/demo/9/#` (policy.toml:5) takes it away"
            ),
        ),
    ] {
        let misses = told("dev00001", id, action);
        assert_eq!(misses.first(), Some(&first), "{action:?}: {misses:?}");
    }
    assert_eq!(
        told("dev00002", "dev00002", Action::Publish(b"dt/demo/1/dev00002/x")),
        [format!("would be granted by {publish} if the user were not disabled")]
    );
    assert_eq!(told("dev00002", "dev00002", Action::Connect), ["would be admitted if the user were not disabled"]);
    assert!(told("dev00001", "dev00001", Action::Publish(b"far/away")).is_empty());
    assert!(told("dev00003", "dev00003", Action::Connect).is_empty());
}

/// For the log, a bounded part of the rules is read, however many there are and however long the topic is.
#[test]
fn the_log_reads_a_bounded_part_of_the_rules() {
    let deep = ["x"; 200].join("/");
    let rules: Vec<_> = (0..100_000).map(|number| format!("\"far/{number}/x/y\"")).collect();
    let text = format!("version = 1\n[users.u]\npublish = [{}, \"{deep}\"]\n", rules.join(", "));
    let policy = parse(&text, "policy.toml").unwrap().policy;
    let client = Client { user: Some(b"u"), id: b"u" };
    let topic = deep.strip_suffix("/x").unwrap().to_owned() + "/z";
    let publish = Action::Publish(topic.as_bytes());
    assert_eq!(policy.near_misses(&client, publish).len(), 1);
    assert!(policy.nearest_miss(&client, publish).is_none(), "the last of 100,000 rules was read");
    let early = Action::Publish(b"far/7/x/z");
    assert!(policy.nearest_miss(&client, early).is_some());
}
