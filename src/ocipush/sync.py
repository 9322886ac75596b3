"""Blocking twins of the async API, for scripts, for threads, and for threads in which an event loop is running.

Each ``Pusher`` runs an event loop in its own thread. May import: the root, ``_push.options``, errors, anyio.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from anyio import get_cancelled_exc_class
from anyio.from_thread import start_blocking_portal

from . import Pusher as AsyncPusher
from . import push as push_async
from ._push.options import AllOptions, PusherOptions, PushOptions, shows
from .errors import PusherClosedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
    from os import PathLike

    from anyio.from_thread import BlockingPortal

    from ._credentials.base import Login
    from ._events import OnEvent, PushResult
    from ._push.batch import Job, PushReport

__all__ = ["Pusher", "push", "push_many"]

T = TypeVar("T")


class _Wrapped(Exception):  # noqa: N818 - no error of its own
    """Carries what is no ``Exception``, such as a KeyboardInterrupt that ``on_event`` raised: it would end the loop."""

    def __init__(self, carried: BaseException) -> None:
        super().__init__()
        self.carried = carried


def _wait(portal: BlockingPortal, call: Callable[[], Awaitable[T]]) -> T:
    """The result of ``call`` in the portal's loop; what interrupts this thread, such as Ctrl-C, cancels it."""

    async def run() -> T:
        try:
            return await call()
        except (Exception, get_cancelled_exc_class()):
            raise
        except BaseException as exc:
            raise _Wrapped(exc) from exc

    future = portal.start_task_soon(run)
    try:
        return future.result()
    except _Wrapped as exc:
        wrapped = exc
    except BaseException:
        future.cancel()
        raise
    raise wrapped.carried


class Pusher:
    """The blocking twin of :class:`ocipush.Pusher`, with its options: a context manager that threads may share.

    Progress events come on the thread of its loop. Ctrl-C during a push cancels that push. (Inside ``asyncio.run`` it
    takes a second Ctrl-C, because asyncio handles the first.)
    """

    @shows(PusherOptions)
    def __init__(self, **options: Unpack[PusherOptions]) -> None:
        self._pusher = AsyncPusher(**options)
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

    def _run(self, call: Callable[[], Awaitable[T]]) -> T:
        if self._pid != os.getpid():
            raise PusherClosedError(
                "this Pusher is not open in this process", hint="use `with ocipush.sync.Pusher() as pusher`"
            )
        return _wait(self._portal, call)

    @shows(PushOptions)
    def push(self, source: str | PathLike[str], **options: Unpack[PushOptions]) -> PushResult:
        """:meth:`ocipush.Pusher.push`, blocking; the same options, result and errors."""
        return self._run(partial(self._pusher.push, source, **options))

    def push_many(
        self,
        jobs: Iterable[Job] | AsyncIterable[Job],
        *,
        parallel: int = 8,
        stop_on_error: bool = False,
        on_event: OnEvent | None = None,
    ) -> PushReport:
        """:meth:`ocipush.Pusher.push_many`, blocking; the same options, report and errors."""
        return self._run(
            partial(self._pusher.push_many, jobs, parallel=parallel, stop_on_error=stop_on_error, on_event=on_event)
        )

    def check_login(self, registry: str, login: Login | None = None) -> bool:
        """:meth:`ocipush.Pusher.check_login`, blocking."""
        return self._run(partial(self._pusher.check_login, registry, login))


@shows(AllOptions)
def push(source: str | PathLike[str], **options: Unpack[AllOptions]) -> PushResult:
    """:func:`ocipush.push`, blocking; the same options, result and errors."""
    with start_blocking_portal("asyncio", name="ocipush") as portal:
        return _wait(portal, partial(push_async, source, **options))


@shows(PusherOptions)
def push_many(
    jobs: Iterable[Job] | AsyncIterable[Job],
    *,
    parallel: int = 8,
    stop_on_error: bool = False,
    on_event: OnEvent | None = None,
    **options: Unpack[PusherOptions],
) -> PushReport:
    """:func:`ocipush.push_many`, blocking; the same options, report and errors."""
    with Pusher(**options) as pusher:
        return pusher.push_many(jobs, parallel=parallel, stop_on_error=stop_on_error, on_event=on_event)
