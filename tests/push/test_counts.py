"""What a push says of itself is what the registry saw: how many requests, which bytes."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest
from tests import layouts

import ocipush
from ocipush import errors
from ocipush.testing import BearerAuth, ExpireTokens, Refuse, Registry, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

    from ocipush.testing import Fault

pytestmark = pytest.mark.anyio
LARGE = os.urandom(1024) * 1024
LOGIN = ocipush.Login("user", "correct horse")
FAULTS: dict[str, list[Fault]] = {
    "nothing fails": [],
    "first request": [Refuse("HEAD /v2/*/manifests/*", times=2)],
    "question": [Refuse("HEAD /v2/*/blobs/*")],
    "session": [Refuse("POST *", 2, times=3)],
    "body": [Refuse("PUT /v2/*/blobs/uploads/*", 2)],
    "tag": [Refuse("PUT /v2/*/manifests/*", times=3)],
    "token service": [Refuse("GET /token", times=2)],
    "token": [ExpireTokens("POST *", 2)],
}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    layouts.write_layout(tmp_path / "app", [layouts.add_manifest(tmp_path / "app", [b"one", b"two", LARGE])])
    return tmp_path / "app"


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
async def test_every_request_is_counted_also_those_that_failed(image: Path, faults: list[Fault]) -> None:
    auth = BearerAuth({LOGIN.username: LOGIN.password})
    async with Registry(auth=auth, faults=faults) as registry:
        result = await ocipush.push(
            image,
            target=f"{registry.host}/app:1",
            authfile=image / "none",
            credentials={registry.host: LOGIN},
            retry=ocipush.RetryPolicy(base=0),
        )
        assert len(registry.fired) == sum(fault.times for fault in faults)
        assert result.requests == len(registry.requests)


async def test_web_page_in_the_place_of_a_blob_is_not_taken_for_it(image: Path) -> None:
    async def intercept(request: Request) -> Response | None:
        if request.method == "HEAD" and "/blobs/" in request.path:
            return Response(200, {"Content-Type": "text/html"})
        return None

    outcomes: set[str] = set()
    async with Registry(intercept=intercept) as registry:
        with contextlib.suppress(errors.UnexpectedResponseError):
            result = await ocipush.push(image, target=f"{registry.host}/app:1", authfile=image / "none")
            outcomes = {blob.outcome for blob in result.blobs}
        assert [request for request in registry.requests if request.method == "HEAD" and "/blobs/" in request.path]
        assert outcomes <= {"uploaded"}
