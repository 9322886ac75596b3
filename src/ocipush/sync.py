"""Blocking twins of the async API, for scripts, threads, and threads whose own event loop is running.

May import: _pusher, _events, errors, anyio. Each ``Pusher`` owns an event loop in a thread of its own.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from anyio.from_thread import start_blocking_portal

from . import _pusher
from .errors import PusherClosedError

if TYPE_CHECKING:
    from ._events import PushResult

__all__ = ["Pusher", "push"]


class Pusher:
    """The blocking twin of :class:`ocipush.Pusher`, with its options; a context manager that threads may share.

    Progress events come in the loop's thread. Ctrl-C during a push cancels that push.
    """

    def __init__(self, **options: Any) -> None:
        self._pusher = _pusher.Pusher(**options)
        self._stack = ExitStack()
        self._pid = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal("asyncio", name="ocipush"))
            stack.enter_context(self._portal.wrap_async_context_manager(self._pusher))
            self._stack = stack.pop_all()
        self._pid = os.getpid()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._pid = 0
        self._stack.__exit__(*exc_info)

    def push(self, source: str | os.PathLike[str], **options: Any) -> PushResult:
        """:meth:`ocipush.Pusher.push`, blocking; the same options, result and errors."""
        if self._pid != os.getpid():
            raise PusherClosedError(
                "this Pusher is not open in this process", hint="use `with ocipush.sync.Pusher() as pusher`"
            )
        future = self._portal.start_task_soon(partial(self._pusher.push, source, **options))
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


def push(source: str | os.PathLike[str], **options: Any) -> PushResult:
    """:func:`ocipush.push`, blocking; the same options, result and errors."""
    once = {
        name: options.pop(name)
        for name in ("target", "ref", "on_event", "verify", "include_foreign")
        if name in options
    }
    with Pusher(**options) as pusher:
        return pusher.push(source, **once)
