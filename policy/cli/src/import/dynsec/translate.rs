//! From dynamic-security's rules to a policy's.
//!
//! Roles that a client has together are one role of the policy, so that their order can be accounted for: a deny after
//! which nothing is granted that it is about says nothing, and is left away; one that something before it grants wholly,
//! too. Every other deny is kept, and wins.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use mqtt_acl_policy::{Escaped, Place, Problem, Severity, is_rule, is_usable_name};

use super::{Acl, Config, Import, Kind, RuleId, User};
use crate::acl::Dialect;
use crate::draft::{self, Draft, Lists};
use crate::{ANY_ID, EVERYONE, OWN_ID, Options};

/// Makes a policy of the file.
#[must_use]
pub fn import(config: Config, dialects: &[Dialect], options: &Options) -> Import {
    let mut dialects = dialects.to_vec();
    // 2.1 fills in `%u` and `%c`, 2.0 does not: of a deny, 2.1's reading is the one that somebody meant.
    dialects.sort_by_key(|dialect| *dialect != Dialect::V2_1);
    let mut import = Import {
        config: Config::default(),
        draft: Draft { overlap: !options.exact, ..Draft::default() },
        notes: Vec::new(),
        dialects,
        left_out: HashSet::new(),
        left_out_for: HashSet::new(),
        hoisted: HashMap::new(),
        overlap: !options.exact,
        bind: options.bind,
    };
    import.build(&config, options);
    import.config = config;
    import
}

impl Import {
    fn build(&mut self, config: &Config, options: &Options) {
        self.leave_out_what_cannot_be_said(config, options);
        let client_id = vec![(if options.bind { OWN_ID } else { ANY_ID }).to_owned()];
        let everyone = draft::Role { name: EVERYONE.into(), client_id, ..draft::Role::default() };
        let mut names: BTreeMap<&[String], String> = BTreeMap::new();
        let mut taken = BTreeSet::from([EVERYONE.to_owned()]);
        let mut roles = vec![everyone];
        let mut users = Vec::new();
        let listed: BTreeSet<&str> = config.clients.iter().map(|client| client.name.as_str()).collect();
        let levels = config.levels();
        for client in &config.clients {
            if ["http-api", "auto"].contains(&client.name.as_str()) {
                let text = "is left out: the broker's own client ids begin so, and a policy cannot list it";
                self.note(config, client.line, format!("client `{}` {text}", client.name));
                continue;
            }
            if !names.contains_key(client.roles.as_slice()) {
                let lists = self.lists(config, &client.roles);
                let comment = match client.roles.as_slice() {
                    [only] => config.roles.get(only).map(|role| role.comment.clone()).unwrap_or_default(),
                    several => vec![format!("The roles {} together.", several.join(", "))],
                };
                // Without a role there is what is open to all.
                let mut name = if client.roles.is_empty() { "default".to_owned() } else { client.roles.join("+") };
                while !taken.insert(name.clone()) {
                    name.push('2');
                }
                let name = if lists.is_empty() { String::new() } else { name };
                if !name.is_empty() {
                    roles.push(draft::Role { name: name.clone(), comment, lists, ..draft::Role::default() });
                }
                names.insert(&client.roles, name);
            }
            let role = names.get(client.roles.as_slice()).cloned().unwrap_or_default();
            let mut user = self.user(config, client, role, &listed);
            user.lists.subscribe = self.subscriptions_by_name(config, client, &user.client_id, &levels);
            users.push(user);
        }
        self.draft.users = users;
        self.draft.roles = roles;
        match (&config.anonymous_group, options.anonymous) {
            (Some(group), true) => {
                let held = config.groups.get(group).map(|group| group.roles.clone()).unwrap_or_default();
                let without_name = |filter: &String| !filter.split('/').any(|level| level == "%u");
                let mut lists = self.lists(config, &held);
                for list in [
                    &mut lists.publish,
                    &mut lists.subscribe,
                    &mut lists.receive,
                    &mut lists.deny_publish,
                    &mut lists.deny_subscribe,
                ] {
                    list.retain(without_name);
                }
                let comment = vec![format!("Clients without a user name: the group {group}.")];
                self.draft.anonymous = Some(draft::Role { comment, lists, ..draft::Role::default() });
            }
            (Some(group), false) => {
                let text = "is left out: the policy would admit clients without a user name (`--anonymous`, if mosquitto.conf says \
                            `allow_anonymous true`)";
                self.note(config, 1, format!("the anonymous group `{}` {text}", Escaped(group.as_bytes())));
            }
            (None, _) => {}
        }
    }

    fn user(&mut self, config: &Config, client: &User, role: String, listed: &BTreeSet<&str>) -> draft::User {
        let mut roles = Vec::new();
        let mut client_id = Vec::new();
        match &client.client_id {
            None => roles.push(EVERYONE.to_owned()),
            Some(id) => {
                // Up to each `-`, and all of it: whose id it is, if it is a listed user's.
                let mut ends = id.match_indices('-').map(|(at, _)| at).chain([id.len()]).collect::<Vec<_>>();
                ends.reverse();
                let owner = ends.into_iter().filter_map(|end| id.get(..end)).find(|name| listed.contains(name));
                let is_other = owner.is_some_and(|owner| owner != client.name);
                let is_pattern = id.contains(['*', '%']) || id.chars().any(char::is_control);
                let is_brokers = id == "http-api" || mqtt_acl_policy::is_auto_id(id.as_bytes());
                if is_other || is_pattern || is_brokers {
                    let text = "which a policy cannot give it; it gets the user name instead";
                    let (name, id) = (Escaped(client.name.as_bytes()), Escaped(id.as_bytes()));
                    let line = client.line;
                    self.note(config, line, format!("client `{name}` is bound to the client id `{id}`, {text}"));
                    client_id.push(OWN_ID.to_owned());
                } else {
                    client_id.push(id.clone());
                }
            }
        }
        if !role.is_empty() {
            roles.push(role);
        }
        draft::User {
            name: client.name.clone(),
            comment: client.comment.clone(),
            roles,
            client_id,
            lists: Lists::default(),
            password: client.password.clone(),
            disabled: client.disabled,
        }
    }

    /// What a client may subscribe to by its name alone: where that is a level which one rule names and another fills in, the
    /// two have something in common that they have for nobody else.
    fn subscriptions_by_name(
        &self,
        config: &Config,
        client: &User,
        client_id: &[String],
        levels: &HashSet<&str>,
    ) -> Vec<String> {
        let fits = |name: &&str| is_usable_name(name.as_bytes()) && !name.contains('%');
        let name = Some(client.name.as_str()).filter(fits);
        let id = match client_id {
            [id] if id != OWN_ID => Some(id.as_str()).filter(fits),
            _ => name,
        };
        let mut own = Vec::new();
        let is_level = |name: Option<&str>| name.is_some_and(|name| levels.contains(name));
        if config.defaults.receive || !(is_level(name) || is_level(id)) {
            return own;
        }
        let granted = |kinds: &[Kind]| -> Vec<&Acl> {
            let rules = kinds.iter().flat_map(|kind| config.rules(&client.roles, *kind));
            rules
                .filter(|(id, acl)| acl.allow && !self.is_left_out(id, Some(client.name.as_bytes())))
                .map(|(_, acl)| acl)
                .collect()
        };
        let filled = |filter: &str| -> Option<String> {
            let level = |level| match level {
                "%u" => name,
                "%c" => id,
                level => Some(level),
            };
            filter.split('/').map(level).collect::<Option<Vec<_>>>().map(|levels| levels.join("/"))
        };
        let readable = granted(&[Kind::Receive]);
        for filter in granted(&[Kind::Literal, Kind::Pattern]) {
            for other in readable.iter().filter(|other| common(&filter.topic, &other.topic).is_none()) {
                own.extend(filled(&filter.topic).zip(filled(&other.topic)).and_then(|(one, two)| common(&one, &two)));
            }
        }
        own
    }

    /// The rules that a policy's language has no words for, or that would mean too much.
    fn leave_out_what_cannot_be_said(&mut self, config: &Config, options: &Options) {
        // Which roles are held by somebody whose client id is not bound.
        let mut free: BTreeSet<&str> = BTreeSet::new();
        for client in config.clients.iter().filter(|client| !self.bind && client.client_id.is_none()) {
            free.extend(client.roles.iter().map(String::as_str));
        }
        // Clients without a user name cannot be bound to one.
        let anonymous = config.anonymous_group.iter().filter(|_| options.anonymous);
        for group in anonymous.filter_map(|group| config.groups.get(group)) {
            free.extend(group.roles.iter().map(String::as_str));
        }
        for (name, role) in &config.roles {
            if !role.wildcards {
                let text = "forbids wildcards in subscriptions, which a policy does not (`--exact` keeps them within what may be read)";
                self.note(config, role.line, format!("role `{}` {text}", Escaped(name.as_bytes())));
            }
            for kind in [Kind::Send, Kind::Receive, Kind::Literal, Kind::Pattern] {
                for (number, acl) in role.list(kind).iter().enumerate() {
                    if let Some(why) = self.objection(acl, free.contains(name.as_str())) {
                        self.left_out.insert((name.clone(), kind, number));
                        let growth = if acl.allow { "" } else { ", and what it denies is denied no more" };
                        let shown = Escaped(acl.topic.as_bytes());
                        self.note(config, acl.line, format!("`{shown}` is left out{growth}: {why}"));
                    }
                }
            }
        }
        for client in config.clients.iter().filter(|client| client.name.starts_with('$')) {
            for kind in [Kind::Send, Kind::Receive, Kind::Literal, Kind::Pattern] {
                for (id, acl) in config.rules(&client.roles, kind) {
                    if acl.topic.split('/').any(|level| level == "%u") {
                        let text = "is left out: `%u` never stands for a name that begins with `$`";
                        let (topic, name) = (Escaped(acl.topic.as_bytes()), Escaped(client.name.as_bytes()));
                        self.left_out_for.insert((client.name.clone(), id));
                        self.note(config, acl.line, format!("`{topic}` for client `{name}` {text}"));
                    }
                }
            }
        }
    }

    fn objection(&self, acl: &Acl, is_free: bool) -> Option<String> {
        let has = |template: &str| acl.topic.split('/').any(|level| level == template);
        let is_filled_in = has("%u") || has("%c");
        if is_filled_in && self.dialects[..] == [Dialect::V2_0] {
            return Some("2.0 takes `%u` and `%c` for themselves, and a policy would fill them in".into());
        }
        if is_filled_in && self.dialects.len() > 1 && acl.allow {
            return Some("2.1 fills in `%u` and `%c`, 2.0 does not (`--broker 2.1` keeps it)".into());
        }
        if has("%c") && is_free {
            return Some(
                "some who have the role may choose any client id, so `%c` would grant everything that it could stand for (`--bind` \
                 binds ids to user names, and keeps it)"
                    .into(),
            );
        }
        if acl.topic.split('/').any(|level| level.starts_with("%{")) {
            return Some("`%{` begins a name there, which the policy would fill in".into());
        }
        is_rule(&acl.topic).err()
    }

    /// What clients with these roles may do.
    fn lists(&mut self, config: &Config, roles: &[String]) -> Lists {
        let rules = |kind: Kind| -> Vec<(RuleId, &Acl)> {
            config.rules(roles, kind).filter(|(id, _)| !self.left_out.contains(id)).collect()
        };
        let (send, receive) = (rules(Kind::Send), rules(Kind::Receive));
        let subscribe: Vec<_> = roles
            .iter()
            .flat_map(|role| {
                let role = std::slice::from_ref(role);
                config.rules(role, Kind::Literal).chain(config.rules(role, Kind::Pattern)).collect::<Vec<_>>()
            })
            .filter(|(id, _)| !self.left_out.contains(id))
            .collect();
        let granted = |rules: &[(RuleId, &Acl)]| -> Vec<String> {
            rules.iter().filter(|(_, acl)| acl.allow).map(|(_, acl)| acl.topic.clone()).collect()
        };
        let mut lists = Lists { publish: granted(&send), ..Lists::default() };
        if config.defaults.send {
            lists.publish.push("#".into());
        }
        let mut subscribable = granted(&subscribe);
        if config.defaults.subscribe {
            subscribable.push("#".into());
        }
        let readable = granted(&receive);
        if config.defaults.receive {
            lists.subscribe = subscribable;
        } else {
            // Only what may be handed out: a policy's `subscribe` would grant that too.
            for filter in &subscribable {
                lists.subscribe.extend(readable.iter().filter_map(|other| common(filter, other)));
            }
        }
        lists.receive = readable.into_iter().filter(|filter| !lists.subscribe.contains(filter)).collect();
        let mut hoisted = HashSet::new();
        let mut keep = |rules: &[(RuleId, &Acl)], by_default: bool| -> Vec<String> {
            let mut kept = Vec::new();
            for (at, (id, acl)) in rules.iter().enumerate().filter(|(_, (_, acl))| !acl.allow) {
                let (before, after) = rules.split_at(at);
                let matters =
                    by_default || after.iter().any(|(_, later)| later.allow && meets(&later.topic, &acl.topic));
                let is_moot = before.iter().any(|(_, earlier)| earlier.allow && contains(&earlier.topic, &acl.topic));
                if matters && !is_moot {
                    kept.push(acl.topic.clone());
                    hoisted.insert(id.clone());
                }
            }
            kept
        };
        lists.deny_publish = keep(&send, config.defaults.send);
        lists.deny_subscribe = keep(&receive, config.defaults.receive);
        lists.deny_subscribe.extend(keep(&subscribe, config.defaults.subscribe));
        lists.tidy();
        self.hoisted.insert(roles.to_vec(), hoisted);
        lists
    }

    fn note(&mut self, config: &Config, line: u32, text: String) {
        if let Some(file) = &config.file {
            let place = Place { file: std::sync::Arc::clone(file), line, column: 1 };
            self.notes.push(Problem { place, severity: Severity::Warning, text });
        }
    }
}

/// The filter of the topics that two filters have in common; `%u` and `%c` are levels like others.
fn common(one: &str, two: &str) -> Option<String> {
    if one.starts_with('$') != two.starts_with('$') {
        return None;
    }
    let (mut one, mut two) = (one.split('/'), two.split('/'));
    let mut levels = Vec::new();
    loop {
        let level = match (one.next(), two.next()) {
            (None, None) => break,
            (Some("#"), Some("#")) => {
                levels.push("#");
                break;
            }
            (Some("#"), None) | (None, Some("#")) => break,
            (Some("#"), Some(level)) => {
                levels.push(level);
                levels.extend(two);
                break;
            }
            (Some(level), Some("#")) => {
                levels.push(level);
                levels.extend(one);
                break;
            }
            (Some("+"), Some(level)) | (Some(level), Some("+")) => level,
            (Some(a), Some(b)) if a == b => a,
            _ => return None,
        };
        levels.push(level);
    }
    // A `#` that is left on one side alone covers the level before it.
    // No topic is empty, so that is nothing in common.
    Some(levels.join("/")).filter(|filter| !filter.is_empty())
}

/// Whether two filters may have a topic in common; a name may be any text.
fn meets(one: &str, two: &str) -> bool {
    let wild = |filter: &str| {
        filter
            .split('/')
            .map(|level| if matches!(level, "%u" | "%c") { "+" } else { level })
            .collect::<Vec<_>>()
            .join("/")
    };
    common(&wild(one), &wild(two)).is_some()
}

/// Whether every topic of the second is one of the first.
fn contains(outer: &str, inner: &str) -> bool {
    common(outer, inner).is_some_and(|common| common == inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_have_filters_in_common() {
        for (one, two, expected) in [
            ("a/+", "+/b", Some("a/b")),
            ("a/#", "a/+/#", Some("a/+/#")),
            ("a/#", "a", Some("a")),
            ("#", "a/b/#", Some("a/b/#")),
            ("a/#", "#", Some("a/#")),
            ("a/b", "a/c", None),
            ("a", "a/+", None),
            ("#", "$SYS/a", None),
            ("$SYS/#", "$SYS/a", Some("$SYS/a")),
            ("a/%u/#", "a/+/b", Some("a/%u/b")),
            ("a/%u", "a/b", None),
        ] {
            assert_eq!(common(one, two).as_deref(), expected, "{one} {two}");
            assert_eq!(common(two, one).as_deref(), expected, "{two} {one}");
        }
        assert!(meets("a/%u", "a/b") && contains("a/#", "a/%u/+") && !contains("a/+", "a/#"));
    }
}
