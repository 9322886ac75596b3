"""A small HTTP/1.1 server that streams request bodies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio
import h11

from ocipush.testing._connection import CHUNK
from ocipush.testing._faults import RequestFaults
from ocipush.testing._messages import Request, Response

if TYPE_CHECKING:
    from ocipush.testing._connection import Connection

Handler = Callable[[Request, RequestFaults], Awaitable[Response]]


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
        faults = self._faults_for(f"{request.method} {request.path}")
        self._connection.begin_request(faults, has_body=request.length != 0)
        response = await handler(request, faults)
        # An unread body would be parsed as the next request; one that is not worth reading ends the connection.
        unread = self._http.their_state is h11.SEND_BODY and response.headers.get("Connection") != "close"
        if unread and not self._http.they_are_waiting_for_100_continue:
            while await request.receive():
                pass
        await self._respond(request.method, response)
        self._connection.end_request()
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
