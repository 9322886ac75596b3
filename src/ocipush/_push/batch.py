"""Many images: plan which blobs they share, push them a few at a time, and report on each (docs/batch.md)."""

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Sized
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from os import PathLike
from typing import Final

import anyio

from .._events import PushResult
from .._oci.reference import Reference
from ..errors import ConflictingJobsError, OcipushError
from .options import PushOptions
from .together import together

WINDOW: Final = 1000  # jobs of an iterator that are planned at a time


@dataclass(frozen=True, slots=True)
class Job:
    """One image to push.

    Attributes:
        source: a name or reference of the store (``str``), or a path (``PathLike``), as for :func:`ocipush.push`.
        target: the reference to push to; None: the one that the image records.
        options: further options of :func:`ocipush.push`, without ``target`` and ``on_event``.
    """

    source: str | PathLike[str]
    target: str | Reference | None = None
    options: PushOptions = field(default_factory=PushOptions)


@dataclass(frozen=True, slots=True)
class JobReport:
    """What became of a job. Without a result and an error, it was not started.

    Attributes:
        job: the job.
        result: what the push did, if it succeeded.
        error: why it failed.
    """

    job: Job
    result: PushResult | None = None
    error: OcipushError | None = None


@dataclass(frozen=True, slots=True)
class PushReport:
    """What became of many jobs.

    Attributes:
        jobs: a report for each job, in the order of the jobs.
        seconds: from the first job to the last.
    """

    jobs: tuple[JobReport, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every job succeeded."""
        return all(one.result is not None for one in self.jobs)

    @property
    def results(self) -> tuple[PushResult, ...]:
        """The results of the jobs that succeeded."""
        return tuple(one.result for one in self.jobs if one.result is not None)

    @property
    def failures(self) -> tuple[JobReport, ...]:
        """The jobs that failed."""
        return tuple(one for one in self.jobs if one.error is not None)

    @property
    def sent(self) -> int:
        """Bytes of blobs and manifests written to the network by the jobs that succeeded, including those sent again."""
        return sum(result.sent for result in self.results)

    @property
    def requests(self) -> int:
        """HTTP requests of the jobs that succeeded."""
        return sum(result.requests for result in self.results)

    def causes(self) -> dict[str, tuple[JobReport, ...]]:
        """The failures by cause: the name of the error and its hint."""
        causes: dict[str, list[JobReport]] = {}
        for one in self.failures:
            hint = f": {one.error.hint}" if one.error is not None and one.error.hint else ""
            causes.setdefault(f"{type(one.error).__name__}{hint}", []).append(one)
        return {cause: tuple(found) for cause, found in causes.items()}


@dataclass(frozen=True, slots=True)
class Plan:
    """What one job will push, as far as it matters to the others.

    Attributes:
        reference: where to.
        digest: of the image.
        blobs: size by digest, of all that is sent.
    """

    reference: Reference
    digest: str
    blobs: dict[str, int]


async def run_jobs(
    jobs: Iterable[Job] | AsyncIterable[Job],
    *,
    look: Callable[[Job], Awaitable[Plan]],
    push: Callable[[Job], Awaitable[PushResult]],
    parallel: int,
    stop_on_error: bool,
) -> PushReport:
    """Push ``jobs``: those of a sized collection are planned together, those of an iterator 1,000 at a time.

    Args:
        jobs: the jobs.
        look: reads what a job will push.
        push: pushes it.
        parallel: maximum number of jobs that run at the same time.
        stop_on_error: start no more jobs after a failure, and cancel those that run.

    Raises:
        ConflictingJobsError: several jobs push different images to the same tag. Nothing of their window was sent.
    """
    started = anyio.current_time()
    reports: list[JobReport] = []
    async with aclosing(_windows(jobs)) as windows:
        async for window in windows:
            reports += await _Batch(window, look, push, parallel, stop_on_error).run()
            if stop_on_error and any(one.error is not None for one in reports):
                break
    return PushReport(tuple(reports), anyio.current_time() - started)


async def _windows(jobs: Iterable[Job] | AsyncIterable[Job]) -> AsyncGenerator[list[Job]]:
    if isinstance(jobs, AsyncIterable):
        window: list[Job] = []
        async for job in jobs:
            window.append(job)
            if len(window) == WINDOW:
                yield window
                window = []
        if window:
            yield window
        return
    if isinstance(jobs, Sized):
        yield list(jobs)
        return
    iterator = iter(jobs)
    while found := list(islice(iterator, WINDOW)):
        yield found


class _Batch:
    """Jobs that are planned together."""

    def __init__(
        self,
        jobs: list[Job],
        look: Callable[[Job], Awaitable[Plan]],
        push: Callable[[Job], Awaitable[PushResult]],
        parallel: int,
        stop_on_error: bool,
    ) -> None:
        self._reports = [JobReport(job) for job in jobs]
        self._plans: list[Plan | None] = [None] * len(jobs)
        self._look = look
        self._push = push
        self._parallel = parallel
        self._stop_on_error = stop_on_error

    async def run(self) -> list[JobReport]:
        await self._together(range(len(self._reports)), self._plan_one)
        self._refuse_conflicts()
        rest = [number for number, plan in enumerate(self._plans) if plan is not None]
        # The first job brings the blobs that most of the others share. The second one shows whether they can be mounted;
        # if so, all others wait for a blob that is being uploaded to another repository instead of uploading it, too.
        for number in self._pilots(rest):
            rest.remove(number)
            await self._together([number], self._push_one)
        await self._together(rest, self._push_one)
        return self._reports

    async def _together(self, numbers: Iterable[int], run: Callable[[int], Awaitable[None]]) -> None:
        """Run a few at a time. Which one is next is decided when a place is free."""
        waiting = iter(numbers)

        async def work() -> None:
            for number in waiting:
                if self._stop_on_error and self._reports[number].error is None and self._failed():
                    return
                await run(number)
                if self._stop_on_error and self._reports[number].error is not None:
                    scope.cancel()

        with anyio.CancelScope() as scope:
            await together([work] * self._parallel)

    def _failed(self) -> bool:
        return any(one.error is not None for one in self._reports)

    async def _plan_one(self, number: int) -> None:
        try:
            self._plans[number] = await self._look(self._reports[number].job)
        except OcipushError as exc:
            self._reports[number] = replace(self._reports[number], error=exc)

    async def _push_one(self, number: int) -> None:
        try:
            result = await self._push(self._reports[number].job)
        except OcipushError as exc:
            self._reports[number] = replace(self._reports[number], error=exc)
        else:
            self._reports[number] = replace(self._reports[number], result=result)

    def _refuse_conflicts(self) -> None:
        digests: dict[str, str] = {}
        for plan in self._plans:
            if plan is not None and digests.setdefault(plan.reference.name, plan.digest) != plan.digest:
                raise ConflictingJobsError(
                    f"several jobs push different images to {plan.reference.name}",
                    hint="give each image a target of its own",
                    reference=plan.reference.name,
                )

    def _pilots(self, numbers: list[int]) -> list[int]:
        """The job with the most bytes that others need, and the one that shares the most with it from another repository."""
        plans = [(number, plan) for number in numbers if (plan := self._plans[number]) is not None]
        places: dict[tuple[str, str], set[str]] = {}  # the repositories that need a blob, by registry and digest
        for _, plan in plans:
            for digest in plan.blobs:
                places.setdefault((plan.reference.registry, digest), set()).add(plan.reference.repository)

        def shared(plan: Plan) -> int:
            return sum(size for digest, size in plan.blobs.items() if len(places[plan.reference.registry, digest]) > 1)

        first = max(plans, key=lambda one: shared(one[1]), default=None)
        if first is None or shared(first[1]) == 0:
            return []
        overlap = partial(_overlap, first[1])
        second = max(plans, key=lambda one: overlap(one[1]))
        return [first[0], second[0]] if overlap(second[1]) > 0 else [first[0]]


def _overlap(first: Plan, other: Plan) -> int:
    """Bytes that another job could mount from the first one."""
    if other.reference.registry != first.reference.registry or other.reference.repository == first.reference.repository:
        return 0
    return sum(size for digest, size in other.blobs.items() if digest in first.blobs)
