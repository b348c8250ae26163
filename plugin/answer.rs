//! What may be said to the broker, and nothing else (S25).
//!
//! The codes that only 2.1 knows are not in the headers of 2.0, so they are written as numbers here.
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
    /// BASIC_AUTH on 2.1 only: [`Broker::complete_basic_auth`](crate::broker::Broker::complete_basic_auth) will tell.
    pub(crate) const AUTH_DELAYED: Self = Self(-5);
    /// BASIC_AUTH on 2.1 only: refused, try again later. MQTT 5 clients are told so, the others as by [`Self::AUTH`].
    pub(crate) const SERVER_BUSY: Self = Self(137);
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
