use crate::host::Folder;

const OLD: &str = "\
version = 1
[roles.device]
publish   = ['dt/%u/#']
subscribe = ['cmd/%u/#']
[users.dev1]
roles = ['device']
[users.dev2]
roles = ['device']
[users.carl]
publish = ['c']
";

#[test]
fn the_same_rights_in_other_words_are_the_same() {
    let folder = Folder::with(OLD);
    let new =
        OLD.replace("['dt/%u/#']", "['dt/%u', 'dt/%u/+/#']").replace("[users.carl]\n", "[users.carl] # our Carl\n");
    folder.write("new.toml", new, 0o644);
    folder.run("diff policy.toml new.toml").is(0, "the same rights\n", "");
}

#[test]
fn each_difference_is_told_with_an_example_and_its_rules() {
    let folder = Folder::with(OLD);
    let new = OLD.replace("'dt/%u/#'", "'dt/+/#'").replace("publish = ['c']", "publish = ['c']\ndisabled = true");
    folder.write("new.toml", new, 0o644);
    folder.run("diff policy.toml new.toml").is(
        1,
        "- user `carl` can no longer connect, as `carl` for one\n    old: allowed: the user is admitted under this client \
         id\n    new: refused: the user is disabled\n+ 2 users, such as `dev1`, can now publish to `dt/other`\n    old: refused: no \
         rule grants it\n    new: allowed: granted by role `device` publish `dt/+/#` (new.toml:3)\n",
        "",
    );
}

#[test]
fn a_script_reads_the_differences_as_json() {
    let folder = Folder::with(OLD);
    folder.write("new.toml", OLD.replace("'cmd/%u/#'", "'cmd/%u/+'"), 0o644);
    let ran = folder.run("diff --json policy.toml new.toml");
    let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.status, ran.err.as_str()), (Some(1), ""));
    assert_eq!((&document["same"], &document["complete"]), (&false.into(), &true.into()));
    let changes = document["changes"].as_array().unwrap();
    assert_eq!(
        changes.iter().map(|change| change["right"].as_str().unwrap()).collect::<Vec<_>>(),
        ["subscribe", "receive"]
    );
    let change = &changes[1];
    assert_eq!(change["grows"], false);
    assert_eq!(change["witness"], "cmd/dev1");
    assert_eq!(change["who"], serde_json::json!({ "users": 2, "example": "dev1" }));
    assert!(change["old"].as_str().unwrap().contains("(policy.toml:4)"), "{change}");
}

#[test]
fn what_is_no_policy_is_a_problem_and_what_is_no_command_wrong_usage() {
    let folder = Folder::with(OLD);
    folder.write("new.toml", "version = 2\n", 0o644);
    let ran = folder.run("diff policy.toml new.toml");
    assert_eq!((ran.status, ran.out.as_str()), (Some(1), ""));
    assert!(ran.err.starts_with("new.toml:1:11: version `2` is not known"), "{}", ran.err);
    assert_eq!(folder.run("diff policy.toml").status, Some(2));
}
