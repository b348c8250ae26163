//! MQTT over WebSocket: as much of the protocol as a client needs.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::mqtt::{Client, tcp};

struct WebSocket {
    stream: TcpStream,
    /// What is left of the frame that is being read.
    left: usize,
}

/// A client that is connected to a WebSocket listener and has sent no MQTT yet.
pub(crate) fn open(port: u16, version: u8) -> Client {
    let mut stream = tcp(port);
    let request = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        answer.extend(byte);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    Client::over(Box::new(WebSocket { stream, left: 0 }), version)
}

impl Read for WebSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 {
            let mut head = [0; 2];
            self.stream.read_exact(&mut head)?;
            let mut length = [0; 8];
            let extended = match head[1] & 0x7f {
                126 => 2,
                127 => 8,
                short => {
                    length[7] = short;
                    0
                }
            };
            self.stream.read_exact(&mut length[8 - extended..])?;
            if head[0] & 0x0f == 8 {
                return Ok(0);
            }
            self.left = u64::from_be_bytes(length) as usize;
        }
        let most = buffer.len().min(self.left);
        let read = self.stream.read(&mut buffer[..most])?;
        self.left -= read;
        Ok(read)
    }
}

impl Write for WebSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = &bytes[..bytes.len().min(65_535)];
        let mut frame = vec![0x82, 0x80 | 126];
        frame.extend((part.len() as u16).to_be_bytes());
        // A mask of zeros masks nothing.
        frame.extend([0; 4]);
        frame.extend(part);
        self.stream.write_all(&frame)?;
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
