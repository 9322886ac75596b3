"""Layers that may only be fetched from their own addresses are not sent, of whichever type they are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests import layouts

import ocipush
from ocipush.testing import Registry

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("media_type", "outcome"),
    [
        ("application/vnd.docker.image.rootfs.foreign.diff.tar", "foreign"),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "foreign"),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar", "foreign"),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "foreign"),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", "foreign"),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", "uploaded"),
        ("application/vnd.oci.image.layer.v1.tar", "uploaded"),
        ("application/vnd.oci.image.layer.v1.tar+gzip", "uploaded"),
        ("application/vnd.oci.image.layer.v1.tar+zstd", "uploaded"),
    ],
)
async def test_layer_is_sent_unless_its_type_says_that_it_is_foreign(
    tmp_path: Path, media_type: str, outcome: str
) -> None:
    layout = tmp_path / "app"
    layer: dict[str, Any] = {
        **layouts.add_blob(layout, b"layer", media_type),
        "urls": ["https://elsewhere.example/layer"],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": layouts.MANIFEST,
        "config": layouts.add_blob(layout, b"{}", "application/vnd.oci.image.config.v1+json"),
        "layers": [layer],
    }
    layouts.write_layout(layout, [layouts.add_blob(layout, json.dumps(manifest).encode(), layouts.MANIFEST)])
    async with Registry() as registry:
        result = await ocipush.push(layout, target=f"{registry.host}/app:1", authfile=tmp_path / "none")
        assert {blob.digest: blob.outcome for blob in result.blobs}[layer["digest"]] == outcome
        assert (layer["digest"] in registry.repository("app").blobs) is (outcome == "uploaded")
