//! What the policy answers, and why.

use std::fmt;

/// A rule of the policy; [`Policy::reason`](crate::Policy::reason) tells where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub(crate) u32);

/// What a client wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Take part at all: the user is admitted and the client id is one of its own.
    Connect,
    /// Send a message to this topic name, as a PUBLISH or as a will.
    Publish(&'a [u8]),
    /// Subscribe with this text: a topic filter, or `$share/<group>/<filter>`.
    Subscribe(&'a [u8]),
    /// Be handed a message of this topic name.
    Receive(&'a [u8]),
    /// Give up a subscription.
    Unsubscribe,
    /// Ask the HTTP listener of Mosquitto 2.1 for this path.
    Api(&'a [u8]),
}

/// What can be done with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// [`Action::Publish`].
    Publish,
    /// [`Action::Subscribe`].
    Subscribe,
    /// [`Action::Receive`].
    Receive,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Publish, Self::Subscribe, Self::Receive];

    /// The action on this topic or filter.
    #[must_use]
    pub fn on(self, topic: &[u8]) -> Action<'_> {
        match self {
            Self::Publish => Action::Publish(topic),
            Self::Subscribe => Action::Subscribe(topic),
            Self::Receive => Action::Receive(topic),
        }
    }

    /// What an action does, and to what.
    pub(crate) fn of(action: Action<'_>) -> Option<(Self, &[u8])> {
        match action {
            Action::Publish(topic) => Some((Self::Publish, topic)),
            Action::Subscribe(text) => Some((Self::Subscribe, text)),
            Action::Receive(topic) => Some((Self::Receive, topic)),
            Action::Connect | Action::Unsubscribe | Action::Api(_) => None,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Receive => "receive",
        })
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client<'a> {
    /// The user name; `None` for an anonymous client.
    pub user: Option<&'a [u8]>,
    /// The client id.
    pub id: &'a [u8],
}

/// The answer. Nothing but [`Decision::Allow`] lets a client do anything.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes, because of this.
    Allow(Grant),
    /// No, because of this.
    Deny(Refusal),
}

impl Decision {
    /// Whether the answer is yes.
    #[must_use]
    pub fn is_allow(self) -> bool {
        matches!(self, Self::Allow(_))
    }
}

/// Why an answer is yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Grant {
    /// This rule grants it.
    Rule(RuleId),
    /// The user is admitted under this client id.
    Admitted,
    /// Nobody is kept from unsubscribing (S9).
    Unsubscribe,
    /// A role or the user has `api = true`.
    Api,
}

/// Why an answer is no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The policy lists no such user.
    NotListed,
    /// The user is `disabled`.
    Disabled,
    /// There is no user name, and the policy has no `[anonymous]`.
    Anonymous,
    /// The user has no `password`, so it cannot log in with one.
    NoPasswordSet,
    /// The client sent no password.
    NoPasswordGiven,
    /// The password is wrong.
    WrongPassword,
    /// The client id is not one of the user's.
    ClientId,
    /// The client id is the name of another user, or begins with that name and `-`.
    ForeignClientId,
    /// The client id is one that the broker made, which `auto_id = false` refuses.
    AutoId,
    /// A `deny.client_id` refuses the client id.
    DeniedClientId,
    /// The client id `http-api` belongs to the broker's HTTP listener.
    ReservedClientId,
    /// This rule denies it; for a subscription: it denies a part of the filter.
    Rule(RuleId),
    /// No rule grants it.
    NoRule,
    /// Rules grant a part of the filter, not the whole; this is one of them.
    PartlyGranted(RuleId),
    /// Rules grant it, but not to this group of a shared subscription.
    ShareGroup,
    /// It begins with `$share` and is no shared subscription.
    MalformedShare,
    /// It is no topic filter.
    MalformedFilter,
    /// It is no topic name.
    MalformedTopic,
    /// No role grants `api`, or it is not a path under `/api/`.
    Api,
}
