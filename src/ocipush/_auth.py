"""Challenge to token: Basic logins and Bearer tokens for one origin, fetched once for all workers, refreshed before they expire.

May import: errors, _protocol, _credentials, _http, anyio. It gives a header value and never re-sends a request.
"""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit

import anyio

from ._protocol import Challenge, error_for, parse_challenges, redact
from .errors import AuthenticationError, UnexpectedResponseError, UnsafeLocationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._credentials import Login
    from ._http import Answer

    Fetch = Callable[[str, dict[str, str]], Awaitable[Answer]]

_EARLY: Final = 10.0  # seconds before its end that a token is renewed
_DEFAULT_LIFETIME: Final = 60.0  # token specification: what a missing expires_in means


class Authorizer:
    """What one origin has asked for, and the answer to it.

    Args:
        login: the login for this origin, or None to stay anonymous.
        plain_http: whether the origin itself speaks plain HTTP, so that its token service may too (rules.md, 3).
    """

    def __init__(self, login: Login | None, *, plain_http: bool) -> None:
        self._login = login
        self._plain_http = plain_http
        self._lock = anyio.Lock()
        self._challenge: Challenge | None = None
        self._tokens: dict[str, tuple[str, float]] = {}

    async def header(self, scope: str, fetch: Fetch) -> str | None:
        """The Authorization value for a request that needs ``scope``; None while nothing was asked for.

        ``scope`` may be several, parted by spaces, as the token specification writes them.
        ``fetch`` sends a GET with these headers, for a token.

        Raises:
            AuthenticationError: the token service does not know the login.
            UnsafeLocationError: the realm would take the login out of TLS.
        """
        if self._challenge is None:
            return None
        if self._challenge.scheme == "basic":
            return self._basic()
        async with self._lock:
            token, end = self._tokens.get(scope, ("", 0.0))
            if end - _EARLY <= time.monotonic():
                token, end = await self._new_token(self._challenge, scope, fetch)
                self._tokens[scope] = (token, end)
            return f"Bearer {token}"

    def held(self, scope: str) -> str | None:
        """The Authorization value at hand, without a request for a new one."""
        if self._challenge is not None and self._challenge.scheme == "basic":
            return self._basic()
        token, _ = self._tokens.get(scope, ("", 0.0))
        return f"Bearer {token}" if token else None

    def learn(self, answer: Answer, scope: str, used: str | None) -> bool:
        """Take in a 401. Whether a new try, with :meth:`header` asked again, can end differently."""
        challenges = parse_challenges(answer.headers.get("www-authenticate", ""))
        challenge = next((one for one in challenges if one.scheme == "bearer"), None) or next(
            (one for one in challenges if one.scheme == "basic"), None
        )
        if challenge is None:
            return False
        if challenge.scheme == "basic":
            self._challenge = challenge
            return self._basic() is not None and used != self._basic()
        self._challenge = challenge
        if used == f"Bearer {self._tokens.get(scope, ('', 0.0))[0]}":
            del self._tokens[scope]
        return True

    def _basic(self) -> str | None:
        if self._login is None:
            return None
        pair = f"{self._login.username}:{self._login.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"

    async def _new_token(self, challenge: Challenge, scope: str, fetch: Fetch) -> tuple[str, float]:
        realm = challenge.parameters.get("realm", "")
        scheme = urlsplit(realm).scheme
        if scheme not in {"https", "http"} or (scheme == "http" and not self._plain_http):
            raise UnsafeLocationError(
                f"the registry names a token service that is not HTTPS: {redact(realm)!r}",
                hint="tls_verify=False (--tls-verify=false) allows plain HTTP",
            )
        asked = challenge.parameters.get("scope", "")
        if asked and not asked.startswith("repository:"):
            scope = asked  # an odd scope is a registry's own word (ECR public: "aws")
        query = [("scope", one) for one in scope.split()]
        if service := challenge.parameters.get("service"):
            query.append(("service", service))
        url = f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(query)}" if query else realm
        basic = self._basic()
        answer = await fetch(url, {"Authorization": basic} if basic else {})
        if answer.status != 200:
            error = error_for("GET", url, answer.status, answer.body)
            if answer.status in {401, 403}:
                raise AuthenticationError(error.message, hint=error.hint, status=answer.status, url=redact(url))
            raise error
        try:
            reply = json.loads(answer.body)
            token = reply.get("access_token") or reply.get("token")
            lifetime = float(reply.get("expires_in") or _DEFAULT_LIFETIME)
        except (ValueError, TypeError, AttributeError, RecursionError):
            token, lifetime = None, 0.0
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise UnexpectedResponseError(f"{redact(url)} gave no token", status=200, url=redact(url))
        return token, time.monotonic() + max(lifetime, _EARLY + 1)
