"""One push under way: its events, its counts, its blobs' upload loops, and then its manifests, the tag last.

May import: all below.
"""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio

from ._events import (
    BlobDone,
    BlobProgress,
    BlobResult,
    BlobStarted,
    ManifestDone,
    PushResult,
    PushStarted,
    PushWarning,
    RegistryWarning,
    RetryScheduled,
)
from ._plan import in_sending_order
from ._repository import Repository
from ._retry import RETRIED_STATUSES, RetryPolicy
from ._transport import FileBody
from .errors import OcipushError, RegistryError, TLSVerificationError, TransportError, UploadInvalidatedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ._auth import Authorizer
    from ._endpoint import Endpoint
    from ._events import BlobOutcome, Event, OnEvent
    from ._http import Client
    from ._layout import Contents, Layout
    from ._models import Descriptor
    from ._reference import Reference

_LOG = logging.getLogger("ocipush")
_PROGRESS_INTERVAL: Final = 0.1  # seconds between two BlobProgress events of a blob
_CLEAN_UP: Final = 2.0  # seconds that a failed push may spend on closing an upload session


class Push:
    """One push under way: its events, its counts, and its blobs' upload loops."""

    def __init__(
        self,
        on_event: OnEvent | None,
        *,
        retry: RetryPolicy,
        gate: anyio.CapacityLimiter,
        include_foreign: bool = False,
    ) -> None:
        self.id = uuid.uuid4().hex[:12]
        self._sent = 0
        self._on_event = on_event
        self._retry = retry
        self._gate = gate
        self._include_foreign = include_foreign
        self._warned: set[str] = set()

    def emit(self, event: Event) -> None:
        if self._on_event is not None:
            self._on_event(event)

    def warn(self, text: str) -> None:
        _LOG.warning("%s", text)
        self.emit(PushWarning(self.id, text))

    def registry_warning(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            _LOG.warning("the registry warns: %s", text)
            self.emit(RegistryWarning(self.id, text))

    def retrying(self, what: str, reason: str, attempt: int, delay: float) -> None:
        _LOG.info("%s %s; attempt %d in %.1f s", what, reason, attempt, delay)
        self.emit(RetryScheduled(self.id, what, reason, attempt, delay))

    def repository(self, client: Client, base: str, authorizer: Authorizer, name: str) -> Repository:
        """A repository that tells this push of its retries and warnings."""
        return Repository(
            client,
            authorizer,
            base=base,
            name=name,
            retry=self._retry,
            on_retry=self.retrying,
            on_warning=self.registry_warning,
        )

    async def run(
        self, client: Client, endpoint: Endpoint, layout: Layout, contents: Contents, reference: Reference
    ) -> PushResult:
        """Push what was read; one request where the reference names it already."""
        started = time.monotonic()
        digest = contents.root.descriptor.digest
        self.emit(PushStarted(self.id, str(layout.path), reference.name, digest, len(contents.blobs), contents.size))

        async def ask(base: str, authorizer: Authorizer) -> tuple[Repository, str | None]:
            repository = self.repository(client, base, authorizer, reference.repository)
            return repository, await repository.manifest_digest(reference.identifier)

        repository, current = await endpoint.ask(ask, warn=self.warn)
        unchanged = current == digest
        blobs = () if unchanged else await self._send(repository, layout, contents, reference)
        return PushResult(
            reference=reference.name,
            digest=digest,
            media_type=contents.root.media_type,
            size=contents.size,
            blobs=blobs,
            unchanged=unchanged,
            requests=repository.requests,
            sent=self._sent,
            seconds=time.monotonic() - started,
        )

    async def _send(
        self, repository: Repository, layout: Layout, contents: Contents, reference: Reference
    ) -> tuple[BlobResult, ...]:
        """Blobs concurrently; then manifests, children before parents; the tag last."""
        outcomes: dict[str, BlobOutcome] = {}

        async def one(blob: Descriptor) -> None:
            if blob.is_foreign and not self._include_foreign:
                outcome: BlobOutcome = "foreign"
            else:
                async with self._gate:
                    outcome = await self._send_blob(repository, layout, blob)
            outcomes[blob.digest] = outcome
            self.emit(BlobDone(self.id, blob.digest, blob.size, outcome))

        async with _one_cause(), anyio.create_task_group() as tasks:
            for blob in in_sending_order(contents.blobs):
                tasks.start_soon(one, blob)
        for document in contents.documents:
            last = document is contents.root
            identifier = reference.identifier if last else document.descriptor.digest
            await repository.put_manifest(identifier, document)
            size = len(document.raw)
            self._sent += size
            self.emit(ManifestDone(self.id, identifier, document.descriptor.digest, size, "uploaded"))
        return tuple(BlobResult(b.digest, b.size, b.media_type, outcomes[b.digest]) for b in contents.blobs)

    async def _send_blob(self, repository: Repository, layout: Layout, blob: Descriptor) -> BlobOutcome:
        attempt = 0
        while True:
            attempt += 1
            try:
                if await repository.has_blob(blob):
                    return "exists"
                await self._upload(repository, layout, blob)
            except TLSVerificationError:
                raise
            except (TransportError, RegistryError) as exc:
                again = isinstance(exc, TransportError | UploadInvalidatedError) or exc.status in RETRIED_STATUSES
                delay = self._retry.delay(attempt) if again else None
                if delay is None:
                    exc.attempts = attempt
                    raise
                self.retrying(f"blob {blob.digest}", exc.message, attempt + 1, delay)
                await anyio.sleep(delay)
            else:
                return "uploaded"

    async def _upload(self, repository: Repository, layout: Layout, blob: Descriptor) -> None:
        opened = await layout.open_blob(blob)
        location = await repository.start_upload(blob.digest.algorithm)
        self.emit(BlobStarted(self.id, blob.digest, blob.size, blob.media_type))
        done = False
        try:
            if isinstance(opened, bytes):
                await repository.finish_upload(location, blob, opened)
                self._sent += len(opened)
            else:
                async with opened:
                    body = FileBody(opened.descriptor, length=opened.size, on_sent=self._progress(blob))
                    await repository.finish_upload(location, blob, body)
            done = True
        finally:
            if not done:
                with anyio.move_on_after(_CLEAN_UP, shield=True):
                    try:
                        await repository.cancel_upload(location)
                    except OcipushError:
                        _LOG.debug("the upload session of %s could not be closed", blob.digest)

    def _progress(self, blob: Descriptor) -> Callable[[int], None]:
        offset, shown = 0, -_PROGRESS_INTERVAL

        def on_sent(count: int) -> None:
            nonlocal offset, shown
            offset = offset + count if offset < blob.size else count
            self._sent += count
            now = time.monotonic()
            if offset >= blob.size or now - shown >= _PROGRESS_INTERVAL:
                shown = now
                self.emit(BlobProgress(self.id, blob.digest, offset, blob.size))

        return on_sent


@asynccontextmanager
async def _one_cause() -> AsyncIterator[None]:
    """Raise one root cause instead of a task group's exception group; the others become notes."""
    try:
        yield
    except BaseExceptionGroup as group:
        leaves = list(_leaves(group))
        first = leaves[0]
        for other in leaves[1:]:
            first.add_note(f"also failed: {other}")
        raise first from first.__cause__


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for exc in group.exceptions:
        found += _leaves(exc) if isinstance(exc, BaseExceptionGroup) else [exc]
    return found
