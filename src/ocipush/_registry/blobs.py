"""The requests for one blob of a repository (distribution-spec, "Pushing blobs")."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .._http.request import Effort, Request
from .._http.urls import append_digest, in_query, same_origin
from ..errors import OcipushError, RateLimitedError, RegistryError, TransportError
from .answers import is_html, is_web_page
from .limits import LADDER, parse_chunk_length
from .session import Session, parse_range
from .statuses import Kind, Meaning, is_temporary, meaning_of

if TYPE_CHECKING:
    from .._http.answer import Answer
    from .._http.body import FileBody
    from .._http.request import Peer
    from .._oci.descriptor import Descriptor
    from .capabilities import Capabilities
    from .client import RegistryClient
    from .session import Step


@dataclass(frozen=True, slots=True)
class BlobRequests:
    """One method for each request about a blob.

    Attributes:
        client: sends them.
        repository: the repository's path.
        blob: which blob.
        effort: what the blob has cost so far, for errors.
        capabilities: what the registry supports; updated here.
    """

    client: RegistryClient
    repository: str
    blob: Descriptor
    effort: Effort
    capabilities: Capabilities

    @property
    def _url(self) -> str:
        return f"{self.client.route.base}/v2/{self.repository}/blobs"

    @property
    def _scope(self) -> str:
        return f"repository:{self.repository}:pull,push"

    @property
    def is_harbor(self) -> bool:
        """Whether this is Harbor, by the token service that it names.

        HEAD protects a blob from its garbage collection, and a mount does not. It records the length of the last request
        of an upload as the size of the blob.
        """
        return self.client.route.authorizer.service == "harbor-registry"

    async def probe(self) -> bool | None:
        """Whether the repository holds the blob; None if the answer is unclear. A probe never ends a push.

        A registry that keeps its blobs in other storage redirects only for blobs that it holds. The redirect is not
        followed (docs/requests.md, "Existence probes").
        """
        if not self.capabilities.probes:
            return None
        try:
            answer = await self._send("HEAD", f"{self._url}/{self.blob.digest}", Kind.PROBE, attempts=2)
        except (TransportError, RegistryError):
            self.capabilities.failed_probes += 1
            return None
        meaning = meaning_of(Kind.PROBE, answer.status)
        self.capabilities.failed_probes = self.capabilities.failed_probes + 1 if meaning is Meaning.RETRY else 0
        if meaning is Meaning.YES and self._is_present(answer):
            return True
        return False if meaning is Meaning.NO else None

    def _is_present(self, answer: Answer) -> bool:
        """Whether this is no web page, and a redirect leads to storage and not to another page of the registry."""
        if answer.status == 200:
            return not is_html(answer.headers)
        try:
            target = self.client.location(answer)
        except OcipushError:
            return False
        return target is not None and not (
            same_origin(self.client.route.base, target) and urlsplit(target).path.startswith("/v2/")
        )

    async def start_upload(self, *, mount_from: str | None = None) -> Session | None:
        """Open an upload session ("POST then PUT").

        With ``mount_from``, the same request asks to mount the blob from that repository ("Mounting a blob from another
        repository"). Returns None if it was mounted. A mount that was refused is not tried again.
        """
        if mount_from is not None:
            answer = await self._mount(mount_from)
            if answer is not None and answer.status == 201:
                self.capabilities.mounts_itself |= mount_from == self.repository
                self.capabilities.mounts_across |= mount_from != self.repository
                return None
            if answer is not None:
                return self._session(answer)
        algorithm = self.blob.digest.algorithm
        query = "" if algorithm == "sha256" else f"?digest-algorithm={algorithm}"
        return self._session(await self._send("POST", f"{self._url}/uploads/{query}", Kind.OPEN))

    async def _mount(self, source: str) -> Answer | None:
        scope = self._scope if source == self.repository else f"{self._scope} repository:{source}:pull"
        query = f"mount={in_query(self.blob.digest)}&from={in_query(source)}"
        try:
            answer = await self._send("POST", f"{self._url}/uploads/?{query}", Kind.MOUNT, scope=scope)
        except RegistryError as exc:  # the token service grants no pull scope for it
            if is_temporary(exc.status) or isinstance(exc, RateLimitedError):
                raise
            self.capabilities.refused_mounts.add((self.repository, source))
            return None
        refused = meaning_of(Kind.MOUNT, answer.status) is Meaning.NO
        if refused and not isinstance(self._error(answer, Kind.MOUNT), RateLimitedError):
            self.capabilities.refused_mounts.add((self.repository, source))
            return None
        return answer

    def _session(self, answer: Answer) -> Session:
        location = self.client.location(answer)
        if answer.status != 202 or location is None:
            raise self._error(answer, Kind.OPEN)
        least = parse_chunk_length(answer.headers.get("oci-chunk-min-length")) or 0
        # Proposed for the specification; some registries send it already.
        most = parse_chunk_length(answer.headers.get("oci-chunk-max-length"))
        return Session(location, self.blob.size, least=least, most=max(most, LADDER[-1]) if most else None)

    async def resume_upload(self, session: Session) -> bool:
        """Ask how much of a session is stored; False if it no longer exists, or the answer contradicts what is known.

        ("Pushing a blob in chunks", the status of an upload.)
        """
        answer = await self._send("GET", session.location, Kind.SESSION)
        if meaning_of(Kind.SESSION, answer.status) is not Meaning.YES:
            session.gone = answer.status == 404
            return False
        return session.resume(parse_range(answer.headers.get("range")), self.client.location(answer))

    async def send(self, session: Session, step: Step, body: bytes | FileBody) -> None:
        """Send one request of an upload session, once: if it breaks, the registry has to be asked what arrived.

        Raises:
            AuthenticationError: with ``renewable`` set if the token has expired; the session may have to be resumed.
        """
        headers = {"Content-Type": "application/octet-stream"}
        if step.content_range is not None:
            headers["Content-Range"] = step.content_range
        request = Request(
            method=step.method,
            url=append_digest(session.location, self.blob.digest) if step.final else session.location,
            headers=headers,
            body=body,
            commits=step.end if step.final else step.end - step.start,
            effort=self.effort,
            peer=self._peer(session.location),
        )
        answer = await self.client.send_once(request, self._scope)
        kind = Kind.COMMIT if step.final else Kind.CHUNK
        if meaning_of(kind, answer.status) is not Meaning.YES or is_web_page(answer.headers, answer.body):
            if answer.status == 416:
                session.out_of_range()
            error = self._error(answer, kind)
            known = error.answered_by != "web page"  # a proxy knows no sessions
            session.gone = answer.status == 404 and known and "BLOB_UNKNOWN" not in error.codes
            raise error
        if not step.final:
            session.stored(step.end, self.client.location(answer))

    async def cancel_upload(self, location: str) -> None:
        """Cancel an upload session, with the current token. Errors are ignored.

        Distribution 3 refuses a Location that does not cover the bytes sent after it was issued; GET returns a newer one.
        """
        with contextlib.suppress(TransportError):
            if (await self._give_up("DELETE", location)).status == 416:
                newer = self.client.location(await self._give_up("GET", location))
                if newer is not None:
                    await self._give_up("DELETE", newer)

    def _peer(self, url: str) -> Peer:
        return "registry" if same_origin(self.client.route.base, url) else "storage"

    def _error(self, answer: Answer, kind: Kind) -> RegistryError:
        return self.client.error(answer, kind, self.repository)

    async def _give_up(self, method: str, location: str) -> Answer:
        return await self.client.give_up(Request(method=method, url=location), self._scope)

    async def _send(
        self, method: str, url: str, kind: Kind, *, scope: str | None = None, attempts: int | None = None
    ) -> Answer:
        request = Request(method=method, url=url, effort=self.effort, peer=self._peer(url))
        return await self.client.send(request, self._scope if scope is None else scope, kind, attempts=attempts)
