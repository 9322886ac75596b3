"""Stop a running command cleanly on Ctrl-C, SIGTERM or SIGHUP, and immediately on a second signal."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")
_STOPPING: Final = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class StoppedError(Exception):
    """A signal stopped the command, which has cleaned up.

    Attributes:
        number: the number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run(call: Callable[[], Awaitable[T]], *, on_stop: Callable[[], object] = lambda: None) -> T:
    """Run ``call`` in its own event loop. The first signal cancels it, a second one kills the process.

    Args:
        call: what to run.
        on_stop: called in the loop before the cancellation, to say why stopping may take a moment.

    Raises:
        StoppedError: it was cancelled. If it finishes all the same, its result is returned.
    """
    return anyio.run(_until_stopped, call, on_stop)


async def _until_stopped(call: Callable[[], Awaitable[T]], on_stop: Callable[[], object]) -> T:
    import asyncio  # already loaded here; `ocipush --version` does not need it

    loop = asyncio.get_running_loop()
    received: list[int] = []

    def stop() -> None:
        on_stop()
        scope.cancel()

    def handle(number: int, _frame: object) -> None:
        received.append(number)
        for one in previous:  # the system handles the second signal itself, even if this process hangs
            signal.signal(one, signal.SIG_DFL)
        loop.call_soon_threadsafe(stop)

    here = threading.current_thread() is threading.main_thread()
    # A signal that is ignored stays ignored: nohup does that, and shells do it for background jobs.
    handled = [one for one in _STOPPING if here and signal.getsignal(one) != signal.SIG_IGN]
    previous = {one: signal.signal(one, handle) for one in handled}
    try:
        with anyio.CancelScope() as scope:
            return await call()
    finally:
        for one, handler in previous.items():
            signal.signal(one, handler)
    raise StoppedError(received[0])
