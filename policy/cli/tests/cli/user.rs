use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use mqtt_acl_policy::{Action, Client, Trust, is_token, load};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

use crate::host::{Folder, Ran, good, skipped};

/// A policy whose passwords live apart.
const APART: &str = r#"# Our broker
version = 1
include = ["users.d/*.toml"]   # passwords

[roles.device]
publish = ["dt/%u/#"]          # its own

[users.dev1]                   # the first
roles = ["device"]

[[match]]
username = "sensor*"
roles    = ["device"]

[[test]]
user = "dev1"
can  = { publish = ["dt/dev1/x"] }
"#;

fn apart() -> Folder {
    let folder = Folder::with(APART);
    folder.subfolder("users.d");
    folder
}

impl Folder {
    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    fn user(&self, words: &str) -> Ran {
        self.run(&format!("user {words} --policy policy.toml"))
    }

    /// The command succeeds; what it prints, and what it says.
    #[track_caller]
    fn does(&self, words: &str) -> (String, String) {
        let Ran { status, out, err } = self.run(&format!("{words} --policy policy.toml"));
        assert_eq!(status, Some(0), "{words}: {err}");
        (out, err)
    }

    /// The command is refused with this, and nothing is changed.
    #[track_caller]
    fn refuses(&self, words: &str, status: i32, part: &str) {
        let before = self.contents();
        let ran = self.run(&format!("{words} --policy policy.toml"));
        assert_eq!((ran.status, ran.out.as_str()), (Some(status), ""), "{words}: {}", ran.err);
        assert!(ran.err.contains(part), "{words}: {}", ran.err);
        assert_eq!(self.contents(), before, "{words}");
    }

    /// All files below, with what is in them.
    fn contents(&self) -> Vec<(String, String)> {
        fn walk(folder: &Path, found: &mut Vec<(String, String)>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => walk(&path, found),
                    false => found.push((path.display().to_string(), fs::read_to_string(&path).unwrap())),
                }
            }
        }
        let mut found = Vec::new();
        walk(self.path(), &mut found);
        found.sort();
        found
    }

    /// Whether the policy admits the user with this password.
    fn admits(&self, user: &str, password: &str) -> bool {
        let policy = load(&self.path().join("policy.toml"), &Trust::process().and_user("mosquitto")).unwrap().policy;
        let client = Client { user: Some(user.as_bytes()), id: user.as_bytes() };
        policy.login(&client, Some(password.as_bytes()), Action::Connect).is_allow()
    }
}

const LATER: &str = "in force once the broker reads its policy again: by itself where it watches it, or with `sudo systemctl \
                     reload mosquitto`\n";

#[test]
fn a_device_gets_a_token() {
    let folder = Folder::with(good());
    let (out, err) = folder.does("user add dev2 --role device --token");
    let open = "policy.toml: warning: holds passwords that everybody on this machine may read (`chmod o-r`)";
    assert_eq!(err, format!("{open}\npolicy.toml: user `dev2` added\n{LATER}"));
    let token = out.strip_suffix('\n').unwrap();
    assert!(is_token(token) && folder.admits("dev2", token) && !folder.admits("dev2", "x"));
    assert!(folder.read("policy.toml").contains("\n\n[users.dev2]\nroles    = [\"device\"]\npassword = \"$token$"));
}

#[test]
fn a_persons_password_is_read_and_never_an_argument() {
    let folder = Folder::with(good());
    let ran = folder.run_fed("user add alice --role device --password --policy policy.toml", b"hunter2\n");
    assert_eq!((ran.status, ran.out.as_str()), (Some(0), ""), "{}", ran.err);
    assert!(folder.admits("alice", "hunter2") && !folder.admits("alice", "hunter"));
    assert!(!folder.read("policy.toml").contains("hunter2"));
    let ran = folder.run_fed("user passwd alice --policy policy.toml", b"hunter3\n");
    assert_eq!((ran.status, ran.out.as_str()), (Some(0), ""), "{}", ran.err);
    assert!(folder.admits("alice", "hunter3") && !folder.admits("alice", "hunter2"));
    let ran = folder.run_fed("user passwd alice --keep-old --policy policy.toml", b"hunter4\n");
    assert_eq!(ran.status, Some(0), "{}", ran.err);
    assert!(folder.admits("alice", "hunter4") && folder.admits("alice", "hunter3"));
    for words in [
        "user add bob --password hunter2",
        "user add bob --token hunter2",
        "user passwd alice hunter2",
        "user passwd alice -hunter2",
    ] {
        let ran = folder.run(words);
        assert_eq!((ran.status, ran.out.as_str()), (Some(2), ""), "{words}");
        assert!(ran.err.contains("takes no secret") && !ran.err.contains("hunter2"), "{words}: {}", ran.err);
    }
    let ran = folder.run("user add bob --password=hunter2");
    let line = "mqtt-acl: `--password` takes no value (secrets are asked for, or read from standard input)\n";
    ran.is(2, "", line);
    let ran = folder.run_fed("user passwd alice --policy policy.toml", b"");
    ran.is(1, "", "mqtt-acl: the secret is empty (write it to standard input)\n");
}

#[test]
fn secrets_go_where_secrets_are() {
    let folder = apart();
    // The first makes `users.toml`, which the policy includes.
    let (_, err) = folder.does("user add sensor1 --token");
    assert_eq!(err, format!("users.d/users.toml: user `sensor1` added\n{LATER}"));
    let mode = fs::metadata(folder.path().join("users.d/users.toml")).unwrap().mode() & 0o777;
    assert_eq!(mode, 0o640);
    fs::rename(folder.path().join("users.d/users.toml"), folder.path().join("users.d/secret.toml")).unwrap();
    let (_, err) = folder.does("user add sensor2 --token");
    assert_eq!(err, format!("users.d/secret.toml: user `sensor2` added\n{LATER}"));
    // Listed in the policy; its secret is completed beside the others (S2).
    let (token, err) = folder.does("token dev1");
    assert!(err.starts_with("users.d/secret.toml: user `dev1`: new token\n"), "{err}");
    assert!(folder.admits("dev1", token.trim_end()));
    assert_eq!(folder.read("policy.toml"), APART);
    folder.does("user add plain --no-password");
    let with_plain = APART.replace("roles = [\"device\"]\n\n[[m", "roles = [\"device\"]\n\n[users.plain]\n\n[[m");
    let secret = folder.read("users.d/secret.toml");
    assert!(secret.contains("[users.plain]") || folder.read("policy.toml") == with_plain);
    folder.does("user add meter --no-password --file users.d/meters.toml");
    assert_eq!(folder.read("users.d/meters.toml"), "[users.meter]\n");
    folder.refuses("user add meter2 --no-password --file other.toml", 1, "`other.toml` is not a part of this policy");
    folder.refuses("user add meter2 --no-password --file users.d/x", 1, "is not a part of this policy");
    folder.refuses("user add meter2 --no-password --file gone/x.toml", 1, "No such file");
}

#[test]
fn comments_and_layout_stay() {
    let folder = apart();
    let disabled = APART.replace("[\"device\"]\n\n[[match", "[\"device\"]\ndisabled = true\n\n[[match");
    folder.refuses(
        "user disable dev1",
        1,
        "a test of the policy fails: user `dev1` with client id `dev1` cannot publish",
    );
    let without_test = APART.split("[[test]]").next().unwrap();
    folder.write("policy.toml", without_test, 0o644);
    folder.does("user disable dev1");
    assert_eq!(folder.read("policy.toml"), disabled.split("[[test]]").next().unwrap());
    let (_, err) = folder.does("user disable dev1");
    assert_eq!(err, "nothing had to be changed\n");
    folder.does("user enable dev1");
    assert_eq!(folder.read("policy.toml"), without_test);
    folder.does("user add dev2 --no-password --role device");
    folder.does("user remove dev2");
    assert_eq!(folder.read("policy.toml"), without_test);
    folder.does("user remove dev1");
    assert_eq!(
        folder.read("policy.toml"),
        without_test.replace("[users.dev1]                   # the first\nroles = [\"device\"]\n\n", "")
    );
}

#[test]
fn a_tombstone_is_lifted_wherever_it_stands() {
    let folder = apart();
    folder.write("policy.toml", APART.split("[[test]]").next().unwrap(), 0o644);
    let secret = "[users.dev1]\npassword = \"$token$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\n";
    folder.write("users.d/secret.toml", format!("{secret}disabled = true\n"), 0o640);
    folder.does("user disable dev1");
    folder.does("user enable dev1");
    assert_eq!(folder.read("users.d/secret.toml"), secret);
    folder.does("user remove dev1");
    assert_eq!(folder.read("users.d/secret.toml"), "");
    assert!(!folder.read("policy.toml").contains("users.dev1"));
}

#[test]
fn what_the_checker_refuses_is_not_written() {
    let folder = Folder::with(good());
    for (words, status, part) in [
        ("user add http-api --no-password", 1, "`http-api` is the client id of the broker's HTTP listener"),
        ("user add auto --no-password", 1, "`auto` cannot be a user"),
        ("user add dev1-x --no-password", 1, "would include those of user `dev1-x`"),
        ("user add gw-1 --no-password", 1, "the client ids of user `gateway` would include those of user `gw-1`"),
        ("user add dev1 --no-password", 1, "user `dev1` is listed already, in policy.toml:8"),
        ("user add new --no-password --role devise", 1, "did you mean `device`?"),
        ("user add new --no-password --client-id a*b", 1, "`*` stands only at the end"),
        ("user add new", 2, "<--token|--password|--no-password>"),
        ("user add --no-password", 2, "<NAME|--from <CSV>>"),
        ("user add new --token --no-password", 2, "cannot be used with"),
        ("user remove dev1", 1, "a test of the policy fails"),
        ("user remove gateway nobody", 1, "user `nobody` is not listed"),
        ("user disable dev1", 1, "a test of the policy fails"),
        ("user enable nobody", 1, "user `nobody` is not listed"),
        ("user passwd nobody", 1, "user `nobody` is not listed"),
        ("token nobody", 1, "user `nobody` is not listed"),
        ("user show nobody", 1, "user `nobody` is not listed"),
    ] {
        folder.refuses(words, status, part);
    }
    let before = folder.read("policy.toml");
    for name in ["", "a\nb", "a\u{1b}[2J"] {
        for words in [["user", "add", name, "--no-password"].as_slice(), &["user", "remove", name], &["token", name]] {
            let ran = folder.run_with(words.iter().chain(&["--policy", "policy.toml"]));
            ran.is_tame();
            assert_eq!((ran.status, ran.out.as_str()), (Some(2), ""), "{name:?}: {}", ran.err);
        }
    }
    assert_eq!(folder.read("policy.toml"), before);
    folder.write("policy.toml", "version = 1\n[users", 0o644);
    folder.refuses("user add new --no-password", 1, "policy.toml:2:");
    folder.write("policy.toml", "version = 1\n[users.a]\npassword = \"\n", 0o644);
    folder.refuses("user add new --no-password", 1, "policy.toml:3:");
    fs::remove_file(folder.path().join("policy.toml")).unwrap();
    folder.refuses("user add new --no-password", 1, "policy.toml: there is no such file");
}

#[test]
fn a_token_is_rotated_and_the_old_one_ended() {
    let folder = apart();
    let first = folder.does("token dev1").0;
    folder.refuses("token dev1", 1, "user `dev1` has a password already (`--rotate`");
    let second = folder.does("token dev1 --rotate").0;
    let [first, second] = [&first, &second].map(|token| token.trim_end());
    assert!(folder.admits("dev1", first) && folder.admits("dev1", second) && first != second);
    let (out, err) = folder.does("token dev1 --revoke-old");
    assert_eq!(out, "");
    assert!(err.starts_with("users.d/users.toml: user `dev1`: old passwords ended\n"), "{err}");
    assert!(!folder.admits("dev1", first) && folder.admits("dev1", second));
    assert_eq!(folder.does("token dev1 --revoke-old").1, "nothing had to be changed\n");
    let third = folder.does("token dev1 --replace").0;
    assert!(!folder.admits("dev1", second) && folder.admits("dev1", third.trim_end()));
    for _ in 0..3 {
        folder.does("token dev1 --rotate");
    }
    folder.refuses("token dev1 --rotate", 1, "has 4 passwords, and 4 is the most");
    folder.refuses("token --rotate", 2, "<USER>");
    folder.refuses("token dev1 --rotate --replace", 2, "cannot be used with");
}

#[test]
fn a_token_goes_to_a_file_of_ones_own() {
    let folder = apart();
    let (out, err) = folder.does("token dev1 --out dev1.token");
    assert!(out.is_empty() && err.ends_with("its token is in `dev1.token`\n"), "{err}");
    let path = folder.path().join("dev1.token");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert!(folder.admits("dev1", folder.read("dev1.token").trim_end()));
    folder.refuses("token dev1 --replace --out dev1.token", 1, "`dev1.token` is there already (`--force`");
    folder.refuses("user add dev2 --token --out dev1.token", 1, "`dev1.token` is there already (`--force`");
    for own in ["policy.toml", "users.d/users.toml", "users.d/new.toml"] {
        folder.refuses(&format!("user add dev2 --token --force --out {own}"), 1, "is a file of the policy itself");
    }
    folder.refuses("user add dev2 --token --out none/x", 1, "`none/x` cannot be written");
    // What is refused leaves no token either.
    folder.refuses("user add dev1-x --token --out new.token", 1, "would include");
    folder.does("token dev1 --replace --out dev1.token --force");
    assert!(folder.admits("dev1", folder.read("dev1.token").trim_end()));
}

#[test]
fn a_csv_file_of_devices() {
    let folder = apart();
    let rows: String = (0..2000).map(|number| format!("sensor{number}\r\n")).collect();
    folder.write("devices.csv", format!("\u{feff}username\r\n{rows}"), 0o644);
    let (out, err) = folder.does("user add --from devices.csv --tokens out.csv --role device");
    assert_eq!(out, "");
    assert!(err.starts_with("users.d/users.toml: 2000 users added\n"), "{err}");
    assert!(err.ends_with("out.csv: the tokens, which are not shown again\n") && !err.contains('\r'), "{err}");
    assert_eq!(fs::metadata(folder.path().join("out.csv")).unwrap().mode() & 0o777, 0o600);
    let tokens = folder.read("out.csv");
    let mut lines = tokens.lines();
    assert_eq!(lines.next(), Some("username,token"));
    let last = lines.next_back().unwrap().strip_prefix("sensor1999,").unwrap();
    assert!(is_token(last) && folder.admits("sensor1999", last));
    assert_eq!(lines.count(), 1999);
    // All are there already.
    folder.refuses("user add --from devices.csv --tokens new.csv", 1, "user `sensor0` and 1999 more is listed already");
    folder.refuses("user add --from devices.csv --tokens out.csv", 1, "`out.csv` is there already (`--force`");
    let hash = mqtt_acl_policy::hash(b"secret").unwrap();
    let rows = format!("username,client_id,roles,password\nboth,%u both*,device,\n\"of, all\",,,\"{hash}\"\n",);
    folder.write("more.csv", rows, 0o644);
    folder.does("user add --from more.csv --tokens out.csv --force --file policy.toml");
    assert_eq!(folder.read("out.csv").lines().count(), 2);
    assert!(folder.admits("of, all", "secret"));
    assert!(
        folder
            .read("policy.toml")
            .contains("[users.both]\nroles     = [\"device\"]\nclient_id = [\"%u\", \"both*\"]\n")
    );
}

/// Who waits for many sees how far it is.
#[test]
fn a_terminal_shows_the_progress() {
    let folder = apart();
    let rows: String = (0..2000).map(|number| format!("sensor{number}\n")).collect();
    folder.write("devices.csv", format!("username\n{rows}"), 0o644);
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let name = ptsname(&screen, Vec::new()).unwrap().into_string().unwrap();
    let line = fs::File::options().write(true).open(name).unwrap();
    let words = "user add --from devices.csv --tokens out.csv --policy policy.toml";
    let mut child = folder.command(words.split(' ')).stderr(line).stdout(Stdio::null()).spawn().unwrap();
    let mut shown = Vec::new();
    // Its end is an error, once nobody else has the other side.
    let _ = fs::File::from(screen).read_to_end(&mut shown);
    assert!(child.wait().unwrap().success());
    let shown = String::from_utf8(shown).unwrap();
    let bar =
        |full: usize, percent: usize| format!("\rtokens [{}{}] {percent:3} %", "#".repeat(full), "-".repeat(40 - full));
    let at: Vec<_> = [bar(0, 0), bar(20, 50), bar(40, 100)].iter().map(|bar| shown.find(bar.as_str())).collect();
    assert!(at.iter().all(Option::is_some) && at.is_sorted(), "{shown:?}");
    assert!(shown.ends_with("out.csv: the tokens, which are not shown again\r\n"), "{shown:?}");
}

#[test]
fn a_bad_csv_file_adds_nobody() {
    let folder = apart();
    for (text, status, part) in [
        ("", 1, "devices.csv:1: there is no column `username`"),
        ("username\n", 1, "devices.csv: there is no user in it"),
        ("dev7\ndev8\n", 1, "devices.csv:1: `dev7` is not a column (the first line names them; known are `username`"),
        ("username,username\na,b\n", 1, "the column `username` is there twice"),
        ("username\na\nb\na\n", 1, "devices.csv:4: user `a` is there twice"),
        ("username\na,b\n", 1, "line 2: 2 fields, where the first line names 1"),
        ("username,roles\na,\n,device\n", 1, "devices.csv:3: a user name must not be empty"),
        ("username\na\u{7}b\n", 1, "devices.csv:2: `\\u{7}` is a control character"),
        ("username,roles\na,devise\n", 1, "did you mean `device`?"),
        ("username,password\na,hunter2\n", 1, "not a password string"),
        ("username\na\nhttp-api\n", 1, "HTTP listener"),
    ] {
        folder.write("devices.csv", text, 0o644);
        folder.refuses("user add --from devices.csv --tokens out.csv", status, part);
    }
    folder.write("devices.csv", b"username\n\xff\n", 0o644);
    let ran = folder.user("add --from devices.csv --tokens out.csv");
    assert!(ran.status == Some(1) && ran.err.contains("line 2: not UTF-8"), "{ran:?}");
    folder.write("devices.csv", "username\na\n", 0o644);
    folder.refuses("user add --from devices.csv", 2, "1 user of the CSV file has no password string and so a token");
    folder.refuses("user add --from none.csv --tokens out.csv", 1, "none.csv: cannot be read: No such file");
}

#[test]
fn scripts_read_json() {
    let folder = apart();
    let json = |words: &str| -> Value {
        let (out, err) = folder.does(words);
        assert_eq!(err, "", "{words}");
        serde_json::from_str(&out).unwrap()
    };
    let added = json("user add sensor1 --token --json");
    assert_eq!(added["user"], "sensor1");
    assert_eq!(added["changes"][0]["file"], "users.d/users.toml");
    assert_eq!(added["changes"][0]["change"], "user `sensor1` added");
    assert!(folder.admits("sensor1", added["token"].as_str().unwrap()));
    let rotated = json("token sensor1 --rotate --json");
    assert!(folder.admits("sensor1", rotated["token"].as_str().unwrap()));
    assert_eq!(json("user disable sensor1 --json")["users"][0], "sensor1");
    let list = json("user list --json");
    let sensor = &list["users"][1];
    assert_eq!(list["users"][0]["name"], "dev1");
    assert_eq!(list["users"][0]["passwords"], Value::Array(Vec::new()));
    assert_eq!((&sensor["name"], &sensor["disabled"]), (&"sensor1".into(), &true.into()));
    assert_eq!(sensor["passwords"], serde_json::json!(["token", "token"]));
    assert_eq!(sensor["roles"], serde_json::json!(["device"]), "by a match");
    assert_eq!(sensor["places"], serde_json::json!(["users.d/users.toml:1"]));
    assert_eq!(json("user show dev1 --json")["client_ids"], serde_json::json!(["dev1", "dev1-*"]));
    let token = json("token --json");
    assert!(is_token(token["token"].as_str().unwrap()) && token["password"].as_str().unwrap().starts_with("$token$"));
}

#[test]
fn people_read_lines() {
    let folder = apart();
    folder.does("user add sensor1 --token");
    let (out, _) = folder.does("user list");
    assert_eq!(
        out,
        "dev1: no password; role device; policy.toml:8\nsensor1: token; role device; users.d/users.toml:1\n"
    );
    let (out, _) = folder.does("user show sensor1");
    assert_eq!(
        out,
        "user:       sensor1\nstate:      enabled\npassword:   token\nrights:     role device\nclient ids: `sensor1`, \
         `sensor1-*`\ndefined in: users.d/users.toml:1\n"
    );
}

#[test]
fn owner_group_mode_and_attributes_stay() {
    let folder = apart();
    let secret = folder.write(
        "users.d/secret.toml",
        "[users.sensor1]\npassword = \"$token$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\n",
        0o640,
    );
    let root = rustix::process::geteuid().is_root();
    if root {
        // The group alone: files of another owner are not trusted.
        chown(&secret, None, Some(12_345)).unwrap();
    } else {
        skipped("only root can give a file to another group");
    }
    let attribute = rustix::fs::setxattr(&secret, "user.note", b"kept", rustix::fs::XattrFlags::empty()).is_ok();
    let before = fs::metadata(&secret).unwrap();
    folder.does("user add sensor2 --token");
    let after = fs::metadata(&secret).unwrap();
    assert_eq!((after.uid(), after.gid(), after.mode()), (before.uid(), before.gid(), before.mode()));
    assert_ne!(before.ino(), after.ino(), "replaced as a whole");
    if attribute {
        let mut value = [0; 16];
        assert_eq!(rustix::fs::getxattr(&secret, "user.note", &mut value), Ok(4));
    } else {
        skipped("the folder for temporary files has no extended attributes");
    }
}

#[test]
fn a_link_stays_and_what_it_points_to_changes() {
    let folder = apart();
    folder.subfolder("real");
    let policy = folder.path().join("policy.toml");
    fs::rename(&policy, folder.path().join("real/policy.toml")).unwrap();
    symlink("real/policy.toml", &policy).unwrap();
    folder.does("user add dev2 --no-password --role device");
    assert!(fs::symlink_metadata(&policy).unwrap().is_symlink());
    assert!(folder.read("real/policy.toml").contains("[users.dev2]"));
    assert_eq!(fs::read_dir(folder.path().join("real")).unwrap().count(), 1);
}

#[test]
fn nobody_edits_at_the_same_time() {
    let folder = apart();
    let children: Vec<Child> = (0..12)
        .map(|number| {
            let name = format!("sensor{number}");
            let mut command = folder.command(["user", "add", &name, "--token", "--policy", "policy.toml"]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let (out, _) = folder.does("user list");
    assert_eq!(out.lines().count(), 13, "{out}");
}

#[test]
fn what_is_killed_leaves_the_old_file_or_the_new() {
    let folder = apart();
    let mut secret = String::new();
    for number in 0..1000 {
        secret.push_str(&format!(
            "[users.sensor{number}]\npassword = \"$token$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\n"
        ));
    }
    folder.write("users.d/secret.toml", &secret, 0o640);
    let (mut killed, mut done) = (0, 0);
    for round in 0..40u64 {
        let before = folder.read("users.d/secret.toml");
        let name = format!("new{round}");
        let mut command = folder.command(["user", "add", &name, "--token", "--policy", "policy.toml"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Spread over what it takes, on whatever machine: a run that ends by itself makes the next ones be killed sooner.
        std::thread::sleep(Duration::from_millis(5 * (round % 20) / (1 + done / 10)));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            done += 1
        } else {
            killed += 1
        }
        let after = folder.read("users.d/secret.toml");
        let added = after.strip_prefix(before.as_str()).unwrap_or("something else");
        assert!(added.is_empty() || added.starts_with(&format!("[users.{name}]\npassword = \"$token$")), "{added}");
        assert!(added.is_empty() || (added.ends_with("\"\n") && added.lines().count() == 2), "{added}");
    }
    assert!(killed > 5, "{killed} of 40 were killed");
    // And nothing is left behind that keeps the next one from its work.
    folder.does("user add last --token");
    let left: Vec<_> = fs::read_dir(folder.path().join("users.d")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    let check = folder.run("check policy.toml");
    assert_eq!((check.status, check.err.as_str()), (Some(0), ""), "{check:?}");
}

#[test]
fn the_mode_of_new_files_does_not_depend_on_the_umask() {
    let folder = apart();
    let mut command = std::process::Command::new("sh");
    let program = crate::host::PROGRAM;
    let script = format!("umask 0; exec {program} user add sensor1 --token --out t --policy policy.toml");
    let status = command.current_dir(folder.path()).args(["-c", &script]).stderr(Stdio::null()).status().unwrap();
    assert!(status.success());
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("t"), mode("users.d/users.toml")), (0o600, 0o640));
}
