"""The order of a push: blobs first, then the children of an index, and the tag last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests import layouts

import ocipush
from ocipush import errors
from ocipush.testing import Registry, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


def write_index(layout: Path, *, nested: bool) -> set[str]:
    """Write an index of two images, or an index of that index; the digests of all documents but the root."""
    children = [layouts.add_manifest(layout, [b"shared", one], one) for one in (b"first", b"second")]
    root = layouts.add_index(layout, children)
    if nested:
        children.append(root)
        root = layouts.add_index(layout, [root])
    layouts.write_layout(layout, [root])
    return {child["digest"] for child in children}


def manifest_puts(registry: Registry, since: int = 0) -> list[str]:
    """The tags and digests of the manifests that were put, in order."""
    return [
        request.path.rpartition("/")[2]
        for request in registry.requests[since:]
        if request.method == "PUT" and "/manifests/" in request.path
    ]


@pytest.mark.parametrize("nested", [False, True], ids=["index", "index of an index"])
async def test_tag_stays_on_the_old_image_when_the_last_put_of_an_index_is_refused(
    tmp_path: Path, nested: bool
) -> None:
    old, children = layouts.write_image(tmp_path / "old", b"old"), write_index(tmp_path / "new", nested=nested)
    roots = len(children)  # PUTs of the new image before that of its root

    async def intercept(request: Request) -> Response | None:
        if request.method == "PUT" and "/manifests/" in request.path and len(manifest_puts(registry)) == roots + 2:
            return Response(400, {}, b'{"errors":[{"code":"MANIFEST_INVALID","message":"no"}]}')
        return None

    async with (
        Registry(intercept=intercept) as registry,
        ocipush.Pusher(authfile=tmp_path / "none") as pusher,
    ):
        before = await pusher.push(old, target=f"{registry.host}/app:1")
        with pytest.raises(errors.ManifestRejectedError):
            await pusher.push(tmp_path / "new", target=f"{registry.host}/app:1")
        *earlier, last = manifest_puts(registry)[1:]
        assert set(earlier) == children
        assert last == "1"
        assert registry.repository("app").tags == {"1": before.digest}


async def test_manifests_are_put_after_what_they_refer_to_and_the_tag_last(tmp_path: Path) -> None:
    children = write_index(tmp_path / "app", nested=True)
    async with Registry() as registry, ocipush.Pusher(authfile=tmp_path / "none") as pusher:
        result = await pusher.push(tmp_path / "app", target=f"{registry.host}/app:1")
        assert registry.repository("app").tags == {"1": result.digest}
        puts = [request for request in registry.requests if request.method == "PUT"]
        *earlier, last = manifest_puts(registry)
        assert len(earlier) == len(children)
        assert last == "1"
        assert {request.status for request in puts} == {201}  # the registry refuses a manifest before what it refers to
