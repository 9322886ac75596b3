"""Write the images that are pushed: OCI layouts whose content is the same wherever and whenever they are made."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
TAG: Final = "bench"
PIECE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Image:
    """A layout, and where it is pushed to.

    Attributes:
        path: the layout's directory; its name is the image's name in the store.
        repository: where it goes; the tag is ``TAG``.
        digest: of its manifest.
        blobs: its config and layers, by digest, with their sizes.
    """

    path: Path
    repository: str
    digest: str
    blobs: dict[str, int]

    def blob(self, digest: str) -> Path:
        """The file of one blob."""
        return self.path / "blobs" / "sha256" / digest.partition(":")[2]

    @property
    def size(self) -> int:
        """Bytes of the config and the layers."""
        return sum(self.blobs.values())


@dataclass(slots=True)
class Writer:
    """Writes images to a store; a layer that several share is one file with several names."""

    store: Path
    _files: dict[tuple[str, int], Path] = field(default_factory=dict[tuple[str, int], "Path"])

    def write(self, name: str, layers: list[tuple[str, int]], *, repository: str) -> Image:
        """Write one image.

        Args:
            name: of the layout's directory; the config differs from image to image.
            layers: what each layer's bytes are drawn from, and how many there are.
            repository: where the image is pushed to.
        """
        path = self.store / name
        blobs = path / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        written = [self._layer(blobs, seed, size) for seed, size in layers]
        digests = [layer["digest"] for layer in written]
        config = _document(
            blobs,
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Labels": {"name": name}},
                "rootfs": {"type": "layers", "diff_ids": digests},
            },
            CONFIG,
        )
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": written}
        root = _document(blobs, manifest, MANIFEST)
        root["annotations"] = {"org.opencontainers.image.ref.name": TAG}
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [root]}))
        return Image(path, repository, root["digest"], {blob["digest"]: blob["size"] for blob in (config, *written)})

    def _layer(self, blobs: Path, seed: str, size: int) -> dict[str, Any]:
        made = self._files.get((seed, size))
        if made is None:
            hashed, path = hashlib.sha256(), blobs / "unnamed"
            with path.open("wb") as file:
                for piece in content(seed, size):
                    file.write(piece)
                    hashed.update(piece)
            made = self._files[seed, size] = path.rename(blobs / hashed.hexdigest())
        elif not (link := blobs / made.name).exists():
            link.hardlink_to(made)
        return {"mediaType": LAYER, "digest": f"sha256:{made.name}", "size": size}


def content(seed: str, size: int) -> Iterator[bytes]:
    """``size`` bytes drawn from ``seed``: random ones, then the same with a number in front of each MiB."""
    first = random.Random(seed).randbytes(min(size, PIECE))
    for position in range(0, size, PIECE):
        piece = position.to_bytes(8, "big") + first[8:] if position else first
        yield piece[: size - position]


def _document(blobs: Path, document: dict[str, Any], media_type: str) -> dict[str, Any]:
    raw = json.dumps(document).encode()
    encoded = hashlib.sha256(raw).hexdigest()
    (blobs / encoded).write_bytes(raw)
    return {"mediaType": media_type, "digest": f"sha256:{encoded}", "size": len(raw)}
