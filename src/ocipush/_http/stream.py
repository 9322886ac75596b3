"""Connected sockets, plain and TLS, read and written without blocking and awaited through anyio.

asyncio's own transports drop what was received when a write fails; a socket of our own does not, so an answer that
comes before the body is done is never lost.
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

from .tls import Context

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Admit = Callable[[Sequence[str]], Sequence[str]]


RECEIVE: Final = 64 * 1024  # bytes taken from a socket at a time
SENDFILE: Final = 4 * 1024 * 1024  # bytes given to one sendfile call: a socket holds about as many, so that it fills up
STAGGER: Final = 0.25  # seconds until the next address of a host is tried beside the last (RFC 8305, 5)
_HANDSHAKE: Final = 22  # the first byte of a TLS record that shakes hands (RFC 8446, 5.1)
_SENDFILE: Final[Callable[[int, int, int, int], int] | None] = getattr(os, "sendfile", None)


class Stream:
    """A connected TCP socket. ``put`` and ``receive_now`` never wait; ``readable`` and ``writable`` do nothing else."""

    address = ""  # the other side's, once it is connected

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._unsent = memoryview(b"")

    @property
    def unsent(self) -> int:
        """How many of the bytes put here the system has not taken yet."""
        return len(self._unsent)

    def put(self, data: bytes | memoryview) -> None:
        """Send ``data``, and keep what the system does not take now."""
        # MSG_MORE would save a packet where a body follows, and on loopback cost a seventh of the speed: after a first
        # segment with the head and a part of the body in it, Linux opens the window less, for the whole connection.
        self._unsent = memoryview(data)
        self._flush()

    def _flush(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError as exc:
            raise httpx.WriteError(str(exc)) from exc

    async def drain(self) -> None:
        """Wait until the system has taken all that was put here."""
        while self._unsent:
            await self.writable()
            self._flush()

    def send_file(self, descriptor: int, offset: int, count: int) -> int | None:
        """Send up to ``count`` bytes of a file without copying them: how many went, 0 at its end.

        None where that cannot be done, or failed for a reason that may be the file's: read it, and see.

        Raises:
            BlockingIOError: the system takes no more now.
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
        """What has come; empty at the end of the stream; None when nothing has come."""
        try:
            return self._socket.recv(RECEIVE)
        except BlockingIOError:
            return None
        except OSError as exc:
            raise httpx.ReadError(str(exc)) from exc

    async def readable(self) -> None:
        """Wait until ``receive_now`` may have something."""
        try:
            await anyio.wait_readable(self._socket)
        except anyio.ClosedResourceError as exc:
            raise httpx.ReadError("the connection was closed here") from exc

    async def writable(self) -> None:
        """Wait until the system may take more."""
        try:
            await anyio.wait_writable(self._socket)
        except anyio.ClosedResourceError as exc:
            raise httpx.WriteError("the connection was closed here") from exc

    def close(self) -> None:
        """Close the socket; whoever waits for it is woken."""
        if self._socket.fileno() >= 0:
            anyio.notify_closing(self._socket)
            self._socket.close()


class TLSStream(Stream):
    """TLS over a connected socket."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        super().__init__(sock)
        self._context = context
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    async def handshake(self) -> None:
        """Shake hands.

        Raises:
            ssl.SSLError: TLS failed, or the certificate is not trusted.
            OSError, httpx.TransportError: the connection did.
        """
        while not self._shake():
            await self.drain()
            await self.readable()
            data = super().receive_now()
            if data == b"":
                raise ConnectionResetError(errno.ECONNRESET, "closed during the TLS handshake")
            context = self._context
            if data and data[0] == _HANDSHAKE and isinstance(context, Context) and context.lacks_authorities:
                await anyio.to_thread.run_sync(context.load_authorities)
            self._incoming.write(data or b"")
        await self.drain()

    def _shake(self) -> bool:
        """Go on with what has come; whether the handshake is done."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        else:
            return True
        finally:
            with contextlib.suppress(httpx.WriteError):  # on failure, the alert that tells the other side why
                super().put(self._outgoing.read())

    def put(self, data: bytes | memoryview) -> None:
        """Encrypt and send ``data``, and keep what the system does not take now."""
        try:
            self._tls.write(data)
        except ssl.SSLError as exc:
            raise httpx.WriteError(str(exc)) from exc
        super().put(self._outgoing.read())

    def send_file(self, descriptor: int, offset: int, count: int) -> int | None:
        """Nothing can be sent past the encryption."""
        return None

    def receive_now(self) -> bytes | None:
        """What has come, decrypted; empty at the end of the stream; None when nothing has come."""
        while True:
            try:
                with contextlib.suppress(ssl.SSLWantReadError):
                    return self._tls.read(RECEIVE)
            except ssl.SSLEOFError:
                return b""  # without a farewell; the answer's own length tells whether it is whole
            except ssl.SSLError as exc:
                raise httpx.ReadError(str(exc)) from exc
            data = super().receive_now()
            if data is None:
                return None
            self._incoming.write(data) if data else self._incoming.write_eof()


async def connect(host: str, port: int, context: ssl.SSLContext | None, admit: Admit | None) -> Stream:
    """Connect to the first address of ``host`` that answers, and shake hands when ``context`` is given.

    ``admit`` is given the addresses of ``host``, and says which of them may be connected to, or raises.

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
    except ValueError as exc:  # no host name
        raise httpx.ConnectError(str(exc)) from exc
    try:
        stream = Stream(sock) if context is None else TLSStream(sock, context, host.rstrip("."))
        stream.address = sock.getpeername()[0]
        if isinstance(stream, TLSStream):
            await stream.handshake()
    except (OSError, ValueError) as exc:  # a ValueError: no name that TLS could check
        sock.close()
        raise httpx.ConnectError(str(exc)) from exc
    except httpx.TransportError as exc:
        sock.close()
        raise httpx.ConnectError(str(exc)) from exc.__cause__
    except BaseException:
        sock.close()
        raise
    return stream


Address = tuple[socket.AddressFamily, Any]


async def _resolve(host: str, port: int) -> list[Address]:
    """The addresses of ``host``, the families taking turns."""
    try:
        literal = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        ours: list[Address] = [(entry[0], entry[4]) for entry in found]
    else:  # needs no worker thread
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
    """Connect to one of ``addresses``: each is tried when the last has failed, or has not answered for a while."""
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
