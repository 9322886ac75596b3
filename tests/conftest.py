"""What every test shares: the event loops, signals that are not ignored, and guards that keep traffic on this machine."""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest
from tests import layouts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Helpers that assert show the values too when they fail.
pytest.register_assert_rewrite("tests.push.user", "tests.property.scenario")
NOWHERE = (".invalid", ".example", ".test")  # names that nobody has (RFC 2606)


def pytest_configure() -> None:
    """Ignore no signal. nohup, and shells that run jobs in the background, start processes that do, and so do their children.

    What would have been ignored still does not end the tests, except Ctrl-C, whose usual handler the event loops look for.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _outlive)


def _outlive(number: int, frame: object) -> None:
    """Do nothing about a signal, and leave it to the children what they do."""


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
    """Refuse to connect anywhere but to loopback, and to ask anybody about a name."""

    def guard(connect: Any) -> Any:
        def checked(self: socket.socket, address: Any) -> Any:
            if self.family != socket.AF_UNIX and not ipaddress.ip_address(address[0]).is_loopback:
                raise AssertionError(f"a test tried to connect to {address}")
            return connect(self, address)

        return checked

    monkeypatch.setattr(socket.socket, "connect", guard(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guard(socket.socket.connect_ex))
    monkeypatch.setattr(socket, "getaddrinfo", _resolving_here(socket.getaddrinfo))


def _resolving_here(resolve: Any) -> Any:
    def checked(host: Any, *args: Any, **options: Any) -> Any:
        name = host.decode("ascii") if isinstance(host, bytes) else host
        if not name or _is_here(name):
            return resolve(host, *args, **options)
        name.encode("idna")  # which fails as it does in the resolver
        if not name.rstrip(".").endswith(NOWHERE):
            raise AssertionError(f"a test tried to resolve {name}")
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    return checked


def _is_here(name: str) -> bool:
    """Whether a name is an address, in any spelling, or this machine's."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        pass
    else:
        return True
    try:
        socket.inet_aton(name)
    except OSError:
        return False
    return True


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
