//! The specification in the simplest words that decide: no tree, no cleverness, no care for time.
//!
//! It reads the same TOML as the engine, but shares no code with it. Containment is decided by writing down every topic
//! of a filter over a small alphabet: each text that the policy names, the client's own names, the empty level, a text
//! that nobody names, and that with `$`. More texts than that no rule can tell apart.

use std::collections::BTreeSet;

use mqtt_acl_policy::{Action, Client};

/// A policy, as written.
#[derive(Debug)]
pub(crate) struct Reference {
    policy: toml::Table,
}

/// A role, a user's own rules, or `[anonymous]`, as written.
#[derive(Clone, Copy, Debug)]
struct Set<'r>(&'r toml::Table);

impl Reference {
    pub(crate) fn read(text: &str) -> Self {
        Self { policy: text.parse().unwrap() }
    }

    pub(crate) fn allows(&self, client: &Client<'_>, action: Action<'_>) -> bool {
        if action == Action::Unsubscribe {
            return true;
        }
        let Some(sets) = self.sets(client) else { return false };
        if let Action::Api(path) = action {
            return path.starts_with(b"/api/") && sets.iter().any(|set| set.flag("api") == Some(true));
        }
        if !self.is_bound(client, &sets) {
            return false;
        }
        match action {
            Action::Publish(topic) => {
                fits_any(&sets, &["publish"], topic, client) && !denied(&sets, "publish", topic, client)
            }
            Action::Receive(topic) => {
                fits_any(&sets, &["subscribe", "receive"], topic, client) && !denied(&sets, "subscribe", topic, client)
            }
            Action::Subscribe(text) => self.may_subscribe(&sets, text, client),
            _ => true,
        }
    }

    /// Every topic that the filter matches, of those that are different for this policy (S10, S11).
    pub(crate) fn topics_of(&self, filter: &[u8], client: &Client<'_>) -> Vec<Vec<u8>> {
        let sets = self.sets(client).unwrap_or_default();
        let mut texts: BTreeSet<Vec<u8>> = [&b""[..], b"fresh", b"$fresh"].iter().map(|text| text.to_vec()).collect();
        let mut deepest = filter.split(|b| *b == b'/').count();
        for rule in sets.iter().flat_map(|set| set.all_filters()) {
            deepest = deepest.max(rule.split('/').count());
            texts.extend(rule.split('/').filter(|level| !["+", "#", "%u", "%c"].contains(level)).map(Into::into));
        }
        texts.extend([client.user.unwrap_or_default(), client.id].map(<[u8]>::to_vec));
        texts.retain(|text| !text.iter().any(|b| matches!(b, b'/' | b'+' | b'#')));

        let mut topics: Vec<Vec<Vec<u8>>> = vec![Vec::new()];
        let mut complete = Vec::new();
        let levels: Vec<&[u8]> = filter.split(|b| *b == b'/').collect();
        // One level more than any rule names: there only `#` reaches.
        for depth in 0..=deepest + 1 {
            let level = levels.get(depth).copied().or_else(|| levels.last().copied().filter(|last| *last == b"#"));
            if matches!(level, None | Some(b"#")) {
                complete.extend(topics.iter().filter(|topic| !topic.is_empty()).cloned());
            }
            let next: Vec<&[u8]> = match level {
                None => break,
                Some(b"+" | b"#") => {
                    texts.iter().map(Vec::as_slice).filter(|t| depth == 0 || *t != b"$fresh").collect()
                }
                Some(text) => vec![text],
            };
            topics = topics
                .iter()
                .flat_map(|topic| next.iter().map(move |level| [topic.as_slice(), &[level.to_vec()]].concat()))
                .filter(|topic| !(matches!(levels[0], b"+" | b"#") && topic[0].starts_with(b"$")))
                .collect();
        }
        complete.iter().map(|topic| topic.join(&b'/')).filter(|topic| !topic.is_empty()).collect()
    }

    fn may_subscribe(&self, sets: &[Set<'_>], text: &[u8], client: &Client<'_>) -> bool {
        let (group, filter) = match text.strip_prefix(b"$share") {
            None => (None, text),
            Some(rest) => {
                let parts: Vec<&[u8]> = rest.splitn(3, |b| *b == b'/').collect();
                let [b"", group, filter] = parts[..] else { return false };
                if group.is_empty() || group.iter().any(|b| b"+#".contains(b)) {
                    return false;
                }
                (Some(group), filter)
            }
        };
        if !is_filter(filter) {
            return false;
        }
        let topics = self.topics_of(filter, client);
        let granting: Vec<_> = sets.iter().copied().filter(|set| group.is_none_or(|g| set.admits_group(g))).collect();
        let readable = |sets: &[Set<'_>], topic: &[u8], all: &[Set<'_>]| {
            fits_any(sets, &["subscribe"], topic, client) && !denied(all, "subscribe", topic, client)
        };
        if topics.iter().all(|topic| readable(&granting, topic, sets)) {
            return true;
        }
        let overlapping: Vec<_> = sets.iter().copied().filter(|set| set.flag("overlap") == Some(true)).collect();
        group.is_none() && topics.iter().any(|topic| readable(&overlapping, topic, sets))
    }

    /// Whether some listed user's patterns, `*` apart, admit an id that is another's (S5), tried out.
    pub(crate) fn ids_collide(&self) -> bool {
        let names: Vec<&str> = self.table("users").map(|(name, _)| name).collect();
        names.iter().any(|name| {
            let user = Some(name.as_bytes());
            let sets = self.sets(&Client { user, id: b"" }).unwrap_or_default();
            let mut patterns: Vec<_> = sets.iter().flat_map(|set| set.texts("client_id")).collect();
            if !sets.iter().any(|set| set.0.contains_key("client_id")) {
                patterns = vec!["%u", "%u-*"];
            }
            patterns.retain(|pattern| *pattern != "*");
            let texts = patterns.iter().map(|pattern| pattern.trim_end_matches('*').replace("%u", name));
            let stems: Vec<String> = names.iter().map(|name| (*name).to_owned()).chain(texts).collect();
            let tails = ["", "-", "z", "-z"];
            let mut ids =
                stems.iter().flat_map(|stem| tails.iter().map(move |tail| format!("{stem}{tail}").into_bytes()));
            ids.any(|id| {
                patterns.iter().any(|pattern| pattern_fits(pattern, &id, user))
                    && self.owner(&id).is_some_and(|owner| Some(owner) != user)
            })
        })
    }

    /// Whose id it is: of the listed names that are the id, or the id up to a `-`, the longest (S5).
    fn owner(&self, id: &[u8]) -> Option<&[u8]> {
        self.table("users")
            .map(|(name, _)| name.as_bytes())
            .filter(|name| id.strip_prefix(*name).is_some_and(|rest| rest.is_empty() || rest[0] == b'-'))
            .max_by_key(|name| name.len())
    }

    /// Whether the client id is one of the client's (S4, S5).
    fn is_bound(&self, client: &Client<'_>, sets: &[Set<'_>]) -> bool {
        let id = client.id;
        let denied = sets.iter().flat_map(|set| set.denied("client_id"));
        if id == b"http-api" || denied.into_iter().any(|pattern| pattern_fits(pattern, id, client.user)) {
            return false;
        }
        if self.owner(id).is_some_and(|owner| Some(owner) != client.user) {
            return false;
        }
        let naming: Vec<_> = sets.iter().filter(|set| set.0.contains_key("client_id")).collect();
        let patterns: Vec<_> = match client.user {
            Some(_) if naming.is_empty() => vec!["%u", "%u-*"],
            None if naming.is_empty() => vec!["*"],
            _ => naming.iter().flat_map(|set| set.texts("client_id")).collect(),
        };
        let (any, own): (Vec<_>, Vec<_>) = patterns.into_iter().partition(|pattern| *pattern == "*");
        let refuses_auto = sets.iter().any(|set| set.flag("auto_id") == Some(false));
        let counts = |pattern: &str| !(refuses_auto && is_auto_id(id) && pattern.ends_with('*') && !naming.is_empty());
        if own.iter().any(|pattern| counts(pattern) && pattern_fits(pattern, id, client.user)) {
            return true;
        }
        if is_auto_id(id) {
            return !refuses_auto;
        }
        !any.is_empty()
    }

    /// The rule sets of a client, or `None` for one that is not admitted at all (S3, S6, S8).
    fn sets(&self, client: &Client<'_>) -> Option<Vec<Set<'_>>> {
        let Some(name) = client.user else {
            return Some(vec![Set(self.policy.get("anonymous")?.as_table().unwrap())]);
        };
        let user = self.table("users").find(|(listed, _)| listed.as_bytes() == name).map(|(_, user)| user);
        if user.is_some_and(|user| user.get("disabled").and_then(toml::Value::as_bool) == Some(true)) {
            return None;
        }
        let blocks = self.policy.get("match").and_then(toml::Value::as_array).into_iter().flatten();
        let matches: Vec<_> = blocks
            .map(|block| Set(block.as_table().unwrap()))
            .filter(|block| user.is_some() || block.flag("unlisted") == Some(true))
            .filter(|block| block.texts("username").into_iter().any(|pattern| pattern_fits(pattern, name, None)))
            .collect();
        if user.is_none() && matches.is_empty() {
            return None;
        }
        let holders = user.map(Set).into_iter().chain(matches);
        let roles = holders.flat_map(|holder| holder.texts("roles"));
        let roles = roles.map(|role| Set(self.table("roles").find(|(name, _)| *name == role).unwrap().1));
        Some(roles.chain(user.map(Set)).collect())
    }

    fn table(&self, key: &str) -> impl Iterator<Item = (&str, &toml::Table)> {
        let table = self.policy.get(key).and_then(toml::Value::as_table);
        table.into_iter().flatten().map(|(name, value)| (name.as_str(), value.as_table().unwrap()))
    }
}

impl<'r> Set<'r> {
    fn texts(self, key: &str) -> Vec<&'r str> {
        match self.0.get(key) {
            Some(toml::Value::Array(texts)) => texts.iter().map(|text| text.as_str().unwrap()).collect(),
            text => text.and_then(toml::Value::as_str).into_iter().collect(),
        }
    }

    fn denied(self, key: &str) -> Vec<&'r str> {
        let deny = self.0.get("deny").and_then(toml::Value::as_table);
        deny.map(|table| Set(table).texts(key)).unwrap_or_default()
    }

    fn all_filters(self) -> Vec<&'r str> {
        let own = ["publish", "subscribe", "receive"].into_iter().flat_map(|key| self.texts(key));
        own.chain(["publish", "subscribe"].into_iter().flat_map(|key| self.denied(key))).collect()
    }

    fn flag(self, key: &str) -> Option<bool> {
        self.0.get(key).and_then(toml::Value::as_bool)
    }

    fn admits_group(self, group: &[u8]) -> bool {
        !self.0.contains_key("share") || self.texts("share").iter().any(|known| known.as_bytes() == group)
    }
}

fn fits_any(sets: &[Set<'_>], keys: &[&str], topic: &[u8], client: &Client<'_>) -> bool {
    sets.iter().any(|set| keys.iter().any(|key| set.texts(key).iter().any(|rule| fits(rule, topic, client))))
}

fn denied(sets: &[Set<'_>], key: &str, topic: &[u8], client: &Client<'_>) -> bool {
    sets.iter().any(|set| set.denied(key).iter().any(|rule| fits(rule, topic, client)))
}

/// Whether the filter of a rule matches the topic name (S11, S12).
pub(crate) fn fits(rule: &str, topic: &[u8], client: &Client<'_>) -> bool {
    if topic.is_empty() {
        return false;
    }
    let rule: Vec<&str> = rule.split('/').collect();
    let topic: Vec<&[u8]> = topic.split(|b| *b == b'/').collect();
    if topic[0].starts_with(b"$") && ["+", "#", "%u", "%c"].contains(&rule[0]) {
        return false;
    }
    for (at, level) in rule.iter().enumerate() {
        if *level == "#" {
            return true;
        }
        let Some(found) = topic.get(at).copied() else { return false };
        let fits = match *level {
            "+" => true,
            "%u" => client.user == Some(found) && is_harmless(found),
            "%c" => client.id == found && is_harmless(found),
            text => text.as_bytes() == found,
        };
        if !fits {
            return false;
        }
    }
    rule.len() == topic.len()
}

/// Whether a name may stand for a level (S12).
fn is_harmless(name: &[u8]) -> bool {
    let text = String::from_utf8_lossy(name);
    !name.is_empty() && !text.starts_with('$') && !text.chars().any(|c| c.is_control() || "+#/".contains(c))
}

/// Whether this is a well-formed topic filter (MQTT 5, section 4.7.1).
pub(crate) fn is_filter(text: &[u8]) -> bool {
    let levels: Vec<&[u8]> = text.split(|b| *b == b'/').collect();
    let wild = |level: &[u8]| level.iter().any(|b| b"+#".contains(b));
    !text.is_empty()
        && !text.contains(&0)
        && levels.iter().all(|level| !wild(level) || level.len() == 1)
        && levels.iter().rev().skip(1).all(|level| *level != b"#")
}

/// Whether a pattern of client ids or user names fits (S3, S4).
fn pattern_fits(pattern: &str, name: &[u8], user: Option<&[u8]>) -> bool {
    if pattern == "*" {
        return !name.is_empty();
    }
    let (fixed, open) = pattern.strip_suffix('*').map_or((pattern, false), |fixed| (fixed, true));
    let mut wanted = Vec::new();
    for (number, literal) in fixed.split("%u").enumerate() {
        if number > 0 {
            let Some(user) = user.filter(|user| is_harmless(user)) else { return false };
            wanted.extend_from_slice(user);
        }
        wanted.extend_from_slice(literal.as_bytes());
    }
    match name.strip_prefix(wanted.as_slice()) {
        Some(rest) if open => !rest.is_empty() && !rest.contains(&b'/'),
        rest => rest == Some(b""),
    }
}

/// A UUID in capitals, with `auto-` before it or, after a SIGHUP of 2.0, without (S4).
fn is_auto_id(id: &[u8]) -> bool {
    let text = String::from_utf8_lossy(id);
    let uuid = text.strip_prefix("auto-").unwrap_or(&text);
    let lengths: Vec<_> = uuid.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && uuid.chars().all(|c| "-0123456789ABCDEF".contains(c))
}
