"""Symbolic links in a layout: those that stay inside are followed, and others only if the caller says so."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests import layouts

import ocipush
from ocipush import errors
from ocipush._sources import files
from ocipush.testing import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio
LAYER = b"layer" * 1000


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    path = tmp_path / "store" / "app"
    layouts.write_layout(path, [layouts.add_manifest(path, [LAYER])])
    return path


def blob_of(layout: Path) -> Path:
    return layout / "blobs" / "sha256" / hashlib.sha256(LAYER).hexdigest()


def open_files() -> set[str]:
    """The descriptors of this process. One of them lists the others, the same each time."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def link(path: Path, target: str | Path, *, moved: Path) -> None:
    """Move what is at ``path``, and put a link in its place."""
    moved.parent.mkdir(parents=True, exist_ok=True)
    path.rename(moved)
    path.symlink_to(target)


def blob(layout: Path) -> None:
    link(blob_of(layout), "../../pool/a", moved=layout / "pool/a")


def blob_twice(layout: Path) -> None:
    blob(layout)
    link(layout / "pool/a", "../other/./b", moved=layout / "other/b")


def blobs(layout: Path) -> None:
    link(layout / "blobs", "pool/one", moved=layout / "pool/one")


def algorithm(layout: Path) -> None:
    link(layout / "blobs/sha256", "../pool/../pool//one", moved=layout / "pool/one")


def index(layout: Path) -> None:
    link(layout / "index.json", "pool/index", moved=layout / "pool/index")


def out_to_the_store(layout: Path) -> None:
    link(blob_of(layout), "../../../pool/a", moved=layout.parent / "pool/a")


def out_and_in_again(layout: Path) -> None:
    link(blob_of(layout), "../../../app/pool/a", moved=layout / "pool/a")


def out(layout: Path) -> None:
    link(blob_of(layout), "../../../../a", moved=layout.parent.parent / "a")


def out_by_an_absolute_path(layout: Path) -> None:
    link(blob_of(layout), layout.parent.parent / "a", moved=layout.parent.parent / "a")


def blobs_out(layout: Path) -> None:
    link(layout / "blobs", "../../blobs", moved=layout.parent.parent / "blobs")


def index_out(layout: Path) -> None:
    link(layout / "index.json", "../../index", moved=layout.parent.parent / "index")


INSIDE = [blob, blob_twice, blobs, algorithm, index]
IN_THE_STORE = [out_to_the_store, out_and_in_again]
OUTSIDE = [out, out_by_an_absolute_path, blobs_out, index_out]


async def push(layout: Path, *, by: str, follow_links: bool = False) -> None:
    before = open_files()
    async with Registry() as registry:
        target = f"{registry.host}/team/app:1"
        source = layout if by == "path" else "app"
        try:
            await ocipush.push(source, target=target, store=layout.parent, follow_links=follow_links)
        except errors.OcipushError:
            assert registry.repository("team/app").tags == {}
            raise

        held = registry.repository("team/app")
        assert LAYER in held.blobs.values()
        assert set(held.manifests) == set(layouts.contents(layout)[1])
    assert open_files() == before


@pytest.mark.parametrize("by", ["path", "name"])
@pytest.mark.parametrize("make", INSIDE)
async def test_link_that_stays_in_the_layout_is_followed(layout: Path, make: Callable[[Path], None], by: str) -> None:
    make(layout)
    await push(layout, by=by)


@pytest.mark.parametrize("make", IN_THE_STORE)
async def test_link_that_stays_in_the_store_is_followed_only_from_the_store(
    layout: Path, make: Callable[[Path], None]
) -> None:
    make(layout)
    await push(layout, by="name")
    with pytest.raises(errors.BlobMissingError, match="a symbolic link that leads out"):
        await push(layout, by="path")


@pytest.mark.parametrize("by", ["path", "name"])
@pytest.mark.parametrize("make", OUTSIDE)
async def test_link_to_outside_is_followed_only_with_the_option(
    layout: Path, make: Callable[[Path], None], by: str
) -> None:
    make(layout)
    with pytest.raises(errors.LayoutError, match="a symbolic link that leads out") as caught:
        await push(layout, by=by)
    assert "follow_links=True" in (caught.value.hint or "")
    await push(layout, by=by, follow_links=True)


async def test_file_outside_is_hashed_before_its_first_byte_is_sent(layout: Path) -> None:
    out(layout)
    (layout.parent.parent / "a").write_bytes(LAYER[::-1])
    async with Registry() as registry:
        with pytest.raises(errors.BlobCorruptError, match="does not match its digest"):
            await ocipush.push(layout, target=f"{registry.host}/team/app:1", follow_links=True)
        held = registry.repository("team/app")
        assert LAYER[::-1] not in held.blobs.values()
        bodies = [one for one in registry.requests if one.headers.get("content-length") == str(len(LAYER))]
        assert (bodies, held.tags) == ([], {})


def to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def to_a_directory(path: Path) -> None:
    path.symlink_to("..")


def to_nothing(path: Path) -> None:
    path.symlink_to("absent")


def below_a_file(path: Path) -> None:
    path.symlink_to("../../index.json/x")


@pytest.mark.parametrize("make", [to_itself, to_a_directory, to_nothing, below_a_file])
@pytest.mark.parametrize("follow_links", [False, True])
async def test_dangling_link_is_a_missing_blob(layout: Path, make: Callable[[Path], None], follow_links: bool) -> None:
    blob_of(layout).unlink()
    make(blob_of(layout))
    with pytest.raises(errors.BlobMissingError):
        await push(layout, by="path", follow_links=follow_links)


def test_directory_that_becomes_a_link_to_outside_while_links_are_followed_is_not_entered(
    layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob(layout)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/a").write_bytes(b"secret")
    real = files._open_directory

    def swapped(name: str, parent: int) -> int:
        if name == "pool":
            (layout / "pool").rename(layout / "moved")
            (layout / "pool").symlink_to(tmp_path / "secrets")
        return real(name, parent)

    monkeypatch.setattr(files, "_open_directory", swapped)
    name = str(blob_of(layout).relative_to(layout))
    with files.Directory.open(layout) as directory, pytest.raises(OSError, match="symbolic links"):
        os.close(directory.open_file(name))
