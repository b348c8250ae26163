//! `compare`, and the topics and filters that it asks about, against trying everything out.

#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use mqtt_acl_policy::{Action, Client, Extent, Filters, Holders, Policy, Right, compare, parse};
use proptest::prelude::*;

const LEVELS: [&str; 6] = ["a", "b", "", "u1", "$d", "other"];
const ID: &[u8] = b"u1";

/// Every text of up to so many of these levels, the empty one excepted.
fn texts(levels: &[&str], most: usize) -> Vec<String> {
    let mut all = Vec::new();
    let mut longest: Vec<Vec<&str>> = vec![Vec::new()];
    for _ in 0..most {
        longest = longest.iter().flat_map(|text| levels.iter().map(|level| [&text[..], &[*level]].concat())).collect();
        all.extend(longest.iter().map(|text| text.join("/")).filter(|text| !text.is_empty()));
    }
    all
}

fn filters_of(most: usize) -> Vec<String> {
    let levels = [&LEVELS[..], &["+"]].concat();
    let plain = texts(&levels, most);
    let rest = plain.iter().map(|filter| format!("{filter}/#"));
    rest.chain(plain.iter().cloned()).chain(["#".to_owned(), "/#".to_owned()]).collect()
}

fn policy(text: &str) -> Policy {
    parse(&format!("version = 1\n{text}"), "p").unwrap_or_else(|failure| panic!("{failure:?}\n{text}")).policy
}

fn rule() -> impl Strategy<Value = String> {
    let level = prop::sample::select(vec!["a", "a", "b", "", "+", "+", "%u", "$d"]);
    (prop::collection::vec(level, 1..4), any::<bool>())
        .prop_map(|(levels, rest)| levels.join("/") + if rest { "/#" } else { "" })
        .prop_filter("no filter", |filter| !filter.is_empty())
}

fn rules() -> impl Strategy<Value = String> {
    let list = || prop::collection::vec(rule(), 0..4);
    (list(), list(), list(), prop::collection::vec(rule(), 0..2), prop::collection::vec(rule(), 0..2), any::<bool>())
        .prop_map(|(publish, subscribe, receive, deny_publish, deny_subscribe, overlap)| {
            format!(
                "publish = {publish:?}\nsubscribe = {subscribe:?}\nreceive = {receive:?}\ndeny = {{ publish = {deny_publish:?}, \
                 subscribe = {deny_subscribe:?} }}\noverlap = {overlap}\n"
            )
        })
}

/// The kinds of rights that differ, and which way, by trying all topics and filters out.
fn tried_out(old: &Policy, new: &Policy) -> BTreeSet<(Right, bool)> {
    let client = Client { user: Some(ID), id: ID };
    let mut found = BTreeSet::new();
    let mut differ = |right: Right, action: Action<'_>| {
        let (old, new) = (old.authorize(&client, action).is_allow(), new.authorize(&client, action).is_allow());
        if old != new {
            found.insert((right, new));
        }
    };
    for topic in texts(&LEVELS, 4) {
        differ(Right::Publish, Action::Publish(topic.as_bytes()));
        differ(Right::Receive, Action::Receive(topic.as_bytes()));
    }
    for filter in filters_of(3) {
        differ(Right::Subscribe, Action::Subscribe(filter.as_bytes()));
        let shared = format!("$share/g/{filter}");
        differ(Right::Subscribe, Action::Subscribe(shared.as_bytes()));
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nothing that trying out finds is missing, and what is found is so.
    #[test]
    fn comparing_finds_what_trying_out_finds(old in rules(), new in rules()) {
        let (old, new) = (policy(&format!("[users.u1]\n{old}")), policy(&format!("[users.u1]\n{new}")));
        let comparison = compare(&old, &new);
        prop_assert_eq!(comparison.extent, Extent::Whole);
        let found: BTreeSet<_> = comparison.changes.iter().map(|change| (change.right, change.grows)).collect();
        for tried in tried_out(&old, &new) {
            prop_assert!(found.contains(&tried), "{:?} is not among {:?}", tried, comparison.changes);
        }
        for change in &comparison.changes {
            let client = Client { user: Some(ID), id: &change.client_id };
            let action = match change.right {
                Right::Publish => Action::Publish(&change.witness),
                Right::Receive => Action::Receive(&change.witness),
                Right::Subscribe => Action::Subscribe(&change.witness),
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(old.authorize(&client, action).is_allow(), !change.grows);
            prop_assert_eq!(new.authorize(&client, action).is_allow(), change.grows);
        }
    }

    /// Each topic is matched by the same filters as one of those that stand for all.
    #[test]
    fn some_topic_stands_for_each(rules in prop::collection::vec(rule(), 0..6)) {
        let mut filters = Filters::default();
        let rules: Vec<String> = rules.into_iter().map(|rule| rule.replace("%u", "u1")).collect();
        rules.iter().for_each(|rule| filters.insert(rule.as_bytes()));
        let (topics, extent) = filters.walk().topics(100_000);
        prop_assert_eq!(extent, Extent::Whole);
        let of = |topic: &str| -> (bool, Vec<bool>) {
            (topic.starts_with('$'), rules.iter().map(|rule| fits(rule, topic)).collect())
        };
        let known: BTreeSet<_> = topics.iter().map(|(_, topic)| of(std::str::from_utf8(topic).unwrap())).collect();
        for topic in texts(&LEVELS, 4) {
            prop_assert!(known.contains(&of(&topic)), "{} of {:?}", topic, rules);
        }
    }
}

/// Level by level, without a rule for `$`.
fn fits(rule: &str, topic: &str) -> bool {
    let mut topic = topic.split('/');
    for level in rule.split('/') {
        if level == "#" {
            return true;
        }
        match topic.next() {
            Some(text) if level == "+" || level == text => {}
            _ => return false,
        }
    }
    topic.next().is_none()
}

fn lines(old: &str, new: &str) -> Vec<String> {
    let comparison = compare(&policy(old), &policy(new));
    assert_eq!(comparison.extent, Extent::Whole);
    comparison
        .changes
        .iter()
        .map(|change| {
            let who = match &change.who {
                Holders::Users(count, name) => format!("{count} {}", String::from_utf8_lossy(name)),
                Holders::Anonymous => "anonymous".into(),
                Holders::Unlisted(name) => format!("unlisted {}", String::from_utf8_lossy(name)),
            };
            let sign = if change.grows { '+' } else { '-' };
            format!("{sign} {who} {:?} {}", change.right, String::from_utf8_lossy(&change.witness))
        })
        .collect()
}

#[test]
fn users_with_the_same_rules_are_told_of_together() {
    let users = |count: usize| (0..count).map(|n| format!("[users.dev{n}]\nroles = ['d']\n")).collect::<String>();
    let old = format!("[roles.d]\npublish = ['dt/%u/#', 'x']\n{}[users.o]\npublish = ['o']\n", users(412));
    let new = format!(
        "[roles.d]\npublish = ['dt/%u/+', 'x']\nsubscribe = ['cmd/%u']\n{}[users.o]\npublish = ['o']\n",
        users(412)
    );
    assert_eq!(
        lines(&old, &new),
        ["- 412 dev0 Publish dt/dev0", "+ 412 dev0 Subscribe cmd/dev0", "+ 412 dev0 Receive cmd/dev0",]
    );
}

#[test]
fn users_with_other_roles_are_told_of_together_where_the_same_holds_of_them() {
    let users = "[users.a]\nroles = ['r']\n[users.b]\nroles = ['r']\npublish = ['b']\n";
    let (old, new) = (format!("[roles.r]\npublish = ['x']\n{users}"), format!("[roles.r]\n{users}"));
    assert_eq!(lines(&old, &new), ["- 2 a Publish x"]);
}

#[test]
fn a_user_whose_name_is_spelled_out_is_told_apart() {
    let users = "[users.a]\nroles = ['r']\n[users.b]\nroles = ['r']\n";
    let old = format!("[roles.r]\npublish = ['t/%u', 't/b']\n{users}");
    let new = format!("[roles.r]\npublish = ['t/%u']\n{users}");
    assert_eq!(lines(&old, &new), ["- 1 a Publish t/b"]);
}

#[test]
fn other_words_for_the_same_are_no_difference() {
    let old = "[roles.r]\nsubscribe = ['a/#']\n[users.u]\nroles = ['r']\n[users.v]\nsubscribe = ['b']\n";
    let new = "[users.u]\nsubscribe = ['a', 'a/+/#']\n[roles.v]\nsubscribe = ['b']\n[users.v]\nroles = ['v']\n";
    assert!(lines(old, new).is_empty());
}

#[test]
fn who_is_admitted_and_as_whom_is_compared() {
    let user = "[users.u]\npublish = ['a']\n";
    assert_eq!(lines(user, &format!("{user}[users.v]\n")), ["+ 1 v Connect v"]);
    assert_eq!(lines(user, &format!("{user}disabled = true\n")), ["- 1 u Connect u"]);
    assert_eq!(lines(user, &format!("{user}client_id = ['%u']\n")), ["- 1 u ClientId u-other"]);
    assert_eq!(lines(user, &format!("{user}client_id = ['%u', '%u-*', 'gw']\n")), ["+ 1 u ClientId gw"]);
    assert_eq!(lines(user, &format!("{user}auto_id = false\n")).len(), 1);
    let free = "[users.u]\nclient_id = ['*']\n";
    assert_eq!(lines(&format!("{free}[users.v]\n"), free), ["+ 1 u ClientId v", "- 1 v Connect v"]);
    assert_eq!(lines("", "[anonymous]\npublish = ['a']\n")[0], "+ anonymous Connect anonymous");
    let unlisted = "[roles.r]\npublish = ['a']\n[[match]]\nusername = 'cn-*'\nroles = ['r']\nunlisted = true\n";
    assert_eq!(lines("", unlisted)[0], "+ unlisted cn-other Connect cn-other");
    assert_eq!(lines(user, &format!("{user}api = true\n")), ["+ 1 u Api /api/v1/"]);
    let password = mqtt_acl_policy::hash(b"secret").unwrap();
    assert_eq!(lines(user, &format!("{user}password = '{password}'\n")), ["+ 1 u Login u"]);
}

#[test]
fn groups_of_shared_subscriptions_are_compared() {
    let old = "[users.u]\nsubscribe = ['a']\n";
    assert_eq!(lines(old, &format!("{old}share = ['g']\n")), ["- 1 u Subscribe $share/other/a"]);
}
