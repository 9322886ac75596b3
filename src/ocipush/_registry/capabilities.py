"""What a registry turned out to support."""

from __future__ import annotations

from dataclasses import dataclass, field

from .limits import Limits


@dataclass(slots=True)
class Capabilities:
    """What a registry turned out to support, for the life of a ``Pusher``.

    Attributes:
        mounts_itself: a mount from the repository itself was answered 201 for a blob that was there.
        refused_mounts: (repository, from) for which a mount was refused.
        limits: of request bodies.
    """

    mounts_itself: bool = False
    refused_mounts: set[tuple[str, str]] = field(default_factory=set)
    limits: Limits = field(default_factory=Limits)
