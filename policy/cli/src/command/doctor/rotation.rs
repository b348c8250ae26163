//! What logrotate does to a log file.

use std::fs;
use std::path::{Path, PathBuf};

/// The file of logrotate's that speaks of a log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rotation {
    pub(super) file: PathBuf,
    /// Whether the broker learns of it, or its file stays the same.
    pub(super) tells: bool,
}

/// What the files in this folder say of the log; `None` where they say nothing.
pub(super) fn of(folder: &Path, log: &Path) -> Option<Rotation> {
    let mut files: Vec<_> = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort_unstable();
    files.into_iter().find_map(|file| {
        let text = fs::read_to_string(&file).ok()?;
        let block = text.split('}').find(|block| names(block, log))?;
        let tells = ["reload", "HUP", "kill -1", "copytruncate"].iter().any(|word| block.contains(word));
        Some(Rotation { file, tells })
    })
}

/// Whether the names before a block's `{` mean this log.
fn names(block: &str, log: &Path) -> bool {
    let Some((head, _)) = block.split_once('{') else { return false };
    let lines = head.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.flat_map(str::split_whitespace).any(|name| means(Path::new(name.trim_matches('"')), log))
}

/// Whether the name means the log: it is the same, or has a `*` in its last part that stands for the rest.
fn means(name: &Path, log: &Path) -> bool {
    if name == log {
        return true;
    }
    let (Some(pattern), Some(file)) =
        (name.file_name().and_then(|n| n.to_str()), log.file_name().and_then(|n| n.to_str()))
    else {
        return false;
    };
    let fits = |(before, after): (&str, &str)| file.strip_prefix(before).is_some_and(|rest| rest.ends_with(after));
    name.parent() == log.parent() && pattern.split_once('*').is_some_and(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns() {
        for (name, log, is) in [
            ("/var/log/m.log", "/var/log/m.log", true),
            ("/var/log/*.log", "/var/log/m.log", true),
            ("/var/log/m*", "/var/log/m.log", true),
            ("/var/log/*.txt", "/var/log/m.log", false),
            ("/var/*.log", "/var/log/m.log", false),
            ("/var/log/m.log.*", "/var/log/m.log", false),
        ] {
            assert_eq!(means(Path::new(name), Path::new(log)), is, "{name} {log}");
        }
    }

    #[test]
    fn the_block_that_speaks_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let log = Path::new("/var/log/m.log");
        assert_eq!(of(folder.path(), log), None);
        let file = folder.path().join("a");
        let tells = |text: &str| {
            fs::write(&file, text).unwrap();
            of(folder.path(), log).map(|rotation| rotation.tells)
        };
        assert_eq!(tells("weekly\n/var/log/x.log {\n  postrotate\n    reload\n  endscript\n}\n"), None);
        assert_eq!(tells("/x {\n reload\n}\n# all\n\"/var/log/m.log\" /y\n{\n  daily\n}\n"), Some(false));
        assert_eq!(
            tells("/var/log/*.log {\n  postrotate\n    systemctl reload mosquitto\n  endscript\n}\n"),
            Some(true)
        );
        assert_eq!(tells("/var/log/m.log {\n  copytruncate\n}\n"), Some(true));
        assert_eq!(tells("# /var/log/m.log {\n"), None);
    }
}
