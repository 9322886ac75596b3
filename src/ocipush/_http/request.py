"""A request, and what has been spent on the thing it is for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict

import anyio

from .redact import redact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .body import FileBody


class Facts(TypedDict):
    """What an error says about the request that failed, as keyword arguments of its class."""

    method: str
    url: str
    attempts: int
    sent: int
    seconds: float


@dataclass(slots=True, eq=False)
class Effort:
    """What something has taken so far: a request, a blob, a first contact. Errors are made with it.

    Attributes:
        whole: what this is a part of, such as the blob that a request is for.
        attempts: the number of the attempt under way, from 1.
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
        headers: besides those that every request has.
        body: sent with its Content-Length.
        commits: bytes that the registry has to store before it can answer, of a request that sends a part of a blob; None:
            the answer is not waited for longer than usual.
        effort: what has been spent on the request, or on what it is part of; None: nothing yet.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    body: bytes | FileBody = field(default=b"", repr=False)
    commits: int | None = None
    effort: Effort | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.method} {redact(self.url)}"

    def facts(self) -> Facts:
        """What an error that ends this request now is made with; the tries are those of the whole where there is one."""
        effort, shown = self.effort, redact(self.url)
        if effort is None:
            return Facts(method=self.method, url=shown, attempts=1, sent=0, seconds=0.0)
        attempts = effort.attempts
        while effort.whole is not None:
            effort = effort.whole
            attempts = max(attempts, effort.attempts)
        seconds = anyio.current_time() - effort.started
        return Facts(method=self.method, url=shown, attempts=attempts, sent=effort.sent, seconds=seconds)
