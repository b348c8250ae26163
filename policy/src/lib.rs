//! The policy engine of mqtt-acl: a TOML policy is read, checked and compiled, and then answers who may log in to a broker,
//! publish, subscribe and receive, each time with a reason.
//!
//! It knows no broker and does nothing but decide; `plugin/` connects it to Mosquitto, `policy/cli` to a person.
//!
//! ```text
//! load ── document ── compile ──> Policy ── authorize / login ──> Decision ── reason ──> text
//!  files   TOML        checks       │
//!                                   ├─ matcher     the rules, compiled into trees (template, topic)
//!                                   ├─ memo        what was allowed before
//!                                   ├─ binding     client ids
//!                                   ├─ users       who is listed, packed
//!                                   ├─ credential  password strings (fingerprint: logins that are remembered)
//!                                   ├─ limits      how the checking of passwords is rationed
//!                                   ├─ scenario    the policy's own tests
//!                                   ├─ session     what a policy means for who was admitted by an earlier one
//!                                   ├─ bearing     the other rules that bear on a request (plain)
//!                                   ├─ nearest     what a refused request lacks (plain)
//!                                   ├─ who         who may do something
//!                                   └─ compare     whose rights differ from another policy's (witness)
//!
//! sources    what a load looked at, to tell when it changes
//! last_good  a policy that was in force, kept for a start with a broken one (recover: what that one still says)
//! ```

#![forbid(unsafe_code)]

mod account;
mod bearing;
mod binding;
mod bytes;
mod census;
mod compare;
mod compile;
mod credential;
mod decision;
mod document;
mod fingerprint;
mod hash;
mod hidden;
mod last_good;
mod limits;
mod load;
mod login;
mod matcher;
mod memo;
mod nearest;
mod number;
mod plain;
mod policy;
mod problem;
mod reason;
mod recover;
mod rules;
mod scenario;
mod session;
mod sources;
mod template;
mod topic;
mod users;
mod who;
mod witness;

pub use crate::account::Account;
pub use crate::bearing::{Bearing, RuleView};
pub use crate::binding::{HTTP_API, is_auto_id};
pub use crate::compare::{Comparison, Holders, Right, Shift, compare};
pub use crate::credential::{CredentialId, Token, hash, is_password_string, is_token};
pub use crate::decision::{Action, Client, Decision, Grant, Refusal, RuleId, Verb};
pub use crate::fingerprint::{Fingerprint, Fingerprints};
pub use crate::last_good::{LastGood, Unkept};
pub use crate::limits::Limits;
pub use crate::load::{
    Failure, Loaded, Replacement, Trust, included, includes, load, load_with, load_with_sources, parse, test, user_id,
    user_ids,
};
pub use crate::login::Verdict;
pub use crate::memo::Memo;
pub use crate::nearest::{Change, Difference, Miss};
pub use crate::number::grouped;
pub use crate::policy::{Policy, Size};
pub use crate::problem::{Escaped, OneLine, Place, Problem, Severity};
pub use crate::reason::Reason;
pub use crate::scenario::Outcome;
pub use crate::sources::{Glance, Hash, Sources};
pub use crate::template::{is_rule, is_usable as is_usable_name};
pub use crate::topic::{is_subscription, is_topic_filter, is_topic_name};
pub use crate::who::{Able, Ids, Who};
pub use crate::witness::{CaseId, Extent, Filters, Subscription, Walk};
