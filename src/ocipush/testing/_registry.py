"""The development registry: routes, and what each request was.

May import: _answers, _auth, _dialects, _faults, _front, _line, _manifests, _server, _storage, _uploads, anyio.
"""

from __future__ import annotations

import re
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Self

import anyio
from anyio.abc import ByteStream, Listener, SocketAttribute, TaskGroup
from anyio.streams.tls import TLSStream

from ocipush.testing._answers import refusal, reply
from ocipush.testing._auth import BasicAuth, BearerAuth, Scope
from ocipush.testing._dialects import DIALECTS, Dialect
from ocipush.testing._faults import Duplicate, ExpireTokens, RateLimit, Refuse, Restart, Schedule
from ocipush.testing._front import dress, turned_away
from ocipush.testing._line import Line
from ocipush.testing._manifests import Manifests
from ocipush.testing._server import BodyTooLargeError, Channel, Request, Response
from ocipush.testing._storage import NAME, Repository, Storage
from ocipush.testing._uploads import UploadSessions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from os import PathLike
    from types import TracebackType

    from ocipush.testing._faults import Fault

    Intercept = Callable[[Request], Awaitable[Response | None]]
    Answer = Callable[[Request, str, str], Awaitable[Response]]

_ROUTES = (
    ("tags", re.compile(rf"/v2/{NAME}/tags/list")),
    ("uploads", re.compile(rf"/v2/{NAME}/blobs/uploads/?")),
    ("blob", re.compile(rf"/v2/{NAME}/blobs/(?P<item>[^/]+)")),
    ("manifest", re.compile(rf"/v2/{NAME}/manifests/(?P<item>[^/]+)")),
    ("referrers", re.compile(rf"/v2/{NAME}/referrers/(?P<item>[^/]+)")),
)
_SESSION = "(?P<item>[0-9a-f]{32})"


class UnexpectedRequestError(AssertionError):
    """A strict registry got a request that was not expected."""


@dataclass(slots=True)
class RecordedRequest:
    """One request, the status it was answered with (0 while under way), and what a strict registry says against it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str] = field(repr=False)
    status: int = 0
    body_size: int = 0
    complaint: str = ""


class Registry:
    """A registry on a local port, for as long as its context is open.

    Attributes:
        connections: how many were made, those whose TLS failed included.
        requests: every request, in the order of their heads.
        unexpected: those that a strict registry complains of.
        fired: the faults that came, in their order.
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
        """`dialect` is how it behaves, by name (`DIALECTS`) or as made.

        `repositories` exist from the start, for a dialect that makes none on push.

        `allowed` holds patterns such as ``"PUT /v2/*/manifests/*"``, for a strict registry.

        `intercept` sees each request, once it is recorded, and may answer it instead of the registry. `faults` come
        before it, or while it goes on.
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
        self._tasks: TaskGroup
        self._life: anyio.CancelScope
        self._down: float = 0.0
        self._repositories = frozenset(repositories)
        self._dialect = DIALECTS[dialect] if isinstance(dialect, str) else dialect
        if isinstance(auth, BearerAuth):
            auth.dialect = self._dialect
        sessions = self._dialect.session_path.format(name=NAME) + _SESSION
        self._routes = (("upload", re.compile(sessions)), *_ROUTES)
        uploads = UploadSessions(self._storage, self._dialect, self._base)
        manifests = Manifests(self._storage, self._dialect)
        self._answers: dict[tuple[str, str], Answer] = {
            ("POST", "uploads"): uploads.post,
            ("GET", "upload"): uploads.get,
            ("PATCH", "upload"): uploads.patch,
            ("PUT", "upload"): uploads.put,
            ("DELETE", "upload"): uploads.delete,
            ("GET", "blob"): self._get_blob,
            ("HEAD", "blob"): self._get_blob,
            ("GET", "manifest"): manifests.get,
            ("HEAD", "manifest"): manifests.get,
            ("PUT", "manifest"): manifests.put,
            ("GET", "tags"): manifests.tags,
            ("GET", "referrers"): manifests.referrers,
        }

    def repository(self, name: str) -> Repository:
        """Return what the registry holds under a name."""
        return self._storage.repository_blocking(name)

    @property
    def url(self) -> str:
        """The scheme and host to send requests to."""
        return f"{'https' if self._ssl else 'http'}://{self.host}"

    async def __aenter__(self) -> Self:
        """Listen and serve."""
        listener = await self._listen()
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._serve, listener)
        return self

    async def _listen(self) -> Listener[ByteStream]:
        """Open the port, the same one after a restart."""
        host, port = self._address
        listener = await anyio.create_tcp_listener(local_host=host, local_port=port)
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610  (not Django's)
        self._address = (host, port)
        self.host = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return listener

    async def _serve(self, listener: Listener[ByteStream]) -> None:
        """Serve one life after another."""
        while True:
            try:
                with anyio.CancelScope() as self._life:
                    await listener.serve(self._connected)
            finally:
                with anyio.CancelScope(shield=True):
                    await listener.aclose()
            await anyio.sleep(self._down)
            listener = await self._listen()

    def _restart(self, fault: Restart) -> None:
        """End this life of the registry, with every connection."""
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
        """Stop; a strict registry then reports what it did not expect. An error of the block comes through as it is."""
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)  # given the error, it would wrap it in a group
        if self._strict and self.unexpected and error is None:
            seen = ", ".join(f"{r.method} {r.path} ({r.status}): {r.complaint}" for r in self.unexpected)
            raise UnexpectedRequestError(f"unexpected requests: {seen}")

    async def _connected(self, stream: ByteStream) -> None:
        self.connections += 1
        async with stream:
            if self._ssl is None:
                await self._channel(stream).serve(self._handle)
                return
            with suppress(
                ssl.SSLError, anyio.BrokenResourceError, anyio.EndOfStream
            ):  # what the client said was no TLS
                tls = await TLSStream.wrap(stream, server_side=True, ssl_context=self._ssl, standard_compatible=False)
                await self._channel(tls).serve(self._handle)

    def _channel(self, stream: ByteStream) -> Channel:
        return Channel(Line(stream, self._restart), self._schedule.meet)

    async def _handle(self, request: Request) -> Response:
        record = RecordedRequest(request.method, request.path, request.query, request.headers)
        self.requests.append(record)
        line = f"{request.method} {request.path}"
        if not any(fnmatchcase(line, pattern) for pattern in self._allowed):
            request.complaints.append("it is not allowed")
        try:
            response = await self._respond(request)
        except BodyTooLargeError:
            response = refusal(413, "SIZE_INVALID", "the manifest is over 4 MiB")
        finally:
            record.body_size = request.body_size
        dress(response, self._dialect)
        record.status = response.status
        if request.complaints:
            record.complaint = "; ".join(request.complaints)
            self.unexpected.append(record)
        return response

    async def _respond(self, request: Request) -> Response:
        """Do as the faults say, the interceptor, or what a registry does."""
        trouble = request.trouble
        await request.begin()
        if trouble.take(ExpireTokens) and isinstance(self._auth, BearerAuth):
            self._auth.expire()
        limit = trouble.take(RateLimit)
        if refuse := limit.refusal() if limit else trouble.take(Refuse):
            return Response(refuse.status, dict(refuse.headers), refuse.body)
        if self._intercept and (answer := await self._intercept(request)):
            return answer
        if not trouble.take(Duplicate):
            return await self._answer(request)
        request.keep()
        await self._answer(request)
        while await request.receive():
            pass
        request.rewind()
        return await self._answer(request)

    async def _answer(self, request: Request) -> Response:
        return turned_away(request, self._dialect) or await self._route(request)

    async def _route(self, request: Request) -> Response:
        if isinstance(self._auth, BearerAuth) and request.path == "/token":
            return self._auth.issue(request, request.scopes)
        for route, pattern in self._routes:
            if found := pattern.fullmatch(request.path):
                name = found["name"]
                action = "pull" if request.method in {"GET", "HEAD"} else "push"
                scopes = [(name, action)]
                if action == "push" and re.fullmatch(NAME, source := request.query.get("from", "")):
                    scopes.append((source, "pull"))
                if request.method == "DELETE" and self._dialect.delete_scope:
                    scopes.append((name, "delete"))
                if refused := self._refused(request, scopes) or self._unknown(name):
                    return refused
                await self._storage.open(name)
                answer = self._answers.get((request.method, route))
                if answer is None:
                    break
                response = await answer(request, name, found.groupdict().get("item", ""))
                if response.status == 401 and self._auth:
                    response.headers["WWW-Authenticate"] = self._auth.challenge(scopes, self.url)
                return response
        if request.path == "/v2/" and request.method in {"GET", "HEAD"}:
            return self._refused(request, []) or reply({})
        request.complaints.append("there is no such route")
        return refusal(404, "UNSUPPORTED", "no such route")

    def _refused(self, request: Request, scopes: Sequence[Scope]) -> Response | None:
        return self._auth.check(request, scopes, self.url) if self._auth else None

    def _unknown(self, name: str) -> Response | None:
        """Return the refusal of a repository that does not exist, where a push makes none."""
        code = self._dialect.unknown_repository
        if code == "made" or name in self._repositories:
            return None
        return refusal(404 if code == "NAME_UNKNOWN" else 403, code, f"{name} does not exist")

    def _base(self, request: Request) -> str:
        return f"{'https' if self._ssl else 'http'}://{request.headers.get('host', self.host)}"

    async def _get_blob(self, _: Request, name: str, digest: str) -> Response:
        blob = self.repository(name).blobs.get(digest)
        if blob is None:
            return refusal(404, "BLOB_UNKNOWN", f"{digest} is not in {name}")
        headers = {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        return Response(200, headers, blob)
