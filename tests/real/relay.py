"""A relay in front of a registry: a slow line, and a proxy at its end that cuts requests or loses answers."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

_PIECE = 8 * 1024  # bytes: what one connection may send before another one has its turn
_BUFFER = 32 * 1024  # bytes that the system may keep of a connection: they have not passed the line yet


@dataclass
class Relay:
    """What is relayed, and what is not.

    Attributes:
        target: the port to relay to.
        rate: bytes per second to the registry, over all connections together; 0: no limit.
        limit: seconds from its first byte in which a request must be answered, or its connection ends; 0: no limit.
        lose: the next answer to a request of so many bytes is lost, once; 0: none.
        port: where clients connect.
        sent: bytes that came from clients.
        cuts: number of requests that were cut, or whose answer was lost.
    """

    target: int
    rate: int = 0
    limit: float = 0.0
    lose: int = 0
    port: int = 0
    sent: int = 0
    cuts: int = 0
    _free: float = field(default=0.0, repr=False)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def carry(self, count: int) -> None:
        """Wait until so many bytes have passed the line."""
        self.sent += count
        if self.rate:
            now = asyncio.get_running_loop().time()
            self._free = max(self._free, now) + count / self.rate
            await asyncio.sleep(self._free - now)

    async def serve(self, ready: threading.Event) -> None:
        """Relay until ``stop`` is called."""
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self.port = listener.getsockname()[1]
        async with await asyncio.start_server(self._connected, sock=listener, limit=_PIECE):
            ready.set()
            await self._stopped.wait()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    def stop(self) -> None:
        """End ``serve``, from any thread."""
        self._loop.call_soon_threadsafe(self._stopped.set)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, registry = await asyncio.open_connection("127.0.0.1", self.target)
        connection = _Connection(self, writer, registry)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(connection.relay_requests(reader))
                tasks.create_task(connection.relay_answers(answers))
        except* (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            connection.answered()
            writer.transport.abort()
            registry.transport.abort()


class _Connection:
    def __init__(self, relay: Relay, client: asyncio.StreamWriter, registry: asyncio.StreamWriter) -> None:
        self._relay = relay
        self._client = client
        self._registry = registry
        self._size = 0  # bytes of the request that is not answered yet
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False

    async def relay_requests(self, reader: asyncio.StreamReader) -> None:
        while piece := await reader.read(_PIECE):
            self._begin()
            await self._relay.carry(len(piece))
            if self._ended:
                return
            self._size += len(piece)
            self._registry.write(piece)
            await self._registry.drain()
        self._end()

    async def relay_answers(self, reader: asyncio.StreamReader) -> None:
        while piece := await reader.read(_PIECE):
            if 0 < self._relay.lose <= self._size:
                self._relay.lose = 0
                self._cut()
                break
            self.answered()
            self._client.write(piece)
            await self._client.drain()
        raise ConnectionResetError

    def answered(self) -> None:
        self._size = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> None:
        if self._timer is None and self._relay.limit:
            self._timer = asyncio.get_running_loop().call_later(self._relay.limit, self._cut)

    def _cut(self) -> None:
        self._relay.cuts += 1
        self._client.transport.abort()
        self._end()

    def _end(self) -> None:
        """Tell the registry that no more will come."""
        if not self._ended and not self._registry.is_closing():
            self._registry.write_eof()
        self._ended = True


@contextmanager
def relaying(relay: Relay) -> Generator[Relay]:
    """Run a relay in a thread of its own."""
    ready = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(relay.serve(ready)), name="relay")
    thread.start()
    assert ready.wait(10)
    try:
        yield relay
    finally:
        relay.stop()
        thread.join()
