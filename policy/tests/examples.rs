//! The policies that are shipped keep their promises, each without a warning.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use mqtt_acl_policy::parse;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

fn each(mut look: impl FnMut(&str, &str)) {
    let mut number = 0;
    for entry in fs::read_dir(FOLDER).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            look(&path.file_name().unwrap().to_string_lossy(), &fs::read_to_string(&path).unwrap());
            number += 1;
        }
    }
    assert_eq!(number, 6);
}

#[test]
fn their_tests_pass() {
    each(|name, text| {
        // The included files hold passwords, and none is shipped.
        assert!(text.contains("\ninclude = [\"users.d/*.toml\"]\n"), "{name}");
        let loaded = parse(&text.replace("\ninclude =", "\n# include ="), name);
        let loaded = loaded.unwrap_or_else(|failure| panic!("{name}: {failure:#?}"));
        assert_eq!(loaded.warnings, [], "{name}");
        let outcomes = loaded.policy.run_tests();
        assert!(outcomes.len() >= 15, "{name}: {}", outcomes.len());
        assert!(outcomes.iter().all(|outcome| outcome.passed), "{name}");
    });
    assert!(Path::new(FOLDER).join("users.d/README").is_file(), "the folder that they include");
}

/// S33, and that nobody comes in without a name or by a secret that is known.
#[test]
fn each_promises_the_least() {
    each(|name, text| {
        let table: toml::Table = text.parse().unwrap();
        let tests = table["test"].as_array().unwrap();
        let promises = |key: &str, topic: &str| {
            let topics = |test: &toml::Value| {
                test.get("cannot").and_then(|cannot| cannot.get(key)).and_then(toml::Value::as_array).cloned()
            };
            tests.iter().filter_map(topics).flatten().filter(|text| text.as_str() == Some(topic)).count()
        };
        assert!(promises("subscribe", "$SYS/#") >= 2 && promises("receive", "$SYS/broker/version") >= 1, "{name}");
        let stranger = |test: &&toml::Value| test.get("anonymous").and_then(toml::Value::as_bool) == Some(true);
        assert_eq!(tests.iter().filter(stranger).count(), 1, "{name}");
        assert!(tests.iter().any(|test| test.get("client_id").is_some()), "{name}: a foreign client id");
        let users = table["users"].as_table().unwrap();
        assert!(users.values().all(|user| user.get("password").is_none()), "{name}");
        assert!(text.lines().next().unwrap().starts_with("# ") && text.contains("https://"), "{name}: its source");
    });
}
