"""Mounts that are refused for good are not asked for again; one that a rate limit refused is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests import layouts
from tests.pushing import push

import ocipush
from ocipush import errors
from ocipush.testing import BearerAuth, Dialect, Registry, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
ONCE = ocipush.RetryPolicy(attempts=1, base=0)
LOGIN = ocipush.Login("user", "correct horse")
LAYER = bytes(3 * 1024 * 1024)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return layouts.write_image(tmp_path / "app", *(b"%d" % number for number in range(5)))


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """An image with one layer that is large enough to be probed."""
    return layouts.write_image(tmp_path / "large", LAYER)


def limited(status: int) -> Response:
    """GitHub's 403, whose words alone say what it is; or a plain 429."""
    words = {"errors": [{"code": "DENIED", "message": "You have exceeded a secondary rate limit"}]}
    return Response(status, {"Retry-After": "0"}, json.dumps(words).encode())


@pytest.mark.parametrize("status", [403, 429])
async def test_mount_refused_by_a_rate_limit_is_tried_again(image: Path, status: int) -> None:
    refused: list[str] = []

    async def intercept(request: Request) -> Response | None:
        if request.path != "/v2/second/blobs/uploads/" or request.query.get("from") != "first" or refused:
            return None
        refused.append(request.path)
        return limited(status)

    async with (
        Registry(intercept=intercept) as registry,
        ocipush.Pusher(authfile=image / "none", retry=ONCE, concurrency=1) as pusher,
    ):
        await pusher.push(image, target=f"{registry.host}/first:1")
        with pytest.raises(errors.RateLimitedError):
            await pusher.push(image, target=f"{registry.host}/second:1")
        result = await pusher.push(image, target=f"{registry.host}/second:1")
        assert {blob.outcome for blob in result.blobs} == {"mounted"}


@pytest.mark.parametrize("status", [403, 429, 503])
async def test_mount_is_tried_again_after_a_temporary_failure_of_the_token_service(image: Path, status: int) -> None:
    refused: list[list[str]] = []

    async def intercept(request: Request) -> Response | None:
        if request.path != "/token" or len(request.scopes) < 2 or refused:
            return None
        refused.append(request.scopes)
        return limited(status)

    async with (
        Registry(auth=BearerAuth({LOGIN.username: LOGIN.password}), intercept=intercept) as registry,
        ocipush.Pusher(
            authfile=image / "none", credentials={registry.host: LOGIN}, retry=ONCE, concurrency=1
        ) as pusher,
    ):
        await pusher.push(image, target=f"{registry.host}/first:1")
        with pytest.raises(errors.RegistryError) as caught:
            await pusher.push(image, target=f"{registry.host}/second:1")
        assert caught.value.status == status
        result = await pusher.push(image, target=f"{registry.host}/second:1")
        assert {blob.outcome for blob in result.blobs} == {"mounted"}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
async def test_given_repository_that_refuses_to_mount_is_asked_once(image: Path, status: int) -> None:
    async with Registry(dialect=Dialect(cross_mount=status)) as registry:
        result = await ocipush.push(
            image,
            target=f"{registry.host}/app:1",
            authfile=image / "none",
            mount_from="elsewhere",
            retry=ONCE,
            concurrency=1,
        )
        assert {blob.outcome for blob in result.blobs} == {"uploaded"}
        asked = [request.status for request in registry.requests if request.query.get("from") == "elsewhere"]
        assert asked == [status]


async def test_blobs_are_mounted_from_the_given_repository(large: Path) -> None:
    async with Registry() as registry:
        await push(large, registry)
        seen = len(registry.requests)
        result = await push(large, registry, "second:1", mount_from="app")
        assert {blob.outcome for blob in result.blobs} == {"mounted"}
        assert [request.method for request in registry.requests[seen:]] == ["HEAD", "POST", "POST", "PUT"]


async def test_large_blob_is_probed_when_the_given_repository_does_not_have_it(large: Path) -> None:
    async with Registry() as registry:
        await push(large, registry)
        registry.repository("app").manifests.clear()
        registry.repository("app").tags.clear()
        result = await push(large, registry, mount_from="elsewhere")
        assert {blob.size: blob.outcome for blob in result.blobs} == {len(LAYER): "exists", 2: "uploaded"}
        assert not registry.repository("app").uploads
