"""A registry that refuses a manifest for blobs it misses gets those blobs, and no others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests import layouts

import ocipush
from ocipush import errors
from ocipush.testing import Dialect, Registry, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
LAYERS = [b"%d" % number for number in range(5)]
SILENT = Dialect(missing_detail=False)  # says that blobs are missing, and not which


def write_image(layout: Path, *, foreign: bool = False) -> set[str]:
    """Write an image, perhaps with a foreign layer whose file is not there; the digests of its other blobs."""
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": layouts.MANIFEST,
        "config": layouts.add_blob(layout, b"{}", "application/vnd.oci.image.config.v1+json"),
        "layers": [layouts.add_blob(layout, layer) for layer in LAYERS],
    }
    digests = {blob["digest"] for blob in (manifest["config"], *manifest["layers"])}
    if foreign:
        layer = layouts.add_blob(layout, b"windows", FOREIGN)
        (layout / "blobs" / layer["digest"].replace(":", "/")).unlink()
        manifest["layers"].append({**layer, "urls": ["https://elsewhere.example/layer"]})
    layouts.write_layout(layout, [layouts.add_blob(layout, json.dumps(manifest).encode(), layouts.MANIFEST)])
    return digests


def sent(registry: Registry, since: int = 0) -> list[str]:
    """The digests of the blobs that were sent."""
    made = registry.requests[since:]
    return sorted(request.query["digest"] for request in made if request.method == "PUT" and "digest" in request.query)


def manifest_statuses(registry: Registry, since: int = 0) -> list[int]:
    made = registry.requests[since:]
    return [request.status for request in made if request.method == "PUT" and "/manifests/" in request.path]


@pytest.mark.parametrize(("dialect", "lost"), [("spec", 1), ("spec", 3), (SILENT, 1)])
async def test_blobs_that_are_named_are_sent_again_or_all_where_none_is(
    tmp_path: Path, dialect: str | Dialect, lost: int
) -> None:
    digests = write_image(tmp_path / "app")
    async with Registry(dialect=dialect) as registry, ocipush.Pusher(authfile=tmp_path / "none") as pusher:
        await pusher.push(tmp_path / "app", target=f"{registry.host}/app:1")
        missing = sorted(digests)[:lost]
        for digest in missing:
            del registry.repository("app").blobs[digest]
        seen = len(registry.requests)
        result = await pusher.push(tmp_path / "app", target=f"{registry.host}/app:2")
        assert sent(registry, seen) == (sorted(digests) if dialect is SILENT else missing)
        assert registry.repository("app").tags["2"] == result.digest


async def test_blob_that_the_registry_misses_is_sent_though_it_says_that_it_has_it(tmp_path: Path) -> None:
    digests = write_image(tmp_path / "app")

    async def intercept(request: Request) -> Response | None:
        if request.method == "HEAD" and "/blobs/" in request.path:
            return Response(200)
        return Response(201) if "mount" in request.query else None

    async with Registry(intercept=intercept) as registry:
        await ocipush.push(tmp_path / "app", target=f"{registry.host}/app:1", authfile=tmp_path / "none")
        assert sent(registry) == sorted(digests)
        assert registry.repository("app").tags


@pytest.mark.parametrize("dialect", ["spec", SILENT], ids=["names blobs", "names none"])
async def test_foreign_layer_is_sent_in_no_repair(tmp_path: Path, dialect: str | Dialect) -> None:
    digests = write_image(tmp_path / "app", foreign=True)
    async with Registry(dialect=dialect) as registry, ocipush.Pusher(authfile=tmp_path / "none") as pusher:
        await pusher.push(tmp_path / "app", target=f"{registry.host}/app:1")
        registry.repository("app").blobs.clear()
        seen = len(registry.requests)
        await pusher.push(tmp_path / "app", target=f"{registry.host}/app:2")
        assert sent(registry, seen) == sorted(digests)


async def test_blob_whose_repair_failed_is_known_to_be_missing_from_then_on(tmp_path: Path) -> None:
    digests = write_image(tmp_path / "app")
    refused: list[str] = []

    async def intercept(request: Request) -> Response | None:
        if request.query.get("digest") in missing and not refused:
            refused.append(request.path)
            return Response(403)
        return None

    missing: set[str] = set()
    async with Registry(intercept=intercept) as registry, ocipush.Pusher(authfile=tmp_path / "none") as pusher:
        await pusher.push(tmp_path / "app", target=f"{registry.host}/app:1")
        missing.add(min(digests))
        del registry.repository("app").blobs[min(digests)]
        with pytest.raises(errors.AuthorizationError):
            await pusher.push(tmp_path / "app", target=f"{registry.host}/app:2")
        seen = len(registry.requests)
        await pusher.push(tmp_path / "app", target=f"{registry.host}/app:3")
        assert sent(registry, seen) == sorted(missing)
        assert manifest_statuses(registry, seen) == [201]


@pytest.mark.parametrize("code", ["MANIFEST_INVALID", "MANIFEST_UNVERIFIED", "UNKNOWN"])
async def test_manifest_that_is_refused_for_another_reason_is_put_once_and_no_blob_sent_again(
    tmp_path: Path, code: str
) -> None:
    digests = write_image(tmp_path / "app")
    body = json.dumps({"errors": [{"code": code, "message": "no", "detail": min(digests)}]}).encode()

    async def intercept(request: Request) -> Response | None:
        return Response(400, {}, body) if request.method == "PUT" and "/manifests/" in request.path else None

    async with Registry(intercept=intercept) as registry:
        with pytest.raises(errors.ManifestRejectedError):
            await ocipush.push(tmp_path / "app", target=f"{registry.host}/app:1", authfile=tmp_path / "none")
        assert sent(registry) == sorted(digests)
        assert manifest_statuses(registry) == [400]
