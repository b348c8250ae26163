use std::io::Write;
use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use mqtt_acl_policy::{
    Action, Bearing, Change, Client, Decision, Difference, Escaped, Grant, Loaded, Miss, Policy, Refusal, RuleId,
    is_topic_name,
};
use serde_json::{Value, json};

use crate::exit::{Error, Exit, Outcome};
use crate::json;
use crate::source::{self, Owners};
use crate::text::{count, say};

/// Say whether a client may do something, and why
///
/// Prints `allowed:` or `refused:` and the reason: the rule and where it stands, or what is missing; then the rules that a
/// deny overrides, and the others that would have come to the same. A client must be admitted before it may do anything,
/// so a client id that is not the user's refuses everything.
///
/// After a refusal, a line that begins with `near miss:` tells what comes near to being allowed: another client id, a level
/// of the topic that differs from a rule's, another action, an attribute that the user lacks, a user who is disabled. Each
/// of them is true: change that one thing, and the answer is `allowed`.
///
/// Only a policy that `check` finds nothing wrong with is explained; `mqtt-acl test` tells why a test fails.
#[derive(Args, Debug)]
#[command(
    group(ArgGroup::new("who").required(true).args(["user", "anonymous"])),
    after_help = "\
Examples:
  mqtt-acl explain policy.toml --user dev00001 connect
  mqtt-acl explain policy.toml --user dev00001 --client-id dev00001-2 publish dt/demo/1/dev00001/senml
  mqtt-acl explain policy.toml subscribe 'cmd/demo/#' --user mqttservice
  mqtt-acl explain policy.toml --anonymous receive '$SYS/broker/uptime'
  mqtt-acl explain policy.toml --user dev00001 connect --json | jq .allowed

A topic that begins with `-` is written after `--`.

Exit status:
  0  allowed
  1  refused, or there is no policy to explain
  2  wrong usage"
)]
pub(crate) struct Explain {
    /// The policy
    file: PathBuf,
    /// What the client does
    action: Deed,
    /// A topic name to publish to or to receive from, or a topic filter to subscribe to
    #[arg(required_if_eq_any([("action", "publish"), ("action", "subscribe"), ("action", "receive")]))]
    topic: Option<String>,
    /// The user name that the client logs in with
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// A client without a user name
    #[arg(long)]
    anonymous: bool,
    /// The client's id [default: the first that the user's `client_id` spells out, or the user name]
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// All of it as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    owners: Owners,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Deed {
    /// Be admitted under this user name and client id
    Connect,
    /// Send a message to TOPIC
    Publish,
    /// Subscribe to TOPIC, a filter or `$share/<group>/<filter>`
    Subscribe,
    /// Be handed a message of TOPIC
    Receive,
}

impl Explain {
    pub(crate) fn run(self, out: &mut impl Write) -> Outcome {
        let action = self.action()?;
        let Loaded { policy, .. } = source::load(&self.file, &self.owners.trust()?)?;
        let user = self.user.as_deref().map(str::as_bytes);
        let id = match &self.client_id {
            Some(id) => id.as_bytes().to_vec(),
            None => policy.usual_client_id(user),
        };
        let client = Client { user, id: &id };
        let decision = policy.authorize(&client, action);
        let account = Account::of(&policy, &client, action, decision);
        if self.json {
            json::write(out, &self.as_json(&account, &client))?;
        } else {
            account.tell(out, &client)?;
            self.notes(&account, &id, out)?;
        }
        Ok(if decision.is_allow() { Exit::Fine } else { Exit::Problems })
    }

    fn notes(&self, account: &Account<'_>, id: &[u8], out: &mut impl Write) -> std::io::Result<()> {
        if self.client_id.is_none() {
            say(out, format_args!("the client id is taken to be `{}` (`--client-id` names another)", Escaped(id)))?;
        }
        let user = self.user.as_deref().map(str::as_bytes);
        if let (Deed::Connect, true, Some(user)) = (self.action, account.decision.is_allow(), user) {
            if !account.policy.has_password(user) {
                say(
                    out,
                    "the user has no `password`, so only a listener that takes the name from a certificate or PSK lets it in",
                )?;
            }
        }
        Ok(())
    }

    fn as_json(&self, account: &Account<'_>, client: &Client<'_>) -> Value {
        let action = self.action.to_possible_value().map(|value| value.get_name().to_owned());
        let rules = |ids: &[RuleId]| ids.iter().map(|id| account.rule(*id)).collect::<Vec<_>>();
        json!({
            "allowed": account.decision.is_allow(),
            "reason": account.policy.reason(client, account.decision).to_string(),
            "user": self.user,
            "client_id": json::text(client.id),
            "has_password": client.user.map(|user| account.policy.has_password(user)),
            "action": action,
            "topic": self.topic,
            "rule": account.decided_by.map(|id| account.rule(id)),
            "overridden": rules(&account.overridden),
            "also": rules(&account.also),
            "near_misses": account.misses.iter().map(|miss| account.miss(miss)).collect::<Vec<_>>(),
        })
    }

    fn action(&self) -> Result<Action<'_>, Error> {
        let topic = self.topic.as_deref().unwrap_or_default();
        match self.action {
            Deed::Connect if self.topic.is_some() => {
                Err(Error::Usage(format!("`connect` takes no topic (leave out `{}`)", Escaped(topic.as_bytes()))))
            }
            Deed::Connect => Ok(Action::Connect),
            Deed::Subscribe => Ok(Action::Subscribe(topic.as_bytes())),
            Deed::Publish => topic_name(topic).map(Action::Publish),
            Deed::Receive => topic_name(topic).map(Action::Receive),
        }
    }
}

pub(crate) fn topic_name(topic: &str) -> Result<&[u8], Error> {
    if is_topic_name(topic.as_bytes()) {
        return Ok(topic.as_bytes());
    }
    let hint = if topic.contains(['+', '#']) {
        "write one topic, without wildcards, or ask what a filter covers with `subscribe`"
    } else {
        "write 1 to 65535 bytes"
    };
    Err(Error::Usage(format!("`{}` is not a topic name ({hint})", Escaped(topic.as_bytes()))))
}

/// A decision and all that there is to say about it.
struct Account<'p> {
    policy: &'p Policy,
    decision: Decision,
    /// The rule that decided.
    decided_by: Option<RuleId>,
    /// Rules that would have granted it, had none denied it.
    overridden: Vec<RuleId>,
    /// Further rules that would have decided the same.
    also: Vec<RuleId>,
    misses: Vec<Miss<'p>>,
}

impl<'p> Account<'p> {
    fn of(policy: &'p Policy, client: &Client<'p>, action: Action<'p>, decision: Decision) -> Self {
        let (decided_by, bearing) = match decision {
            Decision::Allow(Grant::Rule(rule)) | Decision::Deny(Refusal::Rule(rule) | Refusal::PartlyGranted(rule)) => {
                (Some(rule), policy.bearing(client, action))
            }
            Decision::Allow(_) | Decision::Deny(_) => (None, Bearing::default()),
        };
        let Bearing { grants, denies, .. } = bearing;
        let (overridden, mut also) = match decision {
            Decision::Deny(Refusal::Rule(_)) => (grants, denies),
            _ => (Vec::new(), grants),
        };
        also.retain(|rule| Some(*rule) != decided_by);
        Self { policy, decision, decided_by, overridden, also, misses: policy.near_misses(client, action) }
    }

    fn tell(&self, out: &mut impl Write, client: &Client<'_>) -> std::io::Result<()> {
        let (verdict, also) = match self.decision {
            Decision::Allow(_) => ("allowed", "also granted by"),
            Decision::Deny(Refusal::PartlyGranted(_)) => ("refused", "another part is granted by"),
            Decision::Deny(_) => ("refused", "also denied by"),
        };
        say(out, format_args!("{verdict}: {}", self.policy.reason(client, self.decision)))?;
        self.list(out, "which overrides", &self.overridden)?;
        self.list(out, also, &self.also)?;
        // Which rules a deny overrides has just been said.
        let said = matches!(self.decision, Decision::Deny(Refusal::Rule(_)));
        for miss in self.misses.iter().filter(|miss| !(said && matches!(miss.change, Change::Denies { .. }))) {
            say(out, format_args!("near miss: {miss}"))?;
        }
        Ok(())
    }

    fn list(&self, out: &mut impl Write, what: &str, rules: &[RuleId]) -> std::io::Result<()> {
        /// More are counted.
        const SHOWN: usize = 5;
        for rule in rules.iter().take(SHOWN).filter_map(|rule| self.policy.rule(*rule)) {
            say(out, format_args!("{what} {rule}"))?;
        }
        match rules.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => say(out, format_args!("{what} {}", count(more, "more rule"))),
        }
    }

    fn rule(&self, id: RuleId) -> Value {
        self.policy.rule(id).map_or(Value::Null, json::rule)
    }

    fn grant(&self, grant: Grant) -> Value {
        match grant {
            Grant::Rule(rule) => self.rule(rule),
            _ => Value::Null,
        }
    }

    fn miss(&self, miss: &Miss<'_>) -> Value {
        let text = miss.to_string();
        match &miss.change {
            Change::ClientId(id) => json!({ "kind": "client_id", "text": text, "client_id": json::text(id) }),
            Change::Topic { topic, rule, differences } => {
                let differences: Vec<_> = differences.iter().map(difference).collect();
                let (topic, rule) = (json::text(topic), self.rule(*rule));
                json!({ "kind": "topic", "text": text, "topic": topic, "rule": rule, "differences": differences })
            }
            Change::Verb(verb, grant) => {
                json!({ "kind": "action", "text": text, "action": verb.to_string(), "rule": self.grant(*grant) })
            }
            Change::Group(topic) => json!({ "kind": "group", "text": text, "topic": json::text(topic) }),
            Change::Denies { grant, denies } => {
                let denies: Vec<_> = denies.iter().map(|deny| self.rule(*deny)).collect();
                json!({ "kind": "denied", "text": text, "rule": self.rule(*grant), "denies": denies })
            }
            Change::Enabled(grant) => json!({ "kind": "disabled", "text": text, "rule": self.grant(*grant) }),
            Change::Attribute { name, value, rule } => {
                let (value, rule) = (json::text(value), self.rule(*rule));
                json!({ "kind": "attribute", "text": text, "name": name, "value": value, "rule": rule })
            }
            _ => json!({ "kind": "other", "text": text }),
        }
    }
}

fn difference(difference: &Difference) -> Value {
    let Difference { level, here, rule, value } = difference;
    let text = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(json::text);
    json!({ "level": level, "here": text(here), "rule": rule, "value": text(value) })
}
