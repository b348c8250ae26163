//! A stock broker of one version, started for a test with the plugin and a policy of its own.

use std::env;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::mqtt::{Client, Connect, PATIENCE, V5, V311};

/// Every password in the tests' policies, as a client sends it.
pub(crate) const PASSWORD: &str = "sesame";
/// The same as `mosquitto_passwd` writes it: cheap, so that logins do not make up the time of the tests.
pub(crate) const PBKDF2: &str =
    "$7$101$X9aGnLYlh470XxDz$wBdgUZw+pPQp9Wlmh9bHfG4DuWnZRLB7jDJhZpyep9AqD270f1vPt8g2gYaHhoPMyriOgUjtWWjDU0wJkb6rBw==";
const ARGON2ID: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$QnQOb2tJuY/ZrqdDyEiQkA$w9Rmq5bTb5jXSGbJ4hDAYUCncvYp9Q/mTO0fuhVm5FU";
/// As dear as a policy may ask for: a good part of a second.
const SLOW: &str = "$argon2id$v=19$m=65536,t=4,p=1$c2l4dGVlbiBieXRlcyBvaw$398nVsGW0j5b3oB1/hZ+HFyR9v4ff97CUXEmwItu4/Y";
/// A device's token, and its string.
pub(crate) const TOKEN: &str = "mqttacl_j5_QBnQff6D8H63DZXzs-5wazaVXxwwN0Ye5Lmj7tSUX8fCUw";
pub(crate) const TOKEN_STRING: &str = "$token$akAHzq35dAkzl9Z12d5LIfjLygc3310Wbe5TO6N7fAM";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Podman,
    Docker,
    /// No containers: the broker's own loader runs it with its own libraries.
    Unpacked,
}

impl Engine {
    fn command(self) -> Option<&'static str> {
        match self {
            Self::Podman => Some("podman"),
            Self::Docker => Some("docker"),
            Self::Unpacked => None,
        }
    }
}

/// One stock broker that `tests/brokers/prepare.sh` fetched.
#[derive(Debug)]
pub(crate) struct Install {
    pub(crate) version: String,
    pub(crate) engine: Engine,
    folder: PathBuf,
    image: String,
    reference: OnceLock<Broker>,
}

impl Install {
    /// All that were prepared, oldest first.
    pub(crate) fn all() -> Result<Vec<Self>, String> {
        let base = target().join("brokers");
        let advice = "run tests/brokers/prepare.sh first";
        let read = |path: PathBuf| {
            let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}: {advice}", path.display()))?;
            Ok::<_, String>(text.trim().to_owned())
        };
        let engine = match read(base.join("engine"))?.as_str() {
            "podman" => Engine::Podman,
            "docker" => Engine::Docker,
            _ => Engine::Unpacked,
        };
        let mut installs = Vec::new();
        for suite in ["bookworm", "trixie", "forky"] {
            let folder = base.join(suite);
            let image = if engine == Engine::Unpacked { String::new() } else { read(folder.join("image"))? };
            let version = read(folder.join("version"))?;
            installs.push(Self { version, engine, folder, image, reference: OnceLock::new() });
        }
        Ok(installs)
    }

    pub(crate) fn is_at_least(&self, version: &str) -> bool {
        let numbers = |text: &str| text.split('.').map_while(|part| part.parse::<u32>().ok()).collect::<Vec<_>>();
        numbers(&self.version) >= numbers(version)
    }

    /// Where the broker lies unpacked.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// What runs its programs there: its own loader, and the folder of its own libraries.
    pub(crate) fn loader(&self) -> [String; 3] {
        let libraries = glob(&self.root().join("usr/lib"), "-linux-gnu");
        [glob(&self.root().join("usr/lib64"), "ld-linux"), "--library-path".to_owned(), libraries]
    }

    /// The broker that all tests share which change neither its policy nor its settings.
    pub(crate) fn reference(&self) -> &Broker {
        self.reference.get_or_init(|| Broker::running(self, &Setup::policy(include_str!("../brokers/policy.toml"))))
    }

    pub(crate) fn started_reference(&self) -> Option<&Broker> {
        self.reference.get()
    }

    /// Gives a broker to one test alone; it must still serve at the end.
    pub(crate) fn with(&self, setup: &Setup, test: impl FnOnce(&Broker)) {
        let broker = Broker::running(self, setup);
        test(&broker);
        broker.assert_serving();
        broker.stop();
    }

    /// The same where the broker may as well refuse to start.
    pub(crate) fn with_if_it_starts(&self, setup: &Setup, test: impl FnOnce(&Broker)) {
        let broker = Broker::start(self, setup);
        if broker.log.find(0, |line| line.ends_with(" running")).is_some() {
            test(&broker);
            broker.assert_serving();
            broker.stop();
        } else {
            assert!(!broker.wait().success(), "the broker ended by itself:\n{}", broker.log.text());
        }
    }

    /// The command that runs the broker with these settings; its end of the container lives as long as the process.
    fn command(&self, name: &str, folder: &Path, setup: &Setup) -> Command {
        let mut broker: Vec<String> = Vec::new();
        let root = if self.engine == Engine::Unpacked { self.root() } else { PathBuf::new() };
        let path = |inside: &str| format!("{}{inside}", root.display());
        let data = folder.join("data");
        let (options, preloaded) = match setup.tool {
            None => (Vec::new(), None),
            Some(Tool::Memcheck) => (
                [
                    "--error-exitcode=99",
                    "--errors-for-leak-kinds=none",
                    "--child-silent-after-fork=yes",
                    // Otherwise a thread that checks a password may keep the broker's from running at all.
                    "--fair-sched=try",
                ]
                .map(str::to_owned)
                .into(),
                None,
            ),
            Some(Tool::Callgrind) => {
                let file = format!("--callgrind-out-file={}", data.join(PROFILE).display());
                (
                    ["--tool=callgrind", "--instr-atstart=no", "--vgdb=no", &file].map(str::to_owned).into(),
                    Some(folder.join(PROBE)),
                )
            }
        };
        if setup.tool.is_some() {
            broker.push(path("/usr/bin/valgrind.bin"));
            broker.extend(options);
        }
        if self.engine == Engine::Unpacked {
            broker.extend(self.loader());
            broker.extend(
                preloaded.into_iter().flat_map(|library| ["--preload".to_owned(), library.display().to_string()]),
            );
        }
        broker.extend([path("/usr/sbin/mosquitto"), "-c".to_owned(), format!("{}/mosquitto.conf", folder.display())]);

        let Some(engine) = self.engine.command() else {
            let mut command = Command::new(&broker[0]);
            command.args(&broker[1..]).env("VALGRIND_LIB", path("/usr/libexec/valgrind"));
            return command;
        };
        let mut command = Command::new(engine);
        command.args(["run", "--rm", "--name", name, "--network=host", "--read-only", "--log-driver=none"]);
        // The limits that podman asks for by itself need rights that a sandbox may not give.
        command.args(["--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096"]);
        if self.engine == Engine::Podman {
            command.arg("--runtime=runc");
            if !is_root() {
                // The broker is this user, inside as outside: files stay its own.
                command.arg("--userns=keep-id");
            }
        }
        let mount = |path: &Path, mode: &str| format!("--volume={0}:{0}:{mode}", path.display());
        command.args([mount(folder, "ro"), mount(&data, "rw")]);
        command.arg("--tmpfs=/tmp").arg(&self.image).args(broker);
        command
    }
}

/// What of valgrind a broker runs under.
#[derive(Clone, Copy, Debug)]
enum Tool {
    Memcheck,
    Callgrind,
}

/// The names of what it loads before the broker, and of what it writes.
const PROBE: &str = "probe.so";
const PROFILE: &str = "callgrind";

/// What a test's broker is started with.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    conf: String,
    policy: Option<String>,
    policy_mode: u32,
    tool: Option<Tool>,
    patience: Duration,
    files: Vec<(&'static str, String)>,
    copies: Vec<(&'static str, PathBuf)>,
}

impl Setup {
    /// One listener, the plugin, and this policy.
    pub(crate) fn policy(policy: &str) -> Self {
        Self::conf(&format!("listener {{port}} 127.0.0.1\n{PLUGIN}")).with_policy(policy)
    }

    /// A whole mosquitto.conf and no policy. `{port}`, `{port2}`, `{plugin}`, `{policy}` and `{folder}` are filled in.
    pub(crate) fn conf(conf: &str) -> Self {
        let (conf, files, copies) = (conf.to_owned(), Vec::new(), Vec::new());
        let patience = PATIENCE;
        let setup = Self { conf, policy: None, policy_mode: 0o644, tool: None, patience, files, copies };
        setup.copy(LIBRARY, &plugin())
    }

    /// `{password}`, `{argon2id}` and `{slow}` stand for hashes of `PASSWORD`, `{token}` for that of `TOKEN`.
    pub(crate) fn with_policy(mut self, policy: &str) -> Self {
        self.policy = Some(policy.to_owned());
        self
    }

    pub(crate) fn without_policy(mut self) -> Self {
        self.policy = None;
        self
    }

    pub(crate) fn policy_mode(mut self, mode: u32) -> Self {
        self.policy_mode = mode;
        self
    }

    /// More lines of mosquitto.conf, before the others: global settings.
    pub(crate) fn setting(mut self, line: &str) -> Self {
        self.conf = format!("{line}\n{}", self.conf);
        self
    }

    /// More lines after the others: options of a plugin that is named last.
    pub(crate) fn option(mut self, line: &str) -> Self {
        self.conf.push_str(line);
        self
    }

    /// A file beside mosquitto.conf.
    pub(crate) fn file(mut self, name: &'static str, text: &str) -> Self {
        self.files.push((name, text.to_owned()));
        self
    }

    /// A copy of a file beside mosquitto.conf, where the broker's user may read it.
    pub(crate) fn copy(mut self, name: &'static str, from: &Path) -> Self {
        self.copies.push((name, from.to_owned()));
        self
    }

    pub(crate) fn under_valgrind(mut self) -> Self {
        (self.tool, self.patience) = (Some(Tool::Memcheck), 3 * PATIENCE);
        self
    }

    /// Counts instructions once this library, which is loaded before the broker, is told to. Unpacked brokers only.
    pub(crate) fn under_callgrind(mut self, probe: &Path) -> Self {
        self.tool = Some(Tool::Callgrind);
        self.copy(PROBE, probe)
    }

    /// How long the broker may take to start and to end.
    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

/// The lines that put the plugin into a listener, or into all of them. A new policy waits for SIGHUP, unless a test is about
/// just that.
pub(crate) const PLUGIN: &str = "plugin {plugin}\nplugin_opt_policy_file {policy}\nplugin_opt_watch false\n\
                                 plugin_opt_state_dir {folder}/data/mqtt-acl\n";

/// A broker that a test started, or that did not want to start.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) port: u16,
    pub(crate) port2: u16,
    pub(crate) folder: PathBuf,
    name: String,
    engine: Engine,
    patience: Duration,
    process: Mutex<(Command, Child)>,
    /// The process inside the container, once it is asked for.
    pid: OnceLock<i32>,
    log: Arc<Log>,
}

impl Broker {
    /// A broker that listens.
    pub(crate) fn running(install: &Install, setup: &Setup) -> Self {
        Self::try_running(install, setup)
            .unwrap_or_else(|broker| panic!("the broker does not start:\n{}", broker.log.text()))
    }

    /// A broker that listens, or one that does not within its patience.
    pub(crate) fn try_running(install: &Install, setup: &Setup) -> Result<Self, Box<Self>> {
        for _ in 0..5 {
            let broker = Self::start(install, setup);
            let wanted = |line: &str| line.ends_with(" running") || line.contains("already in use");
            match broker.log.find_within(broker.patience, 0, wanted) {
                Some((_, line)) if line.contains("already in use") => {}
                Some(_) => return Ok(broker),
                None => return Err(Box::new(broker)),
            }
        }
        panic!("no free port")
    }

    /// A broker that is expected to end by itself: how, and what it said.
    pub(crate) fn refusing(install: &Install, setup: &Setup) -> (ExitStatus, String) {
        let broker = Self::start(install, setup);
        let running = broker.log.find(0, |line| line.ends_with(" running"));
        assert_eq!(running, None, "the broker runs:\n{}", broker.log.text());
        let status = broker.wait();
        (status, broker.log.text())
    }

    fn start(install: &Install, setup: &Setup) -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("mqtt-acl-test-{}-{number}", std::process::id());
        let folder = env::temp_dir().join(&name);
        make_folder(&folder, 0o755);
        make_folder(&folder.join("data"), 0o777);

        let (port, port2) = (free_port(), free_port());
        // As root the broker gives its rights up; unpacked it has only this machine's users to become.
        let user = if install.engine == Engine::Unpacked && is_root() { "user nobody\n" } else { "" };
        let conf = format!("log_dest stderr\nlog_type all\n{user}{}", setup.conf);
        let library = folder.join(LIBRARY);
        let policy = folder.join("policy.toml");
        let fill = |text: &str| {
            text.replace("{port}", &port.to_string())
                .replace("{port2}", &port2.to_string())
                .replace("{plugin}", &library.display().to_string())
                .replace("{policy}", &policy.display().to_string())
                .replace("{folder}", &folder.display().to_string())
        };
        write(&folder.join("mosquitto.conf"), &fill(&conf));
        for (name, text) in &setup.files {
            write(&folder.join(name), &fill(&fill_policy(text)));
        }
        for (name, from) in &setup.copies {
            let to = folder.join(name);
            fs::copy(from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
            set_mode(&to, 0o755);
        }
        if let Some(text) = &setup.policy {
            write(&policy, &fill_policy(text));
            set_mode(&policy, setup.policy_mode);
        }

        let mut command = install.command(&name, &folder, setup);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let log = Arc::new(Log::default());
        let child = launch(&mut command, &log);
        let (engine, patience, process) = (install.engine, setup.patience, Mutex::new((command, child)));
        Self { port, port2, folder, name, engine, patience, process, pid: OnceLock::new(), log }
    }

    /// Stops the broker in good order, and starts it again with the files it left.
    pub(crate) fn restart(&self) {
        self.stop();
        self.start_again();
    }

    /// Starts a broker that has ended, with the files it left.
    pub(crate) fn start_again(&self) {
        let start = self.launch_again();
        self.wait_log(start, |line| line.ends_with(" running"), "the broker running again");
    }

    /// The same where it must refuse to start; what it said.
    pub(crate) fn refuses_to_start_again(&self) -> String {
        let start = self.launch_again();
        let status = self.wait();
        let text = self.log_from(start);
        assert!(!status.success() && !text.lines().any(|line| line.ends_with(" running")), "the broker runs:\n{text}");
        text
    }

    fn launch_again(&self) -> usize {
        let start = self.log.len();
        self.log.reopen();
        let mut process = self.process();
        process.1 = launch(&mut process.0, &self.log);
        start
    }

    /// Ends the broker in no order at all.
    pub(crate) fn kill(&self) {
        self.signal("KILL");
        assert!(!self.wait().success());
    }

    pub(crate) fn policy_file(&self) -> PathBuf {
        self.folder.join("policy.toml")
    }

    /// Replaces the policy as an editor does: a new file under the old name.
    pub(crate) fn write_policy(&self, policy: &str) {
        let new = self.folder.join("policy.new");
        write(&new, &fill_policy(policy));
        fs::rename(new, self.policy_file()).expect("the policy is replaced");
    }

    /// SIGHUP and nothing else.
    pub(crate) fn hang_up(&self) {
        self.signal("HUP");
    }

    /// The same without the engine, which takes a good part of a second.
    pub(crate) fn hang_up_at_once(&self) {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::HUP).expect("SIGHUP");
    }

    /// The broker's memory in pages.
    pub(crate) fn memory(&self) -> u64 {
        let path = format!("/proc/{}/statm", self.pid().as_raw_nonzero());
        let statm = fs::read_to_string(path).expect("the broker's memory");
        statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages")
    }

    /// The broker's process, as this machine numbers it.
    pub(crate) fn pid(&self) -> rustix::process::Pid {
        let number = match self.engine.command() {
            Some(engine) => *self.pid.get_or_init(|| {
                let mut command = Command::new(engine);
                command.args(["inspect", "--format", "{{.State.Pid}}", &self.name]);
                let output = command.output().expect("the engine answers");
                String::from_utf8_lossy(&output.stdout).trim().parse().expect("the broker's process")
            }),
            None => self.process().1.id() as i32,
        };
        rustix::process::Pid::from_raw(number).expect("a process")
    }

    /// Puts a good policy in force.
    pub(crate) fn reload(&self, policy: &str) {
        self.write_policy(policy);
        self.reload_logs("policy in force");
    }

    /// The same where 2.0.11 has no TICK: the new policy waits for the next callback (S23), which a CONNECT causes.
    pub(crate) fn reload_and_knock(&self, policy: &str) {
        let start = self.log.len();
        self.write_policy(policy);
        self.hang_up();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let _ = self.try_client(&Connect::new(V311, "knock"));
            if self.log_from(start).contains("mqtt-acl: policy in force") {
                return;
            }
        }
        panic!("the policy does not come into force:\n{}", self.log.text());
    }

    /// SIGHUP, and the log line that tells what became of it.
    pub(crate) fn reload_logs(&self, outcome: &str) -> String {
        let start = self.log.len();
        self.hang_up();
        let line = self.log.find(start, |line| line.contains("policy in force") || line.contains("policy not loaded"));
        let (_, line) = line.unwrap_or_else(|| panic!("no outcome of the reload in the log:\n{}", self.log.text()));
        assert!(line.contains(outcome), "{line:?} instead of {outcome:?}:\n{}", self.log.text());
        line
    }

    /// Where the log ends now, to look only at what comes after.
    pub(crate) fn log_len(&self) -> usize {
        self.log.len()
    }

    /// Waits for a line of the log from there on.
    pub(crate) fn wait_log(&self, start: usize, wanted: impl Fn(&str) -> bool, what: &str) -> String {
        let found = self.log.find_within(self.patience, start, wanted);
        found.unwrap_or_else(|| panic!("the log lacks {what}:\n{}", self.log.text())).1
    }

    pub(crate) fn log_from(&self, start: usize) -> String {
        self.log.state.lock().expect("the log").0[start..].join("\n")
    }

    pub(crate) fn log_text(&self) -> String {
        self.log.text()
    }

    /// A client that is connected under this name, with the password all share.
    pub(crate) fn client(&self, version: u8, username: &str, client_id: &str) -> Client {
        self.client_with(&Connect::new(version, client_id).username(username).password(PASSWORD))
    }

    pub(crate) fn client_with(&self, connect: &Connect) -> Client {
        let (client, answer) = self.patient_client(connect);
        assert!(matches!(answer, Ok((_, 0))), "{answer:?} for {connect:?}\n{}", self.log.tail());
        client
    }

    /// A CONNECT and its answer.
    pub(crate) fn try_client(&self, connect: &Connect) -> (Client, Result<(bool, u8), super::mqtt::Gone>) {
        let mut client = Client::open(self.port, connect.version);
        let answer = client.connect(connect);
        (client, answer)
    }

    /// The same of a client that comes again as long as that is what it is to do, for tests that share a broker get into
    /// each other's way: 2.1 closes a connection while the login of another under its id is being checked, and passwords are
    /// not checked while there are too many. The log tells that, and is read a little later than it is written.
    pub(crate) fn patient_client(&self, connect: &Connect) -> (Client, Result<(bool, u8), super::mqtt::Gone>) {
        const AGAIN: Duration = Duration::from_millis(50);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let start = self.log_len();
            let (client, answer) = self.try_client(connect);
            if matches!(answer, Ok((_, 0))) || Instant::now() > deadline {
                return (client, answer);
            }
            std::thread::sleep(AGAIN);
            let log = self.log_from(start);
            let comes_again = ["too many passwords to check just now", "could not be checked in time"];
            let is_put_off = matches!(answer, Ok((_, 137))) || comes_again.iter().any(|why| log.contains(why));
            if answer.is_ok() && !is_put_off {
                return (client, answer);
            }
        }
    }

    /// Asserts that a CONNECT is answered with "not authorized", which both protocols can say.
    pub(crate) fn assert_refused(&self, connect: &Connect) {
        let (_, answer) = self.patient_client(connect);
        let code = if connect.version == V5 { super::mqtt::NOT_AUTHORIZED } else { super::mqtt::REFUSED_3 };
        assert_eq!(answer, Ok((false, code)), "for {connect:?}\n{}", self.log.tail());
    }

    /// Asserts that the broker still runs and answers.
    pub(crate) fn assert_serving(&self) {
        let exit = self.process().1.try_wait().expect("the broker's state");
        assert_eq!(exit, None, "the broker is dead:\n{}", self.log.text());
        let (_, answer) = self.try_client(&Connect::new(V311, "is-it-alive"));
        assert!(answer.is_ok(), "the broker does not answer: {answer:?}\n{}", self.log.text());
    }

    /// Ends the broker in good order, which it must be able to do.
    pub(crate) fn stop(&self) -> String {
        self.signal("TERM");
        let status = self.wait();
        let text = self.log.text();
        assert!(status.success(), "the broker ended with {status}:\n{text}");
        text
    }

    fn process(&self) -> MutexGuard<'_, (Command, Child)> {
        self.process.lock().expect("no test panics with the lock")
    }

    /// Under callgrind: a file that a part of the counts is written to, and the one that the broker ends with.
    pub(crate) fn profile(&self, part: Option<usize>) -> PathBuf {
        let part = part.map_or(String::new(), |part| format!(".{part}"));
        self.folder.join("data").join(format!("{PROFILE}{part}"))
    }

    /// Through the engine: it hands on only those sent to itself that come late enough.
    pub(crate) fn signal(&self, name: &str) {
        let mut command = match self.engine.command() {
            Some(engine) => {
                let mut command = Command::new(engine);
                command.args(["kill", "-s", name, &self.name]);
                command
            }
            None => {
                let mut command = Command::new("kill");
                command.args(["-s", name, &self.process().1.id().to_string()]);
                command
            }
        };
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(output.status.success(), "{command:?}: {output:?}\n{}", self.log.text());
    }

    /// Ends a broker of a test that failed, with its container.
    fn remove(&self) {
        if let Some(engine) = self.engine.command() {
            let _ = Command::new(engine).args(["rm", "-f", &self.name]).output();
        }
        let child = &mut self.process().1;
        let _ = child.kill();
        let _ = child.wait();
    }

    fn wait(&self) -> ExitStatus {
        let deadline = Instant::now() + self.patience;
        loop {
            let status = self.process().1.try_wait();
            if let Some(status) = status.expect("the broker's state") {
                self.log.wait_end();
                return status;
            }
            assert!(Instant::now() < deadline, "the broker does not end:\n{}", self.log.text());
            thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if !matches!(self.process().1.try_wait(), Ok(Some(_))) {
            self.remove();
        }
        if thread::panicking() {
            let log = self.log.tail();
            eprintln!("--- {}: the end of the broker's log\n{log}", self.name);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Starts the broker, and gathers what it says.
fn launch(command: &mut Command, log: &Arc<Log>) -> Child {
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = child.stderr.take().expect("stderr is piped");
    let log = Arc::clone(log);
    thread::spawn(move || {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            log.push(&String::from_utf8_lossy(&line));
        }
        log.end();
    });
    child
}

/// What the broker has logged so far.
#[derive(Debug, Default)]
struct Log {
    state: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

impl Log {
    fn push(&self, line: &str) {
        self.state.lock().expect("the log").0.push(line.to_owned());
        self.changed.notify_all();
    }

    fn end(&self) {
        self.state.lock().expect("the log").1 = true;
        self.changed.notify_all();
    }

    fn reopen(&self) {
        self.state.lock().expect("the log").1 = false;
    }

    fn len(&self) -> usize {
        self.state.lock().expect("the log").0.len()
    }

    fn text(&self) -> String {
        self.state.lock().expect("the log").0.join("\n")
    }

    fn tail(&self) -> String {
        let state = self.state.lock().expect("the log");
        state.0[state.0.len().saturating_sub(30)..].join("\n")
    }

    /// The first line from `start` on that is wanted, waiting for it; none when the broker ends or says nothing of it.
    fn find(&self, start: usize, wanted: impl Fn(&str) -> bool) -> Option<(usize, String)> {
        self.find_within(PATIENCE, start, wanted)
    }

    fn find_within(&self, patience: Duration, start: usize, wanted: impl Fn(&str) -> bool) -> Option<(usize, String)> {
        let deadline = Instant::now() + patience;
        let mut next = start;
        let mut state = self.state.lock().expect("the log");
        loop {
            while let Some(line) = state.0.get(next) {
                if wanted(line) {
                    return Some((next, line.clone()));
                }
                next += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.1 || left.is_zero() {
                return None;
            }
            state = self.changed.wait_timeout(state, left).expect("the log").0;
        }
    }

    fn wait_end(&self) {
        let state = self.state.lock().expect("the log");
        drop(self.changed.wait_timeout_while(state, PATIENCE, |state| !state.1).expect("the log"));
    }
}

/// The name of its copy.
const LIBRARY: &str = "libmqtt_acl.so";

/// The library under test.
pub(crate) fn plugin() -> PathBuf {
    env::var_os("MQTT_ACL_SO").map_or_else(|| target().join("release/libmqtt_acl.so"), PathBuf::from)
}

pub(crate) fn target() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    folder.join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

pub(crate) fn fill_policy(text: &str) -> String {
    text.replace("{password}", PBKDF2)
        .replace("{argon2id}", ARGON2ID)
        .replace("{slow}", SLOW)
        .replace("{token}", TOKEN_STRING)
}

/// A file that everybody may read and only its owner may write, whatever the umask: the plugin refuses others.
fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    set_mode(path, 0o644);
}

fn make_folder(path: &Path, mode: u32) {
    fs::create_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    set_mode(path, mode);
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("the mode is set");
}

pub(crate) fn is_root() -> bool {
    File::open("/proc/self").and_then(|file| file.metadata()).is_ok_and(|metadata| metadata.uid() == 0)
}

/// The one entry of a folder whose name holds this.
fn glob(folder: &Path, part: &str) -> String {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names = entries.flatten().map(|entry| entry.path()).filter(|path| path.to_string_lossy().contains(part));
    names.next().unwrap_or_else(|| panic!("no {part} in {}", folder.display())).display().to_string()
}

/// A port that nobody listens at: below those that the system gives to clients, so that none takes it in between.
fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    (0..COUNT)
        .map(|_| FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("a free port")
}
