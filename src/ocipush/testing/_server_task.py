"""The task that serves a registry.

A task group must be closed by the task that opened it. A fixture of pytest-asyncio is set up in one task and torn down in
another, so a registry that kept a task group open could not be such a fixture.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class ServerTask:
    """A task outside of any task group: one task may start it, and another task of the same event loop may stop it.

    Args:
        serve: runs in the task; calls its argument once it accepts connections.
    """

    def __init__(self, serve: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        self._serve = serve
        self._scope = anyio.CancelScope()
        self._ready = anyio.Event()
        self._ended = anyio.Event()
        self._failure: BaseException | None = None
        self._task: object = None  # asyncio keeps only a weak reference

    async def start(self) -> None:
        """Start the task and wait until it accepts connections; raise what it raised if it could not."""
        if "trio" in sys.modules and _in_trio():
            import trio

            trio.lowlevel.spawn_system_task(self._run, context=contextvars.copy_context())
        else:
            self._task = asyncio.create_task(self._run())
        try:
            await self._ready.wait()
        except BaseException:  # cancelled
            await self.stop()
            raise
        if self._ended.is_set():
            await self.stop()

    async def stop(self) -> None:
        """Cancel the task and wait for its end; raise what it raised."""
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await self._ended.wait()
        if self._failure is not None:
            raise self._failure

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._serve(self._ready.set)
        except anyio.get_cancelled_exc_class():  # the event loop is shutting down
            raise
        except BaseException as exc:  # noqa: BLE001 - `stop` raises it
            self._failure = exc
        finally:
            self._ready.set()
            self._ended.set()


def _in_trio() -> bool:
    import trio

    return trio.lowlevel.in_trio_task()
