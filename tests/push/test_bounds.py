"""The number of requests of a push is bounded, whatever the registry answers."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import anyio
import pytest
from tests import layouts
from tests.pushing import WITHOUT_WAITS, push

import ocipush
from ocipush import errors
from ocipush.testing import Registry, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
KIB = 1024
PATIENT = ocipush.RetryPolicy(attempts=1000, base=0)  # more attempts than any push should need
MANY = 200  # more requests than any push should make


@pytest.mark.parametrize("code", ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"])
@pytest.mark.parametrize("named", [True, False], ids=["names a blob", "names none"])
async def test_push_fails_when_the_registry_keeps_missing_a_blob(tmp_path: Path, code: str, named: bool) -> None:
    image = layouts.write_image(tmp_path / "app", b"one", b"two")
    blobs = list(layouts.contents(image)[0])
    error = {"code": code, "message": "no", **({"detail": {"digest": blobs[0]}} if named else {})}
    refusal = Response(404, {"Content-Type": "application/json"}, json.dumps({"errors": [error]}).encode())
    puts: list[str] = []

    async def intercept(request: Request) -> Response | None:
        assert len(registry.requests) < MANY, "too many requests"
        if request.method != "PUT" or "/manifests/" not in request.path:
            return None
        puts.append(request.path)
        return refusal

    async with Registry(intercept=intercept) as registry:
        with pytest.raises(errors.RegistryError) as caught:
            await push(image, registry, retry=PATIENT)
        assert code in caught.value.codes
        assert 1 < len(puts) <= 2 * len(blobs) + 3
        assert registry.repository("app").tags == {}


async def test_push_fails_when_a_blob_always_stops_at_the_same_byte(tmp_path: Path) -> None:
    layer, stop = os.urandom(KIB) * 1024, 300 * KIB
    image = layouts.write_image(tmp_path / "app", layer)

    async def intercept(request: Request) -> Response | None:
        assert len(registry.requests) < MANY, "too many requests"
        upload = registry.repository("app").uploads.get(request.path.rpartition("/")[2])
        if upload is None or request.method not in {"PUT", "PATCH"} or request.headers["content-length"] == "2":
            return None
        while upload.size < stop and (piece := await request.receive()):
            await upload.write(piece[: stop - upload.size])
        raise anyio.BrokenResourceError

    async with Registry(intercept=intercept) as registry:
        with pytest.raises(errors.ConnectionLostError):
            await push(image, registry)
        sends = [request for request in registry.requests if request.headers.get("content-range")]
        assert {request.headers["content-range"].partition("-")[0] for request in sends} == {str(stop)}
        assert 1 <= len(sends) <= 2 * WITHOUT_WAITS.attempts
        assert registry.repository("app").tags == {}
        assert registry.repository("app").uploads == {}


async def test_push_fails_when_the_registry_refuses_chunks_of_the_size_it_asks_for(tmp_path: Path) -> None:
    image = layouts.write_image(tmp_path / "app", os.urandom(KIB) * 2048)

    async def intercept(request: Request) -> Response | None:
        assert len(registry.requests) < MANY, "too many requests"
        if request.method in {"PUT", "PATCH"} and int(request.headers["content-length"]) > 512 * KIB:
            return Response(413)
        if request.method == "POST":
            answer = await registry._process(request, twice=False)
            answer.headers["OCI-Chunk-Min-Length"] = str(1024 * KIB)
            return answer
        return None

    async with Registry(intercept=intercept) as registry:
        with pytest.raises(errors.BlobTooLargeError):
            await push(image, registry)
        assert registry.repository("app").tags == {}
