//! Logins that wait, in every order that chance finds: clients come, go and come again under the same ids and at the same
//! places in memory, while results arrive from several threads and policies change. Each answer of the plugin is
//! compared with a model of a broker, two listeners and their policies.
//!
//! A run is some thirty steps, sent in one go so that the host is as fast as a broker. `MQTT_ACL_RUNS` sets how many there
//! are, `MQTT_ACL_SEED` which.

use std::{collections::HashMap, env, fmt::Write as _, thread};

use fastrand::Rng;

use crate::{
    host::{Answer, BUSY, Broker, Client, DELAYED, Host, Under, WRITE},
    library::library,
    policy::Policy,
    random::{pick, seed},
};

/// `p0` to `p7` with PBKDF2-HMAC-SHA512, 1 to 101 rounds.
const HASHES: [&str; 8] = [
    "$7$1$bW9zcXVpdHRvLWFj$ku3O7W1gTWdtFo0/HnuMkTGmkTtflqaJ7Vr+13kPupWjKYffXiSbjTZ2eXES4S/W7dpt7IHl7VdDTI/uNegvpg==",
    "$7$1$bW9zcXVpdHRvLWFj$Ky/Aj0Oorq3reVgb2G17ug9FNd7K9ekYKvUYwiE1wYIfQHwWxI9oD2ak1x7JbWBx8htA0d81gGlUfuETQ4crQg==",
    "$7$7$bW9zcXVpdHRvLWFj$3EOk8WR0fSOxLIWOl0aOL1qttyQmbUatsdl087Rx7iQUBTo36QXdLxSjuuEMQW7IBnPQ5LIcUS6PaQhDz/BWcg==",
    "$7$20$bW9zcXVpdHRvLWFj$fxK5nnbPXImUvs1COS5jjiPb7LrN1HaWyakQkwYGkrvNfTLwqTiibneXsudPnSp9HyMYCbHOVKxCXdi2Cxr5RQ==",
    "$7$33$bW9zcXVpdHRvLWFj$X2Qhn1wRFsZx+xAv+e9SaD9045VNOsI/9+2/CQ9JIJUwUOLTEZ3RgMkGNg5NnnJ9OZcW4+X1y95ewIvdSmTVaQ==",
    "$7$60$bW9zcXVpdHRvLWFj$PzBct7yEw5P/4OtrB5ucCpRFhYEpJP1h31sVi+hFdzcrXHT7ry60jDUAcCqUQN3SIJbiVQkDC2qsmaEG5P26ig==",
    "$7$101$bW9zcXVpdHRvLWFj$0+9SxTHW3J40O8UfRa9Li09Mkg036dGxlbBoidFQqVEkSISe6vJUpX389Yos+zeCZmfeA/SVydMu/UiZvS81Pg==",
    "$7$101$bW9zcXVpdHRvLWFj$W8pcUfR7eXElxVKHL3QiPUctl0EPtTgtIo+y1JTv+8vbg2a9BOtYHDSqY3Ac85MjsSsDAUJWQzyWBWIVzy0m8Q==",
];

const USERS: usize = 24;
const SLOTS: usize = 7;
/// The caller of the HTTP listener.
const API: usize = 60;
/// No user's, so that anonymous clients may have it.
const GUEST: &str = "guest1";
/// Policies tell by their number of roles which they are; older ones than this many are not waited for.
const GENERATIONS: usize = 16;
/// Those that every policy has.
const ROLES: usize = 2;
/// Runs for which the plugin stays loaded.
const LIFE: usize = 400;
/// A client that waits is answered by the first TICK after so much time, in milliseconds, whatever happened.
const GIVE_UP: u64 = 6_000;

pub(crate) fn interleavings(host: &mut Host) {
    let runs = match (env::var("MQTT_ACL_RUNS"), host.under) {
        (Ok(runs), _) => runs.parse().expect("MQTT_ACL_RUNS is a number"),
        (_, Under::Valgrind) => 400,
        (_, Under::Nothing) => 100_000,
    };
    let mut random = Rng::with_seed(seed());
    let mut count = Count::default();
    // Most of the time is spent waiting for threads, so several hosts work at a time.
    let hosts = if host.under == Under::Valgrind { 0 } else { 3 };
    thread::scope(|scope| {
        let others: Vec<_> = (0..hosts)
            .map(|_| {
                let random = random.fork();
                scope.spawn(move || {
                    let mut host = Host::start(Broker::V2_1, Under::Nothing);
                    let count = some(&mut host, random, runs / (hosts + 1));
                    host.finish();
                    count
                })
            })
            .collect();
        let rest = runs - hosts * (runs / (hosts + 1));
        count.add(&some(host, random.fork(), rest));
        for other in others {
            count.add(&other.join().unwrap());
        }
    });
    println!("{}: {count:?}", host.broker.name());
    // Without these the runs prove nothing. How many there are depends on how busy the machine is, so it is not asked for many.
    let Count { let_in, refused, superseded, superseded_by_waiter, too_late, changed_meanwhile, busy, kicked, .. } =
        count;
    assert!(let_in > runs / 50 && refused > runs / 50, "{count:?}");
    assert!(superseded > runs / 100 && too_late > runs / 100, "{count:?}");
    // The few runs under valgrind need not meet everything that is rare.
    let rare = [superseded_by_waiter, busy];
    assert!(host.under == Under::Valgrind || rare.iter().all(|count| *count > runs / 1_000), "{count:?}");
    // How often there is a new policy depends on the loader, which yields to everybody.
    assert!(host.under == Under::Valgrind || (changed_meanwhile > 0 && kicked > 0), "{count:?}");
}

/// So many runs in one host.
fn some(host: &mut Host, mut random: Rng, runs: usize) -> Count {
    let mut count = Count::default();
    let mut memory = None;
    host.ask("processors 8");
    host.ask("jitter 60");
    host.ask(&format!("hush {}", hex("policy in force")));
    while count.runs < runs {
        // Half of the time, of two checks in one turn of the loop the second one is too much.
        host.ask(if random.bool() { "dear 0" } else { "dear 6000" });
        let mut world = World::start(host, &mut random, &mut count);
        for _ in 0..LIFE.min(runs - world.count.runs) {
            world.run();
        }
        world.end();
        host.log.clear();
        // What the allocator keeps for each of so many threads comes first.
        if count.runs > runs / 4 {
            let before = *memory.get_or_insert_with(|| host.memory());
            count.grown = count.grown.max(host.memory().saturating_sub(before));
            assert!(count.grown < 4_000 || host.under == Under::Valgrind, "{count:?}");
        }
    }
    for command in ["dear 0", "processors 0", "jitter 0", "hush"] {
        host.ask(command);
    }
    count
}

/// What happened.
#[derive(Debug, Default)]
struct Count {
    runs: usize,
    waits: usize,
    let_in: usize,
    refused: usize,
    /// Results that came when nobody waited any more.
    too_late: usize,
    /// Waits that ended because the id logged in again, and those whose successor waited too.
    superseded: usize,
    superseded_by_waiter: usize,
    /// Waits that a new policy decided.
    changed_meanwhile: usize,
    busy: usize,
    unasked: usize,
    http: usize,
    policies: usize,
    /// Sessions that a new policy ended.
    kicked: usize,
    /// The memory of a host, in pages.
    grown: u64,
}

impl Count {
    fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.waits += other.waits;
        self.let_in += other.let_in;
        self.refused += other.refused;
        self.too_late += other.too_late;
        self.superseded += other.superseded;
        self.superseded_by_waiter += other.superseded_by_waiter;
        self.changed_meanwhile += other.changed_meanwhile;
        self.busy += other.busy;
        self.unasked += other.unasked;
        self.http += other.http;
        self.policies += other.policies;
        self.kicked += other.kicked;
        self.grown = self.grown.max(other.grown);
    }
}

#[derive(Clone, Debug)]
struct User {
    is_disabled: bool,
    passwords: Vec<usize>,
}

/// Who is listed.
type Users = [Option<User>; USERS];

/// A listener, its plugin and its policy.
#[derive(Debug)]
struct Listener {
    file: Policy,
    policies: Vec<Users>,
    in_force: usize,
    ticked: bool,
    in_pass: bool,
}

#[derive(Clone, Debug)]
struct Slot {
    state: State,
    id: String,
    user: Option<usize>,
    password: Option<usize>,
    will: bool,
    trusted: bool,
    version: u32,
    websocket: bool,
    listener: usize,
    /// Whether the broker took its name from a certificate and asked nobody.
    certified: bool,
    /// Whether a policy admitted it, so that it has something to lose.
    admitted: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Gone,
    /// With the policy that was in force when it came, and by how much time has jumped since.
    Waits {
        policy: usize,
        jumped: u64,
    },
    Online,
}

#[derive(Clone, Debug)]
enum Step {
    Drop(usize),
    Define(usize, Slot),
    Arrive(usize),
    Enter(usize),
    Tick(usize),
    Turn,
    Nap(u32),
    Sighup,
    Write(usize, usize),
    Later(u64),
    Spawn { listener: usize, user: usize, password: usize },
    Join,
    Answers,
}

/// A user beyond those that may be listed is nobody.
fn name(user: usize) -> String {
    format!("u{user}")
}

struct World<'a> {
    host: &'a mut Host,
    random: &'a mut Rng,
    count: &'a mut Count,
    listeners: Vec<Listener>,
    slots: Vec<Slot>,
    /// The waits whose results may still come, by client id: at which listener, and whether the client is still there.
    waits: HashMap<String, (usize, bool)>,
    /// The HTTP caller at work, and the policy that was in force when it began.
    http: Option<(usize, usize, usize, usize)>,
    /// What was done in this run, to be told when it fails.
    story: Vec<(String, Answer)>,
}

impl<'a> World<'a> {
    fn start(host: &'a mut Host, random: &'a mut Rng, count: &'a mut Count) -> Self {
        let listeners = (0..1 + random.usize(..2)).map(|number| {
            let users = users(random);
            let file = Policy::new(&text(&users, 0));
            host.load(number, number, &library());
            let answer = host.init(&[("policy_file", &file.file())]);
            assert_eq!(answer.value, Some(0), "{:#?}", answer.lines);
            Listener { file, policies: vec![users], in_force: 0, ticked: false, in_pass: false }
        });
        let listeners: Vec<_> = listeners.collect();
        host.client(API, &Client { address: None, ..Client::new("http-api", "anybody") });
        let slots = vec![Slot::gone(); SLOTS];
        Self { host, random, count, listeners, slots, waits: HashMap::new(), http: None, story: Vec::new() }
    }

    fn end(self) {
        for number in (0..self.listeners.len()).rev() {
            self.host.plugin = number;
            self.host.cleanup();
            self.host.unload();
        }
        self.host.ask(&format!("client {API}"));
    }

    fn run(&mut self) {
        self.count.runs += 1;
        self.story.clear();
        let steps = self.steps();
        self.take(steps);
        let mut last = vec![Step::Answers];
        last.extend((0..SLOTS).map(Step::Drop));
        // Until then nobody may wait again, and failures are held against addresses.
        last.push(Step::Later(self.random.u64(..20_000)));
        last.extend((0..self.listeners.len()).map(Step::Tick));
        self.take(last);
    }

    fn take(&mut self, steps: Vec<Step>) {
        let lines: Vec<_> = steps.iter().map(|step| self.line(step)).collect();
        let answers = self.host.batch(&lines);
        for (step, told) in steps.into_iter().zip(lines.into_iter().zip(answers)) {
            self.story.push(told);
            self.check(&step);
        }
    }

    /// Fails where the plugin did what it must not do.
    #[track_caller]
    fn must(&self, is_so: bool, rule: &str) {
        if is_so {
            return;
        }
        let mut text = String::new();
        for listener in &self.listeners {
            writeln!(text, "{:?}", listener.policies[listener.in_force]).unwrap();
        }
        for slot in &self.slots {
            writeln!(text, "{slot:?}").unwrap();
        }
        for (line, answer) in &self.story {
            writeln!(text, "{line}\n    {:?} {:?}", answer.value, answer.lines).unwrap();
        }
        panic!("{text}not so: {rule}");
    }
}

/* ---- what is done ---- */

impl World<'_> {
    fn steps(&mut self) -> Vec<Step> {
        let first = self.random.usize(..USERS);
        let people = [first, first, self.random.usize(..USERS), self.random.usize(..USERS + 4)];
        let ids = [name(first), name(first), format!("{}-1", name(first)), name(people[2]), GUEST.into()];
        let mut steps = Vec::new();
        let edit = self.random.u32(..4) == 0;
        if edit {
            self.edit();
            let turns = self.random.usize(..8);
            steps.extend((0..turns).flat_map(|_| self.step(&people, &ids)));
            steps.extend(self.pass(&people, &ids));
        }
        let length = self.random.usize(10..30);
        while steps.len() < length {
            steps.extend(self.step(&people, &ids));
        }
        if self.http.is_some() || steps.iter().any(|step| matches!(step, Step::Spawn { .. })) {
            steps.push(Step::Join);
        }
        steps
    }

    fn step(&mut self, people: &[usize], ids: &[String]) -> Vec<Step> {
        let slot = self.random.usize(..SLOTS);
        match self.random.u32(..100) {
            0..38 => self.arrival(people, ids, None),
            38..42 => {
                let mut steps = self.arrival(people, ids, None);
                if let Some([Step::Define(number, slot), last]) = steps.last_chunk_mut() {
                    slot.user.get_or_insert(people[0]);
                    *last = Step::Enter(*number);
                }
                steps
            }
            42..60 => vec![Step::Drop(slot)],
            // A turn of the broker's loop is one for all listeners, the first one at least.
            60..72 if self.listeners.iter().all(|listener| listener.ticked) => {
                vec![Step::Tick(self.random.usize(..self.listeners.len()))]
            }
            60..72 => vec![Step::Turn],
            72..75 => vec![Step::Turn],
            75..82 => vec![Step::Nap(self.random.u32(..200))],
            82..84 => self.pass(people, ids),
            84..96 => vec![Step::Write(slot, pick(self.random, people))],
            96..98 => vec![Step::Later(self.random.u64(..8_000))],
            _ => {
                let [listener, user, password] =
                    [self.listeners.len(), USERS, HASHES.len()].map(|most| self.random.usize(..most));
                // One thread at a time: the one before ends first, if there is one.
                vec![Step::Join, Step::Spawn { listener, user, password }]
            }
        }
    }

    /// Somebody connects, where nobody is, or somebody has just gone.
    fn arrival(&mut self, people: &[usize], ids: &[String], websocket: Option<bool>) -> Vec<Step> {
        let random = &mut *self.random;
        let number = random.usize(..SLOTS);
        let user = if random.u32(..12) == 0 { None } else { Some(pick(random, people)) };
        let listener = random.usize(..self.listeners.len());
        let file = &self.listeners[listener].policies;
        // Half of them know what is right, or what was right or will be.
        let known = user.and_then(|user| file[file.len().saturating_sub(1 + random.usize(..2))].get(user)?.as_ref());
        let password = match known {
            Some(known) if random.u32(..4) > 0 => Some(known.passwords[0]),
            _ if random.u32(..12) == 0 => None,
            _ => Some(random.usize(..HASHES.len())),
        };
        let slot = Slot {
            state: State::Gone,
            id: ids[random.usize(..ids.len())].clone(),
            user,
            password,
            will: random.bool(),
            trusted: random.u32(..4) > 0,
            version: if random.u32(..5) == 0 { 5 } else { 4 },
            websocket: websocket.unwrap_or_else(|| random.u32(..8) == 0),
            listener,
            certified: false,
            admitted: true,
        };
        vec![Step::Drop(number), Step::Define(number, slot), Step::Arrive(number)]
    }

    /// SIGHUP. The loop serves WebSockets between the pass and TICK.
    fn pass(&mut self, people: &[usize], ids: &[String]) -> Vec<Step> {
        let mut steps = vec![Step::Sighup];
        while self.random.u32(..4) == 0 {
            steps.extend(self.arrival(people, ids, Some(true)));
        }
        steps.extend((0..self.listeners.len()).map(Step::Tick));
        steps
    }

    fn edit(&mut self) {
        let number = self.random.usize(..self.listeners.len());
        let listener = &mut self.listeners[number];
        // The policy in force is told by the number of its roles.
        if listener.policies.len() < listener.in_force + GENERATIONS {
            let mut new = listener.policies[listener.policies.len() - 1].clone();
            for user in &mut new {
                if self.random.bool() {
                    *user = person(self.random);
                }
            }
            listener.file.write(&text(&new, listener.policies.len()));
            listener.policies.push(new);
        }
    }

    fn line(&self, step: &Step) -> String {
        let everybody = (0..self.listeners.len()).map(|number| format!(" {number}")).collect::<String>();
        match step {
            Step::Drop(slot) => format!("drop {slot}"),
            Step::Define(number, slot) => slot.line(*number),
            Step::Arrive(slot) => format!("arrive {slot}"),
            Step::Enter(slot) => format!("enter {slot}"),
            Step::Tick(listener) => format!("tick {listener}"),
            Step::Turn => format!("turn{everybody}"),
            Step::Nap(time) => format!("nap {time}"),
            Step::Sighup => format!("sighup{everybody}"),
            Step::Write(slot, user) => format!("write {slot} {WRITE} {}", hex(&will(*user))),
            Step::Later(time) => format!("later {time}"),
            Step::Spawn { listener, user, password } => {
                format!("spawn 3 auth {listener} {API} {} {}", hex(&name(*user)), hex(&secret(*password)))
            }
            Step::Join => "join".into(),
            Step::Answers => format!("answers{everybody}"),
        }
    }
}

impl Slot {
    fn gone() -> Self {
        Self {
            state: State::Gone,
            id: String::new(),
            user: None,
            password: None,
            will: false,
            trusted: false,
            version: 4,
            websocket: false,
            listener: 0,
            certified: false,
            admitted: true,
        }
    }

    fn line(&self, number: usize) -> String {
        let optional = |text: Option<String>| text.map_or("-".into(), |text| hex(&text));
        format!(
            "client {number} id={} user={} pass={} addr={} will={} version={} websocket={} plugin={} online=0",
            hex(&self.id),
            optional(self.user.map(name)),
            optional(self.password.map(secret)),
            hex(if self.trusted { "192.0.2.1" } else { "198.51.100.1" }),
            optional(self.will.then(|| will(self.user.unwrap_or(USERS)))),
            self.version,
            u8::from(self.websocket),
            self.listener,
        )
    }
}

/* ---- what may come of it ---- */

impl World<'_> {
    fn check(&mut self, step: &Step) {
        let (_, Answer { value, lines }) = self.story.last().expect("the step has an answer");
        let answer = &Answer { value: *value, lines: lines.clone() };
        match step {
            Step::Define(number, slot) => self.slots[*number] = slot.clone(),
            Step::Arrive(number) => self.arrived(*number, answer),
            Step::Enter(number) => {
                let is_awaited = self.waiting_under(&self.slots[*number].id).is_some();
                self.must(answer.value.is_none() == is_awaited, "the host and the model agree on who waits");
                self.lines(&answer.lines, None);
                if !is_awaited {
                    self.slots[*number].state = State::Online;
                    self.slots[*number].certified = true;
                    self.slots[*number].admitted = self.has_rights(*number);
                }
            }
            Step::Drop(number) => {
                let slot = self.slots[*number].clone();
                if let (State::Waits { .. }, Some(wait)) = (&slot.state, self.waits.get_mut(&slot.id)) {
                    wait.1 = false;
                }
                self.will_of(*number, &answer.lines);
                self.slots[*number].state = State::Gone;
            }
            Step::Tick(listener) => self.ticked(*listener, &answer.lines),
            Step::Turn | Step::Answers => {
                let parts: Vec<_> = answer.lines.split_inclusive(|line| line.starts_with("ticked ")).collect();
                for part in parts {
                    if let Some((last, lines)) = part.split_last() {
                        self.ticked(last.strip_prefix("ticked ").unwrap().parse().unwrap(), lines);
                    }
                }
                if matches!(step, Step::Answers) {
                    self.must(answer.value.is_some(), "everybody who waits is answered");
                    let is_over = self.slots.iter().all(|slot| !matches!(slot.state, State::Waits { .. }));
                    self.must(is_over, "nobody waits any more");
                }
            }
            Step::Sighup => self.sighup(&answer.lines),
            Step::Write(number, user) => {
                let allowed = self.slots[*number].state == State::Online && self.may_write(*number, *user);
                self.must(answer.value == Some(if allowed { 0 } else { 12 }), "publishing is for those who are in");
            }
            Step::Later(time) => {
                for slot in &mut self.slots {
                    if let State::Waits { jumped, .. } = &mut slot.state {
                        *jumped += time;
                    }
                }
            }
            Step::Spawn { listener, user, password } => {
                self.http = Some((*listener, *user, *password, self.listeners[*listener].in_force));
            }
            Step::Join => self.http_answered(&answer.lines),
            Step::Nap(_) => {}
        }
    }

    fn arrived(&mut self, number: usize, answer: &Answer) {
        let slot = self.slots[number].clone();
        let Some(code) = answer.value else {
            self.count.unasked += 1;
            self.must(self.waiting_under(&slot.id).is_some(), "the host and the model agree on who waits");
            return;
        };
        self.must(self.waiting_under(&slot.id).is_none(), "the host and the model agree on who waits");
        let Listener { in_pass, ticked, in_force, .. } = self.listeners[slot.listener];
        let right = self.is_right(number);
        // In the pass it cannot be told from a session that is checked again.
        let ended = if in_pass { None } else { self.waits.remove(&slot.id) };
        if ended.is_some() {
            self.count.superseded += 1;
        }
        match code {
            DELAYED => {
                self.must(slot.version < 5, "MQTT 5 clients do not wait");
                self.must(ticked && !in_pass, "nobody waits in the pass, nor where nothing ticks");
                self.must(slot.user.is_some() && slot.password.is_some(), "there is something to check");
                self.slots[number].state = State::Waits { policy: in_force, jumped: 0 };
                self.waits.insert(slot.id.clone(), (slot.listener, true));
                self.count.waits += 1;
                self.count.superseded_by_waiter += usize::from(ended.is_some());
                self.must(answer.lines.iter().all(|line| !line.starts_with("complete")), "not answered yet");
            }
            0 => {
                self.must(right || (in_pass && !slot.websocket), "only the right password lets in");
                self.lines(&answer.lines, None);
                self.slots[number].state = State::Online;
            }
            BUSY => {
                self.must(slot.user.is_some() && slot.password.is_some(), "there is something to check");
                self.count.busy += 1;
            }
            11 => self.must(!right || !slot.trusted, "the right password is refused only where there were failures"),
            _ => self.must(false, "no such answer (S25)"),
        }
    }

    fn ticked(&mut self, number: usize, lines: &[String]) {
        let late: Vec<_> = self.slots.iter().map(|slot| slot.is_late(number)).collect();
        self.listeners[number].ticked = true;
        self.listeners[number].in_pass = false;
        self.lines(lines, Some(number));
        if lines.iter().any(|line| line.contains("policy in force: ")) {
            for at in 0..SLOTS {
                let Slot { listener, ref state, admitted, .. } = self.slots[at];
                if listener == number && *state == State::Online {
                    let keeps = self.keeps(at);
                    self.must(keeps || !admitted, "who lost something is disconnected");
                    self.slots[at].admitted |= keeps;
                }
            }
        }
        for (slot, was_late) in late.into_iter().enumerate() {
            self.must(!was_late || !self.slots[slot].is_late(number), "nobody waits for longer than six seconds");
        }
    }

    fn sighup(&mut self, lines: &[String]) {
        for listener in &mut self.listeners {
            listener.in_pass = listener.ticked;
        }
        for line in lines.iter().filter_map(|line| line.strip_prefix("reauth ")) {
            let (number, code) = line.split_once(' ').unwrap();
            let (number, code): (usize, i32) = (number.parse().unwrap(), code.parse().unwrap());
            let slot = &self.slots[number];
            self.must(slot.state == State::Online, "the host and the model agree on who is in");
            self.must([0, 11, BUSY].contains(&code), "in the pass everybody is answered at once");
            if self.listeners[slot.listener].in_pass && !slot.websocket {
                self.must(code == 0, "sessions outlive the pass");
            } else {
                self.must(code != 0 || self.is_right(number), "only the right password lets in");
            }
            if code != 0 {
                self.slots[number].state = State::Gone;
            }
        }
        // The broker does not ask about those.
        for slot in self.slots.iter_mut().filter(|slot| slot.user.is_none() && slot.state == State::Online) {
            slot.state = State::Gone;
        }
        self.lines(lines, None);
    }

    /// What the plugin did, in the TICK of a listener or elsewhere.
    fn lines(&mut self, lines: &[String], tick: Option<usize>) {
        for (at, line) in lines.iter().enumerate() {
            if let Some(old) = line.strip_prefix("takeover ") {
                let old: usize = old.parse().unwrap();
                self.must(self.slots[old].state == State::Online, "the host and the model agree on who is in");
                self.will_of(old, until_next(&lines[at + 1..]));
                self.slots[old].state = State::Gone;
            } else if let Some(kick) = line.strip_prefix("kick ") {
                let (id, with_will) = kick.split_once(' ').unwrap();
                self.must(tick.is_some() && with_will == "1", "kicks are for TICK, with the will (S21, S22)");
                let kicked = (0..SLOTS).find(|at| self.slots[*at].state == State::Online && self.slots[*at].id == id);
                self.must(kicked.is_some(), "only who is connected is kicked");
                let kicked = kicked.unwrap();
                self.must(Some(self.slots[kicked].listener) == tick, "each listener answers for its own sessions");
                self.must(self.slots[kicked].admitted && !self.keeps(kicked), "who lost nothing stays connected");
                self.will_of(kicked, until_next(&lines[at + 1..]));
                self.slots[kicked].state = State::Gone;
                self.count.kicked += 1;
            } else if let Some(completion) = line.strip_prefix("complete ") {
                self.must(tick.is_some(), "clients are let in by TICK alone");
                self.completed(completion, tick.unwrap());
            } else if let (Some(tick), Some((_, size))) = (tick, line.split_once("policy in force: ")) {
                let roles = size.split(", ").find_map(|part| part.strip_suffix(" roles")).unwrap();
                let mark = roles.parse::<usize>().unwrap() - ROLES;
                let listener = &mut self.listeners[tick];
                listener.in_force = (0..listener.policies.len()).rfind(|at| at % GENERATIONS == mark).unwrap();
                self.count.policies += 1;
            }
        }
    }

    fn completed(&mut self, completion: &str, listener: usize) {
        let words: Vec<_> = completion.split(' ').collect();
        let (id, code, number) = (words[0], words[1], words[2].parse::<usize>());
        self.must(code == "0" || code == "11", "a login ends in one of two ways");
        let wait = self.waits.remove(id);
        self.must(wait.is_some_and(|wait| wait.0 == listener), "a result is for the wait that it belongs to");
        let Ok(number) = number else {
            self.must(wait.is_some_and(|wait| !wait.1), "the host and the model agree on who waits");
            self.count.too_late += 1;
            return;
        };
        let slot = self.slots[number].clone();
        let State::Waits { policy, jumped } = slot.state else {
            return self.must(false, "the host and the model agree on who waits");
        };
        let right = self.is_right(number);
        let has_changed = policy != self.listeners[listener].in_force;
        self.count.changed_meanwhile += usize::from(has_changed);
        if code == "0" {
            self.must(right, "only the right password lets in");
            self.slots[number].state = State::Online;
            self.count.let_in += 1;
        } else {
            self.must(!right || !slot.trusted || has_changed || jumped > 0, "the right password lets in");
            self.slots[number].state = State::Gone;
            self.count.refused += 1;
        }
    }

    /// The will of a client whose connection ends, if it has one.
    fn will_of(&self, number: usize, lines: &[String]) {
        let slot = &self.slots[number];
        let told: Vec<_> = lines.iter().filter(|line| line.starts_with("will ")).collect();
        let expected = match slot.state {
            _ if !slot.will => Vec::new(),
            State::Gone => Vec::new(),
            State::Waits { .. } => vec!["will 12"],
            State::Online if self.may_write(number, slot.user.unwrap_or(USERS)) => vec!["will 0"],
            State::Online => vec!["will 12"],
        };
        self.must(told == expected, "wills are for those who were in");
    }

    fn http_answered(&mut self, lines: &[String]) {
        let Some((listener, user, password, since)) = self.http.take() else { return };
        let Listener { policies, in_force, .. } = &self.listeners[listener];
        let right = policies[since..=*in_force].iter().any(|users| knows(users, user, password) && user % 4 == 0);
        for line in lines.iter().filter_map(|line| line.strip_prefix("tally ")) {
            let code = line.split(' ').next().unwrap();
            self.must(["0", "11", "137"].contains(&code), "callers of the HTTP listener are answered at once");
            self.must(code != "0" || right, "only the right password lets in");
            self.count.http += 1;
        }
    }

    fn waiting_under(&self, id: &str) -> Option<usize> {
        self.slots.iter().position(|slot| slot.id == id && matches!(slot.state, State::Waits { .. }))
    }

    /// Whether a login is right by the policy in force.
    fn is_right(&self, number: usize) -> bool {
        let Slot { user, password, listener, .. } = self.slots[number];
        let users = &self.listeners[listener].policies[self.listeners[listener].in_force];
        let knows = user.is_none_or(|user| password.is_some_and(|password| knows(users, user, password)));
        knows && self.is_bound(number)
    }

    /// Whether the client id is one of the user's.
    fn is_bound(&self, number: usize) -> bool {
        let Slot { user, id, listener, .. } = &self.slots[number];
        let users = &self.listeners[*listener].policies[self.listeners[*listener].in_force];
        match user {
            Some(user) => *id == name(*user) || *id == format!("{}-1", name(*user)),
            // Whose name it is, or begins with, has to be listed to keep others from it.
            None => !(0..USERS)
                .any(|user| users[user].is_some() && (*id == name(user) || *id == format!("{}-1", name(user)))),
        }
    }

    /// Whether a session keeps what it has by the policy in force.
    fn keeps(&self, number: usize) -> bool {
        let Slot { certified, .. } = self.slots[number];
        self.has_rights(number) && (certified || self.is_right(number))
    }

    /// Whether the client would be admitted, whatever its password.
    fn has_rights(&self, number: usize) -> bool {
        let Slot { user, listener, .. } = self.slots[number];
        let users = &self.listeners[listener].policies[self.listeners[listener].in_force];
        let is_listed = |user| users.get(user).and_then(Option::as_ref).is_some_and(|user: &User| !user.is_disabled);
        user.is_none_or(is_listed) && self.is_bound(number)
    }

    fn may_write(&self, number: usize, topic: usize) -> bool {
        let Slot { user, listener, .. } = self.slots[number];
        let users = &self.listeners[listener].policies[self.listeners[listener].in_force];
        let has_rights = user.is_none_or(|user| {
            user == topic && users.get(user).is_some_and(|user| user.as_ref().is_some_and(|user| !user.is_disabled))
        });
        has_rights && self.is_bound(number)
    }
}

impl Slot {
    fn is_late(&self, listener: usize) -> bool {
        matches!(self.state, State::Waits { jumped, .. } if jumped > GIVE_UP) && self.listener == listener
    }
}

/// What belongs to an event: until the next one.
fn until_next(lines: &[String]) -> &[String] {
    let is_next = |line: &String| ["takeover ", "complete ", "kick "].iter().any(|event| line.starts_with(event));
    &lines[..lines.iter().position(is_next).unwrap_or(lines.len())]
}

fn knows(users: &Users, user: usize, password: usize) -> bool {
    let user = users.get(user).and_then(Option::as_ref);
    user.is_some_and(|user| !user.is_disabled && user.passwords.contains(&password))
}

fn users(random: &mut Rng) -> Users {
    std::array::from_fn(|_| person(random))
}

fn person(random: &mut Rng) -> Option<User> {
    let most = 1 + random.usize(..2);
    let mut passwords: Vec<_> = (0..most).map(|_| random.usize(..HASHES.len())).collect();
    passwords.dedup();
    (random.u32(..8) > 0).then_some(User { is_disabled: random.u32(..8) == 0, passwords })
}

/// The policy as text: every fourth user may call the HTTP listener, too.
fn text(users: &Users, generation: usize) -> String {
    let mut text = String::from(
        "version = 1\nguard.trusted = [\"192.0.2.0/24\"]\nlogins.share = 90\n\
         [roles.device]\npublish = [\"will/%u\"]\n[roles.api]\napi = true\n[anonymous]\nclient_id = [\"*\"]\n\
         publish = [\"will/#\"]\n",
    );
    for mark in 0..generation % GENERATIONS {
        writeln!(text, "[roles.mark{mark}]\npublish = [\"mark/{mark}\"]").unwrap();
    }
    for (number, user) in users.iter().enumerate() {
        let Some(user) = user else { continue };
        let hashes: Vec<_> = user.passwords.iter().map(|password| HASHES[*password]).collect();
        let api = if number % 4 == 0 { ", \"api\"" } else { "" };
        writeln!(text, "[users.{}]\nroles = [\"device\"{api}]\npassword = {hashes:?}", name(number)).unwrap();
        writeln!(text, "disabled = {}", user.is_disabled).unwrap();
    }
    text
}

fn secret(password: usize) -> String {
    format!("p{password}")
}

fn will(user: usize) -> String {
    format!("will/{}", name(user))
}

fn hex(text: &str) -> String {
    text.bytes().fold("x".into(), |hex, byte| format!("{hex}{byte:02x}"))
}
