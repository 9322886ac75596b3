from __future__ import annotations

import tempfile

import pytest

from ocipush._body import SLICE, FileBody

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
