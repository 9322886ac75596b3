"""How an image of the store is found, which directories are opened on the way, and what the errors say."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from tests import archives, layouts
from tests.descriptors import open_descriptors

import ocipush
from ocipush import errors
from ocipush._sources import store as store_module
from ocipush._sources.files import Directory
from ocipush._sources.layout import Layout
from ocipush._sources.open import open_source
from ocipush._sources.store import match_image
from ocipush._sources.walk import read_contents
from ocipush.testing import Registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ocipush._sources.base import Tree

REF = "host.example/team/app:1"


def write(store: Path, name: str, layer: bytes = b"layer", ref: str | None = None) -> str:
    """Write an image; its digest."""
    layouts.write_image(store / name, layer, ref=ref)
    return layouts.root_digest(store / name)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """An empty store."""
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The directories whose index.json is read."""
    names: list[str] = []
    real = Layout.read

    def spy(directory: Tree) -> Layout:
        names.append(directory.path.name)
        return real(directory)

    monkeypatch.setattr(Layout, "read", spy)
    return names


def read_root(store: Path) -> None:
    with closing(match_image(store, REF)) as match:
        assert isinstance(match.layout, Layout)
        match.layout.read_document(match.layout.select())


def found(store: Path, image: str) -> str:
    with closing(match_image(store, image)) as match:
        return match.layout.path.name


def test_image_named_exactly_is_opened_without_reading_the_others(store: Path, read: list[str]) -> None:
    for name in ("a", "b", "c"):
        write(store, name)
    assert found(store, " b ") == "b"
    assert read == ["b"]


def test_broken_neighbour_is_reported_only_when_the_store_is_searched(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(store, "app", ref=REF)
    (store / "broken").mkdir()
    found(store, "app")
    assert caplog.records == []
    found(store, REF)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert str(store / "broken") in caplog.text


def test_directory_name_wins_over_recorded_reference_and_that_over_sanitized_name(store: Path) -> None:
    write(store, "one", ref="two")
    write(store, "two")
    assert found(store, "two") == "two"
    write(store, "host.example_team_app")
    assert found(store, REF) == "host.example_team_app"
    write(store, "three", ref=REF)
    assert found(store, REF) == "three"


@pytest.mark.parametrize("name", ["file", "linked", ".hidden", ".", "..", "", "../store/app", "a\0b", "\ud800"])
def test_name_that_is_not_a_directory_of_the_store_is_not_an_image(store: Path, name: str) -> None:
    write(store, "app")
    write(store, ".hidden")
    (store / "file").write_text("{}")
    (store / "linked").symlink_to(store / "app")
    with pytest.raises(errors.ImageNotFoundError):
        match_image(store, name)


def test_name_in_another_case_is_not_an_exact_name(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(store, "app", ref=REF)
    real = Directory.open_directory

    def ignore_case(self: Directory, name: str) -> Directory:
        return real(self, name.lower())

    monkeypatch.setattr(Directory, "open_directory", ignore_case)
    monkeypatch.setattr(store_module, "_INEXACT", True)
    assert found(store, "app") == "app"
    with pytest.raises(errors.ImageNotFoundError):
        match_image(store, "APP")


def swap(store: Path, outside: Path) -> None:
    (store / "app").rename(store.parent / "moved")
    (store / "app").symlink_to(outside)


@pytest.mark.parametrize("image", ["app", REF])
@pytest.mark.anyio
async def test_directory_that_becomes_a_link_after_it_matched_is_not_followed(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: str
) -> None:
    digest = write(store, "app", ref=REF)
    assert write(tmp_path, "outside", b"secret") != digest
    real = Layout.read

    def read(directory: Tree) -> Layout:
        layout = real(directory)
        swap(store, tmp_path / "outside")
        return layout

    monkeypatch.setattr(Layout, "read", read)
    async with open_source(image, ref=None, store=store) as opened:
        assert (store / "app").is_symlink()
        assert opened.root.digest == digest
        contents = await read_contents(opened.source, opened.root)
        assert [document.descriptor.digest for document in contents.documents] == [digest]


def test_directory_that_becomes_a_link_after_the_store_was_listed_is_not_followed(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(store, "app", ref=REF)
    write(tmp_path, "outside", b"secret", REF)
    real = Directory.list_directories

    def listed(self: Directory) -> list[str]:
        names = real(self)
        if not (store / "app").is_symlink():
            swap(store, tmp_path / "outside")
        return names

    monkeypatch.setattr(Directory, "list_directories", listed)
    with pytest.raises(errors.ImageNotFoundError):
        match_image(store, REF)
    assert "symbolic link" in caplog.text


def test_store_that_becomes_a_link_after_it_was_opened_is_not_followed(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = write(store, "app", ref=REF)
    write(tmp_path / "other", "app", b"secret", REF)
    real = Directory.open

    def opened(path: Path, **options: Any) -> Directory:
        directory = real(path, **options)
        path.rename(tmp_path / "moved")
        path.symlink_to(tmp_path / "other")
        return directory

    monkeypatch.setattr(Directory, "open", opened)
    with closing(match_image(store, "app")) as match:
        assert match.layout.select().digest == digest


@pytest.mark.parametrize("image", ["app", REF, "host.example/app:2", "twin", "nothing", "broken"])
def test_search_closes_every_file_it_opened(store: Path, image: str) -> None:
    write(store, "app", ref=REF)
    write(store, "host.example_app")
    for name in ("one", "two"):
        write(store, name, ref="twin")
    (store / "broken").mkdir()
    before = open_descriptors()
    try:
        match_image(store, image).close()
    except errors.OcipushError:
        assert image in {"twin", "nothing", "broken"}
    assert open_descriptors() == before


def test_search_stops_when_its_task_is_cancelled(store: Path, read: list[str]) -> None:
    for name in ("a", "b", "c"):
        write(store, name, ref=REF)

    def check() -> None:
        if read:
            raise TimeoutError

    before = open_descriptors()
    with pytest.raises(TimeoutError):
        match_image(store, REF, check_cancelled=check)
    assert read == ["a"]
    assert open_descriptors() == before


def leave_empty(_: Path) -> None:
    pass


def remove(store: Path) -> None:
    store.rmdir()


def broken_only(store: Path) -> None:
    (store / "broken").mkdir()


def layout_itself(store: Path) -> None:
    layouts.write_image(store, b"layer")


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (remove, "there is no directory {store}; name another store with store="),
        (leave_empty, "the store is empty"),
        (broken_only, "no readable layout"),
        (layout_itself, "{store} is itself an image"),
    ],
)
def test_hint_says_why_the_store_has_no_images(store: Path, make: Callable[[Path], None], hint: str) -> None:
    make(store)
    with pytest.raises(errors.ImageNotFoundError, match="no image 'app' in the store") as caught:
        match_image(store, "app")
    assert hint.replace("{store}", str(store)) in (caught.value.hint or "")


@pytest.mark.parametrize(("number", "hint"), [(errno.EMFILE, "ulimit -n"), (errno.ENFILE, "fs.file-max")])
@pytest.mark.parametrize("name", ["store", "app", "index.json", "blobs"])
def test_too_many_open_files_are_not_blamed_on_the_image(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, number: int, hint: str
) -> None:
    write(store, "app", ref=REF)
    real = os.open

    def fail(path: Any, *rest: Any, **options: Any) -> int:
        if os.fspath(path).endswith(name):
            raise OSError(number, os.strerror(number))
        return real(path, *rest, **options)

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(errors.OcipushError) as caught:
        read_root(store)
    assert re.search(r"cannot be (read|opened).*: too many open files", caught.value.message)
    assert hint in (caught.value.hint or "")
    assert not isinstance(caught.value, errors.LayoutError)
    assert caught.value.origin == "client"
    assert caplog.records == []
    if name != "blobs":
        with pytest.raises(errors.OcipushError, match="too many open files"):
            ocipush.list_images(store)


@pytest.mark.parametrize("index", ["{}", '{"schemaVersion": 2}', '{"schemaVersion": 2, "manifests": null}'])
def test_layout_without_images_is_listed_without_a_digest(store: Path, index: str) -> None:
    layouts.write_layout(store / "app", [])
    (store / "app" / "index.json").write_text(index)
    assert [(image.name, image.ref, image.digest) for image in ocipush.list_images(store)] == [("app", None, None)]


def test_list_shows_name_recorded_reference_and_size(store: Path) -> None:
    write(store, "app", b"x" * 3000, REF)
    (image,) = ocipush.list_images(store, sizes=True)
    assert (image.name, image.ref) == ("app", REF)
    assert image.size is not None
    assert image.size > 3000
    assert ocipush.list_images(store / "absent") == []


def test_store_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(errors.LayoutError, match=r"loop cannot be read"):
        ocipush.list_images(tmp_path / "loop")


def warnings(store: Path, image: str) -> tuple[str, ...]:
    with closing(match_image(store, image)) as match:
        return match.warnings


def test_reference_recorded_by_two_directories_is_ambiguous(store: Path) -> None:
    for name in ("one", "two"):
        write(store, name, ref=REF)
    with pytest.raises(errors.AmbiguousImageError, match="one, two"):
        match_image(store, REF)


def test_hint_names_a_similar_image(store: Path) -> None:
    write(store, "alpine")
    with pytest.raises(errors.ImageNotFoundError, match="did you mean 'alpine'"):
        match_image(store, "alpin")


@pytest.mark.parametrize("image", ["broken", "broken:1"])
def test_broken_layout_that_is_named_is_an_error(store: Path, image: str) -> None:
    (store / "broken").mkdir()
    with pytest.raises(errors.InvalidLayoutError, match="not an OCI layout"):
        match_image(store, image)


def test_image_found_by_its_name_under_another_tag_causes_a_warning(store: Path) -> None:
    write(store, "alpine", ref="docker.io/library/alpine:3")
    write(store, "bare", ref="1.0")
    assert "its name only" in warnings(store, " alpine:4 ")[0]
    assert warnings(store, "alpine:3") == ()
    assert warnings(store, "bare:1.0") == ()
    assert warnings(store, "bare:2")


def save(path: Path, tag: str) -> None:
    """An archive of ``docker save`` of one image."""
    config = b'{"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": []}}'
    listed = json.dumps([{"Config": "config.json", "RepoTags": [tag], "Layers": []}]).encode()
    files = {"config.json": config, "manifest.json": listed}
    archives.write_archive(path, [(archives.member(name, raw), raw) for name, raw in files.items()])


@pytest.fixture
def stored_archives(store: Path, tmp_path: Path) -> dict[str, str | None]:
    """Archives in a store, and the digests of their images."""
    digest = write(tmp_path, "packed", ref=REF)
    archives.pack(tmp_path / "packed", store / "packed.tar")
    archives.pack(tmp_path / "packed", store / ".hidden.tar")
    save(store / "saved.tar", "r.example/team/saved:1")
    return {"packed": digest, "saved": None}


def test_archives_of_a_store_are_listed_by_their_names(store: Path, stored_archives: dict[str, str | None]) -> None:
    write(store, "unpacked")
    (store / "notes.txt").write_text("no image")
    listed = {one.name: one for one in ocipush.list_images(store, sizes=True)}
    assert list(listed) == ["packed", "saved", "unpacked"]
    for name, digest in stored_archives.items():
        path = store / f"{name}.tar"
        assert (listed[name].path, listed[name].digest, listed[name].size) == (path, digest, path.stat().st_size)
    assert (listed["packed"].ref, listed["saved"].ref) == (REF, "r.example/team/saved:1")


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("packed", "packed"),
        (REF, "packed"),
        ("packed:2", "packed"),
        ("saved", "saved"),
        ("r.example/team/saved:1", "saved"),
    ],
)
@pytest.mark.anyio
async def test_archive_of_a_store_is_found_by_name_and_reference(
    store: Path, stored_archives: dict[str, str | None], image: str, name: str
) -> None:
    assert name in stored_archives
    before = open_descriptors()
    async with Registry() as registry:
        result = await ocipush.push(image, store=store, target=f"{registry.host}/team/app:1")
        assert registry.repository("team/app").tags == {"1": result.digest}
    assert stored_archives[name] in {None, result.digest}
    assert open_descriptors() == before


@pytest.mark.parametrize("name", [".hidden", "packed.tar", "..", "absent"])
def test_what_is_no_name_of_an_archive_is_no_image(
    store: Path, stored_archives: dict[str, str | None], name: str
) -> None:
    assert stored_archives
    with pytest.raises(errors.ImageNotFoundError):
        match_image(store, name)


def test_directory_hides_an_archive_of_the_same_name(store: Path, stored_archives: dict[str, str | None]) -> None:
    assert stored_archives
    write(store, "packed", b"another", "r.example/other:1")
    assert [one.ref for one in ocipush.list_images(store)] == ["r.example/other:1", "r.example/team/saved:1"]
    with closing(match_image(store, "packed")) as match:
        assert match.layout.path == store / "packed"


def test_broken_archive_is_skipped_with_a_warning_and_told_where_it_is_named(
    store: Path, stored_archives: dict[str, str | None], caplog: pytest.LogCaptureFixture
) -> None:
    (store / "broken.tar").write_bytes(b"x" * 1000)
    assert [one.name for one in ocipush.list_images(store)] == sorted(stored_archives)
    assert "broken.tar is not a tar archive" in caplog.text
    with pytest.raises(errors.InvalidLayoutError, match="is not a tar archive"):
        match_image(store, "broken")
