#!/usr/bin/env python3
"""renewal.py HOST COMMAND...: runs the command (a certificate's renewal) while 50 devices each send to a service of their
own over TLS, and tells whether any of the 100 was disconnected, any message was lost, and how long a pair stood still."""

import asyncio
import sys
import time

from mqtt import Client, secrets

host, command = sys.argv[1], sys.argv[2:]
users = secrets()
PAIRS, INTERVAL = 50, 0.02


class Pair:
    def __init__(self, number):
        self.device = f"dev0000{number % 3 + 1}"
        self.number, self.sent, self.arrivals = number, 0, []

    def arrived(self, topic, payload):
        self.arrivals.append((time.monotonic(), int(payload)))

    async def connect(self):
        self.to = await Client(self.arrived).connect(
            host, 8883, f"mqttservice-{self.number}", "mqttservice", users["mqttservice"])
        self.by = await Client().connect(
            host, 8883, f"{self.device}-{self.number}", self.device, users[self.device])
        await self.to.subscribe(f"dt/demo/{self.number}/{self.device}/n")

    async def send(self, until):
        while not until.is_set():
            await self.by.publish(f"dt/demo/{self.number}/{self.device}/n", b"%d" % self.sent)
            self.sent += 1
            await asyncio.sleep(INTERVAL)

    def alive(self):
        return not self.to.closed.done() and not self.by.closed.done()

    def stall(self, begin, end):
        """The longest time between two messages, or none, of those that arrive in the given time."""
        times = [at for at, _ in self.arrivals]
        return max((b - a for a, b in zip(times, times[1:]) if begin <= b <= end), default=end - begin)


async def main():
    # A connection that ends is found by alive().
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    pairs = [Pair(number) for number in range(PAIRS)]
    for pair in pairs:
        await pair.connect()
    stop = asyncio.Event()
    sending = asyncio.gather(*(pair.send(stop) for pair in pairs), return_exceptions=True)
    await asyncio.sleep(3)
    begin = time.monotonic()
    renewal = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL,
                                                   stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    said, _ = await asyncio.wait_for(renewal.communicate(), 120)
    end = time.monotonic()
    await asyncio.sleep(2)
    stop.set()
    troubles = [str(trouble) for trouble in await sending if trouble]
    for _ in range(300):
        if all(len(pair.arrivals) >= pair.sent for pair in pairs):
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(1)

    def say(what, wrong):
        print(f"ok - {what}" if not wrong else f"not ok - {what}: {wrong}")

    say("the renewal succeeds", renewal.returncode and said.decode()[-300:].replace("\n", " "))
    dropped = sum(not pair.alive() for pair in pairs)
    say("none of 100 clients is disconnected", dropped and f"{dropped} pairs are: {troubles[:1]}")
    lost = {pair.number: (pair.sent, len(pair.arrivals)) for pair in pairs
            if [n for _, n in pair.arrivals] != list(range(pair.sent))}
    say(f"each of {sum(pair.sent for pair in pairs)} messages arrives, once and in order", lost)
    before, during = max(p.stall(begin - 2, begin) for p in pairs), max(p.stall(begin, end + 1) for p in pairs)
    print(f"the longest stall of a pair: {during * 1000:.0f} ms in the {end - begin:.1f} s of the renewal, "
          f"{before * 1000:.0f} ms in the 2 s before")


asyncio.run(main())
