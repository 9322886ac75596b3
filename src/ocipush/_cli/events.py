"""What the events of a push say: a line of text for each, and how many bytes are done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .._events import Event

# Events that the log has too: with --debug, which shows the log, they would be printed twice.
LOGGED: Final = frozenset({"PushWarning", "RegistryWarning", "RetryScheduled"})


def format_size(size: int) -> str:
    """A number of bytes in the largest decimal unit of which there is at least one."""
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"


def describe(event: Event) -> str | None:
    """One line for an event; None for an event that only the bar and JSON lines show."""
    match type(event).__name__:
        case "PushStarted":
            started: Any = event
            return f"pushing {started.reference}: {started.blobs} blobs, {format_size(started.size)}"
        case "BlobDone":
            blob: Any = event
            return f"{blob.digest[:19]} {format_size(blob.size)} {blob.outcome}"
        case "RetryScheduled":
            retry: Any = event
            failure = retry.reason if retry.reason.startswith(retry.what) else f"{retry.what}: {retry.reason}"
            return f"retry: {failure}; attempt {retry.attempt} in {retry.delay:.1f} s"
        case "PushWarning":
            warning: Any = event
            return f"warning: {warning.text}"
        case "RegistryWarning":
            registry: Any = event
            return f"warning: the registry says: {registry.text}"
        case _:
            return None


class Tally:
    """How many bytes of a push the registry has; ``total`` is 0 until it is known."""

    def __init__(self) -> None:
        self.total = 0
        self._offsets: dict[str, int] = {}

    @property
    def done(self) -> int:
        """Bytes that the registry has, including those of unfinished blobs."""
        return sum(self._offsets.values())

    def add(self, event: Event) -> None:
        """Count one event."""
        data: Any = event
        match type(event).__name__:
            case "PushStarted":
                self.total = data.size
            case "BlobProgress":
                self._offsets[data.digest] = data.offset
            case "BlobDone" | "ManifestDone":
                self._offsets[data.digest] = data.size
            case _:
                pass
