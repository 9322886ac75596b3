"""Which repositories of a registry are known to hold which blobs."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_REPOSITORIES: Final = 2_000
MAX_BLOBS: Final = 10_000  # of one repository


class KnownBlobs:
    """What each repository is known to hold. Of what was not used for long, some is forgotten: that costs a question."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()  # by repository, the last used one last
        self._holders: dict[str, dict[str, None]] = {}  # by digest

    def holds(self, repository: str, digest: str) -> bool:
        """Whether ``repository`` is known to hold ``digest``."""
        held = self._held.get(repository)
        if held is None or digest not in held:
            return False
        held.move_to_end(digest)
        self._held.move_to_end(repository)
        return True

    def of(self, repository: str) -> frozenset[str]:
        """All that ``repository`` is known to hold."""
        return frozenset(self._held.get(repository, ()))

    def holders(self, digest: str) -> Iterator[str]:
        """The repositories that are known to hold ``digest``."""
        yield from tuple(self._holders.get(digest, ()))

    def add(self, repository: str, digests: Iterable[str]) -> None:
        """``repository`` holds ``digests``."""
        held = self._held.setdefault(repository, OrderedDict())
        self._held.move_to_end(repository)
        for digest in digests:
            held[digest] = None
            held.move_to_end(digest)
            self._holders.setdefault(digest, {})[repository] = None
        while len(held) > MAX_BLOBS:
            self._lose(repository, held.popitem(last=False)[0])
        while len(self._held) > MAX_REPOSITORIES:
            oldest, lost = self._held.popitem(last=False)
            for digest in lost:
                self._lose(oldest, digest)

    def discard(self, repository: str, digest: str) -> None:
        """``repository`` does not hold ``digest`` after all."""
        if digest in (held := self._held.get(repository, OrderedDict[str, None]())):
            del held[digest]
            self._lose(repository, digest)

    def _lose(self, repository: str, digest: str) -> None:
        holders = self._holders[digest]
        del holders[repository]
        if not holders:
            del self._holders[digest]
