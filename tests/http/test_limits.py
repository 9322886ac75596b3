"""How many connections, how large a head and how many interim answers the transport takes; in memory, on virtual time."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest
import trio
import trio.testing
from tests.memory_network import MemoryListener, Network
from tests.peers import OK, ask

from ocipush._http import connection
from ocipush._http.transport import Transport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from anyio.abc import ByteStream

    Script = Callable[[ByteStream], Awaitable[None]]

URL = "http://peer.test/"
STUCK = 3600.0  # virtual seconds


@asynccontextmanager
async def playing(network: Network, script: Script | None) -> AsyncGenerator[None]:
    """A server that plays ``script`` on each connection; None: nobody listens."""
    if script is None:
        yield
        return
    listener = MemoryListener(network, ("peer.test", 80), secure=False)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, script)
            yield
            tasks.cancel_scope.cancel()
    finally:
        await listener.aclose()


def run(script: Script | None, test: Callable[[Network, Transport], Awaitable[None]]) -> None:
    """Run ``test`` over a transport of one connection at a time."""

    async def main() -> None:
        network = Network()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with trio.fail_after(STUCK):
            async with (
                playing(network, script),
                Transport(context, max_connections=1, connect=network.connect) as transport,
            ):
                await test(network, transport)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def read_request(stream: ByteStream) -> None:
    seen = b""
    while b"\r\n\r\n" not in seen:
        seen += await stream.receive()


def saying(*pieces: bytes) -> Script:
    """Answer the first request in these pieces, each of them sent once the client waits for it; then close."""

    async def script(stream: ByteStream) -> None:
        await read_request(stream)
        for piece in pieces:
            await stream.send(piece)
            await anyio.wait_all_tasks_blocked()
        await stream.aclose()

    return script


async def hang_up(stream: ByteStream) -> None:
    await read_request(stream)
    await stream.aclose()


async def say_nothing(stream: ByteStream) -> None:
    await read_request(stream)
    await anyio.sleep_forever()


@pytest.mark.parametrize("script", [None, hang_up], ids=["nobody listens", "no answer"])
def test_failed_request_makes_room_for_the_next(script: Script | None) -> None:
    async def test(network: Network, transport: Transport) -> None:
        for _ in range(3):
            with pytest.raises(httpx.TransportError):
                await ask(transport, URL)
        assert network.open == 0

    run(script, test)


def test_cancelled_request_makes_room_for_the_next() -> None:
    async def test(network: Network, transport: Transport) -> None:
        for _ in range(3):
            with anyio.move_on_after(1) as scope:
                await ask(transport, URL)
            assert scope.cancelled_caught
        assert len(network.ends) == 3
        assert network.open == 0

    run(say_nothing, test)


def test_abandoned_answer_makes_room_for_the_next() -> None:
    async def test(network: Network, transport: Transport) -> None:
        for _ in range(3):
            response = await transport.handle_async_request(httpx.Request("GET", URL))
            await response.aclose()
        assert network.open == 0

    run(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"unfi"), test)


@pytest.mark.parametrize("size", [1000, 20_000, connection.MAX_HEAD - 1000])
def test_head_of_up_to_64_kib_is_read_in_any_pieces(size: int) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Long: " + b"x" * size
    pieces = [head[: size // 2], head[size // 2 :], b"\r\n\r\nok"]

    async def test(_: Network, transport: Transport) -> None:
        assert await ask(transport, URL) == (200, b"ok")

    run(saying(*pieces), test)


def test_head_of_more_than_64_kib_is_an_error() -> None:
    async def test(_: Network, transport: Transport) -> None:
        with pytest.raises(httpx.RemoteProtocolError):
            await ask(transport, URL)

    run(saying(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 40_000, b"x" * 40_000, b"\r\n\r\n"), test)


INTERIM = b"HTTP/1.1 102 Processing\r\n\r\n"


@pytest.mark.parametrize(("interim", "taken"), [(1, True), (100, True), (101, False)])
def test_hundred_interim_answers_are_accepted_and_no_more(interim: int, taken: bool) -> None:
    async def test(_: Network, transport: Transport) -> None:
        if taken:
            assert await ask(transport, URL) == (200, b"ok")
        else:
            with pytest.raises(httpx.RemoteProtocolError, match="without end"):
                await ask(transport, URL)

    run(saying(INTERIM * interim + OK), test)
