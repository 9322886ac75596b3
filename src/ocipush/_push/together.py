"""Run jobs concurrently, with one error for the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable


async def together(jobs: Iterable[Callable[[], Awaitable[object]]]) -> None:
    """Run ``jobs`` concurrently. The first failure cancels the rest and is raised; other failures become its notes."""

    async def run(job: Callable[[], Awaitable[object]]) -> None:
        try:
            await job()
        except BaseException:
            tasks.cancel_scope.cancel()  # at once, so that a job that waited for its turn sends no request
            raise

    try:
        async with anyio.create_task_group() as tasks:
            for job in jobs:
                tasks.start_soon(run, job)
    except BaseExceptionGroup as group:
        # On trio, a group also holds the cancellations of an outer scope, which do not matter here.
        first, *others = sorted(_leaves(group), key=lambda leaf: not isinstance(leaf, Exception))
        for other in others:
            if isinstance(other, Exception) and str(other) != str(first):
                first.add_note(f"also failed: {other}")
        raise first from first.__cause__


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for exc in group.exceptions:
        found += _leaves(exc) if isinstance(exc, BaseExceptionGroup) else [exc]
    return found
