//! Holding a policy against what it was made from: every case that the two can tell apart is asked of both.
//!
//! Three answers are compared. What the source *says*, by its own rules; what it *would say* if it were read with the
//! deviations that the import tells of; and what the policy says. Where the policy differs from the second, nothing
//! explains it: the import is wrong. Where the second differs from the first, a deviation does, and it is shown with an
//! example. So no difference is passed over, and none is excused but by a cause that produces exactly it.
//!
//! Users with the same roles and no rules of their own, of whom the source says the same, are asked about as one. Both sides
//! use a user's name only as a whole level; if it is none that some rule spells out, exchanging it for another such name
//! exchanges the topics and changes no answer. Users whose name is spelled out, or may not stand for a level, are asked about
//! one by one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use mqtt_acl_policy::{Action, CaseId, Client, Extent, Filters, Policy, is_usable_name};

use crate::acl::{Access, Verdict};
use crate::draft::{Draft, User};

/// What a policy was made from.
pub trait Source {
    /// The brokers, by name, whose reading of it counts.
    fn readings(&self) -> Vec<&'static str>;

    /// The filters that decide what the client may do.
    fn filters(&self, client: &Client<'_>) -> Vec<Vec<u8>>;

    /// What the broker answers, by this reading of it.
    fn says(&self, reading: usize, client: &Client<'_>, access: Access, topic: &[u8]) -> Verdict;

    /// Whether the policy is to allow it: what the source would say with all that the import changed.
    fn would_say(&self, client: &Client<'_>, access: Access, topic: &[u8]) -> bool;

    /// The one cause that alone makes this reading say so, if any does.
    fn cause(&self, reading: usize, client: &Client<'_>, access: Access, topic: &[u8], verdict: bool) -> Cause;

    /// Whether the broker lets the user connect under this client id.
    fn admits(&self, user: Option<&[u8]>, id: &[u8]) -> bool;

    /// Whether some rule that the policy keeps depends on the client id.
    fn keeps_client_ids(&self) -> bool;

    /// What it says of this user, with `%u` for the user's name where that is a level of its own.
    fn rules_of(&self, user: &str) -> Vec<String>;

    /// Whether the policy is to grant a subscription as soon as something of it may be read.
    fn overlaps(&self) -> bool;

    /// Whether the policy is to let the client subscribe to this topic's messages; they may be read anyway.
    fn subscribable(&self, client: &Client<'_>, topic: &[u8]) -> bool {
        self.would_say(client, Access::Read, topic)
    }
}

/// Why a policy differs from what it was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Rules were left out.
    LeftOut,
    /// A deny wins where the source lets a grant win.
    DenyWins,
    /// Rules for everybody also count for client ids with `+` or `#` in them.
    WildcardIds,
    /// Wildcards do not match what begins with `$`.
    HiddenTopics,
    /// The source lets through whatever no rule is about.
    Default,
    /// The brokers read a rule differently.
    Brokers,
    /// Client ids that belong to others, or are not the user's.
    ClientIds,
    /// Subscriptions that the source does not refuse.
    Subscriptions,
    /// Subscriptions that the source refuses.
    MoreSubscriptions,
    /// Several of these together.
    Together,
}

/// What two disagree about.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The user name.
    pub user: Option<Vec<u8>>,
    /// The client id.
    pub client_id: Vec<u8>,
    /// What is asked for; nothing for being admitted.
    pub access: Option<Access>,
    /// The topic or filter.
    pub topic: Vec<u8>,
    /// Whether the policy allows it.
    pub allowed: bool,
    /// Why the policy says so.
    pub reason: String,
    /// Who says otherwise.
    pub broker: &'static str,
}

/// Differences of one cause.
#[derive(Clone, Debug)]
pub struct Class {
    /// In how many users.
    pub users: usize,
    /// In how many of the cases that were looked at.
    pub cases: u64,
    /// The first.
    pub example: Difference,
}

/// What came of a check.
#[derive(Clone, Debug)]
pub struct Report {
    /// Differences that nothing explains.
    pub unexplained: Vec<Difference>,
    /// How many there are.
    pub unexplained_count: u64,
    /// Differences that a cause explains; whether the policy allows it.
    pub classes: BTreeMap<(Cause, bool), Class>,
    /// How many answers were compared.
    pub cases: u64,
    /// Of these: decided by some rule of the source, allowed and refused.
    pub decided: (u64, u64),
    /// Ways to subscribe that were asked about.
    pub subscriptions: u64,
    /// Users that were asked about, each for itself or for others like it.
    pub clients: usize,
    /// Whether all cases were looked at.
    pub extent: Extent,
}

/// So many cases of one client are looked at.
const MOST: usize = 50_000;
/// So many unexplained differences are kept.
const KEPT: usize = 20;
/// An id that the broker could have made.
const AUTO_ID: &[u8] = b"auto-00000000-0000-4000-8000-000000000000";

/// Checks a policy against its source. The draft tells which users are alike; `progress` is told how many of how many
/// clients were asked about.
pub fn check(source: &impl Source, policy: &Policy, draft: &Draft, mut progress: impl FnMut(usize, usize)) -> Report {
    let mut checker = Checker {
        source,
        policy,
        names: draft.users.iter().map(|user| user.name.as_bytes()).collect(),
        by_id: source.keeps_client_ids(),
        report: Report {
            unexplained: Vec::new(),
            unexplained_count: 0,
            classes: BTreeMap::new(),
            cases: 0,
            decided: (0, 0),
            subscriptions: 0,
            clients: 0,
            extent: Extent::Whole,
        },
    };
    let groups = checker.groups(&draft.users);
    let total = groups.len() + usize::from(draft.anonymous.is_some());
    for (number, (user, count)) in groups.into_iter().enumerate() {
        progress(number, total);
        checker.client(Some(user.name.as_bytes()), count);
    }
    if draft.anonymous.is_some() {
        checker.client(None, 1);
    }
    progress(total, total);
    checker.report
}

struct Checker<'c, S> {
    source: &'c S,
    policy: &'c Policy,
    names: BTreeSet<&'c [u8]>,
    by_id: bool,
    report: Report,
}

impl<S: Source> Checker<'_, S> {
    /// The users to ask about, and for how many each stands.
    fn groups<'u>(&self, users: &'u [User]) -> Vec<(&'u User, usize)> {
        let mut groups: Vec<(&User, usize)> = Vec::new();
        let mut alike: BTreeMap<(&[String], Vec<String>), Vec<&User>> = BTreeMap::new();
        for user in users.iter().filter(|user| !user.disabled) {
            if user.lists.is_empty() && user.client_id.is_empty() && is_usable_name(user.name.as_bytes()) {
                alike.entry((&user.roles, self.source.rules_of(&user.name))).or_default().push(user);
            } else {
                groups.push((user, 1));
            }
        }
        for members in alike.into_values() {
            // What the rules name for two of them, and not because it is the name of one.
            let mut spelled: HashSet<Vec<u8>> = HashSet::new();
            if let [first, second, ..] = members[..] {
                for (user, other) in [(first, second), (second, first)] {
                    let filters = self.filters(&Client { user: Some(user.name.as_bytes()), id: user.name.as_bytes() });
                    let is_own = |text: &[u8]| text == user.name.as_bytes() && text != other.name.as_bytes();
                    spelled.extend(filters.texts().into_iter().filter(|text| !is_own(text)).map(<[u8]>::to_vec));
                }
            }
            let (alone, alike): (Vec<_>, Vec<_>) =
                members.into_iter().partition(|user| spelled.contains(user.name.as_bytes()));
            groups.extend(alike.first().map(|user| (*user, alike.len())));
            groups.extend(alone.into_iter().map(|user| (user, 1)));
        }
        groups
    }

    fn filters(&self, client: &Client<'_>) -> Filters {
        let mut filters = Filters::default();
        self.policy.add_filters(client, &mut filters);
        for filter in self.source.filters(client) {
            filters.insert(&filter);
        }
        filters
    }

    fn client(&mut self, user: Option<&[u8]>, count: usize) {
        self.report.clients += 1;
        let mut told = HashSet::new();
        // Where no rule depends on the id, one is like the other; patterns treat those with a wildcard in them apart.
        let (mut asked, mut asked_wild) = (false, false);
        for id in self.ids(user) {
            let client = Client { user, id: &id };
            let admitted = self.policy.authorize(&client, Action::Connect).is_allow();
            let expected = self.source.admits(user, &id);
            if admitted {
                let is_wild = id.iter().any(|b| matches!(b, b'+' | b'#'));
                let before = std::mem::replace(if is_wild { &mut asked_wild } else { &mut asked }, true);
                if !before || self.by_id {
                    self.topics(&client, count, &mut told);
                }
                if !expected && !mqtt_acl_policy::is_auto_id(&id) {
                    self.unexplained(&client, None, &id, true, "the broker");
                }
            } else if expected {
                self.explain(Cause::ClientIds, &client, (None, &id, false, "the broker"), count, &mut told);
            }
        }
    }

    /// Ids that are different to one side or the other: the user's own, any, one of another user, one that the broker made,
    /// and those that patterns treat in ways of their own.
    fn ids(&self, user: Option<&[u8]>) -> Vec<Vec<u8>> {
        let mut ids = vec![self.policy.usual_client_id(user)];
        ids.extend(user.map(<[u8]>::to_vec));
        ids.extend(self.names.iter().find(|name| Some(**name) != user).map(|name| name.to_vec()));
        ids.extend([&b"other"[..], b"a+b", b"#", b"a/b", b"$a", AUTO_ID].map(<[u8]>::to_vec));
        let mut seen = HashSet::new();
        ids.retain(|id| seen.insert(id.clone()));
        ids
    }

    fn topics(&mut self, client: &Client<'_>, count: usize, told: &mut HashSet<(Cause, bool)>) {
        let filters = self.filters(client);
        let mut walk = filters.walk();
        let (topics, all_topics) = walk.topics(MOST);
        let mut readable: HashMap<CaseId, (bool, bool)> = HashMap::new();
        for (case, topic) in &topics {
            let read = self.topic(client, Access::Read, topic, count, told);
            self.topic(client, Access::Write, topic, count, told);
            readable.insert(*case, (read, self.source.subscribable(client, topic)));
        }
        let (subscriptions, all_filters) = walk.filters(MOST);
        for subscription in &subscriptions {
            let cases = walk.reached(subscription);
            let known = cases.iter().filter_map(|case| readable.get(case));
            let fits = |(read, subscribe): &(bool, bool)| *read && *subscribe;
            let expected = if self.source.overlaps() { known.clone().any(fits) } else { known.clone().all(fits) };
            self.subscription(client, &subscription.filter, expected, count, told);
        }
        self.report.extent = self.report.extent.and(all_topics).and(all_filters);
    }

    /// Compares the answers about one topic; what the policy says.
    fn topic(
        &mut self,
        client: &Client<'_>,
        access: Access,
        topic: &[u8],
        count: usize,
        told: &mut HashSet<(Cause, bool)>,
    ) -> bool {
        let action = if access == Access::Read { Action::Receive(topic) } else { Action::Publish(topic) };
        let allowed = self.policy.authorize(client, action).is_allow();
        let would = self.source.would_say(client, access, topic);
        self.report.cases += 1;
        if would != allowed {
            self.unexplained(client, Some(access), topic, allowed, "the source as it was read");
        }
        for (reading, broker) in self.source.readings().into_iter().enumerate() {
            let verdict = self.source.says(reading, client, access, topic);
            if reading == 0 {
                match verdict {
                    Verdict::Rule(true) => self.report.decided.0 += 1,
                    Verdict::Rule(false) => self.report.decided.1 += 1,
                    Verdict::Default(_) => {}
                }
            }
            if verdict.is_allow() != allowed && would == allowed {
                let cause = self.source.cause(reading, client, access, topic, allowed);
                self.explain(cause, client, (Some(access), topic, allowed, broker), count, told);
            }
        }
        allowed
    }

    fn subscription(
        &mut self,
        client: &Client<'_>,
        filter: &[u8],
        expected: bool,
        count: usize,
        told: &mut HashSet<(Cause, bool)>,
    ) {
        let allowed = self.policy.authorize(client, Action::Subscribe(filter)).is_allow();
        self.report.subscriptions += 1;
        if allowed != expected {
            self.unexplained(client, Some(Access::Subscribe), filter, allowed, "what may be read");
            return;
        }
        for (reading, broker) in self.source.readings().into_iter().enumerate() {
            let verdict = self.source.says(reading, client, Access::Subscribe, filter);
            if verdict.is_allow() != allowed {
                let cause = if allowed { Cause::MoreSubscriptions } else { Cause::Subscriptions };
                self.explain(cause, client, (Some(Access::Subscribe), filter, allowed, broker), count, told);
            }
        }
    }

    fn difference(&self, client: &Client<'_>, (access, topic, allowed, broker): Answer<'_>) -> Difference {
        let action = match access {
            None => Action::Connect,
            Some(Access::Read) => Action::Receive(topic),
            Some(Access::Write) => Action::Publish(topic),
            Some(Access::Subscribe) => Action::Subscribe(topic),
        };
        let reason = self.policy.reason(client, self.policy.authorize(client, action)).to_string();
        Difference {
            user: client.user.map(<[u8]>::to_vec),
            client_id: client.id.to_vec(),
            access,
            topic: topic.to_vec(),
            allowed,
            reason,
            broker,
        }
    }

    fn unexplained(
        &mut self,
        client: &Client<'_>,
        access: Option<Access>,
        topic: &[u8],
        allowed: bool,
        broker: &'static str,
    ) {
        self.report.unexplained_count += 1;
        if self.report.unexplained.len() < KEPT {
            let difference = self.difference(client, (access, topic, allowed, broker));
            self.report.unexplained.push(difference);
        }
    }

    fn explain(
        &mut self,
        cause: Cause,
        client: &Client<'_>,
        answer: Answer<'_>,
        count: usize,
        told: &mut HashSet<(Cause, bool)>,
    ) {
        let key = (cause, answer.2);
        if !self.report.classes.contains_key(&key) {
            // Words are only made for what is shown.
            let example = self.difference(client, answer);
            self.report.classes.insert(key, Class { users: 0, cases: 0, example });
        }
        if let Some(class) = self.report.classes.get_mut(&key) {
            class.cases += 1;
            if told.insert(key) {
                class.users += count;
            }
        }
    }
}

/// What is asked for, of what, whether the policy allows it, and who says otherwise.
type Answer<'a> = (Option<Access>, &'a [u8], bool, &'static str);
