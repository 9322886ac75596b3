"""Progress of a push on stderr: a bar on a terminal, plain lines, or JSON lines."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TextIO

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._events import Event

Mode = Literal["auto", "bar", "plain", "json", "none"]
_HEARTBEAT: Final = 10.0  # seconds without a line after which plain progress says how far it is


def printable(text: str) -> str:
    """The text with control characters escaped: a registry's words must not steer the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def format_size(size: int) -> str:
    """Bytes in the largest decimal unit that leaves at least one before the point."""
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"


def choose_mode(mode: Mode, stream: TextIO, environ: Mapping[str, str] = os.environ) -> Mode:
    """What ``auto`` stands for on this stream."""
    if mode != "auto":
        return mode
    return "bar" if stream.isatty() and environ.get("TERM") != "dumb" and not environ.get("CI") else "plain"


def describe(event: Event) -> str | None:
    """One line for an event, or None for those that only a bar or a program wants."""
    match type(event).__name__:
        case "PushStarted":
            started: Any = event
            return f"pushing {started.reference}: {started.blobs} blobs, {format_size(started.size)}"
        case "BlobDone":
            blob: Any = event
            return f"{blob.digest[:19]} {format_size(blob.size)} {blob.outcome}"
        case "RetryScheduled":
            retry: Any = event
            return f"retry: {retry.what}: {retry.reason}; attempt {retry.attempt} in {retry.delay:.1f} s"
        case "PushWarning":
            warning: Any = event
            return f"warning: {warning.text}"
        case "RegistryWarning":
            words: Any = event
            return f"warning: the registry says: {words.text}"
        case _:
            return None


class Tally:
    """How many bytes of a push are in place; ``total`` is 0 until it is known."""

    def __init__(self) -> None:
        self.total = 0
        self._offsets: dict[str, int] = {}

    @property
    def done(self) -> int:
        """Bytes in place, those of blobs under way included."""
        return sum(self._offsets.values())

    def take(self, event: Event) -> None:
        """Take one event."""
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


class Lines:
    """Plain or JSON lines; with ``none``, warnings alone."""

    def __init__(self, mode: Mode, stream: TextIO, *, clock: Callable[[], float] = anyio.current_time) -> None:
        self._mode = mode
        self._stream = stream
        self._clock = clock
        self._tally = Tally()
        self._silent_since: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.flush()

    def __call__(self, event: Event) -> None:
        """Take one event."""
        name = type(event).__name__
        self._tally.take(event)
        if self._mode == "json":
            self._write(json.dumps({"event": name, **asdict(event)}))
        elif (self._mode == "plain" or name.endswith("Warning")) and (line := describe(event)):
            self._silent_since = None
            self._write(printable(line))
        elif self._mode == "plain" and name == "BlobProgress":
            self._beat()

    def stop(self, text: str) -> None:
        """Tell the person why it ends."""
        if self._mode == "plain":
            self._write(text)

    def _beat(self) -> None:
        now = self._clock()
        if self._silent_since is None:
            self._silent_since = now
        elif now - self._silent_since >= _HEARTBEAT:
            self._silent_since = now
            self._write(f"{format_size(self._tally.done)} of {format_size(self._tally.total)}")

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


class Bar:
    """One bar over all bytes of a push; warnings and retries are printed above it."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=Console(file=stream),
            transient=True,
        )
        self._task = self._progress.add_task("reading", total=None)
        self._tally = Tally()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Take one event."""
        data: Any = event
        self._tally.take(event)
        match type(event).__name__:
            case "PushStarted":
                self._progress.update(self._task, description=printable(data.reference), total=data.size)
            case "RetryScheduled" | "PushWarning" | "RegistryWarning":
                self._print(describe(event) or "")
            case _:
                self._progress.update(self._task, completed=self._tally.done)

    def stop(self, text: str) -> None:
        """Take the bar away and tell the person why: should a second signal come, the terminal is whole."""
        self._progress.stop()
        self._print(text)

    def _print(self, text: str) -> None:
        self._progress.console.print(printable(text), markup=False, highlight=False)


def make_progress(mode: Mode, stream: TextIO) -> Lines | Bar:
    """The renderer for a mode; plain lines where rich is not installed."""
    mode = choose_mode(mode, stream)
    if mode == "bar":
        try:
            return Bar(stream)
        except ImportError:
            mode = "plain"
    return Lines(mode, stream)
