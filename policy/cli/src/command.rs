//! The sub-commands, each with its arguments and its help.

pub(crate) mod check;
pub(crate) mod diff;
pub(crate) mod explain;
pub(crate) mod hash;
pub(crate) mod import;
pub(crate) mod test;
pub(crate) mod token;
