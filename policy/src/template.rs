//! The filters of rules: topic filters in which `%u` and `%c` stand for the client's own names.

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
}

/// Whether a rule of a policy may say this.
///
/// # Errors
/// What is wrong with it and what to write instead, as the tail of a problem's text.
pub fn is_rule(filter: &str) -> Result<(), String> {
    Template::parse(filter).map(|_| ())
}

fn level(text: &str) -> Result<Level<'_>, String> {
    match text {
        "+" => Ok(Level::Plus),
        "#" => Ok(Level::Rest),
        "%u" => Ok(Level::User),
        "%c" => Ok(Level::Client),
        _ if text.contains(['+', '#']) => Err(format!(
            "a wildcard must be a whole level, not part of `{text}` (write `+` between slashes, or `#` at the end)"
        )),
        _ if text.contains("%u") || text.contains("%c") => {
            Err(format!("`%u` and `%c` must be whole levels, not part of `{text}` (write them between slashes)"))
        }
        _ => match unknown_template(text) {
            Some(unknown) => {
                Err(format!("`{unknown}` is no template (write `%u` for the user name, `%c` for the client id)"))
            }
            None => Ok(Level::Literal(text)),
        },
    }
}

/// A `%` that reads like a template and is none; `100%` and `5%2` are ordinary text.
fn unknown_template(text: &str) -> Option<&str> {
    let start = text
        .char_indices()
        .zip(text.chars().skip(1))
        .find_map(|((at, c), next)| (c == '%' && (next.is_ascii_alphabetic() || next == '{')).then_some(at))?;
    let rest = text.get(start..)?;
    let end = match rest.find('}') {
        Some(close) if rest.starts_with("%{") => close + 1,
        _ => 1 + rest.chars().skip(1).take_while(char::is_ascii_alphanumeric).count(),
    };
    rest.get(..end)
}

/// Whether a name may stand for a level: one that is empty, begins with `$`, or holds `+`, `#`, `/` or a control
/// character matches no template (S12; CVE-2017-7650 is what happens otherwise).
pub fn is_usable(name: &[u8]) -> bool {
    !name.is_empty()
        && name.first() != Some(&b'$')
        && !name.iter().any(|b| matches!(b, b'+' | b'#' | b'/' | 0..=0x1f | 0x7f))
        && !name.windows(2).any(|pair| matches!(pair, [0xc2, 0x80..=0x9f]))
}

/// The names that a client brings along, which `%u` and `%c` stand for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    /// The user name, if `%u` can stand for it.
    pub(crate) user: Option<&'a [u8]>,
    /// The client id, whatever it holds.
    pub(crate) client: &'a [u8],
}

impl<'a> Names<'a> {
    pub(crate) fn new(user: Option<&'a [u8]>, client: &'a [u8]) -> Self {
        Self { user: user.filter(|name| is_usable(name)), client }
    }

    /// Whether `%u` fits this level.
    pub(crate) fn user_is(&self, level: &[u8]) -> bool {
        self.user == Some(level)
    }

    /// Whether `%c` fits this level.
    pub(crate) fn client_is(&self, level: &[u8]) -> bool {
        self.client == level && is_usable(level)
    }

    /// The level that `%u` stands for.
    pub(crate) fn user_level(&self) -> Option<&'a [u8]> {
        self.user
    }

    /// The level that `%c` stands for.
    pub(crate) fn client_level(&self) -> Option<&'a [u8]> {
        Some(self.client).filter(|name| is_usable(name))
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
            ("a/%{site}/b", "`%{site}` is no template"),
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
