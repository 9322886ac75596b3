"""Hours of pushes on virtual time, faults all the while: nothing grows."""

from __future__ import annotations

import gc
import os
import random
import ssl
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from tests.memory_network import MemoryRegistry, Network
from tests.property.scenario import PASSWORD, write_image
from tests.virtual_time import descriptors, deterministic

import ocipush
from ocipush._http.transport import Transport
from ocipush.testing import BearerAuth, Cut, Duplicate, Fault, RateLimit, Refuse, Restart, Stall

if TYPE_CHECKING:
    from pathlib import Path

HOURS = float(os.environ.get("OCIPUSH_HOURS", "1"))
EVERY = 60.0  # virtual seconds from one push to the next
GROWTH = 64 * 1024  # bytes that may be held more at the end than after a quarter of the time
UPLOAD = "PUT /v2/*/blobs/uploads/*"
FAULTS: list[Fault] = [
    Cut(UPLOAD, after=100_000),
    Cut(UPLOAD, of="answer"),
    Stall(UPLOAD, after=10),
    Stall("HEAD *", of="answer"),
    RateLimit("POST *", wait=5),
    RateLimit("*", wait=0.01, notation="milliseconds"),
    Refuse("PUT /v2/*/manifests/*", status=503),
    Duplicate(UPLOAD),
    Restart("*", keep_sessions=False),
]


def memory_held() -> int:
    """Bytes that the code of the engine, and what it is built on, have allocated and not given back.

    Not all of the process: a measurement of coverage grows with what it has seen.
    """
    gc.collect()
    kept = [tracemalloc.Filter(True, f"*/{name}/*") for name in ("src/ocipush", "h11", "httpx", "anyio", "trio")]
    snapshot = tracemalloc.take_snapshot().filter_traces(kept)
    return sum(statistic.size for statistic in snapshot.statistics("filename"))


def write_images(directory: Path) -> list[Path]:
    images = [directory / str(number) for number in range(12)]
    for number, image in enumerate(images):
        write_image(image, (((0, 1000), (1, 2000 + number), (2, 150_000 + number)),))
    return images


async def push_for_hours(images: list[Path], chance: random.Random) -> None:
    """Push an image each minute. The registry loses what it holds now and then, so that all is sent again."""
    network = Network()
    auth = BearerAuth({"you": PASSWORD}, clock=trio.current_time)
    measured: list[tuple[int, int, int]] = []
    async with MemoryRegistry(network, auth=auth) as registry:
        repository = registry.repository("app")
        async with ocipush.Pusher(
            authfile=images[0] / "none",
            credentials={registry.host: ocipush.Login("you", PASSWORD)},
            transport=Transport(ssl.create_default_context(), connect=network.connect),
        ) as pusher:
            count = round(HOURS * 3600 / EVERY)
            for number in range(count):
                if number in {count // 4, count - 1}:
                    tasks = trio.lowlevel.current_statistics().tasks_living
                    measured.append((memory_held(), descriptors(), tasks))
                fault = replace(chance.choice(FAULTS), nth=chance.randint(1, 3))
                registry._schedule._faults[:] = [(fault, [0])]
                result = await pusher.push(images[number % len(images)], target=f"{registry.host}/app:1")
                assert repository.tags["1"] == result.digest
                if number % 5 == 0:
                    repository.blobs.clear()
                    repository.manifests.clear()
                repository.uploads.clear()
                auth._tokens.clear() if number % 7 == 0 else None
                network.ends[:] = [end for end in network.ends if not end.closed]
                registry.requests.clear()
                registry.fired.clear()
                await trio.sleep_until(number * EVERY + EVERY)
    (memory, files, tasks), (memory_then, files_then, tasks_then) = measured
    assert memory_then - memory < GROWTH
    assert files_then == files
    assert tasks_then <= tasks + 4  # connections that wait for the next request


@pytest.mark.timeout(1200)
def test_hours_of_pushes_leak_neither_memory_nor_descriptors(tmp_path: Path) -> None:
    images = write_images(tmp_path)
    tracemalloc.start()
    try:
        with deterministic():
            clock = trio.testing.MockClock(autojump_threshold=0)
            trio.run(push_for_hours, images, random.Random(0), clock=clock)
    finally:
        tracemalloc.stop()
