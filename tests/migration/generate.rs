//! Random files of other ways to control access, wild enough to reach their corners, and narrow enough that rules meet.

use std::fmt::Write as _;

use fastrand::Rng;

/// Names that `%u` stands for, and names that it does not; the same for client ids.
pub(crate) const USERS: [&str; 8] = ["alice", "bob", "a", "x y", "a+b", "n/m", "$d", "\u{e9}"];

/// Who asks: user name and client id.
pub(crate) const CLIENTS: [(Option<&str>, &str); 14] = [
    (Some("alice"), "alice"),
    (Some("alice"), "b"),
    (Some("alice"), "i#d"),
    (Some("bob"), "n/m"),
    (Some("bob"), "$d"),
    (Some("a"), "bob"),
    (Some("x y"), "x y"),
    (Some("a+b"), "c"),
    (Some("n/m"), "c"),
    (Some("$d"), "$d"),
    (Some("\u{e9}"), "\u{e9}"),
    (Some("nobody"), "c"),
    (None, "c"),
    (None, "a"),
];

fn pick<'t>(random: &mut Rng, texts: &[&'t str]) -> &'t str {
    texts[random.usize(..texts.len())]
}

/// A topic name.
pub(crate) fn topic(random: &mut Rng) -> String {
    let levels = ["a", "b", "c", "", "alice", "bob", "$d", "x-bob", "x y", "%u", "n", "m", "other"];
    loop {
        let topic = (0..random.usize(1..5)).map(|_| pick(random, &levels)).collect::<Vec<_>>().join("/");
        if !topic.is_empty() {
            return topic;
        }
    }
}

/// A topic filter, of a pattern or not.
fn filter(random: &mut Rng, is_pattern: bool) -> String {
    let plain = ["a", "a", "a", "b", "b", "c", "+", "+", "", "alice", "bob", "$d", "x y"];
    let wild = ["%u", "%u", "%u", "%c", "x-%u", "%cz"];
    loop {
        let mut levels: Vec<&str> = (0..random.usize(1..4))
            .map(|_| {
                let template = random.usize(..if is_pattern { 3 } else { 24 }) == 0;
                if template { pick(random, &wild) } else { pick(random, &plain) }
            })
            .collect();
        if random.usize(..3) == 0 {
            levels.push("#");
        }
        let filter = levels.join("/");
        // Blanks at the end are trimmed, and are no part of it.
        if !filter.is_empty() && filter.trim() == filter {
            return filter;
        }
    }
}

/// An `acl_file` with up to so many rules.
pub(crate) fn acl_file(random: &mut Rng, most: usize) -> String {
    let mut text = String::new();
    // Whose the rules before any `user` are depends on who reads them.
    let rules = random.usize(1..=most);
    let mut left_of_section = random.usize(0..2);
    for _ in 0..rules {
        if left_of_section == 0 {
            left_of_section = random.usize(1..4);
            let _ = writeln!(text, "{}user {}", pick(random, &["", "# a comment\n", "\n", "  "]), pick(random, &USERS));
        }
        left_of_section -= 1;
        let is_pattern = random.usize(..3) == 0;
        let kind = if is_pattern { "pattern" } else { "topic" };
        let filter = filter(random, is_pattern);
        let access = pick(random, &["", "", "read", "write", "readwrite", "readwrite", "readwrite", "deny", "deny"]);
        let access = if access.is_empty() && filter.contains(' ') { "read" } else { access };
        let gap = pick(random, &[" ", " ", "  "]);
        let separator = if access.is_empty() { "" } else { " " };
        let _ = writeln!(text, "{kind}{gap}{access}{separator}{filter}{}", pick(random, &["", "", " ", "\r"]));
    }
    text
}

/// A file of dynamic-security.
pub(crate) fn dynamic_security(random: &mut Rng) -> String {
    const KINDS: [&str; 6] = [
        "publishClientSend",
        "publishClientSend",
        "publishClientReceive",
        "publishClientReceive",
        "subscribePattern",
        "subscribeLiteral",
    ];
    let roles = ["r1", "r2", "r3"];
    let role_list = |random: &mut Rng| {
        let mut list = Vec::new();
        for role in roles {
            if random.usize(..2) == 0 {
                let priority = random.i32(-1..3);
                list.push(format!("{{\"rolename\": \"{role}\", \"priority\": {priority}}}"));
            }
        }
        list.join(", ")
    };
    let mut made = Vec::new();
    for role in roles {
        let mut acls = Vec::new();
        let mut seen = Vec::new();
        for _ in 0..random.usize(1..6) {
            let (kind, is_pattern) = (pick(random, &KINDS), random.usize(..3) == 0);
            let topic = filter(random, is_pattern);
            if seen.contains(&(kind, topic.clone())) {
                continue;
            }
            let (priority, allow) = (random.i32(-1..3), random.usize(..5) < 3);
            acls.push(format!(
                "{{\"acltype\": \"{kind}\", \"topic\": \"{topic}\", \"priority\": {priority}, \"allow\": {allow}}}"
            ));
            seen.push((kind, topic));
        }
        made.push(format!("{{\"rolename\": \"{role}\", \"acls\": [\n{}\n]}}", acls.join(",\n")));
    }
    let clients: Vec<_> = USERS
        .iter()
        .map(|user| {
            let id = if random.usize(..4) == 0 { ", \"clientid\": \"the-id\"" } else { "" };
            format!("{{\"username\": \"{user}\"{id}, \"roles\": [{}]}}", role_list(random))
        })
        .collect();
    let groups: Vec<_> = ["g1", "g2"]
        .iter()
        .map(|group| {
            let mut members = Vec::new();
            for user in USERS {
                if random.usize(..3) == 0 {
                    members.push(format!("{{\"username\": \"{user}\", \"priority\": {}}}", random.i32(-1..3)));
                }
            }
            let roles = role_list(random);
            format!("{{\"groupname\": \"{group}\", \"roles\": [{roles}], \"clients\": [{}]}}", members.join(", "))
        })
        .collect();
    let mut flag = || random.usize(..3) == 0;
    let (send, receive, subscribe) = (flag(), !flag(), flag());
    let anonymous = if flag() { ", \"anonymousGroup\": \"g1\"" } else { "" };
    format!(
        "{{\"defaultACLAccess\": {{\"publishClientSend\": {send}, \"publishClientReceive\": {receive}, \"subscribe\": \
         {subscribe}, \"unsubscribe\": true}},\n\"clients\": [\n{}\n],\n\"groups\": [\n{}\n],\n\"roles\": \
         [\n{}\n]{anonymous}}}\n",
        clients.join(",\n"),
        groups.join(",\n"),
        made.join(",\n")
    )
}
