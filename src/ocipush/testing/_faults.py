"""Faults as data: which request a fault hits, and what happens to it."""

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
"""The body of a request, or its response, headers included."""
Ending = Literal["reset", "close", "half-close"]
"""Send a RST; close, which sends a RST too if there are unread bytes; send a FIN, and read on."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to the `nth` request that matches `on`, and to the next `times - 1` that match.

    Attributes:
        on: a pattern such as ``"PUT /v2/*/blobs/uploads/*"``, like those of ``Registry(allowed=)``.
        nth: which of the matching requests is hit first, counted from 1 over the life of the registry.
        times: how many matching requests in a row are hit.
    """

    on: str = "*"
    nth: int = 1
    times: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        if self.nth < 1 or self.times < 1:
            raise ValueError("nth and times are counted from 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteFault(Fault):
    """A fault at a byte: it fires after `after` bytes of the request's body, or of the response.

    It does not fire if there are fewer bytes. With ``after=0``, a fault of the request fires before the registry looks
    at the request, and one of the response after the registry has processed it.
    """

    of: Side = "request"
    after: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut(ByteFault):
    """The connection ends. ``Cut(…, of="answer")`` is a lost commit: processed, but the response never arrives."""

    how: Ending = "reset"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall(ByteFault):
    """Nothing is read, or sent, for so many seconds; by default, for ever."""

    seconds: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Drip(ByteFault):
    """From this byte on, `rate` bytes per second."""

    rate: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyAnswer(ByteFault):
    """The response arrives while the client is still sending, and then the connection ends."""

    of: Side = field(default="request", init=False)
    status: int = 413
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    how: Ending = "half-close"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart(ByteFault):
    """Every connection ends; after `down` seconds the registry listens again, with its open upload sessions or without them."""

    down: float = 0.0
    keep_sessions: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse(Fault):
    """The registry responds with `status` instead of processing the request. The request's body is still read."""

    status: int = 503
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class WebPage(Fault):
    """A proxy or a firewall responds instead of the registry, with HTML. The request's body is still read."""

    status: int = 503


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayTimeout(Fault):
    """The registry processes the request, but `wait` seconds later the client gets a web page instead of the response.

    Content delivery networks and proxies do so when they have waited too long: 504, 499 (nginx), 520, 522 or 524
    (Cloudflare).
    """

    status: int = 504
    wait: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit(Fault):
    """Too many requests, in one of four notations.

    Attributes:
        wait: seconds until the client may try again.
        notation: a Retry-After header with whole seconds, or with a date; GHCR's milliseconds in the body; or
            GitHub's 403, which only its text identifies, and which names no time.
    """

    wait: float = 1.0
    notation: Literal["seconds", "date", "milliseconds", "forbidden"] = "seconds"

    _TEXT: ClassVar[str] = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."

    def refusal(self) -> Refuse:
        """Return the equivalent `Refuse` fault."""
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
    """All tokens issued so far become invalid before the registry looks at the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate(Fault):
    """The request is processed twice, as if a proxy had repeated it; the client gets the second response."""


F = TypeVar("F", bound=Fault)


def _refuse(status: int, code: str, message: str, **headers: str) -> Refuse:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Refuse(status=status, body=body, headers={"Content-Type": "application/json", **headers})


class Schedule:
    """The faults that have not fired yet; `fired` lists those that have, in order."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._faults = [(fault, [0]) for fault in faults]
        self.fired: list[Fault] = []

    def faults_for(self, line: str) -> RequestFaults:
        """Count the request whose method and path are `line`, and return its faults."""
        due: list[Fault] = []
        for fault, seen in self._faults:
            if fnmatchcase(line, fault.on):
                seen[0] += 1
                if fault.nth <= seen[0] < fault.nth + fault.times:
                    due.append(fault)
        return RequestFaults(due, self.fired)


class RequestFaults:
    """The faults of one request and its response."""

    def __init__(self, due: list[Fault], fired: list[Fault]) -> None:
        self._due = due
        self._fired = fired

    def take(self, kind: type[F]) -> F | None:
        """Fire the fault of this kind, and return it; None if there is none."""
        for fault in self._due:
            if isinstance(fault, kind):
                self._due.remove(fault)
                self._fired.append(fault)
                return fault
        return None

    def take_at(self, side: Side, position: int) -> ByteFault | None:
        """Fire the fault that is due after `position` bytes, and return it; None if there is none."""
        due = [fault for fault in self._at(side) if fault.after <= position]
        if not due:
            return None
        first = min(due, key=lambda fault: fault.after)
        self._due.remove(first)
        self._fired.append(first)
        return first

    def room(self, side: Side, position: int) -> int | None:
        """Return how many bytes may pass until the next fault; None if there is none."""
        return min((fault.after - position for fault in self._at(side)), default=None)

    def _at(self, side: Side) -> list[ByteFault]:
        return [fault for fault in self._due if isinstance(fault, ByteFault) and fault.of == side]
