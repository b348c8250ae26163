//! Brokers under valgrind's callgrind: what some messages take, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::peers::compile;
use crate::profile::Profile;
use crate::support::broker::{Broker, Install, set_mode};

/// This machine's own valgrind.
pub(crate) fn system() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join("valgrind")).find(|program| program.is_file())
}

/// What a broker loads to be counted, where its valgrind is there.
pub(crate) fn probe(install: &Install) -> Option<PathBuf> {
    let usr = install.root().join("usr");
    let has_valgrind = usr.join("bin/valgrind.bin").is_file();
    has_valgrind.then(|| compile("probe", &[usr.join("include")]).expect("the probe needs a C compiler"))
}

/// A broker that is counted.
pub(crate) struct Counter<'a> {
    broker: &'a Broker,
    parts: usize,
}

impl<'a> Counter<'a> {
    pub(crate) fn start(broker: &'a Broker) -> Self {
        // Made before the broker gave its rights up.
        set_mode(&broker.profile(None), 0o666);
        broker.signal("PROF");
        Self { broker, parts: 0 }
    }

    /// What `count` more of something take, after as many: what goes by itself, and what ends a part, cancels out.
    /// `settle` returns when the broker has nothing more to do.
    pub(crate) fn count(&mut self, count: usize, settle: impl Fn(), deed: impl Fn(usize)) -> Profile {
        // What is done for the first time is dearer.
        (0..count).for_each(&deed);
        settle();
        self.broker.signal("VTALRM");
        let once = self.part(count, &settle, &deed);
        self.part(2 * count, &settle, &deed).beyond(&once)
    }

    /// The same where the broker, from time to time, does something on the side: the quietest of some tries.
    pub(crate) fn count_quietest(&mut self, count: usize, settle: impl Fn(), deed: impl Fn(usize)) -> Profile {
        const TRIES: usize = 4;
        (0..count).for_each(&deed);
        settle();
        self.broker.signal("VTALRM");
        let mut quietest = |count: usize| {
            let tries = (0..TRIES).map(|_| self.part(count, &settle, &deed));
            tries.min_by_key(|profile| profile.total).expect("a try")
        };
        let once = quietest(count);
        quietest(2 * count).beyond(&once)
    }

    fn part(&mut self, count: usize, settle: impl Fn(), deed: impl Fn(usize)) -> Profile {
        settle();
        (0..count).for_each(deed);
        settle();
        self.broker.signal("XCPU");
        self.parts += 1;
        await_profile(&self.broker.profile(Some(self.parts)))
    }
}

/// A profile as soon as it is written.
fn await_profile(file: &Path) -> Profile {
    const PATIENCE: Duration = Duration::from_secs(20);
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Its last line but for blank ones.
        if fs::read_to_string(file)
            .is_ok_and(|text| text.trim_end().rsplit('\n').next().is_some_and(|line| line.starts_with("totals:")))
        {
            return read(file);
        }
        assert!(Instant::now() < deadline, "callgrind writes no {}", file.display());
        thread::sleep(Duration::from_millis(2));
    }
}

/// A profile that is whole.
pub(crate) fn read(file: &Path) -> Profile {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    Profile::parse(&text).unwrap_or_else(|line| panic!("{}: no profile of callgrind: {line:?}", file.display()))
}
