"""Open things in worker threads. What was opened for a task that has been cancelled meanwhile is closed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from .._threads import run_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable


class _Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=_Closable)


async def open_in_thread(opening: Callable[[], T]) -> T:
    """Run ``opening`` in a worker thread, and close what it opened if the task is cancelled before it has it.

    The thread then ends on its own.
    """
    handover = _Handover(opening)
    try:
        return await run_in_thread(handover.run)
    except BaseException:
        handover.abandon()
        raise


class _Handover(Generic[T]):
    """What a thread opens for a task. If the task is cancelled, the one of the two that ends last closes it."""

    def __init__(self, opening: Callable[[], T]) -> None:
        self._opening = opening
        self._lock = threading.Lock()
        self._opened: T | None = None
        self._abandoned = False

    def run(self) -> T:
        opened = self._opening()
        with self._lock:
            self._opened = opened
            abandoned = self._abandoned
        if abandoned:
            opened.close()
        return opened

    def abandon(self) -> None:
        with self._lock:
            self._abandoned = True
            opened = self._opened
        if opened is not None:
            opened.close()
