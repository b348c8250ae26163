//! Small generated policies in which much is nearly allowed: few texts, few users, and rules of every kind.

use mqtt_acl_policy::Verb;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Random bytes, spent on choices; when they are used up, the first choice is taken.
pub(crate) struct Dice(std::vec::IntoIter<u8>);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        usize::from(self.0.next().unwrap_or(0)) % sides
    }

    pub(crate) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())].clone()
    }

    pub(crate) fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == sides - 1
    }
}

pub(crate) fn check(cases: u32, mut property: impl FnMut(&mut Dice)) {
    let property = std::cell::RefCell::new(&mut property);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    TestRunner::new(config)
        .run(&proptest::collection::vec(any::<u8>(), 400..600), |bytes| {
            property.borrow_mut()(&mut Dice(bytes.into_iter()));
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

/// `gw` has ids of another form than its name, `off` is disabled.
pub(crate) const USERS: [&str; 5] = ["u", "v", "gw", "off", "$s"];
/// Client ids that somebody has, or nobody.
pub(crate) const IDS: [&str; 11] = ["u", "u-1", "u-2", "v", "v-1", "gw-1", "off", "anon-1", "x", "c-gw", "gwc"];

/// The attributes of a user; `$s` has none.
fn attributes_of(user: &str) -> &'static [(&'static str, &'static str)] {
    match user {
        "u" | "off" => &[("s", "a")],
        "v" => &[("s", "b"), ("t", "c")],
        "gw" => &[("s", "c")],
        _ => &[],
    }
}

/// A policy of these users.
pub(crate) fn policy(dice: &mut Dice) -> toml::Table {
    let mut roles = toml::Table::new();
    for role in ["r0", "r1"] {
        roles.insert(role.into(), rule_set(dice, true).into());
    }
    let mut users = toml::Table::new();
    for name in USERS {
        let mut user = if dice.one_in(2) { rule_set(dice, true) } else { toml::Table::new() };
        user.insert("roles".into(), dice.pick(&[vec!["r0"], vec!["r1", "r0"], vec!["r1"]]).into());
        match name {
            "gw" => _ = user.insert("client_id".into(), vec!["gw-*", "gw-1", "%{s}-gw", "gw%{t}"].into()),
            "off" => _ = user.insert("disabled".into(), true.into()),
            "v" if dice.one_in(2) => {
                let deny = user.entry("deny").or_insert_with(|| toml::Table::new().into());
                deny.as_table_mut().unwrap().insert("client_id".into(), vec!["v"].into());
            }
            _ => {}
        }
        if !attributes_of(name).is_empty() {
            let attributes = attributes_of(name).iter().map(|(name, value)| ((*name).to_owned(), (*value).into()));
            user.insert("attributes".into(), attributes.collect::<toml::Table>().into());
        }
        users.insert(name.into(), user.into());
    }
    let mut table = toml::Table::new();
    table.insert("version".into(), 1.into());
    table.insert("roles".into(), roles.into());
    table.insert("users".into(), users.into());
    if dice.one_in(2) {
        let mut anonymous = rule_set(dice, false);
        anonymous.insert("client_id".into(), vec!["anon-*"].into());
        table.insert("anonymous".into(), anonymous.into());
    }
    if dice.one_in(2) {
        let mut block = toml::Table::new();
        block.insert("username".into(), dice.pick(&["new*", "*", "c"]).into());
        block.insert("roles".into(), vec![dice.pick(&["r0", "r1"])].into());
        block.insert("unlisted".into(), true.into());
        table.insert("match".into(), vec![block].into());
    }
    table
}

/// The same policy without attributes: each user has roles of its own, in which the values stand.
pub(crate) fn expanded(table: &toml::Table) -> toml::Table {
    let mut table = table.clone();
    let roles = table["roles"].as_table().unwrap().clone();
    let everybodys = table.get("match").and_then(|blocks| blocks.as_array()).into_iter().flatten();
    let everybodys: Vec<_> = everybodys.filter(|block| block["username"].as_str() == Some("*")).cloned().collect();
    for name in USERS {
        let user = table["users"][name].as_table_mut().unwrap();
        let attributes = user.remove("attributes").unwrap_or_else(|| toml::Table::new().into());
        let mut own = filled(&user.clone().into(), &attributes).as_table().unwrap().clone();
        let held = user["roles"].as_array().unwrap().iter();
        let held = held.chain(everybodys.iter().flat_map(|block| block["roles"].as_array().unwrap()));
        let held: Vec<String> = held.map(|role| role.as_str().unwrap().to_owned()).collect();
        own.insert("roles".into(), held.iter().map(|role| format!("{role}-{name}")).collect::<Vec<_>>().into());
        *user = own;
        for role in held {
            let set = filled(&roles[&role], &attributes);
            table["roles"].as_table_mut().unwrap().insert(format!("{role}-{name}"), set);
        }
    }
    for (name, role) in roles {
        table["roles"][&name] = filled(&role, &toml::Table::new().into());
    }
    table
}

/// A rule set with a user's values in place of attributes, and without the rules whose attributes it lacks.
fn filled(value: &toml::Value, attributes: &toml::Value) -> toml::Value {
    match value {
        toml::Value::Table(table) => {
            toml::Value::Table(table.iter().map(|(key, value)| (key.clone(), filled(value, attributes))).collect())
        }
        toml::Value::Array(texts) => texts
            .iter()
            .filter_map(|text| {
                let text = written_out(text.as_str().unwrap(), attributes);
                (!text.contains("%{")).then_some(text)
            })
            .collect::<Vec<_>>()
            .into(),
        other => other.clone(),
    }
}

/// A text with a user's values in place of attributes.
pub(crate) fn written_out(text: &str, attributes: &toml::Value) -> String {
    let values = attributes.as_table().unwrap().iter();
    values.fold(text.to_owned(), |text, (name, value)| text.replace(&format!("%{{{name}}}"), value.as_str().unwrap()))
}

fn rule_set(dice: &mut Dice, has_name: bool) -> toml::Table {
    let mut set = toml::Table::new();
    let mut deny = toml::Table::new();
    for (key, most) in [("publish", 4), ("subscribe", 4), ("receive", 2)] {
        let rules: Vec<_> = (0..dice.roll(most + 1)).map(|_| rule(dice, has_name)).collect();
        set.insert(key.into(), rules.into());
    }
    for key in ["publish", "subscribe"] {
        let mut rules: Vec<_> = (0..dice.roll(3)).map(|_| rule(dice, has_name)).collect();
        if dice.one_in(3) {
            rules.push(dice.pick(&["%c/#", "+/%c", "a/%c", "+/%c/#"]).into());
        }
        deny.insert(key.into(), rules.into());
    }
    if dice.one_in(2) {
        set.insert("deny".into(), deny.into());
    }
    if dice.one_in(4) {
        set.insert("overlap".into(), true.into());
    }
    if dice.one_in(3) {
        set.insert("share".into(), vec!["g"].into());
    }
    set
}

fn rule(dice: &mut Dice, has_name: bool) -> String {
    let [name, site, other] = if has_name { ["%u", "%{s}", "%{t}"] } else { ["a", "b", "c"] };
    let texts = ["a", "b", "+", "c", name, "%c", "", "$x", name, site, other];
    let mut levels: Vec<&str> = (0..=dice.roll(3)).map(|_| dice.pick(&texts)).collect();
    if dice.one_in(3) {
        levels.truncate(2);
        levels.push("#");
    }
    let rule = levels.join("/");
    if rule.is_empty() { "+".into() } else { rule }
}

/// A topic or, to subscribe to, a filter.
pub(crate) fn topic(dice: &mut Dice, verb: Verb) -> String {
    let mut levels: Vec<&str> = (0..=dice.roll(3))
        .map(|_| dice.pick(&["a", "b", "c", "u", "v", "a", "u-1", "", "$x", "off", "gw-1", "anon-1"]))
        .collect();
    let filter = verb == Verb::Subscribe;
    if filter && dice.one_in(3) {
        let at = dice.roll(levels.len());
        levels[at] = "+";
    }
    if filter && dice.one_in(4) {
        levels.push("#");
    }
    let topic = levels.join("/");
    let topic = if topic.is_empty() { "a".to_owned() } else { topic };
    if filter && dice.one_in(4) { format!("$share/{}/{topic}", dice.pick(&["g", "h"])) } else { topic }
}
