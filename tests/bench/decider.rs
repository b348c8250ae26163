//! Decides, in process, with nothing but the engine: what `tests/bench.sh decide` times, and counts under callgrind.
//!
//! `decider RULES USERS BLOCKS WORKLOAD...` decides so many blocks of a thousand messages, and prints for each workload the
//! median of the blocks and what one in ten falls below and stays above, in nanoseconds per decision.

#![expect(clippy::expect_used, clippy::panic, reason = "a benchmark ends by panicking")]

#[expect(dead_code, reason = "the others use all of it")]
mod stats;
#[expect(dead_code, reason = "the others use all of it")]
mod workload;

use std::env;
use std::hint::black_box;
use std::time::Instant;

use mqtt_acl_policy::{Action, Client, Decision, Policy, parse};

use stats::percentile;
use workload::{Message, Size, TOPICS};

/// As `mqtt-acl token` prints them.
const TOKEN: &str = "$token$akAHzq35dAkzl9Z12d5LIfjLygc3310Wbe5TO6N7fAM";

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [rules, users, blocks, workloads @ ..] = &arguments[..] else {
        panic!("decider RULES USERS BLOCKS WORKLOAD...")
    };
    let number = |text: &String| text.parse().expect("a number");
    let (size, blocks) = (Size { rules: number(rules), users: number(users) }, number(blocks));
    let text = size.policy().replace("{token}", TOKEN);
    let policy = parse(&text, "policy.toml").unwrap_or_else(|failure| panic!("{failure}")).policy;
    drop(text);
    for name in workloads {
        let mut block = Block::new(name, size);
        block.check(&policy);
        let mut times: Vec<f64> = Vec::new();
        for _ in 0..blocks {
            block.shuffle();
            let start = Instant::now();
            let allowed = decide(&policy, &block.messages);
            times.push(start.elapsed().as_nanos() as f64 / block.messages.len() as f64);
            assert_eq!(allowed, if block.is_allowed { block.messages.len() } else { 0 }, "{name}");
        }
        let [median, low, high] = [50.0, 10.0, 90.0].map(|percent| percentile(&times, percent));
        println!("{name} {median} {low} {high}");
    }
}

/// What callgrind counts: how many of these are allowed.
#[inline(never)]
fn decide(policy: &Policy, messages: &[Message]) -> usize {
    messages.iter().filter(|message| authorize(policy, message).is_allow()).count()
}

fn authorize(policy: &Policy, message: &Message) -> Decision {
    let client = Client { user: Some(message.user.as_bytes()), id: message.client_id.as_bytes() };
    policy.authorize(black_box(&client), black_box(Action::Publish(message.topic.as_bytes())))
}

/// A thousand messages that are decided in a row.
struct Block {
    size: Size,
    messages: Vec<Message>,
    is_allowed: bool,
    /// Of other users each time.
    is_cold: bool,
}

impl Block {
    fn new(name: &str, size: Size) -> Self {
        let messages = match name {
            "one-topic" => vec![size.one_topic(); TOPICS],
            "allowed" | "cold" => size.allowed(),
            "refused" => size.refused(),
            _ => panic!("`{name}` is not a workload"),
        };
        Self { size, messages, is_allowed: name != "refused", is_cold: name == "cold" }
    }

    /// Not counted, and so what is done once is not either.
    fn check(&self, policy: &Policy) {
        for message in &self.messages {
            let decision = authorize(policy, message);
            assert_eq!(decision.is_allow(), self.is_allowed, "{message:?}: {decision:?}");
        }
    }

    /// Messages come fresh from the network: what is cold is what the policy knows of their users.
    fn shuffle(&mut self) {
        if self.is_cold {
            let number = |at: usize| self.size.allowed_of(fastrand::usize(..self.size.users), at);
            self.messages = (0..TOPICS).map(number).collect();
        }
    }
}
