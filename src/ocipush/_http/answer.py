"""An HTTP answer, and what it says about waiting."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .request import Request

_WORDS: Final = 4096  # bytes of an error's body that are searched for a rate limit


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, read whole.

    Attributes:
        request: what it answers.
        headers: their names in lower case; repeated ones are joined by commas.
        renewable: of a 401, whether another token can be had.
        latency: seconds from a request that was sent at once to its answer, where our own transport sent it.
    """

    request: Request
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    renewable: bool = False
    latency: float | None = None

    @property
    def words(self) -> str:
        """The first words of the body of a refusal, where a rate limit may be told; empty for an answer that says yes."""
        return self.body[:_WORDS].decode("utf-8", "replace") if self.status >= 400 else ""

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait, in whichever notation, or None."""
        return parse_retry_after(
            self.headers.get("retry-after"), date=self.headers.get("date"), words=self.words, now=time.time()
        )


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
