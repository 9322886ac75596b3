"""Request bodies that can be sent more than once: slices of files.

May import: anyio, httpx.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import anyio.lowlevel
import anyio.to_thread
import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

SLICE: Final = 512 * 1024  # bytes read at a time
_NOWAIT: Final = getattr(os, "RWF_NOWAIT", None)  # Linux: read what is in memory, and do not wait for the disk


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
        return self.pieces(0)

    async def pieces(self, start: int) -> AsyncGenerator[bytes]:
        """The bytes from ``start`` on, in slices; each counts as sent when the next is asked for."""
        while start < self.length:
            piece = self._read_now(start)
            if piece:
                await anyio.lowlevel.checkpoint()  # the others have their turn too
            else:
                piece = await anyio.to_thread.run_sync(self.read, start, SLICE)
            yield piece
            start += len(piece)
            self.sent(len(piece))

    def _read_now(self, start: int) -> bytes:
        """What is in memory of the next slice; nothing where only a worker thread may wait for it, or find its end.

        To ask one takes as long as to encrypt half a slice, and most of what is pushed was written or verified just now.
        """
        if _NOWAIT is None:
            return b""
        space = bytearray(min(SLICE, self.length - start))
        try:
            count = os.preadv(self.descriptor, [space], self.offset + start, _NOWAIT)
        except OSError:
            return b""
        return bytes(space) if count == len(space) else bytes(space[:count])

    def read(self, start: int, size: int) -> bytes:
        """``size`` bytes from ``start`` on, or what is left of the body.

        Raises:
            EOFError: the file is shorter than that.
        """
        wanted = min(size, self.length - start)
        piece = os.pread(self.descriptor, wanted, self.offset + start)
        if len(piece) < wanted:
            raise self.too_short(start + len(piece))
        return piece

    def too_short(self, end: int) -> EOFError:
        """The error for a file that ends after ``end`` bytes of the body."""
        return EOFError(f"the file ends {self.length - end} bytes early")

    def sent(self, count: int) -> None:
        """Report ``count`` more bytes as handed to the network."""
        if self.on_sent is not None:
            self.on_sent(count)
