"""Damaged layouts: each kind of damage has its error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ocipush import errors
from ocipush._sources.layout import Layout
from ocipush._sources.verify import verify_blobs
from ocipush._sources.walk import read_contents

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


pytestmark = pytest.mark.anyio


def edit_index(**fields: Any) -> Callable[[Path], None]:
    def edit(layout: Path) -> None:
        value = json.loads((layout / "index.json").read_text())
        (layout / "index.json").write_text(json.dumps({**value, **fields}))

    return edit


def write(name: str, content: bytes) -> Callable[[Path], None]:
    def damage(layout: Path) -> None:
        (layout / name).write_bytes(content)

    return damage


def without_index(layout: Path) -> None:
    (layout / "index.json").unlink()


def resize(layout: Path) -> None:
    next(path for path in (layout / "blobs/sha256").iterdir() if path.read_bytes() == b"layer").write_bytes(b"layers")


def corrupt(layout: Path) -> None:
    next(path for path in (layout / "blobs/sha256").iterdir() if path.read_bytes() == b"layer").write_bytes(b"LAYER")


def link_out(layout: Path) -> None:
    blob = next(path for path in (layout / "blobs/sha256").iterdir() if path.read_bytes() == b"layer")
    (layout.parent / "outside").write_bytes(b"layer")
    blob.unlink()
    blob.symlink_to(layout.parent / "outside")


def directory(layout: Path) -> None:
    blob = next(path for path in (layout / "blobs/sha256").iterdir() if path.read_bytes() == b"layer")
    blob.unlink()
    blob.mkdir()


def break_manifest(layout: Path) -> None:
    blob = next(path for path in (layout / "blobs/sha256").iterdir() if b"layers" in path.read_bytes())
    blob.write_bytes(blob.read_bytes().replace(b'"schemaVersion": 2', b'"schemaVersion": 3'))


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (write("index.json", b"{"), errors.InvalidLayoutError, "not JSON"),
        (without_index, errors.InvalidLayoutError, "not an OCI layout"),
        (write("index.json", b" " * 67108865), errors.InvalidLayoutError, "64 MiB"),
        (write("oci-layout", b'{"imageLayoutVersion":"2"}'), errors.InvalidLayoutError, "version"),
        (edit_index(manifests=[]), errors.ManifestNotFoundError, "no image"),
        (edit_index(manifests=[{"digest": "sha256:../../x", "size": 1}]), errors.InvalidLayoutError, "not a digest"),
        (edit_index(manifests=[{"digest": "sha256:" + "0" * 64, "size": 5000000}]), errors.InvalidLayoutError, "4 MiB"),
        (
            edit_index(manifests=[{"digest": "sha256:" + "0" * 64, "size": 5}]),
            errors.BlobMissingError,
            "cannot be opened",
        ),
        (resize, errors.BlobCorruptError, "has 6 bytes"),
        (corrupt, errors.BlobCorruptError, "does not match its digest"),
        (link_out, errors.BlobMissingError, "symbolic link"),
        (directory, errors.BlobMissingError, "not a regular file"),
        (break_manifest, errors.BlobCorruptError, "does not match its descriptor"),
    ],
)
async def test_damaged_layout_raises_its_typed_error(
    image: Path, damage: Callable[[Path], Any], error: type[errors.OcipushError], words: str
) -> None:
    damage(image)
    with pytest.raises(error, match=words):
        async with await Layout.open(image) as opened:
            await verify_blobs(opened, await read_contents(opened, opened.select()))
