"""Make small OCI layouts for tests that need one on disk."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def add_blob(
    layout: Path, content: bytes, media_type: str = "application/vnd.oci.image.layer.v1.tar"
) -> dict[str, Any]:
    encoded = hashlib.sha256(content).hexdigest()
    path = layout / "blobs" / "sha256" / encoded
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{encoded}", "size": len(content)}


def add_manifest(layout: Path, layers: list[bytes], config: bytes = b"{}") -> dict[str, Any]:
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": add_blob(layout, config, "application/vnd.oci.image.config.v1+json"),
        "layers": [add_blob(layout, layer) for layer in layers],
    }
    return add_blob(layout, json.dumps(document).encode(), MANIFEST)


def write_layout(layout: Path, manifests: list[dict[str, Any]], *, ref: str | None = None) -> None:
    if ref is not None:
        manifests = [{**manifests[0], "annotations": {"org.opencontainers.image.ref.name": ref}}, *manifests[1:]]
    layout.mkdir(parents=True, exist_ok=True)
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))


def write_image(layout: Path, *layers: bytes, config: bytes = b"{}", ref: str | None = None) -> Path:
    """Write a layout with one image; the layout's path."""
    write_layout(layout, [add_manifest(layout, list(layers), config)], ref=ref)
    return layout


def root_digest(layout: Path) -> str:
    """The digest of the first image in a layout's ``index.json``."""
    return str(json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"])


def add_index(layout: Path, manifests: list[dict[str, Any]]) -> dict[str, Any]:
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
    return add_blob(layout, json.dumps(document).encode(), INDEX)


def contents(layout: Path) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The blobs, and the manifests and indexes, that a layout's ``index.json`` leads to, by digest."""
    blobs: dict[str, bytes] = {}
    documents: dict[str, bytes] = {}

    def take(descriptor: dict[str, Any]) -> None:
        raw = (layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()
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
