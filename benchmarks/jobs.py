"""What a contender is told: which images, where to, and which certificates to trust. Passed to clients as JSON."""

from __future__ import annotations

import json
import resource
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .layouts import Image

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Job:
    """One run's work.

    Attributes:
        port: of the registry, or of the relay before it, on 127.0.0.1.
        ca_file: the authority to trust, alone in its directory; None: plain HTTP.
        store: the directory of the layouts.
        images: what is pushed.
        known: digests that the registry holds before; only the floor client is told.
        connections: how many the floor client opens.
        scratch: a directory that is this run's own.
    """

    port: int
    ca_file: Path | None
    store: Path
    images: tuple[Image, ...]
    known: frozenset[str]
    connections: int
    scratch: Path

    @property
    def host(self) -> str:
        """Host and port, as in a reference."""
        return f"127.0.0.1:{self.port}"

    def save(self) -> Path:
        """Write it for ``load``."""
        path = self.scratch / "job.json"
        path.write_text(json.dumps({**asdict(self), "known": sorted(self.known)}, default=str))
        return path

    @classmethod
    def load(cls, path: str) -> Job:
        """Read what ``save`` wrote."""
        read: dict[str, Any] = json.loads(Path(path).read_bytes())
        images = tuple(
            Image(Path(image["path"]), image["repository"], image["digest"], image["blobs"])
            for image in read.pop("images")
        )
        ca_file = read.pop("ca_file")
        return cls(
            images=images,
            known=frozenset(read.pop("known")),
            ca_file=Path(ca_file) if ca_file else None,
            store=Path(read.pop("store")),
            scratch=Path(read.pop("scratch")),
            **read,
        )


def measure(action: Callable[[], object]) -> None:
    """Run a client's work, and print what it took: imports and start-up are done, so they are not in it."""
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    action()
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    used = {"user": after.ru_utime - before.ru_utime, "system": after.ru_stime - before.ru_stime}
    print(json.dumps({"seconds": seconds, **used}))
