use std::io::Write;
use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use mqtt_acl_policy::{Action, Client, Escaped, Loaded, is_topic_name, load};

use crate::exit::{Error, Exit, Outcome};
use crate::source::Owners;
use crate::text::say;

/// Say whether a client may do something, and why
///
/// Prints `allowed:` or `refused:` and the reason: the rule and where it stands, or what is missing. A client must be
/// admitted before it may do anything, so a client id that is not the user's refuses everything.
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
        let Loaded { policy, .. } = load(&self.file, &self.owners.trust()?).map_err(Error::Policy)?;
        let user = self.user.as_deref().map(str::as_bytes);
        let id = match &self.client_id {
            Some(id) => id.as_bytes().to_vec(),
            None => policy.usual_client_id(user),
        };
        let client = Client { user, id: &id };
        let decision = policy.authorize(&client, action);
        let verdict = if decision.is_allow() { "allowed" } else { "refused" };
        say(out, format_args!("{verdict}: {}", policy.reason(&client, decision)))?;
        if self.client_id.is_none() {
            say(out, format_args!("the client id is taken to be `{}` (`--client-id` names another)", Escaped(&id)))?;
        }
        if let (Action::Connect, true, Some(user)) = (action, decision.is_allow(), user) {
            if !policy.has_password(user) {
                say(
                    out,
                    "the user has no `password`, so only a listener that takes the name from a certificate or PSK lets it in",
                )?;
            }
        }
        Ok(if decision.is_allow() { Exit::Fine } else { Exit::Problems })
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

fn topic_name(topic: &str) -> Result<&[u8], Error> {
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
