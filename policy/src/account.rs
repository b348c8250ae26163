//! What a policy says of its users, for the tools of people.

use crate::binding::Pattern;
use crate::credential::Shape;
use crate::decision::Client;
use crate::policy::{Holder, Policy};
use crate::template::{Names, is_usable};
use crate::users::User;

/// A listed user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account<'p> {
    /// Its name.
    pub name: &'p str,
    /// Its roles, those that a `[[match]]` adds included.
    pub roles: Vec<&'p str>,
    /// Whether it has rules of its own.
    pub own_rules: bool,
    /// The kinds of its password strings, the current one first: `token`, `argon2id`, `pbkdf2`, `bcrypt` or `sha512`.
    pub passwords: Vec<&'static str>,
    /// Whether `disabled` shuts it out.
    pub disabled: bool,
}

impl Policy {
    /// The listed user of this name.
    #[must_use]
    pub fn account(&self, name: &str) -> Option<Account<'_>> {
        self.account_of(self.users.get(name.as_bytes())?)
    }

    /// All listed users, in the order of their names.
    #[must_use]
    pub fn accounts(&self) -> Vec<Account<'_>> {
        let mut accounts: Vec<_> = self.users.iter().filter_map(|user| self.account_of(user)).collect();
        accounts.sort_unstable_by(|a, b| a.name.cmp(b.name));
        accounts
    }

    /// The client ids that a listed user may have, as the policy would write them with what is the user's own in the place
    /// of `%u` and the like.
    #[must_use]
    pub fn client_ids(&self, name: &str) -> Vec<String> {
        let Some(user) = self.users.get(name.as_bytes()) else { return Vec::new() };
        let named: Vec<_> = self.each(user.sets()).filter_map(|set| set.client_ids()).collect();
        if named.is_empty() {
            let own = is_usable(name.as_bytes()).then(|| vec![name.to_owned(), format!("{name}-*")]);
            return own.unwrap_or_default();
        }
        let client = Client { user: Some(name.as_bytes()), id: b"" };
        let names = Names::new(client.user, client.id, self.attributes_of(&client));
        let text = |pattern: &Pattern| match pattern {
            Pattern::Any => Some("*".to_owned()),
            Pattern::Text { .. } => {
                pattern.text_for(&names).map(|(text, open)| if open { format!("{text}*") } else { text })
            }
        };
        named.into_iter().flatten().filter_map(text).collect()
    }

    fn account_of<'p>(&'p self, user: User<'p>) -> Option<Account<'p>> {
        let mut account = Account {
            name: std::str::from_utf8(user.name()).ok()?,
            roles: Vec::new(),
            own_rules: false,
            passwords: user.shapes().map(Shape::kind).collect(),
            disabled: user.is_disabled(),
        };
        for set in self.each(user.sets()) {
            match &set.holder {
                Holder::Role(role) => account.roles.push(self.rules.text(*role)),
                Holder::User(_) | Holder::Anonymous => account.own_rules = true,
            }
        }
        Some(account)
    }
}
