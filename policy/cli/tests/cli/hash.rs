use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use mqtt_acl_policy::{Action, Client, parse};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::host::{Folder, Ran};

const WARNING: &str =
    "mqtt-acl: warning: the secret holds a control character, such as a tab or the end of a Windows line\n";

/// Whether this line is the password string of the secret, by the engine's own judgement.
#[track_caller]
fn assert_opens(line: &str, secret: &[u8]) {
    let string = line.strip_suffix('\n').unwrap();
    assert!(string.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && !string.contains('\n'), "{line:?}");
    let policy = parse(&format!("version = 1\n[users.u]\npassword = \"{string}\"\n"), "p").unwrap().policy;
    let client = Client { user: Some(b"u"), id: b"u" };
    assert!(policy.login(&client, Some(secret), Action::Connect).is_allow(), "{line:?}");
}

#[track_caller]
fn assert_hashes(input: &[u8], secret: &[u8], err: &str) {
    let Ran { status, out, err: said } = Folder::new().run_fed("hash", input);
    assert_eq!((status, said.as_str()), (Some(0), err));
    assert_opens(&out, secret);
}

#[track_caller]
fn assert_refuses(input: &[u8], err: &str) {
    Folder::new().run_fed("hash", input).is(1, "", err);
}

#[test]
fn one_line_break_at_the_end_is_taken_off() {
    assert_hashes(b"secret", b"secret", "");
    assert_hashes(b"secret\n", b"secret", "");
    assert_hashes(b" secret ", b" secret ", "");
}

#[test]
fn the_rest_is_verbatim_and_what_nobody_types_is_warned_of() {
    assert_hashes(b"secret\n\n", b"secret\n", WARNING);
    assert_hashes(b"secret\r\n", b"secret\r", WARNING);
    assert_hashes(b"a\tb\n", b"a\tb", WARNING);
    assert_hashes(b"caf\xe9\xff\n", b"caf\xe9\xff", "");
    assert_hashes("\u{1f511}".as_bytes(), "\u{1f511}".as_bytes(), "");
}

#[test]
fn a_salt_makes_each_string_another() {
    let folder = Folder::new();
    assert_ne!(folder.run_fed("hash", b"secret").out, folder.run_fed("hash", b"secret").out);
}

#[test]
fn what_no_client_could_send_is_refused() {
    for empty in [&b""[..], b"\n"] {
        assert_refuses(empty, "mqtt-acl: the secret is empty (write it to standard input)\n");
    }
    for cut in [&b"sec\0ret\n"[..], b"\0", b"secret\0"] {
        assert_refuses(cut, "mqtt-acl: the secret holds a NUL byte, where brokers cut a password (choose another)\n");
    }
    let long = "mqtt-acl: the secret is longer than 65535 bytes, which MQTT cannot carry (choose a shorter one)\n";
    let mut secret = vec![b'x'; 65_535];
    assert_hashes(&secret, &secret, "");
    secret.push(b'\n');
    assert_hashes(&secret, &secret[..65_535], "");
    secret.push(b'\n');
    assert_refuses(&secret, long);
    assert_refuses(&vec![b'x'; 65_536], long);
    assert_refuses(&vec![b'x'; 1_000_000], long);
}

#[test]
fn a_secret_among_the_arguments_is_refused_and_not_repeated() {
    let folder = Folder::new();
    for words in ["hash hunter2", "hash --hunter2", "hash -- hunter2", "hash -hunter2 x", "hash --password=hunter2"] {
        let ran = folder.run(words);
        assert_eq!((ran.status, ran.out.as_str()), (Some(2), ""), "{words}");
        assert!(ran.err.contains("`hash` takes no argument") && !ran.err.contains("hunter2"), "{words}: {}", ran.err);
    }
}

#[test]
fn what_cannot_be_read_is_said() {
    let folder = Folder::new();
    let mut command = folder.command(["hash"]);
    let ran = Ran::of(command.stdin(File::open(folder.path()).unwrap()).output().unwrap());
    ran.is(1, "", "mqtt-acl: the secret cannot be read: Is a directory (os error 21)\n");
}

/// `mqtt-acl hash` on a terminal.
struct Terminal {
    keyboard: File,
    /// The program's end, kept open to see the state that it leaves.
    line: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
    child: Child,
}

impl Terminal {
    fn new() -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap().into_string().unwrap();
        let line = File::options().read(true).write(true).open(name).unwrap();
        let keyboard = File::from(keyboard);
        let mut command = Folder::new().command(["hash"]);
        let (stdin, stderr) = (line.try_clone().unwrap(), line.try_clone().unwrap());
        // The folder is gone by now; the program needs none.
        command.current_dir("/").stdin(stdin).stderr(stderr).stdout(Stdio::piped());
        let child = command.spawn().unwrap();
        let (sender, screen) = channel();
        let mut shown = keyboard.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(read @ 1..) = shown.read(&mut bytes) {
                if sender.send(bytes[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { keyboard, line, screen, seen: String::new(), child }
    }

    /// Waits until the screen ends in this.
    #[track_caller]
    fn shows(&mut self, text: &str) -> &mut Self {
        while !self.seen.ends_with(text) {
            let Ok(bytes) = self.screen.recv_timeout(Duration::from_secs(30)) else {
                panic!("the screen shows {:?} and not {text:?}", self.seen);
            };
            self.seen.push_str(&String::from_utf8(bytes).unwrap());
        }
        self
    }

    fn types(&mut self, keys: &[u8]) -> &mut Self {
        self.keyboard.write_all(keys).unwrap();
        self
    }

    /// Waits for the end: status, signal and standard output. The terminal must be as it was.
    #[track_caller]
    fn ends(&mut self) -> (Option<i32>, Option<i32>, String) {
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        let status = self.child.wait().unwrap();
        let modes = tcgetattr(&self.line).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ECHO | LocalModes::ISIG | LocalModes::ICANON), "{modes:?}");
        assert!(!self.seen.contains("hunter2"), "{:?}", self.seen);
        (status.code(), status.signal(), out)
    }
}

const AGAIN: &str = "Secret: \r\nThe same again: ";

#[test]
fn a_terminal_is_asked_twice_and_shows_nothing() {
    let mut terminal = Terminal::new();
    terminal.shows("Secret: ").types(b"hunter2\n").shows(AGAIN).types(b"hunter2\n");
    let (status, _, out) = terminal.ends();
    assert_eq!(status, Some(0), "{:?}", terminal.seen);
    assert_opens(&out, b"hunter2");
    terminal.shows(&format!("{AGAIN}\r\n"));
}

#[test]
fn two_that_differ_are_refused() {
    let mut terminal = Terminal::new();
    terminal.shows("Secret: ").types(b"hunter2\n").shows(AGAIN).types(b"hunter22\n");
    terminal.shows(&format!("{AGAIN}\r\nmqtt-acl: the two secrets differ (start again)\r\n"));
    assert_eq!(terminal.ends(), (Some(1), None, String::new()));
}

#[test]
fn nothing_typed_is_refused_at_once() {
    for (keys, shown) in [(&b"\n"[..], "Secret: \r\n"), (b"\x04", "Secret: \r\n")] {
        let mut terminal = Terminal::new();
        terminal.shows("Secret: ").types(keys);
        terminal.shows(&format!("{shown}mqtt-acl: the secret is empty (write it to standard input)\r\n"));
        assert_eq!(terminal.ends(), (Some(1), None, String::new()));
    }
}

#[test]
fn mistakes_can_be_mended() {
    let mut terminal = Terminal::new();
    // Backspace, and Ctrl-U for the whole line.
    terminal.shows("Secret: ").types(b"hunter3\x7f2\n").shows(AGAIN).types(b"wrong\x15hunter2\n");
    let (status, _, out) = terminal.ends();
    assert_eq!(status, Some(0));
    assert_opens(&out, b"hunter2");
}

#[test]
fn ctrl_c_leaves_the_terminal_as_it_was() {
    const SIGINT: i32 = 2;
    // Whoever runs the tests in the background may have the signal ignored; then there is nothing left but to give up.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    let is_ignored = u64::from_str_radix(ignored, 16).unwrap() & (1 << (SIGINT - 1)) != 0;
    let ended = if is_ignored { (Some(1), None, String::new()) } else { (None, Some(SIGINT), String::new()) };
    let mut terminal = Terminal::new();
    terminal.shows("Secret: ").types(b"hunter2\x03").shows("Secret: \r\n");
    assert_eq!(terminal.ends(), ended);
    let mut terminal = Terminal::new();
    terminal.shows("Secret: ").types(b"hunter2\n").shows(AGAIN).types(b"\x03").shows(&format!("{AGAIN}\r\n"));
    assert_eq!(terminal.ends(), ended);
}

#[test]
fn a_line_that_a_terminal_would_cut_is_refused() {
    let mut terminal = Terminal::new();
    terminal.shows("Secret: ").types(&[b'x'; 5000]).types(b"\n");
    terminal.shows(
        "Secret: \r\nmqtt-acl: a terminal takes no line of more than 4094 bytes (write the secret to standard input)\r\n",
    );
    assert_eq!(terminal.ends(), (Some(1), None, String::new()));
}
