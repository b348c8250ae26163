//! Who can: whatever it tells of everybody and every client id, the plain reference says when asked one by one.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "other tests use more of it")]
mod reference;
mod world;

use std::collections::BTreeMap;

use mqtt_acl_policy::{Action, Client, Ids, Verb, Who, parse};
use reference::Reference;

/// Names that nobody lists, some of which a generated `[[match]]` admits.
const UNLISTED: [&str; 5] = ["new1", "newx", "c", "a", "zz"];
const AUTO: &str = "auto-0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0";

#[test]
fn each_is_told_who_may_and_under_which_ids() {
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    world::check(500, |dice| {
        let table = world::policy(dice);
        let Ok(loaded) = parse(&table.to_string(), "policy.toml") else { panic!("{table}") };
        let reference = Reference::read(&world::expanded(&table).to_string());
        for verb in Verb::ALL {
            let topic = world::topic(dice, verb);
            let mut able = BTreeMap::new();
            loaded.policy.who_can(verb, topic.as_bytes(), |found| {
                let who = match found.who {
                    Who::User(name) => format!("user {}", String::from_utf8_lossy(name)),
                    Who::Anonymous => "anonymous".to_owned(),
                    Who::Unlisted(name) => format!("unlisted {name}"),
                };
                assert!(able.insert(who, found.ids).is_none());
            });
            let ids: Vec<Vec<u8>> = world::IDS
                .into_iter()
                .chain(["u-1111", "gw-77", "anon-77", "v-3", AUTO])
                .chain(topic.split('/'))
                .chain(UNLISTED)
                .map(|id| id.as_bytes().to_vec())
                .collect();
            let somebody = world::USERS.iter().map(|name| (format!("user {name}"), Some(*name)));
            for (who, user) in somebody.chain([("anonymous".to_owned(), None)]) {
                let client = |id| Client { user: user.map(str::as_bytes), id };
                let context = || format!("{who}: {verb} {topic}: {:?}\n{table}", able.get(&who));
                let mut allowed = Vec::new();
                for id in ids.iter().filter(|id| reference.allows(&client(id), Action::Connect)) {
                    let may = reference.allows(&client(id), verb.on(topic.as_bytes()));
                    let told = match able.get(&who) {
                        None => false,
                        Some(Ids::All) => true,
                        Some(Ids::AllBut(but)) => !but.contains(id),
                        Some(Ids::Only(only)) => only.contains(id),
                    };
                    assert_eq!(told, may, "as {}: {}", String::from_utf8_lossy(id), context());
                    allowed.extend(may.then_some(id));
                }
                assert_eq!(able.contains_key(&who), !allowed.is_empty(), "{}", context());
                let kind = match able.get(&who) {
                    None => "nobody",
                    Some(Ids::All) => "all",
                    Some(Ids::AllBut(_)) => "all but",
                    Some(Ids::Only(_)) => "only",
                };
                *told.entry(kind).or_default() += 1;
            }
            for name in UNLISTED {
                let user = Some(name.as_bytes());
                let may = ids.iter().any(|id| reference.allows(&Client { user, id }, verb.on(topic.as_bytes())));
                let named = topic.split('/').any(|level| level == name);
                let found = able.keys().filter_map(|who| who.strip_prefix("unlisted ")).any(|pattern| match named {
                    true => pattern == name,
                    false => pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start)),
                });
                assert_eq!(found, may, "{name}: {verb} {topic}: {able:?}\n{table}");
                *told.entry("unlisted").or_default() += usize::from(may);
            }
        }
    });
    println!("{told:?}");
    for kind in ["nobody", "all", "all but", "only", "unlisted"] {
        assert!(told.get(kind) > Some(&3), "{kind}: {told:?}");
    }
}
