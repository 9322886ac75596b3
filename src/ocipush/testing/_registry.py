"""The push side of the distribution specification. May import: _answers, _auth, _server, _storage, _uploads, anyio."""

from __future__ import annotations

import json
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anyio
from anyio.abc import ByteStream, SocketAttribute, TaskGroup
from anyio.streams.tls import TLSStream

from ocipush.testing._answers import refusal, reply
from ocipush.testing._auth import BasicAuth, BearerAuth, Scope
from ocipush.testing._server import BodyTooLargeError, Channel, Request, Response
from ocipush.testing._storage import DIGEST, NAME, Repository, Storage, StoredManifest, digest_of
from ocipush.testing._uploads import UploadSessions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from os import PathLike
    from types import TracebackType

    Intercept = Callable[[Request], Awaitable[Response | None]]
    Answer = Callable[[Request, str, str], Awaitable[Response]]

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_ROUTES = (
    ("tags", re.compile(rf"/v2/{NAME}/tags/list")),
    ("upload", re.compile(rf"/v2/{NAME}/blobs/uploads/(?P<item>[0-9a-f]{{32}})")),
    ("uploads", re.compile(rf"/v2/{NAME}/blobs/uploads/?")),
    ("blob", re.compile(rf"/v2/{NAME}/blobs/(?P<item>[^/]+)")),
    ("manifest", re.compile(rf"/v2/{NAME}/manifests/(?P<item>[^/]+)")),
    ("referrers", re.compile(rf"/v2/{NAME}/referrers/(?P<item>[^/]+)")),
)
_MANIFEST_LIMIT = 4 * 1024 * 1024
_INDEX = "application/vnd.oci.image.index.v1+json"


class UnexpectedRequestError(AssertionError):
    """A strict registry got a request that was not expected."""


@dataclass(slots=True)
class RecordedRequest:
    """One request, and the status it was answered with (0 while under way)."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str] = field(repr=False)
    status: int = 0
    body_size: int = 0


class Registry:
    """A registry on a local port, for as long as its context is open.

    Attributes:
        connections: how many were made, those whose TLS failed included.
        requests: every request, in the order of their heads.
        unexpected: those that a strict registry complains of.
    """

    def __init__(
        self,
        *,
        auth: BasicAuth | BearerAuth | None = None,
        ssl_context: ssl.SSLContext | None = None,
        storage: str | PathLike[str] | None = None,
        strict: bool = False,
        allowed: Sequence[str] = ("*",),
        intercept: Intercept | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """`allowed` holds patterns such as ``"PUT /v2/*/manifests/*"``, for a strict registry.

        `intercept` sees each request, once it is recorded, and may answer it instead of the registry.
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
        self._tasks: TaskGroup
        uploads = UploadSessions(self._storage)
        self._answers: dict[tuple[str, str], Answer] = {
            ("POST", "uploads"): uploads.post,
            ("GET", "upload"): uploads.get,
            ("PATCH", "upload"): uploads.patch,
            ("PUT", "upload"): uploads.put,
            ("DELETE", "upload"): uploads.delete,
            ("GET", "blob"): self._get_blob,
            ("HEAD", "blob"): self._get_blob,
            ("GET", "manifest"): self._get_manifest,
            ("HEAD", "manifest"): self._get_manifest,
            ("PUT", "manifest"): self._put_manifest,
            ("GET", "tags"): self._get_tags,
            ("GET", "referrers"): self._get_referrers,
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
        host, port = self._address
        self._listener = await anyio.create_tcp_listener(local_host=host, local_port=port)
        port = self._listener.extra(SocketAttribute.local_port)  # noqa: S610  (not Django's)
        self.host = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._listener.serve, self._connected)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; a strict registry then reports what it did not expect. An error of the block comes through as it is."""
        self._tasks.cancel_scope.cancel()
        try:
            await self._tasks.__aexit__(None, None, None)  # given the error, it would wrap it in a group
        finally:
            with anyio.CancelScope(shield=True):
                await self._listener.aclose()
        if self._strict and self.unexpected and error is None:
            seen = ", ".join(f"{r.method} {r.path} ({r.status})" for r in self.unexpected)
            raise UnexpectedRequestError(f"unexpected requests: {seen}")

    async def _connected(self, stream: ByteStream) -> None:
        self.connections += 1
        async with stream:
            if self._ssl is None:
                await Channel(stream).serve(self._handle)
                return
            with suppress(
                ssl.SSLError, anyio.BrokenResourceError, anyio.EndOfStream
            ):  # what the client said was no TLS
                tls = await TLSStream.wrap(stream, server_side=True, ssl_context=self._ssl, standard_compatible=False)
                await Channel(tls).serve(self._handle)

    async def _handle(self, request: Request) -> Response:
        record = RecordedRequest(request.method, request.path, request.query, request.headers)
        self.requests.append(record)
        line = f"{request.method} {request.path}"
        if not any(fnmatchcase(line, pattern) for pattern in self._allowed):
            self.unexpected.append(record)
        try:
            response = (await self._intercept(request) if self._intercept else None) or await self._route(request)
        except BodyTooLargeError:
            response = refusal(413, "SIZE_INVALID", "the manifest is over 4 MiB")
        record.status, record.body_size = response.status, request.body_size
        if response.headers.get("X-Unknown-Route") and record not in self.unexpected:
            self.unexpected.append(record)
        return response

    async def _route(self, request: Request) -> Response:
        if isinstance(self._auth, BearerAuth) and request.path == "/token":
            return self._auth.issue(request, request.scopes)
        for route, pattern in _ROUTES:
            if found := pattern.fullmatch(request.path):
                name = found["name"]
                action = "pull" if request.method in {"GET", "HEAD"} else "push"
                scopes = [(name, action)]
                if action == "push" and re.fullmatch(NAME, source := request.query.get("from", "")):
                    scopes.append((source, "pull"))
                if refused := self._refused(request, scopes):
                    return refused
                await self._storage.open(name)
                answer = self._answers.get((request.method, route))
                if answer is None:
                    break
                return await answer(request, name, found.groupdict().get("item", ""))
        if request.path == "/v2/" and request.method in {"GET", "HEAD"}:
            return self._refused(request, []) or reply({})
        return refusal(404, "UNSUPPORTED", "no such route", **{"X-Unknown-Route": "true"})

    def _refused(self, request: Request, scopes: Sequence[Scope]) -> Response | None:
        return self._auth.check(request, scopes, self.url) if self._auth else None

    async def _get_tags(self, request: Request, name: str, _: str) -> Response:
        tags = [t for t in sorted(self.repository(name).tags) if t > request.query.get("last", "")]
        if re.fullmatch("[0-9]{1,9}", limit := request.query.get("n", "")):
            tags = tags[: int(limit)]
        return reply({"name": name, "tags": tags})

    async def _get_blob(self, _: Request, name: str, digest: str) -> Response:
        blob = self.repository(name).blobs.get(digest)
        if blob is None:
            return refusal(404, "BLOB_UNKNOWN", f"{digest} is not in {name}")
        headers = {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        return Response(200, headers, blob)

    async def _get_manifest(self, _: Request, name: str, identifier: str) -> Response:
        repository = self.repository(name)
        digest = repository.tags.get(identifier, identifier)
        manifest = repository.manifests.get(digest)
        if manifest is None:
            return refusal(404, "MANIFEST_UNKNOWN", f"{identifier} is not in {name}")
        headers = {"Docker-Content-Digest": digest, "Content-Type": manifest.media_type}
        return Response(200, headers, manifest.raw)

    async def _put_manifest(self, request: Request, name: str, identifier: str) -> Response:
        repository = self.repository(name)
        raw = await request.read(_MANIFEST_LIMIT)
        by_digest = DIGEST.fullmatch(identifier) is not None
        if not by_digest and not _TAG.fullmatch(identifier):
            return refusal(400, "MANIFEST_INVALID", f"{identifier} is neither a tag nor a digest")
        digest = digest_of(raw, identifier.partition(":")[0] if by_digest else "sha256")
        if by_digest and digest != identifier:
            return refusal(400, "DIGEST_INVALID", f"the body's digest is {digest}")
        media_type = request.headers.get("content-type", "")
        try:
            content = json.loads(raw)
            stated = content.get("mediaType", media_type)
            missing = _missing(content, repository)
            subject = str(content["subject"]["digest"]) if "subject" in content else None
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            return refusal(400, "MANIFEST_INVALID", "the body is not a manifest")
        if not media_type or stated != media_type:
            return refusal(400, "MANIFEST_INVALID", "Content-Type is not the manifest's mediaType")
        if missing:
            return refusal(404, "MANIFEST_BLOB_UNKNOWN", f"not in {name}: {', '.join(missing)}")
        manifest = StoredManifest(media_type, raw)
        await repository.put(digest, manifest, None if by_digest else identifier)
        location = f"/v2/{name}/manifests/{digest}"
        headers = {"Location": location, "Docker-Content-Digest": digest}
        if subject and DIGEST.fullmatch(subject):
            headers["OCI-Subject"] = subject
        return Response(201, headers)

    async def _get_referrers(self, request: Request, name: str, subject: str) -> Response:
        wanted = request.query.get("artifactType")
        found: list[dict[str, Any]] = []
        for digest, manifest in self.repository(name).manifests.items():
            content = json.loads(manifest.raw)
            if content.get("subject", {}).get("digest") != subject:
                continue
            kind = content.get("artifactType") or content.get("config", {}).get("mediaType")
            if wanted in {None, kind}:
                entry = {"mediaType": manifest.media_type, "digest": digest}
                found.append({**entry, "size": len(manifest.raw), "artifactType": kind})
        return reply({"schemaVersion": 2, "mediaType": _INDEX, "manifests": found}, _INDEX)


def _missing(content: dict[str, Any], repository: Repository) -> list[str]:
    blobs = [*content.get("layers", ()), *([content["config"]] if "config" in content else ())]
    missing = [b["digest"] for b in blobs if b["digest"] not in repository.blobs and not b.get("urls")]
    children = [m["digest"] for m in content.get("manifests", ())]
    return missing + [d for d in children if d not in repository.manifests]
