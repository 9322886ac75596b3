"""A network in memory, in the place of sockets: with trio's MockClock, a push runs on virtual time.

What sockets do is kept: a bounded buffer each way; FIN and RST; an RST from whoever closes with something unread; what
came before an RST stays readable.
"""

from __future__ import annotations

import math
import os
import socket
from typing import TYPE_CHECKING, Any, cast

import anyio
import anyio.lowlevel
import httpx
from anyio.abc import ByteStream, Listener, SocketAttribute
from tests import layouts

from ocipush.testing import Registry, Request
from ocipush.testing._storage import StoredManifest

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from anyio.abc import TaskGroup

    from ocipush._http.stream import Admit, Stream

BUFFER = 64 * 1024
ADDRESS = "9.9.9.9"  # of every name: a public one
LOOPBACK = "127.0.0.1"


class Pipe:
    """One direction of a connection. ``ended``: the writer has said so; ``reset``: nothing more can be written, nor read."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = False
        self.reset = False
        self._changed = anyio.Event()

    @property
    def room(self) -> int:
        return BUFFER - len(self.data)

    def write(self, data: bytes | memoryview) -> int:
        """How many bytes were taken."""
        count = min(len(data), self.room)
        self.data += data[:count]
        self.change()
        return count

    def read(self, limit: int) -> bytes:
        found = bytes(self.data[:limit])
        del self.data[:limit]
        self.change()
        return found

    def change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def wait_readable(self) -> None:
        while not (self.data or self.ended or self.reset):
            await self._changed.wait()

    async def wait_writable(self) -> None:
        while not (self.room or self.ended or self.reset):
            await self._changed.wait()


class End:
    """One end of a connection: what comes in, and what goes out."""

    def __init__(self, incoming: Pipe, outgoing: Pipe) -> None:
        self.incoming = incoming
        self.outgoing = outgoing
        self.closed = False

    def finish(self) -> None:
        """FIN."""
        self.outgoing.ended = True
        self.outgoing.change()

    def close(self, *, rudely: bool = False) -> None:
        if self.closed:
            return
        self.closed = True
        self.outgoing.reset |= rudely or bool(self.incoming.data)
        self.incoming.reset = True
        self.incoming.data.clear()
        self.incoming.change()
        self.finish()


class MemoryWire:
    """What :class:`ocipush._http.stream.Stream` does, over one end. ``uncopied``: it can send files by itself."""

    address = ADDRESS

    def __init__(self, end: End, *, uncopied: bool) -> None:
        self._end = end
        self._uncopied = uncopied
        self._unsent = memoryview(b"")
        self._accepted = 0

    @property
    def unsent(self) -> int:
        return len(self._unsent)

    def begin(self) -> None:
        self._accepted = 0

    @property
    def untouched(self) -> bool:
        return not self._accepted

    @property
    def unreceived(self) -> bool:
        return self.untouched  # what was written has arrived

    def put(self, data: bytes) -> None:
        self._unsent = memoryview(data)
        self._flush()

    def _flush(self) -> None:
        if self._unsent:
            self._check()
            count = self._end.outgoing.write(self._unsent)
            self._accepted += count
            self._unsent = self._unsent[count:]

    def _check(self) -> None:
        if self._end.closed or self._end.outgoing.reset:
            raise httpx.WriteError("broken pipe")

    async def drain(self) -> None:
        while self._unsent:
            await self.writable()
            self._flush()

    def send_file(self, descriptor: int, offset: int, count: int) -> int | None:
        if not self._uncopied:
            return None
        self._check()
        if not (room := self._end.outgoing.room):
            raise BlockingIOError
        return self._end.outgoing.write(os.pread(descriptor, min(count, room), offset))

    def receive_now(self) -> bytes | None:
        incoming = self._end.incoming
        if incoming.data:
            return incoming.read(BUFFER)
        if incoming.reset:
            raise httpx.ReadError("connection reset by peer")
        return b"" if incoming.ended else None

    async def readable(self) -> None:
        await anyio.lowlevel.checkpoint()
        await self._end.incoming.wait_readable()
        if self._end.closed:
            raise httpx.ReadError("the client closed the connection")

    async def writable(self) -> None:
        await anyio.lowlevel.checkpoint()
        await self._end.outgoing.wait_writable()
        if self._end.closed:
            raise httpx.WriteError("the client closed the connection")

    def close(self) -> None:
        self._end.close()


class MemoryStream(ByteStream):
    """The server's side, as the development registry takes it."""

    def __init__(self, end: End) -> None:
        self._end = end

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {SocketAttribute.raw_socket: lambda: self}

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        """Like a socket's. The one option that is set is to close rudely, and that follows at once."""
        del value
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER)
        self._end.close(rudely=True)

    def shutdown(self, how: int) -> None:
        """Like a socket's."""
        assert how == socket.SHUT_WR
        self._end.finish()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await anyio.lowlevel.checkpoint()
        incoming = self._end.incoming
        await incoming.wait_readable()
        if self._end.closed:
            raise anyio.ClosedResourceError
        if incoming.data:
            return incoming.read(max_bytes)
        if incoming.reset:
            raise anyio.BrokenResourceError
        raise anyio.EndOfStream

    async def send(self, item: bytes) -> None:
        left = memoryview(item)
        while left:
            await anyio.lowlevel.checkpoint()
            await self._end.outgoing.wait_writable()
            if self._end.closed:
                raise anyio.ClosedResourceError
            if self._end.outgoing.reset:
                raise anyio.BrokenResourceError
            left = left[self._end.outgoing.write(left) :]

    async def send_eof(self) -> None:
        self._end.finish()

    async def aclose(self) -> None:
        self._end.close()


class MemoryListener(Listener[ByteStream]):
    """What is bound to one address of a network."""

    def __init__(self, network: Network, address: tuple[str, int], *, secure: bool) -> None:
        self.secure = secure
        self._network = network
        self._address = address
        self._backlog, self._accepted = anyio.create_memory_object_stream[End](math.inf)
        network.listeners[address] = self

    def connected(self, end: End) -> None:
        self._backlog.send_nowait(end)

    async def serve(self, handler: Callable[[ByteStream], Any], task_group: TaskGroup | None = None) -> None:
        assert task_group is None
        async with anyio.create_task_group() as tasks:
            async for end in self._accepted:
                tasks.start_soon(handler, MemoryStream(end))

    async def aclose(self) -> None:
        del self._network.listeners[self._address]
        self._backlog.close()
        while self._accepted.statistics().current_buffer_used:
            self._accepted.receive_nowait().close(rudely=True)
        self._accepted.close()


class Network:
    """Addresses that listen; ``connect`` takes the place of :func:`ocipush._http.stream.connect`.

    Attributes:
        ends: the client's end of every connection there ever was.
    """

    def __init__(self) -> None:
        self.listeners: dict[tuple[str, int], MemoryListener] = {}
        self.ends: list[End] = []

    async def connect(self, host: str, port: int, context: ssl.SSLContext | None, admit: Admit | None) -> Stream:
        """Connect; whoever speaks TLS to one who does not is refused, and the other way round. Nothing is encrypted."""
        await anyio.lowlevel.checkpoint()
        address = LOOPBACK if host == LOOPBACK else ADDRESS
        if admit is not None:
            admit([address])
        listener = self.listeners.get((host, port))
        if listener is None or listener.secure != (context is not None):
            raise httpx.ConnectError("connection refused") from ConnectionRefusedError()
        there, back = Pipe(), Pipe()
        ours = End(back, there)
        self.ends.append(ours)
        listener.connected(End(there, back))
        wire = MemoryWire(ours, uncopied=context is None)
        wire.address = address
        return cast("Stream", wire)

    @property
    def open(self) -> int:
        """How many connections the client has not closed."""
        return sum(not end.closed for end in self.ends)


class MemoryRegistry(Registry):
    """The development registry on a network in memory; ``secure``: what asks for TLS is let in."""

    def __init__(self, network: Network, *, name: str = "registry.test", secure: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self._network = network
        self._secure = secure
        self.host = name

    @property
    def url(self) -> str:
        return f"{'https' if self._secure else 'http'}://{self.host}"

    def hold(self, name: str, layout: Path, tag: str) -> str:
        """Hold an image of one manifest as if it had been pushed; its digest."""
        blobs, documents = layouts.contents(layout)
        repository = self._storage.repository_blocking(name)
        repository.blobs.update(blobs)
        ((digest, raw),) = documents.items()
        repository.manifests[digest] = StoredManifest(layouts.MANIFEST, raw)
        repository.tags[tag] = digest
        return digest

    def _base(self, request: Request) -> str:
        return self.url

    def _service_base(self, request: Request) -> str:
        return self.url if self._dialect.blob_storage == "path" else self.url.replace("://", "://blobs.")

    async def _listen(self) -> Listener[ByteStream]:
        return self._listen_at(self.host)

    async def _listen_for_storage(self) -> Listener[ByteStream]:
        return self._listen_at(f"blobs.{self.host}")

    def _listen_at(self, host: str) -> Listener[ByteStream]:
        name, _, port = host.partition(":")
        address = (name, int(port) if port else 443 if self._secure else 80)
        return MemoryListener(self._network, address, secure=self._secure)
