"""How fast one registry takes requests: a pause that every worker keeps, and how many blobs are sent at once.

May import: anyio.
"""

from __future__ import annotations

import anyio


class Pace:
    """Shared by all pushes to a registry. A rate limit pauses them all and halves what is sent at once; success restores it.

    Attributes:
        small, large: where a blob waits for its turn. A few large ones fill the line, many small ones hide its latency.
    """

    def __init__(self, small: int, large: int) -> None:
        self.small = anyio.CapacityLimiter(small)
        self.large = anyio.CapacityLimiter(large)
        self._most = {self.small: small, self.large: large}
        self._until = 0.0
        self._served = 0

    async def wait(self) -> None:
        """Wait until requests may be made."""
        while (left := self._until - anyio.current_time()) > 0:  # noqa: ASYNC110 - a pause may grow meanwhile
            await anyio.sleep(left)

    def limited(self, seconds: float) -> None:
        """The registry wants fewer requests, and none for ``seconds``."""
        now = anyio.current_time()
        if now >= self._until:  # one storm of refusals halves once
            for gate in self._most:
                gate.total_tokens = max(1, int(gate.total_tokens) // 2)
        self._until = max(self._until, now + seconds)
        self._served = 0

    def served(self) -> None:
        """A request was answered as it should be; as many of them as are sent at once allow one more."""
        self._served += 1
        if self._served < self.small.total_tokens:
            return
        self._served = 0
        for gate, most in self._most.items():
            if gate.total_tokens < most:
                gate.total_tokens += 1
