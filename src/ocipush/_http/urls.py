"""URLs: origins, Locations, queries."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit, urlunsplit

import httpx

from ..errors import UnsafeLocationError
from .redact import redact

# Hosts and ports as all URL parsers read them alike: ASCII names only, no escapes.
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
# A URL in printable ASCII without user information and fragment; the group is its origin.
_ABSOLUTE = re.compile(r"(https?://[A-Za-z0-9._:\[\]-]+)/[!$-\[\]-~]*")
_LOCATION_HINT: Final = (
    "the registry, or a proxy in front of it, does not know its own address: check its configuration"
)


class ExactURL(httpx.URL):
    """A URL whose path and query are sent byte for byte, where httpx would quote and normalize them."""

    def __init__(self, url: httpx.URL, target: bytes) -> None:
        super().__init__(url)
        self._target = target

    @property
    def raw_path(self) -> bytes:
        """The request target."""
        return self._target


def split_url(url: str) -> SplitResult:
    """The parts of an ``http`` or ``https`` URL, without user information and fragment.

    Raises:
        ValueError: it is not such a URL, or its host could be read in two ways.
    """
    parts = urlsplit(url)
    authority = parts.netloc.rpartition("@")[2]
    if parts.scheme not in {"http", "https"} or not _AUTHORITY.fullmatch(authority) or (parts.port or 0) > 65535:
        raise ValueError("not an http or https URL")
    return parts._replace(netloc=authority, fragment="")


def resolve_location(request_url: str, location: str) -> str:
    """Where an upload session continues (distribution-spec, "Pushing a blob monolithically").

    Relative or absolute; user information is dropped. On the registry's own host an ``http`` Location of an ``https``
    registry is raised to ``https``; on another host it is refused.

    Raises:
        UnsafeLocationError: it is not HTTP, or leaves TLS for another host.
    """
    absolute = _ABSOLUTE.fullmatch(location)
    if absolute and request_url.startswith(f"{absolute[1]}/"):
        return location  # the common case
    base, shown = urlsplit(request_url), redact(request_url)
    try:
        joined = urljoin(request_url, location)
        if urlsplit(joined).scheme not in {"http", "https"}:
            raise UnsafeLocationError(
                f"the registry's Location is not HTTP: {redact(joined)}", hint=_LOCATION_HINT, url=shown
            )
        target = split_url(joined)
    except ValueError:
        raise UnsafeLocationError(
            "the registry's Location is not a URL", hint=_LOCATION_HINT, url=shown
        ) from None  # whose message could contain the Location's query
    netloc, scheme = target.netloc, target.scheme
    if base.scheme == "https" and scheme == "http":
        if target.hostname != base.hostname:
            raise UnsafeLocationError(
                f"the registry's Location leaves TLS for plain HTTP: {redact(target.geturl())}",
                hint=_LOCATION_HINT,
                url=shown,
            )
        scheme = "https"
        netloc = base.netloc.rpartition("@")[2] if target.port in {None, 80} else netloc
    return urlunsplit((scheme, netloc, target.path, target.query, ""))


@lru_cache(maxsize=1024)
def in_query(text: str) -> str:
    """A digest or repository name, quoted for a query."""
    return quote(text, safe="")


def append_digest(location: str, digest: str) -> str:
    """Append ``digest=`` to a Location, keeping the rest of its query byte for byte."""
    return f"{location}{'&' if '?' in location else '?'}digest={in_query(digest)}"


def same_origin(left: str, right: str) -> bool:
    """Whether two URLs have the same scheme, host and port, with or without default ports."""
    if right.startswith(f"{left}/"):
        return True

    def origin(url: str) -> tuple[str, str | None, int]:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)

    return origin(left) == origin(right)
