"""Archives of ``docker save``: ``manifest.json`` names the config and the layers of each image.

The archive holds no manifest. It is made here, of Docker's schema 2, and so is what it refers to: layers that are not
compressed are compressed first.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Self

import anyio.to_thread

from .._oci.descriptor import REF_NAME, Descriptor
from .._oci.digest import Digest
from .._oci.document import MAX_MANIFEST_SIZE
from .._oci.media_types import DOCKER_CONFIG, DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_MANIFEST
from .._oci.saved import ImageConfig, SavedImage, parse_config, parse_saved_images
from ..errors import BlobCorruptError, InvalidLayoutError, OcipushError
from .compress import GZIP, Spool, Unpacking
from .files import read_at
from .select import select_descriptor

if TYPE_CHECKING:
    from .base import BlobFile, Tree

Compression = Literal["gzip", "none"]
_ID: Final = re.compile(r"(?:^|[/:])([0-9a-f]{64})(?:\.json)?$")  # a config that is named by its digest
_REGISTRY: Final = re.compile(r"(?:localhost|[^/]*[.:][^/]*)/")
_NO_ROOM: Final = (
    'make room where temporary files go, or set TMPDIR to a directory with more; compress="none" needs none'
)


@dataclass(frozen=True, slots=True)
class _Saved:
    """One image: its files, and what its config says."""

    image: SavedImage
    config: ImageConfig
    raw: bytes


class DockerArchive:
    """The images of a ``docker save`` archive."""

    def __init__(self, tree: Tree, images: dict[Digest, _Saved], descriptors: tuple[Descriptor, ...]) -> None:
        self.path = tree.path
        self.descriptors = descriptors
        self._tree = tree
        self._images = images

    @classmethod
    def read(cls, tree: Tree) -> DockerArchive:
        """Read ``manifest.json`` and all configs. Blocking."""
        images: dict[Digest, _Saved] = {}
        descriptors: list[Descriptor] = []
        listed = parse_saved_images(_read_file(tree, "manifest.json"), where=tree.locate("manifest.json"))
        for image in listed:
            saved = _read_image(tree, image)
            digest = Digest.of(saved.raw)
            images[digest] = saved
            described = Descriptor(digest=digest, size=len(saved.raw), platform=saved.config.platform)
            tagged = [described.model_copy(update={"annotations": {REF_NAME: tag}}) for tag in image.tags]
            descriptors += tagged or [described]
        return cls(tree, images, tuple(descriptors))

    def close(self) -> None:
        """Close the archive."""
        self._tree.close()

    def select(self, ref: str | None = None) -> Descriptor:
        """The config of the only image, or of the one that ``ref`` (a tag or an ID) selects.

        Raises:
            ManifestNotFoundError, AmbiguousImageError: there is none, or there are several.
        """
        return select_descriptor(self.descriptors, ref, where=str(self.path))

    async def convert(self, chosen: Descriptor, compression: Compression) -> DockerImage:
        """Make the manifest and the layers of the image with this config.

        Raises:
            LayoutError: a layer is missing, damaged, or not the one that the config names.
        """
        image = DockerImage(self._tree, str(self.path))
        try:
            await image.make(self._images[chosen.digest], chosen.ref_name, compression)
        except BaseException:
            image.close()
            raise
        return image


class DockerImage:
    """One image of a ``docker save`` archive: a ``Source``."""

    def __init__(self, tree: Tree, where: str) -> None:
        self.where = where
        self.warnings: tuple[str, ...] = ()
        self._tree = tree
        self._spools: list[Spool] = []
        self._content: dict[Digest, bytes] = {}
        self._files: dict[Digest, tuple[str, Spool | None]] = {}  # the name of a layer, and where it is compressed
        self._root: Descriptor | None = None

    async def make(self, saved: _Saved, name: str | None, compression: Compression) -> None:
        """Compress the layers, and make the manifest."""
        made: dict[Digest, Descriptor] = {}
        for diff_id, layer in zip(saved.config.rootfs.diff_ids, saved.image.layers, strict=True):
            if diff_id not in made:
                made[diff_id] = await self._layer(layer, diff_id, compression)
        config = Descriptor(digest=Digest.of(saved.raw), size=len(saved.raw), mediaType=DOCKER_CONFIG)
        document = {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": _shown(config),
            "layers": [_shown(made[diff_id]) for diff_id in saved.config.rootfs.diff_ids],
        }
        raw = json.dumps(document, separators=(",", ":")).encode()
        self._content = {config.digest: saved.raw, Digest.of(raw): raw}
        # Without a registry, a tag names an image of the local engine: it is no place to push to.
        is_full = name is not None and _REGISTRY.match(name) is not None
        self._root = Descriptor(
            digest=Digest.of(raw),
            size=len(raw),
            mediaType=DOCKER_MANIFEST,
            annotations={REF_NAME: name} if is_full and name is not None else None,
        )

    async def _layer(self, name: str, diff_id: Digest, compression: Compression) -> Descriptor:
        where = self._tree.locate(name)
        layer = await anyio.to_thread.run_sync(_open, self._tree, name)
        async with layer:
            try:
                if read_at(layer.descriptor, 2, layer.offset) == GZIP:
                    digest, content, size, spool = *await _unpack(layer), layer.size, None
                    media_type = DOCKER_LAYER_GZIP
                elif compression == "none":  # the registry compares the content with the digest
                    digest, content, size, spool = diff_id, diff_id, layer.size, None
                    media_type = DOCKER_LAYER
                else:
                    spool = Spool()
                    self._spools.append(spool)
                    await spool.fill(layer)
                    digest, content, size = Digest.parse(spool.digest), Digest.parse(spool.diff_id), spool.size
                    media_type = DOCKER_LAYER_GZIP
            except (EOFError, zlib.error) as exc:
                raise BlobCorruptError(f"{where} is damaged: {exc}", path=where) from exc
            except OSError as exc:
                if isinstance(exc, OcipushError):
                    raise
                raise OcipushError(f"{where} cannot be compressed: {exc.strerror or exc}", hint=_NO_ROOM) from exc
        if content != diff_id:
            raise BlobCorruptError(f"{where}: the content does not match the config's diff_id {diff_id}", path=where)
        self._files[digest] = name, spool
        return Descriptor(digest=digest, size=size, mediaType=media_type)

    def select(self, ref: str | None = None) -> Descriptor:
        """The image, which was chosen when it was opened."""
        assert self._root is not None  # noqa: S101 - for the type checkers
        return self._root

    def read_document(self, descriptor: Descriptor) -> bytes:
        """The bytes of the manifest."""
        return self._content[descriptor.digest]

    def check_blob(self, blob: Descriptor) -> None:
        """Nothing to do: it was all read."""

    async def open_blob(self, blob: Descriptor) -> BlobFile | bytes:
        """Open a layer, or give the config."""
        if blob.digest in self._content:
            return self._content[blob.digest]
        name, spool = self._files[blob.digest]
        if spool is not None:
            return spool.open()
        return self._tree.open_regular(name)

    def locate(self, descriptor: Descriptor) -> str:
        """Where a layer is in the archive."""
        name, _ = self._files.get(descriptor.digest, ("manifest.json", None))
        return self._tree.locate(name)

    def close(self) -> None:
        """Remove the compressed layers."""
        for spool in self._spools:
            spool.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


async def _unpack(layer: BlobFile) -> tuple[Digest, Digest]:
    """The digests of a compressed layer and of its content."""
    unpacking = Unpacking(layer)
    while not await anyio.to_thread.run_sync(unpacking.advance):
        pass
    return Digest.parse(unpacking.digest), Digest.parse(unpacking.diff_id)


def _shown(descriptor: Descriptor) -> dict[str, object]:
    return {"mediaType": descriptor.media_type, "size": descriptor.size, "digest": str(descriptor.digest)}


def _open(tree: Tree, name: str) -> BlobFile:
    """Open a file that ``manifest.json`` names."""
    steps = name.split("/")
    if name.startswith("/") or "\0" in name or {"", ".."} & {*steps}:
        where = tree.locate("manifest.json")
        raise InvalidLayoutError(f"{where} names a file outside of the archive, {name[:200]!a}", path=where)
    return tree.open_regular("/".join(step for step in steps if step != "."))


def _read_image(tree: Tree, image: SavedImage) -> _Saved:
    raw, where = _read_file(tree, image.config), tree.locate(image.config)
    named = _ID.search(image.config)
    if named is not None and named[1] != Digest.of(raw).encoded:
        raise BlobCorruptError(f"{where}: the content does not match its name", path=where)
    config = parse_config(raw, where=where)
    count, listed = len(config.rootfs.diff_ids), len(image.layers)
    if count != listed:
        other = tree.locate("manifest.json")
        raise InvalidLayoutError(f"{where} has {count} layers, but {other} lists {listed}", path=where)
    return _Saved(image, config, raw)


def _read_file(tree: Tree, name: str) -> bytes:
    """Read ``manifest.json`` or a config."""
    opened = _open(tree, name)
    try:
        if opened.size > MAX_MANIFEST_SIZE:
            where = tree.locate(name)
            raise InvalidLayoutError(f"{where} has {opened.size} bytes, more than 4 MiB", hint=None, path=where)
        return read_at(opened.descriptor, opened.size, opened.offset)
    finally:
        opened.close()
