//! What is looked for in an installation. Each rule that speaks of the broker's behaviour names the test that shows it in the
//! stock brokers, below `tests/brokers`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use mqtt_acl_policy::{Action, Client, Decision, Failure, Loaded, Policy, Refusal, Trust, load};

use super::conf::{Conf, Line, Listener, Plugin, Scope};
use super::finding::{Finding, Place, Severity};
use super::rotation::{self, Rotation};
use super::{Broker, Version, library, shown};
use crate::source::{USUAL_BROKER_USER, USUAL_FILE};
use crate::text::count;

/// The plugin's options in mosquitto.conf.
const OPTIONS: [&str; 7] =
    ["policy_file", "watch", "state_dir", "on_bad_policy", "last_good_max_age", "metrics_file", "audit_file"];

/// The oldest broker that is supported.
const OLDEST: Version = (2, 0, 11);

/// Everything that is found, in the order of the configuration, and then of the policy.
pub(super) fn all(path: &Path, conf: &Conf, broker: Option<&Broker>, logrotate: &Path) -> Vec<Finding> {
    let main = Place::whole(path);
    let mut doctor = Rules {
        is_2_0: broker.and_then(|broker| broker.version).map(|version| version < (2, 1, 0)),
        findings: Vec::new(),
        broker,
        conf,
        main,
    };
    doctor.findings.extend(conf.findings.iter().cloned());
    doctor.version();
    doctor.user();
    doctor.plugins();
    doctor.leftovers();
    doctor.per_listener();
    doctor.listeners();
    doctor.settings();
    doctor.reload();
    doctor.rotation(logrotate);
    let mut findings = doctor.findings;
    // Worst first, otherwise as they were found.
    findings.sort_by_key(|finding| match finding.severity {
        Severity::Error => 0,
        Severity::Warning => 1,
        Severity::Note => 2,
    });
    findings
}

struct Rules<'c> {
    conf: &'c Conf,
    main: Place,
    broker: Option<&'c Broker>,
    /// Whether the broker is 2.0; `None` where it is not known.
    is_2_0: Option<bool>,
    findings: Vec<Finding>,
}

impl<'c> Rules<'c> {
    fn error(&mut self, code: &'static str, place: &Place, text: impl Into<String>) {
        self.findings.push(Finding::error(code, place, text));
    }

    fn warning(&mut self, code: &'static str, place: &Place, text: impl Into<String>) {
        self.findings.push(Finding::warning(code, place, text));
    }

    fn note(&mut self, code: &'static str, place: Option<&Place>, text: impl Into<String>) {
        self.findings.push(Finding::note(code, place, text));
    }

    fn version(&mut self) {
        match self.broker {
            None => self.note(
                "broker",
                None,
                "no broker is found here, so its version is not known (name its program after `--mosquitto`)",
            ),
            Some(Broker { path, version: None }) => {
                let text = format!("`{}` does not tell its version", path.display());
                self.note("broker", None, text);
            }
            Some(Broker { path, version: Some(version) }) if *version < OLDEST => {
                let place = Place::whole(path);
                let text = format!(
                    "Mosquitto {} is too old for this plugin (upgrade it to {} or newer)",
                    shown(*version),
                    shown(OLDEST)
                );
                self.error("broker", &place, text);
            }
            Some(Broker { path, version: Some(version) }) => {
                let place = Place::whole(path);
                self.note("broker", Some(&place), format!("Mosquitto {}", shown(*version)));
            }
        }
    }

    fn broker_user(&self) -> &'c str {
        self.conf.last("user").map_or(USUAL_BROKER_USER, |line| line.value.as_str())
    }

    fn user(&mut self) {
        let name = self.broker_user();
        let place = self.conf.last("user").map_or_else(|| self.main.clone(), |line| line.place.clone());
        if name == "root" {
            self.error(
                "user",
                &place,
                "the broker runs as root, so that a hole in it opens the whole machine (take the `user` line out)",
            );
        } else if Trust::broker(name).is_none() {
            let text = format!(
                "this machine has no user `{name}`, which the broker is to run as (make it, or name another with `user`)"
            );
            self.error("user", &place, text);
        }
    }

    /// The library, its place among others, and its options.
    fn plugins(&mut self) {
        let conf = self.conf;
        for Line { place, key, .. } in &conf.stray_options {
            self.error(
                "stray-option",
                place,
                format!("`{key}` follows no plugin, so the broker does not start (move it below the `plugin` line)"),
            );
        }
        let ours: Vec<_> = conf.plugins.iter().filter(|plugin| library::is_ours(&plugin.path)).collect();
        if ours.is_empty() {
            let main = self.main.clone();
            self.error(
                "no-plugin",
                &main,
                "the broker does not load this plugin, so no policy counts (add `plugin /usr/lib/mqtt_acl.so` before any other \
                 plugin)",
            );
        }
        for plugin in &ours {
            self.library(plugin);
            self.options(plugin);
        }
        // tests/brokers/listeners.rs: a_plugin_named_twice_opens_nothing
        for pair in ours.windows(2) {
            if let [first, second] = pair {
                if first.scope == second.scope {
                    self.error("plugin-twice", &second.place, "the plugin is loaded twice (keep one `plugin` line)");
                }
            }
        }
        let mut before = true;
        for plugin in &conf.plugins {
            if ours.iter().any(|ours| ours.place == plugin.place) {
                before = false;
                continue;
            }
            let shown = plugin.path.display();
            if before && !ours.is_empty() {
                let text = format!(
                    "the plugin `{shown}` is loaded before this one, so it may admit clients and grant topics before the policy \
                     is asked (move it below, or take it out)"
                );
                self.error("other-plugin", &plugin.place, text);
            } else if !ours.is_empty() {
                let text = format!(
                    "the plugin `{shown}` comes after this one and is never asked about logins and topics (take it out, if that \
                     is all it does)"
                );
                self.warning("other-plugin", &plugin.place, text);
            }
        }
    }

    fn library(&mut self, plugin: &Plugin) {
        let Plugin { place, path, .. } = plugin;
        let shown = path.display();
        if path.is_relative() {
            let text = format!(
                "`{shown}` is looked for by the system's loader (write the whole path, as `/usr/lib/mqtt_acl.so`)"
            );
            self.warning("library", place, text);
        }
        match library::problems(path, self.broker.map(|broker| broker.path.as_path())) {
            Err(error) => {
                let text =
                    format!("`{shown}` cannot be read, so the broker does not start: {error} (install the package)");
                self.error("library", place, text);
            }
            Ok(problems) => {
                for problem in problems {
                    self.error("library", place, format!("`{shown}` cannot be loaded: {problem}"));
                }
                if let Some(trust) = Trust::broker(self.broker_user()) {
                    for objection in trust.objections(path) {
                        self.error("library", place, format!("`{shown}`: {objection}"));
                    }
                }
            }
        }
    }

    fn options(&mut self, plugin: &Plugin) {
        for line in &plugin.options {
            if !OPTIONS.contains(&line.key.as_str()) {
                let text = format!(
                    "`plugin_opt_{}` is not an option of this plugin, which does not start with it (known are `plugin_opt_{}`)",
                    line.key,
                    OPTIONS.join("`, `plugin_opt_")
                );
                self.error("option", &line.place, text);
            }
        }
        for key in OPTIONS {
            let mut lines = plugin.options.iter().filter(|line| line.key == key);
            if let (Some(first), Some(second)) = (lines.next(), lines.next()) {
                let text = format!("`plugin_opt_{key}` is given twice, first in line {} (keep one)", first.place.line);
                self.error("option", &second.place, text);
            }
        }
        let line = plugin.options.iter().find(|line| line.key == "policy_file");
        let path = line.map_or_else(|| PathBuf::from(USUAL_FILE), |line| PathBuf::from(&line.value));
        let place = line.map_or(&plugin.place, |line| &line.place);
        if path.is_relative() {
            let text = format!(
                "`{}` depends on the folder that the broker is started in (write the whole path)",
                path.display()
            );
            self.warning("policy-path", place, text);
        }
        self.policy(&path, place, plugin);
    }

    /// The policy, as the plugin would load it: as the broker's user.
    fn policy(&mut self, path: &Path, place: &Place, plugin: &Plugin) {
        let Some(trust) = Trust::broker(self.broker_user()) else { return };
        match load(path, &trust) {
            Ok(Loaded { policy, warnings }) => {
                self.findings.extend(warnings.iter().map(Finding::of_policy));
                let size = policy.size();
                let whole = Place::whole(path);
                let text = format!("the policy is good: {}, {}", count(size.users, "user"), count(size.roles, "role"));
                self.note("policy", Some(&whole), text);
                self.anonymous(&policy, plugin);
                self.waiting(&policy);
            }
            Err(Failure::Missing(path)) => {
                let text = format!(
                    "there is no policy `{}`, so nobody is admitted (write it, or name another)",
                    path.display()
                );
                self.error("policy", place, text);
            }
            Err(Failure::Empty(path)) => {
                let text = format!(
                    "the policy `{}` is empty, so nobody is admitted (write `version = 1` if that is meant)",
                    path.display()
                );
                self.error("policy", place, text);
            }
            Err(Failure::Invalid(problems)) => self.findings.extend(problems.iter().map(Finding::of_policy)),
        }
    }

    /// tests/brokers/listeners.rs: allow_anonymous_opens_nothing, the_anonymous_section_needs_the_brokers_consent
    fn anonymous(&mut self, policy: &Policy, plugin: &Plugin) {
        let nobody = Client { user: None, id: b"doctor" };
        let has_section = policy.authorize(&nobody, Action::Connect) != Decision::Deny(Refusal::Anonymous);
        let allowing: Vec<_> = self.conf.all("allow_anonymous").filter(|line| line.is_true()).collect();
        for line in &allowing {
            if has_section {
                self.note(
                    "anonymous",
                    Some(&line.place),
                    "anonymous clients may do what the policy's `[anonymous]` says",
                );
            } else {
                self.warning(
                    "anonymous",
                    &line.place,
                    "`allow_anonymous true` lets everybody in as soon as the plugin's line is missing, and does nothing beside it \
                     (take it out; it belongs to a policy with `[anonymous]`)",
                );
            }
        }
        if has_section && allowing.is_empty() {
            self.warning(
                "anonymous",
                &plugin.place,
                "the policy has `[anonymous]`, which is out of force without `allow_anonymous true` here (add that, or take the \
                 section out)",
            );
        }
    }

    /// 2.1.2 gives a client no answer whose login is through when the broker is full.
    fn waiting(&mut self, policy: &Policy) {
        let Some(line) = self.conf.last("global_max_clients") else { return };
        if policy.limits().delayed && self.is_2_0 != Some(true) {
            self.warning(
                "max-clients",
                &line.place,
                "with `global_max_clients` reached, 2.1 gives an MQTT 3 client no answer whose login took time (write `[logins]` \
                 and `delayed = false` into the policy)",
            );
        }
    }

    fn leftovers(&mut self) {
        for key in ["acl_file", "password_file"] {
            for line in self.conf.all(key) {
                let text = format!(
                    "`{key}` decides nothing beside the plugin; on 2.1 a slip in that file ends the broker at SIGHUP (take the \
                     line out; its users belong into the policy)"
                );
                self.findings.push(Finding::warning("leftover", &line.place, text));
            }
        }
    }

    /// tests/brokers/listeners.rs: per_listener_settings_with_one_plugin, per_listener_settings_with_two_policies,
    /// a_plugin_above_the_listeners_guards_none_of_them
    fn per_listener(&mut self) {
        let conf = self.conf;
        if !conf.is_per_listener() {
            return;
        }
        if let Some(line) = conf.last("per_listener_settings") {
            let text = "`per_listener_settings true`: on 2.0 the broker then refuses offline sessions at SIGHUP without asking the \
                        plugin, and frees them twice; 2.0.11 takes up a new policy late (take it out, with one policy for all \
                        listeners)";
            if self.is_2_0 == Some(false) {
                self.warning("per-listener", &line.place, text);
            } else {
                self.error("per-listener", &line.place, text);
            }
        }
        let guarded = |at: usize| {
            let mut here = conf
                .plugins
                .iter()
                .filter(|plugin| matches!(plugin.scope, Scope::All) || plugin.scope == Scope::One(at));
            here.any(|plugin| library::is_ours(&plugin.path))
        };
        let open: Vec<_> =
            (0..).zip(&conf.listeners).filter(|(at, _)| !guarded(*at)).map(|(_, listener)| listener).collect();
        for listener in open {
            let text = format!(
                "the listener `{}` has no plugin of its own, so that the policy does not count there (repeat the `plugin` line \
                 below it, or take `per_listener_settings` out)",
                listener.port
            );
            self.error("unguarded", &listener.place, text);
        }
    }

    fn listeners(&mut self) {
        let conf = self.conf;
        if conf.listeners.is_empty() {
            let main = self.main.clone();
            self.note(
                "listener",
                Some(&main),
                "without a `listener` the broker is reached from this machine alone, at port 1883",
            );
        }
        for listener in &conf.listeners {
            self.identity(listener);
            self.in_the_clear(listener);
            let is_websocket = listener.find("protocol").is_some_and(|line| line.value == "websockets");
            if is_websocket && self.broker.and_then(|broker| broker.version) == Some((2, 0, 21)) {
                self.note(
                    "websockets",
                    Some(&listener.place),
                    "2.0.21 believes the address that a WebSocket client names, so guesses can be slowed down here and not stopped \
                     (let a proxy overwrite `X-Forwarded-For`)",
                );
            }
        }
        for place in &conf.bridges {
            self.note(
                "bridge",
                Some(place),
                "a bridge that this broker opens is never asked about: it may pass on any topic",
            );
        }
    }

    /// tests/brokers/identity.rs: a_session_is_not_inherited_through_a_certificate,
    /// use_username_as_clientid_keeps_sessions_apart
    fn identity(&mut self, listener: &Listener) {
        let key = ["use_identity_as_username", "use_subject_as_username"].into_iter().find(|key| listener.is(key));
        let Some(line) = key.and_then(|key| listener.find(key)) else { return };
        if !listener.is("use_username_as_clientid") {
            let text = format!(
                "with `{}` the broker asks nothing at CONNECT, so whoever has a certificate can throw off any other client and \
                 empty its queue by using its client id (add `use_username_as_clientid true` to this listener)",
                line.key
            );
            self.error("identity", &line.place, text);
        }
        if self.broker.and_then(|broker| broker.version) == Some((2, 0, 11)) {
            let text = format!(
                "with `{}`, 2.0.11 refuses offline sessions at SIGHUP without asking the plugin, and frees them twice (send it no \
                 SIGHUP, and restart it instead; or upgrade it)",
                line.key
            );
            self.error("identity-sighup", &line.place, text);
        }
    }

    fn in_the_clear(&mut self, listener: &Listener) {
        let is_tls = listener.find("certfile").is_some() || listener.find("psk_hint").is_some();
        // Port 0 is a socket in the file system.
        if is_tls || listener.port == "0" || listener.find("bind_interface").is_some_and(|line| line.value == "lo") {
            return;
        }
        let shown = listener.address.as_deref();
        let address = shown.map(|text| text.parse::<IpAddr>());
        let remedy = "add `certfile` and `keyfile`, or listen on `127.0.0.1`";
        match address {
            Some(Ok(address)) if address.is_loopback() => {}
            None if listener.find("bind_interface").is_none() => {
                let text = format!(
                    "passwords travel in the clear to all addresses of this machine, port {} ({remedy})",
                    listener.port
                );
                self.error("clear-text", &listener.place, text);
            }
            Some(Ok(address)) if address.is_unspecified() || !is_private(address) => {
                let text = format!(
                    "passwords travel in the clear to the public address {address}, port {} ({remedy})",
                    listener.port
                );
                self.error("clear-text", &listener.place, text);
            }
            _ if shown == Some("localhost") => {}
            _ => {
                let text = format!(
                    "passwords travel in the clear to {}, port {} ({remedy})",
                    shown.unwrap_or("an interface"),
                    listener.port
                );
                self.warning("clear-text", &listener.place, text);
            }
        }
    }

    fn settings(&mut self) {
        let conf = self.conf;
        // tests/brokers/publish.rs
        for line in
            conf.all("max_queued_messages").filter(|line| line.number() == Some(0) && self.is_2_0 != Some(false))
        {
            self.findings.push(Finding::warning(
                "max-queued",
                &line.place,
                "with `max_queued_messages 0`, 2.0 disconnects a client whose message is refused (leave the line out)",
            ));
        }
        for line in conf.all("check_retain_source").filter(|line| line.is_false()) {
            self.findings.push(Finding::warning(
                "retain-source",
                &line.place,
                "with `check_retain_source false` retained messages go on being delivered after their publisher lost the right to \
                 publish them (take the line out)",
            ));
        }
        // tests/brokers/log.rs
        for line in conf.all("log_dest").filter(|line| line.value == "topic") {
            self.findings.push(Finding::warning(
                "log-topic",
                &line.place,
                "`log_dest topic` shows names and addresses of all clients to whoever may subscribe to `$SYS/broker/log/#` (keep it \
                 out of the policy, or log elsewhere)",
            ));
        }
        for line in conf.all("log_dest").filter(|line| line.value == "none") {
            self.findings.push(Finding::warning(
                "log-none",
                &line.place,
                "`log_dest none` hides why clients are refused, and that a new policy is broken (log to `syslog` or a file)",
            ));
        }
        for line in conf.all("auto_id_prefix").filter(|line| line.value != "auto-") {
            self.findings.push(Finding::warning(
                "auto-id",
                &line.place,
                "with another `auto_id_prefix` clients that send no client id are refused (leave the line out)",
            ));
        }
    }

    /// What SIGHUP will do: it is what `systemctl reload` and logrotate send.
    fn reload(&mut self) {
        let main = self.main.clone();
        self.note(
            "reload",
            Some(&main),
            "`systemctl reload mosquitto` makes the broker read the policy again: a good one is in force at once, a bad one is \
             logged and the old one stays; the lines of `plugin` and `listener` are read at a restart only",
        );
    }

    fn rotation(&mut self, folder: &Path) {
        for line in self.conf.all("log_dest") {
            let Some(log) = line.value.strip_prefix("file ").map(str::trim) else { continue };
            match rotation::of(folder, Path::new(log)) {
                None => {
                    let text = format!("no file in `{}` names `{log}`, so nothing rotates it", folder.display());
                    self.note("logrotate", Some(&line.place), text);
                }
                Some(Rotation { file, tells: true }) => {
                    let text =
                        "after rotating the log, logrotate makes the broker read the policy again, as a reload does";
                    self.note("logrotate", Some(&Place::whole(&file)), text);
                }
                Some(Rotation { file, tells: false }) => {
                    let text = format!(
                        "`{log}` is rotated and the broker not told, so it goes on writing to the old file (add `postrotate`, \
                         `systemctl reload mosquitto`, `endscript`)"
                    );
                    self.warning("logrotate", &Place::whole(&file), text);
                }
            }
        }
    }
}

/// Whether an address is one of a local network.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}
