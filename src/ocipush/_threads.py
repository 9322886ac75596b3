"""Run work on disks in daemon threads, with a limit of their own. May import: anyio.

A disk can hang for as long as it likes (NFS, FUSE). A task that waits for one of anyio's worker threads cannot be cancelled,
the thread keeps the process alive, and it takes one of the threads that the program's own work shares.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import queue
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")
MOST: Final = 64  # threads at once for each event loop; further work waits
_IDLE: Final = 10.0  # seconds after which a thread without work ends
_limiters = anyio.lowlevel.RunVar[anyio.CapacityLimiter]("ocipush_disk_limiter")
_here = threading.local()


class AbandonedError(BaseException):
    """Ends the work of a thread whose task was cancelled. Nobody sees it."""


async def run_in_thread(function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Run ``function`` in a daemon thread. If the task is cancelled, it leaves the thread behind, which ends on its own.

    Long work calls :func:`check_cancelled` now and then, and so ends soon after. What it opens is closed by the task that ends
    last: see ``_sources.threads``.
    """
    return cast("T", await _run(partial(function, *args, **options)))


async def _run(function: Callable[[], object]) -> object:
    limiter = _limiter()
    job = _Job(function, limiter)
    await limiter.acquire_on_behalf_of(job)
    try:
        _pool.hand_over(job)
    except BaseException:  # the system gives no more threads
        limiter.release_on_behalf_of(job)
        raise
    try:
        await job.landed.wait()
    except BaseException:
        job.abandoned = True
        raise
    return job.outcome()


def check_cancelled() -> None:
    """Raise AbandonedError if the task that waits for this thread was cancelled. Elsewhere, do nothing."""
    job: _Job | None = getattr(_here, "job", None)
    if job is not None and job.abandoned:
        raise AbandonedError


def _limiter() -> anyio.CapacityLimiter:
    try:
        return _limiters.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(MOST)
        _limiters.set(limiter)
        return limiter


def _waker() -> Callable[[Callable[[], object]], object]:
    """A function that has this event loop call another one, from any thread."""
    if (trio := sys.modules.get("trio")) is not None:
        try:
            return cast("Callable[[Callable[[], object]], object]", trio.lowlevel.current_trio_token().run_sync_soon)
        except RuntimeError:  # it is imported, and does not run
            pass
    import asyncio

    return asyncio.get_running_loop().call_soon_threadsafe


class _Job:
    """Work for a thread. The task holds its place in the limit until the thread has ended it, waited for or not."""

    def __init__(self, function: Callable[[], object], limiter: anyio.CapacityLimiter) -> None:
        self.landed = anyio.Event()
        self.abandoned = False
        self._function = function
        self._limiter = limiter
        self._wake = _waker()
        self._context = contextvars.copy_context()
        self._result: object = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do the work, in the thread."""
        _here.job = self
        try:
            self._result = self._context.run(self._function)
        except BaseException as exc:  # noqa: BLE001 - the task raises it
            self._error = exc
        finally:
            _here.job = None

    def land(self) -> None:
        """Tell the event loop that the work has ended."""
        with contextlib.suppress(RuntimeError):  # the event loop has ended; trio's error is one of these, too
            self._wake(self._land)

    def _land(self) -> None:
        self._limiter.release_on_behalf_of(self)
        self.landed.set()

    def outcome(self) -> object:
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
            return self._result
        finally:
            del error  # its traceback holds this frame


class _Pool:
    """Daemon threads that are reused."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._idle = 0  # threads that wait, without those whose job is in the queue already

    def hand_over(self, job: _Job) -> None:
        with self._lock:
            waiting = self._idle > 0
            self._idle -= waiting
        if not waiting:
            threading.Thread(target=self._work, name="ocipush disk", daemon=True).start()
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            try:
                job: Any = self._jobs.get(timeout=_IDLE)
            except queue.Empty:
                with self._lock:
                    if self._idle > 0:
                        self._idle -= 1
                        return
                continue
            job.run()
            with self._lock:
                self._idle += 1
            job.land()
            del job


_pool = _Pool()


def _forget_threads() -> None:
    """A forked process has none of its parent's threads."""
    global _pool  # noqa: PLW0603
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
