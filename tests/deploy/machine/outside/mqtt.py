"""A small MQTT 5 client: as little as the checks need, and every reason code that the broker sends."""

import asyncio
import ssl
import struct

NOT_AUTHORIZED = 0x87


class Refused(Exception):
    def __init__(self, what, code):
        super().__init__(f"{what} was refused with 0x{code:02x}")
        self.code = code


def secrets(path="/root/secrets"):
    with open(path) as file:
        return dict(line.split(None, 1) for line in file.read().splitlines() if line)


def text(value):
    value = value.encode()
    return struct.pack("!H", len(value)) + value


def length(value):
    out = b""
    while True:
        value, digit = divmod(value, 128)
        out += bytes([digit | (128 if value else 0)])
        if not value:
            return out


def take_length(data, at=0):
    value = shift = 0
    while True:
        digit = data[at]
        value |= (digit & 127) << shift
        at, shift = at + 1, shift + 7
        if digit < 128:
            return value, at


class Client:
    """One connection. What arrives on a subscription is handed to `on_message(topic, payload)`."""

    def __init__(self, on_message=None):
        self.on_message = on_message or (lambda topic, payload: None)
        self.answers = {}
        self.next_id = 0
        self.closed = None

    async def connect(self, host, port, client_id, user=None, password=None, tls=True, keepalive=60):
        context = ssl.create_default_context() if tls else None
        self.reader, self.writer = await asyncio.wait_for(asyncio.open_connection(host, port, ssl=context), 10)
        flags = 2 | (128 if user is not None else 0) | (64 if password is not None else 0)
        body = text("MQTT") + struct.pack("!BBH", 5, flags, keepalive) + b"\0" + text(client_id)
        body += text(user) if user is not None else b""
        body += text(password) if password is not None else b""
        self.send(0x10, body)
        kind, body = await asyncio.wait_for(self.packet(), 10)
        if kind != 0x20:
            raise ConnectionError(f"a packet 0x{kind:02x} instead of CONNACK")
        if body[1]:
            self.writer.close()
            raise Refused("CONNECT", body[1])
        self.closed = asyncio.ensure_future(self.receive())
        return self

    def send(self, kind, body):
        self.writer.write(bytes([kind]) + length(len(body)) + body)

    async def packet(self):
        kind = (await self.reader.readexactly(1))[0]
        size = b""
        while not size or size[-1] & 128:
            size += await self.reader.readexactly(1)
        return kind, await self.reader.readexactly(take_length(size)[0])

    async def receive(self):
        """Ends, by a return or an exception, when the connection does."""
        while True:
            kind, body = await self.packet()
            if kind >> 4 == 3:
                end = 2 + struct.unpack_from("!H", body)[0]
                topic, at = body[2:end].decode(), end
                if kind & 6:
                    self.send(0x40, body[at : at + 2])
                    at += 2
                size, at = take_length(body, at)
                self.on_message(topic, body[at + size :])
            elif kind in (0x40, 0x90):
                packet_id, rest = struct.unpack_from("!H", body)[0], body[2:]
                # A PUBACK may leave the reason out where all is well; a SUBACK ends with it.
                self.answers.pop(packet_id).set_result(rest[-1] if kind == 0x90 else (rest or b"\0")[0])
            elif kind == 0xE0:
                raise Refused("the connection", body[0] if body else 0)

    async def ask(self, kind, head, tail, what):
        self.next_id = self.next_id % 65535 + 1
        answer = self.answers[self.next_id] = asyncio.get_running_loop().create_future()
        self.send(kind, head + struct.pack("!H", self.next_id) + b"\0" + tail)
        await asyncio.wait({answer, self.closed}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ConnectionError(f"no answer to {what}")
        if answer.result() >= 0x80:
            raise Refused(what, answer.result())

    async def subscribe(self, topic_filter):
        await self.ask(0x82, b"", text(topic_filter) + b"\1", f"SUBSCRIBE {topic_filter}")

    async def publish(self, topic, payload):
        await self.ask(0x32, text(topic), payload, f"PUBLISH {topic}")

    async def close(self):
        self.closed.cancel()
        self.send(0xE0, b"")
        self.writer.close()
