"""The benchmark suite's relay passes on every byte, every end and every reset, and counts them."""

from __future__ import annotations

import hashlib
import random
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from benchmarks.relay import relaying

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

MIB = 1024 * 1024


@contextmanager
def serving(handle: Callable[[socket.socket], None], connections: int) -> Generator[int]:
    """Hand each of ``connections`` connections to ``handle``, in threads."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(connections + 1) as threads:

        def accept() -> None:
            for _ in range(connections):
                threads.submit(handle, listener.accept()[0])

        threads.submit(accept)
        yield listener.getsockname()[1]


def read_all(connection: socket.socket) -> bytes:
    received = bytearray()
    while piece := connection.recv(MIB):
        received += piece
    return bytes(received)


def answer_with_digest(connection: socket.socket) -> None:
    """Read until the client ends its side, then answer and end."""
    with connection:
        received = read_all(connection)
        connection.sendall(hashlib.sha256(received).digest() + received)


@pytest.mark.parametrize(
    ("round_trip", "rate"), [(0.0, None), (0.004, None), (0.004, 2000.0 * MIB)], ids=["bare", "delayed", "limited"]
)
def test_bytes_pass_both_ways_unchanged_on_many_connections(round_trip: float, rate: float | None) -> None:
    bodies = [random.Random(number).randbytes(size) for number, size in enumerate((0, 1, 70_000, 3 * MIB, 20 * MIB))]
    with (
        serving(answer_with_digest, len(bodies)) as port,
        relaying(port, round_trip=round_trip, rate=rate) as relay,
        ThreadPoolExecutor(len(bodies)) as threads,
    ):

        def exchange(body: bytes) -> bytes:
            with socket.create_connection(("127.0.0.1", relay.port)) as connection:
                connection.sendall(body)
                connection.shutdown(socket.SHUT_WR)
                return read_all(connection)

        for body, answer in zip(bodies, threads.map(exchange, bodies), strict=True):
            assert answer == hashlib.sha256(body).digest() + body
        size = sum(map(len, bodies))
        traffic = relay.traffic
    assert (traffic.sent, traffic.received, traffic.connections) == (size, size + 32 * len(bodies), len(bodies))


def test_reset_by_the_server_reaches_the_client() -> None:
    def reset(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    with (
        serving(reset, 1) as port,
        relaying(port) as relay,
        socket.create_connection(("127.0.0.1", relay.port)) as connection,
    ):
        connection.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_client_that_leaves_ends_the_connection_to_the_server() -> None:
    ended = threading.Event()

    def wait(connection: socket.socket) -> None:
        with connection:
            read_all(connection)
        ended.set()

    with serving(wait, 1) as port, relaying(port, round_trip=0.002) as relay:
        socket.create_connection(("127.0.0.1", relay.port)).close()
        assert ended.wait(10)


def test_refused_target_closes_the_client_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with relaying(port) as relay, socket.create_connection(("127.0.0.1", relay.port)) as connection:
        assert connection.recv(1) == b""
