"""A server on loopback that plays a script: what no registry does, byte for byte."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    Script = Callable[["Connection"], None]


class Connection:
    """One accepted connection; ``first`` is what came before the script was asked, at most up to a blank line."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.first = b""

    def read_head(self) -> None:
        """Wait for the end of a request's head, or for enough to see that it is TLS."""
        while b"\r\n\r\n" not in self.first and not self.is_tls:
            piece = self.sock.recv(65536)
            if not piece:
                break
            self.first += piece

    @property
    def is_tls(self) -> bool:
        return self.first.startswith(b"\x16\x03")

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def wait_for_the_other_side(self) -> None:
        """Take, and do not answer, until the client gives up."""
        while self.sock.recv(65536):
            pass

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _speak_no_tls(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


class ScriptedServer:
    """Plays ``plain`` to who speaks HTTP, and ``tls`` to who speaks TLS; by default it tells them that it does not."""

    def __init__(self, plain: Script, *, tls: Script | None = None) -> None:
        self._plain = plain
        self._tls = tls or _speak_no_tls
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self.heads: list[bytes] = []

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)
        self._listener.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(sock)
            self._start(self._serve, Connection(sock))

    def _serve(self, connection: Connection) -> None:
        with connection.sock, contextlib.suppress(OSError):
            connection.read_head()
            if not connection.is_tls:
                self.heads.append(connection.first)
            (self._tls if connection.is_tls else self._plain)(connection)
