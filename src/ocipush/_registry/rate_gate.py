"""How fast one registry takes requests: a pause that every worker keeps, and how much is sent at once."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

NEAR: Final = 0.005  # seconds until the first answer of a registry that has no latency to hide
NEAR_SMALL: Final = 12  # small blobs at once that keep such a one, and us, busy; each more costs a connection
SLOW: Final = 0.025  # seconds until an answer that tells that it has


class RateGate:
    """Shared by all pushes to a registry. A rate limit pauses them all and halves what is sent at once; success restores it.

    Attributes:
        small, large: where a blob waits for its turn. A few large ones fill the line, many small ones hide its latency,
            as many as there is latency to hide.
    """

    def __init__(self, small: int, large: int) -> None:
        self._wanted = small
        self._answered = False
        self.small = anyio.CapacityLimiter(small)
        self.large = anyio.CapacityLimiter(large)
        # Blobs under way keep their places at the gates above, and would all ask again after a pause.
        self._turns = anyio.CapacityLimiter(small + large)
        self._most = {self.small: small, self.large: large, self._turns: small + large}
        self._until = 0.0
        self._served = 0

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """Wait until a request may be made, and make it in this block."""
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
        """The registry wants fewer requests, and none for ``seconds``."""
        now = anyio.current_time()
        if now >= self._until:  # one storm of refusals halves once
            for gate in self._most:
                gate.total_tokens = max(1, int(gate.total_tokens) // 2)
        self._until = max(self._until, now + seconds)
        self._served = 0

    def served(self, latency: float | None = None) -> None:
        """A request was answered as it should be, ``latency`` seconds after it was sent at once.

        As many answers as there are requests at once allow one more after a rate limit.
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
