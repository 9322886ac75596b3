"""The progress bar. The only module that needs rich."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Column

from .events import LOGGED, Tally, describe
from .messages import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.progress import ProgressColumn, Task
    from rich.table import Table

    from .._events import Event

_ECHO: Final = 3  # columns left free: if the terminal's echo of Ctrl-C wrapped the line, it could not be erased


class _Line(Progress):
    """One line of the terminal: whatever its width, the text is shortened before the bar and the numbers are."""

    def __init__(self, *columns: ProgressColumn, console: Console) -> None:
        self._terminal = console
        super().__init__(*columns, console=console, transient=True)

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        table = super().make_tasks_table(tasks)
        table.width = max(self._terminal.width - _ECHO, 1)
        return table


class Bar:
    """One bar for all bytes of a push; warnings and retries are printed above it."""

    def __init__(self, stream: TextIO, *, is_logged: bool = False) -> None:
        console = Console(file=stream)
        self._progress = _Line(
            TextColumn(
                "{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
            ),
            BarColumn(bar_width=max(min(console.width // 4, 40), 10)),
            DownloadColumn(table_column=Column(no_wrap=True)),
            TransferSpeedColumn(table_column=Column(no_wrap=True, min_width=10, justify="right")),
            console=console,
        )
        self._task = self._progress.add_task("reading", total=None)
        self._tally = Tally()
        self._is_logged = is_logged

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        data: Any = event
        self._tally.add(event)
        match type(event).__name__:
            case "PushStarted":
                self._progress.update(self._task, description=printable(data.reference), total=data.size)
            case name if name in LOGGED:
                if not self._is_logged:
                    self._print(describe(event) or "")
            case _:
                self._progress.update(self._task, completed=self._tally.done)

    def stop(self, text: str) -> None:
        """Erase the bar and print ``text``. A second signal then leaves the terminal as it should be."""
        self._progress.stop()
        self._print(text)

    def _print(self, text: str) -> None:
        self._progress.console.print(printable(text), markup=False, highlight=False)
