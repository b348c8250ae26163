//! Results for scripts, as JSON.

use std::io::{self, Write};

use mqtt_acl_policy::{OneLine, RuleView};
use serde_json::{Value, json};

/// Writes a result, and a line break after it.
pub(crate) fn write(out: &mut impl Write, value: &Value) -> io::Result<()> {
    writeln!(out, "{}", tame(&format!("{value:#}")))
}

/// JSON without characters that move a terminal's cursor or hide text, for a person may look at it, too.
pub(crate) fn tame(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        let mut buffer = [0; 4];
        if c == '\n' || OneLine(c.encode_utf8(&mut buffer)).to_string().starts_with(c) {
            text.push(c);
        } else {
            // All that are left are within strings, and within the first plane.
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        }
    }
    text
}

/// A text that a client or a policy chose; where it is not UTF-8 this shows that it is not.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A rule: whose it is, what it says, and where it stands.
pub(crate) fn rule(rule: RuleView<'_>) -> Value {
    let (holder, name) = rule.holder();
    let place = rule.place();
    json!({
        "holder": holder,
        "name": name,
        "key": rule.key(),
        "filter": rule.text(),
        "file": place.file.to_string_lossy(),
        "line": place.line,
        "column": place.column,
    })
}
