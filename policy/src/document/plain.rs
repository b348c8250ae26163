//! Tables of users in the shape that nearly all of them have, read without a detour.
//!
//! While `toml` reads a file, each user takes thousands of bytes and several microseconds, which a million of them cannot be
//! given. So what is written plainly, `[users.NAME]` and lines of `key = value` below it, is taken out of the text first, and
//! only the rest is TOML's. Nothing is ever found wrong here: whatever this does not know for certain to be right, it leaves.
//!
//! Tables may be taken out because the header of each says in full where it belongs. Whether a table says something twice, in
//! both parts or in one, is for the caller to see: it takes such users out of here, and TOML tells.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use smallvec::SmallVec;
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

use super::{Located, RuleTable, Text};
use crate::bytes::position;
use crate::problem::Place;
use crate::topic;
use crate::users::Spot;

/// A table `[users.NAME]`.
#[derive(Debug, Default)]
pub(super) struct Table<'t> {
    pub(super) name: &'t str,
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) roles: SmallVec<[(&'t str, Spot); 8]>,
    pub(super) password: Option<(&'t str, Spot)>,
    pub(super) disabled: bool,
    pub(super) only_secrets: bool,
    pub(super) rules: Option<Box<RuleTable>>,
}

/// The users whose tables are left to TOML, however plain they are.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) all: bool,
    pub(super) names: HashSet<String>,
}

/// A text without some of its tables.
pub(super) struct Rest<'t> {
    pub(super) text: Cow<'t, str>,
    /// Where its lines begin, and their numbers in the whole text.
    pub(super) lines: Vec<(usize, u32)>,
}

/// Takes the plain tables out of a text, one after the other, and returns the rest.
pub(super) fn split<'t>(text: &'t str, file: &Arc<Path>, left: &Left, mut take: impl FnMut(Table<'t>)) -> Rest<'t> {
    if left.all {
        return Rest::of(text, &[(0..text.len(), 1)]);
    }
    let mut scanner = Scanner { text, file, at: 0, line: 1, line_start: 0 };
    let mut rest: Vec<(Range<usize>, u32)> = Vec::new();
    while scanner.at < text.len() {
        let before = (scanner.at, scanner.line);
        if let Some(table) = scanner.table().filter(|table| !left.names.contains(table.name)) {
            take(table);
            continue;
        }
        (scanner.at, scanner.line) = before;
        scanner.skip();
        match rest.last_mut().filter(|(range, _)| range.end == before.0) {
            Some((range, _)) => range.end = scanner.at,
            None => rest.push((before.0..scanner.at, before.1)),
        }
    }
    Rest::of(text, &rest)
}

impl<'t> Rest<'t> {
    /// These parts of the text, each of which begins with a line of this number.
    fn of(text: &'t str, parts: &[(Range<usize>, u32)]) -> Self {
        let pieces = parts.iter().filter_map(|(range, _)| text.get(range.clone()));
        let text = match parts {
            [(range, _)] => Cow::Borrowed(text.get(range.clone()).unwrap_or_default()),
            _ => Cow::Owned(pieces.clone().collect()),
        };
        let mut lines = Vec::new();
        let mut start = 0;
        for (piece, (_, line)) in pieces.zip(parts) {
            let breaks = piece.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
            let starts = std::iter::once(start).chain(breaks.map(|(at, _)| start + at + 1));
            lines.extend(starts.zip(*line..));
            start += piece.len();
        }
        Self { text, lines }
    }
}

/// What every header of a plain table begins with.
const HEADER: &str = "[users.";

struct Scanner<'s, 't> {
    text: &'t str,
    file: &'s Arc<Path>,
    at: usize,
    line: u32,
    line_start: usize,
}

impl<'t> Scanner<'_, 't> {
    /// Reads a plain table, if there is one, and goes to the line after it.
    fn table(&mut self) -> Option<Table<'t>> {
        self.line_start = self.at;
        self.word(HEADER)?;
        let column = self.column();
        let name = match self.peek() {
            Some(b'"' | b'\'') => self.string()?,
            _ => self.run(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))?,
        };
        if name.len() > topic::LONGEST {
            return None;
        }
        self.byte(b']')?;
        self.end_of_line()?;
        let mut table = Table { name, line: self.line, column, only_secrets: true, ..Table::default() };
        let mut seen = SmallVec::<[&str; 8]>::new();
        loop {
            self.new_line();
            self.blanks();
            match self.peek() {
                None => break,
                Some(b'[') => {
                    self.at = self.line_start;
                    break;
                }
                Some(b'\n' | b'\r' | b'#') => {}
                Some(_) => {
                    let key = self.run(|byte| byte.is_ascii_lowercase() || byte == b'_')?;
                    if seen.contains(&key) {
                        return None;
                    }
                    seen.push(key);
                    self.blanks();
                    self.byte(b'=')?;
                    self.blanks();
                    self.value(key, &mut table)?;
                }
            }
            self.end_of_line()?;
        }
        Some(table)
    }

    fn value(&mut self, key: &str, table: &mut Table<'t>) -> Option<()> {
        let first_line = table.line;
        match key {
            "password" => {
                let spot = self.spot(first_line);
                table.password = Some((self.string()?, spot));
                return Some(());
            }
            "disabled" => {
                table.disabled = self.flag()?;
                return Some(());
            }
            _ => table.only_secrets = false,
        }
        if key == "roles" {
            return self.list(|scanner| {
                let spot = scanner.spot(first_line);
                table.roles.push((scanner.string()?, spot));
                Some(())
            });
        }
        let rules = table.rules.get_or_insert_default();
        match key {
            "publish" => rules.publish = self.texts()?,
            "subscribe" => rules.subscribe = self.texts()?,
            "receive" => rules.receive = self.texts()?,
            "share" => rules.share = Some(self.texts()?),
            "client_id" => {
                let place = self.place();
                rules.client_id = Some(Located { value: self.texts()?, place });
            }
            "overlap" => rules.overlap = self.flag()?,
            "api" => rules.api = self.flag()?,
            "auto_id" => rules.auto_id = Some(self.flag()?),
            _ => return None,
        }
        Some(())
    }

    fn texts(&mut self) -> Option<Vec<Text>> {
        let mut texts = Vec::new();
        self.list(|scanner| {
            let place = scanner.place();
            texts.push(Located { value: scanner.string()?.to_owned(), place });
            Some(())
        })?;
        // Very many users may have a rule or two, and all are kept until the last file is read.
        texts.shrink_to_fit();
        Some(texts)
    }

    /// A list, perhaps over several lines.
    fn list(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.byte(b'[')?;
        loop {
            self.blank_lines();
            if self.byte(b']').is_some() {
                return Some(());
            }
            item(self)?;
            self.blank_lines();
            if self.byte(b',').is_none() {
                return self.byte(b']');
            }
        }
    }

    /// A string without escapes, on one line.
    fn string(&mut self) -> Option<&'t str> {
        let quote = self.peek()?;
        if !matches!(quote, b'"' | b'\'') {
            return None;
        }
        self.at += 1;
        let rest = self.rest();
        let escape = if quote == b'"' { b'\\' } else { quote };
        let ends = |byte| (byte == quote) | (byte < b' ') | (byte == 0x7f) | (byte == escape);
        let text = rest.get(..position(rest.as_bytes(), ends)?)?;
        self.at += text.len();
        self.byte(quote)?;
        // Three quotes begin a string that may go on over lines.
        if text.is_empty() && self.peek() == Some(quote) { None } else { Some(text) }
    }

    fn flag(&mut self) -> Option<bool> {
        self.word("true").map(|()| true).or_else(|| self.word("false").map(|()| false))
    }

    /// Blanks and perhaps a comment, up to where the line ends.
    fn end_of_line(&mut self) -> Option<()> {
        self.blanks();
        if self.peek() == Some(b'#') {
            let comment = self.rest();
            let comment = comment.get(..comment.find('\n').unwrap_or(comment.len()))?;
            let comment = comment.strip_suffix('\r').unwrap_or(comment);
            if comment.bytes().any(|byte| (byte < b' ' && byte != b'\t') || byte == 0x7f) {
                return None;
            }
            self.at += comment.len();
        }
        match self.rest().as_bytes() {
            [] | [b'\n', ..] => Some(()),
            [b'\r', b'\n', ..] => {
                self.at += 1;
                Some(())
            }
            _ => None,
        }
    }

    /// Goes on to the next line, if this one ends here and there is one.
    fn new_line(&mut self) {
        if self.byte(b'\n').is_some() {
            self.line += 1;
            self.line_start = self.at;
        }
    }

    fn blank_lines(&mut self) {
        loop {
            self.blanks();
            if self.rest().starts_with("\r\n") {
                self.at += 1;
            }
            if self.peek() != Some(b'\n') {
                return;
            }
            self.new_line();
        }
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.rest().starts_with(word).then(|| self.at += word.len())
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        (self.peek() == Some(byte)).then(|| self.at += 1)
    }

    /// At least one such byte, none of which is more than ASCII.
    fn run(&mut self, is_one: impl Fn(u8) -> bool) -> Option<&'t str> {
        let rest = self.rest();
        let length = rest.bytes().position(|byte| !is_one(byte)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).filter(|run| !run.is_empty())
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn column(&self) -> u32 {
        let before = self.text.get(self.line_start..self.at).unwrap_or_default();
        u32::try_from(before.chars().count() + 1).unwrap_or(u32::MAX)
    }

    fn spot(&self, first_line: u32) -> Spot {
        Spot { down: self.line.wrapping_sub(first_line), column: self.column() }
    }

    fn place(&self) -> Place {
        Place { file: Arc::clone(self.file), line: self.line, column: self.column() }
    }

    /// Goes to the next line that may begin a plain table, at the least to the next one.
    ///
    /// Certain is only a line that TOML's own lexer sees outside of all strings and brackets. Where brackets do not fit each
    /// other, nothing after them is.
    fn skip(&mut self) {
        let start = self.at;
        let text = self.rest();
        let mut open = SmallVec::<[TokenKind; 8]>::new();
        let (mut is_line_start, mut is_header) = (true, false);
        self.at = self.text.len();
        for token in Source::new(text).lex() {
            let kind = token.kind();
            match kind {
                TokenKind::Newline => {
                    // A header ends with its line, whether or not it is closed.
                    if is_header {
                        open.clear();
                    }
                    (is_line_start, is_header) = (true, false);
                    let (line, after) = text.split_at_checked(token.span().end()).unwrap_or_default();
                    if open.is_empty() && line.ends_with('\n') && after.starts_with(HEADER) {
                        self.at = start + line.len();
                        break;
                    }
                    continue;
                }
                TokenKind::Whitespace => continue,
                TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => {
                    is_header |= is_line_start && open.is_empty();
                    open.push(kind);
                }
                TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket if !is_header => {
                    let fits = match open.pop() {
                        Some(TokenKind::LeftSquareBracket) => kind == TokenKind::RightSquareBracket,
                        Some(_) => kind == TokenKind::RightCurlyBracket,
                        None => true,
                    };
                    if !fits {
                        break;
                    }
                }
                _ => {}
            }
            is_line_start = false;
        }
        let skipped = self.text.get(start..self.at).unwrap_or_default();
        self.line += u32::try_from(skipped.bytes().filter(|byte| *byte == b'\n').count()).unwrap_or(u32::MAX);
    }
}
