//! The `plugin_opt_...` lines of mosquitto.conf.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mqtt_acl_policy::Escaped;

const DEFAULT_POLICY: &str = "/etc/mosquitto/mqtt-acl/policy.toml";
const DEFAULT_STATE_DIR: &str = "/var/lib/mosquitto/mqtt-acl";
const DEFAULT_MAX_AGE: u64 = 30;

/// The keys, without `plugin_opt_`.
const KNOWN: [&str; 7] =
    ["policy_file", "watch", "state_dir", "on_bad_policy", "last_good_max_age", "metrics_file", "audit_file"];

/// What mosquitto.conf says to this plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// `plugin_opt_policy_file`.
    pub(crate) policy_file: PathBuf,
    /// `plugin_opt_watch`: whether an edited policy is taken up without SIGHUP.
    pub(crate) watch: bool,
    /// `plugin_opt_state_dir`: where the last good policy is kept.
    pub(crate) state_dir: PathBuf,
    /// `plugin_opt_on_bad_policy`: what a broken policy means when the broker starts.
    pub(crate) on_bad_policy: OnBadPolicy,
    /// `plugin_opt_last_good_max_age`: how long the last good policy may be used after it was in force, in days.
    pub(crate) last_good_max_age: Duration,
    /// `plugin_opt_metrics_file`.
    pub(crate) metrics_file: Option<PathBuf>,
    /// `plugin_opt_audit_file`.
    pub(crate) audit_file: Option<PathBuf>,
}

/// What a broken policy means when the broker starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnBadPolicy {
    /// The last good one is used, if there is one.
    LastGood,
    /// The broker does not start.
    Refuse,
}

impl Options {
    /// Reads keys, without `plugin_opt_`, and values.
    pub(crate) fn read(pairs: &[(&[u8], &[u8])]) -> Result<Self, String> {
        let mut options = Self {
            policy_file: DEFAULT_POLICY.into(),
            watch: true,
            state_dir: DEFAULT_STATE_DIR.into(),
            on_bad_policy: OnBadPolicy::LastGood,
            last_good_max_age: days(DEFAULT_MAX_AGE),
            metrics_file: None,
            audit_file: None,
        };
        let mut given = Vec::new();
        for (key, value) in pairs {
            let value = value.trim_ascii();
            let Some(name) = KNOWN.into_iter().find(|known| known.as_bytes() == *key) else {
                let known = KNOWN.map(|known| format!("plugin_opt_{known}")).join(", ");
                return Err(format!("plugin_opt_{} is not an option of this plugin (known are {known})", Escaped(key)));
            };
            if value.is_empty() {
                return Err(format!("plugin_opt_{name} is empty (write a value, or remove the line)"));
            }
            if given.contains(&name) {
                let hint = if name == "policy_file" { "; a policy can `include` others" } else { "" };
                return Err(format!("plugin_opt_{name} is given twice (keep one{hint})"));
            }
            given.push(name);
            let wanted = options.set(name, value);
            wanted.map_err(|wanted| format!("plugin_opt_{name} is `{}` (write {wanted})", Escaped(value)))?;
        }
        Ok(options)
    }

    /// Sets one; what may be written where this may not.
    fn set(&mut self, name: &str, value: &[u8]) -> Result<(), &'static str> {
        let path = || Path::new(OsStr::from_bytes(value)).to_path_buf();
        match (name, value) {
            ("policy_file", _) => self.policy_file = path(),
            ("watch", b"true") => self.watch = true,
            ("watch", b"false") => self.watch = false,
            ("watch", _) => return Err("`true` or `false`"),
            ("state_dir", _) => self.state_dir = path(),
            ("on_bad_policy", b"last-good") => self.on_bad_policy = OnBadPolicy::LastGood,
            ("on_bad_policy", b"refuse") => self.on_bad_policy = OnBadPolicy::Refuse,
            ("on_bad_policy", _) => return Err("`last-good` or `refuse`"),
            ("last_good_max_age", _) => {
                let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                self.last_good_max_age =
                    days(number.filter(|days| (1..=3650).contains(days)).ok_or("a number of days, from 1 to 3650")?);
            }
            ("metrics_file", _) => self.metrics_file = Some(path()),
            ("audit_file", _) => self.audit_file = Some(path()),
            _ => {}
        }
        Ok(())
    }
}

fn days(number: u64) -> Duration {
    Duration::from_secs(number * 24 * 60 * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_a_default() {
        let options = Options::read(&[]).unwrap();
        assert_eq!(options.policy_file, Path::new(DEFAULT_POLICY));
        assert_eq!(options.state_dir, Path::new(DEFAULT_STATE_DIR));
        assert!(options.watch && options.on_bad_policy == OnBadPolicy::LastGood && options.metrics_file.is_none());
        assert_eq!(options.last_good_max_age, Duration::from_secs(30 * 86_400));
    }

    #[test]
    fn values_are_trimmed() {
        let options = Options::read(&[(b"policy_file", b" /etc/a b.toml "), (b"watch", b"false ")]).unwrap();
        assert_eq!(options.policy_file, Path::new("/etc/a b.toml"));
        assert!(!options.watch);
    }

    #[test]
    fn every_option_can_be_set() {
        let options = Options::read(&[
            (b"policy_file", b"p"),
            (b"watch", b"true"),
            (b"state_dir", b"s"),
            (b"on_bad_policy", b"refuse"),
            (b"last_good_max_age", b"7"),
            (b"metrics_file", b"m"),
        ])
        .unwrap();
        assert_eq!(options.state_dir, Path::new("s"));
        assert_eq!(options.on_bad_policy, OnBadPolicy::Refuse);
        assert_eq!(options.last_good_max_age, Duration::from_secs(7 * 86_400));
        assert_eq!(options.metrics_file.as_deref(), Some(Path::new("m")));
    }

    #[test]
    fn an_audit_file_is_written_where_one_is_named() {
        assert_eq!(Options::read(&[]).unwrap().audit_file, None);
        let options = Options::read(&[(b"audit_file", b"/var/log/a")]).unwrap();
        assert_eq!(options.audit_file.as_deref(), Some(Path::new("/var/log/a")));
        assert!(Options::read(&[(b"audit_file", b"")]).unwrap_err().contains("empty"));
        assert!(Options::read(&[(b"audit_file", b"a"), (b"audit_file", b"b")]).unwrap_err().contains("twice"));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert!(Options::read(&[(b"policy_fil", b"x")]).unwrap_err().contains("plugin_opt_policy_fil is not"));
        assert!(Options::read(&[(b"policy_file", b" ")]).unwrap_err().contains("empty"));
        assert!(Options::read(&[(b"policy_file", b"a"), (b"policy_file", b"b")]).unwrap_err().contains("twice"));
        assert!(Options::read(&[(b"\xff\n", b"x")]).is_err());
        for (key, value) in [
            ("watch", "yes"),
            ("on_bad_policy", "ignore"),
            ("last_good_max_age", "0"),
            ("last_good_max_age", "-1"),
            ("last_good_max_age", "3651"),
            ("last_good_max_age", "1d"),
        ] {
            let problem = Options::read(&[(key.as_bytes(), value.as_bytes())]).unwrap_err();
            assert!(problem.contains(&format!("plugin_opt_{key} is `{value}` (write")), "{problem}");
        }
    }
}
