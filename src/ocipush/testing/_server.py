"""A small HTTP/1.1 server that streams request bodies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

import anyio
import h11

from ocipush.testing._connection import CHUNK

if TYPE_CHECKING:
    from pathlib import Path

    from ocipush.testing._connection import Connection
    from ocipush.testing._faults import RequestFaults


class BodyTooLargeError(ValueError):
    """A request body is larger than the limit."""


@dataclass(slots=True)
class Response:
    """A response; a `Path` as body is streamed from disk."""

    status: int
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes | Path = b""


class Request:
    """A request whose body is read as it arrives."""

    def __init__(self, head: h11.Request, connection: HTTPConnection) -> None:
        self.target: str = head.target.decode("ascii")
        target = urlsplit(self.target)
        self.method: str = head.method.decode("ascii")
        self.path: str = unquote(target.path)
        query = parse_qs(target.query, keep_blank_values=True)
        self.query: dict[str, str] = {name: values[-1] for name, values in query.items()}
        self.scopes: list[str] = query.get("scope", [])  # the only parameter that may occur several times
        self.headers: dict[str, str] = {k.decode("ascii"): v.decode("latin-1") for k, v in head.headers}
        self.body_size: int = 0
        self.violations: list[str] = []  # why a strict registry reports it
        self.faults: RequestFaults
        self._connection = connection
        self._kept: list[bytes] | None = None
        self._replay: list[bytes] | None = None

    async def begin(self) -> None:
        """Fire the faults that hit the request before the first byte of its body."""
        await self._connection.begin()

    @property
    def length(self) -> int | None:
        """Bytes of the body; None when the request does not say."""
        if "transfer-encoding" in self.headers:
            return None
        return int(self.headers.get("content-length", "0"))

    async def receive(self) -> bytes:
        """Return the next piece of the body, empty at its end."""
        if self._replay is not None:
            return self._replay.pop(0) if self._replay else b""
        piece = await self._connection.receive()
        self.body_size += len(piece)
        if self._kept is not None:
            self._kept.append(piece)
        return piece

    def keep(self) -> None:
        """Keep the body as it is received, for `rewind`."""
        self._kept = []

    def rewind(self) -> None:
        """Make `receive` return again what was kept."""
        self._replay, self._kept = self._kept, None

    async def read(self, limit: int) -> bytes:
        """Return the whole body, at most `limit` bytes."""
        found = bytearray()
        while piece := await self.receive():
            found += piece
            if len(found) > limit:
                raise BodyTooLargeError
        return bytes(found)


Handler = Callable[[Request], Awaitable[Response]]


class HTTPConnection:
    """HTTP/1.1 on one connection.

    Args:
        connection: the bytes.
        faults_for: returns the faults of the request with this method and path.
    """

    def __init__(self, connection: Connection, faults_for: Callable[[str], RequestFaults]) -> None:
        self._connection = connection
        self._faults_for = faults_for
        self._http = h11.Connection(h11.SERVER)

    async def serve(self, handler: Handler) -> None:
        """Answer requests until either side closes the connection."""
        async with aclosing(self._connection):
            try:
                while await self._serve_one(handler):
                    self._http.start_next_cycle()
            except h11.RemoteProtocolError:
                await self._bad_request()
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
                return

    async def begin(self) -> None:
        """Fire the faults that hit the current request before the first byte of its body."""
        await self._connection.fire("request")

    async def receive(self) -> bytes:
        """Return the next piece of the current request's body, empty at its end."""
        return await self._connection.receive_body(self._next_piece)

    async def _next_piece(self) -> bytes:
        if self._http.their_state is not h11.SEND_BODY:
            return b""
        if self._http.they_are_waiting_for_100_continue:
            await self._send(h11.InformationalResponse(status_code=100, headers=[]))
        event = await self._next()
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    async def _serve_one(self, handler: Handler) -> bool:
        event = await self._next()
        if not isinstance(event, h11.Request):
            return False
        try:
            request = Request(event, self)
        except ValueError:  # the target is not a URL
            await self._bad_request()
            return False
        request.faults = self._faults_for(f"{request.method} {request.path}")
        self._connection.set_faults(request.faults)
        response = await handler(request)
        # An unread body would be parsed as the next request; one that is not worth reading ends the connection.
        unread = self._http.their_state is h11.SEND_BODY and response.headers.get("Connection") != "close"
        if unread and not self._http.they_are_waiting_for_100_continue:
            while await request.receive():
                pass
        await self._respond(request.method, response)
        self._connection.set_faults(None)
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _respond(self, method: str, response: Response) -> None:
        body = response.body
        size = len(body) if isinstance(body, bytes) else (await anyio.Path(body).stat()).st_size
        headers = list(response.headers.items())
        if response.status != 204:
            headers.append(("Content-Length", str(size)))
        await self._send(h11.Response(status_code=response.status, headers=headers))
        if method != "HEAD" and size:
            if isinstance(body, bytes):
                await self._send(h11.Data(data=body))
            else:
                async with await anyio.open_file(body, "rb") as file:
                    while piece := await file.read(CHUNK):
                        await self._send(h11.Data(data=piece))
        await self._send(h11.EndOfMessage())
        await self._connection.fire("answer")

    async def _bad_request(self) -> None:
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            try:
                await self._respond("GET", Response(400, {"Connection": "close"}))
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return

    async def _next(self) -> h11.Event | type[h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._connection.receive())
        return event  # type: ignore[return-value]

    async def _send(self, event: h11.Event) -> None:
        if data := self._http.send(event):
            await self._connection.send(data)
