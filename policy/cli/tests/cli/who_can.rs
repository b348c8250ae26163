use serde_json::{Value, json};

use crate::host::{Folder, good};

const POLICY: &str = r##"version = 1

[roles.device]
publish   = ["dt/%u/#", "log/%c"]
subscribe = ["cmd/%u/#"]

[roles.reader]
subscribe = ["dt/#"]
deny      = { subscribe = ["dt/+/secret"] }

[users.dev1]
roles = ["device"]

[users.dev2]
roles    = ["device"]
disabled = true

[users.gateway]
client_id = ["gw-*"]
roles     = ["device", "reader"]

[anonymous]
client_id = ["anon-*"]
subscribe = ["news"]

[[match]]
username = "guest*"
roles    = ["reader"]
unlisted = true
"##;

#[test]
fn everybody_who_may_is_told_with_the_rule() {
    let folder = Folder::with(POLICY);
    let run = |words: &str| folder.run(&format!("who-can {words} policy.toml"));
    let warned = |ran: crate::host::Ran, status, out: &str| ran.is(status, out, "");
    let publish = "role `device` publish `dt/%u/#` (policy.toml:4)";
    warned(run("publish dt/dev1/x"), 0, &format!("{publish}: `dev1`\n1 of 3 users\n"));
    warned(run("publish dt/dev2/x"), 1, "nobody can publish to `dt/dev2/x`\n");
    warned(
        run("publish log/gw-7"),
        0,
        "role `device` publish `log/%c` (policy.toml:4): `gateway` (only as client `gw-7`)\n1 of 3 users\n",
    );
    warned(
        run("receive news"),
        0,
        "[anonymous] subscribe `news` (policy.toml:24): clients without a user name\n0 of 3 users\n",
    );
    warned(
        run("receive dt/dev1/x"),
        0,
        "role `reader` subscribe `dt/#` (policy.toml:8): `gateway`, unlisted names that fit `guest*`\n1 of 3 users\n",
    );
    warned(run("receive dt/dev1/secret"), 1, "nobody can receive `dt/dev1/secret`\n");
    warned(run("subscribe dt/#"), 1, "nobody can subscribe to `dt/#`\n");
    warned(run("subscribe #"), 1, "nobody can subscribe to `#`\n");
    warned(
        run("subscribe $share/g/cmd/dev1/+"),
        0,
        "role `device` subscribe `cmd/%u/#` (policy.toml:5): `dev1`\n1 of 3 users\n",
    );
}

#[test]
fn many_are_counted_and_a_script_is_told_all() {
    let users: String = (1..=1234).map(|number| format!("[users.dev{number:04}]\n")).collect();
    let policy = format!("{}\n{users}\n[[match]]\nusername = \"dev0*\"\nroles = [\"device\"]\n", good())
        .replace("subscribe = [\"cmd/%u/#\"]", "subscribe = [\"cmd/%u/#\", \"all\"]");
    let folder = Folder::with(policy);
    folder.run("who-can receive all policy.toml").is(
        0,
        "role `device` subscribe `all` (policy.toml:5): 1,000 users, such as `dev0001`, `dev0002`, `dev0003`\n\
         1,000 of 1236 users\n",
        "",
    );
    let ran = folder.run("who-can --json receive all policy.toml");
    assert_eq!((ran.status, ran.err.as_str()), (Some(0), ""));
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&told["action"], &told["topic"], &told["users"]), (&json!("receive"), &json!("all"), &json!(1236)));
    let able = told["able"].as_array().unwrap();
    let mut names: Vec<_> = able.iter().map(|able| able["user"].as_str().unwrap()).collect();
    assert_eq!((names.len(), names[0], names[999]), (1000, "dev0001", "dev1"));
    names.dedup();
    assert_eq!(names.len(), 1000);
    assert_eq!((&able[0]["client_ids"], &able[0]["rule"]["filter"]), (&json!("all"), &json!("all")));
}

#[test]
fn json_tells_of_client_ids_and_of_whoever_is_not_listed() {
    let folder = Folder::with(POLICY);
    let read = |words: &str, status| {
        let ran = folder.run(&format!("who-can {words} --json policy.toml"));
        assert_eq!(ran.status, Some(status), "{words}: {ran:?}");
        serde_json::from_str::<Value>(&ran.out).unwrap()["able"].clone()
    };
    assert_eq!(read("publish log/gw-7", 0)[0]["client_ids"], json!({ "only": ["gw-7"] }));
    assert_eq!(read("receive news", 0)[0]["anonymous"], true);
    assert_eq!(read("receive dt/a", 0)[1]["unlisted"], "guest*");
    assert_eq!(read("receive dt/dev1/secret", 1), json!([]));
}

#[test]
fn only_a_policy_that_can_be_used_is_asked() {
    let folder = Folder::with("version = 1\n[roles.x]\npublish = [\"+x\"]\n");
    let ran = folder.run("who-can publish x policy.toml");
    assert_eq!((ran.status, ran.out.as_str()), (Some(1), ""));
    assert!(ran.err.starts_with("policy.toml:3:12: `+x`"), "{}", ran.err);
}
