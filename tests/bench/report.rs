//! What was measured, as tables for people and as JSON for machines.

use std::fmt::Write as _;

/// The name of a figure and its value; not a number where there is none.
pub(crate) type Figure = (&'static str, f64);

#[derive(Default)]
pub(crate) struct Report {
    /// The circumstances: what, and which.
    pub(crate) header: Vec<(&'static str, String)>,
    lines: Vec<Line>,
    targets: Vec<Target>,
    passed: usize,
    failures: Vec<String>,
    skipped: usize,
}

struct Line {
    row: &'static str,
    broker: String,
    peer: String,
    figures: Vec<Figure>,
}

struct Target {
    row: &'static str,
    broker: String,
    text: String,
    reached: bool,
}

impl Report {
    /// Measured figures. All lines of a row have the same.
    pub(crate) fn line(&mut self, row: &'static str, broker: &str, peer: &str, figures: Vec<Figure>) {
        self.lines.push(Line { row, broker: broker.to_owned(), peer: peer.to_owned(), figures });
    }

    /// Whether a figure is as good as it is meant to be. Nothing fails for it.
    pub(crate) fn target(&mut self, row: &'static str, broker: &str, reached: bool, text: String) {
        self.targets.push(Target { row, broker: broker.to_owned(), text, reached });
    }

    /// Whether something works at all.
    pub(crate) fn check(&mut self, ok: bool, what: impl FnOnce() -> String) {
        if ok {
            self.passed += 1;
        } else {
            let what = what();
            eprintln!("failed: {what}");
            self.failures.push(what);
        }
    }

    /// What cannot be measured here, or not be compared.
    pub(crate) fn skip(&mut self, what: &str) {
        eprintln!("!! skipped: {what}");
        self.skipped += 1;
    }

    /// The lines of a row: broker, peer, figures.
    pub(crate) fn lines_of(&self, row: &str) -> impl Iterator<Item = (&str, &str, &[Figure])> {
        let of_row = self.lines.iter().filter(move |line| line.row == row);
        of_row.map(|Line { broker, peer, figures, .. }| (broker.as_str(), peer.as_str(), figures.as_slice()))
    }

    pub(crate) fn has_failed(&self) -> bool {
        !self.failures.is_empty()
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.header {
            let _ = writeln!(text, "{name:<9} {value}");
        }
        for row in self.rows() {
            let _ = write!(text, "\n{row}\n{}", table(self.lines.iter().filter(|line| line.row == row)));
        }
        if !self.targets.is_empty() {
            text.push_str("\ntargets\n");
        }
        for Target { row, broker, text: what, reached } in &self.targets {
            let word = if *reached { "reached" } else { "missed" };
            let _ = writeln!(text, "{word:<8} {broker:<7} {row}: {what}");
        }
        text.push('\n');
        for failure in &self.failures {
            let _ = writeln!(text, "failed: {failure}");
        }
        let _ = writeln!(text, "{} passed, {} failed, {} skipped", self.passed, self.failures.len(), self.skipped);
        text
    }

    pub(crate) fn json(&self) -> String {
        let header = self.header.iter().map(|(name, value)| format!("{}: {}", quote(name), quote(value)));
        let lines = self.lines.iter().map(|Line { row, broker, peer, figures }| {
            let number = |value: f64| if value.is_finite() { format!("{value:.4}") } else { "null".to_owned() };
            let figures = figures.iter().map(|(name, value)| format!("{}: {}", quote(name), number(*value)));
            format!(
                "{{\"row\": {}, \"broker\": {}, \"peer\": {}, \"figures\": {{{}}}}}",
                quote(row),
                quote(broker),
                quote(peer),
                list(figures, ", ")
            )
        });
        let targets = self.targets.iter().map(|Target { row, broker, text, reached }| {
            let [row, broker, text] = [row, broker.as_str(), text].map(quote);
            format!("{{\"row\": {row}, \"broker\": {broker}, \"target\": {text}, \"reached\": {reached}}}")
        });
        format!(
            "{{\n \"header\": {{{}}},\n \"lines\": [\n  {}\n ],\n \"targets\": [\n  {}\n ],\n \"failed\": [{}]\n}}\n",
            list(header, ", "),
            list(lines, ",\n  "),
            list(targets, ",\n  "),
            list(self.failures.iter().map(|failure| quote(failure)), ", ")
        )
    }

    fn rows(&self) -> Vec<&'static str> {
        let mut rows = Vec::new();
        for Line { row, .. } in &self.lines {
            if !rows.contains(row) {
                rows.push(*row);
            }
        }
        rows
    }
}

fn table<'a>(lines: impl Iterator<Item = &'a Line>) -> String {
    let mut cells: Vec<Vec<String>> = Vec::new();
    for Line { broker, peer, figures, .. } in lines {
        if cells.is_empty() {
            let names = figures.iter().map(|(name, _)| name.replace('_', " "));
            cells.push(["broker", "peer"].map(str::to_owned).into_iter().chain(names).collect());
        }
        let values = figures.iter().map(|(_, value)| show(*value));
        cells.push([broker.clone(), peer.clone()].into_iter().chain(values).collect());
    }
    let width = |column: usize| cells.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for line in &cells {
        for (column, cell) in line.iter().enumerate() {
            let width = width(column);
            let _ = if column < 2 { write!(text, "  {cell:<width$}") } else { write!(text, "  {cell:>width$}") };
        }
        text.push('\n');
    }
    text
}

pub(crate) fn show(value: f64) -> String {
    if value.is_nan() {
        "-".to_owned()
    } else if value.fract() == 0.0 || value.abs() >= 1000.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}

fn list(items: impl Iterator<Item = String>, between: &str) -> String {
    items.collect::<Vec<_>>().join(between)
}

fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\0'..=' ' if character != ' ' => drop(write!(quoted, "\\u{:04x}", u32::from(character))),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}
