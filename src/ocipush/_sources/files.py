"""Open files and directories below a directory, never through a symbolic link that leads out of it.

The one module that knows what the platform offers for this. Where files cannot be opened relative to an open directory
(Windows), they are opened by path after a check of each step. A link that is created after the check is followed there.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from typing import TYPE_CHECKING, Final, Self

from ..errors import BlobMissingError, LayoutError, OcipushError
from .base import BlobFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

_NO_FOLLOW: Final[int] = getattr(os, "O_NOFOLLOW", 0)
_DIRECTORY: Final[int] = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
# O_NONBLOCK: opening a FIFO does not wait for its writer.
_FILE: Final[int] = os.O_RDONLY | _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_RELATIVE: Final = os.open in os.supports_dir_fd and _NO_FOLLOW != 0 and hasattr(os, "O_DIRECTORY")
_pread = getattr(os, "pread", None)
_MAX_LINKS: Final = 40  # followed for one name, as many as Linux follows
_READING: Final = threading.Lock()
_MOUNT_POINT: Final = 0xA0000003  # the reparse tag of a Windows junction


class Directory:
    """An open directory. ``path`` is what it was opened as, for messages.

    Links to files in it are followed, step by step, as long as they stay in it, or in the directory that it was opened
    from. With ``follow_links`` others are followed too.
    """

    def __init__(
        self, path: Path, descriptor: int | None, *, outer: int | None = None, follow_links: bool = False
    ) -> None:
        self.path = path
        self._descriptor = descriptor  # None where the platform has none for directories
        self._outer = outer  # of the directory that this one was opened from
        self._follow_links = follow_links

    @classmethod
    def open(cls, path: Path, *, follow_links: bool = False) -> Directory:
        """Open a directory by its path, which the caller trusts: symbolic links in it are followed."""
        if _RELATIVE:
            return cls(path, os.open(path, _DIRECTORY), follow_links=follow_links)
        if not stat.S_ISDIR(path.stat().st_mode):
            raise _error(errno.ENOTDIR)
        return cls(path, None, follow_links=follow_links)

    def close(self) -> None:
        """Close the directory."""
        for descriptor in (self._descriptor, self._outer):
            if descriptor is not None:
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open_directory(self, name: str) -> Directory:
        """Open a direct child directory. Raises OSError: ELOOP for a symbolic link, ENOTDIR for a file."""
        path = self.path / name
        if self._descriptor is not None:
            opened = _open_directory(name, self._descriptor)
            try:
                outer = os.dup(self._descriptor)
            except OSError:
                os.close(opened)
                raise
            return Directory(path, opened, outer=outer, follow_links=self._follow_links)
        if not stat.S_ISDIR(_status(path).st_mode):
            raise _error(errno.ENOTDIR)
        return Directory(path, None, follow_links=self._follow_links)

    def open_file(self, name: str) -> int:
        """Open ``name``, whose steps are parted by ``/``, and give its descriptor.

        Raises OSError like ``open_directory``, and EXDEV for a link that leads out of the directory.
        """
        if self._descriptor is not None:
            try:
                return _open_file(name, self._descriptor)
            except OSError as exc:
                if exc.errno != errno.ELOOP:
                    raise
            return _open_linked(name, self._descriptor, self._outer)
        path = self.path / name
        for step in reversed(path.parents[: name.count("/")]):
            _status(step)
        seen = _status(path)
        descriptor = os.open(path, _FILE)
        if not os.path.samestat(seen, os.fstat(descriptor)):
            os.close(descriptor)
            raise _error(errno.ELOOP)
        return descriptor

    def open_regular(self, name: str) -> BlobFile:
        """Open a regular file below the directory.

        Raises:
            BlobMissingError: it cannot be opened, or is not a regular file.
        """
        where, is_outside = self.locate(name), False
        try:
            try:
                descriptor = self.open_file(name)
            except OSError as exc:
                if exc.errno not in {errno.EXDEV, errno.ELOOP} or not self._follow_links:
                    raise
                descriptor, is_outside = open_path(self.path / name, self._descriptor, name), True
        except OSError as exc:
            raise unreadable(BlobMissingError, f"{where} cannot be opened", exc, path=where) from exc
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise BlobMissingError(f"{where} is not a regular file", path=where)
        return BlobFile(descriptor, size=status.st_size, is_outside=is_outside)

    def locate(self, name: str) -> str:
        """The path of a file, for messages."""
        return str(self.path / name)

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
        with self._scan() as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        return sorted(names, key=os.fsencode)

    def list_files(self, suffix: str) -> list[str]:
        """The names of the direct child files that end with ``suffix``, sorted by their bytes, without symbolic links."""
        with self._scan() as entries:
            named = [entry for entry in entries if entry.name.endswith(suffix)]
            names = [entry.name for entry in named if entry.is_file(follow_symlinks=False)]
        return sorted(names, key=os.fsencode)

    def _scan(self) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        here = self.path if self._descriptor is None or os.scandir not in os.supports_fd else self._descriptor
        return os.scandir(here)


def open_path(path: Path, directory: int | None = None, name: str = "") -> int:
    """Open a file by its path, which the caller trusts: symbolic links in it are followed. Give its descriptor.

    If there is a descriptor of the ``directory``, the file is the one of this ``name`` below it.
    """
    if directory is not None:
        return os.open(name, _FILE & ~_NO_FOLLOW, dir_fd=directory)
    return os.open(path, _FILE & ~_NO_FOLLOW)


def open_again(descriptor: int, path: Path) -> int:
    """Another descriptor of an open file. Without ``pread`` it has a position of its own: the file is opened again.

    Raises OSError: ESTALE if another file is at ``path`` then.
    """
    if _pread is not None:
        return os.dup(descriptor)
    opened = open_path(path)
    if not os.path.samestat(os.fstat(opened), os.fstat(descriptor)):
        os.close(opened)
        raise _error(errno.ESTALE)
    return opened


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Up to ``size`` bytes of a file from ``offset`` on."""
    if _pread is not None:
        return bytes(_pread(descriptor, size, offset))
    with _READING:  # other threads move the same position
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
    if exc.errno == errno.EXDEV:
        hint = "follow_links=True follows it, and `cp -rL` copies what it leads to"
        return error(f"{what}: it is a symbolic link that leads out, which is not followed", hint=hint, path=path)
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


def _open_linked(name: str, parent: int, outer: int | None) -> int:
    """Open ``name`` below ``parent``, following links that stay below it, or below the ``outer`` directory around it."""
    top = parent if outer is None else outer
    opened = [] if outer is None else [os.dup(parent)]  # the directories on the way from the top to here
    steps, links = name.split("/")[::-1], 0
    try:
        while steps:
            step, here = steps.pop(), opened[-1] if opened else top
            if step in {"", "."}:
                continue
            if step == "..":
                if not opened:
                    raise _error(errno.EXDEV)
                os.close(opened.pop())
            elif (target := _link_target(step, here)) is not None:
                links += 1
                if links > _MAX_LINKS:
                    raise _error(errno.ELOOP)
                if target.startswith("/"):
                    raise _error(errno.EXDEV)
                steps += target.split("/")[::-1]
            elif steps:
                opened.append(_open_directory(step, here))
            else:
                return os.open(step, _FILE, dir_fd=here)
        raise _error(errno.EISDIR)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _link_target(name: str, parent: int) -> str | None:
    """Where a link leads; None if it is none."""
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            raise
        return None


def _status(path: Path) -> os.stat_result:
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode) or getattr(status, "st_reparse_tag", 0) == _MOUNT_POINT:
        raise _error(errno.ELOOP)
    return status


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
