"""A registry mocked with respx behind the public ``transport=``, as a user of the library would mock one.

The hosts do not exist: nothing is connected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
import respx
from tests import layouts

import ocipush

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mocked.recorded import Push


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A layout of one manifest, with one layer of 5 bytes and a configuration of 2."""
    layouts.write_layout(tmp_path / "app", [layouts.add_manifest(tmp_path / "app", [b"layer"])])
    return tmp_path / "app"


def pass_on(request: httpx.Request) -> None:
    """Leave a request to the routes below."""


@pytest.fixture
def router() -> respx.Router:
    """A registry that has nothing and accepts everything: a test changes the routes it cares about, by their names."""
    router = respx.Router(assert_all_called=False)
    registry: dict[str, Any] = {"scheme": "https", "host": "registry.test", "port": 443}

    def add(name: str, method: str, path: str) -> respx.Route:
        return router.request(method, path__regex=path, name=name, **registry)

    router.route(**registry, name="challenge").mock(side_effect=pass_on)
    add("tag", "HEAD", "^/v2/.+/manifests/").respond(404)
    add("blob", "HEAD", "^/v2/.+/blobs/").respond(404)
    add("session", "POST", "^/v2/.+/blobs/uploads/$").respond(202, headers={"Location": "session"})
    add("upload", "PUT", "^/v2/.+/blobs/uploads/").respond(201)
    add("cancel", "DELETE", "^/v2/.+/blobs/uploads/").respond(204)
    add("manifest", "PUT", "^/v2/.+/manifests/").respond(201)
    return router


@pytest.fixture
def push(router: respx.Router, image: Path, tmp_path: Path) -> Push:
    """Push ``image``, one small blob at a time, to the mocked registry."""

    async def push(
        source: Path = image, target: str = "registry.test/team/app:1", **options: Any
    ) -> ocipush.PushResult:
        options = {"authfile": tmp_path / "none", "concurrency": 1, "retry": ocipush.RetryPolicy(base=0), **options}
        return await ocipush.push(source, target=target, transport=httpx.MockTransport(router.async_handler), **options)

    return push
