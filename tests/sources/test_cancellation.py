"""Cancellation while threads open and hash files: the threads stop, and nothing stays open.

asyncio cancels a task without waiting for the thread that it waits for; anyio waits.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.descriptors import open_descriptors

from ocipush._oci.descriptor import Descriptor
from ocipush._oci.digest import Digest
from ocipush._sources.files import read_at
from ocipush._sources.layout import Layout
from ocipush._sources.open import open_source
from ocipush._sources.verify import is_corrupt

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

HUGE = 1 << 40  # bytes, all of them a hole in the file: hashing it would take hours


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Hold a thread that opens an index.json: the first event says that it is there, the second releases it."""
    reached, release = threading.Event(), threading.Event()
    real = os.open

    def hold(path: Any, *rest: Any, **options: Any) -> int:
        if path == "index.json":
            reached.set()
            assert release.wait(30)
        return real(path, *rest, **options)

    monkeypatch.setattr(os, "open", hold)
    return reached, release


async def files_become(expected: set[str]) -> None:
    """Wait until the same files are open as before; the timeout of the test ends the wait otherwise."""
    while open_descriptors() != expected:
        await asyncio.sleep(0.01)


async def open_by_path(image: Path) -> None:
    await Layout.open(image)


async def open_by_name(image: Path) -> None:
    async with open_source(image.name, ref=None, store=image.parent):
        raise AssertionError


@pytest.mark.parametrize("opening", [open_by_path, open_by_name])
@pytest.mark.asyncio
async def test_layout_opened_in_a_thread_is_closed_when_asyncio_cancels_the_task(
    image: Path, held: tuple[threading.Event, threading.Event], opening: Callable[[Path], Any]
) -> None:
    reached, release = held
    await anyio.to_thread.run_sync(int)  # starts the thread, which opens descriptors of its own
    before = open_descriptors()
    task = asyncio.create_task(opening(image))
    while not reached.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert open_descriptors() > before
    release.set()
    await files_become(before)


@pytest.mark.asyncio
async def test_layout_opened_just_before_asyncio_cancels_the_task_is_closed(image: Path) -> None:
    """The thread has ended, and its result waits for the event loop's next turn."""
    await anyio.to_thread.run_sync(int)
    before = open_descriptors()
    opened = threading.Event()
    real = Layout.open_blocking

    def opening(path: Path, check_cancelled: Callable[[], None]) -> Layout:
        found = real(path, check_cancelled)
        opened.set()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Layout, "open_blocking", opening)
        task = asyncio.create_task(open_by_path(image))
        while not opened.is_set():
            await asyncio.sleep(0)
        threading.Event().wait(0.05)  # blocks the loop until the thread has returned its result
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await files_become(before)


@asynccontextmanager
async def huge_blob(image: Path) -> AsyncGenerator[tuple[Layout, Descriptor]]:
    blob = Descriptor(digest=Digest.of(b"huge"), size=HUGE)
    with (image / "blobs" / blob.digest.replace(":", "/")).open("wb") as file:
        file.truncate(HUGE)
    async with await Layout.open(image) as opened:
        yield opened, blob


@pytest.mark.anyio
async def test_hashing_stops_when_it_is_cancelled(image: Path) -> None:
    async with huge_blob(image) as (layout, blob):
        before = open_descriptors()
        with anyio.move_on_after(0.1) as scope:
            await is_corrupt(layout, blob)
        assert scope.cancelled_caught
        assert open_descriptors() == before


@pytest.mark.asyncio
async def test_hashing_thread_stops_when_asyncio_cancels_the_task(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0

    def read(descriptor: int, size: int, offset: int) -> bytes:
        nonlocal reads
        reads += 1
        return read_at(descriptor, size, offset)

    monkeypatch.setattr("ocipush._sources.verify.read_at", read)
    async with huge_blob(image) as (layout, blob):
        task = asyncio.create_task(is_corrupt(layout, blob))
        while not reads:
            await asyncio.sleep(0.001)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        seen = -1
        while seen != reads:  # as long as the thread reads; the timeout of the test ends the loop otherwise
            seen = reads
            await asyncio.sleep(0.2)
