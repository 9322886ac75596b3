"""Asking whether a blob exists never ends a push, whatever the registry answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests import layouts

import ocipush
from ocipush.testing import Registry, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
LARGE = bytes(1024 * 1024)  # blobs from this size on are asked for by HEAD
QUICK = ocipush.RetryPolicy(base=0)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    layout = tmp_path / "image"
    layouts.write_layout(layout, [layouts.add_manifest(layout, [LARGE, LARGE + b"2", LARGE + b"3"])])
    return layout


class Probes:
    """Answers HEAD of a blob in its own way, once the registry holds the blob."""

    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.answer = Response(status, headers or {})
        self.asked: list[str] = []
        self.waiting = False

    async def __call__(self, request: Request) -> Response | None:
        if request.method == "HEAD" and "/blobs/" in request.path and not self.waiting:
            self.asked.append(request.path)
            return self.answer
        return None


async def push_twice(image: Path, probes: Probes) -> tuple[list[str], list[str]]:
    """The outcomes of the layers of a second push, to another tag; and the methods and paths that it asked."""
    probes.waiting = True
    async with Registry(intercept=probes) as registry:
        await ocipush.push(image, target=f"{registry.host}/a:1", authfile=image / "none", retry=QUICK)
        probes.waiting = False
        registry.requests.clear()
        result = await ocipush.push(image, target=f"{registry.host}/a:2", authfile=image / "none", retry=QUICK)
        assert registry.repository("a").tags["2"] == result.digest
        asked = [f"{request.method} {request.path}" for request in registry.requests]
    return [blob.outcome for blob in result.blobs if blob.size >= len(LARGE)], asked


@pytest.mark.parametrize("status", [302, 303, 307])
@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:9/bucket/blob?X-Sig=1", "https://storage.invalid/b", "/blob-store/x"]
)
async def test_blob_behind_a_redirect_to_storage_is_there_and_the_redirect_is_not_followed(
    image: Path, status: int, location: str
) -> None:
    outcomes, asked = await push_twice(image, Probes(status, {"Location": location}))
    assert outcomes == ["exists"] * 3
    assert not [one for one in asked if one.startswith(("PUT /v2/a/blobs", "GET /blob-store"))]


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (301, {"Location": "http://127.0.0.1:9/x"}),
        (308, {"Location": "http://127.0.0.1:9/x"}),
        (307, {}),
        (307, {"Location": "/v2/a/blobs/login"}),
        (302, {"Location": "ftp://127.0.0.1/x"}),
        (200, {"Content-Type": "text/html"}),
        *((status, {}) for status in (400, 401, 402, 403, 405, 406, 410, 416, 418, 451, 501)),
    ],
)
async def test_unclear_answer_to_a_probe_means_that_the_blob_is_sent(
    image: Path, status: int, headers: dict[str, str]
) -> None:
    outcomes, _ = await push_twice(image, Probes(status, headers))
    assert outcomes == ["uploaded"] * 3


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 599])
async def test_registry_whose_probes_fail_is_not_probed_for_ever(image: Path, status: int) -> None:
    probes = Probes(status)
    async with Registry(intercept=probes) as registry:
        async with ocipush.Pusher(authfile=image / "none", retry=QUICK, large_concurrency=1) as pusher:
            result = await pusher.push(image, target=f"{registry.host}/a:1")
        assert registry.repository("a").tags == {"1": result.digest}
    assert [blob.outcome for blob in result.blobs] == ["uploaded"] * 4
    assert len(set(probes.asked)) == 2
    assert len(probes.asked) <= 4  # each is asked twice at most
