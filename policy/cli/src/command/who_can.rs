use std::collections::{BTreeMap, HashMap};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use mqtt_acl_policy::{Able, Escaped, Ids, Loaded, Policy, RuleId, Verb, Who, grouped, is_subscription};
use serde_json::{Value, json};

use crate::command::explain::topic_name;
use crate::exit::{Error, Exit, Outcome};
use crate::json;
use crate::source::{self, Owners, USUAL_FILE};
use crate::text::say;

/// Say who may publish to a topic, subscribe to it or receive it
///
/// Everybody is asked for, one by one: each listed user, clients without a user name, and names that a `[[match]]` with
/// `unlisted` admits. Each line is a rule, where it stands, and to whom it grants it. A user who may do it under some
/// client ids only is told with them.
///
/// Whether somebody can log in, with a password or otherwise, is not asked.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mqtt-acl who-can publish dt/demo/1/dev00001/senml
  mqtt-acl who-can subscribe '#' policy.toml
  mqtt-acl who-can receive cmd/demo/1/dev00001/set --json | jq -r '.able[].user'

Exit status:
  0  somebody
  1  nobody, or there is no policy to ask
  2  wrong usage")]
pub(crate) struct WhoCan {
    /// What is done
    action: Deed,
    /// A topic name to publish to or to receive from, or a topic filter to subscribe to
    topic: String,
    /// The policy
    #[arg(default_value = USUAL_FILE)]
    file: PathBuf,
    /// Everybody, and all of it, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    owners: Owners,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Deed {
    /// Send a message to TOPIC
    Publish,
    /// Subscribe to TOPIC, a filter or `$share/<group>/<filter>`
    Subscribe,
    /// Be handed a message of TOPIC
    Receive,
}

impl WhoCan {
    pub(crate) fn run(self, out: &mut impl Write) -> Outcome {
        let verb = match self.action {
            Deed::Publish => Verb::Publish,
            Deed::Subscribe => Verb::Subscribe,
            Deed::Receive => Verb::Receive,
        };
        let topic = match verb {
            Verb::Publish | Verb::Receive => topic_name(&self.topic)?,
            Verb::Subscribe => topic_filter(&self.topic)?,
        };
        let Loaded { policy, .. } = source::load(&self.file, &self.owners.trust()?)?;
        let mut out = BufWriter::new(out);
        let found =
            if self.json { everybody(&policy, verb, topic, &mut out) } else { groups(&policy, verb, topic, &mut out) };
        let found = found.and_then(|found| out.flush().map(|()| found))?;
        Ok(if found { Exit::Fine } else { Exit::Problems })
    }
}

/// Those whom one rule grants it.
#[derive(Default)]
struct Group {
    users: usize,
    /// The first users, and whoever is no user.
    shown: Vec<String>,
}

/// So many users of a rule are told one by one; of more, a few.
const ONE_BY_ONE: usize = 10;
const SOME: usize = 3;

fn groups(policy: &Policy, verb: Verb, topic: &[u8], out: &mut impl Write) -> std::io::Result<bool> {
    let mut groups: BTreeMap<RuleId, Group> = BTreeMap::new();
    policy.who_can(verb, topic, |able| {
        let group = groups.entry(able.rule).or_default();
        let is_user = matches!(able.who, Who::User(_));
        group.users += usize::from(is_user);
        if !is_user || group.users <= ONE_BY_ONE {
            group.shown.push(in_words(&able));
        }
    });
    let users: usize = groups.values().map(|group| group.users).sum();
    let found = !groups.is_empty();
    for (rule, Group { users, mut shown }) in groups {
        if users > ONE_BY_ONE {
            let others = shown.split_off(ONE_BY_ONE);
            shown.truncate(SOME);
            let some = format!("{} users, such as {}", grouped(users as u64), shown.join(", "));
            shown = [vec![some], others].concat();
        }
        match policy.rule(rule) {
            Some(rule) => say(out, format_args!("{rule}: {}", shown.join(", ")))?,
            None => say(out, shown.join(", "))?,
        }
    }
    if !found {
        say(out, format_args!("nobody can {verb} {}`{}`", preposition(verb), Escaped(topic)))?;
    } else {
        let all = policy.size().users;
        say(
            out,
            format_args!(
                "{} of {} user{}",
                grouped(users as u64),
                grouped(all as u64),
                if all == 1 { "" } else { "s" }
            ),
        )?;
    }
    Ok(found)
}

fn in_words(able: &Able<'_>) -> String {
    let who = match &able.who {
        Who::User(name) => format!("`{}`", Escaped(name)),
        Who::Anonymous => "clients without a user name".to_owned(),
        Who::Unlisted(name) if name.ends_with('*') => {
            format!("unlisted names that fit `{}`", Escaped(name.as_bytes()))
        }
        Who::Unlisted(name) => format!("the unlisted name `{}`", Escaped(name.as_bytes())),
    };
    let (kind, ids) = match &able.ids {
        Ids::All => return who,
        Ids::AllBut(ids) => ("except as client", ids),
        Ids::Only(ids) => ("only as client", ids),
    };
    let ids: Vec<_> = ids.iter().map(|id| format!("`{}`", Escaped(id))).collect();
    format!("{who} ({kind} {})", ids.join(" or "))
}

fn preposition(verb: Verb) -> &'static str {
    match verb {
        Verb::Publish | Verb::Subscribe => "to ",
        Verb::Receive => "",
    }
}

/// Writes as it goes: there may be a million of them.
fn everybody(policy: &Policy, verb: Verb, topic: &[u8], out: &mut impl Write) -> std::io::Result<bool> {
    let mut rules: HashMap<RuleId, String> = HashMap::new();
    let mut written = Ok(());
    let mut separator = "";
    let head = json!({ "action": verb.to_string(), "topic": json::text(topic), "users": policy.size().users });
    let head = json::tame(&head.to_string());
    write!(out, "{},\"able\":[", head.strip_suffix('}').unwrap_or(&head))?;
    policy.who_can(verb, topic, |able| {
        let rule = rules
            .entry(able.rule)
            .or_insert_with(|| json::tame(&policy.rule(able.rule).map_or(Value::Null, json::rule).to_string()));
        let who = match able.who {
            Who::User(name) => json!({ "user": json::text(name) }),
            Who::Anonymous => json!({ "anonymous": true }),
            Who::Unlisted(name) => json!({ "unlisted": name }),
        };
        let texts = |ids: Vec<Vec<u8>>| ids.iter().map(|id| json::text(id)).collect::<Vec<_>>();
        let ids = match able.ids {
            Ids::All => json!("all"),
            Ids::AllBut(ids) => json!({ "all_but": texts(ids) }),
            Ids::Only(ids) => json!({ "only": texts(ids) }),
        };
        let who = json::tame(&who.to_string());
        let who = who.strip_suffix('}').unwrap_or(&who);
        let line = format!("{separator}\n{who},\"client_ids\":{},\"rule\":{rule}}}", json::tame(&ids.to_string()));
        if written.is_ok() {
            written = out.write_all(line.as_bytes());
        }
        separator = ",";
    });
    written?;
    writeln!(out, "\n]}}")?;
    Ok(separator == ",")
}

fn topic_filter(text: &str) -> Result<&[u8], Error> {
    if is_subscription(text.as_bytes()) {
        return Ok(text.as_bytes());
    }
    Err(Error::Usage(format!(
        "`{}` is not a topic filter (write wildcards as whole levels, `#` at the end only)",
        Escaped(text.as_bytes())
    )))
}
