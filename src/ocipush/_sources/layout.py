"""One OCI image layout, in a directory or a tar archive: open it, read its documents, open its blobs."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import anyio.from_thread

from .._oci.document import MAX_MANIFEST_SIZE, Index, parse_document
from .._oci.json import parse_json_object
from ..errors import BlobCorruptError, BlobMissingError, InvalidLayoutError, OcipushError
from .archive import Archive
from .base import BlobFile
from .files import Directory, read_at, unreadable
from .select import select_descriptor
from .threads import open_in_thread

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from .._oci.descriptor import Descriptor
    from .base import Tree

_VERSION: Final = re.compile(r"1\.0\.[0-9]+")


class Layout:
    """An OCI image layout (image-spec, "Image Layout"), open for reading: a ``Source``.

    Attributes:
        path: the directory or the archive.
        tree: the same, open.
        index: its ``index.json``.
        warnings: see ``Source``.
    """

    def __init__(self, tree: Tree, index: Index, warnings: tuple[str, ...]) -> None:
        self.path = tree.path
        self.index = index
        self.warnings = warnings
        self.tree = tree

    @classmethod
    async def open(cls, path: str | os.PathLike[str]) -> Layout:
        """Open the layout in ``path``, a directory or an archive.

        Raises:
            InvalidLayoutError: it is not a layout, or of a version other than 1.0.x.
        """
        where = Path(path)
        return await open_in_thread(lambda: cls.open_blocking(where, anyio.from_thread.check_cancelled))

    @classmethod
    def open_blocking(cls, path: Path, check_cancelled: Callable[[], None] = lambda: None) -> Layout:
        """:meth:`open`, for a worker thread. ``check_cancelled`` is called while a long archive is indexed."""
        return cls.read(open_tree(path, check_cancelled))

    @classmethod
    def read(cls, tree: Tree) -> Layout:
        """Read the layout in an open directory or archive. It closes the tree, at once if it raises. Blocking."""
        try:
            warnings = _check_version(tree)
            where = tree.locate("index.json")
            try:
                raw = _read_text(tree, "index.json")
            except BlobMissingError as exc:
                raise InvalidLayoutError(
                    f"{tree.path} is not an OCI layout: {exc.message}", hint=_without_index(tree, exc), path=where
                ) from exc
            index = parse_document(raw, where=where, index=True)
            if not isinstance(index, Index):
                raise InvalidLayoutError(f"{where} is not an image index", path=where)
        except BaseException:
            tree.close()
            raise
        return cls(tree, index, warnings)

    def close(self) -> None:
        """Close the directory or archive."""
        self.tree.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    @property
    def where(self) -> str:
        """The directory or archive, for messages and events."""
        return str(self.path)

    def select(self, ref: str | None = None) -> Descriptor:
        """The root to push; see ``Source``."""
        return select_descriptor(self.index.manifests, ref, where=self.where)

    def read_document(self, descriptor: Descriptor) -> bytes:
        """The bytes of a manifest or index; those that its descriptor embeds if the file is absent."""
        opened = self._open(descriptor)
        return opened if isinstance(opened, bytes) else _read(opened, descriptor.size + 1)

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
        return self.tree.locate(_name(descriptor))

    def _open_blob(self, blob: Descriptor) -> BlobFile | bytes:
        opened = self._open(blob)
        if isinstance(opened, BlobFile) and opened.size != blob.size:
            opened.close()
            where = self.locate(blob)
            raise BlobCorruptError(f"{where} has {opened.size} bytes, its descriptor says {blob.size}", path=where)
        return opened

    def _open(self, blob: Descriptor) -> BlobFile | bytes:
        """A blob's file, or the verified content that its descriptor embeds."""
        try:
            return self.tree.open_regular(_name(blob))
        except BlobMissingError:
            embedded = blob.embedded()
            if embedded is None:
                raise
            return embedded


def open_tree(path: Path, check_cancelled: Callable[[], None] = lambda: None) -> Tree:
    """Open a directory or an archive. Blocking.

    Raises:
        InvalidLayoutError: it is neither, or cannot be opened.
    """
    try:
        return Directory.open(path)
    except OSError as exc:
        if exc.errno != errno.ENOTDIR or not path.exists():
            raise _no_directory(path, exc) from exc
    return Archive.open(path, check_cancelled)


def _name(descriptor: Descriptor) -> str:
    return f"blobs/{descriptor.digest.algorithm}/{descriptor.digest.encoded}"


def _read(opened: BlobFile, limit: int) -> bytes:
    """The first ``limit`` bytes of an open file, which it closes."""
    try:
        return read_at(opened.descriptor, min(limit, opened.size), opened.offset)
    finally:
        opened.close()


def _read_text(tree: Tree, name: str) -> bytes:
    """Read ``index.json`` or ``oci-layout``."""
    opened = tree.open_regular(name)
    if opened.size > MAX_MANIFEST_SIZE:
        opened.close()
        where = tree.locate(name)
        raise InvalidLayoutError(
            f"{where} has {opened.size} bytes, more than 4 MiB", hint=f"no larger {name} is read", path=where
        )
    return _read(opened, MAX_MANIFEST_SIZE)


def _check_version(tree: Tree) -> tuple[str, ...]:
    path = tree.path
    where = tree.locate("oci-layout")
    try:
        raw = _read_text(tree, "oci-layout")
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
    if exc.errno in {errno.ENOTDIR, errno.ELOOP}:  # somewhere in the path, or a loop of links
        return InvalidLayoutError(f"{what}: {exc.strerror}", hint="check the path", path=str(path))
    return unreadable(InvalidLayoutError, what, exc, path=str(path))


def _without_index(tree: Tree, failure: BlobMissingError) -> str | None:
    """The hint for a directory or archive whose index.json cannot be read."""
    if not isinstance(failure.__cause__, FileNotFoundError) or tree.has("oci-layout") or tree.has("blobs"):
        return failure.hint
    if tree.has("manifest.json") and tree.has("version"):
        return f"it looks like a `dir:` image of skopeo: convert it with `skopeo copy dir:{tree.path} oci:DIRECTORY`"
    return "a layout is a directory or a tar archive with index.json, oci-layout and blobs"
