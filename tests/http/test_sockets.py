"""What the transport does with the sockets themselves: names, options, and those that lost a race."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from tests.peers import OK, Link, answering, ask, serve

from ocipush._http import stream as _stream
from ocipush._http.body import FileBody

if TYPE_CHECKING:
    from ocipush._http.transport import Transport

pytestmark = pytest.mark.anyio


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)


async def test_certificate_need_not_have_the_trailing_dot_of_a_name(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, "127.0.0.1")
    with serve(answering(OK), secure=True) as peer:
        peer.host = "localhost."
        assert await ask(transport, peer.url()) == (200, b"ok")


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.9", "127.0.0.1"]], ids=["one address", "two"])
async def test_answer_has_the_address_it_came_from(
    transport: Transport, secure: bool, addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, *addresses)
    with serve(answering(OK), secure=secure) as peer:  # on one address alone
        peer.host = "localhost"
        for _ in range(2):
            response = await transport.handle_async_request(httpx.Request("GET", peer.url()))
            await response.aclose()
            assert response.extensions["address"] == "127.0.0.1"


async def test_nagles_algorithm_is_off(transport: Transport, secure: bool) -> None:
    with serve(answering(OK), secure=secure) as peer:
        await ask(transport, peer.url())
        [connection] = transport._open
        assert connection._stream._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_connections_that_are_too_late_are_closed(
    transport: Transport, secure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_stream, "STAGGER", 0)
    resolve_to(monkeypatch, "127.0.0.1", "127.0.0.1", "127.0.0.1")
    one = _stream._connect_one
    made: list[socket.socket] = []
    all_made = anyio.Event()

    async def connect_one(address: Any) -> socket.socket:
        """Succeed with all addresses at the same moment, though the others are given up."""
        sock = await one(address)
        made.append(sock)
        all_made.set() if len(made) == 3 else None
        with anyio.CancelScope(shield=True):
            await all_made.wait()
        return sock

    monkeypatch.setattr(_stream, "_connect_one", connect_one)
    with serve(answering(OK), secure=secure) as peer:
        peer.host = "localhost"
        assert await ask(transport, peer.url()) == (200, b"ok")
        assert len(made) == 3
        assert sum(sock.fileno() >= 0 for sock in made) == 1


async def test_sendfile_that_finds_the_connection_reset_is_not_followed_by_copying(
    transport: Transport, file: int, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reset(*_: int) -> int:
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))

    def script(link: Link) -> None:
        link.request()
        link.send(OK)

    monkeypatch.setattr(_stream, "_SENDFILE", reset)
    with serve(script) as peer:
        with pytest.raises(httpx.WriteError, match="reset"):
            await ask(transport, peer.url(), FileBody(file, length=len(content)))
        assert not transport._open


async def test_end_of_file_found_by_sendfile_is_final(
    transport: Transport, file: int, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was cut and is written anew meanwhile is not sent as a mixture of the two."""

    def at_the_end(*_: int) -> int:
        return 0

    monkeypatch.setattr(_stream, "_SENDFILE", at_the_end)
    with serve(answering(OK)) as peer:
        with pytest.raises(EOFError, match=f"ends {len(content)} bytes early"):
            await ask(transport, peer.url(), FileBody(file, length=len(content)))
        assert not transport._open
