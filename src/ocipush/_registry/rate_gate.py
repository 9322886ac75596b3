"""How fast one registry accepts requests: pauses for all workers, and how much is sent at the same time."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

NEAR: Final = 0.005  # seconds; a registry whose first answer comes sooner has no latency to hide
NEAR_SMALL: Final = 12  # small blobs at a time that keep such a registry busy; each more costs a connection
SLOW: Final = 0.025  # seconds; a later answer shows that there is latency to hide


class RateGate:
    """Shared by all pushes to a registry. A rate limit pauses them all and halves the concurrency; success restores it.

    Attributes:
        small, large: where a blob waits for its turn. A few large blobs fill the line. Many small ones hide its latency,
            so their number grows with it.
    """

    def __init__(self, small: int, large: int) -> None:
        self._wanted = small
        self._answered = False
        self.small = anyio.CapacityLimiter(small)
        self.large = anyio.CapacityLimiter(large)
        # Blobs under way keep their places above, and would all send requests at once after a pause.
        self._turns = anyio.CapacityLimiter(small + large)
        self._most = {self.small: small, self.large: large, self._turns: small + large}
        self._until = 0.0
        self._served = 0

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """Wait until a request may be sent; send it in this block."""
        if self._turns.total_tokens == self._most[self._turns]:
            await self.wait()
            yield
            return
        async with self._turns:
            await self.wait()
            yield

    async def wait(self) -> None:
        """Wait until the registry's pause is over."""
        while self._until and (left := self._until - anyio.current_time()) > 0:  # noqa: ASYNC110 - a pause may grow meanwhile
            await anyio.sleep(left)

    def limited(self, seconds: float) -> None:
        """The registry limits requests: send none for ``seconds``, and fewer after that."""
        now = anyio.current_time()
        if now >= self._until:  # many refusals at once halve it once
            for gate in self._most:
                gate.total_tokens = max(1, int(gate.total_tokens) // 2)
        self._until = max(self._until, now + seconds)
        self._served = 0

    def served(self, latency: float | None = None) -> None:
        """A request was answered, ``latency`` seconds after it was sent, if that is known.

        After a rate limit, the concurrency grows by one for as many answers as it is now.
        """
        if latency is not None:
            self._measure(latency)
        self._served += 1
        if self._served < self._turns.total_tokens:
            return
        self._served = 0
        for gate, most in self._most.items():
            if gate.total_tokens < most:
                gate.total_tokens += 1

    def _measure(self, latency: float) -> None:
        most = self._most[self.small]
        if not self._answered and latency < NEAR:
            most = min(most, NEAR_SMALL)
        elif latency > SLOW:
            most = min(most + 1, self._wanted)
        self._answered = True
        if self.small.total_tokens == self._most[self.small]:  # no rate limit
            self.small.total_tokens = most
        self._most[self.small] = most
