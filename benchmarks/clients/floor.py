"""The floor: bare sockets that do the least work a push can be done with. It is told what a client has to find out.

Two requests a blob (POST, PUT with the whole body), one a manifest; one request where the manifest is there already.
Blocking sockets in threads; ``sendfile`` on plain HTTP, slices over TLS. No retries, logins, events or checks.
"""

from __future__ import annotations

import os
import queue
import socket
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from benchmarks.jobs import Job, measure
from benchmarks.layouts import MANIFEST, TAG

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from benchmarks.layouts import Image

_SLICE: Final = 256 * 1024
_SMALL: Final = 128 * 1024  # a body up to here goes out with its head


class Connection:
    """A kept connection."""

    def __init__(self, job: Job, context: ssl.SSLContext | None) -> None:
        self._host = job.host
        plain = socket.create_connection(("127.0.0.1", job.port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = context.wrap_socket(plain, server_hostname="127.0.0.1") if context else plain
        self._sendfile = context is None

    def request(self, method: str, target: str, body: bytes | Path = b"", content_type: str = "") -> dict[bytes, bytes]:
        """Send a request; the answer's headers."""
        length = len(body) if isinstance(body, bytes) else body.stat().st_size
        lines = [
            f"{method} {target} HTTP/1.1",
            f"Host: {self._host}",
            f"Content-Length: {length}",
            f"Accept: {MANIFEST}",
        ]
        lines += [f"Content-Type: {content_type}"] if content_type else []
        head = "\r\n".join([*lines, "", ""]).encode()
        if isinstance(body, bytes) or length <= _SMALL:
            self._socket.sendall(head + (body if isinstance(body, bytes) else body.read_bytes()))
        else:
            self._socket.sendall(head)
            self._send(body, length)
        return self._answer(method, target)

    def _send(self, path: Path, length: int) -> None:
        with path.open("rb") as file:
            if not self._sendfile:
                while piece := file.read(_SLICE):
                    self._socket.sendall(piece)
                return
            offset = 0
            while offset < length:
                offset += os.sendfile(self._socket.fileno(), file.fileno(), offset, length - offset)

    def _answer(self, method: str, target: str) -> dict[bytes, bytes]:
        received = b""
        while b"\r\n\r\n" not in received:
            piece = self._socket.recv(_SLICE)
            if not piece:
                raise EOFError(f"{method} {target}: closed")
            received += piece
        head, _, rest = received.partition(b"\r\n\r\n")
        status, *fields = head.split(b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(b":") for field in fields)}
        if not status.split()[1].startswith(b"2"):
            raise OSError(f"{method} {target}: {received[:200]!r}")
        left = 0 if method == "HEAD" else int(headers.get(b"content-length", b"0")) - len(rest)
        while left > 0:
            left -= len(self._socket.recv(_SLICE))
        return headers

    def close(self) -> None:
        """Close it."""
        self._socket.close()


class Push:
    """One push, over as many connections as there are threads."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._context = ssl.create_default_context(cafile=job.ca_file) if job.ca_file else None
        self._idle: queue.LifoQueue[Connection] = queue.LifoQueue()

    @contextmanager
    def _connection(self) -> Generator[Connection]:
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = Connection(self._job, self._context)
        yield connection
        self._idle.put(connection)

    def upload(self, blob: tuple[Image, str]) -> None:
        """Send one blob: open a session, send the body."""
        image, digest = blob
        with self._connection() as connection:
            headers = connection.request("POST", f"/v2/{image.repository}/blobs/uploads/")
            location = headers[b"location"].decode()
            location = location[location.index("/v2/") :]
            target = f"{location}{'&' if '?' in location else '?'}digest={digest}"
            connection.request("PUT", target, image.blob(digest), "application/octet-stream")

    def mount(self, blob: tuple[Image, str, str]) -> None:
        """Link one blob from another repository."""
        image, digest, origin = blob
        with self._connection() as connection:
            connection.request("POST", f"/v2/{image.repository}/blobs/uploads/?mount={digest}&from={origin}")

    def finish(self, image: Image) -> None:
        """Put a manifest, or see that it is there."""
        target = f"/v2/{image.repository}/manifests/{TAG}"
        with self._connection() as connection:
            if image.digest in self._job.known:
                connection.request("HEAD", target)
            else:
                connection.request("PUT", target, image.blob(image.digest), MANIFEST)

    def close(self) -> None:
        """Close all connections."""
        while not self._idle.empty():
            self._idle.get_nowait().close()


def plan(job: Job) -> tuple[list[tuple[Image, str]], list[tuple[Image, str, str]]]:
    """What is uploaded, the largest first, and what is mounted then, and from where."""
    uploads: list[tuple[Image, str]] = []
    mounts: list[tuple[Image, str, str]] = []
    home: dict[str, str] = {}
    for image in job.images:
        for digest in image.blobs:
            if digest in job.known:
                continue
            if digest in home:
                mounts.append((image, digest, home[digest]))
            else:
                home[digest] = image.repository
                uploads.append((image, digest))
    uploads.sort(key=lambda blob: -blob[0].blobs[blob[1]])
    return uploads, mounts


def push(job: Job) -> None:
    """Push all images: each blob once, then mounts, then manifests."""
    work, (uploads, mounts) = Push(job), plan(job)
    with ThreadPoolExecutor(job.connections) as pool:
        list(pool.map(work.upload, uploads))
        list(pool.map(work.mount, mounts))
        list(pool.map(work.finish, job.images))
    work.close()


if __name__ == "__main__":
    job = Job.load(sys.argv[1])
    measure(lambda: push(job))
