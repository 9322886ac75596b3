"""The largest request bodies that a registry accepts."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import Final

MIB: Final = 1024 * 1024
# Sizes to try when a body was too large and the limit is unknown. They are below the limits that are common in practice
# (Cloudflare 100 MB, ECR 20 MB, GHCR 4 MiB, nginx 1 MiB).
LADDER: Final = (64 * MIB, 16 * MIB, 8 * MIB, 4 * MIB, MIB, MIB // 2, MIB // 4, MIB // 16)
_LIMIT: Final = re.compile(
    r"(?:limit|max(?:imum)?)[a-z ]{0,40}[:=]? ?([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([KMG]i?B|B|bytes)\b", re.IGNORECASE
)
_UNITS: Final = {"B": 1, "BYTES": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_size_limit(words: str) -> int | None:
    """The largest body in bytes according to a registry's message, such as GHCR's ``maximum permissible limit of 4.00MiB``.

    None if it is smaller than the smallest size that is tried, since an upload byte by byte would never end.
    """
    found = _LIMIT.search(words)
    size = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    return size if size >= LADDER[-1] else None


def parse_chunk_length(value: str | None) -> int | None:
    """Bytes of an OCI-Chunk-Min-Length header (distribution-spec, "Pushing a blob in chunks"), or None."""
    value = (value or "").strip()
    return int(value) if re.fullmatch(r"[0-9]{1,15}", value) else None


_SAME: Final = 0.05  # two requests whose ages at the cut differ by less than this share ran into the same limit
_JITTER: Final = 0.15  # seconds by which they may differ in any case
_SHORTEST: Final = 0.9  # seconds; a connection that is cut sooner broke for another reason


class TimeLimit:
    """How long a registry, or a proxy in front of it, lets a request take; learned from requests that were cut.

    Attributes:
        seconds: the limit, or None as long as it is unknown.
    """

    def __init__(self) -> None:
        self.seconds: float | None = None
        self._ages = deque[float](maxlen=8)

    def cut(self, age: float) -> None:
        """A request was cut ``age`` seconds after it began. Two cuts at the same age are a limit."""
        if age < _SHORTEST:
            return
        same = [other for other in self._ages if abs(other - age) <= max(_JITTER, _SAME * age)]
        if same:
            self.seconds = min(age, *same, self.seconds or age)
        self._ages.append(age)


@dataclass(slots=True)
class Limits:
    """The largest request bodies, in bytes, that a registry and the proxies in front of it accept, as far as it is known.

    Attributes:
        whole: for a body that is the whole blob.
        ranged: for a body with a Content-Range; GHCR limits only those.
        patch_only: a PUT with a body is not supported; the bytes are sent by PATCH, before an empty PUT (old Artifactory).
        unchunked: a blob in several bodies is refused (Google Artifact Registry) or garbled (ECR public).
        time: how long a request may take.
    """

    whole: int | None = None
    ranged: int | None = None
    patch_only: bool = False
    unchunked: bool = False
    time: TimeLimit = field(default_factory=TimeLimit)

    def refused(self, size: int, *, ranged: bool, said: int | None) -> bool:
        """Learn that a body of ``size`` bytes was too large. Returns whether there is a smaller size to try.

        ``said`` is the limit that the registry names.
        """
        smaller = said if said is not None and said < size else next((step for step in LADDER if step < size), None)
        if smaller is None:
            return False
        self.ranged = min(smaller, self.ranged or smaller)
        if not ranged:
            self.whole = min(smaller, self.whole or smaller)
        return True
