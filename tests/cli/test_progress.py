"""Progress on stderr: which form is chosen, what is printed, and the bar at any width of the terminal."""

from __future__ import annotations

import re
import sys
from io import StringIO

import pytest

from ocipush import _events as events
from ocipush._cli.bar import Bar
from ocipush._cli.events import describe, format_size
from ocipush._cli.messages import printable
from ocipush._cli.progress import Lines, choose_mode, make_progress

DIGEST = "sha256:" + "a" * 64
STARTED = events.PushStarted("p", "/s", "r.example/team/app:1", DIGEST, 1, 5)
EVENTS: list[events.Event] = [
    STARTED,
    events.RetryScheduled("p", "blob", "lost", 2, 0.5),
    events.PushWarning("p", "be careful"),
    events.RegistryWarning("p", "old\x1b[2J"),
]


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_terminal_gets_a_bar_with_warnings_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    stream = Terminal()
    with make_progress("auto", stream) as progress:
        for event in EVENTS:
            progress(event)
    assert "warning: be careful" in stream.getvalue()
    assert "old\\x1b[2J" in stream.getvalue()


def test_plain_lines_replace_the_bar_without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.delitem(sys.modules, "ocipush._cli.bar")
    stream = Terminal()
    with make_progress("bar", stream) as progress:
        progress(EVENTS[0])
    assert stream.getvalue() == "pushing r.example/team/app:1: 1 blobs, 5 B\n"


def test_plain_lines_report_a_long_blob_every_ten_seconds() -> None:
    stream, clock = StringIO(), iter([0.0, 9.0, 10.0, 11.0, 50.0, 59.0])
    progress = Lines("plain", stream, clock=lambda: next(clock))
    progress(events.PushStarted("p", "/s", "r.example/team/app:1", DIGEST, 1, 5000))
    for offset in (1, 2, 3000, 4):
        progress(events.BlobProgress("p", DIGEST, offset, 5000))
    progress(events.BlobDone("p", DIGEST, 5000, "uploaded"))
    for offset in (5, 6):
        progress(events.BlobProgress("p", DIGEST, offset, 5000))
    assert stream.getvalue().splitlines()[1:] == ["3.0 kB of 5.0 kB", f"{DIGEST[:19]} 5.0 kB uploaded"]


def test_bar_has_no_colour_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    with Bar(stream) as progress:
        for event in EVENTS:
            progress(event)
        progress.stop("that is all")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", stream.getvalue())
    assert stream.getvalue().endswith("that is all\n")
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l")  # the cursor is back


def test_dumb_terminal_gets_plain_lines() -> None:
    assert choose_mode("auto", Terminal(), {"TERM": "xterm"}) == "bar"
    assert choose_mode("auto", Terminal(), {"TERM": "xterm", "CI": "true"}) == "plain"
    assert choose_mode("auto", Terminal(), {"TERM": "dumb"}) == "plain"
    assert choose_mode("auto", StringIO(), {}) == "plain"


def test_sizes_and_control_characters_are_readable() -> None:
    assert [format_size(n) for n in (0, 999, 1500, 2 * 10**9)] == ["0 B", "999 B", "1.5 kB", "2.0 GB"]
    assert printable("a\x1b\n镜") == "a\\x1b\\n镜"


@pytest.mark.parametrize(
    ("what", "reason", "line"),
    [
        ("PUT http://r/x", "PUT http://r/x: 503", "retry: PUT http://r/x: 503; attempt 2 in 0.5 s"),
        ("blob sha256:a", "PUT http://r/x: lost", "retry: blob sha256:a: PUT http://r/x: lost; attempt 2 in 0.5 s"),
    ],
)
def test_line_of_a_retry_names_the_request_once(what: str, reason: str, line: str) -> None:
    assert describe(events.RetryScheduled("p", what, reason, 2, 0.5)) == line


@pytest.mark.parametrize("columns", [40, 60, 80, 160])
def test_bar_is_one_line_that_leaves_room_for_the_echo_of_ctrl_c(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that wraps cannot be erased, and the terminal appends ``^C`` to it."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    reference = "registry.example/a-team-with-a-long-name/application/component:2024.11.25-production"
    stream = Terminal()
    with Bar(stream) as bar:
        bar(events.PushStarted("p", "/s", reference, DIGEST, 3, 987_654_321))
        bar(events.BlobProgress("p", DIGEST, 423_456_789, 900_000_000))
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    frames = [frame for frame in re.split(r"[\r\n]+", shown) if frame.strip()]
    assert {len(frame) for frame in frames} == {columns - 3}
    assert "423.5/987.7 MB" in frames[-1]
    assert "━━" in frames[-1]
    if columns >= 60:
        assert frames[-1].startswith("registry.ex")
