"""A registry that forgets: it takes uploads and throws them away, so that gigabytes can be sent without a place for them.

A script of its own, for what it spends must not count as the client's: ``python -m benchmarks.sink [HELD [CHAIN KEY]]``
prints its port and serves until its input ends. HELD is the digest that every tag names.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from contextlib import suppress
from typing import Final

_PIECE: Final = 1024 * 1024
_TLS: Final = 22  # the first byte of a client that shakes hands


def _serve(plain: socket.socket, context: ssl.SSLContext | None, held: str) -> None:
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with suppress(OSError), plain:
        connection = context.wrap_socket(plain, server_side=True) if context else plain
        with connection:
            _answer_all(connection, held)


def _answer_all(connection: socket.socket, held: str) -> None:
    received, space = b"", bytearray(_PIECE)
    while True:
        while b"\r\n\r\n" not in received:
            piece = connection.recv(_PIECE)
            if not piece:
                return
            received += piece
            if received[0] == _TLS:  # so that the client falls back to plain HTTP
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                return
        head, _, received = received.partition(b"\r\n\r\n")
        request, *fields = head.split(b"\r\n")
        method, target, _ = request.decode("ascii").split(" ")
        values = {name.lower(): value.strip() for name, _, value in (field.partition(b":") for field in fields)}
        left = int(values.get(b"content-length", b"0"))
        left, received = left - len(received[:left]), received[left:]
        while left > 0:
            count = connection.recv_into(space, min(left, _PIECE))
            if not count:
                return
            left -= count
        connection.sendall(_answer(method, target, held))


def _answer(method: str, target: str, held: str) -> bytes:
    path = target.partition("?")[0]
    if method == "HEAD" and held and "/manifests/" in path:
        return f"HTTP/1.1 200 OK\r\nDocker-Content-Digest: {held}\r\nContent-Length: 0\r\n\r\n".encode()
    if method == "POST":
        return f"HTTP/1.1 202 Accepted\r\nLocation: {path}1?state=x\r\nContent-Length: 0\r\n\r\n".encode()
    status = "201 Created" if method == "PUT" else "202 Accepted" if method == "DELETE" else "404 Not Found"
    return f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()


def main(held: str = "", chain: str | None = None, key: str | None = None) -> None:
    """Serve on a free port of loopback."""
    context = None
    if chain is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(chain, key)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(listener.getsockname()[1], flush=True)

    def accept() -> None:
        while True:
            threading.Thread(target=_serve, args=(listener.accept()[0], context, held), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
