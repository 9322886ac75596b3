"""Disks that hang: cancellation, deadlines and other pushes do not wait for them."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import anyio
import pytest
from tests import layouts

import ocipush
from ocipush import _threads
from ocipush._sources import open as opening
from ocipush._sources import verify
from ocipush._sources.layout import Layout
from ocipush.testing import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio
STEPS = ["opening the layout", "reading a manifest", "checking a blob", "hashing a blob"]


class Disk:
    """Reads of threads other than the event loop's hang until they are let go, from a step on."""

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()
        self.loop = threading.get_ident()
        self.spared: Path | None = None

    def hang(self) -> None:
        assert threading.get_ident() != self.loop, "the event loop waits for a disk"
        self.reached.set()
        self.go.wait(30)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    layouts.write_layout(path, [layouts.add_manifest(path, [os.urandom(300_000)])])
    return path


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, step: str) -> Iterator[Disk]:
    hanging = Disk()
    target, name = {
        "opening the layout": (opening, "open_tree"),
        "reading a manifest": (Layout, "read_document"),
        "checking a blob": (Layout, "check_blob"),
        "hashing a blob": (verify, "read_at"),
    }[step]
    real = getattr(target, name)

    def slow(*args: object, **options: object) -> object:
        if hanging.spared is None or getattr(args[0], "path", None) != hanging.spared:
            hanging.hang()
        return real(*args, **options)

    monkeypatch.setattr(target, name, slow)
    yield hanging
    hanging.go.set()


@pytest.mark.parametrize("step", STEPS)
async def test_deadline_ends_a_push_whose_disk_hangs(image: Path, disk: Disk) -> None:
    with pytest.raises(ocipush.errors.DeadlineExceededError, match=r"not pushed within 0\.2 s"):
        await ocipush.push(
            image,
            target="127.0.0.1:9/a:1",
            authfile=image / "none",
            verify=True,
            retry=ocipush.RetryPolicy(deadline=0.2),
        )
    assert disk.reached.is_set()
    assert not disk.go.is_set()


@pytest.mark.parametrize("step", STEPS)
async def test_cancelled_push_does_not_wait_for_a_disk_that_hangs(image: Path, disk: Disk) -> None:
    async def end() -> None:
        while not disk.reached.is_set():
            await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(end)
        await ocipush.push(image, target="127.0.0.1:9/a:1", authfile=image / "none", verify=True)
    assert tasks.cancel_scope.cancelled_caught
    assert not disk.go.is_set()


@pytest.mark.parametrize("step", ["reading a manifest"])
async def test_other_pushes_go_on_while_a_disk_hangs(image: Path, disk: Disk, tmp_path: Path) -> None:
    other = tmp_path / "other"
    layouts.write_layout(other, [layouts.add_manifest(other, [b"layer"])])
    disk.spared = other
    async with Registry() as registry, anyio.create_task_group() as tasks:

        async def stuck() -> None:
            await ocipush.push(image, target=f"{registry.host}/a:1", authfile=image / "none")

        tasks.start_soon(stuck)
        while not disk.reached.is_set():
            await anyio.sleep(0.01)
        result = await ocipush.push(other, target=f"{registry.host}/b:1", authfile=image / "none")
        assert result.digest
        assert not disk.go.is_set()
        tasks.cancel_scope.cancel()


async def test_thread_that_nobody_waits_for_keeps_its_place_until_it_has_ended() -> None:
    go = threading.Event()
    with anyio.move_on_after(0.05):
        await _threads.run_in_thread(go.wait)
    limiter = _threads._limiter()
    assert limiter.borrowed_tokens == 1
    go.set()
    while limiter.borrowed_tokens:
        await anyio.sleep(0.01)


async def test_work_whose_task_was_cancelled_ends_at_its_next_check() -> None:
    go, ended = threading.Event(), threading.Event()

    def work() -> None:
        go.wait()
        try:
            _threads.check_cancelled()
        except _threads.AbandonedError:
            ended.set()

    with anyio.move_on_after(0.05):
        await _threads.run_in_thread(work)
    go.set()
    assert await _threads.run_in_thread(ended.wait, 10)


async def test_error_of_a_thread_reaches_the_task_and_the_thread_is_used_again() -> None:
    def fail() -> None:
        raise LookupError("why")

    with pytest.raises(LookupError, match="why"):
        await _threads.run_in_thread(fail)
    before = threading.active_count()
    for _ in range(20):
        await _threads.run_in_thread(threading.current_thread)
    assert threading.active_count() <= before


async def test_threads_do_not_keep_the_process_alive() -> None:
    assert (await _threads.run_in_thread(threading.current_thread)).daemon
