"""URLs: origins, Locations, queries."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit, urlunsplit

from ..errors import UnsafeLocationError
from .redact import redact

# Hosts and ports in the one spelling that all readers of URLs read alike: no names but ASCII ones, no escapes.
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
# An URL without user information and fragment that is all in printable ASCII; its origin is the group.
_ABSOLUTE = re.compile(r"(https?://[A-Za-z0-9._:\[\]-]+)/[!$-\[\]-~]*")
_LOCATION_HINT: Final = "the registry, or a proxy in front of it, does not know its own address: look into its settings"


def split_url(url: str) -> SplitResult:
    """The parts of an ``http`` or ``https`` URL, without user information and fragment.

    Raises:
        ValueError: it is no such URL, or its host could be read in two ways.
    """
    parts = urlsplit(url)
    authority = parts.netloc.rpartition("@")[2]
    if parts.scheme not in {"http", "https"} or not _AUTHORITY.fullmatch(authority) or (parts.port or 0) > 65535:
        raise ValueError("no http or https URL")
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
        return location  # as nearly every registry sends it
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
            "the registry's Location is not an URL", hint=_LOCATION_HINT, url=shown
        ) from None  # whose words could hold the Location's query
    netloc, scheme = target.netloc, target.scheme
    if base.scheme == "https" and scheme == "http":
        if target.hostname != base.hostname:
            raise UnsafeLocationError(
                f"the registry sent the upload from TLS to plain HTTP: {redact(target.geturl())}",
                hint=_LOCATION_HINT,
                url=shown,
            )
        scheme = "https"
        netloc = base.netloc.rpartition("@")[2] if target.port in {None, 80} else netloc
    return urlunsplit((scheme, netloc, target.path, target.query, ""))


@lru_cache(maxsize=1024)
def in_query(text: str) -> str:
    """A digest or the name of a repository as a value in a query."""
    return quote(text, safe="")


def append_digest(location: str, digest: str) -> str:
    """Add ``digest=`` to a Location, leaving the rest of its query byte for byte."""
    return f"{location}{'&' if '?' in location else '?'}digest={in_query(digest)}"


def same_origin(left: str, right: str) -> bool:
    """Whether two URLs have the same scheme, host and port, default ports spelt out or not."""
    if right.startswith(f"{left}/"):
        return True

    def origin(url: str) -> tuple[str, str | None, int]:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)

    return origin(left) == origin(right)
