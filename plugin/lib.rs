//! mqtt-acl inside the stock Mosquitto: the only code that knows the broker, and the only code with `unsafe`. It decides
//! nothing; [`mqtt_acl_policy`] does.
//!
//! ```text
//! broker ──> lib ──> boundary ──> plugin ──> mqtt_acl_policy
//!   C       3 exports  guards,      state,       decisions
//!                      event views  answers
//! ```
//!
//! The functions below are all that the library exports.

#![expect(unsafe_code, reason = "three functions that C calls by name")]

mod answer;
mod audit;
mod boundary;
mod broker;
mod conf;
mod event;
mod in_force;
mod journal;
mod loader;
mod logins;
mod options;
mod plugin;
mod refusals;
mod sessions;
mod state;
mod sys;
mod threads;
mod tickless;

use std::ffi::{c_int, c_void};

/// Tells the broker which version of its plugin interface is spoken.
///
/// # Safety
/// `versions` is null or points to `count` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mosquitto_plugin_version(count: c_int, versions: *const c_int) -> c_int {
    // SAFETY: by this function's contract.
    unsafe { boundary::version(count, versions) }
}

/// Starts the plugin. Anything but 0 keeps the broker from starting, and the log says why.
///
/// # Safety
/// Called by the broker, on its main thread: with its identifier for this plugin, a place for the plugin's data, and
/// `count` options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mosquitto_plugin_init(
    identifier: *mut c_void,
    userdata: *mut *mut c_void,
    options: *mut c_void,
    count: c_int,
) -> c_int {
    // SAFETY: by this function's contract.
    unsafe { boundary::init(identifier.cast(), userdata, options.cast_const().cast(), count) }
}

/// Ends the plugin.
///
/// # Safety
/// Called by the broker, once, with the data of a successful `mosquitto_plugin_init`, and no callback after it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mosquitto_plugin_cleanup(userdata: *mut c_void, _: *mut c_void, _: c_int) -> c_int {
    // SAFETY: by this function's contract.
    unsafe { boundary::cleanup(userdata) }
}
