"""Servers that send exact bytes, with blocking sockets and one thread for each connection."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import ssl
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
from tests.certificates import server_context

from ocipush._http.body import FileBody

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
# What is sent while it is set waits for the rest; elsewhere than on Linux it is a harmless option.
CORK = getattr(socket, "TCP_CORK", socket.TCP_NODELAY)
LOOPBACK = {False: "127.0.0.1", True: "::1"}


class Cutting:
    """A socket that takes five bytes, and fails."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._left = 5

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def send(self, data: memoryview) -> int:
        if not self._left:
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        count, self._left = self._sock.send(data[: self._left]), 0
        return count


class GoneError(Exception):
    """The client closed the connection."""


@dataclass
class Link:
    """One accepted connection, as a script sees it; ``number`` counts from 0."""

    sock: socket.socket
    number: int
    seen: list[tuple[int, bytes, bytes]]
    buffer: bytes = b""

    def more(self) -> None:
        data = self.sock.recv(1 << 20)
        if not data:
            raise GoneError
        self.buffer += data

    def head(self) -> bytes:
        """The next request's head."""
        while b"\r\n\r\n" not in self.buffer:
            self.more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return head

    def request(self) -> tuple[bytes, bytes]:
        """The next request: its head and its body, whose length is in the head."""
        head = self.head()
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(fields.get(b"content-length", b"0"))
        while len(self.buffer) < length:
            self.more()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        self.seen.append((self.number, head, body))
        return head, body

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def half_close(self) -> None:
        """Close the sending side only."""
        socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


@dataclass
class Peer:
    """A running server: its address, and the requests to it as (connection, head, body)."""

    host: str
    port: int
    secure: bool
    seen: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    accepted: int = 0
    threads: list[threading.Thread] = field(default_factory=list)
    live: set[socket.socket] = field(default_factory=set)

    def settle(self) -> None:
        """Wait until every connection made so far is accepted, and ended on both sides."""
        with socket.create_connection((LOOPBACK[":" in self.host], self.port)) as last, contextlib.suppress(OSError):
            last.shutdown(socket.SHUT_WR)
            while last.recv(1024):
                pass
        for thread in self.threads:
            thread.join()
        self.threads.clear()

    def url(self, path: str = "/") -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.secure else ''}://{host}:{self.port}{path}"


def answering(*answers: bytes) -> Callable[[Link], None]:
    """A script that answers the requests of a connection with these answers in turn, and then always with the last."""

    def script(link: Link) -> None:
        turn = 0
        while True:
            link.request()
            link.send(answers[min(turn, len(answers) - 1)])
            turn += 1

    return script


def tunnelling(port: int) -> Callable[[Link], None]:
    """A proxy that answers each CONNECT with a tunnel to ``port`` of this machine, whatever host is asked for."""

    def script(link: Link) -> None:
        link.seen.append((link.number, link.head(), b""))
        with socket.create_connection(("127.0.0.1", port)) as upstream:
            upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.send(b"HTTP/1.1 200 Connection established\r\nProxy-Agent: test\r\n\r\n")
            upstream.sendall(link.buffer)
            if isinstance(link.sock, ssl.SSLSocket):
                _relay_tls(link.sock, upstream)
            else:
                back = threading.Thread(target=_relay, args=(upstream, link.sock))
                back.start()
                _relay(link.sock, upstream)
                back.join()

    return script


def _relay(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for sock in (source, sink):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _relay_tls(client: ssl.SSLSocket, upstream: socket.socket) -> None:
    """Both directions in one thread: an SSL object must not be used by two. To the client in small records at once."""
    while True:
        ready = [client] if client.pending() else select.select([client, upstream], [], [])[0]
        for source in ready:
            if not (data := source.recv(1 << 16)):
                return
            if source is client:
                upstream.sendall(data)
                continue
            client.setsockopt(socket.IPPROTO_TCP, CORK, 1)
            for start in range(0, len(data), 500):
                client.sendall(data[start : start + 500])
            client.setsockopt(socket.IPPROTO_TCP, CORK, 0)


def _run(
    script: Callable[[Link], None], context: ssl.SSLContext | None, raw: socket.socket, peer: Peer, number: int
) -> None:
    sock = raw
    try:
        if context is not None:
            sock = context.wrap_socket(raw, server_side=True)
            peer.live.add(sock)
        script(Link(sock, number, peer.seen))
    except (OSError, GoneError):  # the client went away, or the test is over
        pass
    finally:
        peer.live.difference_update({raw, sock})
        sock.close()
        raw.close()


@contextlib.contextmanager
def serve(script: Callable[[Link], None], *, secure: bool = False, host: str = "127.0.0.1") -> Generator[Peer]:
    """Run ``script`` for each connection in a thread of its own, and close the connection after it."""
    context = server_context() if secure else None
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family, backlog=128)
    peer = Peer(host, listener.getsockname()[1], secure)

    def accept() -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                raw, _ = listener.accept()
                # Nagle's algorithm could hold an answer back until a reset drops it.
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                peer.accepted += 1
                peer.live.add(raw)
                thread = threading.Thread(target=_run, args=(script, context, raw, peer, peer.accepted - 1))
                peer.threads.append(thread)
                thread.start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield peer
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for sock in list(peer.live):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in peer.threads:
            thread.join()


async def ask(
    transport: httpx.AsyncBaseTransport,
    url: str,
    body: bytes | FileBody | None = None,
    *,
    connect: float | None = None,
    method: str | None = None,
    **extensions: Any,
) -> tuple[int, bytes]:
    """Make one request as the library does, and read the whole answer."""
    length = body.length if isinstance(body, FileBody) else len(body or b"")
    request = httpx.Request(
        method or ("GET" if body is None else "PUT"),
        url,
        headers={"Host": httpx.URL(url).netloc.decode(), **({} if body is None else {"Content-Length": str(length)})},
        stream=body if isinstance(body, FileBody) else httpx.ByteStream(body or b""),
        extensions={"timeout": {"connect": connect}, **extensions},
    )
    response = await transport.handle_async_request(request)
    try:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        return response.status_code, b"".join([piece async for piece in response.stream])
    finally:
        await response.aclose()
