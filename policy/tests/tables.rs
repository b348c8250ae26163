//! Tables: what the semantics say, row by row, to the plain reference and to the compiled engine alike.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod reference;

use mqtt_acl_policy::Action::{self, Api, Connect, Publish, Receive, Subscribe, Unsubscribe};
use mqtt_acl_policy::{Client, Decision, Policy, Refusal, is_topic_name, parse};
use reference::Reference;

/// Both deciders of one text.
struct Both {
    text: String,
    reference: Reference,
    engine: Policy,
}

impl Both {
    fn of(text: &str) -> Self {
        let text = format!("version = 1\n{text}");
        let engine = parse(&text, "p.toml").unwrap_or_else(|failure| panic!("{text}\n{failure:#?}")).policy;
        Self { reference: Reference::read(&text), engine, text }
    }

    fn expect(&self, client: &Client<'_>, action: Action<'_>, expected: bool) {
        let decision = self.engine.authorize(client, action);
        let row = || {
            let reason = self.engine.reason(client, decision);
            format!("{}\n{client:?} {action:?}: {reason}; expected: {expected}", self.text)
        };
        assert_eq!(self.reference.allows(client, action), expected, "reference: {}", row());
        assert_eq!(decision.is_allow(), expected, "engine: {}", row());
    }
}

/// The client that most rows speak of: user `u`, client id `u`.
const U: Client<'_> = Client { user: Some(b"u"), id: b"u" };

fn client<'c>(user: &'c str, id: &'c str) -> Client<'c> {
    Client { user: Some(user.as_bytes()), id: id.as_bytes() }
}

/// A TOML list of texts.
fn list(texts: &[&str]) -> String {
    toml::Value::from(texts.to_vec()).to_string()
}

/// The rules of user `u`.
fn rules(key: &str, filters: &[&str], deny: &[&str], more: &str) -> Both {
    let deny_key = if key == "publish" { "publish" } else { "subscribe" };
    Both::of(&format!("[users.u]\n{key} = {}\ndeny = {{ {deny_key} = {} }}\n{more}", list(filters), list(deny)))
}

#[test]
fn s11_a_rule_matches_a_topic() {
    for (rule, topic, expected) in [
        ("a", "a", true),
        ("a", "b", false),
        ("a", "A", false),
        ("a", "a/", false),
        ("a", "/a", false),
        ("a", "ab", false),
        ("ab", "a", false),
        ("/", "/", true),
        ("/", "//", false),
        ("//", "//", true),
        ("a/", "a/", true),
        ("a/", "a", false),
        ("/a", "/a", true),
        ("/a", "a", false),
        ("a//b", "a//b", true),
        ("a//b", "a/b", false),
        ("+", "a", true),
        ("+", "/", false),
        ("+", "a/", false),
        ("+", "$a", false),
        ("+", "a$", true),
        ("+/+", "/", true),
        ("+/+", "a/b", true),
        ("+/+", "a", false),
        ("+/+", "/a", true),
        ("+/+", "$a/b", false),
        ("a/+", "a/", true),
        ("a/+", "a", false),
        ("a/+", "a/b", true),
        ("a/+", "a/b/c", false),
        ("a/+", "a/$b", true),
        ("a/+/c", "a//c", true),
        ("a/+/c", "a/b/c", true),
        ("a/+/c", "a/b/d", false),
        ("/+", "/a", true),
        ("/+", "/", true),
        ("/+", "a", false),
        ("+/a", "/a", true),
        ("#", "a", true),
        ("#", "/", true),
        ("#", "a/b/c", true),
        ("#", "$a", false),
        ("#", "$SYS/a", false),
        ("#", "a/$SYS", true),
        ("a/#", "a", true),
        ("a/#", "a/", true),
        ("a/#", "a/b", true),
        ("a/#", "a//", true),
        ("a/#", "a/b/c/d", true),
        ("a/#", "ab", false),
        ("a/#", "/a", false),
        ("a/+/#", "a", false),
        ("a/+/#", "a/", true),
        ("a/+/#", "a/b/c", true),
        ("+/#", "a", true),
        ("+/#", "/", true),
        ("+/#", "$a", false),
        ("+/#", "$a/b", false),
        ("/#", "/", true),
        ("/#", "/a", true),
        ("/#", "a", false),
        ("$SYS/#", "$SYS", true),
        ("$SYS/#", "$SYS/a/b", true),
        ("$SYS/#", "$SYSX/a", false),
        ("$SYS/+", "$SYS/a", true),
        ("$SYS/+", "$SYS", false),
        ("$CONTROL/a/v1", "$CONTROL/a/v1", true),
        ("$", "$", true),
        ("+", "$", false),
        ("a b", "a b", true),
        ("caf\u{e9}/+", "caf\u{e9}/x", true),
        ("caf\u{e9}", "cafe\u{301}", false),
        ("100%/5%2", "100%/5%2", true),
    ] {
        for key in ["publish", "receive", "subscribe"] {
            let both = rules(key, &[rule], &[], "");
            let action = if key == "publish" { Publish } else { Receive };
            both.expect(&U, action(topic.as_bytes()), expected);
        }
        // A deny reaches exactly what an allow does.
        let all = ["#", "$/#", "$SYS/#", "$a/#", "$SYSX/#", "$CONTROL/#"];
        rules("publish", &all, &[rule], "").expect(&U, Publish(topic.as_bytes()), !expected);
        rules("receive", &all, &[rule], "").expect(&U, Receive(topic.as_bytes()), !expected);
        assert_eq!(reference::fits(rule, topic.as_bytes(), &U), expected, "{rule} {topic}");
        assert!(is_topic_name(topic.as_bytes()), "{topic}");
    }
}

#[test]
fn s11_well_formed_filters() {
    let both = rules("subscribe", &["#", "+/#"], &[], "");
    for (filter, good) in [
        ("a", true),
        ("/", true),
        ("+", true),
        ("#", true),
        ("+/+/#", true),
        ("a//b", true),
        ("a/+/", true),
        (" ", true),
        ("", false),
        ("a+", false),
        ("+a", false),
        ("a/b+/c", false),
        ("#/", false),
        ("#/a", false),
        ("a/#/b", false),
        ("a#", false),
        ("a/b#", false),
        ("##", false),
        ("++", false),
        ("+#", false),
        ("a\0", false),
    ] {
        assert_eq!(reference::is_filter(filter.as_bytes()), good, "{filter:?}");
        both.expect(&U, Subscribe(filter.as_bytes()), good);
        let refusal = both.engine.authorize(&U, Subscribe(filter.as_bytes()));
        assert_eq!(refusal == Decision::Deny(Refusal::MalformedFilter), !good, "{filter:?}");
        assert_eq!(
            parse(&format!("version = 1\n[roles.r]\npublish = {}", list(&[filter])), "p").is_ok(),
            good,
            "{filter:?}"
        );
    }
    for topic in ["", "+", "a/#", "a\0b", "a/+/b"] {
        assert!(!is_topic_name(topic.as_bytes()), "{topic:?}");
    }
    assert!(is_topic_name(&[b'a'; 65_535]) && !is_topic_name(&[b'a'; 65_536]));
    both.expect(&U, Publish(b""), false);
    both.expect(&U, Receive(b""), false);
}

#[test]
fn s12_a_name_stands_for_one_whole_level() {
    // Unlisted names, for a listed one cannot hold a control character; ids that the role spells out, for `%c` needs that.
    let policy = |rule: &str| {
        Both::of(&format!(
            "[roles.r]\nclient_id = [\"i*\", \"+\", \"#\", \"a/b\", \"$i\", \"%i\", \"u\"]\npublish = {0}\nsubscribe = {0}\n\
             [[match]]\nusername = \"*\"\nunlisted = true\nroles = [\"r\"]",
            list(&[rule])
        ))
    };
    // The rule; the user name, the client id; the topic, and whether it fits.
    type Bytes = &'static [u8];
    let rows: &[(&str, Bytes, Bytes, Bytes, bool)] = &[
        ("%u", b"u", b"i1", b"u", true),
        ("%u", b"u", b"i1", b"u/", false),
        ("%u", b"u", b"i1", b"v", false),
        ("%u", b"u", b"i1", b"", false),
        ("%u/#", b"u", b"i1", b"u", true),
        ("%u/#", b"u", b"i1", b"u/a/b", true),
        ("a/%u", b"u", b"i1", b"a/u", true),
        ("a/%u/b", b"u", b"i1", b"a/u/b", true),
        ("a/%u", b"u", b"i1", b"a/uu", false),
        ("a/%u", b"u", b"i1", b"a/%u", false),
        ("a/%u", b"%u", b"i1", b"a/%u", true),
        ("a/%u", b"%c", b"i1", b"a/i1", false),
        ("a/%u", b"%c", b"i1", b"a/%c", true),
        ("a/%u", b"+", b"i1", b"a/+", false),
        ("a/%u", b"+", b"i1", b"a/x", false),
        ("a/%u", b"#", b"i1", b"a/#", false),
        ("a/%u", b"#", b"i1", b"a/x/y", false),
        ("a/%u", b"a+", b"i1", b"a/a+", false),
        ("a/%u", b"x/y", b"i1", b"a/x/y", false),
        ("a/%u/y", b"x/y", b"i1", b"a/x/y", false),
        ("a/%u", b"$x", b"i1", b"a/$x", false),
        ("%u/a", b"$SYS", b"i1", b"$SYS/a", false),
        ("%u", b"$x", b"i1", b"$x", false),
        ("a/%u", b"", b"i1", b"a/", false),
        ("%u", b"", b"i1", b"", false),
        ("a/%u", b"x\x01", b"i1", b"a/x\x01", false),
        ("a/%u", b"x\n", b"i1", b"a/x\n", false),
        ("a/%u", b"\x7f", b"i1", b"a/\x7f", false),
        ("a/%u", b"x\xc2\x85", b"i1", b"a/x\xc2\x85", false),
        ("a/%u", b"x\xc2\xa0", b"i1", b"a/x\xc2\xa0", true),
        ("a/%u", b"x\xff", b"i1", b"a/x\xff", true),
        ("a/%u", b"x\xff", b"i1", b"a/x\xfe", false),
        ("a/%u", b"a b", b"i1", b"a/a b", true),
        ("a/%c", b"u", b"i1", b"a/i1", true),
        ("a/%c", b"u", b"i1", b"a/i2", false),
        ("a/%c", b"u", b"i\xff", b"a/i\xff", true),
        ("a/%c", b"u", b"i\x1b", b"a/i\x1b", false),
        ("a/%c", b"u", b"i+", b"a/i+", false),
        ("a/%c", b"u", b"i#", b"a/i#", false),
        ("a/%c", b"u", b"+", b"a/x", false),
        ("a/%c", b"u", b"#", b"a/x", false),
        ("a/%c", b"u", b"a/b", b"a/a/b", false),
        ("a/%c", b"u", b"$i", b"a/$i", false),
        ("a/%c", b"u", b"%i", b"a/%i", true),
        ("%u/%c", b"u", b"u", b"u/u", true),
        ("%c/%u", b"u", b"i1", b"u/i1", false),
    ];
    for &(rule, user, id, topic, expected) in rows {
        let both = policy(rule);
        let client = Client { user: Some(user), id };
        // An empty name is admitted by nothing, not even by `*`.
        both.expect(&client, Connect, !user.is_empty());
        both.expect(&client, Publish(topic), expected);
        both.expect(&client, Receive(topic), expected);
        // Nor does a hostile name subscribe to more than its one topic.
        for filter in [&b"a/+"[..], b"a/#", b"#", b"+", b"+/+", b"$SYS/#"] {
            both.expect(&client, Subscribe(filter), rule == "%u/#" && filter == b"%u/#");
        }
    }
    // A deny with a name in it reaches that name alone.
    let both = rules("publish", &["#"], &["%u/#", "x/%c"], "client_id = [\"c\"]");
    for (topic, expected) in [("u/a", false), ("v/a", true), ("x/c", false), ("x/d", true), ("x/c/d", true)] {
        both.expect(&client("u", "c"), Publish(topic.as_bytes()), expected);
    }
}

#[test]
fn s8_s9_what_each_key_grants_and_denies() {
    const POLICY: &str = r##"
        [roles.p]
        publish = ["p/#"]
        [roles.s]
        subscribe = ["s/#"]
        [roles.r]
        receive = ["r/#"]
        [roles.no]
        deny = { publish = ["p/no/#"], subscribe = ["s/no", "r/no"] }
        [roles.m]
        publish = ["m"]
        [users.u]
        roles = ["p", "s", "r", "no"]
        publish = ["own", "p/no/really"]
        subscribe = ["s/no"]
        [[match]]
        username = "u"
        roles = ["m"]
    "##;
    let both = Both::of(POLICY);
    let rows: [(Action<'_>, bool); 30] = [
        (Connect, true),
        (Publish(b"p/a"), true),
        (Publish(b"own"), true),
        (Publish(b"m"), true),
        (Publish(b"s/a"), false),
        (Publish(b"r/a"), false),
        (Publish(b"p/no"), false),
        (Publish(b"p/no/really"), false),
        (Publish(b"q"), false),
        (Receive(b"s/a"), true),
        (Receive(b"r/a"), true),
        (Receive(b"r"), true),
        (Receive(b"p/a"), false),
        (Receive(b"own"), false),
        (Receive(b"s/no"), false),
        (Receive(b"s/no/a"), true),
        (Receive(b"r/no"), false),
        (Subscribe(b"s/a"), true),
        (Subscribe(b"s/a/#"), true),
        (Subscribe(b"s/+/+"), true),
        (Subscribe(b"s/#"), false),
        (Subscribe(b"s/+"), false),
        (Subscribe(b"s/no"), false),
        (Subscribe(b"s/no/#"), false),
        (Subscribe(b"s/no/+"), true),
        (Subscribe(b"r/a"), false),
        (Subscribe(b"r/#"), false),
        (Subscribe(b"p/a"), false),
        (Subscribe(b"#"), false),
        (Unsubscribe, true),
    ];
    for (action, expected) in rows {
        both.expect(&U, action, expected);
    }
    // Nobody is kept from unsubscribing; nobody else may do anything.
    let stranger = client("nobody", "nobody");
    both.expect(&stranger, Unsubscribe, true);
    for action in [Connect, Publish(b"p/a"), Receive(b"s/a"), Subscribe(b"s/a"), Api(b"/api/v1")] {
        both.expect(&stranger, action, false);
        both.expect(&Client { user: None, id: b"u" }, action, false);
    }
}

#[test]
fn s8_a_deny_wins_wherever_it_stands() {
    for (name, text) in [
        (
            "own deny, role allow",
            "[roles.r]\npublish = [\"a\"]\n[users.u]\nroles = [\"r\"]\ndeny = { publish = [\"a\"] }",
        ),
        (
            "role deny, own allow",
            "[roles.r]\ndeny = { publish = [\"a\"] }\n[users.u]\nroles = [\"r\"]\npublish = [\"a\"]",
        ),
        ("same set", "[users.u]\npublish = [\"a\"]\ndeny = { publish = [\"a\"] }"),
        (
            "match deny",
            "[roles.r]\ndeny = { publish = [\"+\"] }\n[users.u]\npublish = [\"a\"]\n[[match]]\nusername = \"*\"\nroles = [\"r\"]",
        ),
        ("less specific", "[users.u]\npublish = [\"a\", \"a/#\", \"+\"]\ndeny = { publish = [\"#\"] }"),
        ("by name", "[users.u]\npublish = [\"#\"]\ndeny = { publish = [\"%u\", \"a\"] }"),
        (
            "later role",
            "[roles.x]\npublish = [\"a\"]\n[roles.y]\ndeny = { publish = [\"a\"] }\n[users.u]\nroles = [\"x\", \"y\"]",
        ),
        (
            "earlier role",
            "[roles.x]\npublish = [\"a\"]\n[roles.y]\ndeny = { publish = [\"a\"] }\n[users.u]\nroles = [\"y\", \"x\"]",
        ),
    ] {
        let both = Both::of(text);
        both.expect(&U, Publish(b"a"), false);
        let refusal = both.engine.authorize(&U, Publish(b"a"));
        assert!(matches!(refusal, Decision::Deny(Refusal::Rule(_))), "{name}: {refusal:?}");
    }
}

#[test]
fn s10_containment_and_overlap() {
    type Filters<'f> = &'f [&'f str];
    let rows: &[(Filters<'_>, Filters<'_>, &str, bool, bool)] = &[
        // Grants, denies, the filter asked for; granted exactly, granted with `overlap`.
        (&["a/#"], &[], "a/#", true, true),
        (&["a/#"], &[], "a", true, true),
        (&["a/#"], &[], "a/+/b", true, true),
        (&["a/#"], &[], "+/b", false, true),
        (&["a/#"], &[], "#", false, true),
        (&["a/#"], &[], "b/#", false, false),
        (&["a"], &[], "a/#", false, true),
        (&["a/+"], &[], "a/#", false, true),
        (&["a/+/#"], &[], "a/#", false, true),
        (&["a", "a/+/#"], &[], "a/#", true, true),
        (&["a", "a/+", "a/+/+/#"], &[], "a/#", true, true),
        (&["a", "a/+/+/#"], &[], "a/#", false, true),
        (&["a/b", "a/c"], &[], "a/+", false, true),
        (&["a/b", "a/+"], &[], "a/+", true, true),
        (&["+/#"], &[], "#", true, true),
        (&["+", "+/+/#"], &[], "#", true, true),
        (&["+"], &[], "#", false, true),
        (&["+"], &[], "+", true, true),
        (&["+"], &[], "/", false, false),
        (&["+/+"], &[], "/", true, true),
        (&["a/+"], &[], "a/", true, true),
        (&["a/"], &[], "a/+", false, true),
        (&["a"], &[], "a/", false, false),
        (&["/a"], &[], "a", false, false),
        (&["+/b", "a/+"], &[], "+/+", false, true),
        (&["+/b", "a/+"], &[], "a/b", true, true),
        (&["#"], &[], "$SYS/#", false, false),
        (&["#"], &[], "$SYS", false, false),
        (&["+/#"], &[], "$x/a", false, false),
        (&["$SYS/#"], &[], "#", false, false),
        (&["$SYS/#"], &[], "+/a", false, false),
        (&["$SYS/#"], &[], "$SYS/+/b", true, true),
        (&["$SYS/a"], &[], "$SYS/+", false, true),
        (&["#", "$SYS/#"], &[], "#", true, true),
        (&["%u/#"], &[], "u/+", true, true),
        (&["%u/#"], &[], "+/a", false, true),
        (&["%u/#"], &[], "#", false, true),
        (&["%u/#"], &[], "v/#", false, false),
        (&["+/%u", "%u/+"], &[], "x/u", true, true),
        (&["a/%c"], &[], "a/u", true, true),
        (&["a/%c"], &[], "a/+", false, true),
        // The empty topic does not exist, so it keeps nothing from being contained, and is nothing to have in common.
        (&["+/+/#"], &[], "/#", true, true),
        (&["/+/#"], &[], "/#", true, true),
        (&["/+"], &[], "/#", false, true),
        (&["+"], &[], "/#", false, false),
        (&["/#"], &[], "+", false, false),
        (&["/#"], &[], "+/#", false, true),
        (&["#"], &["+"], "/#", true, true),
        (&["#"], &["/#"], "+", true, true),
        (&["#"], &["/#"], "+/#", false, true),
        (&["#"], &["/"], "/#", false, true),
        // Holes.
        (&["#"], &["a"], "#", false, true),
        (&["#"], &["a"], "+", false, true),
        (&["#"], &["a"], "b/#", true, true),
        (&["#"], &["a"], "a/#", false, true),
        (&["#"], &["a"], "a/+", true, true),
        (&["#"], &["a"], "a", false, false),
        (&["#"], &["a/#"], "a/b", false, false),
        (&["#"], &["a/#"], "+/b", false, true),
        (&["#"], &["a/+"], "+/b", false, true),
        (&["#"], &["a/+"], "+/b/c", true, true),
        (&["#"], &["+/b"], "a/#", false, true),
        (&["#"], &["#"], "a", false, false),
        (&["#"], &["+/#"], "#", false, false),
        (&["#"], &["$SYS/#"], "#", true, true),
        (&["$SYS/#"], &["#"], "$SYS/a", true, true),
        (&["$SYS/#"], &["$SYS/a"], "$SYS/#", false, true),
        (&["a", "b"], &["a"], "+", false, true),
        (&["a"], &["a"], "+", false, false),
        (&["a/#"], &["a"], "a/#", false, true),
        (&["a/#"], &["a", "a/+/#"], "a/#", false, false),
        (&["a/#"], &["a", "a/+", "a/+/+"], "a/#", false, true),
        (&["a/+"], &["a/b", "a/c"], "a/+", false, true),
        (&["a/b", "a/c"], &["a/b", "a/c"], "a/+", false, false),
        (&["a/b", "a/c"], &["a/b"], "a/+", false, true),
        (&["a/+"], &["a/%u"], "a/+", false, true),
        (&["a/%u"], &["a/u"], "a/+", false, false),
        (&["a/%u"], &["a/%c"], "a/+", false, false),
        (&["b"], &["a"], "b", true, true),
        (&["b"], &["a"], "+", false, true),
    ];
    for (grants, denies, filter, exact, overlap) in rows {
        rules("subscribe", grants, denies, "").expect(&U, Subscribe(filter.as_bytes()), *exact);
        rules("subscribe", grants, denies, "overlap = true").expect(&U, Subscribe(filter.as_bytes()), *overlap);
        // Shared: exact even with overlap (S13).
        let shared = format!("$share/g/{filter}");
        rules("subscribe", grants, denies, "overlap = true").expect(&U, Subscribe(shared.as_bytes()), *exact);
    }
}

#[test]
fn s10_overlap_belongs_to_the_role_that_grants() {
    const POLICY: &str = r##"
        [roles.wide]
        subscribe = ["a/b"]
        overlap = true
        [roles.exact]
        subscribe = ["c/d"]
        receive = ["e/f"]
        [users.u]
        roles = ["wide", "exact"]
        deny = { subscribe = ["x"] }
    "##;
    for (filter, expected) in [
        ("a/+", true),
        ("a/#", true),
        ("+/b", true),
        ("#", true),
        ("c/+", false),
        ("+/d", false),
        ("c/d", true),
        ("e/+", false),
    ] {
        Both::of(POLICY).expect(&U, Subscribe(filter.as_bytes()), expected);
    }
}

#[test]
fn s13_shared_subscriptions() {
    const POLICY: &str = r##"
        [roles.any]
        subscribe = ["a/#"]
        [roles.some]
        subscribe = ["b/#"]
        share = ["g", "$h"]
        [roles.none]
        subscribe = ["c/#", "$SYS/x/#"]
        share = []
        [roles.lax]
        subscribe = ["d/e"]
        overlap = true
        [users.u]
        roles = ["any", "some", "none", "lax"]
        deny = { subscribe = ["a/no"] }
        [users.all]
        subscribe = ["#"]
    "##;
    let both = Both::of(POLICY);
    for (text, expected) in [
        ("$share/g/a/b", true),
        ("$share/other/a/b/#", true),
        ("$share/g/a/no", false),
        ("$share/g/a/#", false),
        ("$share/g/b/#", true),
        ("$share/$h/b/#", true),
        ("$share/other/b/#", false),
        ("b/#", true),
        ("$share/g/c/#", false),
        ("c/#", true),
        ("$share/g/d/e", true),
        ("$share/g/d/+", false),
        ("d/+", true),
        ("$share/g/#", false),
        ("$share/g/$SYS/x/a", false),
        ("$SYS/x/a", true),
        ("$share/g/", false),
        ("$share/g", false),
        ("$share/", false),
        ("$share", false),
        ("$share//a/b", false),
        ("$share/+/a/b", false),
        ("$share/#/a/b", false),
        ("$share/g+/a/b", false),
        ("$shareX/g/a/b", false),
        ("$shared", false),
        ("$share/g/a/#/b", false),
        ("$share/g/a+", false),
        ("$share/g/$share/g/a/b", false),
        ("x/$share/g/a", false),
    ] {
        both.expect(&U, Subscribe(text.as_bytes()), expected);
    }
    for (text, expected) in [
        ("#", true),
        ("$share/g/#", true),
        ("$share/g/+/a", true),
        ("$share/g//", true),
        ("$share/g/$SYS/#", false),
        ("$share/+/#", false),
        ("$share/#", false),
        ("$share/g/$share/h/a", false),
        ("$SHARE/g/a", false),
        // Under a mount point the text is ordinary.
        ("mnt/$share/g/a", true),
    ] {
        both.expect(&client("all", "all"), Subscribe(text.as_bytes()), expected);
    }
    // A restricted role and one that grants the rest: the union counts only where both admit the group.
    let union = Both::of(
        "[roles.x]\nsubscribe = [\"a\"]\nshare = [\"g\"]\n[users.u]\nroles = [\"x\"]\nsubscribe = [\"a/+/#\"]",
    );
    for (text, expected) in [("a/#", true), ("$share/g/a/#", true), ("$share/h/a/#", false), ("$share/h/a/b", true)] {
        union.expect(&U, Subscribe(text.as_bytes()), expected);
    }
}

#[test]
fn s4_s5_client_ids() {
    const AUTO: &str = "auto-0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0";
    const POLICY: &str = r##"
        [roles.ward]
        client_id = ["ward-%u", "w-*"]
        [roles.plain]
        publish = ["#"]
        [roles.noauto]
        auto_id = false
        [roles.any]
        client_id = ["*"]
        deny = { client_id = ["banned", "bad-*", "%u-bad"] }
        [users.def]
        roles = ["plain"]
        [users.one]
        client_id = ["fixed", "%u"]
        roles = ["plain"]
        [users.two]
        roles = ["ward", "plain"]
        client_id = ["%u*"]
        [users.free]
        roles = ["any", "plain"]
        [users.stern]
        roles = ["noauto", "plain"]
        [users.dev]
        client_id = ["%u"]
        [users.dev-1]
        client_id = ["%u", "%u-a"]
        [users.dev-1-x]
        client_id = ["*"]
        [users."a/b"]
        [users."+"]
        [users."$x"]
        client_id = ["%u", "x-%u", "ok"]
        [users.gone]
        disabled = true
        [users.open]
        client_id = ["a*", "auto-0F1E2D3C-x"]
        auto_id = false
    "##;
    let both = Both::of(POLICY);
    assert!(!both.reference.ids_collide());
    for (user, id, expected) in [
        ("def", "def", true),
        ("def", "def-1", true),
        ("def", "def-1-2", true),
        ("def", "def-", false),
        ("def", "def2", false),
        ("def", "de", false),
        ("def", "", false),
        ("def", "DEF", false),
        ("def", "def-a/b", false),
        ("def", "def/a", false),
        ("def", "one", false),
        ("def", "*", false),
        ("def", "def-*", true),
        ("def", AUTO, true),
        ("def", "0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0", true),
        ("def", "auto-0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", false),
        ("def", "auto-auto-0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0", false),
        ("def", "auto-1", false),
        ("def", "auto-0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F", false),
        ("def", "auto-0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1FG", false),
        ("def", "auto-0F1E2D3C04B5A-6978-8796-A5B4C3D2E1F0", false),
        ("def", "auto-0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F00", false),
        ("def", "http-api", false),
        ("open", AUTO, false),
        ("open", "autumn", true),
        ("open", "auto-0F1E2D3C-x", true),
        ("one", "fixed", true),
        ("one", "one", true),
        ("one", "one-1", false),
        ("one", "fixed-1", false),
        ("one", AUTO, true),
        ("two", "ward-two", true),
        ("two", "ward-one", false),
        ("two", "w-1", true),
        ("two", "w-", false),
        ("two", "two2", true),
        ("two", "two", false),
        ("two", "two/2", false),
        ("free", "anything", true),
        ("free", "any/thing/$+#", true),
        ("free", "free", true),
        ("free", "def", false),
        ("free", "def-1", false),
        ("free", "def-", false),
        ("free", "def2", true),
        ("free", "gone", false),
        ("free", "banned", false),
        ("free", "bad-1", false),
        ("free", "bad-", true),
        ("free", "free-bad", false),
        ("free", AUTO, true),
        ("free", "http-api", false),
        ("free", "a/b", false),
        ("free", "a/b-1", false),
        ("free", "a/c", true),
        ("free", "+", false),
        ("stern", "stern", true),
        ("stern", AUTO, false),
        ("stern", "0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0", false),
        ("dev", "dev", true),
        ("dev", "dev-1", false),
        ("dev", "dev-2", false),
        ("dev-1", "dev-1", true),
        ("dev-1", "dev-1-a", true),
        ("dev-1", "dev-1-x", false),
        ("dev-1", "dev", false),
        ("dev-1-x", "dev-1-x", true),
        ("dev-1-x", "dev-1-x-y", true),
        ("dev-1-x", "dev-1-y", false),
        ("dev-1-x", "dev-2", false),
        ("dev-1-x", "other", true),
        ("a/b", "a/b", false),
        ("a/b", "a/b-1", false),
        ("a/b", AUTO, true),
        ("+", "+", false),
        ("+", "x", false),
        ("$x", "$x", false),
        ("$x", "x-$x", false),
        ("$x", "ok", true),
        ("gone", "gone", false),
        ("gone", AUTO, false),
    ] {
        both.expect(&client(user, id), Connect, expected);
        let may = expected && ["def", "one", "two", "free", "stern"].contains(&user);
        both.expect(&client(user, id), Publish(b"t"), may);
        both.expect(&client(user, id), Unsubscribe, true);
    }
}

#[test]
fn s34_a_refused_client_id_is_told_which_would_do() {
    let text = r##"
        version = 1
        [roles.r]
        client_id = ["gw-%u", "x-*"]
        [users.a]
        [users.b]
        roles = ["r"]
        [users."+"]
        [users."$"]
        roles = ["r"]
    "##;
    let policy = parse(text, "p").unwrap().policy;
    for (user, expected) in [
        ("a", "the client id is not one of the user's; accepted: `a`, `a-*`"),
        ("b", "the client id is not one of the user's; accepted: `gw-b`, `x-*`"),
        (
            "+",
            "the client id is not one of the user's; accepted: none, for the user name could be mistaken for a part of a topic",
        ),
        ("$", "the client id is not one of the user's; accepted: `x-*`"),
    ] {
        let client = client(user, "nope");
        assert_eq!(policy.reason(&client, policy.authorize(&client, Connect)).to_string(), expected, "{user}");
    }
}

#[test]
fn s3_matches_add_to_listed_users_and_admit_no_others() {
    const POLICY: &str = r##"
        [roles.device]
        publish = ["d/%u"]
        [roles.guest]
        publish = ["g/%u"]
        [users.dev1]
        [users.dev2]
        disabled = true
        [users.cert-1]
        [users.dev]
        client_id = ["%u"]
        [[match]]
        username = ["dev*", "x"]
        roles = ["device"]
        [[match]]
        username = "cert-*"
        roles = ["guest"]
        unlisted = true
    "##;
    let both = Both::of(POLICY);
    for (user, topic, expected) in [
        ("dev1", "d/dev1", true),
        ("dev1", "d/dev2", false),
        ("dev1", "g/dev1", false),
        ("dev2", "d/dev2", false),
        ("dev", "d/dev", false),
        ("dev3", "d/dev3", false),
        ("x", "d/x", false),
        ("cert-1", "g/cert-1", true),
        ("cert-2", "g/cert-2", true),
        ("cert-2", "d/cert-2", false),
        ("cert-", "g/cert-", false),
        ("cert-a/b", "g/cert-a/b", false),
    ] {
        both.expect(&client(user, user), Publish(topic.as_bytes()), expected);
    }
    // An unlisted name never takes a listed one's id, however it is spelt.
    for (user, id, expected) in [
        ("cert-2", "cert-2", true),
        ("cert-2", "cert-2-a", true),
        ("cert-2", "cert-1", false),
        ("cert-1-a", "cert-1-a", false),
        ("cert-1", "cert-1-a", true),
        ("cert-2", "dev1", false),
    ] {
        both.expect(&client(user, id), Connect, expected);
    }
    // Never by password: the broker asks for a login only where it does not know better (S3).
    for user in ["cert-2", "dev3", "dev1"] {
        let decision = both.engine.login(&client(user, user), Some(b"x"), Connect);
        assert!(!decision.is_allow(), "{user}: {decision:?}");
    }
}

#[test]
fn s6_anonymous_clients_have_their_own_table_and_nothing_else() {
    let closed = Both::of(
        "[users.a]\n[roles.r]\npublish = [\"#\"]\n[[match]]\nusername = \"*\"\nroles = [\"r\"]\nunlisted = true",
    );
    let open = Both::of(
        "[anonymous]\npublish = [\"a/#\"]\nsubscribe = [\"b\"]\ndeny = { publish = [\"a/no\"], client_id = [\"x*\"] }\n\
         [users.a]\n[roles.r]\npublish = [\"#\"]\n[[match]]\nusername = \"*\"\nroles = [\"r\"]\nunlisted = true",
    );
    let bound = Both::of("[anonymous]\nclient_id = [\"gw-*\"]\npublish = [\"%c\"]\nauto_id = false");
    let auto = "auto-0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0";
    let rows: [(&Both, &str, Action<'_>, bool); 21] = [
        (&closed, "x", Connect, false),
        (&closed, auto, Connect, false),
        (&closed, "x", Publish(b"t"), false),
        (&open, "c", Connect, true),
        (&open, auto, Connect, true),
        (&open, "", Connect, true),
        (&open, "any/thing", Connect, true),
        (&open, "a", Connect, false),
        (&open, "a-1", Connect, false),
        (&open, "x1", Connect, false),
        (&open, "http-api", Connect, false),
        (&open, "c", Publish(b"a/b"), true),
        (&open, "c", Publish(b"a/no"), false),
        (&open, "c", Publish(b"t"), false),
        (&open, "c", Receive(b"b"), true),
        (&open, "c", Subscribe(b"b"), true),
        (&bound, "gw-1", Publish(b"gw-1"), true),
        (&bound, "gw-1", Publish(b"gw-2"), false),
        (&bound, "gw-", Connect, false),
        (&bound, "c", Connect, false),
        (&bound, auto, Connect, false),
    ];
    for (both, id, action, expected) in rows {
        both.expect(&Client { user: None, id: id.as_bytes() }, action, expected);
    }
    // The empty user name is a name, and nobody's.
    open.expect(&client("", "c"), Connect, false);
    assert!(open.engine.login(&Client { user: None, id: b"c" }, None, Connect).is_allow());
    assert!(!closed.engine.login(&Client { user: None, id: b"c" }, None, Connect).is_allow());
}

#[test]
fn s14_the_http_api_is_an_action_of_its_own() {
    const POLICY: &str = r##"
        [roles.all]
        publish = ["#", "/api/#"]
        subscribe = ["#", "/api/#"]
        receive = ["/api/#"]
        client_id = ["*"]
        [roles.api]
        api = true
        [users.all]
        roles = ["all"]
        [users.mon]
        roles = ["api"]
        [users.gone]
        roles = ["api"]
        disabled = true
    "##;
    let both = Both::of(POLICY);
    for (user, action, expected) in [
        ("all", Api(b"/api/v1/x"), false),
        ("mon", Api(b"/api/v1/x"), true),
        ("mon", Api(b"/api/"), true),
        ("mon", Api(b"/api"), false),
        ("mon", Api(b"/apix/"), false),
        ("mon", Api(b"api/v1"), false),
        ("mon", Api(b""), false),
        ("gone", Api(b"/api/v1/x"), false),
        ("nobody", Api(b"/api/v1/x"), false),
        // Whatever its binding, nobody else has this id.
        ("all", Connect, false),
        ("mon", Connect, false),
        ("mon", Receive(b"/api/v1/x"), false),
        ("all", Receive(b"/api/v1/x"), false),
        ("all", Publish(b"a"), false),
    ] {
        both.expect(&client(user, "http-api"), action, expected);
    }
    both.expect(&Client { user: None, id: b"http-api" }, Api(b"/api/v1"), false);
    both.expect(&client("mon", "mon"), Receive(b"/api/v1/x"), false);
}

#[test]
fn s16_tests_are_asked_as_clients_would() {
    let text = r##"
        version = 1
        [roles.r]
        client_id = ["x-*", "gw-%u"]
        publish = ["%c"]
        [users.a]
        roles = ["r"]
        [users.b]
        client_id = ["b-*"]
        publish = ["%c"]
        [[test]]
        user = "a"
        can = { connect = true, publish = ["gw-a"] }
        [[test]]
        user = "b"
        can = { publish = ["b-1"] }
        [[test]]
        user = "a"
        client_id = "x-9"
        can = { publish = ["x-9"] }
        cannot = { publish = ["gw-a"], subscribe = ["x"], receive = ["x"] }
        [[test]]
        anonymous = true
        cannot = { connect = true }
    "##;
    let policy = parse(text, "p").unwrap().policy;
    let outcomes = policy.run_tests();
    assert_eq!(outcomes.len(), 8);
    assert!(outcomes.iter().all(|outcome| outcome.passed));
    for (user, id) in [("a", "gw-a"), ("b", "b-1"), ("unknown", "unknown")] {
        assert_eq!(policy.usual_client_id(Some(user.as_bytes())), id.as_bytes(), "{user}");
    }
}

#[test]
fn s17_deny_all_denies_all() {
    let policy = Policy::deny_all();
    for client in [U, Client { user: None, id: b"x" }] {
        for action in [Connect, Publish(b"a"), Receive(b"a"), Subscribe(b"a"), Api(b"/api/x")] {
            assert!(!policy.authorize(&client, action).is_allow(), "{action:?}");
        }
        assert!(!policy.login(&client, Some(b""), Connect).is_allow());
        assert!(!policy.login(&client, None, Connect).is_allow());
    }
}
