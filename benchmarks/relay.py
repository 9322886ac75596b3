"""A relay on loopback that stands for a long or narrow line: it delays, limits the rate, and counts.

It models propagation (half a round trip each way, and a whole one more before the first bytes of a new connection, for
TCP's handshake) and a bottleneck that all connections share. It models neither loss nor TCP's slow start.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Generator

WINDOW: Final = 16 * 1024 * 1024  # bytes of one connection that may be under way, as with a window scaled far up
_TICK: Final = 0.0005  # the event loop's timers are up to 1 ms late: half of that early is right on average

_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset, not with an end


@dataclass(slots=True)
class Link:
    """One direction of a line.

    Args:
        delay: seconds a byte is under way.
        rate: bytes a second, or None.
    """

    delay: float
    rate: float | None = None
    free: float = 0.0

    def arrival(self, now: float, count: int) -> float:
        """When the last of ``count`` bytes that are handed in at ``now`` comes out, behind those handed in before."""
        if self.rate is not None:
            self.free = max(now, self.free) + count / self.rate
            return self.free + self.delay
        return now + self.delay


@dataclass(frozen=True, slots=True)
class Traffic:
    """What went through: bytes from clients, bytes to clients, and connections."""

    sent: int
    received: int
    connections: int


class Relay:
    """Relays connections to one port of this machine."""

    def __init__(self, target: int, *, round_trip: float, rate: float | None) -> None:
        self.target = target
        self.handshake = round_trip
        self.links = (Link(round_trip / 2, rate), Link(round_trip / 2, rate))
        self.counts = [0, 0]
        self.connections = 0
        self.port = 0
        self.open: set[asyncio.Transport] = set()
        self.dialling: set[asyncio.Task[None]] = set()

    @property
    def traffic(self) -> Traffic:
        """What went through so far."""
        return Traffic(self.counts[0], self.counts[1], self.connections)

    async def serve(self, ready: threading.Event) -> None:
        """Relay until ``stop`` is called."""
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = await self._loop.create_server(lambda: _Half(self, None), "127.0.0.1", 0, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        async with server:
            await self._stopped.wait()
            for transport in self.open:
                transport.abort()
            await asyncio.sleep(0)

    def stop(self) -> None:
        """End ``serve``, from any thread."""
        self._loop.call_soon_threadsafe(self._stopped.set)


class _Half(asyncio.Protocol):
    """One side of a relayed connection: what it receives goes out on the other side, later.

    The client's side is made first, and makes the registry's.
    """

    def __init__(self, relay: Relay, client: _Half | None) -> None:
        self.relay = relay
        self.direction = 0 if client is None else 1
        self.other = _Half(relay, self) if client is None else client
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.not_before = 0.0
        self.queue: deque[tuple[float, bytes]] = deque()  # empty bytes: the end
        self.queued = 0
        self.timer: asyncio.TimerHandle | None = None
        self.paused = self.blocked = self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.relay.open.add(self.transport)
        if self.direction == 0:
            self.not_before = self.loop.time() + self.relay.handshake
            self.relay.connections += 1
            self.transport.pause_reading()
            task = self.loop.create_task(self._dial(self.transport))
            self.relay.dialling.add(task)
            task.add_done_callback(self.relay.dialling.discard)

    async def _dial(self, transport: asyncio.Transport) -> None:
        try:
            onward, _ = await self.loop.create_connection(lambda: self.other, "127.0.0.1", self.relay.target)
        except OSError:
            transport.abort()
            return
        if transport.is_closing():
            onward.abort()
        else:
            transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.relay.counts[self.direction] += len(data)
        self._put(data)
        if self.queued > WINDOW and self.transport is not None:
            self.paused = True
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self._put(b"")
        return True  # the other direction goes on

    def _put(self, data: bytes) -> None:
        due = self.relay.links[self.direction].arrival(max(self.loop.time(), self.not_before), len(data))
        self.queue.append((due, data))
        self.queued += len(data)
        if self.timer is None:
            self.timer = self.loop.call_at(due - _TICK, self.deliver)

    def deliver(self) -> None:
        """Write what is due to the other side, as far as that takes it."""
        self.timer = None
        now, onward = self.loop.time() + _TICK, self.other.transport
        if onward is None:
            return
        while self.queue and self.queue[0][0] <= now and not self.other.blocked:
            _, data = self.queue.popleft()
            self.queued -= len(data)
            if data:
                onward.write(data)
            else:
                self._end(onward)
        if self.queue and not self.other.blocked:
            self.timer = self.loop.call_at(self.queue[0][0] - _TICK, self.deliver)
        if self.paused and self.queued <= WINDOW // 2 and self.transport is not None:
            self.paused = False
            self.transport.resume_reading()

    def _end(self, onward: asyncio.Transport) -> None:
        self.ended = True
        if self.other.ended:
            onward.close()
            if self.transport is not None:
                self.transport.close()
        elif not onward.is_closing():
            with suppress(OSError):  # it has been reset, and the loop has not seen that yet
                onward.write_eof()

    def pause_writing(self) -> None:
        self.blocked = True

    def resume_writing(self) -> None:
        self.blocked = False
        if self.other.timer is None:
            self.other.deliver()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass a reset on at once: what was under way is lost, as on a real line."""
        if self.transport is not None:
            self.relay.open.discard(self.transport)
        if self.timer is not None:
            self.timer.cancel()
        if exc is not None and self.other.transport is not None:
            self.other.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.other.transport.abort()


@contextmanager
def relaying(target: int, *, round_trip: float = 0.0, rate: float | None = None) -> Generator[Relay]:
    """A relay to ``127.0.0.1:target``, in a thread of its own, for the length of a ``with`` block."""
    relay = Relay(target, round_trip=round_trip, rate=rate)
    ready = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(relay.serve(ready)), name="relay", daemon=True)
    thread.start()
    if not ready.wait(10):
        raise OSError("the relay does not start")
    try:
        yield relay
    finally:
        relay.stop()
        thread.join()
