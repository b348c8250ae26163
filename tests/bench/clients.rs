//! Many clients on one thread, cheap enough to share two cores with the broker that they try.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use crate::support::mqtt::Connect;

/// What became of a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    In,
    /// The code of the CONNACK.
    Refused(u8),
    /// The connection ended without an answer.
    Gone,
}

/// What a client does next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Next {
    Stay,
    /// Tries again after this time, on a new connection.
    Again(Duration),
}

/// Clients of one broker, and the CONNECT of each by its number and how often it has tried.
pub(crate) struct Load<'a> {
    port: u16,
    connect: Box<dyn Fn(usize, u32) -> Connect + Send + 'a>,
    epoll: OwnedFd,
    clients: Vec<Client>,
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    /// How many have something to do yet.
    busy: usize,
    /// How many wait for an answer, and how many may.
    waiting: usize,
    at_once: usize,
}

#[derive(Default)]
struct Client {
    tries: u32,
    stream: Option<TcpStream>,
    state: State,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Opening,
    Asked,
    In,
}

impl<'a> Load<'a> {
    pub(crate) fn new(port: u16, clients: usize, connect: impl Fn(usize, u32) -> Connect + Send + 'a) -> Self {
        Self {
            port,
            connect: Box::new(connect),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll"),
            clients: (0..clients).map(|_| Client::default()).collect(),
            due: BinaryHeap::new(),
            busy: 0,
            waiting: 0,
            at_once: usize::MAX,
        }
    }

    /// No more than so many wait for an answer at any time. Beyond a hundred, brokers may not even see a connection for a
    /// second: their listeners queue no more.
    pub(crate) fn at_once(mut self, at_once: usize) -> Self {
        self.at_once = at_once;
        self
    }

    /// Connects all clients that are not in, at once, until each stays or time is up.
    pub(crate) fn run(&mut self, until: Instant, mut next: impl FnMut(usize, u32, Outcome) -> Next) {
        let start = Instant::now();
        self.due = self.out().map(|number| Reverse((start, number))).collect();
        (self.busy, self.waiting) = (self.due.len(), 0);
        while self.busy > 0 {
            let now = Instant::now();
            if now >= until {
                return;
            }
            while let Some(Reverse((at, number))) = self.due.peek().copied() {
                if at > now || self.waiting >= self.at_once {
                    break;
                }
                self.due.pop();
                if !self.open(number) {
                    self.ask_next(number, Outcome::Gone, &mut next);
                }
                // Answers are not to wait for the rest of a large crowd.
                if self.due.len() % 16 == 0 {
                    break;
                }
            }
            let next_due = self.due.peek().filter(|_| self.waiting < self.at_once);
            let wake = next_due.map_or(until, |Reverse((at, _))| until.min(*at));
            for number in self.ready(wake.saturating_duration_since(Instant::now())) {
                if let Some(outcome) = self.advance(number) {
                    self.waiting -= 1;
                    self.ask_next(number, outcome, &mut next);
                }
            }
        }
    }

    /// How many the broker has let in and not dropped since.
    pub(crate) fn count_in(&mut self) -> usize {
        loop {
            let ready = self.ready(Duration::ZERO);
            if ready.is_empty() {
                return self.clients.len() - self.out().count();
            }
            for number in ready {
                self.advance(number);
            }
        }
    }

    /// Ends all connections, in good order where they are established.
    pub(crate) fn disconnect(&mut self) {
        for client in &mut self.clients {
            if let Some(mut stream) = client.stream.take() {
                // A connection that is gone already is as good.
                let _ = stream.write_all(&[0xe0, 0]);
                let _ = stream.shutdown(Shutdown::Write);
            }
            client.state = State::Idle;
        }
    }

    fn out(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.clients.len()).filter(|number| self.clients[*number].state != State::In)
    }

    fn ask_next(&mut self, number: usize, outcome: Outcome, next: &mut impl FnMut(usize, u32, Outcome) -> Next) {
        match next(number, self.clients[number].tries, outcome) {
            Next::Stay => self.busy -= 1,
            Next::Again(after) => {
                let client = &mut self.clients[number];
                (client.stream, client.state) = (None, State::Idle);
                self.due.push(Reverse((Instant::now() + after, number)));
            }
        }
    }

    /// Begins a connection; false where the system has none to give.
    fn open(&mut self, number: usize) -> bool {
        let client = &mut self.clients[number];
        client.tries += 1;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let Ok(socket) = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None) else { return false };
        match connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port)) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(_) => return false,
        }
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(number as u64), flags)
            .expect("a place in the epoll");
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true).expect("TCP_NODELAY");
        (client.stream, client.state) = (Some(stream), State::Opening);
        self.waiting += 1;
        true
    }

    /// Those for whom something happened, waiting for it.
    fn ready(&self, timeout: Duration) -> Vec<usize> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(64);
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => panic!("epoll: {error}"),
        }
        events.iter().map(|event| event.data.u64() as usize).collect()
    }

    /// Takes a client one step on, and tells what became of its CONNECT if that shows now.
    fn advance(&mut self, number: usize) -> Option<Outcome> {
        let client = &mut self.clients[number];
        let stream = client.stream.as_mut()?;
        if client.state == State::Opening {
            match stream.write(&(self.connect)(number, client.tries).encode()) {
                Ok(_) => client.state = State::Asked,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return None,
                Err(_) => return Some(client.end()),
            }
        }
        let mut answer = [0; 16];
        match stream.read(&mut answer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
            Ok(4..) if client.state == State::Asked && answer[0] == 0x20 => match answer[3] {
                0 => {
                    client.state = State::In;
                    Some(Outcome::In)
                }
                code => {
                    client.end();
                    Some(Outcome::Refused(code))
                }
            },
            Ok(_) | Err(_) => {
                let was_in = client.state == State::In;
                Some(client.end()).filter(|_| !was_in)
            }
        }
    }
}

impl Client {
    fn end(&mut self) -> Outcome {
        (self.stream, self.state) = (None, State::Idle);
        Outcome::Gone
    }
}

/// When a client that was not let in tries again: after about 0.5, 1, 2, 4, 4, .. seconds.
pub(crate) fn back_off(tries: u32) -> Duration {
    let seconds = f64::from(1 << tries.min(4)) / 4.0;
    Duration::from_secs_f64(seconds * (0.5 + fastrand::f64()))
}
