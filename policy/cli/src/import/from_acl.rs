//! From `acl_file` and `password_file` to a policy.
//!
//! A user's `topic` lines become its own rules, or a role where others have the same; `pattern` lines become the role
//! `everyone`. What the policy's language cannot say is left out, and told. Where the brokers read a line differently and
//! none was chosen, only what both grant is granted, and what either denies is denied.

use std::collections::{BTreeSet, HashMap, HashSet};

use mqtt_acl_policy::{Client, Problem, Severity, is_rule, is_topic_filter, is_usable_name};

use crate::acl::{Access, AclFile, Deviations, Dialect, Grant, Rule, RuleNumber, Verdict};
use crate::check::{Cause, Source};
use crate::draft::{Draft, Lists, Role, User, share_rules};
use crate::passwords::Entry;
use crate::{ANY_ID, EVERYONE, OWN_ID, Options};

/// A policy that was made from the files, and all that is needed to hold it against them.
#[derive(Debug)]
pub struct Import {
    /// The files' rules; none where everything is allowed.
    pub acl: Option<AclFile>,
    /// The policy.
    pub draft: Draft,
    /// What somebody should know, where it stands in the files.
    pub notes: Vec<Problem>,
    /// Whose readings count. The first is the one that the policy follows.
    dialects: Vec<Dialect>,
    left_out: HashSet<RuleNumber>,
    left_out_for: HashMap<Vec<u8>, HashSet<RuleNumber>>,
    overlap: bool,
}

/// What becomes of a pattern for one user.
enum Reading {
    /// It says the same for everybody.
    Shared,
    /// It is this for this user.
    Own(String),
    /// It never counts for this user.
    Nothing,
    /// It counts, but cannot be kept.
    LeftOut(&'static str),
}

/// Makes a policy of them.
#[must_use]
pub fn import(
    acl: Option<AclFile>,
    passwords: Option<Vec<Entry>>,
    dialects: Vec<Dialect>,
    options: &Options,
) -> Import {
    let mut import = Import {
        acl,
        draft: Draft { overlap: !options.exact, ..Draft::default() },
        notes: Vec::new(),
        dialects,
        left_out: HashSet::new(),
        left_out_for: HashMap::new(),
        overlap: !options.exact,
    };
    import.build(passwords, options);
    import
}

impl Import {
    fn dialect(&self) -> Dialect {
        self.dialects.first().copied().unwrap_or(Dialect::V2_0)
    }

    fn build(&mut self, passwords: Option<Vec<Entry>>, options: &Options) {
        let client_id = vec![(if options.bind { OWN_ID } else { ANY_ID }).to_owned()];
        let mut everyone = Role { name: EVERYONE.into(), client_id: client_id.clone(), ..Role::default() };
        let acl = self.acl.take();
        match &acl {
            Some(acl) => {
                everyone.comment.clone_from(&acl.common.comment);
                for number in &acl.common.rules {
                    self.pattern(acl, *number, options, &mut everyone.lists);
                }
                everyone.lists.tidy();
            }
            None => {
                everyone.comment.push("Without an `acl_file` everybody may do everything.".into());
                everyone.lists.publish.push("#".into());
                everyone.lists.subscribe.extend(["#".into(), "$SYS/#".into()]);
            }
        }
        let mut users = self.users(acl.as_ref(), passwords);
        let mut written_out = Vec::new();
        if let Some(acl) = &acl {
            for user in &mut users {
                written_out.push(self.user(acl, user, &client_id));
            }
            if options.anonymous {
                self.draft.anonymous = Some(self.anonymous(acl));
            } else if let Some(first) = acl.anonymous.first() {
                let place = acl.place(*first);
                let text = "rules before any `user` are for clients without a user name, which are left out: the policy would \
                            admit them (`--anonymous`, if mosquitto.conf says `allow_anonymous true`)";
                self.notes.push(Problem { place, severity: Severity::Warning, text: text.into() });
            }
        } else {
            for user in &mut users {
                user.roles.push(EVERYONE.into());
            }
        }
        let mut taken = BTreeSet::from([EVERYONE.to_owned()]);
        let roles = share_rules(&mut users, &mut taken);
        for (user, lists) in users.iter_mut().zip(written_out) {
            user.lists.append(lists);
        }
        self.draft.roles = [vec![everyone], roles].concat();
        self.draft.users = users;
        self.acl = acl;
    }

    /// All users of both files, without rules yet: those of the `acl_file` first, in its order.
    fn users(&mut self, acl: Option<&AclFile>, passwords: Option<Vec<Entry>>) -> Vec<User> {
        let has_passwords = passwords.is_some();
        let entries = passwords.unwrap_or_default();
        let by_name: HashMap<&str, &Entry> = entries.iter().map(|entry| (entry.name.as_str(), entry)).collect();
        let mut users = Vec::new();
        let mut without = Vec::new();
        for name in acl.map_or(&[][..], |acl| &acl.order) {
            let section = acl.and_then(|acl| acl.users.get(name)).cloned().unwrap_or_default();
            let password = by_name.get(name.as_str()).map(|entry| entry.password.clone());
            if password.is_none() && has_passwords {
                if self.dialect() == Dialect::GoAuth {
                    if let Some(acl) = acl {
                        let text = "the user has no password, so mosquitto-go-auth skips its rules; it is left out";
                        self.note(acl, section.line, format!("user `{}`: {text}", shown(name)));
                    }
                    continue;
                }
                without.push((name, section.line));
            }
            users.push(User { name: name.clone(), comment: section.comment, password, ..User::default() });
        }
        let listed: HashSet<&str> = acl.map_or_else(HashSet::new, |acl| acl.users.keys().map(String::as_str).collect());
        for entry in entries.iter().filter(|entry| !listed.contains(entry.name.as_str())) {
            let (name, password) = (entry.name.clone(), Some(entry.password.clone()));
            users.push(User { name, password, ..User::default() });
        }
        if let (Some(acl), Some((name, line))) = (acl, without.first()) {
            let text = format!(
                "user `{}` has no password, so it cannot log in with one; neither have {} others",
                shown(name),
                without.len() - 1
            );
            let text = if without.len() == 1 { text.split(';').next().unwrap_or_default().to_owned() } else { text };
            self.note(acl, *line, text);
        }
        users.retain(|user| {
            let is_special = ["http-api", "auto"].contains(&user.name.as_str());
            if is_special {
                let line = acl.and_then(|acl| acl.users.get(&user.name)).map_or(0, |section| section.line);
                let text = "is left out: the broker's own client ids begin so, and a policy cannot list it";
                if let Some(acl) = acl {
                    self.note(acl, line, format!("user `{}` {text}", user.name));
                }
            }
            !is_special
        });
        users
    }

    fn note(&mut self, acl: &AclFile, line: u32, text: String) {
        let place = mqtt_acl_policy::Place { file: std::sync::Arc::clone(&acl.file), line, column: 1 };
        self.notes.push(Problem { place, severity: Severity::Warning, text });
    }

    fn leave_out(&mut self, acl: &AclFile, number: RuleNumber, why: &str) {
        if self.left_out.insert(number) {
            let rule = acl.rules.get(number);
            let (filter, line) = rule.map_or(("", 0), |rule| (rule.filter.as_str(), rule.line));
            let growth = match rule.map(|rule| rule.grant) {
                Some(Grant::Deny) => ", and what it denies is denied no more",
                _ => "",
            };
            self.note(acl, line, format!("`{}` is left out{growth}: {why}", shown(filter)));
        }
    }

    /// Takes a pattern into what everybody may do, if it says the same for everybody.
    fn pattern(&mut self, acl: &AclFile, number: RuleNumber, options: &Options, everyone: &mut Lists) {
        let Some(rule) = acl.rules.get(number) else { return };
        if rule.is_subscribe_only() {
            return;
        }
        let (user, client) = (Template::of(&rule.filter, "%u"), Template::of(&rule.filter, "%c"));
        if client == Template::Part {
            return self.leave_out(
                acl,
                number,
                "`%c` is a part of a level there, and only whole levels can be a client id",
            );
        }
        if client == Template::Level && !options.bind {
            let why = "any client may choose any id, so `%c` would grant everything that it could stand for (`--bind` binds ids to \
                       user names, and keeps it)";
            return self.leave_out(acl, number, why);
        }
        if user == Template::Part && !self.is_expanded(rule) {
            let why = if self.dialects.len() > 1 {
                "`%u` is a part of a level there, which 2.0 fills in and 2.1 takes for itself (`--broker 2.0` keeps it)"
            } else {
                "`%u` is a part of a level there, which 2.1 takes for itself, and a policy cannot"
            };
            return self.leave_out(acl, number, why);
        }
        let plain = rule.filter.replace("%u", "u").replace("%c", "c");
        if let Err(why) = is_rule(&plain) {
            return self.leave_out(acl, number, &why);
        }
        if has_template(&plain) {
            return self.leave_out(acl, number, "`%{` begins a name there, which the policy would fill in");
        }
        if user != Template::Part {
            add(everyone, rule.filter.clone(), rule.grant);
        }
    }

    /// Whether a pattern with `%u` as a part of a level is written out for each user.
    fn is_expanded(&self, rule: &Rule) -> bool {
        match self.dialects[..] {
            [Dialect::V2_1] => false,
            [_] => true,
            // What one of them denies stays denied; what only one grants is not.
            _ => rule.grant == Grant::Deny,
        }
    }

    /// Gives a user its rules; what patterns are written out for it, for nobody else can have the same.
    fn user(&mut self, acl: &AclFile, user: &mut User, client_id: &[String]) -> Lists {
        let own = acl.users.get(&user.name).map(|section| section.rules.clone()).unwrap_or_default();
        for number in own {
            let Some(rule) = acl.rules.get(number) else { continue };
            if rule.is_subscribe_only() {
                continue;
            }
            if has_template(&rule.filter) {
                let why = "a `topic` line does not fill in `%u` or `%c`, so it is about a topic of just that text (was `pattern` \
                           meant?)";
                self.leave_out(acl, number, why);
            } else if let Err(why) = is_rule(&rule.filter) {
                self.leave_out(acl, number, &why);
            } else {
                add(&mut user.lists, rule.filter.clone(), rule.grant);
            }
        }
        user.lists.tidy();
        let mut written_out = Lists::default();
        let name = user.name.clone();
        let has_wildcard = name.contains(['+', '#']);
        if has_wildcard && self.dialect() != Dialect::GoAuth {
            // The broker refuses such a name whatever only patterns grant.
            user.client_id = client_id.to_vec();
        } else {
            user.roles.push(EVERYONE.into());
            for number in &acl.common.rules {
                let Some(rule) = acl.rules.get(*number).filter(|_| !self.left_out.contains(number)) else { continue };
                if rule.is_subscribe_only() {
                    continue;
                }
                match self.reading(rule, &name) {
                    Reading::Shared | Reading::Nothing => {}
                    Reading::Own(filter) => add(&mut written_out, filter, rule.grant),
                    Reading::LeftOut(why) => {
                        let is_new = self.left_out_for.entry(name.clone().into_bytes()).or_default().insert(*number);
                        if is_new {
                            let text =
                                format!("`{}` is left out for user `{}`: {why}", shown(&rule.filter), shown(&name));
                            self.note(acl, rule.line, text);
                        }
                    }
                }
            }
        }
        written_out
    }

    fn reading(&self, rule: &Rule, name: &str) -> Reading {
        let template = Template::of(&rule.filter, "%u");
        if template == Template::None || (template == Template::Level && is_usable_name(name.as_bytes())) {
            return Reading::Shared;
        }
        let begins_with_name = rule.filter == "%u" || rule.filter.starts_with("%u/");
        let differs = template == Template::Part || name.contains('/') || (name.starts_with('$') && begins_with_name);
        if self.dialects[..] == [Dialect::V2_1] && differs {
            return Reading::Nothing;
        }
        if self.dialects.len() > 1 && differs && rule.grant != Grant::Deny {
            return Reading::LeftOut("2.0 and 2.1 differ about such a name (`--broker 2.0` or `--broker 2.1` chooses)");
        }
        if name.contains(['+', '#']) {
            return Reading::LeftOut("the name would be a wildcard");
        }
        let filter = rule.filter.replace("%u", name);
        if !is_topic_filter(filter.as_bytes()) || is_rule(&filter).is_err() || has_template(&filter) {
            return Reading::LeftOut("the policy cannot say what comes of it");
        }
        Reading::Own(filter)
    }

    fn anonymous(&mut self, acl: &AclFile) -> Role {
        let mut role = Role { comment: vec!["Clients without a user name.".into()], ..Role::default() };
        for number in acl.anonymous.iter().chain(&acl.common.rules) {
            let Some(rule) = acl.rules.get(*number).filter(|_| !self.left_out.contains(number)) else { continue };
            if rule.is_subscribe_only() {
                continue;
            }
            let template = has_template(&rule.filter);
            if !rule.is_pattern {
                if template || is_rule(&rule.filter).is_err() {
                    self.leave_out(acl, *number, "it is about a topic of just that text, which the policy cannot say");
                    continue;
                }
            } else if rule.filter.contains("%c") {
                // Kept for those whose id is bound; an anonymous client's is not.
                self.left_out_for.entry(Vec::new()).or_default().insert(*number);
                let text = format!(
                    "`{}` is left out for clients without a user name, who may choose any id",
                    shown(&rule.filter)
                );
                self.note(acl, rule.line, text);
                continue;
            } else if rule.filter.contains("%u") {
                continue;
            }
            add(&mut role.lists, rule.filter.clone(), rule.grant);
        }
        role.lists.tidy();
        role
    }

    /// Whether a rule does not count in the policy, for all or for this user.
    fn is_left_out(&self, number: RuleNumber, user: Option<&[u8]>) -> bool {
        self.left_out.contains(&number)
            || self.left_out_for.get(user.unwrap_or_default()).is_some_and(|rules| rules.contains(&number))
    }

    fn decide(
        &self,
        dialect: Dialect,
        client: &Client<'_>,
        access: Access,
        topic: &[u8],
        deviations: &Deviations<'_>,
    ) -> Verdict {
        match &self.acl {
            Some(acl) => acl.decide_as(dialect, client, access, topic, deviations),
            None => Verdict::Default(true),
        }
    }
}

impl Source for Import {
    fn readings(&self) -> Vec<&'static str> {
        self.dialects.iter().map(|dialect| dialect.name()).collect()
    }

    fn filters(&self, client: &Client<'_>) -> Vec<Vec<u8>> {
        let Some(acl) = &self.acl else { return Vec::new() };
        self.dialects.iter().flat_map(|dialect| acl.filters(*dialect, client)).collect()
    }

    fn says(&self, reading: usize, client: &Client<'_>, access: Access, topic: &[u8]) -> Verdict {
        let dialect = self.dialects.get(reading).copied().unwrap_or(self.dialect());
        self.decide(dialect, client, access, topic, &Deviations::NONE)
    }

    fn would_say(&self, client: &Client<'_>, access: Access, topic: &[u8]) -> bool {
        if self.acl.is_none() {
            let levels = topic.split(|b| *b == b'/').next().unwrap_or_default();
            return levels.first() != Some(&b'$') || (access == Access::Read && levels == b"$SYS");
        }
        // Users with such a name have nothing of what is everybody's.
        let is_apart = client.user.is_some_and(|name| name.iter().any(|b| matches!(b, b'+' | b'#')));
        let deviations = Deviations {
            left_out: &|number, user| self.is_left_out(number, user),
            deny_wins: !is_apart,
            wildcard_names: !is_apart,
            hidden_topics: true,
        };
        self.decide(self.dialect(), client, access, topic, &deviations).is_allow()
    }

    fn cause(&self, reading: usize, client: &Client<'_>, access: Access, topic: &[u8], verdict: bool) -> Cause {
        if self.acl.is_none() {
            return Cause::HiddenTopics;
        }
        let none = Deviations::NONE;
        let left_out = |number: RuleNumber, user: Option<&[u8]>| self.is_left_out(number, user);
        let dialect = self.dialects.get(reading).copied().unwrap_or(self.dialect());
        let tried = [
            (Cause::LeftOut, dialect, Deviations { left_out: &left_out, ..none }),
            (Cause::WildcardIds, dialect, Deviations { wildcard_names: true, ..none }),
            (Cause::HiddenTopics, dialect, Deviations { hidden_topics: true, ..none }),
            (Cause::DenyWins, dialect, Deviations { deny_wins: true, ..none }),
            (Cause::Brokers, self.dialect(), none),
        ];
        tried
            .iter()
            .find(|(_, dialect, deviations)| {
                self.decide(*dialect, client, access, topic, deviations).is_allow() == verdict
            })
            .map_or(Cause::Together, |(cause, ..)| *cause)
    }

    fn admits(&self, _: Option<&[u8]>, _: &[u8]) -> bool {
        true
    }

    fn keeps_client_ids(&self) -> bool {
        let rules = self.acl.as_ref().map_or(&[][..], |acl| &acl.rules);
        (0..)
            .zip(rules)
            .any(|(number, rule)| rule.is_pattern && rule.filter.contains("%c") && !self.left_out.contains(&number))
    }

    fn rules_of(&self, user: &str) -> Vec<String> {
        let Some(acl) = &self.acl else { return Vec::new() };
        let general = |rule: &Rule| {
            let levels: Vec<_> = rule.filter.split('/').map(|level| if level == user { "%u" } else { level }).collect();
            format!("{:?} {}", rule.grant, levels.join("/"))
        };
        let own = acl.users.get(user).map_or(&[][..], |section| &section.rules);
        let mut rules: Vec<_> = own.iter().filter_map(|number| acl.rules.get(*number)).map(general).collect();
        rules.sort_unstable();
        rules
    }

    fn overlaps(&self) -> bool {
        self.overlap
    }
}

impl Rule {
    /// Whether it lets a client subscribe, but be handed nothing. A policy has nothing like it, and no need: with `overlap`
    /// a subscription is granted where something of it may be read.
    fn is_subscribe_only(&self) -> bool {
        matches!(self.grant, Grant::Allow { read: false, write: false, .. })
    }
}

/// How a filter speaks of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Template {
    None,
    Level,
    Part,
}

impl Template {
    fn of(filter: &str, template: &str) -> Self {
        if !filter.contains(template) {
            Self::None
        } else if filter.split('/').all(|level| level == template || !level.contains(template)) {
            Self::Level
        } else {
            Self::Part
        }
    }
}

/// Whether the policy would fill in something here.
fn has_template(filter: &str) -> bool {
    filter.split('/').any(|level| matches!(level, "%u" | "%c") || level.starts_with("%{"))
}

fn add(lists: &mut Lists, filter: String, grant: Grant) {
    match grant {
        Grant::Deny => {
            lists.deny_publish.push(filter.clone());
            lists.deny_subscribe.push(filter);
        }
        Grant::Allow { read, write, .. } => {
            if write {
                lists.publish.push(filter.clone());
            }
            if read {
                lists.subscribe.push(filter);
            }
        }
    }
}

fn shown(text: &str) -> mqtt_acl_policy::Escaped<'_> {
    mqtt_acl_policy::Escaped(text.as_bytes())
}
