from __future__ import annotations

import errno
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from tests.certificates import CA, client_context
from tests.peers import OK, Link, answering, ask, serve, tunnelling

from ocipush import _threads
from ocipush._http import stream as _socket
from ocipush._http.body import FileBody
from ocipush._http.proxy import ProxyRules
from ocipush._http.tls import Context
from ocipush._http.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

pytestmark = pytest.mark.anyio


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_both_families_are_reached_by_address(transport: Transport, secure: bool, host: str) -> None:
    with serve(answering(OK), secure=secure, host=host) as peer:
        assert await ask(transport, peer.url()) == (200, b"ok")


async def test_name_is_looked_up(transport: Transport, secure: bool) -> None:
    with serve(answering(OK), secure=secure) as peer:
        peer.host = "localhost"
        assert await ask(transport, peer.url()) == (200, b"ok")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_answer_has_the_address_it_came_from(transport: Transport, secure: bool, host: str) -> None:
    with serve(answering(OK), secure=secure, host=host) as peer:
        for _ in range(2):
            response = await transport.handle_async_request(httpx.Request("GET", peer.url()))
            await response.aclose()
            assert response.extensions["address"] == host


async def test_trailing_dot_of_a_name_is_ignored_in_the_certificate(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, "127.0.0.1")
    with serve(answering(OK), secure=True) as peer:
        peer.host = "registry.test."
        assert await ask(transport, peer.url()) == (200, b"ok")


async def test_small_writes_are_not_held_back(transport: Transport, secure: bool) -> None:
    with serve(answering(OK), secure=secure) as peer:
        await ask(transport, peer.url())
        [connection] = transport._open
        assert connection._stream._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_connection_that_ends_before_its_address_is_read_is_a_connect_error(
    transport: Transport, secure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone(socket.socket):
        def getpeername(self) -> Any:
            raise OSError(errno.ENOTCONN, "not connected")

    async def connect_one(address: Any) -> socket.socket:
        return Gone(fileno=(await one(address)).detach())

    one = _socket._connect_one
    monkeypatch.setattr(_socket, "_connect_one", connect_one)
    with serve(answering(OK), secure=secure) as peer:
        before = descriptors()
        with pytest.raises(httpx.ConnectError, match="not connected"):
            await ask(transport, peer.url())
        peer.settle()
        assert descriptors() == before


async def test_one_of_two_simultaneous_connections_is_closed(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_socket, "STAGGER", 0)
    resolve_to(monkeypatch, "127.0.0.1", "127.0.0.2")
    one, made = _socket._connect_one, 0
    both = anyio.Event()

    async def connect_one(address: Any) -> socket.socket:
        nonlocal made
        sock = await one(address)
        made += 1
        if made == 2:
            both.set()
        with anyio.CancelScope(shield=True):
            await both.wait()
        return sock

    monkeypatch.setattr(_socket, "_connect_one", connect_one)
    with serve(answering(OK), host="0.0.0.0") as peer:
        peer.host = "name.example"
        before = descriptors()
        assert await ask(transport, peer.url()) == (200, b"ok")
        assert made == 2
        await transport.aclose()
        peer.settle()
        assert descriptors() == before


async def test_address_families_alternate(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, "::1", "::2", "::3", "127.0.0.1", "127.0.0.2")
    found = [address[0] for _, address in await _socket._resolve("name.example", 1)]
    assert found == ["::1", "127.0.0.1", "::2", "127.0.0.2", "::3"]


async def test_address_that_refuses_is_skipped_immediately(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_socket, "STAGGER", float("inf"))
    resolve_to(monkeypatch, "::1", "127.0.0.2", "127.0.0.1")
    with serve(answering(OK)) as peer:
        peer.host = "name.example"
        assert await ask(transport, peer.url()) == (200, b"ok")


async def test_address_that_does_not_answer_does_not_delay_the_others(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_socket, "STAGGER", 0)
    resolve_to(monkeypatch, "127.0.0.9", "127.0.0.1", "127.0.0.8")
    one = _socket._connect_one
    given_up: list[str] = []

    async def connect_one(address: Any) -> socket.socket:
        if address[1][0] == "127.0.0.1":
            return await one(address)
        try:
            await anyio.sleep_forever()
        finally:
            given_up.append(address[1][0])
        raise AssertionError

    monkeypatch.setattr(_socket, "_connect_one", connect_one)
    with serve(answering(OK)) as peer:
        peer.host = "name.example"
        assert await ask(transport, peer.url()) == (200, b"ok")
    assert "127.0.0.9" in given_up


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.1", "::1"]])
async def test_refused_connection_is_a_connect_error_with_its_cause(
    transport: Transport, nobody: int, addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, *addresses)
    with pytest.raises(httpx.ConnectError, match=r"^Connection refused$") as caught:
        await ask(transport, f"http://name.example:{nobody}/")
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


async def test_unknown_name_is_a_connect_error_with_its_cause(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    with pytest.raises(httpx.ConnectError, match="not known") as caught:
        await ask(transport, "http://name.example/")
    assert isinstance(caught.value.__cause__, socket.gaierror)


async def test_connection_not_ready_in_time_is_a_connect_timeout(transport: Transport) -> None:
    def script(link: Link) -> None:
        link.more()  # the client's hello, which is not answered
        link.more()

    with serve(script) as peer:
        peer.secure = True
        with pytest.raises(httpx.ConnectTimeout):
            await ask(transport, peer.url(), connect=0.01)
        assert not transport._open


async def test_untrusted_certificate_is_a_connect_error_with_its_cause() -> None:
    with serve(answering(OK), secure=True) as peer:
        async with Transport(client_context(trusted=False)) as transport:
            with pytest.raises(httpx.ConnectError) as caught:
                await ask(transport, peer.url())
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)


async def test_certificate_for_another_name_is_a_connect_error_with_its_cause(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, "127.0.0.1")
    with serve(answering(OK), secure=True) as peer:
        peer.host = "name.example"
        with pytest.raises(httpx.ConnectError, match=r"name\.example") as caught:
            await ask(transport, peer.url())
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)


async def test_authorities_are_loaded_when_a_server_first_speaks_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    context, loaded = Context(), 0

    def load_default_certs() -> None:
        nonlocal loaded
        loaded += 1
        CA.configure_trust(context)

    monkeypatch.setattr(context, "load_default_certs", load_default_certs)
    async with Transport(context) as transport:
        with serve(garbled) as peer:
            peer.secure = True
            with pytest.raises(httpx.ConnectError):
                await ask(transport, peer.url())
        assert loaded == 0
        for _ in range(2):
            with serve(answering(OK), secure=True) as peer:
                assert await ask(transport, peer.url()) == (200, b"ok")
        assert loaded == 1


def garbled(link: Link) -> None:
    link.more()
    link.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def test_server_without_tls_is_distinguished_from_one_that_hangs_up(transport: Transport) -> None:
    def script(link: Link) -> None:
        link.more()
        link.send([b"HTTP/1.1 400 Bad Request\r\n\r\n", b""][link.number])

    with serve(script) as peer:
        peer.secure = True
        causes: list[BaseException | None] = []
        for _ in range(2):
            with pytest.raises(httpx.ConnectError) as caught:
                await ask(transport, peer.url())
            causes.append(caught.value.__cause__)
    assert isinstance(causes[0], ssl.SSLError)
    assert causes[0].reason == "WRONG_VERSION_NUMBER"
    assert isinstance(causes[1], ConnectionResetError)
    assert causes[1].__context__ is None  # where a TLS error would be looked for


async def test_name_that_no_certificate_can_have_is_a_connect_error(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, "127.0.0.1")
    with serve(answering(OK)) as peer, pytest.raises(httpx.ConnectError):
        await ask(transport, f"https://.example:{peer.port}/")


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def waits(monkeypatch: pytest.MonkeyPatch, at_wait: Callable[[], None]) -> None:
    """Have `at_wait` called before each await of the event loop that the transport does itself."""

    def counted(wait: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def waiting(*arguments: Any, **options: Any) -> Any:
            at_wait()
            return await wait(*arguments, **options)

        return waiting

    for module, name in (
        (anyio, "wait_readable"),
        (anyio, "wait_writable"),
        (anyio, "getaddrinfo"),
        (anyio.to_thread, "run_sync"),
        (_threads, "_run"),
        (anyio.lowlevel, "checkpoint"),
        (_socket, "_connect_one"),
    ):
        monkeypatch.setattr(module, name, counted(getattr(module, name)))


@pytest.mark.parametrize("kind", ["get", "file", "many addresses", "proxy"])
async def test_cancelling_at_any_wait_leaves_no_socket_behind(
    secure: bool, file: int, content: bytes, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content
    with (
        serve(answering(OK if kind in {"file", "proxy"} else answer), secure=secure or kind == "proxy") as peer,
        serve(tunnelling(peer.port), secure=secure) as proxy,
    ):
        rules = ProxyRules({"all": proxy.url("")} if kind == "proxy" else {})
        if kind == "proxy":
            peer.host = "registry.test"
        if kind == "many addresses":
            resolve_to(monkeypatch, "::1", "127.0.0.1", "127.0.0.2")
            peer.host = "localhost"
        left, scope = 0, anyio.CancelScope()

        def at_wait() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                scope.cancel()

        waits(monkeypatch, at_wait)
        body = FileBody(file, length=1_000_000 if secure else len(content)) if kind == "file" else None
        turn, finished = 0, False
        while not finished:
            turn += 1
            left, scope = turn, anyio.CancelScope()
            transport = Transport(client_context(), max_connections=1, rules=rules)
            before = descriptors()
            with scope:
                await ask(transport, peer.url(), body)
            finished = left > 0
            if scope.cancelled_caught:  # else the answer came at the very moment
                assert not transport._open
            if not finished:
                assert all(origin.gate.value == 1 for origin in transport._origins.values())
            await transport.aclose()
            proxy.settle()
            peer.settle()
            assert descriptors() == before
        assert turn > (5 if body else 2)
