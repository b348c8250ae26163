//! The schema and the checker agree: what one takes, the other takes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mqtt_acl_policy::{Failure, parse};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::Value;
use toml::Table;

use crate::host::Folder;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn schema() -> Value {
    let ran = Folder::new().run("schema");
    assert_eq!((ran.status, ran.err.as_str()), (Some(0), ""));
    serde_json::from_str(&ran.out).unwrap()
}

/// Whether the value has the form that the schema says. Of JSON Schema it knows what this one needs, and panics at the rest.
fn fits(value: &Value, form: &Value, root: &Value) -> bool {
    let kind = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("type {other}"),
    };
    let forms = |value: &Value| value.as_array().unwrap().clone();
    form.as_object().unwrap().iter().all(|(keyword, is)| match keyword.as_str() {
        "$schema" | "title" | "description" | "definitions" => true,
        "type" => kind(is.as_str().unwrap()),
        "const" => value == is,
        "minimum" => value.as_i64().is_none_or(|value| value >= is.as_i64().unwrap()),
        "maximum" => value.as_i64().is_none_or(|value| value <= is.as_i64().unwrap()),
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| fits(item, is, root))),
        "anyOf" => forms(is).iter().any(|form| fits(value, form, root)),
        "allOf" => forms(is).iter().all(|form| fits(value, form, root)),
        "$ref" => fits(value, root.pointer(is.as_str().unwrap().strip_prefix('#').unwrap()).unwrap(), root),
        "properties" => value.as_object().is_none_or(|object| {
            object.iter().all(|(key, value)| is.get(key).is_none_or(|form| fits(value, form, root)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|object| {
            let named = |key: &String| form.get("properties").is_some_and(|named| named.get(key).is_some());
            object.iter().filter(|(key, _)| !named(key)).all(|(_, value)| is != false && fits(value, is, root))
        }),
        other => panic!("keyword {other}"),
    })
}

fn json(text: &str) -> Value {
    serde_json::to_value(text.parse::<Table>().unwrap()).unwrap()
}

#[test]
fn the_committed_schema_is_this_programs() {
    let committed = fs::read_to_string(repository().join("policy/schema.json")).unwrap();
    Folder::new().run("schema").is(0, &committed, "");
}

#[test]
fn every_policy_of_the_repository_fits() {
    let schema = schema();
    let mut policies = vec![repository().join("deploy/policy.toml"), repository().join("tests/brokers/policy.toml")];
    if let Ok(examples) = fs::read_dir(repository().join("policy/examples")) {
        let paths = examples.map(|entry| entry.unwrap().path());
        policies.extend(paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml")));
    }
    for path in policies {
        assert!(fits(&json(&fs::read_to_string(&path).unwrap()), &schema, &schema), "{}", path.display());
    }
    assert!(fits(&json(crate::host::POLICY), &schema, &schema));
}

#[test]
fn the_reference_policy_names_the_schema_that_the_package_installs() {
    let policy = fs::read_to_string(repository().join("deploy/policy.toml")).unwrap();
    let path = policy.lines().next().unwrap().strip_prefix("#:schema /").unwrap();
    let build = fs::read_to_string(repository().join("deploy/package/build.sh")).unwrap();
    assert!(build.contains(&format!("put 644 policy/schema.json {path}\n")), "{path}");
}

/// The checker names the keys that it knows, wherever one is that it does not know.
#[test]
fn the_keys_of_every_table_are_those_of_the_checker() {
    let schema = schema();
    let definition = |name: &str| format!("/definitions/{name}/properties");
    for (text, pointer) in [
        ("{}", "/properties".to_owned()),
        ("[roles.x]\n{}", definition("rules")),
        ("[anonymous]\n{}", definition("rules")),
        ("[users.x]\n{}", definition("user")),
        ("[users.x.deny]\n{}", definition("deny")),
        ("[roles.x.deny]\n{}", definition("deny")),
        ("[[match]]\n{}", definition("match")),
        ("[[test]]\n{}", definition("test")),
        ("[[test]]\n[test.can]\n{}", definition("deeds")),
        ("[[test]]\n[test.cannot]\n{}", definition("deeds")),
        ("[logins]\n{}", definition("logins")),
        ("[guard]\n{}", definition("guard")),
    ] {
        let unknown = "zzzzzzzzzzzzzzzzzzzz";
        let Err(Failure::Invalid(problems)) = parse(&text.replace("{}", &format!("{unknown} = 1\n")), "p") else {
            panic!("{text}");
        };
        let said = problems.iter().find(|problem| problem.text.contains(unknown)).unwrap().text.clone();
        let known = said.split_once("(known are `").unwrap().1.strip_suffix("`)").unwrap();
        let known: BTreeSet<_> = known.split("`, `").collect();
        let properties = schema.pointer(&pointer).unwrap().as_object().unwrap();
        assert_eq!(known, properties.keys().map(String::as_str).collect(), "{text}");
    }
}

/// A policy in which everything is, and all of it good.
const WHOLE: &str = r##"
version = 1
include = []
[roles.r]
client_id = ["id1"]
publish = ["a/#"]
subscribe = ["a/#"]
receive = ["a/#"]
deny = { publish = ["b"], subscribe = ["b"], client_id = ["c"] }
overlap = true
share = ["g"]
api = true
auto_id = false
[users.u]
roles = ["r"]
password = "$token$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
attributes = { site = "bne" }
disabled = true
client_id = ["id2"]
publish = ["a/#"]
subscribe = []
receive = []
deny = {}
overlap = false
share = []
api = false
auto_id = true
[anonymous]
client_id = ["id3"]
publish = ["a/#"]
deny = { subscribe = ["b"] }
overlap = true
[[match]]
username = "u*"
roles = ["r"]
unlisted = false
[logins]
delayed = true
share = 90
[guard]
trusted = ["10.0.0.0/8"]
user_failures = 1000000
address_failures = 1
minutes = 1440
[[test]]
user = "ghost"
anonymous = false
client_id = "x"
can = { publish = [], subscribe = [], receive = [] }
cannot = { connect = true, publish = ["a"] }
"##;

/// Where something stands in a table: keys, and `0` for the first of a list of tables.
type Path_ = Vec<String>;

fn paths(value: &toml::Value, here: &Path_, found: &mut Vec<Path_>) {
    let below = |key: String| here.iter().cloned().chain([key]).collect::<Vec<_>>();
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                found.push(below(key.clone()));
                paths(value, &below(key.clone()), found);
            }
        }
        toml::Value::Array(items) if items.first().is_some_and(toml::Value::is_table) => {
            found.push(below("0".into()));
            paths(&items[0], &below("0".into()), found);
        }
        _ => {}
    }
}

fn at<'v>(value: &'v mut toml::Value, path: &[String]) -> Option<&'v mut toml::Value> {
    path.iter().try_fold(value, |value, key| match value {
        toml::Value::Array(items) => items.get_mut(key.parse::<usize>().ok()?),
        other => other.as_table_mut()?.get_mut(key),
    })
}

/// Values of all forms: whether one is right depends on where it is put, and what it says is good wherever it is right.
fn any_value() -> impl Strategy<Value = toml::Value> {
    let texts =
        ["true", "1", "[]", "{}", "1.5", "[1]", "[true]", "[[]]", "0", "-1", "2", "91", "1441", "1000001", "[{}]"];
    let values = prop::sample::select(texts.to_vec())
        .prop_map(|text| format!("x = {text}").parse::<Table>().unwrap()["x"].clone());
    prop_oneof![4 => values, 1 => Just(toml::Value::from("text")), 1 => Just(toml::Value::from(vec!["a", "b"]))]
}

/// What only the meaning of these would be wrong, not their form.
fn is_about_meaning(text: &str) -> bool {
    let about = [
        "is not a password string",
        "passwords are never written",
        "is not defined",
        "is not an address or a network",
        "is not the name of an attribute",
        "cannot stand for a level of a topic",
        "cannot include others",
        "an empty `client_id`",
        "needs a `username`",
        "needs `roles`",
        "`[[test]]` needs either",
        "`[[test]]` expects nothing",
        "a test of the policy fails",
        "the version of the language is missing",
    ];
    about.iter().any(|part| text.contains(part))
}

#[test]
fn whatever_the_schema_takes_the_checker_reads_and_the_other_way_round() {
    let schema = schema();
    let whole: toml::Value = toml::Value::Table(WHOLE.parse().unwrap());
    assert!(parse(WHOLE, "p").is_ok());
    let mut places = Vec::new();
    paths(&whole, &Vec::new(), &mut places);
    let edit = (prop::sample::select(places), any_value(), 0..4);
    let mut runner = TestRunner::deterministic();
    let edits = prop::collection::vec(edit, 1..3);
    let mut counts = [0, 0];
    for _ in 0..1200 {
        let mut policy = whole.clone();
        for (path, value, kind) in edits.new_tree(&mut runner).unwrap().current() {
            let (last, above) = path.split_last().unwrap();
            match (kind, at(&mut policy, above)) {
                (0 | 1, Some(toml::Value::Table(table))) => drop(table.insert(last.clone(), value)),
                (0 | 1, Some(toml::Value::Array(items))) => {
                    items.iter_mut().take(1).for_each(|item| *item = value.clone())
                }
                (2, Some(toml::Value::Table(table))) => drop(table.remove(last)),
                (3, Some(toml::Value::Table(table))) => drop(table.insert("another".into(), value)),
                _ => {}
            }
        }
        let text = toml::to_string(&policy).unwrap();
        let fits = fits(&json(&text), &schema, &schema);
        let problems = match parse(&text, "p") {
            Ok(_) | Err(Failure::Missing(_) | Failure::Empty(_)) => Vec::new(),
            Err(Failure::Invalid(problems)) => problems,
        };
        let mut of_form = problems
            .iter()
            .filter(|problem| problem.severity == mqtt_acl_policy::Severity::Error && !is_about_meaning(&problem.text));
        let wrong = of_form.next();
        assert_eq!(fits, wrong.is_none(), "{wrong:?}\n{text}");
        counts[usize::from(fits)] += 1;
    }
    assert!(counts.iter().all(|count| *count > 200), "{counts:?}");
}

/// The evaluator above sees what is wrong.
#[test]
fn what_does_not_fit_is_seen() {
    let schema = schema();
    for bad in [
        "versoin = 1",
        "version = 2",
        "version = \"1\"",
        "users = 1",
        "users.a = 1",
        "users.a.password = 1",
        "users.a.password = [1]",
        "users.a.deny.receive = []",
        "logins.share = 0",
        "logins.share = 91",
        "logins.share = 1.5",
        "match = {}",
        "match = [1]",
        "[[test]]\ncan = { connect = false }",
    ] {
        assert!(!fits(&json(bad), &schema, &schema), "{bad}");
    }
    assert!(fits(&json(WHOLE), &schema, &schema));
}
