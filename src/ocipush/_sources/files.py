"""Open files and directories below a directory, never through a symbolic link.

The one module that knows what the platform offers for this. Where files cannot be opened relative to an open directory
(Windows), they are opened by path after a check of each step. A link that is created after the check is followed there.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final, Self

from ..errors import LayoutError, OcipushError

if TYPE_CHECKING:
    from pathlib import Path

_NO_FOLLOW: Final[int] = getattr(os, "O_NOFOLLOW", 0)
_DIRECTORY: Final[int] = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
# O_NONBLOCK: opening a FIFO does not wait for its writer.
_FILE: Final[int] = os.O_RDONLY | _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_RELATIVE: Final = os.open in os.supports_dir_fd and _NO_FOLLOW != 0 and hasattr(os, "O_DIRECTORY")
_pread = getattr(os, "pread", None)
_MOUNT_POINT: Final = 0xA0000003  # the reparse tag of a Windows junction


class Directory:
    """An open directory. ``path`` is what it was opened as, for messages."""

    def __init__(self, path: Path, descriptor: int | None) -> None:
        self.path = path
        self._descriptor = descriptor  # None where the platform has none for directories

    @classmethod
    def open(cls, path: Path) -> Directory:
        """Open a directory by its path, which the caller trusts: symbolic links in it are followed."""
        if _RELATIVE:
            return cls(path, os.open(path, _DIRECTORY))
        if not stat.S_ISDIR(path.stat().st_mode):
            raise _error(errno.ENOTDIR)
        return cls(path, None)

    def close(self) -> None:
        """Close the directory."""
        if self._descriptor is not None:
            os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open_directory(self, name: str) -> Directory:
        """Open a direct child directory. Raises OSError: ELOOP for a symbolic link, ENOTDIR for a file."""
        path = self.path / name
        if self._descriptor is not None:
            return Directory(path, _open_directory(name, self._descriptor))
        if not stat.S_ISDIR(_status(path).st_mode):
            raise _error(errno.ENOTDIR)
        return Directory(path, None)

    def open_file(self, name: str) -> int:
        """Open ``name``, whose steps are parted by ``/``, and give its descriptor. Raises OSError like ``open_directory``."""
        if self._descriptor is not None:
            return _open_file(name, self._descriptor)
        path = self.path / name
        for step in reversed(path.parents[: name.count("/")]):
            _status(step)
        seen = _status(path)
        descriptor = os.open(path, _FILE)
        if not os.path.samestat(seen, os.fstat(descriptor)):
            os.close(descriptor)
            raise _error(errno.ELOOP)
        return descriptor

    def has(self, name: str) -> bool:
        """Whether there is an entry of this name, whatever it is."""
        try:
            if self._descriptor is None:
                os.lstat(self.path / name)
            else:
                os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except OSError:
            return False
        return True

    def list_directories(self) -> list[str]:
        """The names of the direct child directories, sorted by their bytes, without symbolic links."""
        here = self.path if self._descriptor is None or os.scandir not in os.supports_fd else self._descriptor
        with os.scandir(here) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        return sorted(names, key=os.fsencode)


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Up to ``size`` bytes of a file from ``offset`` on."""
    if _pread is not None:
        return bytes(_pread(descriptor, size, offset))
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, size)


def too_many_files(what: str, exc: OSError) -> OcipushError | None:
    """The error for a file that cannot be opened because too many are open; None for any other cause."""
    if exc.errno == errno.EMFILE:
        hint = "raise the limit with `ulimit -n`, or push fewer images at once"
        return OcipushError(f"{what}: too many open files", hint=hint)
    if exc.errno == errno.ENFILE:
        hint = "raise the limit of the system (on Linux fs.file-max), or close other programs"
        return OcipushError(f"{what}: too many open files in the whole system", hint=hint)
    return None


def unreadable(error: type[LayoutError], what: str, exc: OSError, *, path: str) -> OcipushError:
    """The error for a file or directory that cannot be opened, with the hint that fits the cause."""
    if (shortage := too_many_files(what, exc)) is not None:
        return shortage
    if exc.errno == errno.ELOOP:
        hint = "copy the image with `cp -rL`, which replaces links by the files they point to"
        return error(f"{what}: it is a symbolic link, which is not followed", hint=hint, path=path)
    reason = f"{what}: {exc.strerror or exc}"
    if isinstance(exc, PermissionError):
        return error(reason, hint="run as a user who may read it", path=path)
    return error(reason, path=path)


def _open_directory(name: str, parent: int) -> int:
    try:
        return os.open(name, _DIRECTORY | _NO_FOLLOW, dir_fd=parent)
    except NotADirectoryError:  # which Linux says of a link, too
        if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise _error(errno.ELOOP) from None
        raise


def _open_file(name: str, parent: int) -> int:
    """Open ``name`` step by step, so that no step of it is a link."""
    first, slash, rest = name.partition("/")
    if not slash:
        return os.open(name, _FILE, dir_fd=parent)
    below = _open_directory(first, parent)
    try:
        return _open_file(rest, below)
    finally:
        os.close(below)


def _status(path: Path) -> os.stat_result:
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode) or getattr(status, "st_reparse_tag", 0) == _MOUNT_POINT:
        raise _error(errno.ELOOP)
    return status


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
