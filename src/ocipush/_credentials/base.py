"""A login, and the ``Credentials`` protocol: where logins come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from .._oci.reference import DOCKER_HUB, parse_registry

IDENTITY_TOKEN: Final = "<token>"  # noqa: S105 - takes the place of a user name
HUB_ALIASES: Final = (DOCKER_HUB, "docker.io", "registry-1.docker.io", "https://index.docker.io/v1/")


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and its password, which is never shown; or a registry token.

    As in the files of Docker and Podman, the user name ``<token>`` says that the password is an identity token. It is sent
    only to token services, by POST (OAuth2). A registry token is sent to the registry as it is, as a bearer token.

    Attributes:
        namespace: the part of the registry that the login is for, such as ``team``; empty for the whole registry.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    registry_token: str | None = field(default=None, repr=False, kw_only=True)
    namespace: str = field(default="", compare=False, kw_only=True)

    @property
    def identity_token(self) -> str | None:
        """The identity token, which a token service gave once; None for a user name and a password."""
        return self.password if self.username == IDENTITY_TOKEN else None

    @property
    def is_empty(self) -> bool:
        """Whether nothing can be sent: there is no registry token, and the user name or the password is empty."""
        return not self.registry_token and not (self.username and self.password)


class Credentials(Protocol):
    """A place that logins come from."""

    async def login(self, registry: str, repository: str = "", *, refused: Login | None = None) -> Login | None:
        """The login for ``registry``, or None if there is none.

        A login that is empty means: push anonymously, and look nowhere else.

        Args:
            registry: ``host`` or ``host:port`` as references have it; Docker Hub is ``index.docker.io``.
            repository: what is pushed to there; logins for its namespace are preferred.
            refused: a login that the registry refused: a place that keeps its answers asks again instead.

        Raises:
            CredentialError: the logins cannot be read, or are malformed. The push fails: it never becomes anonymous.
            InvalidReferenceError: ``registry`` is not the name of a registry.
        """
        ...


def registry_of(key: str) -> str:
    """The registry that a login under ``key`` is for. Raises InvalidReferenceError if no reference can name it."""
    return DOCKER_HUB if key in HUB_ALIASES else parse_registry(key)
