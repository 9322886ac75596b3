"""One OCI image layout, in a directory or a tar archive: open it, read its documents, open its blobs."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from .._oci.descriptor import Descriptor, has_document, is_dropped
from .._oci.digest import Digest
from .._oci.document import MAX_MANIFEST_SIZE, Index, Manifest, parse_document, parse_layout_index
from .._oci.json import parse_json_object
from .._oci.media_types import OCI_INDEX, OCI_MANIFEST
from .._threads import check_cancelled
from ..errors import BlobCorruptError, BlobMissingError, InvalidLayoutError, LayoutError, OcipushError
from .archive import Archive
from .base import BlobFile
from .files import Directory, read_at, unreadable
from .select import select_descriptor
from .threads import open_in_thread
from .verify import has_digest

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from .base import Tree

_REFERRERS: Final = re.compile(r"(?:^|:)sha(?:256|512)-[0-9a-f]{64,128}(?:\.[a-z]+)?$")
_VERSION: Final = re.compile(r"1\.[0-9]+\.[0-9]+")
_MAX_INDEX_SIZE: Final = 64 * 1024 * 1024  # of index.json, which is never sent
_SHOWN: Final = 10  # descriptors that warnings name
_MOST_ASKED: Final = 100  # candidates that are read to see which of them are images


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
            InvalidLayoutError: it is not a layout, or of a version other than 1.x.
        """
        where = Path(path)
        return await open_in_thread(lambda: cls.open_blocking(where, check_cancelled))

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
                raw = _read_text(tree, "index.json", _MAX_INDEX_SIZE)
            except BlobMissingError as exc:
                raise InvalidLayoutError(
                    f"{tree.path} is not an OCI layout: {exc.message}", hint=_without_index(tree, exc), path=where
                ) from exc
            index, problems = parse_layout_index(raw, where=where)
            warnings += tuple(f"{where}: a descriptor is ignored: {one}" for one in problems[:_SHOWN])
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
    def descriptors(self) -> tuple[Descriptor, ...]:
        """The descriptors of its images."""
        return self.index.manifests

    @property
    def where(self) -> str:
        """The directory or archive, for messages and events."""
        return str(self.path)

    def select(self, ref: str | None = None) -> Descriptor:
        """The root to push; see ``Source``. What refers to an image, such as its signature, needs ``ref``. Blocking."""
        manifests = self.index.manifests
        if ref is None and 1 < len(manifests) <= _MOST_ASKED:
            manifests = tuple(one for one in manifests if not self._is_about_another(one)) or manifests
        return select_descriptor(manifests, ref, where=self.where)

    def count_referrers(self, root: Descriptor) -> int:
        """How many of the descriptors beside ``root`` are signatures, SBOMs and the like. Blocking."""
        manifests = self.index.manifests
        if len(manifests) > _MOST_ASKED:
            return 0
        return sum(one.digest != root.digest and self._is_about_another(one) for one in manifests)

    def _is_about_another(self, descriptor: Descriptor) -> bool:
        """Whether this is a signature, an SBOM or the like: a manifest with a subject, or under a tag made of a digest."""
        if is_dropped(descriptor) or (descriptor.ref_name and _REFERRERS.search(descriptor.ref_name)):
            return True
        if not has_document(descriptor) or descriptor.size > MAX_MANIFEST_SIZE:
            return False
        where = self.locate(descriptor)
        try:
            return parse_document(self.read_document(descriptor), where=where).subject is not None
        except LayoutError:  # it is told of when it is chosen
            return False

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
        opened = self._open_blob(blob)  # not in a worker thread: to ask one takes ten times as long
        if isinstance(opened, BlobFile) and opened.is_outside:
            try:
                where = self.locate(blob)
                if not await has_digest(opened, blob, where=where):
                    raise BlobCorruptError(f"{where}: the content does not match its digest", path=where)
            except BaseException:
                opened.close()
                raise
        return opened

    def locate(self, descriptor: Descriptor) -> str:
        """The path of a blob's file."""
        return self.tree.locate(self._name_of(descriptor))

    def _name_of(self, descriptor: Descriptor) -> str:
        return f"blobs/{descriptor.digest.algorithm}/{descriptor.digest.encoded}"

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
            return self.tree.open_regular(self._name_of(blob))
        except BlobMissingError:
            embedded = blob.embedded()
            if embedded is None:
                raise
            return embedded


class SkopeoDirectory(Layout):
    """An image as skopeo and buildah write it to ``dir:``: files that are named by their digests, and ``manifest.json``."""

    @classmethod
    def read(cls, tree: Tree) -> SkopeoDirectory:
        """Read the image in an open directory or archive. It closes the tree, at once if it raises. Blocking."""
        try:
            raw = _read_text(tree, "manifest.json", MAX_MANIFEST_SIZE)
            document = parse_document(raw, where=tree.locate("manifest.json"))
            kinds = (OCI_INDEX, OCI_MANIFEST)
            media_type = document.media_type or kinds[isinstance(document, Manifest)]
            root = Descriptor(digest=Digest.of(raw), size=len(raw), mediaType=media_type)
        except BaseException:
            tree.close()
            raise
        return cls(tree, Index(manifests=(root,)), ())

    def _name_of(self, descriptor: Descriptor) -> str:
        if descriptor.digest == self.index.manifests[0].digest:
            return "manifest.json"
        encoded = descriptor.digest.encoded
        return f"{encoded}.manifest.json" if has_document(descriptor) else encoded


def open_tree(path: Path, check_cancelled: Callable[[], None] = lambda: None, *, follow_links: bool = False) -> Tree:
    """Open a directory or an archive. Blocking.

    ``follow_links``: of a directory, follow links that lead out of it, too.

    Raises:
        InvalidLayoutError: it is neither, or cannot be opened.
    """
    try:
        return Directory.open(path, follow_links=follow_links)
    except OSError as exc:
        if exc.errno != errno.ENOTDIR or not path.exists():
            raise _no_directory(path, exc) from exc
    return Archive.open(path, check_cancelled)


def _read(opened: BlobFile, limit: int) -> bytes:
    """The first ``limit`` bytes of an open file, which it closes."""
    try:
        return read_at(opened.descriptor, min(limit, opened.size), opened.offset)
    finally:
        opened.close()


def _read_text(tree: Tree, name: str, limit: int) -> bytes:
    """Read ``index.json`` or ``oci-layout``."""
    opened = tree.open_regular(name)
    if opened.size > limit:
        opened.close()
        where = tree.locate(name)
        raise InvalidLayoutError(
            f"{where} has {opened.size} bytes, more than {limit // 2**20} MiB",
            hint=f"no larger {name} is read",
            path=where,
        )
    return _read(opened, limit)


def _check_version(tree: Tree) -> tuple[str, ...]:
    path = tree.path
    where = tree.locate("oci-layout")
    try:
        raw = _read_text(tree, "oci-layout", MAX_MANIFEST_SIZE)
    except BlobMissingError as exc:
        if not isinstance(exc.__cause__, FileNotFoundError):
            raise InvalidLayoutError(f"{path} is not an OCI layout: {exc.message}", hint=exc.hint, path=where) from exc
        return (f"{path} has no oci-layout file; read as version 1.0.0",)
    version = parse_json_object(raw, where=where).get("imageLayoutVersion")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise InvalidLayoutError(
            f"{where} is of version {ascii(version)[:80]}; 1.x.y is supported",
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
    if not isinstance(failure.__cause__, FileNotFoundError) or tree.has("oci-layout"):
        return failure.hint
    if tree.has("sparse-oci-layout"):
        return "it is a layout of rules_img without layers: build the target that writes a whole layout"
    if tree.has("manifests") and tree.has("blobs"):
        return "it looks like the models of ollama: `ollama push` pushes those"
    if tree.has("blobs"):
        return failure.hint
    return "a layout is a directory or a tar archive with index.json, oci-layout and blobs"
