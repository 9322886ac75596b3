"""Many pushes on one Pusher: within the limit of open files, ended together, and nothing that grows for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import httpx
import pytest
from anyio.lowlevel import checkpoint
from tests import layouts

import ocipush
from ocipush import errors
from ocipush._push import pusher as _pusher
from ocipush.testing import Registry, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
MANY = """
import anyio, resource, sys, ocipush
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
image, host, authfile, count = sys.argv[1:4] + [int(sys.argv[4])]

async def main():
    failed = []
    async with ocipush.Pusher(authfile=authfile, store=image + "/..") as pusher, anyio.create_task_group() as tasks:
        async def push(number):
            try:
                await pusher.push("image", target=f"{host}/a{number % 50}:{number}")
            except ocipush.OcipushError as exc:
                failed.append(str(exc))
        for number in range(count):
            tasks.start_soon(push, number)
    print(len(failed), failed[:3])

anyio.run(main)
"""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    layouts.write_layout(path, [layouts.add_manifest(path, [os.urandom(2_000), os.urandom(3_000)])])
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("count", [400])
async def test_hundreds_of_pushes_at_once_stay_within_256_open_files(image: Path, count: int) -> None:
    async with Registry() as registry:
        words = [sys.executable, "-c", MANY, str(image), registry.host, str(image / "none"), str(count)]
        done = await anyio.to_thread.run_sync(
            lambda: subprocess.run(words, capture_output=True, text=True, check=False)
        )
        assert (done.stdout, done.returncode) == ("0 []\n", 0), done.stderr[-2000:]
        assert sum(len(registry.repository(f"a{number}").tags) for number in range(50)) == count


async def test_registry_that_is_dead_fails_all_who_wait_with_the_first(image: Path) -> None:
    events: list[object] = []
    failures: list[errors.ConnectFailedError] = []
    retry = ocipush.RetryPolicy(attempts=3, base=0.4, jitter=0)  # long enough for all pushes to wait for the first
    async with ocipush.Pusher(authfile=image / "none", retry=retry) as pusher, anyio.create_task_group() as tasks:

        async def push() -> None:
            with pytest.raises(errors.ConnectFailedError) as caught:
                await pusher.push(image, target="127.0.0.1:9/a:1", on_event=events.append)
            failures.append(caught.value)

        for _ in range(20):
            tasks.start_soon(push)
    assert len(failures) == 20
    assert sum(isinstance(event, ocipush.RetryScheduled) for event in events) == 2


async def test_forced_push_sends_a_blob_that_another_push_is_sending(image: Path) -> None:
    go, sent = anyio.Event(), list[str]()

    async def intercept(request: Request) -> Response | None:
        if request.method in {"POST", "PUT"} and "/blobs/" in request.path:
            sent.append(request.method)
            await go.wait()
        return None

    results: dict[bool, ocipush.PushResult] = {}
    async with Registry(intercept=intercept) as registry, ocipush.Pusher(authfile=image / "none") as pusher:

        async def push(force: bool) -> None:
            results[force] = await pusher.push(image, target=f"{registry.host}/a:{force:d}", force=force)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(push, False)
            while not sent:
                await anyio.sleep(0.01)
            tasks.start_soon(push, True)
            while len(sent) < 6:
                await anyio.sleep(0.01)
            go.set()
    assert {blob.outcome for blob in results[True].blobs} == {"uploaded"}


async def test_pusher_that_is_closed_ends_the_pushes_that_still_run(image: Path) -> None:
    reached = anyio.Event()

    async def intercept(_: Request) -> Response | None:
        reached.set()
        await anyio.sleep_forever()
        return None

    raised: list[BaseException] = []
    async with Registry(intercept=intercept) as registry, anyio.create_task_group() as tasks:

        async def push() -> None:
            with pytest.raises(errors.PusherClosedError, match="was closed before 127") as caught:
                await pusher.push(image, target=f"{registry.host}/a:1")
            raised.append(caught.value)

        async with ocipush.Pusher(authfile=image / "none") as pusher:
            tasks.start_soon(push)
            await reached.wait()
        assert not pusher._running
        await anyio.wait_all_tasks_blocked()
        assert len(raised) == 1


class Counting(httpx.AsyncBaseTransport):
    def __init__(self) -> None:
        self.closed = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await checkpoint()
        return httpx.Response(404 if request.method == "HEAD" else 500)

    async def aclose(self) -> None:
        self.closed += 1


async def test_transport_of_the_caller_is_closed_once(image: Path) -> None:
    transport = Counting()
    retry = ocipush.RetryPolicy(attempts=1)
    async with ocipush.Pusher(authfile=image / "none", transport=transport, retry=retry) as pusher:
        for tls_verify in (True, False):
            with pytest.raises(errors.RegistryError):
                await pusher.push(image, target="r.example/a:1", tls_verify=tls_verify)
    assert transport.closed == 1


async def test_registries_leave_a_bounded_number_of_endpoints(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pusher, "_ENDPOINTS", 3)
    async with ocipush.Pusher(authfile=image / "none") as pusher:
        made = [await pusher._endpoint(f"r{number}.example", "a", True) for number in range(9)]
        assert len(pusher._endpoints) == 3
        assert await pusher._endpoint("r8.example", "a", True) is made[8]
        assert await pusher._endpoint("r0.example", "a", True) is not made[0]
