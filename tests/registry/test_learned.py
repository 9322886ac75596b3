"""What a ``Pusher`` learns of how a registry takes blobs, and what it must not conclude."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from tests import layouts

import ocipush
from ocipush.testing import Registry, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024
LAYER = os.urandom(1024) * 1536
QUICK = ocipush.RetryPolicy(attempts=4, base=0)
GARBLED = b'{"errors":[{"code":"DIGEST_INVALID","message":"the content is another"}]}'


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return layouts.write_image(tmp_path / "app", LAYER)


def write_second(tmp_path: Path) -> Path:
    second = tmp_path / "second"
    layouts.write_image(second, LAYER[::-1])
    return second


def pusher(tmp_path: Path, **options: Any) -> ocipush.Pusher:
    return ocipush.Pusher(authfile=tmp_path / "none", retry=QUICK, **options)


def bodies(registry: Registry, since: int = 0) -> list[tuple[str, int, int]]:
    """The requests that carried blobs of a kibibyte or more: method, length and status."""
    return [
        (request.method, int(request.headers["content-length"]), request.status)
        for request in registry.requests[since:]
        if request.method in {"PATCH", "PUT"} and int(request.headers["content-length"]) >= 1024
    ]


async def test_registry_that_garbles_chunks_gets_blobs_whole_from_then_on(image: Path, tmp_path: Path) -> None:
    async with Registry(dialect="ecr-public") as registry, pusher(tmp_path, chunk_size=MIB) as one:
        await one.push(image, target=f"{registry.host}/app:1")
        assert bodies(registry)[0] == ("PATCH", MIB, 202)
        assert bodies(registry)[-1] == ("PUT", len(LAYER), 201)
        seen = len(registry.requests)
        await one.push(write_second(tmp_path), target=f"{registry.host}/app:2")
        assert bodies(registry, seen) == [("PUT", len(LAYER), 201)]


async def test_damaged_whole_blob_does_not_rule_out_chunks(image: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    layouts.write_image(small, b"s" * 2048)
    damaged = [Response(400, {}, GARBLED)] * 2

    async def intercept(request: Request) -> Response | None:
        return damaged.pop() if request.headers.get("content-length") == "2048" and damaged else None

    async with Registry(intercept=intercept) as registry, pusher(tmp_path, chunk_size=MIB) as one:
        await one.push(small, target=f"{registry.host}/app:1")
        assert bodies(registry) == [("PUT", 2048, 400)] * 2 + [("PUT", 2048, 201)]
        seen = len(registry.requests)
        await one.push(image, target=f"{registry.host}/app:2")
        assert bodies(registry, seen) == [("PATCH", MIB, 202), ("PUT", len(LAYER) - MIB, 201)]


async def test_registry_with_a_size_limit_keeps_getting_chunks_even_if_some_were_damaged(
    image: Path, tmp_path: Path
) -> None:
    damaged = [Response(400, {}, GARBLED)] * 2

    async def intercept(request: Request) -> Response | None:
        length = int(request.headers.get("content-length", 0))
        if request.method in {"PATCH", "PUT"} and length > MIB:
            return Response(413, {"Connection": "close"})
        return damaged.pop() if request.method == "PUT" and length == len(LAYER) - MIB and damaged else None

    async with Registry(intercept=intercept) as registry, pusher(tmp_path) as one:
        await one.push(image, target=f"{registry.host}/app:1")
        assert bodies(registry)[-2:] == [("PATCH", MIB, 202), ("PUT", len(LAYER) - MIB, 201)]
        assert [status for _, _, status in bodies(registry)].count(413) == 1
