//! Installations with one thing wrong each. That the brokers behave as these findings say is shown in `tests/brokers`, at
//! the places that `doctor/rules.rs` names.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::host::{Folder, Ran, good, skipped};

/// What the broker asks a plugin for, and what tells this one from others.
const LIBRARY: &str = r#"
#include <string.h>
const char *mark = "/etc/mosquitto/mqtt-acl/policy.toml";
int mosquitto_plugin_version(int n, const int *v) { return n > 4 ? v[0] : -1; }
int mosquitto_plugin_init(void *a, void **b, void *c, int d) { return a && b && c ? d : (int)strlen(mark); }
int mosquitto_plugin_cleanup(void *a, void *b, int c) { return a && b ? c : 0; }
"#;

/// An installation in which nothing is wrong: `FOLDER` is where it is, `USER` whom the broker runs as.
const CONF: &str = "\
# The broker
user USER
log_dest file FOLDER/mosquitto.log
plugin FOLDER/mqtt_acl.so
plugin_opt_policy_file FOLDER/policy.toml
listener 8883
certfile FOLDER/cert.pem
listener 1883 127.0.0.1
include_dir FOLDER/conf.d
";

struct Installation {
    folder: Folder,
    version: &'static str,
}

impl Installation {
    fn new() -> Self {
        let folder = Folder::with(good());
        folder.subfolder("conf.d");
        library(&folder, "mqtt_acl.so", LIBRARY);
        Self { folder, version: "2.0.21" }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn doctor(&self, conf: &str, more: &str) -> Ran {
        let conf = conf.replace("FOLDER", &self.folder.path().display().to_string()).replace("USER", &user());
        self.folder.write("mosquitto.conf", conf, 0o644);
        let program = format!("#!/bin/sh\nprintf 'mosquitto version %s\\n\\nUsage: ...\\n' {}\nexit 3\n", self.version);
        let program = self.folder.write("mosquitto", program, 0o755);
        self.folder
            .run(&format!("doctor mosquitto.conf --logrotate logrotate.d --mosquitto {} {more}", program.display()))
    }

    /// This is found, once, and it alone is as bad as this.
    #[track_caller]
    fn finds(&self, conf: &str, severity: &str, code: &str, text: &str) {
        let ran = self.doctor(conf, "--json");
        let found: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        let findings = found["findings"].as_array().unwrap();
        let worst: Vec<_> = findings
            .iter()
            .filter(|finding| {
                finding["severity"] == "error" || (severity != "error" && finding["severity"] == severity)
            })
            .collect();
        let is_error = severity == "error";
        assert_eq!((ran.status, found["ok"].as_bool()), (Some(i32::from(is_error)), Some(!is_error)), "{}", ran.out);
        let found: Vec<_> = worst.iter().filter(|finding| finding["code"] == code).collect();
        assert!(!found.is_empty(), "{code}: {}", ran.out);
        assert!(found.iter().any(|finding| finding["text"].as_str().unwrap().contains(text)), "{code}: {}", ran.out);
        if severity != "note" {
            assert_eq!(found.len(), worst.len(), "{code}, and more: {}", ran.out);
        }
    }
}

/// A user whom the broker may run as, and who may read and nobody else change what is in a folder of a test.
fn user() -> String {
    if rustix::process::geteuid().is_root() {
        return "nobody".into();
    }
    String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap().trim().to_owned()
}

/// By the compiler that Rust links with.
fn library(folder: &Folder, name: &str, text: &str) {
    let source = folder.write("library.c", text, 0o644);
    let file = folder.path().join(name);
    let status = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&file).arg(&source).status();
    assert!(status.unwrap().success(), "cc");
    fs::remove_file(source).unwrap();
}

fn conf_with(line: &str) -> String {
    format!("{CONF}{line}\n")
}

#[test]
fn nothing_is_wrong_with_a_good_installation() {
    let installation = Installation::new();
    let ran = installation.doctor(CONF, "");
    assert_eq!((ran.status, ran.err.as_str()), (Some(0), ""), "{}", ran.out);
    assert!(ran.out.ends_with("\n0 errors, 0 warnings\n"), "{}", ran.out);
    let policy = installation.path("policy.toml");
    assert!(ran.out.contains(&format!("{policy}: note: the policy is good: 2 users, 1 role\n")), "{}", ran.out);
    assert!(ran.out.contains(": note: Mosquitto 2.0.21\n"), "{}", ran.out);
    let log = installation.path("mosquitto.log");
    let nothing = format!("mosquitto.conf:3: note: no file in `logrotate.d` names `{log}`, so nothing rotates it\n");
    assert!(ran.out.contains(&nothing), "{}", ran.out);
}

#[test]
fn what_logrotate_does() {
    let installation = Installation::new();
    let log = installation.path("mosquitto.log");
    installation.folder.subfolder("logrotate.d");
    let rotated = |how: &str| {
        installation.folder.write("logrotate.d/mosquitto", format!("{log} {{\n  daily\n  {how}\n}}\n"), 0o644);
    };
    rotated("postrotate\n    invoke-rc.d mosquitto reload\n  endscript");
    installation.finds(CONF, "note", "logrotate", "makes the broker read the policy again");
    rotated("compress");
    installation.finds(CONF, "warning", "logrotate", "goes on writing to the old file");
}

#[test]
fn each_finding_is_a_line_with_its_place() {
    let installation = Installation::new();
    let ran = installation.doctor(&conf_with("acl_file /etc/acl"), "");
    let conf = "mosquitto.conf";
    assert!(
        ran.out.starts_with(&format!("{conf}:10: warning: `acl_file` decides nothing beside the plugin")),
        "{}",
        ran.out
    );
    assert!(ran.out.ends_with("\n0 errors, 1 warning\n"), "{}", ran.out);
    installation.folder.write("conf.d/more.conf", "\nmax_queued_messages 0\n", 0o644);
    let ran = installation.doctor(CONF, "");
    let place = format!("{}:2: warning: with `max_queued_messages 0`", installation.path("conf.d/more.conf"));
    assert!(ran.out.contains(&place), "{}", ran.out);
}

#[test]
fn the_plugin_and_its_options() {
    let installation = Installation::new();
    let plugin = "plugin FOLDER/mqtt_acl.so\n";
    for (conf, severity, code, text) in [
        (
            CONF.replace(plugin, "").replace("plugin_opt_policy_file FOLDER/policy.toml\n", ""),
            "error",
            "no-plugin",
            "add `plugin /usr/lib/mqtt_acl.so`",
        ),
        (format!("plugin_opt_watch true\n{CONF}"), "error", "stray-option", "move it below"),
        (CONF.replace("FOLDER/mqtt_acl.so", "FOLDER/none/mqtt_acl.so"), "error", "library", "cannot be read"),
        (
            CONF.replace("FOLDER/mqtt_acl.so", "FOLDER/policy.toml\nplugin FOLDER/mqtt_acl.so"),
            "error",
            "other-plugin",
            "before",
        ),
        (conf_with("plugin FOLDER/other.so"), "warning", "other-plugin", "comes after"),
        (
            conf_with("plugin FOLDER/mqtt_acl.so\nplugin_opt_policy_file FOLDER/policy.toml"),
            "error",
            "plugin-twice",
            "keep one",
        ),
        (conf_with("plugin_opt_polcy_file x"), "error", "option", "`plugin_opt_polcy_file` is not an option"),
        (conf_with("plugin_opt_policy_file x"), "error", "option", "twice, first in line 5"),
        (CONF.replace("FOLDER/policy.toml", "FOLDER/none.toml"), "error", "policy", "nobody is admitted"),
        (CONF.replace("FOLDER/policy.toml", "FOLDER/cert.pem"), "error", "policy", "not TOML"),
    ] {
        installation.folder.write("cert.pem", "-----BEGIN", 0o644);
        installation.finds(&conf, severity, code, text);
    }
    for option in [
        "watch true",
        "watch false",
        "state_dir /x",
        "on_bad_policy refuse",
        "on_bad_policy last-good",
        "last_good_max_age 30",
        "metrics_file x",
        "audit_file x",
    ] {
        assert_eq!(installation.doctor(&conf_with(&format!("plugin_opt_{option}")), "").status, Some(0), "{option}");
    }
    for (option, wanted) in [
        ("watch yes", "`true` or `false`"),
        ("on_bad_policy x", "`last-good` or `refuse`"),
        ("last_good_max_age 0", "from 1 to 3650"),
        ("last_good_max_age x", "from 1 to 3650"),
        ("state_dir", "a value"),
    ] {
        installation.finds(&conf_with(&format!("plugin_opt_{option}")), "error", "option", wanted);
    }
}

/// What the plugin knows, doctor knows.
#[test]
fn every_option_of_the_plugin_is_known() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugin/options.rs");
    let source = fs::read_to_string(source).unwrap();
    let known = source.split_once("const KNOWN: ").unwrap().1.split_once('=').unwrap().1.split_once(';').unwrap().0;
    let known = known.trim().trim_start_matches('[').trim_end_matches(']');
    let keys: Vec<_> = known.split(',').map(|key| key.trim().trim_matches('"')).filter(|key| !key.is_empty()).collect();
    assert!(keys.len() >= 6 && keys.contains(&"policy_file"), "{keys:?}");
    let installation = Installation::new();
    for key in keys {
        let ran = installation.doctor(&conf_with(&format!("plugin_opt_{key} x")), "");
        assert!(!ran.out.contains("is not an option"), "{key}: {}", ran.out);
    }
}

#[test]
fn a_library_that_cannot_be_loaded() {
    let installation = Installation::new();
    let path = installation.folder.path().join("mqtt_acl.so");
    let good = fs::read(&path).unwrap();
    let with = |data: &[u8], text: &str| {
        fs::write(&path, data).unwrap();
        installation.finds(CONF, "error", "library", text);
    };
    with(b"", "it is not a shared library");
    with(b"GNU ld script", "it is not a shared library");
    with(&good[..200], "it is a damaged shared library");
    let mut other = good.clone();
    // e_machine, of a machine that nobody has.
    other[18] = if other[18] == 0x16 { 0x15 } else { 0x16 };
    with(&other, "it is made for");
    let needle = b"GLIBC_2.2.5";
    match good.windows(needle.len()).position(|part| part == needle) {
        Some(at) => {
            let mut newer = good.clone();
            newer[at..at + needle.len()].copy_from_slice(b"GLIBC_2.999");
            with(&newer, "it needs glibc 2.999, and this system has 2.");
        }
        None => skipped("this compiler's libraries need another version of glibc"),
    }
    library(&installation.folder, "mqtt_acl.so", "int mosquitto_plugin_version(void) { return 5; }");
    installation.finds(CONF, "error", "library", "it does not export `mosquitto_plugin_init`");
    library(&installation.folder, "mqtt_acl.so", LIBRARY);
    // By what is in it, whatever its name.
    fs::rename(&path, path.with_file_name("acl.so")).unwrap();
    assert_eq!(installation.doctor(&CONF.replace("mqtt_acl.so", "acl.so"), "").status, Some(0));
}

#[test]
fn who_may_read_and_who_may_write() {
    use std::os::unix::fs::PermissionsExt;
    let installation = Installation::new();
    let set = |name: &str, mode: u32| {
        let path = installation.folder.path().join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    set("mqtt_acl.so", 0o777);
    installation.finds(CONF, "error", "library", "can be written by others");
    set("mqtt_acl.so", 0o644);
    set("policy.toml", 0o666);
    installation.finds(CONF, "error", "policy", "can be written by others");
    if rustix::process::geteuid().is_root() {
        set("policy.toml", 0o600);
        installation.finds(CONF, "error", "policy", "the broker's user `nobody` cannot read the file");
        set("policy.toml", 0o644);
        set("mqtt_acl.so", 0o600);
        installation.finds(CONF, "error", "library", "the broker's user `nobody` cannot read the file");
        set("mqtt_acl.so", 0o644);
        installation.finds(&CONF.replace("USER", "root"), "error", "user", "runs as root");
    } else {
        skipped("only root can own what the broker's user cannot read");
    }
    installation.finds(&CONF.replace("USER", "no-such-user"), "error", "user", "no user `no-such-user`");
}

#[test]
fn what_undermines_the_policy() {
    let mut installation = Installation::new();
    let tls = |more: &str| CONF.replace("FOLDER/cert.pem\n", &format!("FOLDER/cert.pem\n{more}\n"));
    let clear = |listener: &str| CONF.replace("listener 1883 127.0.0.1", listener);
    let each = "per_listener_settings true\n";
    let beside = "plugin FOLDER/mqtt_acl.so\nplugin_opt_policy_file FOLDER/policy.toml\n";
    let apart = format!("{each}user USER\nlistener 1 ::1\n{beside}listener 2 ::1\n{beside}",);
    for (conf, severity, code, text) in [
        (conf_with("acl_file /etc/acl"), "warning", "leftover", "`acl_file` decides nothing"),
        (conf_with("password_file /etc/passwd"), "warning", "leftover", "`password_file` decides nothing"),
        (conf_with("allow_anonymous true"), "warning", "anonymous", "lets everybody in as soon as"),
        (tls("use_identity_as_username true"), "error", "identity", "add `use_username_as_clientid true`"),
        (tls("use_subject_as_username true"), "error", "identity", "use_subject_as_username"),
        (apart.clone(), "error", "per-listener", "take it out"),
        (clear("listener 1883"), "error", "clear-text", "all addresses of this machine, port 1883"),
        (clear("listener 1883 0.0.0.0"), "error", "clear-text", "public address 0.0.0.0"),
        (clear("listener 1883 ::"), "error", "clear-text", "public address ::"),
        (clear("listener 1883 203.0.113.7"), "error", "clear-text", "public address 203.0.113.7"),
        (clear("listener 1883\nbind_address 203.0.113.7"), "error", "clear-text", "all addresses"),
        (clear("listener 1883 192.168.1.2"), "warning", "clear-text", "192.168.1.2"),
        (clear("listener 1883 fd00::1"), "warning", "clear-text", "fd00::1"),
        (clear("listener 1883 broker.lan"), "warning", "clear-text", "broker.lan"),
        (conf_with("max_queued_messages 0"), "warning", "max-queued", "disconnects a client"),
        (conf_with("check_retain_source false"), "warning", "retain-source", "take the line out"),
        (conf_with("log_dest topic"), "warning", "log-topic", "$SYS/broker/log"),
        (conf_with("log_dest none"), "warning", "log-none", "hides why"),
        (conf_with("auto_id_prefix x-"), "warning", "auto-id", "are refused"),
        (conf_with("connection other\naddress 192.0.2.1"), "note", "bridge", "never asked"),
        (conf_with("include_dir FOLDER/none"), "error", "include-dir", "does not start"),
    ] {
        installation.finds(&conf, severity, code, text);
    }
    for conf in [
        tls("use_identity_as_username true\nuse_username_as_clientid true"),
        clear("listener 1883 127.0.0.2"),
        clear("listener 1883 ::1"),
        clear("listener 1883 localhost"),
        clear("listener 0 /run/mosquitto.sock"),
        conf_with("# acl_file x"),
        conf_with("max_queued_messages 10"),
    ] {
        let ran = installation.doctor(&conf, "");
        assert!(ran.status == Some(0) && ran.out.ends_with("0 errors, 0 warnings\n"), "{conf}: {}", ran.out);
    }
    // What is another matter on 2.1.
    installation.version = "2.1.2";
    installation.finds(&apart, "warning", "per-listener", "take it out");
    let unguarded = format!("{each}user USER\nlistener 1 ::1\n{beside}listener 2 ::1\n");
    installation.finds(&unguarded, "error", "unguarded", "the listener `2` has no plugin of its own");
    let above = format!("{each}user USER\n{beside}listener 1 ::1\n");
    installation.finds(&above, "error", "unguarded", "the listener `1` has no plugin of its own");
    installation.finds(&above.replace("plugin F", "global_plugin F"), "warning", "per-listener", "take it out");
    installation.finds(&conf_with("global_max_clients 9"), "warning", "max-clients", "`delayed = false`");
    assert!(!installation.doctor(&conf_with("max_queued_messages 0"), "").out.contains("max_queued"));
    installation.version = "2.0.11";
    installation.finds(
        &tls("use_identity_as_username true\nuse_username_as_clientid true"),
        "error",
        "identity-sighup",
        "send it no SIGHUP",
    );
    installation.version = "1.6.9";
    installation.finds(CONF, "error", "broker", "Mosquitto 1.6.9 is too old");
}

#[test]
fn anonymous_clients_need_both() {
    let installation = Installation::new();
    let policy = format!("{}\n[anonymous]\nsubscribe = [\"news/#\"]\n", good());
    installation.folder.write("policy.toml", policy, 0o644);
    installation.finds(CONF, "warning", "anonymous", "out of force without `allow_anonymous true`");
    installation.finds(&conf_with("allow_anonymous true"), "note", "anonymous", "what the policy's `[anonymous]` says");
}

#[test]
fn what_cannot_be_read_says_so() {
    let folder = Folder::new();
    let ran = folder.run("doctor none.conf");
    ran.is(1, "", "mqtt-acl: none.conf: cannot be read: No such file or directory (os error 2) (name the broker's configuration)\n");
    let ran = folder.run("doctor none.conf --mosquitto none");
    assert_eq!(ran.status, Some(1));
    folder.write("m.conf", "user x\n", 0o644);
    let ran = folder.run("doctor m.conf --mosquitto none");
    assert!(ran.status == Some(2) && ran.err.contains("`none` is not there"), "{ran:?}");
    // A program that says something else.
    let ran = folder.run("doctor m.conf --mosquitto /bin/true");
    assert!(ran.out.contains("`/bin/true` does not tell its version"), "{ran:?}");
    let evil = folder.write("evil.conf", "plugin /x\u{1b}[2J.so\nuser \u{202e}x\nplugin_opt_\u{7} y\n", 0o644);
    folder.run_with([Path::new("doctor"), &evil]).is_tame();
}
