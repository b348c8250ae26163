//! A publisher and a subscriber that nobody's login is any business of: what they notice of it.
//!
//! Open loop: each message has its time, and its latency counts from then, also where the publisher could not send it yet.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::stats::percentile;
use crate::support::mqtt::{Connect, V311, field, packet, tcp};

/// 500 messages a second.
const EVERY: Duration = Duration::from_millis(2);
/// How long the broker may take with the last messages.
const PATIENCE: Duration = Duration::from_secs(30);
const TOPIC: &str = "bench/pair";

pub(crate) struct Pair {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Messages>,
}

/// All messages: when each was due, and when it arrived.
#[derive(Default)]
pub(crate) struct Messages {
    due: Vec<Instant>,
    arrived: Vec<Option<Instant>>,
}

/// What the pair noticed of something.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noticed {
    /// Milliseconds, of the messages that were due meanwhile.
    pub(crate) latencies: Vec<f64>,
    pub(crate) lost: usize,
    /// The longest time without a message, in milliseconds.
    pub(crate) silence: f64,
}

impl Pair {
    /// A pair at work.
    pub(crate) fn start(port: u16, publisher: &Connect, subscriber: &Connect) -> Self {
        let (publisher, mut subscriber) = (open(port, publisher), open(port, subscriber));
        subscribe(&mut subscriber, TOPIC);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            // They stand for other machines, which have processors of their own.
            let _ = rustix::process::setpriority_process(None, PRIORITY);
            work(publisher, subscriber, &stopped)
        });
        thread::sleep(50 * EVERY);
        Self { stop, thread }
    }

    /// Ends it once all messages have arrived, or too late.
    pub(crate) fn stop(self) -> Messages {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the pair's thread")
    }
}

/// For nobody but root.
const PRIORITY: i32 = -15;

/// Whether the pair's thread may go before others.
pub(crate) fn has_priority() -> bool {
    thread::spawn(|| rustix::process::setpriority_process(None, PRIORITY).is_ok()).join().expect("a thread")
}

impl Messages {
    pub(crate) fn between(&self, from: Instant, to: Instant) -> Noticed {
        let mut noticed = Noticed::default();
        for (due, arrived) in self.due.iter().zip(&self.arrived) {
            if (from..to).contains(due) {
                match arrived {
                    Some(arrived) => noticed.latencies.push(milliseconds(*arrived - *due)),
                    None => noticed.lost += 1,
                }
            }
        }
        let arrivals: Vec<Instant> = self.arrived.iter().flatten().copied().collect();
        let gaps = arrivals.windows(2).filter(|gap| gap[0] < to && gap[1] > from);
        noticed.silence = gaps.map(|gap| milliseconds(gap[1].saturating_duration_since(gap[0]))).fold(0.0, f64::max);
        noticed
    }
}

impl Noticed {
    pub(crate) fn p50(&self) -> f64 {
        percentile(&self.latencies, 50.0)
    }

    pub(crate) fn p99(&self) -> f64 {
        percentile(&self.latencies, 99.0)
    }

    /// Adds another round of the same.
    pub(crate) fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.lost += other.lost;
        self.silence = self.silence.max(other.silence);
    }
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// A connection that the broker let in.
pub(crate) fn open(port: u16, connect: &Connect) -> TcpStream {
    assert_eq!(connect.version, V311, "answers of this length");
    let mut stream = tcp(port);
    exchange(&mut stream, &connect.encode(), &[0x20, 2, 0, 0]);
    stream
}

/// Subscribes with QoS 0.
pub(crate) fn subscribe(stream: &mut (impl Read + Write), filter: &str) {
    let subscribe = [&[0, 1][..], &field(filter.as_bytes()), &[0]].concat();
    exchange(stream, &packet(0x82, &subscribe), &[0x90, 3, 0, 1, 0]);
}

pub(crate) fn exchange(stream: &mut (impl Read + Write), request: &[u8], expected: &[u8]) {
    let mut answer = vec![0; expected.len()];
    let done = stream.write_all(request).and_then(|()| stream.read_exact(&mut answer));
    assert!(done.is_ok() && answer == expected, "a client is not served: {done:?}, {answer:x?}");
}

/// QoS 0, so the packet that arrives is the one that was sent.
fn message(number: usize) -> Vec<u8> {
    packet(0x30, &[&field(TOPIC.as_bytes())[..], &(number as u64).to_be_bytes()].concat())
}

fn work(mut publisher: TcpStream, mut subscriber: TcpStream, stop: &AtomicBool) -> Messages {
    publisher.set_nonblocking(true).expect("a socket that does not block");
    subscriber.set_nonblocking(true).expect("a socket that does not block");
    let size = message(0).len();
    let mut messages = Messages::default();
    let (mut out, mut inbox, mut buffer) = (Vec::new(), Vec::new(), vec![0; 1 << 16]);
    let mut next = Instant::now();
    let (mut end, mut missing) = (None, 0);
    loop {
        let now = Instant::now();
        while end.is_none() && next <= now {
            out.extend(message(messages.due.len()));
            messages.due.push(next);
            messages.arrived.push(None);
            missing += 1;
            next += EVERY;
        }
        if end.is_none() && stop.load(Ordering::Relaxed) {
            end = Some(now + PATIENCE);
        }
        if end.is_some_and(|end| missing == 0 || now >= end) {
            return messages;
        }
        if !out.is_empty() {
            match publisher.write(&out) {
                Ok(sent) => drop(out.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return messages,
            }
        }
        let left = next.saturating_duration_since(Instant::now()).min(EVERY);
        let timeout =
            Timespec { tv_sec: 0, tv_nsec: if end.is_some() { 1_000_000 } else { i64::from(left.subsec_nanos()) } };
        // An error shows when reading.
        let _ = poll(&mut [PollFd::new(&subscriber, PollFlags::IN)], Some(&timeout));
        loop {
            match subscriber.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Ok(0) | Err(_) => return messages,
                Ok(read) => inbox.extend_from_slice(&buffer[..read]),
            }
        }
        let arrived = Instant::now();
        let whole = inbox.len() / size * size;
        for packet in inbox.drain(..whole).collect::<Vec<_>>().chunks_exact(size) {
            let number = u64::from_be_bytes(packet[size - 8..].try_into().expect("eight bytes")) as usize;
            messages.arrived[number] = Some(arrived);
            missing -= 1;
        }
    }
}
