"""Basic and Bearer authentication of the development registry. May import: _server."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ocipush.testing._server import Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def _user(request: Request, users: Mapping[str, str]) -> str | None:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return name if users.get(name) == password else None


def unauthorized(challenge: str) -> Response:
    """Return a 401 with a challenge."""
    error = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
    headers = {"WWW-Authenticate": challenge, "Content-Type": "application/json"}
    return Response(401, headers, json.dumps(error).encode())


@dataclass(slots=True)
class BasicAuth:
    """Each request carries a user name and password."""

    users: Mapping[str, str] = field(repr=False)
    realm: str = "ocipush"

    def check(self, request: Request, scopes: set[tuple[str, str]], base: str) -> Response | None:
        """Return the refusal, or None when the request may pass."""
        del scopes, base
        if _user(request, self.users) is not None:
            return None
        return unauthorized(f'Basic realm="{self.realm}"')


@dataclass(slots=True)
class BearerAuth:
    """Each request carries a token of the registry's own `/token` endpoint."""

    users: Mapping[str, str] = field(repr=False)
    anonymous: Sequence[str] = ()
    lifetime: float = 300
    clock: Callable[[], float] = time.time
    service: str = "ocipush"
    _tokens: dict[str, tuple[float, set[tuple[str, str]]]] = field(
        default_factory=dict[str, tuple[float, set[tuple[str, str]]]], repr=False
    )

    def check(self, request: Request, scopes: set[tuple[str, str]], base: str) -> Response | None:
        """Return the refusal, or None when the request may pass."""
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        expires, granted = self._tokens.get(value, (0.0, set[tuple[str, str]]()))
        known = scheme.lower() == "bearer" and value in self._tokens and self.clock() < expires
        if known and scopes <= granted:
            return None
        challenge = f'Bearer realm="{base}/token",service="{self.service}"'
        if scopes:
            name = min(scopes)[0]
            actions = ",".join(sorted(action for _, action in scopes))
            challenge += f',scope="repository:{name}:{actions}"'
        if known:
            challenge += ',error="insufficient_scope"'
        return unauthorized(challenge)

    def holds(self, request: Request, repository: str, action: str) -> bool:
        """Say whether the request's token grants `action` on a repository."""
        _, _, value = request.headers.get("authorization", "").partition(" ")
        return value in self._tokens and (repository, action) in self._tokens[value][1]

    def issue(self, request: Request, scopes: Sequence[str]) -> Response:
        """Answer a request for a token."""
        user = _user(request, self.users)
        if user is None and ("authorization" in request.headers or not self.anonymous):
            return unauthorized(f'Basic realm="{self.service}"')
        granted: set[tuple[str, str]] = set()
        for scope in " ".join(scopes).split():
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            for action in actions.split(","):
                if kind == "repository" and (user is not None or action in self.anonymous):
                    granted.add((name, action))
        token = secrets.token_urlsafe(24)
        self._tokens[token] = (self.clock() + self.lifetime, granted)
        body = {"token": token, "access_token": token, "expires_in": self.lifetime}
        return Response(200, {"Content-Type": "application/json"}, json.dumps(body).encode())
