"""One repository: its manifests and tags. Its blobs are in ``blobs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio.to_thread

from .._http.redact import printable
from .._http.request import Request
from .._oci.digest import Digest
from .._oci.document import parse_document
from .._oci.media_types import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from ..errors import AuthorizationError, InvalidLayoutError, UnexpectedResponseError
from .answers import concealed, is_html, is_web_page, lacks_scope
from .blobs import BlobRequests
from .statuses import Kind, Meaning, meaning_of

if TYPE_CHECKING:
    from .._http.answer import Answer
    from .._http.request import Effort
    from .._oci.descriptor import Descriptor
    from .._oci.document import Document, Index, Manifest
    from .capabilities import Capabilities
    from .client import RegistryClient

_ACCEPT: Final = {"Accept": ", ".join((OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX))}
_SMALL_DOCUMENT: Final = 64 * 1024  # bytes; a larger one is hashed and parsed in a worker thread


class Repository:
    """A repository of a registry, as one push sees it.

    Args:
        client: sends and counts the requests of the push.
        name: the repository's path; empty for the registry itself, where only the login can be checked.
        capabilities: what the registry supports; updated here.
    """

    def __init__(self, client: RegistryClient, name: str, capabilities: Capabilities) -> None:
        self.name = name
        self.url = f"{client.route.base}/v2/{name}"
        self._client = client
        self._scope = f"repository:{name}:pull,push" if name else ""
        self._capabilities = capabilities

    @property
    def requests(self) -> int:
        """Number of requests of this push, including those for tokens."""
        return self._client.requests

    def blob(self, blob: Descriptor, effort: Effort) -> BlobRequests:
        """The requests for one blob; ``effort`` is what the blob has cost so far."""
        return BlobRequests(self._client, self.name, blob, effort, self._capabilities)

    async def check_login(self) -> bool:
        """Ask the registry whether it accepts the login; raises its error (distribution-spec, "Determining Support").

        Returns whether it asked for the login: where reads are anonymous, it does not.
        """
        request = Request(method="GET", url=f"{self._client.route.base}/v2/")
        answer = await self._client.send(request, self._scope, Kind.LOGIN)
        if meaning_of(Kind.LOGIN, answer.status) is not Meaning.YES:
            raise self._client.error(answer, Kind.LOGIN, self.name)
        return "Authorization" in answer.request.headers

    async def manifest_digest(self, identifier: str) -> str | None:
        """The digest that a tag or digest names now; None if there is none, or the answer is unclear."""
        answer = await self._ask("HEAD", identifier)
        meaning = meaning_of(Kind.TAG, answer.status)
        if meaning is Meaning.NO:
            return None
        if meaning is not Meaning.YES or is_html(answer.headers):
            error = self._client.error(answer, Kind.TAG, self.name)
            if isinstance(error, AuthorizationError) and lacks_scope(answer):
                return None  # the same, in a registry that does not answer 403
            raise error
        try:
            return Digest.parse(answer.headers.get("docker-content-digest", ""))
        except ValueError:  # the header is optional (distribution-spec, "Pulling manifests")
            answer = await self._ask("GET", identifier)
            return Digest.of(answer.body) if answer.status == 200 else None

    async def get_document(self, descriptor: Descriptor | str) -> Manifest | Index | None:
        """A manifest or index by its digest; None if there is none, or its content does not match the digest."""
        digest = descriptor if isinstance(descriptor, str) else descriptor.digest
        answer = await self._ask("GET", digest)
        if answer.status != 200:
            return None
        if len(answer.body) <= _SMALL_DOCUMENT:
            return _parse(answer.body, digest, answer.request.url)
        return await anyio.to_thread.run_sync(_parse, answer.body, digest, answer.request.url, abandon_on_cancel=True)

    async def put_manifest(self, identifier: str, document: Document) -> None:
        """Put a manifest or index under a tag or its digest.

        Raises:
            UnexpectedResponseError: the registry stored another digest.
        """
        request = Request(
            method="PUT",
            url=f"{self.url}/manifests/{identifier}",
            headers={"Content-Type": document.media_type},
            body=document.raw,
        )
        answer = await self._client.send(request, self._scope, Kind.MANIFEST)
        if meaning_of(Kind.MANIFEST, answer.status) is not Meaning.YES or is_web_page(answer.headers, answer.body):
            raise self._client.error(answer, Kind.MANIFEST, self.name)
        theirs, ours = answer.headers.get("docker-content-digest"), document.descriptor.digest
        if theirs and theirs not in {ours, Digest.of(document.raw)}:  # some registries use sha256 for all digests
            conceal = self._client.route.authorizer.conceal
            raise UnexpectedResponseError(
                f"{conceal(str(request))}: the registry stored {conceal(printable(conceal(theirs)))!r}, not {ours}",
                hint="a proxy may have changed the manifest; pull it by its digest before you use it",
                status=answer.status,
                **concealed(request.facts(), conceal),
            )

    async def _ask(self, method: str, identifier: str) -> Answer:
        request = Request(method=method, url=f"{self.url}/manifests/{identifier}", headers=_ACCEPT)
        return await self._client.send(request, self._scope, Kind.TAG if method == "HEAD" else Kind.FETCH)


def _parse(body: bytes, digest: str, url: str) -> Manifest | Index | None:
    """The document with this digest; None if it is another, or not valid."""
    if Digest.of(body, digest.partition(":")[0]) != digest:
        return None
    try:
        return parse_document(body, where=url)
    except InvalidLayoutError:
        return None
