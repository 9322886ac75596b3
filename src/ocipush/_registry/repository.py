"""One method per registry verb, for one repository."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from .._http.redact import printable, without_query
from .._http.urls import append_digest, in_query, resolve_location, same_origin
from .._oci.digest import Digest
from .._oci.document import Document, Index, Manifest, parse_document
from .._oci.media_types import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from ..errors import (
    AuthorizationError,
    InvalidLayoutError,
    RateLimitedError,
    RegistryError,
    TransportError,
    UnexpectedResponseError,
)
from .answers import error_for, is_html, is_web_page, parse_warnings
from .limits import LADDER, parse_chunk_length
from .requests import send_repeatedly
from .retry import RETRIED_STATUSES, RetryPolicy
from .session import Session, Step, parse_range

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._http.answer import Answer
    from .._http.body import FileBody
    from .._http.client import Client
    from .._oci.descriptor import Descriptor
    from .capabilities import Capabilities
    from .endpoint import Route
    from .rate_gate import RateGate

    OnRetry = Callable[[str, str, int, float], None]


_ACCEPT: Final = ", ".join((OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX))
_SMALL_DOCUMENT: Final = 64 * 1024  # bytes; a larger one is hashed and parsed in a worker thread


class Repository:
    """A repository of a registry, as one push sees it; it counts the push's requests.

    Args:
        route: how the registry is reached.
        name: the repository's path; empty for the registry itself, which can only be asked to check the login.
        pace: how fast the registry takes requests.
        learned: what it turned out to support; added to here.
        on_retry: told (what, why, which attempt, seconds) before each wait.
        on_warning: told each text of a ``Warning`` header.

    Attributes:
        url: of the repository.
        requests: how many were made for this push, tokens included.
    """

    def __init__(
        self,
        client: Client,
        route: Route,
        *,
        name: str,
        pace: RateGate,
        learned: Capabilities,
        retry: RetryPolicy,
        on_retry: OnRetry,
        on_warning: Callable[[str], None],
    ) -> None:
        self.name = name
        self._client = client
        self._route = route
        self.url = f"{route.base}/v2/{name}"
        self._scope = f"repository:{name}:pull,push" if name else ""
        self._pace = pace
        self._learned = learned
        self._retry = retry
        self._on_retry = on_retry
        self._on_warning = on_warning
        self.requests = 0

    async def check_login(self) -> None:
        """Ask the registry itself; raises what it says of the login (distribution-spec, "Determining Support")."""
        answer = await self._request("GET", f"{self._route.base}/v2/")
        if answer.status != 200:
            raise self._error(answer)

    async def manifest_digest(self, identifier: str) -> str | None:
        """The digest that a tag or digest names now; None when there is none, or it cannot be told."""
        url = f"{self.url}/manifests/{identifier}"
        answer = await self._request("HEAD", url, headers={"Accept": _ACCEPT})
        if answer.status in {400, 403, 404, 405, 501}:  # 403: it may be a write-only login
            return None
        if answer.status != 200 or is_html(answer.headers):
            error = self._error(answer)
            if isinstance(error, AuthorizationError):
                return None  # a token that may write only, in a registry that does not say 403
            raise error
        try:
            return Digest.parse(answer.headers.get("docker-content-digest", ""))
        except ValueError:  # the header is optional (distribution-spec, "Pulling manifests")
            answer = await self._request("GET", url, headers={"Accept": _ACCEPT})
            return Digest.of(answer.body) if answer.status == 200 else None

    async def get_document(self, descriptor: Descriptor | str) -> Manifest | Index | None:
        """A manifest or index by its digest; None when it cannot be had, or is not what its digest says."""
        digest = descriptor if isinstance(descriptor, str) else descriptor.digest
        answer = await self._request("GET", f"{self.url}/manifests/{digest}", headers={"Accept": _ACCEPT})
        if answer.status != 200:
            return None
        if len(answer.body) <= _SMALL_DOCUMENT:
            return _parse(answer.body, digest, answer.url)
        return await anyio.to_thread.run_sync(_parse, answer.body, digest, answer.url, abandon_on_cancel=True)

    async def has_blob(self, blob: Descriptor) -> bool:
        """Whether the repository holds ``blob``, as far as this login may know."""
        answer = await self._request("HEAD", f"{self.url}/blobs/{blob.digest}")
        if answer.status == 200 and not is_html(answer.headers):
            return True
        if answer.status == 404:
            return False
        error = self._error(answer)
        if isinstance(error, AuthorizationError):
            return False  # a login that may write only
        raise error

    @property
    def is_harbor(self) -> bool:
        """Whether this is Harbor, by the token service that it names.

        Asking it for a blob by HEAD keeps the blob from its garbage collection, which a mount does not; and the size it
        notes of a blob is the length of the request that closed the upload.
        """
        return self._route.authorizer.service == "harbor-registry"

    async def start_upload(self, blob: Descriptor, *, mount_from: str | None = None) -> Session | None:
        """Open an upload session (distribution-spec, "POST then PUT").

        With ``mount_from``, ask in the same request to have the blob from that repository ("Mounting a blob from
        another repository"); None when that was done. A mount that is refused is not asked for again.
        """
        if mount_from is not None:
            answer = await self._mount(blob, mount_from)
            if answer is not None and answer.status == 201:
                self._learned.mounts_itself |= mount_from == self.name
                return None
            if answer is not None:
                return self._session(answer, blob)
        query = "" if blob.digest.algorithm == "sha256" else f"?digest-algorithm={blob.digest.algorithm}"
        return self._session(await self._request("POST", f"{self.url}/blobs/uploads/{query}"), blob)

    async def _mount(self, blob: Descriptor, source: str) -> Answer | None:
        scope = self._scope if source == self.name else f"{self._scope} repository:{source}:pull"
        query = f"mount={in_query(blob.digest)}&from={in_query(source)}"
        try:
            answer = await self._request("POST", f"{self.url}/blobs/uploads/?{query}", scope=scope)
        except RegistryError as exc:  # the token service grants no pull from there
            if exc.status in RETRIED_STATUSES or isinstance(exc, RateLimitedError):
                raise
            self._learned.refused_mounts.add((self.name, source))
            return None
        if answer.status in {400, 401, 403, 404, 405} and not isinstance(self._error(answer), RateLimitedError):
            self._learned.refused_mounts.add((self.name, source))
            return None
        return answer

    def _session(self, answer: Answer, blob: Descriptor) -> Session:
        location = self._location(answer)
        if answer.status != 202 or location is None:
            raise self._error(answer)
        least = parse_chunk_length(answer.headers.get("oci-chunk-min-length")) or 0
        # Proposed for the specification, and sent by some registries already.
        most = parse_chunk_length(answer.headers.get("oci-chunk-max-length"))
        return Session(location, blob.size, least=least, most=max(most, LADDER[-1]) if most else None)

    def _location(self, answer: Answer) -> str | None:
        location = answer.headers.get("location")
        return resolve_location(answer.url, location) if location else None

    async def resume_upload(self, session: Session) -> bool:
        """Ask how much of a session is stored, and go on there; False when it is gone, or what it says makes no sense.

        (distribution-spec, "Pushing a blob in chunks": the status of an upload.)
        """
        answer = await self._request("GET", session.location)
        if answer.status not in {200, 202, 204}:
            session.gone = answer.status == 404
            return False
        return session.resume(parse_range(answer.headers.get("range")), self._location(answer))

    async def send(self, session: Session, step: Step, blob: Descriptor, body: bytes | FileBody) -> None:
        """Make one request of an upload session, once: what came of one that broke has to be asked first.

        Raises:
            AuthenticationError: with ``renewable`` set where the token had ended: the session may have to be resumed.
        """
        headers = {"Content-Type": "application/octet-stream"}
        if step.content_range is not None:
            headers["Content-Range"] = step.content_range
        answer = await self._request(
            step.method,
            append_digest(session.location, blob.digest) if step.final else session.location,
            headers=headers,
            body=body,
            answer=self._client.timeouts.for_commit(step.end if step.final else step.end - step.start),
            repeat=False,
        )
        if answer.status not in {200, 201, 202, 204} or is_web_page(answer.headers, answer.body):
            if answer.status == 416:
                session.out_of_range()
            error = self._error(answer)
            session.gone = answer.status == 404 and "BLOB_UNKNOWN" not in error.codes
            raise error
        if not step.final:
            session.stored(step.end, self._location(answer))

    async def cancel_upload(self, location: str) -> None:
        """Give up an upload session, with the token at hand. Best effort: what comes of it does not matter.

        A Location that does not know of the bytes sent after it is refused by distribution 3, which tells a newer one.
        """
        with contextlib.suppress(TransportError):
            if (await self._give_up("DELETE", location)).status == 416:
                newer = self._location(await self._give_up("GET", location))
                if newer is not None:
                    await self._give_up("DELETE", newer)

    async def _give_up(self, method: str, location: str) -> Answer:
        held = self._route.authorizer.held(self._scope) if same_origin(self._route.base, location) else None
        headers = {"Authorization": held} if held else {}
        self.requests += 1
        return await self._client.send(method, location, headers=headers, answer=self._client.timeouts.answer)

    async def put_manifest(self, identifier: str, document: Document) -> None:
        """Put a manifest or index under a tag or its digest.

        Raises:
            UnexpectedResponseError: the registry stored another digest.
        """
        url = f"{self.url}/manifests/{identifier}"
        answer = await self._request("PUT", url, headers={"Content-Type": document.media_type}, body=document.raw)
        if answer.status not in {200, 201, 202, 204} or is_web_page(answer.headers, answer.body):
            raise self._error(answer)
        theirs, ours = answer.headers.get("docker-content-digest"), document.descriptor.digest
        if theirs and theirs not in {ours, Digest.of(document.raw)}:  # registries that name all by sha256
            error = UnexpectedResponseError(
                f"PUT {url}: the registry stored {printable(theirs)!r}, not {ours}",
                hint="something between may have changed the manifest; pull it by its digest before you use it",
                status=answer.status,
                method="PUT",
                url=url,
            )
            raise self._route.authorizer.explain(error)

    async def _request(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        body: bytes | FileBody = b"",
        answer: float | None = None,
        scope: str | None = None,
        repeat: bool = True,
    ) -> Answer:
        """Send with the login; after a 401, once more with what it asked for. Redirects are not followed.

        ``repeat=False``: once, whatever comes of it; the answer says of a 401 whether another token can be had.
        """
        wanted = self._scope if scope is None else scope
        ours = same_origin(self._route.base, url)
        authorizer = self._route.authorizer
        for last in (not repeat, True):
            authorization = await authorizer.header(wanted, self._fetch) if ours else None
            fields = {**(headers or {}), **({"Authorization": authorization} if authorization else {})}
            if repeat and isinstance(body, bytes):
                reply = await self._repeat(method, url, fields, body)
            else:
                reply = await self._send_once(method, url, fields, body, answer)
            renewable = reply.status == 401 and ours and authorizer.learn(reply, wanted, authorization)
            if last or not renewable:
                break
        for text in parse_warnings(reply.headers.get("warning", "")):
            self._on_warning(self._route.authorizer.conceal(without_query(text, url)))
        return replace(reply, renewable=True) if renewable and not repeat else reply

    async def _send_once(
        self, method: str, url: str, headers: dict[str, str], body: bytes | FileBody, answer: float | None
    ) -> Answer:
        async with self._pace.turn():
            self.requests += 1
            reply = await self._client.send(method, url, headers=headers, body=body, answer=answer)
        if reply.is_rate_limit:
            asked = reply.retry_after
            self._pace.limited(min(self._retry.base if asked is None else asked, self._retry.cap))
        elif reply.status < 400:
            self._pace.served(reply.latency)
        return reply

    async def _fetch(self, method: str, url: str, headers: dict[str, str], body: bytes) -> Answer:
        return await self._repeat(method, url, headers, body)

    async def _repeat(self, method: str, url: str, headers: dict[str, str], body: bytes) -> Answer:
        self.requests += 1
        return await send_repeatedly(
            self._client,
            method,
            url,
            headers=headers,
            body=body,
            retry=self._retry,
            pace=self._pace,
            on_retry=self._count,
            retry_refused=self._route.proven,
        )

    def _count(self, what: str, reason: str, attempt: int, delay: float) -> None:
        self.requests += 1
        self._on_retry(what, reason, attempt, delay)

    def _error(self, answer: Answer) -> RegistryError:
        authorizer = self._route.authorizer
        anonymous = authorizer.login is None
        error = authorizer.explain(
            error_for(
                answer.method, answer.url, answer.status, answer.body, headers=answer.headers, anonymous=anonymous
            )
        )
        error.attempts, error.seconds = answer.attempts, answer.seconds
        error.retry_after = answer.retry_after
        if isinstance(error, RateLimitedError) and error.retry_after:
            error.hint = f"{error.hint}; the registry asks to wait {error.retry_after:g} s"
        error.renewable = answer.renewable
        return error


def _parse(body: bytes, digest: str, url: str) -> Manifest | Index | None:
    """The document with this digest; None if it is another, or not valid."""
    if Digest.of(body, digest.partition(":")[0]) != digest:
        return None
    try:
        return parse_document(body, where=url)
    except InvalidLayoutError:
        return None
