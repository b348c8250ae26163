//! After a new policy: the sessions that lost something by it are disconnected, and nobody else (S21, S22, S24).
//!
//! What each session holds is held against the policy in force, session by session, whatever the number of users: whether it
//! would still be admitted, whether what it logged in with is still a password string of its user, and whether each
//! subscription would still be granted. So a policy that only adds rights disconnects nobody. Each TICK looks at a share of
//! them; deliveries, publishing and logins follow the new policy at once.
//!
//! No version can take away one subscription. A kick makes the broker ask again about all that a session keeps, and the
//! client comes back to what is left.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use mqtt_acl_policy::{self as policy, Action, Decision, Escaped, HTTP_API, Policy, Refusal};

use super::Plugin;
use crate::broker::Level;
use crate::event::{AclCheck, Connection};
use crate::sessions::{After, Kicked, Login, Next, Session, sessions};

/// What one TICK does: a session counts one, and each of its subscriptions another.
const SHARE: usize = 256;
const KICK: usize = 16;
/// Places in the table that one TICK looks at: those of other instances and newer logins cost next to nothing.
const PLACES: usize = 8_192;
/// The memory for client ids and user names of sessions that the table does not have.
const UNSEEN_BYTES: usize = 16 << 20;

/// A walk over the sessions that were there when a policy came into force.
#[derive(Debug)]
pub(super) struct Sweep {
    /// The policy before it; `None` if there were several since the last walk that came to its end.
    before: Option<Arc<Policy>>,
    until: u64,
    cursor: usize,
    unseen: Vec<Unseen>,
    count: Count,
}

/// A session that the broker has and the table does not.
#[derive(Debug)]
struct Unseen {
    id: Box<[u8]>,
    user: Option<Box<[u8]>>,
}

/// What a session lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Admission(Refusal),
    Credential,
    Subscription,
}

/// A session that lost something.
#[derive(Debug)]
struct Loser {
    id: Box<[u8]>,
    user: Option<Box<[u8]>>,
    generation: u64,
    loss: Loss,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    checked: usize,
    removed: usize,
    disabled: usize,
    replaced: usize,
    client_ids: usize,
    subscriptions: usize,
    offline: usize,
}

impl Plugin {
    /// CONNECT, on 2.1 alone: the client is in, whether or not anybody was asked about it.
    pub(crate) fn connected(&self, event: &Connection<'_>) {
        crate::logins::pending().connected(event.key);
        if let Some(id) = event.client.id {
            let client = policy::Client { user: event.client.username, id };
            sessions().connected(Login {
                owner: self.number,
                id,
                user: client.user,
                key: event.key,
                is_clean: event.is_clean,
                is_admitted: self.policy.with(|policy| policy.authorize(&client, Action::Connect).is_allow()),
                credential: None,
                is_certain: true,
            });
        }
    }

    /// CLIENT_OFFLINE, on 2.1 alone: the connection has ended, the session has not.
    pub(crate) fn went_offline(&self, event: &Connection<'_>) {
        sessions().ended(event.key, event.client.id, After::Kept);
    }

    /// DISCONNECT: a connection has ended, which may be one that was rejected under somebody else's id.
    pub(crate) fn disconnect(&self, event: Option<&Connection<'_>>) {
        if let Some(event) = event {
            // 2.0 does not tell when an MQTT 5 session ends.
            let is_over = self.broker.is_2_1() || (event.is_clean && !event.is_mqtt_5);
            let after = if is_over { After::Over } else { After::Kept };
            sessions().ended(event.key, event.client.id, after);
        }
        self.do_without_tick();
    }

    /// Notes what a client has subscribed to.
    pub(super) fn note_subscription(&self, event: &AclCheck<'_>) {
        let Some(id) = event.id else { return };
        let login = Login {
            owner: self.number,
            id,
            user: event.username,
            key: event.key(),
            // Of one that was not seen logging in, nothing is known.
            is_clean: false,
            is_admitted: true,
            credential: None,
            is_certain: true,
        };
        sessions().subscribed(login, event.topic);
    }

    /// A policy came into force: all who logged in before are to be looked at.
    pub(super) fn begin_sweep(&self, before: Arc<Policy>) {
        if !self.tickless.ticks() {
            // Only TICK may disconnect (S22, S23).
            self.loader.free(before);
            return;
        }
        let mut unseen = Vec::new();
        let mut bytes = 0;
        self.broker.each_client(|client| {
            // One without an address was restored from disk and is offline. Deliveries are checked.
            let Some(id) = client.id.filter(|id| client.address.is_some() && *id != HTTP_API.as_bytes()) else {
                return;
            };
            bytes += id.len() + client.username.map_or(0, <[u8]>::len) + size_of::<Unseen>();
            if bytes <= UNSEEN_BYTES && !sessions().knows(id) {
                unseen.push(Unseen { id: id.into(), user: client.username.map(Into::into) });
            }
        });
        let mut sweep =
            Sweep { before: Some(before), until: sessions().last(), cursor: 0, unseen, count: Count::default() };
        let mut place = self.sweep.lock().unwrap_or_else(PoisonError::into_inner);
        let unfinished = place.take();
        if let Some(unfinished) = unfinished {
            sweep.count = unfinished.count;
            for policy in [unfinished.before, sweep.before.take()].into_iter().flatten() {
                self.loader.free(policy);
            }
        }
        *place = Some(sweep);
        self.sweeps.store(true, Ordering::Relaxed);
    }

    /// Does a share of it. In TICK alone.
    pub(super) fn sweep(&self) {
        if !self.sweeps.load(Ordering::Relaxed) {
            return;
        }
        // Out of its place, for the broker calls back.
        let Some(mut sweep) = self.sweep.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let policy = self.policy.share();
        let is_over = self.sweep_some(&mut sweep, &policy);
        if is_over {
            self.sweeps.store(false, Ordering::Relaxed);
            self.journal.say(Level::Notice, &format!("policy change: {}", sweep.count));
            if let Some(before) = sweep.before {
                self.loader.free(before);
            }
        } else {
            *self.sweep.lock().unwrap_or_else(PoisonError::into_inner) = Some(sweep);
        }
    }

    fn sweep_some(&self, sweep: &mut Sweep, policy: &Policy) -> bool {
        let mut left = SHARE;
        for _ in 0..PLACES {
            if left == 0 {
                return false;
            }
            let before = sweep.before.as_deref();
            let looked = sessions().next(self.number, sweep.until, &mut sweep.cursor, |session| {
                (1 + session.filters.len(), losing(session, policy, before))
            });
            match looked {
                Next::Session((cost, loser)) => {
                    sweep.count.checked += 1;
                    left = left.saturating_sub(cost);
                    if let Some(loser) = loser {
                        left = left.saturating_sub(KICK);
                        self.kick(&loser, policy, &mut sweep.count);
                    }
                }
                Next::Other => {}
                Next::End => {
                    let Some(unseen) = sweep.unseen.pop() else { return true };
                    left -= 1;
                    // Who has logged in since did so by the new policy.
                    if !sessions().knows(&unseen.id) {
                        sweep.count.checked += 1;
                        if let Some(loss) = unseen.loses(policy, before) {
                            left = left.saturating_sub(KICK);
                            self.kick_unseen(&unseen, loss, &mut sweep.count);
                        }
                    }
                }
            }
        }
        false
    }

    fn kick(&self, loser: &Loser, policy: &Policy, count: &mut Count) {
        let client = policy::Client { user: loser.user.as_deref(), id: &loser.id };
        let keeps = |filter: &[u8]| policy.authorize(&client, Action::Subscribe(filter)).is_allow();
        let kicked = sessions().kick(&loser.id, loser.generation, || self.broker.kick(&loser.id), keeps);
        self.note_kick(&client, loser.loss, kicked, count);
    }

    fn kick_unseen(&self, unseen: &Unseen, loss: Loss, count: &mut Count) {
        let kicked = sessions().kick_unseen(|| self.broker.kick(&unseen.id));
        let client = policy::Client { user: unseen.user.as_deref(), id: &unseen.id };
        self.note_kick(&client, loss, kicked, count);
    }

    fn note_kick(&self, client: &policy::Client<'_>, loss: Loss, kicked: Kicked, count: &mut Count) {
        let is_online = match kicked {
            Kicked::Disconnected => true,
            Kicked::Offline => false,
            Kicked::Nobody => return,
        };
        count.add(loss, is_online);
        let why = match loss {
            Loss::Admission(refusal) => {
                self.policy.with(|policy| policy.reason(client, Decision::Deny(refusal)).to_string())
            }
            Loss::Credential => "the password string that it logged in with is not in the policy any more".to_owned(),
            Loss::Subscription => "a subscription that it may have is not granted any more".to_owned(),
        };
        self.audit_kick(client, &why, is_online);
        let what = if is_online { "disconnected" } else { "offline session checked" };
        self.journal.remark(|| match client.user {
            Some(user) => format!("{what}: {why}; user \"{}\", client \"{}\"", Escaped(user), Escaped(client.id)),
            None => format!("{what}: {why}; no user name, client \"{}\"", Escaped(client.id)),
        });
    }
}

/// Whether the session lost something, and can be told so.
fn losing(session: &mut Session, policy: &Policy, before: Option<&Policy>) -> Option<Loser> {
    let loss = loss(session, policy, before)?;
    session.may_be_kicked().then(|| Loser {
        id: session.id.clone(),
        user: session.user.clone(),
        generation: session.generation,
        loss,
    })
}

fn loss(session: &mut Session, policy: &Policy, before: Option<&Policy>) -> Option<Loss> {
    let client = policy::Client { user: session.user.as_deref(), id: &session.id };
    match policy.authorize(&client, Action::Connect) {
        Decision::Deny(refusal) => {
            let has_something = session.is_online() || session.has_more || !session.filters.is_empty();
            return (session.is_admitted && has_something).then_some(Loss::Admission(refusal));
        }
        Decision::Allow(_) => session.is_admitted = true,
    }
    // Who is offline has to log in anew anyway.
    if let (Some(user), Some(credential), true) = (client.user, session.credential, session.is_online()) {
        if !policy.has_credential(user, credential) {
            return Some(Loss::Credential);
        }
    }
    let has_lost =
        session.filters.iter().any(|filter| !policy.authorize(&client, Action::Subscribe(filter)).is_allow());
    let may_have = || session.has_more && before.is_none_or(|before| policy.reads_less(before, &client));
    (has_lost || may_have()).then_some(Loss::Subscription)
}

impl Unseen {
    fn loses(&self, policy: &Policy, before: Option<&Policy>) -> Option<Loss> {
        let client = policy::Client { user: self.user.as_deref(), id: &self.id };
        let was_admitted = before.is_none_or(|before| before.authorize(&client, Action::Connect).is_allow());
        match policy.authorize(&client, Action::Connect) {
            Decision::Deny(refusal) => was_admitted.then_some(Loss::Admission(refusal)),
            Decision::Allow(_) => {
                before.is_none_or(|before| policy.reads_less(before, &client)).then_some(Loss::Subscription)
            }
        }
    }
}

impl Count {
    fn add(&mut self, loss: Loss, was_online: bool) {
        let kind = match loss {
            _ if !was_online => &mut self.offline,
            Loss::Admission(Refusal::NotListed) => &mut self.removed,
            Loss::Admission(Refusal::Disabled) => &mut self.disabled,
            Loss::Admission(_) => &mut self.client_ids,
            Loss::Credential => &mut self.replaced,
            Loss::Subscription => &mut self.subscriptions,
        };
        *kind += 1;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { checked, removed, disabled, replaced, client_ids, subscriptions, offline } = *self;
        let disconnected = removed + disabled + replaced + client_ids + subscriptions;
        write!(f, "{checked} sessions checked, {disconnected} disconnected")?;
        let kinds = [
            (removed, "user not listed any more"),
            (disabled, "user disabled"),
            (replaced, "password replaced"),
            (client_ids, "client id or anonymous client not admitted any more"),
            (subscriptions, "subscription not granted any more"),
        ];
        let told: Vec<_> =
            kinds.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if !told.is_empty() {
            write!(f, " ({})", told.join(", "))?;
        }
        if offline > 0 { write!(f, "; {offline} offline sessions lost subscriptions") } else { Ok(()) }
    }
}
