"""A forced push sends everything again, even blobs that the registry claims to have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests import layouts
from tests.pushing import push

import ocipush
from ocipush.testing import Registry

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
LARGE = b"large" * 300_000


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return layouts.write_image(tmp_path / "app", b"small", LARGE)


@pytest.mark.parametrize("known", [True, False], ids=["pushed before by the same Pusher", "by another"])
@pytest.mark.parametrize("mount_from", [None, "other"])
async def test_forced_push_neither_probes_nor_mounts(image: Path, known: bool, mount_from: str | None) -> None:
    async with Registry() as registry, ocipush.Pusher(authfile=image / "none") as first:
        for name in ("app", "other"):
            await first.push(image, target=f"{registry.host}/{name}:1")
        seen = len(registry.requests)
        async with ocipush.Pusher(authfile=image / "none") as second:
            pusher = first if known else second
            result = await pusher.push(image, target=f"{registry.host}/app:1", force=True, mount_from=mount_from)
        made = registry.requests[seen:]
        assert {blob.outcome for blob in result.blobs} == {"uploaded"}
        assert not result.unchanged
        assert not [request for request in made if "mount" in request.query]
        assert not [request for request in made if request.method == "HEAD" and "/blobs/" in request.path]
        uploaded = {request.query["digest"] for request in made if request.method == "PUT" and request.query}
        assert uploaded - {result.digest} == {
            blob.digest for blob in result.blobs
        }  # a manifest may be sent as a blob too
        assert made[-1].method == "PUT"
        assert made[-1].path == "/v2/app/manifests/1"


async def test_forced_push_sends_everything_again(image: Path) -> None:
    async with Registry() as registry:
        await push(image, registry)
        registry.repository("app").blobs.clear()
        assert (await push(image, registry)).unchanged
        result = await push(image, registry, force=True)
        assert not result.unchanged
        assert {blob.outcome for blob in result.blobs} == {"uploaded"}
        assert len(registry.repository("app").blobs) == 4  # the manifest, too: see docs/requests.md, "Missing blobs"
