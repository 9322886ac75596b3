"""A connection of a client, on which faults happen."""

from __future__ import annotations

import math
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

import anyio
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSStream

from ocipush.testing._faults import Cut, Drip, EarlyAnswer, Restart, Stall
from ocipush.testing._pages import HTML, web_page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from anyio.abc import ByteStream

    from ocipush.testing._dialects import Dialect
    from ocipush.testing._faults import Ending, RequestFaults, Side
    from ocipush.testing._line import Line

CHUNK = 256 * 1024


class ConnectionCutError(anyio.BrokenResourceError):
    """A fault, or a time limit, ended the connection."""


class Connection:
    """A byte stream that applies the faults and the time limit of the current request to it.

    Args:
        stream: the stream itself.
        line: what the bytes arrive over.
        dialect: how a request over the time limit ends.
        restart: called by a `Restart` fault; ends every connection of the registry.
    """

    def __init__(self, stream: ByteStream, line: Line, dialect: Dialect, restart: Callable[[Restart], None]) -> None:
        self._stream = stream
        self._line = line
        self._dialect = dialect
        self._restart = restart
        self._half_closed = False
        self._deadline = math.inf
        self._faults: RequestFaults | None = None
        self._passed: dict[Side, int] = {"request": 0, "answer": 0}
        self._rates: dict[Side, int] = {}
        self._held = b""

    def begin_request(self, faults: RequestFaults, *, has_body: bool) -> None:
        """Apply these faults, and the time limit, to the request that starts now."""
        dialect = self._dialect
        limited = dialect.time_limit > 0 and (has_body or dialect.time_limit_of == "all")
        self._reset(faults, anyio.current_time() + dialect.time_limit if limited else math.inf)

    def end_request(self) -> None:
        """The last byte of the response was sent."""
        self._reset(None, math.inf)

    def _reset(self, faults: RequestFaults | None, deadline: float) -> None:
        self._faults = faults
        self._deadline = deadline
        self._passed = {"request": 0, "answer": 0}
        self._rates = {}
        self._held = b""

    async def aclose(self) -> None:
        """Close the stream; after a half-close, once the client has closed it."""
        if self._half_closed:
            with suppress(anyio.BrokenResourceError):
                while await self.receive():
                    pass
        await self._stream.aclose()

    async def receive(self) -> bytes:
        """Return the next bytes, none at the end of the stream; never bytes from beyond the next fault."""
        data = b""
        with anyio.CancelScope(deadline=self._deadline) as scope, suppress(anyio.EndOfStream):
            data = await self._stream.receive(self._most())
            await self._line.carry(len(data))
        if scope.cancelled_caught:
            await self._end_late_request()
        return data

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
            if anyio.current_time() >= self._deadline:
                await self._end_late_request()
            count = min(len(data), self._room("answer") or len(data))
            await self._stream.send(data[:count])
            await self._pass("answer", count)
            data = data[count:]

    async def fire(self, side: Side) -> None:
        """Fire the faults that are due at the current byte."""
        while self._faults and (fault := self._faults.take_at(side, self._passed[side])):
            match fault:
                case Stall():
                    await self._sleep(fault.seconds)
                case Drip():
                    self._rates[side] = fault.rate
                case EarlyAnswer():
                    await self._answer_early(fault.status, fault.headers, fault.body)
                    await self._cut(fault.how)
                case Cut():
                    await self._cut(fault.how)
                case Restart():
                    self._restart(fault)
                    await anyio.sleep_forever()
                case _:
                    raise NotImplementedError(fault)

    def _most(self) -> int:
        """Return how many bytes to take from the stream at a time."""
        rooms = [room for room in (self._room("request"), self._line.room) if room is not None]
        return max(1, min([*rooms, CHUNK]))

    def _room(self, side: Side) -> int | None:
        """Return how many bytes may pass before the next fault, or in the next second; None means any number."""
        limits = [self._rates[side]] if side in self._rates else []
        if self._faults and (room := self._faults.room(side, self._passed[side])) is not None:
            limits.append(room)
        return min(limits, default=None)

    async def _pass(self, side: Side, count: int) -> None:
        self._passed[side] += count
        if side in self._rates:
            await self._sleep(count / self._rates[side])

    async def _sleep(self, seconds: float) -> None:
        """Wait, at most until the time limit."""
        await anyio.sleep_until(min(anyio.current_time() + seconds, self._deadline))
        if anyio.current_time() >= self._deadline:
            await self._end_late_request()

    async def _end_late_request(self) -> NoReturn:
        self._deadline = math.inf
        status = self._dialect.time_limit_status
        if status and not self._passed["answer"]:
            await self._answer_early(status, {"Content-Type": HTML}, web_page(status))
        await self._cut(self._dialect.time_limit_end)

    async def _answer_early(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send a response while the request is still arriving."""
        fields = {**headers, "Content-Length": str(len(body)), "Connection": "close"}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await self._stream.send(f"HTTP/1.1 {status} early\r\n{head}\r\n".encode() + body)

    async def _cut(self, how: Ending) -> NoReturn:
        sock = self._stream.extra(SocketAttribute.raw_socket)  # noqa: S610  (not Django's)
        if how == "half-close":
            sock.shutdown(socket.SHUT_WR)
            self._half_closed, self._deadline = True, math.inf
            raise ConnectionCutError  # the registry learns at once that no more will come
        if how == "reset":
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
