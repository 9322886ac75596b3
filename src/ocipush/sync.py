"""Blocking twins of the async API, for scripts, threads, and threads whose own event loop is running.

May import: _pusher, errors, anyio. Each ``Pusher`` owns an event loop in a thread of its own.
"""

from __future__ import annotations

import inspect
import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from anyio.from_thread import start_blocking_portal

from . import Pusher as _AsyncPusher  # noqa: F401 - its import names what is public
from ._push import pusher as _pusher
from .errors import PusherClosedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from anyio.from_thread import BlockingPortal

__all__ = ["Pusher", "push"]

P = ParamSpec("P")
T = TypeVar("T")
if TYPE_CHECKING:
    AnyFunction = Callable[..., Any]
    Function = Callable[P, T]
    Method = Callable[Concatenate["Pusher", P], T]


def _sign(original: AnyFunction, twin: AnyFunction) -> Any:
    """Let ``twin`` show the parameters of ``original``, which it hands on as they are."""
    twin.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
    return twin


def _twin_of(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[[AnyFunction], Function[P, T]]:
    return partial(_sign, function)


def _method_twin_of(
    method: Callable[Concatenate[_pusher.Pusher, P], Coroutine[Any, Any, T]],
) -> Callable[[AnyFunction], Method[P, T]]:
    return partial(_sign, method)


def _constructor_twin_of(
    method: Callable[Concatenate[_pusher.Pusher, P], None],
) -> Callable[[AnyFunction], Method[P, None]]:
    return partial(_sign, method)


def _wait(portal: BlockingPortal, call: Callable[[], Awaitable[T]]) -> T:
    """The result of ``call`` in the portal's loop; what interrupts this thread, such as Ctrl-C, cancels it."""
    future = portal.start_task_soon(call)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


class Pusher:
    """The blocking twin of :class:`ocipush.Pusher`, with its options; a context manager that threads may share.

    Progress events come in the loop's thread. Ctrl-C during a push cancels that push; inside ``asyncio.run`` the second
    one does, since the first is asyncio's own.
    """

    @_constructor_twin_of(_pusher.Pusher.__init__)
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

    def _run(self, call: Callable[[], Awaitable[T]]) -> T:
        if self._pid != os.getpid():
            raise PusherClosedError(
                "this Pusher is not open in this process", hint="use `with ocipush.sync.Pusher() as pusher`"
            )
        return _wait(self._portal, call)

    @_method_twin_of(_pusher.Pusher.push)
    def push(self, *args: Any, **options: Any) -> Any:
        """:meth:`ocipush.Pusher.push`, blocking; the same options, result and errors."""
        return self._run(partial(self._pusher.push, *args, **options))

    @_method_twin_of(_pusher.Pusher.check_login)
    def check_login(self, *args: Any, **options: Any) -> Any:
        """:meth:`ocipush.Pusher.check_login`, blocking."""
        return self._run(partial(self._pusher.check_login, *args, **options))


@_twin_of(_pusher.push)
def push(*args: Any, **options: Any) -> Any:
    """:func:`ocipush.push`, blocking; the same options, result and errors."""
    with start_blocking_portal("asyncio", name="ocipush") as portal:
        return _wait(portal, partial(_pusher.push, *args, **options))
