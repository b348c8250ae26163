//! A policy that is being put together, and its text.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The filters of a rule set.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lists {
    /// `publish`.
    pub publish: Vec<String>,
    /// `subscribe`.
    pub subscribe: Vec<String>,
    /// `receive`.
    pub receive: Vec<String>,
    /// `deny.publish`.
    pub deny_publish: Vec<String>,
    /// `deny.subscribe`.
    pub deny_subscribe: Vec<String>,
}

impl Lists {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes out what is there twice.
    pub fn tidy(&mut self) {
        for list in [
            &mut self.publish,
            &mut self.subscribe,
            &mut self.receive,
            &mut self.deny_publish,
            &mut self.deny_subscribe,
        ] {
            let mut seen = BTreeSet::new();
            list.retain(|filter| seen.insert(filter.clone()));
        }
    }

    /// Adds those of others.
    pub fn append(&mut self, others: Self) {
        self.publish.extend(others.publish);
        self.subscribe.extend(others.subscribe);
        self.receive.extend(others.receive);
        self.deny_publish.extend(others.deny_publish);
        self.deny_subscribe.extend(others.deny_subscribe);
        self.tidy();
    }

    /// The same, whatever its order.
    #[must_use]
    pub fn sorted(&self) -> Self {
        let mut sorted = self.clone();
        for list in [
            &mut sorted.publish,
            &mut sorted.subscribe,
            &mut sorted.receive,
            &mut sorted.deny_publish,
            &mut sorted.deny_subscribe,
        ] {
            list.sort_unstable();
        }
        sorted
    }

    /// The same, with other filters.
    #[must_use]
    pub fn map(&self, change: impl Fn(&str) -> String) -> Self {
        let all = |list: &[String]| list.iter().map(|filter| change(filter)).collect();
        Self {
            publish: all(&self.publish),
            subscribe: all(&self.subscribe),
            receive: all(&self.receive),
            deny_publish: all(&self.deny_publish),
            deny_subscribe: all(&self.deny_subscribe),
        }
    }
}

/// A role, or `[anonymous]`.
#[derive(Clone, Debug, Default)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// What stands above it.
    pub comment: Vec<String>,
    /// `client_id`.
    pub client_id: Vec<String>,
    /// Its filters.
    pub lists: Lists,
}

/// A user.
#[derive(Clone, Debug, Default)]
pub struct User {
    /// Its name.
    pub name: String,
    /// What stands above it.
    pub comment: Vec<String>,
    /// The names of its roles.
    pub roles: Vec<String>,
    /// `client_id`.
    pub client_id: Vec<String>,
    /// Its own filters.
    pub lists: Lists,
    /// Its password string.
    pub password: Option<String>,
    /// Whether it may not log in.
    pub disabled: bool,
}

/// A policy.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// What stands at the top.
    pub header: Vec<String>,
    /// Whether a subscription is granted as soon as something of it may be read.
    pub overlap: bool,
    /// The roles.
    pub roles: Vec<Role>,
    /// Clients without a user name.
    pub anonymous: Option<Role>,
    /// The users.
    pub users: Vec<User>,
}

impl Draft {
    /// The policy's text. Where the passwords are to live apart, they are left out here, and `include` names their file.
    #[must_use]
    pub fn policy(&self, passwords: Option<&str>) -> String {
        let mut text = String::new();
        comment(&mut text, &self.header);
        text.push_str("version = 1\n");
        if let Some(file) = passwords {
            let _ = writeln!(text, "include = [{}]", quoted(file));
        }
        for role in &self.roles {
            text.push('\n');
            comment(&mut text, &role.comment);
            let _ = writeln!(text, "[roles.{}]", key(&role.name));
            rule_set(&mut text, &role.client_id, &role.lists, self.overlap);
        }
        if let Some(role) = &self.anonymous {
            text.push('\n');
            comment(&mut text, &role.comment);
            text.push_str("[anonymous]\n");
            rule_set(&mut text, &role.client_id, &role.lists, self.overlap);
        }
        for user in &self.users {
            text.push('\n');
            comment(&mut text, &user.comment);
            let _ = writeln!(text, "[users.{}]", key(&user.name));
            list(&mut text, "roles", &user.roles);
            if user.disabled {
                text.push_str("disabled = true\n");
            }
            if let (None, Some(password)) = (passwords, &user.password) {
                let _ = writeln!(text, "password = {}", quoted(password));
            }
            rule_set(&mut text, &user.client_id, &user.lists, self.overlap);
        }
        text
    }

    /// The text of the file that holds the passwords alone.
    #[must_use]
    pub fn passwords(&self) -> String {
        let mut text = String::from("# The users' password strings. Only root and the broker need to read them.\n");
        for user in &self.users {
            if let Some(password) = &user.password {
                let _ = write!(text, "\n[users.{}]\npassword = {}\n", key(&user.name), quoted(password));
            }
        }
        text
    }
}

fn comment(text: &mut String, lines: &[String]) {
    for line in lines {
        // A control character would end the comment, or is none of TOML.
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        text.push_str(format!("# {line}").trim_end());
        text.push('\n');
    }
}

fn rule_set(text: &mut String, client_id: &[String], lists: &Lists, overlap: bool) {
    list(text, "client_id", client_id);
    list(text, "publish", &lists.publish);
    list(text, "subscribe", &lists.subscribe);
    list(text, "receive", &lists.receive);
    list(text, "deny.publish", &lists.deny_publish);
    list(text, "deny.subscribe", &lists.deny_subscribe);
    if overlap && !lists.subscribe.is_empty() {
        text.push_str("overlap = true\n");
    }
}

/// Nothing for an empty list, one line for a short one.
fn list(text: &mut String, name: &str, items: &[String]) {
    const LONGEST_LINE: usize = 120;
    if items.is_empty() {
        return;
    }
    let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
    let line = format!("{name} = [{}]\n", items.join(", "));
    if line.chars().count() <= LONGEST_LINE {
        text.push_str(&line);
        return;
    }
    let _ = writeln!(text, "{name} = [");
    for item in items {
        let _ = writeln!(text, "  {item},");
    }
    text.push_str("]\n");
}

/// A TOML key.
fn key(name: &str) -> String {
    let is_bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if is_bare { name.to_owned() } else { quoted(name) }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A short name for the role of these users, which no other role has: what their names begin with.
pub(crate) fn role_name(users: &[&str], taken: &mut BTreeSet<String>) -> String {
    let first = users.first().copied().unwrap_or_default();
    let common = users.iter().fold(first, |common, name| {
        let same = common.char_indices().zip(name.chars()).find(|((_, a), b)| a != b).map(|((at, _), _)| at);
        let end = same.unwrap_or_else(|| common.len().min(name.len()));
        common.get(..end).unwrap_or_default()
    });
    let stem = common.trim_end_matches(|c: char| c.is_ascii_digit() || !c.is_alphanumeric());
    let stem: String = stem.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect();
    let stem = if stem.len() < 2 { "group".to_owned() } else { stem };
    let mut name = stem.clone();
    let mut number = 2;
    while !taken.insert(name.clone()) {
        name = format!("{stem}-{number}");
        number += 1;
    }
    name
}

/// Makes one role of the rule sets that several users have in common, the level that is the user's own name apart. Those
/// who have theirs alone keep it; so do those for whose name `%u` does not stand.
pub(crate) fn share_rules(users: &mut [User], taken: &mut BTreeSet<String>) -> Vec<Role> {
    use std::collections::HashMap;

    let general = |user: &User| {
        let replace = |filter: &str| {
            let levels: Vec<_> = filter.split('/').map(|level| if level == user.name { "%u" } else { level }).collect();
            levels.join("/")
        };
        user.lists.map(replace)
    };
    let mut holders: HashMap<Lists, Vec<usize>> = HashMap::new();
    let mut order = Vec::new();
    for (at, user) in users.iter().enumerate() {
        if user.lists.is_empty() || !mqtt_acl_policy::is_usable_name(user.name.as_bytes()) {
            continue;
        }
        let lists = general(user).sorted();
        holders
            .entry(lists.clone())
            .or_insert_with(|| {
                order.push(lists);
                Vec::new()
            })
            .push(at);
    }
    let mut roles = Vec::new();
    for lists in order {
        let holders = holders.get(&lists).map_or(&[][..], Vec::as_slice);
        if holders.len() < 2 {
            continue;
        }
        let names: Vec<&str> = holders.iter().filter_map(|at| users.get(*at)).map(|user| user.name.as_str()).collect();
        let name = role_name(&names, taken);
        // As its first holder has it, for somebody put it in that order.
        let lists = holders.first().and_then(|at| users.get(*at)).map(general).unwrap_or_default();
        for at in holders {
            if let Some(user) = users.get_mut(*at) {
                user.lists = Lists::default();
                user.roles.push(name.clone());
            }
        }
        roles.push(Role { name, lists, ..Role::default() });
    }
    roles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_named_after_their_users() {
        let name = |users: &[&str]| role_name(users, &mut BTreeSet::new());
        assert_eq!(name(&["dev00001", "dev00002"]), "dev");
        assert_eq!(name(&["sensor-a", "sensor-b"]), "sensor");
        assert_eq!(name(&["alice", "bob"]), "group");
        assert_eq!(name(&["dev", "dev1"]), "dev");
        assert_eq!(name(&["\u{e9}t\u{e9}1", "\u{e9}t\u{e9}2"]), "group");
        assert_eq!(role_name(&["dev1", "dev2"], &mut BTreeSet::from(["dev".to_owned()])), "dev-2");
    }

    #[test]
    fn keys_and_texts_are_toml() {
        let user = User { name: "a \"b\".c\\d".into(), password: Some("x".into()), ..User::default() };
        let draft = Draft { users: vec![user], ..Draft::default() };
        assert!(draft.policy(None).contains("[users.\"a \\\"b\\\".c\\\\d\"]\npassword = \"x\"\n"));
    }
}
