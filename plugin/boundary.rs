//! Where the broker calls in: each entry translates in, calls safe code, translates out, and nothing is decided here.
//!
//! No panic crosses into C. Each entry names what is answered instead, and that is a refusal wherever 0 would allow.

#![expect(unsafe_code, reason = "the broker calls these functions, with pointers")]

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use crate::answer::Answer;
use crate::broker::{Broker, Callback, Level, text};
use crate::event::{AclCheck, BasicAuth, Connection};
use crate::options::Options;
use crate::plugin::Plugin;
use crate::sys;

/// What is registered: all of it or nothing. The last two where there are such events, which is on 2.1.
const CALLBACKS: [(c_int, Callback); 7] = [
    (sys::MOSQ_EVT_ACL_CHECK as c_int, on_acl_check),
    (sys::MOSQ_EVT_BASIC_AUTH as c_int, on_basic_auth),
    (sys::MOSQ_EVT_RELOAD as c_int, on_reload),
    (sys::MOSQ_EVT_TICK as c_int, on_tick),
    (sys::MOSQ_EVT_DISCONNECT as c_int, on_disconnect),
    (sys::EVT_CONNECT, on_connect),
    (sys::EVT_CLIENT_OFFLINE, on_client_offline),
];

fn callbacks(broker: &Broker) -> impl Iterator<Item = (c_int, Callback)> {
    let is_2_1 = broker.is_2_1();
    let is_new = |event| [sys::EVT_CONNECT, sys::EVT_CLIENT_OFFLINE].contains(&event);
    CALLBACKS.into_iter().filter(move |(event, _)| is_2_1 || !is_new(*event))
}

/// What the broker's userdata points to: one loaded instance of the plugin.
struct Instance {
    plugin: Plugin,
    identifier: *mut sys::mosquitto_plugin_id_t,
}

unsafe extern "C" fn on_acl_check(_: c_int, data: *mut c_void, userdata: *mut c_void) -> c_int {
    guard("ACL_CHECK", Answer::ACL_DENIED, || {
        // SAFETY: the broker passes what was registered with this callback.
        let plugin = unsafe { plugin(userdata) }?;
        // SAFETY: the broker passes this event's data, valid until the callback returns.
        let event = unsafe { AclCheck::view(plugin.broker(), data) }?;
        Some(plugin.acl_check(event))
    })
}

unsafe extern "C" fn on_basic_auth(_: c_int, data: *mut c_void, userdata: *mut c_void) -> c_int {
    guard("BASIC_AUTH", Answer::AUTH, || {
        // SAFETY: the broker passes what was registered with this callback.
        let plugin = unsafe { plugin(userdata) }?;
        // SAFETY: the broker passes this event's data, valid until the callback returns.
        let event = unsafe { BasicAuth::view(plugin.broker(), data) }?;
        Some(plugin.basic_auth(&event))
    })
}

unsafe extern "C" fn on_reload(_: c_int, _: *mut c_void, userdata: *mut c_void) -> c_int {
    guard("RELOAD", reloaded(), || {
        // SAFETY: the broker passes what was registered with this callback.
        unsafe { plugin(userdata) }?.reload();
        Some(reloaded())
    })
}

unsafe extern "C" fn on_tick(_: c_int, _: *mut c_void, userdata: *mut c_void) -> c_int {
    guard("TICK", Answer::SUCCESS, || {
        // SAFETY: the broker passes what was registered with this callback.
        unsafe { plugin(userdata) }?.tick();
        Some(Answer::SUCCESS)
    })
}

unsafe extern "C" fn on_disconnect(_: c_int, data: *mut c_void, userdata: *mut c_void) -> c_int {
    guard("DISCONNECT", Answer::SUCCESS, || {
        // SAFETY: the broker passes what was registered with this callback.
        let plugin = unsafe { plugin(userdata) }?;
        // SAFETY: the broker passes this event's data, valid until the callback returns.
        plugin.disconnect(unsafe { Connection::view(plugin.broker(), data) }.as_ref());
        Some(Answer::SUCCESS)
    })
}

unsafe extern "C" fn on_connect(_: c_int, data: *mut c_void, userdata: *mut c_void) -> c_int {
    guard("CONNECT", Answer::SUCCESS, || {
        // SAFETY: the broker passes what was registered with this callback.
        let plugin = unsafe { plugin(userdata) }?;
        // SAFETY: the broker passes this event's data, valid until the callback returns.
        plugin.connected(&unsafe { Connection::view(plugin.broker(), data) }?);
        Some(Answer::SUCCESS)
    })
}

unsafe extern "C" fn on_client_offline(_: c_int, data: *mut c_void, userdata: *mut c_void) -> c_int {
    guard("CLIENT_OFFLINE", Answer::SUCCESS, || {
        // SAFETY: the broker passes what was registered with this callback.
        let plugin = unsafe { plugin(userdata) }?;
        // SAFETY: the broker passes this event's data, valid until the callback returns.
        plugin.went_offline(&unsafe { Connection::view(plugin.broker(), data) }?);
        Some(Answer::SUCCESS)
    })
}

/// 2.1 ends when RELOAD answers anything but 0; on 2.0 a 0 hides the event from later plugins, and anything else but 17
/// takes the built-in checks away.
fn reloaded() -> Answer {
    match Broker::find() {
        Ok(broker) if broker.is_2_1() => Answer::SUCCESS,
        _ => Answer::DEFER,
    }
}

/// The version of the plugin interface that is spoken, if the broker speaks it.
///
/// # Safety
/// The pointer is null or points to so many numbers.
pub(crate) unsafe fn version(count: c_int, versions: *const c_int) -> c_int {
    const NONE: c_int = -1;
    let spoken = sys::MOSQ_PLUGIN_VERSION as c_int;
    let Ok(count @ 1..) = usize::try_from(count) else { return NONE };
    if versions.is_null() {
        return NONE;
    }
    // SAFETY: by this function's contract.
    let versions = unsafe { std::slice::from_raw_parts(versions, count) };
    if versions.contains(&spoken) { spoken } else { NONE }
}

/// Starts an instance: reads its options and its policy, and registers its callbacks.
///
/// # Safety
/// As the broker calls `mosquitto_plugin_init`: its own identifier, a place for the userdata, and so many options.
pub(crate) unsafe fn init(
    identifier: *mut sys::mosquitto_plugin_id_t,
    userdata: *mut *mut c_void,
    options: *const sys::mosquitto_opt,
    count: c_int,
) -> c_int {
    panic::set_hook(Box::new(note_panic));
    guard("init", Answer::INVALID, || {
        let broker = Broker::find().ok()?;
        let place = NonNull::new(userdata)?;
        // SAFETY: by this function's contract.
        let options = unsafe { pairs(options, count) };
        let options = match Options::read(&options) {
            Ok(options) => options,
            Err(problem) => {
                broker.log(Level::Error, &format!("mqtt-acl: {problem}"));
                return None;
            }
        };
        let plugin = Plugin::start(broker, options)?;
        let instance = Box::into_raw(Box::new(Instance { plugin, identifier }));
        // SAFETY: by this function's contract; the instance lives until it is freed in `cleanup`, after unregistering.
        if let Err((event, code)) = unsafe { register(broker, identifier, instance.cast()) } {
            broker.log(
                Level::Error,
                &format!(
                    "mqtt-acl: the broker does not register event {event}, code {code} (is the plugin loaded twice?)"
                ),
            );
            // SAFETY: made by `into_raw` just now, and no callback holds it any more.
            drop(unsafe { Box::from_raw(instance) });
            return None;
        }
        // SAFETY: by this function's contract.
        unsafe { broker.introduce(identifier) };
        // SAFETY: by this function's contract.
        unsafe { place.write(instance.cast()) };
        Some(Answer::SUCCESS)
    })
}

/// Ends an instance.
///
/// # Safety
/// As the broker calls `mosquitto_plugin_cleanup`: with the userdata of a successful `init`, once, and no callback after.
pub(crate) unsafe fn cleanup(userdata: *mut c_void) -> c_int {
    guard("cleanup", Answer::SUCCESS, || {
        let instance = NonNull::new(userdata.cast::<Instance>())?;
        // SAFETY: made by `Box::into_raw` in `init`, and given back once.
        let instance = unsafe { Box::from_raw(instance.as_ptr()) };
        for (event, callback) in callbacks(instance.plugin.broker()) {
            // SAFETY: the identifier is the broker's, kept since `init`.
            unsafe { instance.plugin.broker().unregister(instance.identifier, event, callback) };
        }
        // 2.0 unmaps the library now, so this waits for its threads, or keeps it where they take too long.
        drop(instance);
        Some(Answer::SUCCESS)
    })
}

/// # Safety
/// As [`Broker::register`], for all of the callbacks.
unsafe fn register(
    broker: &Broker,
    identifier: *mut sys::mosquitto_plugin_id_t,
    userdata: *mut c_void,
) -> Result<(), (c_int, c_int)> {
    for (number, (event, callback)) in callbacks(broker).enumerate() {
        // SAFETY: by this function's contract.
        if let Err(code) = unsafe { broker.register(identifier, event, callback, userdata) } {
            for (event, callback) in callbacks(broker).take(number) {
                // SAFETY: by this function's contract.
                unsafe { broker.unregister(identifier, event, callback) };
            }
            return Err((event, code));
        }
    }
    Ok(())
}

/// # Safety
/// The userdata is null or what `init` handed to the broker, not yet cleaned up.
unsafe fn plugin<'a>(userdata: *mut c_void) -> Option<&'a Plugin> {
    // Shared, never exclusive: the broker calls back into this library while it is being called, and 2.1's HTTP listener
    // calls from a thread of its own.
    // SAFETY: by this function's contract.
    NonNull::new(userdata.cast::<Instance>()).map(|instance| unsafe { &instance.as_ref().plugin })
}

/// # Safety
/// The pointer is null or points to so many options, whose texts are null or end with NUL.
unsafe fn pairs<'a>(options: *const sys::mosquitto_opt, count: c_int) -> Vec<(&'a [u8], &'a [u8])> {
    let Ok(count @ 1..) = usize::try_from(count) else { return Vec::new() };
    if options.is_null() {
        return Vec::new();
    }
    // SAFETY: by this function's contract.
    let options = unsafe { std::slice::from_raw_parts(options, count) };
    options
        .iter()
        .map(|option| {
            // SAFETY: by this function's contract.
            let key = unsafe { text(option.key) };
            // SAFETY: as above.
            let value = unsafe { text(option.value) };
            (key.unwrap_or_default(), value.unwrap_or_default())
        })
        .collect()
}

thread_local! {
    /// Where the panic came from that is being caught in this thread.
    static NOTED: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn note_panic(panic: &panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let message = text.unwrap_or("no message");
    // Nothing here may panic: that would abort the broker.
    let _ =
        NOTED.try_with(|noted| noted.try_borrow_mut().map(|mut noted| *noted = Some(format!("{message}, at {place}"))));
}

/// Runs what a callback does, and answers with the fallback where that panics or is given nothing to work with.
#[inline]
fn guard(entry: &'static str, fallback: Answer, callback: impl FnOnce() -> Option<Answer>) -> c_int {
    match catch_unwind(AssertUnwindSafe(callback)) {
        Ok(answer) => answer.unwrap_or(fallback).code(),
        Err(payload) => {
            forget(payload);
            log_panic(entry, fallback.code());
            fallback.code()
        }
    }
}

#[cold]
fn log_panic(entry: &'static str, code: c_int) {
    // Logging calls the broker, which may call back: it gets a guard of its own.
    let logged = catch_unwind(|| {
        let noted = NOTED.with(|noted| noted.take()).unwrap_or_default();
        if let Ok(broker) = Broker::find() {
            broker.log(Level::Error, &format!("mqtt-acl: panic in {entry}, answered with code {code}: {noted}"));
        }
    });
    if let Err(payload) = logged {
        forget(payload);
    }
}

/// A payload's destructor could panic in turn, outside any guard.
fn forget(payload: Box<dyn Any + Send>) {
    std::mem::forget(payload);
}
