"""Connected sockets, plain and TLS, read and written without blocking and awaited through anyio.

asyncio's transports discard received data when a write fails. These streams do not, so an answer that arrives while
the body is still being sent is never lost.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread
import httpx

from .acknowledged import unacknowledged
from .tls import Context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Admit = Callable[[Sequence[str]], Sequence[str]]
    Connect = Callable[[str, int, "ssl.SSLContext | None", "Admit | None"], Awaitable["Stream"]]


RECEIVE: Final = 64 * 1024  # bytes taken from a socket at a time
SENDFILE: Final = 4 * 1024 * 1024  # bytes given to one sendfile call: a socket holds about as many, so that it fills up
DURING_HANDSHAKE: Final = "during the TLS handshake"
STAGGER: Final = 0.25  # seconds until the next address of a host is tried as well (RFC 8305, 5)
_HANDSHAKE: Final = 22  # the first byte of a TLS handshake record (RFC 8446, 5.1)
_SENDFILE: Final[Callable[[int, int, int, int], int] | None] = getattr(os, "sendfile", None)


class Stream:
    """A connected TCP socket. ``put`` and ``receive_now`` never wait; ``readable`` and ``writable`` only wait.

    Attributes:
        address: the address of the other side; empty when a proxy connected to it.
    """

    address = ""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._unsent = memoryview(b"")
        self._accepted = 0

    @property
    def unsent(self) -> int:
        """How many bytes of the last ``put`` the system has not accepted yet."""
        return len(self._unsent)

    def begin(self) -> None:
        """Count from here what is sent. Everything before has been received."""
        self._accepted = 0

    @property
    def untouched(self) -> bool:
        """Whether the system has accepted no byte since ``begin``."""
        return not self._accepted

    @property
    def unreceived(self) -> bool:
        """Whether the other side has acknowledged no byte since ``begin``.

        It is exact after the other side has closed the connection: what arrived before is acknowledged with that.
        """
        return self._socket.fileno() >= 0 and self._accepted <= unacknowledged(self._socket)

    def put(self, data: bytes | memoryview) -> None:
        """Send ``data``, and keep what the system does not accept now."""
        # MSG_MORE would save a packet where a body follows, but on loopback it cost a seventh of the speed: after a first
        # segment that holds the head and a part of the body, Linux opens the window less, for the whole connection.
        self._unsent = memoryview(data)
        self._flush()

    def _flush(self) -> None:
        try:
            while self._unsent:
                count = self._socket.send(self._unsent)
                self._accepted += count
                self._unsent = self._unsent[count:]
        except BlockingIOError:
            return
        except OSError as exc:
            raise httpx.WriteError(str(exc)) from exc

    async def drain(self) -> None:
        """Wait until the system has accepted everything that was put."""
        while self._unsent:
            await self.writable()
            self._flush()

    def send_file(self, descriptor: int, offset: int, count: int) -> int | None:
        """Send up to ``count`` bytes of a file without copying them, and return how many were sent; 0 at its end.

        None means that this cannot be done, or that it failed for a reason that reading the file will show.

        Raises:
            BlockingIOError: the system accepts no more now.
        """
        if _SENDFILE is None:
            return None
        try:
            return _SENDFILE(self._socket.fileno(), descriptor, offset, min(count, SENDFILE))
        except BlockingIOError:
            raise
        except ConnectionError as exc:
            raise httpx.WriteError(str(exc)) from exc
        except OSError:
            return None

    def receive_now(self) -> bytes | None:
        """Received data; empty at the end of the stream; None when nothing has arrived."""
        try:
            return self._socket.recv(RECEIVE)
        except BlockingIOError:
            return None
        except OSError as exc:
            raise httpx.ReadError(str(exc)) from exc

    async def readable(self) -> None:
        """Wait until ``receive_now`` may return data."""
        try:
            await anyio.wait_readable(self._socket)
        except anyio.ClosedResourceError as exc:
            raise httpx.ReadError("the client closed the connection") from exc

    async def writable(self) -> None:
        """Wait until the system may accept more."""
        try:
            await anyio.wait_writable(self._socket)
        except anyio.ClosedResourceError as exc:
            raise httpx.WriteError("the client closed the connection") from exc

    def close(self) -> None:
        """Close the socket, and wake the tasks that wait for it."""
        if self._socket.fileno() >= 0:
            anyio.notify_closing(self._socket)
            self._socket.close()


class TLSStream(Stream):
    """TLS over a connected socket."""

    # How encrypted bytes are sent and received.
    _send_raw = Stream.put
    _receive_raw = Stream.receive_now

    def __init__(self, below: Stream, context: ssl.SSLContext, host: str) -> None:
        super().__init__(below._socket)
        self.address = below.address
        self._context = context
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    async def handshake(self, early: bytes = b"") -> None:
        """Do the handshake. ``early`` is what was received before it began.

        Raises:
            ssl.SSLError: TLS failed, or the certificate is not trusted.
            OSError, httpx.TransportError: the connection failed.
        """
        self._incoming.write(early)
        data: bytes | None = None
        while not self._shake():
            await self.drain()
            if data is None:  # else there may be more, which the socket of a nested stream cannot tell
                await self.readable()
            data = self._receive_raw()
            if data == b"":
                raise ConnectionResetError(errno.ECONNRESET, "the server closed the connection")
            context = self._context
            if data and data[0] == _HANDSHAKE and isinstance(context, Context) and context.lacks_authorities:
                await anyio.to_thread.run_sync(context.load_authorities)
            self._incoming.write(data or b"")
        await self.drain()

    def _shake(self) -> bool:
        """Continue the handshake with what was received; whether it is done."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        else:
            return True
        finally:
            with contextlib.suppress(httpx.WriteError):  # after a failure this is the alert that tells the peer why
                self._send_raw(self._outgoing.read())

    def put(self, data: bytes | memoryview) -> None:
        """Encrypt and send ``data``, and keep what the system does not accept now."""
        try:
            self._tls.write(data)
        except ssl.SSLError as exc:
            raise httpx.WriteError(str(exc)) from exc
        self._send_raw(self._outgoing.read())

    def send_file(self, descriptor: int, offset: int, count: int) -> int | None:
        """Return None: the bytes have to be encrypted."""
        return None

    def receive_now(self) -> bytes | None:
        """Received data, decrypted; empty at the end of the stream; None when nothing has arrived."""
        while True:
            try:
                with contextlib.suppress(ssl.SSLWantReadError):
                    return self._tls.read(RECEIVE)
            except ssl.SSLEOFError:
                return b""  # without close_notify; the length of the answer tells whether it is complete
            except ssl.SSLError as exc:
                raise httpx.ReadError(str(exc)) from exc
            data = self._receive_raw()
            if data is None:
                return None
            self._incoming.write(data) if data else self._incoming.write_eof()


class NestedTLSStream(TLSStream):
    """TLS inside the TLS connection to a proxy."""

    def __init__(self, below: Stream, context: ssl.SSLContext, host: str) -> None:
        super().__init__(below, context, host)
        self._below = below

    @property
    def unsent(self) -> int:
        """How many bytes of the last ``put`` the system has not accepted yet."""
        return self._below.unsent

    def begin(self) -> None:
        """Count from here what is sent. Everything before has been received."""
        self._below.begin()

    @property
    def untouched(self) -> bool:
        """Whether the system has accepted no byte since ``begin``."""
        return self._below.untouched

    @property
    def unreceived(self) -> bool:
        """Whether the other side has acknowledged no byte since ``begin``."""
        return self._below.unreceived

    async def drain(self) -> None:
        """Wait until the system has accepted everything that was put."""
        await self._below.drain()

    def _send_raw(self, data: bytes | memoryview) -> None:
        self._below.put(data)

    def _receive_raw(self) -> bytes | None:
        return self._below.receive_now()


async def connect(host: str, port: int, context: ssl.SSLContext | None, admit: Admit | None) -> Stream:
    """Connect to the first address of ``host`` that answers, with TLS when ``context`` is given.

    ``admit`` is called with the addresses of ``host``, and returns those that may be connected to, or raises.

    Raises:
        httpx.ConnectError: from the OSError or ssl.SSLError that says why.
    """
    try:
        addresses = await _resolve(host, port)
        if admit is not None:
            admitted = admit([one[1][0] for one in addresses])
            addresses = [one for one in addresses if one[1][0] in admitted]
        sock = await _connect_any(addresses)
    except OSError as exc:
        raise httpx.ConnectError(exc.strerror or str(exc)) from exc
    except ValueError as exc:  # not a host name
        raise httpx.ConnectError(str(exc)) from exc
    stream = Stream(sock)
    try:
        stream.address = sock.getpeername()[0]
    except OSError as exc:
        sock.close()
        raise httpx.ConnectError(str(exc)) from exc
    return stream if context is None else await start_tls(stream, context, host)


async def start_tls(below: Stream, context: ssl.SSLContext, host: str, early: bytes = b"") -> TLSStream:
    """Do a TLS handshake on an open stream, which is closed if it fails.

    ``early`` is what the other side sent before.

    Raises:
        httpx.ConnectError: from the OSError or ssl.SSLError that says why.
    """
    kind = NestedTLSStream if isinstance(below, TLSStream) else TLSStream
    try:
        stream = kind(below, context, host.rstrip("."))
        await stream.handshake(early)
    except (ssl.SSLError, ValueError) as exc:  # a ValueError: not a name that a certificate can contain
        below.close()
        raise httpx.ConnectError(str(exc)) from exc
    except OSError as exc:
        below.close()
        raise httpx.ConnectError(f"{exc.strerror} {DURING_HANDSHAKE}") from exc
    except httpx.TransportError as exc:
        below.close()
        raise httpx.ConnectError(f"{exc} {DURING_HANDSHAKE}") from exc.__cause__
    except BaseException:
        below.close()
        raise
    return stream


Address = tuple[socket.AddressFamily, Any]


async def _resolve(host: str, port: int) -> list[Address]:
    """The addresses of ``host``, IPv4 and IPv6 alternating."""
    try:
        literal = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        ours: list[Address] = [(entry[0], entry[4]) for entry in found]
    else:  # no worker thread is needed
        family = socket.AF_INET if literal.version == 4 else socket.AF_INET6
        numeric = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        ours = [(entry[0], entry[4]) for entry in numeric]
    first = [entry for entry in ours if entry[0] == ours[0][0]]
    other = [entry for entry in ours if entry[0] != ours[0][0]]
    turns: list[Address] = []
    while first or other:
        turns += first[:1] + other[:1]
        first, other = first[1:], other[1:]
    return turns


async def _connect_any(addresses: list[Address]) -> socket.socket:
    """Connect to one of ``addresses``. Each is tried once the one before has failed, or has not answered for a while."""
    if len(addresses) == 1:
        return await _connect_one(addresses[0])
    won: list[socket.socket] = []
    failures: list[OSError] = []

    async def attempt(address: Address, failed: anyio.Event) -> None:
        try:
            sock = await _connect_one(address)
        except OSError as exc:
            failures.append(exc)
            failed.set()
        else:
            won.append(sock)
            tasks.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as tasks:
            for address in addresses:
                failed = anyio.Event()
                tasks.start_soon(attempt, address, failed)
                with anyio.move_on_after(STAGGER):
                    await failed.wait()
    except BaseException:
        for sock in won:
            sock.close()
        raise
    for sock in won[1:]:
        sock.close()
    if not won:
        words = "; ".join(dict.fromkeys(exc.strerror or str(exc) for exc in failures))
        raise OSError(failures[0].errno, words) from ExceptionGroup("no address answered", failures)
    return won[0]


async def _connect_one(address: Address) -> socket.socket:
    sock = socket.socket(address[0], socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            sock.connect(address[1])
        except BlockingIOError:
            await anyio.wait_writable(sock)
            if failed := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(failed, os.strerror(failed)) from None
    except BaseException:
        sock.close()
        raise
    return sock
