"""Which files and sockets this process has open."""

from __future__ import annotations

from pathlib import Path


def open_descriptors() -> set[str]:
    """The numbers of all open descriptors. The one that lists them has the same number each time."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}
