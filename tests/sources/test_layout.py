"""Opening a layout: what the hints of its errors say, and how much of a document is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
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


def below_a_file(path: Path) -> Path:
    return archive(path) / "app"


def loop(path: Path) -> Path:
    (path.parent / "loop").symlink_to(path.parent / "loop")
    return path.parent / "loop"


def skopeo_dir(path: Path) -> Path:
    made = path.parent / "dir"
    made.mkdir()
    (made / "version").write_text("Directory Transport Version: 1.1\n")
    (made / "manifest.json").write_text("{}")
    return made


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
        (archive, "it is a file, not a directory", "unpack it"),
        (below_a_file, "Not a directory", "check the path"),
        (loop, "Too many levels of symbolic links", "check the path"),
        (skopeo_dir, "not an OCI layout", "`skopeo copy dir:{path} oci:DIRECTORY`"),
        (empty, "not an OCI layout", "a layout is a directory with index.json"),
        (without_index, "not an OCI layout", "damaged or incomplete"),
        (linked_index, "it is a symbolic link, which is not followed", "`cp -rL`"),
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
