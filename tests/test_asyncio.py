"""Pushes in programs that use asyncio itself: task groups, timeouts, cancelled tasks and uvloop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
import pytest

import ocipush
from ocipush import errors
from ocipush.testing import Registry

if TYPE_CHECKING:
    from pathlib import Path

    from ocipush.testing import Request


class HeldUploads:
    """Holds each upload at the registry, and says when the first has arrived."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()

    async def __call__(self, request: Request) -> None:
        if request.method == "PUT" and "/uploads/" in request.path:
            self.arrived.set()
            await anyio.sleep_forever()


def assert_nothing_left(registry: Registry) -> None:
    repository = registry.repository("app")
    assert (dict(repository.tags), dict(repository.uploads)) == ({}, {})
    assert "DELETE" in {request.method for request in registry.requests}


@pytest.mark.asyncio
async def test_pushes_run_in_a_task_group(image: Path, authfile: Path) -> None:
    async with Registry() as registry, ocipush.Pusher(authfile=authfile) as pusher:
        async with asyncio.TaskGroup() as tasks:
            pushes = [tasks.create_task(pusher.push(image, target=f"{registry.host}/app:{tag}")) for tag in range(8)]
        assert registry.repository("app").tags == {str(tag): push.result().digest for tag, push in enumerate(pushes)}


@pytest.mark.asyncio
async def test_failed_push_cancels_the_others_in_its_task_group(image: Path, authfile: Path) -> None:
    held = HeldUploads()
    async with Registry(intercept=held) as registry, ocipush.Pusher(store=image.parent, authfile=authfile) as pusher:

        async def fail() -> None:
            await held.arrived.wait()
            await pusher.push("absent", target=f"{registry.host}/app:2")

        async def push_both() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(pusher.push(image, target=f"{registry.host}/app:1"))
                tasks.create_task(fail())

        with pytest.raises(ExceptionGroup) as caught:
            await push_both()
        assert [type(one) for one in caught.value.exceptions] == [errors.ImageNotFoundError]
        assert_nothing_left(registry)


@pytest.mark.asyncio
async def test_timeout_cancels_a_push_and_closes_its_upload_sessions(image: Path, authfile: Path) -> None:
    held = HeldUploads()
    async with Registry(intercept=held) as registry:

        async def expire(timeout: asyncio.Timeout) -> None:
            await held.arrived.wait()
            timeout.reschedule(asyncio.get_running_loop().time())

        timeout = asyncio.timeout(None)
        expiry = asyncio.create_task(expire(timeout))
        with pytest.raises(TimeoutError):
            async with timeout:
                await ocipush.push(image, target=f"{registry.host}/app:1", authfile=authfile)
        await expiry
        assert_nothing_left(registry)


@pytest.mark.asyncio
async def test_cancelled_task_closes_its_upload_sessions_and_ends_cancelled(image: Path, authfile: Path) -> None:
    held = HeldUploads()
    async with Registry(intercept=held) as registry:
        task = asyncio.create_task(ocipush.push(image, target=f"{registry.host}/app:1", authfile=authfile))
        await held.arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert_nothing_left(registry)


def test_push_runs_on_uvloop(image: Path, authfile: Path) -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop does not support this system")

    async def push() -> None:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        async with Registry() as registry:
            result = await ocipush.push(image, target=f"{registry.host}/app:1", authfile=authfile)
            assert registry.repository("app").tags == {"1": result.digest}

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(push())
