//! The `plugin_opt_...` lines of mosquitto.conf.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use mqtt_acl_policy::Escaped;

const DEFAULT_POLICY: &str = "/etc/mosquitto/mqtt-acl/policy.toml";

/// What mosquitto.conf says to this plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// `plugin_opt_policy_file`.
    pub(crate) policy_file: PathBuf,
    /// `plugin_opt_audit_file`.
    pub(crate) audit_file: Option<PathBuf>,
}

impl Options {
    /// Reads keys, without `plugin_opt_`, and values.
    pub(crate) fn read(pairs: &[(&[u8], &[u8])]) -> Result<Self, String> {
        let mut policy_file = None;
        let mut audit_file = None;
        for (key, value) in pairs {
            let value = value.trim_ascii();
            match *key {
                b"policy_file" if value.is_empty() => {
                    return Err("plugin_opt_policy_file is empty (write the path of the policy)".into());
                }
                b"policy_file" if policy_file.is_some() => {
                    return Err(
                        "plugin_opt_policy_file is given twice (keep one; a policy can `include` others)".into()
                    );
                }
                b"policy_file" => policy_file = Some(Path::new(OsStr::from_bytes(value)).to_path_buf()),
                b"audit_file" if value.is_empty() => {
                    return Err("plugin_opt_audit_file is empty (write the path of the file)".into());
                }
                b"audit_file" if audit_file.is_some() => {
                    return Err("plugin_opt_audit_file is given twice (keep one)".into());
                }
                b"audit_file" => audit_file = Some(Path::new(OsStr::from_bytes(value)).to_path_buf()),
                _ => {
                    let key = Escaped(key);
                    return Err(format!(
                        "plugin_opt_{key} is not an option of this plugin (known are plugin_opt_policy_file and \
                         plugin_opt_audit_file)"
                    ));
                }
            }
        }
        Ok(Self { policy_file: policy_file.unwrap_or_else(|| DEFAULT_POLICY.into()), audit_file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_file_has_a_default() {
        assert_eq!(Options::read(&[]).unwrap().policy_file, Path::new(DEFAULT_POLICY));
    }

    #[test]
    fn values_are_trimmed() {
        let options = Options::read(&[(b"policy_file", b" /etc/a b.toml ")]).unwrap();
        assert_eq!(options.policy_file, Path::new("/etc/a b.toml"));
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
    }
}
