//! Mosquitto's plugin interface as its headers declare it, and what this library relies on beyond that.
//!
//! Stock 2.0.11, 2.0.21 and 2.1.2 lay these structs out alike; the assertions make sure that the headers at hand do too.

#[expect(
    dead_code,
    non_camel_case_types,
    non_upper_case_globals,
    unreachable_pub,
    reason = "generated code keeps the names of C"
)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/mosquitto.rs"));
}

use std::mem::{offset_of, size_of};

pub(crate) use bindings::{
    MOSQ_ACL_READ, MOSQ_ACL_SUBSCRIBE, MOSQ_ACL_UNSUBSCRIBE, MOSQ_ACL_WRITE, MOSQ_ERR_ACL_DENIED, MOSQ_ERR_AUTH,
    MOSQ_ERR_INVAL, MOSQ_ERR_PLUGIN_DEFER, MOSQ_ERR_SUCCESS, MOSQ_EVT_ACL_CHECK, MOSQ_EVT_BASIC_AUTH,
    MOSQ_EVT_DISCONNECT, MOSQ_EVT_RELOAD, MOSQ_EVT_TICK, MOSQ_FUNC_generic_callback, MOSQ_LOG_ERR, MOSQ_LOG_NOTICE,
    MOSQ_LOG_WARNING, MOSQ_PLUGIN_VERSION, mosquitto, mosquitto_broker_publish_copy, mosquitto_callback_register,
    mosquitto_callback_unregister, mosquitto_client_address, mosquitto_client_clean_session, mosquitto_client_id,
    mosquitto_client_protocol, mosquitto_client_protocol_version, mosquitto_client_username, mosquitto_evt_acl_check,
    mosquitto_evt_basic_auth, mosquitto_kick_client_by_clientid, mosquitto_log_printf, mosquitto_opt,
    mosquitto_plugin_id_t, mosquitto_property, mp_websockets,
};

const _: () = {
    assert!(MOSQ_PLUGIN_VERSION == 5);
    assert!(MOSQ_ERR_SUCCESS == 0 && MOSQ_ERR_AUTH == 11 && MOSQ_ERR_ACL_DENIED == 12 && MOSQ_ERR_PLUGIN_DEFER == 17);
    assert!(MOSQ_EVT_RELOAD == 1 && MOSQ_EVT_ACL_CHECK == 2 && MOSQ_EVT_BASIC_AUTH == 3);
    assert!(MOSQ_EVT_TICK == 9 && MOSQ_EVT_DISCONNECT == 10);
    assert!(MOSQ_ACL_READ == 1 && MOSQ_ACL_WRITE == 2 && MOSQ_ACL_SUBSCRIBE == 4 && MOSQ_ACL_UNSUBSCRIBE == 8);
};

/// Where 2.1.3 and newer put the length of the password in `mosquitto_evt_basic_auth`.
pub(crate) const PASSWORD_LEN: usize = offset_of!(mosquitto_evt_basic_auth, password) + size_of::<*mut u8>();

/// Where every event that is about a client points to it.
pub(crate) const CLIENT: usize = offset_of!(mosquitto_evt_basic_auth, client);

/// 2.1 only: a client is connected.
pub(crate) const EVT_CONNECT: std::ffi::c_int = 11;
/// 2.1 only: a client's connection has ended and its session has not; for one that has, there is `MOSQ_EVT_DISCONNECT`.
pub(crate) const EVT_CLIENT_OFFLINE: std::ffi::c_int = 28;

#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<mosquitto_evt_basic_auth>() == 64);
    assert!(offset_of!(mosquitto_evt_basic_auth, client) == 8);
    assert!(offset_of!(mosquitto_evt_basic_auth, username) == 16);
    assert!(offset_of!(mosquitto_evt_basic_auth, password) == 24);
    assert!(PASSWORD_LEN == 32);
    assert!(size_of::<mosquitto_evt_acl_check>() == 88);
    assert!(offset_of!(mosquitto_evt_acl_check, client) == 8);
    assert!(offset_of!(mosquitto_evt_acl_check, topic) == 16);
    assert!(offset_of!(mosquitto_evt_acl_check, access) == 40);
    assert!(size_of::<mosquitto_opt>() == 16);
};
