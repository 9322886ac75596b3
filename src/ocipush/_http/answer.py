"""An HTTP answer, and what it says about waiting."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORDS: Final = 4096  # bytes of an error's body that are searched for a rate limit


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, read whole. Header names are lower-case.

    ``attempts`` is how often the request was made for it, and ``seconds`` what that took where it was more than once;
    ``renewable`` is said of a 401 for which another token can be had; ``latency``, of a request sent at once, is known
    where our own transport sent it.
    """

    method: str
    url: str = field(repr=False)
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    attempts: int = 1
    seconds: float = 0.0
    renewable: bool = False
    latency: float | None = None

    @property
    def is_rate_limit(self) -> bool:
        """Whether the registry wants fewer requests."""
        return is_rate_limit(self.status, self._words)

    @property
    def retry_after(self) -> float | None:
        """Seconds that the registry asks to wait, in whichever notation, or None."""
        return parse_retry_after(
            self.headers.get("retry-after"), date=self.headers.get("date"), words=self._words, now=time.time()
        )

    @property
    def _words(self) -> str:
        return self.body[:_WORDS].decode("utf-8", "replace") if self.status >= 400 else ""


_RATE_LIMIT = re.compile(r"rate.?limit|too many requests|TOOMANYREQUESTS", re.IGNORECASE)


def is_rate_limit(status: int, words: str) -> bool:
    """Whether an answer asks for fewer requests: 429, or a 403 that says so in words (GHCR's secondary limit)."""
    return status == 429 or (status == 403 and _RATE_LIMIT.search(words) is not None)


_SECONDS: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_IN_WORDS: Final = re.compile(r"retry[- ]after:? ?([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(ms|s|m|h)\b", re.IGNORECASE)
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_retry_after(value: str | None, *, date: str | None = None, words: str = "", now: float) -> float | None:
    """Seconds that a registry asks to wait; None when it does not say.

    Args:
        value: the Retry-After header: seconds, or a date (RFC 9110, 10.2.3).
        date: the Date header. The date above is read by the server's own clock, where it tells.
        words: the answer's own words; GHCR says ``retry-after: 10.3ms`` there.
        now: the wall clock in seconds since the epoch, for a server that tells no Date.
    """
    value = (value or "").strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    if (moment := _moment(value)) is not None:
        theirs = _moment(date or "")
        return max(0.0, moment - (now if theirs is None else theirs))
    if found := _IN_WORDS.search(words):
        return float(found[1]) * _UNITS[found[2].lower()]
    return None


def _moment(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
