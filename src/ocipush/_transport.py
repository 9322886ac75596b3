"""Request bodies that can be sent more than once: file slices and bytes.

May import: anyio, httpx.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

import anyio.to_thread
import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SLICE = 256 * 1024  # bytes read and sent at a time; larger slices measured no faster


class FileBody(httpx.AsyncByteStream):
    """``length`` bytes of an open file from ``offset`` on, read anew by each iteration, never whole in memory.

    Args:
        descriptor: the file's descriptor, which the caller keeps open; its file position is not used.
        on_sent: called with the number of bytes that were handed to the network since the last call.
    """

    def __init__(
        self, descriptor: int, *, offset: int = 0, length: int, on_sent: Callable[[int], None] | None = None
    ) -> None:
        self.descriptor = descriptor
        self.offset = offset
        self.length = length
        self.on_sent = on_sent

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Pieces(self)


class _Pieces:
    """One way through a body. No generator: one that a cancelled request leaves behind would have to be closed."""

    def __init__(self, body: FileBody) -> None:
        self._body = body
        self._position = body.offset
        self._given = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        body, left = self._body, self._body.offset + self._body.length - self._position
        if self._given and body.on_sent is not None:
            body.on_sent(self._given)
        if not left:
            raise StopAsyncIteration
        piece = await anyio.to_thread.run_sync(os.pread, body.descriptor, min(SLICE, left), self._position)
        if not piece:
            raise EOFError(f"the file ends {left} bytes early")
        self._given = len(piece)
        self._position += len(piece)
        return piece
