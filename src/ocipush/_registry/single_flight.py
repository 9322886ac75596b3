"""One does it, the others wait: for blobs that several pushes send, and for the first contact with a registry."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio

from ..errors import RegistryError, TransportError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class InFlight(Generic[T]):
    """Something that is under way.

    Attributes:
        landed: set at its end.
        result: what came of it, unless it failed.
        failure: how the registry failed it.
    """

    landed: anyio.Event = field(default_factory=anyio.Event)
    result: T | None = None
    failure: TransportError | RegistryError | None = None

    async def wait(self) -> T | None:
        """Wait for the end: its result, or None where there is none because it was cancelled or its own source failed.

        Raises:
            TransportError, RegistryError: a copy of how the registry failed it.
        """
        await self.landed.wait()
        if self.failure is not None:
            raise copy.copy(self.failure)
        return self.result


class SingleFlight(Generic[T]):
    """Runs one job for each key at a time."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, InFlight[T]] = {}

    async def run(self, key: Hashable, job: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """The result of ``job``, or of one under way for the same key; and whether another's was waited for.

        When the one that runs is cancelled, or fails by itself, one that waits takes over. When the registry fails it,
        all that wait fail.
        """
        while (flight := self._flights.get(key)) is not None:
            if (result := await flight.wait()) is not None:
                return result, True
        flight = self._flights[key] = InFlight()
        try:
            flight.result = result = await job()
        except (TransportError, RegistryError) as exc:
            flight.failure = exc
            raise
        finally:
            del self._flights[key]
            flight.landed.set()
        return result, False
