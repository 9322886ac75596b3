"""Hash blobs, to find out whether their content matches their digests."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Final

from .._threads import run_in_thread
from ..errors import BlobCorruptError
from .files import read_at

if TYPE_CHECKING:
    from .._oci.descriptor import Descriptor
    from .._oci.document import Contents
    from .base import BlobFile, Source

_SLICE: Final = 0.05  # seconds of hashing between two chances to cancel
_PIECE: Final = 1024 * 1024  # bytes of one read


async def verify_blobs(source: Source, contents: Contents, *, include_foreign: bool = False) -> None:
    """Hash every blob that will be sent.

    Raises:
        BlobCorruptError: the first blob whose content does not match its digest, or cannot be read.
        BlobMissingError: a blob is not there.
    """
    for blob in contents.blobs:
        if (include_foreign or not blob.is_foreign) and await is_corrupt(source, blob):
            where = source.locate(blob)
            raise BlobCorruptError(f"{where}: the content does not match its digest", path=where)


async def is_corrupt(source: Source, blob: Descriptor) -> bool:
    """Whether the size or the content of a blob does not match its descriptor. Hashes it.

    Raises:
        BlobCorruptError: it cannot be read.
        BlobMissingError: it is not there.
    """
    try:
        opened = await source.open_blob(blob)
    except BlobCorruptError:
        return True
    if isinstance(opened, bytes):
        return not blob.matches(opened)
    async with opened:
        return not await has_digest(opened, blob, where=source.locate(blob))


async def has_digest(opened: BlobFile, blob: Descriptor, *, where: str) -> bool:
    """Whether the content of an open blob has the digest of its descriptor. Hashes it.

    Raises:
        BlobCorruptError: it cannot be read.
    """
    hashing = _Hashing(opened, blob.digest.algorithm)
    try:
        while not await run_in_thread(hashing.advance):
            pass
    except OSError as exc:
        raise BlobCorruptError(f"{where} cannot be read: {exc.strerror or exc}", hint=None, path=where) from exc
    return hashing.hexdigest() == blob.digest.encoded


class _Hashing:
    """The hash of a blob, computed in slices of time, because a thread cannot be interrupted."""

    def __init__(self, blob: BlobFile, algorithm: str) -> None:
        self._descriptor = blob.descriptor
        self._offset = blob.offset
        self._end = blob.offset + blob.size
        self._hash = hashlib.new(algorithm)

    def advance(self) -> bool:
        """Hash for a while; whether the end of the blob, or of its file, has been reached."""
        until = time.monotonic() + _SLICE
        while self._offset < self._end:
            piece = read_at(self._descriptor, min(_PIECE, self._end - self._offset), self._offset)
            if not piece:
                return True
            self._hash.update(piece)
            self._offset += len(piece)
            if time.monotonic() >= until:
                break
        return self._offset >= self._end

    def hexdigest(self) -> str:
        return self._hash.hexdigest()
