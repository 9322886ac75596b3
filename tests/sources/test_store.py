"""How an image of the store is found, which directories are opened on the way, and what the errors say."""

from __future__ import annotations

import errno
import logging
import os
import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests import layouts

import ocipush
from ocipush import errors
from ocipush._sources import store as store_module
from ocipush._sources.files import Directory
from ocipush._sources.layout import Layout
from ocipush._sources.open import open_source
from ocipush._sources.store import match_image
from ocipush._sources.walk import read_contents

if TYPE_CHECKING:
    from collections.abc import Callable

REF = "host.example/team/app:1"


def write(store: Path, name: str, layer: bytes = b"layer", ref: str | None = None) -> str:
    """Write an image; its digest."""
    root = layouts.add_manifest(store / name, [layer])
    layouts.write_layout(store / name, [root], ref=ref)
    return str(root["digest"])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The directories whose index.json is read."""
    names: list[str] = []
    real = Layout.read

    def spy(directory: Directory) -> Layout:
        names.append(directory.path.name)
        return real(directory)

    monkeypatch.setattr(Layout, "read", spy)
    return names


def open_files() -> set[str]:
    """The descriptors of this process. One of them lists the others, the same each time."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def found(store: Path, image: str) -> str:
    with closing(match_image(store, image)) as match:
        return match.layout.path.name


def test_image_that_is_named_exactly_is_opened_without_reading_the_others(store: Path, read: list[str]) -> None:
    for name in ("a", "b", "c"):
        write(store, name)
    assert found(store, " b ") == "b"
    assert read == ["b"]


def test_broken_neighbour_is_not_told_where_the_image_is_named(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(store, "app", ref=REF)
    (store / "broken").mkdir()
    found(store, "app")
    assert caplog.records == []
    found(store, REF)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert str(store / "broken") in caplog.text


def test_name_comes_before_recorded_reference_and_that_before_sanitized_name(store: Path) -> None:
    write(store, "one", ref="two")
    write(store, "two")
    assert found(store, "two") == "two"
    write(store, "host.example_team_app")
    assert found(store, REF) == "host.example_team_app"
    write(store, "three", ref=REF)
    assert found(store, REF) == "three"


@pytest.mark.parametrize("name", ["file", "linked", ".hidden", ".", "..", "", "../store/app", "a\0b", "\ud800"])
def test_what_is_no_directory_of_the_store_is_no_image(store: Path, name: str) -> None:
    write(store, "app")
    write(store, ".hidden")
    (store / "file").write_text("{}")
    (store / "linked").symlink_to(store / "app")
    with pytest.raises(errors.ImageNotFoundError):
        match_image(store, name)


def test_name_that_differs_from_the_listed_one_is_no_exact_name(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
async def test_child_that_becomes_a_link_after_it_matched_is_not_followed(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: str
) -> None:
    digest = write(store, "app", ref=REF)
    assert write(tmp_path, "outside", b"secret") != digest
    real = Layout.read

    def read(directory: Directory) -> Layout:
        layout = real(directory)
        swap(store, tmp_path / "outside")
        return layout

    monkeypatch.setattr(Layout, "read", read)
    async with open_source(image, ref=None, store=store) as opened:
        assert (store / "app").is_symlink()
        assert opened.root.digest == digest
        contents = await read_contents(opened.source, opened.root)
        assert [document.descriptor.digest for document in contents.documents] == [digest]


def test_child_that_becomes_a_link_after_the_store_was_listed_is_not_followed(
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

    def opened(path: Path) -> Directory:
        directory = real(path)
        path.rename(tmp_path / "moved")
        path.symlink_to(tmp_path / "other")
        return directory

    monkeypatch.setattr(Directory, "open", opened)
    with closing(match_image(store, "app")) as match:
        assert match.layout.select().digest == digest


@pytest.mark.parametrize("image", ["app", REF, "host.example/app:2", "twin", "nothing", "broken"])
def test_search_closes_all_that_it_opened(store: Path, image: str) -> None:
    write(store, "app", ref=REF)
    write(store, "host.example_app")
    for name in ("one", "two"):
        write(store, name, ref="twin")
    (store / "broken").mkdir()
    before = open_files()
    try:
        match_image(store, image).close()
    except errors.OcipushError:
        assert image in {"twin", "nothing", "broken"}
    assert open_files() == before


def test_search_ends_where_its_task_was_cancelled(store: Path, read: list[str]) -> None:
    for name in ("a", "b", "c"):
        write(store, name, ref=REF)

    def check() -> None:
        if read:
            raise TimeoutError

    before = open_files()
    with pytest.raises(TimeoutError):
        match_image(store, REF, check_cancelled=check)
    assert read == ["a"]
    assert open_files() == before


def nothing(_: Path) -> None:
    pass


def remove(store: Path) -> None:
    store.rmdir()


def broken_only(store: Path) -> None:
    (store / "broken").mkdir()


def layout_itself(store: Path) -> None:
    layouts.write_layout(store, [layouts.add_manifest(store, [b"layer"])])


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (remove, "there is no directory {store}; name another store with store="),
        (nothing, "the store is empty"),
        (broken_only, "no readable layout"),
        (layout_itself, "{store} is itself an image"),
    ],
)
def test_store_without_images_is_told_by_what_it_is(store: Path, make: Callable[[Path], None], hint: str) -> None:
    make(store)
    with pytest.raises(errors.ImageNotFoundError, match="no image 'app' in the store") as caught:
        match_image(store, "app")
    assert hint.replace("{store}", str(store)) in (caught.value.hint or "")


@pytest.mark.parametrize(("number", "hint"), [(errno.EMFILE, "ulimit -n"), (errno.ENFILE, "fs.file-max")])
@pytest.mark.parametrize("name", ["store", "app", "index.json", "blobs"])
def test_too_many_open_files_are_not_the_fault_of_an_image(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, number: int, hint: str
) -> None:
    write(store, "app", ref=REF)
    real = os.open

    def fail(path: Any, *rest: Any, **options: Any) -> int:
        if os.fspath(path).endswith(name):
            raise OSError(number, os.strerror(number))
        return real(path, *rest, **options)

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(errors.OcipushError) as caught, closing(match_image(store, REF)) as match:
        match.layout.read_document(match.layout.select())
    assert re.search(r"cannot be (read|opened).*: too many open files", caught.value.message)
    assert hint in (caught.value.hint or "")
    assert not isinstance(caught.value, errors.LayoutError)
    assert caught.value.origin == "client"
    assert caplog.records == []
    if name != "blobs":
        with pytest.raises(errors.OcipushError, match="too many open files"):
            ocipush.list_images(store)
