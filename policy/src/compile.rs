//! From documents to a policy: what the parts of the files mean together, and what is wrong with that.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::binding::{self, Pattern};
use crate::census::Census;
use crate::document::{Document, GuardTable, Located, LoginsTable, MatchTable, RuleTable, TestTable};
use crate::fingerprint::Remembered;
use crate::limits::Network;
use crate::matcher::Kind;
use crate::policy::{Decoys, Holder, Match, Policy, Rare, RuleSet, SetId, SetIds};
use crate::problem::{Escaped, Place, Problems};
use crate::scenario::{Deed, Expectation, Scenario};
use crate::template::{Names, Template, is_usable};
use crate::topic;
use crate::users::{Draft, PASSWORDS};

type Text = Located<String>;

/// Builds the policy, and notes every problem. What it returns is meant for use only if no error was noted.
pub(crate) fn compile(
    main: &Arc<Path>,
    documents: Vec<(Arc<Path>, Document)>,
    mut users: Draft,
    problems: &mut Problems,
) -> Policy {
    let mut compiler = Compiler {
        policy: Policy::deny_all(),
        problems,
        roles: HashMap::new(),
        places: HashMap::new(),
        known_roles: HashMap::new(),
        lists: HashMap::new(),
        census: Census::default(),
        weak: None,
        is_whole: documents.iter().all(|(_, document)| !document.is_broken),
    };
    if documents.first().is_some_and(|(_, document)| document.version.is_none() && !document.is_broken) {
        compiler
            .problems
            .error(Place::whole(main), "the version of the language is missing (write `version = 1` at the top)");
    }
    let mut matches = Vec::new();
    let mut tests = Vec::new();
    let mut logins = None;
    let mut guard = None;
    for (_, document) in documents {
        for (name, table) in document.roles {
            compiler.role(name, table);
        }
        if let Some((place, table)) = document.anonymous {
            compiler.anonymous(place, table);
        }
        compiler.once("[logins]", &mut logins, document.logins);
        compiler.once("[guard]", &mut guard, document.guard);
        matches.extend(document.matches);
        tests.extend(document.tests);
    }
    compiler.limits(logins.map(|(_, table)| table), guard.map(|(_, table)| table));
    // Roles are looked up by name, so all of them come before whoever holds them.
    for block in matches {
        compiler.match_block(block);
    }
    merge(&mut users, compiler.problems);
    let (sets, levels) = users.own_rules();
    compiler.policy.forest.reserve(sets, levels);
    for number in users.numbers() {
        compiler.user(&mut users, number);
    }
    compiler.client_ids(&users);
    compiler.shared_client_ids(&users);
    compiler.client_templates(&users);
    compiler.attributes();
    compiler.overlaps();
    compiler.tests(tests);
    compiler.finish(main, users)
}

struct Compiler<'p> {
    policy: Policy,
    problems: &'p mut Problems,
    roles: HashMap<String, (SetId, Place)>,
    /// Where what a set says of client ids stands, for the checks.
    places: HashMap<usize, SetPlaces>,
    /// The rule sets of the roles that a user's layout names, where all of them are known.
    known_roles: HashMap<u32, Option<SetIds>>,
    /// The lists of rule sets that users share, by their layout and the `[[match]]` blocks that they fit: where it is, and
    /// whether it leaves users the ids that begin with their names.
    lists: HashMap<(u32, Blocks), (u32, bool)>,
    census: Census,
    /// The first weak password string, and how many there are.
    weak: Option<(Place, String, usize)>,
    /// Whether every file could be read. If not, a role that is missing may well be in the one that could not.
    is_whole: bool,
}

/// Some of the `[[match]]` blocks, by their numbers.
type Blocks = SmallVec<[u32; 4]>;

struct SetPlaces {
    client_id: Vec<Place>,
    /// The first rule with `%c`.
    client_template: Option<Place>,
}

impl Compiler<'_> {
    /// Keeps a section that may stand in one file only.
    fn once<T>(&mut self, name: &str, kept: &mut Option<(Place, T)>, section: Option<(Place, T)>) {
        match (&kept, section) {
            (_, None) => {}
            (None, section) => *kept = section,
            (Some((first, _)), Some((place, _))) => {
                self.problems.error(place, format!("`{name}` is defined twice, first at {first} (keep one)"));
            }
        }
    }

    fn limits(&mut self, logins: Option<LoginsTable>, guard: Option<GuardTable>) {
        let (logins, guard) = (logins.unwrap_or_default(), guard.unwrap_or_default());
        let limits = &mut self.policy.limits;
        limits.delayed = logins.delayed.unwrap_or(limits.delayed);
        limits.share = logins.share.unwrap_or(limits.share);
        limits.user_failures = guard.user_failures.unwrap_or(limits.user_failures);
        limits.address_failures = guard.address_failures.unwrap_or(limits.address_failures);
        limits.window = guard.minutes.map_or(limits.window, |minutes| Duration::from_secs(60 * u64::from(minutes)));
        for Located { value, place } in guard.trusted {
            match Network::parse(&value) {
                Some(network) => limits.trusted.push(network),
                None => {
                    let text = Escaped(value.as_bytes());
                    self.problems.error(
                        place,
                        format!("`{text}` is not an address or a network (write `192.0.2.7` or `2001:db8::/32`)"),
                    );
                }
            }
        }
    }

    fn role(&mut self, name: Text, table: RuleTable) {
        let Located { value: name, place } = name;
        if !self.is_name("role", &name, || place.clone()) {
            return;
        }
        if let Some((_, first)) = self.roles.get(&name) {
            let text = format!("role `{}` is defined twice, first at {first} (keep one)", Escaped(name.as_bytes()));
            self.problems.error(place, text);
            return;
        }
        let holder = Holder::Role(self.policy.rules.keep(&name));
        let set = self.set(holder, table);
        self.roles.insert(name, (set, place));
    }

    fn anonymous(&mut self, place: Place, table: RuleTable) {
        if self.policy.anonymous.is_some() {
            self.problems.error(place, "`[anonymous]` is defined twice (keep one)");
            return;
        }
        self.policy.anonymous = Some(self.set(Holder::Anonymous, table));
    }

    fn match_block(&mut self, block: MatchTable) {
        let MatchTable { place, username, roles, unlisted, is_broken } = block;
        if username.is_empty() && !is_broken {
            self.problems.error(place.clone(), "`[[match]]` needs a `username` (write `username = \"dev*\"`)");
        }
        if roles.is_empty() && !is_broken {
            self.problems.error(place, "`[[match]]` needs `roles`, for it adds them to the users that fit");
        }
        let mut names = Vec::new();
        for Located { value, place } in username {
            match Pattern::user_name(&value) {
                Ok(pattern) => names.push(pattern),
                Err(problem) => self.problems.error(place, format!("`{}`: {problem}", Escaped(value.as_bytes()))),
            }
        }
        if let Some(place) = &unlisted {
            self.problems.warning(
                place.clone(),
                "`unlisted` admits names that no user table lists, on every listener where the broker itself takes the name \
                 from a certificate or PSK",
            );
        }
        let roles = self.role_ids(roles.iter().map(|role| (role.value.as_str(), role.place.clone())));
        self.policy.matches.push(Match { names, roles, unlisted: unlisted.is_some() });
    }

    fn user(&mut self, users: &mut Draft, number: u32) {
        let attributes = users.take_attributes(number);
        self.settle(users, number);
        if attributes.is_empty() && !self.census.has_uses() {
            return;
        }
        let Some(user) = users.user(number) else { return };
        let attributes = self.census.user(&user, attributes, &self.policy.forest, self.problems);
        if !attributes.is_empty() {
            self.policy.attributes.insert(user.name().into(), attributes);
        }
    }

    fn settle(&mut self, users: &mut Draft, number: u32) {
        let rules = users.take_rules(number);
        let Some(user) = users.user(number) else { return };
        let name = user.name();
        if !self.is_user_name(name, || users.place(number)) {
            users.drop(number);
            return;
        }
        self.passwords(users, users.secrets(number), name);
        let mut blocks = Blocks::new();
        for (block, at) in self.policy.matches.iter().zip(0..) {
            if block.fits(name) {
                blocks.push(at);
            }
        }
        let is_usable = is_usable(name) && !binding::is_special(name);
        let layout = users.layout_number(number);
        let known = match self.known_roles.get(&layout) {
            Some(known) => known.is_some(),
            None => {
                let known = users.roles(number).map(|(name, _)| self.roles.get(name).map(|(id, _)| *id)).collect();
                self.known_roles.insert(layout, known);
                self.known_roles.get(&layout).is_some_and(Option::is_some)
            }
        };
        if known && rules.is_none() {
            if let Some((list, leaves_own_ids)) = self.lists.get(&(layout, blocks.clone())) {
                users.settle(number, *list, is_usable && *leaves_own_ids);
                return;
            }
        }
        let own = rules.map(|rules| (Holder::User(self.policy.rules.keep(&String::from_utf8_lossy(name))), rules));
        let mut sets = match self.known_roles.get(&layout) {
            Some(Some(known)) => known.clone(),
            _ => self.role_ids(users.roles(number)),
        };
        for block in &blocks {
            let block = self.policy.matches.get(*block as usize);
            sets.extend(block.into_iter().flat_map(|block| block.roles.iter().copied()));
        }
        let mut seen = BTreeSet::new();
        sets.retain(|set| seen.insert(*set));
        let is_shared = known && own.is_none();
        if let Some((holder, rules)) = own {
            sets.push(self.set(holder, rules));
        }
        let list = users.list(&sets);
        let leaves_own_ids = self.policy.leave_own_ids(&sets);
        if is_shared {
            self.lists.insert((layout, blocks), (list, leaves_own_ids));
        }
        users.settle(number, list, is_usable && leaves_own_ids);
    }

    fn is_user_name(&mut self, name: &[u8], place: impl FnOnce() -> Place + Copy) -> bool {
        if !self.is_name("user", &String::from_utf8_lossy(name), place) {
            return false;
        }
        let shown = Escaped(name);
        if name == binding::HTTP_API.as_bytes() {
            let text = format!("`{shown}` is the client id of the broker's HTTP listener and cannot be a user");
            self.problems.error(place(), text);
            return false;
        }
        if name == binding::AUTO.as_bytes() {
            let text = format!(
                "`{shown}` cannot be a user: every client that sends no id is given one that begins with `{shown}-`"
            );
            self.problems.error(place(), text);
            return false;
        }
        if !is_usable(name) {
            let text = format!("`{shown}` begins with `$` or holds `+`, `#` or `/`, so `%u` never stands for it");
            self.problems.warning(place(), text);
        }
        true
    }

    /// Judges the passwords of a user, which this table has.
    fn passwords(&mut self, users: &Draft, table: u32, name: &[u8]) {
        if let Some(place) = users.passwords(table).nth(PASSWORDS) {
            let text = format!(
                "user `{}` has more than {PASSWORDS} passwords, each of which a login may cost (remove old ones)",
                Escaped(name)
            );
            self.problems.error(place, text);
        }
        let unreadable = users.unreadable(table);
        for (which, problem) in unreadable {
            if let Some(place) = users.passwords(table).nth(*which) {
                self.problems.error(place, problem.clone());
            }
        }
        let readable = (0..PASSWORDS).filter(|which| unreadable.iter().all(|(other, _)| other != which));
        for (shape, which) in users.shapes(table).zip(readable) {
            let Some(weakness) = shape.weakness() else { continue };
            if let Some((.., count)) = &mut self.weak {
                *count += 1;
            } else if let Some(place) = users.passwords(table).nth(which) {
                self.weak = Some((place, weakness, 1));
            }
        }
    }

    fn is_name(&mut self, what: &str, name: &str, place: impl FnOnce() -> Place) -> bool {
        let problem = if name.is_empty() {
            format!("the name of a {what} must not be empty (anonymous clients are `[anonymous]`)")
        } else if let Some(c) = name.chars().find(|c| c.is_control()) {
            format!("`{}` is a control character, which no name may hold", c.escape_unicode())
        } else {
            return true;
        };
        self.problems.error(place(), problem);
        false
    }

    fn role_ids<'n>(&mut self, names: impl Iterator<Item = (&'n str, Place)>) -> SetIds {
        let mut ids = SetIds::new();
        for (name, place) in names {
            match self.roles.get(name) {
                Some((id, _)) => ids.push(*id),
                None if !self.is_whole => {}
                None => {
                    let nearest = self.problems.nearest(name, self.roles.keys().map(String::as_str));
                    let remedy = match nearest {
                        Some(known) => format!("did you mean `{}`?", Escaped(known.as_bytes())),
                        None => format!("write `[roles.{}]`", Escaped(name.as_bytes())),
                    };
                    self.problems
                        .error(place, format!("role `{}` is not defined ({remedy})", Escaped(name.as_bytes())));
                }
            }
        }
        ids
    }

    /// Compiles the rules of a role, a user or `[anonymous]`.
    fn set(&mut self, holder: Holder, table: RuleTable) -> SetId {
        let id = SetId::try_from(self.policy.sets.len()).unwrap_or(SetId::MAX);
        let tree = self.policy.forest.plant();
        let mut client_template = None;
        let lists: [(&'static str, &[Text], &[Kind]); 5] = [
            ("publish", &table.publish, &[Kind::AllowPublish]),
            ("subscribe", &table.subscribe, &[Kind::AllowSubscribe, Kind::AllowReceive]),
            ("receive", &table.receive, &[Kind::AllowReceive]),
            ("deny.publish", &table.deny_publish, &[Kind::DenyPublish]),
            ("deny.subscribe", &table.deny_subscribe, &[Kind::DenySubscribe]),
        ];
        for (key, filters, kinds) in lists {
            for Located { value, place } in filters {
                let template = match Template::parse(value) {
                    Ok(template) => template,
                    Err(problem) => {
                        self.problems.error(place.clone(), format!("`{}`: {problem}", Escaped(value.as_bytes())));
                        continue;
                    }
                };
                if holder == Holder::Anonymous && template.names_user() {
                    self.problems.error(
                        place.clone(),
                        format!("`{}`: an anonymous client has no user name for `%u`", Escaped(value.as_bytes())),
                    );
                    continue;
                }
                if let (Holder::Anonymous, Some(attribute)) = (&holder, template.attributes().next()) {
                    let text = Escaped(value.as_bytes());
                    self.problems.error(
                        place.clone(),
                        format!("`{text}`: an anonymous client has no attributes for `%{{{attribute}}}`"),
                    );
                    continue;
                }
                for attribute in template.attributes() {
                    let attribute = self.policy.forest.attribute_or_new(attribute);
                    self.census.used(id, attribute, place);
                }
                if template.names_client() {
                    client_template.get_or_insert_with(|| place.clone());
                }
                let rule = self.policy.rules.push(id, key, value, place);
                for kind in kinds {
                    self.policy.forest.insert(tree, &template, *kind, rule);
                }
            }
        }
        let (client_ids, client_id_places) = match table.client_id {
            Some(list) => {
                if list.value.is_empty() {
                    let text = "an empty `client_id` admits no client id (leave the key out for `%u` and `%u-*`)";
                    self.problems.error(list.place.clone(), text);
                }
                let patterns = self.patterns(id, &holder, list.value);
                for (_, place) in
                    patterns.iter().filter(|(pattern, _)| holder == Holder::Anonymous && pattern.names_user())
                {
                    self.problems.error(place.clone(), "an anonymous client has no user name for `%u`");
                }
                let (patterns, places) = patterns.into_iter().unzip();
                (Some(patterns), places)
            }
            None => (None, Vec::new()),
        };
        let denied = self.patterns(id, &holder, table.deny_client_id).into_iter();
        let rare = Rare {
            client_ids,
            denied_client_ids: denied.map(|(pattern, _)| pattern).collect(),
            groups: table.share.map(|groups| self.groups(groups)),
        };
        let is_said = rare.client_ids.is_some() || !rare.denied_client_ids.is_empty() || rare.groups.is_some();
        self.policy.sets.push(RuleSet {
            holder,
            tree,
            holds_own_ids: rare.client_ids.as_deref().is_some_and(binding::hold_own),
            rare: is_said.then(|| Box::new(rare)),
            overlap: table.overlap,
            api: table.api,
            auto_id: table.auto_id.unwrap_or(true),
        });
        if client_template.is_some() || !client_id_places.is_empty() {
            self.places.insert(id as usize, SetPlaces { client_id: client_id_places, client_template });
        }
        id
    }

    fn patterns(&mut self, set: SetId, holder: &Holder, texts: Vec<Text>) -> Vec<(Pattern, Place)> {
        let mut patterns = Vec::new();
        for Located { value, place } in texts {
            match Pattern::client_id(&value, |name| self.policy.forest.attribute_or_new(name)) {
                Ok(pattern) => {
                    for attribute in pattern.attributes() {
                        self.census.used(set, attribute, &place);
                    }
                    if *holder == Holder::Anonymous && pattern.attributes().next().is_some() {
                        let text = Escaped(value.as_bytes());
                        self.problems.error(place.clone(), format!("`{text}`: an anonymous client has no attributes"));
                    }
                    patterns.push((pattern, place));
                }
                Err(problem) => self.problems.error(place, format!("`{}`: {problem}", Escaped(value.as_bytes()))),
            }
        }
        patterns
    }

    fn groups(&mut self, texts: Vec<Text>) -> Vec<Box<str>> {
        let mut groups = Vec::new();
        for Located { value, place } in texts {
            if value.is_empty() || value.contains(['/', '+', '#']) {
                let shown = Escaped(value.as_bytes());
                self.problems.error(
                    place,
                    format!("`{shown}` is not the name of a share group (write it without `/`, `+` and `#`)"),
                );
            } else {
                groups.push(value.into());
            }
        }
        groups
    }

    /// No user's client ids may be another user's (S5). An id is a listed user's if it is the user's name, or that and
    /// `-` and more.
    fn client_ids(&mut self, users: &Draft) {
        let mut listed = Listed::of(users);
        let own = Pattern::own_open();
        let mut told = HashSet::new();
        for number in users.numbers() {
            let Some(user) = users.user(number) else { continue };
            let Ok(name) = std::str::from_utf8(user.name()) else { continue };
            let names = self.policy.names_of(user.name());
            let mut named = false;
            for set in user.sets() {
                let at = *set as usize;
                let Some(patterns) = self.policy.sets.get(at).and_then(|set| set.client_ids()) else { continue };
                named = true;
                for (which, pattern) in patterns.iter().enumerate() {
                    let Some(foreign) = listed.foreign(pattern, number, name, &names) else { continue };
                    let place = self.places.get(&at).and_then(|places| places.client_id.get(which));
                    if let Some(place) = place.filter(|_| told.insert((at, which))) {
                        let text = format!(
                            "the client ids of user `{}` would include those of user `{}`, whose session they could take (write a \
                             pattern that keeps them apart)",
                            Escaped(name.as_bytes()),
                            Escaped(foreign.as_bytes())
                        );
                        self.problems.error(place.clone(), text);
                    }
                }
            }
            if !named {
                if let Some(foreign) = listed.foreign(&own, number, name, &names) {
                    let text = format!(
                        "user `{}` may use the client ids `{0}-*`, which would include those of user `{}` (write `client_id = \
                         [\"%u\"]` for `{0}`)",
                        Escaped(name.as_bytes()),
                        Escaped(foreign.as_bytes())
                    );
                    self.problems.error(users.place(number), text);
                }
            }
        }
        for (at, set) in self.policy.sets.iter().enumerate() {
            let any = set.client_ids().into_iter().flatten().position(|pattern| *pattern == Pattern::Any);
            let place = any.and_then(|number| self.places.get(&at)?.client_id.get(number));
            if let Some(place) = place {
                let text = "`*` lets its holders take over the session of any client that is not a listed user's (write patterns that \
                            begin with `%u`)";
                self.problems.warning(place.clone(), text);
            }
        }
    }

    /// Ids that are spelled out for several users: each could take over the others' session. Patterns with `%u` keep
    /// apart by themselves, as far as names are concerned.
    fn shared_client_ids(&mut self, users: &Draft) {
        #[derive(PartialEq, Eq, PartialOrd, Ord)]
        struct Spelled<'u> {
            text: String,
            open: bool,
            user: &'u [u8],
            set: usize,
            number: usize,
        }
        /// Of the same ids so many holders are enough: a role may have very many.
        const ENOUGH: usize = 2;
        let spells = |set: &RuleSet| set.client_ids().into_iter().flatten().any(|pattern| !pattern.names_user());
        let spelling: Vec<bool> = self.policy.sets.iter().map(spells).collect();
        let mut spelled = Vec::new();
        let mut holders: HashMap<(usize, usize), usize> = HashMap::new();
        for user in users.numbers().filter_map(|number| users.user(number)) {
            let sets = user.sets().iter().map(|set| *set as usize);
            let names = self.policy.names_of(user.name());
            for set in sets.filter(|set| spelling.get(*set).is_some_and(|spells| *spells)) {
                let patterns = self.policy.sets.get(set).and_then(|set| set.client_ids());
                for (number, pattern) in patterns.into_iter().flatten().enumerate() {
                    let count = holders.entry((set, number)).or_default();
                    // Those with attributes differ by holder.
                    if *count >= ENOUGH && pattern.attributes().next().is_none() {
                        continue;
                    }
                    let Some((text, open)) = pattern.shared_text(&names) else { continue };
                    *count += 1;
                    spelled.push(Spelled { text, open, user: user.name(), set, number });
                }
            }
        }
        spelled.sort_unstable();
        let mut told = HashSet::new();
        // What begins the text at hand, or is it.
        let mut around: Vec<&Spelled<'_>> = Vec::new();
        for this in &spelled {
            around.retain(|before| this.text == before.text || (before.open && this.text.starts_with(&before.text)));
            let other = around.iter().find(|before| {
                let more = this.text.get(before.text.len()..).unwrap_or_default();
                let meets = if more.is_empty() { this.open == before.open } else { before.open && !more.contains('/') };
                before.user != this.user && meets
            });
            let place = self.places.get(&this.set).and_then(|places| places.client_id.get(this.number));
            if let (Some(other), Some(place)) = (other, place) {
                if told.insert((this.set, this.number)) {
                    let text = format!(
                        "users `{}` and `{}` may use the same client ids, and so take over each other's session (begin the \
                         patterns with `%u`)",
                        Escaped(other.user),
                        Escaped(this.user)
                    );
                    self.problems.warning(place.clone(), text);
                }
            }
            if around.iter().filter(|before| (&before.text, before.open) == (&this.text, this.open)).count() < ENOUGH {
                around.push(this);
            }
        }
    }

    /// `%c` says nothing where the client may choose any id (S12).
    fn client_templates(&mut self, users: &Draft) {
        let anonymous = self.policy.anonymous.map(|set| SetIds::from_slice(&[set]));
        // One name may fit several blocks, and then has the roles of all.
        let unlisted = || self.policy.matches.iter().filter(|block| block.unlisted);
        let together: Vec<SetIds> = unlisted()
            .map(|block| {
                unlisted().filter(|other| block.meets(other)).flat_map(|other| other.roles.iter().copied()).collect()
            })
            .collect();
        // Users have the same rule sets as very many others.
        let holders = users
            .lists()
            .map(|sets| (sets, false))
            .chain(together.iter().map(|sets| (sets.as_slice(), false)))
            .chain(anonymous.iter().map(|sets| (sets.as_slice(), true)));
        let mut told = HashSet::new();
        for (sets, anonymous) in holders {
            let free = self
                .policy
                .each(sets)
                .flat_map(|set| set.client_ids().into_iter().flatten())
                .any(|pattern| *pattern == Pattern::Any)
                || (anonymous && self.policy.each(sets).all(|set| set.client_ids().is_none()));
            if !free {
                continue;
            }
            for set in sets {
                let place = self.places.get(&(*set as usize)).and_then(|places| places.client_template.as_ref());
                if let Some(place) = place.filter(|_| told.insert(*set)) {
                    let text = "`%c` in a rule whose holder may choose any client id grants everything that it could stand for (write \
                                `%u`, or bind the ids with `client_id`)";
                    self.problems.error(place.clone(), text);
                }
            }
        }
    }

    /// `%{name}` says nothing where a holder has no such attribute (S12).
    fn attributes(&mut self) {
        let blocks = self.policy.matches.iter().filter(|block| block.unlisted);
        let unlisted: Vec<SetId> = blocks.flat_map(|block| block.roles.iter().copied()).collect();
        self.census.check(&self.policy.forest, &unlisted, self.is_whole, self.problems);
    }

    /// Rules that overlap so much that a message costs what they cost together.
    fn overlaps(&mut self) {
        /// So many steps of rules that fit one topic take a few microseconds.
        const STEPS: u32 = 256;
        for (steps, examples) in self.policy.forest.costly(STEPS) {
            let mut rules = examples.iter().filter_map(|rule| self.policy.rules.get(*rule));
            let Some(first) = rules.next() else { continue };
            let others: Vec<_> =
                rules.map(|rule| format!("`{}` (line {})", Escaped(rule.text.as_bytes()), rule.place().line)).collect();
            let text = format!(
                "`{}` overlaps with so many rules, such as {}, that one topic may fit {steps} steps of them, which every message \
                 to it costs (write fewer rules with `+`)",
                Escaped(first.text.as_bytes()),
                others.join(" and ")
            );
            self.problems.warning(first.place(), text);
        }
    }

    fn tests(&mut self, tests: Vec<TestTable>) {
        for test in tests {
            let TestTable { place, user, anonymous, client_id, can, cannot, is_broken } = test;
            if user.is_some() == anonymous && !is_broken {
                self.problems.error(place, "`[[test]]` needs either `user = \"...\"` or `anonymous = true`");
                continue;
            }
            if can.is_empty() && cannot.is_empty() && !is_broken {
                self.problems.error(
                    place,
                    "`[[test]]` expects nothing (write `can = { publish = [\"...\"] }` or `cannot = ...`)",
                );
                continue;
            }
            let mut expectations: Vec<_> = can
                .into_iter()
                .map(|deed| (true, deed))
                .chain(cannot.into_iter().map(|deed| (false, deed)))
                .filter_map(|(can, Located { value: deed, place })| {
                    self.is_possible(&deed, &place).then_some(Expectation { place, can, deed })
                })
                .collect();
            // TOML's tables come sorted by their keys; a person reads down the file.
            expectations.sort_by(|a, b| a.place.cmp(&b.place));
            let (user, client_id) = (user.map(|user| user.value.into()), client_id.map(|id| id.value.into()));
            self.policy.scenarios.push(Scenario { place, user, client_id, expectations });
        }
    }

    /// Whether a client could try this at all.
    fn is_possible(&mut self, deed: &Deed, place: &Place) -> bool {
        let (text, possible, kind) = match deed {
            Deed::Connect => return true,
            Deed::Publish(text) | Deed::Receive(text) => {
                (text, topic::is_topic_name(text.as_bytes()), "topic name (write one topic, without wildcards)")
            }
            Deed::Subscribe(text) => (text, topic::Subscription::parse(text.as_bytes()).is_ok(), "topic filter"),
        };
        if !possible {
            self.problems.error(place.clone(), format!("`{}` is not a {kind}", Escaped(text.as_bytes())));
        }
        possible
    }

    fn finish(mut self, main: &Arc<Path>, users: Draft) -> Policy {
        if let Some((place, weakness, count)) = self.weak.take() {
            let others = match count {
                0 | 1 => String::new(),
                2 => "; and 1 more password string is weak".to_owned(),
                _ => format!("; and {} more password strings are weak", count - 1),
            };
            self.problems.warning(place, format!("{weakness}{others}"));
        }
        let (users, slots, is_whole) = users.finish();
        if !is_whole {
            // The files of a policy have half of that at most.
            self.problems.error(Place::whole(main), "has more users than there is room for, 4 GiB of them");
        }
        self.policy.decoys = Decoys::new(users.iter().filter(|user| user.has_password()).map(|user| user.name()));
        self.policy.longest_name = users.iter().map(|user| user.name().len()).max().unwrap_or(0);
        self.policy.remembered = Remembered::new(slots);
        self.policy.users = users;
        // What is in force for months is not to hold what only loading needed.
        self.policy.rules.shrink();
        self.policy.sets.shrink_to_fit();
        self.policy.forest.shrink();
        self.policy
    }
}

/// A user is defined once, and may be completed once in another file by a table of `password` and `disabled` alone (S2).
fn merge(users: &mut Draft, problems: &mut Problems) {
    for group in users.take_groups() {
        // The definition is the table that says more, or else the one that was read first.
        let Some(definition) = group.iter().copied().min_by_key(|table| users.only_secrets(*table)) else { continue };
        let shown = users.name(definition).map(|name| Escaped(name).to_string()).unwrap_or_default();
        let mut secrets = None;
        let mut disabled = false;
        let others = group.iter().copied().filter(|table| *table != definition);
        for (order, other) in others.enumerate() {
            if order > 0 || !users.only_secrets(other) {
                let text = format!(
                    "user `{shown}` is defined twice, first at {} (keep one; a second table in another file may hold only \
                     `password` and `disabled`)",
                    users.place(definition)
                );
                problems.error(users.place(other), text);
                continue;
            }
            match (users.passwords(definition).next(), users.passwords(other).next()) {
                (Some(first), Some(second)) => {
                    let text = format!("user `{shown}` is given a password twice, first at {first} (keep one)");
                    problems.error(second, text);
                }
                (None, Some(_)) => secrets = Some(other),
                (_, None) => {}
            }
            disabled |= users.is_disabled(other);
        }
        users.define(&group, definition, secrets, disabled);
    }
}

/// The names of the listed users, for finding those that a pattern of client ids reaches.
struct Listed<'n> {
    users: &'n Draft,
    /// Users whose name and a `-` begin the name of another.
    before: HashSet<u32>,
    /// All names in order. Sorting a million takes as long as reading them, and hardly any policy needs it.
    names: OnceCell<Vec<&'n str>>,
    /// Of each text that patterns of several users begin with: the first two names within it.
    within: HashMap<String, [Option<&'n str>; 2]>,
}

impl<'n> Listed<'n> {
    fn of(users: &'n Draft) -> Self {
        let mut listed = Self { users, before: HashSet::new(), names: OnceCell::new(), within: HashMap::new() };
        for name in users.numbers().filter_map(|number| users.user(number)).map(|user| user.name()) {
            let starts = name.iter().enumerate().filter(|(_, byte)| **byte == b'-').map(|(at, _)| at);
            let starts = starts.filter_map(|at| name.split_at_checked(at)).filter(|(_, more)| !more.contains(&b'/'));
            // Hashing each start of a name takes the square of its length, were it all hyphens.
            const MOST: usize = 32;
            for (hyphens, (start, _)) in starts.enumerate() {
                let owner = if hyphens < MOST { users.number_of(start) } else { listed.number_of(start) };
                listed.before.extend(owner);
            }
        }
        listed
    }

    /// A listed user other than this one whose client ids the pattern reaches.
    fn foreign(&mut self, pattern: &Pattern, number: u32, user: &str, names: &Names<'_>) -> Option<&'n str> {
        // Its own ids are another's too only if its name begins the other's.
        if pattern.is_own() && !self.before.contains(&number) {
            return None;
        }
        let (text, open) = pattern.text_for(names)?;
        // The pattern lies within another's `name-*`, or is another's name; of several names, the longest counts, so that
        // `dev` and `dev-1` can be told apart once `dev` is kept to its own name.
        let owner = text
            .match_indices('-')
            .map(|(at, _)| at)
            .chain((!open).then_some(text.len()))
            .rev()
            .find_map(|end| self.find(text.get(..end)?));
        if let Some(name) = owner.filter(|name| *name != user) {
            return Some(name);
        }
        if !open {
            return None;
        }
        // Another's name lies within the pattern; so does `name-*` where the text is the name. Where the text is not the
        // user's own, many users ask the same.
        let found = match self.within.get(&text) {
            Some(found) => *found,
            None => {
                let found = self.first_two(&text);
                if !pattern.names_user() {
                    self.within.insert(text, found);
                }
                found
            }
        };
        found.into_iter().flatten().find(|name| *name != user)
    }

    /// The first two names that begin with this text and have no `/` after it.
    fn first_two(&self, text: &str) -> [Option<&'n str>; 2] {
        let names = self.names();
        let from = names.partition_point(|name| *name < text);
        let mut found = names
            .iter()
            .skip(from)
            .take_while(|name| name.starts_with(text))
            .filter(|name| !name.get(text.len()..).unwrap_or_default().contains('/'))
            .copied();
        [found.next(), found.next()]
    }

    fn find(&self, name: &str) -> Option<&'n str> {
        let names = self.names();
        names.binary_search(&name).ok().and_then(|at| names.get(at)).copied()
    }

    fn number_of(&self, name: &[u8]) -> Option<u32> {
        let name = self.find(std::str::from_utf8(name).ok()?)?;
        self.users.number_of(name.as_bytes())
    }

    fn names(&self) -> &[&'n str] {
        self.names.get_or_init(|| {
            let users = self.users.numbers().filter_map(|number| self.users.user(number));
            let mut names: Vec<_> = users.filter_map(|user| std::str::from_utf8(user.name()).ok()).collect();
            names.sort_unstable();
            names
        })
    }
}
