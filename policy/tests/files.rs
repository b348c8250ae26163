//! Files: which belong to a policy, which are trusted, and what comes of those that cannot be read.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use mqtt_acl_policy::{Action, Client, Failure, Loaded, Trust, load};

const PASSWORD: &str = "password = \"$7$101$tAMVmwxgm5146Vyh$MAqHFdo17pvJRpSdRmvNCSX74KTg465wyqHuObNg9hOaz6FPO1rwu14wO9Z/pH2J3RSF0yRJJ9uAjkoceKFmNg==\"";

/// A folder of its own, which goes when the test does.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("mqtt-acl-policy-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = fs::canonicalize(std::env::temp_dir()).unwrap().join(name);
        fs::create_dir(&path).unwrap();
        let folder = Self(path);
        folder.chmod("", 0o755);
        folder
    }

    /// A folder with these files in it, of mode 0640.
    fn of(files: &[(&str, &str)]) -> Self {
        let folder = Self::new();
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        let parent = path.parent().unwrap();
        if !parent.exists() {
            fs::create_dir_all(parent).unwrap();
            fs::set_permissions(parent, Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(&path, text).unwrap();
        self.chmod(name, 0o640);
    }

    fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    fn load(&self, name: &str) -> Result<Loaded, Failure> {
        let (sender, receiver) = mpsc::channel();
        let path = self.path(name);
        thread::spawn(move || {
            let _ = sender.send(load(&path, &Trust::process()));
        });
        receiver.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("{name}: loading never ends"))
    }

    /// The problems or warnings, without this folder's name.
    fn lines(&self, name: &str) -> Vec<String> {
        let problems = match self.load(name) {
            Ok(loaded) => loaded.warnings,
            Err(Failure::Invalid(problems)) => problems,
            Err(other) => return vec![other.to_string().replace(&format!("{}/", self.0.display()), "")],
        };
        problems.iter().map(|problem| self.shown(&problem.to_string())).collect()
    }

    fn shown(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.display()), "").replace(&*self.0.to_string_lossy(), "FOLDER")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn s17_missing_and_empty_are_not_invalid() {
    let folder = Folder::new();
    assert!(matches!(folder.load("none.toml"), Err(Failure::Missing(_))));
    assert!(matches!(folder.load("no/such/folder.toml"), Err(Failure::Missing(_))));
    symlink(folder.path("gone"), folder.path("dangling.toml")).unwrap();
    assert!(matches!(folder.load("dangling.toml"), Err(Failure::Missing(_))));
    for text in ["", "\n \t\r\n", "# nothing\n", "\u{feff}", "\u{feff}# nothing"] {
        folder.write("p.toml", text);
        assert!(matches!(folder.load("p.toml"), Err(Failure::Empty(_))), "{text:?}");
    }
    for text in ["version = 1", "\u{feff}version = 1\r\n", "version = 1\ninclude = []\n"] {
        folder.write("p.toml", text);
        let loaded = folder.load("p.toml").unwrap();
        let client = Client { user: Some(b"u"), id: b"u" };
        assert!(!loaded.policy.authorize(&client, Action::Connect).is_allow(), "{text:?}");
        assert!(loaded.warnings.is_empty(), "{text:?}");
    }
    // An included file may be empty; that it is missing is an error.
    folder.write("p.toml", "version = 1\ninclude = [\"a.toml\"]");
    assert_eq!(
        folder.lines("p.toml"),
        ["p.toml:2:12: `a.toml` cannot be included: No such file or directory (os error 2)"]
    );
    folder.write("a.toml", "");
    assert_eq!(folder.lines("p.toml"), [""; 0]);
}

#[test]
fn includes() {
    const USER: &str = "[users.u]\n";
    type Files = &'static [(&'static str, &'static str)];
    let rows: &[(&str, Files, &[&str])] = &[
        ("a file", &[("p.toml", "version = 1\ninclude = [\"d/a.toml\"]"), ("d/a.toml", USER)], &[]),
        (
            "relative to the file that says it",
            &[
                ("p.toml", "version = 1\ninclude = [\"d/a.toml\"]"),
                ("d/a.toml", "include = [\"b.toml\"]"),
                ("d/b.toml", USER),
            ],
            &[],
        ),
        ("a glob that finds nothing", &[("p.toml", "version = 1\ninclude = [\"d/*.toml\"]"), ("d/a.txt", "x")], &[]),
        (
            "a glob's files in the order of their bytes",
            &[
                ("p.toml", "version = 1\ninclude = [\"d/*.toml\"]"),
                ("d/9.toml", "[roles.r]"),
                ("d/10.toml", "[roles.r]"),
                ("d/B.toml", "[roles.r]"),
                ("d/a.toml", "[roles.r]"),
            ],
            &[
                "d/9.toml:1:8: role `r` is defined twice, first at d/10.toml:1:8 (keep one)",
                "d/B.toml:1:8: role `r` is defined twice, first at d/10.toml:1:8 (keep one)",
                "d/a.toml:1:8: role `r` is defined twice, first at d/10.toml:1:8 (keep one)",
            ],
        ),
        (
            "dot files and backups are skipped",
            &[
                ("p.toml", "version = 1\ninclude = [\"d/*\"]"),
                ("d/a.toml", USER),
                ("d/.a.toml", "broken ["),
                ("d/a.toml~", "broken ["),
            ],
            &[],
        ),
        (
            "a dot file may be named",
            &[("p.toml", "version = 1\ninclude = [\".a\"]"), (".a", "x = 1")],
            &[
                ".a:1:1: `x` is not a key of the policy (known are `version`, `include`, `roles`, `users`, `anonymous`, `match`, `logins`, `guard`, `test`)",
            ],
        ),
        (
            "a file twice",
            &[("p.toml", "version = 1\ninclude = [\"a.toml\", \"*a.toml\"]"), ("a.toml", USER)],
            &["a.toml: the file is included twice"],
        ),
        (
            "itself",
            &[("p.toml", "version = 1\ninclude = [\"p.toml\"]")],
            &["p.toml: the file includes itself, perhaps through another"],
        ),
        (
            "itself through another",
            &[("p.toml", "version = 1\ninclude = [\"a.toml\"]"), ("a.toml", "include = [\"*.toml\"]")],
            &[
                "a.toml: the file includes itself, perhaps through another",
                "p.toml: the file includes itself, perhaps through another",
            ],
        ),
        (
            "what cannot be included",
            &[
                (
                    "p.toml",
                    "version = 1\ninclude = [\"\", \"none/*.toml\", \"*/a.toml\", \"d\", \"a\\u0000b\", \"..\"]",
                ),
                ("d/a.toml", USER),
            ],
            &[
                "p.toml:2:12: an included file needs a name",
                "p.toml:2:16: `none/*.toml` cannot be included: its folder `none` cannot be read: No such file or directory (os error 2) (make the folder, or correct the path)",
                "p.toml:2:31: `*/a.toml` cannot be included: `*` stands only in the last part of a path",
                "p.toml:2:43: `d` cannot be included: it is not a file",
                "p.toml:2:48: an included file needs a name",
                "p.toml:2:60: `..` cannot be included: it is not a file",
            ],
        ),
        (
            "a broken file beside others",
            &[
                ("p.toml", "version = 1\nextra = 1\ninclude = [\"a.toml\", \"b.toml\"]\n[users.u]\nroles = [\"in-a\"]"),
                ("a.toml", "[roles.in-a]\npublish = [\n"),
                ("b.toml", "version = 2\n"),
            ],
            &[
                "a.toml:2:12: not TOML: unclosed array, expected `]`",
                "b.toml:1:11: version `2` is not known (write `version = 1`)",
                "p.toml:2:1: `extra` is not a key of the policy (known are `version`, `include`, `roles`, `users`, `anonymous`, `match`, `logins`, `guard`, `test`)",
            ],
        ),
        (
            "[anonymous] twice",
            &[("p.toml", "version = 1\ninclude = [\"a.toml\"]\n[anonymous]"), ("a.toml", "[anonymous]")],
            &["a.toml:1:2: `[anonymous]` is defined twice (keep one)"],
        ),
        (
            "S2 a user twice",
            &[
                ("p.toml", "version = 1\ninclude = [\"a.toml\"]\n[users.u]\npublish = [\"a\"]"),
                ("a.toml", "[users.u]\nroles = []"),
            ],
            &[
                "a.toml:1:8: user `u` is defined twice, first at p.toml:3:8 (keep one; a second table in another file may hold only `password` and `disabled`)",
            ],
        ),
        (
            "S2 completed twice",
            &[
                ("p.toml", "version = 1\ninclude = [\"a.toml\", \"b.toml\"]\n[users.u]\npublish = [\"a\"]"),
                ("a.toml", "[users.u]\ndisabled = false"),
                ("b.toml", "[users.u]\ndisabled = false"),
            ],
            &[
                "b.toml:1:8: user `u` is defined twice, first at p.toml:3:8 (keep one; a second table in another file may hold only `password` and `disabled`)",
            ],
        ),
    ];
    for (name, files, expected) in rows {
        let folder = Folder::of(files);
        let mut lines = folder.lines("p.toml");
        // What a message quotes is cut, and the name of the temporary folder is long.
        for line in &mut lines {
            if let Some((start, rest)) = line.split_once("`/") {
                let cut = rest.split_once('`').map_or(rest, |(_, after)| after);
                *line = format!(
                    "{start}`{}`{cut}",
                    if name.contains("cannot") { if line.contains(":43:") { "d" } else { ".." } } else { "a.toml" }
                );
            }
        }
        assert_eq!(lines, *expected, "{name}");
    }
}

#[test]
fn s2_a_user_is_completed_once_in_another_file() {
    let main = "version = 1\ninclude = [\"secrets.toml\"]\n[users.u]\npublish = [\"a\"]\n";
    let disabled = format!("{main}disabled = true\n");
    let with_password = format!("{main}{PASSWORD}\n");
    for (name, main, secrets, may) in [
        ("a password", main, format!("[users.u]\n{PASSWORD}"), Ok(true)),
        ("a tombstone", main, "[users.u]\ndisabled = true".to_owned(), Ok(false)),
        ("nothing lifts a tombstone", &disabled, format!("[users.u]\n{PASSWORD}\ndisabled = false"), Ok(false)),
        ("nothing", main, "[users.u]".to_owned(), Ok(true)),
        ("two passwords", &with_password, format!("[users.u]\n{PASSWORD}"), Err("is given a password twice")),
        ("rules", main, format!("[users.u]\n{PASSWORD}\nsubscribe = []"), Err("is defined twice")),
    ] {
        let folder = Folder::of(&[("p.toml", main), ("secrets.toml", &secrets)]);
        match (folder.load("p.toml"), may) {
            (Ok(loaded), Ok(may)) => {
                let client = Client { user: Some(b"u"), id: b"u" };
                assert_eq!(loaded.policy.authorize(&client, Action::Publish(b"a")).is_allow(), may, "{name}");
                let logs_in = loaded.policy.login(&client, Some(b"secret"), Action::Connect).is_allow();
                assert_eq!(logs_in, may && secrets.contains("password"), "{name}");
            }
            (Err(Failure::Invalid(problems)), Err(part)) => {
                assert!(problems.iter().any(|problem| problem.text.contains(part)), "{name}: {problems:?}");
            }
            (result, _) => panic!("{name}: {result:?}"),
        }
    }
}

#[test]
fn s18_files_and_folders_that_others_may_write_are_refused() {
    for (name, mode, expected) in [
        ("p.toml", 0o640, None),
        ("p.toml", 0o600, None),
        ("p.toml", 0o644, None),
        ("p.toml", 0o660, Some("p.toml: the file can be written by others, mode 0660 (`chmod go-w`)")),
        ("p.toml", 0o646, Some("p.toml: the file can be written by others, mode 0646 (`chmod go-w`)")),
        ("d/a.toml", 0o620, Some("d/a.toml: the file can be written by others, mode 0620 (`chmod go-w`)")),
        ("d", 0o755, None),
        ("d", 0o775, Some("d/a.toml: its folder `d` can be written by others, mode 0775 (`chmod go-w`)")),
        ("d", 0o757, Some("d/a.toml: its folder `d` can be written by others, mode 0757 (`chmod go-w`)")),
        ("", 0o770, Some("p.toml: its folder `FOLDER` can be written by others, mode 0770 (`chmod go-w`)")),
    ] {
        let folder = Folder::of(&[("p.toml", "version = 1\ninclude = [\"d/*.toml\"]"), ("d/a.toml", "[users.u]")]);
        folder.chmod(name, mode);
        assert_eq!(folder.lines("p.toml"), expected.into_iter().collect::<Vec<_>>(), "{name} {mode:o}");
    }
}

#[test]
fn s18_a_sticky_folder_is_safe_when_it_is_roots() {
    let folder = Folder::of(&[("p.toml", "version = 1")]);
    folder.chmod("", 0o1777);
    // In one's own sticky folder, nobody but oneself is kept from replacing the files; root's is like /tmp.
    assert_eq!(folder.load("p.toml").is_ok(), is_root());
    if is_root() {
        chown(&folder.0, Some(4321), None).unwrap();
        assert_eq!(folder.lines("p.toml").len(), 1);
    }
}

#[test]
fn s18_a_foreign_owner_is_refused() {
    if !is_root() {
        return;
    }
    let objection = "is owned by user 4321, who could change it (`chown root`, or to the broker's user)";
    for (name, expected) in [
        ("p.toml", format!("p.toml: the file {objection}")),
        ("d/a.toml", format!("d/a.toml: the file {objection}")),
        ("d", format!("d/a.toml: its folder `d` {objection}")),
        ("", format!("p.toml: its folder `FOLDER` {objection}")),
    ] {
        let folder = Folder::of(&[("p.toml", "version = 1\ninclude = [\"d/a.toml\"]"), ("d/a.toml", "[users.u]")]);
        chown(folder.path(name), Some(4321), None).unwrap();
        assert_eq!(folder.lines("p.toml"), [expected], "{name}");
    }
    // A user that is named is trusted too; one that does not exist adds nobody.
    let folder = Folder::of(&[("p.toml", "version = 1")]);
    let nobody = fs::read_to_string("/etc/passwd").unwrap().lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some("nobody")).then(|| fields.nth(1).unwrap().parse::<u32>().unwrap())
    });
    chown(folder.path("p.toml"), nobody, None).unwrap();
    assert!(load(&folder.path("p.toml"), &Trust::process().and_user("no such user")).is_err());
    assert_eq!(load(&folder.path("p.toml"), &Trust::process().and_user("nobody")).is_ok(), nobody.is_some());
}

#[test]
fn s18_a_symbolic_link_is_judged_by_where_it_leads() {
    let folder = Folder::of(&[("safe/p.toml", "version = 1"), ("open/p.toml", "version = 1"), ("links/x", "")]);
    folder.chmod("open", 0o777);
    symlink(folder.path("safe/p.toml"), folder.path("links/safe.toml")).unwrap();
    symlink(folder.path("open/p.toml"), folder.path("links/open.toml")).unwrap();
    symlink(folder.path("open"), folder.path("links/open")).unwrap();
    symlink(folder.path("links/loop.toml"), folder.path("links/loop.toml")).unwrap();
    assert_eq!(folder.lines("links/safe.toml"), [""; 0]);
    let objection =
        |name: &str| format!("{name}: its folder `open` can be written by others, mode 0777 (`chmod go-w`)");
    assert_eq!(folder.lines("links/open.toml"), [objection("links/open.toml")]);
    assert_eq!(folder.lines("links/open/p.toml"), [objection("links/open/p.toml")]);
    assert_eq!(folder.lines("links/loop.toml").len(), 1);
    // By a link, too, a file is included twice.
    folder.write("links/p.toml", "version = 1\ninclude = [\"safe.toml\", \"../safe/p.toml\"]");
    assert_eq!(folder.lines("links/p.toml"), ["links/../safe/p.toml: the file is included twice"]);
}

#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    let folder = Folder::of(&[("d/x", "")]);
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, folder.path("pipe"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path("socket")).unwrap();
    symlink("/dev/zero", folder.path("device")).unwrap();
    for (name, part) in [
        ("d", "cannot be read: it is not a file"),
        ("pipe", "cannot be read: it is not a file"),
        ("device", "cannot be read: it is not a file"),
        ("socket", "cannot be read: "),
    ] {
        let lines = folder.lines(name);
        assert!(lines.len() == 1 && lines.concat().contains(part), "{name}: {lines:?}");
        folder.write("p.toml", format!("version = 1\ninclude = [\"{name}\"]"));
        let lines = folder.lines("p.toml");
        assert!(lines.len() == 1 && lines.concat().contains("cannot be included: "), "{name}: {lines:?}");
    }
}

#[test]
fn s18_secrets_that_everybody_may_read_are_warned_of() {
    let warning = "a.toml: warning: holds passwords that everybody on this machine may read (`chmod o-r`)";
    for (text, mode, expected) in [(PASSWORD, 0o644, Some(warning)), (PASSWORD, 0o640, None), ("", 0o644, None)] {
        let folder =
            Folder::of(&[("p.toml", "version = 1\ninclude = [\"a.toml\"]"), ("a.toml", &format!("[users.u]\n{text}"))]);
        folder.chmod("a.toml", mode);
        let lines: Vec<_> =
            folder.lines("p.toml").into_iter().filter(|line| !line.contains("quickly guessed")).collect();
        assert_eq!(lines, expected.into_iter().collect::<Vec<_>>(), "{mode:o}");
    }
}

#[test]
fn bytes_that_are_not_text() {
    let folder = Folder::of(&[("p.toml", "version = 1\ninclude = [\"a.toml\"]\n[users.u]\nroles = [\"in-a\"]\n")]);
    folder.write("a.toml", b"# fine\n[roles.in-a]\n# caf\xe9\n");
    assert_eq!(folder.lines("p.toml"), ["a.toml:3:1: not UTF-8, as TOML must be"]);
    folder.write("p.toml", b"\xff\xfev\0e\0r\0");
    assert_eq!(folder.lines("p.toml"), ["p.toml:1:1: not UTF-8, as TOML must be"]);
    folder.write("p.toml", b"version = 1\0");
    assert_eq!(folder.lines("p.toml").len(), 1);
    // Names that a glob finds are the file system's, and may be anything.
    folder.write("p.toml", "version = 1\ninclude = [\"d/*\"]");
    folder.write("d/a\nb\u{1b}[31m.toml", "x = 1");
    let lines = folder.lines("p.toml");
    assert!(lines.len() == 1 && !lines.concat().contains(char::is_control), "{lines:?}");
}

#[test]
fn s18_a_load_counts_only_if_the_files_hold_still() {
    let folder = Folder::new();
    let text = (0..2_000).fold("version = 1\n".to_owned(), |text, n| format!("{text}[users.u{n}]\n"));
    folder.write("p.toml", &text);
    let stop = AtomicBool::new(false);
    let path = folder.path("p.toml");
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0_u32.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
                writeln!(file, "# {n}").unwrap();
                thread::sleep(Duration::from_millis(1));
            }
        });
        // On a busy machine nothing may be written during one of them.
        let result = (0..20).map(|_| load(&path, &Trust::process())).find(Result::is_err);
        stop.store(true, Ordering::Relaxed);
        match result {
            Some(Err(Failure::Invalid(problems))) => {
                assert!(
                    problems.iter().all(|problem| problem.text == "the file changed while it was read"),
                    "{problems:?}"
                );
            }
            other => panic!("{:?}", other.map(|result| result.map(|loaded| loaded.policy.size()))),
        }
    });
    assert_eq!(folder.load("p.toml").unwrap().policy.size().users, 2_000);
    // Who writes a file in place empties it first: one that says nothing is looked at again.
    let mut results = (0..10).map(|_| {
        folder.write("p.toml", "");
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(5));
                fs::write(&path, &text).unwrap();
            });
            folder.load("p.toml")
        })
    });
    assert!(results.any(|result| result.is_ok()));
}

/// Not slower by more than the size, whatever the names are.
#[test]
fn loading_takes_time_in_proportion() {
    type Name = fn(u32) -> String;
    let kinds: [(&str, Name, &str); 5] = [
        ("plain", |n| format!("dev{n:06}"), ""),
        ("hyphens", |n| format!("site-{}-dev-{n:06}", n % 50), ""),
        ("one prefix", |n| format!("d{}{n:06}", "-".repeat(20)), ""),
        ("slashes", |n| format!("d/{n:06}"), "client_id = [\"d*\"]\n"),
        ("patterns", |n| format!("dev{n:06}"), "client_id = [\"gw-%u-*\", \"%u\"]\n"),
    ];
    for (kind, name, ids) in kinds {
        let count = 40_000;
        let mut text = format!("version = 1\n[roles.r]\n{ids}publish = [\"dt/%u/#\"]\n");
        for n in 0..count {
            let _ = write!(text, "[users.\"{}\"]\nroles = [\"r\"]\n", name(n));
        }
        let start = Instant::now();
        let loaded = mqtt_acl_policy::parse(&text, "p.toml").unwrap_or_else(|failure| panic!("{kind}: {failure}"));
        // A second or two where the time goes with the number of users, over a minute where with its square.
        assert!(start.elapsed() < Duration::from_secs(20), "{kind}: {:?}", start.elapsed());
        assert_eq!(loaded.policy.size().users, usize::try_from(count).unwrap(), "{kind}");
    }
}

#[test]
fn a_hundred_thousand_users_load() {
    let mut text = "version = 1\n[roles.device]\npublish = [\"dt/+/%u/#\"]\n[[match]]\nusername = \"dev*\"\nroles = [\"device\"]\n".to_owned();
    for n in 0..100_000 {
        let _ = writeln!(text, "[users.dev{n:06}]");
    }
    let folder = Folder::of(&[("p.toml", &text)]);
    let start = Instant::now();
    let policy = folder.load("p.toml").unwrap().policy;
    // 0.3 s in release on a quiet machine; this is a debug build on any.
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    let client = Client { user: Some(b"dev099999"), id: b"dev099999" };
    assert!(policy.authorize(&client, Action::Publish(b"dt/1/dev099999/x")).is_allow());
    assert!(!policy.authorize(&client, Action::Publish(b"dt/1/dev099998/x")).is_allow());
}

#[test]
fn a_policy_has_a_largest_size() {
    let folder = Folder::of(&[("p.toml", "version = 1\ninclude = [\"a.toml\"]\n"), ("a.toml", "")]);
    // Sparse, so it takes no room, and it is not read.
    fs::File::options().write(true).open(folder.path("a.toml")).unwrap().set_len(1 << 30).unwrap();
    let Err(Failure::Invalid(problems)) = folder.load("p.toml") else { panic!("it is loaded") };
    assert!(problems.iter().any(|problem| problem.text == "the policy is larger than 1 GiB in all"), "{problems:?}");
}
