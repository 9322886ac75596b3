"""How a blob gets into a repository, without I/O: the states of an upload, and its session.

The state machine is drawn in docs/uploads.md; the requests that each state makes are in ``_push.upload``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from .limits import Limits


class State(Enum):
    """What an upload does next."""

    PROBING = "probing"  # ask whether the registry has it
    OPENING = "opening"  # open an upload session, or have the blob mounted
    SENDING = "sending"  # send the next part of it
    CHECKING = "checking"  # a part may have arrived, or all of it: ask for the blob
    RESUMING = "resuming"  # ask how much of the session is stored
    DONE = "done"


class Event(Enum):
    """What came of that."""

    FOUND = "found"  # the registry has the blob
    ABSENT = "absent"  # it does not, or its answer is unclear
    MOUNTED = "mounted"  # the registry has linked the blob
    OPENED = "opened"  # there is an upload session
    STORED = "stored"  # the registry has stored a part of it
    COMMITTED = "committed"  # the registry has stored the blob
    BROKEN = "broken"  # no answer, or a temporary one: what arrived is unknown
    LOST = "lost"  # there is no session that can be resumed
    REFUSED = "refused"  # the registry wants the blob in another form, or received it damaged


TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.PROBING, Event.FOUND): State.DONE,
    (State.PROBING, Event.ABSENT): State.OPENING,
    (State.OPENING, Event.FOUND): State.DONE,
    (State.OPENING, Event.MOUNTED): State.DONE,
    (State.OPENING, Event.OPENED): State.SENDING,
    (State.OPENING, Event.LOST): State.CHECKING,
    (State.SENDING, Event.STORED): State.SENDING,
    (State.SENDING, Event.COMMITTED): State.DONE,
    (State.SENDING, Event.FOUND): State.DONE,
    (State.SENDING, Event.BROKEN): State.CHECKING,
    (State.SENDING, Event.LOST): State.CHECKING,
    (State.SENDING, Event.REFUSED): State.CHECKING,
    (State.CHECKING, Event.FOUND): State.DONE,
    (State.CHECKING, Event.ABSENT): State.RESUMING,
    (State.RESUMING, Event.STORED): State.SENDING,
    (State.RESUMING, Event.LOST): State.OPENING,
}

_RANGE: Final = re.compile(r"(?:bytes[= ])?0-(-?[0-9]{1,19})")


def parse_range(value: str | None) -> int | None:
    """The number of stored bytes according to a Range header, or None (distribution-spec, "Pushing a blob in chunks").

    ``0-N`` with N the last byte's offset, after ``bytes=`` or not. Quay counts one byte too many, and sends ``0--1``
    for nothing. ``0-0`` can mean nothing or one byte, so it is read as nothing.
    """
    found = _RANGE.fullmatch((value or "").strip())
    if found is None:
        return None
    last = int(found[1])
    return last + 1 if last > 0 else 0


@dataclass(frozen=True, slots=True)
class Step:
    """The next request of a session: bytes ``start`` to ``end`` of the blob. The ``final`` one names the digest."""

    method: Literal["PATCH", "PUT"]
    start: int
    end: int
    final: bool
    ranged: bool

    @property
    def content_range(self) -> str | None:
        """The Content-Range header, inclusive and without a unit; None if it is not needed."""
        return f"{self.start}-{self.end - 1}" if self.ranged else None


class Session:
    """An upload session of a blob of ``size`` bytes.

    Args:
        location: where the next request goes.
        least, most: bytes of a chunk that the registry announces (OCI-Chunk-Min-Length, OCI-Chunk-Max-Length).
        acknowledged: bytes that the registry has said are stored.
        sent: bytes that were written to the network, over all its requests.

    Attributes:
        offset: where the next request begins.
        reach: where the requests made so far end. A little more can have arrived than was counted as written.
        gone: the registry has said that it no longer exists.
    """

    def __init__(
        self,
        location: str,
        size: int,
        *,
        least: int = 0,
        most: int | None = None,
        acknowledged: int = 0,
        sent: int = 0,
    ) -> None:
        self.location = location
        self.size = size
        self.least = least
        self.most = most
        self.acknowledged = self.offset = acknowledged
        self.sent = self.reach = max(sent, acknowledged)
        self.gone = False
        self._refused: set[int] = set()

    def next_step(
        self,
        limits: Limits,
        *,
        chunk_size: int | None = None,
        patch_first: bool = False,
        closes_empty: bool = False,
    ) -> Step:
        """The next request: the rest of the blob in the final PUT, unless a limit requires chunks.

        ``patch_first``: like :attr:`Limits.patch_only`, as a trial. ``closes_empty``: after a PATCH, the final PUT has no
        body (Harbor records its length as the size of the blob).
        """
        left = self.size - self.offset
        sizes = [size for size in (chunk_size, self.most, limits.whole) if size and not limits.unchunked]
        if limits.ranged and not limits.unchunked and (self.offset or (sizes and left > min(sizes))):
            sizes.append(limits.ranged)  # the body will have a Content-Range
        chunk = max(min(sizes), self.least) if sizes else None
        if chunk is not None and left > chunk:
            return self._step("PATCH", chunk, ranged=True)
        if left and (patch_first or limits.patch_only or (closes_empty and self.offset)):
            return self._step("PATCH", left, ranged=self.offset > 0)
        return self._step("PUT", left, ranged=self.offset > 0 and left > 0)

    def _step(self, method: Literal["PATCH", "PUT"], length: int, *, ranged: bool) -> Step:
        return Step(method, self.offset, self.offset + length, method == "PUT", ranged)

    def stored(self, end: int, location: str | None) -> None:
        """A PATCH up to ``end`` was acknowledged. The Range of the answer is ignored: some registries report a wrong one."""
        self.offset = self.acknowledged = end
        self.sent = max(self.sent, end)
        self._refused.clear()
        self.location = location or self.location

    def resume(self, stored: int | None, location: str | None = None) -> bool:
        """Resume after the bytes that the registry says are ``stored``; False if that contradicts what is known.

        If the same number comes again after a 416, it is one byte less (Quay). A session without stored bytes is not resumed.
        """
        self.location = location or self.location
        for offset in (stored, stored - 1) if stored is not None else ():
            if offset not in self._refused and offset > 0 and self.acknowledged <= offset <= self.reach:
                self.offset = offset
                return True
        return False

    def out_of_range(self) -> None:
        """The registry answered 416 to a request from ``offset`` on."""
        self._refused.add(self.offset)
