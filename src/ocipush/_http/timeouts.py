"""How long each step of a request may take."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that one step of a request may take; None means no limit.

    Attributes:
        connect: until there is a connection, TLS and proxy included.
        stall: until the next 16 KiB of the body, or the rest of it, are accepted.
        answer: from the last byte of the request to the end of the answer.
        commit: the same for the request that completes a blob, which the registry may have to copy and hash; None means
            ``answer`` and one second for each 10 MiB.
    """

    connect: float | None = 10.0
    stall: float | None = 60.0
    answer: float | None = 60.0
    commit: float | None = None

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise TypeError(f"{name} must be a number or None, not {type(value).__name__}")
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be more than 0 seconds, or None for no limit, not {value}")

    def for_commit(self, size: int) -> float | None:
        """Seconds that the request which completes a blob of ``size`` bytes may wait for its answer."""
        if self.commit is not None or self.answer is None:
            return self.commit
        return self.answer + size / (10 * 1024 * 1024)
