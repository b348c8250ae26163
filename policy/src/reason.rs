//! Every decision in words: the rule and where it stands, or what was missing.

use std::fmt;

use crate::decision::{Client, Decision, Grant, Refusal, RuleId};
use crate::policy::Policy;
use crate::problem::Escaped;
use crate::template::{Names, is_usable};

/// Why a decision is what it is, for a person; made by [`Policy::reason`].
#[derive(Clone, Copy, Debug)]
pub struct Reason<'a> {
    policy: &'a Policy,
    client: &'a Client<'a>,
    decision: Decision,
}

impl Policy {
    /// Says why this policy decided so.
    #[must_use]
    pub fn reason<'a>(&'a self, client: &'a Client<'a>, decision: Decision) -> Reason<'a> {
        Reason { policy: self, client, decision }
    }

    pub(crate) fn write_rule(&self, f: &mut fmt::Formatter<'_>, id: RuleId) -> fmt::Result {
        match self.rule(id) {
            Some(rule) => write!(f, "{rule}"),
            None => f.write_str("a rule"),
        }
    }
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.decision {
            Decision::Allow(grant) => match grant {
                Grant::Rule(rule) => {
                    f.write_str("granted by ")?;
                    self.policy.write_rule(f, rule)
                }
                Grant::Admitted => f.write_str("the user is admitted under this client id"),
                Grant::Unsubscribe => f.write_str("nobody is kept from unsubscribing"),
                Grant::Api => f.write_str("granted by `api = true`"),
            },
            Decision::Deny(refusal) => self.refusal(f, refusal),
        }
    }
}

impl Reason<'_> {
    fn refusal(&self, f: &mut fmt::Formatter<'_>, refusal: Refusal) -> fmt::Result {
        f.write_str(match refusal {
            Refusal::Rule(rule) => {
                f.write_str("denied by ")?;
                return self.policy.write_rule(f, rule);
            }
            Refusal::PartlyGranted(rule) => {
                f.write_str("only a part of the filter is granted, by ")?;
                return self.policy.write_rule(f, rule);
            }
            Refusal::ClientId => {
                f.write_str("the client id is not one of the user's; accepted: ")?;
                return self.accepted_ids(f);
            }
            Refusal::NotListed => "the user is not listed in the policy",
            Refusal::Disabled => "the user is disabled",
            Refusal::Anonymous => "there is no user name, and the policy has no [anonymous]",
            Refusal::NoPasswordSet => "the user has no password in the policy",
            Refusal::NoPasswordGiven => "no password was sent",
            Refusal::WrongPassword => "the password is wrong",
            Refusal::ForeignClientId => "the client id belongs to another user of that name",
            Refusal::AutoId => "the client id is one that the broker made, which `auto_id = false` refuses",
            Refusal::DeniedClientId => "a `deny.client_id` refuses the client id",
            Refusal::ReservedClientId => "the client id `http-api` belongs to the broker's HTTP listener",
            Refusal::NoRule => "no rule grants it",
            Refusal::ShareGroup => "granted, but not to this group of a shared subscription",
            Refusal::MalformedShare => "not a shared subscription (`$share/<group>/<filter>`)",
            Refusal::MalformedFilter => "not a topic filter",
            Refusal::MalformedTopic => "not a topic name",
            Refusal::Api => "no role of the user has `api = true`, or the path is not below /api/",
        })
    }

    /// The client ids that would be accepted (S34).
    fn accepted_ids(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets = self.policy.sets_of(self.client);
        let names = Names::new(self.client.user, self.client.id, self.policy.attributes_of(self.client));
        let named: Vec<_> = self.policy.each(&sets).filter_map(|set| set.client_ids()).collect();
        if named.is_empty() {
            return match self.client.user.filter(|user| is_usable(user)) {
                Some(user) => write!(f, "`{0}`, `{0}-*`", Escaped(user)),
                None => f.write_str("none, for the user name could be mistaken for a part of a topic"),
            };
        }
        let texts: Vec<_> = named
            .into_iter()
            .flatten()
            .filter_map(|pattern| pattern.text_for(&names))
            .map(|(text, open)| format!("`{}{}`", Escaped(text.as_bytes()), if open { "*" } else { "" }))
            .collect();
        f.write_str(if texts.is_empty() { "none".into() } else { texts.join(", ") }.as_str())
    }
}
