"""How long a registry may take over a body, a chunk and a blob, on virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from tests import layouts
from tests.virtual_push import World, run

import ocipush
from ocipush import errors
from ocipush.testing import Drip, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1024 * 1024
LAYER = bytes(5 * MIB)  # half a second of commit time
ANSWER = 10.0
ONCE = ocipush.RetryPolicy(attempts=1)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    layouts.write_layout(tmp_path / "app", [layouts.add_manifest(tmp_path / "app", [LAYER])])
    return tmp_path / "app"


class Slow:
    """Takes so many seconds over the answer to the request that carries the layer, or its bytes from ``start`` on."""

    def __init__(self, seconds: float, *, start: int = 0) -> None:
        self._seconds = seconds
        self._start = start

    async def __call__(self, request: Request) -> Response | None:
        start = int(request.headers.get("content-range", "0").partition("-")[0])
        if start == self._start and int(request.headers.get("content-length", 0)) >= MIB:
            request.keep()
            while await request.receive():
                pass
            request.rewind()
            await trio.sleep(self._seconds)
        return None


def push(
    directory: Path,
    image: Path,
    *,
    stalls: bool,
    answer: float = ANSWER,
    chunk_size: int | None = None,
    **registry: object,
) -> None:
    """Push; it stalls, or it does not."""

    async def test(world: World) -> None:
        timeouts = ocipush.Timeouts(connect=10, stall=10, answer=answer)
        options = {"timeouts": timeouts, "retry": ONCE, "chunk_size": chunk_size, "tls_verify": False}
        if stalls:
            with pytest.raises(errors.StalledError):
                await world.push(image, **options)
        else:
            await world.push(image, **options)
        assert bool(world.registry.repository("app").tags) is not stalls

    run(test, directory, **registry)


def test_commit_may_take_a_second_longer_for_each_10_mib_unless_it_has_its_own_timeout() -> None:
    ten = 10 * MIB
    assert ocipush.Timeouts(answer=60).for_commit(0) == 60
    assert ocipush.Timeouts(answer=60).for_commit(5 * ten) == 65
    assert ocipush.Timeouts(answer=60, commit=3).for_commit(5 * ten) == 3
    assert ocipush.Timeouts(answer=None).for_commit(5 * ten) is None
    assert ocipush.Timeouts(answer=None, commit=3).for_commit(5 * ten) == 3


@pytest.mark.parametrize(("seconds", "stalls"), [(ANSWER + 0.4, False), (ANSWER + 0.6, True)])
def test_commit_of_a_large_blob_may_take_longer_than_other_answers(
    tmp_path: Path, image: Path, seconds: float, stalls: bool
) -> None:
    push(tmp_path, image, stalls=stalls, intercept=Slow(seconds))


@pytest.mark.parametrize(("seconds", "stalls"), [(ANSWER + 0.4, False), (ANSWER + 0.6, True)])
def test_commit_after_chunks_may_take_as_long_as_that_of_the_whole_blob(
    tmp_path: Path, image: Path, seconds: float, stalls: bool
) -> None:
    push(tmp_path, image, stalls=stalls, chunk_size=MIB, intercept=Slow(seconds, start=4 * MIB))


@pytest.mark.parametrize(("seconds", "stalls"), [(ANSWER + 0.05, False), (ANSWER + 0.3, True)])
def test_chunk_may_take_as_long_as_a_blob_of_its_size(
    tmp_path: Path, image: Path, seconds: float, stalls: bool
) -> None:
    push(tmp_path, image, stalls=stalls, chunk_size=MIB, intercept=Slow(seconds, start=3 * MIB))


@pytest.mark.parametrize(
    ("secure", "rate", "stalls"),
    [(False, 2048, False), (False, 1024, True), (True, 32 * 1024, False)],
)
def test_body_stalls_when_less_than_16_kib_are_sent_in_the_stall_time(
    tmp_path: Path, image: Path, secure: bool, rate: int, stalls: bool
) -> None:
    drip = Drip("PUT /v2/*/blobs/uploads/*", times=2, after=MIB, rate=rate)
    # What the network holds when all was sent has time to arrive.
    push(tmp_path, image, stalls=stalls, answer=100, faults=[drip], secure=secure)
