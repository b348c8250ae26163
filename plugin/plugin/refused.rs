//! Refusals in words, for the log and the audit file.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use mqtt_acl_policy::{self as policy, Action, Decision, Escaped, Hash, Policy, Problem, grouped};

use super::{KEPT, Plugin, Who};
use crate::audit::Record;
use crate::broker::Level;
use crate::event::{Access, AclCheck, Client};
use crate::refusals::{Cause, Deed, Refused, Told};
use crate::sessions::{Ended, sessions};

/// What is told of a kind of refusal: the first one.
#[derive(Debug)]
pub(super) struct Details {
    deed: Deed,
    why: String,
    who: String,
    topic: String,
    /// What would have to be different, if that is near.
    nearest: String,
    record: Fields,
}

/// The same for machines.
#[derive(Debug)]
struct Fields {
    user: Option<Box<[u8]>>,
    id: Box<[u8]>,
    address: Option<Box<[u8]>>,
    topic: Box<[u8]>,
    is_cut: bool,
}

impl Plugin {
    /// Notes that a client was refused something.
    pub(super) fn note_refused(&self, event: &AclCheck<'_>, policy: &Policy, cause: Cause) {
        if event.access == Access::Read {
            self.refusals.note_delivery();
            return;
        }
        // A line about it would be one more message there.
        if event.topic.starts_with(b"$SYS/broker/log") {
            return;
        }
        let id = event.id.unwrap_or_default();
        let client = event.client(self.broker);
        let deed = match event.access {
            Access::Write if cause == Cause::Stranger => Deed::Will,
            // Without an address it is no client, but the broker's copy of one that once published a retained message.
            Access::Write if client.address.is_none() => Deed::Publish,
            Access::Write => match sessions().has_ended(event.key(), id) {
                Ended::Yes => Deed::Will,
                Ended::No => Deed::Publish,
                Ended::Perhaps => Deed::PublishOrWill,
            },
            _ => Deed::Subscribe,
        };
        let refused = Refused { deed, cause, user: event.username, id, topic: event.topic };
        let details = || Arc::new(Details::of(&client, event.topic, policy, deed, cause));
        if let Some(first) = self.refusals.note(&refused, Instant::now(), details) {
            self.journal.say(Level::Notice, &format!("refused {}: {first}{}", first.deed, first.nearest));
            self.audit.note(|| first.record(1, 0));
        }
    }

    /// Tells what was counted and is due. At each TICK.
    pub(super) fn tell_refusals(&self) {
        for line in self.audit.news() {
            self.journal.say(Level::Warning, &line);
        }
        if self.refusals.is_quiet() {
            return;
        }
        for Told { details, count, seconds } in self.refusals.due(Instant::now()) {
            let times = format!("{} times in {seconds} s", grouped(count));
            match details {
                Some(like) => {
                    let line = format!("refused {} {times}: {like} or the like{}", like.deed, like.nearest);
                    self.journal.say(Level::Notice, &line);
                    self.audit.note(|| like.record(count, seconds));
                }
                None => {
                    self.journal.say(Level::Notice, &format!("refused {times}: others, there are too many kinds"));
                    self.audit.note(|| Record::new("refused").with("count", count).with("seconds", seconds));
                }
            }
        }
        if let Some(count) = self.refusals.deliveries_due(Instant::now()) {
            self.audit.note(|| Record::new("deliveries_refused").with("count", count));
        }
    }

    /// What was refused under the old policy is told with the reasons that it had.
    pub(super) fn close_refusals(&self) {
        self.refusals.close(Instant::now());
    }

    /// For the audit file: a login that was granted.
    pub(super) fn audit_login(&self, client: &Client<'_>, is_old: bool) {
        self.audit.note(|| {
            let record = about(Record::new("login"), client);
            if is_old { record.with("old_password", true) } else { record }
        });
    }

    /// For the audit file: a login that was refused.
    pub(super) fn audit_refused_login(&self, client: &Client<'_>, why: impl fmt::Display) {
        self.audit.note_failure(|| about(Record::new("refused_login"), client).with("reason", why.to_string()));
    }

    /// For the audit file: a policy came into force. Its digest is that of its files, where that is known.
    pub(super) fn audit_policy(&self, policy: &Policy, sha256: Option<Hash>) {
        self.audit.note(|| {
            let size = policy.size();
            let record = Record::new("policy")
                .bytes("file", Some(self.path.as_os_str().as_encoded_bytes()))
                .with("users", size.users)
                .with("roles", size.roles)
                .with("rules", size.rules);
            match sha256 {
                Some(sha256) => record.with("sha256", sha256.to_string()),
                None => record,
            }
        });
    }

    /// For the audit file: a policy was not loaded.
    pub(super) fn audit_no_policy(&self, summary: &str, problems: &[Problem]) {
        self.audit.note(|| {
            let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
            let file = self.path.as_os_str().as_encoded_bytes();
            Record::new("policy_not_loaded")
                .bytes("file", Some(file))
                .with("reason", summary)
                .with("problems", problems)
        });
    }

    /// For the audit file: a session was disconnected, or its subscriptions were asked about again.
    pub(super) fn audit_kick(&self, client: &policy::Client<'_>, why: &str, is_online: bool) {
        self.audit.note(|| {
            Record::new(if is_online { "disconnected" } else { "offline_session_checked" })
                .bytes("user", client.user)
                .bytes("client", Some(client.id))
                .with("reason", why)
        });
    }
}

fn about(record: Record, client: &Client<'_>) -> Record {
    let record = record.bytes("user", client.username).bytes("client", client.id).bytes("address", client.address);
    if client.names_its_address { record.with("address_is_alleged", true) } else { record }
}

impl Details {
    fn of(who: &Client<'_>, topic: &[u8], policy: &Policy, deed: Deed, cause: Cause) -> Self {
        let client = policy::Client { user: who.username, id: who.id.unwrap_or_default() };
        let why = match cause {
            Cause::Policy(refusal) => policy.reason(&client, Decision::Deny(refusal)).to_string(),
            Cause::Kept => KEPT.to_owned(),
            Cause::Stranger => "the client is not logged in".to_owned(),
        };
        let action = match deed {
            Deed::Subscribe => Action::Subscribe(topic),
            Deed::Publish | Deed::Will | Deed::PublishOrWill => Action::Publish(topic),
        };
        let nearest = match cause {
            Cause::Policy(_) => policy.nearest_miss(&client, action).map_or(String::new(), |miss| format!("; {miss}")),
            Cause::Kept | Cause::Stranger => String::new(),
        };
        let record = Fields {
            user: client.user.map(cut),
            id: cut(client.id),
            address: who.address.map(Into::into),
            topic: cut(topic),
            is_cut: [client.user.unwrap_or_default(), client.id, topic].iter().any(|text| text.len() > KEPT_BYTES),
        };
        Self { deed, why, who: Who(who).to_string(), topic: Escaped(topic).to_string(), nearest, record }
    }

    fn record(&self, count: u64, seconds: u64) -> Record {
        let Fields { user, id, address, topic, is_cut } = &self.record;
        let record = Record::new("refused")
            .with("action", self.deed.to_string())
            .with("reason", self.why.as_str())
            .with("nearest", self.nearest.trim_start_matches("; "))
            .bytes("user", user.as_deref())
            .bytes("client", Some(id))
            .bytes("address", address.as_deref())
            .bytes("topic", Some(topic))
            .with("count", count)
            .with("seconds", seconds);
        if *is_cut { record.with("cut", true) } else { record }
    }
}

impl fmt::Display for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { why, who, topic, .. } = self;
        write!(f, "{why}; {who}, topic \"{topic}\"")
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "publish",
            Self::Will => "will",
            Self::PublishOrWill => "publish or will",
            Self::Subscribe => "subscribe",
        })
    }
}

/// Thousands of these are kept, so not all of what may be long.
const KEPT_BYTES: usize = 256;

fn cut(bytes: &[u8]) -> Box<[u8]> {
    bytes.get(..KEPT_BYTES).unwrap_or(bytes).into()
}
