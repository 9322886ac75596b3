"""The fast httpx transport for direct connections: a free list of HTTP/1.1 connections per origin.

Files go from disk to socket without being copied (plain HTTP), or in large slices (TLS); httpx's own transport takes
every byte through several Python objects. Only the ``connect`` part of httpx's time-outs is heeded: the caller watches
the rest. Cookies are dropped.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import anyio
import h11
import httpx

from .body import FileBody
from .connection import Connection
from .stream import connect as connect_socket

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    from .stream import Admit, Stream

    Connect = Callable[[str, int, "ssl.SSLContext | None", "Admit | None"], Awaitable[Stream]]


READ_AHEAD: Final = 64 * 1024  # bytes of an answer that are taken at once, if they are there


class _Origin:
    """The connections to one scheme, host and port: so many at once, and those that wait for the next request."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None, limit: int) -> None:
        self.host = host
        self.port = port
        self.context = context
        self.gate = anyio.Semaphore(limit, fast_acquire=True)
        self.idle: deque[Connection] = deque()  # the last one used is the first one taken


class Transport(httpx.AsyncBaseTransport):
    """Sends requests over HTTP/1.1, on connections that it keeps.

    A request that gets no byte of an answer on a kept connection is sent again on a fresh one, unless a part of a
    large file went out: servers close idle connections at the very moment that one is used.

    A request's extension ``admit`` is asked which addresses it may connect to, and whether a kept connection's is one
    of them; the answer's extension ``address`` says where it came from, and ``latency`` how soon.

    Args:
        context: for ``https``.
        max_connections: to one origin at once; further requests wait.
        idle_limit: seconds after which an unused connection is not used again.
        connect: makes a connection to a host and port, with TLS when it is given a context; tests bring a network
            of their own.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        max_connections: int = 128,
        idle_limit: float = 30.0,
        connect: Connect = connect_socket,
    ) -> None:
        context.set_alpn_protocols(["http/1.1"])
        self._context = context
        self._max_connections = max_connections
        self._idle_limit = idle_limit
        self._connect_to = connect
        self._origins: dict[tuple[str, str, int], _Origin] = {}
        self._open: set[Connection] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the answer's body is read as it is asked for."""
        body = request.stream if isinstance(request.stream, FileBody) else await request.aread()
        origin = self._origin(request.url)
        try:
            head = h11.Request(
                method=request.method,
                target=request.extensions.get("target", request.url.raw_path),
                headers=request.headers.raw,
            )
        except h11.LocalProtocolError as exc:
            raise httpx.LocalProtocolError(str(exc)) from exc
        limit: float | None = request.extensions.get("timeout", {}).get("connect")
        await origin.gate.acquire()
        try:
            connection, answer = await self._exchange(origin, head, body, limit, request.extensions.get("admit"))
        except BaseException:
            origin.gate.release()
            raise

        def done(reusable: bool) -> None:
            self._put_away(origin, connection, reusable)

        stream = _AnswerBody(connection, done)
        whole = stream.read_ahead()
        return httpx.Response(
            answer.status_code,
            headers=[(name, value) for name, value in answer.headers.raw_items() if name.lower() != b"set-cookie"],
            stream=stream if whole is None else httpx.ByteStream(whole),
            extensions={
                "http_version": b"HTTP/" + answer.http_version,
                "reason_phrase": answer.reason,
                "address": connection.address,
                "latency": connection.latency,
            },
        )

    async def aclose(self) -> None:
        """Close every connection, those in use too."""
        for origin in self._origins.values():
            origin.idle.clear()
        while self._open:
            self._open.pop().close()

    def _origin(self, url: httpx.URL) -> _Origin:
        if url.scheme not in {"http", "https"}:
            raise httpx.UnsupportedProtocol(f"{url.scheme!r} is not http or https")
        port = url.port or (443 if url.scheme == "https" else 80)
        key = (url.scheme, url.host, port)
        if (origin := self._origins.get(key)) is None:
            host = url.raw_host.decode("ascii")
            context = self._context if url.scheme == "https" else None
            origin = self._origins[key] = _Origin(host, port, context, self._max_connections)
        return origin

    async def _exchange(
        self, origin: _Origin, head: h11.Request, body: bytes | FileBody, limit: float | None, admit: Admit | None
    ) -> tuple[Connection, h11.Response]:
        kept = self._take(origin)
        if kept is not None:
            if admit is not None:
                self._check(kept, admit)
            try:
                return kept, await self._guarded(kept, head, body)
            except httpx.TransportError:
                if not kept.may_resend:
                    raise
        fresh = await self._connect(origin, limit, admit)
        return fresh, await self._guarded(fresh, head, body)

    async def _guarded(self, connection: Connection, head: h11.Request, body: bytes | FileBody) -> h11.Response:
        try:
            return await connection.exchange(head, body)
        except BaseException:
            self._close(connection)
            raise

    def _check(self, kept: Connection, admit: Admit) -> None:
        try:
            admit([kept.address])
        except BaseException:
            self._close(kept)
            raise

    async def _connect(self, origin: _Origin, limit: float | None, admit: Admit | None) -> Connection:
        with anyio.move_on_after(limit):
            connection = Connection(await self._connect_to(origin.host, origin.port, origin.context, admit))
            self._open.add(connection)
            return connection
        raise httpx.ConnectTimeout(f"no connection within {limit:g} s")

    def _take(self, origin: _Origin) -> Connection | None:
        """The connection that was put away last, if it can still be used."""
        too_old = anyio.current_time() - self._idle_limit
        while origin.idle:
            connection = origin.idle.pop()
            if connection.idle_since >= too_old and connection.is_alive():
                return connection
            self._close(connection)
        return None

    def _put_away(self, origin: _Origin, connection: Connection, reusable: bool) -> None:
        origin.gate.release()
        if not reusable or connection not in self._open:
            self._close(connection)
            return
        now = connection.idle_since = anyio.current_time()
        origin.idle.append(connection)
        while origin.idle[0].idle_since < now - self._idle_limit:
            self._close(origin.idle.popleft())

    def _close(self, connection: Connection) -> None:
        self._open.discard(connection)
        connection.close()


class _AnswerBody(httpx.AsyncByteStream):
    """An answer's body. ``done`` is told once whether the connection can be used again."""

    def __init__(self, connection: Connection, done: Callable[[bool], None]) -> None:
        self._connection = connection
        self._done: Callable[[bool], None] | None = done
        self._ahead: list[bytes] = []

    def read_ahead(self) -> bytes | None:
        """Take what has come already. Often that is all: the whole body, and the connection is free at once."""
        size = 0
        try:
            while size < READ_AHEAD and (piece := self._connection.read_now()) is not None:
                if not piece:
                    self._finish(self._connection.start_over())
                    return b"".join(self._ahead)
                self._ahead.append(piece)
                size += len(piece)
        except httpx.TransportError:
            pass  # whoever reads on meets it again
        return None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._ahead:
            yield piece
        self._ahead.clear()
        try:
            while self._done is not None and (piece := await self._connection.read()):
                yield piece
        except BaseException:
            self._finish(False)
            raise
        if self._done is not None:
            self._finish(self._connection.start_over())

    async def aclose(self) -> None:
        """Give up what is left."""
        self._finish(False)

    def _finish(self, reusable: bool) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(reusable)
