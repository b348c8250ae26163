//! Attributes (S12): `%{name}` is the user's own text, as one whole level, and nothing where the user has none.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "other tests use more of it")]
mod reference;
mod world;

use mqtt_acl_policy::{Action, Client, Failure, Loaded, Verb, parse};
use reference::Reference;

fn load(text: &str) -> Loaded {
    parse(&format!("version = 1\n{text}"), "p.toml").unwrap_or_else(|failure| panic!("{failure:#?}"))
}

fn told(text: &str) -> Vec<String> {
    let problems = match parse(&format!("version = 1\n{text}"), "p.toml") {
        Ok(loaded) => loaded.warnings,
        Err(Failure::Invalid(problems)) => problems,
        Err(failure) => panic!("{failure}"),
    };
    problems.iter().map(ToString::to_string).collect()
}

const POLICY: &str = r#"
[roles.device]
client_id = ["%{site}-%u", "%u"]
publish   = ["%{site}/dt/%u/#"]
subscribe = ["%{site}/cmd/%u/#", "%{site}/all"]
deny      = { subscribe = ["+/all/%{floor}"] }
[roles.reader]
subscribe = ["+/all/#"]
[users.a]
roles      = ["device", "reader"]
attributes = { site = "bne", floor = "1" }
[users.b]
roles      = ["device", "reader"]
attributes = { site = "syd" }
[users.nowhere]
roles = ["device"]
"#;

#[test]
fn each_user_has_its_own_values() {
    let policy = load(POLICY).policy;
    let may = |user: &str, id: &str, action: Action<'_>| {
        policy.authorize(&Client { user: Some(user.as_bytes()), id: id.as_bytes() }, action).is_allow()
    };
    for (user, id, action, expected) in [
        ("a", "a", Action::Publish(b"bne/dt/a/x"), true),
        ("a", "a", Action::Publish(b"syd/dt/a/x"), false),
        ("b", "b", Action::Publish(b"syd/dt/b/x"), true),
        ("b", "b", Action::Publish(b"bne/dt/b/x"), false),
        ("nowhere", "nowhere", Action::Publish(b"/dt/nowhere/x"), false),
        ("nowhere", "nowhere", Action::Publish(b"%{site}/dt/nowhere/x"), false),
        ("nowhere", "nowhere", Action::Connect, true),
        ("nowhere", "-nowhere", Action::Connect, false),
        ("a", "bne-a", Action::Connect, true),
        ("a", "syd-a", Action::Connect, false),
        ("b", "syd-b", Action::Connect, true),
        ("a", "a", Action::Subscribe(b"bne/cmd/a/#"), true),
        ("a", "a", Action::Subscribe(b"+/cmd/a/#"), false),
        // The deny is for whoever has a floor.
        ("a", "a", Action::Subscribe(b"bne/all/#"), false),
        ("b", "b", Action::Subscribe(b"bne/all/#"), true),
        ("a", "a", Action::Receive(b"bne/all/1"), false),
        ("a", "a", Action::Receive(b"bne/all/2"), true),
        ("b", "b", Action::Receive(b"bne/all/1"), true),
    ] {
        assert_eq!(may(user, id, action), expected, "{user} as {id}: {action:?}");
    }
}

#[test]
fn what_holders_lack_is_warned_about() {
    let lack = |what: &str| format!("p.toml:5:14: warning: {what}");
    assert_eq!(
        told(POLICY),
        [
            "p.toml:5:14: warning: user `nowhere` lacks the attribute `site`, without which `%{site}` matches nothing (write \
             `attributes = { site = \"...\" }` in the user's table)",
            "p.toml:7:28: warning: user `b` and 1 other lack the attribute `floor`, without which `%{floor}` matches nothing \
             (write `attributes = { floor = \"...\" }` in the user's table)",
        ]
    );
    let role = "[roles.r]\npublish = [\"x\",\n             \"%{site}/x\"]\n[users.good]\nroles = [\"r\"]\nattributes.site = \"s\"\n";
    assert!(told(role).is_empty());
    let mistaken = format!("{role}[users.u]\nroles = [\"r\"]\nattributes.stie = \"s\"\n");
    assert_eq!(
        told(&mistaken),
        [lack("user `u` lacks the attribute `site`, without which `%{site}` matches nothing (is its `stie` meant?)")
            .replace("5:14", "4:14")]
    );
    // Whoever is admitted nowhere needs none.
    assert!(told(&format!("{role}[users.u]\nroles = [\"r\"]\ndisabled = true\n")).is_empty());
    let unlisted = format!("{role}[[match]]\nusername = \"x*\"\nroles = [\"r\"]\nunlisted = true\n");
    let warnings = told(&unlisted);
    assert!(
        warnings
            .iter()
            .any(|text| text.contains("p.toml:4:14: warning: names that `unlisted` admits have no attributes")),
        "{warnings:?}"
    );
}

#[test]
fn mistakes_are_told_where_they_are() {
    for (text, problem) in [
        (
            "[roles.r]\npublish = [\"%{stie}\"]\n[users.u]\nroles = [\"r\"]\nattributes.site = \"s\"\n",
            "p.toml:3:12: no user has the attribute `stie` (did you mean `%{site}`?)",
        ),
        (
            "[roles.r]\npublish = [\"%{site}\"]\n[users.u]\nroles = [\"r\"]\n",
            "p.toml:3:12: no user has the attribute `site` (write `attributes = { site = \"...\" }` in a user's table)",
        ),
        (
            "[users.u]\nattributes = { site = \"a/b\" }\n",
            "p.toml:3:23: attribute `site` is `a/b`, which cannot stand for a level of a topic (write a text that is not empty, \
             does not begin with `$` and holds no `+`, `#`, `/` or control character)",
        ),
        (
            "[users.u]\nattributes = { \"a b\" = \"x\" }\n",
            "p.toml:3:16: `a b` is not the name of an attribute (write letters, digits, `-` and `_`)",
        ),
        (
            "[users.u]\nattributes = { site = 1 }\n",
            "p.toml:3:23: `attributes.site` is of type integer (write a text in quotes)",
        ),
        (
            "[users.u]\nattributes = [\"site\"]\n",
            "p.toml:3:14: `attributes` is of type array (write a table of texts, `attributes = { site = \"bne\" }`)",
        ),
        (
            "[roles.r]\nattributes = { site = \"x\" }\n",
            "p.toml:3:1: `attributes` is not a key of role `r` (known are `client_id`, `publish`, `subscribe`, `receive`, `deny`, \
             `overlap`, `share`, `api`, `auto_id`)",
        ),
        (
            "[anonymous]\npublish = [\"%{site}\"]\n",
            "p.toml:3:12: `%{site}`: an anonymous client has no attributes for `%{site}`",
        ),
        (
            "[anonymous]\nclient_id = [\"a-%{site}\"]\n",
            "p.toml:3:14: `a-%{site}`: an anonymous client has no attributes",
        ),
        (
            "[users.u]\nclient_id = [\"a-%{site\"]\n",
            "p.toml:3:14: `a-%{site`: `%{site` names no attribute (write `%{name}`, of letters, digits, `-` and `_`)",
        ),
        (
            "[users.u]\nclient_id = [\"%{s}\"]\nattributes.s = \"v\"\n[users.v]\n",
            "p.toml:3:14: the client ids of user `u` would include those of user `v`, whose session they could take (write a \
             pattern that keeps them apart)",
        ),
    ] {
        let problems = told(text);
        assert!(problems.iter().any(|told| told == problem), "{text}: {problems:#?}");
        assert!(parse(&format!("version = 1\n{text}"), "p.toml").is_err(), "{text}");
    }
    for value in ["", "$x", "+", "a#", "a/b", "\\u0007", "\\u0085"] {
        let problems = told(&format!("[users.u]\nattributes.site = \"{value}\"\n"));
        assert!(problems.len() == 1 && problems[0].contains("cannot stand for a level"), "{value}: {problems:?}");
    }
    // A role that nobody holds yet waits for users who have the attribute.
    assert!(told("[roles.r]\npublish = [\"%{site}\"]\n").is_empty());
    let many: String = (0..300).map(|number| format!("\"%{{a{number}}}\", ")).collect();
    let problems = told(&format!("[roles.r]\npublish = [{many}]\n"));
    assert!(problems.iter().any(|told| told.contains("rules use more than 256 attributes")), "{problems:?}");
}

/// Two users of one site could take over each other's session.
#[test]
fn client_ids_of_attributes_alone_are_shared() {
    let user = |name: &str, site: &str| format!("[users.{name}]\nroles = [\"r\"]\nattributes.site = \"{site}\"\n");
    let role = "[roles.r]\nclient_id = [\"%{site}-*\"]\n";
    let apart = told(&format!("{role}{}{}", user("u", "s"), user("v", "t")));
    assert!(apart.is_empty(), "{apart:?}");
    let together = told(&format!("{role}{}{}{}", user("u", "s"), user("v", "t"), user("w", "s")));
    assert_eq!(
        together,
        [
            "p.toml:3:14: warning: users `u` and `w` may use the same client ids, and so take over each other's session (begin \
          the patterns with `%u`)"
        ]
    );
}

/// A policy with attributes says what the one says in which each user has rules of its own with the values in them.
#[test]
fn attributes_are_the_values_written_out() {
    let (mut allowed, mut all) = (0, 0);
    world::check(600, |dice| {
        let table = world::policy(dice);
        let Ok(loaded) = parse(&table.to_string(), "policy.toml") else { panic!("{table}") };
        let written_out = world::expanded(&table);
        let reference = Reference::read(&written_out.to_string());
        for _ in 0..12 {
            let user = dice.pick(&[Some("u"), Some("v"), Some("gw"), Some("off"), Some("$s"), Some("new1"), None]);
            let id = match user.filter(|_| dice.roll(3) > 0) {
                Some("gw") => "gw-1",
                Some(user) => user,
                None => dice.pick(&world::IDS),
            };
            let verb = dice.pick(&Verb::ALL);
            let topic = world::topic(dice, verb);
            let client = Client { user: user.map(str::as_bytes), id: id.as_bytes() };
            for action in [verb.on(topic.as_bytes()), Action::Connect] {
                let decision = loaded.policy.authorize(&client, action);
                assert_eq!(
                    decision.is_allow(),
                    reference.allows(&client, action),
                    "{user:?} as {id}: {verb} {topic}: {}\n{table}",
                    loaded.policy.reason(&client, decision)
                );
                all += 1;
                allowed += usize::from(decision.is_allow());
            }
        }
    });
    assert!(allowed * 10 > all && allowed * 10 < 9 * all, "{allowed} of {all}");
}
