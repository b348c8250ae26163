//! The broker's events as safe, borrowed views.

#![expect(unsafe_code, reason = "reads the structs that the broker points to")]

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;

use crate::broker::{Broker, text};
use crate::logins::ClientKey;
use crate::sys;

/// Who an event is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client<'a> {
    /// The client id; none before CONNECT is read.
    pub(crate) id: Option<&'a [u8]>,
    /// The user name that the broker holds for it.
    pub(crate) username: Option<&'a [u8]>,
    /// Its address; see [`Broker::client_address`] for who has none.
    pub(crate) address: Option<&'a [u8]>,
    /// Whether the address may be what the client says: 2.0.21 takes a WebSocket client's from its `X-Forwarded-For`.
    pub(crate) names_its_address: bool,
}

/// Somebody wants to log in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BasicAuth<'a> {
    pub(crate) client: Client<'a>,
    pub(crate) key: ClientKey,
    /// Up to the first NUL.
    pub(crate) password: Option<&'a [u8]>,
    /// Whether the client's password goes on after that NUL. Only 2.1.3 and newer tell.
    pub(crate) is_cut: bool,
    pub(crate) is_websocket: bool,
    /// Whether the client speaks MQTT 5.
    pub(crate) is_mqtt_5: bool,
    /// Whether it wants a session of its own, not the one that the broker may keep under this id.
    pub(crate) is_clean: bool,
}

/// A client that is connected, or whose connection has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection<'a> {
    pub(crate) client: Client<'a>,
    pub(crate) key: ClientKey,
    /// As in [`BasicAuth`].
    pub(crate) is_mqtt_5: bool,
    pub(crate) is_clean: bool,
}

/// Somebody wants to do something with a topic. There is one for every message and for every delivery, so it asks the
/// broker for what every decision needs, and for the rest [on demand](AclCheck::client).
#[derive(Clone, Copy, Debug)]
pub(crate) struct AclCheck<'a> {
    client: NonNull<sys::mosquitto>,
    pub(crate) id: Option<&'a [u8]>,
    pub(crate) username: Option<&'a [u8]>,
    /// A topic name or, for SUBSCRIBE and UNSUBSCRIBE, the filter as the client wrote it.
    pub(crate) topic: &'a [u8],
    pub(crate) access: Access,
}

/// What with a topic. The broker's numbers, so that nothing is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Access {
    Read = READ,
    Write = WRITE,
    Subscribe = SUBSCRIBE,
    Unsubscribe = UNSUBSCRIBE,
}

const READ: c_int = sys::MOSQ_ACL_READ as c_int;
const WRITE: c_int = sys::MOSQ_ACL_WRITE as c_int;
const SUBSCRIBE: c_int = sys::MOSQ_ACL_SUBSCRIBE as c_int;
const UNSUBSCRIBE: c_int = sys::MOSQ_ACL_UNSUBSCRIBE as c_int;

impl<'a> Client<'a> {
    /// # Safety
    /// The client is valid for `'a`.
    pub(crate) unsafe fn view(broker: &Broker, client: NonNull<sys::mosquitto>) -> Self {
        // SAFETY: by this function's contract.
        let id = unsafe { broker.client_id(client) };
        // SAFETY: as above.
        let username = unsafe { broker.client_username(client) };
        // SAFETY: as above.
        let address = unsafe { broker.client_address(client) };
        // SAFETY: as above.
        let names_its_address = !broker.is_2_1() && unsafe { broker.is_websocket(client) };
        Self { id, username, address, names_its_address }
    }
}

impl<'a> BasicAuth<'a> {
    /// # Safety
    /// The data is null or what the broker passes with `MOSQ_EVT_BASIC_AUTH`, valid for `'a`.
    pub(crate) unsafe fn view(broker: &Broker, data: *mut c_void) -> Option<Self> {
        let data = NonNull::new(data.cast::<sys::mosquitto_evt_basic_auth>())?;
        // SAFETY: by this function's contract.
        let event = unsafe { data.as_ref() };
        let pointer = NonNull::new(event.client)?;
        // SAFETY: the client is as valid as the event that points to it.
        let client = unsafe { Client::view(broker, pointer) };
        // SAFETY: a NUL-terminated copy of what the client sent, owned by the client.
        let username = unsafe { text(event.username) };
        // SAFETY: as above.
        let password = unsafe { text(event.password) };
        // Its length is a `uint16_t` where older headers have `future2`, which older brokers fill with zeros.
        // SAFETY: within the struct; see the assertions in `sys`.
        let length = unsafe { data.cast::<u8>().add(sys::PASSWORD_LEN) }.cast::<u16>();
        // SAFETY: initialised by every version, and aligned, for the offset is even and the struct is.
        let told = unsafe { length.read() };
        let is_cut = told != 0 && password.is_none_or(|password| password.len() != usize::from(told));
        // SAFETY: as valid as the event that points to it.
        let is_websocket = unsafe { broker.is_websocket(pointer) };
        // SAFETY: as above.
        let is_mqtt_5 = unsafe { broker.protocol_version(pointer) } == 5;
        // SAFETY: as above.
        let is_clean = unsafe { broker.is_clean(pointer) };
        let client = Client { username, ..client };
        Some(Self { client, key: key_of(pointer), password, is_cut, is_websocket, is_mqtt_5, is_clean })
    }
}

impl<'a> AclCheck<'a> {
    /// # Safety
    /// The data is null or what the broker passes with `MOSQ_EVT_ACL_CHECK`, valid for `'a`.
    #[inline]
    pub(crate) unsafe fn view(broker: &Broker, data: *mut c_void) -> Option<Self> {
        let data = NonNull::new(data.cast::<sys::mosquitto_evt_acl_check>())?;
        // SAFETY: by this function's contract.
        let event = unsafe { data.as_ref() };
        let client = NonNull::new(event.client)?;
        // SAFETY: the client is as valid as the event that points to it.
        let id = unsafe { broker.client_id(client) };
        // SAFETY: as above.
        let username = unsafe { broker.client_username(client) };
        // SAFETY: a NUL-terminated text that outlives the event.
        let topic = unsafe { text(event.topic) }?;
        Some(Self { client, id, username, topic, access: Access::of(event.access)? })
    }

    /// All that is known of the client.
    #[cold]
    pub(crate) fn client(&self, broker: &Broker) -> Client<'a> {
        // SAFETY: by the contract of `view`, which alone makes events, the client is valid for `'a`.
        let client = unsafe { Client::view(broker, self.client) };
        Client { id: self.id, username: self.username, ..client }
    }

    pub(crate) fn key(&self) -> ClientKey {
        key_of(self.client)
    }
}

impl<'a> Connection<'a> {
    /// # Safety
    /// The data is null or what the broker passes with `MOSQ_EVT_DISCONNECT` or, on 2.1, with CONNECT or CLIENT_OFFLINE, valid
    /// for `'a`.
    pub(crate) unsafe fn view(broker: &Broker, data: *mut c_void) -> Option<Self> {
        // As in `mosquitto_evt_basic_auth`: the headers of 2.0 do not know all of these events.
        // SAFETY: by this function's contract, within the data and aligned.
        let client = unsafe { NonNull::new(data)?.cast::<u8>().add(sys::CLIENT) }.cast::<*mut sys::mosquitto>();
        // SAFETY: as above.
        let pointer = NonNull::new(unsafe { client.read() })?;
        // SAFETY: the client is as valid as the event that points to it.
        let client = unsafe { Client::view(broker, pointer) };
        // SAFETY: as above.
        let is_mqtt_5 = unsafe { broker.protocol_version(pointer) } == 5;
        // SAFETY: as above.
        let is_clean = unsafe { broker.is_clean(pointer) };
        Some(Self { client, key: key_of(pointer), is_mqtt_5, is_clean })
    }
}

fn key_of(client: NonNull<sys::mosquitto>) -> ClientKey {
    ClientKey(client.as_ptr().addr())
}

impl Access {
    #[inline]
    fn of(access: c_int) -> Option<Self> {
        match access {
            READ => Some(Self::Read),
            WRITE => Some(Self::Write),
            SUBSCRIBE => Some(Self::Subscribe),
            UNSUBSCRIBE => Some(Self::Unsubscribe),
            _ => None,
        }
    }
}
