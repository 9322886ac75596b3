"""The pytest fixture `ocipush_registry`.

pytest loads this module in every environment that has ocipush, so it imports the registry only when a test uses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocipush.testing._registry import Registry


@pytest.fixture
def ocipush_registry() -> Iterator[Registry]:
    """Run a development registry in a background thread for one test, synchronous or asynchronous."""
    from anyio.from_thread import start_blocking_portal

    from ocipush.testing._registry import Registry

    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Registry()) as registry,
    ):
        yield registry
