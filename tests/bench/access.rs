//! The peers as to access: brokers of one version that decide about the same messages, each by its own means.

use std::fmt::Write as _;

use crate::peers::{COMMON, DYNSEC, dynsec, trivial};
use crate::support::broker::{Install, PASSWORD, PBKDF2, PLUGIN, Setup, TOKEN};
use crate::support::mqtt::{Connect, V311};
use crate::workload::{DENIED, DEVICE_READS, PUBLISHERS, SERVICE, SERVICE_READS, SERVICE_WRITES, Size, device};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody may do everything.
    None,
    /// A plugin that says yes.
    Trivial,
    /// One that says yes, has a thread and ticks.
    Threaded,
    AclFile,
    DynamicSecurity,
    Ours,
}

impl Access {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Trivial => "trivial",
            Self::Threaded => "threaded",
            Self::AclFile => "acl_file",
            Self::DynamicSecurity => "dynsec",
            Self::Ours => "ours",
        }
    }

    /// Whether it has rules at all.
    pub(crate) fn decides(self) -> bool {
        !matches!(self, Self::None | Self::Trivial | Self::Threaded)
    }

    /// Whether it looks at one rule after the other.
    pub(crate) fn is_linear(self) -> bool {
        matches!(self, Self::AclFile | Self::DynamicSecurity)
    }

    /// The function that the broker calls for a decision, where it has a name.
    pub(crate) fn callback(self) -> Option<&'static str> {
        match self {
            Self::Trivial | Self::Threaded => Some("on_access"),
            Self::Ours => Some("on_acl_check"),
            _ => None,
        }
    }

    pub(crate) fn setup(self, install: &Install, size: Size) -> Setup {
        let with = |lines: &str| Setup::conf(&format!("{COMMON}listener {{port}} 127.0.0.1\n{lines}"));
        match self {
            Self::None => with("allow_anonymous true\n"),
            Self::Trivial => with("plugin {folder}/trivial.so\n").copy("trivial.so", trivial()),
            Self::Threaded => {
                with("plugin {folder}/trivial.so\nplugin_opt_thread true\n").copy("trivial.so", trivial())
            }
            Self::AclFile => with("allow_anonymous true\nacl_file {folder}/access\n").file("access", &acl_file(size)),
            Self::DynamicSecurity => {
                let (conf, library) = dynsec(install, "{folder}/data/dynsec.json");
                with(&conf).copy(DYNSEC, &library).file("data/dynsec.json", &dynamic_security(size))
            }
            Self::Ours => with(PLUGIN).with_policy(&size.policy()),
        }
    }

    pub(crate) fn connect(self, user: &str, client_id: &str) -> Connect {
        let password = if self == Self::Ours { TOKEN } else { PASSWORD };
        let mut connect = Connect::new(V311, client_id).username(user).password(password);
        // Nobody pings.
        connect.keepalive = 0;
        connect
    }
}

/// It knows no roles: what all devices share is a `pattern`, which cannot deny.
fn acl_file(size: Size) -> String {
    let mut file = format!("user {SERVICE}\n");
    for filter in SERVICE_READS {
        let _ = writeln!(file, "topic read {filter}");
    }
    for filter in SERVICE_WRITES {
        let _ = writeln!(file, "topic write {filter}");
    }
    if size.has_many() {
        for number in 0..size.users.min(PUBLISHERS) {
            let _ = writeln!(file, "user {}\ntopic deny {DENIED}", device(number));
        }
    }
    for filter in size.device_writes() {
        let _ = writeln!(file, "pattern write {filter}");
    }
    for filter in DEVICE_READS {
        let _ = writeln!(file, "pattern read {filter}");
    }
    file
}

/// On 2.0 it knows no `%u`: each device has a role of its own for that, between two that all share.
fn dynamic_security(size: Size) -> String {
    let rule =
        |kind: &str, filter: &str, allow: bool| format!(r#"{{"acltype":"{kind}","topic":"{filter}","allow":{allow}}}"#);
    let role = |name: &str, rules: &[String]| format!(r#"{{"rolename":"{name}","acls":[{}]}}"#, rules.join(","));
    let send = |filter: &str| rule("publishClientSend", filter, true);
    let receive = |filter: &str| rule("publishClientReceive", filter, true);

    let service = SERVICE_READS.into_iter().map(receive).chain(SERVICE_WRITES.into_iter().map(send));
    let writes = size.device_writes();
    let (own, shared): (Vec<_>, Vec<_>) = writes.iter().partition(|filter| filter.contains("%u"));
    let (first, second) = shared.split_at(shared.len() / 2);
    let half = |filters: &[&String]| filters.iter().map(|filter| send(filter)).collect::<Vec<_>>();
    let mut roles = vec![
        role("service", &service.collect::<Vec<_>>()),
        role("first", &half(first)),
        role("second", &half(second)),
        role("deny", &[rule("publishClientSend", DENIED, false)]),
    ];
    let mut clients = vec![dynsec_client(SERVICE, &[("service", 1)])];
    for number in 0..size.users {
        let name = device(number);
        let of_its_own = |filter: &str| filter.replace("%u", &name);
        let reads = DEVICE_READS.map(|filter| receive(&of_its_own(filter)));
        roles.push(role(
            &name,
            &[own.iter().map(|filter| send(&of_its_own(filter))).collect(), reads.to_vec()].concat(),
        ));
        let mut held = vec![("first", 3), (name.as_str(), 2), ("second", 1)];
        if size.has_many() {
            held.insert(0, ("deny", 4));
        }
        clients.push(dynsec_client(&name, &held));
    }
    let access = r#"{"publishClientSend":false,"publishClientReceive":false,"subscribe":true,"unsubscribe":true}"#;
    let (clients, roles) = (clients.join(","), roles.join(","));
    format!(r#"{{"defaultACLAccess":{access},"clients":[{clients}],"groups":[],"roles":[{roles}]}}"#)
}

/// A client of dynamic-security with the password that all share, and its roles by priority.
pub(crate) fn dynsec_client(name: &str, roles: &[(&str, u8)]) -> String {
    let [_, "7", iterations, salt, hash] = PBKDF2.split('$').collect::<Vec<_>>()[..] else { panic!("{PBKDF2}") };
    let roles = roles.iter().map(|(name, priority)| format!(r#"{{"rolename":"{name}","priority":{priority}}}"#));
    let roles = roles.collect::<Vec<_>>().join(",");
    format!(
        r#"{{"username":"{name}","password":"{hash}","salt":"{salt}","iterations":{iterations},"roles":[{roles}]}}"#
    )
}
