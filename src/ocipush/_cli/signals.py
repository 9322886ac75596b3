"""End a running command cleanly on Ctrl-C, SIGTERM or SIGHUP, and at once on a second one."""

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
    """The command was asked to stop, and has cleaned up.

    Attributes:
        number: the signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run(call: Callable[[], Awaitable[T]], *, on_stop: Callable[[], object] = lambda: None) -> T:
    """Run ``call`` in an event loop of its own. The first signal cancels it, a second one ends the process as it stands.

    Args:
        call: what to run.
        on_stop: called in the loop before the cancellation, so that the person learns why it may take a moment.

    Raises:
        StoppedError: it was cancelled. A call that ends nonetheless has its result returned.
    """
    return anyio.run(_until_stopped, call, on_stop)


async def _until_stopped(call: Callable[[], Awaitable[T]], on_stop: Callable[[], object]) -> T:
    import asyncio  # here, where it is loaded already: `ocipush --version` does without

    loop = asyncio.get_running_loop()
    received: list[int] = []

    def stop() -> None:
        on_stop()
        scope.cancel()

    def handle(number: int, _frame: object) -> None:
        received.append(number)
        for one in previous:  # the second is the system's to deliver: whatever hangs here cannot be in its way
            signal.signal(one, signal.SIG_DFL)
        loop.call_soon_threadsafe(stop)

    here = threading.current_thread() is threading.main_thread()
    # What is ignored stays so: nohup does that, and a shell for what runs in its background.
    handled = [one for one in _STOPPING if here and signal.getsignal(one) != signal.SIG_IGN]
    previous = {one: signal.signal(one, handle) for one in handled}
    try:
        with anyio.CancelScope() as scope:
            return await call()
    finally:
        for one, handler in previous.items():
            signal.signal(one, handler)
    raise StoppedError(received[0])
