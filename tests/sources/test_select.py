"""Which image of a layout is chosen, by reference, tag or digest."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests import layouts

import ocipush
from ocipush import errors
from ocipush._sources.layout import Layout
from ocipush._sources.open import open_source
from ocipush._sources.store import match_image

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.anyio


def two_images(layout: Path) -> None:
    manifests = [layouts.add_manifest(layout, [layer]) for layer in (b"a", b"b")]
    for manifest, ref in zip(manifests, ("host.example/app:1", "host.example/app:2"), strict=True):
        manifest["annotations"] = {"org.opencontainers.image.ref.name": ref}
    layouts.write_layout(layout, manifests)


async def test_image_is_chosen_by_reference_tag_or_digest(tmp_path: Path) -> None:
    two_images(tmp_path / "app")
    async with await Layout.open(tmp_path / "app") as layout:
        first, second = layout.index.manifests
        assert layout.select("2") == layout.select("host.example/app:2") == layout.select(second.digest) == second
        with pytest.raises(errors.AmbiguousImageError, match="ref=") as caught:
            layout.select()
        assert first.digest in caught.value.candidates[0]
        for other in ("3", "", "app:2", second.digest.encoded):
            with pytest.raises(errors.ManifestNotFoundError, match="no image that matches"):
                layout.select(other)
    with closing(match_image(tmp_path, "host.example/app:2")) as match:
        assert match.descriptor == second


def test_reference_recorded_by_two_images_of_a_layout_is_ambiguous(tmp_path: Path) -> None:
    layout = tmp_path / "app"
    manifests = [layouts.add_manifest(layout, [layer]) for layer in (b"a", b"b")]
    for manifest in manifests:
        manifest["annotations"] = {"org.opencontainers.image.ref.name": "host.example/app:1"}
    layouts.write_layout(layout, manifests)
    with pytest.raises(errors.AmbiguousImageError, match="for several images") as caught:
        match_image(tmp_path, "host.example/app:1")
    assert caught.value.candidates == tuple(manifest["digest"] for manifest in manifests)
    layouts.write_layout(layout, [manifests[0], manifests[0]])
    with closing(match_image(tmp_path, "host.example/app:1")) as match:
        assert match.layout.path == layout


async def test_image_with_two_references_is_listed_under_both_and_pushed_to_the_first(tmp_path: Path) -> None:
    layout = tmp_path / "app"
    manifests = [layouts.add_manifest(layout, [layer]) for layer in (b"a", b"a", b"b")]
    for manifest, tag in zip(manifests, "123", strict=True):
        manifest["annotations"] = {"org.opencontainers.image.ref.name": f"host.example/app:{tag}"}
    layouts.write_layout(layout, manifests)
    async with await Layout.open(layout) as opened:
        assert opened.select(manifests[0]["digest"]).ref_name == "host.example/app:1"
        with pytest.raises(errors.AmbiguousImageError) as caught:
            opened.select()
    assert len(caught.value.candidates) == len(manifests)


def containerd(tag: str, name: str) -> dict[str, str]:
    return {"org.opencontainers.image.ref.name": tag, "io.containerd.image.name": name}


async def test_full_name_recorded_by_containerd_is_found_but_is_not_a_target(tmp_path: Path) -> None:
    layout = tmp_path / "app"
    manifests = [layouts.add_manifest(layout, [layer]) for layer in (b"a", b"b")]
    for manifest, tag in zip(manifests, "12", strict=True):
        manifest["annotations"] = containerd(tag, f"host.example/app:{tag}")
    layouts.write_layout(layout, manifests)
    async with await Layout.open(layout) as opened:
        for ref in ("2", "host.example/app:2"):
            assert opened.select(ref).digest == manifests[1]["digest"]
        with pytest.raises(errors.AmbiguousImageError) as caught:
            opened.select()
    assert caught.value.candidates[0].startswith("host.example/app:1  -  image  sha256:")
    with closing(match_image(tmp_path, "host.example/app:2")) as match:
        assert match.descriptor is not None
        assert match.descriptor.digest == manifests[1]["digest"]
    assert ocipush.list_images(tmp_path)[0].ref == "host.example/app:1"
    with pytest.raises(errors.TargetRequiredError):
        await ocipush.push("host.example/app:2", store=tmp_path)


async def test_signature_next_to_an_image_is_not_a_second_image(tmp_path: Path) -> None:
    layout = tmp_path / "app"
    image = layouts.add_manifest(layout, [b"layer"])
    about = {
        "schemaVersion": 2,
        "config": layouts.add_blob(layout, b"{}", "application/vnd.cncf.notary.signature"),
        "layers": [],
        "subject": image,
    }
    signature = layouts.add_blob(layout, json.dumps(about).encode(), layouts.MANIFEST)
    tagged = layouts.add_manifest(layout, [b"cosign"])
    tagged["annotations"] = {"org.opencontainers.image.ref.name": image["digest"].replace(":", "-") + ".sig"}
    dropped = layouts.add_blob(layout, b"{}", "application/vnd.oci.artifact.manifest.v1+json")
    lost = {"mediaType": layouts.MANIFEST, "digest": "sha256:" + "0" * 64, "size": 5}
    layouts.write_layout(layout, [signature, tagged, image, dropped])
    async with await Layout.open(layout) as opened:
        assert opened.select().digest == image["digest"]
        assert opened.select(signature["digest"]).digest == signature["digest"]
    layouts.write_layout(layout, [signature, tagged])
    async with await Layout.open(layout) as opened:
        with pytest.raises(errors.AmbiguousImageError):
            opened.select()
    layouts.write_layout(layout, [image, lost])
    async with await Layout.open(layout) as opened:
        with pytest.raises(errors.AmbiguousImageError):
            opened.select()


async def test_signature_that_is_not_pushed_with_its_image_is_counted(tmp_path: Path) -> None:
    layout = tmp_path / "app"
    image = layouts.add_manifest(layout, [b"layer"])
    signature = layouts.add_manifest(layout, [b"cosign"])
    tag = image["digest"].replace(":", "-") + ".sig"
    signature["annotations"] = {"org.opencontainers.image.ref.name": tag}
    for manifests, count in (([image, signature], 1), ([image], 0)):
        layouts.write_layout(layout, manifests)
        async with open_source(layout, ref=image["digest"], store=tmp_path) as found:
            assert [text.rpartition(": ")[2] for text in found.warnings] == [str(count)] * count
