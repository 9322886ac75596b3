"""From an attempt and a failure decide whether and when to try again; read Retry-After.

May import: errors.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from .errors import ConnectFailedError, TLSVerificationError, UnsafeLocationError

if TYPE_CHECKING:
    from .errors import TransportError

RETRIED_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request or a blob is tried, and how long to wait between: exponential with full jitter.

    Attributes:
        attempts: tries in all, the first included; 1 never retries.
        base: seconds; the first wait is at most this, and each further one at most twice the one before.
        cap: seconds; no wait is longer, a registry's Retry-After included.
    """

    attempts: int = 5
    base: float = 0.5
    cap: float = 60.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.base < 0 or self.cap < 0:
            raise ValueError("attempts must be at least 1, base and cap at least 0")

    def delay(self, attempt: int, *, retry_after: float | None = None, jitter: float | None = None) -> float | None:
        """Seconds to wait after attempt number ``attempt`` (from 1) failed, or None when it was the last.

        A registry that says when to come back is believed, up to ``cap``. ``jitter`` (0 to 1) replaces chance in tests.
        """
        if attempt >= self.attempts:
            return None
        if retry_after is not None:
            return min(retry_after, self.cap)
        share = random.random() if jitter is None else jitter  # noqa: S311 - spreads clients out, hides nothing
        return min(self.cap, self.base * 2.0 ** min(attempt - 1, 62)) * share


def may_pass(failure: TransportError) -> bool:
    """Whether trying again can help: not where TLS fails, a name does not exist, or the registry names a bad address."""
    if isinstance(failure, ConnectFailedError):
        return failure.temporary
    return not isinstance(failure, TLSVerificationError | UnsafeLocationError)


def parse_retry_after(value: str | None, *, now: float) -> float | None:
    """Seconds to wait as a Retry-After header says (RFC 9110, 10.2.3): seconds, or a date. None when it says nothing.

    ``now`` is the wall clock in seconds since the epoch.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    try:
        moment = parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0.0, moment - now)
