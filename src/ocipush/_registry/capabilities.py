"""What a registry supports, as far as it is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from .limits import Limits

_PROBES: Final = 2  # after as many failed probes in a row, the registry is not probed any more


@dataclass(slots=True)
class Capabilities:
    """What a registry supports, as far as it is known, for the life of a ``Pusher``.

    Attributes:
        mounts_itself: a mount from the repository itself was answered 201 for a blob that existed.
        mounts_across: a blob was mounted from another repository.
        refused_mounts: (repository, from) for which a mount was refused.
        failed_probes: number of blobs in a row whose probe failed.
        limits: of request bodies.
    """

    mounts_itself: bool = False
    mounts_across: bool = False
    refused_mounts: set[tuple[str, str]] = field(default_factory=set)
    failed_probes: int = 0
    limits: Limits = field(default_factory=Limits)

    @property
    def probes(self) -> bool:
        """Whether asking for a blob is worth a request."""
        return self.failed_probes < _PROBES
