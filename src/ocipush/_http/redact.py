"""Keep secrets and control characters out of what people read."""

from __future__ import annotations

import base64
import html
import re
from functools import cached_property
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, unquote_plus, urlsplit, urlunsplit

from ..errors import UnsafeLocationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

MAX_PATH: Final = 500  # characters of a URL's path that an error shows
MAX_DETAIL: Final = 1000  # characters of a registry's own words that an error shows
SHORTEST_SECRET: Final = 8  # characters; a shorter one would be removed from words that happen to contain it
_SAMPLE: Final = 5  # characters that are looked up before anything is compared
_LONGEST: Final = 16 * 1024  # characters of a text that are searched for secrets, far more than are shown
_DEPTH: Final = 4  # readings of a text: as it is, and with up to three levels of escapes undone
_NOT_SECRET: Final = frozenset({"digest", "mount", "from", "scope", "service"})  # names in a query
_ESCAPE: Final = re.compile(
    r"(?:%[0-9a-f]{2})+|(?:\\u[0-9a-f]{4})+|(?:\\x[0-9a-f]{2})+|\\.|&(?:#[0-9]{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,30});",
    re.IGNORECASE | re.DOTALL,
)


def printable(text: str) -> str:
    """Shorten ``text``, and replace what is not printable: a registry's words must not control the terminal."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text[: 4 * MAX_DETAIL])
    text = text.strip()
    return text if len(text) <= MAX_DETAIL else text[:MAX_DETAIL] + "…"


def redact(url: str) -> str:
    """A URL for logs and errors: without user information, and of its query only the digest (upload URLs can be signed)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not a URL)"
    digest = re.search(r"(?:^|&)digest=(sha[0-9]+(?::|%3A)[0-9a-f]+)", parts.query)
    query = f"…&digest={digest[1]}" if digest else "…"
    path = parts.path if len(parts.path) <= MAX_PATH else parts.path[:MAX_PATH] + "…"
    return printable(
        urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, query if parts.query else "", ""))
    )


class Secret:
    """Something that must not be shown: a password, a token, or the values of a signed query.

    It is recognised verbatim, in other case, with percent, JSON and HTML escapes, in base64 at any of the three offsets,
    with spaces or control characters in between, and in parts of 8 characters or more. What that takes is computed when
    a text is first searched for it.
    """

    def __init__(self, text: str, *, is_url: bool = False) -> None:
        self._text = text
        self._is_url = is_url

    @cached_property
    def _spellings(self) -> tuple[str, ...]:
        texts = _query_values(self._text) if self._is_url else {self._text, self._text.replace(" ", "+")}
        spellings = {spelling for text in texts if len(text) >= SHORTEST_SECRET for spelling in _spell(text)}
        return tuple(spelling for spelling in spellings if len(spelling) >= SHORTEST_SECRET)

    @cached_property
    def _samples(self) -> frozenset[str]:
        """Pieces, one of which is in every part of 8 characters. They are 5 long, and begin at every fourth character."""
        return frozenset(
            spelling[start : start + _SAMPLE]
            for spelling in self._spellings
            for start in range(0, len(spelling) - _SAMPLE + 1, SHORTEST_SECRET - _SAMPLE + 1)
        )

    def find(self, text: str, pieces: set[str]) -> Iterator[int]:
        """Where parts of 8 characters of the secret begin in ``text``, whose pieces of 5 characters are ``pieces``."""
        judged: dict[str, bool] = {}
        for sample in self._samples & pieces:
            position = text.find(sample)
            while position >= 0:
                for start in range(max(0, position - SHORTEST_SECRET + _SAMPLE), position + 1):
                    part = text[start : start + SHORTEST_SECRET]
                    if part not in judged:
                        judged[part] = len(part) == SHORTEST_SECRET and any(part in one for one in self._spellings)
                    if judged[part]:
                        yield start
                position = text.find(sample, position + 1)


def conceal(words: str, secrets: Iterable[Secret]) -> str:
    """A registry's words without what it should not say back, however it spells it. No more than 16 KiB of them are kept."""
    words = words[:_LONGEST]
    secrets = tuple(secrets)
    reading = _Reading(words, range(len(words)), range(1, len(words) + 1))
    hidden: list[tuple[int, int]] = []
    for _ in range(_DEPTH):
        hidden += reading.find(secrets)
        if (unescaped := reading.unescape()) is None:
            break
        reading = unescaped
    for start, end in _merge(hidden):
        words = f"{words[:start]}…{words[end:]}"
    return words


def conceal_error(error: BaseException, hide: Callable[[str], str]) -> None:
    """Conceal secrets in all that an error, and those it came from, say. The hint of most errors is ours."""
    seen, left = set[int](), [error]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        _conceal_attributes(one, hide)
        left += [cause for cause in (one.__cause__, one.__context__) if cause is not None]
        left += one.exceptions if isinstance(one, BaseExceptionGroup) else ()


def _conceal_attributes(one: BaseException, hide: Callable[[str], str]) -> None:
    args = tuple(hide(arg) if isinstance(arg, str) else arg for arg in one.args)
    if args != one.args:
        one.args = args
    for name in (*vars(one), "strerror"):
        value = getattr(one, name, None)
        if isinstance(value, str) and (name != "hint" or isinstance(one, UnsafeLocationError)):
            setattr(one, name, hide(value))


def without_query(words: str, url: str) -> str:
    """A registry's words about a request, without what the query of its URL said: storage services say back signatures."""
    return conceal(words, [Secret(url, is_url=True)]) if "?" in url else words


def _query_values(url: str) -> set[str]:
    pairs = [pair.partition("=") for pair in url.partition("?")[2].split("&")]
    values = [value or name for name, _, value in pairs if name not in _NOT_SECRET]
    return {*map(unquote, values), *map(unquote_plus, values)}


def _spell(secret: str) -> Iterator[str]:
    """How a secret looks in a reading: verbatim, or in base64 behind any number of other bytes."""
    yield _fold(secret)
    raw = secret.encode("utf-8", "surrogatepass")
    for before in range(3):
        whole = (before + len(raw)) * 8 // 6  # the next character depends on what follows
        for altchars in (b"+/", b"-_"):
            encoded = base64.b64encode(bytes(before) + raw, altchars).decode()
            yield encoded[before + 1 if before else 0 : whole].lower()


def _fold(text: str) -> str:
    return "".join(c for c in text if c.isprintable() and c != " ").casefold()


class _Reading:
    """A text, with escapes undone or not, and where in the original each of its characters begins and ends."""

    def __init__(self, text: str, starts: Sequence[int], ends: Sequence[int]) -> None:
        self._text = text
        self._starts = starts
        self._ends = ends

    def find(self, secrets: Iterable[Secret]) -> Iterator[tuple[int, int]]:
        """The places in the original that show a part of a secret."""
        folded = _fold(self._text)
        pieces = {folded[at : at + _SAMPLE] for at in range(len(folded) - _SAMPLE + 1)}
        found = {start for secret in secrets for start in secret.find(folded, pieces)}
        if found:
            at = [place for place, c in enumerate(self._text) for _ in _fold(c)]
            for start in found:
                yield self._starts[at[start]], self._ends[at[start + SHORTEST_SECRET - 1]]

    def unescape(self) -> _Reading | None:
        """The reading with one more level of escapes undone; None if there is none."""
        if _ESCAPE.search(self._text) is None:
            return None
        text: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        position = 0
        for match in _ESCAPE.finditer(self._text):
            text.append(self._text[position : match.start()])
            starts += self._starts[position : match.start()]
            ends += self._ends[position : match.start()]
            meant = _unescape(match)
            text.append(meant)
            starts += [self._starts[match.start()]] * len(meant)
            ends += [self._ends[match.end() - 1]] * len(meant)
            position = match.end()
        text.append(self._text[position:])
        return _Reading("".join(text), [*starts, *self._starts[position:]], [*ends, *self._ends[position:]])


def _unescape(match: re.Match[str]) -> str:
    escaped = match[0]
    if escaped[0] == "%":
        return unquote(escaped)
    if escaped[0] == "&":
        return html.unescape(escaped)
    if escaped[1] in "uU" and len(escaped) > 2:
        units = bytes.fromhex(escaped.lower().replace("\\u", ""))
        return units.decode("utf-16-be", "replace")
    if escaped[1] in "xX" and len(escaped) > 2:
        return bytes.fromhex(escaped.lower().replace("\\x", "")).decode("utf-8", "replace")
    return " " if escaped[1] in "bfnrt" else escaped[1]


def _merge(places: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Places that overlap as one, the last one first."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(places):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged[::-1]
