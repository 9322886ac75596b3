"""Request bodies that can be sent more than once: slices of files."""

from __future__ import annotations

import errno
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio.lowlevel
import httpx

from .._threads import check_cancelled, run_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable


SLICE: Final = 256 * 1024  # bytes read, and encrypted, at a time
MOUNTS: Final = Path("/proc/self/mountinfo")
_SAMPLE: Final = 1024 * 1024  # bytes between two looks at whether a file is in memory
_NOWAIT: Final = getattr(os, "RWF_NOWAIT", None)  # Linux: read what is in memory, and do not wait for the disk


class FileBody(httpx.AsyncByteStream):
    """``length`` bytes of an open file from ``offset`` on. Each iteration reads them again, never all at once.

    Args:
        descriptor: the file's descriptor, which the caller keeps open; its file position is not used.
        on_sent: called with the number of bytes that were given to the network since the last call.
    """

    def __init__(
        self, descriptor: int, *, offset: int = 0, length: int, on_sent: Callable[[int], None] | None = None
    ) -> None:
        self.descriptor = descriptor
        self.offset = offset
        self.length = length
        self.on_sent = on_sent
        self._flags: int | None = _NOWAIT  # of a read that does not wait; None if there is none

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Copies(self)

    async def pieces(self, start: int) -> AsyncGenerator[memoryview]:
        """The bytes from ``start`` on, in slices. Asking for the next one counts the last as sent, and overwrites it."""
        space = memoryview(bytearray(min(SLICE, self.length - start)))
        while start < self.length:
            count = await self.read_into(space[: self.length - start], start)
            yield space[:count]
            start += count
            self.sent(count)

    async def read_into(self, space: memoryview, start: int) -> int:
        """Read the bytes from ``start`` on into ``space``; how many there are."""
        if count := self._read_now(space, start):
            await anyio.lowlevel.checkpoint()  # other tasks can run
            return count
        return await run_in_thread(self._read_all, space, start)

    def is_in_memory(self, start: int, size: int) -> bool:
        """Whether ``size`` bytes from ``start`` on can be sent without waiting for a disk. True if the system cannot tell.

        It looks at samples: what is read from a disk comes in larger pieces.
        """
        if _NOWAIT is None or self._flags == 0:
            return True
        space = memoryview(bytearray(1))
        for sample in range(start, start + size, _SAMPLE):
            if not self._read_now(space, sample):
                return False
        return self._read_now(space, start + size - 1) > 0

    @property
    def waits_for_disk(self) -> bool:
        """Whether nobody can tell what of the file is in memory, as on FUSE and NFS, so that only threads may read it."""
        return _NOWAIT is not None and self._flags is None

    async def load(self, start: int, size: int) -> None:
        """Have a thread read these bytes, so that they are in memory."""
        await run_in_thread(self._load, start, size)

    def _load(self, start: int, size: int) -> None:
        space = memoryview(bytearray(min(SLICE, size)))
        for position in range(start, start + size, SLICE):
            check_cancelled()
            _read_at(self.descriptor, space[: start + size - position], self.offset + position)

    def _read_now(self, space: memoryview, start: int) -> int:
        """Read the part of the next slice that is in memory; 0 if a worker thread has to wait for it, or find its end.

        A worker thread costs as much as encrypting half a slice, and most files that are pushed were just written.
        """
        if self._flags is None or not hasattr(os, "preadv"):
            return 0
        try:
            count: int = os.preadv(self.descriptor, [space], self.offset + start, self._flags)
        except OSError as exc:
            if exc.errno != errno.EOPNOTSUPP or not self._flags:
                return 0
            self._flags = 0 if _is_in_memory(os.fstat(self.descriptor).st_dev) else None
            return self._read_now(space, start)
        return count

    def _read_all(self, space: memoryview, start: int) -> int:
        count = _read_at(self.descriptor, space, self.offset + start)
        if count < len(space):
            raise self.too_short(start + count)
        return count

    async def read_whole(self) -> bytes:
        """All bytes of a small body.

        Raises:
            EOFError: the file is shorter than that.
        """
        if self.is_in_memory(0, self.length):
            return self.read(0, self.length)
        return await run_in_thread(self.read, 0, self.length)

    def read(self, start: int, size: int) -> bytes:
        """``size`` bytes from ``start`` on, or what is left of the body.

        Raises:
            EOFError: the file is shorter than that.
        """
        wanted = min(size, self.length - start)
        piece = _pread(self.descriptor, wanted, self.offset + start)
        if len(piece) < wanted:
            raise self.too_short(start + len(piece))
        return piece

    def too_short(self, end: int) -> EOFError:
        """The error for a file that ends after ``end`` bytes of the body."""
        return EOFError(f"the file ends {self.length - end} bytes early")

    def sent(self, count: int) -> None:
        """Report that ``count`` more bytes were given to the network."""
        if self.on_sent is not None:
            self.on_sent(count)


class _Copies:
    """Iterates over a body for a transport that is not ours.

    It is not a generator: httpcore leaves it where a write fails, and does not close it.
    """

    def __init__(self, body: FileBody) -> None:
        self._body = body
        self._start = self._count = 0

    def __aiter__(self) -> _Copies:
        return self

    async def __anext__(self) -> bytes:
        body = self._body
        if self._count:
            body.sent(self._count)
            self._start, self._count = self._start + self._count, 0
        if self._start == body.length:
            raise StopAsyncIteration
        space = memoryview(bytearray(min(SLICE, body.length - self._start)))
        self._count = await body.read_into(space, self._start)
        return bytes(space[: self._count])


def _read_at(descriptor: int, space: memoryview, offset: int) -> int:
    """Fill ``space`` from ``offset`` of a file; how many bytes were read, fewer only at its end."""
    if hasattr(os, "preadv"):
        count: int = os.preadv(descriptor, [space], offset)
        return count
    piece = _pread(descriptor, len(space), offset)
    space[: len(piece)] = piece
    return len(piece)


def _pread(descriptor: int, size: int, offset: int) -> bytes:
    """Read from ``offset`` of a file. A system without ``pread``, such as Windows, moves the file position."""
    if hasattr(os, "pread"):
        piece: bytes = os.pread(descriptor, size, offset)
        return piece
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, size)


@lru_cache(maxsize=16)
def _is_in_memory(device: int) -> bool:
    """Whether a file system is a tmpfs, which does not support RWF_NOWAIT and has no disk to wait for."""
    if sys.platform == "win32":
        return False
    number = f" {os.major(device)}:{os.minor(device)} "
    try:
        mounts = MOUNTS.read_text(errors="replace")
    except OSError:
        return False
    return any(number in line and " - tmpfs " in line for line in mounts.splitlines())
