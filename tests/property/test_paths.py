"""No name, annotation or digest leads out of the store, or out of its layout."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import layouts

from ocipush import errors
from ocipush._sources.layout import Layout
from ocipush._sources.store import list_images, match_image
from ocipush._sources.walk import read_contents

if TYPE_CHECKING:
    from pathlib import Path

PIECES = [
    "..",
    ".",
    "/",
    "\\",
    "~",
    "app",
    "outside",
    "store",
    "sha256",
    ":",
    "@",
    "%2e%2e",
    "\0",
    "\uff0e",
    "\u2024",
    "a" * 64,
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one image, and another layout beside it that is not its business."""
    home = tmp_path_factory.mktemp("home")
    for name in ("store/app", "outside"):
        layouts.write_image(home / name, b"layer")
    return home / "store"


@given(text=TEXTS)
def test_no_name_leads_out_of_the_store(store: Path, text: str) -> None:
    for name in (text, f"../{text}", f"{store.parent}/{text}", f"../outside{text}"):
        try:
            found = match_image(store, name)
        except errors.OcipushError:
            continue
        found.close()
        assert found.layout.path.parent == store


@given(text=TEXTS)
@settings(max_examples=30)
def test_recorded_reference_is_never_used_as_a_path(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    home = tmp_path_factory.mktemp("home")
    layouts.write_image(home / "outside", b"layer")
    root = layouts.add_manifest(home / "store" / "app", [b"layer"])
    root["annotations"] = {"org.opencontainers.image.ref.name": f"../outside{text}"}
    layouts.write_layout(home / "store" / "app", [root])
    assert {one.path.parent for one in list_images(home / "store")} <= {home / "store"}
    with_ref = [one.ref for one in list_images(home / "store")]
    for name in (f"../outside{text}", *filter(None, with_ref)):
        try:
            match = match_image(home / "store", name)
        except errors.OcipushError:
            continue
        match.close()
        assert match.layout.path == home / "store" / "app"


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    "digest",
    [
        "sha256:../../../outside/index.json",
        "sha256:" + "../" * 21 + "x",
        "../blobs/sha256:" + "0" * 64,
        "sha256/../..:" + "0" * 64,
        "SHA256:" + "0" * 64,
        "sha256:" + "0" * 63 + "/",
        "sha256:" + "0" * 64 + "/../x",
        "sha256:" + "0" * 64 + "\n",
        "sha256:" + "\uff10" * 64,
        "/etc/passwd",
        "",
    ],
)
async def test_invalid_digest_is_refused_before_it_is_used_as_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digest: str
) -> None:
    path = tmp_path / "app"
    root = layouts.add_manifest(path, [b"layer"])
    layouts.write_layout(path, [{**root, "digest": digest}])
    opened: list[Any] = []
    real = os.open

    def spy(name: Any, *rest: Any, **options: Any) -> int:
        opened.append(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(os, "open", spy)
    with pytest.raises(errors.InvalidLayoutError):
        async with await Layout.open(path) as layout:
            layout.select(None)
    assert opened
    assert {os.fspath(name) for name in opened} <= {os.fspath(path), "index.json", "oci-layout"}


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_blob_that_becomes_a_link_after_the_check_is_not_followed(tmp_path: Path) -> None:
    path, content = tmp_path / "app", b"layer"
    layouts.write_image(path, content)
    (tmp_path / "secret").write_bytes(content)
    async with await Layout.open(path) as layout:
        contents = await read_contents(layout, layout.select(None))
        blob = next(one for one in contents.blobs if one.digest == f"sha256:{hashlib.sha256(content).hexdigest()}")
        file = path / "blobs" / "sha256" / blob.digest.partition(":")[2]
        file.unlink()
        file.symlink_to(tmp_path / "secret")
        with pytest.raises(errors.BlobMissingError, match="symbolic link"):
            await layout.open_blob(blob)


def test_layouts_of_these_tests_are_complete(store: Path) -> None:
    assert [one.name for one in list_images(store)] == ["app"]
    assert json.loads((store.parent / "outside" / "index.json").read_text())["manifests"]
