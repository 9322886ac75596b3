"""Runs that leave nothing to chance: no threads, seeded scheduling; and, on trio, time that jumps."""

from __future__ import annotations

import contextlib
import random
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import anyio.to_thread
import pytest
import trio

from ocipush import _threads

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


async def _inline(function: Callable[..., Any], *args: object, **_: object) -> Any:
    await anyio.lowlevel.checkpoint()
    return function(*args)


def _trusting_nobody() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def descriptors() -> int:
    """How many files and sockets this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@contextlib.contextmanager
def deterministic(seed: int = 0) -> Generator[None]:
    """Seed what is left to chance, and do file I/O in the event loop: trio's clock would jump while a thread is at work."""
    runner: Any = trio._core._run
    state = random.getstate()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anyio.to_thread, "run_sync", _inline)
        patch.setattr(_threads, "_run", _inline)
        patch.setattr(ssl, "create_default_context", _trusting_nobody)  # reading the CAs takes long
        patch.setattr(runner, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
        runner._r.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(state)
