"""One HTTP/1.1 connection: h11 over a stream. The answer is read as soon as it arrives, even while the body is being sent."""

from __future__ import annotations

import re
import ssl
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, cast

import anyio
import h11
import httpx

from .body import FileBody
from .stream import SENDFILE

if TYPE_CHECKING:
    from .stream import Stream

SMALL: Final = 128 * 1024  # a file up to this size is sent in one write with the request's head
MAX_HEAD: Final = 64 * 1024  # bytes of an answer's head
MAX_INTERIM: Final = 100  # 1xx answers before the final one


def without_header(words: str) -> str:
    """h11's words without the header they quote, which could be the signed Location of an upload."""
    return re.sub(r"(header (?:line|name|value)):? .*", r"\1", words, flags=re.DOTALL)


class _Unread:
    """Takes the place of a file's bytes in h11, which only counts them."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length


class Connection:
    """One exchange after another. It must be closed after any exception, or if an answer is not read to its end.

    Attributes:
        idle_since: when it was last put away; set by the transport.
        has_sent: after a failed exchange, whether the other side can have got any byte of the request.
        may_repeat: after a failed exchange, whether no byte of an answer arrived, and no part of a file that is too
            large for the first write was sent.
        latency: seconds from the request to its answer, if the first write took the whole request, else None.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._head: h11.Response | None = None
        self._interim = 0
        self._broken: httpx.TransportError | None = None
        self.has_sent = False
        self.may_repeat = True
        self.latency: float | None = None
        self.idle_since = 0.0

    @property
    def address(self) -> str:
        """The other side's address."""
        return self._stream.address

    async def exchange(self, request: h11.Request, body: bytes | FileBody) -> h11.Response:
        """Send a request and read the head of its answer.

        Raises:
            httpx.TransportError: the connection failed, or the other side does not use HTTP.
            OSError, EOFError: the file could not be read.
        """
        self._head, self._interim, self._broken, self.latency = None, 0, None, None
        self.has_sent, self.may_repeat = False, True
        content: bytes | FileBody = body
        if isinstance(body, FileBody) and body.length <= SMALL:
            content = await body.read_whole()
        self._stream.begin()
        first, rest = self._start(request, content)
        try:
            self._stream.put(first)
        except httpx.WriteError as exc:
            self.has_sent = not self._stream.untouched
            return self._answer_despite(exc)
        self.has_sent = True
        sent = None if rest is not None or self._stream.unsent else anyio.current_time()
        if sent is None:
            await self._send_watched(rest)
        if rest is None and isinstance(body, FileBody):
            body.sent(body.length)
        while (answer := self._take_head()) is None:
            await self._stream.readable()
        if sent is not None:
            self.latency = anyio.current_time() - sent
        return answer

    def _start(self, request: h11.Request, body: bytes | FileBody) -> tuple[bytes, FileBody | None]:
        """The bytes of the first write, and the file that is sent after it."""
        try:
            head = self._http.send(request) or b""
            if isinstance(body, FileBody):
                return head, body
            content = self._http.send(h11.Data(data=body)) if body else b""
            return b"".join((head, content or b"", self._http.send(h11.EndOfMessage()) or b"")), None
        except h11.LocalProtocolError as exc:
            raise httpx.LocalProtocolError(str(exc)) from exc

    async def _send_watched(self, file: FileBody | None) -> None:
        """Send the rest of the request while watching for the answer, which ends the sending."""
        error: BaseException | None = None
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, tasks.cancel_scope)
                try:
                    await self._stream.drain()
                    if file is not None:
                        await self._send_file(file)
                except httpx.WriteError as exc:
                    self._broken = self._broken or exc
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            error = _sole(group)
        if error is not None:
            raise error  # outside the handler, so that it keeps its own context
        if self._broken is not None:
            self._answer_despite(self._broken)

    async def _watch(self, sending: anyio.CancelScope) -> None:
        try:
            while self._take_head() is None:
                await self._stream.readable()
        except httpx.TransportError as exc:
            self._broken = self._broken or exc  # the first failure is the cause
        sending.cancel()

    def _answer_despite(self, failure: httpx.TransportError) -> h11.Response:
        """The answer that arrived before the connection broke; raise ``failure`` if there is none."""
        try:
            if (answer := self._take_head()) is not None:
                return answer
        except httpx.TransportError as exc:
            if isinstance(exc.__cause__, ssl.SSLError):  # a TLS alert, which says why the other side closed
                failure = exc
        raise failure

    async def _send_file(self, body: FileBody) -> None:
        content = cast("bytes", _Unread(body.length))
        parts: list[bytes | _Unread] = list(self._http.send_with_data_passthrough(h11.Data(data=content)) or ())
        for part in parts:
            if isinstance(part, _Unread):
                await self._send_copied(body, await self._send_uncopied(body))
            else:
                self._stream.put(part)
                await self._stream.drain()
        self._stream.put(self._http.send(h11.EndOfMessage()) or b"")
        await self._stream.drain()

    async def _send_uncopied(self, body: FileBody) -> int:
        """Have the system send the file; how many bytes it sent before it could not, or all of them."""
        position = ready = 0
        while position < body.length:
            if ready < (end := min(position + SENDFILE, body.length)):
                if not body.is_in_memory(ready, end - ready):
                    if body.waits_for_disk:
                        break
                    await body.load(ready, end - ready)
                ready = end
            try:
                count = self._stream.send_file(body.descriptor, body.offset + position, ready - position)
            except BlockingIOError:
                await self._stream.writable()
                continue
            if count is None:
                break
            if count == 0:
                raise body.too_short(position)
            self.may_repeat = False
            position += count
            body.sent(count)
            if position < body.length:  # after the last byte, the answer may arrive before any wait ends
                await self._stream.writable()
        return position

    async def _send_copied(self, body: FileBody, position: int) -> None:
        async with aclosing(body.pieces(position)) as pieces:
            async for piece in pieces:
                self.may_repeat = False
                self._stream.put(piece)
                await self._stream.drain()

    def _take_head(self) -> h11.Response | None:
        """Read what has arrived; the head of the final answer, once it is complete."""
        while self._head is None and (event := self._event()) is not None:
            if isinstance(event, h11.Response):
                self._head = event
            else:
                self._interim += 1
            if self._interim > MAX_INTERIM:
                raise httpx.RemoteProtocolError("the server sends interim responses without end")
        return self._head

    def read_now(self) -> bytes | None:
        """The part of the answer's body that has arrived; empty at its end; None when nothing has arrived."""
        event = self._event()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        return b"" if isinstance(event, h11.EndOfMessage) else None

    async def read(self) -> bytes:
        """The next piece of the answer's body; empty at its end."""
        while (piece := self.read_now()) is None:
            await self._stream.readable()
        return piece

    def _event(self) -> h11.Event | None:
        """The next event; None when more data has to arrive first."""
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as exc:
                raise httpx.RemoteProtocolError(without_header(str(exc))) from None
            if isinstance(event, h11.Event):
                return event
            data = self._stream.receive_now()
            if data is None:
                return None
            if data:
                self.may_repeat = False
            elif self._head is None:
                if self.may_repeat and self._stream.unreceived:  # it was closed before the request arrived
                    self.has_sent = False
                raise httpx.RemoteProtocolError("the server closed the connection without an answer")
            self._http.receive_data(data)

    def start_over(self) -> bool:
        """Prepare the next exchange; False when there cannot be one."""
        http = self._http
        if http.our_state is not h11.DONE or http.their_state is not h11.DONE or any(http.trailing_data):
            return False
        http.start_next_cycle()
        return True

    def is_alive(self) -> bool:
        """Whether an idle connection is still open, and nothing unexpected has arrived on it."""
        try:
            return self._stream.receive_now() is None
        except httpx.ReadError:
            return False

    def close(self) -> None:
        """Close the socket, and wake the tasks that wait for it."""
        self._stream.close()


def _sole(group: BaseExceptionGroup) -> BaseException:
    """The error of the one task that can fail, without the cancellations beside it."""
    own = group.subgroup(lambda exc: not isinstance(exc, anyio.get_cancelled_exc_class()))
    error: BaseException = own or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
