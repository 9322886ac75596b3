"""Keep secrets and control characters out of what people read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_PATH: Final = 500  # characters of a URL's path that an error shows
MAX_DETAIL: Final = 1000  # characters of a registry's own words that an error shows
SHORTEST_SECRET: Final = 8  # characters; a shorter one would be removed from words that happen to contain it


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


def conceal(words: str, secrets: Iterable[str]) -> str:
    """A registry's words without secrets that it should not echo, as they are or quoted for a URL."""
    for secret in secrets:
        for spelt in {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}:
            if len(spelt) >= SHORTEST_SECRET:
                words = words.replace(spelt, "…")
    return words


def without_query(words: str, url: str) -> str:
    """A registry's words about a request, without the values in its URL's query: storage services echo signatures."""
    pairs = (pair.partition("=") for pair in urlsplit(url).query.split("&"))
    values = [value for name, _, value in pairs if name not in {"digest", "mount", "from", "scope", "service"}]
    return conceal(words, (*values, *map(unquote, values), *map(unquote_plus, values)))
