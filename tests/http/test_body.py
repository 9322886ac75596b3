from __future__ import annotations

import errno
import gc
import os
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from ocipush import _threads
from ocipush._http import body as _body
from ocipush._http.body import SLICE, FileBody

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio


async def test_body_can_be_read_twice_and_reports_the_sent_bytes() -> None:
    content = bytes(range(256)) * (SLICE // 100)
    sent: list[int] = []
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        body = FileBody(file.fileno(), offset=3, length=len(content) - 3, on_sent=sent.append)
        for _ in range(2):
            assert b"".join([piece async for piece in body]) == content[3:]
        assert sum(sent) == 2 * (len(content) - 3)
        assert [piece async for piece in FileBody(file.fileno(), length=0)] == []


async def test_body_that_another_transport_leaves_half_read_needs_no_closing() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"abc")
        file.flush()
        iterator = aiter(FileBody(file.fileno(), length=3))
        assert await anext(iterator) == b"abc"
        del iterator
        gc.collect()  # a generator would be complained of here, and closed in a task of the loop's


@pytest.mark.parametrize("waits", [True, False])
async def test_file_that_became_shorter_is_an_error(waits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not waits:  # as on a tmpfs
        monkeypatch.setattr(_body, "_NOWAIT", 0)
    with tempfile.TemporaryFile() as file:
        file.write(b"abc")
        file.flush()
        with pytest.raises(EOFError, match="2 bytes early"):
            async for _ in FileBody(file.fileno(), length=5):
                pass


class Disk:
    """What a file answers to reads that must not wait, ``ready`` of it in memory; and how many were left to a thread."""

    def __init__(self, ready: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ready = ready
        self.in_threads = 0
        self.refused = 0
        self._read = os.preadv
        self._in_thread = False
        monkeypatch.setattr(os, "preadv", self.preadv)
        monkeypatch.setattr(_threads, "_run", self.run_in_thread)

    def preadv(self, descriptor: int, buffers: list[memoryview], offset: int, flags: int = 0) -> int:
        if self._in_thread or not flags:
            return self._read(descriptor, buffers, offset)
        assert flags == os.RWF_NOWAIT
        if self.ready == "unknown":
            self.refused += 1
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        if self.ready == "nothing":
            raise BlockingIOError
        length = len(buffers[0])
        return self._read(descriptor, [buffers[0][: length if self.ready == "all" else 1 + length // 2]], offset)

    async def run_in_thread(self, call: Callable[..., int], *arguments: Any) -> int:
        self.in_threads += 1
        self._in_thread = True
        try:
            return call(*arguments)
        finally:
            self._in_thread = False


ONLY_LINUX = pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="only Linux can be asked not to wait")


@ONLY_LINUX
@pytest.mark.parametrize("ready", ["all", "a part", "nothing"])
async def test_worker_thread_reads_only_what_is_not_in_memory(ready: str, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, content = Disk(ready, monkeypatch), os.urandom(2 * SLICE + 5)
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        assert b"".join([piece async for piece in FileBody(file.fileno(), length=len(content))]) == content
    assert disk.in_threads == (3 if ready == "nothing" else 0)


@ONLY_LINUX
@pytest.mark.parametrize("kind", ["tmpfs", "nfs", "no /proc"])
async def test_file_system_without_nowait_is_read_in_threads_unless_it_is_in_memory(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    disk, content = Disk("unknown", monkeypatch), os.urandom(2 * SLICE + 5)
    mounts = tmp_path / "mountinfo"
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        device = os.fstat(file.fileno()).st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        if kind != "no /proc":
            others = ["22 1 0:0 / / rw - tmpfs other rw", f"23 22 1{number}0 / /elsewhere rw - tmpfs other rw"]
            mounts.write_text("\n".join([*others, f"24 22 {number} / /here rw shared:2 - {kind} here rw", ""]))
        monkeypatch.setattr(_body, "MOUNTS", mounts)
        _body._is_in_memory.cache_clear()
        assert b"".join([piece async for piece in FileBody(file.fileno(), length=len(content))]) == content
        _body._is_in_memory.cache_clear()
    assert disk.in_threads == (0 if kind == "tmpfs" else 3)
    assert disk.refused == 1
