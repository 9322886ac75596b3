"""A request, and what the job that it belongs to has cost so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypedDict

import anyio

from .redact import redact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .body import FileBody


Peer = Literal["registry", "token service", "storage"]


class Facts(TypedDict):
    """What an error says about its request, as keyword arguments of the error's class."""

    method: str
    url: str
    attempts: int
    sent: int
    seconds: float


@dataclass(slots=True, eq=False)
class Effort:
    """What a job has cost so far: a request, a blob, or a first contact. Errors say it.

    Attributes:
        whole: the larger job that this is part of, such as the blob that a request is for.
        attempts: the number of the current attempt, from 1.
        sent: bytes of a blob written to the network, over all attempts.
        started: when the first attempt began, on the event loop's clock.
    """

    whole: Effort | None = None
    attempts: int = 1
    sent: int = 0
    started: float = field(default_factory=anyio.current_time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request.

    Attributes:
        method, url: as in the request line.
        headers: in addition to those that every request has.
        body: sent with its Content-Length.
        commits: bytes of a blob that the registry has to store before it can answer, which takes longer; None for requests
            that store nothing.
        effort: what the request, or the job that it is part of, has cost so far; None: nothing yet.
        peer: which server it is for; errors name it.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    body: bytes | FileBody = field(default=b"", repr=False)
    commits: int | None = None
    effort: Effort | None = field(default=None, repr=False)
    peer: Peer = "registry"

    def __str__(self) -> str:
        return f"{self.method} {redact(self.url)}" + ("" if self.peer == "registry" else f" ({self.peer})")

    def facts(self) -> Facts:
        """What an error about this request says now. The counts are those of the whole job, if there is one."""
        effort, shown = self.effort, redact(self.url)
        if effort is None:
            return Facts(method=self.method, url=shown, attempts=1, sent=0, seconds=0.0)
        attempts = effort.attempts
        while effort.whole is not None:
            effort = effort.whole
            attempts = max(attempts, effort.attempts)
        seconds = anyio.current_time() - effort.started
        return Facts(method=self.method, url=shown, attempts=attempts, sent=effort.sent, seconds=seconds)
