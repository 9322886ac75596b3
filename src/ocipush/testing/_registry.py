"""The development registry: its lifetime, its routes, and the record of its requests."""

from __future__ import annotations

import logging
import re
import ssl
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Self

import anyio
import h11
from anyio.abc import ByteStream, Listener, SocketAttribute
from anyio.streams.tls import TLSStream

from ocipush.testing._auth import CATALOG, BasicAuth, BearerAuth, Scope
from ocipush.testing._blobs import Blobs
from ocipush.testing._connection import Connection
from ocipush.testing._dialects import DIALECTS, Dialect
from ocipush.testing._faults import Duplicate, ExpireTokens, RateLimit, Refuse, Restart, Schedule
from ocipush.testing._gateway import add_headers, rejected
from ocipush.testing._manifests import Manifests
from ocipush.testing._messages import BodyTooLargeError, RecordedRequest, Request, Response
from ocipush.testing._responses import error_response, json_response, page_response
from ocipush.testing._server import HTTPConnection
from ocipush.testing._server_task import ServerTask
from ocipush.testing._storage import NAME, Repository, Storage
from ocipush.testing._uploads import UploadSessions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from os import PathLike
    from types import TracebackType

    from ocipush.testing._faults import Fault

    Intercept = Callable[[Request], Awaitable[Response | None]]
    Answer = Callable[[Request, str, str], Awaitable[Response]]

_LOG = logging.getLogger("ocipush.testing")
_ROUTES = (
    ("tags", re.compile(rf"/v2/{NAME}/tags/list")),
    ("uploads", re.compile(rf"/v2/{NAME}/blobs/uploads/?")),
    ("blob", re.compile(rf"/v2/{NAME}/blobs/(?P<item>[^/]+)")),
    ("manifest", re.compile(rf"/v2/{NAME}/manifests/(?P<item>[^/]+)")),
    ("referrers", re.compile(rf"/v2/{NAME}/referrers/(?P<item>[^/]+)")),
)
_SESSION = "(?P<item>[0-9a-f]{32})"
_DISCONNECTED = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, h11.RemoteProtocolError)


def in_url(host: str, port: int) -> str:
    """Return a host and port as a URL has them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
        self._repositories = frozenset(repositories)
        self._dialect = DIALECTS[dialect] if isinstance(dialect, str) else dialect
        if isinstance(auth, BearerAuth):
            auth.dialect = self._dialect
        sessions = self._dialect.session_path.format(name=NAME) + _SESSION
        self._routes = (("upload", re.compile(sessions)), *_ROUTES)
        self._answers = self._endpoints()

    def _endpoints(self) -> dict[tuple[str, str], Answer]:
        """Return what answers each method of each route."""
        blobs = Blobs(self._storage, self._dialect)
        uploads = UploadSessions(self._storage, self._dialect, self._base)
        manifests = Manifests(self._storage, self._dialect)
        return {
            ("POST", "uploads"): uploads.post,
            ("GET", "upload"): uploads.get,
            ("PATCH", "upload"): uploads.patch,
            ("PUT", "upload"): uploads.put,
            ("DELETE", "upload"): uploads.delete,
            ("GET", "blob"): blobs.get,
            ("HEAD", "blob"): blobs.get,
            ("DELETE", "blob"): blobs.delete,
            ("GET", "manifest"): manifests.get,
            ("HEAD", "manifest"): manifests.get,
            ("PUT", "manifest"): manifests.put,
            ("DELETE", "manifest"): manifests.delete,
            ("GET", "tags"): manifests.tags,
            ("GET", "referrers"): manifests.referrers,
        }

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
        return listener

    async def _serve(self, started: Callable[[], None]) -> None:
        """Serve, from one restart to the next."""
        await self._storage.prepare()
        while True:
            listener = await self._listen()
            try:
                with anyio.CancelScope() as self._life:
                    started()
                    await listener.serve(self._connected)
            finally:
                with anyio.CancelScope(shield=True):
                    await listener.aclose()
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
        async with stream:
            try:
                await self._converse(stream)
            except Exception as exc:  # noqa: BLE001 - such as a response of `intercept` that is not valid HTTP
                _LOG.exception("a connection failed")
                self._errors.append(exc)

    async def _converse(self, stream: ByteStream) -> None:
        if self._ssl is None:
            await self._http(stream).serve(self._handle)
            return
        with suppress(ssl.SSLError, anyio.BrokenResourceError, anyio.EndOfStream):  # the client does not speak TLS
            tls = await TLSStream.wrap(stream, server_side=True, ssl_context=self._ssl, standard_compatible=False)
            await self._http(tls).serve(self._handle)

    def _http(self, stream: ByteStream) -> HTTPConnection:
        return HTTPConnection(Connection(stream, self._restart), self._schedule.faults_for)

    async def _handle(self, request: Request) -> Response:
        record = RecordedRequest(request.method, request.path, request.query, request.headers)
        self.requests.append(record)
        line = f"{request.method} {request.path}"
        if not any(fnmatchcase(line, pattern) for pattern in self._allowed):
            request.violations.append("it is not allowed")
        try:
            response = await self._respond(request)
        except BodyTooLargeError:
            response = error_response(413, "SIZE_INVALID", "the manifest is larger than 4 MiB")
        except _DISCONNECTED:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever `intercept` raises
            _LOG.exception("%s failed", line)
            self._errors.append(exc)
            response = error_response(500, "UNKNOWN", f"{type(exc).__name__}: {exc}")
        finally:
            record.body_size = request.body_size
        add_headers(response, self._dialect)
        record.status = response.status
        if request.violations:
            record.violation = "; ".join(request.violations)
            self.unexpected.append(record)
        return response

    async def _respond(self, request: Request) -> Response:
        """Respond as the faults say, or `intercept`, or the registry itself."""
        faults = request.faults
        await request.begin()
        if faults.take(ExpireTokens) and isinstance(self._auth, BearerAuth):
            self._auth.expire()
        limit = faults.take(RateLimit)
        if refuse := limit.refusal() if limit else faults.take(Refuse):
            return Response(refuse.status, dict(refuse.headers), refuse.body)
        if self._intercept and (answer := await self._intercept(request)):
            return answer
        if not faults.take(Duplicate):
            return await self._answer(request)
        request.keep()
        await self._answer(request)
        while await request.receive():
            pass
        request.rewind()
        return await self._answer(request)

    async def _answer(self, request: Request) -> Response:
        return rejected(request, self._dialect) or await self._route(request)

    async def _route(self, request: Request) -> Response:
        if isinstance(self._auth, BearerAuth) and request.path == "/token":
            return self._auth.issue(request, request.scopes)
        if request.path == "/v2/":
            return self._forbidden(request, []) or self._not_allowed(request, "GET", "HEAD") or json_response({})
        if request.path == "/v2/_catalog":
            error = self._forbidden(request, [CATALOG]) or self._not_allowed(request, "GET")
            return error or page_response(request, "repositories", {*await self._storage.names(), *self._repositories})
        for route, pattern in self._routes:
            if found := pattern.fullmatch(request.path):
                return await self._in_repository(request, route, found["name"], found.groupdict().get("item", ""))
        request.violations.append("there is no such endpoint")
        return error_response(404, "UNSUPPORTED", "no such endpoint")

    async def _in_repository(self, request: Request, route: str, name: str, item: str) -> Response:
        action = "pull" if request.method in {"GET", "HEAD"} else "push"
        scopes = [(f"repository:{name}", action)]
        if action == "push" and re.fullmatch(NAME, source := request.query.get("from", "")):
            scopes.append((f"repository:{source}", "pull"))
        if request.method == "DELETE" and self._dialect.delete_scope:
            scopes.append((f"repository:{name}", "delete"))
        if error := self._forbidden(request, scopes) or self._unknown(name):
            return error
        await self._storage.open(name)
        if error := self._not_allowed(request, *(method for method, other in self._answers if other == route)):
            return error
        response = await self._answers[request.method, route](request, name, item)
        if response.status == 401 and self._auth:
            response.headers["WWW-Authenticate"] = self._auth.challenge(scopes, self.url)
        return response

    def _forbidden(self, request: Request, scopes: Sequence[Scope]) -> Response | None:
        return self._auth.check(request, scopes, self.url) if self._auth else None

    def _not_allowed(self, request: Request, *methods: str) -> Response | None:
        """Return the error response to a request whose method is not one of these."""
        if request.method in methods:
            return None
        request.violations.append("its method is not allowed")
        return error_response(405, "UNSUPPORTED", f"{request.method} is not allowed here", Allow=", ".join(methods))

    def _unknown(self, name: str) -> Response | None:
        """Return the error response for a repository that does not exist, if a push does not create it."""
        code = self._dialect.unknown_repository
        if code == "made" or name in self._repositories:
            return None
        return error_response(404 if code == "NAME_UNKNOWN" else 403, code, f"{name} does not exist")

    def _base(self, request: Request) -> str:
        return f"{'https' if self._ssl else 'http'}://{request.headers.get('host', self.host)}"
