"""Challenge to token: Basic logins and Bearer tokens for one origin, fetched once for all workers, refreshed before they expire.

May import: errors, _protocol, _reference, _credentials, _http, anyio. It gives a header value and never re-sends a request.
"""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

import anyio

from ._protocol import Challenge, error_for, parse_challenges, redact
from ._reference import is_loopback
from .errors import AuthenticationError, AuthorizationError, UnexpectedResponseError, UnsafeLocationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._credentials import Login
    from ._http import Answer
    from .errors import RegistryError

    Fetch = Callable[[str, dict[str, str]], Awaitable[Answer]]

_EARLY: Final = 10.0  # seconds before its end that a token is renewed
_DEFAULT_LIFETIME: Final = 60.0  # token specification: what a missing expires_in means


class Authorizer:
    """What one origin has asked for, and the answer to it.

    Args:
        login: the login for this origin, or None to stay anonymous.
        tls_verify: False lets the origin name a token service of plain HTTP anywhere, not on this machine only.
    """

    def __init__(self, login: Login | None, *, tls_verify: bool) -> None:
        self.login = login
        self._tls_verify = tls_verify
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

    @property
    def service(self) -> str | None:
        """The token service's name for this registry, once it has challenged."""
        return self._challenge.parameters.get("service") if self._challenge else None

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

    def explain(self, error: RegistryError) -> RegistryError:
        """Say of an error whether there was a login at all."""
        if self.login is None and isinstance(error, AuthenticationError | AuthorizationError):
            error.hint = "no login was found for this registry: `ocipush image login REGISTRY` saves one"
        return error

    def _basic(self) -> str | None:
        if self.login is None:
            return None
        pair = f"{self.login.username}:{self.login.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"

    async def _new_token(self, challenge: Challenge, scope: str, fetch: Fetch) -> tuple[str, float]:
        realm = self._realm(challenge)
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
            raise self.explain(error_for("GET", url, answer.status, answer.body))
        try:
            reply = json.loads(answer.body)
            token = reply.get("access_token") or reply.get("token")
            lifetime = reply.get("expires_in")
        except (ValueError, AttributeError, RecursionError):
            token, lifetime = None, None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise UnexpectedResponseError(
                f"the token service {redact(url)} gave no token",
                hint="is it one? Something between may be answering for it",
                status=200,
                method="GET",
                url=redact(url),
            )
        if not isinstance(lifetime, int | float) or not 0 < lifetime < float("inf"):
            lifetime = _DEFAULT_LIFETIME
        return token, time.monotonic() + max(lifetime, _EARLY + 1)

    def _realm(self, challenge: Challenge) -> str:
        """The token service that the registry names, if the login may go there: over TLS, or within this machine."""
        realm = challenge.parameters.get("realm", "")
        try:
            parts = urlsplit(realm)
            host, allowed = parts.hostname, {"https"}
        except ValueError:
            parts, host, allowed = urlsplit(""), None, set[str]()
        if host and (not self._tls_verify or is_loopback(f"[{host}]" if ":" in host else host)):
            allowed.add("http")
        if not host or parts.scheme not in allowed:
            raise UnsafeLocationError(
                f"the registry names a token service that is not HTTPS: {redact(realm)!r}",
                hint="--tls-verify=false (tls_verify=False) allows plain HTTP, where the network is trusted",
            )
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
