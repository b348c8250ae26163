//! What valgrind's callgrind counted: its profiles, summed up by function.

use std::cmp::Reverse;
use std::collections::HashMap;

/// Instructions in user space.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    /// Less than nothing where the broker did more on the side in the smaller one of two that are compared.
    pub(crate) total: i64,
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
    /// The format is described in valgrind's manual, "Callgrind Format Specification".
    pub(crate) fn parse(text: &str) -> Result<Self, &str> {
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
