#!/usr/bin/env python3
"""clients.py HOST PORT [plain]: who is let in, and what is refused, over the wire and by its reason code."""

import asyncio
import socket
import ssl
import sys
import warnings

from mqtt import NOT_AUTHORIZED, Client, Refused, secrets

host, port, tls = sys.argv[1], int(sys.argv[2]), "plain" not in sys.argv[3:]
users = secrets()
family = "IPv6" if socket.getaddrinfo(host, port)[0][0] == socket.AF_INET6 else "IPv4"


async def session(user, client_id=None, password=None, on_message=None):
    client = Client(on_message)
    return await client.connect(host, port, client_id or user, user, password or users[user], tls)


async def attempt(name, action, refused=False):
    """One line: done, or refused with the code that says so, as expected."""
    try:
        await action
        result = None if not refused else "it was allowed"
    except Refused as refusal:
        as_expected = refused and refusal.code == NOT_AUTHORIZED
        result = None if as_expected else str(refusal)
    except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
        result = f"{type(error).__name__}: {error}"
    print(f"ok - {family}, {port}: {name}" if result is None else f"not ok - {family}, {port}: {name}: {result}")


async def enter_and_leave(*args, **more):
    await (await session(*args, **more)).close()


async def anonymous(**login):
    await (await Client().connect(host, port, "dev00001", tls=tls, **login)).close()


async def delivered(publisher, topic, reader, topic_filter):
    arrived = asyncio.get_running_loop().create_future()
    to = await session(reader, on_message=lambda topic, payload: arrived.set_result((topic, payload)))
    by = await session(publisher)
    await to.subscribe(topic_filter)
    await by.publish(topic, b"42")
    if await asyncio.wait_for(arrived, 10) != (topic, b"42"):
        raise OSError(f"{arrived.result()} arrived")
    await by.close()
    await to.close()


async def try_to(user, method, *args):
    client = await session(user)
    try:
        await getattr(client, method)(*args)
    finally:
        await client.close()


def old_tls():
    """TLS 1.1, which must end with the broker's own alert."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    warnings.simplefilter("ignore", DeprecationWarning)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    try:
        with socket.create_connection((host, port), 10) as raw, context.wrap_socket(raw) as wrapped:
            return f"it was taken: {wrapped.version()}"
    except ssl.SSLError as error:
        return None if error.reason == "TLSV1_ALERT_PROTOCOL_VERSION" else str(error)


async def main():
    for user in users:
        await attempt(f"{user} connects", enter_and_leave(user))
        await attempt(f"{user} connects as a second client of its own", enter_and_leave(user, f"{user}-2"))
        await attempt(f"{user} with a wrong password is refused", enter_and_leave(user, password="wrong"), refused=True)
    await attempt("a user that nobody listed is refused", enter_and_leave("dev99999", password=users["dev00001"]), refused=True)
    await attempt("nobody in particular is refused", anonymous(), refused=True)
    await attempt("a user without a password is refused", anonymous(user="dev00001"), refused=True)
    for other in "dev00002", "mqttuser", "mqttuser-2", "dev000011", "anything":
        await attempt(f"dev00001 as the client {other} is refused", enter_and_leave("dev00001", other), refused=True)

    await attempt("a device publishes, the service receives",
                  delivered("dev00001", "dt/demo/1/dev00001/senml", "mqttservice", "dt/demo/#"))
    await attempt("the service commands, the device receives",
                  delivered("mqttservice", "cmd/demo/1/dev00002/set", "dev00002", "cmd/demo/+/dev00002/#"))
    await attempt("the operator receives everything", delivered("dev00003", "dt/demo/9/dev00003/x", "mqttuser", "#"))
    for user, topic in (("dev00001", "dt/demo/1/dev00002/senml"), ("dev00001", "dt/demo/dev00001"), ("dev00001", "other"),
                        ("mqttservice", "dt/demo/1/dev00001/senml"), ("mqttuser", "$CONTROL/dynamic-security/v1")):
        await attempt(f"{user} may not publish {topic}", try_to(user, "publish", topic, b"forged"), refused=True)
    for user, topic_filter in (("dev00001", "#"), ("dev00001", "cmd/demo/#"), ("dev00001", "cmd/demo/+/dev00002/#"),
                               ("dev00001", "$share/g/cmd/demo/#"), ("mqttservice", "#"), ("mqttuser", "$SYS/#")):
        await attempt(f"{user} may not subscribe to {topic_filter}", try_to(user, "subscribe", topic_filter), refused=True)
    if tls:
        result = old_tls()
        print(f"ok - {family}, {port}: TLS 1.1 is refused" if result is None else f"not ok - TLS 1.1: {result}")


asyncio.run(main())
