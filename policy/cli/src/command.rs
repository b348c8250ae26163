//! The sub-commands, each with its arguments and its help.

pub(crate) mod check;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod hash;
pub(crate) mod schema;
pub(crate) mod test;
pub(crate) mod token;
pub(crate) mod user;
pub(crate) mod who_can;
