"""From an attempt and a failure decide whether and when to try again; read Retry-After."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
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
