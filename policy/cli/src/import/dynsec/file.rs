//! Reading the file, strictly: what the plugin would pass over in silence is a problem.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use mqtt_acl_policy::{Escaped, Place, Problem, Severity, is_password_string, is_topic_filter};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Acl, Config, Defaults, Group, Role, User};

type Entries<'t> = Vec<&'t RawValue>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'t> {
    #[serde(rename = "defaultACLAccess", default)]
    defaults: DefaultsEntry,
    #[serde(borrow, default)]
    clients: Entries<'t>,
    #[serde(borrow, default)]
    groups: Entries<'t>,
    #[serde(borrow, default)]
    roles: Entries<'t>,
    #[serde(rename = "anonymousGroup")]
    anonymous_group: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct DefaultsEntry {
    publish_client_send: bool,
    publish_client_receive: bool,
    subscribe: bool,
    #[serde(rename = "unsubscribe")]
    _unsubscribe: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleEntry<'t> {
    rolename: String,
    textname: Option<String>,
    textdescription: Option<String>,
    #[serde(default = "yes")]
    allowwildcardsubs: bool,
    #[serde(borrow, default)]
    acls: Entries<'t>,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AclEntry {
    acltype: String,
    topic: String,
    #[serde(default)]
    priority: i64,
    #[serde(default)]
    allow: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupEntry<'t> {
    groupname: String,
    #[serde(rename = "textname")]
    _textname: Option<String>,
    #[serde(rename = "textdescription")]
    _textdescription: Option<String>,
    #[serde(borrow, default)]
    roles: Entries<'t>,
    #[serde(borrow, default)]
    clients: Entries<'t>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientEntry<'t> {
    username: String,
    clientid: Option<String>,
    textname: Option<String>,
    textdescription: Option<String>,
    #[serde(default)]
    disabled: bool,
    encoded_password: Option<String>,
    password: Option<String>,
    salt: Option<String>,
    iterations: Option<i64>,
    #[serde(borrow, default)]
    roles: Entries<'t>,
}

/// A role of a client or group, or a client of a group.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    rolename: Option<String>,
    username: Option<String>,
    #[serde(default = "unset")]
    priority: i64,
}

fn unset() -> i64 {
    -1
}

/// Reads a file.
///
/// # Errors
/// All its problems.
pub fn read(text: &[u8], file: &Arc<Path>) -> Result<Config, Vec<Problem>> {
    let mut reader = Reader { file, text, problems: Vec::new() };
    let config = reader.document();
    if reader.problems.is_empty() { Ok(config) } else { Err(reader.problems) }
}

struct Reader<'r> {
    file: &'r Arc<Path>,
    text: &'r [u8],
    problems: Vec<Problem>,
}

impl<'r> Reader<'r> {
    fn document(&mut self) -> Config {
        let document: Document<'r> = match serde_json::from_slice(self.text) {
            Ok(document) => document,
            Err(error) => {
                self.json_problem(1, &error);
                return Config::default();
            }
        };
        let mut config = Config { file: Some(Arc::clone(self.file)), ..Config::default() };
        let DefaultsEntry { publish_client_send, publish_client_receive, subscribe, .. } = document.defaults;
        config.defaults = Defaults { send: publish_client_send, receive: publish_client_receive, subscribe };
        for entry in document.roles {
            self.role(entry, &mut config);
        }
        for entry in document.clients {
            self.client(entry, &mut config);
        }
        let mut memberships: BTreeMap<String, Vec<(i64, String)>> = BTreeMap::new();
        for entry in document.groups {
            self.group(entry, &mut config, &mut memberships);
        }
        for (name, mut groups) in memberships {
            in_order(&mut groups);
            let roles: Vec<String> = groups
                .iter()
                .filter_map(|(_, group)| config.groups.get(group))
                .flat_map(|group| group.roles.iter().cloned())
                .collect();
            if let Some(client) = config.by_name.get(&name).and_then(|at| config.clients.get_mut(*at)) {
                client.roles.extend(roles);
            }
        }
        for client in &mut config.clients {
            // A role that is looked through again decides nothing more.
            let mut seen = std::collections::BTreeSet::new();
            client.roles.retain(|role| seen.insert(role.clone()));
        }
        if let Some(group) = document.anonymous_group {
            if !config.groups.contains_key(&group) {
                self.problem(1, format!("the `anonymousGroup` is `{}`, which is no group", shown(&group)));
            }
            config.anonymous_group = Some(group);
        }
        config
    }

    fn role(&mut self, entry: &'r RawValue, config: &mut Config) {
        let line = self.line(entry);
        let Some(role) = self.entry::<RoleEntry<'r>>(entry) else { return };
        if role.rolename.is_empty() {
            return self.problem(line, "a role needs a `rolename`".into());
        }
        let comment = [role.textname, role.textdescription].into_iter().flatten().collect();
        let mut made = Role { line, comment, wildcards: role.allowwildcardsubs, ..Role::default() };
        for acl in role.acls {
            let line = self.line(acl);
            let Some(AclEntry { acltype, topic, priority, allow }) = self.entry(acl) else { continue };
            let list = match acltype.to_ascii_lowercase().as_str() {
                "publishclientsend" => &mut made.send,
                "publishclientreceive" => &mut made.receive,
                "subscribeliteral" => &mut made.literal,
                "subscribepattern" => &mut made.pattern,
                // Nobody is kept from unsubscribing.
                "unsubscribeliteral" | "unsubscribepattern" => continue,
                _ => {
                    self.problem(line, format!("`{}` is no `acltype`", shown(&acltype)));
                    continue;
                }
            };
            if !is_topic_filter(topic.as_bytes()) {
                self.problem(line, format!("`{}` is not a topic filter", shown(&topic)));
            } else if list.iter().any(|known| known.topic == topic) {
                self.problem(line, format!("there is such a rule about `{}` already (keep one)", shown(&topic)));
            } else {
                list.push(Acl { topic, allow, priority, line });
            }
        }
        for list in [&mut made.send, &mut made.receive, &mut made.literal, &mut made.pattern] {
            // Those of the same priority stay in the order of the file.
            list.sort_by_key(|acl| std::cmp::Reverse(acl.priority));
        }
        let name = role.rolename;
        if config.roles.contains_key(&name) {
            return self.problem(line, format!("role `{}` is there twice (keep one)", shown(&name)));
        }
        config.roles.insert(name, made);
    }

    fn client(&mut self, entry: &'r RawValue, config: &mut Config) {
        let line = self.line(entry);
        let Some(client) = self.entry::<ClientEntry<'r>>(entry) else { return };
        let name = client.username;
        let who = format!("client `{}`", shown(&name));
        if name.is_empty() || name.chars().any(char::is_control) {
            return self.problem(line, format!("{who}: that is no user name"));
        }
        if config.by_name.contains_key(&name) {
            return self.problem(line, format!("{who} is there twice (keep one)"));
        }
        let password = match (client.encoded_password, client.salt, client.password, client.iterations) {
            (Some(encoded), ..) => Some(encoded),
            (None, Some(salt), Some(hash), Some(iterations)) => Some(format!("$7${iterations}${salt}${hash}")),
            (None, None, None, _) => None,
            _ => {
                self.problem(
                    line,
                    format!("{who} needs `password`, `salt` and `iterations` together, or none of them"),
                );
                None
            }
        };
        if let Some(Err(what)) = password.as_deref().map(is_password_string) {
            self.problem(line, format!("{who}: {what}"));
        }
        let roles = self.roles(client.roles, &who, config);
        let comment = [client.textname, client.textdescription].into_iter().flatten().collect();
        config.by_name.insert(name.clone(), config.clients.len());
        config.clients.push(User {
            name,
            line,
            comment,
            client_id: client.clientid.filter(|id| !id.is_empty()),
            disabled: client.disabled,
            password,
            roles,
        });
    }

    fn group(
        &mut self,
        entry: &'r RawValue,
        config: &mut Config,
        memberships: &mut BTreeMap<String, Vec<(i64, String)>>,
    ) {
        let line = self.line(entry);
        let Some(group) = self.entry::<GroupEntry<'r>>(entry) else { return };
        let name = group.groupname;
        let who = format!("group `{}`", shown(&name));
        if name.is_empty() || config.groups.contains_key(&name) {
            return self.problem(line, format!("{who} is there twice, or has no name"));
        }
        let roles = self.roles(group.roles, &who, config);
        for member in group.clients {
            let line = self.line(member);
            let Some(member) = self.entry::<Member>(member) else { continue };
            match member.username {
                Some(user) if config.by_name.contains_key(&user) => {
                    memberships.entry(user).or_default().push((member.priority, name.clone()));
                }
                user => {
                    let user = user.unwrap_or_default();
                    self.problem(line, format!("{who} has a client `{}`, which is none", shown(&user)));
                }
            }
        }
        config.groups.insert(name, Group { roles });
    }

    fn roles(&mut self, entries: Entries<'r>, who: &str, config: &Config) -> Vec<String> {
        let mut roles = Vec::new();
        for entry in entries {
            let line = self.line(entry);
            let Some(member) = self.entry::<Member>(entry) else { continue };
            match member.rolename {
                Some(role) if config.roles.contains_key(&role) => roles.push((member.priority, role)),
                role => {
                    let role = role.unwrap_or_default();
                    self.problem(line, format!("{who} has a role `{}`, which is none", shown(&role)));
                }
            }
        }
        in_order(&mut roles);
        roles.into_iter().map(|(_, role)| role).collect()
    }

    fn entry<T: Deserialize<'r>>(&mut self, entry: &'r RawValue) -> Option<T> {
        match serde_json::from_str(entry.get()) {
            Ok(value) => Some(value),
            Err(error) => {
                let line = self.line(entry);
                self.json_problem(line, &error);
                None
            }
        }
    }

    /// The line of the file in which a piece of its text begins.
    fn line(&self, entry: &RawValue) -> u32 {
        let at = entry.get().as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        let before = self.text.get(..at).unwrap_or_default();
        u32::try_from(before.iter().filter(|b| **b == b'\n').count()).unwrap_or(u32::MAX).saturating_add(1)
    }

    fn json_problem(&mut self, first_line: u32, error: &serde_json::Error) {
        let text = error.to_string();
        let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
        let line = first_line.saturating_add(u32::try_from(error.line()).unwrap_or(1).saturating_sub(1));
        self.problem(line, format!("not what dynamic-security writes: {what}"));
    }

    fn problem(&mut self, line: u32, text: String) {
        let place = Place { file: Arc::clone(self.file), line, column: 1 };
        self.problems.push(Problem { place, severity: Severity::Error, text });
    }
}

/// Highest priority first, and those of the same by name.
fn in_order(names: &mut [(i64, String)]) {
    names.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.as_bytes().cmp(y.as_bytes())));
}

fn shown(text: &str) -> Escaped<'_> {
    Escaped(text.as_bytes())
}
