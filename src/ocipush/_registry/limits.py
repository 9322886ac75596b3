"""The largest request bodies that a registry accepts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MIB: Final = 1024 * 1024
# Bodies to try when one was too large and nobody said what is allowed: below the limits that are met in the field
# (Cloudflare 100 MB, ECR 20 MB, GHCR 4 MiB, nginx 1 MiB).
LADDER: Final = (64 * MIB, 16 * MIB, 8 * MIB, 4 * MIB, MIB, MIB // 2, MIB // 4, MIB // 16)
_LIMIT: Final = re.compile(
    r"(?:limit|max(?:imum)?)[a-z ]{0,40}[:=]? ?([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([KMG]i?B|B|bytes)\b", re.IGNORECASE
)
_UNITS: Final = {"B": 1, "BYTES": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_size_limit(words: str) -> int | None:
    """The largest body in bytes that a registry's words allow, e.g. GHCR's ``maximum permissible limit of 4.00MiB``.

    None for less than the smallest body that is tried: a layer byte by byte would never end.
    """
    found = _LIMIT.search(words)
    size = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    return size if size >= LADDER[-1] else None


def parse_chunk_length(value: str | None) -> int | None:
    """Bytes of an OCI-Chunk-Min-Length header (distribution-spec, "Pushing a blob in chunks"), or None."""
    value = (value or "").strip()
    return int(value) if re.fullmatch(r"[0-9]{1,15}", value) else None


@dataclass(slots=True)
class Limits:
    """The largest request bodies in bytes that a registry, and what stands before it, turned out to take.

    Attributes:
        whole: of a body that is the blob.
        ranged: of one with a Content-Range; GHCR's limit is for those only.
        patch_only: a PUT with a body is not understood; the bytes go in a PATCH before an empty one (old Artifactory).
        unchunked: a blob in several bodies is refused (Google Artifact Registry) or garbled (ECR public).
    """

    whole: int | None = None
    ranged: int | None = None
    patch_only: bool = False
    unchunked: bool = False

    def refused(self, size: int, *, ranged: bool, said: int | None) -> bool:
        """Take in that a body of ``size`` bytes was too large; whether a smaller one is left to try.

        ``said`` is what the registry says that it takes.
        """
        smaller = said if said is not None and said < size else next((step for step in LADDER if step < size), None)
        if smaller is None:
            return False
        self.ranged = min(smaller, self.ranged or smaller)
        if not ranged:
            self.whole = min(smaller, self.whole or smaller)
        return True
