"""One method per registry verb, for one repository.

May import: all below.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from ._models import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Digest, parse_document
from ._protocol import (
    append_digest,
    error_for,
    is_html,
    is_web_page,
    parse_warnings,
    printable,
    resolve_location,
    same_origin,
)
from ._retry import parse_retry_after
from .errors import (
    AuthenticationError,
    AuthorizationError,
    InvalidLayoutError,
    RateLimitedError,
    RegistryError,
    TransportError,
    UnexpectedResponseError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._endpoint import Route
    from ._http import Answer, Client
    from ._layout import Document
    from ._models import Descriptor, Index, Manifest
    from ._retry import RetryPolicy
    from ._transport import FileBody

    OnRetry = Callable[[str, str, int, float], None]

_ACCEPT: Final = ", ".join((OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX))


class Repository:
    """A repository of a registry, as one push sees it; it counts the push's requests.

    Args:
        route: how the registry is reached.
        name: the repository's path; empty for the registry itself, which can only be asked to check the login.
        refused_mounts: (repository, from) that the registry would not mount; added to here.
        on_retry: told (what, why, which attempt, seconds) before each wait.
        on_warning: told each text of a ``Warning`` header.
    """

    def __init__(
        self,
        client: Client,
        route: Route,
        *,
        name: str,
        refused_mounts: set[tuple[str, str]],
        retry: RetryPolicy,
        on_retry: OnRetry,
        on_warning: Callable[[str], None],
    ) -> None:
        self.name = name
        self._client = client
        self._route = route
        self._url = f"{route.base}/v2/{name}"
        self._scope = f"repository:{name}:pull,push" if name else ""
        self._refused_mounts = refused_mounts
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
        url = f"{self._url}/manifests/{identifier}"
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
        answer = await self._request("GET", f"{self._url}/manifests/{digest}", headers={"Accept": _ACCEPT})
        if answer.status != 200 or Digest.of(answer.body, digest.partition(":")[0]) != digest:
            return None
        try:
            return parse_document(answer.body, where=answer.url)
        except InvalidLayoutError:
            return None

    async def has_blob(self, blob: Descriptor) -> bool:
        """Whether the repository holds ``blob``, as far as this login may know."""
        answer = await self._request("HEAD", f"{self._url}/blobs/{blob.digest}")
        if answer.status == 200 and not is_html(answer.headers):
            return True
        if answer.status == 404:
            return False
        error = self._error(answer)
        if isinstance(error, AuthorizationError):
            return False  # a login that may write only
        raise error

    async def start_upload(self, blob: Descriptor, *, mount_from: str | None = None) -> str | None:
        """Open an upload session and give its Location (distribution-spec, "POST then PUT").

        With ``mount_from``, ask in the same request to have the blob from that repository ("Mounting a blob from
        another repository"); None when that was done. A mount that is refused is not asked for again.
        """
        if mount_from is not None:
            answer = await self._mount(blob, mount_from)
            if answer is not None:
                return None if answer.status == 201 else self._location(answer)
        query = "" if blob.digest.algorithm == "sha256" else f"?digest-algorithm={blob.digest.algorithm}"
        return self._location(await self._request("POST", f"{self._url}/blobs/uploads/{query}"))

    async def _mount(self, blob: Descriptor, source: str) -> Answer | None:
        scope = self._scope if source == self.name else f"{self._scope} repository:{source}:pull"
        query = f"mount={quote(blob.digest, safe='')}&from={quote(source, safe='')}"
        try:
            answer = await self._request("POST", f"{self._url}/blobs/uploads/?{query}", scope=scope)
        except (AuthenticationError, AuthorizationError):  # the token service grants no pull from there
            self._refused_mounts.add((self.name, source))
            return None
        if answer.status in {400, 401, 403, 404, 405} and not isinstance(self._error(answer), RateLimitedError):
            self._refused_mounts.add((self.name, source))
            return None
        return answer

    def _location(self, answer: Answer) -> str:
        location = answer.headers.get("location")
        if answer.status != 202 or not location:
            raise self._error(answer)
        return resolve_location(answer.url, location)

    async def finish_upload(self, location: str, blob: Descriptor, body: bytes | FileBody) -> None:
        """Send the whole blob in the PUT that closes the session."""
        answer = await self._request(
            "PUT",
            append_digest(location, blob.digest),
            headers={"Content-Type": "application/octet-stream"},
            body=body,
            answer=self._client.timeouts.for_commit(blob.size),
            repeat=False,  # what came of a broken commit has to be asked first
        )
        if answer.status not in {200, 201, 202, 204} or is_web_page(answer.headers, answer.body):
            raise self._error(answer)

    async def cancel_upload(self, location: str) -> None:
        """Give up an upload session, with the token at hand. Best effort: what comes of it does not matter."""
        held = self._route.authorizer.held(self._scope) if same_origin(self._route.base, location) else None
        headers = {"Authorization": held} if held else {}
        self.requests += 1
        with contextlib.suppress(TransportError):
            await self._client.send("DELETE", location, headers=headers, answer=self._client.timeouts.answer)

    async def put_manifest(self, identifier: str, document: Document) -> None:
        """Put a manifest or index under a tag or its digest.

        Raises:
            UnexpectedResponseError: the registry stored another digest.
        """
        url = f"{self._url}/manifests/{identifier}"
        answer = await self._request("PUT", url, headers={"Content-Type": document.media_type}, body=document.raw)
        if answer.status not in {200, 201, 202, 204} or is_web_page(answer.headers, answer.body):
            raise self._error(answer)
        theirs, ours = answer.headers.get("docker-content-digest"), document.descriptor.digest
        if theirs and theirs != ours:
            raise UnexpectedResponseError(
                f"PUT {url}: the registry stored {printable(theirs)!r}, not {ours}",
                hint="something between may have changed the manifest; pull it by its digest before you use it",
                status=answer.status,
                method="PUT",
                url=url,
            )

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
        """Send with the login; after a 401, once more with what it asked for. Redirects are not followed."""
        wanted = self._scope if scope is None else scope
        ours = same_origin(self._route.base, url)
        for last in (False, True):
            authorization = await self._route.authorizer.header(wanted, self._fetch) if ours else None
            fields = {**(headers or {}), **({"Authorization": authorization} if authorization else {})}
            if repeat and isinstance(body, bytes):
                reply = await self._repeat(method, url, fields, body)
            else:
                self.requests += 1
                reply = await self._client.send(method, url, headers=fields, body=body, answer=answer)
            if (
                reply.status != 401
                or last
                or not ours
                or not self._route.authorizer.learn(reply, wanted, authorization)
            ):
                break
        for text in parse_warnings(reply.headers.get("warning", "")):
            self._on_warning(text)
        return reply

    async def _fetch(self, url: str, headers: dict[str, str]) -> Answer:
        return await self._repeat("GET", url, headers, b"")

    async def _repeat(self, method: str, url: str, headers: dict[str, str], body: bytes) -> Answer:
        self.requests += 1
        return await self._client.request(
            method,
            url,
            headers=headers,
            body=body,
            retry=self._retry,
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
        error.attempts = answer.attempts
        error.retry_after = parse_retry_after(answer.headers.get("retry-after"), now=time.time())
        return error
