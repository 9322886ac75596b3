"""The ``Source`` protocol: what a push needs of the place an image is read from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from pathlib import Path

    from .._oci.descriptor import Descriptor


class BlobFile:
    """An open blob: ``size`` bytes of a file, from ``offset`` on. An async context manager that closes the file.

    Each blob owns its descriptor. A source that keeps one file for many blobs gives each a duplicate (``os.dup``).
    Duplicates share the position in the file, so readers name the offset of each read. If it ``is_outside``, a link led to
    it out of the source, so it is not sent before it was hashed.
    """

    __slots__ = ("descriptor", "is_outside", "offset", "size")

    def __init__(self, descriptor: int, *, size: int, offset: int = 0, is_outside: bool = False) -> None:
        self.descriptor = descriptor
        self.is_outside = is_outside
        self.offset = offset
        self.size = size

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class Tree(Protocol):
    """The files of a layout: of a directory, or of an archive.

    Attributes:
        path: the directory or the archive.
    """

    path: Path

    def open_regular(self, name: str) -> BlobFile:
        """Open a regular file, whose steps are parted by ``/``. Blocking.

        Raises:
            BlobMissingError: it is not there (from FileNotFoundError), or is not a regular file.
        """
        ...

    def has(self, name: str) -> bool:
        """Whether there is an entry of this name, whatever it is."""
        ...

    def locate(self, name: str) -> str:
        """How messages name a file. It need not exist."""
        ...

    def close(self) -> None:
        """Close the tree. Files that are open stay open."""
        ...


class Source(Protocol):
    """The place an image is read from, open for reading. An async context manager that closes it.

    A source finds and opens content. It does not check it: ``walk`` compares documents with their digests, and ``verify``
    hashes blobs. Errors name the file at fault, as ``locate`` does.
    """

    @property
    def where(self) -> str:
        """Where the source is, for messages and events."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """Messages about the source that do not stop a push."""
        ...

    def select(self, ref: str | None = None) -> Descriptor:
        """The root to push: the only image, or the one that ``ref`` (a reference, a tag or a digest) selects.

        Raises:
            ManifestNotFoundError: there is none.
            AmbiguousImageError: there are several.
        """
        ...

    def read_document(self, descriptor: Descriptor) -> bytes:
        """The bytes of a manifest or index, at most one more than its descriptor says. Blocking.

        Raises:
            BlobMissingError: it is not there, or is not a regular file.
        """
        ...

    def check_blob(self, blob: Descriptor) -> None:
        """Check that a blob is there and has the size that its descriptor says. Blocking.

        Raises:
            BlobMissingError: it is not there, or is not a regular file.
            BlobCorruptError: it has another size.
        """
        ...

    async def open_blob(self, blob: Descriptor) -> BlobFile | bytes:
        """Open a blob, or give its content if it is not in a file. Raises like :meth:`check_blob`."""
        ...

    def locate(self, descriptor: Descriptor) -> str:
        """Where a blob or document is, for messages. It need not exist."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...
