//! The filters of rules: topic filters in which `%u` and `%c` stand for the client's own names, and `%{name}` for an
//! attribute of the user.

use crate::problem::Escaped;
use crate::topic;

/// One level of a rule's filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level<'a> {
    Literal(&'a str),
    Plus,
    Rest,
    /// `%u`: the user name.
    User,
    /// `%c`: the client id.
    Client,
    /// `%{name}`: the user's attribute of this name.
    Attribute(&'a str),
}

/// What a level of a rule stands for, which is the client's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    User,
    Client,
    Attribute(AttributeId),
}

/// The number of an attribute, of those that the rules of a policy use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AttributeId(pub(crate) u16);

impl AttributeId {
    /// So many attributes are enough for anybody, and each costs.
    pub(crate) const MOST: u16 = 256;
}

/// The filter of a rule, split into its levels.
#[derive(Clone, Debug)]
pub(crate) struct Template<'a> {
    pub(crate) levels: Vec<Level<'a>>,
}

impl<'a> Template<'a> {
    /// Reads the filter of a rule.
    ///
    /// # Errors
    /// What is wrong with it and what to write instead, as the tail of a problem's text.
    pub(crate) fn parse(text: &'a str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a topic filter must not be empty (write `#` for every topic)".into());
        }
        if text.len() > topic::LONGEST {
            return Err(format!("a topic filter has at most {} bytes", topic::LONGEST));
        }
        if text.bytes().filter(|b| *b == b'/').count() > topic::MOST_SEPARATORS {
            return Err(format!("a topic filter has at most {} `/`: brokers refuse more", topic::MOST_SEPARATORS));
        }
        if let Some(c) = text.chars().find(|c| c.is_control()) {
            return Err(format!("`{}` is a control character, which a topic must not hold", c.escape_unicode()));
        }
        if text.starts_with("$share") {
            return Err("`$share/<group>/` is not part of a rule: every rule also covers shared subscriptions \
                        (write the filter without it; `share = [\"group\"]` limits the groups)"
                .into());
        }
        let levels = text.split('/').map(level).collect::<Result<Vec<_>, _>>()?;
        match levels.iter().position(|level| *level == Level::Rest) {
            Some(at) if at + 1 < levels.len() => Err("`#` must be the last level (write `+` for one level)".into()),
            _ => Ok(Self { levels }),
        }
    }

    pub(crate) fn names_user(&self) -> bool {
        self.levels.contains(&Level::User)
    }

    pub(crate) fn names_client(&self) -> bool {
        self.levels.contains(&Level::Client)
    }

    /// The names of the attributes that it uses.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = &'a str> {
        self.levels.iter().filter_map(|level| match level {
            Level::Attribute(name) => Some(*name),
            _ => None,
        })
    }
}

/// Reads one level of a rule's filter.
///
/// # Errors
/// As [`Template::parse`].
pub(crate) fn level(text: &str) -> Result<Level<'_>, String> {
    if text.starts_with("%{") && text.find('}').is_none_or(|end| end + 1 == text.len()) {
        return attribute(text).map(Level::Attribute);
    }
    match text {
        "+" => Ok(Level::Plus),
        "#" => Ok(Level::Rest),
        "%u" => Ok(Level::User),
        "%c" => Ok(Level::Client),
        _ if text.contains(['+', '#']) => Err(format!(
            "a wildcard must be a whole level, not part of `{text}` (write `+` between slashes, or `#` at the end)"
        )),
        _ if ["%u", "%c", "%{"].iter().any(|template| text.contains(template)) => Err(format!(
            "`%u`, `%c` and `%{{name}}` must be whole levels, not part of `{text}` (write them between slashes)"
        )),
        _ => match unknown_template(text) {
            Some(unknown) => Err(format!(
                "`{unknown}` is no template (write `%u` for the user name, `%c` for the client id, `%{{name}}` for an \
                     attribute)"
            )),
            None => Ok(Level::Literal(text)),
        },
    }
}

/// The name of the attribute that `%{name}` stands for.
///
/// # Errors
/// What is wrong with it, as the tail of a problem's text.
pub(crate) fn attribute(text: &str) -> Result<&str, String> {
    let name = text.strip_prefix("%{").and_then(|text| text.strip_suffix('}'));
    name.filter(|name| is_attribute(name)).ok_or_else(|| {
        format!(
            "`{}` names no attribute (write `%{{name}}`, of letters, digits, `-` and `_`)",
            Escaped(text.as_bytes())
        )
    })
}

/// Whether an attribute may have this name.
pub(crate) fn is_attribute(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// A `%` that reads like a template and is none; `100%` and `5%2` are ordinary text.
fn unknown_template(text: &str) -> Option<&str> {
    let start = text
        .char_indices()
        .zip(text.chars().skip(1))
        .find_map(|((at, c), next)| (c == '%' && next.is_ascii_alphabetic()).then_some(at))?;
    let rest = text.get(start..)?;
    let end = 1 + rest.chars().skip(1).take_while(char::is_ascii_alphanumeric).count();
    rest.get(..end)
}

/// Whether a name may stand for a level: one that is empty, begins with `$`, or holds `+`, `#`, `/` or a control
/// character matches no template (S12; CVE-2017-7650 is what happens otherwise).
pub(crate) fn is_usable(name: &[u8]) -> bool {
    !name.is_empty()
        && name.first() != Some(&b'$')
        && !name.iter().any(|b| matches!(b, b'+' | b'#' | b'/' | 0..=0x1f | 0x7f))
        && !name.windows(2).any(|pair| matches!(pair, [0xc2, 0x80..=0x9f]))
}

/// The values of a user's attributes, those that rules use.
pub(crate) type Attributes = [(AttributeId, Box<[u8]>)];

/// The names that a client brings along, which variables stand for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    user: Option<&'a [u8]>,
    client: &'a [u8],
    attributes: &'a Attributes,
}

impl<'a> Names<'a> {
    /// Nobody's.
    pub(crate) const NONE: Self = Self { user: None, client: b"", attributes: &[] };

    /// The attributes are the policy's own, and so were found usable when it was read.
    pub(crate) fn new(user: Option<&'a [u8]>, client: &'a [u8], attributes: &'a Attributes) -> Self {
        Self::usable(user.filter(|name| is_usable(name)), client, attributes)
    }

    /// For a user name that is known to be usable.
    #[inline]
    pub(crate) fn usable(user: Option<&'a [u8]>, client: &'a [u8], attributes: &'a Attributes) -> Self {
        Self { user, client, attributes }
    }

    /// The level that a variable stands for, if it stands for any.
    #[inline]
    pub(crate) fn value(&self, variable: Variable) -> Option<&'a [u8]> {
        match variable {
            Variable::User => self.user,
            Variable::Client => Some(self.client).filter(|name| is_usable(name)),
            Variable::Attribute(wanted) => {
                self.attributes.iter().find(|(attribute, _)| *attribute == wanted).map(|(_, value)| &**value)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_levels() {
        let template = Template::parse("dt/+/%u/%c//#").unwrap();
        assert_eq!(
            template.levels,
            [Level::Literal("dt"), Level::Plus, Level::User, Level::Client, Level::Literal(""), Level::Rest]
        );
        assert!(template.names_client());
        assert_eq!(Template::parse("%{site}").unwrap().levels, [Level::Attribute("site")]);
        assert!(Template::parse("a/100%/5%2").is_ok());
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, part) in [
            ("", "must not be empty"),
            ("a/#/b", "`#` must be the last level"),
            ("a/b+", "part of `b+`"),
            ("a/x-%u", "part of `x-%u`"),
            ("a/%U", "`%U` is no template"),
            ("a/%{si te}/b", "`%{si te}` names no attribute"),
            ("a/%{}", "`%{}` names no attribute"),
            ("a/x-%{site}", "part of `x-%{site}`"),
            ("a/%{site", "`%{site` names no attribute"),
            ("a/%{site}x", "part of `%{site}x`"),
            ("a/%name", "`%name` is no template"),
            ("$share/g/a", "`$share/<group>/` is not part of a rule"),
            ("a\u{7}", "control character"),
        ] {
            let problem = Template::parse(text).unwrap_err();
            assert!(problem.contains(part), "{text}: {problem}");
        }
        assert!(Template::parse(&"/".repeat(201)).is_err());
        assert!(Template::parse(&"a".repeat(65_536)).is_err());
    }

    #[test]
    fn unusable_names_fit_nothing() {
        for name in ["", "$SYS", "a/b", "+", "#", "a+", "a\u{1}", "a\u{85}", "\u{7f}"] {
            assert!(!is_usable(name.as_bytes()), "{name:?}");
        }
        for name in ["dev", "caf\u{e9}", "%u", "a b", "\u{c2}"] {
            assert!(is_usable(name.as_bytes()), "{name:?}");
        }
    }
}
