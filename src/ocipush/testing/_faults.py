"""Faults as data: which request is hit, and what befalls it; the schedule that finds the request. May import: nothing."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Side = Literal["request", "answer"]
"""The body of a request, or an answer with its head."""
Ending = Literal["reset", "close", "half-close"]
"""By RST; by close, which may become an RST where something is unread; by FIN, while what still comes is read."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What befalls the `nth` request that matches `on`, and the `times - 1` that match after it.

    Attributes:
        on: a pattern such as ``"PUT /v2/*/blobs/uploads/*"``, as those of ``Registry(allowed=)``.
        nth: counted from 1, over the life of the registry.
        times: how many requests in a row.
    """

    on: str = "*"
    nth: int = 1
    times: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        if self.nth < 1 or self.times < 1:
            raise ValueError("nth and times are counted from 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteFault(Fault):
    """A fault at a byte: once `after` bytes of the request's body, or of the answer, have passed.

    What never has that many bytes is not hit. With 0, a request is hit before it is looked at, and an answer when the
    request is carried out.
    """

    of: Side = "request"
    after: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut(ByteFault):
    """The connection ends. ``Cut(…, of="answer")`` is the lost commit: carried out, and never answered."""

    how: Ending = "reset"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall(ByteFault):
    """Nothing is read, or sent, for so many seconds; for ever by default."""

    seconds: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Drip(ByteFault):
    """From there on, so many bytes a second."""

    rate: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyAnswer(ByteFault):
    """The answer comes while the client is still writing, and then the connection ends."""

    of: Side = field(default="request", init=False)
    status: int = 413
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    how: Ending = "half-close"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart(ByteFault):
    """The registry dies, with every connection, and comes back after `down` seconds, without its upload sessions if told so."""

    down: float = 0.0
    keep_sessions: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse(Fault):
    """A status instead of what the registry would do. The request's body is read all the same."""

    status: int = 503
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit(Fault):
    """Too many requests, said in one of four ways.

    Attributes:
        wait: seconds until the client may come back.
        notation: a Retry-After header of seconds (whole ones), or a date (likewise); GHCR's milliseconds in the body;
            or GitHub's 403, whose text alone says what it is, and no time.
    """

    wait: float = 1.0
    notation: Literal["seconds", "date", "milliseconds", "forbidden"] = "seconds"

    _TEXT: ClassVar[str] = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."

    def refusal(self) -> Refuse:
        """Return what it comes to."""
        whole = math.ceil(self.wait)
        if self.notation == "forbidden":
            return _refuse(403, "DENIED", self._TEXT)
        if self.notation == "milliseconds":
            text = f"retry-after: {self.wait * 1000:.6g}ms, allowed: 2000/minute"
            return _refuse(429, "TOOMANYREQUESTS", text)
        after = str(whole) if self.notation == "seconds" else formatdate(math.ceil(time.time()) + whole, usegmt=True)
        return _refuse(429, "TOOMANYREQUESTS", "too many requests", **{"Retry-After": after})


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireTokens(Fault):
    """Every token issued so far is void, before the request is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate(Fault):
    """The request is carried out twice, as by a proxy that sends it again; the answer is the second one's."""


F = TypeVar("F", bound=Fault)


def _refuse(status: int, code: str, message: str, **headers: str) -> Refuse:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Refuse(status=status, body=body, headers={"Content-Type": "application/json", **headers})


class Schedule:
    """The faults still to come; `fired` are those that came, in their order."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._faults = [(fault, [0]) for fault in faults]
        self.fired: list[Fault] = []

    def meet(self, line: str) -> Trouble:
        """Return what befalls the request whose method and path are `line`, and count it."""
        due: list[Fault] = []
        for fault, seen in self._faults:
            if fnmatchcase(line, fault.on):
                seen[0] += 1
                if fault.nth <= seen[0] < fault.nth + fault.times:
                    due.append(fault)
        return Trouble(due, self.fired)


class Trouble:
    """What befalls one request and its answer."""

    def __init__(self, due: list[Fault], fired: list[Fault]) -> None:
        self._due = due
        self._fired = fired

    def take(self, kind: type[F]) -> F | None:
        """Return the fault of this kind that fires now, if there is one."""
        for fault in self._due:
            if isinstance(fault, kind):
                self._due.remove(fault)
                self._fired.append(fault)
                return fault
        return None

    def take_at(self, side: Side, position: int) -> ByteFault | None:
        """Return the fault that fires once `position` bytes have passed, if there is one."""
        due = [fault for fault in self._at(side) if fault.after <= position]
        if not due:
            return None
        first = min(due, key=lambda fault: fault.after)
        self._due.remove(first)
        self._fired.append(first)
        return first

    def room(self, side: Side, position: int) -> int | None:
        """Return how many bytes may pass until the next fault, None where none is left."""
        return min((fault.after - position for fault in self._at(side)), default=None)

    def _at(self, side: Side) -> list[ByteFault]:
        return [fault for fault in self._due if isinstance(fault, ByteFault) and fault.of == side]
