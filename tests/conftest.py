"""What every test shares: the event loops, and a guard that keeps test traffic on this machine."""

from __future__ import annotations

import ipaddress
import logging
import socket
from typing import TYPE_CHECKING, Any

import pytest
from tests import layouts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _logger_as_it_was() -> Iterator[None]:
    """The command sets the level and the handlers of the library's logger for its process."""
    logger = logging.getLogger("ocipush")
    level, handlers = logger.level, logger.handlers
    yield
    logger.setLevel(level)
    logger.handlers = handlers


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to connect anywhere but to loopback."""

    def guard(connect: Any) -> Any:
        def checked(self: socket.socket, address: Any) -> Any:
            if self.family != socket.AF_UNIX and not ipaddress.ip_address(address[0]).is_loopback:
                raise AssertionError(f"a test tried to connect to {address}")
            return connect(self, address)

        return checked

    monkeypatch.setattr(socket.socket, "connect", guard(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guard(socket.socket.connect_ex))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with one image, ``app``: a manifest, a layer of 5 bytes and a config of 2."""
    layouts.write_image(tmp_path / "store" / "app", b"layer")
    return tmp_path / "store"


@pytest.fixture
def image(store: Path) -> Path:
    """The layout of the image in ``store``."""
    return store / "app"


@pytest.fixture
def authfile(tmp_path: Path) -> Path:
    """Where a login file can be: there is none yet."""
    return tmp_path / "auth.json"
