from __future__ import annotations

import anyio
import pytest
import trio
import trio.testing

from ocipush._pace import Pace


def run(test: object, *args: object) -> None:
    trio.run(test, *args, clock=trio.testing.MockClock(autojump_threshold=0))  # type: ignore[arg-type]


def test_pause_is_kept_by_all_and_can_grow_while_it_is_waited_for() -> None:
    async def test() -> None:
        pace, begun, went_on = Pace(8, 2), anyio.current_time(), list[float]()

        async def worker() -> None:
            await pace.wait()
            went_on.append(anyio.current_time() - begun)

        pace.limited(10)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker)
            tasks.start_soon(worker)
            await anyio.sleep(5)
            pace.limited(20)
        assert went_on == [25, 25]
        await pace.wait()
        assert anyio.current_time() - begun == 25

    run(test)


def test_storm_of_refusals_halves_once_and_success_restores_all() -> None:
    async def test() -> None:
        pace = Pace(8, 2)
        for _ in range(5):
            pace.limited(1)
        assert (pace.small.total_tokens, pace.large.total_tokens) == (4, 1)
        await pace.wait()
        pace.limited(1)
        assert (pace.small.total_tokens, pace.large.total_tokens) == (2, 1)
        for _ in range(100):
            pace.served()
        assert (pace.small.total_tokens, pace.large.total_tokens) == (8, 2)

    run(test)


def test_many_workers_come_through_a_narrow_rate_limit_in_few_attempts_each() -> None:
    async def test() -> None:
        pace, window, made, refusals = Pace(32, 4), [0.0, 0.0], [0], list[int]()

        def answer() -> bool:
            """At most ten requests a second."""
            now = anyio.current_time()
            if now - window[0] >= 1:
                window[:] = [now, 0]
            window[1] += 1
            return window[1] <= 10

        async def worker() -> None:
            refused = 0
            while True:
                async with pace.turn():
                    await anyio.sleep(0.01)
                    good = answer()
                if good:
                    break
                refused += 1
                pace.limited(1)
            made[0] += 1
            pace.served()
            refusals.append(refused)

        async with anyio.create_task_group() as tasks:
            for _ in range(200):
                tasks.start_soon(worker)
        assert made == [200]
        assert max(refusals) < 5

    run(test)


@pytest.mark.anyio
async def test_pace_without_a_rate_limit_waits_for_nothing() -> None:
    with anyio.fail_after(0):
        await Pace(1, 1).wait()
