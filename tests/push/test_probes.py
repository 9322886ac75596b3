"""No answer to a probe, the HEAD request for a blob, ends a push."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests import layouts
from tests.pushing import WITHOUT_WAITS, push

import ocipush
from ocipush.testing import Registry, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
LARGE = bytes(1024 * 1024)  # blobs of this size and more are probed


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return layouts.write_image(tmp_path / "image", LARGE, LARGE + b"2", LARGE + b"3")


class Probes:
    """Gives one answer to every probe, once the registry has the blobs."""

    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.answer = Response(status, headers or {})
        self.asked: list[str] = []
        self.paused = False

    async def __call__(self, request: Request) -> Response | None:
        if request.method == "HEAD" and "/blobs/" in request.path and not self.paused:
            self.asked.append(request.path)
            return self.answer
        return None


async def push_twice(image: Path, probes: Probes) -> tuple[list[str], list[str]]:
    """Push to another tag too: the outcomes of the layers in the second push, and its requests."""
    probes.paused = True
    async with Registry(intercept=probes) as registry:
        await push(image, registry, "app:1")
        probes.paused = False
        registry.requests.clear()
        result = await push(image, registry, "app:2")
        assert registry.repository("app").tags["2"] == result.digest
        asked = [f"{request.method} {request.path}" for request in registry.requests]
    return [blob.outcome for blob in result.blobs if blob.size >= len(LARGE)], asked


@pytest.mark.parametrize("status", [302, 303, 307])
@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:9/bucket/blob?X-Sig=1", "https://storage.invalid/b", "/blob-store/x"]
)
async def test_redirect_to_storage_means_that_the_blob_exists_and_is_not_followed(
    image: Path, status: int, location: str
) -> None:
    outcomes, asked = await push_twice(image, Probes(status, {"Location": location}))
    assert outcomes == ["exists"] * 3
    assert not [one for one in asked if one.startswith(("PUT /v2/app/blobs", "GET /blob-store"))]


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (301, {"Location": "http://127.0.0.1:9/x"}),
        (308, {"Location": "http://127.0.0.1:9/x"}),
        (307, {}),
        (307, {"Location": "/v2/app/blobs/login"}),
        (302, {"Location": "ftp://127.0.0.1/x"}),
        (200, {"Content-Type": "text/html"}),
        *((status, {}) for status in (400, 401, 402, 403, 405, 406, 410, 416, 418, 451, 501)),
    ],
)
async def test_blob_is_sent_after_an_unclear_answer_to_a_probe(
    image: Path, status: int, headers: dict[str, str]
) -> None:
    outcomes, _ = await push_twice(image, Probes(status, headers))
    assert outcomes == ["uploaded"] * 3


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 599])
async def test_registry_whose_probes_fail_is_soon_not_probed_again(image: Path, status: int) -> None:
    probes = Probes(status)
    async with Registry(intercept=probes) as registry:
        async with ocipush.Pusher(authfile=image / "none", retry=WITHOUT_WAITS, large_concurrency=1) as pusher:
            result = await pusher.push(image, target=f"{registry.host}/app:1")
        assert registry.repository("app").tags == {"1": result.digest}
    assert [blob.outcome for blob in result.blobs] == ["uploaded"] * 4
    assert len(set(probes.asked)) == 2
    assert len(probes.asked) <= 4  # each probe is tried at most twice
