"""Read all that an image refers to, and check that it is there, before the first request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from .._oci.descriptor import Descriptor, has_document
from .._oci.document import MAX_MANIFEST_SIZE, Contents, Document, Index, parse_document
from .._oci.media_types import OCI_INDEX, OCI_MANIFEST
from .._threads import check_cancelled, run_in_thread
from ..errors import BlobCorruptError, InvalidLayoutError

if TYPE_CHECKING:
    from .._oci.digest import Digest
    from .base import Source

MAX_DEPTH: Final = 8
_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*")  # RFC 6838, 4.2


async def read_contents(source: Source, root: Descriptor, *, include_foreign: bool = False) -> Contents:
    """Read the documents that ``root`` leads to, and check that every blob is there and has its size.

    Non-distributable layers are listed, but checked only with ``include_foreign``.

    Raises:
        LayoutError: a document is invalid, or a blob is missing or of the wrong size.
    """
    return await run_in_thread(_Walk(source, include_foreign).run, root)


class _Walk:
    """A walk from a root, children first. It runs in a worker thread, and ends early when its task is cancelled.

    It cannot go in a circle: the digest of a document is checked before what it refers to is visited, and no document can
    hold its own digest.
    """

    def __init__(self, source: Source, include_foreign: bool) -> None:
        self._source = source
        self._include_foreign = include_foreign
        self._documents: dict[Digest, Document] = {}
        self._blobs: dict[Digest, Descriptor] = {}

    def run(self, root: Descriptor) -> Contents:
        self._visit(root)
        return Contents(tuple(self._documents.values()), tuple(self._blobs.values()))

    def _visit(self, descriptor: Descriptor, depth: int = 1) -> None:
        check_cancelled()
        if descriptor.digest in self._documents:
            return
        if depth > MAX_DEPTH:
            where = self._source.locate(descriptor)
            raise InvalidLayoutError(
                f"{where} is nested more than {MAX_DEPTH} deep",
                hint="registries do not accept such an index",
                path=where,
            )
        document = self._read(descriptor)
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

    def _read(self, descriptor: Descriptor) -> Document:
        where = self._source.locate(descriptor)
        if descriptor.size > MAX_MANIFEST_SIZE:
            raise InvalidLayoutError(
                f"{where} has {descriptor.size} bytes, more than 4 MiB",
                hint="registries do not accept larger manifests",
                path=where,
            )
        raw = self._source.read_document(descriptor)
        if not descriptor.matches(raw):
            raise BlobCorruptError(f"{where}: the content does not match its descriptor", path=where)
        content = parse_document(raw, where=where, media_type=descriptor.media_type)
        media_type = content.media_type or descriptor.media_type
        media_type = media_type or (OCI_INDEX if isinstance(content, Index) else OCI_MANIFEST)
        if not _MEDIA_TYPE.fullmatch(media_type):
            raise InvalidLayoutError(f"{where} has an invalid media type: {media_type[:200]!a}", path=where)
        return Document(descriptor, media_type, raw, content)

    def _check(self, blob: Descriptor) -> None:
        check_cancelled()
        if (known := self._blobs.get(blob.digest)) is not None:
            if known.size != blob.size:
                where = self._source.locate(blob)
                raise InvalidLayoutError(f"{where} is listed with two sizes, {known.size} and {blob.size}", path=where)
            return
        if not blob.is_foreign or self._include_foreign:
            self._source.check_blob(blob)
        self._blobs[blob.digest] = blob
