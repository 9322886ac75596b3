"""The fast httpx transport: HTTP/1.1 connections that are kept for each origin, direct or through a proxy.

Files go from disk to socket without being copied (plain HTTP), or in large slices (TLS), where httpx's own transport
takes every byte through several Python objects. Of httpx's time-outs only ``connect`` is used; the caller limits the
rest. Cookies are dropped.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import anyio
import h11
import httpx

from .body import FileBody
from .connection import Connection
from .proxy import Proxy, ProxyRules
from .stream import connect as connect_socket
from .tunnel import connect_through

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from .stream import Admit, Connect


READ_AHEAD: Final = 64 * 1024  # bytes of an answer that are taken at once, if they have arrived
IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"PUT", b"DELETE"})  # of RFC 9110, 9.2.2, those that a push uses


@dataclass(slots=True, eq=False)
class _Origin:
    """The connections to one scheme, host and port, direct or through a proxy.

    Attributes:
        netloc: the host, and the port where the URL has one.
        context: for TLS; None on plain HTTP.
        forwarder: the proxy, if it forwards requests instead of opening a tunnel.
        gate: limits how many requests are made at the same time.
        idle: connections that wait for the next request; the last one used is the first one taken.
    """

    key: tuple[str, str, int, bool]
    host: str
    port: int
    netloc: bytes
    context: ssl.SSLContext | None
    proxy: Proxy | None
    gate: anyio.Semaphore
    idle: deque[Connection] = field(default_factory=deque[Connection])
    forwarder: Proxy | None = None

    def __post_init__(self) -> None:
        self.forwarder = self.proxy if self.context is None else None

    def head(self, request: httpx.Request) -> h11.Request:
        """The head of a request as it is sent."""
        target: bytes = request.extensions.get("target", request.url.raw_path)
        headers = request.headers.raw
        if self.forwarder is not None:
            target = b"http://%b%b" % (self.netloc, target)
            # Some proxies (tinyproxy) close the connection after each answer without saying so: none is used twice.
            headers = [*headers, (b"Connection", b"close"), *self.forwarder.headers]
        try:
            return h11.Request(method=request.method, target=target, headers=headers)
        except h11.LocalProtocolError as exc:
            raise httpx.LocalProtocolError(str(exc)) from exc


class Transport(httpx.AsyncBaseTransport):
    """Sends requests over HTTP/1.1, on connections that it keeps.

    A server can close an idle connection at the moment that it is used again. A request that fails on a kept
    connection is sent again on a new one at once if none of its bytes can have arrived, or if its method is
    idempotent, no byte of an answer has arrived, and no part of a large file was sent.

    Extensions of a request:

    - ``target``: the request target, in place of the URL's.
    - ``admit``: called with the addresses that a connection may be made to, and with that of a kept connection; not
      called where a proxy makes the connection.
    - ``direct``: no proxy is used.
    - ``clock``: called with False when the request has to wait for one of the connections, and with True after that.
    - ``resent``: set to 1 when the request was sent twice, so that it can be counted even if it fails.

    Extensions of an answer: ``address``, where it came from, empty behind a proxy; ``latency``, how soon it came;
    ``resent``, how many times the request was sent again.

    Args:
        context: for ``https``.
        rules: which requests go through which HTTP proxy.
        max_connections: for each origin; further requests wait.
        idle_limit: seconds after which an unused connection is closed, when the transport is next used.
        connect: makes a connection to a host and port, with TLS when it is given a context; tests bring a network
            of their own.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        rules: ProxyRules | None = None,
        max_connections: int = 128,
        idle_limit: float = 30.0,
        connect: Connect = connect_socket,
    ) -> None:
        context.set_alpn_protocols(["http/1.1"])
        self._context = context
        self._rules = rules or ProxyRules()
        self._max_connections = max_connections
        self._idle_limit = idle_limit
        self._connect_to = connect
        self._origins: dict[tuple[str, str, int, bool], _Origin] = {}
        self._idle: dict[Connection, _Origin] = {}  # of all origins, the longest idle first
        self._open: set[Connection] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request. The answer's body is read when it is asked for."""
        body = request.stream if isinstance(request.stream, FileBody) else await request.aread()
        origin = self._origin(request.url, "direct" in request.extensions)
        head = origin.head(request)
        await self._enter(origin, request.extensions.get("clock"))
        try:
            connection, answer = await self._exchange(origin, request, head, body)
        except BaseException:
            self._leave(origin)
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
                "resent": request.extensions.get("resent", 0),
            },
        )

    async def aclose(self) -> None:
        """Close every connection, also those in use."""
        self._origins.clear()
        self._idle.clear()
        while self._open:
            self._open.pop().close()

    async def _enter(self, origin: _Origin, clock: Callable[[bool], None] | None) -> None:
        if clock is None or origin.gate.value > 0:
            await origin.gate.acquire()
            return
        clock(False)
        await origin.gate.acquire()
        clock(True)

    def _origin(self, url: httpx.URL, direct: bool) -> _Origin:
        if url.scheme not in {"http", "https"}:
            raise httpx.UnsupportedProtocol(f"{url.scheme!r} is not http or https")
        key = (url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80), direct)
        if (origin := self._origins.get(key)) is None:
            origin = self._origins[key] = _Origin(
                key,
                host=url.raw_host.decode("ascii"),
                port=key[2],
                netloc=url.netloc,
                context=self._context if url.scheme == "https" else None,
                proxy=None if direct else self._rules.proxy_for(url),
                gate=anyio.Semaphore(self._max_connections, fast_acquire=True),
            )
        return origin

    async def _exchange(
        self, origin: _Origin, request: httpx.Request, head: h11.Request, body: bytes | FileBody
    ) -> tuple[Connection, h11.Response]:
        admit: Admit | None = request.extensions.get("admit") if origin.proxy is None else None
        kept = self._take(origin)
        if kept is not None:
            if admit is not None:
                self._check(kept, admit)
            try:
                return kept, await self._guarded(origin, kept, head, body)
            except httpx.TransportError:
                if kept.has_sent and not (kept.may_repeat and head.method in IDEMPOTENT):
                    raise
        limit: float | None = request.extensions.get("timeout", {}).get("connect")
        fresh = await self._connect(origin, limit, admit)
        if kept is not None and kept.has_sent:
            request.extensions["resent"] = 1
        return fresh, await self._guarded(origin, fresh, head, body)

    async def _guarded(
        self, origin: _Origin, connection: Connection, head: h11.Request, body: bytes | FileBody
    ) -> h11.Response:
        try:
            answer = await connection.exchange(head, body)
            if (proxy := origin.forwarder) is not None and proxy.made(answer.status_code, answer.headers):
                raise proxy.refused(answer.status_code, origin.netloc.decode("ascii"))
        except BaseException:
            self._close(connection)
            raise
        return answer

    def _check(self, kept: Connection, admit: Admit) -> None:
        try:
            admit([kept.address])
        except BaseException:
            self._close(kept)
            raise

    async def _connect(self, origin: _Origin, limit: float | None, admit: Admit | None) -> Connection:
        host, port, context, proxy = origin.host, origin.port, origin.context, origin.proxy
        with anyio.move_on_after(limit):
            if proxy is None:
                stream = await self._connect_to(host, port, context, admit)
            else:
                stream = await connect_through(proxy, self._connect_to, self._context, host, port, context)
            connection = Connection(stream)
            self._open.add(connection)
            return connection
        raise httpx.ConnectTimeout(
            f"no connection within {limit:g} s" + (f" through the proxy {proxy}" if proxy else "")
        )

    def _take(self, origin: _Origin) -> Connection | None:
        """The connection that was put away last, if it can still be used."""
        self._close_idle(anyio.current_time())
        while origin.idle:
            connection = origin.idle.pop()
            del self._idle[connection]
            if connection.is_alive():
                return connection
            self._close(connection)
        return None

    def _put_away(self, origin: _Origin, connection: Connection, reusable: bool) -> None:
        now = anyio.current_time()
        if reusable and connection in self._open:
            connection.idle_since = now
            origin.idle.append(connection)
            self._idle[connection] = origin
            origin.gate.release()
        else:
            self._close(connection)
            self._leave(origin)
        self._close_idle(now)

    def _close_idle(self, now: float) -> None:
        """Close the connections of all origins that have been idle for too long."""
        too_old = now - self._idle_limit
        while self._idle and (connection := next(iter(self._idle))).idle_since < too_old:
            origin = self._idle.pop(connection)
            origin.idle.popleft()
            self._close(connection)
            self._forget(origin)

    def _leave(self, origin: _Origin) -> None:
        """Let the next request to ``origin`` begin."""
        origin.gate.release()
        self._forget(origin)

    def _forget(self, origin: _Origin) -> None:
        """Drop an origin that nobody uses: a registry can name any number of them."""
        if not origin.idle and origin.gate.value == self._max_connections and self._origins.get(origin.key) is origin:
            del self._origins[origin.key]

    def _close(self, connection: Connection) -> None:
        self._open.discard(connection)
        connection.close()


class _AnswerBody(httpx.AsyncByteStream):
    """An answer's body. ``done`` is called once, with whether the connection can be used again."""

    def __init__(self, connection: Connection, done: Callable[[bool], None]) -> None:
        self._connection = connection
        self._done: Callable[[bool], None] | None = done
        self._ahead: list[bytes] = []
        self._failure: httpx.TransportError | None = None

    def read_ahead(self) -> bytes | None:
        """Take what has arrived. Often that is the whole body, and the connection is free at once."""
        size = 0
        try:
            while size < READ_AHEAD and (piece := self._connection.read_now()) is not None:
                if not piece:
                    self._finish(self._connection.start_over())
                    return b"".join(self._ahead)
                self._ahead.append(piece)
                size += len(piece)
        except httpx.TransportError as exc:
            self._failure = exc  # for the caller that reads on
        return None

    def __aiter__(self) -> _AnswerBody:
        """Not a generator: httpx does not close one when a body is not read to its end, and trio warns of that."""
        return self

    async def __anext__(self) -> bytes:
        if self._ahead:
            return self._ahead.pop(0)
        try:
            if self._failure is not None:
                raise self._failure
            if self._done is not None and (piece := await self._connection.read()):
                return piece
        except BaseException:
            self._finish(False)
            raise
        if self._done is not None:
            self._finish(self._connection.start_over())
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Give up what is left."""
        self._finish(False)

    def _finish(self, reusable: bool) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(reusable)
