#!/usr/bin/env python3
"""publish.py HOST USER TOPIC: exits with 0 if the user may, with 3 if the broker refuses it."""

import asyncio
import sys

from mqtt import Client, Refused, secrets

host, user, topic = sys.argv[1:]


async def main():
    client = await Client().connect(host, 8883, user, user, secrets()[user])
    await client.publish(topic, b"1")
    await client.close()


try:
    asyncio.run(main())
except Refused as refusal:
    print(refusal)
    sys.exit(3)
