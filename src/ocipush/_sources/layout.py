"""Read one OCI image layout: find what to push, walk what it refers to, check that all is there, open its blobs."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from os import PathLike
from pathlib import Path
from typing import Final, Self

import anyio.to_thread

from .._oci.descriptor import Descriptor, has_document
from .._oci.digest import Digest
from .._oci.document import MAX_MANIFEST_SIZE, Contents, Document, Index, parse_document
from .._oci.json import parse_json_object
from .._oci.media_types import OCI_INDEX, OCI_MANIFEST
from ..errors import (
    AmbiguousImageError,
    BlobCorruptError,
    BlobMissingError,
    InvalidLayoutError,
    LayoutError,
    ManifestNotFoundError,
)
from .base import BlobFile

MAX_DEPTH: Final = 8
_SHOWN: Final = 10  # images that an error names
_NAME: Final = 120  # characters of their names
_PIECE: Final = 1024 * 1024
_VERSION: Final = re.compile(r"1\.0\.[0-9]+")
_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*")  # RFC 6838, 4.2
_OPEN: Final = sum(
    getattr(os, flag, 0) for flag in ("O_RDONLY", "O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK")
)  # O_BINARY: Windows alone has it, and the others not
_DIRECTORY: Final[int] = getattr(os, "O_DIRECTORY", 0)
_HAS_DIR_FD: Final = os.open in os.supports_dir_fd  # on Windows, files are opened by their paths


class Layout:
    """An OCI image layout (image-spec, "Image Layout"), open for reading: an async context manager.

    Its files are opened relative to the directory as it was when it was opened, and never through a symbolic link.
    """

    def __init__(self, path: Path, directory: int, index: Index, warnings: tuple[str, ...]) -> None:
        self.path = path
        self.index = index
        self.warnings = warnings
        self._directory = directory

    @classmethod
    async def open(cls, path: str | PathLike[str]) -> Layout:
        """Open the layout in directory ``path``.

        Raises:
            InvalidLayoutError: it is not a layout, or of a version other than 1.0.x.
        """
        return await anyio.to_thread.run_sync(cls.open_blocking, Path(path))

    @classmethod
    def open_blocking(cls, path: Path) -> Layout:
        """:meth:`open`, for a worker thread or a store's list."""
        try:
            directory = _open_directory(path)
        except OSError as exc:
            raise _unreadable(InvalidLayoutError, f"{path} cannot be read as a layout", exc, path=str(path)) from exc
        try:
            warnings = _check_version(directory, path)
            where = str(path / "index.json")
            try:
                raw = _read(directory, "index.json", where)
            except BlobMissingError as exc:
                raise InvalidLayoutError(
                    f"{path} is not an OCI layout: {exc.message}", hint=exc.hint, path=where
                ) from exc
            index = parse_document(raw, where=where, index=True)
            if not isinstance(index, Index):
                raise InvalidLayoutError(f"{where} is not an image index", path=where)
        except BaseException:
            _close_directory(directory)
            raise
        return cls(path, directory, index, warnings)

    def close(self) -> None:
        """Close the directory."""
        _close_directory(self._directory)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def select(self, ref: str | None = None) -> Descriptor:
        """The descriptor to push: the only one, or the one that ``ref`` (reference, tag or digest) names (rules.md, 5).

        Raises:
            ManifestNotFoundError: there is none.
            AmbiguousImageError: there are several.
        """
        found = [one for one in self.index.manifests if ref is None or _answers(one, ref)]
        shown = tuple(
            f"{(one.ref_name or '-')[:_NAME]}  {str(one.platform or '-')[:_NAME]}  {one.digest}"
            for one in (found or self.index.manifests)
        )
        if len({one.digest for one in found}) == 1:
            return found[0]
        if not self.index.manifests:
            raise ManifestNotFoundError(f"{self.path} holds no image", path=str(self.path))
        if not found:
            raise ManifestNotFoundError(
                f"{self.path} holds no image that answers to {(ref or '')[:_NAME]!r}",
                hint=f"choose one of these with ref=: {'; '.join(shown[:_SHOWN])}",
                path=str(self.path),
            )
        raise AmbiguousImageError(
            f"{self.path} holds several images: {'; '.join(shown[:_SHOWN])}",
            hint="choose one with ref=: a reference, a tag or a digest",
            candidates=shown,
        )

    async def read(self, root: Descriptor, *, include_foreign: bool = False) -> Contents:
        """Walk all that ``root`` refers to and check that it is there, before the first byte is sent.

        Raises:
            LayoutError: a document is invalid, or a blob is missing or of the wrong size.
        """
        return await anyio.to_thread.run_sync(lambda: _Walk(self, include_foreign).run(root))

    async def open_blob(self, blob: Descriptor) -> BlobFile | bytes:
        """Open a blob's file; where it is absent, give the verified content that its descriptor embeds."""
        return self.open_blob_blocking(blob)  # at once: a worker thread takes ten times as long to be asked

    def open_blob_blocking(self, blob: Descriptor) -> BlobFile | bytes:
        """:meth:`open_blob`, for a worker thread."""
        name, where = _place(blob, self.path)
        try:
            descriptor, size = _open_regular(self._directory, name, where)
        except BlobMissingError:
            embedded = blob.embedded()
            if embedded is None:
                raise
            return embedded
        if size != blob.size:
            os.close(descriptor)
            raise BlobCorruptError(f"{where} has {size} bytes, its descriptor says {blob.size}", path=where)
        return BlobFile(descriptor, size, where)

    def blob_path(self, blob: Descriptor) -> str:
        """Where a blob's file is, for messages."""
        return _place(blob, self.path)[1]

    async def verify(self, contents: Contents, *, include_foreign: bool = False) -> None:
        """Hash every blob that will be sent; raises BlobCorruptError for the first that is not its digest's content."""
        for blob in contents.blobs:
            if (include_foreign or not blob.is_foreign) and await self.is_corrupt(blob):
                where = self.blob_path(blob)
                raise BlobCorruptError(f"{where}: the content is not what its digest says", path=where)

    async def is_corrupt(self, blob: Descriptor) -> bool:
        """Hash one blob; whether its size or content is not what its descriptor says."""
        return await anyio.to_thread.run_sync(self._is_corrupt, blob)

    def _is_corrupt(self, blob: Descriptor) -> bool:
        try:
            opened = self.open_blob_blocking(blob)
        except BlobCorruptError:
            return True
        if isinstance(opened, bytes):
            return False
        digest = hashlib.new(blob.digest.algorithm)
        with os.fdopen(opened.descriptor, "rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
        return digest.hexdigest() != blob.digest.encoded

    def read_document(self, descriptor: Descriptor) -> Document:
        """Read and check one manifest or index."""
        name, where = _place(descriptor, self.path)
        _check_size(descriptor.size, where)
        try:
            raw = _read(self._directory, name, where)
        except BlobMissingError:
            embedded = descriptor.embedded()
            if embedded is None:
                raise
            raw = embedded
        if len(raw) != descriptor.size or Digest.of(raw, descriptor.digest.algorithm) != descriptor.digest:
            raise BlobCorruptError(f"{where}: the content is not what its descriptor says", path=where)
        content = parse_document(raw, where=where, media_type=descriptor.media_type)
        media_type = content.media_type or descriptor.media_type
        media_type = media_type or (OCI_INDEX if isinstance(content, Index) else OCI_MANIFEST)
        if not _MEDIA_TYPE.fullmatch(media_type):
            raise InvalidLayoutError(f"{where} calls itself {media_type[:200]!a}, which is no media type", path=where)
        return Document(descriptor, media_type, raw, content)


class _Walk:
    """A walk from a root, children first.

    It cannot go in a circle: a document's digest is checked before what it refers to is visited, and none can hold its
    own digest.
    """

    def __init__(self, layout: Layout, include_foreign: bool) -> None:
        self._layout = layout
        self._include_foreign = include_foreign
        self._documents: dict[Digest, Document] = {}
        self._blobs: dict[Digest, Descriptor] = {}

    def run(self, root: Descriptor) -> Contents:
        self._visit(root)
        return Contents(tuple(self._documents.values()), tuple(self._blobs.values()))

    def _visit(self, descriptor: Descriptor, depth: int = 1) -> None:
        if descriptor.digest in self._documents:
            return
        if depth > MAX_DEPTH:
            where = _place(descriptor, self._layout.path)[1]
            raise InvalidLayoutError(
                f"{where} is nested more than {MAX_DEPTH} deep", hint="no registry takes such an index", path=where
            )
        document = self._layout.read_document(descriptor)
        if isinstance(document.content, Index):
            for child in document.content.manifests:
                if has_document(child):
                    self._visit(child, depth + 1)
                else:
                    self._check(child)
        else:
            for blob in document.content.blobs:
                self._check(blob)
        self._documents[descriptor.digest] = document

    def _check(self, blob: Descriptor) -> None:
        if (known := self._blobs.get(blob.digest)) is not None:
            if known.size != blob.size:
                where = _place(blob, self._layout.path)[1]
                raise InvalidLayoutError(f"{where} is given two sizes, {known.size} and {blob.size}", path=where)
            return
        if not blob.is_foreign or self._include_foreign:
            opened = self._layout.open_blob_blocking(blob)
            if isinstance(opened, BlobFile):
                os.close(opened.descriptor)
        self._blobs[blob.digest] = blob


def _answers(descriptor: Descriptor, ref: str) -> bool:
    """Whether ``ref`` is this descriptor's digest, its recorded reference, or the tag of that."""
    name = descriptor.ref_name
    if name is None or ref == descriptor.digest:
        return ref == descriptor.digest
    _, colon, tag = name.rpartition(":")
    return ref == name or (bool(colon) and ref == tag and "/" not in tag and "@" not in name)


def _place(descriptor: Descriptor, path: Path) -> tuple[str, str]:
    name = f"blobs/{descriptor.digest.algorithm}/{descriptor.digest.encoded}"
    return name, str(path / name)


def _open_regular(directory: int, name: str, where: str) -> tuple[int, int]:
    """Open ``name`` under ``directory`` step by step, so that no part of it can be a symbolic link out of the layout."""
    try:
        descriptor = _open_below(directory, name) if _HAS_DIR_FD else _open_by_path(name, where)
    except OSError as exc:
        raise _unreadable(BlobMissingError, f"{where} cannot be opened", exc, path=where) from exc
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise BlobMissingError(f"{where} is not a regular file", path=where)
    return descriptor, status.st_size


def _open_below(directory: int, name: str) -> int:
    steps = name.split("/")
    here = directory
    try:
        for step in steps[:-1]:
            below = os.open(step, _OPEN | _DIRECTORY, dir_fd=here)
            if here != directory:
                os.close(here)
            here = below
        return os.open(steps[-1], _OPEN, dir_fd=here)
    finally:
        if here != directory:
            os.close(here)


def _open_by_path(name: str, where: str) -> int:
    """Open ``where``, which ends in ``name``. A link that is put there between the check and the opening is followed."""
    path = Path(where)
    for part in (path, *path.parents[: name.count("/")]):
        if part.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return os.open(path, _OPEN)


def _open_directory(path: Path) -> int:
    """The descriptor of a directory; -1, after a look whether it is one, where no file can be opened relative to it."""
    if _HAS_DIR_FD:
        return os.open(path, os.O_RDONLY | _DIRECTORY | getattr(os, "O_CLOEXEC", 0))
    with os.scandir(path):
        return -1


def _close_directory(directory: int) -> None:
    if directory >= 0:
        os.close(directory)


def _unreadable(cls: type[LayoutError], what: str, exc: OSError, *, path: str) -> LayoutError:
    reason = exc.strerror
    if exc.errno == errno.ELOOP:
        reason = "it is a symbolic link, which is not followed"
    elif exc.errno == errno.ENOTDIR:
        reason = f"{exc.strerror} (symbolic links are not followed)"
    error = cls(f"{what}: {reason}", path=path)
    if isinstance(exc, PermissionError):
        error.hint = "run as a user who may read it"
    return error


def _read(directory: int, name: str, where: str) -> bytes:
    descriptor, size = _open_regular(directory, name, where)
    with os.fdopen(descriptor, "rb") as file:
        _check_size(size, where)
        return file.read(MAX_MANIFEST_SIZE + 1)


def _check_size(size: int, where: str) -> None:
    if size > MAX_MANIFEST_SIZE:
        raise InvalidLayoutError(
            f"{where} has {size} bytes, more than 4 MiB",
            hint="registries take no larger manifest, and no larger index.json is read",
            path=where,
        )


def _check_version(directory: int, path: Path) -> tuple[str, ...]:
    where = str(path / "oci-layout")
    try:
        raw = _read(directory, "oci-layout", where)
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
