"""One method per registry verb, for one repository.

May import: L0 to L2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ._models import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Digest
from ._protocol import append_digest, error_for, parse_warnings, resolve_location, same_origin
from .errors import RegistryError, UnexpectedResponseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._auth import Authorizer
    from ._http import Answer, Client
    from ._layout import Document
    from ._models import Descriptor
    from ._retry import RetryPolicy
    from ._transport import FileBody

    OnRetry = Callable[[str, str, int, float], None]

_ACCEPT: Final = ", ".join((OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX))


class Repository:
    """A repository of a registry, as one push sees it; it counts the push's requests.

    Args:
        base: ``scheme://host[:port]`` of the registry.
        name: the repository's path; empty for the registry itself, which can only be asked to check the login.
        on_retry: told (what, why, which attempt, seconds) before each wait.
        on_warning: told each text of a ``Warning`` header.
    """

    def __init__(
        self,
        client: Client,
        authorizer: Authorizer,
        *,
        base: str,
        name: str,
        retry: RetryPolicy,
        on_retry: OnRetry,
        on_warning: Callable[[str], None],
    ) -> None:
        self._client = client
        self._authorizer = authorizer
        self._base = base
        self._url = f"{base}/v2/{name}"
        self._scope = f"repository:{name}:pull,push" if name else ""
        self._retry = retry
        self._on_retry = on_retry
        self._on_warning = on_warning
        self.requests = 0

    async def check_login(self) -> None:
        """Ask the registry itself; raises what it says of the login (distribution-spec, "Determining Support")."""
        answer = await self._request("GET", f"{self._base}/v2/")
        if answer.status != 200:
            raise self._error(answer)

    async def manifest_digest(self, identifier: str) -> Digest | None:
        """The digest that a tag or digest names now; None when there is none, or the registry does not say."""
        answer = await self._request("HEAD", f"{self._url}/manifests/{identifier}", headers={"Accept": _ACCEPT})
        if answer.status == 200:
            try:
                return Digest.parse(answer.headers.get("docker-content-digest", ""))
            except ValueError:
                return None  # the header is optional (distribution-spec): push as if it were unknown
        if answer.status in {400, 403, 404, 405, 501}:  # 403: it may be a write-only login
            return None
        raise self._error(answer)

    async def has_blob(self, blob: Descriptor) -> bool:
        """Whether the repository holds ``blob``."""
        answer = await self._request("HEAD", f"{self._url}/blobs/{blob.digest}")
        if answer.status == 200:
            return True
        if answer.status == 404:
            return False
        raise self._error(answer)

    async def start_upload(self, algorithm: str = "sha256") -> str:
        """Open an upload session and give its Location (distribution-spec, "POST then PUT")."""
        query = "" if algorithm == "sha256" else f"?digest-algorithm={algorithm}"
        answer = await self._request("POST", f"{self._url}/blobs/uploads/{query}")
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
        )
        if answer.status not in {200, 201, 202, 204}:
            raise self._error(answer)

    async def cancel_upload(self, location: str) -> None:
        """Give up an upload session. Best effort: the answer does not matter."""
        await self._once("DELETE", location, {}, b"", self._client.timeouts.answer)

    async def put_manifest(self, identifier: str, document: Document) -> None:
        """Put a manifest or index under a tag or its digest.

        Raises:
            UnexpectedResponseError: the registry stored another digest.
        """
        url = f"{self._url}/manifests/{identifier}"
        answer = await self._request("PUT", url, headers={"Content-Type": document.media_type}, body=document.raw)
        if answer.status not in {200, 201, 202, 204}:
            raise self._error(answer)
        theirs, ours = answer.headers.get("docker-content-digest"), document.descriptor.digest
        if theirs and theirs != ours:
            raise UnexpectedResponseError(
                f"PUT {url}: the registry stored {theirs!r}, not {ours}", status=answer.status, method="PUT", url=url
            )

    async def _request(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        body: bytes | FileBody = b"",
        answer: float | None = None,
    ) -> Answer:
        """Send with the login; after a 401, once more with what it asked for."""
        given = answer if answer is not None else self._client.timeouts.answer
        for last in (False, True):
            authorization = (
                await self._authorizer.header(self._scope, self._fetch) if same_origin(self._base, url) else None
            )
            fields = dict(headers or {})
            if authorization:
                fields["Authorization"] = authorization
            reply = await self._once(method, url, fields, body, given)
            if reply.status != 401 or last or not self._authorizer.learn(reply, self._scope, authorization):
                break
        for text in parse_warnings(reply.headers.get("warning", "")):
            self._on_warning(text)
        return reply

    async def _fetch(self, url: str, headers: dict[str, str]) -> Answer:
        return await self._once("GET", url, headers, b"", self._client.timeouts.answer)

    async def _once(
        self, method: str, url: str, headers: dict[str, str], body: bytes | FileBody, answer: float | None
    ) -> Answer:
        self.requests += 1
        if isinstance(body, bytes) and method != "DELETE":  # a blob's own loop repeats what carries a file
            return await self._client.request(
                method, url, headers=headers, body=body, retry=self._retry, on_retry=self._count
            )
        return await self._client.send(method, url, headers=headers, body=body, answer=answer)

    def _count(self, what: str, reason: str, attempt: int, delay: float) -> None:
        self.requests += 1
        self._on_retry(what, reason, attempt, delay)

    def _error(self, answer: Answer) -> RegistryError:
        content_type = answer.headers.get("content-type", "")
        return error_for(answer.method, answer.url, answer.status, answer.body, content_type=content_type)
