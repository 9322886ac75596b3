"""A connection of a client, on which faults happen."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSStream

from ocipush.testing._faults import Cut, Drip, EarlyAnswer, Restart, Stall

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import ByteStream

    from ocipush.testing._faults import Ending, RequestFaults, Side

CHUNK = 256 * 1024


class ConnectionCutError(anyio.BrokenResourceError):
    """A fault ended the connection."""


class Connection:
    """A byte stream that applies the faults of the current request to it.

    Args:
        stream: the stream itself.
        restart: called by a `Restart` fault; ends every connection of the registry.
    """

    def __init__(self, stream: ByteStream, restart: Callable[[Restart], None]) -> None:
        self._stream = stream
        self._restart = restart
        self._faults: RequestFaults | None = None
        self._passed: dict[Side, int] = {"request": 0, "answer": 0}
        self._rates: dict[Side, int] = {}
        self._held = b""

    def set_faults(self, faults: RequestFaults | None) -> None:
        """Apply these faults to the request that starts now; None after the last byte of its response."""
        self._faults = faults
        self._passed = {"request": 0, "answer": 0}
        self._rates = {}
        self._held = b""

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()

    async def receive(self) -> bytes:
        """Return the next bytes, none at the end of the stream; never bytes from beyond the next fault."""
        room = self._room("request")
        try:
            return await self._stream.receive(CHUNK if room is None else max(1, min(room, CHUNK)))
        except anyio.EndOfStream:
            return b""

    async def receive_body(self, read: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the next piece of the request's body, which `read` gets, after the faults at this byte have fired."""
        await self.fire("request")
        piece = self._held or await read()
        room = self._room("request")
        if room is not None:
            piece, self._held = piece[:room], piece[room:]
        else:
            self._held = b""
        await self._pass("request", len(piece))
        return piece

    async def send(self, data: bytes) -> None:
        """Send a part of the response."""
        while data:
            await self.fire("answer")
            count = min(len(data), self._room("answer") or len(data))
            await self._stream.send(data[:count])
            await self._pass("answer", count)
            data = data[count:]

    async def fire(self, side: Side) -> None:
        """Fire the faults that are due at the current byte."""
        while self._faults and (fault := self._faults.take_at(side, self._passed[side])):
            match fault:
                case Stall():
                    await anyio.sleep(fault.seconds)
                case Drip():
                    self._rates[side] = fault.rate
                case EarlyAnswer():
                    fields = {**fault.headers, "Content-Length": str(len(fault.body)), "Connection": "close"}
                    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
                    await self._stream.send(f"HTTP/1.1 {fault.status} early\r\n{head}\r\n".encode() + fault.body)
                    await self._cut(fault.how)
                case Cut():
                    await self._cut(fault.how)
                case Restart():
                    self._restart(fault)
                    await anyio.sleep_forever()
                case _:
                    raise NotImplementedError(fault)

    def _room(self, side: Side) -> int | None:
        """Return how many bytes may pass before the next fault, or in the next second; None means any number."""
        limits = [self._rates[side]] if side in self._rates else []
        if self._faults and (room := self._faults.room(side, self._passed[side])) is not None:
            limits.append(room)
        return min(limits, default=None)

    async def _pass(self, side: Side, count: int) -> None:
        self._passed[side] += count
        if side in self._rates:
            await anyio.sleep(count / self._rates[side])

    async def _cut(self, how: Ending) -> None:
        sock = self._stream.extra(SocketAttribute.raw_socket)  # noqa: S610  (not Django's)
        if how == "half-close":
            sock.shutdown(socket.SHUT_WR)
            with suppress(anyio.BrokenResourceError):
                while await self.receive():
                    pass
        elif how == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            _abort(self._stream)
        await anyio.aclose_forcefully(self._stream)
        raise ConnectionCutError


def _abort(stream: ByteStream) -> None:
    """Close without the FIN that anyio's stream sends first on asyncio; on trio, closing is enough."""
    inner: object = stream
    while isinstance(inner, TLSStream):
        inner = inner.transport_stream
    transport = getattr(inner, "_transport", None)
    if transport is not None:
        transport.abort()
