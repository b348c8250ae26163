//! The mock host as a Rust test sees it: one child process, spoken to line by line.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

pub(crate) const READ: i32 = 1;
pub(crate) const WRITE: i32 = 2;
pub(crate) const SUBSCRIBE: i32 = 4;
pub(crate) const UNSUBSCRIBE: i32 = 8;

const SUCCESS: i32 = 0;
const REFUSED_LOGIN: i32 = 11;
const REFUSED_ACCESS: i32 = 12;
const DEFER: i32 = 17;
/// 2.1 only: the answer comes later, and: come again later.
pub(crate) const DELAYED: i32 = -5;
pub(crate) const BUSY: i32 = 137;

/// Which broker the host pretends to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Broker {
    V2_0,
    V2_1,
}

impl Broker {
    pub(crate) const ALL: [Self; 2] = [Self::V2_0, Self::V2_1];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V2_0 => "2.0",
            Self::V2_1 => "2.1",
        }
    }

    /// Compiles the host once per test run.
    fn program(self) -> &'static Path {
        static PROGRAMS: [OnceLock<PathBuf>; 2] = [OnceLock::new(), OnceLock::new()];
        PROGRAMS[self as usize].get_or_init(|| {
            let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mock-host-{}", self.name()));
            let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
            let compiler = cc::Build::new().target(&target).host(&target).opt_level(1).get_compiler();
            let mut command = compiler.to_command();
            command.args(["-std=gnu11", "-g", "-Wall", "-Wextra", "-rdynamic", "-o"]).arg(&program);
            if self == Self::V2_1 {
                command.arg("-DMOCK_2_1");
            }
            command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mock/host.c")).args(["-ldl", "-lpthread"]);
            let status = command.status().unwrap();
            assert!(status.success(), "the mock host needs a C compiler, mosquitto-dev and libmosquitto-dev");
            program
        })
    }
}

/// How the host is run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Under {
    Nothing,
    Valgrind,
}

/// A client in a call: one the host knows, a copy of it on the stack, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    Null,
    Client(usize),
    OnStack(usize),
    /// Somebody new with the same id and address.
    Like(usize),
}

impl From<usize> for Who {
    fn from(number: usize) -> Self {
        Self::Client(number)
    }
}

impl Who {
    fn word(self) -> String {
        match self {
            Self::Null => "-".to_owned(),
            Self::Client(number) => number.to_string(),
            Self::OnStack(number) => format!("@{number}"),
            Self::Like(number) => format!("+{number}"),
        }
    }
}

/// What the broker knows of a client; `None` is NULL.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    pub(crate) id: Option<Vec<u8>>,
    pub(crate) user: Option<Vec<u8>>,
    pub(crate) password: Option<Vec<u8>>,
    pub(crate) address: Option<Vec<u8>>,
    pub(crate) will: Option<Vec<u8>>,
    pub(crate) subscription: Option<Vec<u8>>,
    pub(crate) offline: bool,
    /// Whether its session outlives the connection.
    pub(crate) kept: bool,
    pub(crate) mqtt_5: bool,
}

impl Client {
    pub(crate) fn new(id: impl AsRef<[u8]>, user: impl AsRef<[u8]>) -> Self {
        Self {
            id: Some(id.as_ref().to_vec()),
            user: Some(user.as_ref().to_vec()),
            address: Some(b"192.0.2.1".to_vec()),
            ..Self::default()
        }
    }
}

/// What the plugin did during a call, and what it answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) value: Option<i32>,
    pub(crate) lines: Vec<String>,
}

impl Answer {
    pub(crate) fn says(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.contains(text))
    }
}

/// What became of a policy that was to be loaded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    InForce,
    NotLoaded,
}

/// A running host. Calls go to `plugin`.
pub(crate) struct Host {
    pub(crate) broker: Broker,
    pub(crate) under: Under,
    pub(crate) plugin: usize,
    /// Everything logged since the last [`Host::tidy`].
    pub(crate) log: Vec<String>,
    /// Whether it ticked since a plugin was loaded.
    ticks: bool,
    /// Whether the last cleanup took so long that threads may have been left.
    leaves_threads: bool,
    loaded: Vec<usize>,
    clients: Vec<usize>,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Host {
    pub(crate) fn start(broker: Broker, under: Under) -> Self {
        let program = broker.program();
        let mut command = match under {
            Under::Nothing => Command::new(program),
            Under::Valgrind => {
                let mut command = Command::new("valgrind");
                command.args([
                    "-q",
                    "--error-exitcode=99",
                    "--leak-check=full",
                    "--errors-for-leak-kinds=definite,possible",
                ]);
                command.args(["--keep-debuginfo=yes", "--num-callers=30"]);
                // Otherwise a thread that computes may keep the broker's from running at all.
                command.arg("--fair-sched=try");
                command.arg(concat!("--suppressions=", env!("CARGO_MANIFEST_DIR"), "/tests/mock/valgrind.supp"));
                command.arg(program);
                command
            }
        };
        command.arg(Self::patience(under).as_secs().to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self {
            broker,
            under,
            plugin: 0,
            log: Vec::new(),
            ticks: false,
            leaves_threads: false,
            loaded: Vec::new(),
            clients: Vec::new(),
            child,
            input,
            output,
        }
    }

    /// How long anything may take before it counts as hanging.
    fn patience(under: Under) -> Duration {
        Duration::from_secs(if under == Under::Valgrind { 180 } else { 60 })
    }

    /// Sends a command and returns what came of it; whatever the broker's contract forbids fails the test.
    pub(crate) fn ask(&mut self, command: &str) -> Answer {
        writeln!(self.input.as_mut().unwrap(), "{command}").unwrap();
        self.answer(command)
    }

    /// Sends commands as one, so that the host does them as fast as it can.
    pub(crate) fn batch(&mut self, commands: &[String]) -> Vec<Answer> {
        let text = format!("batch {}\n{}\n", commands.len(), commands.join("\n"));
        self.input.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
        commands.iter().map(|command| self.answer(command)).collect()
    }

    fn answer(&mut self, command: &str) -> Answer {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).unwrap() == 0 {
                let status = self.child.wait().unwrap();
                panic!("the host died of `{command:.200}`: {status}; before that: {lines:#?}");
            }
            if let Some(value) = line.strip_prefix("= ") {
                self.log.extend(lines.iter().filter_map(|line: &String| line.strip_prefix("log ")).map(str::to_owned));
                return Answer { value: value.trim_end().parse().ok(), lines };
            }
            assert!(!line.starts_with("violation"), "`{command:.200}`: {line}");
            lines.push(line.split_whitespace().map(readable).collect::<Vec<_>>().join(" "));
        }
    }

    /// Loads the library as the plugin that calls now go to. Plugins of one scope share the broker's callback lists.
    pub(crate) fn load(&mut self, plugin: usize, scope: usize, library: &Path) {
        self.plugin = plugin;
        self.ticks = false;
        let answer = self.ask(&format!("load {plugin} {scope} {}", word(Some(library.as_os_str().as_encoded_bytes()))));
        assert_eq!(answer.value, Some(5), "the interface version");
        self.loaded.push(plugin);
    }

    /// With the last good policy kept beside the policy, and without watching, unless the options say otherwise.
    pub(crate) fn init(&mut self, options: &[(&str, &Path)]) -> Answer {
        let mut options = options.to_vec();
        let given = |key| options.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        let state_dir = given("policy_file").and_then(Path::parent).unwrap_or(Path::new("/nonexistent")).join("state");
        let defaults = [("state_dir", state_dir.as_path()), ("watch", Path::new("false"))];
        let missing: Vec<_> = defaults.into_iter().filter(|(key, _)| given(key).is_none()).collect();
        options.extend(missing);
        let options: String = options
            .iter()
            .map(|(key, value)| {
                format!(" {} {}", word(Some(key.as_bytes())), word(Some(value.as_os_str().as_encoded_bytes())))
            })
            .collect();
        self.ask(&format!("init {}{options}", self.plugin))
    }

    /// Loads the library as plugin 0, alone in the broker, under this policy.
    pub(crate) fn run(&mut self, library: &Path, policy: &Path) {
        self.load(0, 0, library);
        let answer = self.init(&[("policy_file", policy)]);
        assert_eq!(answer.value, Some(0), "init: {:#?}", answer.lines);
    }

    pub(crate) fn cleanup(&mut self) {
        /// So long it waits for a thread, which is told to end and mostly does at once.
        const PATIENCE: Duration = Duration::from_secs(5);
        let start = Instant::now();
        assert_eq!(self.ask(&format!("cleanup {}", self.plugin)).value, Some(0));
        self.leaves_threads = start.elapsed() >= PATIENCE;
    }

    pub(crate) fn unload(&mut self) {
        self.ask(&format!("unload {}", self.plugin));
        self.loaded.retain(|plugin| *plugin != self.plugin);
    }

    /// Cleans up what a scenario left, so that the next one can use the same process.
    pub(crate) fn tidy(&mut self) {
        self.hang(false);
        self.ask("logtopic 0 -");
        for plugin in std::mem::take(&mut self.loaded) {
            self.plugin = plugin;
            self.cleanup();
            self.unload();
        }
        for client in std::mem::take(&mut self.clients) {
            self.ask(&format!("client {client}"));
        }
        self.assert_no_thread("a thread of the plugin outlived it");
        self.log.clear();
    }

    pub(crate) fn client(&mut self, number: usize, client: &Client) {
        self.clients.push(number);
        let field = |name, value: &Option<Vec<u8>>| format!(" {name}={}", word(value.as_deref()));
        let answer = self.ask(&format!(
            "client {number}{}{}{}{}{}{} online={} kept={} version={} plugin={}",
            field("id", &client.id),
            field("user", &client.user),
            field("pass", &client.password),
            field("addr", &client.address),
            field("will", &client.will),
            field("sub", &client.subscription),
            u8::from(!client.offline),
            u8::from(client.kept),
            if client.mqtt_5 { 5 } else { 4 },
            self.plugin,
        ));
        assert_eq!(answer.value, Some(0));
    }

    /// Whether this login is let in, however long that takes. A client that is connected does not log in again, so this is
    /// somebody new with its id and address.
    pub(crate) fn auth(&mut self, who: impl Into<Who>, user: Option<&[u8]>, password: Option<&[u8]>) -> bool {
        verdict(self.answer_to_auth(who, user, password).value, REFUSED_LOGIN)
    }

    /// [`Host::auth`] with all that the plugin did meanwhile.
    pub(crate) fn answer_to_auth(
        &mut self,
        who: impl Into<Who>,
        user: Option<&[u8]>,
        password: Option<&[u8]>,
    ) -> Answer {
        let who = match who.into() {
            Who::Client(number) => Who::Like(number),
            other => other,
        };
        let command = format!("auth {} {} {} {}", self.plugin, who.word(), word(user), word(password));
        self.decided(&command)
    }

    /// Asks as the broker does, and as a client does that is told to come again, until there is an answer.
    fn decided(&mut self, command: &str) -> Answer {
        let start = Instant::now();
        let mut answer = self.ask(command);
        let mut latest = answer.lines.clone();
        while start.elapsed() < Self::patience(self.under) {
            latest = if self.broker == Broker::V2_1 && answer.value == Some(DELAYED) {
                let turn = self.turn();
                // "complete ID RC CLIENT"
                if let Some(line) = turn.lines.iter().find(|line| line.starts_with("complete ")) {
                    answer.value = line.rsplit(' ').nth(1).and_then(|code| code.parse().ok());
                }
                turn.lines
            } else if self.is_put_off(answer.value, &latest) {
                if self.ticks {
                    self.turn();
                }
                thread::sleep(Duration::from_millis(5));
                let next = self.ask(command);
                answer.value = next.value;
                next.lines
            } else {
                break;
            };
            answer.lines.extend(latest.iter().cloned());
        }
        answer
    }

    /// Whether a client is to come again. 2.0 cannot say so, but the log does; and a worker may get its turn too late.
    fn is_put_off(&self, value: Option<i32>, log: &[String]) -> bool {
        let is_refused = value == Some(REFUSED_LOGIN);
        match self.broker {
            Broker::V2_0 => is_refused && log.last().is_some_and(|line| line.contains("comes again")),
            Broker::V2_1 => {
                let is_late = |line: &String| line.contains("could not be checked in time");
                value == Some(BUSY) || (is_refused && log.iter().any(is_late))
            }
        }
    }

    /// A turn of the broker's loop, which waits a while for the network.
    pub(crate) fn turn(&mut self) -> Answer {
        self.ticks = true;
        self.ask(&format!("turn {}", self.plugin))
    }

    /// [`Host::auth`] with the password's length told beside it, as 2.1.3 will: bytes after a NUL count.
    pub(crate) fn auth_with_length(&mut self, number: usize, user: &[u8], password: &[u8]) -> bool {
        let (user, text) = (word(Some(user)), word(Some(password)));
        let command = format!("auth {} {} {user} {text} {}", self.plugin, Who::Like(number).word(), password.len());
        verdict(self.decided(&command).value, REFUSED_LOGIN)
    }

    /// Whether this access is granted.
    pub(crate) fn acl(&mut self, access: i32, who: impl Into<Who>, topic: impl AsRef<[u8]>) -> bool {
        self.acl_of(access, who, Some(topic.as_ref()))
    }

    pub(crate) fn acl_of(&mut self, access: i32, who: impl Into<Who>, topic: Option<&[u8]>) -> bool {
        let command = format!("acl {} {} {access} {}", self.plugin, who.into().word(), word(topic));
        verdict(self.ask(&command).value, REFUSED_ACCESS)
    }

    /// BASIC_AUTH as for a new connection of this client, with the credentials that it has.
    pub(crate) fn login(&mut self, number: usize, client: &Client) -> bool {
        self.client(number, client);
        let (user, password) = (word(client.user.as_deref()), word(client.password.as_deref()));
        let answer = self.decided(&format!("auth {} {number} {user} {password}", self.plugin));
        let admitted = verdict(answer.value, REFUSED_LOGIN);
        if admitted && self.broker == Broker::V2_1 {
            self.ask(&format!("connect {} {number}", self.plugin));
        }
        admitted
    }

    /// CONNECT of this client, and all that follows: the answer, which may be that it has to wait.
    pub(crate) fn arrive(&mut self, number: usize, client: &Client) -> Option<i32> {
        self.client(number, client);
        self.ask(&format!("arrive {number}")).value
    }

    pub(crate) fn disconnect(&mut self, who: impl Into<Who>, reason: i32) {
        let command = format!("disconnect {} {} {reason}", self.plugin, who.into().word());
        // A plugin need not ask for this event.
        assert!(matches!(self.ask(&command).value, None | Some(SUCCESS)));
    }

    pub(crate) fn tick(&mut self) -> Answer {
        self.ticks = true;
        let answer = self.ask(&format!("tick {}", self.plugin));
        assert_eq!(answer.value, Some(SUCCESS));
        answer
    }

    /// SIGHUP without the TICK that ends it; which client got in, of those that the broker asks about.
    pub(crate) fn sighup(&mut self) -> Vec<(usize, bool)> {
        let answer = self.ask(&format!("sighup {}", self.plugin));
        let expected = if self.broker == Broker::V2_0 { DEFER } else { SUCCESS };
        assert_eq!(answer.value, Some(expected), "RELOAD's answer");
        let asked = answer.lines.iter().filter_map(|line| line.strip_prefix("reauth ")?.split_once(' '));
        asked.map(|(client, rc)| (client.parse().unwrap(), verdict(rc.parse().ok(), REFUSED_LOGIN))).collect()
    }

    /// Ticks until the plugin has told what became of a new policy, which loads on a thread of its own.
    pub(crate) fn settle(&mut self) -> Outcome {
        let start = Instant::now();
        while start.elapsed() < Self::patience(self.under) {
            let answer = self.tick();
            if answer.says("mqtt-acl: policy in force") {
                return Outcome::InForce;
            }
            if answer.says("mqtt-acl: policy not loaded") {
                return Outcome::NotLoaded;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("no word on the new policy; logged: {:#?}", self.log);
    }

    /// SIGHUP, TICK, and what became of the policy.
    pub(crate) fn reload(&mut self) -> Outcome {
        self.sighup();
        self.settle()
    }

    /// Lets files grow to so many bytes, as a disk does that is nearly full; `None` for any number.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        let pid = rustix::process::Pid::from_raw(self.child.id().try_into().unwrap());
        // What was the most stays so, for nothing can raise it again.
        let limit = rustix::process::Rlimit { current: bytes, maximum: None };
        rustix::process::prlimit(pid, rustix::process::Resource::Fsize, limit).unwrap();
    }

    /// Lets the disk hang: what the plugin's threads write waits until it no longer does.
    pub(crate) fn hang(&mut self, hangs: bool) {
        assert_eq!(self.ask(&format!("hang {}", u8::from(hangs))).value, Some(0));
    }

    /// The process's memory in pages.
    pub(crate) fn memory(&self) -> u64 {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        statm.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Asserts that no thread of the plugin is left. One that took long to end, on a busy machine, was left and is waited for
    /// here.
    pub(crate) fn assert_no_thread(&self, otherwise: &str) {
        /// What /proc may still show of one that has ended.
        const ENDED: Duration = Duration::from_millis(100);
        let patience = if self.leaves_threads { Self::patience(self.under) } else { ENDED };
        let start = Instant::now();
        while !self.threads().is_empty() && start.elapsed() < patience {
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(self.threads(), [""; 0], "{otherwise}");
    }

    /// The status, as /proc words it, of each thread of the plugin.
    pub(crate) fn threads(&self) -> Vec<String> {
        self.each_thread("status")
    }

    /// The same in one line of numbers.
    pub(crate) fn stats(&self) -> Vec<String> {
        self.each_thread("stat")
    }

    fn each_thread(&self, file: &str) -> Vec<String> {
        let main = self.child.id().to_string();
        fs::read_dir(format!("/proc/{main}/task"))
            .unwrap()
            .map(|task| task.unwrap())
            .filter(|task| *task.file_name() != *main)
            // One that cannot be read has just ended.
            .filter_map(|task| fs::read_to_string(task.path().join(file)).ok())
            .collect()
    }

    /// Ends the process; under valgrind this is where leaks show.
    pub(crate) fn finish(mut self) {
        drop(self.input.take());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the host ended with {status}; valgrind's findings are above");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.input.is_some() {
            // The test failed already; its process need not outlive it.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn verdict(answer: Option<i32>, refused: i32) -> bool {
    match answer {
        Some(SUCCESS) => true,
        Some(rc) if rc == refused => false,
        other => panic!("answered {other:?}: only 0 and {refused} are permitted (S25)"),
    }
}

fn word(text: Option<&[u8]>) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    text.map_or_else(
        || "-".to_owned(),
        |text| "x".chars().chain(text.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])).collect(),
    )
}

fn readable(word: &str) -> String {
    let Some(digits) = word.strip_prefix('x') else {
        return word.to_owned();
    };
    let nibble = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    let bytes = digits.as_bytes().chunks_exact(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1]));
    String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
}
