//! What a policy says of its users.

use std::collections::HashMap;
use std::io::Write;

use clap::Args;
use mqtt_acl_policy::{Account, Escaped, Loaded, Policy};
use serde_json::{Value, json};

use super::Target;
use crate::edit::Files;
use crate::exit::{Error, Exit, Outcome};
use crate::json;
use crate::source;
use crate::text::say;

/// List the users of a policy
///
/// A line for each, in the order of their names: the kinds of its password strings, its roles, those that a `[[match]]` adds
/// included, whether it is disabled, and where it stands.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mqtt-acl user list
  mqtt-acl user list --json | jq -r '.users[] | select(.disabled) | .name'
  mqtt-acl user list | grep 'no password'

Exit status:
  0  listed
  1  there is no good policy
  2  wrong usage")]
pub(crate) struct List {
    #[command(flatten)]
    target: Target,
}

/// Show one user of a policy
///
/// Its roles, its password strings by their kinds, the client ids that it may have, and where it stands. What it may do is
/// what `mqtt-acl explain` tells.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mqtt-acl user show dev00001
  mqtt-acl user show dev00001 --json

Exit status:
  0  shown
  1  not listed, or there is no good policy
  2  wrong usage")]
pub(crate) struct Show {
    /// The user name
    name: String,
    #[command(flatten)]
    target: Target,
}

impl List {
    pub(crate) fn run(self, out: &mut impl Write) -> Outcome {
        let Loaded { policy, .. } = source::load(&self.target.policy, &self.target.trust()?)?;
        let places = Files::read(&self.target.policy, &self.target.trust()?)?.places();
        if self.target.json {
            let users: Vec<_> =
                policy.accounts().iter().map(|account| described(account, &places_in(&places, account))).collect();
            json::write(out, &json!({ "users": users }))?;
            return Ok(Exit::Fine);
        }
        for account in policy.accounts() {
            let mut facts = vec![passwords(&account)];
            facts.extend(roles(&account));
            facts.extend(account.disabled.then(|| "disabled".to_owned()));
            facts.push(places_in(&places, &account).join(" and "));
            say(out, format_args!("{}: {}", Escaped(account.name.as_bytes()), facts.join("; ")))?;
        }
        Ok(Exit::Fine)
    }
}

impl Show {
    pub(crate) fn run(self, out: &mut impl Write) -> Outcome {
        let Loaded { policy, .. } = source::load(&self.target.policy, &self.target.trust()?)?;
        let Some(account) = policy.account(&self.name) else {
            return Err(Error::Failed(format!(
                "user `{}` is not listed in this policy (`mqtt-acl user list` names those that are)",
                Escaped(self.name.as_bytes())
            )));
        };
        let places = Files::read(&self.target.policy, &self.target.trust()?)?.places_of(&self.name);
        let ids = client_ids(&policy, &account);
        if self.target.json {
            let mut shown = described(&account, &places);
            if let Some(shown) = shown.as_object_mut() {
                shown.insert("client_ids".into(), ids.into());
            }
            json::write(out, &shown)?;
            return Ok(Exit::Fine);
        }
        let ids: Vec<_> = ids.iter().map(|id| format!("`{}`", Escaped(id.as_bytes()))).collect();
        say(out, format_args!("user:       {}", Escaped(account.name.as_bytes())))?;
        say(out, format_args!("state:      {}", if account.disabled { "disabled" } else { "enabled" }))?;
        say(out, format_args!("password:   {}", passwords(&account)))?;
        say(out, format_args!("rights:     {}", roles(&account).unwrap_or_else(|| "none".into())))?;
        say(out, format_args!("client ids: {}", if ids.is_empty() { "none".into() } else { ids.join(", ") }))?;
        say(out, format_args!("defined in: {}", places.join(" and ")))?;
        Ok(Exit::Fine)
    }
}

fn places_in(places: &HashMap<String, Vec<String>>, account: &Account<'_>) -> Vec<String> {
    places.get(account.name).cloned().unwrap_or_default()
}

fn described(account: &Account<'_>, places: &[String]) -> Value {
    json!({
        "name": account.name,
        "disabled": account.disabled,
        "passwords": account.passwords,
        "roles": account.roles,
        "own_rules": account.own_rules,
        "places": places,
    })
}

fn client_ids(policy: &Policy, account: &Account<'_>) -> Vec<String> {
    policy.client_ids(account.name)
}

fn passwords(account: &Account<'_>) -> String {
    match &account.passwords[..] {
        [] => "no password".to_owned(),
        [one] => (*one).to_owned(),
        [current, old @ ..] => format!("{current}, and old: {}", old.join(", ")),
    }
}

fn roles(account: &Account<'_>) -> Option<String> {
    let roles: Vec<_> = account.roles.iter().map(|role| Escaped(role.as_bytes()).to_string()).collect();
    let named = match roles.len() {
        0 => None,
        1 => Some(format!("role {}", roles.concat())),
        _ => Some(format!("roles {}", roles.join(", "))),
    };
    match (named, account.own_rules) {
        (Some(named), true) => Some(format!("{named} and rules of its own")),
        (None, true) => Some("rules of its own".to_owned()),
        (named, false) => named,
    }
}
