//! Moving a broker from acl_file and password_file over to the plugin, and back, by the steps of the README: nothing that a
//! client notices changes, but what the import tells.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::broker::{Broker, Install, PASSWORD, Setup, plugin, set_mode, target};
use crate::support::mqtt::{Connect, Publish, V5};
use crate::tests;

tests![a_broker_moves_over_and_back];

const ACL: &str = "\
# The house.
user alice
topic readwrite home/alice/#
topic read news/#
topic deny home/alice/secret

user bob
topic readwrite home/bob/#
topic read news/#
topic deny home/bob/secret

# The one who tells the news.
user press
topic write news/#
topic readwrite home/#

pattern readwrite dev/%u/#
";

const TOPICS: [&str; 9] = [
    "home/alice",
    "home/alice/lamp",
    "home/alice/secret",
    "home/bob/lamp",
    "news/today",
    "dev/alice/x",
    "dev/bob/x",
    "dev/press",
    "other",
];

fn a_broker_moves_over_and_back(install: &Install) {
    let conf =
        "listener {port} 127.0.0.1\npassword_file {folder}/passwd\nacl_file {folder}/acl\ninclude_dir {folder}/data\n";
    let passwords = "alice:{password}\nbob:{password}\npress:{password}\n";
    let library = plugin();
    let setup = Setup::conf(conf).file("acl", ACL).file("passwd", passwords).copy("libmqtt_acl.so", &library);
    let broker = Broker::running(install, &setup);
    let before = behaviour(&broker);
    assert!(before.iter().any(|line| line.ends_with("yes")) && before.iter().any(|line| line.ends_with("no")));

    // Import and check.
    let path = |name: &str| broker.folder.join(name).display().to_string();
    let (policy, acl, passwd) = (path("policy.toml"), path("acl"), path("passwd"));
    let files = ["import", "mosquitto", "--acl-file", &acl, "--password-file", &passwd];
    // The broker's user in a container is none of this machine's that the file could be given to.
    let imported = run(&[&files[..], &["--bind", "--output", &policy, "--broker-user", "root"]].concat());
    assert!(imported.contains("the same but for the differences above"), "{imported}");
    // What acl_file never refused, and would deliver nothing: of this, somebody has to be told.
    assert!(imported.contains("difference: subscriptions that are refused"), "{imported}");
    assert!(imported.contains("3 users, 2 roles"), "{imported}");
    assert!(run(&["check", &policy]).contains(": ok: 3 users, 2 roles"));
    set_mode(&broker.policy_file(), 0o644);

    // Switch over: one more file beside the configuration, which stays as it is.
    let snippet = broker.folder.join("data/mqtt-acl.conf");
    fs::write(&snippet, format!("plugin {}\nplugin_opt_policy_file {policy}\n", path("libmqtt_acl.so")))
        .expect("written");
    set_mode(&snippet, 0o644);
    broker.restart();
    assert!(broker.log_text().contains("mqtt-acl: policy in force"), "{}", broker.log_text());
    assert_eq!(behaviour(&broker), before, "over");
    // What is new: client ids are bound.
    broker.assert_refused(&Connect::new(V5, "alice").username("bob").password(PASSWORD));

    // And back.
    fs::remove_file(&snippet).expect("removed");
    broker.restart();
    assert_eq!(behaviour(&broker), before, "back");
    broker.client(V5, "bob", "alice").disconnect();
    broker.assert_serving();
    broker.stop();
}

/// What comes of all that each user tries.
fn behaviour(broker: &Broker) -> Vec<String> {
    let mut told = Vec::new();
    broker.assert_refused(&Connect::new(V5, "alice").username("alice").password("wrong"));
    broker.assert_refused(&Connect::new(V5, "nobody").username("nobody").password(PASSWORD));
    for user in ["alice", "bob", "press"] {
        let mut client = broker.client(V5, user, user);
        for topic in TOPICS {
            let code = client.publish(&Publish::new(topic, "x").qos(1)).expect("the client stays connected");
            told.push(format!("{user} publishes {topic}: {}", yes(code < 0x80)));
        }
        let codes = client.subscribe_all(&["#"], 1).expect("the client stays connected");
        told.push(format!("{user} subscribes to all: {}", yes(codes.iter().all(|code| *code < 0x80))));
    }
    for reader in ["alice", "bob"] {
        let mut client = broker.client(V5, reader, reader);
        client.subscribe_all(&["#"], 1).expect("the client stays connected");
        let mut press = broker.client(V5, "press", "press");
        for topic in ["news/today", "home/alice/lamp", "home/alice/secret", "home/bob/lamp", "home/bob/secret"] {
            press.publish(&Publish::new(topic, "x").qos(1)).expect("the client stays connected");
        }
        let topics = client.topics();
        for topic in ["news/today", "home/alice/lamp", "home/alice/secret", "home/bob/lamp", "home/bob/secret"] {
            let was_handed = topics.iter().any(|handed| handed == topic);
            told.push(format!("{reader} is handed {topic}: {}", yes(was_handed)));
        }
    }
    told
}

fn yes(it_is: bool) -> &'static str {
    if it_is { "yes" } else { "no" }
}

/// Runs the command line and returns all that it says; it must succeed.
fn run(arguments: &[&str]) -> String {
    let built = ["release/mqtt-acl", "debug/mqtt-acl"].map(|path| target().join(path));
    let modified = |path: &PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let program = built.iter().filter(|path| path.is_file()).max_by_key(|path| modified(path));
    let program = program.expect("mqtt-acl is built: cargo build --release --workspace");
    let output = Command::new(program).args(arguments).output().expect("mqtt-acl runs");
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}
