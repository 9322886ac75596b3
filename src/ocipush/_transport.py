"""Request bodies that can be sent more than once: file slices and bytes.

May import: anyio, httpx.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

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

    async def __aiter__(self) -> AsyncIterator[bytes]:
        position, end = self.offset, self.offset + self.length
        while position < end:
            piece = await anyio.to_thread.run_sync(os.pread, self.descriptor, min(SLICE, end - position), position)
            if not piece:
                raise EOFError(f"the file ends {end - position} bytes early")
            yield piece
            position += len(piece)
            if self.on_sent is not None:
                self.on_sent(len(piece))
