"""The places that logins come from: what the caller gave, and one place after the other."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio.to_thread

from ..errors import CredentialError, OcipushError
from .base import Credentials, Login, registry_of
from .remembered import RememberedLogins

if TYPE_CHECKING:
    from collections.abc import Mapping

LoginFunction = Callable[[str], Login | Awaitable[Login | None] | None]


class GivenLogins:
    """Logins by registry, as the caller gave them: ``Credentials``.

    Raises:
        InvalidReferenceError: a key is not the name of a registry.
    """

    def __init__(self, logins: Mapping[str, Login]) -> None:
        self._logins = {registry_of(name): login for name, login in logins.items()}

    async def login(self, registry: str, repository: str = "", *, refused: Login | None = None) -> Login | None:
        """The login for ``registry``; see ``Credentials``."""
        return self._logins.get(registry_of(registry))


class AskedLogins:
    """Logins from a function of the caller, which is asked again when a login was refused: ``Credentials``.

    Args:
        function: called with the registry; sync functions are called in a worker thread.
    """

    def __init__(self, function: LoginFunction) -> None:
        self._function = function
        self._answers = RememberedLogins()

    async def login(self, registry: str, repository: str = "", *, refused: Login | None = None) -> Login | None:
        """The login for ``registry``; see ``Credentials``."""
        return await self._answers.get(registry, lambda: self._ask(registry), refused=refused)

    async def _ask(self, registry: str) -> Login | None:
        function = self._function
        try:
            if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
                answer = function(registry)
            else:
                # In a list, because trio refuses functions that return something to await.
                (answer,) = await anyio.to_thread.run_sync(lambda: [function(registry)])
            login = await answer if inspect.isawaitable(answer) else answer
        except OcipushError:
            raise
        except Exception as exc:
            # Without the text of the error, which may show a secret.
            raise CredentialError(
                f"the function in credentials= failed for {registry}: {type(exc).__name__}", hint=None
            ) from exc
        if login is not None and not isinstance(login, Login):
            raise CredentialError(
                f"the function in credentials= must return Login or None, not {type(login).__name__}", hint=None
            )
        return login


class Chain:
    """Several ``Credentials``, asked in order. The first login that is found is used, and the rest are not asked."""

    def __init__(self, *places: Credentials) -> None:
        self._places = places

    async def login(self, registry: str, repository: str = "", *, refused: Login | None = None) -> Login | None:
        """The login for ``registry``; None if there is none, or if the first one found is empty."""
        for place in self._places:
            if (login := await place.login(registry, repository, refused=refused)) is not None:
                return None if login.is_empty else login
        return None
