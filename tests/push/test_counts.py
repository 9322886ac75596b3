"""The counts in a result match what the registry saw."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests import layouts

import ocipush
from ocipush.testing import BearerAuth, ExpireTokens, Refuse, Registry

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
    return layouts.write_image(tmp_path / "app", b"one", b"two", LARGE)


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
async def test_failed_requests_are_counted_too(image: Path, faults: list[Fault]) -> None:
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
