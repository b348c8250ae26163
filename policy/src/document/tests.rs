//! However a text is written and whatever is wrong with it: taking the plain tables out of it first changes nothing.

use super::*;
use crate::compile::compile;
use crate::problem::Problem;

/// All that reading a text comes to: what is wrong with it, and the policy.
#[derive(Debug, PartialEq)]
struct Outcome {
    problems: Vec<Problem>,
    document: String,
    policy: String,
    users: Vec<String>,
}

type Read = fn(&str, &Arc<Path>, &mut Draft, &mut Problems) -> Document;

fn outcome(texts: &[&str], read: Read) -> Outcome {
    let mut users = Draft::default();
    let mut problems = Problems::default();
    let documents: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(number, text)| {
            let file = Arc::from(Path::new(&format!("{number}.toml")));
            let document = read(text, &file, &mut users, &mut problems);
            (file, document)
        })
        .collect();
    let document = format!("{documents:?}");
    let main = Arc::clone(&documents[0].0);
    let policy = compile(&main, documents, users, &mut problems);
    let sets = policy.sets.iter().map(|set| {
        let crate::policy::RuleSet { holder, rare, overlap, api, auto_id, .. } = set;
        format!("{holder:?} {rare:?} {overlap} {api} {auto_id}")
    });
    // They lie in no order that means anything.
    let mut users: Vec<_> = policy.users.iter().map(|user| format!("{user:?}")).collect();
    users.sort();
    Outcome {
        problems: problems.into_sorted(),
        document,
        policy: format!("{:?} {:?} {:?}", policy.rules, sets.collect::<Vec<_>>(), policy.scenarios),
        users,
    }
}

fn assert_same(texts: &[&str]) -> Outcome {
    let fast = outcome(texts, Document::read);
    let slow = outcome(texts, Document::read_all);
    assert_eq!(fast, slow, "{texts:?}");
    fast
}

/// How many tables are read without TOML.
fn plain(text: &str) -> usize {
    let mut count = 0;
    plain::split(text, &Arc::from(Path::new("p.toml")), &Left::default(), |_| count += 1);
    count
}

/// SplitMix64: the same documents in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as usize % end
    }

    fn of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

const NAMES: &[&str] = &[
    "a",
    "b",
    "c",
    "dev-1",
    "dev",
    "\"a\"",
    "'b'",
    "\"x y\"",
    "\"\"",
    "\"\\u0061\"",
    "caf\u{e9}",
    "'caf\u{e9}'",
    "auto",
];
const STRINGS: &[&str] = &[
    "\"r\"",
    "\"s\"",
    "'r'",
    "\"dt/%u/#\"",
    "\"\"",
    "''",
    "\"\"\"r\"\"\"",
    "'''\nr'''",
    "\"\\u0072\"",
    "\"$token$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"",
    "\"$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"",
    "\"hunter2\"",
    "\"caf\u{e9}\"",
    "\"\t\"",
    "1",
];
const KEYS: &[&str] = &[
    "roles",
    "password",
    "disabled",
    "publish",
    "subscribe",
    "receive",
    "client_id",
    "share",
    "overlap",
    "api",
    "auto_id",
    "deny",
    "rolls",
    "deny.publish",
    "\"roles\"",
    "version",
];

fn value(random: &mut Random) -> String {
    let string = random.of(STRINGS);
    match random.below(12) {
        0 => "true".to_owned(),
        1 => "false".to_owned(),
        2 | 3 => string.to_owned(),
        4 => format!("{{ publish = [{string}] }}"),
        5 => format!("[\n  {string}, # of these\n  {}\n]", random.of(STRINGS)),
        6 => "[]".to_owned(),
        7 => format!("[ {string},\n\t{} , ]", random.of(STRINGS)),
        _ => format!("[{string}]"),
    }
}

fn line(random: &mut Random) -> String {
    let end = random.of(&["\n", "\n", "\n", "\n", " # why\n", "\r\n", "  \n\n", "\n# \u{e9}\n", "\n\t"]);
    let indent = random.of(&["", "", "", "", "  "]);
    let equals = random.of(&[" = ", " = ", " = ", "=", "   =\t"]);
    match random.below(8) {
        0..5 => {
            let (key, value) = match random.below(6) {
                0 => ("password", random.of(STRINGS).to_owned()),
                1 => ("disabled", random.of(&["true", "false"]).to_owned()),
                2 | 3 => ("roles", format!("[{}]", random.of(STRINGS))),
                _ => ("publish", format!("[{}]", random.of(STRINGS))),
            };
            format!("{indent}{key}{equals}{value}{end}")
        }
        5 => format!("{indent}# users.a = {{{end}"),
        6 => String::new(),
        _ => format!("{indent}{}{equals}{}{end}", random.of(KEYS), value(random)),
    }
}

fn section(random: &mut Random) -> String {
    let name = if random.below(3) == 0 { random.of(NAMES).to_owned() } else { format!("d{}", random.below(100)) };
    let mut text = match random.below(60) {
        0 => "[users]\n".to_owned(),
        1 => format!("[users]\n{name} = {{ roles = [\"r\"] }}\n"),
        2 => format!("[users]\n{name}.roles = [\"r\"]\n"),
        3 => format!("[users.{name}.deny]\npublish = [\"x\"]\n"),
        4 => format!("[[users.{name}]]\n"),
        5 => "[[users]]\n".to_owned(),
        6 => format!("[ users . {name} ]\n"),
        7 => format!("[\"users\".{name}]\n"),
        8 => format!("  [users.{name}]\n"),
        9 => format!("[users.{name}] # who\n"),
        10 => format!("[users.{name}"),
        11 => format!("[roles.{name}]\npublish = [\n\"a\",\n\n\"b/[users.c]\"]\n"),
        12 => "[[match]]\nusername = \"dev*\"\nroles = [\"r\"]\n".to_owned(),
        13 => "[[test]]\nuser = \"a\"\ncan = { publish = \"\"\"\n[users.b]\n\"\"\" }\n".to_owned(),
        _ => format!("[users.{name}]\n"),
    };
    for _ in 0..random.below(4) {
        text.push_str(&line(random));
    }
    if random.below(3) == 0 {
        text.push('\n');
    }
    text
}

fn document(random: &mut Random) -> String {
    let mut text =
        random.of(&["version = 1\n", "version = 1\n", "version = 1\n", "", "\u{feff}version = 1\r\n"]).to_owned();
    match random.below(40) {
        0 => text.push_str("users = { a = { roles = [\"r\"] } }\n"),
        1 => text.push_str("users.a.roles = [\"r\"]\n"),
        2 => text.push_str("users = 1\n"),
        3 => text.push_str("users = []\n"),
        _ => {}
    }
    if random.below(4) > 0 {
        text.push_str("[roles.r]\nsubscribe = [\"dt/%u/#\"]\n\n");
    }
    for _ in 0..random.below(7) {
        text.push_str(&section(random));
    }
    text
}

/// Does something to a text that a slip of the hand, or malice, would do.
fn mutate(text: &mut String, random: &mut Random) {
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let at = places[random.below(places.len())];
    let next = text.get(at..).unwrap().chars().next().map_or(0, char::len_utf8);
    const SCRAPS: &[&str] = &[
        "[",
        "]",
        "{",
        "}",
        "\"",
        "'",
        "\"\"\"",
        "'''",
        "\n",
        "\r",
        "\r\n",
        "=",
        ".",
        ",",
        "#",
        " ",
        "\t",
        "\\",
        "\0",
        "\u{7f}",
        "\u{e9}",
        "\u{feff}",
        "[users.a]",
        "\n[users.b]\n",
        "true",
        "x",
        "[[",
        "]]",
        "users",
        "\n[users.a]\nroles = [\"r\"]\n",
    ];
    match random.below(6) {
        0 => text.replace_range(at..at + next, ""),
        1 => text.replace_range(at..at + next, random.of(SCRAPS)),
        2 => text.truncate(at),
        3 => {
            let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
            if lines.len() > 1 {
                let (one, other) = (random.below(lines.len()), random.below(lines.len()));
                lines.swap(one, other);
            }
            *text = lines.concat();
        }
        _ => text.insert_str(at, random.of(SCRAPS)),
    }
}

#[test]
fn any_text_means_the_same_with_and_without_the_short_cut() {
    let cases = std::env::var("CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(4_000);
    let (mut sound, mut broken, mut read) = (0_u64, 0_u64, 0_u64);
    for seed in 0..cases {
        let mut random = Random(seed);
        let mut text = document(&mut random);
        for _ in 0..random.below(6).saturating_sub(2) {
            mutate(&mut text, &mut random);
        }
        let outcome = assert_same(&[&text]);
        let is_broken = outcome.problems.iter().any(|problem| problem.text.starts_with("not TOML"));
        *if is_broken { &mut broken } else { &mut sound } += 1;
        read += if is_broken { 0 } else { plain(&text) as u64 };
    }
    // They are worth trying: many are TOML, many are not, and many tables are plain.
    assert!(sound > cases / 5 && broken > cases / 5 && read > cases / 5, "{sound} {broken} {read}");
}

/// What one file says of a user, another completes or repeats (S2).
#[test]
fn s2_two_texts_mean_the_same_with_and_without_the_short_cut() {
    for seed in 0..1_000 {
        let mut random = Random(!seed);
        let texts = [document(&mut random), document(&mut random)];
        assert_same(&[&texts[0], &texts[1]]);
    }
}

/// A long text that is broken is never TOML's as a whole.
#[test]
fn a_long_text_tells_its_mistakes() {
    let mut text = "version = 1\n".to_owned();
    while text.len() <= RECOVERED {
        text.push_str("[users.a]\nroles = [\"r\"]\n# ");
        text.push_str(&"x".repeat(100_000));
        text.push_str("\n[users.b]\npassword = \"x\n");
        text = text.replace("users.a]", &format!("users.a{}]", text.len()));
    }
    let told = outcome(&[&text], Document::read);
    let problem = &told.problems[0];
    assert_eq!((problem.place.line, problem.place.column), (6, 14), "{problem}");
    assert!(problem.text.starts_with("not TOML: invalid basic string"), "{problem}");
    assert!(told.users.is_empty());
}

#[test]
fn what_is_plain() {
    for (text, count) in [
        ("[users.a]\nroles = [\"r\"]\npassword = 'x'\n[users.b]", 2),
        ("[users.a] # who\n\n# why\n  roles = [ \"r\",\n\t'x' ]\r\n[users.\"x y\"]\ndisabled=true", 2),
        ("version = 1\n[roles.r]\npublish = [\n\"[users.a]\",\n]\n[users.a]\noverlap = false\nclient_id = []\n", 1),
        ("[users.a]\npassword = \"\"\"x\"\"\"\n[users.b]\npassword = \"\\u0061\"\n[users.c]\npassword = [\"x\"]\n", 0),
        ("[users.a.deny]\n[users.b]\nrolls = []\n[users.c]\nroles = \"r\"\n[users.d]\napi = 1\n", 0),
        ("[users.a]\nroles = []\nroles = []\n[users.b]\nx.y = 1\n[[users.c]]\n[users.d]x\n[users.\u{e9}]\n", 0),
        ("x = [\n[users.a]\n]\n[users.b]\n", 1),
        ("x = \"\"\"\n[users.a]\n\"\"\"\n[users.b]\n", 1),
        ("x = [\n[users.a]\n", 0),
        ("[users.b\n[users.a]\n", 1),
    ] {
        assert_eq!(plain(text), count, "{text}");
        assert_same(&[text]);
    }
}
