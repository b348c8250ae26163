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
//!                                   ├─ scenario    the policy's own tests
//!                                   └─ compare     whose rights differ from another policy's (witness)
//! ```

#![forbid(unsafe_code)]

mod binding;
mod compare;
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
mod template;
mod topic;
mod witness;

pub use crate::binding::{HTTP_API, is_auto_id};
pub use crate::compare::{Change, Comparison, Right, Who, compare};
pub use crate::credential::{Token, hash, is_password_string, is_token};
pub use crate::decision::{Action, Client, Decision, Grant, Refusal, RuleId};
pub use crate::fingerprint::{Fingerprint, Fingerprints};
pub use crate::limits::Limits;
pub use crate::load::{Failure, Loaded, Trust, load, parse, test, user_id};
pub use crate::login::Verdict;
pub use crate::policy::{Policy, Size};
pub use crate::problem::{Escaped, OneLine, Place, Problem, Severity};
pub use crate::reason::Reason;
pub use crate::scenario::Outcome;
pub use crate::template::{is_rule, is_usable as is_usable_name};
pub use crate::topic::{is_topic_filter, is_topic_name};
pub use crate::witness::{CaseId, Extent, Filters, Subscription, Walk};
