"""Progress of a push on stderr: a bar on a terminal, plain lines, or lines of JSON."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Final, Literal, Self, TextIO

import anyio

from .events import LOGGED, Tally, describe, format_size
from .messages import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._events import Event
    from .bar import Bar

Mode = Literal["auto", "bar", "plain", "json", "none"]
_HEARTBEAT: Final = 10.0  # seconds without a line after which plain progress prints the number of bytes


def choose_mode(mode: Mode, stream: TextIO, environ: Mapping[str, str] = os.environ) -> Mode:
    """The mode that ``auto`` selects for this stream."""
    if mode != "auto":
        return mode
    return "bar" if stream.isatty() and environ.get("TERM") != "dumb" and not environ.get("CI") else "plain"


class Lines:
    """Plain lines or lines of JSON; with ``none``, only warnings."""

    def __init__(
        self,
        mode: Mode,
        stream: TextIO,
        *,
        is_logged: bool = False,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        self._mode = mode
        self._stream = stream
        self._is_logged = is_logged
        self._clock = clock
        self._tally = Tally()
        self._silent_since: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.flush()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        name = type(event).__name__
        self._tally.add(event)
        if self._mode == "json":
            self._write(json.dumps({"event": name, **asdict(event)}))
        elif self._is_logged and name in LOGGED:
            return
        elif (self._mode == "plain" or name.endswith("Warning")) and (line := describe(event)):
            self._silent_since = None
            self._write(printable(line))
        elif self._mode == "plain" and name == "BlobProgress":
            self._beat()

    def stop(self, text: str) -> None:
        """Print why the push stops."""
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


def make_progress(mode: Mode, stream: TextIO, *, is_logged: bool = False) -> Lines | Bar:
    """The renderer for a mode; plain lines if rich is not installed.

    With ``is_logged``, warnings and retries are left to the log.
    """
    mode = choose_mode(mode, stream)
    if mode == "bar":
        try:
            from .bar import Bar
        except ImportError:
            mode = "plain"
        else:
            return Bar(stream, is_logged=is_logged)
    return Lines(mode, stream, is_logged=is_logged)
