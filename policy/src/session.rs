//! What a policy means for sessions that an earlier one admitted.

use std::collections::{BTreeMap, HashSet};

use crate::credential::{Credential, CredentialId};
use crate::decision::Client;
use crate::matcher::Kind;
use crate::policy::{Policy, SetId};
use crate::template::{self, Names, Template, Variable};
use crate::topic::Level;

/// How many rules of a client are looked at; whoever has more is taken to have lost something.
const MOST: usize = 1024;

impl Policy {
    /// Whether this is still one of the user's password strings.
    #[must_use]
    pub fn has_credential(&self, user: &[u8], credential: CredentialId) -> bool {
        let user = self.users.get(user);
        user.is_some_and(|user| user.credentials().iter().map(Credential::id).any(|id| id == credential))
    }

    /// Whether the client may subscribe to less than under the old policy, or it cannot be told: for a session whose
    /// subscriptions are not known. What only adds rights never counts as less.
    #[must_use]
    pub fn reads_less(&self, old: &Self, client: &Client<'_>) -> bool {
        let (before, now) = (old.sets_of(client), self.sets_of(client));
        // What a rule says about an attribute is the same only if that is.
        let same_attributes = old.named_attributes(client) == self.named_attributes(client);
        let is_kept = |text: &str| same_attributes || !text.contains("%{");
        let denied: HashSet<_> = old.texts(&before, &["deny.subscribe"]).filter(|text| is_kept(text)).collect();
        if self.texts(&now, &["deny.subscribe"]).any(|text| !denied.contains(text)) {
            return true;
        }
        // What was granted beyond the rules themselves. Whether a group is among those of another is not looked into.
        let groups =
            |policy: &Self, sets: &[SetId]| policy.each(sets).map(|set| set.groups.clone()).collect::<HashSet<_>>();
        let overlap = |policy: &Self, sets: &[SetId]| policy.each(sets).any(|set| set.overlap);
        let limited = self.each(&now).any(|set| set.groups.is_some());
        if limited && groups(old, &before) != groups(self, &now) || overlap(old, &before) && !overlap(self, &now) {
            return true;
        }
        let held: HashSet<_> = self.texts(&now, &["subscribe"]).filter(|text| is_kept(text)).collect();
        let mut lost = old.texts(&before, &["subscribe"]).filter(|text| !held.contains(text));
        let covered = |text: &str| {
            let Ok(template) = Template::parse(text) else { return false };
            // A rule that means nothing for this client granted nothing.
            let Some(filter) = old.filled(&template, &old.names_for(client)) else { return true };
            let trees = self.each(&now).map(|set| set.tree);
            self.forest.cover(trees, &filter, &self.names_for(client), Kind::AllowSubscribe).is_some()
        };
        lost.by_ref().take(MOST).any(|text| !covered(text)) || lost.next().is_some()
    }

    /// The attributes of a client's user, by name: policies number them as they like.
    fn named_attributes(&self, client: &Client<'_>) -> BTreeMap<Option<&str>, &[u8]> {
        let attributes = self.attributes_of(client).iter();
        attributes.map(|(attribute, value)| (self.forest.attribute_name(*attribute), &**value)).collect()
    }

    fn names_for<'a>(&'a self, client: &Client<'a>) -> Names<'a> {
        Names::new(client.user, client.id, self.attributes_of(client))
    }

    /// What the rules of these sets say under these keys.
    fn texts<'p>(&'p self, sets: &'p [SetId], keys: &'p [&'p str]) -> impl Iterator<Item = &'p str> {
        let rules = sets.iter().flat_map(|set| self.rules_of(*set)).map(|(_, rule)| rule);
        rules.filter(|rule| keys.contains(&rule.key)).map(|rule| &*rule.text)
    }

    /// The topic filter that a rule is for a client of these names; `None` where it is none.
    fn filled<'a>(&self, template: &Template<'a>, names: &Names<'a>) -> Option<Vec<Level<'a>>> {
        let literal = |variable: Variable| names.value(variable).map(Level::Literal);
        let level = |level: &template::Level<'a>| match level {
            template::Level::Literal(text) => Some(Level::Literal(text.as_bytes())),
            template::Level::Plus => Some(Level::Plus),
            template::Level::Rest => Some(Level::Rest),
            template::Level::User => literal(Variable::User),
            template::Level::Client => literal(Variable::Client),
            template::Level::Attribute(name) => self.forest.attribute(name).map(Variable::Attribute).and_then(literal),
        };
        template.levels.iter().map(level).collect()
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
