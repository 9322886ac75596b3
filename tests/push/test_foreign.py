"""Foreign layers, which clients download from their own URLs, are sent only when asked for."""

from __future__ import annotations

import json
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


@pytest.mark.parametrize("index", [False, True], ids=["image", "index"])
async def test_foreign_layer_is_sent_for_an_image_that_was_pushed_without_it(tmp_path: Path, index: bool) -> None:
    layer = layouts.add_foreign_layer(tmp_path / "app", b"windows")
    image = layouts.write_image(tmp_path / "app", layer)
    if index:
        [child] = json.loads((image / "index.json").read_bytes())["manifests"]
        layouts.write_layout(image, [layouts.add_index(image, [child])])
    async with Registry() as registry:
        await push(image, registry)
        assert (await push(image, registry)).unchanged
        result = await push(image, registry, include_foreign=True)
        assert [blob.outcome for blob in result.blobs] == ["uploaded"]
        assert not result.unchanged
        assert layer["digest"] in registry.repository("app").blobs
        assert (await push(image, registry, include_foreign=True)).unchanged


async def test_foreign_layer_of_a_child_that_the_old_index_has_is_sent(tmp_path: Path) -> None:
    layout = tmp_path / "app"
    layer = layouts.add_foreign_layer(layout, b"windows")
    [child] = json.loads((layouts.write_image(layout, layer) / "index.json").read_bytes())["manifests"]
    others = [layouts.add_manifest(layout, [b"%d" % number]) for number in range(2)]
    async with Registry() as registry:
        for number, include in enumerate((False, True)):
            layouts.write_layout(layout, [layouts.add_index(layout, [child, others[number], others[0]])])
            await push(layout, registry, include_foreign=include)
            assert (layer["digest"] in registry.repository("app").blobs) is include
