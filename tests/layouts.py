"""Make small OCI layouts for tests that need one on disk."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"

Descriptor = dict[str, Any]


def blob_path(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def file_of(layout: Path, content: bytes) -> Path:
    """The file of the blob with this content."""
    return blob_path(layout, f"sha256:{hashlib.sha256(content).hexdigest()}")


def add_blob(layout: Path, content: bytes, media_type: str = LAYER, *, algorithm: str = "sha256") -> Descriptor:
    digest = f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
    path = blob_path(layout, digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def add_foreign_layer(layout: Path, content: bytes, media_type: str = FOREIGN) -> Descriptor:
    return {**add_blob(layout, content, media_type), "urls": ["https://elsewhere.example/layer"]}


def add_manifest(layout: Path, layers: Sequence[bytes | Descriptor], config: bytes | Descriptor = b"{}") -> Descriptor:
    """Add a manifest and its blobs; a layer or config that is a descriptor stands in the manifest as it is."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": add_blob(layout, config, CONFIG) if isinstance(config, bytes) else config,
        "layers": [add_blob(layout, layer) if isinstance(layer, bytes) else layer for layer in layers],
    }
    return add_blob(layout, json.dumps(document).encode(), MANIFEST)


def add_index(layout: Path, manifests: Sequence[Descriptor]) -> Descriptor:
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
    return add_blob(layout, json.dumps(document).encode(), INDEX)


def write_layout(layout: Path, manifests: Sequence[Descriptor], *, ref: str | None = None) -> None:
    """Write ``oci-layout`` and ``index.json``; ``ref`` is recorded for the first manifest."""
    if ref is not None:
        manifests = [{**manifests[0], "annotations": {"org.opencontainers.image.ref.name": ref}}, *manifests[1:]]
    layout.mkdir(parents=True, exist_ok=True)
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))


def write_image(
    layout: Path, *layers: bytes | Descriptor, config: bytes | Descriptor = b"{}", ref: str | None = None
) -> Path:
    """Write a layout with one image; the path of the layout."""
    write_layout(layout, [add_manifest(layout, layers, config)], ref=ref)
    return layout


def root_digest(layout: Path) -> str:
    """The digest of the first image in a layout's ``index.json``."""
    return str(json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"])


def contents(layout: Path) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The blobs, and the manifests and indexes, that ``index.json`` leads to, by digest."""
    blobs: dict[str, bytes] = {}
    documents: dict[str, bytes] = {}

    def take(descriptor: Descriptor) -> None:
        raw = blob_path(layout, descriptor["digest"]).read_bytes()
        if descriptor["mediaType"] not in {MANIFEST, INDEX}:
            blobs[descriptor["digest"]] = raw
            return
        documents[descriptor["digest"]] = raw
        document = json.loads(raw)
        for child in (*document.get("manifests", ()), *document.get("layers", ()), document.get("config")):
            take(child) if child else None

    for root in json.loads((layout / "index.json").read_bytes())["manifests"]:
        take(root)
    return blobs, documents
