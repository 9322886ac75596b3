"""Login files as ``Credentials``, whatever their form; and what a file has that no push was told to use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio.to_thread

from ..errors import CredentialError
from . import docker
from .authfile import login_in
from .documents import TOOLS, is_of_docker, load, names_of, paths_of
from .helper import ask_helper
from .remembered import RememberedLogins

if TYPE_CHECKING:
    from pathlib import Path

    from .base import Login
    from .documents import AuthFiles


class LoginFiles:
    """The logins in login files, in their order: ``Credentials``. Files are read again each time, in a worker thread.

    Args:
        names: paths of files, or ``docker`` or ``podman``; default ``$OCIPUSH_AUTHFILE``, else ``/var/lib/ar/auth.json``.
    """

    def __init__(self, names: AuthFiles = None) -> None:
        self._names = names
        self._answers = RememberedLogins()

    async def login(self, registry: str, repository: str = "", *, refused: Login | None = None) -> Login | None:
        """The login for ``registry``; see ``Credentials``. A file that does not exist has none."""
        for name in names_of(self._names):
            for path in paths_of(name):
                if (login := await self._login_in(path, registry, repository, refused)) is not None:
                    return login
        return None

    async def _login_in(self, path: Path, registry: str, repository: str, refused: Login | None) -> Login | None:
        found = await anyio.to_thread.run_sync(_read, path, registry, repository)
        if not isinstance(found, docker.Saved):
            return found
        for helper in found.helpers:

            async def ask(helper: docker.HelperChoice = helper) -> Login | None:
                return await ask_helper(helper)

            if (login := await self._answers.get(helper, ask, refused=refused)) is not None:
                return login
        return found.login()


async def find_unused(registry: str, repository: str, used: AuthFiles) -> str | None:
    """``docker`` or ``podman``, if that tool's file has a login for a repository and is not in ``used``.

    No helper is run for that, and a file that cannot be read has none.
    """
    return await anyio.to_thread.run_sync(_find_unused, registry, repository, used)


def _find_unused(registry: str, repository: str, used: AuthFiles) -> str | None:
    seen = {path for name in names_of(used) for path in paths_of(name)}
    for tool in TOOLS:
        for path in paths_of(tool):
            if path not in seen and _has_login(path, registry, repository):
                return tool
    return None


def _has_login(path: Path, registry: str, repository: str) -> bool:
    try:
        found = _read(path, registry, repository)
        # A store of logins may have one for any registry. Docker notes those that do in auths, with an empty entry.
        if isinstance(found, docker.Saved):
            named = any("credHelpers" in helper.where for helper in found.helpers)
            return named or bool(found.helpers and found.entries) or found.login() is not None
    except CredentialError:
        return False
    return found is not None


def _read(path: Path, registry: str, repository: str) -> docker.Saved | Login | None:
    document: dict[str, Any] = load(path)
    if is_of_docker(document):
        return docker.look_up(document, path, registry, repository)
    return login_in(document, path, registry)
