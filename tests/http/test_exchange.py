from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest
from tests.certificates import client_context
from tests.peers import OK, Link, answering, ask, serve

from ocipush._http import connection as _connection
from ocipush._http import stream as _socket
from ocipush._http.body import FileBody
from ocipush._http.transport import Transport

if TYPE_CHECKING:
    from ocipush._http.stream import Stream

pytestmark = pytest.mark.anyio
EARLY = b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge"


@pytest.mark.parametrize(
    ("answer", "body", "kept"),
    [
        (OK, b"ok", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", b"ok", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + OK, b"ok", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", b"ok", False),
        (OK + b"HTTP/1.1 200 OK\r\n", b"ok", False),
    ],
    ids=["length", "chunked", "empty", "interim", "close", "more than was asked for"],
)
async def test_answer_is_read_completely_and_its_connection_kept_if_possible(
    transport: Transport, secure: bool, answer: bytes, body: bytes, kept: bool
) -> None:
    with serve(answering(answer), secure=secure) as peer:
        for _ in range(3):
            assert (await ask(transport, peer.url()))[1] == body
        assert peer.accepted == (1 if kept else 3)


async def test_answer_that_ends_with_the_connection_is_read_completely(transport: Transport, secure: bool) -> None:
    def script(link: Link) -> None:
        link.request()
        link.send(b"HTTP/1.0 200 OK\r\n\r\nold")

    with serve(script, secure=secure) as peer:
        assert await ask(transport, peer.url()) == (200, b"old")
        assert await ask(transport, peer.url()) == (200, b"old")


@pytest.mark.parametrize(("size", "accepted"), [(60_000, True), (_connection.MAX_HEAD, False)])
async def test_head_of_an_answer_may_be_as_large_as_a_signed_location(
    transport: Transport, size: int, accepted: bool
) -> None:
    location = b"/up?sig=" + b"x" * (size - 100)

    def script(link: Link) -> None:
        link.request()
        head = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nLocation: " + location
        if accepted:
            head += b"\r\n\r\n"
        link.send(head + b"y" * (0 if accepted else size))
        link.request()

    with serve(script) as peer:
        request = httpx.Request("POST", peer.url(), headers={"Host": "h", "Content-Length": "0"})
        if accepted:
            response = await transport.handle_async_request(request)
            assert response.headers["location"].encode() == location
        else:
            with pytest.raises(httpx.RemoteProtocolError, match="too long"):
                await transport.handle_async_request(request)


@pytest.mark.parametrize("count", [_connection.MAX_INTERIM, _connection.MAX_INTERIM + 1])
async def test_answer_may_follow_a_hundred_interim_answers(transport: Transport, count: int) -> None:
    with serve(answering(b"HTTP/1.1 102 Processing\r\n\r\n" * count + OK)) as peer:
        if count <= _connection.MAX_INTERIM:
            for _ in range(2):  # each answer is counted for itself
                assert await ask(transport, peer.url()) == (200, b"ok")
        else:
            with pytest.raises(httpx.RemoteProtocolError, match="without end"):
                await ask(transport, peer.url())


async def test_large_answer_is_read_in_pieces_and_an_abandoned_one_closes_its_connection(
    transport: Transport, secure: bool, content: bytes
) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content
    with serve(answering(answer), secure=secure) as peer:
        assert await ask(transport, peer.url()) == (200, content)
        response = await transport.handle_async_request(httpx.Request("GET", peer.url()))
        await response.aclose()
        assert await ask(transport, peer.url()) == (200, content)
        assert peer.accepted == 2


async def test_request_is_sent_as_given_and_cookies_are_dropped(transport: Transport) -> None:
    answer = b"HTTP/1.1 200 Fine\r\nSet-Cookie: a=b\r\nX-A: 1\r\nContent-Length: 0\r\n\r\n"
    with serve(answering(answer)) as peer:
        request = httpx.Request("HEAD", peer.url("/x"), headers={"X-B": "2"}, extensions={"target": b"/a%2f..//?_s==["})
        response = await transport.handle_async_request(request)
        assert dict(response.headers) == {"x-a": "1", "content-length": "0"}
        assert response.reason_phrase == "Fine"
        assert response.http_version == "HTTP/1.1"
        assert peer.seen[0][1].split(b"\r\n") == [
            b"HEAD /a%2f..//?_s==[ HTTP/1.1",
            b"Host: 127.0.0.1:%d" % peer.port,
            b"X-B: 2",
        ]


@pytest.mark.parametrize("sendfile", [True, False], ids=["sendfile", "no sendfile"])
@pytest.mark.parametrize("length", [0, 1, _connection.SMALL, _connection.SMALL + 1, 7_000_003])
async def test_file_arrives_complete_and_the_sent_bytes_are_reported(
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
    told: list[int] = []
    with serve(answering(OK), secure=secure) as peer:
        for _ in range(2):
            body = FileBody(file, offset=7, length=length, on_sent=told.append)
            assert await ask(transport, peer.url(), body) == (200, b"ok")
        assert [seen[2] == content[7 : 7 + length] for seen in peer.seen] == [True, True]
        assert peer.accepted == 1
    assert sum(told) == 2 * length


async def test_sendfile_that_refuses_midway_is_followed_by_copying(
    transport: Transport, file: int, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = _socket._SENDFILE, iter([True, True])
    assert real is not None

    def refusing(*arguments: int) -> int:
        if next(calls, False):
            return real(*arguments)
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(_socket, "_SENDFILE", refusing)
    with serve(answering(OK)) as peer:
        await ask(transport, peer.url(), FileBody(file, length=len(content)))
        assert peer.seen[0][2] == content


async def test_large_file_is_not_read_into_memory_on_plain_http(
    transport: Transport, file: int, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(FileBody, "read")
    with serve(answering(OK)) as peer:
        await ask(transport, peer.url(), FileBody(file, length=len(content)))
        assert peer.seen[0][2] == content


async def test_file_with_chunked_framing_arrives_complete(transport: Transport, file: int, content: bytes) -> None:
    def script(link: Link) -> None:
        link.head()
        found = b""
        while not found.endswith(b"0\r\n\r\n"):
            found += link.sock.recv(1 << 20)
        link.seen.append((0, b"", link.buffer + found))
        link.send(OK)

    with serve(script) as peer:
        body = FileBody(file, length=len(content))
        request = httpx.Request("PUT", peer.url(), headers={"Host": "h", "Transfer-Encoding": "chunked"}, stream=body)
        assert (await transport.handle_async_request(request)).status_code == 200
        assert peer.seen[0][2] == b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)


async def test_bytes_larger_than_the_socket_buffers_arrive_complete(
    transport: Transport, secure: bool, content: bytes
) -> None:
    with serve(answering(OK), secure=secure) as peer:
        assert await ask(transport, peer.url(), content) == (200, b"ok")
        assert peer.seen[0][2] == content


@pytest.mark.parametrize("kind", ["bytes", "file"])
async def test_head_and_small_body_are_sent_in_one_write(
    transport: Transport, secure: bool, file: int, content: bytes, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []
    put, size = _socket.Stream.put, _connection.SMALL

    def counted(self: Stream, data: bytes | memoryview) -> None:
        writes.append(len(data))
        put(self, data)

    with serve(answering(OK), secure=secure) as peer:
        await ask(transport, peer.url())
        monkeypatch.setattr(_socket.Stream, "put", counted)
        monkeypatch.setattr(_socket.TLSStream, "_send_raw", counted)
        await ask(transport, peer.url(), content[:size] if kind == "bytes" else FileBody(file, length=size))
        assert peer.seen[1][2] == content[:size]
    assert len(writes) == 1


async def test_early_answer_is_always_seen(transport: Transport, secure: bool, file: int, content: bytes) -> None:
    def script(link: Link) -> None:
        link.head()
        link.send(EARLY)  # and the connection is reset, for much of the body is unread

    with serve(script, secure=secure) as peer:
        for turn in range(300):
            body = FileBody(file, length=len(content)) if turn % 2 else content[:1_000_000]
            assert await ask(transport, peer.url(), body) == (413, b"large")
        assert peer.accepted == 300


async def test_early_answer_stops_the_body_even_if_the_server_neither_reads_nor_closes(
    transport: Transport, secure: bool, file: int, content: bytes
) -> None:
    seen = threading.Event()

    def script(link: Link) -> None:
        link.head()
        link.send(EARLY)
        seen.wait()

    with serve(script, secure=secure) as peer:
        try:
            assert await ask(transport, peer.url(), FileBody(file, length=len(content))) == (413, b"large")
        finally:
            seen.set()


async def test_number_of_concurrent_requests_to_one_origin_is_limited(secure: bool) -> None:
    busy, most = 0, 0
    lock = threading.Lock()

    def script(link: Link) -> None:
        nonlocal busy, most
        while True:
            link.request()
            with lock:
                busy += 1
                most = max(most, busy)
            barrier.wait()
            with lock:
                busy -= 1
            link.send(OK)

    barrier = threading.Barrier(2)
    with serve(script, secure=secure) as peer:
        async with Transport(client_context(), max_connections=2) as transport, anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(ask, transport, peer.url())
        assert (most, peer.accepted) == (2, 2)


@pytest.mark.parametrize("size", [0, _connection.SMALL, _connection.SMALL + 1])
async def test_latency_is_reported_for_a_request_sent_in_one_write(transport: Transport, file: int, size: int) -> None:
    with serve(answering(OK)) as peer:
        headers = {"Host": "127.0.0.1", "Content-Length": str(size)}
        request = httpx.Request("PUT", peer.url(), headers=headers, stream=FileBody(file, length=size))
        response = await transport.handle_async_request(request)
        await response.aclose()
    latency = response.extensions["latency"]
    assert latency is None if size > _connection.SMALL else latency >= 0
