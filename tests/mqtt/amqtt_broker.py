"""amqtt as a broker for tests, in a process of its own: python -m tests.mqtt.amqtt_broker PORT.

It speaks MQTT 3.1.1. It keeps sessions in memory: subscriptions, and what is published while the client is away. What
was delivered and not acknowledged is forgotten, after five seconds or when the connection ends; so it shows nothing
about redelivery.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from amqtt.broker import Broker
from amqtt.plugins.base import BaseAuthPlugin

PASSWORD = "right"


class PasswordPlugin(BaseAuthPlugin):  # type: ignore[misc]
    """Lets in who knows the password."""

    async def authenticate(self, *, session: Any) -> bool:
        """Whether the session may connect."""
        return bool(session.password == PASSWORD)


async def main(port: int) -> None:
    """Serve on a loopback port until the process is killed."""
    plugin = f"tests.mqtt.amqtt_broker.{PasswordPlugin.__name__}"
    broker = Broker(
        {"listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}}, "plugins": {plugin: {}}}
    )
    await broker.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
