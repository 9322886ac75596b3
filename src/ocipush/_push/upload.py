"""One blob's way to a repository: known there, mounted, or uploaded; resumed or begun anew when that breaks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import anyio

from .._events import BlobOutcome, BlobProgress, BlobStarted, Event
from .._http.body import FileBody
from .._registry.endpoint import LARGE, Endpoint
from .._registry.limits import MIB
from .._registry.retry import RETRIED_STATUSES, RetryPolicy, may_pass
from .._sources.base import BlobFile
from .._sources.verify import is_corrupt
from ..errors import (
    AuthenticationError,
    BlobCorruptError,
    BlobTooLargeError,
    OcipushError,
    RateLimitedError,
    RegistryError,
    TransportError,
    UploadInvalidatedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._oci.descriptor import Descriptor
    from .._registry.journal import Journal, SavedSession
    from .._registry.repository import Repository
    from .._registry.session import Session, Step
    from .._sources.base import Source

_LOG = logging.getLogger("ocipush")
_PROGRESS_INTERVAL: Final = 0.1  # seconds between two BlobProgress events of a blob
_CLEAN_UP: Final = 2.0  # seconds that a failed push may spend on closing an upload session
_WORTH_RESUMING: Final = 128 * 1024  # bytes sent from which asking for a session's state is cheaper than a new session
_PROGRESS: Final = 256 * 1024  # bytes that a blob must have got on for its attempts to count anew
_CHUNK_AFTER_CUTS: Final = 16 * MIB  # chunk size for a blob that was cut twice and had to begin anew


class Uploads:
    """The uploads of one push.

    Args:
        endpoint: what is known of the registry.
        repository: where the blobs go.
        source: where they come from.
        push_id: for the events.
        chunk_size: bytes of a chunk; None: a blob goes whole, unless the registry takes no such body.
        mount_from: a repository of the same registry that may hold the blobs.
        journal: keeps the sessions of large blobs.
        emit: takes events.
        on_retry: told (what, why, which attempt, seconds) before each wait.

    Attributes:
        sent: bytes of blobs written to the network, those sent again included.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        repository: Repository,
        source: Source,
        *,
        push_id: str,
        retry: RetryPolicy,
        chunk_size: int | None,
        mount_from: str | None,
        journal: Journal | None,
        emit: Callable[[Event], None],
        on_retry: Callable[[str, str, int, float], None],
    ) -> None:
        self.endpoint = endpoint
        self.repository = repository
        self.source = source
        self.retry = retry
        self.chunk_size = chunk_size
        self.mount_from = mount_from
        self.emit = emit
        self.on_retry = on_retry
        self.sent = 0
        self.push_id = push_id
        self._journal = journal

    async def ensure(self, blob: Descriptor, *, force: bool = False) -> BlobOutcome:
        """See that the repository holds ``blob``; ``force``: send it, whatever is known of it.

        Raises:
            BlobCorruptError, BlobMissingError: the source is not, or no longer, what its descriptor says.
            TransportError, RegistryError: as often as the retry policy allows.
        """
        name = self.repository.name
        if not force and blob.digest in self.endpoint.known_blobs.get(name, ()):
            return "exists"

        async def send() -> BlobOutcome:
            async with self.endpoint.gate(blob.size):
                page = None
                if self._journal is not None and blob.size >= LARGE:
                    page = self._journal.page(self.repository.url, blob)
                return await _Upload(self, blob, force=force, page=page).run()

        return await self.endpoint.single_flight(name, blob.digest, send)


class _Upload:
    """One blob under way: its session, and what its failures have taught."""

    def __init__(self, uploads: Uploads, blob: Descriptor, *, force: bool, page: SavedSession | None) -> None:
        self._uploads = uploads
        self._repository = uploads.repository
        self._learned = uploads.endpoint.learned
        self._retry = uploads.retry
        self._blob = blob
        self._force = force
        self._page = page
        self._session: Session | None = None
        self._step: Step | None = None
        self._broken = False  # something may have arrived: ask before anything is sent again
        self._failures = 0  # since the blob last got on
        self._attempts = 0
        self._best = 0  # how far the blob had come when its failures were last counted anew
        self._lost = 0  # sessions that ended before their blob did
        self._unknown = 0  # fresh sessions whose first PUT was answered 404
        self._adapted = False  # a refusal has taught how this registry takes blobs
        self._garbled = 0  # times that the registry found another digest than ours in what came in several bodies
        self._too_large: int | None = None  # the smallest body that was refused for its size
        self._renewed = False  # a 401 has been met with a new token since the blob last got on
        self._announced = False
        self._sent = 0
        self._started = anyio.current_time()

    async def run(self) -> BlobOutcome:
        """Bring the blob to the repository, in as many attempts as are worth it."""
        try:
            if self._page is not None:
                self._session = await self._page.claim()
                self._broken = self._session is not None
            while (outcome := await self._attempt()) is None:
                pass
        except BaseException as exc:
            session = self._session
            if session is not None and (self._page is None or session.sent == 0):
                await self._abandon()  # else it is left to another process
            if isinstance(exc, EOFError | OSError) and not isinstance(exc, OcipushError):
                where = self._uploads.source.locate(self._blob)
                raise BlobCorruptError(f"{where} failed while it was read: {exc}", path=where) from exc
            raise
        return outcome

    async def _attempt(self) -> BlobOutcome | None:
        self._attempts += 1
        try:
            return await self._go_on()
        except (TransportError, RegistryError) as exc:
            await self._recover(exc)
            return None

    async def _go_on(self) -> BlobOutcome:
        """One attempt: from where the blob is, to its end."""
        self._step = None
        if self._broken:
            if await self._repository.has_blob(self._blob):  # a broken commit may have been one (wire.md)
                await self._abandon()  # or else somebody's blob was there all the time, and the session is still open
                return "uploaded"
            if self._session is not None and not await self._resume(self._session):
                await self._begin_anew()
            self._broken = False
        if self._session is None and (outcome := await self._open()) is not None:
            return outcome
        assert self._session is not None  # noqa: S101 - for the type checkers
        await self._send(self._session)
        await self._ended()
        return "uploaded"

    async def _open(self) -> BlobOutcome | None:
        """Open a session, or find that the blob is there."""
        blob, itself = self._blob, self._repository.name
        source = None if self._force or self._attempts > 1 else self._mount_source()
        if source is None and not self._force and self._attempts == 1 and await self._repository.has_blob(blob):
            return "exists"
        self._session = await self._repository.start_upload(blob, mount_from=source)
        if self._session is None:
            return "exists" if source == itself else "mounted"
        unproven = source not in {None, itself} and blob.size >= LARGE and not self._learned.mounts_itself
        if unproven and await self._repository.has_blob(blob):
            await self._abandon()
            return "exists"
        if self._page is not None:
            await self._page.note(self._session)
        return None

    def _mount_source(self) -> str | None:
        """The repository to mount from in the POST that opens the session; None: ask by HEAD first (wire.md, step 4)."""
        itself, blob = self._repository.name, self._blob
        if (other := self._uploads.endpoint.mount_source(itself, blob.digest)) is not None:
            return other
        hint = self._uploads.mount_from
        if hint is not None and (itself, hint) not in self._learned.refused_mounts:
            return hint
        if (itself, itself) in self._learned.refused_mounts or self._repository.is_harbor:
            return None
        return itself if self._learned.mounts_itself or blob.size < LARGE else None

    async def _resume(self, session: Session) -> bool:
        """Whether the session goes on; what was sent too little of is as well sent anew."""
        if session.acknowledged == 0 and session.sent < _WORTH_RESUMING:
            return False
        if not await self._repository.resume_upload(session):
            return False
        self._got_on(session.offset)
        if self._page is not None:
            await self._page.note(session)
        _LOG.debug("blob %s goes on at byte %d of %d", self._blob.digest, session.offset, self._blob.size)
        return True

    async def _begin_anew(self) -> None:
        self._lost += 1
        await self._abandon()

    async def _abandon(self) -> None:
        session, self._session = self._session, None
        if session is not None and not session.gone:
            with anyio.move_on_after(_CLEAN_UP, shield=True):
                await self._repository.cancel_upload(session.location)
        if self._page is not None:
            await self._page.forget()

    async def _ended(self) -> None:
        self._session = None
        if self._page is not None:
            await self._page.forget()

    async def _send(self, session: Session) -> None:
        opened = await self._uploads.source.open_blob(self._blob)
        if not self._announced:
            blob, self._announced = self._blob, True
            self._uploads.emit(BlobStarted(self._uploads.push_id, blob.digest, blob.size, blob.media_type))
        if isinstance(opened, bytes):
            await self._send_steps(session, opened)
        else:
            async with opened:
                await self._send_steps(session, opened)

    async def _send_steps(self, session: Session, source: BlobFile | bytes) -> None:
        while True:
            self._step = step = session.next_step(
                self._learned.limits,
                chunk_size=self._chunk_size,
                patch_first=self._unknown > 1,
                closes_empty=self._repository.is_harbor,
            )
            session.reach = max(session.reach, step.end)
            progress = self._progress(session, step)
            if isinstance(source, BlobFile) and step.end > step.start:
                length = step.end - step.start
                offset = source.offset + step.start
                body: FileBody | bytes = FileBody(source.descriptor, offset=offset, length=length, on_sent=progress)
                await self._repository.send(session, step, self._blob, body)
            else:
                body = source[step.start : step.end] if isinstance(source, bytes) else b""
                await self._repository.send(session, step, self._blob, body)
                progress(len(body))
            if step.final:
                self._learned.limits.patch_only |= self._unknown > 1
                return
            self._got_on(session.acknowledged)
            if self._page is not None:
                await self._page.note(session)

    @property
    def _chunk_size(self) -> int | None:
        if self._uploads.chunk_size is None and self._lost > 1:
            return _CHUNK_AFTER_CUTS
        return self._uploads.chunk_size

    def _progress(self, session: Session, step: Step) -> Callable[[int], None]:
        uploads, blob = self._uploads, self._blob
        position, shown = step.start, 0.0

        def on_sent(count: int) -> None:
            nonlocal position, shown
            position = position + count if position < step.end else step.start + count
            session.sent = max(session.sent, position)
            self._sent += count
            uploads.sent += count
            now = anyio.current_time()
            if position >= blob.size or now - shown >= _PROGRESS_INTERVAL:
                shown = now
                uploads.emit(BlobProgress(uploads.push_id, blob.digest, position, blob.size))

        return on_sent

    def _got_on(self, offset: int) -> None:
        if offset >= self._best + _PROGRESS:
            self._best, self._failures, self._renewed = offset, 0, False

    async def _recover(self, failure: TransportError | RegistryError) -> None:
        """Wait for the next attempt, or raise ``failure`` for good."""
        self._failures += 1
        delay = await self._delay(failure)
        if delay is None:
            failure.attempts = max(failure.attempts, self._attempts)
            failure.sent, failure.seconds = self._sent, anyio.current_time() - self._started
            raise failure
        self._broken = True
        self._uploads.on_retry(f"blob {self._blob.digest}", failure.message, self._attempts + 1, delay)
        await anyio.sleep(delay)

    async def _delay(self, failure: TransportError | RegistryError) -> float | None:
        """Seconds until this failure is worth another attempt at the blob, or None."""
        if 1 < self._retry.attempts <= failure.attempts:
            return None  # the request itself was made as often as it may be
        if isinstance(failure, TransportError):
            return self._retry.delay(self._failures) if may_pass(failure) else None
        if isinstance(failure, BlobTooLargeError):
            return self._shrink(failure)
        if self._adapt(failure):
            return 0.0
        if "DIGEST_INVALID" in failure.codes:  # was it damaged on the way?
            await self._check_source(failure)
            self._garbled += self._step is not None and self._step.start > 0
            self._learned.limits.unchunked |= self._garbled > 1 and self._learned.limits.whole is None
            await self._begin_anew()
        elif isinstance(failure, UploadInvalidatedError):
            step = self._step
            self._unknown += failure.status == 404 and step is not None and step.start == 0 and step.final
        elif isinstance(failure, AuthenticationError) and failure.renewable and not self._renewed:
            self._renewed, failure.retry_after = True, 0.0
        elif not isinstance(failure, RateLimitedError) and failure.status not in RETRIED_STATUSES:
            return None
        return self._retry.delay(self._failures, retry_after=failure.retry_after)

    def _shrink(self, failure: BlobTooLargeError) -> float | None:
        """No wait where a smaller body is left to try: that is no failure of the line, and the steps are few."""
        step = self._step
        if step is None:
            return None
        size = step.end - step.start
        if self._too_large is not None and size >= self._too_large:
            return None
        self._too_large = size
        if not self._learned.limits.refused(size, ranged=step.ranged, said=failure.limit):
            return None
        self._failures = 0
        return 0.0

    def _adapt(self, failure: RegistryError) -> bool:
        """Whether a refusal tells that the registry wants its blobs in another way, which is then tried at once."""
        step, limits = self._step, self._learned.limits
        if step is None or self._adapted:
            return False
        if step.method == "PATCH" and failure.status in {405, 501}:
            self._adapted = limits.unchunked = True
        elif step.final and step.end > step.start and "BLOB_UNKNOWN" in failure.codes:
            self._adapted, self._unknown = True, 2  # old Artifactory's words for a PUT that has a body
        return self._adapted

    async def _check_source(self, failure: RegistryError) -> None:
        if await is_corrupt(self._uploads.source, self._blob):
            where = self._uploads.source.locate(self._blob)
            raise BlobCorruptError(
                f"{where}: the content is not what its digest says; the registry refused it", path=where
            ) from failure
