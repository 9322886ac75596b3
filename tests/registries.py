"""The development registry in a thread of its own, for tests that block and for programs that a test runs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from anyio.from_thread import start_blocking_portal

from ocipush.testing import Registry

if TYPE_CHECKING:
    from collections.abc import Generator


@contextmanager
def registry_in_thread(**options: Any) -> Generator[Registry]:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(Registry(**options)) as registry:
        yield registry
