"""When a registry refuses a manifest because of missing blobs, these blobs are sent again, and no others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests import layouts

import ocipush
from ocipush import errors
from ocipush.testing import Dialect, Registry, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
LAYERS = [b"%d" % number for number in range(5)]
UNSPECIFIC = Dialect(missing_named="none")  # says that blobs are missing, but not which


def write_image(layout: Path, *, foreign: bool = False) -> set[str]:
    """Write an image, perhaps with a foreign layer whose file is missing; the digests of its other blobs."""
    layouts.write_image(layout, *LAYERS)
    digests = set(layouts.contents(layout)[0])
    if foreign:
        layouts.write_image(layout, *LAYERS, layouts.add_foreign_layer(layout, b"windows"))
        layouts.file_of(layout, b"windows").unlink()
    return digests


def sent(registry: Registry, since: int = 0) -> list[str]:
    """The digests of the blobs that were sent."""
    made = registry.requests[since:]
    return sorted(request.query["digest"] for request in made if request.method == "PUT" and "digest" in request.query)


def manifest_statuses(registry: Registry, since: int = 0) -> list[int]:
    made = registry.requests[since:]
    return [request.status for request in made if request.method == "PUT" and "/manifests/" in request.path]


@pytest.mark.parametrize(("dialect", "lost"), [("spec", 1), ("spec", 3), (UNSPECIFIC, 1)])
async def test_missing_blobs_are_sent_again_or_all_blobs_when_none_is_named(
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
        assert sent(registry, seen) == (sorted(digests) if dialect is UNSPECIFIC else missing)
        assert registry.repository("app").tags["2"] == result.digest


async def test_missing_blob_is_sent_even_if_the_registry_claims_to_have_it(tmp_path: Path) -> None:
    digests = write_image(tmp_path / "app")

    async def intercept(request: Request) -> Response | None:
        if request.method == "HEAD" and "/blobs/" in request.path:
            return Response(200)
        return Response(201) if "mount" in request.query else None

    async with Registry(intercept=intercept) as registry:
        await ocipush.push(tmp_path / "app", target=f"{registry.host}/app:1", authfile=tmp_path / "none")
        assert sent(registry) == sorted(digests)
        assert registry.repository("app").tags


@pytest.mark.parametrize("dialect", ["spec", UNSPECIFIC], ids=["names blobs", "names none"])
async def test_foreign_layer_is_not_sent_in_a_repair(tmp_path: Path, dialect: str | Dialect) -> None:
    digests = write_image(tmp_path / "app", foreign=True)
    async with Registry(dialect=dialect) as registry, ocipush.Pusher(authfile=tmp_path / "none") as pusher:
        await pusher.push(tmp_path / "app", target=f"{registry.host}/app:1")
        registry.repository("app").blobs.clear()
        seen = len(registry.requests)
        await pusher.push(tmp_path / "app", target=f"{registry.host}/app:2")
        assert sent(registry, seen) == sorted(digests)


async def test_blob_whose_repair_failed_is_sent_by_the_next_push(tmp_path: Path) -> None:
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
async def test_manifest_refused_for_another_reason_is_put_once_and_no_blob_is_sent_again(
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
