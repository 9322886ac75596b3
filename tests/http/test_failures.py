from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from tests.certificates import client_context
from tests.peers import OK, Cutting, Link, answering, ask, serve

from ocipush._http import stream as _socket
from ocipush._http import transport as _transport
from ocipush._http.body import FileBody
from ocipush._http.connection import Connection
from ocipush._http.transport import Transport

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

GARBAGE = {
    "other protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "TLS alert": b"\x15\x03\x01\x00\x02\x02\x16",
    "no status": b"HTTP/1.1 what\r\n\r\n",
    "endless head": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000,
    "many fields": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200_000,
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nab",
    "cut body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab",
    "cut head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "cut chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "endless interim": b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
    "switch": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_answer_that_is_not_http_is_an_error_and_leaves_the_transport_usable(
    transport: Transport, secure: bool, garbage: bytes, file: int, content: bytes
) -> None:
    def script(link: Link) -> None:
        if link.number < 2:
            link.head()
            link.send(garbage)
        else:
            answering(OK)(link)

    with serve(script, secure=secure) as peer:
        for body in (None, FileBody(file, length=len(content))):
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)):
                await ask(transport, peer.url(), body)
        assert await ask(transport, peer.url()) == (200, b"ok")


async def test_half_closed_connection_stops_the_body(
    transport: Transport, secure: bool, file: int, content: bytes
) -> None:
    done = threading.Event()

    def script(link: Link) -> None:
        link.head()
        link.half_close()
        done.wait()

    with serve(script, secure=secure) as peer:
        try:
            with pytest.raises(httpx.RemoteProtocolError, match="without an answer"):
                await ask(transport, peer.url(), FileBody(file, length=len(content)))
        finally:
            done.set()


async def test_connection_reset_during_a_body_is_an_error_immediately(
    transport: Transport, secure: bool, file: int, content: bytes
) -> None:
    def script(link: Link) -> None:
        link.head()
        link.reset()

    with serve(script, secure=secure) as peer:
        # A sendfile that went halfway may swallow the system's error: then the reset looks like an early end.
        with pytest.raises((httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError)) as caught:
            await ask(transport, peer.url(), FileBody(file, length=len(content)))
        early_end = "closed the connection without an answer" in str(caught.value)
        assert early_end or isinstance(caught.value.__cause__, ConnectionError)


async def test_kept_connection_closed_by_the_server_is_not_used(transport: Transport, secure: bool) -> None:
    def script(link: Link) -> None:
        link.request()
        link.send(OK)

    with serve(script, secure=secure) as peer:
        for _ in range(5):
            await ask(transport, peer.url())
            [connection] = transport._open
            await connection._stream.readable()
        assert len(peer.seen) == 5


async def test_kept_connection_with_unexpected_data_is_not_used(transport: Transport, secure: bool) -> None:
    answered = threading.Event()

    def script(link: Link) -> None:
        if link.number:
            answering(OK)(link)
        link.request()
        link.send(OK)
        answered.wait()
        link.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
        link.request()

    with serve(script, secure=secure) as peer:
        await ask(transport, peer.url())
        answered.set()
        [connection] = transport._open
        await connection._stream.readable()
        assert await ask(transport, peer.url()) == (200, b"ok")
        assert peer.accepted == 2


async def test_connection_that_was_reset_while_idle_is_not_used(transport: Transport, secure: bool) -> None:
    def script(link: Link) -> None:
        link.request()
        link.send(OK)
        link.reset()

    with serve(script, secure=secure) as peer:
        for _ in range(3):
            await ask(transport, peer.url())
            [connection] = transport._open
            await connection._stream.readable()
        assert len(peer.seen) == 3


@pytest.mark.parametrize("idle_limit", [10.0, 30.0])
async def test_connection_idle_for_too_long_is_not_used_again(
    secure: bool, idle_limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(anyio, "current_time", lambda: now)
    with serve(answering(OK), secure=secure) as peer:
        async with Transport(client_context(), idle_limit=idle_limit) as transport:
            await ask(transport, peer.url())
            now += 20
            await ask(transport, peer.url())
            assert peer.accepted == (2 if idle_limit < 20 else 1)
            assert len(transport._open) == 1


async def test_old_idle_connections_are_closed_when_another_becomes_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(anyio, "current_time", lambda: now)
    meet = threading.Barrier(2)

    def script(link: Link) -> None:
        link.request()
        meet.wait()
        link.send(OK)
        answering(OK)(link)

    with serve(script) as peer:
        async with Transport(client_context(), idle_limit=10) as transport:
            async with anyio.create_task_group() as tasks:
                for _ in range(2):
                    tasks.start_soon(ask, transport, peer.url())
            for _ in range(3):
                now += 6
                await ask(transport, peer.url())
            assert len(transport._open) == 1
            assert peer.accepted == 2


async def test_idle_connections_are_closed_whichever_origin_is_used(
    secure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(anyio, "current_time", lambda: now)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(serve(answering(OK), secure=secure)) for _ in range(5)]
        async with Transport(client_context(), idle_limit=10) as transport:
            for peer in peers:
                await ask(transport, peer.url())
            now += 6
            await ask(transport, peers[1].url())
            assert len(transport._open) == 5
            now += 6
            await ask(transport, peers[4].url())  # where the last idle connection is too old as well
            assert len(transport._open) == 2
            assert [key[2] for key in transport._origins] == [peers[1].port, peers[4].port]
            assert [peer.accepted for peer in peers] == [1, 1, 1, 1, 2]
            now += 11
            response = await transport.handle_async_request(httpx.Request("GET", peers[0].url()))
            await response.aclose()
            assert len(transport._open) <= 1


async def test_idle_connections_are_closed_when_a_request_ends_after_a_long_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(anyio, "current_time", lambda: now)

    def slow(link: Link) -> None:
        nonlocal now
        link.request()
        now += 20
        link.send(OK)
        link.request()

    with serve(answering(OK)) as other, serve(slow) as peer:
        async with Transport(client_context(), idle_limit=10) as transport:
            await ask(transport, other.url())
            await ask(transport, peer.url())
            assert len(transport._open) == 1
            assert [key[2] for key in transport._origins] == [peer.port]


async def test_unused_origins_are_forgotten(transport: Transport) -> None:
    closing = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with serve(answering(closing)) as peer, serve(lambda link: link.reset()) as broken:
        await ask(transport, peer.url())
        with pytest.raises(httpx.TransportError):
            await ask(transport, broken.url())
        assert not transport._origins


async def test_origin_in_use_keeps_its_limit(secure: bool) -> None:
    """A request that ends must not make the others' origin forgotten: a new one would count from zero."""
    meet = threading.Barrier(2)
    closing = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    def script(link: Link) -> None:
        link.request()
        if link.number < 2:
            meet.wait()
        if link.number == 1:
            ended.wait()
        link.send(closing)

    ended = threading.Event()
    with serve(script, secure=secure) as peer:
        async with Transport(client_context(), max_connections=2) as transport, anyio.create_task_group() as tasks:
            try:
                tasks.start_soon(ask, transport, peer.url())
                tasks.start_soon(ask, transport, peer.url())
                while peer.accepted < 2 or next(iter(transport._origins.values())).gate.value == 0:
                    await anyio.sleep(0.001)
                [origin] = transport._origins.values()
                await ask(transport, peer.url())
                assert [*transport._origins.values()] == [origin]
            finally:
                ended.set()


def cutting_the_second(after: bytes = b"", *, body: int = 0) -> Callable[[Link], None]:
    """Cut the second request of the first connection once `body` bytes of it are read, having said `after`."""

    def script(link: Link) -> None:
        if link.number:
            answering(OK)(link)
        link.request()
        link.send(OK)
        head = link.head()
        while len(link.buffer) < body:
            link.more()
        link.seen.append((link.number, head, b"cut"))
        link.send(after)

    return script


async def send(transport: Transport, method: str, url: str, body: bytes | FileBody | None) -> int:
    """One request; how many times the answer says that it was sent again."""
    request = httpx.Request(
        method,
        url,
        headers={"Host": "h", "Content-Length": str(body.length if isinstance(body, FileBody) else len(body or b""))},
        stream=body if isinstance(body, FileBody) else httpx.ByteStream(body or b""),
    )
    try:
        response = await transport.handle_async_request(request)
        await response.aclose()
    finally:
        again: int = request.extensions.get("resent", 0)
    assert response.extensions["resent"] == again
    return again


@pytest.mark.parametrize("kind", ["none", "bytes", "small file"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_idempotent_request_cut_on_a_kept_connection_is_sent_again_on_a_new_one_and_counted(
    transport: Transport, secure: bool, file: int, content: bytes, method: str, kind: str
) -> None:
    body = {"none": None, "bytes": b"bytes", "small file": FileBody(file, length=5)}[kind]
    with serve(cutting_the_second(), secure=secure) as peer:
        assert await send(transport, "GET", peer.url(), None) == 0
        assert await send(transport, method, peer.url(), body) == 1
        assert [seen[0] for seen in peer.seen] == [0, 0, 1]
        assert peer.seen[2][1].startswith(method.encode())
        assert peer.seen[2][2] == {"none": b"", "bytes": b"bytes", "small file": content[:5]}[kind]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_request_that_may_have_had_an_effect_is_left_to_the_caller(
    transport: Transport, secure: bool, file: int, method: str
) -> None:
    with serve(cutting_the_second(), secure=secure) as peer:
        await send(transport, "GET", peer.url(), None)
        with pytest.raises(httpx.TransportError):
            await send(transport, method, peer.url(), FileBody(file, length=5))
        assert len(peer.seen) == 2
        assert await send(transport, method, peer.url(), b"x") == 0


def unknown(_: socket.socket) -> int:
    """How much is not acknowledged, as systems other than Linux say it."""
    return -1


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
async def test_request_that_a_closed_connection_did_not_accept_is_sent_on_a_new_one_and_counts_once(
    transport: Transport, secure: bool, file: int, content: bytes, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_socket, "unacknowledged", unknown)

    def script(link: Link) -> None:
        if link.number:
            answering(OK)(link)
        link.request()
        link.send(OK)
        link.reset()

    def is_alive(_: Connection) -> bool:
        return True

    with serve(script, secure=secure) as peer:
        await send(transport, "GET", peer.url(), None)
        [connection] = transport._open
        await connection._stream.readable()
        monkeypatch.setattr(Connection, "is_alive", is_alive)  # it was when it was looked at
        large = FileBody(file, length=len(content))
        assert await send(transport, method, peer.url(), large if method == "PUT" else b"bytes") == 0
        assert [seen[0] for seen in peer.seen] == [0, 1]
        assert peer.seen[1][2] == (content if method == "PUT" else b"bytes")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what was acknowledged")
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
async def test_request_that_arrived_at_a_closed_connection_is_sent_on_a_new_one_and_counts_once(
    transport: Transport, secure: bool, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(link: Link) -> None:
        if link.number:
            answering(OK)(link)
        link.request()
        link.send(OK)  # and close, which is on its way while the next request is sent

    def is_alive(_: Connection) -> bool:
        return True

    with serve(script, secure=secure) as peer:
        await send(transport, "GET", peer.url(), None)
        [connection] = transport._open
        await connection._stream.readable()
        monkeypatch.setattr(Connection, "is_alive", is_alive)
        assert await send(transport, method, peer.url(), b"bytes") == 0
        assert [(seen[0], seen[2]) for seen in peer.seen] == [(0, b""), (1, b"bytes")]


async def test_request_counts_as_received_when_acknowledgements_are_unknown(
    transport: Transport, secure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(link: Link) -> None:
        if link.number:
            answering(OK)(link)
        link.request()
        link.send(OK)

    def is_alive(_: Connection) -> bool:
        return True

    monkeypatch.setattr(_socket, "unacknowledged", unknown)
    with serve(script, secure=secure) as peer:
        await send(transport, "GET", peer.url(), None)
        [connection] = transport._open
        await connection._stream.readable()
        monkeypatch.setattr(Connection, "is_alive", is_alive)
        with pytest.raises(httpx.TransportError):
            await send(transport, "POST", peer.url(), b"bytes")
        assert len(peer.seen) == 1


async def test_partly_sent_request_counts_as_sent(transport: Transport, secure: bool) -> None:
    with serve(answering(OK), secure=secure) as peer:
        for method, again in (("POST", None), ("PUT", 1)):
            await send(transport, "GET", peer.url(), None)
            [connection] = transport._open
            stream: Any = connection._stream
            stream._socket = Cutting(stream._socket)
            if again is None:
                with pytest.raises(httpx.WriteError):
                    await send(transport, method, peer.url(), b"bytes")
            else:
                assert await send(transport, method, peer.url(), b"bytes") == again


async def test_request_whose_new_connection_fails_too_was_sent_once(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: Any) -> Any:
        raise httpx.ConnectError("Connection refused")

    with serve(cutting_the_second()) as peer:
        await send(transport, "GET", peer.url(), None)
        monkeypatch.setattr(transport, "_connect_to", refused)
        request = httpx.Request("GET", peer.url())
        with pytest.raises(httpx.ConnectError):
            await transport.handle_async_request(request)
        assert "resent" not in request.extensions


async def test_request_cut_on_a_new_connection_is_not_sent_again(transport: Transport, secure: bool) -> None:
    def script(link: Link) -> None:
        link.request()

    with serve(script, secure=secure) as peer:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await ask(transport, peer.url())
        assert len(peer.seen) == 1


@pytest.mark.parametrize("after", [b"", b"HTT"], ids=["part of a large file went out", "part of an answer came"])
async def test_request_that_may_have_had_an_effect_is_not_sent_again(
    transport: Transport, secure: bool, file: int, content: bytes, after: bytes
) -> None:
    body = None if after else FileBody(file, length=len(content))
    with serve(cutting_the_second(after, body=0 if after else 1), secure=secure) as peer:
        await ask(transport, peer.url())
        with pytest.raises(httpx.TransportError):
            await ask(transport, peer.url(), body)
        assert len(peer.seen) == 2
        assert await ask(transport, peer.url()) == (200, b"ok")


async def test_request_that_fails_makes_room_for_the_next(secure: bool, file: int, content: bytes) -> None:
    def refuse(_: Any) -> Any:
        raise KeyError("not there")

    def script(link: Link) -> None:
        if link.number < 2:
            link.head()
            link.reset()
        else:
            answering(OK)(link)

    with serve(script, secure=secure) as peer:
        async with Transport(client_context(), max_connections=1) as transport:
            for body in (b"", FileBody(file, length=len(content))):
                with pytest.raises(httpx.TransportError):
                    await ask(transport, peer.url(), body)
            with pytest.raises(KeyError):
                await ask(transport, peer.url(), admit=refuse)
            assert await ask(transport, peer.url()) == (200, b"ok")
            with pytest.raises(KeyError):  # on the kept connection
                await ask(transport, peer.url(), admit=refuse)
            assert await ask(transport, peer.url()) == (200, b"ok")


async def test_connection_closed_with_its_transport_is_not_kept(secure: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_transport, "READ_AHEAD", 1)
    with serve(answering(OK), secure=secure) as peer:
        transport = Transport(client_context())
        response = await transport.handle_async_request(httpx.Request("GET", peer.url()))
        await transport.aclose()
        assert b"".join([piece async for piece in response.aiter_raw()]) == b"ok"  # it had arrived
        assert not transport._idle
        assert not transport._open


@pytest.mark.parametrize("sendfile", [True, False], ids=["sendfile", "no sendfile"])
@pytest.mark.parametrize("length", [5, 9_000_000])
async def test_file_that_became_shorter_is_an_error_of_the_file(
    transport: Transport,
    secure: bool,
    file: int,
    content: bytes,
    length: int,
    sendfile: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not sendfile:
        monkeypatch.setattr(_socket, "_SENDFILE", None)
    body = FileBody(file, offset=len(content) - 4 if length == 5 else 0, length=length)
    missing = length - min(length, len(content) - body.offset)
    with serve(answering(OK), secure=secure) as peer:
        with pytest.raises(EOFError, match=f"ends {missing} bytes early"):
            await ask(transport, peer.url(), body)
        assert await ask(transport, peer.url()) == (200, b"ok")


@pytest.mark.parametrize("length", [5, 9_000_000])
async def test_file_that_cannot_be_read_is_an_error_of_the_file(
    transport: Transport, secure: bool, length: int
) -> None:
    descriptor = os.open("/", os.O_RDONLY)
    try:
        with serve(answering(OK), secure=secure) as peer:
            with pytest.raises(IsADirectoryError):
                await ask(transport, peer.url(), FileBody(descriptor, length=length))
            assert await ask(transport, peer.url()) == (200, b"ok")
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("length", [5, 8_000_000])
async def test_exception_of_the_progress_callback_is_raised_unchanged(
    transport: Transport, secure: bool, file: int, length: int
) -> None:
    mine = KeyError("mine")
    mine.__cause__ = reason = ValueError("why")

    def told(count: int) -> None:
        raise mine

    with serve(answering(OK), secure=secure) as peer:
        with pytest.raises(KeyError) as caught:
            await ask(transport, peer.url(), FileBody(file, length=length, on_sent=told))
        assert caught.value is mine
        assert mine.__cause__ is reason
        assert not transport._open


@pytest.mark.parametrize(
    ("url", "headers", "error"),
    [
        ("ftp://127.0.0.1/", {}, httpx.UnsupportedProtocol),
        ("http://127.0.0.1/", {"Host": "a", "X": "a\r\nb: c"}, httpx.LocalProtocolError),
        ("http://127.0.0.1/", {"Host": "a", "Content-Length": "9"}, httpx.LocalProtocolError),
    ],
)
async def test_request_that_cannot_be_sent_is_an_error(
    transport: Transport, url: str, headers: dict[str, str], error: type[Exception]
) -> None:
    with serve(answering(OK)) as peer:
        if url.startswith("http"):
            url = peer.url()
        with pytest.raises(error):
            await transport.handle_async_request(httpx.Request("PUT", url, headers=headers, content=b"x"))
        assert await ask(transport, peer.url()) == (200, b"ok")


async def test_closing_the_transport_ends_the_requests_in_progress(secure: bool, file: int, content: bytes) -> None:
    def script(link: Link) -> None:
        link.head()
        reached.set()
        link.request()

    reached = threading.Event()
    failures: list[Exception] = []
    with serve(script, secure=secure) as peer:
        transport = Transport(client_context())

        async def run(body: FileBody | None) -> None:
            with pytest.raises((httpx.ReadError, httpx.WriteError)) as caught:
                await ask(transport, peer.url(), body)
            failures.append(caught.value)

        for body in (None, FileBody(file, length=len(content))):
            reached.clear()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run, body)
                await anyio.to_thread.run_sync(reached.wait)
                await anyio.wait_all_tasks_blocked()
                await transport.aclose()
    assert len(failures) == 2
