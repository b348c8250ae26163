//! What is decided about: policies of many sizes in the shape of deploy/policy.toml, and messages that they allow and refuse.
//!
//! S36: a thousand topics and a hundred users in rotation, `%u` and literal rules, client ids bound to their users.

use std::fmt::Write as _;

/// As many publishers take turns.
pub(crate) const PUBLISHERS: usize = 100;
/// Distinct topics of a rotation, of those that are allowed, and again of those that are refused.
pub(crate) const TOPICS: usize = 1000;
/// What everybody who reads at all reads.
pub(crate) const NEWS: &str = "news/today";
/// The user that reads what devices say.
pub(crate) const SERVICE: &str = "service";
/// What `deny` takes away from the literal rules.
pub(crate) const DENIED: &str = "plant/+/+/stop/+";
/// What devices and the service read.
pub(crate) const DEVICE_READS: [&str; 2] = ["cmd/demo/+/%u/#", "news/#"];
pub(crate) const SERVICE_READS: [&str; 3] = ["dt/demo/#", "cmd/demo/#", "plant/#"];
pub(crate) const SERVICE_WRITES: [&str; 2] = ["cmd/demo/#", "news/#"];

/// How large a policy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Rules that a device's PUBLISH is held against.
    pub(crate) rules: usize,
    /// Devices, all of one role.
    pub(crate) users: usize,
}

/// Somebody publishes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) user: String,
    pub(crate) client_id: String,
    pub(crate) topic: String,
}

/// The name of a device.
pub(crate) fn device(number: usize) -> String {
    format!("dev{number:07}")
}

impl Size {
    /// What devices may publish to, without what is denied. Their own topics stand in the middle, so that who looks at one
    /// rule after the other looks at half of them.
    pub(crate) fn device_writes(&self) -> Vec<String> {
        let mut filters: Vec<String> = (0..self.literals()).map(|number| format!("{}/#", cell(number))).collect();
        let own = if self.has_many() { &["dt/demo/+/%u/#", "cmd/demo/+/%u/#"][..] } else { &["dt/demo/+/%u/#"] };
        let middle = filters.len() / 2;
        filters.splice(middle..middle, own.iter().map(|filter| (*filter).to_owned()));
        filters
    }

    /// Whether there is more than the one rule: a `deny`, and rules without `%u`.
    pub(crate) fn has_many(&self) -> bool {
        self.rules >= 10
    }

    /// The policy; `{token}` stands for everybody's password string.
    pub(crate) fn policy(&self) -> String {
        let list =
            |filters: &[&str]| filters.iter().map(|filter| format!("\"{filter}\"")).collect::<Vec<_>>().join(", ");
        let mut policy = "version = 1\n\n[roles.device]\npublish = [\n".to_owned();
        for filter in self.device_writes() {
            let _ = writeln!(policy, "    \"{filter}\",");
        }
        let _ = writeln!(policy, "]\nsubscribe = [{}]", list(&DEVICE_READS));
        if self.has_many() {
            let _ = writeln!(policy, "deny = {{ publish = [\"{DENIED}\"] }}");
        }
        let (writes, reads) = (list(&SERVICE_WRITES), list(&SERVICE_READS));
        let _ = write!(policy, "\n[roles.service]\npublish = [{writes}]\nsubscribe = [{reads}]\n");
        let _ = write!(policy, "\n[users.{SERVICE}]\nroles = [\"service\"]\npassword = \"{{token}}\"\n");
        for number in 0..self.users {
            let name = device(number);
            let _ = write!(policy, "\n[users.{name}]\nroles = [\"device\"]\npassword = \"{{token}}\"\n");
        }
        policy
    }

    /// A rotation of messages that the policy allows, half of them by `%u` rules where there are others.
    pub(crate) fn allowed(&self) -> Vec<Message> {
        (0..TOPICS).map(|number| self.allowed_of(self.publisher(number), number)).collect()
    }

    /// One that the policy allows, of this device.
    pub(crate) fn allowed_of(&self, sender: usize, number: usize) -> Message {
        let round = number / PUBLISHERS;
        if round % 2 == 1 && self.literals() > 0 {
            let cell = cell(number * self.literals() / TOPICS);
            return message(sender, number, format!("{cell}/set/{number}"));
        }
        message(sender, number, format!("dt/demo/{round}/{}/senml", device(sender)))
    }

    /// A rotation of messages that it refuses: topics of another device, which no rule grants, and topics that one denies.
    pub(crate) fn refused(&self) -> Vec<Message> {
        let message = |number: usize| {
            let (sender, round) = (self.publisher(number), number / PUBLISHERS);
            if round % 2 == 1 {
                let cell = cell(number * self.literals() / TOPICS);
                return message(sender, number, format!("{cell}/stop/{number}"));
            }
            message(sender, number, format!("dt/demo/{round}/{}/senml", device(sender + 1)))
        };
        (0..TOPICS).map(message).collect()
    }

    /// The one that is always the same.
    pub(crate) fn one_topic(&self) -> Message {
        self.allowed_of(0, 0)
    }

    fn publisher(&self, number: usize) -> usize {
        number % self.users.min(PUBLISHERS)
    }

    /// How many rules name neither user nor client.
    fn literals(&self) -> usize {
        // The others are the device's own two and the `deny`.
        self.rules.saturating_sub(3)
    }
}

fn cell(number: usize) -> String {
    format!("plant/line{}/cell{}", number / 100, number % 100)
}

/// Every other device has an id that is not merely its name.
fn message(sender: usize, number: usize, topic: String) -> Message {
    let user = device(sender);
    let client_id = if sender % 2 == 0 { user.clone() } else { format!("{user}-{}", number % 10) };
    Message { user, client_id, topic }
}
