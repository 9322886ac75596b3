"""Images in skopeo's ``dir:`` form: ``manifest.json``, ``version``, and files that are named by their digests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests import archives, layouts

import ocipush
from ocipush import errors
from ocipush.testing import Registry

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    path = tmp_path / "layout"
    children = [layouts.add_manifest(path, [b"shared", layer]) for layer in (b"amd64", b"arm64")]
    layouts.write_layout(path, [layouts.add_index(path, children)])
    return path


@pytest.fixture
def directory(layout: Path, tmp_path: Path) -> Path:
    """The image of the layout in skopeo's form."""
    blobs, documents = layouts.contents(layout)
    root = next(digest for digest, raw in documents.items() if b'"manifests"' in raw)
    made = tmp_path / "directory"
    made.mkdir()
    (made / "version").write_text("Directory Transport Version: 1.1\n")
    (made / "manifest.json").write_bytes(documents.pop(root))
    for suffix, files in (("", blobs), (".manifest.json", documents)):
        for digest, raw in files.items():
            (made / f"{digest.partition(':')[2]}{suffix}").write_bytes(raw)
    return made


@pytest.mark.parametrize("form", ["directory", "archive"])
async def test_image_arrives_byte_for_byte(layout: Path, directory: Path, form: str) -> None:
    source = directory
    if form == "archive":
        source = directory.with_suffix(".tar")
        archives.pack(directory, source)
    async with Registry() as registry:
        result = await ocipush.push(source, target=f"{registry.host}/team/app:1")
        held = registry.repository("team/app")
    assert (held.blobs, {digest: one.raw for digest, one in held.manifests.items()}) == layouts.contents(layout)
    assert held.tags == {"1": result.digest}


async def test_image_records_no_reference(directory: Path) -> None:
    with pytest.raises(errors.TargetRequiredError):
        await ocipush.push(directory)


async def test_invalid_manifest_is_refused(directory: Path) -> None:
    (directory / "manifest.json").write_text("{}")
    with pytest.raises(errors.InvalidLayoutError, match="not a valid manifest"):
        await ocipush.push(directory, target="127.0.0.1:1/team/app:1")


async def test_file_that_is_missing_is_named(directory: Path) -> None:
    missing = next(path for path in directory.iterdir() if path.read_bytes() == b"shared")
    missing.unlink()
    with pytest.raises(errors.BlobMissingError, match=missing.name):
        await ocipush.push(directory, target="127.0.0.1:1/team/app:1")
