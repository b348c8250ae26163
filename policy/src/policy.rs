//! A policy that was read, checked and compiled: immutable, and asked about every login and every message.

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::binding::{self, HTTP_API, Pattern};
use crate::decision::{Action, Client, Decision, Grant, Refusal, RuleId};
use crate::fingerprint::{Fingerprints, Remembered};
use crate::limits::Limits;
use crate::login::Identity;
use crate::matcher::{Forest, Kind, Meeting, Root, Topic, Wanted};
use crate::rules::{Piece, Rules};
use crate::scenario::Scenario;
use crate::template::{Attributes, Names};
use crate::topic::{Level, Subscription};
use crate::users::Users;

/// A policy in force, or about to be.
#[derive(Debug)]
pub struct Policy {
    pub(crate) rules: Rules,
    pub(crate) sets: Vec<RuleSet>,
    /// The rules of all of them, compiled.
    pub(crate) forest: Forest,
    pub(crate) users: Users,
    /// Of the users that have any, by name.
    pub(crate) attributes: HashMap<Box<[u8]>, Box<Attributes>>,
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

/// What a role, a user or `[anonymous]` says: rules, and who may hold which client id.
#[derive(Debug)]
pub(crate) struct RuleSet {
    pub(crate) holder: Holder,
    pub(crate) tree: Root,
    /// What few of them say; `None` where this one does not.
    pub(crate) rare: Option<Box<Rare>>,
    /// Whether its client ids are, among others, those that a user has where nothing names any.
    pub(crate) holds_own_ids: bool,
    pub(crate) overlap: bool,
    pub(crate) api: bool,
    pub(crate) auto_id: bool,
}

/// What a rule set says beside rules.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    /// `None` where it names no `client_id`.
    pub(crate) client_ids: Option<Vec<Pattern>>,
    pub(crate) denied_client_ids: Vec<Pattern>,
    /// The groups of shared subscriptions; `None` for any.
    pub(crate) groups: Option<Vec<Box<str>>>,
}

/// Whose rule set it is. Names are kept with the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    Role(Piece),
    User(Piece),
    Anonymous,
}

/// Who a client is to the policy.
struct Standing<'p> {
    sets: Cow<'p, [SetId]>,
    /// Not anonymous, nor one that a `[[match]]` admits.
    is_listed: bool,
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
    #[inline]
    pub fn authorize(&self, client: &Client<'_>, action: Action<'_>) -> Decision {
        const PUBLISH: Wanted = Wanted { allow: Kind::AllowPublish, deny: Kind::DenyPublish };
        const RECEIVE: Wanted = Wanted { allow: Kind::AllowReceive, deny: Kind::DenySubscribe };
        let verdict = match action {
            Action::Publish(topic) => self.topic(client, topic, PUBLISH),
            Action::Receive(topic) => self.topic(client, topic, RECEIVE),
            _ => self.rarely(client, action),
        };
        match verdict {
            Ok(grant) => Decision::Allow(grant),
            Err(refusal) => Decision::Deny(refusal),
        }
    }

    /// Decides what is not asked for every message.
    #[inline(never)]
    fn rarely(&self, client: &Client<'_>, action: Action<'_>) -> Result<Grant, Refusal> {
        match action {
            Action::Subscribe(text) => self.subscription(client, text),
            Action::Connect => self.bound(client).map(|_| Grant::Admitted),
            Action::Unsubscribe => Ok(Grant::Unsubscribe),
            Action::Api(path) => self.api(client, path),
            Action::Publish(_) | Action::Receive(_) => Err(Refusal::MalformedTopic),
        }
    }

    /// Takes over what the policy before this one remembers of logins, for each user whose password string is the same.
    pub fn inherit(&mut self, old: &Self) {
        for user in self.users.iter().filter(|user| !user.is_disabled()) {
            let Some(before) = old.users.get(user.name()) else { continue };
            let before = before.credentials();
            for new in user.credentials() {
                let same = before.iter().find(|old| new.is_same(old));
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
        self.users.disable(is_meant)
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
            rules: Rules::default(),
            sets: Vec::new(),
            forest: Forest::new(),
            users: Users::default(),
            attributes: HashMap::new(),
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
        self.users.get(user).is_some_and(|user| user.has_password())
    }

    fn standing(&self, client: &Client<'_>) -> Result<Standing<'_>, Refusal> {
        let Some(name) = client.user else {
            let set = self.anonymous.as_ref().ok_or(Refusal::Anonymous)?;
            return Ok(Standing { sets: std::slice::from_ref(set).into(), is_listed: false });
        };
        match self.users.get(name) {
            Some(user) if user.is_disabled() => Err(Refusal::Disabled),
            Some(user) => Ok(Standing { sets: user.sets().into(), is_listed: true }),
            None => {
                let mut sets = Vec::new();
                let mut admitted = false;
                for block in self.matches.iter().filter(|block| block.unlisted && block.fits(name)) {
                    admitted = true;
                    sets.extend(block.roles.iter().copied());
                }
                if admitted { Ok(Standing { sets: sets.into(), is_listed: false }) } else { Err(Refusal::NotListed) }
            }
        }
    }

    /// Which rules are a client's, and what its names are, where that is plain: a user under a client id of its own name.
    #[inline]
    fn plainly_bound<'a>(&'a self, client: &Client<'a>) -> Option<(&'a [SetId], Names<'a>)> {
        let name = client.user?;
        let user = self.users.get(name).filter(|user| user.has_own_ids() && !user.is_disabled())?;
        let names = || Names::usable(client.user, client.id, self.attributes_of(client));
        binding::begins_with(client.id, name).then(|| (user.sets(), names()))
    }

    /// The same for any client, if the client id is one of its own.
    #[inline(never)]
    fn bound<'a>(&'a self, client: &Client<'a>) -> Result<(Cow<'a, [SetId]>, Names<'a>), Refusal> {
        if let Some((sets, names)) = self.plainly_bound(client) {
            return Ok((sets.into(), names));
        }
        let Standing { sets, is_listed } = self.standing(client)?;
        self.is_bound(client, &sets, is_listed)?;
        Ok((sets, Names::new(client.user, client.id, self.attributes_of(client))))
    }

    #[inline]
    pub(crate) fn attributes_of(&self, client: &Client<'_>) -> &Attributes {
        if self.attributes.is_empty() {
            return &[];
        }
        client.user.and_then(|user| self.attributes.get(user)).map_or(&[], |attributes| attributes)
    }

    /// What the variables of a user's patterns stand for, whatever its client id.
    pub(crate) fn names_of<'a>(&'a self, user: &'a [u8]) -> Names<'a> {
        let client = Client { user: Some(user), id: b"" };
        Names::new(client.user, client.id, self.attributes_of(&client))
    }

    /// Whether these rule sets leave a listed user the ids that begin with its name, whatever else it may have.
    pub(crate) fn leave_own_ids(&self, sets: &[SetId]) -> bool {
        let is_named = self.each(sets).any(|set| set.client_ids().is_some());
        let is_limited = self.each(sets).any(|set| !set.denied_client_ids().is_empty() || !set.auto_id);
        !is_limited && (!is_named || self.each(sets).any(|set| set.holds_own_ids))
    }

    /// Whether the client id is one of the client's.
    pub(crate) fn is_bound(&self, client: &Client<'_>, sets: &[SetId], listed: bool) -> Result<(), Refusal> {
        let Client { user, id } = *client;
        if id == HTTP_API.as_bytes() {
            return Err(Refusal::ReservedClientId);
        }
        let names = Names::new(user, id, self.attributes_of(client));
        if self.each(sets).any(|set| set.denied_client_ids().iter().any(|pattern| pattern.fits(id, &names))) {
            return Err(Refusal::DeniedClientId);
        }
        let auto = binding::is_auto_id(id);
        let auto_refused = auto && !self.each(sets).all(|set| set.auto_id);
        let patterns = || self.each(sets).filter_map(|set| set.client_ids()).flatten();
        let named = self.each(sets).any(|set| set.client_ids().is_some());
        let own = !named && user.is_some_and(|user| binding::is_own(id, user));
        if own || patterns().any(|pattern| pattern.names(!auto_refused) && pattern.fits(id, &names)) {
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
            .find(|name| self.users.contains(name));
        match owner {
            Some(owner) if client.user != Some(owner) => Err(Refusal::ForeignClientId),
            _ => Ok(()),
        }
    }

    fn api(&self, client: &Client<'_>, path: &[u8]) -> Result<Grant, Refusal> {
        let sets = self.standing(client)?.sets;
        let granted = path.starts_with(b"/api/") && self.each(&sets).any(|set| set.api);
        if granted { Ok(Grant::Api) } else { Err(Refusal::Api) }
    }

    #[inline]
    fn topic(&self, client: &Client<'_>, topic: &[u8], wanted: Wanted) -> Result<Grant, Refusal> {
        match self.plainly_bound(client) {
            Some((sets, names)) => self.rules(sets, topic, &names, wanted),
            None => self.topic_of_any(client, topic, wanted),
        }
    }

    #[inline(never)]
    fn topic_of_any(&self, client: &Client<'_>, topic: &[u8], wanted: Wanted) -> Result<Grant, Refusal> {
        let (sets, names) = self.bound(client)?;
        self.rules(&sets, topic, &names, wanted)
    }

    #[inline]
    fn rules(&self, sets: &[SetId], topic: &[u8], names: &Names<'_>, wanted: Wanted) -> Result<Grant, Refusal> {
        if topic.is_empty() {
            return Err(Refusal::MalformedTopic);
        }
        let topic = Topic::new(topic);
        let mut allow = None;
        for set in self.each(sets) {
            // What is allowed only a deny takes back.
            if allow.is_some() && !self.forest.has(set.tree, wanted.deny) {
                continue;
            }
            let found = self.forest.find(set.tree, &topic, names, wanted);
            if let Some(rule) = found.deny {
                return Err(Refusal::Rule(rule));
            }
            allow = allow.or(found.allow);
        }
        allow.map(Grant::Rule).ok_or(Refusal::NoRule)
    }

    fn subscription(&self, client: &Client<'_>, text: &[u8]) -> Result<Grant, Refusal> {
        /// How much of a tree is searched only to word a refusal: a client may send thousands of filters in one packet.
        const FOR_WORDS: usize = 2048;
        let (sets, names) = self.bound(client)?;
        let sets = &*sets;
        let Subscription { group, filter } = Subscription::parse(text)?;
        let filter = filter.levels();
        let granting = || self.each(sets).filter(|set| group.is_none_or(|group| set.admits_group(group)));
        if let Some(rule) = self.forest.cover(granting().map(|set| set.tree), filter, &names, Kind::AllowSubscribe) {
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
        let denies = || self.each(sets).map(|set| set.tree).filter(|tree| self.forest.has(*tree, Kind::DenySubscribe));
        let denied = denies().next().is_some();
        /// Rules that are denied altogether, before giving up: each costs a search, and a client may send thousands of
        /// filters in one packet.
        const DENIED: usize = 1024;
        let mut left = DENIED;
        self.each(sets).filter(|set| set.overlap).find_map(|set| {
            let found = self.forest.meet(set.tree, filter, names, Kind::AllowSubscribe, usize::MAX, |meeting| {
                if denied && self.forest.cover(denies(), &meeting.common(), &names, Kind::DenySubscribe).is_some() {
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
            let first = |meeting: Meeting<'_>| ControlFlow::Break(meeting.rule);
            self.forest.meet(set.tree, filter, names, kind, most, first).break_value()
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
    /// `None` where it names no `client_id`.
    pub(crate) fn client_ids(&self) -> Option<&[Pattern]> {
        self.rare.as_ref()?.client_ids.as_deref()
    }

    pub(crate) fn denied_client_ids(&self) -> &[Pattern] {
        self.rare.as_ref().map_or(&[], |rare| &rare.denied_client_ids)
    }

    /// The groups of shared subscriptions; `None` for any.
    pub(crate) fn groups(&self) -> Option<&[Box<str>]> {
        self.rare.as_ref()?.groups.as_deref()
    }

    pub(crate) fn admits_group(&self, group: &[u8]) -> bool {
        self.groups().is_none_or(|groups| groups.iter().any(|known| known.as_bytes() == group))
    }
}

impl Match {
    pub(crate) fn fits(&self, user: &[u8]) -> bool {
        self.names.iter().any(|pattern| pattern.fits(user, &Names::NONE))
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
        let keep_least = |ring: &mut Vec<(u64, &'n [u8])>| {
            ring.select_nth_unstable(MOST);
            ring.truncate(MOST);
        };
        let mut ring = Vec::new();
        let mut is_part = false;
        for name in names {
            ring.push((Self::hash(name), name));
            if ring.len() > 8 * MOST {
                keep_least(&mut ring);
                is_part = true;
            }
        }
        if ring.len() > MOST {
            keep_least(&mut ring);
            is_part = true;
        }
        if is_part {
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
