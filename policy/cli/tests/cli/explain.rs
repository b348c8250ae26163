use crate::host::{Folder, POLICY, good};

const DEV1: &str = "the client id is taken to be `dev1` (`--client-id` names another)\n";

#[test]
fn reasons_name_the_rule() {
    let folder = Folder::with(good());
    let publish = "role `device` publish `dt/%u/#` (policy.toml:4)";
    let subscribe = "role `device` subscribe `cmd/%u/#` (policy.toml:5)";
    for (words, status, told) in [
        ("publish dt/dev1/x", 0, format!("allowed: granted by {publish}\n")),
        (
            "publish dt/dev1/secret",
            1,
            format!(
                "refused: denied by role `device` deny.publish `dt/+/secret` (policy.toml:6)\nwhich overrides {publish}\n"
            ),
        ),
        (
            "publish dt/dev2/x",
            1,
            format!(
                "refused: no rule grants it\nnear miss: differs from {publish} at level 2: `dev2` where the rule has `%u`, \
                 here `dev1`\n"
            ),
        ),
        ("subscribe cmd/dev1/#", 0, format!("allowed: granted by {subscribe}\n")),
        (
            "subscribe cmd/#",
            1,
            format!(
                "refused: only a part of the filter is granted, by {subscribe}\nnear miss: `cmd/dev1/#` would be granted by \
                 {subscribe}\n"
            ),
        ),
        ("subscribe $share/g/cmd/dev1/x", 0, format!("allowed: granted by {subscribe}\n")),
        ("subscribe a/#/b", 1, "refused: not a topic filter\n".into()),
        ("receive cmd/dev1/x", 0, format!("allowed: granted by {subscribe}\n")),
        (
            "receive dt/dev1/x",
            1,
            format!(
                "refused: no rule grants it\nnear miss: publish is granted by {publish}, receive is not\nnear miss: differs \
                 from {subscribe} at level 1: `dt` where the rule has `cmd`\n"
            ),
        ),
        ("publish far/away", 1, "refused: no rule grants it\n".into()),
    ] {
        folder.run(&format!("explain policy.toml --user dev1 {words}")).is(status, &format!("{told}{DEV1}"), "");
    }
}

#[test]
fn what_else_bears_on_it_is_told() {
    let policy = r#"version = 1
[roles.a]
publish   = ["x/#", "x/+"]
subscribe = ["y", "y/+/#"]
deny      = { publish = ["x/no"] }
[users.u]
roles   = ["a"]
publish = ["x/1"]
deny    = { publish = ["+/no"] }
[users.off]
roles    = ["a"]
disabled = true
"#;
    let folder = Folder::with(policy);
    let run = |words: &str| folder.run(&format!("explain policy.toml {words}"));
    run("--user u --client-id u publish x/1").is(
        0,
        "allowed: granted by role `a` publish `x/#` (policy.toml:3)\n\
         also granted by role `a` publish `x/+` (policy.toml:3)\n\
         also granted by user `u` publish `x/1` (policy.toml:8)\n",
        "",
    );
    run("--user u --client-id u publish x/no").is(
        1,
        "refused: denied by role `a` deny.publish `x/no` (policy.toml:5)\n\
         which overrides role `a` publish `x/#` (policy.toml:3)\n\
         which overrides role `a` publish `x/+` (policy.toml:3)\n\
         also denied by user `u` deny.publish `+/no` (policy.toml:9)\n",
        "",
    );
    let both = run("--user u --client-id u subscribe y/#");
    assert_eq!(both.status, Some(0));
    assert_eq!(both.out.lines().count(), 2, "{both:?}");
    run("--user off --client-id off publish x/1").is(
        1,
        "refused: the user is disabled\n\
         near miss: would be granted by role `a` publish `x/#` (policy.toml:3) if the user were not disabled\n",
        "",
    );
}

#[test]
fn a_script_reads_json() {
    let folder = Folder::with(good());
    let read = |words: &str, status| {
        let ran = folder.run(&format!("explain policy.toml --json {words}"));
        assert_eq!((ran.status, ran.err.as_str()), (Some(status), ""), "{words}");
        serde_json::from_str::<serde_json::Value>(&ran.out).unwrap()
    };
    let granted = read("--user dev1 publish dt/dev1/x", 0);
    assert_eq!(granted["allowed"], true);
    assert_eq!((&granted["user"], &granted["client_id"]), (&"dev1".into(), &"dev1".into()));
    assert_eq!((&granted["action"], &granted["topic"]), (&"publish".into(), &"dt/dev1/x".into()));
    assert_eq!((&granted["rule"]["file"], &granted["rule"]["line"]), (&"policy.toml".into(), &4.into()));
    let denied = read("--user dev1 publish dt/dev1/secret", 1);
    assert_eq!(denied["rule"]["key"], "deny.publish");
    assert_eq!(denied["overridden"][0]["filter"], "dt/%u/#");
    assert_eq!(denied["near_misses"][0]["kind"], "denied");
    let missed = read("--user dev1 publish dt/dev2/x", 1);
    let miss = &missed["near_misses"][0];
    assert_eq!((&miss["kind"], &miss["topic"]), (&"topic".into(), &"dt/dev1/x".into()));
    let difference = serde_json::json!({ "level": 2, "here": "dev2", "rule": "%u", "value": "dev1" });
    assert_eq!(miss["differences"], serde_json::json!([difference]));
    let id = read("--user dev1 --client-id x connect", 1);
    assert_eq!(id["near_misses"][0]["client_id"], "dev1");
    assert_eq!(id["topic"], serde_json::Value::Null);
    assert_eq!(read("--anonymous connect", 1)["user"], serde_json::Value::Null);
}

#[test]
fn options_stand_anywhere() {
    let folder = Folder::with(good());
    let expected = "allowed: granted by role `device` publish `dt/%u/#` (policy.toml:4)\n";
    for words in [
        "explain policy.toml --user dev1 --client-id dev1-2 publish dt/dev1/x",
        "explain --client-id dev1-2 policy.toml publish --user dev1 dt/dev1/x",
        "explain policy.toml publish dt/dev1/x --user dev1 --client-id=dev1-2",
        "explain --user=dev1 --broker-user root policy.toml publish dt/dev1/x --client-id dev1-2",
    ] {
        folder.run(words).is(0, expected, "");
    }
}

#[test]
fn connect_tells_of_client_ids_and_passwords() {
    let hash = mqtt_acl_policy::hash(b"secret").unwrap();
    let folder = Folder::new();
    folder.write("policy.toml", format!("{}\n[users.dev2]\npassword = \"{hash}\"\n", good()), 0o640);
    let admitted = "allowed: the user is admitted under this client id\n";
    let unprotected =
        "the user has no `password`, so only a listener that takes the name from a certificate or PSK lets it in\n";
    let run = |words: &str| folder.run(&format!("explain policy.toml {words}"));
    run("--user dev1 connect").is(0, &format!("{admitted}{DEV1}{unprotected}"), "");
    run("--user dev2 --client-id dev2 connect").is(0, admitted, "");
    run("--user dev2 --client-id dev1 connect").is(
        1,
        "refused: the client id is not one of the user's; accepted: `dev2`, `dev2-*`\n\
         near miss: would be allowed for client id `dev2`\n",
        "",
    );
    run("--user gateway connect").is(
        0,
        &format!("{admitted}the client id is taken to be `gw-1` (`--client-id` names another)\n{unprotected}"),
        "",
    );
    run("--user dev3 --client-id dev3 connect").is(1, "refused: the user is not listed in the policy\n", "");
    run("--anonymous connect").is(
        1,
        "refused: there is no user name, and the policy has no [anonymous]\n\
         the client id is taken to be `anonymous` (`--client-id` names another)\n",
        "",
    );
}

#[test]
fn a_wrong_client_id_refuses_everything() {
    let folder = Folder::with(good());
    folder.run("explain policy.toml --user dev1 --client-id dev2 publish dt/dev1/x").is(
        1,
        "refused: the client id is not one of the user's; accepted: `dev1`, `dev1-*`\n\
         near miss: would be allowed for client id `dev1`\n",
        "",
    );
}

#[test]
fn a_wildcard_is_no_topic_name() {
    let folder = Folder::with(good());
    for action in ["publish", "receive"] {
        for topic in ["dt/+/x", "#", "a#b"] {
            folder.run(&format!("explain policy.toml --user dev1 {action} {topic}")).is(
                2,
                "",
                &format!(
                    "mqtt-acl: `{topic}` is not a topic name (write one topic, without wildcards, or ask what a filter \
                     covers with `subscribe`)\n"
                ),
            );
        }
        folder.run_with(["explain", "policy.toml", "--user", "dev1", action, ""]).is(
            2,
            "",
            "mqtt-acl: `` is not a topic name (write 1 to 65535 bytes)\n",
        );
    }
}

#[test]
fn strange_names_are_shown_harmless() {
    let folder = Folder::with(good());
    for name in ["", "+", "#", "a/b", "$SYS", "\u{1b}]0;x\u{7}", "caf\u{e9}", "-x"] {
        let ran = folder.run_with(["explain", "policy.toml", &format!("--user={name}"), "publish", "dt/x"]);
        ran.is_tame();
        assert_eq!(ran.status, Some(1), "{ran:?}");
        assert!(ran.out.starts_with("refused: the user is not listed in the policy\n"), "{ran:?}");
    }
    // What is not UTF-8 is no MQTT string.
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::OsStr::from_bytes(b"--user=caf\xe9");
    let arguments = ["explain", "policy.toml", "connect"].map(std::ffi::OsStr::new);
    let ran = folder.run_with(arguments.into_iter().chain([name]));
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran.is_tame();
}

#[test]
fn only_a_policy_that_can_be_used_is_explained() {
    let folder = Folder::with(POLICY);
    let ran = folder.run("explain policy.toml --user dev1 connect");
    assert_eq!((ran.status, ran.out.as_str()), (Some(1), ""));
    assert!(ran.err.starts_with("policy.toml:18:47: a test of the policy fails: "), "{}", ran.err);
    let ran = folder.run("explain nowhere.toml --user dev1 connect");
    ran.is(
        1,
        "",
        "nowhere.toml: there is no such file, and a broker that starts without it admits nobody (name the right one)\n",
    );
}
