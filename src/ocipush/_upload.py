"""One blob's way to a repository: known there, mounted, or uploaded, and tried again when that breaks.

May import: all below, anyio.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

import anyio

from ._endpoint import LARGE
from ._events import BlobProgress, BlobStarted
from ._retry import RETRIED_STATUSES, may_pass
from ._transport import FileBody
from .errors import (
    BlobCorruptError,
    OcipushError,
    RateLimitedError,
    RegistryError,
    TransportError,
    UploadInvalidatedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._endpoint import Endpoint
    from ._events import BlobOutcome, Event
    from ._layout import Layout
    from ._models import Descriptor
    from ._repository import Repository
    from ._retry import RetryPolicy

_LOG = logging.getLogger("ocipush")
_PROGRESS_INTERVAL: Final = 0.1  # seconds between two BlobProgress events of a blob
_CLEAN_UP: Final = 2.0  # seconds that a failed push may spend on closing an upload session


class Uploads:
    """The uploads of one push.

    Args:
        endpoint: what is known of the registry.
        repository: where the blobs go.
        layout: where they come from.
        push_id: for the events.
        emit: takes events.
        on_retry: told (what, why, which attempt, seconds) before each wait.

    Attributes:
        sent: bytes of blobs written to the network, those sent again included.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        repository: Repository,
        layout: Layout,
        *,
        push_id: str,
        retry: RetryPolicy,
        emit: Callable[[Event], None],
        on_retry: Callable[[str, str, int, float], None],
    ) -> None:
        self._endpoint = endpoint
        self._repository = repository
        self._layout = layout
        self._push_id = push_id
        self._retry = retry
        self._emit = emit
        self._on_retry = on_retry
        self.sent = 0

    async def ensure(self, blob: Descriptor, *, force: bool = False) -> BlobOutcome:
        """See that the repository holds ``blob``; ``force``: send it, whatever is known of it.

        Raises:
            BlobCorruptError, BlobMissingError: the source is not, or no longer, what its descriptor says.
            TransportError, RegistryError: as often as the retry policy allows.
        """
        name = self._repository.name
        if not force and blob.digest in self._endpoint.holds.get(name, ()):
            return "exists"

        async def send() -> BlobOutcome:
            async with self._endpoint.gate(blob.size):
                return await self._try(blob, force)

        return await self._endpoint.once(name, blob.digest, send)

    async def _try(self, blob: Descriptor, force: bool) -> BlobOutcome:
        attempt = 0
        while True:
            attempt += 1
            try:
                # A broken PUT may have been committed: ask before sending again (wire.md, "Ambiguous commit").
                if attempt > 1 and await self._repository.has_blob(blob):
                    return "uploaded"
                return await self._send(blob, force)
            except (TransportError, RegistryError) as exc:
                delay = await self._delay(blob, attempt, exc)
                if delay is None:
                    exc.attempts = max(exc.attempts, attempt)
                    raise
                self._on_retry(f"blob {blob.digest}", exc.message, attempt + 1, delay)
                await anyio.sleep(delay)

    async def _delay(self, blob: Descriptor, attempt: int, failure: TransportError | RegistryError) -> float | None:
        """Seconds until this failure is worth another attempt at the blob, or None."""
        if 1 < self._retry.attempts <= failure.attempts:
            return None  # the request itself was made as often as it may be
        if isinstance(failure, TransportError):
            return self._retry.delay(attempt) if may_pass(failure) else None
        if "DIGEST_INVALID" in failure.codes:
            if await self._layout.is_corrupt(blob):
                where = self._layout.blob_path(blob)
                raise BlobCorruptError(
                    f"{where}: the content is not what its digest says; the registry refused it", path=where
                ) from failure
            return self._retry.delay(attempt)  # damaged on the way
        if isinstance(failure, UploadInvalidatedError | RateLimitedError) or failure.status in RETRIED_STATUSES:
            return self._retry.delay(attempt, retry_after=failure.retry_after)
        return None

    async def _send(self, blob: Descriptor, force: bool) -> BlobOutcome:
        source = None if force else self._mount_source(blob)
        itself = self._repository.name
        if source is None and not force and await self._repository.has_blob(blob):
            return "exists"
        location = await self._repository.start_upload(blob, mount_from=source)
        if location is None:
            return "exists" if source == itself else "mounted"
        await self._upload(blob, location)
        return "uploaded"

    def _mount_source(self, blob: Descriptor) -> str | None:
        """The repository to mount from in the POST that opens the session; None: ask by HEAD first (wire.md, step 4)."""
        itself = self._repository.name
        if (other := self._endpoint.mount_source(itself, blob.digest)) is not None:
            return other
        if (itself, itself) in self._endpoint.refused_mounts:
            return None
        return itself if self._endpoint.mounts_itself or blob.size < LARGE else None

    async def _upload(self, blob: Descriptor, location: str) -> None:
        done = False
        try:
            opened = await self._layout.open_blob(blob)
            self._emit(BlobStarted(self._push_id, blob.digest, blob.size, blob.media_type))
            if isinstance(opened, bytes):
                await self._repository.finish_upload(location, blob, opened)
                self._progress(blob)(len(opened))
            else:
                async with opened:
                    body = FileBody(opened.descriptor, length=opened.size, on_sent=self._progress(blob))
                    await self._repository.finish_upload(location, blob, body)
            done = True
        except (EOFError, OSError) as exc:
            if isinstance(exc, OcipushError):
                raise
            where = self._layout.blob_path(blob)
            raise BlobCorruptError(f"{where} failed while it was read: {exc}", path=where) from exc
        finally:
            if not done:
                with anyio.move_on_after(_CLEAN_UP, shield=True):
                    await self._repository.cancel_upload(location)

    def _progress(self, blob: Descriptor) -> Callable[[int], None]:
        offset, shown = 0, 0.0

        def on_sent(count: int) -> None:
            nonlocal offset, shown
            offset = offset + count if offset < blob.size else count
            self.sent += count
            now = time.monotonic()
            if offset >= blob.size or now - shown >= _PROGRESS_INTERVAL:
                shown = now
                self._emit(BlobProgress(self._push_id, blob.digest, offset, blob.size))

        return on_sent
