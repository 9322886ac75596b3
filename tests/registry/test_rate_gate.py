from __future__ import annotations

import anyio
import pytest
import trio
import trio.testing

from ocipush._registry.rate_gate import NEAR, NEAR_SMALL, SLOW, RateGate


def run(test: object, *args: object) -> None:
    trio.run(test, *args, clock=trio.testing.MockClock(autojump_threshold=0))  # type: ignore[arg-type]


def test_pause_holds_for_all_workers_and_can_grow_meanwhile() -> None:
    async def test() -> None:
        pace, begun, went_on = RateGate(8, 2), anyio.current_time(), list[float]()

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


def test_burst_of_refusals_halves_the_concurrency_once_and_success_restores_it() -> None:
    async def test() -> None:
        pace = RateGate(8, 2)
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


@pytest.mark.parametrize(
    ("latencies", "small"),
    [
        ([], 64),
        ([None, None], 64),  # through a transport that does not tell
        ([NEAR], 64),
        ([0.001], NEAR_SMALL),
        ([None, 0.001], NEAR_SMALL),
        ([NEAR, 0.001], 64),
        ([0.001, SLOW], NEAR_SMALL),
        ([0.001, *[SLOW * 2] * 3], NEAR_SMALL + 3),
        ([0.001, *[SLOW * 2] * 100], 64),
        ([0.001, *[0.002] * 1000], NEAR_SMALL),
    ],
)
def test_fast_registry_gets_few_concurrent_blobs_until_it_becomes_slow(
    latencies: list[float | None], small: int
) -> None:
    async def test() -> None:
        pace = RateGate(64, 4)
        for latency in latencies:
            pace.served(latency)
        assert (pace.small.total_tokens, pace.large.total_tokens) == (small, 4)

    run(test)


def test_concurrency_below_that_for_a_fast_registry_is_kept() -> None:
    async def test() -> None:
        pace = RateGate(3, 4)
        for latency in (0.001, 1, 1):
            pace.served(latency)
        assert pace.small.total_tokens == 3

    run(test)


def test_rate_limit_is_not_lifted_by_slow_answers() -> None:
    async def test() -> None:
        pace = RateGate(64, 4)
        pace.served(0.001)
        pace.limited(1)
        for _ in range(20):
            pace.served(1)
        assert pace.small.total_tokens == NEAR_SMALL // 2
        for _ in range(2000):
            pace.served(0.001)
        assert pace.small.total_tokens == NEAR_SMALL + 20

    run(test)


def test_many_workers_pass_a_strict_rate_limit_with_few_attempts_each() -> None:
    async def test() -> None:
        pace, window, made, refusals = RateGate(32, 4), [0.0, 0.0], [0], list[int]()

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
async def test_gate_without_a_rate_limit_does_not_wait() -> None:
    with anyio.fail_after(0):
        await RateGate(1, 1).wait()
