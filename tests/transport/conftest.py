"""The transport over real sockets, against servers that say exactly which bytes."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

import pytest
from tests.peers import client_context

from ocipush._transport import Transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


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
