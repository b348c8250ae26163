//! Which client ids a user may use, and which users a `[[match]]` means.
//!
//! A session belongs to its client id: whoever connects with the id of another client throws that client off and, with
//! `clean_session false`, inherits its subscriptions and queued messages. So ids are bound to users (S4, S5).

use crate::bytes::same;
use crate::template::{AttributeId, Names, Variable, attribute, is_usable};

/// A pattern of client ids or of user names, as the policy writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// `*` alone: anything but nothing at all.
    Any,
    Text {
        parts: Box<[Part]>,
        /// A `*` at the end: one or more characters, none of them `/`.
        open: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Literal(Box<str>),
    /// `%u`: the user name.
    User,
    /// `%{name}`: an attribute of the user.
    Attribute(AttributeId),
}

impl Pattern {
    /// Reads a pattern of client ids, given what numbers the attributes.
    ///
    /// # Errors
    /// What is wrong with it, as the tail of a problem's text.
    pub(crate) fn client_id(text: &str, number: impl FnMut(&str) -> AttributeId) -> Result<Self, String> {
        let pattern = Self::parse(text, number)?;
        if text == "auto-*" || is_auto_id(text.as_bytes()) {
            return Err("ids of this form are the broker's own, and everybody may have them (leave the pattern out; `auto_id = \
                        false` refuses them)"
                .into());
        }
        if text == HTTP_API {
            return Err(
                "`http-api` is the id of the broker's HTTP listener (write `api = true` to admit its callers)".into()
            );
        }
        Ok(pattern)
    }

    /// Reads a pattern of user names.
    ///
    /// # Errors
    /// What is wrong with it, as the tail of a problem's text.
    pub(crate) fn user_name(text: &str) -> Result<Self, String> {
        let mut has_attribute = false;
        let pattern = Self::parse(text, |_| {
            has_attribute = true;
            AttributeId(0)
        })?;
        if has_attribute {
            return Err("attributes have no meaning in a pattern of user names (write the name, with `*` at its end for any that begin so)".into());
        }
        match pattern {
            pattern if pattern.names_user() => {
                Err("`%u` has no meaning in a pattern of user names (write the name, with `*` at its end for any that begin so)".into())
            }
            pattern => Ok(pattern),
        }
    }

    fn parse(text: &str, mut number: impl FnMut(&str) -> AttributeId) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if text.is_empty() {
            return Err("a pattern must not be empty (write `*` for any)".into());
        }
        if let Some(c) = text.chars().find(|c| c.is_control()) {
            return Err(format!("`{}` is a control character, which no name may hold", c.escape_unicode()));
        }
        let (fixed, open) = match text.strip_suffix('*') {
            Some(fixed) => (fixed, true),
            None => (text, false),
        };
        if fixed.contains('*') {
            return Err("`*` stands only at the end of a pattern".into());
        }
        if fixed.contains("%c") {
            return Err("`%c` has no meaning in a pattern of names (write `%u` for the user name)".into());
        }
        let mut parts = Vec::new();
        let mut rest = fixed;
        while let Some((literal, variable)) = variable_in(rest) {
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.into()));
            }
            let (part, after) = match variable.strip_prefix("%u") {
                Some(after) => (Part::User, after),
                None => {
                    let end = variable.find('}').map_or(variable.len(), |end| end + 1);
                    let (variable, after) = variable.split_at_checked(end).unwrap_or((variable, ""));
                    (Part::Attribute(number(attribute(variable)?)), after)
                }
            };
            parts.push(part);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.into()));
        }
        Ok(Self::Text { parts: parts.into(), open })
    }

    /// `%u-*`.
    pub(crate) fn own_open() -> Self {
        Self::Text { parts: [Part::User, Part::Literal("-".into())].into(), open: true }
    }

    pub(crate) fn names_user(&self) -> bool {
        matches!(self, Self::Text { parts, .. } if parts.contains(&Part::User))
    }

    /// Whether this is `%u`, or, if it is open, `%u-*`: the ids that a user has where nothing names any.
    pub(crate) fn is_own(&self) -> bool {
        let Self::Text { parts, open } = self else { return false };
        match &**parts {
            [Part::User] => !open,
            [Part::User, Part::Literal(text)] => *open && &**text == "-",
            _ => false,
        }
    }

    /// Whether some name may fit both of these patterns of user names.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        match (self.text_for(&Names::NONE), other.text_for(&Names::NONE)) {
            (_, Some((name, false))) => self.fits(name.as_bytes(), &Names::NONE),
            (Some((name, false)), _) => other.fits(name.as_bytes(), &Names::NONE),
            (Some((one, true)), Some((two, true))) => one.starts_with(&two) || two.starts_with(&one),
            _ => true,
        }
    }

    /// Whether this names the ids that it admits: `*` alone does not, and one with a `*` at its end only if that counts.
    pub(crate) fn names(&self, open_counts: bool) -> bool {
        matches!(self, Self::Text { open, .. } if open_counts || !open)
    }

    /// Whether the id is one that this pattern gives whoever has these names.
    pub(crate) fn fits(&self, id: &[u8], names: &Names<'_>) -> bool {
        let Self::Text { parts, open } = self else { return !id.is_empty() };
        let mut rest = id;
        for part in parts {
            match part.text(names).and_then(|wanted| rest.strip_prefix(wanted)) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        if *open { !rest.is_empty() && !rest.contains(&b'/') } else { rest.is_empty() }
    }

    /// The text of a pattern without the user name, so that several users may have the same ids; and whether it is open.
    pub(crate) fn shared_text(&self, names: &Names<'_>) -> Option<(String, bool)> {
        self.text_for(names).filter(|_| !self.names_user())
    }

    /// The text that ids of this pattern begin with or, where it is not open, are; `None` where there is no such text.
    pub(crate) fn text_for(&self, names: &Names<'_>) -> Option<(String, bool)> {
        let Self::Text { parts, open } = self else { return None };
        let mut text = String::new();
        for part in parts {
            text.push_str(&String::from_utf8_lossy(part.text(names)?));
        }
        Some((text, *open))
    }

    /// The attributes that it uses.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = AttributeId> {
        let parts = match self {
            Self::Text { parts, .. } => &**parts,
            Self::Any => &[],
        };
        parts.iter().filter_map(|part| match part {
            Part::Attribute(attribute) => Some(*attribute),
            Part::Literal(_) | Part::User => None,
        })
    }
}

/// What comes before the first variable of a text, and the text from there on.
fn variable_in(text: &str) -> Option<(&str, &str)> {
    let begins = |at: usize| matches!(text.as_bytes().get(at + 1), Some(b'u' | b'{'));
    let (at, _) = text.match_indices('%').find(|(at, _)| begins(*at))?;
    text.split_at_checked(at)
}

impl Part {
    fn text<'a>(&'a self, names: &Names<'a>) -> Option<&'a [u8]> {
        match self {
            Self::Literal(text) => Some(text.as_bytes()),
            Self::User => names.value(Variable::User),
            Self::Attribute(attribute) => names.value(Variable::Attribute(*attribute)),
        }
    }
}

/// What a user may be called without any `client_id`: its own name, and its name, `-` and more.
pub(crate) fn is_own(id: &[u8], user: &[u8]) -> bool {
    begins_with(id, user) && is_usable(user)
}

/// Whether the id is this name, or this name, `-` and more.
#[inline]
pub(crate) fn begins_with(id: &[u8], name: &[u8]) -> bool {
    match id.split_at_checked(name.len()) {
        Some((start, rest)) if same(start, name) => match rest {
            [] => true,
            [b'-', more @ ..] => !more.is_empty() && !more.contains(&b'/'),
            _ => false,
        },
        _ => false,
    }
}

/// Whether these patterns give every user the ids that it has without any.
pub(crate) fn hold_own(patterns: &[Pattern]) -> bool {
    let has = |wanted: &str| Pattern::parse(wanted, |_| AttributeId(0)).is_ok_and(|wanted| patterns.contains(&wanted));
    has("%u") && has("%u-*")
}

/// The id of callers of Mosquitto 2.1's HTTP listener.
pub const HTTP_API: &str = "http-api";

/// What ids begin with that the broker made, before a `-`.
pub(crate) const AUTO: &str = "auto";

/// Whether ids that begin with this name are not only its user's: the HTTP listener's, or the broker's own.
pub(crate) fn is_special(name: &[u8]) -> bool {
    [HTTP_API, "http", AUTO].iter().any(|special| special.as_bytes() == name)
}

/// Whether the broker made this id for a client that sent none: `auto-` and a UUID, and on 2.0, whose SIGHUP forgets the
/// default prefix, the UUID alone. Nobody can guess one, so nobody's session can be taken by it (S4).
pub fn is_auto_id(id: &[u8]) -> bool {
    let uuid = id.strip_prefix(b"auto-").unwrap_or(id);
    uuid.len() == 36
        && uuid.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'A'..=b'F'),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit() {
        let sites: &crate::template::Attributes = &[(AttributeId(0), b"bne"[..].into())];
        let names = Names::new(Some(b"alice"), b"", sites);
        let number = |name: &str| AttributeId(u16::from(name != "site"));
        let fits = |pattern: &str, id: &str| Pattern::client_id(pattern, number).unwrap().fits(id.as_bytes(), &names);
        assert!(fits("%u", "alice"));
        assert!(!fits("%u", "alice2"));
        assert!(fits("%u-*", "alice-1"));
        assert!(!fits("%u-*", "alice-"));
        assert!(!fits("%u-*", "alice-1/2"));
        assert!(!fits("%u-*", "alice2-1"));
        assert!(fits("gw-%u-x", "gw-alice-x"));
        assert!(fits("site/*", "site/a"));
        assert!(!fits("site/*", "site/a/b"));
        assert!(fits("*", "a/b"));
        assert!(fits("x-%{site}-%u*", "x-bne-alice1"));
        assert!(fits("%{site}%{site}", "bnebne"));
        assert!(!fits("%{site}", "syd"));
        assert!(!fits("%{tenant}", ""), "an attribute that is missing");
        for user in ["", "a/b", "+", "#", "$x", "a\u{1}"] {
            let id = user.as_bytes();
            let names = Names::new(Some(id), id, &[]);
            assert!(!Pattern::client_id("%u", number).unwrap().fits(id, &names), "{user:?}");
            assert!(!is_own(id, id), "{user:?}");
        }
        assert!(is_own(b"alice", b"alice") && is_own(b"alice-1", b"alice"));
        assert!(!is_own(b"alice-", b"alice") && !is_own(b"alice2", b"alice") && !is_own(b"alice-a/b", b"alice"));
    }

    #[test]
    fn bad_patterns_say_why() {
        for (text, part) in [
            ("a-%{x", "`%{x` names no attribute"),
            ("%{a b}", "names no attribute"),
            ("", "empty"),
            ("a*b", "only at the end"),
            ("%c", "`%c`"),
            ("a\n", "control"),
            ("http-api", "api = true"),
        ] {
            assert!(Pattern::client_id(text, |_| AttributeId(0)).unwrap_err().contains(part), "{text}");
        }
        assert!(Pattern::user_name("%u").is_err());
        assert!(Pattern::user_name("%{site}").is_err());
    }

    #[test]
    fn auto_ids_have_the_form_of_a_uuid() {
        assert!(is_auto_id(b"auto-0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0"));
        assert!(is_auto_id(b"0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0"));
        for bad in [
            "auto-",
            "auto-x",
            "auto-0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F",
            "auto-0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1FG",
            "auto-0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
            "AUTO-0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0",
        ] {
            assert!(!is_auto_id(bad.as_bytes()), "{bad}");
        }
    }
}
