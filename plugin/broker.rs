//! The broker's functions, found in the running broker once and called from there.
//!
//! # What is relied on
//!
//! * Mosquitto exports them from its executable. Those that every 2.x has are needed, the others are used where they are
//!   found; none is linked to, for a single missing symbol would keep the broker from starting.
//! * `mosquitto_complete_basic_auth` is new in 2.1, so its presence tells which rules hold: 2.1 ends when RELOAD returns
//!   anything but 0, and on 2.0 a 0 hides the event from the plugins after this one.
//! * `mosquitto_kick_client_by_clientid` may be called in TICK: elsewhere the broker walks the lists that it changes.
//! * A `struct mosquitto` is valid during the callback that was given it, and no longer; it is not an identity.
//! * The log is not thread-safe, and with `log_dest topic` it calls back into this library: log from the main thread,
//!   and never while a lock is held.

#![expect(unsafe_code, reason = "calls the broker's C functions")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::transmute_copy;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use once_cell::sync::OnceCell;

use crate::answer::Answer;
use crate::event::Client;
use crate::sys;

/// Client id (null for all who subscribed), topic, payload, QoS, whether it is retained, properties.
type BrokerPublishCopy = unsafe extern "C" fn(
    *const c_char,
    *const c_char,
    c_int,
    *const c_void,
    c_int,
    bool,
    *mut sys::mosquitto_property,
) -> c_int;
type CallbackRegister = unsafe extern "C" fn(
    *mut sys::mosquitto_plugin_id_t,
    c_int,
    sys::MOSQ_FUNC_generic_callback,
    *const c_void,
    *mut c_void,
) -> c_int;
type CallbackUnregister = unsafe extern "C" fn(
    *mut sys::mosquitto_plugin_id_t,
    c_int,
    sys::MOSQ_FUNC_generic_callback,
    *const c_void,
) -> c_int;
type ClientText = unsafe extern "C" fn(*const sys::mosquitto) -> *const c_char;
type ClientNumber = unsafe extern "C" fn(*const sys::mosquitto) -> c_int;
type ClientTruth = unsafe extern "C" fn(*const sys::mosquitto) -> bool;
/// Client id, whether its will is sent.
type KickByClientId = unsafe extern "C" fn(*const c_char, bool) -> c_int;
/// 2.1 only: what is called for each client until it returns anything but 0, and what it is given.
type ApplyOnAllClients = unsafe extern "C" fn(Visitor, *mut c_void) -> c_int;
type Visitor = unsafe extern "C" fn(*const sys::mosquitto, *mut c_void) -> c_int;
/// 2.1 only: client id, the code that BASIC_AUTH would have returned.
type CompleteBasicAuth = unsafe extern "C" fn(*const c_char, c_int);
type LogPrintf = unsafe extern "C" fn(c_int, *const c_char, ...);
/// 2.1 only: identifier, plugin name, plugin version.
type PluginSetInfo = unsafe extern "C" fn(*mut sys::mosquitto_plugin_id_t, *const c_char, *const c_char) -> c_int;

/// The types above are those of the headers, or this does not compile. It is never called, so nothing is linked.
#[expect(dead_code, reason = "only its types are checked")]
fn signatures() {
    let _: BrokerPublishCopy = sys::mosquitto_broker_publish_copy;
    let _: CallbackRegister = sys::mosquitto_callback_register;
    let _: CallbackUnregister = sys::mosquitto_callback_unregister;
    let _: [ClientText; 3] = [sys::mosquitto_client_address, sys::mosquitto_client_id, sys::mosquitto_client_username];
    let _: [ClientNumber; 2] = [sys::mosquitto_client_protocol, sys::mosquitto_client_protocol_version];
    let _: ClientTruth = sys::mosquitto_client_clean_session;
    let _: KickByClientId = sys::mosquitto_kick_client_by_clientid;
    let _: LogPrintf = sys::mosquitto_log_printf;
}

/// The functions of the broker that this library runs in.
#[derive(Debug)]
pub(crate) struct Broker {
    broker_publish_copy: BrokerPublishCopy,
    callback_register: CallbackRegister,
    callback_unregister: CallbackUnregister,
    client_address: ClientText,
    client_clean_session: ClientTruth,
    client_id: ClientText,
    client_protocol: ClientNumber,
    client_protocol_version: ClientNumber,
    client_username: ClientText,
    kick_by_client_id: KickByClientId,
    log_printf: LogPrintf,
    apply_on_all_clients: Option<ApplyOnAllClients>,
    plugin_set_info: Option<PluginSetInfo>,
    complete_basic_auth: Option<CompleteBasicAuth>,
}

/// A function that every 2.x broker has, and this process has not.
#[derive(Debug)]
pub(crate) struct Missing(
    #[expect(dead_code, reason = "shown by Debug alone: without a broker there is no log")] &'static CStr,
);

/// How loud a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Notice,
    Warning,
    Error,
}

impl Broker {
    /// The broker of this process.
    pub(crate) fn find() -> Result<&'static Self, Missing> {
        static BROKER: OnceCell<Broker> = OnceCell::new();
        /// The broker's function of this name, if there is one.
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the field that this initialises has the type that the headers declare under this name.
                unsafe { function($name) }
            };
        }
        macro_rules! needed {
            ($name:literal) => {
                function!($name).ok_or(Missing($name))?
            };
        }
        BROKER.get_or_try_init(|| {
            Ok(Self {
                broker_publish_copy: needed!(c"mosquitto_broker_publish_copy"),
                callback_register: needed!(c"mosquitto_callback_register"),
                callback_unregister: needed!(c"mosquitto_callback_unregister"),
                client_address: needed!(c"mosquitto_client_address"),
                client_clean_session: needed!(c"mosquitto_client_clean_session"),
                client_id: needed!(c"mosquitto_client_id"),
                client_protocol: needed!(c"mosquitto_client_protocol"),
                client_protocol_version: needed!(c"mosquitto_client_protocol_version"),
                client_username: needed!(c"mosquitto_client_username"),
                kick_by_client_id: needed!(c"mosquitto_kick_client_by_clientid"),
                log_printf: needed!(c"mosquitto_log_printf"),
                apply_on_all_clients: function!(c"mosquitto_apply_on_all_clients"),
                plugin_set_info: function!(c"mosquitto_plugin_set_info"),
                complete_basic_auth: function!(c"mosquitto_complete_basic_auth"),
            })
        })
    }

    /// Whether the rules of 2.1 hold, rather than those of 2.0.
    pub(crate) fn is_2_1(&self) -> bool {
        self.complete_basic_auth.is_some()
    }

    /// Ends the wait of the client that logs in under this id, if there is one. For the main thread only, and with no lock
    /// held: a client that is let in makes the broker call back. 2.1 only; elsewhere nobody waits.
    pub(crate) fn complete_basic_auth(&self, id: &[u8], answer: Answer) {
        let (Some(complete), Ok(id)) = (self.complete_basic_auth, CString::new(id)) else { return };
        // SAFETY: the id is a NUL-terminated text that outlives the call.
        unsafe { complete(id.as_ptr(), answer.code()) }
    }

    /// Disconnects whoever is connected under this id, and has the broker ask again about the subscriptions that the session
    /// keeps. Says whether there is such a session. In TICK only, and with no lock held: the broker calls back, for
    /// DISCONNECT, the will and each subscription. The will is sent always: without it, 2.0 would queue an offline session
    /// for expiry a second time, and free it twice (S21).
    pub(crate) fn kick(&self, id: &[u8]) -> bool {
        let Ok(id) = CString::new(id) else { return false };
        // SAFETY: the id is a NUL-terminated text that outlives the call.
        unsafe { (self.kick_by_client_id)(id.as_ptr(), true) == 0 }
    }

    /// Visits every session that the broker has, as 2.1 can; elsewhere none. For the main thread only. The visitor must not
    /// call the broker.
    pub(crate) fn each_client(&self, mut visit: impl FnMut(&Client<'_>)) {
        struct Context<'a> {
            broker: &'a Broker,
            visit: &'a mut dyn FnMut(&Client<'_>),
        }
        unsafe extern "C" fn one(client: *const sys::mosquitto, context: *mut c_void) -> c_int {
            // No panic may cross into C; one ends the visit.
            let visited = catch_unwind(AssertUnwindSafe(|| {
                // SAFETY: the broker hands on the context that it was given below, and nothing else uses it meanwhile.
                let context = unsafe { context.cast::<Context<'_>>().as_mut() }?;
                // SAFETY: the broker's client, valid during this call.
                let client = unsafe { Client::view(context.broker, NonNull::new(client.cast_mut())?) };
                (context.visit)(&client);
                Some(())
            }));
            visited.map_or(sys::MOSQ_ERR_INVAL, |_| sys::MOSQ_ERR_SUCCESS)
        }
        let Some(apply) = self.apply_on_all_clients else { return };
        let mut context = Context { broker: self, visit: &mut visit };
        // SAFETY: `one` takes what the broker passes, and the context outlives the call.
        unsafe { apply(one, (&raw mut context).cast()) };
    }

    /// Writes a line to the broker's log. For the main thread only, and with no lock held.
    pub(crate) fn log(&self, level: Level, line: &str) {
        let level = match level {
            Level::Notice => sys::MOSQ_LOG_NOTICE,
            Level::Warning => sys::MOSQ_LOG_WARNING,
            Level::Error => sys::MOSQ_LOG_ERR,
        };
        let Ok(line) = CString::new(line.replace('\0', " ")) else { return };
        // SAFETY: the format is one `%s`, and its argument a NUL-terminated text that outlives the call.
        unsafe { (self.log_printf)(level as c_int, c"%s".as_ptr(), line.as_ptr()) }
    }

    /// Publishes a retained message, which the broker hands out in its next turn. For the main thread only, and with no lock
    /// held.
    pub(crate) fn publish(&self, topic: &str, payload: &str) {
        let (Ok(topic), Ok(length)) = (CString::new(topic), c_int::try_from(payload.len())) else { return };
        let (everybody, no_properties) = (std::ptr::null(), std::ptr::null_mut());
        // SAFETY: the topic is a NUL-terminated text and the payload so many bytes, both of which the broker copies.
        unsafe {
            (self.broker_publish_copy)(
                everybody,
                topic.as_ptr(),
                length,
                payload.as_ptr().cast(),
                0,
                true,
                no_properties,
            )
        };
    }

    /// Tells 2.1 what this plugin is called.
    ///
    /// # Safety
    /// The identifier is the one that the broker handed to `mosquitto_plugin_init`.
    pub(crate) unsafe fn introduce(&self, identifier: *mut sys::mosquitto_plugin_id_t) {
        if let Some(set_info) = self.plugin_set_info {
            let version = concat!(env!("CARGO_PKG_VERSION"), "\0");
            // SAFETY: by this function's contract; the broker copies both texts, which end with NUL.
            unsafe { set_info(identifier, c"mqtt-acl".as_ptr(), version.as_ptr().cast()) };
        }
    }

    /// Registers a callback; the broker's code where it does not.
    ///
    /// # Safety
    /// As [`Broker::introduce`], and the callback can be called with this userdata until it is unregistered.
    pub(crate) unsafe fn register(
        &self,
        identifier: *mut sys::mosquitto_plugin_id_t,
        event: c_int,
        callback: Callback,
        userdata: *mut c_void,
    ) -> Result<(), c_int> {
        // SAFETY: by this function's contract.
        match unsafe { (self.callback_register)(identifier, event, Some(callback), std::ptr::null(), userdata) } {
            0 => Ok(()),
            code => Err(code),
        }
    }

    /// Takes a callback back.
    ///
    /// # Safety
    /// As [`Broker::introduce`].
    pub(crate) unsafe fn unregister(
        &self,
        identifier: *mut sys::mosquitto_plugin_id_t,
        event: c_int,
        callback: Callback,
    ) {
        // SAFETY: by this function's contract. Where it was not registered the broker says so, and nothing is lost.
        unsafe { (self.callback_unregister)(identifier, event, Some(callback), std::ptr::null()) };
    }

    /// The client id, if there is one yet.
    ///
    /// # Safety
    /// The client is valid for the lifetime that the caller gives the text.
    #[inline]
    pub(crate) unsafe fn client_id<'a>(&self, client: NonNull<sys::mosquitto>) -> Option<&'a [u8]> {
        // SAFETY: by this function's contract.
        let pointer = unsafe { (self.client_id)(client.as_ptr()) };
        // SAFETY: the broker's copy, which ends with NUL and lives as long as the client.
        unsafe { text(pointer) }
    }

    /// Whether the client came over a WebSocket.
    ///
    /// # Safety
    /// The client is valid during the call.
    pub(crate) unsafe fn is_websocket(&self, client: NonNull<sys::mosquitto>) -> bool {
        // SAFETY: by this function's contract.
        let protocol = unsafe { (self.client_protocol)(client.as_ptr()) };
        u32::try_from(protocol) == Ok(sys::mp_websockets)
    }

    /// Whether the client asked for a session of its own, not one that it had before. In MQTT 3 such a session ends with the
    /// connection.
    ///
    /// # Safety
    /// As [`Broker::is_websocket`].
    pub(crate) unsafe fn is_clean(&self, client: NonNull<sys::mosquitto>) -> bool {
        // SAFETY: by this function's contract.
        unsafe { (self.client_clean_session)(client.as_ptr()) }
    }

    /// The version of MQTT that the client speaks: 3 for 3.1, 4 for 3.1.1, 5.
    ///
    /// # Safety
    /// As [`Broker::is_websocket`].
    pub(crate) unsafe fn protocol_version(&self, client: NonNull<sys::mosquitto>) -> c_int {
        // SAFETY: by this function's contract.
        unsafe { (self.client_protocol_version)(client.as_ptr()) }
    }

    /// The user name; none for an anonymous client.
    ///
    /// # Safety
    /// As [`Broker::client_id`].
    #[inline]
    pub(crate) unsafe fn client_username<'a>(&self, client: NonNull<sys::mosquitto>) -> Option<&'a [u8]> {
        // SAFETY: by this function's contract.
        let pointer = unsafe { (self.client_username)(client.as_ptr()) };
        // SAFETY: the broker's copy, which ends with NUL and lives as long as the client.
        unsafe { text(pointer) }
    }

    /// The address that the client connected from; none for sessions that never did, and for callers of the HTTP listener.
    ///
    /// # Safety
    /// As [`Broker::client_id`].
    pub(crate) unsafe fn client_address<'a>(&self, client: NonNull<sys::mosquitto>) -> Option<&'a [u8]> {
        // SAFETY: by this function's contract.
        let pointer = unsafe { (self.client_address)(client.as_ptr()) };
        // SAFETY: the broker's copy, which ends with NUL and lives as long as the client.
        unsafe { text(pointer) }
    }
}

/// A callback as the broker calls it: event, event data, userdata.
pub(crate) type Callback = unsafe extern "C" fn(c_int, *mut c_void, *mut c_void) -> c_int;

/// The bytes of a C string, or `None` for a null pointer.
///
/// # Safety
/// A pointer that is not null points to a NUL-terminated text that is valid for the lifetime that the caller gives it.
pub(crate) unsafe fn text<'a>(text: *const c_char) -> Option<&'a [u8]> {
    if text.is_null() {
        return None;
    }
    // SAFETY: by this function's contract.
    Some(unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// # Safety
/// `F` is the type of a function pointer, and the symbol, if there is one, a function of that type.
unsafe fn function<F: Copy>(name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    let address = symbol(name)?;
    // SAFETY: by this function's contract; POSIX lets addresses from dlsym be called as functions.
    Some(unsafe { transmute_copy::<NonNull<c_void>, F>(&address) })
}

fn symbol(name: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: the name is NUL-terminated; a search through what is loaded has no other precondition.
    NonNull::new(unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) })
}
