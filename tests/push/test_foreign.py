"""Foreign layers, which clients download from their own URLs, are sent only when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests import layouts
from tests.pushing import push

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
async def test_layer_is_sent_unless_its_media_type_is_foreign(tmp_path: Path, media_type: str, outcome: str) -> None:
    layer = layouts.add_foreign_layer(tmp_path / "app", b"layer", media_type)
    image = layouts.write_image(tmp_path / "app", layer)
    async with Registry() as registry:
        result = await push(image, registry)
        assert {blob.digest: blob.outcome for blob in result.blobs}[layer["digest"]] == outcome
        assert (layer["digest"] in registry.repository("app").blobs) is (outcome == "uploaded")


@pytest.mark.parametrize("include", [False, True])
async def test_foreign_layer_is_sent_only_when_asked_for(tmp_path: Path, include: bool) -> None:
    layer = layouts.add_foreign_layer(tmp_path / "app", b"windows")
    image = layouts.write_image(tmp_path / "app", layer)
    if not include:
        layouts.file_of(image, b"windows").unlink()
    async with Registry() as registry:
        result = await push(image, registry, include_foreign=include)
        assert (layer["digest"] in registry.repository("app").blobs) == include
        assert result.blobs[0].outcome == ("uploaded" if include else "foreign")
