"""How tests push to the development registry, and the bodies that it got."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ocipush

if TYPE_CHECKING:
    from pathlib import Path

    from ocipush.testing import Registry

WITHOUT_WAITS = ocipush.RetryPolicy(attempts=3, base=0)


async def push(image: Path, registry: Registry, name: str = "app:1", **options: Any) -> ocipush.PushResult:
    """Push without logins, and without waits between attempts."""
    options = {"retry": WITHOUT_WAITS, "authfile": image / "none", **options}
    return await ocipush.push(image, target=f"{registry.host}/{name}", **options)


def bodies(registry: Registry, since: int = 0) -> list[tuple[str, int, int]]:
    """The requests with bodies of 1 KiB or more: method, length and status."""
    return [
        (request.method, int(request.headers["content-length"]), request.status)
        for request in registry.requests[since:]
        if request.method in {"PATCH", "PUT"} and int(request.headers["content-length"]) >= 1024
    ]
