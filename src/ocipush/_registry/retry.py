"""Whether and when to try again: the one mechanism for first contacts, requests and blobs."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import anyio

from .._http.request import Effort
from ..errors import ConnectFailedError, TLSVerificationError, TransportError, UnsafeLocationError

if TYPE_CHECKING:
    from collections.abc import Callable

    OnRetry = Callable[[str, str, int, float], None]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request or a blob is tried, and how long to wait between attempts: exponential backoff with jitter.

    Only requests and blobs are retried, never the whole image. A blob that made progress since its last failure starts
    counting again.

    Attributes:
        attempts: maximum number of attempts, including the first; 1 means no retries.
        base: the longest first wait, in seconds; it doubles with each attempt.
        cap: the longest wait, in seconds, also for a registry's Retry-After.
        jitter: the random share of each wait, 0 to 1.
        deadline: seconds that a whole push may take, including waits; None means no limit.
    """

    attempts: int = 5
    base: float = 0.5
    cap: float = 60.0
    jitter: float = 1.0
    deadline: float | None = None

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            kind = int if name == "attempts" else int | float
            if isinstance(value, bool) or not (isinstance(value, kind) or (value is None and name == "deadline")):
                raise TypeError(
                    f"{name} must be {'an integer' if kind is int else 'a number'}, not {type(value).__name__}"
                )
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, not {self.attempts}")
        if not 0 <= self.base < float("inf"):
            raise ValueError(f"base must be at least 0 seconds, and finite, not {self.base}")
        if not self.cap >= 0:
            raise ValueError(f"cap must be at least 0 seconds, not {self.cap}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter must be from 0 to 1, not {self.jitter}")
        if self.deadline is not None and not self.deadline > 0:
            raise ValueError(f"deadline must be more than 0 seconds, or None for no limit, not {self.deadline}")

    def delay(self, attempt: int, *, retry_after: float | None = None, chance: float | None = None) -> float | None:
        """Seconds to wait after attempt number ``attempt`` (from 1) failed, or None if it was the last.

        A registry's Retry-After is respected, up to ``cap``. ``chance`` (0 to 1) replaces the random number in tests.
        """
        if attempt >= self.attempts:
            return None
        if retry_after is not None:
            return min(retry_after, self.cap)
        share = random.random() if chance is None else chance  # noqa: S311 - spreads clients out, hides nothing
        return min(self.cap, self.base * 2.0 ** min(attempt - 1, 62)) * (1 - self.jitter * (1 - share))


def may_pass(failure: TransportError) -> bool:
    """Whether another attempt can succeed: not after a TLS error, an unknown name, or an address that is not allowed."""
    if isinstance(failure, ConnectFailedError):
        return failure.temporary
    return not isinstance(failure, TLSVerificationError | UnsafeLocationError)


class Attempts:
    """Attempts at one thing: a first contact, a request, or a blob. Counts them, and waits between them.

    Args:
        policy: how many, and how long to wait.
        what: what is tried, for messages.
        on_retry: called with (what, why, number of the next attempt, seconds) before each wait.
        whole: the effort that this is part of.

    Attributes:
        effort: what the attempts have cost so far, for errors.
    """

    def __init__(self, policy: RetryPolicy, what: object, on_retry: OnRetry, *, whole: Effort | None = None) -> None:
        self._policy = policy
        self._what = what
        self._on_retry = on_retry
        self._failures = 0  # since the last progress
        self.effort = Effort(whole)

    def delay(self, *, retry_after: float | None = None) -> float | None:
        """Count a failure. Seconds to wait before the next attempt; None: this was the last one."""
        self._failures += 1
        return self._policy.delay(self._failures, retry_after=retry_after)

    def progressed(self) -> None:
        """Count failures from zero again."""
        self._failures = 0

    async def wait(self, reason: str, delay: float) -> None:
        """Wait for the next attempt."""
        self._on_retry(str(self._what), reason, self.effort.attempts + 1, delay)
        await anyio.sleep(delay)
        self.effort.attempts += 1
