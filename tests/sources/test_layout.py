"""Opening a layout: what the hints of its errors say, and how much of a document is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests import layouts
from tests.descriptors import open_descriptors

from ocipush import errors
from ocipush._sources.layout import Layout
from ocipush._sources.walk import read_contents

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio
HUGE = 1 << 40  # bytes, all of them a hole in the file


def absent(path: Path) -> Path:
    return path.parent / "absent"


def archive(path: Path) -> Path:
    (path.parent / "app.tar").write_bytes(b"")
    return path.parent / "app.tar"


def text(path: Path) -> Path:
    (path.parent / "app.txt").write_text("FROM scratch\n" * 100)
    return path.parent / "app.txt"


def below_a_file(path: Path) -> Path:
    return archive(path) / "app"


def loop(path: Path) -> Path:
    (path.parent / "loop").symlink_to(path.parent / "loop")
    return path.parent / "loop"


def ollama(path: Path) -> Path:
    for name in ("manifests", "blobs"):
        (path.parent / "models" / name).mkdir(parents=True)
    return path.parent / "models"


def sparse(path: Path) -> Path:
    (path / "index.json").unlink()
    (path / "oci-layout").rename(path / "sparse-oci-layout")
    return path


def empty(path: Path) -> Path:
    (path.parent / "empty").mkdir()
    return path.parent / "empty"


def without_index(path: Path) -> Path:
    (path / "index.json").unlink()
    return path


def linked_index(path: Path) -> Path:
    (path / "index.json").rename(path.parent / "index.json")
    (path / "index.json").symlink_to(path.parent / "index.json")
    return path


@pytest.mark.parametrize(
    ("make", "words", "hint"),
    [
        (absent, "No such file or directory", "check the path"),
        (archive, "app.tar is empty", "copy the archive again"),
        (text, "is not a tar archive", "write it again"),
        (below_a_file, "Not a directory", "check the path"),
        (loop, "Too many levels of symbolic links", "check the path"),
        (ollama, "not an OCI layout", "it looks like the models of ollama"),
        (sparse, "not an OCI layout", "a layout of rules_img without layers"),
        (empty, "not an OCI layout", "a layout is a directory or a tar archive with index.json"),
        (without_index, "not an OCI layout", "damaged or incomplete"),
        (linked_index, "it is a symbolic link that leads out, which is not followed", "`cp -rL`"),
    ],
)
async def test_hint_fits_what_was_found_instead_of_a_layout(
    image: Path, make: Callable[[Path], Path], words: str, hint: str
) -> None:
    path = make(image)
    before = open_descriptors()
    with pytest.raises(errors.InvalidLayoutError, match=words) as caught:
        await Layout.open(path)
    assert hint.replace("{path}", str(path)) in (caught.value.hint or "")
    assert open_descriptors() == before


async def test_path_to_a_layout_may_be_a_symbolic_link(image: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(image)
    async with await Layout.open(tmp_path / "linked") as opened:
        assert opened.where == str(tmp_path / "linked")


async def test_document_larger_than_its_descriptor_says_is_not_read_whole(image: Path) -> None:
    async with await Layout.open(image) as opened:
        root = opened.select()
        with (image / "blobs" / root.digest.replace(":", "/")).open("ab") as file:
            file.truncate(HUGE)
        assert len(opened.read_document(root)) == root.size + 1
        with pytest.raises(errors.BlobCorruptError, match="does not match its descriptor"):
            await read_contents(opened, root)


async def test_invalid_descriptor_causes_a_warning_and_the_others_are_used(tmp_path: Path) -> None:
    layout = tmp_path / "app"
    image = layouts.add_manifest(layout, [b"layer"])
    layouts.write_layout(layout, [{**image, "digest": "md5:0"}, image])
    async with await Layout.open(layout) as opened:
        assert opened.select().digest == image["digest"]
        assert "index.json: a descriptor is ignored: manifests.0: digest: 'md5:0' is not a digest" in opened.warnings[0]


@pytest.mark.parametrize("version", ["1.0.0", "1.0.12", "1.1.0"])
async def test_layout_of_any_version_1_is_read(image: Path, version: str) -> None:
    (image / "oci-layout").write_text(json.dumps({"imageLayoutVersion": version}))
    async with await Layout.open(image) as opened:
        assert opened.warnings == ()
