//! One of Mosquitto's own access control plugins, in the host of `oracle.c`, under the loader and the libraries of its own
//! release.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use mqtt_acl_import::acl::Access;
use mqtt_acl_policy::Client;

use crate::support::broker::{Install, set_mode};

/// The accesses that are asked for: READ, WRITE, SUBSCRIBE.
const ACCESSES: [(Access, char); 3] = [(Access::Read, '1'), (Access::Write, '2'), (Access::Subscribe, '4')];

/// User name, client id and topic.
type Question = (Option<Vec<u8>>, Vec<u8>, Vec<u8>);

pub(crate) struct Deputy {
    child: Child,
    /// What is written here is asked, by a thread, so that neither end waits for the other.
    input: Option<Sender<String>>,
    output: BufReader<ChildStdout>,
    folder: PathBuf,
    asked: Vec<Question>,
}

impl Deputy {
    pub(crate) fn start(install: &Install, plugin: &str) -> Self {
        let loader = install.loader();
        let plugin = Path::new(&loader[2]).join(plugin);
        let mut command = Command::new(&loader[0]);
        command.args(&loader[1..]).arg(program()).arg(plugin);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = BufWriter::new(child.stdin.take().unwrap());
        let output = BufReader::new(child.stdout.take().unwrap());
        let (input, lines) = channel::<String>();
        thread::spawn(move || {
            for line in lines {
                stdin.write_all(line.as_bytes()).expect("the host listens");
                if line.starts_with("unload") {
                    stdin.flush().expect("the host listens");
                }
            }
        });
        let name = format!("mqtt-acl-deputy-{}-{}", std::process::id(), child.id());
        let folder = env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        Self { child, input: Some(input), output, folder, asked: Vec::new() }
    }

    /// Makes the plugin load a file with this text.
    pub(crate) fn load(&mut self, option: &str, text: &str) {
        let file = self.folder.join("file");
        fs::write(&file, text).unwrap();
        // 2.1 warns about any other.
        set_mode(&file, 0o600);
        self.say(format!("load {} {}\n", word(option.as_bytes()), word(file.as_os_str().as_encoded_bytes())));
    }

    pub(crate) fn ask(&mut self, client: &Client<'_>, topic: &[u8]) {
        let user = client.user.map_or_else(|| "-".to_owned(), word);
        let accesses: String = ACCESSES.iter().map(|(_, digit)| *digit).collect();
        self.say(format!("check {} {user} {accesses} {}\n", word(client.id), word(topic)));
        self.asked.push((client.user.map(<[u8]>::to_vec), client.id.to_vec(), topic.to_vec()));
    }

    pub(crate) fn unload(&mut self) {
        self.say("unload\n".into());
    }

    /// Reads the answers to all that was asked since the file was loaded.
    pub(crate) fn compare(&mut self, expected: impl Fn(&Client<'_>, Access, &[u8]) -> bool, text: &str) {
        assert_eq!(self.answer(), "0", "the plugin takes the file:\n{text}");
        for (user, id, topic) in std::mem::take(&mut self.asked) {
            let line = self.answer();
            let client = Client { user: user.as_deref(), id: &id };
            for ((access, _), answer) in ACCESSES.iter().zip(line.split(' ')) {
                let allowed = match answer {
                    "0" => true,
                    // Refused, or left to others, who all refuse.
                    "12" | "17" => false,
                    other => panic!("the plugin answers {other}"),
                };
                // Only a subscription may be asked for with wildcards.
                if *access != Access::Subscribe && topic.iter().any(|b| b"+#".contains(b)) {
                    continue;
                }
                assert_eq!(
                    expected(&client, *access, &topic),
                    allowed,
                    "what is expected, and what the plugin says, of {access:?} {} by {:?} with id {}\n{text}",
                    String::from_utf8_lossy(&topic),
                    user.as_deref().map(String::from_utf8_lossy),
                    String::from_utf8_lossy(&id),
                );
            }
        }
        assert_eq!(self.answer(), "0", "the plugin is gone in good order");
    }

    fn say(&self, line: String) {
        self.input.as_ref().unwrap().send(line).expect("the host runs");
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        assert!(self.output.read_line(&mut line).unwrap() > 0, "the host died");
        line.trim_end().to_owned()
    }
}

impl Drop for Deputy {
    fn drop(&mut self) {
        drop(self.input.take());
        if thread::panicking() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Compiles the host once per test run. What the plugins of 2.0 take from the broker, libmosquitto has as well.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("acl-oracle");
        let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
        let compiler = cc::Build::new().target(&target).host(&target).opt_level(1).cargo_metadata(false).get_compiler();
        let mut command = compiler.to_command();
        command.args(["-std=gnu11", "-g", "-Wall", "-Wextra", "-rdynamic", "-o"]).arg(&program);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/migration/oracle.c"));
        command.args(["-Wl,--no-as-needed", "-lmosquitto", "-ldl"]);
        let status = command.status().unwrap();
        assert!(status.success(), "the host needs a C compiler, mosquitto-dev and libmosquitto-dev");
        program
    })
}

fn word(text: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    "x".chars().chain(text.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])).collect()
}
