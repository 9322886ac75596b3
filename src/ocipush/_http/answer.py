"""An HTTP answer, and how long it asks to wait."""

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
        renewable: whether a 401 can be answered with another token.
        latency: seconds from the last byte of the request to the answer, if it is known.
    """

    request: Request
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    renewable: bool = False
    latency: float | None = None

    @property
    def words(self) -> str:
        """The beginning of the body of a refusal, which can mention a rate limit; empty if the request succeeded."""
        return self.body[:_WORDS].decode("utf-8", "replace") if self.status >= 400 else ""

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait, or None."""
        return parse_retry_after(
            self.headers.get("retry-after"), date=self.headers.get("date"), words=self.words, now=time.time()
        )


_SECONDS: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_IN_WORDS: Final = re.compile(r"retry[- ]after:? ?([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(ms|s|m|h)\b", re.IGNORECASE)
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_retry_after(value: str | None, *, date: str | None = None, words: str = "", now: float) -> float | None:
    """Seconds that a server asks to wait, or None.

    Args:
        value: the Retry-After header: seconds, or a date (RFC 9110, 10.2.3).
        date: the Date header, the server's own clock for a date in Retry-After.
        words: the beginning of the body, where GHCR writes ``retry-after: 10.3ms``.
        now: the wall clock in seconds since the epoch, for a server that sends no Date.
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
