"""The pytest fixture `ocipush_registry`. May import: ocipush.testing, anyio, pytest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from anyio.from_thread import start_blocking_portal

from ocipush.testing import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ocipush_registry() -> Iterator[Registry]:
    """Run a registry in a background thread for one test."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Registry()) as registry,
    ):
        yield registry
