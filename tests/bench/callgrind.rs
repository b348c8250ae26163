//! What valgrind's callgrind counted: its profiles, summed up by function.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::peers::compile;
use crate::support::broker::{Broker, Install, set_mode};

/// Instructions in user space.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    pub(crate) total: u64,
    /// By the file that it is of, and its name.
    functions: HashMap<(String, String), Cost>,
}

/// What one function cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// With all that it called.
    pub(crate) inclusive: u64,
    pub(crate) own: u64,
    pub(crate) calls: u64,
}

impl Profile {
    pub(crate) fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Self::parse(&text).unwrap_or_else(|line| panic!("{}: no profile of callgrind: {line:?}", file.display()))
    }

    /// The format is described in valgrind's manual, "Callgrind Format Specification".
    fn parse(text: &str) -> Result<Self, &str> {
        let mut profile = Self::default();
        let (mut names, mut files) = (HashMap::new(), HashMap::new());
        let (mut function, mut called, mut calls) = (Default::default(), Default::default(), None);
        // Which file the caller is of, and the callee, where that is another.
        let (mut file, mut called_file): (String, Option<String>) = Default::default();
        let mut is_whole = false;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("ob=") {
                file = full_name(name, &mut files);
            } else if let Some(name) = line.strip_prefix("cob=") {
                called_file = Some(full_name(name, &mut files));
            } else if let Some(name) = line.strip_prefix("fn=") {
                function = (file.clone(), full_name(name, &mut names));
            } else if let Some(name) = line.strip_prefix("cfn=") {
                called = (called_file.take().unwrap_or_else(|| file.clone()), full_name(name, &mut names));
            } else if let Some(rest) = line.strip_prefix("calls=") {
                calls = Some(rest.split(' ').next().and_then(|count| count.parse::<u64>().ok()).ok_or(line)?);
            } else if let Some(total) = line.strip_prefix("totals:") {
                profile.total = total.trim().parse().map_err(|_| line)?;
                is_whole = true;
            } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
                let cost: u64 = line.rsplit(' ').next().and_then(|cost| cost.parse().ok()).ok_or(line)?;
                let caller = profile.functions.entry(function.clone()).or_default();
                caller.inclusive += cost;
                match calls.take() {
                    None => caller.own += cost,
                    Some(count) => profile.functions.entry(called.clone()).or_default().calls += count,
                }
            }
        }
        if is_whole { Ok(profile) } else { Err(text.lines().last().unwrap_or_default()) }
    }

    /// What this counted beyond the other.
    pub(crate) fn beyond(mut self, other: &Self) -> Self {
        assert!(self.total >= other.total, "more of the same takes less: {} and {}", self.total, other.total);
        self.total -= other.total;
        for (name, cost) in &mut self.functions {
            if let Some(other) = other.functions.get(name) {
                cost.inclusive = cost.inclusive.saturating_sub(other.inclusive);
                cost.own = cost.own.saturating_sub(other.own);
                cost.calls = cost.calls.saturating_sub(other.calls);
            }
        }
        self
    }

    /// All functions whose name holds this, together.
    pub(crate) fn function(&self, part: &str) -> Cost {
        let mut sum = Cost::default();
        for (_, cost) in self.functions.iter().filter(|((_, name), _)| name.contains(part)) {
            sum.inclusive += cost.inclusive;
            sum.own += cost.own;
            sum.calls += cost.calls;
        }
        sum
    }

    /// The functions of one file, the dearest first.
    pub(crate) fn of_file(&self, part: &str) -> Vec<(&str, Cost)> {
        let of_file = self.functions.iter().filter(|((file, _), _)| file.ends_with(part));
        let mut all: Vec<_> = of_file.map(|((_, name), cost)| (name.as_str(), *cost)).collect();
        all.sort_by_key(|(name, cost)| (Reverse(cost.inclusive), *name));
        all
    }
}

/// Names are written once, `(12) name`, and as `(12)` from then on.
fn full_name(text: &str, names: &mut HashMap<String, String>) -> String {
    let Some((number, name)) = text.split_once(' ') else { return names.get(text).cloned().unwrap_or_default() };
    names.insert(number.to_owned(), name.to_owned());
    name.to_owned()
}

/// This machine's own valgrind.
pub(crate) fn system() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join("valgrind")).find(|program| program.is_file())
}

/// What a broker loads to be counted, where its valgrind is there.
pub(crate) fn probe(install: &Install) -> Option<PathBuf> {
    let usr = install.root().join("usr");
    let has_valgrind = usr.join("bin/valgrind.bin").is_file();
    has_valgrind.then(|| compile("probe", &[usr.join("include")]).expect("the probe needs a C compiler"))
}

/// A broker that is counted.
pub(crate) struct Counter<'a> {
    broker: &'a Broker,
    parts: usize,
}

impl<'a> Counter<'a> {
    pub(crate) fn start(broker: &'a Broker) -> Self {
        // Made before the broker gave its rights up.
        set_mode(&broker.profile(None), 0o666);
        broker.signal("PROF");
        Self { broker, parts: 0 }
    }

    /// What `count` more of something take, after as many: what goes by itself, and what ends a part, cancels out.
    /// `settle` returns when the broker has nothing more to do.
    pub(crate) fn count(&mut self, count: usize, settle: impl Fn(), deed: impl Fn(usize)) -> Profile {
        // What is done for the first time is dearer.
        (0..count).for_each(&deed);
        settle();
        self.broker.signal("VTALRM");
        let once = self.part(count, &settle, &deed);
        self.part(2 * count, &settle, &deed).beyond(&once)
    }

    /// The same where the broker, from time to time, does something on the side: the quietest of some tries.
    pub(crate) fn count_quietest(&mut self, count: usize, settle: impl Fn(), deed: impl Fn(usize)) -> Profile {
        const TRIES: usize = 4;
        (0..count).for_each(&deed);
        settle();
        self.broker.signal("VTALRM");
        let mut quietest = |count: usize| {
            let tries = (0..TRIES).map(|_| self.part(count, &settle, &deed));
            tries.min_by_key(|profile| profile.total).expect("a try")
        };
        let once = quietest(count);
        quietest(2 * count).beyond(&once)
    }

    fn part(&mut self, count: usize, settle: impl Fn(), deed: impl Fn(usize)) -> Profile {
        settle();
        (0..count).for_each(deed);
        settle();
        self.broker.signal("XCPU");
        self.parts += 1;
        await_profile(&self.broker.profile(Some(self.parts)))
    }
}

/// A profile as soon as it is written.
fn await_profile(file: &Path) -> Profile {
    const PATIENCE: Duration = Duration::from_secs(20);
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Its last line but for blank ones.
        if fs::read_to_string(file)
            .is_ok_and(|text| text.trim_end().rsplit('\n').next().is_some_and(|line| line.starts_with("totals:")))
        {
            return Profile::read(file);
        }
        assert!(Instant::now() < deadline, "callgrind writes no {}", file.display());
        thread::sleep(Duration::from_millis(2));
    }
}
