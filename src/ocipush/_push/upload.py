"""How one blob gets into a repository: it is found there, mounted or uploaded, and resumed or restarted when that breaks.

The states and transitions are in ``_registry.session``; docs/uploads.md draws them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio

from .._events import BlobProgress, BlobStarted, PushWarning
from .._http.body import FileBody
from .._registry.endpoint import LARGE
from .._registry.lessons import Lessons, Sent, may_be_stored
from .._registry.retry import Attempts
from .._registry.session import TRANSITIONS, Event, State
from .._registry.statuses import Kind
from .._sources.base import BlobFile
from .._sources.verify import is_corrupt
from ..errors import BlobCorruptError, OcipushError, RegistryError, TransportError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .._events import BlobOutcome
    from .._events import Event as ProgressEvent
    from .._oci.descriptor import Descriptor
    from .._registry.endpoint import Endpoint
    from .._registry.journal import Journal, SavedSession
    from .._registry.repository import Repository
    from .._registry.retry import OnRetry, RetryPolicy
    from .._registry.session import Session, Step
    from .._sources.base import Source

_LOG = logging.getLogger("ocipush")
_PROGRESS_INTERVAL: Final = 0.1  # seconds between two BlobProgress events of a blob
_CLEAN_UP: Final = 2.0  # seconds that a failed push may spend on closing an upload session
_WORTH_RESUMING: Final = (
    128 * 1024
)  # bytes; if fewer were sent, a new session is cheaper than asking for the state of the old one
_PROGRESS: Final = 256 * 1024  # bytes of progress after which failures are counted from zero


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadSettings:
    """How the blobs of one push are sent.

    Attributes:
        retry: how often a blob is tried.
        chunk_size: bytes of a chunk; None: blobs are sent whole, unless the registry does not accept that.
        mount_from: a repository of the same registry that may hold the blobs.
        journal: keeps the sessions of large blobs.
    """

    retry: RetryPolicy
    chunk_size: int | None = None
    mount_from: str | None = None
    journal: Journal | None = None


class Uploads:
    """The uploads of one push.

    Args:
        endpoint: the registry.
        repository: the repository to push to.
        source: where the blobs are read from.
        settings: how they are sent.
        push_id: for the events.
        emit: receives events.
        on_retry: called with (what, why, number of the next attempt, seconds) before each wait.

    Attributes:
        sent: bytes of blobs written to the network, including those sent again.
        uploaded: digests of the blobs that this push has uploaded.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        repository: Repository,
        source: Source,
        settings: UploadSettings,
        *,
        push_id: str,
        emit: Callable[[ProgressEvent], None],
        on_retry: OnRetry,
    ) -> None:
        self.endpoint = endpoint
        self.repository = repository
        self.source = source
        self.settings = settings
        self.emit = emit
        self.on_retry = on_retry
        self.push_id = push_id
        self.sent = 0
        self.uploaded: set[str] = set()
        self._started: set[str] = set()
        self._warned: set[str] = set()

    async def ensure(self, blob: Descriptor, *, force: bool = False) -> BlobOutcome:
        """Make sure that the repository holds ``blob``. ``force``: send it even if the registry claims to have it.

        Raises:
            BlobCorruptError, BlobMissingError: the blob in the source does not match its descriptor.
            TransportError, RegistryError: the upload failed, after all attempts.
        """
        name = self.repository.name
        if not force and self.endpoint.known_blobs.holds(name, blob.digest):
            return "exists"

        async def send() -> BlobOutcome:
            async with self.endpoint.home(name, blob.digest), self.endpoint.turn(blob.size):
                journal, saved = self.settings.journal, None
                if journal is not None and blob.size >= LARGE:
                    saved = journal.session(self.repository.url, blob)
                return await _Upload(self, blob, force=force, saved=saved).run()

        outcome = await self.endpoint.single_flight(name, blob.digest, send, force=force)
        if outcome == "uploaded":
            self.uploaded.add(blob.digest)
        return outcome

    def cannot_save(self, problem: str) -> None:
        """Report, once, that an interrupted upload cannot be resumed later."""
        text = f"upload sessions cannot be saved, so this push cannot be resumed later: {problem}"
        if text not in self._warned:
            self._warned.add(text)
            _LOG.warning("%s", text)
            self.emit(PushWarning(self.push_id, text))

    def forget(self, digest: str) -> None:
        """The registry does not have this blob after all."""
        self.endpoint.known_blobs.discard(self.repository.name, digest)

    def started(self, blob: Descriptor) -> None:
        """Report that the first byte of a blob is about to be sent; once for each blob."""
        if blob.digest not in self._started:
            self._started.add(blob.digest)
            self.emit(BlobStarted(self.push_id, blob.digest, blob.size, blob.media_type))

    def mount_source(self, blob: Descriptor, *, is_harbor: bool) -> str | None:
        """The repository to mount from, in the POST that opens the session; None: ask by HEAD first.

        (docs/requests.md, "Blobs")
        """
        itself, capabilities = self.repository.name, self.endpoint.capabilities
        if (other := self.endpoint.mount_source(itself, blob.digest)) is not None:
            return other
        hint = self.settings.mount_from
        if hint is not None and (itself, hint) not in capabilities.refused_mounts:
            return hint
        if (itself, itself) in capabilities.refused_mounts or is_harbor:
            return None
        return itself if capabilities.mounts_itself or blob.size < LARGE else None


class _Upload:
    """The upload of one blob."""

    def __init__(self, uploads: Uploads, blob: Descriptor, *, force: bool, saved: SavedSession | None) -> None:
        self._uploads = uploads
        self._blob = blob
        self._force = force
        self._saved = saved
        self._capabilities = uploads.endpoint.capabilities
        self._attempts = Attempts(uploads.settings.retry, f"blob {blob.digest}", uploads.on_retry)
        self._requests = uploads.repository.blob(blob, self._attempts.effort)
        self._lessons = Lessons(self._capabilities.limits, uploads.settings.chunk_size)
        self._session: Session | None = None
        self._step: Step | None = None
        self._step_began = (0, 0.0)  # bytes sent before it, and when
        self._opened: BlobFile | bytes | None = None
        self._mount_from: str | None = None
        self._reached = 0  # offset at which failures were last counted from zero
        self._outcome: BlobOutcome = "uploaded"

    async def run(self) -> BlobOutcome:
        """Get the blob into the repository."""
        try:
            state = await self._begin()
            while state is not State.DONE:
                state = await self._advance(state)
            await self._ended()
        except BaseException as exc:
            session = self._session
            if session is not None and (self._saved is None or session.sent == 0):
                await self._give_up()  # otherwise it is left for another process
            if isinstance(exc, EOFError | OSError) and not isinstance(exc, OcipushError):
                where = self._uploads.source.locate(self._blob)
                raise BlobCorruptError(f"{where} failed while it was read: {exc}", path=where) from exc
            raise
        finally:
            await self._close()
            if self._saved is not None:
                await self._saved.release()
        return self._outcome

    async def _begin(self) -> State:
        if self._saved is not None:
            self._session = await self._saved.claim()
        if self._session is not None:
            return State.CHECKING
        if self._force:
            return State.OPENING
        self._mount_from = self._uploads.mount_source(self._blob, is_harbor=self._requests.is_harbor)
        return State.PROBING if self._mount_from is None and self._capabilities.probes else State.OPENING

    async def _advance(self, state: State) -> State:
        actions: dict[State, Callable[[], Awaitable[Event]]] = {
            State.PROBING: self._probe,
            State.OPENING: self._open,
            State.SENDING: self._send,
            State.CHECKING: self._check,
            State.RESUMING: self._resume,
        }
        self._step = None
        try:
            event = await actions[state]()
        except (TransportError, RegistryError) as exc:
            await self._close()
            event = await self._recover(exc)
        return TRANSITIONS[state, event]

    async def _probe(self) -> Event:
        if not await self._requests.probe():
            return Event.ABSENT
        self._outcome = "exists"
        return Event.FOUND

    async def _open(self) -> Event:
        itself, source = self._uploads.repository.name, self._mount_from
        self._mount_from = None  # tried once
        self._session = await self._requests.start_upload(mount_from=source)
        if self._session is None:
            self._outcome = "exists" if source == itself else "mounted"
            return Event.MOUNTED
        unproven = source not in {None, itself} and self._blob.size >= LARGE and not self._capabilities.mounts_itself
        if unproven and await self._requests.probe():
            self._outcome = "exists"
            await self._give_up()
            return Event.FOUND
        if self._saved is not None:
            await self._save(self._session)
        return Event.OPENED

    async def _send(self) -> Event:
        session = self._session
        assert session is not None  # noqa: S101 - for the type checkers
        if self._opened is None:
            self._opened = await self._uploads.source.open_blob(self._blob)
            self._uploads.started(self._blob)
        self._step = step = session.next_step(
            self._capabilities.limits,
            chunk_size=self._lessons.chunk_size,
            patch_first=self._lessons.patch_first,
            closes_empty=self._requests.is_harbor,
        )
        session.reach = max(session.reach, step.end)
        self._step_began = self._attempts.effort.sent, anyio.current_time()
        await self._requests.send(session, step, self._body(session, step, self._opened))
        if not isinstance(self._opened, BlobFile) or step.end == step.start:
            self._progress(session, step)(step.end - step.start)
        self._lessons.arrived(self._sent(step))
        if step.final:
            return Event.COMMITTED
        await self._note_progress(session, session.acknowledged)
        return Event.STORED

    def _sent(self, step: Step) -> Sent:
        before, began = self._step_began
        return Sent(step, self._attempts.effort.sent - before, anyio.current_time() - began)

    def _body(self, session: Session, step: Step, opened: BlobFile | bytes) -> FileBody | bytes:
        if isinstance(opened, bytes):
            return opened[step.start : step.end]
        if step.end == step.start:
            return b""
        length = step.end - step.start
        offset = opened.offset + step.start
        return FileBody(opened.descriptor, offset=offset, length=length, on_sent=self._progress(session, step))

    async def _check(self) -> Event:
        if self._force or not await self._requests.probe():
            return Event.ABSENT
        # The commit succeeded, or the blob was there before and the session is still open.
        await self._give_up()
        return Event.FOUND

    async def _resume(self) -> Event:
        session = self._session
        if session is None:
            return Event.LOST
        worth = session.acknowledged > 0 or session.sent >= _WORTH_RESUMING
        if not worth or not await self._requests.resume_upload(session):
            await self._lose_session()
            return Event.LOST
        await self._note_progress(session, session.offset)
        _LOG.debug("blob %s resumes at byte %d of %d", self._blob.digest, session.offset, self._blob.size)
        return Event.STORED

    async def _recover(self, failure: TransportError | RegistryError) -> Event:
        """Wait for the next attempt, or raise ``failure`` for good."""
        step = self._step
        if isinstance(failure, RegistryError) and "DIGEST_INVALID" in failure.codes and step is not None:
            await self._check_source(failure)
        remedy = self._lessons.learn(failure, None if step is None else self._sent(step))
        if remedy is None:
            if await self._is_stored(failure):
                await self._give_up()
                return Event.FOUND
            raise failure
        delay = 0.0 if remedy.at_once else self._attempts.delay(retry_after=remedy.retry_after)
        if delay is None:
            raise failure
        if remedy.at_once:
            self._attempts.progressed()
        if remedy.restart:
            await self._lose_session()
        await self._attempts.wait(failure.message, delay)
        return remedy.event

    async def _is_stored(self, failure: TransportError | RegistryError) -> bool:
        """Whether a refused commit was carried out all the same, or before."""
        if self._force or self._step is None or not self._step.final or not isinstance(failure, RegistryError):
            return False
        return may_be_stored(failure, Kind.COMMIT) and await self._requests.probe() is True

    async def _check_source(self, failure: RegistryError | TransportError) -> None:
        """Find out whether the blob was damaged on the way or in the source."""
        source = self._uploads.source
        if await is_corrupt(source, self._blob):
            where = source.locate(self._blob)
            raise BlobCorruptError(
                f"{where}: the content does not match its digest; the registry refused it", path=where
            ) from failure

    async def _note_progress(self, session: Session, offset: int) -> None:
        if offset >= self._reached + _PROGRESS:
            self._reached = offset
            self._attempts.progressed()
            self._lessons.progressed()
        if self._saved is not None:
            await self._save(session)

    async def _save(self, session: Session) -> None:
        assert self._saved is not None  # noqa: S101 - for the type checkers
        await self._saved.note(session)
        if self._saved.problem is not None:
            self._uploads.cannot_save(self._saved.problem)

    async def _lose_session(self) -> None:
        self._lessons.session_lost()
        await self._give_up()

    async def _give_up(self) -> None:
        session, self._session = self._session, None
        if session is not None and not session.gone:
            with anyio.move_on_after(_CLEAN_UP, shield=True):
                await self._requests.cancel_upload(session.location)
        await self._forget()

    async def _ended(self) -> None:
        self._session = None
        await self._forget()

    async def _forget(self) -> None:
        if self._saved is not None:
            await self._saved.forget()

    async def _close(self) -> None:
        opened, self._opened = self._opened, None
        if isinstance(opened, BlobFile):
            opened.close()

    def _progress(self, session: Session, step: Step) -> Callable[[int], None]:
        uploads, blob, effort = self._uploads, self._blob, self._attempts.effort
        position, shown = step.start, 0.0

        def on_sent(count: int) -> None:
            nonlocal position, shown
            position = position + count if position < step.end else step.start + count
            session.sent = max(session.sent, position)
            effort.sent += count
            uploads.sent += count
            now = anyio.current_time()
            if position >= blob.size or now - shown >= _PROGRESS_INTERVAL:
                shown = now
                uploads.emit(BlobProgress(uploads.push_id, blob.digest, position, blob.size))

        return on_sent
