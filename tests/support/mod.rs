//! What a test of the plugin in a real broker needs: the broker, and a client that may misbehave.

pub(crate) mod broker;
pub(crate) mod mqtt;
pub(crate) mod tls;
pub(crate) mod websocket;
