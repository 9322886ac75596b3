"""What a push learns from the image that the tag names now: which blobs are there, and not which are not."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests import layouts

import ocipush
from ocipush.testing import Registry, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
LAYERS = [b"%d" % number for number in range(5)]  # as many as make it worth a question


def write_image(layout: Path, *, config: bytes, foreign: bytes | None = None) -> dict[str, Any]:
    """Write an image of five layers, perhaps with one that is not to be distributed; the descriptor of its manifest."""
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": layouts.MANIFEST,
        "config": layouts.add_blob(layout, config, "application/vnd.oci.image.config.v1+json"),
        "layers": [layouts.add_blob(layout, layer) for layer in LAYERS],
    }
    if foreign is not None:
        layer = {**layouts.add_blob(layout, foreign, FOREIGN), "urls": ["https://elsewhere.example/layer"]}
        manifest["layers"].append(layer)
    root = layouts.add_blob(layout, json.dumps(manifest).encode(), layouts.MANIFEST)
    layouts.write_layout(layout, [root])
    return root


def wrap_in_index(layout: Path, root: dict[str, Any]) -> None:
    """Make an index of the one image the layout's root."""
    layouts.write_layout(
        layout, [layouts.add_index(layout, [{**root, "platform": {"os": "windows", "architecture": "amd64"}}])]
    )


async def push(image: Path, registry: Registry, **options: Any) -> ocipush.PushResult:
    return await ocipush.push(image, target=f"{registry.host}/app:1", authfile=image / "none", **options)


async def test_blobs_of_the_image_that_the_tag_names_are_neither_asked_for_nor_sent(tmp_path: Path) -> None:
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


async def test_manifest_that_is_not_what_its_digest_says_is_not_believed(tmp_path: Path) -> None:
    """A cache, or whoever is between, could say that all the blobs are there."""
    write_image(tmp_path / "old", config=b"old")
    new = write_image(tmp_path / "new", config=b"new")
    claims = (tmp_path / "new" / "blobs" / new["digest"].replace(":", "/")).read_bytes()
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
async def test_foreign_layer_of_the_image_that_the_tag_names_does_not_count_as_there(
    tmp_path: Path, index: bool
) -> None:
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
async def test_docker_hub_which_counts_pulls_is_asked_for_no_manifest(tmp_path: Path, registry: str, gets: int) -> None:
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
