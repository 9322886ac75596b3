"""The headers that every request has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests import layouts

import ocipush
from ocipush.testing import BearerAuth, Registry

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
LOGIN = ocipush.Login("user", "correct horse")
OURS = f"ocipush/{ocipush.__version__}"


@pytest.mark.parametrize(("user_agent", "sent"), [(None, OURS), ("mirror/2", f"mirror/2 {OURS}")])
async def test_every_request_has_the_user_agent_and_asks_for_unencoded_answers(
    tmp_path: Path, user_agent: str | None, sent: str
) -> None:
    image = tmp_path / "app"
    layouts.write_layout(image, [layouts.add_manifest(image, [b"layer", bytes(1_500_000)])])
    async with Registry(auth=BearerAuth({LOGIN.username: LOGIN.password})) as registry:
        await ocipush.push(
            image,
            target=f"{registry.host}/app:1",
            authfile=tmp_path / "none",
            credentials={registry.host: LOGIN},
            user_agent=user_agent,
            chunk_size=1_000_000,
        )
        kinds = {(request.method, request.path.rstrip("/").split("/")[-2]) for request in registry.requests}
        assert len(kinds) >= 6
        for request in registry.requests:
            assert request.headers["user-agent"] == sent
            assert request.headers["accept-encoding"] == "identity"
            assert request.headers["host"] == registry.host
            asks_for_manifest = request.method in {"HEAD", "GET"} and "/manifests/" in request.path
            assert (request.headers["accept"] == "*/*") is not asks_for_manifest
