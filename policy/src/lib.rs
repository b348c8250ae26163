//! The policy engine.
#![forbid(unsafe_code)]
