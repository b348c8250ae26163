//! A policy that was read, checked and compiled: immutable, and asked about every login and every message.

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::binding::{self, AUTO, HTTP_API, Pattern};
use crate::credential::Credential;
use crate::decision::{Action, Client, Decision, Grant, Refusal, RuleId};
use crate::fingerprint::{Fingerprints, Remembered};
use crate::limits::Limits;
use crate::login::Identity;
use crate::matcher::{self, Kind, RuleTree};
use crate::problem::Place;
use crate::scenario::Scenario;
use crate::template::{Names, is_usable};
use crate::topic::{Level, Subscription};

/// A policy in force, or about to be.
#[derive(Debug)]
pub struct Policy {
    pub(crate) rules: Vec<Rule>,
    pub(crate) sets: Vec<RuleSet>,
    pub(crate) users: HashMap<Box<[u8]>, User>,
    pub(crate) anonymous: Option<SetId>,
    pub(crate) matches: Vec<Match>,
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) limits: Limits,
    pub(crate) fingerprints: Fingerprints,
    pub(crate) remembered: Remembered,
    /// Which policy a verdict is of.
    pub(crate) identity: Identity,
    /// Users in no particular order, of which an unknown name borrows one's password check.
    pub(crate) decoys: Decoys,
    /// The length of the longest user name.
    pub(crate) longest_name: usize,
}

/// The index of a rule set.
pub(crate) type SetId = u32;

/// The rule sets that apply to a client: its roles, and its own.
pub(crate) type SetIds = SmallVec<[SetId; 4]>;

/// One filter that the policy names, and where.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) set: SetId,
    pub(crate) key: &'static str,
    pub(crate) text: Box<str>,
    pub(crate) place: Place,
}

/// What a role, a user or `[anonymous]` says: rules, and who may hold which client id.
#[derive(Debug)]
pub(crate) struct RuleSet {
    pub(crate) holder: Holder,
    pub(crate) tree: RuleTree,
    /// `None` where it names no `client_id`.
    pub(crate) client_ids: Option<Vec<Pattern>>,
    /// Whether these are, among others, the ids that a user has where nothing names any.
    pub(crate) holds_own_ids: bool,
    pub(crate) denied_client_ids: Vec<Pattern>,
    pub(crate) overlap: bool,
    /// The groups of shared subscriptions; `None` for any.
    pub(crate) groups: Option<Vec<Box<str>>>,
    pub(crate) api: bool,
    pub(crate) auto_id: bool,
}

/// Whose rule set it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    Role(Box<str>),
    User(Box<str>),
    Anonymous,
}

#[derive(Debug)]
pub(crate) struct User {
    pub(crate) sets: SetIds,
    /// The first is the current one; the others are being replaced.
    pub(crate) credentials: Box<[Credential]>,
    pub(crate) disabled: bool,
    /// Whether the ids that begin with its name are its own and nothing takes them away: what most clients use, and so
    /// decided before anything else.
    pub(crate) own_ids: bool,
}

/// Who a client is to the policy.
struct Standing<'p> {
    sets: Cow<'p, [SetId]>,
    /// `None` for anonymous clients, and for those that a `[[match]]` admits.
    listed: Option<&'p User>,
}

/// A `[[match]]` block.
#[derive(Debug)]
pub(crate) struct Match {
    pub(crate) names: Vec<Pattern>,
    pub(crate) roles: SetIds,
    pub(crate) unlisted: bool,
}

/// Who stands in for an unknown user when its password is checked.
///
/// Names lie on a ring, in the order of a hash that is secret and the same as long as the process: asking twice tells nothing,
/// nor does a new policy, which moves only those names whose neighbours on the ring come or go.
#[derive(Debug, Default)]
pub(crate) struct Decoys(Vec<(u64, Box<[u8]>)>);

impl Policy {
    /// Decides whether the client may do this.
    pub fn authorize(&self, client: &Client<'_>, action: Action<'_>) -> Decision {
        if action == Action::Unsubscribe {
            return Decision::Allow(Grant::Unsubscribe);
        }
        let Standing { sets, listed } = match self.standing(client) {
            Ok(standing) => standing,
            Err(refusal) => return Decision::Deny(refusal),
        };
        if let Action::Api(path) = action {
            let granted = path.starts_with(b"/api/") && self.each(&sets).any(|set| set.api);
            return if granted { Decision::Allow(Grant::Api) } else { Decision::Deny(Refusal::Api) };
        }
        let own_ids = listed.is_some_and(|user| user.own_ids);
        let names = match client.user {
            Some(name) if own_ids && binding::begins_with(client.id, name) => {
                Names { user: Some(name), client: client.id }
            }
            _ => {
                if let Err(refusal) = self.bound(client, &sets, listed.is_some()) {
                    return Decision::Deny(refusal);
                }
                Names::new(client.user, client.id)
            }
        };
        let verdict = match action {
            Action::Connect | Action::Unsubscribe | Action::Api(_) => Ok(Grant::Admitted),
            Action::Publish(topic) => self.topic(&sets, topic, &names, Kind::AllowPublish, Kind::DenyPublish),
            Action::Receive(topic) => self.topic(&sets, topic, &names, Kind::AllowReceive, Kind::DenySubscribe),
            Action::Subscribe(text) => self.subscription(&sets, text, names),
        };
        match verdict {
            Ok(grant) => Decision::Allow(grant),
            Err(refusal) => Decision::Deny(refusal),
        }
    }

    /// Takes over what the policy before this one remembers of logins, for each user whose password string is the same.
    pub fn inherit(&mut self, old: &Self) {
        for (name, user) in self.users.iter().filter(|(_, user)| !user.disabled) {
            let Some(before) = old.users.get(name) else { continue };
            for new in &user.credentials {
                let same = before.credentials.iter().find(|old| new.is_same(old));
                if let Some(login) = same.and_then(|same| old.remembered.get(same.slot)) {
                    self.remembered.set(new.slot, &login);
                }
            }
        }
        self.fingerprints = old.fingerprints.clone();
    }

    /// Takes `[anonymous]` away, for a broker that must not have anonymous clients; whether there was one.
    pub fn drop_anonymous(&mut self) -> bool {
        self.anonymous.take().is_some()
    }

    /// Disables users; how many were not already.
    pub(crate) fn disable(&mut self, is_meant: impl Fn(&[u8]) -> bool) -> usize {
        let users = self.users.iter_mut().filter(|(name, user)| !user.disabled && is_meant(name));
        users.map(|(_, user)| user.disabled = true).count()
    }

    /// How the checking of passwords is rationed.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The policy that admits nobody: what a missing or empty file means.
    #[must_use]
    pub fn deny_all() -> Self {
        Self {
            rules: Vec::new(),
            sets: Vec::new(),
            users: HashMap::new(),
            anonymous: None,
            matches: Vec::new(),
            scenarios: Vec::new(),
            limits: Limits::default(),
            fingerprints: Fingerprints::default(),
            remembered: Remembered::new(0),
            identity: Identity::new(),
            decoys: Decoys::default(),
            longest_name: 0,
        }
    }

    /// Its size, for people.
    #[must_use]
    pub fn size(&self) -> Size {
        Size {
            users: self.users.len(),
            roles: self.sets.iter().filter(|set| matches!(set.holder, Holder::Role(_))).count(),
            rules: self.rules.len(),
            tests: self.scenarios.len(),
        }
    }

    /// Whether the user has a `password`, without which nobody logs in under this name with one.
    #[must_use]
    pub fn has_password(&self, user: &[u8]) -> bool {
        self.users.get(user).is_some_and(|user| !user.credentials.is_empty())
    }

    fn standing(&self, client: &Client<'_>) -> Result<Standing<'_>, Refusal> {
        let Some(name) = client.user else {
            let set = self.anonymous.as_ref().ok_or(Refusal::Anonymous)?;
            return Ok(Standing { sets: std::slice::from_ref(set).into(), listed: None });
        };
        match self.users.get(name) {
            Some(User { disabled: true, .. }) => Err(Refusal::Disabled),
            Some(user) => Ok(Standing { sets: user.sets.as_slice().into(), listed: Some(user) }),
            None => {
                let mut sets = Vec::new();
                let mut admitted = false;
                for block in self.matches.iter().filter(|block| block.unlisted && block.fits(name)) {
                    admitted = true;
                    sets.extend(block.roles.iter().copied());
                }
                if admitted { Ok(Standing { sets: sets.into(), listed: None }) } else { Err(Refusal::NotListed) }
            }
        }
    }

    /// Whether a listed user may have the ids that begin with its name, whatever else it may have.
    pub(crate) fn has_own_ids(&self, name: &[u8], sets: &[SetId]) -> bool {
        let is_named = self.each(sets).any(|set| set.client_ids.is_some());
        // An id of these is the HTTP listener's, and the broker's own ids have a rule of their own.
        let is_special = [HTTP_API, "http", AUTO].iter().any(|special| special.as_bytes() == name);
        let is_limited = self.each(sets).any(|set| !set.denied_client_ids.is_empty() || !set.auto_id);
        is_usable(name) && !is_special && !is_limited && (!is_named || self.each(sets).any(|set| set.holds_own_ids))
    }

    /// Whether the client id is one of the client's.
    fn bound(&self, client: &Client<'_>, sets: &[SetId], listed: bool) -> Result<(), Refusal> {
        let Client { user, id } = *client;
        if id == HTTP_API.as_bytes() {
            return Err(Refusal::ReservedClientId);
        }
        if self.each(sets).any(|set| set.denied_client_ids.iter().any(|pattern| pattern.fits(id, user))) {
            return Err(Refusal::DeniedClientId);
        }
        let auto = binding::is_auto_id(id);
        let auto_refused = auto && !self.each(sets).all(|set| set.auto_id);
        let patterns = || self.each(sets).filter_map(|set| set.client_ids.as_ref()).flatten();
        let named = self.each(sets).any(|set| set.client_ids.is_some());
        let own = !named && user.is_some_and(|user| binding::is_own(id, user));
        if own || patterns().any(|pattern| pattern.names(!auto_refused) && pattern.fits(id, user)) {
            // The check of the policy made sure that no listed user's pattern reaches another's name (S5).
            return if listed { Ok(()) } else { self.not_foreign(client) };
        }
        if auto_refused {
            return Err(Refusal::AutoId);
        }
        let unbound = user.is_none() && !named;
        if auto || unbound || patterns().any(|pattern| *pattern == Pattern::Any) {
            self.not_foreign(client)
        } else {
            Err(Refusal::ClientId)
        }
    }

    /// A listed user's name, and that name followed by `-`, belong to that user alone (S4, S5); where several names fit,
    /// to the longest of them: `dev-1` is the user `dev-1`'s, not `dev`'s.
    fn not_foreign(&self, client: &Client<'_>) -> Result<(), Refusal> {
        // What is longer than every name is none: an id of 65,535 dashes must cost no more than one of twenty.
        let owner = (0..=client.id.len().min(self.longest_name))
            .rev()
            .filter(|end| client.id.get(*end).is_none_or(|b| *b == b'-'))
            .filter_map(|end| client.id.get(..end))
            .find(|name| self.users.contains_key(*name));
        match owner {
            Some(owner) if client.user != Some(owner) => Err(Refusal::ForeignClientId),
            _ => Ok(()),
        }
    }

    fn topic(
        &self,
        sets: &[SetId],
        topic: &[u8],
        names: &Names<'_>,
        allow: Kind,
        deny: Kind,
    ) -> Result<Grant, Refusal> {
        if topic.is_empty() {
            return Err(Refusal::MalformedTopic);
        }
        let mut found = matcher::Found::default();
        for set in self.each(sets) {
            found = found.or(set.tree.find(topic, names, allow, deny));
        }
        match (found.deny, found.allow) {
            (Some(rule), _) => Err(Refusal::Rule(rule)),
            (None, Some(rule)) => Ok(Grant::Rule(rule)),
            (None, None) => Err(Refusal::NoRule),
        }
    }

    fn subscription(&self, sets: &[SetId], text: &[u8], names: Names<'_>) -> Result<Grant, Refusal> {
        /// How much of a tree is searched only to word a refusal: a client may send thousands of filters in one packet.
        const FOR_WORDS: usize = 2048;
        let Subscription { group, filter } = Subscription::parse(text)?;
        let filter = filter.levels();
        let granting = || self.each(sets).filter(|set| group.is_none_or(|group| set.admits_group(group)));
        if let Some(rule) = matcher::cover(granting().map(|set| &set.tree), filter, &names, Kind::AllowSubscribe) {
            match self.first_meeting(self.each(sets), filter, names, Kind::DenySubscribe, usize::MAX) {
                None => return Ok(Grant::Rule(rule)),
                // A part is denied; a role with `overlap` may still grant the rest.
                Some(deny) => return self.overlap(sets, group, filter, names).ok_or(Refusal::Rule(deny)),
            }
        }
        if let Some(grant) = self.overlap(sets, group, filter, names) {
            return Ok(grant);
        }
        if let Some(rule) = self.first_meeting(granting(), filter, names, Kind::AllowSubscribe, FOR_WORDS) {
            return Err(Refusal::PartlyGranted(rule));
        }
        let elsewhere = group.is_some()
            && self.first_meeting(self.each(sets), filter, names, Kind::AllowSubscribe, FOR_WORDS).is_some();
        Err(if elsewhere { Refusal::ShareGroup } else { Refusal::NoRule })
    }

    /// A rule of a role with `overlap` that has a topic in common with the filter which nothing denies (S10). A shared
    /// subscription is never granted so: the broker drops what it hands to a member that may not have it (S13).
    fn overlap(&self, sets: &[SetId], group: Option<&[u8]>, filter: &[Level<'_>], names: Names<'_>) -> Option<Grant> {
        if group.is_some() {
            return None;
        }
        let denies = || self.each(sets).map(|set| &set.tree).filter(|tree| tree.has(Kind::DenySubscribe));
        let denied = denies().next().is_some();
        /// Rules that are denied altogether, before giving up: each costs a search, and a client may send thousands of
        /// filters in one packet.
        const DENIED: usize = 1024;
        let mut left = DENIED;
        self.each(sets).filter(|set| set.overlap).find_map(|set| {
            let found = set.tree.meet(filter, names, Kind::AllowSubscribe, usize::MAX, |meeting| {
                if denied && matcher::cover(denies(), &meeting.common(), &names, Kind::DenySubscribe).is_some() {
                    left = left.saturating_sub(1);
                    return if left == 0 { ControlFlow::Break(None) } else { ControlFlow::Continue(()) };
                }
                ControlFlow::Break(Some(Grant::Rule(meeting.rule)))
            });
            found.break_value().flatten()
        })
    }

    fn first_meeting<'p>(
        &'p self,
        mut sets: impl Iterator<Item = &'p RuleSet>,
        filter: &[Level<'_>],
        names: Names<'_>,
        kind: Kind,
        most: usize,
    ) -> Option<RuleId> {
        sets.find_map(|set| {
            set.tree.meet(filter, names, kind, most, |meeting| ControlFlow::Break(meeting.rule)).break_value()
        })
    }

    pub(crate) fn each(&self, sets: &[SetId]) -> impl Iterator<Item = &RuleSet> {
        sets.iter().filter_map(|id| self.sets.get(*id as usize))
    }

    /// The rule sets of a client, for the texts that explain a decision.
    pub(crate) fn sets_of(&self, client: &Client<'_>) -> Vec<SetId> {
        self.standing(client).map(|standing| standing.sets.into_owned()).unwrap_or_default()
    }
}

/// What [`Policy::size`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Users, disabled ones included.
    pub users: usize,
    /// Roles.
    pub roles: usize,
    /// Filters of roles, users and `[anonymous]`.
    pub rules: usize,
    /// `[[test]]` blocks.
    pub tests: usize,
}

impl RuleSet {
    fn admits_group(&self, group: &[u8]) -> bool {
        self.groups.as_ref().is_none_or(|groups| groups.iter().any(|known| known.as_bytes() == group))
    }
}

impl Match {
    pub(crate) fn fits(&self, user: &[u8]) -> bool {
        self.names.iter().any(|pattern| pattern.fits(user, None))
    }

    /// Whether some name may fit both.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.names.iter().any(|pattern| other.names.iter().any(|other| pattern.meets(other)))
    }
}

impl Decoys {
    pub(crate) fn new<'n>(names: impl Iterator<Item = &'n [u8]>) -> Self {
        /// More would not make the mixture of password strings any truer.
        const MOST: usize = 1024;
        let mut ring: Vec<_> = names.map(|name| (Self::hash(name), name)).collect();
        if ring.len() > MOST {
            ring.select_nth_unstable(MOST);
            ring.truncate(MOST);
            // The least hashes are the first part of the ring; stretched, they are all of it.
            let last = ring.iter().map(|(hash, _)| *hash).max().unwrap_or(1).max(1);
            for (hash, _) in &mut ring {
                *hash = (u128::from(*hash) * u128::from(u64::MAX) / u128::from(last)) as u64;
            }
        }
        ring.sort_unstable();
        Self(ring.into_iter().map(|(hash, name)| (hash, name.into())).collect())
    }

    pub(crate) fn choose(&self, user: &[u8]) -> Option<&[u8]> {
        let hash = Self::hash(user);
        let next = self.0.partition_point(|(other, _)| *other < hash);
        self.0.get(next).or(self.0.first()).map(|(_, name)| &**name)
    }

    fn hash(name: &[u8]) -> u64 {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        KEY.hash_one(name)
    }
}
