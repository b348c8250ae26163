//! What a policy means for sessions that an earlier one admitted.

use std::collections::HashSet;

use crate::credential::CredentialId;
use crate::decision::Client;
use crate::matcher::Kind;
use crate::plain::Wanted;
use crate::policy::{Policy, SetId};
use crate::template::Names;
use crate::topic::Level;

/// How many rules of a client are looked at; whoever has more is taken to have lost something.
const MOST: usize = 1024;

impl Policy {
    /// Whether this is still one of the user's password strings.
    #[must_use]
    pub fn has_credential(&self, user: &[u8], credential: CredentialId) -> bool {
        let credentials = self.users.get(user).map(|user| user.credentials()).unwrap_or_default();
        credentials.iter().any(|known| known.id() == credential)
    }

    /// Whether the client may subscribe to less than under the old policy, or it cannot be told: for a session whose
    /// subscriptions are not known. What only adds rights never counts as less.
    #[must_use]
    pub fn reads_less(&self, old: &Self, client: &Client<'_>) -> bool {
        let (before, now) = (old.sets_of(client), self.sets_of(client));
        let denied: HashSet<_> = old.filters(client, &before, "deny.subscribe").collect();
        if self.filters(client, &now, "deny.subscribe").any(|filter| !denied.contains(&filter)) {
            return true;
        }
        // What was granted beyond the rules themselves. Whether a group is among those of another is not looked into.
        let groups = |policy: &Self, sets: &[SetId]| {
            policy.each(sets).map(|set| set.groups().map(<[_]>::to_vec)).collect::<HashSet<_>>()
        };
        let overlap = |policy: &Self, sets: &[SetId]| policy.each(sets).any(|set| set.overlap);
        let limited = self.each(&now).any(|set| set.groups().is_some());
        if limited && groups(old, &before) != groups(self, &now) || overlap(old, &before) && !overlap(self, &now) {
            return true;
        }
        let held: HashSet<_> = self.filters(client, &now, "subscribe").collect();
        let mut lost = old.filters(client, &before, "subscribe").filter(|filter| !held.contains(filter));
        let names = Names::new(client.user, client.id, self.attributes_of(client));
        let covered = |filter: &[Level<'_>]| {
            self.forest.cover(self.each(&now).map(|set| set.tree), filter, &names, Kind::AllowSubscribe).is_some()
        };
        lost.by_ref().take(MOST).any(|filter| !covered(&filter)) || lost.next().is_some()
    }

    /// The topic filters that the rules of these sets under this key are for the client; those that mean nothing for it are
    /// left out.
    fn filters<'a>(
        &'a self,
        client: &Client<'a>,
        sets: &'a [SetId],
        key: &'a str,
    ) -> impl Iterator<Item = Vec<Level<'a>>> {
        let values = self.values(client);
        let level = |wanted| match wanted {
            Wanted::Text(text) => Some(Level::Literal(text)),
            Wanted::Any => Some(Level::Plus),
            Wanted::Rest => Some(Level::Rest),
            Wanted::Nothing => None,
        };
        let rules = sets.iter().flat_map(|set| self.rules.of(*set)).filter(move |(_, rule)| rule.key == key);
        rules.filter_map(move |(_, rule)| values.levels(rule.text).map(level).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Client<'_> = Client { user: Some(b"u"), id: b"u" };

    fn policy(text: &str) -> Policy {
        crate::parse(&format!("version = 1\n{text}"), "p").unwrap().policy
    }

    fn user(rules: &str) -> Policy {
        policy(&format!("[users.other]\n[users.u]\n{rules}\n"))
    }

    #[test]
    fn less_is_what_was_granted_and_is_no_longer() {
        let cases = [
            (r#"subscribe = ["a/#", "b"]"#, r#"subscribe = ["a/#", "b"]"#, false),
            (r#"subscribe = ["a/#"]"#, r#"subscribe = ["a/#", "b"]"#, false),
            (r#"subscribe = ["a/#", "b"]"#, r#"subscribe = ["a/#"]"#, true),
            (r#"subscribe = ["a/b", "a/+"]"#, r#"subscribe = ["a/#"]"#, false),
            (r#"subscribe = ["a/#"]"#, r#"subscribe = ["a", "a/+/#"]"#, false),
            (r#"subscribe = ["a/#"]"#, r#"subscribe = ["a", "a/+"]"#, true),
            (r#"subscribe = ["%u/x"]"#, r#"subscribe = ["u/x"]"#, false),
            (r#"subscribe = ["%u/x"]"#, r#"subscribe = ["v/x"]"#, true),
            (r#"subscribe = ["%c/x"]"#, r#"subscribe = ["%u/#"]"#, false),
            (r#"subscribe = ["a"]"#, "subscribe = [\"a\"]\ndeny = { subscribe = [\"a\"] }", true),
            ("subscribe = [\"a\"]\ndeny = { subscribe = [\"a\"] }", r#"subscribe = ["a"]"#, false),
            (r#"subscribe = ["a"]"#, "subscribe = [\"a\"]\nshare = [\"g\"]", true),
            ("subscribe = [\"a\"]\noverlap = true", r#"subscribe = ["a"]"#, true),
            (r#"subscribe = ["a"]"#, "subscribe = [\"a\"]\noverlap = true", false),
            ("attributes.a = \"1\"\nsubscribe = [\"%{a}\"]", "attributes.a = \"1\"\nsubscribe = [\"%{a}\"]", false),
            ("attributes.a = \"1\"\nsubscribe = [\"%{a}\"]", "attributes.a = \"2\"\nsubscribe = [\"%{a}\"]", true),
            ("attributes.a = \"1\"\nsubscribe = [\"%{a}\"]", r#"subscribe = ["1"]"#, false),
            (r#"publish = ["a"]"#, "", false),
            (r#"receive = ["a"]"#, "", false),
            (r#"subscribe = ["a"]"#, "subscribe = [\"a\"]\ndisabled = true", true),
        ];
        for (old, new, expected) in cases {
            assert_eq!(user(new).reads_less(&user(old), &CLIENT), expected, "{old} -> {new}");
        }
        let (one, roles) = ("[roles.a]\nsubscribe = [\"a\"]\n[roles.b]\nsubscribe = [\"b\"]\n", |roles: &str| {
            format!("[users.u]\nroles = [{roles}]\n")
        });
        let with = |list: &str| policy(&format!("{one}{}", roles(list)));
        assert!(!with("\"a\", \"b\"").reads_less(&with("\"b\""), &CLIENT));
        assert!(with("\"a\"").reads_less(&with("\"b\", \"a\""), &CLIENT));
        assert!(policy("").reads_less(&with("\"a\""), &CLIENT), "the user is gone");
    }

    #[test]
    fn what_cannot_be_looked_through_counts_as_less() {
        let many = |count: usize| {
            let filters: Vec<_> = (0..count).map(|number| format!("\"a/{number}\"")).collect();
            user(&format!("subscribe = [{}]", filters.join(", ")))
        };
        assert!(!user(r#"subscribe = ["a/#"]"#).reads_less(&many(MOST), &CLIENT));
        assert!(user(r#"subscribe = ["a/#"]"#).reads_less(&many(MOST + 1), &CLIENT));
        assert!(!many(2 * MOST).reads_less(&many(2 * MOST), &CLIENT));
    }

    #[test]
    fn a_credential_is_known_to_every_policy_that_holds_it() {
        const ONE: &str = "$token$akAHzq35dAkzl9Z12d5LIfjLygc3310Wbe5TO6N7fAM";
        const SECRET: &[u8] = b"mqttacl_j5_QBnQff6D8H63DZXzs-5wazaVXxwwN0Ye5Lmj7tSUX8fCUw";
        const OTHER: &str = "$token$bkAHzq35dAkzl9Z12d5LIfjLygc3310Wbe5TO6N7fAM";
        let of = |passwords: &[&str]| user(&format!("password = {passwords:?}"));
        let old = of(&[ONE]);
        let credential = |policy: &Policy, secret| policy.credential(b"u", &policy.recall(b"u", Some(secret)).unwrap());
        let id = credential(&old, SECRET).unwrap();
        assert_eq!(credential(&old, b"wrong"), None);
        assert_eq!(
            of(&[OTHER]).credential(b"u", &old.recall(b"u", Some(SECRET)).unwrap()),
            None,
            "not its own verdict"
        );
        assert_eq!(credential(&of(&[OTHER, ONE]), SECRET), Some(id));
        assert!(of(&[ONE]).has_credential(b"u", id) && of(&[OTHER, ONE]).has_credential(b"u", id));
        assert!(!of(&[OTHER]).has_credential(b"u", id) && !of(&[ONE]).has_credential(b"other", id));
        assert!(!of(&[]).has_credential(b"u", id) && !Policy::deny_all().has_credential(b"u", id));
    }
}
