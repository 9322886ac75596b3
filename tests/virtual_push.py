"""A registry in memory and pushes to it on virtual time, for what has to do with waits: no test of these waits itself."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio
import trio.testing
from tests.memory_network import MemoryRegistry, Network
from tests.virtual_time import deterministic

import ocipush
from ocipush._http.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from ocipush._http.stream import Admit, Stream

FOREVER = 7 * 24 * 3600.0  # virtual seconds: whatever takes as long is stuck


@dataclass
class World:
    """The registry, the network before it, and the directory of the test; ``tried`` are the ports that were connected to."""

    directory: Path
    network: Network
    registry: MemoryRegistry
    tried: list[int] = field(default_factory=list[int])

    def target(self, name: str = "app:1") -> str:
        return f"{self.registry.host}/{name}"

    def pusher(self, **options: Any) -> ocipush.Pusher:
        transport = Transport(ssl.create_default_context(), connect=self._connect)
        return ocipush.Pusher(authfile=self.directory / "none", transport=transport, **options)

    async def _connect(self, host: str, port: int, context: ssl.SSLContext | None, admit: Admit | None) -> Stream:
        self.tried.append(port)
        return await self.network.connect(host, port, context, admit)

    async def push(self, image: Path, **options: Any) -> ocipush.PushResult:
        """Push with a ``Pusher`` of its own; ``on_event`` goes to the push, all else to the ``Pusher``."""
        on_event = options.pop("on_event", None)
        async with self.pusher(**options) as pusher:
            return await pusher.push(image, target=self.target(), on_event=on_event)


def run(test: Callable[[World], Awaitable[None]], directory: Path, **registry: Any) -> None:
    """Run ``test`` in a world whose registry has these options."""

    async def main() -> None:
        network = Network()
        with trio.fail_after(FOREVER):
            async with MemoryRegistry(network, **registry) as serving:
                await test(World(directory, network, serving))

    with deterministic():
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
