//! The one line of mosquitto.conf that has to be known: whether the broker takes anonymous clients.
//!
//! Where it does not, and the policy does, 2.0 drops their sessions at SIGHUP by itself, without asking any plugin, and
//! frees offline ones twice. No function of the broker tells, so its configuration is read.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Whether the configuration of the broker that runs in this process says `allow_anonymous true` for any of its
/// listeners; `None` where it cannot be read.
pub(crate) fn allows_anonymous() -> Option<bool> {
    let command_line = fs::read("/proc/self/cmdline").ok()?;
    says_allow_anonymous(&configuration_file(&command_line)?, 0)
}

/// The argument of `-c` or `--config-file`.
fn configuration_file(command_line: &[u8]) -> Option<PathBuf> {
    let mut arguments = command_line.split(|b| *b == 0);
    arguments.find(|argument| matches!(*argument, b"-c" | b"--config-file"))?;
    arguments.next().map(|path| Path::new(OsStr::from_bytes(path)).to_path_buf())
}

fn says_allow_anonymous(file: &Path, depth: u32) -> Option<bool> {
    const DEEPEST: u32 = 8;
    if depth > DEEPEST {
        return None;
    }
    let text = fs::read_to_string(file).ok()?;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("allow_anonymous"), Some("true" | "1")) => return Some(true),
            (Some("include_dir"), Some(folder)) => {
                for entry in fs::read_dir(folder).ok()? {
                    let path = entry.ok()?.path();
                    if path.extension() == Some(OsStr::new("conf")) && says_allow_anonymous(&path, depth + 1)? {
                        return Some(true);
                    }
                }
            }
            _ => {}
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(conf: &str, included: &str) -> Option<bool> {
        let folder = tempfile::tempdir().unwrap();
        let conf_d = folder.path().join("conf.d");
        fs::create_dir(&conf_d).unwrap();
        fs::write(conf_d.join("a.conf"), included).unwrap();
        fs::write(conf_d.join("b.txt"), "allow_anonymous true").unwrap();
        let file = folder.path().join("m.conf");
        fs::write(&file, conf.replace("CONF_D", conf_d.to_str().unwrap())).unwrap();
        says_allow_anonymous(&file, 0)
    }

    #[test]
    fn reads_what_the_broker_reads() {
        assert_eq!(says("listener 1883\n", ""), Some(false));
        assert_eq!(says("allow_anonymous false\n# allow_anonymous true\n", ""), Some(false));
        assert_eq!(says("listener 1883\nallow_anonymous  true\n", ""), Some(true));
        assert_eq!(says("include_dir CONF_D\n", ""), Some(false));
        assert_eq!(says("include_dir CONF_D\n", "allow_anonymous true"), Some(true));
        assert_eq!(says("include_dir CONF_D/none\n", ""), None);
        assert_eq!(says_allow_anonymous(Path::new("/nonexistent"), 0), None);
    }

    #[test]
    fn finds_the_file_on_the_command_line() {
        let file = |line: &[u8]| configuration_file(line);
        assert_eq!(file(b"mosquitto\0-v\0-c\0/etc/m.conf\0"), Some("/etc/m.conf".into()));
        assert_eq!(file(b"mosquitto\0--config-file\0m\0-d\0"), Some("m".into()));
        assert_eq!(file(b"mosquitto\0-p\x001883\0"), None);
    }
}
