//! A policy as it would be with some of its files replaced, and what it says of its users: what tools that edit it ask for.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use mqtt_acl_policy::{Account, Failure, Replacement, Trust, included, includes, load, load_with, parse};
use tempfile::TempDir;

const TOKEN: &str = "$token$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::create_dir(folder.path("users.d")).unwrap();
        fs::set_permissions(folder.path("users.d"), Permissions::from_mode(0o755)).unwrap();
        folder.write("policy.toml", "version = 1\ninclude = [\"users.d/*.toml\"]\n[users.main]\n", 0o640);
        folder.write("users.d/a.toml", "[users.a]\n", 0o640);
        folder
    }

    /// Resolved, as replacements are named.
    fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.0.path()).unwrap().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    /// The users, were these files replaced by those.
    fn users(&self, replacing: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let replacing: Vec<_> =
            replacing.iter().map(|(file, by)| Replacement { file: self.path(file), by: self.path(by) }).collect();
        match load_with(&self.path("policy.toml"), &Trust::process(), &replacing) {
            Ok(loaded) => Ok(loaded.policy.accounts().iter().map(|account| account.name.to_owned()).collect()),
            Err(Failure::Invalid(problems)) => Err(problems[0].to_string()),
            Err(other) => Err(other.to_string()),
        }
    }
}

#[test]
fn files_are_read_as_if_they_were_renamed() {
    let folder = Folder::new();
    assert_eq!(folder.users(&[]).unwrap(), ["a", "main"]);
    folder.write("users.d/.new", "[users.b]\n", 0o640);
    assert_eq!(folder.users(&[("users.d/a.toml", "users.d/.new")]).unwrap(), ["b", "main"]);
    // One that is not there yet, which a `*` means, and one that none means.
    assert_eq!(folder.users(&[("users.d/b.toml", "users.d/.new")]).unwrap(), ["a", "b", "main"]);
    assert_eq!(folder.users(&[("users.d/b.txt", "users.d/.new")]).unwrap(), ["a", "main"]);
    assert_eq!(folder.users(&[("b.toml", "users.d/.new")]).unwrap(), ["a", "main"]);
    folder.write("new", "version = 1\n[users.c]\n", 0o640);
    assert_eq!(folder.users(&[("policy.toml", "new")]).unwrap(), ["c"]);
    assert_eq!(folder.users(&[("policy.toml", "gone")]).unwrap_err().lines().count(), 1);
    // And nothing was renamed.
    assert_eq!(folder.users(&[]).unwrap(), ["a", "main"]);
}

#[test]
fn a_link_is_followed_to_what_is_replaced() {
    let folder = Folder::new();
    fs::rename(folder.path("users.d/a.toml"), folder.path("real.toml")).unwrap();
    symlink("../real.toml", folder.path("users.d/a.toml")).unwrap();
    folder.write("new", "[users.b]\n", 0o640);
    assert_eq!(folder.users(&[("real.toml", "new")]).unwrap(), ["b", "main"]);
}

#[test]
fn problems_name_the_file_as_it_will_be_and_its_mode_counts() {
    let folder = Folder::new();
    folder.write("users.d/.new", "[users.b]\nroles = [\"none\"]\n", 0o640);
    let problem = folder.users(&[("users.d/a.toml", "users.d/.new")]).unwrap_err();
    assert!(problem.contains("users.d/a.toml:2:10: role `none` is not defined"), "{problem}");
    folder.write("users.d/.new", "[users.b]\n", 0o666);
    let problem = folder.users(&[("users.d/a.toml", "users.d/.new")]).unwrap_err();
    assert!(problem.contains("users.d/a.toml: the file can be written by others, mode 0666"), "{problem}");
}

#[test]
fn what_an_include_means() {
    let folder = Folder::new();
    let main = folder.path("policy.toml");
    assert_eq!(included(&main, "users.d/*.toml").unwrap(), [folder.path("users.d/a.toml")]);
    assert_eq!(included(&main, "none.toml").unwrap(), [folder.path("none.toml")]);
    assert!(included(&main, "none/*.toml").unwrap_err().contains("cannot be read"));
    for (include, file, is) in [
        ("users.d/*.toml", "users.d/new.toml", true),
        ("users.d/*.toml", "users.d/.new.toml", false),
        ("users.d/*.toml", "users.d/new.toml~", false),
        ("users.d/*.toml", "new.toml", false),
        ("users.d/x.toml", "users.d/x.toml", true),
        ("users.d/x.toml", "users.d/y.toml", false),
        ("none/*.toml", "none/x.toml", false),
    ] {
        assert_eq!(includes(&main, include, &folder.path(file)), is, "{include} {file}");
    }
}

#[test]
fn what_is_said_of_a_user() {
    let text = format!(
        "version = 1\n[roles.r]\nclient_id = [\"gw-%u\", \"x*\"]\n[roles.s]\n[[match]]\nusername = \"a*\"\nroles = [\"s\"]\n\
         [users.ab]\nroles = [\"r\"]\npassword = [\"{TOKEN}\", \"{TOKEN}\"]\n[users.b]\ndisabled = true\npublish = [\"b\"]\n\
         [users.c]\nclient_id = [\"*\"]\n[users.\"a/b\"]\n"
    );
    let policy = parse(&text, "p").unwrap().policy;
    let ab = policy.account("ab").unwrap();
    assert_eq!(
        ab,
        Account { name: "ab", roles: vec!["r", "s"], own_rules: false, passwords: vec!["token"; 2], disabled: false }
    );
    let b = policy.account("b").unwrap();
    assert!(b.disabled && b.own_rules && b.roles.is_empty() && b.passwords.is_empty());
    assert_eq!(policy.account("nobody"), None);
    let names: Vec<_> = policy.accounts().iter().map(|account| account.name).collect();
    assert_eq!(names, ["a/b", "ab", "b", "c"]);
    for (name, ids) in
        [("ab", &["gw-ab", "x*"][..]), ("b", &["b", "b-*"]), ("c", &["*"]), ("a/b", &[]), ("nobody", &[])]
    {
        assert_eq!(policy.client_ids(name), ids, "{name}");
    }
}

#[test]
fn what_a_brokers_user_may_not_read_or_others_may_write() {
    let folder = Folder::new();
    let trust = Trust::process();
    assert_eq!(trust.objections(&folder.path("policy.toml")), [""; 0]);
    folder.write("open", "", 0o666);
    let objections = trust.objections(&folder.path("open"));
    assert!(objections.len() == 1 && objections[0].contains("can be written by others"), "{objections:?}");
    assert!(trust.objections(Path::new("/nonexistent/x"))[0].contains("cannot be read"));
    assert!(Trust::broker("no-such-user").is_none());
    let root = Trust::broker("root").unwrap();
    assert_eq!(load(&folder.path("policy.toml"), &root).is_ok(), rustix::process::geteuid().is_root());
}
