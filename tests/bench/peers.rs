//! The peers that are measured side by side: brokers of one version which differ in who decides about logins.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::OnceLock;

use crate::support::broker::{Broker, Install, PLUGIN, Setup, target};
use crate::support::mqtt::{Connect, V311};
use crate::users::{User, Users, password_file};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// Everybody may.
    None,
    /// A plugin that says yes.
    Trivial,
    /// A plugin that says no to all but the pair.
    DenyAll,
    PasswordFile,
    DynamicSecurity,
    Ours,
    /// Ours with few users in a mixture of formats, and this address above suspicion.
    OursTrusting,
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Trivial => "trivial",
            Self::DenyAll => "deny-all",
            Self::PasswordFile => "password_file",
            Self::DynamicSecurity => "dynsec",
            Self::Ours => "ours",
            Self::OursTrusting => "ours, trusting",
        }
    }
}

/// The brokers of one version, each started when it is needed first.
pub(crate) struct Stage<'a> {
    pub(crate) install: &'a Install,
    pub(crate) users: &'a Users,
    brokers: RefCell<BTreeMap<Peer, Rc<Broker>>>,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(install: &'a Install, users: &'a Users) -> Self {
        Self { install, users, brokers: RefCell::default() }
    }

    pub(crate) fn broker(&self, peer: Peer) -> Rc<Broker> {
        if let Some(broker) = self.brokers.borrow().get(&peer) {
            return Rc::clone(broker);
        }
        let broker = Rc::new(Broker::running(self.install, &self.setup(peer)));
        self.brokers.borrow_mut().insert(peer, Rc::clone(&broker));
        broker
    }

    /// Ends all brokers, which they must do in good order.
    pub(crate) fn stop(&self) {
        for (_, broker) in self.brokers.take() {
            broker.stop();
        }
    }

    fn setup(&self, peer: Peer) -> Setup {
        let with = |lines: &str| Setup::conf(&format!("{COMMON}listener {{port}} 127.0.0.1\n{lines}"));
        let everybody = || self.users.all();
        match peer {
            Peer::None => with("allow_anonymous true\n"),
            Peer::Trivial => with("plugin {folder}/trivial.so\n").copy("trivial.so", trivial()),
            Peer::DenyAll => with("plugin {folder}/trivial.so\nplugin_opt_admit pair-\n").copy("trivial.so", trivial()),
            Peer::PasswordFile => with("allow_anonymous false\npassword_file {folder}/passwords\n")
                .file("passwords", &password_file(self.install, everybody())),
            Peer::DynamicSecurity => {
                let passwords = password_file(self.install, everybody());
                let (conf, library) = dynsec(self.install, "{folder}/data/dynsec.json");
                with(&conf).copy(DYNSEC, &library).file("data/dynsec.json", &dynamic_security(&passwords))
            }
            Peer::Ours => with(PLUGIN).with_policy(&policy(everybody())),
            Peer::OursTrusting => {
                let policy = policy(self.users.mixture());
                with(PLUGIN).with_policy(&format!("{policy}\n{TRUST}"))
            }
        }
    }
}

/// A log as a broker keeps it in production, but for the three lines on every connection; and no `$SYS`, which costs something
/// every ten seconds.
pub(crate) const COMMON: &str = "log_type none\nlog_type error\nlog_type warning\nlog_type notice\nlog_type information\n\
                                 connection_messages false\nset_tcp_nodelay true\nsys_interval 0\n";

/// A client of this user that says what it has to.
pub(crate) fn connect(user: &User, client_id: &str) -> Connect {
    let mut connect = Connect::new(V311, client_id).username(&user.name).password(&user.password);
    // Nobody pings.
    connect.keepalive = 0;
    connect
}

/// The bench's guesses are all to be checked, by 2.0 too, which it leaves half of the time.
const TRUST: &str = "[guard]\ntrusted = [\"127.0.0.1\", \"::1\"]\n[logins]\nshare = 75\n";

fn policy<'a>(users: impl Iterator<Item = &'a User>) -> String {
    let mut policy = "version = 1\n\
                      [roles.client]\npublish = [\"dt/%u/#\"]\nsubscribe = [\"cmd/%u/#\"]\n\
                      [roles.pair]\npublish = [\"bench/pair\"]\nsubscribe = [\"bench/pair\"]\n"
        .to_owned();
    for User { name, string, .. } in users {
        let role = if name.starts_with("pair-") { "pair" } else { "client" };
        let _ = writeln!(policy, "[users.{name}]\nroles = [\"{role}\"]\npassword = \"{string}\"");
    }
    policy
}

/// The same users in dynamic-security's file; everything is allowed to them, at no cost.
fn dynamic_security(passwords: &str) -> String {
    let client = |line: &str| {
        let parts: Vec<&str> = line.split([':', '$']).collect();
        let [name, _, "7", iterations, salt, hash] = parts[..] else { panic!("{line:?} of mosquitto_passwd") };
        format!(r#"{{"username":"{name}","password":"{hash}","salt":"{salt}","iterations":{iterations},"roles":[]}}"#)
    };
    let access = r#"{"publishClientSend":true,"publishClientReceive":true,"subscribe":true,"unsubscribe":true}"#;
    let clients: Vec<_> = passwords.lines().map(client).collect();
    format!(r#"{{"defaultACLAccess":{access},"clients":[{}],"groups":[],"roles":[]}}"#, clients.join(","))
}

/// The name of its library.
pub(crate) const DYNSEC: &str = "mosquitto_dynamic_security.so";

/// The lines that load dynamic-security with this file, and the library that is to be copied for them.
pub(crate) fn dynsec(broker: &Install, file: &str) -> (String, PathBuf) {
    let [.., libraries] = broker.loader();
    let library = Path::new(&libraries).join(DYNSEC);
    (format!("plugin {{folder}}/{DYNSEC}\nplugin_opt_config_file {file}\n"), library)
}

/// The trivial plugin, compiled once.
pub(crate) fn trivial() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| compile("trivial", &[]).expect("the trivial plugin needs a C compiler and mosquitto-dev"))
}

/// A library of ours in C, where it compiles.
pub(crate) fn compile(name: &str, include: &[PathBuf]) -> Option<PathBuf> {
    let library = folder().join(format!("{name}.so"));
    let host = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let mut compiler = cc::Build::new();
    compiler.target(&host).host(&host).opt_level(2).cargo_metadata(false);
    let mut command = compiler.get_compiler().to_command();
    command.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]).arg(&library);
    for folder in include {
        command.arg("-isystem").arg(folder);
    }
    command.arg(format!("{}/tests/bench/{name}.c", env!("CARGO_MANIFEST_DIR")));
    command.status().is_ok_and(|status| status.success()).then_some(library)
}

/// Where the benchmark keeps what it makes.
pub(crate) fn folder() -> PathBuf {
    let folder = target().join("bench");
    fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    folder
}

/// A program of this build.
pub(crate) fn program(name: &str) -> PathBuf {
    Path::new(&target()).join("release").join(name)
}
