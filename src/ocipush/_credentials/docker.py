"""Logins in the files of Docker (``config.json``) and of Podman, Buildah and Skopeo (``auth.json``)."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from .._oci.json import is_text, quoted, validate
from .._oci.reference import DOCKER_HUB
from ..errors import CredentialError
from .base import HUB_ALIASES, IDENTITY_TOKEN, Login
from .documents import Text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

T = TypeVar("T")
_HUB_KEY: Final = "https://index.docker.io/v1/"  # what Docker saves and looks up a login of Docker Hub under
_API_VERSIONS: Final = frozenset({"v1", "v2"})  # old keys end with one
_Map = Annotated[
    dict[str, T], BeforeValidator(lambda value: {} if value is None else value), Field(default_factory=dict)
]


class _Config(BaseModel):
    """What is read of a file. An entry of ``auths`` is checked when its registry is looked up."""

    model_config = ConfigDict(frozen=True)

    auths: _Map[Any]
    helpers: Annotated[_Map[str], Field(alias="credHelpers")]
    store: Annotated[str, Field(alias="credsStore")] = ""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True)

    auth: Text = Field(default="", repr=False)
    username: Text = ""
    password: Text = Field(default="", repr=False)
    identity_token: Text = Field(default="", alias="identitytoken", repr=False)
    registry_token: Text = Field(default="", alias="registrytoken", repr=False)


@dataclass(frozen=True, slots=True)
class HelperChoice:
    """A credential helper that a file names for a registry.

    Attributes:
        name: what follows ``docker-credential-``.
        servers: what to ask it for, one after the other.
        where: the file and the key that name it, for errors.
        source: the file.
        namespace: the part of the registry that it is named for.
    """

    name: str
    servers: tuple[str, ...]
    where: str
    source: str
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Saved:
    """What a file has for a registry: first the helpers that it names, then the entries of ``auths``."""

    path: Path
    helpers: tuple[HelperChoice, ...]
    entries: tuple[tuple[str, str, Any], ...]  # key, namespace, value

    def login(self) -> Login | None:
        """The login in the entries, if one of them has any."""
        for key, namespace, value in self.entries:
            if (login := self._read(key, value)) is not None:
                return Login(login.username, login.password, registry_token=login.registry_token, namespace=namespace)
        return None

    def _read(self, key: str, value: object) -> Login | None:
        try:
            entry = validate(_Entry, value)
            if entry.registry_token:
                return Login(registry_token=entry.registry_token)
            if entry.identity_token:
                return Login(IDENTITY_TOKEN, entry.identity_token)
            if entry.auth:
                return _decode(entry.auth)
        except ValueError as exc:
            raise CredentialError(
                f"{self.path}: the entry of {quoted(key)} in auths is not valid: {exc}", source=str(self.path)
            ) from exc
        return Login(entry.username, entry.password) if entry.username and entry.password else None


def look_up(document: dict[str, Any], path: Path, registry: str, repository: str) -> Saved:
    """Find what a file says of a registry: the keys of the repository's namespace first, the longest before shorter ones.

    Raises:
        CredentialError: the file is malformed.
    """
    try:
        config = validate(_Config, document)
    except ValueError as exc:
        raise CredentialError(f"{path} is not a login file: {exc}", source=str(path)) from exc
    servers = (_HUB_KEY, "docker.io") if registry == DOCKER_HUB else (registry,)
    named = [
        HelperChoice(config.helpers[key], servers, f"{path}, credHelpers, {quoted(key)}", str(path), namespace)
        for key, namespace in _keys(config.helpers, registry, repository)
    ]
    helpers = [one for one in named if one.name]
    if config.store and len(helpers) == len(named):  # as for Docker, an empty name means: no helper for this registry
        helpers.append(HelperChoice(config.store, servers, f"{path}, credsStore", str(path)))
    entries = [(key, space, config.auths[key]) for key, space in _keys(config.auths, registry, repository)]
    return Saved(path, tuple(helpers), tuple(entries))


def _keys(mapping: Mapping[str, object], registry: str, repository: str) -> list[tuple[str, str]]:
    """The keys that are for a repository, and the namespace of each; the most specific first."""
    found: list[tuple[str, str]] = []
    for key in mapping:
        host, namespace = _split(key)
        if host == registry and (not namespace or f"{repository}/".startswith(f"{namespace}/")):
            found.append((key, namespace))
    own = (registry, _HUB_KEY) if registry == DOCKER_HUB else (registry,)
    return sorted(found, key=lambda one: (-len(one[1]), one[0] not in own))


def _split(key: str) -> tuple[str, str]:
    """Split a key into the registry, as references have it, and the namespace.

    ``https://host/v1/`` is how Docker writes old keys. A path without a scheme is a namespace, as Podman writes it.
    """
    scheme, separator, rest = key.partition("://")
    host, _, path = rest.partition("/") if separator and scheme in {"http", "https"} else key.partition("/")
    namespace = "" if separator or path.strip("/") in _API_VERSIONS else path.strip("/")
    return DOCKER_HUB if host in HUB_ALIASES else host, namespace


def _decode(auth: str) -> Login:
    """Decode ``base64(user:password)``. Raises ValueError, whose text shows nothing of it."""
    try:
        username, colon, password = base64.b64decode(auth, validate=True).decode("utf-8").partition(":")
    except ValueError:
        raise ValueError("auth is not base64 of text") from None
    password = password.rstrip("\0")  # old versions of Docker padded it
    if not (colon and username and password and is_text(password)):
        raise ValueError("auth has no user name or no password")
    return Login(username, password)
