//! What valgrind's callgrind counted: its profiles, summed up by function.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Instructions in user space.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    pub(crate) total: u64,
    functions: HashMap<String, Cost>,
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
        let mut names: HashMap<String, String> = HashMap::new();
        let (mut function, mut called, mut calls) = (String::new(), String::new(), None);
        let mut is_whole = false;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("fn=") {
                function = full_name(name, &mut names);
            } else if let Some(name) = line.strip_prefix("cfn=") {
                called = full_name(name, &mut names);
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

    /// All functions whose name holds this, together.
    pub(crate) fn function(&self, part: &str) -> Cost {
        let mut sum = Cost::default();
        for (_, cost) in self.functions.iter().filter(|(name, _)| name.contains(part)) {
            sum.inclusive += cost.inclusive;
            sum.own += cost.own;
            sum.calls += cost.calls;
        }
        sum
    }

    pub(crate) fn functions(&self) -> impl Iterator<Item = (&str, Cost)> {
        self.functions.iter().map(|(name, cost)| (name.as_str(), *cost))
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
