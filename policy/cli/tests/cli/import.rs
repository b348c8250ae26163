use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::host::Folder;

const ACL: &str = "\
# for everybody without a name
topic read public/#

# The house's own things.
user alice
topic readwrite home/alice/#
topic deny home/alice/secret

user bob
topic readwrite home/bob/#
topic deny home/bob/secret

user carl
topic read $SYS/#

# devices
pattern readwrite dev/%u/#
";

/// Nobody's, and nobody tries it.
const HASH: &str = "$7$210000$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";

fn hash(name: &str) -> String {
    format!("{name}:{HASH}\n")
}

fn folder() -> Folder {
    let folder = Folder::with("");
    folder.write("acl", ACL, 0o644);
    folder.write("passwd", hash("alice") + &hash("bob") + &hash("carl"), 0o600);
    folder
}

#[test]
fn repeated_rules_become_a_role_and_comments_stay() {
    let folder = folder();
    let ran = folder.run("import mosquitto --acl-file acl --password-file passwd");
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let expected = "\
# Made by `mqtt-acl import` from acl and passwd.
version = 1

# devices
[roles.everyone]
client_id = [\"*\"]
publish = [\"dev/%u/#\"]
subscribe = [\"dev/%u/#\"]
overlap = true

[roles.group]
publish = [\"home/%u/#\"]
subscribe = [\"home/%u/#\"]
deny.publish = [\"home/%u/secret\"]
deny.subscribe = [\"home/%u/secret\"]
overlap = true

# The house's own things.
[users.alice]
roles = [\"everyone\", \"group\"]
password = \"$7$210000$";
    assert!(ran.out.starts_with(expected), "{}", ran.out);
    // Whoever reads along is told of all that is not the same.
    assert!(ran.err.starts_with("acl:2:1: warning: rules before any `user` are for clients without a user name"));
    assert!(ran.err.contains("difference: client ids that are refused: 3 users, "), "{}", ran.err);
    assert!(ran.err.ends_with(": the same but for the differences above\n"), "{}", ran.err);
}

#[test]
fn what_is_written_is_a_policy_for_the_eyes_of_its_owner() {
    let folder = folder();
    let ran = folder.run("import mosquitto --acl-file acl --password-file passwd --bind --output policy.new");
    assert_eq!((ran.status, ran.out.as_str()), (Some(0), "policy.new: written: 3 users, 2 roles\n"), "{}", ran.err);
    let metadata = fs::metadata(folder.path().join("policy.new")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(folder.run("check policy.new").status, Some(0));
    assert_eq!(folder.run("explain policy.new --user alice publish home/alice/x").status, Some(0));
    assert_eq!(folder.run("explain policy.new --user alice publish home/alice/secret").status, Some(1));

    // What is there is left alone, and replaced in one step where that is meant.
    let again = folder.run("import mosquitto --acl-file acl --output policy.new");
    assert_eq!(again.status, Some(1));
    assert!(again.err.contains("there is such a file already (`--force` writes over it)"), "{}", again.err);
    assert_eq!(fs::metadata(folder.path().join("policy.new")).unwrap().ino(), metadata.ino());
    assert_eq!(folder.run("import mosquitto --acl-file acl --output policy.new --force").status, Some(0));
    assert_ne!(fs::metadata(folder.path().join("policy.new")).unwrap().ino(), metadata.ino());
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("mqtt-acl-new")), "{left:?}");
}

#[test]
fn passwords_can_live_apart() {
    let folder = folder();
    folder.subfolder("users.d");
    let ran = folder.run(
        "import mosquitto --acl-file acl --password-file passwd --output policy.new --passwords users.d/passwords.toml",
    );
    assert_eq!(ran.status, Some(0), "{}", ran.err);
    let policy = fs::read_to_string(folder.path().join("policy.new")).unwrap();
    assert!(policy.contains("include = [\"users.d/passwords.toml\"]\n") && !policy.contains("$7$"), "{policy}");
    let passwords = fs::read_to_string(folder.path().join("users.d/passwords.toml")).unwrap();
    assert_eq!(passwords.matches("password = \"$7$").count(), 3);
    assert!(folder.run("check policy.new").out.contains("3 users"));
}

#[test]
fn all_that_is_wrong_with_the_files_is_told_at_once() {
    let folder = folder();
    folder.write("acl", "user\ntopic read\ta/b\ntopics a\ntopic a/#/b\ntopic rw a b\n", 0o644);
    folder.write("passwd", "alice\nbob:hunter2\n".to_owned() + &hash("carl") + &hash("carl"), 0o600);
    let ran = folder.run("import mosquitto --acl-file acl --password-file passwd --output policy.new");
    assert_eq!((ran.status, ran.out.as_str()), (Some(1), ""));
    let places: Vec<_> = ran.err.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        places,
        ["acl:1:1", "acl:3:1", "acl:4:1", "acl:5:1", "passwd:1:1", "passwd:2:1", "passwd:4:1"],
        "{}",
        ran.err
    );
    assert!(!ran.err.contains("hunter2"));
    assert!(fs::metadata(folder.path().join("policy.new")).is_err());
}

#[test]
fn what_brokers_differ_about_is_told_and_chosen() {
    let folder = Folder::with("");
    folder.write("acl", "user u1\ntopic a\npattern read cfg/x-%u\npattern write log/%c\n", 0o644);
    let both = folder.run("import mosquitto --acl-file acl");
    assert_eq!(both.status, Some(0));
    assert!(!both.out.contains("x-"), "{}", both.out);
    assert!(both.err.contains("acl:3:1: warning: `cfg/x-%u` is left out: `%u` is a part of a level"), "{}", both.err);
    assert!(both.err.contains("acl:4:1: warning: `log/%c` is left out: any client may choose any id"), "{}", both.err);
    assert!(both.err.contains("difference: rules that were left out grant this no more"), "{}", both.err);
    let old = folder.run("import mosquitto --acl-file acl --broker 2.0 --bind");
    assert!(old.out.contains("cfg/x-u1") && old.out.contains("log/%c"), "{}", old.out);
}

#[test]
fn a_deny_that_wins_now_is_told() {
    let folder = Folder::with("");
    folder.write("acl", "user u1\ntopic read a/#\npattern deny a/b\n", 0o644);
    let ran = folder.run("import mosquitto --acl-file acl");
    assert_eq!(ran.status, Some(0));
    assert!(
        ran.err.contains("difference: a deny wins wherever it stands: 1 user, ")
            && ran
                .err
                .contains("such as: user `u1` may not receive `a/b` (denied by role `everyone` deny.subscribe `a/b` "),
        "{}",
        ran.err
    );
}

#[test]
fn dynamic_security_keeps_its_roles() {
    let folder = Folder::with("");
    folder.write(
        "d.json",
        format!(
            "{{\"defaultACLAccess\": {{\"publishClientSend\": false, \"publishClientReceive\": true, \"subscribe\": false, \
             \"unsubscribe\": true}},
\"clients\": [
 {{\"username\": \"dev1\", \"clientid\": \"dev1\", \"encoded_password\": \"{HASH}\", \"roles\": [{{\"rolename\": \"device\"}}]}},
 {{\"username\": \"off\", \"disabled\": true, \"roles\": []}}
],
\"groups\": [],
\"roles\": [{{\"rolename\": \"device\", \"textname\": \"All devices\", \"acls\": [
 {{\"acltype\": \"publishClientSend\", \"topic\": \"dt/%u/#\", \"priority\": 1, \"allow\": true}},
 {{\"acltype\": \"publishClientSend\", \"topic\": \"#\", \"priority\": 0, \"allow\": false}},
 {{\"acltype\": \"subscribePattern\", \"topic\": \"cmd/%u/#\", \"allow\": true}}
]}}]}}
"
        ),
        0o600,
    );
    let ran = folder.run("import dynsec d.json --broker 2.1");
    assert_eq!(ran.status, Some(0), "{}", ran.err);
    let expected = "\
[roles.everyone]
client_id = [\"*\"]

# All devices
[roles.device]
publish = [\"dt/%u/#\"]
subscribe = [\"cmd/%u/#\"]
overlap = true

[users.dev1]
roles = [\"device\"]
password = \"$7$210000$";
    assert!(ran.out.contains(expected), "{}", ran.out);
    assert!(
        ran.out.contains("client_id = [\"dev1\"]\n\n[users.off]\nroles = [\"everyone\"]\ndisabled = true\n"),
        "{}",
        ran.out
    );

    folder.write("d.json", "{\"roles\": [\n{\"rolename\": \"r\", \"acls\": [\n{\"acltype\": \"x\", \"topic\": \"a\"},\n{\"topic\": 1}\n]},\n{}\n]}", 0o600);
    let ran = folder.run("import dynsec d.json");
    assert_eq!((ran.status, ran.out.as_str()), (Some(1), ""));
    let places: Vec<_> = ran.err.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["d.json:3:1", "d.json:4:1", "d.json:6:1"], "{}", ran.err);
}

#[test]
fn go_auth_denies_first_and_does_not_hide_topics() {
    let folder = Folder::with("");
    folder.write(
        "acls",
        "topic read test/general\nuser test1\ntopic   write test/1\ntopic subscribe x\ntopic readwrite #\n",
        0o644,
    );
    folder.write("passwords", hash("test1"), 0o600);
    let ran = folder.run("import go-auth --acl-file acls --password-file passwords");
    assert_eq!(ran.status, Some(0), "{}", ran.err);
    assert!(ran.out.contains("[roles.everyone]\nclient_id = [\"*\"]\nsubscribe = [\"test/general\"]\n"), "{}", ran.out);
    assert!(ran.out.contains("publish = [\"test/1\", \"#\"]\nsubscribe = [\"#\"]\n"), "{}", ran.out);
    assert!(
        ran.err.contains("difference: wildcards no longer match topics that begin with `$`: 1 user"),
        "{}",
        ran.err
    );
}

#[test]
fn a_command_line_that_makes_no_sense_is_wrong_usage() {
    let folder = folder();
    for arguments in ["import", "import mosquitto", "import dynsec", "import mosquitto --acl-file acl --passwords p"] {
        assert_eq!(folder.run(arguments).status, Some(2), "{arguments}");
    }
    let missing = folder.run("import mosquitto --acl-file none");
    assert_eq!(missing.status, Some(1));
    assert!(missing.err.starts_with("none: cannot be read: No such file"), "{}", missing.err);
}
