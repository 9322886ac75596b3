"""The documents and blobs of an image, in the order in which they are pushed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests import layouts

from ocipush._sources.layout import Layout
from ocipush._sources.verify import verify_blobs
from ocipush._sources.walk import read_contents

if TYPE_CHECKING:
    from pathlib import Path


INDEX = "application/vnd.oci.image.index.v1+json"
pytestmark = pytest.mark.anyio


def multi_arch(layout: Path) -> None:
    children = [layouts.add_manifest(layout, [b"shared", layer]) for layer in (b"amd64", b"arm64")]
    other = layouts.add_blob(layout, b"attachment", "application/octet-stream")
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*children, other]}
    layouts.write_layout(layout, [layouts.add_blob(layout, json.dumps(index).encode(), INDEX)])


async def test_lists_written_as_null_are_empty(tmp_path: Path) -> None:
    layout = tmp_path / "app"
    manifest = {
        "schemaVersion": 2,
        "config": layouts.add_blob(layout, b"{}", "application/vnd.oci.image.config.v1+json"),
        "layers": None,
    }
    layouts.write_layout(layout, [layouts.add_blob(layout, json.dumps(manifest).encode(), layouts.MANIFEST)])
    async with await Layout.open(layout) as opened:
        assert len((await read_contents(opened, opened.select())).blobs) == 1


async def test_child_of_an_index_without_a_media_type_is_read_as_a_manifest(tmp_path: Path) -> None:
    layout = tmp_path / "app"
    child = {**layouts.add_manifest(layout, [b"layer"]), "mediaType": ""}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}
    layouts.write_layout(layout, [layouts.add_blob(layout, json.dumps(index).encode(), INDEX)])
    async with await Layout.open(layout) as opened:
        contents = await read_contents(opened, opened.select())
    assert [document.media_type for document in contents.documents] == [layouts.MANIFEST, INDEX]


async def test_index_is_read_children_first_and_shared_blobs_once(tmp_path: Path) -> None:
    multi_arch(tmp_path / "app")
    (tmp_path / "app" / "oci-layout").unlink()
    async with await Layout.open(tmp_path / "app") as layout:
        assert "has no oci-layout file" in layout.warnings[0]
        contents = await read_contents(layout, layout.select())
        await verify_blobs(layout, contents)
        assert [document.media_type for document in contents.documents] == [layouts.MANIFEST] * 2 + [INDEX]
        assert sorted(blob.size for blob in contents.blobs) == [2, 5, 5, 6, 10]
        assert contents.size == sum(len(document.raw) for document in contents.documents) + 28
        opened = await layout.open_blob(contents.blobs[0])
        assert not isinstance(opened, bytes)
        async with opened:
            assert opened.size == contents.blobs[0].size
