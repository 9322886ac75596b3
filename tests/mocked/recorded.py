"""What the tests of this folder share: how they push, and what respx recorded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import ocipush

if TYPE_CHECKING:
    import httpx
    import respx

UPLOADS = "/v2/team/app/blobs/uploads/"

Push = Callable[..., Awaitable[ocipush.PushResult]]


def requests(router: respx.Router) -> list[httpx.Request]:
    return [call.request for call in router.calls]
