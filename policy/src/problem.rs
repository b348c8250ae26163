//! What is wrong with a policy, told to the person who wrote it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A place in a policy file. Lines and columns count from one; a column is a character, not a byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as the policy names it.
    pub file: Arc<Path>,
    /// The line, or 0 where the whole file is meant.
    pub line: u32,
    /// The column, or 0 where the whole file is meant.
    pub column: u32,
}

impl Place {
    /// The file as a whole.
    pub fn whole(file: &Arc<Path>) -> Self {
        Self { file: Arc::clone(file), line: 0, column: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", OneLine(&self.file.to_string_lossy()))?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        Ok(())
    }
}

/// Whether a problem keeps the policy from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The policy is not used.
    Error,
    /// The policy is used; somebody should look.
    Warning,
}

/// One problem: where it is, what it is, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// How bad it is.
    pub severity: Severity,
    /// What it is: lowercase, one line, the offending text in backticks, the remedy in brackets.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        write!(f, "{}: {kind}{}", self.place, self.text)
    }
}

/// How many problems of a load are kept; a file of the wrong kind would otherwise fill the log.
const KEPT: usize = 100;

/// The problems found so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Problems {
    kept: Vec<Problem>,
    errors: usize,
    left_out: usize,
}

impl Problems {
    pub(crate) fn error(&mut self, place: Place, text: impl Into<String>) {
        self.errors += 1;
        self.push(Problem { place, severity: Severity::Error, text: text.into() });
    }

    pub(crate) fn warning(&mut self, place: Place, text: impl Into<String>) {
        self.push(Problem { place, severity: Severity::Warning, text: text.into() });
    }

    /// The known name that was probably meant, if one is near. Looking is dear, so it is not done for what is not shown
    /// and not for what is far too long.
    pub(crate) fn nearest<'k>(&self, name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
        if self.kept.len() >= KEPT {
            return None;
        }
        let distance = |known: &str| if known.len() < 3 { 0 } else { 1 + known.len() / 4 };
        known
            .filter(|known| known.len() <= LONGEST_SHOWN && known.len().abs_diff(name.len()) <= distance(known))
            .map(|known| (strsim::damerau_levenshtein(name, known), known))
            .filter(|(changes, known)| *changes <= distance(known))
            .min()
            .map(|(_, known)| known)
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// How many errors there are so far.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// All that was kept, in the order of the files' text.
    pub(crate) fn into_sorted(mut self) -> Vec<Problem> {
        self.kept.sort_by(|a, b| a.place.cmp(&b.place));
        if self.left_out > 0 {
            if let Some(last) = self.kept.last() {
                let place = Place::whole(&last.place.file);
                let severity = if self.errors > 0 { Severity::Error } else { Severity::Warning };
                let text = format!("and {} more problems", self.left_out);
                self.kept.push(Problem { place, severity, text });
            }
        }
        self.kept
    }

    fn push(&mut self, problem: Problem) {
        if self.kept.len() < KEPT {
            self.kept.push(problem);
            return;
        }
        self.left_out += 1;
        // An error must not be hidden by the warnings before it.
        if problem.severity == Severity::Error {
            if let Some(warning) = self.kept.iter_mut().find(|p| p.severity == Severity::Warning) {
                *warning = problem;
            }
        }
    }
}

/// Text of a client or a file as a person may read it: quoted by the caller, escaped here, cut at 64 bytes.
///
/// Nothing that it prints can end a line, forge a field of a log line or move a terminal's cursor.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..LONGEST_SHOWN).unwrap_or(self.0);
        for chunk in shown.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() || matches!(c, '"' | '\\' | '`') || is_invisible(c) {
                    write!(f, "{}", c.escape_unicode())?;
                } else {
                    write!(f, "{c}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        if shown.len() < self.0.len() { f.write_str("...") } else { Ok(()) }
    }
}

/// How many bytes of a text are shown.
const LONGEST_SHOWN: usize = 64;

/// Text for people, whole, with the same promise: it stays one line and moves no cursor.
#[derive(Clone, Copy, Debug)]
pub struct OneLine<'a>(pub &'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() || is_invisible(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

/// Characters that change how the text around them is shown: separators of lines, and of writing directions.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_could_forge_a_line() {
        assert_eq!(Escaped(b"dev\n\"x\xff").to_string(), "dev\\u{a}\\u{22}x\\xff");
        assert_eq!(Escaped("caf\u{e9}".as_bytes()).to_string(), "caf\u{e9}");
        assert_eq!(Escaped(&[b'a'; 100]).to_string(), format!("{}...", "a".repeat(64)));
    }

    #[test]
    fn a_file_name_stays_on_its_line() {
        let file: Arc<Path> = Arc::from(Path::new("a\nb\u{1b}[2J\u{202e}/c d.toml"));
        assert_eq!(Place::whole(&file).to_string(), "a\\u{a}b\\u{1b}[2J\\u{202e}/c d.toml");
    }

    #[test]
    fn an_error_is_not_hidden_by_warnings() {
        let mut problems = Problems::default();
        let file: Arc<Path> = Arc::from(Path::new("p"));
        for _ in 0..KEPT {
            problems.warning(Place::whole(&file), "w");
        }
        problems.error(Place::whole(&file), "e");
        assert!(problems.into_sorted().iter().any(|p| p.text == "e"));
    }
}
