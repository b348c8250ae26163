//! What may be said to the broker, and nothing else (S25).
//!
//! Any other code closes connections: one from a READ check closes the *publisher's*, on every version.

use std::ffi::c_int;

use crate::sys;

/// A return code of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer(c_int);

impl Answer {
    /// Done; for BASIC_AUTH and ACL_CHECK: allowed.
    pub(crate) const SUCCESS: Self = Self(sys::MOSQ_ERR_SUCCESS);
    /// BASIC_AUTH: refused. A CONNACK says so on every version.
    pub(crate) const AUTH: Self = Self(sys::MOSQ_ERR_AUTH);
    /// ACL_CHECK: refused.
    pub(crate) const ACL_DENIED: Self = Self(sys::MOSQ_ERR_ACL_DENIED);
    /// RELOAD on 2.0: let the plugins after this one know too.
    pub(crate) const DEFER: Self = Self(sys::MOSQ_ERR_PLUGIN_DEFER);
    /// Init only: the broker does not start.
    pub(crate) const INVALID: Self = Self(sys::MOSQ_ERR_INVAL);

    pub(crate) fn code(self) -> c_int {
        self.0
    }
}
