//! What is found, where, and what to do about it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use mqtt_acl_policy::{OneLine, Problem, Severity as Weight};
use serde_json::{Value, json};

/// A line of a file; 0 where the whole file is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: Arc<Path>,
    pub(super) line: u32,
}

impl Place {
    pub(super) fn whole(path: &Path) -> Self {
        Self { file: Arc::from(path), line: 0 }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// Somebody gets in or gets more than the policy says, or the broker does not start, or admits nobody.
    Error,
    /// Somebody should look.
    Warning,
    /// How it is.
    Note,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// A name that stays the same, for scripts.
    pub(super) code: &'static str,
    pub(super) place: Option<Place>,
    /// What it is, and in brackets what to do.
    pub(super) text: String,
}

impl Finding {
    pub(super) fn error(code: &'static str, place: &Place, text: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, place: Some(place.clone()), text: text.into() }
    }

    pub(super) fn warning(code: &'static str, place: &Place, text: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, code, place: Some(place.clone()), text: text.into() }
    }

    pub(super) fn note(code: &'static str, place: Option<&Place>, text: impl Into<String>) -> Self {
        Self { severity: Severity::Note, code, place: place.cloned(), text: text.into() }
    }

    /// A problem of the policy, with its own place.
    pub(super) fn of_policy(problem: &Problem) -> Self {
        let severity = match problem.severity {
            Weight::Error => Severity::Error,
            Weight::Warning => Severity::Warning,
        };
        let place = Place { file: Arc::clone(&problem.place.file), line: problem.place.line };
        Self { severity, code: "policy", place: Some(place), text: problem.text.clone() }
    }

    pub(super) fn json(&self) -> Value {
        let file = self.place.as_ref().map(|place| place.file.to_string_lossy());
        let line = self.place.as_ref().map(|place| place.line).filter(|line| *line > 0);
        json!({ "severity": self.severity.name(), "code": self.code, "file": file, "line": line, "text": self.text })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { file, line }) = &self.place {
            write!(f, "{}", OneLine(&file.to_string_lossy()))?;
            if *line > 0 {
                write!(f, ":{line}")?;
            }
            f.write_str(": ")?;
        }
        write!(f, "{}: {}", self.severity.name(), self.text)
    }
}
