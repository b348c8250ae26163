//! Who logs in, with which password, and how the peers store it.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;

use mqtt_acl_policy::Token;

use crate::peers::{folder, program};
use crate::support::broker::Install;

#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    /// As the client sends it.
    pub(crate) password: String,
    /// For `password` in the policy.
    pub(crate) string: String,
}

#[derive(Debug)]
pub(crate) struct Users {
    pub(crate) publisher: User,
    pub(crate) subscriber: User,
    /// With argon2id strings, m=19456,t=2,p=1.
    pub(crate) people: Vec<User>,
    /// With tokens.
    pub(crate) devices: Vec<User>,
    /// With strings of Mosquitto's own.
    pub(crate) old: Vec<User>,
}

const PASSWORD: &str = "correct horse";
/// The parts of the mixture of formats that guesses are timed against: 60 % argon2id, 20 % `$7$`, 20 % tokens.
const MIXTURE: [usize; 3] = [60, 20, 20];

impl Users {
    pub(crate) fn make(count: usize, broker: &Install) -> Self {
        let strings = argon2id(count.max(MIXTURE[0]));
        let people = strings.into_iter().enumerate().map(|(number, string)| User {
            name: format!("person{number:04}"),
            password: PASSWORD.to_owned(),
            string,
        });
        let old = (0..MIXTURE[1]).map(|number| User {
            name: format!("former{number:04}"),
            password: PASSWORD.to_owned(),
            string: String::new(),
        });
        let mut old: Vec<_> = old.collect();
        let lines = password_file(broker, old.iter());
        for (user, line) in old.iter_mut().zip(lines.lines()) {
            user.string = line.strip_prefix(&format!("{}:", user.name)).expect("the same order").to_owned();
        }
        Self {
            publisher: device("pair-publisher".to_owned()),
            subscriber: device("pair-subscriber".to_owned()),
            people: people.collect(),
            devices: (0..count.max(MIXTURE[2])).map(|number| device(format!("device{number:04}"))).collect(),
            old,
        }
    }

    /// Whom most peers know.
    pub(crate) fn all(&self) -> impl Iterator<Item = &User> {
        [&self.publisher, &self.subscriber].into_iter().chain(&self.people).chain(&self.devices)
    }

    pub(crate) fn mixture(&self) -> impl Iterator<Item = &User> {
        [&self.publisher, &self.subscriber].into_iter().chain(self.mixed())
    }

    /// The mixture without the pair.
    pub(crate) fn mixed(&self) -> impl Iterator<Item = &User> {
        let [people, old, devices] = MIXTURE;
        self.people.iter().take(people).chain(self.old.iter().take(old)).chain(self.devices.iter().take(devices))
    }
}

fn device(name: String) -> User {
    let Token { secret, string } = Token::new().expect("a token");
    User { name, password: secret.to_string(), string }
}

/// So many strings of the one password, each with a salt of its own. They take 15 ms each, so they are kept.
fn argon2id(count: usize) -> Vec<String> {
    let file = folder().join("argon2id");
    let mut strings: Vec<String> = fs::read_to_string(&file).unwrap_or_default().lines().map(str::to_owned).collect();
    let missing = count.saturating_sub(strings.len());
    if missing > 0 {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let made = thread::scope(|scope| {
            let work = |part| (0..(missing + part) / threads).map(|_| hash()).collect::<Vec<_>>();
            let workers: Vec<_> = (0..threads).map(|part| scope.spawn(move || work(part))).collect();
            workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect::<Vec<_>>()
        });
        strings.extend(made);
        fs::write(&file, strings.join("\n")).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    strings.truncate(count);
    strings
}

/// By the release build: this one takes a hundred times as long.
fn hash() -> String {
    let program = program("mqtt-acl");
    let child = Command::new(&program).arg("hash").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    child.stdin.take().expect("a pipe").write_all(PASSWORD.as_bytes()).expect("the password is sent");
    let output = child.wait_with_output().expect("a string");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("ASCII").trim().to_owned()
}

/// What the broker's own mosquitto_passwd makes of these users, with its own defaults.
pub(crate) fn password_file<'a>(broker: &Install, users: impl Iterator<Item = &'a User>) -> String {
    let file = folder().join("passwords");
    let mut text = String::new();
    for user in users {
        let _ = writeln!(text, "{}:{}", user.name, user.password);
    }
    fs::write(&file, text).expect("a password file");
    let [loader, option, libraries] = broker.loader();
    let program = broker.root().join("usr/bin/mosquitto_passwd");
    let output = Command::new(loader).args([option, libraries]).arg(program).arg("-U").arg(&file).output();
    let output = output.expect("mosquitto_passwd");
    assert!(output.status.success(), "{output:?}");
    fs::read_to_string(&file).expect("a password file")
}
