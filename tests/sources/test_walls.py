"""The walls around a store: what is no image of it is not read as one, and nothing stays open behind what is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests import layouts
from tests.virtual_time import descriptors

import ocipush
from ocipush import errors
from ocipush.testing import Registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def write_image(layout: Path, ref: str | None = None) -> Path:
    layouts.write_image(layout, layout.name.encode(), ref=ref)
    return layout


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of one image, and a link in it to a layout outside."""
    write_image(tmp_path / "store" / "inside")
    (tmp_path / "store" / "linked").symlink_to(write_image(tmp_path / "outside", "registry.example/outside:1"))
    return tmp_path / "store"


def test_link_to_a_layout_outside_is_not_an_image_of_the_store(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert [image.name for image in ocipush.list_images(store)] == ["inside"]
    assert caplog.messages == []  # nor one that was skipped because it is broken


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["linked", "linked:1", "registry.example/outside:1"])
async def test_layout_outside_is_not_pushed_through_a_link_in_the_store(store: Path, name: str) -> None:
    async with Registry() as registry:
        with pytest.raises(errors.ImageNotFoundError):
            await ocipush.push(name, store=store, target=f"{registry.host}/app:1", authfile=store / "none")
        assert registry.requests == []


def without_index(layout: Path) -> None:
    (layout / "index.json").unlink()


def with_index(text: str) -> Callable[[Path], None]:
    def damage(layout: Path) -> None:
        (layout / "index.json").write_text(text)

    return damage


def of_another_version(layout: Path) -> None:
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}')


@pytest.mark.parametrize(
    "damage",
    [without_index, with_index("{"), with_index('{"schemaVersion":2,"layers":[]}'), of_another_version],
    ids=["no index", "no JSON", "no index but a manifest", "another version"],
)
def test_broken_layouts_leave_no_descriptor_open(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    for number in range(20):
        damage(write_image(tmp_path / "store" / f"broken{number}"))
    before = descriptors()
    assert ocipush.list_images(tmp_path / "store") == []
    with pytest.raises(errors.LayoutError):
        ocipush.sync.push("broken0", store=tmp_path / "store", target="127.0.0.1:1/app:1", authfile=tmp_path / "none")
    assert descriptors() <= before
