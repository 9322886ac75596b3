"""The development registry: its lifetime, and the record of its requests."""

from __future__ import annotations

import logging
import socket
import ssl
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import anyio
import h11
from anyio.abc import ByteStream, Listener, SocketAttribute
from anyio.streams.tls import TLSStream

from ocipush.testing._auth import BasicAuth, BearerAuth
from ocipush.testing._blobs import BlobStorage
from ocipush.testing._connection import Connection
from ocipush.testing._dialects import DIALECTS, Dialect
from ocipush.testing._faults import (
    Duplicate,
    ExpireTokens,
    GatewayTimeout,
    RateLimit,
    Refuse,
    Restart,
    Schedule,
    WebPage,
)
from ocipush.testing._gateway import add_headers
from ocipush.testing._line import Line
from ocipush.testing._messages import BodyTooLargeError, RecordedRequest, Request, Response
from ocipush.testing._pages import HTML, web_page
from ocipush.testing._responses import error_response
from ocipush.testing._routes import Routes
from ocipush.testing._server import HTTPConnection
from ocipush.testing._server_task import ServerTask
from ocipush.testing._storage import Repository, Storage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from os import PathLike
    from types import TracebackType

    from ocipush.testing._faults import Fault, RequestFaults
    from ocipush.testing._server import Handler

    Intercept = Callable[[Request], Awaitable[Response | None]]

_LOG = logging.getLogger("ocipush.testing")
_BUFFER = 64 * 1024  # bytes
_DISCONNECTED = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, h11.RemoteProtocolError)


def in_url(host: str, port: int) -> str:
    """Return a host and port as a URL has them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _page(status: int) -> Response:
    return Response(status, {"Content-Type": HTML}, web_page(status))


@asynccontextmanager
async def _closing(listener: Listener[ByteStream]) -> AsyncGenerator[Listener[ByteStream]]:
    try:
        yield listener
    finally:
        with anyio.CancelScope(shield=True):
            await listener.aclose()


class UnexpectedRequestError(AssertionError):
    """A strict registry received an unexpected request."""


class Registry:
    """A registry on a local port. Use it as an async context manager: it listens until the block ends.

    The context may be left in another task than it was entered in, of the same event loop, so a registry can be an async
    fixture.

    Attributes:
        connections: number of connections, including those whose TLS handshake failed.
        requests: every request, in the order in which their heads arrived.
        unexpected: the requests with a violation.
        fired: the faults that fired, in order.
    """

    def __init__(
        self,
        *,
        dialect: str | Dialect = "spec",
        repositories: Sequence[str] = (),
        auth: BasicAuth | BearerAuth | None = None,
        ssl_context: ssl.SSLContext | None = None,
        storage: str | PathLike[str] | None = None,
        strict: bool = False,
        allowed: Sequence[str] = ("*",),
        intercept: Intercept | None = None,
        faults: Sequence[Fault] = (),
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """Create a registry; it does not listen yet.

        Args:
            dialect: which registry to behave like: a name of `DIALECTS`, or a `Dialect`.
            repositories: repositories that exist from the start, for dialects where a push does not create them.
            auth: how clients must log in; None: not at all.
            ssl_context: makes the registry speak TLS.
            storage: a directory to keep images in; None: memory.
            strict: raise `UnexpectedRequestError` at the end of the block if there were unexpected requests.
            allowed: patterns such as ``"PUT /v2/*/manifests/*"``; a request that matches none of them is unexpected.
            intercept: called with each request after it is recorded; may return a response to send instead of the
                registry's. What it raises is logged, answered with 500, and raised at the end of the block.
            faults: what goes wrong, before `intercept` or while the request is processed.
            host: the address to listen on.
            port: the port to listen on; 0: any free one.
        """
        self.connections: int = 0
        self.requests: list[RecordedRequest] = []
        self.unexpected: list[RecordedRequest] = []
        self.host: str = ""
        self._auth = auth
        self._ssl = ssl_context
        self._storage = Storage(Path(storage) if storage is not None else None)
        self._strict = strict
        self._allowed = tuple(allowed)
        self._intercept = intercept
        self._address = (host, port)
        self._schedule = Schedule(faults)
        self.fired: list[Fault] = self._schedule.fired
        self._errors: list[Exception] = []  # raised by requests
        self._task: ServerTask
        self._life: anyio.CancelScope
        self._down: float = 0.0
        self._dialect = DIALECTS[dialect] if isinstance(dialect, str) else dialect
        self._line = Line(self._dialect.line_rate)
        self._service = BlobStorage(self._storage, self._service_base)
        self._service_port = 0
        if isinstance(auth, BearerAuth):
            auth.dialect = self._dialect
        self._routes = Routes(
            self._storage, self._dialect, auth, repositories, self._service, self._base, lambda: self.url
        )

    def repository(self, name: str) -> Repository:
        """Return the content of a repository."""
        return self._storage.repository_blocking(name)

    @property
    def url(self) -> str:
        """The scheme and host of the registry."""
        return f"{'https' if self._ssl else 'http'}://{self.host}"

    async def __aenter__(self) -> Self:
        """Listen and serve; OSError if the port or the storage cannot be used."""
        self._task = ServerTask(self._serve)
        await self._task.start()
        return self

    async def _listen(self) -> Listener[ByteStream]:
        """Open the port; after a restart, the same port."""
        host, port = self._address
        listener = await anyio.create_tcp_listener(local_host=host, local_port=port)
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610  (not Django's)
        self._address = (host, port)
        self.host = in_url(host, port)
        if self._dialect.line_rate:  # what the system keeps has not passed a slow line yet
            for one in listener.listeners:
                sock = one.extra(SocketAttribute.raw_socket)  # noqa: S610
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        return listener

    async def _listen_for_storage(self) -> Listener[ByteStream]:
        """Open the port of the storage service; after a restart, the same port."""
        listener = await anyio.create_tcp_listener(local_host=self._address[0], local_port=self._service_port)
        self._service_port = listener.extra(SocketAttribute.local_port)  # noqa: S610
        return listener

    async def _serve(self, started: Callable[[], None]) -> None:
        """Serve, from one restart to the next."""
        await self._storage.prepare()
        while True:
            async with AsyncExitStack() as stack:
                listener = await stack.enter_async_context(_closing(await self._listen()))
                ports = [partial(listener.serve, self._connected)]
                if self._dialect.blob_redirect and self._dialect.blob_storage == "port":
                    service = await stack.enter_async_context(_closing(await self._listen_for_storage()))
                    ports.append(partial(service.serve, self._connected_to_storage))
                with anyio.CancelScope() as self._life:
                    async with anyio.create_task_group() as tasks:
                        for serve in ports:
                            tasks.start_soon(serve)
                        started()
            await anyio.sleep(self._down)

    def _restart(self, fault: Restart) -> None:
        """Stop listening and end every connection; `_serve` starts again."""
        if not fault.keep_sessions:
            self._storage.drop_uploads()
        self._down = fault.down
        self._life.cancel()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and raise what requests raised; a strict registry then reports unexpected requests.

        An exception of the block is never hidden: an error of a request has it as its context.
        """
        await self._task.stop()
        errors, self._errors = self._errors, []
        if errors and (error is None or isinstance(error, Exception)):
            raise errors[0]
        if self._strict and self.unexpected and error is None:
            seen = ", ".join(f"{r.method} {r.path} ({r.status}): {r.violation}" for r in self.unexpected)
            raise UnexpectedRequestError(f"unexpected requests: {seen}")

    async def _connected(self, stream: ByteStream) -> None:
        self.connections += 1
        await self._converse_safely(stream, self._respond)

    async def _connected_to_storage(self, stream: ByteStream) -> None:
        async def respond(request: Request, _: RequestFaults) -> Response:
            return await self._service.respond(request)

        await self._converse_safely(stream, respond)

    async def _converse_safely(self, stream: ByteStream, respond: Handler) -> None:
        async with stream:
            try:
                await self._converse(stream, partial(self._handle, respond))
            except Exception as exc:  # noqa: BLE001 - such as a response of `intercept` that is not valid HTTP
                _LOG.exception("a connection failed")
                self._errors.append(exc)

    async def _converse(self, stream: ByteStream, handler: Handler) -> None:
        if self._ssl is None:
            await self._http(stream).serve(handler)
            return
        with suppress(ssl.SSLError, anyio.BrokenResourceError, anyio.EndOfStream):  # the client does not speak TLS
            tls = await TLSStream.wrap(stream, server_side=True, ssl_context=self._ssl, standard_compatible=False)
            await self._http(tls).serve(handler)

    def _http(self, stream: ByteStream) -> HTTPConnection:
        connection = Connection(stream, self._line, self._dialect, self._restart)
        return HTTPConnection(connection, self._schedule.faults_for)

    async def _handle(self, respond: Handler, request: Request, faults: RequestFaults) -> Response:
        """Record a request, and respond to it."""
        record = request.record
        self.requests.append(record)
        line = f"{request.method} {request.path}"
        if not any(fnmatchcase(line, pattern) for pattern in self._allowed):
            request.violations.append("it is not allowed")
        try:
            response = await respond(request, faults)
        except BodyTooLargeError:
            response = error_response(413, "SIZE_INVALID", "the manifest is larger than 4 MiB")
        except _DISCONNECTED:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever `intercept` raises
            _LOG.exception("%s failed", line)
            self._errors.append(exc)
            response = error_response(500, "UNKNOWN", f"{type(exc).__name__}: {exc}")
        add_headers(response, self._dialect)
        record.status = response.status
        if request.violations:
            record.violation = "; ".join(request.violations)
            self.unexpected.append(record)
        return response

    async def _respond(self, request: Request, faults: RequestFaults) -> Response:
        """Respond as the faults say, or `intercept`, or the registry itself."""
        await request.begin()
        if faults.take(ExpireTokens) and isinstance(self._auth, BearerAuth):
            self._auth.expire()
        if page := faults.take(WebPage):
            return _page(page.status)
        limit = faults.take(RateLimit)
        if refuse := limit.refusal() if limit else faults.take(Refuse):
            return Response(refuse.status, dict(refuse.headers), refuse.body)
        if self._intercept and (answer := await self._intercept(request)):
            return answer
        timeout = faults.take(GatewayTimeout)
        response = await self._process(request, twice=faults.take(Duplicate) is not None)
        if timeout is None:
            return response
        await anyio.sleep(timeout.wait)
        return _page(timeout.status)

    async def _process(self, request: Request, *, twice: bool) -> Response:
        if not twice:
            return await self._routes.answer(request)
        request.keep()
        await self._routes.answer(request)
        while await request.receive():
            pass
        request.rewind()
        return await self._routes.answer(request)

    def _service_base(self, request: Request) -> str:
        """Return the scheme and host of the storage service."""
        base = urlsplit(self._base(request))
        if self._dialect.blob_storage == "path":
            return f"{base.scheme}://{base.netloc}"
        return f"{base.scheme}://{in_url(base.hostname or '', self._service_port)}"

    def _base(self, request: Request) -> str:
        return f"{'https' if self._ssl else 'http'}://{request.headers.get('host', self.host)}"
