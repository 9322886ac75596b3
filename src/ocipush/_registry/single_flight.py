"""One task works, the others wait for it: for blobs that several pushes need, and for the first contact with a registry."""

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
    """A job that is running.

    Attributes:
        landed: set when it has ended.
        result: its result, unless it failed.
        failure: its error, if the registry or the network failed.
    """

    landed: anyio.Event = field(default_factory=anyio.Event)
    result: T | None = None
    failure: TransportError | RegistryError | None = None

    async def wait(self) -> T | None:
        """Wait for the end. Returns the result, or None if the job was cancelled or failed for a reason of its own.

        Raises:
            TransportError, RegistryError: a copy of its error.
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
        """Run ``job``, or wait for a running one with the same key. Returns the result, and whether it was waited for.

        If the running job is cancelled, or fails for a reason of its own, one that waits takes over. If the registry or
        the network fails, all that wait fail.
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
