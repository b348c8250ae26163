use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use mqtt_acl_policy::{Comparison, Escaped, Extent, Holders, Loaded, Right, Shift, compare};
use serde_json::{Value, json};

use crate::exit::{Exit, Outcome};
use crate::source::{self, Owners};
use crate::text::{complain, count, say};

/// Say whose rights differ between two policies, with an example of each difference
///
/// Decides exactly, with unions and denies, what each user may do by the one policy and not by the other: connect, use a
/// client id, publish, subscribe, receive, use the HTTP listener. Users whose rules say the same are told of together. Each
/// difference is two lines, `+` where rights grow and `-` where they shrink: an example, and what decides it in both.
///
/// Rules are compared by what they do: other words for the same are no difference. Of passwords it is only told whether there
/// is one.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mqtt-acl diff /etc/mosquitto/mqtt-acl/policy.toml new.toml
  mqtt-acl diff --json old.toml new.toml | jq '.changes[] | select(.grows)'

Exit status:
  0  the same rights
  1  rights differ, or one of the policies cannot be used
  2  wrong usage")]
pub(crate) struct Diff {
    /// The policy as it is
    old: PathBuf,
    /// The policy as it would be
    new: PathBuf,
    /// Print the differences as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    owners: Owners,
}

impl Diff {
    pub(crate) fn run(self, out: &mut impl Write) -> Outcome {
        let trust = self.owners.trust()?;
        let Loaded { policy: old, .. } = source::load(&self.old, &trust)?;
        let Loaded { policy: new, .. } = source::load(&self.new, &trust)?;
        let comparison = compare(&old, &new);
        let Comparison { changes, extent } = &comparison;
        if self.json {
            let document = json!({
                "same": changes.is_empty(),
                "complete": *extent == Extent::Whole,
                "changes": changes.iter().map(object).collect::<Vec<_>>(),
            });
            writeln!(out, "{document:#}")?;
        } else {
            for change in changes {
                say(out, sentence(change))?;
                say(out, format_args!("    old: {}", change.old))?;
                say(out, format_args!("    new: {}", change.new))?;
            }
            if changes.is_empty() {
                say(out, "the same rights")?;
            }
        }
        if *extent == Extent::Part {
            complain("mqtt-acl: warning: there are so many rules that only a part of the cases was looked at");
        }
        let same = changes.is_empty() && *extent == Extent::Whole;
        Ok(if same { Exit::Fine } else { Exit::Problems })
    }
}

fn sentence(change: &Shift) -> String {
    let Shift { who, right, grows, witness, client_id, .. } = change;
    let (who, name) = match who {
        Holders::Users(1, name) => (format!("user `{}`", Escaped(name)), name.as_slice()),
        Holders::Users(number, name) => {
            (format!("{}, such as `{}`,", count(*number, "user"), Escaped(name)), name.as_slice())
        }
        Holders::Anonymous => ("clients without a user name".to_owned(), &b""[..]),
        Holders::Unlisted(name) => {
            (format!("names that are not listed, such as `{}`,", Escaped(name)), name.as_slice())
        }
    };
    let (sign, can) = if *grows { ('+', "can now") } else { ('-', "can no longer") };
    let shown = Escaped(witness);
    let what = match right {
        Right::Login => "log in with a password".to_owned(),
        Right::Connect => format!("connect, as `{shown}` for one"),
        Right::ClientId => format!("use the client id `{shown}`"),
        Right::Publish => format!("publish to `{shown}`"),
        Right::Subscribe => format!("subscribe to `{shown}`"),
        Right::Receive => format!("receive `{shown}`"),
        Right::Api => format!("ask the HTTP listener for `{shown}`"),
    };
    let is_usual = matches!(right, Right::Connect | Right::Login | Right::ClientId | Right::Api) || client_id == name;
    let id = if is_usual { String::new() } else { format!(" with client id `{}`", Escaped(client_id)) };
    format!("{sign} {who} {can} {what}{id}")
}

fn object(change: &Shift) -> Value {
    let Shift { who, right, grows, witness, client_id, old, new } = change;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let who = match who {
        Holders::Users(count, name) => json!({ "users": count, "example": text(name) }),
        Holders::Anonymous => json!({ "anonymous": true }),
        Holders::Unlisted(name) => json!({ "unlisted": true, "example": text(name) }),
    };
    let right = match right {
        Right::Connect => "connect",
        Right::Login => "login",
        Right::ClientId => "client_id",
        Right::Publish => "publish",
        Right::Subscribe => "subscribe",
        Right::Receive => "receive",
        Right::Api => "api",
    };
    json!({
        "who": who,
        "right": right,
        "grows": grows,
        "witness": text(witness),
        "client_id": text(client_id),
        "old": old,
        "new": new,
    })
}
