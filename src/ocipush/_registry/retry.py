"""From an attempt and a failure decide whether and when to try again; read Retry-After."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from ..errors import ConnectFailedError, TLSVerificationError, TransportError, UnsafeLocationError

RETRIED_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request or a blob is tried, and how long to wait between: exponential with jitter.

    It is never the whole image that is tried again. A blob that got on since the last failure starts counting anew.

    Attributes:
        attempts: tries in all, the first included; 1 never retries.
        base: seconds; the first wait is at most this, and each further one at most twice the one before.
        cap: seconds; no wait is longer, a registry's Retry-After included.
        jitter: the share of each wait that is left to chance, 0 to 1.
        deadline: seconds that a whole push may take, waits included; None: as long as it gets on.
    """

    attempts: int = 5
    base: float = 0.5
    cap: float = 60.0
    jitter: float = 1.0
    deadline: float | None = None

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.base < 0 or self.cap < 0:
            raise ValueError("attempts must be at least 1, base and cap at least 0")
        if not 0 <= self.jitter <= 1:
            raise ValueError("jitter must be from 0 to 1")
        if self.deadline is not None and self.deadline <= 0:
            raise ValueError("deadline must be more than 0, or None")

    def delay(self, attempt: int, *, retry_after: float | None = None, chance: float | None = None) -> float | None:
        """Seconds to wait after attempt number ``attempt`` (from 1) failed, or None when it was the last.

        A registry that says when to come back is believed, up to ``cap``. ``chance`` (0 to 1) replaces chance in tests.
        """
        if attempt >= self.attempts:
            return None
        if retry_after is not None:
            return min(retry_after, self.cap)
        share = random.random() if chance is None else chance  # noqa: S311 - spreads clients out, hides nothing
        return min(self.cap, self.base * 2.0 ** min(attempt - 1, 62)) * (1 - self.jitter * (1 - share))


def may_pass(failure: TransportError) -> bool:
    """Whether trying again can help: not where TLS fails, a name does not exist, or the registry names a bad address."""
    if isinstance(failure, ConnectFailedError):
        return failure.temporary
    return not isinstance(failure, TLSVerificationError | UnsafeLocationError)
