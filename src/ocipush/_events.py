"""Progress events and results: frozen values that a push gives out.

May import: _models, _reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

BlobOutcome = Literal["uploaded", "mounted", "exists", "joined", "foreign"]
"""What happened to a blob: sent by this push; linked from another repository; there already; sent by another push that
was under way; non-distributable, so not sent."""

ManifestOutcome = Literal["uploaded", "exists"]


@dataclass(frozen=True, slots=True)
class BlobResult:
    """What a push did with one blob. ``size`` is in bytes."""

    digest: str
    size: int
    media_type: str
    outcome: BlobOutcome


@dataclass(frozen=True, slots=True)
class PushResult:
    """What a push did.

    Attributes:
        reference: where the image is now, normalised, e.g. ``registry.example/team/alpine:3.18.0``.
        digest: digest of the manifest or index that the reference names now.
        media_type: its media type.
        size: its bytes, and those of all manifests and blobs it refers to, each counted once.
        blobs: one result a distinct blob. Empty when the image was there already.
        unchanged: the reference named this digest before, so nothing was sent.
        requests: HTTP requests made for this push, tokens included.
        sent: bytes of blobs and manifests written to the network, those sent again included.
        seconds: from the first request to the last answer.
    """

    reference: str
    digest: str
    media_type: str
    size: int
    blobs: tuple[BlobResult, ...]
    unchanged: bool
    requests: int
    sent: int
    seconds: float

    @property
    def name_with_digest(self) -> str:
        """``registry/repository@sha256:…``: the immutable name of what was pushed."""
        repository = self.reference.partition("@")[0]
        head, colon, tag = repository.rpartition(":")
        return f"{head if colon and '/' not in tag else repository}@{self.digest}"


@dataclass(frozen=True, slots=True)
class PushStarted:
    """The layout has been read and checked; the first request follows.

    Attributes:
        source: the layout's directory.
        reference: where it goes.
        blobs, size: how many distinct blobs there are, and their bytes.
    """

    push_id: str
    source: str
    reference: str
    digest: str
    blobs: int
    size: int


@dataclass(frozen=True, slots=True)
class BlobStarted:
    """The first byte of a blob is about to be sent."""

    push_id: str
    digest: str
    size: int
    media_type: str


@dataclass(frozen=True, slots=True)
class BlobProgress:
    """``offset`` of a blob's ``size`` bytes have been written. It can go back when a blob is sent again.

    At most one in 100 ms a blob; the last one always arrives.
    """

    push_id: str
    digest: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class BlobDone:
    """The registry has this blob, or need not have it (``foreign``)."""

    push_id: str
    digest: str
    size: int
    outcome: BlobOutcome


@dataclass(frozen=True, slots=True)
class ManifestDone:
    """The registry has this manifest or index, under ``reference`` (a digest for the children of an index)."""

    push_id: str
    reference: str
    digest: str
    size: int
    outcome: ManifestOutcome


@dataclass(frozen=True, slots=True)
class RetryScheduled:
    """A request or a blob is tried again in ``delay`` seconds, as attempt number ``attempt``."""

    push_id: str
    what: str
    reason: str
    attempt: int
    delay: float


@dataclass(frozen=True, slots=True)
class PushWarning:
    """Something that the person should know and that does not stop the push. Logged too."""

    push_id: str
    text: str


@dataclass(frozen=True, slots=True)
class RegistryWarning:
    """A ``Warning`` header of the registry, shown once a push (distribution-spec, "Warnings")."""

    push_id: str
    text: str


@dataclass(frozen=True, slots=True)
class PushDone:
    """The push has succeeded."""

    push_id: str
    result: PushResult


Event = (
    PushStarted
    | BlobStarted
    | BlobProgress
    | BlobDone
    | ManifestDone
    | RetryScheduled
    | PushWarning
    | RegistryWarning
    | PushDone
)
"""Every event; a closed union."""

if TYPE_CHECKING:
    OnEvent = Callable[[Event], object]
