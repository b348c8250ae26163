//! Moving over to mqtt-acl: what other ways to control access say, in their own words, and as a policy.
//!
//! ```text
//! acl, passwords ── from_acl ──┐
//!                              ├─> draft ── text ──> Policy
//! dynsec ───────────────────────┘     └──── check ──── (the source against the policy)
//! ```
//!
//! The command line writes what comes of it; the tests hold each part against the brokers themselves.

#![forbid(unsafe_code)]

pub mod acl;
pub mod check;
pub mod draft;
pub mod dynsec;
pub mod from_acl;
pub mod passwords;

/// How to import.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Bind client ids to user names.
    pub bind: bool,
    /// Clients without a user name are admitted.
    pub anonymous: bool,
    /// Grant only subscriptions of which everything may be read.
    pub exact: bool,
}

/// The role that all users have.
const EVERYONE: &str = "everyone";
const ANY_ID: &str = "*";
const OWN_ID: &str = "%u";
