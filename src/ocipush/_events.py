"""Progress events and results: the frozen values that a push reports. May import: the standard library.

Annotations are objects here, not strings: these classes say ``ocipush`` as their module, where the names of this module
could not be looked up.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

BlobOutcome = Literal["uploaded", "mounted", "exists", "joined", "foreign"]
"""What happened to a blob: uploaded by this push; linked from another repository; already there; uploaded by another
push that was running; non-distributable, so not uploaded."""

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
        media_type: media type of that manifest or index.
        size: its size in bytes plus that of all manifests and blobs it refers to, each counted once.
        blobs: one result for each distinct blob. Empty if the image was already there.
        unchanged: the reference already named this digest, so nothing was sent.
        requests: number of HTTP requests made for this push, including those for tokens.
        sent: bytes of blobs and manifests written to the network, including those sent again.
        seconds: time from the first request to the last answer.
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
        reference: where the image is pushed to.
        blobs: number of distinct blobs.
        size: total size in bytes, as in :class:`PushResult`.
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
    """``offset`` of a blob's ``size`` bytes have been written. The offset decreases if a part has to be sent again.

    At most one event every 100 ms for each blob; the one for its last byte is never left out.
    """

    push_id: str
    digest: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class BlobDone:
    """The registry has this blob, or does not need it (``foreign``)."""

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
    """A request or a blob will be tried again in ``delay`` seconds, as attempt number ``attempt``."""

    push_id: str
    what: str
    reason: str
    attempt: int
    delay: float


@dataclass(frozen=True, slots=True)
class PushWarning:
    """Something the user should know that does not stop the push. It is logged too."""

    push_id: str
    text: str


@dataclass(frozen=True, slots=True)
class RegistryWarning:
    """The text of a ``Warning`` header of the registry, once per push (distribution-spec, "Warnings")."""

    push_id: str
    text: str


@dataclass(frozen=True, slots=True)
class PushDone:
    """The push succeeded."""

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


@runtime_checkable
class OnEvent(Protocol):
    """A plain function that takes each event of a push, on the event loop's thread.

    It must not block, and must not be async: nothing would await it. If it raises an exception, the push is cancelled
    and raises that exception unchanged.
    """

    def __call__(self, event: Event, /) -> object:
        """Take one event."""
