"""One OCI image layout on disk: open it, read its documents, open its blobs."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from .._oci.document import MAX_MANIFEST_SIZE, Index, parse_document
from .._oci.json import parse_json_object
from ..errors import BlobCorruptError, BlobMissingError, InvalidLayoutError, OcipushError
from .base import BlobFile
from .files import Directory, unreadable
from .select import select_descriptor
from .threads import open_in_thread

if TYPE_CHECKING:
    from .._oci.descriptor import Descriptor

_VERSION: Final = re.compile(r"1\.0\.[0-9]+")


class Layout:
    """An OCI image layout (image-spec, "Image Layout"), open for reading: a ``Source``.

    Its files are opened relative to the directory as it was when it was opened, and never through a symbolic link.

    Attributes:
        path: the directory.
        index: its ``index.json``.
        warnings: see ``Source``.
    """

    def __init__(self, directory: Directory, index: Index, warnings: tuple[str, ...]) -> None:
        self.path = directory.path
        self.index = index
        self.warnings = warnings
        self._directory = directory

    @classmethod
    async def open(cls, path: str | os.PathLike[str]) -> Layout:
        """Open the layout in directory ``path``.

        Raises:
            InvalidLayoutError: it is not a layout, or of a version other than 1.0.x.
        """
        where = Path(path)
        return await open_in_thread(lambda: cls.open_blocking(where))

    @classmethod
    def open_blocking(cls, path: Path) -> Layout:
        """:meth:`open`, for a worker thread."""
        try:
            directory = Directory.open(path)
        except OSError as exc:
            raise _no_directory(path, exc) from exc
        return cls.read(directory)

    @classmethod
    def read(cls, directory: Directory) -> Layout:
        """Read the layout in an open directory. It closes the directory, at once if it raises. Blocking."""
        try:
            path = directory.path
            warnings = _check_version(directory)
            where = str(path / "index.json")
            try:
                raw = _read_text(directory, "index.json")
            except BlobMissingError as exc:
                raise InvalidLayoutError(
                    f"{path} is not an OCI layout: {exc.message}", hint=_without_index(directory, exc), path=where
                ) from exc
            index = parse_document(raw, where=where, index=True)
            if not isinstance(index, Index):
                raise InvalidLayoutError(f"{where} is not an image index", path=where)
        except BaseException:
            directory.close()
            raise
        return cls(directory, index, warnings)

    def close(self) -> None:
        """Close the directory."""
        self._directory.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    @property
    def where(self) -> str:
        """The directory, for messages and events."""
        return str(self.path)

    def select(self, ref: str | None = None) -> Descriptor:
        """The root to push; see ``Source``."""
        return select_descriptor(self.index.manifests, ref, where=self.where)

    def read_document(self, descriptor: Descriptor) -> bytes:
        """The bytes of a manifest or index; those that its descriptor embeds if the file is absent."""
        opened = self._open(descriptor)
        if isinstance(opened, bytes):
            return opened
        with os.fdopen(opened[0], "rb") as file:
            return file.read(descriptor.size + 1)

    def check_blob(self, blob: Descriptor) -> None:
        """Check that a blob is there and has the size that its descriptor says."""
        opened = self._open_blob(blob)
        if isinstance(opened, BlobFile):
            opened.close()

    async def open_blob(self, blob: Descriptor) -> BlobFile | bytes:
        """Open a blob's file; if it is absent, give the content that its descriptor embeds."""
        return self._open_blob(blob)  # not in a worker thread: to ask one takes ten times as long

    def locate(self, descriptor: Descriptor) -> str:
        """The path of a blob's file."""
        return str(self.path / _name(descriptor))

    def _open_blob(self, blob: Descriptor) -> BlobFile | bytes:
        opened = self._open(blob)
        if isinstance(opened, bytes):
            return opened
        descriptor, size = opened
        if size != blob.size:
            os.close(descriptor)
            where = self.locate(blob)
            raise BlobCorruptError(f"{where} has {size} bytes, its descriptor says {blob.size}", path=where)
        return BlobFile(descriptor, size=size)

    def _open(self, blob: Descriptor) -> tuple[int, int] | bytes:
        """The descriptor and size of a blob's file, or the verified content that its descriptor embeds."""
        try:
            return _open_regular(self._directory, _name(blob))
        except BlobMissingError:
            embedded = blob.embedded()
            if embedded is None:
                raise
            return embedded


def _name(descriptor: Descriptor) -> str:
    return f"blobs/{descriptor.digest.algorithm}/{descriptor.digest.encoded}"


def _open_regular(directory: Directory, name: str) -> tuple[int, int]:
    """Open a regular file below ``directory``: its descriptor and size."""
    try:
        descriptor = directory.open_file(name)
    except OSError as exc:
        where = str(directory.path / name)
        raise unreadable(BlobMissingError, f"{where} cannot be opened", exc, path=where) from exc
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        where = str(directory.path / name)
        raise BlobMissingError(f"{where} is not a regular file", path=where)
    return descriptor, status.st_size


def _read_text(directory: Directory, name: str) -> bytes:
    """Read ``index.json`` or ``oci-layout``."""
    descriptor, size = _open_regular(directory, name)
    with os.fdopen(descriptor, "rb") as file:
        if size > MAX_MANIFEST_SIZE:
            where = str(directory.path / name)
            raise InvalidLayoutError(
                f"{where} has {size} bytes, more than 4 MiB", hint=f"no larger {name} is read", path=where
            )
        return file.read(MAX_MANIFEST_SIZE + 1)


def _check_version(directory: Directory) -> tuple[str, ...]:
    path = directory.path
    where = str(path / "oci-layout")
    try:
        raw = _read_text(directory, "oci-layout")
    except BlobMissingError as exc:
        if not isinstance(exc.__cause__, FileNotFoundError):
            raise InvalidLayoutError(f"{path} is not an OCI layout: {exc.message}", hint=exc.hint, path=where) from exc
        return (f"{path} has no oci-layout file; read as version 1.0.0",)
    version = parse_json_object(raw, where=where).get("imageLayoutVersion")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise InvalidLayoutError(
            f"{where} is of version {ascii(version)[:80]}; 1.0.x is supported",
            hint="a newer ocipush may read it",
            path=where,
        )
    return ()


def _no_directory(path: Path, exc: OSError) -> OcipushError:
    """The error for a path that cannot be opened as a directory."""
    what = f"{path} cannot be read as a layout"
    if exc.errno == errno.ENOENT:
        hint = "check the path; an image of the store is named by a str, not by a path"
        return InvalidLayoutError(f"{what}: {exc.strerror}", hint=hint, path=str(path))
    if exc.errno == errno.ENOTDIR and path.is_file():
        hint = "if it is an archive of a layout, unpack it into a directory and push that"
        return InvalidLayoutError(f"{what}: it is a file, not a directory", hint=hint, path=str(path))
    if exc.errno in {errno.ENOTDIR, errno.ELOOP}:  # somewhere in the path, or a loop of links
        return InvalidLayoutError(f"{what}: {exc.strerror}", hint="check the path", path=str(path))
    return unreadable(InvalidLayoutError, what, exc, path=str(path))


def _without_index(directory: Directory, failure: BlobMissingError) -> str | None:
    """The hint for a directory whose index.json cannot be read."""
    if not isinstance(failure.__cause__, FileNotFoundError) or directory.has("oci-layout") or directory.has("blobs"):
        return failure.hint
    if directory.has("manifest.json") and directory.has("version"):
        return (
            f"it looks like a `dir:` image of skopeo: convert it with `skopeo copy dir:{directory.path} oci:DIRECTORY`"
        )
    return "a layout is a directory with index.json, oci-layout and blobs"
