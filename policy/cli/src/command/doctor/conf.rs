//! mosquitto.conf as the broker reads it, 2.0 and 2.1 alike: a key and a value a line, in sections that a line opens.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::finding::{Finding, Place};

/// A line that says something.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) place: Place,
    pub(super) key: String,
    pub(super) value: String,
}

/// A `plugin` line and its options.
#[derive(Debug)]
pub(super) struct Plugin {
    pub(super) place: Place,
    pub(super) path: PathBuf,
    /// Without `plugin_opt_`.
    pub(super) options: Vec<Line>,
    pub(super) scope: Scope,
}

/// Which listeners a plugin is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    One(usize),
    /// With `per_listener_settings` and above every listener: 2.1 does not start with it, and 2.0 has it guard the default
    /// listener alone.
    Default,
}

/// What clients connect to.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) place: Place,
    pub(super) port: String,
    pub(super) address: Option<String>,
    pub(super) lines: Vec<Line>,
}

/// The whole configuration.
#[derive(Debug, Default)]
pub(super) struct Conf {
    /// What belongs to no listener and no bridge.
    pub(super) lines: Vec<Line>,
    pub(super) listeners: Vec<Listener>,
    pub(super) plugins: Vec<Plugin>,
    pub(super) bridges: Vec<Place>,
    /// Options that follow no plugin.
    pub(super) stray_options: Vec<Line>,
    pub(super) findings: Vec<Finding>,
}

impl Line {
    /// The first word, which is all that the broker takes of a number or a flag.
    fn word(&self) -> &str {
        self.value.split(' ').next().unwrap_or_default()
    }

    pub(super) fn is_true(&self) -> bool {
        matches!(self.word(), "true" | "1")
    }

    pub(super) fn is_false(&self) -> bool {
        matches!(self.word(), "false" | "0")
    }

    pub(super) fn number(&self) -> Option<i64> {
        self.word().parse().ok()
    }
}

impl Listener {
    pub(super) fn find(&self, key: &str) -> Option<&Line> {
        self.lines.iter().rfind(|line| line.key == key)
    }

    pub(super) fn is(&self, key: &str) -> bool {
        self.find(key).is_some_and(Line::is_true)
    }
}

/// Settings that 2.1 and `per_listener_settings` keep for each listener.
const OF_LISTENERS: [&str; 7] = [
    "acl_file",
    "password_file",
    "psk_file",
    "allow_anonymous",
    "allow_zero_length_clientid",
    "auto_id_prefix",
    "plugin",
];

/// Settings that are a listener's in any case, the default one's where none was opened.
const ALWAYS_OF_LISTENERS: [&str; 17] = [
    "bind_address",
    "bind_interface",
    "cafile",
    "capath",
    "certfile",
    "crlfile",
    "keyfile",
    "mount_point",
    "protocol",
    "psk_hint",
    "require_certificate",
    "socket_domain",
    "tls_version",
    "use_identity_as_username",
    "use_subject_as_username",
    "use_username_as_clientid",
    "max_connections",
];

impl Conf {
    /// Reads the file and what its `include_dir` names, in the broker's order.
    ///
    /// # Errors
    /// The file cannot be read; of included ones this is a finding.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let mut reader = Reader::default();
        reader.file(path, 0)?;
        Ok(reader.finish())
    }

    /// All lines of this key, whatever section they are in.
    pub(super) fn all<'c>(&'c self, key: &'c str) -> impl Iterator<Item = &'c Line> {
        let of_listeners = self.listeners.iter().flat_map(|listener| &listener.lines);
        self.lines.iter().chain(of_listeners).filter(move |line| line.key == key)
    }

    /// The line of this key that counts.
    pub(super) fn last(&self, key: &str) -> Option<&Line> {
        self.lines.iter().rfind(|line| line.key == key)
    }

    pub(super) fn is_per_listener(&self) -> bool {
        self.last("per_listener_settings").is_some_and(Line::is_true)
    }
}

#[derive(Default)]
struct Reader {
    conf: Conf,
    section: Section,
    /// `port`, and the settings before any `listener`: the default listener.
    default: (Option<Line>, Vec<Line>),
}

#[derive(Clone, Copy, Default)]
enum Section {
    #[default]
    General,
    Listener(usize),
    Bridge,
}

impl Reader {
    fn file(&mut self, path: &Path, depth: u32) -> io::Result<()> {
        let text = fs::read(path)?;
        let file: Arc<Path> = Arc::from(path);
        for (number, line) in (1..).zip(text.split(|b| *b == b'\n')) {
            let line = String::from_utf8_lossy(line);
            let line = line.trim_end_matches('\r');
            // A `#` is a comment in the first column only.
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let (key, value) = line.trim_start_matches(' ').split_once(' ').unwrap_or((line.trim_matches(' '), ""));
            let place = Place { file: Arc::clone(&file), line: number };
            let value = value.trim_matches([' ', '\t']).to_owned();
            self.line(Line { place, key: key.to_owned(), value }, depth);
        }
        Ok(())
    }

    fn line(&mut self, line: Line, depth: u32) {
        match line.key.as_str() {
            // The broker follows it in its first file only.
            "include_dir" if depth == 0 => self.folder(&line),
            "listener" => {
                let (port, address) = line.value.split_once(' ').unwrap_or((&line.value, ""));
                self.open(&line, port, Some(address.trim()).filter(|address| !address.is_empty()));
            }
            "port" => self.default.0 = Some(line),
            "connection" => {
                self.conf.bridges.push(line.place);
                self.section = Section::Bridge;
            }
            "plugin" | "auth_plugin" | "global_plugin" => self.plugin(&line, &line.value),
            "plugin_load" => {
                let path = line.value.split_once(' ').map_or("", |(_, path)| path.trim());
                self.plugin(&line, path);
            }
            key => {
                let option = key.strip_prefix("plugin_opt_").or_else(|| key.strip_prefix("auth_opt_"));
                match (option, self.conf.plugins.last_mut()) {
                    (Some(option), Some(plugin)) => plugin.options.push(Line { key: option.to_owned(), ..line }),
                    (Some(_), None) => self.conf.stray_options.push(line),
                    (None, _) => self.setting(line),
                }
            }
        }
    }

    fn open(&mut self, line: &Line, port: &str, address: Option<&str>) {
        self.section = Section::Listener(self.conf.listeners.len());
        self.conf.listeners.push(Listener {
            place: line.place.clone(),
            port: port.to_owned(),
            address: address.map(str::to_owned),
            lines: Vec::new(),
        });
    }

    fn plugin(&mut self, line: &Line, path: &str) {
        let scope = match self.section {
            _ if !self.conf.is_per_listener() || line.key == "global_plugin" => Scope::All,
            Section::Listener(at) => Scope::One(at),
            Section::General | Section::Bridge => Scope::Default,
        };
        let (place, path) = (line.place.clone(), PathBuf::from(path));
        self.conf.plugins.push(Plugin { place, path, options: Vec::new(), scope });
    }

    fn setting(&mut self, line: Line) {
        let key = line.key.as_str();
        let per_listener = self.conf.is_per_listener() && OF_LISTENERS.contains(&key);
        match self.section {
            Section::Listener(at) if per_listener || ALWAYS_OF_LISTENERS.contains(&key) => {
                if let Some(listener) = self.conf.listeners.get_mut(at) {
                    listener.lines.push(line);
                }
            }
            Section::General if ALWAYS_OF_LISTENERS.contains(&key) => self.default.1.push(line),
            _ => self.conf.lines.push(line),
        }
    }

    fn finish(self) -> Conf {
        let Self { mut conf, default: (port, lines), .. } = self;
        if let Some(first) = port.as_ref().or(lines.first()) {
            conf.listeners.push(Listener {
                place: first.place.clone(),
                port: port.as_ref().map_or_else(|| "1883".to_owned(), |port| port.word().to_owned()),
                address: lines.iter().rfind(|line| line.key == "bind_address").map(|line| line.value.clone()),
                lines,
            });
        }
        conf
    }

    fn folder(&mut self, line: &Line) {
        let folder = Path::new(&line.value);
        let entries = fs::read_dir(folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
        let mut paths: Vec<_> = match entries {
            Ok(entries) => entries.into_iter().map(|entry| entry.path()).collect(),
            Err(error) => {
                let text =
                    format!("the folder `{}` cannot be read, so the broker does not start: {error}", folder.display());
                self.conf.findings.push(Finding::error("include-dir", &line.place, text));
                return;
            }
        };
        paths.retain(|path| path.file_name().is_some_and(|name| name.as_bytes().ends_with(b".conf")));
        paths.sort_by_cached_key(|path| {
            let name = path.file_name().unwrap_or_default().as_bytes();
            (name.to_ascii_lowercase(), name.to_vec())
        });
        for path in paths {
            if let Err(error) = self.file(&path, 1) {
                let text = format!("`{}` cannot be read, so the broker does not start: {error}", path.display());
                self.conf.findings.push(Finding::error("include-dir", &line.place, text));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Conf {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mosquitto.conf");
        fs::write(&path, text.replace("FOLDER", folder.path().join("conf.d").to_str().unwrap())).unwrap();
        fs::create_dir(folder.path().join("conf.d")).unwrap();
        for (name, text) in [
            ("b.conf", "listener 8883 0.0.0.0\r\ncertfile c.pem\r\n"),
            ("A.conf", "user  broker \n"),
            ("c.txt", "user root\n"),
            ("d.conf", "include_dir FOLDER\nallow_anonymous true # not a comment\n"),
        ] {
            fs::write(folder.path().join("conf.d").join(name), text).unwrap();
        }
        Conf::read(&path).unwrap()
    }

    #[test]
    fn lines_are_keys_and_values() {
        let conf = read("# listener 1\n\n  user   x y  \n#\n max_queued_messages 0 # none\n\tuser tab\n");
        assert_eq!(conf.last("user").unwrap().value, "x y");
        assert_eq!(conf.last("max_queued_messages").unwrap().number(), Some(0));
        // A tab separates nothing: the broker knows no such key, and neither do we.
        assert_eq!(conf.last("\tuser").unwrap().value, "tab");
    }

    #[test]
    fn included_files_come_in_order_and_sections_go_on() {
        let conf = read("user first\ninclude_dir FOLDER\nuse_identity_as_username true\n");
        assert_eq!(conf.last("user").unwrap().value, "broker");
        assert!(conf.last("allow_anonymous").unwrap().is_true());
        let [listener] = &conf.listeners[..] else { panic!("{conf:?}") };
        assert_eq!((listener.port.as_str(), listener.address.as_deref()), ("8883", Some("0.0.0.0")));
        assert_eq!(listener.find("certfile").unwrap().value, "c.pem");
        assert!(listener.is("use_identity_as_username"));
        assert!(conf.findings.is_empty());
        let conf = read("include_dir FOLDER/none\n");
        assert_eq!(conf.findings.len(), 1);
    }

    #[test]
    fn options_follow_their_plugin() {
        let conf = read(
            "plugin_opt_x 1\nplugin /a.so\nplugin_opt_y  a b \nauth_plugin /b c.so\nauth_opt_z 2\nplugin_load n /d.so\n",
        );
        assert_eq!(conf.stray_options[0].key, "plugin_opt_x");
        let options = |at: usize| -> Vec<_> {
            conf.plugins[at].options.iter().map(|line| (line.key.as_str(), line.value.as_str())).collect()
        };
        assert_eq!((options(0), options(1)), (vec![("y", "a b")], vec![("z", "2")]));
        let paths: Vec<_> = conf.plugins.iter().map(|plugin| plugin.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/a.so", "/b c.so", "/d.so"]);
    }

    #[test]
    fn what_comes_before_any_listener_is_the_default_ones() {
        let conf = read("certfile c.pem\nuser x\nport 8883\nlistener 1883\ncertfile d.pem\nbind_address ::1\n");
        let found: Vec<_> =
            conf.listeners.iter().map(|it| (it.port.as_str(), it.find("certfile").unwrap().value.as_str())).collect();
        assert_eq!(found, [("1883", "d.pem"), ("8883", "c.pem")]);
        assert_eq!(read("bind_address ::1\n").listeners[0].address.as_deref(), Some("::1"));
        assert!(read("user x\n").listeners.is_empty());
    }

    #[test]
    fn settings_are_a_listeners_where_it_says_so() {
        let text = "listener 1883 ::1\nallow_anonymous true\nplugin /a.so\n";
        let conf = read(text);
        assert!(conf.last("allow_anonymous").is_some() && conf.plugins[0].scope == Scope::All);
        let conf = read(&format!("per_listener_settings true\n{text}connection b\nbridge_cafile x\n"));
        assert!(conf.last("allow_anonymous").is_none() && conf.plugins[0].scope == Scope::One(0));
        assert!(conf.listeners[0].is("allow_anonymous") && conf.bridges.len() == 1);
    }
}
