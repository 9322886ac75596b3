"""One push under way: what the remote has, then the blobs, then the manifests, the tag last."""

from __future__ import annotations

import logging
import uuid
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from .._events import (
    BlobDone,
    BlobOutcome,
    BlobResult,
    Event,
    ManifestDone,
    PushResult,
    PushStarted,
    PushWarning,
    RegistryWarning,
    RetryScheduled,
)
from .._oci.document import Contents, Document, Manifest
from .._registry.client import RegistryClient
from .._registry.repository import Repository
from ..errors import RegistryError, TagImmutableError
from .plan import in_sending_order, inventory_sources
from .upload import Uploads, UploadSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from .._events import OnEvent
    from .._http.client import Client
    from .._oci.descriptor import Descriptor
    from .._oci.reference import Reference
    from .._registry.client import Route
    from .._registry.endpoint import Endpoint
    from .._registry.journal import Journal
    from .._registry.retry import RetryPolicy
    from .._sources.base import Source


_LOG = logging.getLogger("ocipush")
_REPAIRS: Final = 2  # how often blobs that a registry misses after all are sent before its no is final


class Push:
    """One push: its events and its order of requests (wire.md, "Plan").

    Args:
        on_event: takes progress events.
        include_foreign: send non-distributable layers too.
        chunk_size, mount_from, journal: as :class:`Uploads` takes them.
        force: send every blob and manifest, whatever the registry holds.
    """

    def __init__(
        self,
        client: Client,
        endpoint: Endpoint,
        *,
        on_event: OnEvent | None,
        retry: RetryPolicy,
        include_foreign: bool = False,
        chunk_size: int | None = None,
        mount_from: str | None = None,
        journal: Journal | None = None,
        force: bool = False,
    ) -> None:
        self.id = uuid.uuid4().hex[:12]
        self._client = client
        self._endpoint = endpoint
        self._retry = retry
        self._on_event = on_event
        self._include_foreign = include_foreign
        self._chunk_size = chunk_size
        self._mount_from = mount_from
        self._journal = journal
        self._force = force
        self._warned: set[str] = set()

    def emit(self, event: Event) -> None:
        """Give an event to the caller; what its callback raises ends the push."""
        if self._on_event is not None:
            self._on_event(event)

    def warn(self, text: str) -> None:
        """Tell of something that does not stop the push."""
        _LOG.warning("%s", text)
        self.emit(PushWarning(self.id, text))

    def _registry_warning(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            _LOG.warning("the registry warns: %s", text)
            self.emit(RegistryWarning(self.id, text))

    def _retrying(self, what: str, reason: str, attempt: int, delay: float) -> None:
        _LOG.info("%s: %s; attempt %d in %.1f s", what, reason, attempt, delay)
        self.emit(RetryScheduled(self.id, what, reason, attempt, delay))

    def _repository(self, route: Route, name: str) -> Repository:
        client = RegistryClient(
            self._client,
            route,
            self._endpoint.gate,
            retry=self._retry,
            on_retry=self._retrying,
            on_warning=self._registry_warning,
        )
        return Repository(client, name, self._endpoint.capabilities)

    async def check_login(self) -> None:
        """Ask the registry itself whether it knows the login."""

        async def ask(route: Route) -> None:
            await self._repository(route, "").check_login()

        await self._endpoint.ask(ask, retry=self._retry, warn=self.warn, on_retry=self._retrying)

    async def run(self, source: Source, contents: Contents, reference: Reference) -> PushResult:
        """Push what was read; one request where the reference names it already."""
        started = anyio.current_time()
        digest = contents.root.descriptor.digest
        self.emit(PushStarted(self.id, source.where, reference.name, digest, len(contents.blobs), contents.size))

        async def ask(route: Route) -> tuple[Repository, str | None]:
            repository = self._repository(route, reference.repository)
            return repository, await repository.manifest_digest(reference.identifier)

        repository, current = await self._endpoint.ask(ask, retry=self._retry, warn=self.warn, on_retry=self._retrying)
        if self._force:
            current = None
        uploads = Uploads(
            self._endpoint,
            repository,
            source,
            UploadSettings(
                retry=self._retry,
                chunk_size=self._chunk_size,
                mount_from=self._mount_from,
                journal=self._journal,
            ),
            push_id=self.id,
            emit=self.emit,
            on_retry=self._retrying,
        )
        blobs: tuple[BlobResult, ...] = ()
        if current != digest:
            if current is not None:
                await self._take_inventory(repository, current, contents)
            blobs = await self._send_blobs(uploads, contents)
            for document in contents.documents:
                last = document is contents.root
                await self._put(repository, uploads, contents, document, reference.identifier if last else None)
        return PushResult(
            reference=reference.name,
            digest=digest,
            media_type=contents.root.media_type,
            size=contents.size,
            blobs=blobs,
            unchanged=current == digest,
            requests=repository.requests,
            sent=uploads.sent + (0 if current == digest else sum(len(one.raw) for one in contents.documents)),
            seconds=anyio.current_time() - started,
        )

    async def _take_inventory(self, repository: Repository, current: str, contents: Contents) -> None:
        """What the tag names now tells which blobs are there, for one request instead of one a blob (wire.md, step 2)."""
        if self._endpoint.counts_pulls or sum(not blob.is_foreign for blob in contents.blobs) <= 3:
            return
        held = self._endpoint.known_blobs.setdefault(repository.name, set())
        remote = await repository.get_document(current)
        for descriptor in inventory_sources(remote, contents):
            child = await repository.get_document(descriptor)
            held.update(blob.digest for blob in child.blobs) if isinstance(child, Manifest) else None
        if isinstance(remote, Manifest):
            held.update(blob.digest for blob in remote.blobs if not blob.is_foreign)

    async def _send_blobs(self, uploads: Uploads, contents: Contents) -> tuple[BlobResult, ...]:
        outcomes: dict[str, BlobOutcome] = {}

        async def one(blob: Descriptor) -> None:
            foreign = blob.is_foreign and not self._include_foreign
            outcome: BlobOutcome = "foreign" if foreign else await uploads.ensure(blob, force=self._force)
            outcomes[blob.digest] = outcome
            self.emit(BlobDone(self.id, blob.digest, blob.size, outcome))

        await _together(partial(one, blob) for blob in in_sending_order(contents.blobs))
        return tuple(BlobResult(b.digest, b.size, b.media_type, outcomes[b.digest]) for b in contents.blobs)

    async def _put(
        self, repository: Repository, uploads: Uploads, contents: Contents, document: Document, identifier: str | None
    ) -> None:
        """Put a document under ``identifier``, or its digest; send what the registry turns out to miss (wire.md, step 6)."""
        digest, size = document.descriptor.digest, len(document.raw)
        name = identifier or digest
        for repair in range(_REPAIRS + 1):
            try:
                await repository.put_manifest(name, document)
                break
            except TagImmutableError:
                if await repository.manifest_digest(name) != digest:
                    raise
                break  # somebody has set it to this very digest meanwhile
            except RegistryError as exc:
                missing = self._missing(exc, repository, contents)
                if repair == _REPAIRS or not missing:
                    raise
                _LOG.info("the registry misses %d blobs that it was thought to hold; sending them", len(missing))
                await _together(partial(uploads.ensure, blob, force=True) for blob in missing)
        self.emit(ManifestDone(self.id, name, digest, size, "uploaded"))

    def _missing(self, failure: RegistryError, repository: Repository, contents: Contents) -> list[Descriptor]:
        """The blobs that a refused manifest lacks: those the registry names, else all that were not sent but presumed."""
        if "MANIFEST_BLOB_UNKNOWN" not in failure.codes and "BLOB_UNKNOWN" not in failure.codes:
            return []
        held = self._endpoint.known_blobs.setdefault(repository.name, set())
        candidates = [blob for blob in contents.blobs if self._include_foreign or not blob.is_foreign]
        named = [blob for blob in candidates if blob.digest in failure.digests]
        for blob in named or candidates:
            held.discard(blob.digest)
        return named or candidates


async def _together(jobs: Iterable[Callable[[], Awaitable[object]]]) -> None:
    """Run ``jobs`` at once. The first that fails ends the others, and is what is raised; theirs become its notes."""

    async def run(job: Callable[[], Awaitable[object]]) -> None:
        try:
            await job()
        except BaseException:
            tasks.cancel_scope.cancel()  # before one that waited for its place sends a request
            raise

    try:
        async with anyio.create_task_group() as tasks:
            for job in jobs:
                tasks.start_soon(run, job)
    except BaseExceptionGroup as group:
        # On trio, a group has the cancellations of whoever waits for us beside the failures; those say nothing.
        first, *others = sorted(_leaves(group), key=lambda leaf: not isinstance(leaf, Exception))
        for other in others:
            if isinstance(other, Exception) and str(other) != str(first):
                first.add_note(f"also failed: {other}")
        raise first from first.__cause__


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for exc in group.exceptions:
        found += _leaves(exc) if isinstance(exc, BaseExceptionGroup) else [exc]
    return found
