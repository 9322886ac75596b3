"""A login, and where one comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from .._oci.reference import DOCKER_HUB, parse_registry

IDENTITY_TOKEN: Final = "<token>"  # noqa: S105 - what stands for a user name
_HUB_ALIASES: Final = (DOCKER_HUB, "docker.io", "registry-1.docker.io", "https://index.docker.io/v1/")


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and its password, which is never shown.

    As in the files of Docker and Podman, the user name ``<token>`` says that the password is an identity token: it goes to
    token services alone, by POST (OAuth2).
    """

    username: str
    password: str = field(repr=False)

    @property
    def identity_token(self) -> str | None:
        """The token for tokens that a token service gave once; None for a user name and a password."""
        return self.password if self.username == IDENTITY_TOKEN else None


def registry_of(key: str) -> str:
    """The registry that a login under ``key`` is for; raises InvalidReferenceError when no reference can name it."""
    return DOCKER_HUB if key in _HUB_ALIASES else parse_registry(key)
