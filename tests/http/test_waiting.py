"""What a request waits for: time in the queue for a connection counts for no limit, and disks are waited for in threads."""

from __future__ import annotations

import os
import ssl
import tempfile
import threading

import anyio
import pytest

from ocipush import Timeouts
from ocipush._http import stream as _stream
from ocipush._http.body import FileBody
from ocipush._http.client import Client
from ocipush._http.request import Request
from ocipush._http.transport import Transport
from ocipush.testing import Registry, Response
from ocipush.testing import Request as Received

pytestmark = pytest.mark.anyio


def client(transport: Transport, timeouts: Timeouts) -> Client:
    return Client(
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), timeouts=timeouts, user_agent="test", transport=transport
    )


async def test_clock_stands_still_while_a_request_waits_for_a_connection() -> None:
    go, arrived = anyio.Event(), anyio.Event()

    async def intercept(request: Received) -> Response:
        if request.method == "GET":
            arrived.set()
            await go.wait()
        return Response(200)

    transport = Transport(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), max_connections=1)
    patient = client(transport, Timeouts(answer=None))
    hasty = client(transport, Timeouts(connect=0.05, answer=0.05))
    answers: list[int] = []

    async def send(sender: Client, method: str) -> None:
        answers.append((await sender.send(Request(method=method, url=f"{registry.url}/v2/"))).status)

    async with Registry(intercept=intercept) as registry, anyio.create_task_group() as tasks:
        tasks.start_soon(send, patient, "GET")
        await arrived.wait()
        tasks.start_soon(send, hasty, "HEAD")
        await anyio.sleep(0.4)
        go.set()
    await transport.aclose()
    assert answers == [200, 200]


class ColdDisk:
    """A disk whose files are not in memory until they were read. Counts the reads that make the event loop wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop, self.loaded, self.waited = threading.get_ident(), set[int](), 0
        self._preadv, self._pread, self._sendfile = os.preadv, os.pread, os.sendfile
        monkeypatch.setattr(os, "preadv", self.preadv)
        monkeypatch.setattr(os, "pread", self.pread)
        monkeypatch.setattr(_stream, "_SENDFILE", self.sendfile)

    def _read(self, offset: int, count: int) -> None:
        pages = range(offset // 4096, (offset + count - 1) // 4096 + 1)
        self.waited += threading.get_ident() == self.loop and not self.loaded.issuperset(pages)
        self.loaded.update(pages)

    def preadv(self, descriptor: int, buffers: list[memoryview], offset: int, flags: int = 0) -> int:
        if flags and offset // 4096 not in self.loaded:
            raise BlockingIOError
        self._read(offset, len(buffers[0]))
        return self._preadv(descriptor, buffers, offset)

    def pread(self, descriptor: int, count: int, offset: int) -> bytes:
        self._read(offset, count)
        return self._pread(descriptor, count, offset)

    def sendfile(self, out: int, descriptor: int, offset: int, count: int) -> int:
        sent = self._sendfile(out, descriptor, offset, count)
        self._read(offset, sent)
        return sent


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="only Linux can be asked not to wait")
@pytest.mark.parametrize("size", [100_000, 9_000_000])
async def test_file_that_is_not_in_memory_is_read_in_threads_before_it_is_sent(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, content, stored = ColdDisk(monkeypatch), os.urandom(size), bytearray()

    async def intercept(request: Received) -> Response:
        stored.extend(await request.read(2 * size))
        return Response(201)

    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        async with Registry(intercept=intercept) as registry:
            transport = Transport(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
            body = FileBody(file.fileno(), length=size)
            answer = await client(transport, Timeouts()).send(
                Request(method="PUT", url=f"{registry.url}/up", body=body)
            )
            await transport.aclose()
    assert answer.status == 201
    assert stored == content
    assert len(disk.loaded) == -(-size // 4096)
    assert disk.waited == 0
