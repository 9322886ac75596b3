"""What the failures of one blob teach about how to send it. No I/O."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from ..errors import (
    AuthenticationError,
    BlobTooLargeError,
    ConnectionLostError,
    RateLimitedError,
    RegistryError,
    TransportError,
    UploadInvalidatedError,
)
from .limits import LADDER, MIB
from .retry import may_pass
from .session import Event
from .statuses import Kind, Meaning, is_temporary, meaning_of
from .wording import DISK_FULL

if TYPE_CHECKING:
    from .limits import Limits
    from .session import Step

_LOSSES: Final = 2  # lost sessions after which a blob is sent in chunks
_FIRST_CHUNK: Final = 16 * MIB  # size of those chunks; each further lost session makes them smaller
_SHARE: Final = 3  # a chunk is to take a third of the time that a request may take
_GROWTH: Final = 4  # how much larger chunks become when their number makes the Location too long
# Statuses of the web pages with which proxies and firewalls refuse a body that is too large.
_UNEXPLAINED: Final = frozenset({400, 403, 404, 500, 503})
# Codes that say that what was sent has not been stored.
_NOT_STORED: Final = frozenset(
    {"BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "SIZE_INVALID", "DIGEST_INVALID"}
)


class Setback(Enum):
    """What can go wrong with a blob, and be solved by sending it in another way."""

    SESSION_LOST = auto()  # a session ended before its blob did
    PUT_UNKNOWN = auto()  # the first PUT of a new session was answered 404, as old Artifactory does if it has a body
    GARBLED = auto()  # the registry computed another digest from several bodies
    FORM_REFUSED = auto()  # this kind of request is not supported
    TOKEN_REFUSED = auto()  # a token was replaced since the blob last made progress
    URL_TOO_LONG = auto()  # the Location has grown with each chunk
    UNEXPLAINED = auto()  # a web page refused a large body with a temporary status
    STORAGE_FULL = auto()  # the registry has no place left


@dataclass(frozen=True, slots=True)
class Remedy:
    """What to do about a failure that is not final.

    Attributes:
        event: what it means for the upload.
        retry_after: seconds that the registry asks to wait, or None.
        at_once: the blob will be sent in another way: do not wait, and count failures from zero.
        restart: give up the session.
    """

    event: Event
    retry_after: float | None = None
    at_once: bool = False
    restart: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that sent a part of a blob.

    Attributes:
        step: which part.
        size: bytes of it that were written to the network.
        seconds: how long it took, or until it failed.
    """

    step: Step
    size: int = 0
    seconds: float = 0.0


class Lessons:
    """Learns from the failures of one blob.

    Args:
        limits: those of the registry, updated with what is known for sure.
        chunk_size: the chunk size that the caller wants, or None.
    """

    def __init__(self, limits: Limits, chunk_size: int | None) -> None:
        self._limits = limits
        self._wanted = chunk_size
        self._setbacks = Counter[Setback]()
        self._too_large: int | None = None  # the smallest body that was refused for its size
        self._rate: float | None = None  # bytes a second, as last measured
        self._too_long: int | None = None  # the smallest body that was cut by the limit in time
        self._guess: int | None = None  # what may be the largest body, after a refusal by a web page

    @property
    def chunk_size(self) -> int | None:
        """Bytes of a chunk; None: send the blob whole."""
        growth: int = _GROWTH ** self._setbacks[Setback.URL_TOO_LONG]
        if self._wanted is not None:
            sizes = [self._wanted * growth, self._guess]
        else:
            sizes = [self._size_in_time(), self._size_after_losses(), self._guess]
        return min((size for size in sizes if size is not None), default=None)

    def _size_in_time(self) -> int | None:
        """The largest body that gets through in time."""
        limit = self._limits.time.seconds
        if limit is None or self._rate is None:
            return None
        size = self._rate * limit / _SHARE
        if self._too_long is not None:
            size = min(size, self._too_long / 2)
        return max(int(size), LADDER[-1])

    def _size_after_losses(self) -> int | None:
        losses = self._setbacks[Setback.SESSION_LOST] - _LOSSES
        smaller = [size for size in LADDER if size <= _FIRST_CHUNK]
        return smaller[min(losses, len(smaller) - 1)] if losses >= 0 else None

    @property
    def patch_first(self) -> bool:
        """Whether to send the bytes by PATCH, before an empty PUT, as a trial."""
        return self._setbacks[Setback.PUT_UNKNOWN] > 1

    def session_lost(self) -> None:
        """A session ended before its blob did."""
        self._setbacks[Setback.SESSION_LOST] += 1

    def progressed(self) -> None:
        """The blob has made progress since the last failure."""
        del self._setbacks[Setback.TOKEN_REFUSED]

    def arrived(self, sent: Sent) -> None:
        """A part of the blob was accepted."""
        if sent.seconds > 0 and sent.size >= LADDER[-1]:
            self._rate = sent.size / sent.seconds
        size = sent.step.end - sent.step.start
        if self._guess is not None and LADDER[-1] <= size <= self._guess:  # the guess was right
            self._limits.refused(self._guess + 1, ranged=False, said=self._guess)
        if sent.step.final:
            self._limits.patch_only |= self.patch_first  # what was a trial is known to work

    def learn(self, failure: TransportError | RegistryError, sent: Sent | None) -> Remedy | None:
        """What to do about a failure; None if it is final. ``sent`` is the part of the blob that was being sent, if any."""
        if sent is None:  # a request that is safe to repeat has been repeated already
            return Remedy(Event.LOST, failure.retry_after) if isinstance(failure, UploadInvalidatedError) else None
        if isinstance(failure, TransportError):
            if isinstance(failure, ConnectionLostError):
                self._note_cut(sent)
            return Remedy(Event.BROKEN) if may_pass(failure) else None
        return self._learn_from_answer(failure, sent)

    def _learn_from_answer(self, failure: RegistryError, sent: Sent) -> Remedy | None:
        step = sent.step
        if self._changes_form(failure, step):
            return Remedy(Event.REFUSED, at_once=True)
        if failure.status == 414 and step.ranged and self._setbacks[Setback.URL_TOO_LONG] < len(LADDER):
            self._setbacks[Setback.URL_TOO_LONG] += 1
            return Remedy(Event.LOST, at_once=True, restart=True)
        if self._guess_size(failure, step):
            return Remedy(Event.REFUSED, at_once=True)
        if "DIGEST_INVALID" in failure.codes:
            self._setbacks[Setback.GARBLED] += step.start > 0
            self._limits.unchunked |= self._setbacks[Setback.GARBLED] > 1 and self._limits.whole is None
            return Remedy(Event.REFUSED, failure.retry_after, restart=True)
        event = self._event_of(failure, sent)
        if event is None:
            return None
        return Remedy(event, 0.0 if isinstance(failure, AuthenticationError) else failure.retry_after)

    def _event_of(self, failure: RegistryError, sent: Sent) -> Event | None:
        step = sent.step
        if isinstance(failure, UploadInvalidatedError):
            self._setbacks[Setback.PUT_UNKNOWN] += failure.status == 404 and step.start == 0 and step.final
            return Event.LOST
        if isinstance(failure, AuthenticationError) and failure.renewable:
            self._setbacks[Setback.TOKEN_REFUSED] += 1
            return Event.BROKEN if self._setbacks[Setback.TOKEN_REFUSED] == 1 else None
        if isinstance(failure, RateLimitedError):
            return Event.BROKEN
        if not is_temporary(failure.status):
            return None
        if DISK_FULL.search(failure.detail) or "quota" in failure.detail.lower():
            # It may be cleaned up, but the whole blob is not sent for that again and again.
            self._setbacks[Setback.STORAGE_FULL] += 1
            return Event.BROKEN if self._setbacks[Setback.STORAGE_FULL] == 1 else None
        self._note_cut(sent)
        return Event.BROKEN

    def _note_cut(self, sent: Sent) -> None:
        """Learn from a request that broke while its body was being sent, or before it was answered."""
        if sent.size < LADDER[-1] or sent.seconds <= 0:
            return
        self._limits.time.cut(sent.seconds)
        self._rate = sent.size / sent.seconds
        if self._limits.time.seconds is not None:
            size = sent.step.end - sent.step.start
            self._too_long = min(size, self._too_long or size)

    def _changes_form(self, failure: RegistryError, step: Step) -> bool:
        """Whether the failure says that the registry wants its blobs in another form."""
        if isinstance(failure, BlobTooLargeError):
            return self._shrink(failure, step)
        return self._adapt(failure, step)

    def _guess_size(self, failure: RegistryError, step: Step) -> bool:
        """Whether a large body was refused by a web page, so that a smaller one is worth a try.

        What is guessed counts for this blob alone until a smaller body is accepted.
        """
        size = step.end - step.start
        smaller = next((one for one in LADDER if one < size), None)
        if failure.answered_by != "web page" or failure.status not in _UNEXPLAINED or smaller is None:
            return False
        if self._guess is not None and size > self._guess:
            return False  # the registry takes no chunks, or none as small
        if is_temporary(failure.status):
            self._setbacks[Setback.UNEXPLAINED] += 1
            if self._setbacks[Setback.UNEXPLAINED] == 1:
                return False  # it may be temporary indeed
        self._guess = min(smaller, self._guess or smaller)
        return True

    def _shrink(self, failure: BlobTooLargeError, step: Step) -> bool:
        """Whether there is a smaller body to try. The steps are few."""
        size = step.end - step.start
        if self._too_large is not None and size >= self._too_large:
            return False
        self._too_large = size
        return self._limits.refused(size, ranged=step.ranged, said=failure.limit)

    def _adapt(self, failure: RegistryError, step: Step) -> bool:
        """Whether the registry wants another kind of request. This is learned at most once for a blob."""
        if self._setbacks[Setback.FORM_REFUSED]:
            return False
        if step.method == "PATCH" and failure.status in {405, 501}:
            self._limits.unchunked = True
        elif step.final and step.end > step.start and "BLOB_UNKNOWN" in failure.codes:
            self._setbacks[Setback.PUT_UNKNOWN] = 2  # old Artifactory's answer to a PUT with a body
        else:
            return False
        self._setbacks[Setback.FORM_REFUSED] += 1
        return True


def may_be_stored(failure: RegistryError, kind: Kind) -> bool:
    """Whether a refused request may have been carried out all the same, or before: one HEAD then decides.

    A registry that stored the content, and whose answer was lost, can refuse the same request when it comes again.
    """
    return meaning_of(kind, failure.status) is Meaning.ASK and _NOT_STORED.isdisjoint(failure.codes)
