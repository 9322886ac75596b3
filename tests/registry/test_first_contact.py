"""The first request to a registry, which finds out whether it speaks TLS; on virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from tests import layouts
from tests.virtual_push import World, run

import ocipush

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("name", "tls_verify"), [("127.0.0.1", True), ("registry.test", False)])
def test_refused_tls_is_followed_by_plain_http_immediately(tmp_path: Path, name: str, tls_verify: bool) -> None:
    layouts.write_image(tmp_path / "app", b"layer")
    events: list[ocipush.Event] = []

    async def test(world: World) -> None:
        started = trio.current_time()
        async with world.pusher(tls_verify=tls_verify, retry=ocipush.RetryPolicy(base=10, jitter=0)) as pusher:
            for tag in ("1", "2"):
                await pusher.push(tmp_path / "app", target=world.target(f"app:{tag}"), on_event=events.append)
        assert set(world.registry.repository("app").tags) == {"1", "2"}
        assert trio.current_time() == started  # nothing was waited for
        assert world.tried[0] == 443
        assert set(world.tried[1:]) == {80}

    run(test, tmp_path, name=name, secure=False)
    assert not [event for event in events if isinstance(event, ocipush.RetryScheduled)]
