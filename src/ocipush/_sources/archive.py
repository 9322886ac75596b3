"""A tar archive, read in place: a ``Tree`` whose files are parts of one open file."""

from __future__ import annotations

import os
import stat
from functools import partial
from typing import TYPE_CHECKING, Final

from ..errors import BlobCorruptError, BlobMissingError, InvalidLayoutError
from .base import BlobFile
from .files import open_again, open_path, read_at, unreadable
from .tar import read_members

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# The first bytes of compressed files, and the command that decompresses them.
_COMPRESSED: Final = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"\xfd7zXZ\0": ("xz", "unxz"),
    b"BZh": ("bzip2", "bunzip2"),
}


class Archive:
    """An open tar archive. See ``Tree``.

    Each file is read from the archive as it was opened, even if another archive takes its place. If its bytes change, that
    is found out when the next file is opened.
    """

    def __init__(self, path: Path, descriptor: int, check_cancelled: Callable[[], None]) -> None:
        self.path = path
        self._descriptor = descriptor
        self._status = os.fstat(descriptor)
        self._members = read_members(
            partial(read_at, descriptor), self._status.st_size, where=str(path), check_cancelled=check_cancelled
        )

    @classmethod
    def open(cls, path: Path, check_cancelled: Callable[[], None] = lambda: None) -> Archive:
        """Open and index an archive, as :meth:`read` does."""
        try:
            descriptor = open_path(path)
        except OSError as exc:
            raise unreadable(InvalidLayoutError, f"{path} cannot be read", exc, path=str(path)) from exc
        return cls.read(path, descriptor, check_cancelled)

    @classmethod
    def read(cls, path: Path, descriptor: int, check_cancelled: Callable[[], None] = lambda: None) -> Archive:
        """Index an open archive. It closes the descriptor, at once if it raises. Blocking.

        Raises:
            InvalidLayoutError: it cannot be read in place, as for :func:`read_members`.
        """
        try:
            _check_readable(path, descriptor)
            return cls(path, descriptor, check_cancelled)
        except OSError as exc:
            os.close(descriptor)
            raise InvalidLayoutError(f"{path} cannot be read: {exc.strerror or exc}", path=str(path)) from exc
        except BaseException:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Close the archive. Files of it that are open stay open."""
        os.close(self._descriptor)

    def open_regular(self, name: str) -> BlobFile:
        """Open a file of the archive."""
        where = self.locate(name)
        self._check_unchanged(where)
        member = self._members.find(name)
        if member is None:
            cut_off = "" if self._members.is_complete else ", and the archive has no end marker: it may be cut off"
            raise BlobMissingError(f"{where} is not in the archive{cut_off}", path=where) from FileNotFoundError(name)
        if member.sparse:
            raise BlobMissingError(
                f"{where} is stored as a sparse file, which cannot be read in place",
                hint="write the archive again without the option --sparse of tar",
                path=where,
            )
        try:
            opened = open_again(self._descriptor, self.path)
        except OSError as exc:
            raise unreadable(BlobMissingError, f"{where} cannot be opened", exc, path=where) from exc
        return BlobFile(opened, size=member.size, offset=member.offset)

    def has(self, name: str) -> bool:
        """Whether there is an entry of this name."""
        return self._members.has(name)

    def locate(self, name: str) -> str:
        """How messages name a file of the archive."""
        return f"{self.path}: {name}"

    def _check_unchanged(self, where: str) -> None:
        now = os.fstat(self._descriptor)
        if (now.st_size, now.st_mtime_ns) != (self._status.st_size, self._status.st_mtime_ns):
            raise BlobCorruptError(
                f"{where}: the archive has changed since it was opened",
                hint="push it again when nothing writes to it",
                path=str(self.path),
            )


def _check_readable(path: Path, descriptor: int) -> None:
    """See that this is a regular file, and not a compressed one."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise InvalidLayoutError(
            f"{path} is neither a directory nor a regular file", hint="save the image as a file first", path=str(path)
        )
    first = read_at(descriptor, 8, 0)
    for mark, (name, command) in _COMPRESSED.items():
        if first.startswith(mark):
            raise InvalidLayoutError(
                f"{path} is compressed with {name}, so it cannot be read in place",
                hint=f"decompress it with `{command}` and push the tar archive",
                path=str(path),
            )
