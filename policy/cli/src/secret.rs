//! A secret, from a terminal or from a pipe, and none of it left behind: it is shown nowhere, and what is held of it
//! here is wiped.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::exit::Error;
use crate::text::complain;

pub(crate) type Secret = Zeroizing<Vec<u8>>;

/// The longest password that MQTT carries, in bytes.
const LONGEST: usize = 65_535;

/// The longest line that Linux's terminals hold, without its end; they drop the rest.
const LONGEST_LINE: usize = 4094;

/// Reads a secret: asked for twice on a terminal, from standard input otherwise.
pub(crate) fn read() -> Result<Secret, Error> {
    // Past std's buffer, which nobody wipes.
    let input = io::stdin().as_fd().try_clone_to_owned().map_err(unreadable)?;
    let input = File::from(input);
    let secret = if input.is_terminal() { asked_twice(&input)? } else { whole(&input)? };
    if secret.iter().any(u8::is_ascii_control) {
        complain("mqtt-acl: warning: the secret holds a control character, such as a tab or the end of a Windows line");
    }
    Ok(secret)
}

fn whole(mut input: impl Read) -> Result<Secret, Error> {
    // Room for a line break, and for one byte too many.
    let mut secret = Zeroizing::new(vec![0; LONGEST + 2]);
    let mut filled = 0;
    while let Some(rest) = secret.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    secret.truncate(filled);
    usable(secret)
}

fn asked_twice(terminal: &File) -> Result<Secret, Error> {
    let terminal = Hidden::new(terminal)?;
    let first = terminal.ask("Secret: ")?;
    let second = terminal.ask("The same again: ")?;
    if first != second {
        return Err(Error::Secret("the two secrets differ (start again)".into()));
    }
    Ok(first)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden<'t> {
    terminal: &'t File,
    before: Termios,
    interrupt: u8,
}

impl<'t> Hidden<'t> {
    fn new(terminal: &'t File) -> Result<Self, Error> {
        let before = tcgetattr(terminal).map_err(unreadable)?;
        let interrupt = before.special_codes[SpecialCodeIndex::VINTR];
        let mut hidden = before.clone();
        // Ctrl-C ends the line instead of the process, or the shell would be left with a terminal that shows nothing.
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        hidden.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON);
        hidden.special_codes[SpecialCodeIndex::VEOL] = interrupt;
        tcsetattr(terminal, OptionalActions::Flush, &hidden).map_err(unreadable)?;
        Ok(Self { terminal, before, interrupt })
    }

    fn ask(&self, prompt: &str) -> Result<Secret, Error> {
        let _ = write!(io::stderr(), "{prompt}");
        let mut line = Zeroizing::new(vec![0; LONGEST_LINE + 2]);
        let mut filled = 0;
        let mut terminal = self.terminal;
        while let Some(rest) = line.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let read = terminal.read(rest).map_err(unreadable)?;
            filled += read;
            let last = line.get(..filled).and_then(<[u8]>::last);
            if read == 0 || last == Some(&b'\n') {
                break;
            }
            // 0 means that no key interrupts.
            if self.interrupt != 0 && last == Some(&self.interrupt) {
                let _ = writeln!(io::stderr());
                return Err(Error::Interrupted);
            }
        }
        line.truncate(filled);
        if line.last() != Some(&b'\n') {
            let _ = writeln!(io::stderr());
        }
        if line.len() > LONGEST_LINE + 1 {
            return Err(Error::Secret(format!(
                "a terminal takes no line of more than {LONGEST_LINE} bytes (write the secret to standard input)"
            )));
        }
        usable(line)
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// Takes off the line break at the end, and refuses what no client could log in with.
fn usable(mut secret: Secret) -> Result<Secret, Error> {
    if secret.last() == Some(&b'\n') {
        secret.pop();
    }
    let problem = if secret.is_empty() {
        "the secret is empty (write it to standard input)".into()
    } else if secret.contains(&0) {
        "the secret holds a NUL byte, where brokers cut a password (choose another)".into()
    } else if secret.len() > LONGEST {
        format!("the secret is longer than {LONGEST} bytes, which MQTT cannot carry (choose a shorter one)")
    } else {
        return Ok(secret);
    };
    Err(Error::Secret(problem))
}

fn unreadable(error: impl Into<io::Error>) -> Error {
    Error::Secret(format!("the secret cannot be read: {}", error.into()))
}
