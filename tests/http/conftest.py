"""The transport over real sockets, against servers that say exactly which bytes."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from tests.certificates import client_context

from ocipush._http.transport import Transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

LOOPS = {"asyncio": ("asyncio", {}), "uvloop": ("asyncio", {"use_uvloop": True}), "trio": ("trio", {})}


@pytest.fixture(params=LOOPS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    if request.param == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not for this system")
    return LOOPS[request.param]


@pytest.fixture(params=["plain", "tls"])
def secure(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "tls")


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    async with Transport(client_context()) as transport:
        yield transport


@pytest.fixture(scope="session")
def content() -> bytes:
    """More than a socket's buffers take."""
    return os.urandom(1024) * 8192


@pytest.fixture
def file(content: bytes) -> Iterator[int]:
    with tempfile.TemporaryFile() as opened:
        opened.write(content)
        opened.flush()
        yield opened.fileno()
