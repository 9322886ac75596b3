"""Compress layers with gzip, on all cores, into temporary files.

The bytes depend on the content and the zlib alone, not on the number of cores.
"""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
import zlib
from functools import partial
from typing import Final

import anyio
import anyio.to_thread

from .base import BlobFile
from .files import read_at

LEVEL: Final = 6
BLOCK: Final = 1024 * 1024  # bytes compressed by one call
GZIP: Final = b"\x1f\x8b"
_WINDOW: Final = 32 * 1024  # bytes before a block that it can refer to
_HEADER: Final = GZIP + b"\x08\0\0\0\0\0\0\xff"  # deflate, no time, unknown system


class Spool:
    """A layer as it is compressed, in a file without a name that is gone once it is closed.

    Attributes:
        size: bytes so far.
        diff_id, digest: the digests of what was compressed, and of what became of it.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="ocipush-")  # noqa: SIM115 - closed by close()
        self._content = hashlib.sha256()
        self._compressed = hashlib.sha256()
        self._check = 0
        self._length = 0
        self.size = 0

    @property
    def diff_id(self) -> str:
        return f"sha256:{self._content.hexdigest()}"

    @property
    def digest(self) -> str:
        return f"sha256:{self._compressed.hexdigest()}"

    def open(self) -> BlobFile:
        """Open what was compressed."""
        return BlobFile(os.dup(self._file.fileno()), size=self.size)

    def close(self) -> None:
        """Close the file, which removes it."""
        self._file.close()

    async def fill(self, layer: BlobFile) -> None:
        """Compress a layer. Raises OSError or EOFError if it cannot be read, or there is no space."""
        cores = os.cpu_count() or 1
        count = max(1, -(-layer.size // BLOCK))
        done: list[tuple[bytes, bytes]] = []
        await anyio.to_thread.run_sync(self._put, _HEADER)
        for first in range(0, count, cores):
            done = await self._advance(layer, range(first, min(first + cores, count)), done, last=count - 1)
        await anyio.to_thread.run_sync(self._take, done)
        await anyio.to_thread.run_sync(self._put, struct.pack("<II", self._check, self._length & 0xFFFFFFFF))
        await anyio.to_thread.run_sync(self._file.flush)

    async def _advance(
        self, layer: BlobFile, numbers: range, done: list[tuple[bytes, bytes]], *, last: int
    ) -> list[tuple[bytes, bytes]]:
        """Compress one block on each core, and write those that are done meanwhile."""
        blocks: dict[int, tuple[bytes, bytes]] = {}

        async def one(number: int) -> None:
            blocks[number] = await anyio.to_thread.run_sync(partial(_compress, layer, number, is_last=number == last))

        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.to_thread.run_sync, self._take, done)
                for number in numbers:
                    tasks.start_soon(one, number)
        except ExceptionGroup as exc:
            raise exc.exceptions[0] from None
        return [blocks[number] for number in numbers]

    def _take(self, blocks: list[tuple[bytes, bytes]]) -> None:
        for raw, compressed in blocks:
            self._content.update(raw)
            self._check = zlib.crc32(raw, self._check)
            self._length += len(raw)
            self._put(compressed)

    def _put(self, piece: bytes) -> None:
        self._compressed.update(piece)
        self.size += len(piece)
        self._file.write(piece)


def _compress(layer: BlobFile, number: int, *, is_last: bool) -> tuple[bytes, bytes]:
    """One block of a layer, and what becomes of it."""
    start = number * BLOCK
    before = min(_WINDOW, start)
    wanted = before + min(BLOCK, layer.size - start)
    read = read_at(layer.descriptor, wanted, layer.offset + start - before)
    if len(read) < wanted:
        raise EOFError("the file has become shorter")
    raw = read[before:]
    known = {"zdict": read[:before]} if before else {}
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, **known)  # type: ignore[arg-type]
    return raw, packer.compress(raw) + packer.flush(zlib.Z_FINISH if is_last else zlib.Z_SYNC_FLUSH)


class Unpacking:
    """The digests of a layer that is compressed already, and of its content; read in steps."""

    def __init__(self, layer: BlobFile) -> None:
        self._layer = layer
        self._position = 0
        self._content = hashlib.sha256()
        self._compressed = hashlib.sha256()
        self._unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)

    @property
    def diff_id(self) -> str:
        return f"sha256:{self._content.hexdigest()}"

    @property
    def digest(self) -> str:
        return f"sha256:{self._compressed.hexdigest()}"

    def advance(self) -> bool:
        """Read one piece, of which each byte can become a thousand; whether it was the last.

        Raises:
            zlib.error, EOFError: the layer is damaged.
        """
        wanted = min(BLOCK // 16, self._layer.size - self._position)
        piece = read_at(self._layer.descriptor, wanted, self._layer.offset + self._position)
        if len(piece) < wanted:
            raise EOFError("the file has become shorter")
        self._position += wanted
        self._compressed.update(piece)
        while piece:
            if self._unpacker.eof:
                if not piece.strip(b"\0"):
                    break  # padding
                self._unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)  # the next member of the file
            self._content.update(self._unpacker.decompress(piece, BLOCK))
            piece = self._unpacker.unconsumed_tail or self._unpacker.unused_data
        while not self._unpacker.eof and (more := self._unpacker.decompress(b"", BLOCK)):
            self._content.update(more)
        is_end = self._position >= self._layer.size
        if is_end and not self._unpacker.eof:
            raise EOFError("the compressed layer is cut off")
        return is_end
