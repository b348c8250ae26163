#!/usr/bin/env python3
"""ports.py ADDRESS OPEN UNUSED: knocks at the TCP ports up to 10,000. Those listed in OPEN must answer, those in UNUSED must be let
through to nobody, and the firewall must swallow all others. Lists are separated by commas."""

import asyncio
import errno
import resource
import socket
import sys

address = sys.argv[1]
open_ports, unused = ({int(port) for port in each.split(",") if port} for each in sys.argv[2:4])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
name = "IPv6" if ":" in address else "IPv4"


async def knock(port, patience=2.0):
    """open, closed (let through, and nobody there) or dropped"""
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as knocking:
        try:
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(knocking, (address, port)), patience)
            return "open"
        except TimeoutError:
            return "dropped"
        except OSError as error:
            return "closed" if error.errno == errno.ECONNREFUSED else str(error)


def knock_udp(port):
    """closed, by the machine's word that nobody is there, or dropped: no word at all"""
    with socket.socket(family, socket.SOCK_DGRAM) as knocking:
        knocking.settimeout(0.5)
        knocking.connect((address, port))
        try:
            knocking.send(b"?")
            knocking.recv(1)
            return "open"
        except TimeoutError:
            return "dropped"
        except ConnectionRefusedError:
            return "closed"


def say(what, wrong):
    print(f"ok - {name}: {what}" if not wrong else f"not ok - {name}: {what}: {wrong}")


async def main():
    for port in sorted(open_ports):
        found = await knock(port, 5)
        say(f"port {port} is open", found != "open" and found)
    for port in sorted(unused):
        found = await knock(port, 5)
        say(f"port {port} is let through, and nobody listens", found != "closed" and found)
    others = [port for port in range(1, 10001) if port not in open_ports | unused]
    found = dict(zip(others, await asyncio.gather(*map(knock, others))))
    say(f"the {len(others)} other ports are dropped",
        {port: state for port, state in found.items() if state != "dropped"})
    say("UDP is dropped", [port for port in (53, 68, 123, 1883, 5353, 5355, 8883) if knock_udp(port) != "dropped"])


resource.setrlimit(resource.RLIMIT_NOFILE, (12000, 12000))
asyncio.run(main())
