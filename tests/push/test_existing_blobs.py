"""Blobs of the image that the tag points to now are not sent again."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import httpx
import pytest
from tests import layouts
from tests.pushing import push

import ocipush
from ocipush.testing import Registry, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
LAYERS = [b"%d" % number for number in range(5)]  # enough for the manifest of the tag to be fetched


def write_image(layout: Path, *, config: bytes, foreign: bytes | None = None) -> layouts.Descriptor:
    """Write an image of five layers, perhaps with a foreign one too; the descriptor of its manifest."""
    extra = [layouts.add_foreign_layer(layout, foreign)] if foreign is not None else []
    root = layouts.add_manifest(layout, [*LAYERS, *extra], config)
    layouts.write_layout(layout, [root])
    return root


def wrap_in_index(layout: Path, root: layouts.Descriptor) -> None:
    """Put the image into an index, and make that the root of the layout."""
    layouts.write_layout(
        layout, [layouts.add_index(layout, [{**root, "platform": {"os": "windows", "architecture": "amd64"}}])]
    )


async def test_blobs_of_the_tagged_image_are_neither_probed_nor_sent(tmp_path: Path) -> None:
    write_image(tmp_path / "old", config=b"old")
    write_image(tmp_path / "new", config=b"new")
    async with Registry() as registry:
        await push(tmp_path / "old", registry)
        seen = len(registry.requests)
        result = await push(tmp_path / "new", registry)
        assert [blob.outcome for blob in result.blobs].count("exists") == len(LAYERS)
        made = registry.requests[seen:]
        assert [request.path.split("/")[3] for request in made if request.method == "GET"] == ["manifests"]
        assert [request.method for request in made if "/blobs/" in request.path] == ["POST", "PUT"]


async def test_manifest_that_does_not_match_its_digest_is_not_trusted(tmp_path: Path) -> None:
    """A cache, or a proxy, could claim that all blobs exist."""
    write_image(tmp_path / "old", config=b"old")
    new = write_image(tmp_path / "new", config=b"new")
    claims = layouts.blob_path(tmp_path / "new", new["digest"]).read_bytes()
    asked: list[str] = []

    async def intercept(request: Request) -> Response | None:
        if request.method != "GET" or "/manifests/" not in request.path:
            return None
        asked.append(request.path)
        return Response(200, {"Content-Type": layouts.MANIFEST}, claims)

    async with Registry(intercept=intercept) as registry:
        await push(tmp_path / "old", registry)
        registry.repository("app").blobs.clear()
        result = await push(tmp_path / "new", registry)
        assert asked
        assert {blob.outcome for blob in result.blobs} == {"uploaded"}


@pytest.mark.parametrize("index", [False, True], ids=["image", "index"])
async def test_foreign_layer_of_the_tagged_image_does_not_count_as_existing(tmp_path: Path, index: bool) -> None:
    for name in ("old", "new"):
        root = write_image(tmp_path / name, config=name.encode(), foreign=b"windows")
        if index:
            wrap_in_index(tmp_path / name, root)
    digest = f"sha256:{hashlib.sha256(b'windows').hexdigest()}"
    async with Registry() as registry:
        await push(tmp_path / "old", registry)
        assert digest not in registry.repository("app").blobs
        result = await push(tmp_path / "new", registry, include_foreign=True)
        outcomes = {blob.digest: blob.outcome for blob in result.blobs}
        assert outcomes[digest] == "uploaded"
        assert digest in registry.repository("app").blobs
        assert list(outcomes.values()).count("exists") == len(LAYERS)


@pytest.mark.parametrize(("registry", "gets"), [("docker.io", 0), ("registry.example", 1)])
async def test_no_manifest_is_fetched_from_docker_hub_because_it_counts_pulls(
    tmp_path: Path, registry: str, gets: int
) -> None:
    image = tmp_path / "app"
    write_image(image, config=b"new")
    made: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        made.append(request)
        if request.method == "HEAD" and "/manifests/" in request.url.path:
            return httpx.Response(200, headers={"docker-content-digest": f"sha256:{'0' * 64}"})
        if request.method == "POST":
            return httpx.Response(202, headers={"location": "/uploads/1"})
        return httpx.Response(201 if request.method == "PUT" else 404)

    transport = httpx.MockTransport(handler)
    result = await ocipush.push(image, target=f"{registry}/team/app:1", authfile=image / "none", transport=transport)
    assert {blob.outcome for blob in result.blobs} == {"uploaded"}
    assert [request.method for request in made].count("GET") == gets
