//! An MQTT client by hand: it sends whatever it is told, valid or not, and shows every reason code.

use std::collections::VecDeque;
use std::fmt::{self, Debug, Formatter};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
use std::time::Duration;

/// How long a broker may take for any answer, under valgrind and beside other brokers.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const V31: u8 = 3;
pub(crate) const V311: u8 = 4;
pub(crate) const V5: u8 = 5;

/// "Not authorized" in a CONNACK of 3.1 and 3.1.1.
pub(crate) const REFUSED_3: u8 = 5;
/// "Not authorized" wherever MQTT 5 has a reason code.
pub(crate) const NOT_AUTHORIZED: u8 = 0x87;
/// A refused filter in a SUBACK of 3.1.1.
pub(crate) const FAILURE_3: u8 = 0x80;

pub(crate) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A CONNECT packet in the making.
#[derive(Clone, Debug)]
pub(crate) struct Connect {
    pub(crate) version: u8,
    pub(crate) client_id: Vec<u8>,
    pub(crate) username: Option<Vec<u8>>,
    pub(crate) password: Option<Vec<u8>>,
    pub(crate) clean: bool,
    pub(crate) keepalive: u16,
    pub(crate) session_expiry: Option<u32>,
    pub(crate) authentication_method: Option<String>,
    pub(crate) will: Option<Publish>,
    pub(crate) will_delay: u32,
}

impl Connect {
    pub(crate) fn new(version: u8, client_id: impl AsRef<[u8]>) -> Self {
        Self {
            version,
            client_id: client_id.as_ref().to_vec(),
            username: None,
            password: None,
            clean: true,
            keepalive: 600,
            session_expiry: None,
            authentication_method: None,
            will: None,
            will_delay: 0,
        }
    }

    pub(crate) fn username(mut self, username: impl AsRef<[u8]>) -> Self {
        self.username = Some(username.as_ref().to_vec());
        self
    }

    pub(crate) fn password(mut self, password: impl AsRef<[u8]>) -> Self {
        self.password = Some(password.as_ref().to_vec());
        self
    }

    /// A session that outlives its connection, for `seconds` in MQTT 5.
    pub(crate) fn persistent(mut self, seconds: u32) -> Self {
        self.clean = false;
        self.session_expiry = (self.version == V5).then_some(seconds);
        self
    }

    pub(crate) fn will(mut self, will: Publish) -> Self {
        self.will = Some(will);
        self
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        flags |= u8::from(self.password.is_some()) << 6 | u8::from(self.username.is_some()) << 7;

        let name: &[u8] = if self.version == V31 { b"MQIsdp" } else { b"MQTT" };
        let mut body = field(name);
        body.extend([self.version, flags]);
        body.extend(self.keepalive.to_be_bytes());
        if self.version == V5 {
            let mut properties = Vec::new();
            if let Some(seconds) = self.session_expiry {
                properties.push(0x11);
                properties.extend(seconds.to_be_bytes());
            }
            if let Some(method) = &self.authentication_method {
                properties.push(0x15);
                properties.extend(field(method.as_bytes()));
            }
            body.extend(counted(&properties));
        }
        body.extend(field(&self.client_id));
        if let Some(will) = &self.will {
            if self.version == V5 {
                let mut properties = vec![0x18];
                properties.extend(self.will_delay.to_be_bytes());
                body.extend(counted(&properties));
            }
            body.extend(field(will.topic.as_bytes()));
            body.extend(field(&will.payload));
        }
        body.extend(self.username.iter().flat_map(|name| field(name)));
        body.extend(self.password.iter().flat_map(|password| field(password)));
        packet(0x10, &body)
    }
}

/// A message to publish.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
}

impl Publish {
    /// With QoS 1, so that its answer tells that the broker is done with it.
    pub(crate) fn new(topic: impl Into<String>, payload: impl AsRef<[u8]>) -> Self {
        let payload = payload.as_ref().to_vec();
        Self { topic: topic.into(), payload, qos: 1, retain: false }
    }

    pub(crate) fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    pub(crate) fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    fn encode(&self, version: u8, id: u16) -> Vec<u8> {
        let mut body = field(self.topic.as_bytes());
        if self.qos > 0 {
            body.extend(id.to_be_bytes());
        }
        if version == V5 {
            body.push(0);
        }
        body.extend(&self.payload);
        packet(0x30 | self.qos << 1 | u8::from(self.retain), &body)
    }
}

/// A message that a client was sent.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) retain: bool,
}

impl Debug for Message {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.topic, String::from_utf8_lossy(&self.payload))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    ConnAck {
        session_present: bool,
        code: u8,
    },
    Publish {
        id: u16,
        qos: u8,
        message: Message,
    },
    /// PUBACK, PUBREC, PUBREL, PUBCOMP: the first byte tells which.
    Ack {
        kind: u8,
        id: u16,
        code: u8,
    },
    SubAck {
        id: u16,
        codes: Vec<u8>,
    },
    UnsubAck {
        id: u16,
        codes: Vec<u8>,
    },
    PingResp,
    Disconnect {
        code: u8,
    },
    Other(u8),
}

const PUBACK: u8 = 0x40;
const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x62;
const PUBCOMP: u8 = 0x70;

/// Why no packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    Closed,
    Silent,
}

pub(crate) struct Client {
    stream: Box<dyn Stream>,
    version: u8,
    last_id: u16,
    inbox: VecDeque<Message>,
}

impl Client {
    /// A connection that has sent nothing.
    pub(crate) fn open(port: u16, version: u8) -> Self {
        Self::over(Box::new(tcp(port)), version)
    }

    /// One over IPv6, and so from another address.
    pub(crate) fn open_v6(port: u16, version: u8) -> Self {
        Self::over(Box::new(tcp_to(Ipv6Addr::LOCALHOST.into(), port)), version)
    }

    pub(crate) fn over(stream: Box<dyn Stream>, version: u8) -> Self {
        Self { stream, version, last_id: 0, inbox: VecDeque::new() }
    }

    /// Sends bytes as they are; a connection that the broker closed shows when reading.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
    }

    /// The CONNACK's code, or how else the broker answered.
    pub(crate) fn connect(&mut self, connect: &Connect) -> Result<(bool, u8), Gone> {
        self.send_connect(connect);
        self.connack()
    }

    pub(crate) fn send_connect(&mut self, connect: &Connect) {
        self.send(&connect.encode());
    }

    pub(crate) fn connack(&mut self) -> Result<(bool, u8), Gone> {
        match self.read()? {
            Packet::ConnAck { session_present, code } => Ok((session_present, code)),
            other => panic!("{other:?} instead of a CONNACK"),
        }
    }

    /// Publishes and waits until the broker is done with it: the reason code, 0 where the version has none.
    pub(crate) fn publish(&mut self, publish: &Publish) -> Result<u8, Gone> {
        let id = self.next_id();
        self.send(&publish.encode(self.version, id));
        match publish.qos {
            0 => self.ping().map(|()| 0),
            1 => self.ack(PUBACK, id),
            _ => {
                let code = self.ack(PUBREC, id)?;
                // An error ends the exchange; a PUBREL sent all the same must do no harm.
                self.send(&packet(PUBREL, &id.to_be_bytes()));
                self.ack(PUBCOMP, id).map(|_| code)
            }
        }
    }

    /// The codes of the SUBACK, one for each filter.
    pub(crate) fn subscribe_all<F: AsRef<[u8]>>(&mut self, filters: &[F], qos: u8) -> Result<Vec<u8>, Gone> {
        let id = self.next_id();
        let mut body = self.head(id);
        for filter in filters {
            body.extend(field(filter.as_ref()));
            body.push(qos);
        }
        self.send(&packet(0x82, &body));
        self.find(|packet| match packet {
            Packet::SubAck { id: of, codes } if *of == id => Some(codes.clone()),
            _ => None,
        })
    }

    pub(crate) fn subscribe(&mut self, filter: &str) -> Result<u8, Gone> {
        self.subscribe_all(&[filter], 1).map(|codes| codes[0])
    }

    /// The codes of the UNSUBACK, which only MQTT 5 has.
    pub(crate) fn unsubscribe(&mut self, filter: &str) -> Result<Vec<u8>, Gone> {
        let id = self.next_id();
        let mut body = self.head(id);
        body.extend(field(filter.as_bytes()));
        self.send(&packet(0xa2, &body));
        self.find(|packet| match packet {
            Packet::UnsubAck { id: of, codes } if *of == id => Some(codes.clone()),
            _ => None,
        })
    }

    pub(crate) fn ping(&mut self) -> Result<(), Gone> {
        self.send(&packet(0xc0, &[]));
        self.find(|packet| (*packet == Packet::PingResp).then_some(()))
    }

    /// All that was delivered so far: whatever the broker sent before it answers a PINGREQ.
    pub(crate) fn received(&mut self) -> Vec<Message> {
        self.ping().expect("the client stays connected");
        self.inbox.drain(..).collect()
    }

    /// The topics of `received`, which is all that most tests ask about.
    pub(crate) fn topics(&mut self) -> Vec<String> {
        self.received().into_iter().map(|message| message.topic).collect()
    }

    /// Waits for a message.
    pub(crate) fn next_message(&mut self) -> Message {
        while self.inbox.is_empty() {
            match self.read() {
                Ok(packet) => self.keep(&packet),
                Err(gone) => panic!("{gone:?} instead of a message"),
            }
        }
        self.inbox.pop_front().expect("the loop ended with a message")
    }

    /// Waits until the broker closes the connection: the reason code of its DISCONNECT, if it sent one.
    pub(crate) fn closed(&mut self) -> Option<u8> {
        let mut reason = None;
        loop {
            match self.read() {
                Ok(Packet::Disconnect { code }) => reason = Some(code),
                Ok(_) => {}
                Err(Gone::Closed) => return reason,
                Err(Gone::Silent) => panic!("the broker keeps the connection"),
            }
        }
    }

    /// Ends in good order: no will.
    pub(crate) fn disconnect(mut self) {
        self.send(&packet(0xe0, &[]));
        assert_eq!(self.find(|_| None::<()>), Err(Gone::Closed), "after DISCONNECT");
    }

    pub(crate) fn read(&mut self) -> Result<Packet, Gone> {
        let mut kind = [0];
        self.fill(&mut kind)?;
        let mut length = 0;
        for shift in [0, 7, 14, 21] {
            let mut byte = [0];
            self.fill(&mut byte)?;
            length |= usize::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.fill(&mut body)?;
        Ok(decode(kind[0], &body, self.version))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Gone> {
        self.stream.read_exact(buffer).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Gone::Silent,
            _ => Gone::Closed,
        })
    }

    fn ack(&mut self, kind: u8, id: u16) -> Result<u8, Gone> {
        self.find(|packet| match packet {
            Packet::Ack { kind: k, id: of, code } if *k == kind && *of == id => Some(*code),
            _ => None,
        })
    }

    fn find<T>(&mut self, wanted: impl Fn(&Packet) -> Option<T>) -> Result<T, Gone> {
        loop {
            let packet = self.read()?;
            if let Some(found) = wanted(&packet) {
                return Ok(found);
            }
            self.keep(&packet);
        }
    }

    /// Stores a message, and does the receiver's part of its delivery.
    fn keep(&mut self, received: &Packet) {
        match received {
            Packet::Publish { id, qos, message } => {
                match qos {
                    0 => {}
                    1 => self.send(&packet(PUBACK, &id.to_be_bytes())),
                    _ => self.send(&packet(PUBREC, &id.to_be_bytes())),
                }
                self.inbox.push_back(message.clone());
            }
            Packet::Ack { kind: PUBREL, id, .. } => self.send(&packet(PUBCOMP, &id.to_be_bytes())),
            _ => {}
        }
    }

    fn head(&self, id: u16) -> Vec<u8> {
        let mut body = id.to_be_bytes().to_vec();
        if self.version == V5 {
            body.push(0);
        }
        body
    }

    fn next_id(&mut self) -> u16 {
        // 0 is none.
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }
}

pub(crate) fn tcp(port: u16) -> TcpStream {
    tcp_to(Ipv4Addr::LOCALHOST.into(), port)
}

fn tcp_to(address: IpAddr, port: u16) -> TcpStream {
    let stream = TcpStream::connect((address, port)).expect("the broker listens");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a write timeout");
    stream
}

pub(crate) fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(counted(body));
    bytes
}

/// Bytes after their number, as MQTT writes the length of a packet and of properties.
fn counted(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 4);
    let mut rest = bytes.len();
    loop {
        let byte = (rest % 128) as u8;
        rest /= 128;
        out.push(if rest > 0 { byte | 0x80 } else { byte });
        if rest == 0 {
            break;
        }
    }
    out.extend(bytes);
    out
}

/// Bytes after their number, as MQTT writes strings and binary data.
pub(crate) fn field(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a field of at most 65,535 bytes");
    let mut out = length.to_be_bytes().to_vec();
    out.extend(bytes);
    out
}

fn decode(kind: u8, body: &[u8], version: u8) -> Packet {
    let v5 = version == V5;
    match kind & 0xf0 {
        0x20 => Packet::ConnAck { session_present: body[0] & 1 == 1, code: body[1] },
        0x30 => {
            let (topic, mut rest) = body[2..].split_at(usize::from(u16(body)));
            let qos = kind >> 1 & 3;
            let mut id = 0;
            if qos > 0 {
                id = u16(rest);
                rest = &rest[2..];
            }
            if v5 {
                rest = skip_properties(rest);
            }
            let topic = String::from_utf8_lossy(topic).into_owned();
            let message = Message { topic, payload: rest.to_vec(), retain: kind & 1 == 1 };
            Packet::Publish { id, qos, message }
        }
        0x40..=0x70 => {
            let code = body.get(2).copied().unwrap_or(0);
            Packet::Ack { kind, id: u16(body), code }
        }
        0x90 => {
            let rest = if v5 { skip_properties(&body[2..]) } else { &body[2..] };
            Packet::SubAck { id: u16(body), codes: rest.to_vec() }
        }
        0xb0 => {
            let rest = if v5 { skip_properties(&body[2..]) } else { &body[2..] };
            Packet::UnsubAck { id: u16(body), codes: rest.to_vec() }
        }
        0xd0 => Packet::PingResp,
        0xe0 => Packet::Disconnect { code: body.first().copied().unwrap_or(0) },
        _ => Packet::Other(kind),
    }
}

fn u16(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

fn skip_properties(bytes: &[u8]) -> &[u8] {
    let digits = bytes.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    let length: usize = bytes[..digits].iter().rev().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
    &bytes[digits + length..]
}
