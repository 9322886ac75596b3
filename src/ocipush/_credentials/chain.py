"""The places that logins come from: what the caller gave, the login file, and one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread

from .authfile import find_login
from .base import Credentials, Login, registry_of

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping


class GivenLogins:
    """Logins by registry, as the caller gave them: ``Credentials``.

    Raises:
        InvalidReferenceError: a key is not the name of a registry.
    """

    def __init__(self, logins: Mapping[str, Login]) -> None:
        self._logins = {registry_of(name): login for name, login in logins.items()}

    async def login(self, registry: str) -> Login | None:
        """The login for ``registry``; see ``Credentials``."""
        return self._logins.get(registry_of(registry))


class AuthFile:
    """The logins in a login file: ``Credentials``. The file is read anew each time, in a worker thread.

    Args:
        path: the file; default ``$OCIPUSH_AUTHFILE``, else ``/var/lib/ar/auth.json``.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._path = path

    async def login(self, registry: str) -> Login | None:
        """The login for ``registry``; see ``Credentials``. A file that does not exist holds none."""
        return await anyio.to_thread.run_sync(lambda: find_login(registry, authfile=self._path))


class Chain:
    """Several ``Credentials``, asked in order. The first login that is found is used, and the rest are not asked."""

    def __init__(self, *places: Credentials) -> None:
        self._places = places

    async def login(self, registry: str) -> Login | None:
        """The login for ``registry``; None if there is none, or if the first one found is empty."""
        for place in self._places:
            if (login := await place.login(registry)) is not None:
                return login if login.username and login.password else None
        return None
