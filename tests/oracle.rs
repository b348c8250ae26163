//! libmosquitto decides the same questions as the policy engine: which topics a filter matches, and what is a filter or
//! a topic name at all. All small cases, and seeded random long ones (`MQTT_ACL_SEED` repeats a run).
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(unsafe_code, reason = "libmosquitto is a C library")]

use std::{
    env,
    ffi::{CString, c_char, c_int},
    fmt::Write as _,
    process::ExitCode,
};

use fastrand::Rng;
use libloading::Library;
use libtest_mimic::{Arguments, Trial};
use mqtt_acl_policy::{Action, Client, Policy, is_topic_name, parse};

type Test = fn(&Oracle);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // SAFETY: loading it runs OpenSSL's initialisation and nothing else.
    let library = unsafe { Library::new("libmosquitto.so.1") };
    let reason = library.err().map(|error| format!(" (SKIPPED: {error}; Debian: apt-get install libmosquitto1)"));
    if let Some(reason) = &reason {
        eprintln!("oracle: nothing was compared{reason}");
    }
    let tests: [(&str, Test); 5] = [
        ("short_filters_match_the_same_topics", short_filters_match_the_same_topics),
        ("long_filters_match_the_same_topics", long_filters_match_the_same_topics),
        ("the_same_texts_are_filters", the_same_texts_are_filters),
        ("the_same_texts_are_topic_names", the_same_texts_are_topic_names),
        ("known_differences", known_differences),
    ];
    let trials = tests.map(|(name, test)| {
        let name = format!("{name}{}", reason.as_deref().unwrap_or_default());
        let trial = Trial::test(name, move || {
            test(&Oracle::load());
            Ok(())
        });
        trial.with_ignored_flag(reason.is_some())
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

/// libmosquitto's answers. Its functions look at the texts and at nothing else.
struct Oracle {
    matches: unsafe extern "C" fn(*const c_char, *const c_char, *mut bool) -> c_int,
    check_filter: unsafe extern "C" fn(*const c_char) -> c_int,
    check_name: unsafe extern "C" fn(*const c_char) -> c_int,
    _library: Library,
}

impl Oracle {
    fn load() -> Self {
        // SAFETY: as in `main`.
        let library = unsafe { Library::new("libmosquitto.so.1") }.unwrap();
        // SAFETY: the signature is that of mosquitto.h.
        let matches = *unsafe { library.get(b"mosquitto_topic_matches_sub") }.unwrap();
        // SAFETY: as above.
        let check_filter = *unsafe { library.get(b"mosquitto_sub_topic_check") }.unwrap();
        // SAFETY: as above.
        let check_name = *unsafe { library.get(b"mosquitto_pub_topic_check") }.unwrap();
        Self { matches, check_filter, check_name, _library: library }
    }

    fn matches(&self, filter: &str, topic: &str) -> bool {
        let mut result = false;
        let (filter, topic) = (CString::new(filter).unwrap(), CString::new(topic).unwrap());
        // SAFETY: both texts end with a NUL, and the library that the function is of is still loaded.
        let rc = unsafe { (self.matches)(filter.as_ptr(), topic.as_ptr(), &raw mut result) };
        rc == 0 && result
    }

    fn is_filter(&self, text: &str) -> bool {
        let text = CString::new(text).unwrap();
        // SAFETY: as above.
        unsafe { (self.check_filter)(text.as_ptr()) == 0 }
    }

    fn is_topic_name(&self, text: &str) -> bool {
        let text = CString::new(text).unwrap();
        // SAFETY: as above.
        unsafe { (self.check_name)(text.as_ptr()) == 0 }
    }
}

/// One user for each filter, who may publish to what it matches.
fn policy(filters: &[String]) -> Policy {
    let mut text = "version = 1\n".to_owned();
    for (number, filter) in filters.iter().enumerate() {
        writeln!(text, "[users.f{number}]\npublish = ['{filter}']\nsubscribe = ['{filter}']").unwrap();
    }
    parse(&text, "oracle.toml").unwrap_or_else(|failure| panic!("{failure:?}")).policy
}

/// Asks both about every pair; returns how many match.
fn compare(oracle: &Oracle, filters: &[String], topics: &[String]) -> usize {
    let policy = policy(filters);
    let mut matching = 0;
    for (number, filter) in filters.iter().enumerate() {
        let name = format!("f{number}");
        let client = Client { user: Some(name.as_bytes()), id: name.as_bytes() };
        for topic in topics {
            let expected = oracle.matches(filter, topic);
            for action in [Action::Publish, Action::Receive, Action::Subscribe].map(|action| action(topic.as_bytes())) {
                let allowed = policy.authorize(&client, action).is_allow();
                assert_eq!(allowed, expected, "{filter} {action:?}: allowed, and expected by libmosquitto");
            }
            matching += usize::from(expected);
        }
    }
    matching
}

/// Every text of up to `most` of these pieces, the empty one excepted.
fn texts(pieces: &[&str], most: usize, separator: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut longest: Vec<Vec<&str>> = vec![Vec::new()];
    for _ in 0..most {
        longest = longest.iter().flat_map(|text| pieces.iter().map(|piece| [&text[..], &[*piece]].concat())).collect();
        all.extend(longest.iter().map(|text| text.join(separator)).filter(|text| !text.is_empty()));
    }
    all
}

fn short_filters_match_the_same_topics(oracle: &Oracle) {
    let mut filters = texts(&["", "a", "$a", "+", "#"], 4, "/");
    filters.retain(|filter| oracle.is_filter(filter));
    let topics = texts(&["", "a", "b", "$a"], 4, "/");
    let matching = compare(oracle, &filters, &topics);
    println!("{} filters, {} topics, {matching} matches", filters.len(), topics.len());
    assert!(matching > topics.len());
}

fn long_filters_match_the_same_topics(oracle: &Oracle) {
    let seed = env::var("MQTT_ACL_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("MQTT_ACL_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let mut text = |levels: &[&str], least: usize| {
        (0..random.usize(least..12)).map(|_| levels[random.usize(..levels.len())]).collect::<Vec<_>>().join("/")
    };
    let filters: Vec<_> = (0..500)
        .map(|number| {
            text(&["a", "a", "b", "+", "+", "", "long level", "ä"], 2) + if number % 2 == 0 { "/#" } else { "" }
        })
        .collect();
    let topics: Vec<_> = (0..500).map(|_| text(&["a", "a", "b", "", "long level", "ä"], 2)).collect();
    let matching = compare(oracle, &filters, &topics);
    println!("{matching} matches");
    assert!(matching > filters.len());
}

fn the_same_texts_are_filters(oracle: &Oracle) {
    for text in texts(&["/", "+", "#", "$", "a"], 5, "") {
        assert_eq!(is_rule(&text), oracle.is_filter(&text), "{text}");
    }
}

fn the_same_texts_are_topic_names(oracle: &Oracle) {
    let long = [65_535, 65_536].map(|length| "a".repeat(length));
    for text in texts(&["/", "+", "#", "$", "a"], 5, "").into_iter().chain(long) {
        assert_eq!(is_topic_name(text.as_bytes()), oracle.is_topic_name(&text), "{text}");
    }
}

fn known_differences(oracle: &Oracle) {
    // A group is not part of what a rule grants; such a rule would never match what the broker delivers (S13).
    assert!(oracle.is_filter("$share/g/a") && !is_rule("$share/g/a"));
    // Brokers take 200 separators at most, which the library, made for clients, does not count.
    for (separators, accepted) in [(200, true), (201, false)] {
        let deep = "/".repeat(separators);
        assert!(oracle.is_filter(&deep));
        assert_eq!(is_rule(&deep), accepted, "{separators} separators");
    }
}

/// Whether a rule may say this.
fn is_rule(filter: &str) -> bool {
    parse(&format!("version = 1\n[users.u]\nsubscribe = ['{filter}']\n"), "oracle.toml").is_ok()
}
