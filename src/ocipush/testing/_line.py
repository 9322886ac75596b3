"""The line to the registry: how fast bytes arrive over it."""

from __future__ import annotations

import anyio

# What one connection may send before another one has its turn.
_SECONDS = 0.05
_BYTES = 4096  # at least


class Line:
    """A line that all connections share; `rate` is in bytes per second, 0 means no limit."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._free = 0.0  # when the bytes that are on the line will have passed

    @property
    def room(self) -> int | None:
        """How many bytes one connection may send at a time; None means any number."""
        return max(_BYTES, int(self._rate * _SECONDS)) if self._rate else None

    async def carry(self, count: int) -> None:
        """Wait until so many bytes have passed."""
        if self._rate:
            self._free = max(self._free, anyio.current_time()) + count / self._rate
            await anyio.sleep_until(self._free)
