//! Whose rights differ between two policies, exactly, with an example of each difference.
//!
//! What a user may do depends on its name only as far as the name is a level of a topic, or a part of a client id. So the
//! users whose rule sets say the same in both policies are asked about as one, by the topics and filters that
//! [`witness`](crate::witness) finds for one of them. Apart from them, each alone, are users whose name some rule of theirs
//! spells out, or which `%u` does not stand for. Which client ids are whose depends on all the other names; that is asked
//! about each user.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::binding::Pattern;
use crate::decision::{Action, Client, Decision};
use crate::policy::{Holder, Policy, RuleSet, SetId};
use crate::template::{AttributeId, Names, Variable, is_usable};
use crate::witness::{Extent, Filters, Subscription};

/// What two policies differ in.
#[derive(Clone, Debug)]
#[must_use]
pub struct Comparison {
    /// The differences, those of listed users first.
    pub changes: Vec<Shift>,
    /// Whether all cases were looked at; if not, there may be more differences.
    pub extent: Extent,
}

/// One right that some clients gain or lose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shift {
    /// Whose.
    pub who: Holders,
    /// What right.
    pub right: Right,
    /// Whether they gain it, or else lose it.
    pub grows: bool,
    /// What the one policy allows and the other refuses: a topic, a filter, a client id, or a path.
    pub witness: Vec<u8>,
    /// The client id that the example is of.
    pub client_id: Vec<u8>,
    /// What the old policy says of it, and why.
    pub old: String,
    /// What the new policy says of it, and why.
    pub new: String,
}

/// Whose rights they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holders {
    /// Users that either policy lists: how many, and the name of the first.
    Users(usize, Vec<u8>),
    /// Clients without a user name.
    Anonymous,
    /// Names that are not listed, such as this one, and come from a certificate or PSK.
    Unlisted(Vec<u8>),
}

/// What may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// To be admitted at all.
    Connect,
    /// To log in with a password.
    Login,
    /// To use a client id.
    ClientId,
    /// To publish to a topic.
    Publish,
    /// To subscribe with a filter.
    Subscribe,
    /// To be handed messages of a topic.
    Receive,
    /// To use the HTTP listener.
    Api,
}

/// Compares the rights that two policies give.
pub fn compare(old: &Policy, new: &Policy) -> Comparison {
    let mut comparer = Comparer { old, new, changes: Vec::new(), extent: Extent::Whole };
    comparer.users();
    comparer.anonymous();
    comparer.unlisted();
    Comparison { changes: together(comparer.changes), extent: comparer.extent }
}

/// Tells of users together who differ in something else, but of whom the same example holds.
fn together(changes: Vec<Shift>) -> Vec<Shift> {
    let mut merged: Vec<Shift> = Vec::new();
    let mut known: HashMap<(Right, bool, Vec<u8>, String, String), usize> = HashMap::new();
    for change in changes {
        let Holders::Users(more, _) = change.who else {
            merged.push(change);
            continue;
        };
        let Shift { right, grows, witness, old, new, .. } = &change;
        let key = (*right, *grows, witness.clone(), old.clone(), new.clone());
        match known.get(&key).and_then(|at| merged.get_mut(*at)).map(|first| &mut first.who) {
            Some(Holders::Users(count, _)) => *count += more,
            _ => {
                known.insert(key, merged.len());
                merged.push(change);
            }
        }
    }
    merged
}

/// So many cases of one client are looked at.
const MOST: usize = 200_000;

/// An id that the broker could have made.
const AUTO_ID: &[u8] = b"auto-00000000-0000-4000-8000-000000000000";

struct Comparer<'p> {
    old: &'p Policy,
    new: &'p Policy,
    changes: Vec<Shift>,
    extent: Extent,
}

/// What the rights of a user depend on, its name apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Profile {
    old: Option<Side>,
    new: Option<Side>,
    /// Which of the ids that make a difference each policy admits.
    admitted: Vec<(bool, bool)>,
    /// The name, if it makes a difference.
    name: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Side {
    roles: Vec<SetId>,
    own: Option<String>,
    disabled: bool,
    has_password: bool,
    attributes: Vec<(AttributeId, Box<[u8]>)>,
}

/// The user names that others' client ids are tried with.
struct Foreign<'p> {
    old_only: Vec<&'p [u8]>,
    new_only: Vec<&'p [u8]>,
    both: Vec<&'p [u8]>,
}

impl<'p> Foreign<'p> {
    fn of(old: &'p Policy, new: &'p Policy) -> Self {
        /// One that is not the user's own is enough.
        const ENOUGH: usize = 2;
        let only = |here: &'p Policy, there: &Policy| -> Vec<&'p [u8]> {
            smallest(here.users.iter().map(|user| user.name()).filter(|name| !there.users.contains(name)), ENOUGH)
        };
        let both = old.users.iter().map(|user| user.name()).filter(|name| new.users.contains(name));
        Self { old_only: only(old, new), new_only: only(new, old), both: smallest(both, ENOUGH) }
    }

    fn names<'s>(&'s self, user: Option<&'s [u8]>) -> impl Iterator<Item = &'p [u8]> + 's {
        [&self.old_only, &self.new_only, &self.both]
            .into_iter()
            .filter_map(move |names| names.iter().copied().find(|name| Some(*name) != user))
    }
}

/// The first in the order of their bytes.
fn smallest<'n>(names: impl Iterator<Item = &'n [u8]>, most: usize) -> Vec<&'n [u8]> {
    let mut first = BTreeSet::new();
    for name in names {
        first.insert(name);
        if first.len() > most {
            first.pop_last();
        }
    }
    first.into_iter().collect()
}

impl<'p> Comparer<'p> {
    fn users(&mut self) {
        let (old, new) = (self.old, self.new);
        let foreign = Foreign::of(old, new);
        let added = new.users.iter().filter(|user| !old.users.contains(user.name()));
        let mut names: Vec<&[u8]> = old.users.iter().chain(added).map(|user| user.name()).collect();
        names.sort_unstable();
        type Sets = Option<Vec<SetId>>;
        let mut spelled: BTreeMap<(Sets, Sets), HashSet<Vec<u8>>> = BTreeMap::new();
        let mut groups: BTreeMap<Profile, (usize, &[u8])> = BTreeMap::new();
        for name in names {
            let sets = |policy: &Policy| policy.users.get(name).map(|user| user.sets().to_vec());
            let texts = spelled
                .entry((sets(old), sets(new)))
                .or_insert_with_key(|(a, b)| self.spelled(a.as_deref(), b.as_deref()));
            let (before, after) = (side(old, name), side(new, name));
            // An attribute may happen to be the name.
            let says =
                |side: &Option<Side>| side.iter().flat_map(|side| &side.attributes).any(|(_, value)| **value == *name);
            let is_named = texts.contains(name) || says(&before) || says(&after);
            let own_name = (is_named || !is_usable(name)).then(|| name.to_vec());
            let admitted = self.ids(Some(name), &foreign).iter().map(|id| self.admits(Some(name), id)).collect();
            let profile = Profile { old: before, new: after, admitted, name: own_name };
            groups.entry(profile).or_insert((0, name)).0 += 1;
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_key(|(_, (_, name))| *name);
        for (profile, (count, name)) in groups {
            let who = Holders::Users(count, name.to_vec());
            if let (Some(before), Some(after)) = (&profile.old, &profile.new) {
                if before.has_password != after.has_password && !before.disabled && !after.disabled {
                    let said =
                        |has| if has { "has a password" } else { "has no password, so it cannot log in with one" };
                    self.changes.push(Shift {
                        who: who.clone(),
                        right: Right::Login,
                        grows: after.has_password,
                        witness: name.to_vec(),
                        client_id: name.to_vec(),
                        old: said(before.has_password).into(),
                        new: said(after.has_password).into(),
                    });
                }
            }
            self.client(&who, Some(name), &foreign);
        }
    }

    fn anonymous(&mut self) {
        let foreign = Foreign::of(self.old, self.new);
        self.client(&Holders::Anonymous, None, &foreign);
    }

    /// Names that only a `[[match]]` admits: one for each set of patterns that a name can fit.
    fn unlisted(&mut self) {
        let (old, new) = (self.old, self.new);
        let foreign = Foreign::of(old, new);
        let mut names: BTreeSet<Vec<u8>> = BTreeSet::new();
        for policy in [old, new] {
            for pattern in policy.matches.iter().filter(|block| block.unlisted).flat_map(|block| &block.names) {
                match pattern.text_for(&Names::NONE) {
                    None => names.extend([b"other".to_vec()]),
                    Some((text, false)) => names.extend([text.into_bytes()]),
                    Some((text, true)) => names.extend([format!("{text}other").into_bytes()]),
                }
            }
        }
        // A name of this form that is listed is a user, and was asked about.
        for mut name in names {
            let mut tries = 0;
            while tries < 100 && (old.users.contains(&name) || new.users.contains(&name)) {
                name.push(b'x');
                tries += 1;
            }
            self.client(&Holders::Unlisted(name.clone()), Some(&name), &foreign);
        }
    }

    /// All that may be different for one client.
    fn client(&mut self, who: &Holders, user: Option<&[u8]>, foreign: &Foreign<'_>) {
        let (old, new) = (self.old, self.new);
        let ids = self.ids(user, foreign);
        let admitted: Vec<(bool, bool)> = ids.iter().map(|id| self.admits(user, id)).collect();
        let (by_old, by_new) = (admitted.iter().any(|(by_old, _)| *by_old), admitted.iter().any(|(_, by_new)| *by_new));
        let right = if by_old && by_new { Right::ClientId } else { Right::Connect };
        let mut told = HashSet::new();
        for (id, (before, after)) in ids.iter().zip(&admitted) {
            if before != after && told.insert(*after) {
                self.note(who, right, user, id, id, Action::Connect);
            }
        }
        self.api(who, user);
        if !(by_old && by_new) {
            return;
        }
        let mut common = ids.iter().zip(&admitted).filter(|(_, both)| **both == (true, true)).map(|(id, _)| id);
        let uses_ids = [old, new].into_iter().any(|policy| policy.uses_client_ids(user));
        // Without `%c` one id is like the other.
        let ids: Vec<&Vec<u8>> = if uses_ids { common.collect() } else { common.next().into_iter().collect() };
        let mut told = HashSet::new();
        for id in ids {
            let client = Client { user, id };
            let mut filters = Filters::default();
            old.add_filters(&client, &mut filters);
            new.add_filters(&client, &mut filters);
            let groups = self.groups(&client);
            let mut found: Vec<(Right, Vec<u8>)> = Vec::new();
            let mut differ = |right: Right, text: &[u8], action: Action<'_>| {
                let (before, after) = (old.authorize(&client, action), new.authorize(&client, action));
                if before.is_allow() != after.is_allow() && told.insert((right, after.is_allow())) {
                    found.push((right, text.to_vec()));
                }
            };
            let mut walk = filters.walk();
            let (topics, all_topics) = walk.topics(MOST);
            for (_, topic) in &topics {
                differ(Right::Publish, topic, Action::Publish(topic));
                differ(Right::Receive, topic, Action::Receive(topic));
            }
            let (subscriptions, all_subscriptions) = walk.filters(MOST);
            for Subscription { filter, .. } in &subscriptions {
                differ(Right::Subscribe, filter, Action::Subscribe(filter));
                for group in &groups {
                    let text = [b"$share/", &**group, b"/", filter].concat();
                    differ(Right::Subscribe, &text, Action::Subscribe(&text));
                }
            }
            self.extent = self.extent.and(all_topics).and(all_subscriptions);
            found.sort_by_key(|(right, _)| *right);
            for (right, text) in found {
                let action = match right {
                    Right::Publish => Action::Publish(&text),
                    Right::Receive => Action::Receive(&text),
                    _ => Action::Subscribe(&text),
                };
                self.note(who, right, user, id, &text, action);
            }
        }
    }

    fn api(&mut self, who: &Holders, user: Option<&[u8]>) {
        let id = crate::binding::HTTP_API.as_bytes();
        let path: &[u8] = b"/api/v1/";
        let client = Client { user, id };
        let allows = |policy: &Policy| policy.authorize(&client, Action::Api(path)).is_allow();
        if allows(self.old) != allows(self.new) {
            self.note(who, Right::Api, user, id, path, Action::Api(path));
        }
    }

    fn note(
        &mut self,
        who: &Holders,
        right: Right,
        user: Option<&[u8]>,
        id: &[u8],
        witness: &[u8],
        action: Action<'_>,
    ) {
        let client = Client { user, id };
        let said = |policy: &Policy| {
            let decision = policy.authorize(&client, action);
            (decision.is_allow(), words(policy, &client, decision))
        };
        let ((_, before), (grows, after)) = (said(self.old), said(self.new));
        self.changes.push(Shift {
            who: who.clone(),
            right,
            grows,
            witness: witness.to_vec(),
            client_id: id.to_vec(),
            old: before,
            new: after,
        });
    }

    /// Whether each of the policies admits the client under this id.
    fn admits(&self, user: Option<&[u8]>, id: &[u8]) -> (bool, bool) {
        let client = Client { user, id };
        let admits = |policy: &Policy| policy.authorize(&client, Action::Connect).is_allow();
        (admits(self.old), admits(self.new))
    }

    /// Ids of which one stands for each that the patterns of either policy tell apart: a pattern is a text, or all that goes
    /// on after a text without a `/`. The one that is used most comes first.
    fn ids(&self, user: Option<&[u8]>, foreign: &Foreign<'_>) -> Vec<Vec<u8>> {
        let mut ids = vec![self.old.usual_client_id(user), self.new.usual_client_id(user)];
        let mut texts = Vec::new();
        for policy in [self.old, self.new] {
            for set in policy.each(&policy.sets_of(&Client { user, id: b"" })) {
                let patterns = set.client_ids().into_iter().flatten().chain(set.denied_client_ids());
                let names = user.map_or(Names::NONE, |user| policy.names_of(user));
                let text = |pattern: &Pattern| pattern.text_for(&names);
                texts.extend(patterns.filter_map(text).map(|(text, _)| text.into_bytes()));
            }
        }
        if let Some(user) = user {
            texts.extend([user.to_vec(), [user, b"-"].concat()]);
        }
        texts.extend(foreign.names(user).map(<[u8]>::to_vec));
        texts.push(Vec::new());
        for text in texts {
            ids.extend([&b""[..], b"other", b"-other", b"/other"].map(|more| [&text, more].concat()));
        }
        ids.push(AUTO_ID.to_vec());
        let mut seen = HashSet::new();
        ids.retain(|id| !id.is_empty() && seen.insert(id.clone()));
        ids
    }

    /// The share groups that either policy names for the client, and one that none names; none at all where both treat a
    /// group's subscription like any other.
    fn groups(&self, client: &Client<'_>) -> Vec<Vec<u8>> {
        let mut groups = BTreeSet::new();
        let mut matters = false;
        for policy in [self.old, self.new] {
            for set in policy.each(&policy.sets_of(client)) {
                matters |= set.overlap || set.groups().is_some();
                groups.extend(set.groups().into_iter().flatten().map(|group| group.as_bytes().to_vec()));
            }
        }
        let mut other = b"other".to_vec();
        while groups.contains(&other) {
            other.push(b'x');
        }
        groups.insert(other);
        if matters { groups.into_iter().collect() } else { Vec::new() }
    }

    /// The texts that the rules of these sets name as levels, names of clients apart.
    fn spelled(&self, old: Option<&[SetId]>, new: Option<&[SetId]>) -> HashSet<Vec<u8>> {
        // No rule can name these texts.
        let value = |variable| match variable {
            Variable::User => Some(&b"%u"[..]),
            Variable::Client => Some(&b"%c"[..]),
            Variable::Attribute(_) => Some(&b"%{}"[..]),
        };
        let mut filters = Filters::default();
        for (policy, sets) in [(self.old, old), (self.new, new)] {
            for set in sets.unwrap_or_default() {
                policy.add_filters_of_set(*set, value, &mut filters);
            }
        }
        filters.texts().into_iter().map(<[u8]>::to_vec).collect()
    }
}

impl Policy {
    /// Whether some rule for this client says `%c`.
    fn uses_client_ids(&self, user: Option<&[u8]>) -> bool {
        let sets = self.sets_of(&Client { user, id: b"" });
        sets.iter().any(|set| self.rules.of(*set).any(|(_, rule)| rule.text.contains("%c")))
    }
}

fn side(policy: &Policy, name: &[u8]) -> Option<Side> {
    let user = policy.users.get(name)?;
    let (mut roles, mut own) = (Vec::new(), None);
    for id in user.sets() {
        match policy.sets.get(*id as usize) {
            Some(set) if matches!(set.holder, Holder::User(_)) => own = Some(said(policy, *id, set)),
            _ => roles.push(*id),
        }
    }
    roles.sort_unstable();
    let mut attributes = policy.attributes_of(&Client { user: Some(name), id: b"" }).to_vec();
    attributes.sort_unstable();
    Some(Side { roles, own, disabled: user.is_disabled(), has_password: user.has_password(), attributes })
}

/// What a rule set says, for comparing it with others.
fn said(policy: &Policy, id: SetId, set: &RuleSet) -> String {
    let rules: BTreeSet<(&str, &str)> = policy.rules.of(id).map(|(_, rule)| (rule.key, rule.text)).collect();
    let RuleSet { rare, overlap, api, auto_id, .. } = set;
    format!("{rules:?} {rare:?} {overlap} {api} {auto_id}")
}

fn words(policy: &Policy, client: &Client<'_>, decision: Decision) -> String {
    let verdict = if decision.is_allow() { "allowed" } else { "refused" };
    format!("{verdict}: {}", policy.reason(client, decision))
}
