"""A push ends whatever the registry answers, however often: how many requests it makes is bounded."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import anyio
import pytest
from tests import layouts

import ocipush
from ocipush import errors
from ocipush.testing import Registry, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
KIB = 1024
ATTEMPTS = 3
QUICK = ocipush.RetryPolicy(attempts=ATTEMPTS, base=0)
PATIENT = ocipush.RetryPolicy(attempts=1000, base=0)  # what ends the push is not that it was tried often enough
MANY = 200  # requests: whoever makes as many goes round in circles


def write_image(layout: Path, layers: list[bytes]) -> list[str]:
    """Write an image; the digests of its blobs."""
    manifest = layouts.add_manifest(layout, layers)
    layouts.write_layout(layout, [manifest])
    blobs, _ = layouts.contents(layout)
    return list(blobs)


async def push(image: Path, registry: Registry, retry: ocipush.RetryPolicy = QUICK) -> ocipush.PushResult:
    return await ocipush.push(image, target=f"{registry.host}/app:1", authfile=image / "none", retry=retry)


@pytest.mark.parametrize("code", ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"])
@pytest.mark.parametrize("named", [True, False], ids=["names a blob", "names none"])
async def test_registry_that_misses_a_blob_however_often_it_is_sent_ends_the_push(
    tmp_path: Path, code: str, named: bool
) -> None:
    blobs = write_image(tmp_path / "app", [b"one", b"two"])
    error = {"code": code, "message": "no", **({"detail": {"digest": blobs[0]}} if named else {})}
    refusal = Response(404, {"Content-Type": "application/json"}, json.dumps({"errors": [error]}).encode())
    puts: list[str] = []

    async def intercept(request: Request) -> Response | None:
        assert len(registry.requests) < MANY, "requests without end"
        if request.method != "PUT" or "/manifests/" not in request.path:
            return None
        puts.append(request.path)
        return refusal

    async with Registry(intercept=intercept) as registry:
        with pytest.raises(errors.RegistryError) as caught:
            await push(tmp_path / "app", registry, PATIENT)
        assert code in caught.value.codes
        assert 1 < len(puts) <= 2 * len(blobs) + 3
        assert registry.repository("app").tags == {}


async def test_blob_that_stops_at_the_same_byte_for_ever_ends_the_push(tmp_path: Path) -> None:
    layer, stop = os.urandom(KIB) * 1024, 300 * KIB
    write_image(tmp_path / "app", [layer])

    async def intercept(request: Request) -> Response | None:
        assert len(registry.requests) < MANY, "requests without end"
        upload = registry.repository("app").uploads.get(request.path.rpartition("/")[2])
        if upload is None or request.method not in {"PUT", "PATCH"} or request.headers["content-length"] == "2":
            return None
        while upload.size < stop and (piece := await request.receive()):
            await upload.write(piece[: stop - upload.size])
        raise anyio.BrokenResourceError

    async with Registry(intercept=intercept) as registry:
        with pytest.raises(errors.ConnectionLostError):
            await push(tmp_path / "app", registry)
        sends = [request for request in registry.requests if request.headers.get("content-range")]
        assert {request.headers["content-range"].partition("-")[0] for request in sends} == {str(stop)}
        assert 1 <= len(sends) <= 2 * ATTEMPTS
        assert registry.repository("app").tags == {}
        assert registry.repository("app").uploads == {}


async def test_registry_that_takes_no_chunk_as_large_as_it_asks_for_ends_the_push(tmp_path: Path) -> None:
    write_image(tmp_path / "app", [os.urandom(KIB) * 2048])

    async def intercept(request: Request) -> Response | None:
        assert len(registry.requests) < MANY, "requests without end"
        if request.method in {"PUT", "PATCH"} and int(request.headers["content-length"]) > 512 * KIB:
            return Response(413)
        if request.method == "POST":
            answer = await registry._answer(request)
            answer.headers["OCI-Chunk-Min-Length"] = str(1024 * KIB)
            return answer
        return None

    async with Registry(intercept=intercept) as registry:
        with pytest.raises(errors.BlobTooLargeError):
            await push(tmp_path / "app", registry)
        assert registry.repository("app").tags == {}
