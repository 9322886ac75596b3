"""What the failures of one blob teach about how to send it. No I/O."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from ..errors import (
    AuthenticationError,
    BlobTooLargeError,
    RateLimitedError,
    RegistryError,
    TransportError,
    UploadInvalidatedError,
)
from .limits import MIB
from .retry import RETRIED_STATUSES, may_pass
from .session import Event

if TYPE_CHECKING:
    from .limits import Limits
    from .session import Step

_CHUNK_AFTER_CUTS: Final = 16 * MIB  # chunk size of a blob that was cut twice and had to be restarted


class Setback(Enum):
    """What can go wrong with a blob, and be solved by sending it in another way."""

    SESSION_LOST = auto()  # a session ended before its blob did
    PUT_UNKNOWN = auto()  # the first PUT of a new session was answered 404, as old Artifactory does if it has a body
    GARBLED = auto()  # the registry computed another digest from several bodies
    FORM_REFUSED = auto()  # this kind of request is not supported
    TOKEN_REFUSED = auto()  # a token was replaced since the blob last made progress


@dataclass(frozen=True, slots=True)
class Remedy:
    """What to do about a failure that is not final.

    Attributes:
        event: what it means for the upload.
        retry_after: seconds that the registry asks to wait, or None.
        at_once: the blob will be sent in another way: do not wait, and count failures from zero.
    """

    event: Event
    retry_after: float | None = None
    at_once: bool = False


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

    @property
    def chunk_size(self) -> int | None:
        """Bytes of a chunk; None: send the blob whole."""
        if self._wanted is None and self._setbacks[Setback.SESSION_LOST] > 1:
            return _CHUNK_AFTER_CUTS
        return self._wanted

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

    def committed(self) -> None:
        """The registry has the blob: what was a trial is known to work."""
        self._limits.patch_only |= self.patch_first

    def learn(self, failure: TransportError | RegistryError, step: Step | None) -> Remedy | None:
        """What to do about a failure; None if it is final. ``step`` is the part of the blob that was being sent, if any."""
        if step is None:  # a request that is safe to repeat has been repeated already
            return Remedy(Event.LOST, failure.retry_after) if isinstance(failure, UploadInvalidatedError) else None
        if isinstance(failure, TransportError):
            return Remedy(Event.BROKEN) if may_pass(failure) else None
        if self._changes_form(failure, step):
            return Remedy(Event.REFUSED, at_once=True)
        event = self._event_of(failure, step)
        if event is None:
            return None
        return Remedy(event, 0.0 if isinstance(failure, AuthenticationError) else failure.retry_after)

    def _event_of(self, failure: RegistryError, step: Step) -> Event | None:
        if "DIGEST_INVALID" in failure.codes:
            self._setbacks[Setback.GARBLED] += step.start > 0
            self._limits.unchunked |= self._setbacks[Setback.GARBLED] > 1 and self._limits.whole is None
            return Event.REFUSED
        if isinstance(failure, UploadInvalidatedError):
            self._setbacks[Setback.PUT_UNKNOWN] += failure.status == 404 and step.start == 0 and step.final
            return Event.LOST
        if isinstance(failure, AuthenticationError) and failure.renewable:
            self._setbacks[Setback.TOKEN_REFUSED] += 1
            return Event.BROKEN if self._setbacks[Setback.TOKEN_REFUSED] == 1 else None
        passing = isinstance(failure, RateLimitedError) or failure.status in RETRIED_STATUSES
        return Event.BROKEN if passing else None

    def _changes_form(self, failure: RegistryError, step: Step) -> bool:
        """Whether the failure says that the registry wants its blobs in another form."""
        if isinstance(failure, BlobTooLargeError):
            return self._shrink(failure, step)
        return self._adapt(failure, step)

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
