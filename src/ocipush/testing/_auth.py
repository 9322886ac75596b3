"""Basic and Bearer authentication of the development registry. May import: _answers, _dialects, _server."""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ocipush.testing._answers import refusal, reply
from ocipush.testing._dialects import Dialect

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ocipush.testing._server import Request, Response

Scope = tuple[str, str]
"""A repository, and ``pull`` or ``push``."""
_EVERYTHING: set[Scope] = {("*", "*")}  # what a token for a registry's one scope allows
_TOO_LITTLE = ',error="insufficient_scope"'
Permissions = Mapping[str, Mapping[str, str]]
"""What users may do, e.g. ``{"reader": {"team/*": "pull"}}``; a user who is not named may do everything."""


def _user(request: Request, users: Mapping[str, str]) -> str | None:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return name if users.get(name) == password else None


def _may(permissions: Permissions, user: str, repository: str, action: str) -> bool:
    if user not in permissions:
        return True
    given = (actions for pattern, actions in permissions[user].items() if fnmatchcase(repository, pattern))
    return any(action in actions.split(",") for actions in given)


def unauthorized(challenge: str) -> Response:
    """Return a 401 with a challenge."""
    return refusal(401, "UNAUTHORIZED", "authentication required", **{"WWW-Authenticate": challenge})


@dataclass(slots=True)
class BasicAuth:
    """Each request carries a user name and password; what the user may not do is answered 403 DENIED."""

    users: Mapping[str, str] = field(repr=False)
    realm: str = "ocipush"
    permissions: Permissions = field(default_factory=dict[str, Mapping[str, str]])

    def check(self, request: Request, scopes: Sequence[Scope], base: str) -> Response | None:
        """Return the refusal, or None when the request may pass."""
        user = _user(request, self.users)
        if user is None:
            return unauthorized(self.challenge(scopes, base))
        if all(_may(self.permissions, user, *scope) for scope in scopes):
            return None
        return refusal(403, "DENIED", "requested access to the resource is denied")

    def challenge(self, scopes: Sequence[Scope], base: str) -> str:
        """Return what a 401 asks for."""
        del scopes, base
        return f'Basic realm="{self.realm}"'


@dataclass(slots=True)
class BearerAuth:
    """Each request carries a token of the registry's own `/token` endpoint.

    A token holds what was asked for and the user may do; one that holds too little is answered 401 with
    ``error="insufficient_scope"``.
    """

    users: Mapping[str, str] = field(repr=False)
    anonymous: Sequence[str] = ()
    lifetime: float = 300
    clock: Callable[[], float] = time.time
    service: str = "ocipush"
    permissions: Permissions = field(default_factory=dict[str, Mapping[str, str]])
    dialect: Dialect = field(default=Dialect(), init=False, repr=False)  # its registry's
    _tokens: dict[str, tuple[float, set[Scope]]] = field(
        default_factory=dict[str, tuple[float, set[Scope]]], repr=False
    )

    def check(self, request: Request, scopes: Sequence[Scope], base: str) -> Response | None:
        """Return the refusal, or None when the request may pass."""
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        expires, granted = self._tokens.get(value, (0.0, set[Scope]()))
        known = scheme.lower() == "bearer" and value in self._tokens and self.clock() < expires
        if known and (granted.issuperset(scopes) or granted == _EVERYTHING):
            return None
        return unauthorized(self.challenge(scopes, base) + (_TOO_LITTLE if known else ""))

    def challenge(self, scopes: Sequence[Scope], base: str) -> str:
        """Return what a 401 asks for."""
        challenge = f'Bearer realm="{base}/token",service="{self.dialect.token_service or self.service}"'
        if scopes:
            challenge += f',scope="{self.dialect.challenge_scope or _spelt(scopes)}"'
        return challenge

    def expire(self) -> None:
        """Void every token issued so far."""
        self._tokens.clear()

    def issue(self, request: Request, scopes: Sequence[str]) -> Response:
        """Answer a request for a token."""
        user = _user(request, self.users)
        if user is None and ("authorization" in request.headers or not self.anonymous):
            return unauthorized(f'Basic realm="{self.service}"')
        granted: set[Scope] = set()
        for scope in " ".join(scopes).split():
            if scope == self.dialect.challenge_scope:
                granted = set(_EVERYTHING)
                break
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            for action in actions.split(","):
                allowed = action in self.anonymous if user is None else _may(self.permissions, user, name, action)
                if kind == "repository" and allowed:
                    granted.add((name, action))
        token = secrets.token_urlsafe(24)
        self._tokens[token] = (self.clock() + self.lifetime, granted)
        found = {"token": token, "access_token": token, "expires_in": self.lifetime}
        return reply({name: found[name] for name in self.dialect.token_fields})


def _spelt(scopes: Sequence[Scope]) -> str:
    """The scopes as a challenge names them: whoever wants to push is told to ask for pull too."""
    return " ".join(f"repository:{name}:{'pull,push' if action == 'push' else action}" for name, action in scopes)
