from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from ocipush._body import SLICE, FileBody

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio


async def test_body_can_be_read_twice_and_reports_what_went_out() -> None:
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


async def test_file_that_became_shorter_is_an_error() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"abc")
        file.flush()
        with pytest.raises(EOFError, match="2 bytes early"):
            async for _ in FileBody(file.fileno(), length=5):
                pass


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="only Linux can be asked not to wait")
@pytest.mark.parametrize("ready", ["all", "a part", "nothing"])
async def test_worker_thread_reads_only_what_is_not_in_memory(ready: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(2 * SLICE + 5)
    asked = 0

    def preadv(descriptor: int, buffers: list[bytearray], offset: int, flags: int) -> int:
        assert flags == os.RWF_NOWAIT
        if ready == "nothing":
            raise BlockingIOError
        buffers[0][:] = os.pread(descriptor, len(buffers[0]), offset)
        return len(buffers[0]) if ready == "all" else 1 + len(buffers[0]) // 2

    async def run_sync(call: Callable[..., bytes], *arguments: int) -> bytes:
        nonlocal asked
        asked += 1
        return call(*arguments)

    monkeypatch.setattr(os, "preadv", preadv)
    monkeypatch.setattr(anyio.to_thread, "run_sync", run_sync)
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        assert b"".join([piece async for piece in FileBody(file.fileno(), length=len(content))]) == content
    assert asked == (3 if ready == "nothing" else 0)
