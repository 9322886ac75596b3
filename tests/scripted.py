"""A server on loopback that plays a script, for answers that no HTTP server gives."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.peers import Link, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    Script = Callable[[Link], None]


@dataclass
class ScriptedServer:
    """A running server: its host and port, and the heads of the requests in plain HTTP."""

    host: str
    heads: list[bytes] = field(default_factory=list[bytes])


def is_tls(link: Link) -> bool:
    return link.buffer.startswith(b"\x16\x03")


def send(data: bytes) -> Script:
    """Send these bytes and close the connection."""
    return lambda link: link.send(data)


def send_endlessly(start: bytes, piece: bytes) -> Script:
    def play(link: Link) -> None:
        link.send(start)
        while True:
            link.send(piece)

    return play


def fall_silent(after: bytes = b"") -> Script:
    """Send these bytes, and nothing else until the client closes the connection."""

    def play(link: Link) -> None:
        link.send(after)
        while True:
            link.more()

    return play


def reset(link: Link) -> None:
    link.reset()


refuse_tls = send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@contextmanager
def scripted_server(plain: Script, *, tls: Script = refuse_tls) -> Generator[ScriptedServer]:
    """Play ``plain`` to clients that speak HTTP and ``tls`` to those that speak TLS, once ``link.buffer`` has the start."""

    server = ScriptedServer("")

    def play(link: Link) -> None:
        while b"\r\n\r\n" not in link.buffer and not is_tls(link):
            link.more()
        if is_tls(link):
            tls(link)
        else:
            server.heads.append(link.buffer)
            plain(link)

    with serve(play) as peer:
        server.host = f"{peer.host}:{peer.port}"
        yield server
