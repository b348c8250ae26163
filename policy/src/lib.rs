//! The policy engine of mqtt-acl: a TOML policy is read, checked and compiled, and then answers who may log in to a broker,
//! publish, subscribe and receive, each time with a reason.
//!
//! It knows no broker and does nothing but decide; `plugin/` connects it to Mosquitto, `policy/cli` to a person.
//!
//! ```text
//! load ── document ── compile ──> Policy ── authorize / login ──> Decision ── reason ──> text
//!  files   TOML        checks       │
//!                                   ├─ matcher     the rules, compiled into trees (template, topic)
//!                                   ├─ binding     client ids
//!                                   ├─ credential  password strings (fingerprint: logins that are remembered)
//!                                   ├─ limits      how the checking of passwords is rationed
//!                                   ├─ session     what a policy means for who was admitted by an earlier one
//!                                   └─ scenario    the policy's own tests
//! ```

#![forbid(unsafe_code)]

mod binding;
mod compile;
mod credential;
mod decision;
mod document;
mod fingerprint;
mod hidden;
mod limits;
mod load;
mod login;
mod matcher;
mod policy;
mod problem;
mod reason;
mod scenario;
mod session;
mod template;
mod topic;

pub use crate::binding::{HTTP_API, is_auto_id};
pub use crate::credential::{CredentialId, Token, hash, is_token};
pub use crate::decision::{Action, Client, Decision, Grant, Refusal, RuleId};
pub use crate::fingerprint::{Fingerprint, Fingerprints};
pub use crate::limits::Limits;
pub use crate::load::{Failure, Loaded, Trust, load, parse, test, user_id};
pub use crate::login::Verdict;
pub use crate::policy::{Policy, Size};
pub use crate::problem::{Escaped, OneLine, Place, Problem, Severity};
pub use crate::reason::Reason;
pub use crate::scenario::Outcome;
pub use crate::topic::is_topic_name;
