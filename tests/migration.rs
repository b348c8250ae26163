//! What the importer says of acl_file and dynamic-security, held against Mosquitto's own: its plugins in a host that asks
//! them, and, for 2.0, whose acl_file is a part of the broker, against the broker itself over the wire. And that a policy is
//! what it was made from, which an importer with a mistake in it must not pass (S38). `FULL=1` for a million cases and
//! more; `MQTT_ACL_SEED` repeats a run.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "migration/deputy.rs"]
mod deputy;
#[path = "migration/generate.rs"]
mod generate;
#[path = "migration/mutate.rs"]
mod mutate;
#[path = "support/mod.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod support;
#[path = "migration/wire.rs"]
mod wire;

use std::collections::BTreeSet;
use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use fastrand::Rng;
use libtest_mimic::{Arguments, Trial};
use mqtt_acl_import::acl::{self, Access, AclFile, Dialect, Verdict};
use mqtt_acl_import::check::{Report, Source, check};
use mqtt_acl_import::draft::Draft;
use mqtt_acl_import::{Options, dynsec, from_acl};
use mqtt_acl_policy::{Client, Extent, Filters, compare, parse};

use deputy::Deputy;
use generate::{CLIENTS, acl_file, dynamic_security};
use support::broker::Install;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let tests: [(&str, fn()); 7] = [
        ("acl_file_decides_as_2_1", acl_file_decides_as_2_1),
        ("acl_file_decides_as_2_0", wire::acl_file_decides_as_2_0),
        ("dynamic_security_decides_as_2_1", || dynamic_security_decides(Dialect::V2_1)),
        ("dynamic_security_decides_as_2_0", || dynamic_security_decides(Dialect::V2_0)),
        ("policies_are_what_they_were_made_from", policies_are_what_they_were_made_from),
        ("go_auth_and_dynamic_security_become_what_they_are", others_become_what_they_are),
        ("an_importer_with_a_mistake_is_caught", an_importer_with_a_mistake_is_caught),
    ];
    let trials = tests.map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

fn is_full() -> bool {
    env::var("FULL").is_ok_and(|full| full == "1")
}

fn random() -> Rng {
    // The same cases each time, so that what is tested is what was seen to pass; others where there is time.
    let drawn = if is_full() { fastrand::u64(..) } else { 2 };
    let seed = env::var("MQTT_ACL_SEED").map_or(drawn, |seed| seed.parse().unwrap());
    println!("MQTT_ACL_SEED={seed}");
    Rng::with_seed(seed)
}

fn install(version: Dialect) -> Install {
    let installs = Install::all().unwrap_or_else(|problem| panic!("{problem}"));
    let newest = |install: &Install| install.is_at_least("2.1") == (version == Dialect::V2_1);
    installs.into_iter().rfind(newest).expect("such a broker")
}

fn read(text: &str, dialect: Dialect) -> AclFile {
    let file = Arc::from(Path::new("acl"));
    acl::read(text.as_bytes(), &file, dialect).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"))
}

/// The answers that were compared.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    allowed: u64,
    refused: u64,
    undecided: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Rule(true) => self.allowed += 1,
            Verdict::Rule(false) => self.refused += 1,
            Verdict::Default(_) => self.undecided += 1,
        }
    }

    pub(crate) fn decided(&self) -> u64 {
        self.allowed + self.refused
    }

    /// Only cases that some rule decided count, and not all of them the same way (S38).
    pub(crate) fn assert(&self, least: u64) {
        println!("{self:?}: {} decided by a rule", self.decided());
        assert!(self.decided() >= least, "{self:?}");
        assert!(self.allowed * 10 >= self.decided() * 3 && self.refused * 10 >= self.decided() * 3, "{self:?}");
    }
}

/// Topics at which the rules of this client make a difference, and some more.
pub(crate) fn topics(filters: Vec<Vec<u8>>, random: &mut Rng) -> Vec<Vec<u8>> {
    let mut all = Filters::default();
    for filter in filters {
        all.insert(&filter);
    }
    let (topics, extent) = all.walk().topics(20_000);
    assert_eq!(extent, Extent::Whole);
    let more = (0..20).map(|_| generate::topic(random).into_bytes());
    topics.into_iter().map(|(_, topic)| topic).chain(more).collect()
}

/// Every case of many files, asked of the plugin of 2.1.
fn acl_file_decides_as_2_1() {
    let mut random = random();
    let mut deputy = Deputy::start(&install(Dialect::V2_1), "mosquitto/mosquitto_acl_file.so");
    let mut tally = Tally::default();
    let least = if is_full() { 1_000_000 } else { 20_000 };
    while tally.decided() < least {
        let text = acl_file(&mut random, 12);
        let file = read(&text, Dialect::V2_1);
        deputy.load("acl_file", &text);
        for (user, id) in CLIENTS {
            let client = Client { user: user.map(str::as_bytes), id: id.as_bytes() };
            for topic in topics(file.filters(Dialect::V2_1, &client), &mut random) {
                deputy.ask(&client, &topic);
                for access in [Access::Read, Access::Write] {
                    tally.add(file.decide(&client, access, &topic));
                }
            }
        }
        deputy.unload();
        let expected =
            |client: &Client<'_>, access: Access, topic: &[u8]| file.decide(client, access, topic).is_allow();
        deputy.compare(expected, &text);
    }
    tally.assert(least);
}

fn dynamic_security_decides(dialect: Dialect) {
    let mut random = random();
    let path = if dialect == Dialect::V2_1 {
        "mosquitto/mosquitto_dynamic_security.so"
    } else {
        "mosquitto_dynamic_security.so"
    };
    let install = install(dialect);
    let mut deputy = Deputy::start(&install, path);
    let mut tally = Tally::default();
    let least = if is_full() { 300_000 } else { 20_000 };
    while tally.decided() < least {
        let text = dynamic_security(&mut random);
        let name = Arc::from(Path::new("dynamic-security.json"));
        let config = dynsec::read(text.as_bytes(), &name).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
        let import = dynsec::import(config.clone(), &[dialect], &Options::default());
        if dialect == Dialect::V2_0 {
            // It does not forget its anonymous group.
            deputy = Deputy::start(&install, path);
        }
        deputy.load("config_file", &text);
        for (user, id) in CLIENTS {
            let client = Client { user: user.map(str::as_bytes), id: id.as_bytes() };
            let mut filters = Filters::default();
            for filter in import.filters(&client) {
                filters.insert(&filter);
            }
            for topic in topics(import.filters(&client), &mut random) {
                deputy.ask(&client, &topic);
                for access in [Access::Read, Access::Write] {
                    tally.add(config.decide(dialect, &client, access, &topic));
                }
            }
            for subscription in filters.walk().filters(2_000).0 {
                deputy.ask(&client, &subscription.filter);
                tally.add(config.decide(dialect, &client, Access::Subscribe, &subscription.filter));
            }
        }
        deputy.unload();
        let expected = |client: &Client<'_>, access: Access, topic: &[u8]| {
            config.decide(dialect, client, access, topic).is_allow()
        };
        deputy.compare(expected, &text);
    }
    tally.assert(least);
}

/// Checks a draft's policy against its source.
fn checked(source: &impl Source, draft: &Draft) -> Report {
    let text = draft.policy(None);
    let loaded = parse(&text, "policy").unwrap_or_else(|failure| panic!("{failure:?}\n{text}"));
    check(source, &loaded.policy, draft, |_, _| ())
}

fn policies_are_what_they_were_made_from() {
    let mut random = random();
    let mut tally = Tally::default();
    let mut causes = BTreeSet::new();
    let least = if is_full() { 1_000_000 } else { 20_000 };
    while tally.decided() < least {
        let text = acl_file(&mut random, 12);
        for dialects in [vec![Dialect::V2_0], vec![Dialect::V2_1], vec![Dialect::V2_0, Dialect::V2_1]] {
            let file = read(&text, dialects[0]);
            let options = Options { bind: random.bool(), anonymous: random.bool(), exact: random.bool() };
            let import = from_acl::import(Some(file), None, dialects.clone(), &options);
            let report = checked(&import, &import.draft);
            assert_explained(&report, &text, &import.draft, &format!("{dialects:?} {options:?}"));
            tally.allowed += report.decided.0;
            tally.refused += report.decided.1;
            causes.extend(report.classes.keys().map(|(cause, _)| format!("{cause:?}")));
        }
    }
    tally.assert(least);
    // The files are wild enough for all that the importer has to tell of.
    for cause in ["LeftOut", "DenyWins", "WildcardIds", "ClientIds", "Subscriptions"] {
        assert!(causes.contains(cause), "{causes:?}");
    }
}

fn assert_explained(report: &Report, text: &str, draft: &Draft, how: &str) {
    assert_eq!(report.extent, Extent::Whole, "{text}");
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let unexplained: Vec<_> = report
        .unexplained
        .iter()
        .map(|d| {
            let user = d.user.as_deref().map(shown);
            format!(
                "{user:?} {} {:?} {} allowed={}: {}",
                shown(&d.client_id),
                d.access,
                shown(&d.topic),
                d.allowed,
                d.reason
            )
        })
        .collect();
    assert!(unexplained.is_empty(), "{how}: {unexplained:#?}\n{text}\n{}", draft.policy(None));
}

fn others_become_what_they_are() {
    let mut random = random();
    let mut tally = Tally::default();
    let least = if is_full() { 300_000 } else { 20_000 };
    while tally.decided() < least {
        let options = Options { bind: random.bool(), anonymous: random.bool(), exact: random.bool() };
        let text = acl_file(&mut random, 12);
        // It takes a missing name for an empty one, and the command line knows no such clients of it.
        let named = Options { anonymous: false, ..options };
        let import = from_acl::import(Some(read(&text, Dialect::GoAuth)), None, vec![Dialect::GoAuth], &named);
        let report = checked(&import, &import.draft);
        assert_explained(&report, &text, &import.draft, &format!("go-auth {options:?}"));
        tally.allowed += report.decided.0;
        tally.refused += report.decided.1;

        let text = dynamic_security(&mut random);
        let name = Arc::from(Path::new("dynamic-security.json"));
        let config = dynsec::read(text.as_bytes(), &name).unwrap();
        for dialects in [&[Dialect::V2_0][..], &[Dialect::V2_1], &[Dialect::V2_0, Dialect::V2_1]] {
            let import = dynsec::import(config.clone(), dialects, &options);
            let report = checked(&import, &import.draft);
            assert_explained(&report, &text, &import.draft, &format!("{dialects:?} {options:?}"));
            tally.allowed += report.decided.0;
            tally.refused += report.decided.1;
        }
    }
    tally.assert(least);
}

/// A mutated importer must be caught (S38): whatever it changes of the rights that its policy gives, as `diff` tells, the
/// check must find unexplained.
fn an_importer_with_a_mistake_is_caught() {
    let mut random = random();
    let (mut caught, mut kinds) = (0, BTreeSet::new());
    let least = if is_full() { 5_000 } else { 500 };
    while caught < least {
        let text = acl_file(&mut random, 12);
        let file = read(&text, Dialect::V2_0);
        let options = Options { bind: random.bool(), ..Options::default() };
        let import = from_acl::import(Some(file), None, vec![Dialect::V2_0], &options);
        let right = parse(&import.draft.policy(None), "policy").unwrap().policy;
        for _ in 0..10 {
            let mut draft = import.draft.clone();
            let Some(mutation) = mutate::mutate(&mut draft, &mut random) else { continue };
            let Ok(wrong) = parse(&draft.policy(None), "policy") else { continue };
            let comparison = compare(&right, &wrong.policy);
            assert_eq!(comparison.extent, Extent::Whole);
            if comparison.changes.is_empty() {
                continue;
            }
            let report = check(&import, &wrong.policy, &draft, |_, _| ());
            assert!(
                report.unexplained_count > 0,
                "{mutation} is not noticed: {:?}\n{text}\n{}",
                comparison.changes,
                draft.policy(None)
            );
            kinds.insert(mutation);
            caught += 1;
        }
    }
    assert_eq!(kinds.len(), mutate::KINDS, "{kinds:?}");
    println!("{caught} mistakes of {} kinds were caught", kinds.len());
}
