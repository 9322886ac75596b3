"""Logins that cost a call: many pushes make one call, and its answer is kept for a while."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import anyio

from ..errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from .base import Login

KEPT: Final = 600.0  # seconds; a login that ends sooner is asked for again when it is refused


@dataclass(slots=True, eq=False)
class _Call:
    """A call, and its answer once it has ended."""

    ended: anyio.Event = field(default_factory=anyio.Event)
    answered: bool = False
    login: Login | None = None
    failure: CredentialError | None = None
    until: float = 0.0


class RememberedLogins:
    """The answers to calls, by key."""

    def __init__(self) -> None:
        self._calls: dict[Hashable, _Call] = {}

    async def get(
        self, key: Hashable, ask: Callable[[], Awaitable[Login | None]], *, refused: Login | None
    ) -> Login | None:
        """The login for ``key``: what a call returned within the last ten minutes, unless it was refused, or ``ask()``.

        If a call is running, its answer counts, and its CredentialError too. If it is cancelled, one that waits takes over.
        """
        while (call := self._calls.get(key)) is not None:
            if not call.ended.is_set():
                await call.ended.wait()
                if call.failure is not None:
                    raise copy.copy(call.failure)
                if call.answered:
                    return call.login
            elif anyio.current_time() < call.until and (refused is None or call.login != refused):
                return call.login
            else:
                break
        # Nothing was awaited since the look into the dictionary, so that one task alone begins the next call.
        call = self._calls[key] = _Call()
        try:
            call.login = await ask()
            call.answered, call.until = True, anyio.current_time() + KEPT
        except CredentialError as exc:
            call.failure = exc
            raise
        finally:
            if not call.answered:
                del self._calls[key]
            call.ended.set()
        return call.login
