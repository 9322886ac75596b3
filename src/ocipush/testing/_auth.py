"""Basic and Bearer authentication of the development registry."""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ocipush.testing._dialects import Dialect
from ocipush.testing._responses import error_response, json_response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ocipush.testing._messages import Request, Response

Scope = tuple[str, str]
"""A resource, such as ``repository:team/app``, and an action: ``pull``, ``push`` or ``delete``."""
CATALOG: Scope = ("registry:catalog", "*")
_EVERYTHING: set[Scope] = {("*", "*")}  # of a registry with one scope for everything
_INSUFFICIENT_SCOPE = ',error="insufficient_scope"'
Permissions = Mapping[str, Mapping[str, str]]
"""What users may do, e.g. ``{"reader": {"team/*": "pull"}}``; a user who is not listed may do everything."""


def _user(request: Request, users: Mapping[str, str]) -> str | None:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return name if users.get(name) == password else None


def _is_permitted(permissions: Permissions, user: str, resource: str, action: str) -> bool:
    if user not in permissions:
        return True
    name = resource.removeprefix("repository:")
    granted = (actions for pattern, actions in permissions[user].items() if fnmatchcase(name, pattern))
    return any(action in actions.split(",") for actions in granted)


def unauthorized(challenge: str) -> Response:
    """Return a 401 with a challenge."""
    return error_response(401, "UNAUTHORIZED", "authentication required", **{"WWW-Authenticate": challenge})


@dataclass(slots=True)
class BasicAuth:
    """Every request needs a user name and password. What a user may not do gets 403 DENIED."""

    users: Mapping[str, str] = field(repr=False)
    realm: str = "ocipush"
    permissions: Permissions = field(default_factory=dict[str, Mapping[str, str]])

    def check(self, request: Request, scopes: Sequence[Scope], base: str) -> Response | None:
        """Return the error response, or None if the request is allowed."""
        user = _user(request, self.users)
        if user is None:
            return unauthorized(self.challenge(scopes, base))
        if all(_is_permitted(self.permissions, user, *scope) for scope in scopes):
            return None
        return error_response(403, "DENIED", "requested access to the resource is denied")

    def challenge(self, scopes: Sequence[Scope], base: str) -> str:
        """Return the challenge of a 401."""
        del scopes, base
        return f'Basic realm="{self.realm}"'


@dataclass(slots=True)
class BearerAuth:
    """Every request needs a token from the registry's own `/token` endpoint.

    A token grants the requested scopes as far as the user is permitted to use them. A request whose token lacks a scope
    gets 401 with ``error="insufficient_scope"``.
    """

    users: Mapping[str, str] = field(repr=False)
    anonymous: Sequence[str] = ()
    lifetime: float = 300
    clock: Callable[[], float] = time.time
    service: str = "ocipush"
    permissions: Permissions = field(default_factory=dict[str, Mapping[str, str]])
    dialect: Dialect = field(default=Dialect(), init=False, repr=False)  # set by the registry
    _tokens: dict[str, tuple[float, set[Scope]]] = field(
        default_factory=dict[str, tuple[float, set[Scope]]], repr=False
    )

    def check(self, request: Request, scopes: Sequence[Scope], base: str) -> Response | None:
        """Return the error response, or None if the request is allowed."""
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        expires, granted = self._tokens.get(value, (0.0, set[Scope]()))
        known = scheme.lower() == "bearer" and value in self._tokens and self.clock() < expires
        if known and (granted.issuperset(scopes) or granted == _EVERYTHING):
            return None
        return unauthorized(self.challenge(scopes, base) + (_INSUFFICIENT_SCOPE if known else ""))

    def challenge(self, scopes: Sequence[Scope], base: str) -> str:
        """Return the challenge of a 401."""
        challenge = f'Bearer realm="{base}/token",service="{self.dialect.token_service or self.service}"'
        if scopes:
            challenge += f',scope="{self.dialect.challenge_scope or _in_challenge(scopes)}"'
        return challenge

    def expire(self) -> None:
        """Make all tokens issued so far invalid."""
        self._tokens.clear()

    def issue(self, request: Request, scopes: Sequence[str]) -> Response:
        """Respond to a request for a token."""
        user = _user(request, self.users)
        if user is None and ("authorization" in request.headers or not self.anonymous):
            return unauthorized(f'Basic realm="{self.service}"')
        granted: set[Scope] = set()
        for scope in " ".join(scopes).split():
            if scope == self.dialect.challenge_scope:
                granted = set(_EVERYTHING)
                break
            resource, _, actions = scope.rpartition(":")
            granted |= {(resource, action) for action in actions.split(",") if self._grants(user, resource, action)}
        token = secrets.token_urlsafe(24)
        self._tokens[token] = (self.clock() + self.lifetime, granted)
        found = {"token": token, "access_token": token, "expires_in": self.lifetime}
        return json_response({name: found[name] for name in self.dialect.token_fields})

    def _grants(self, user: str | None, resource: str, action: str) -> bool:
        if resource.partition(":")[0] not in {"repository", "registry"}:
            return False
        if user is None:
            return action in self.anonymous
        return _is_permitted(self.permissions, user, resource, action)


def _in_challenge(scopes: Sequence[Scope]) -> str:
    """Return the scopes as a challenge lists them: with ``push`` comes ``pull``."""
    return " ".join(f"{resource}:{'pull,push' if action == 'push' else action}" for resource, action in scopes)
