"""Opening a layout: what the errors hint at, and what is left open when a task is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests import layouts

from ocipush import errors
from ocipush._oci.descriptor import Descriptor
from ocipush._oci.digest import Digest
from ocipush._sources.files import read_at
from ocipush._sources.layout import Layout
from ocipush._sources.open import open_source
from ocipush._sources.verify import is_corrupt
from ocipush._sources.walk import read_contents

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

pytestmark = pytest.mark.anyio
HUGE = 1 << 40  # bytes of holes: nobody waits for their hash


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    path = tmp_path / "app"
    layouts.write_layout(path, [layouts.add_manifest(path, [b"layer"])])
    return path


def open_files() -> set[str]:
    """The descriptors of this process. One of them lists the others, the same each time."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def absent(path: Path) -> Path:
    return path.parent / "absent"


def archive(path: Path) -> Path:
    (path.parent / "app.tar").write_bytes(b"")
    return path.parent / "app.tar"


def text(path: Path) -> Path:
    (path.parent / "app.txt").write_text("FROM scratch\n" * 100)
    return path.parent / "app.txt"


def below_a_file(path: Path) -> Path:
    return archive(path) / "app"


def loop(path: Path) -> Path:
    (path.parent / "loop").symlink_to(path.parent / "loop")
    return path.parent / "loop"


def ollama(path: Path) -> Path:
    for name in ("manifests", "blobs"):
        (path.parent / "models" / name).mkdir(parents=True)
    return path.parent / "models"


def sparse(path: Path) -> Path:
    (path / "index.json").unlink()
    (path / "oci-layout").rename(path / "sparse-oci-layout")
    return path


def empty(path: Path) -> Path:
    (path.parent / "empty").mkdir()
    return path.parent / "empty"


def without_index(path: Path) -> Path:
    (path / "index.json").unlink()
    return path


def linked_index(path: Path) -> Path:
    (path / "index.json").rename(path.parent / "index.json")
    (path / "index.json").symlink_to(path.parent / "index.json")
    return path


@pytest.mark.parametrize(
    ("make", "words", "hint"),
    [
        (absent, "No such file or directory", "check the path"),
        (archive, "app.tar is empty", "copy the archive again"),
        (text, "is not a tar archive", "write it again"),
        (below_a_file, "Not a directory", "check the path"),
        (loop, "Too many levels of symbolic links", "check the path"),
        (ollama, "not an OCI layout", "it looks like the models of ollama"),
        (sparse, "not an OCI layout", "a layout of rules_img without layers"),
        (empty, "not an OCI layout", "a layout is a directory or a tar archive with index.json"),
        (without_index, "not an OCI layout", "damaged or incomplete"),
        (linked_index, "it is a symbolic link that leads out, which is not followed", "`cp -rL`"),
    ],
)
async def test_what_is_no_layout_gets_the_hint_that_fits(
    layout: Path, make: Callable[[Path], Path], words: str, hint: str
) -> None:
    path = make(layout)
    before = open_files()
    with pytest.raises(errors.InvalidLayoutError, match=words) as caught:
        await Layout.open(path)
    assert hint.replace("{path}", str(path)) in (caught.value.hint or "")
    assert open_files() == before


async def test_path_to_a_layout_may_lead_over_a_link(layout: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(layout)
    async with await Layout.open(tmp_path / "linked") as opened:
        assert opened.where == str(tmp_path / "linked")


async def test_document_larger_than_its_descriptor_says_is_not_read_whole(layout: Path) -> None:
    async with await Layout.open(layout) as opened:
        root = opened.select()
        with (layout / "blobs" / root.digest.replace(":", "/")).open("ab") as file:
            file.truncate(HUGE)
        assert len(opened.read_document(root)) == root.size + 1
        with pytest.raises(errors.BlobCorruptError, match="does not match its descriptor"):
            await read_contents(opened, root)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Hold a thread that opens an index.json: the first event tells that it is there, the second lets it go on."""
    there, go = threading.Event(), threading.Event()
    real = os.open

    def hold(path: Any, *rest: Any, **options: Any) -> int:
        if path == "index.json":
            there.set()
            assert go.wait(30)
        return real(path, *rest, **options)

    monkeypatch.setattr(os, "open", hold)
    return there, go


async def files_become(expected: set[str]) -> None:
    """Wait until as many files are open as before; the test's own time-out ends it otherwise."""
    while open_files() != expected:
        await asyncio.sleep(0.01)


async def open_by_path(layout: Path) -> None:
    await Layout.open(layout)


async def open_by_name(layout: Path) -> None:
    async with open_source(layout.name, ref=None, store=layout.parent):
        raise AssertionError


@pytest.mark.parametrize("opening", [open_by_path, open_by_name])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_layout_that_a_thread_opens_for_a_task_cancelled_natively_is_closed(
    layout: Path, held: tuple[threading.Event, threading.Event], opening: Callable[[Path], Any]
) -> None:
    there, go = held
    await anyio.to_thread.run_sync(int)  # the thread, and its descriptors, are there from now on
    before = open_files()
    task = asyncio.create_task(opening(layout))
    while not there.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert open_files() > before
    go.set()
    await files_become(before)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_layout_that_was_opened_just_before_the_task_was_cancelled_is_closed(layout: Path) -> None:
    """The thread has ended, and its result waits for the event loop's next turn."""
    await anyio.to_thread.run_sync(int)
    before = open_files()
    opened = threading.Event()
    real = Layout.open_blocking

    def opening(path: Path, check_cancelled: Callable[[], None]) -> Layout:
        found = real(path, check_cancelled)
        opened.set()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Layout, "open_blocking", opening)
        task = asyncio.create_task(open_by_path(layout))
        while not opened.is_set():
            await asyncio.sleep(0)
        threading.Event().wait(0.05)  # the loop stands still until the thread has handed its result over
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await files_become(before)


@pytest.fixture
async def huge(layout: Path) -> AsyncGenerator[tuple[Layout, Descriptor]]:
    """A blob that takes hours to hash."""
    blob = Descriptor(digest=Digest.of(b"huge"), size=HUGE)
    with (layout / "blobs" / blob.digest.replace(":", "/")).open("wb") as file:
        file.truncate(HUGE)
    async with await Layout.open(layout) as opened:
        yield opened, blob


async def test_hashing_ends_where_it_is_cancelled(huge: tuple[Layout, Descriptor]) -> None:
    layout, blob = huge
    before = open_files()
    with anyio.move_on_after(0.1) as scope:
        await is_corrupt(layout, blob)
    assert scope.cancelled_caught
    assert open_files() == before


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_thread_that_hashes_for_a_task_cancelled_natively_ends(
    huge: tuple[Layout, Descriptor], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0

    def read(descriptor: int, size: int, offset: int) -> bytes:
        nonlocal reads
        reads += 1
        return read_at(descriptor, size, offset)

    monkeypatch.setattr("ocipush._sources.verify.read_at", read)
    layout, blob = huge
    task = asyncio.create_task(is_corrupt(layout, blob))
    while not reads:
        await asyncio.sleep(0.001)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    seen = -1
    while seen != reads:  # as long as it reads, the test goes on, until its own time-out
        seen = reads
        await asyncio.sleep(0.2)
