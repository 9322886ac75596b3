"""From a challenge to an Authorization header, for one origin: Basic logins and Bearer tokens.

A token is fetched once for all workers, and renewed before it ends. No request is sent again here.
"""

from __future__ import annotations

import base64
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlunsplit

import anyio

from .._http.redact import conceal, redact
from .._http.request import Request
from .._http.urls import split_url
from .._oci.reference import is_loopback
from ..errors import (
    AuthenticationError,
    UnexpectedResponseError,
    UnsafeLocationError,
)
from .answers import error_for
from .challenge import Challenge, parse_challenges
from .token import Grant, parse_grant

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .._credentials.base import Login
    from .._http.answer import Answer

    Fetch = Callable[[Request], Awaitable[Answer]]


_CLIENT_ID: Final = "ocipush"
_EARLY: Final = 10.0  # seconds before its end that a token is renewed; of a short life, the last quarter


@dataclass(frozen=True, slots=True)
class _Service:
    """A token service, as a challenge names it: the realm's URL, and what the registry is called there."""

    realm: str
    name: str | None


@dataclass(slots=True)
class _Slot:
    """A token, and whoever fetches the next one."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    generation: int = 0  # how many tokens it has had
    header: str | None = field(default=None, repr=False)
    renew_at: float = float("-inf")


class Authorizer:
    """What one origin has asked for, and the answer to it.

    Its tokens are kept by realm, service and scope, and itself serves one origin and one login: a registry that names
    the token service of another gets no token that was fetched for the other, and one that changes its challenge none
    of the challenge before.

    Args:
        login: the login for this origin, or None to stay anonymous.
        tls_verify: False lets the origin name a token service of plain HTTP anywhere, not on this machine only.
    """

    def __init__(self, login: Login | None, *, tls_verify: bool) -> None:
        self.login = login
        self._tls_verify = tls_verify
        self._challenge: Challenge | None = None
        self._slots: dict[tuple[_Service, str], _Slot] = {}
        self._refresh: tuple[_Service, str] | None = None
        self._spent: deque[str] = deque(maxlen=32)  # tokens that answers under way may still speak of

    @property
    def service(self) -> str | None:
        """The token service's name for this registry, once it has challenged."""
        return self._challenge.parameters.get("service") if self._challenge else None

    async def header(self, scope: str, fetch: Fetch) -> str | None:
        """The Authorization value for a request that needs ``scope``; None while nothing was asked for.

        ``scope`` may be several, parted by spaces, as the token specification writes them.
        ``fetch`` sends a request to the token service.

        Raises:
            AuthenticationError: the token service does not know the login.
            UnsafeLocationError: the realm would take the login out of TLS.
        """
        challenge = self._challenge
        if challenge is None or challenge.scheme == "basic":
            return self.held(scope)
        key = service, scope = self._key(challenge, scope)
        if (slot := self._slots.get(key)) is None:
            now = anyio.current_time()
            self._slots = {k: s for k, s in self._slots.items() if s.renew_at > now or s.lock.locked()}
            slot = self._slots[key] = _Slot()
        if slot.renew_at <= anyio.current_time():
            seen = slot.generation
            async with slot.lock:
                # Nobody has fetched one while this worker waited, or that one is refused already.
                if slot.generation == seen or slot.header is None:
                    now = anyio.current_time()
                    grant = await self._new_grant(service, scope, fetch)
                    slot.generation += 1
                    slot.header = f"Bearer {grant.token}"
                    self._spent.append(grant.token)
                    slot.renew_at = now + grant.lifetime - min(_EARLY, grant.lifetime / 4)
        return slot.header

    def held(self, scope: str) -> str | None:
        """The Authorization value at hand, without a request for a new one."""
        if self._challenge is None:
            return None
        if self._challenge.scheme == "basic":
            return self._basic()
        slot = self._slots.get(self._key(self._challenge, scope))
        return slot.header if slot else None

    def learn(self, answer: Answer, scope: str, used: str | None) -> bool:
        """Take in a 401. Whether a new try, with :meth:`header` asked again, can end differently.

        ``used`` is what the refused request carried: where another has been fetched meanwhile, that one is to be tried.
        """
        challenges = parse_challenges(answer.headers.get("www-authenticate", ""))
        challenge = next((one for one in challenges if one.scheme == "bearer"), None) or next(
            (one for one in challenges if one.scheme == "basic"), None
        )
        if challenge is None:
            return False
        self._challenge = challenge
        if challenge.scheme == "basic":
            return self._basic() is not None and used != self._basic()
        slot = self._slots.get(self._key(challenge, scope))
        if slot is not None and slot.header == used:
            slot.header, slot.renew_at = None, float("-inf")
        return True

    @property
    def anonymous(self) -> bool:
        """Whether there is no login for this origin."""
        return self.login is None

    @property
    def login_hint(self) -> str | None:
        """What to do about a refused login, where more is known than the answer tells."""
        if self.login is None:
            return "no login was found for this registry: `ocipush image login REGISTRY` saves one"
        if self.login.identity_token and self._challenge and self._challenge.scheme == "basic":
            return "this registry takes a user name and a password, and the login is an identity token"
        return None

    def conceal(self, text: str) -> str:
        """``text`` without the login and its tokens: a registry may say back what it was sent."""
        basic = (self._basic() or "").removeprefix("Basic ")
        return conceal(text, (self.login.password if self.login else "", basic, *self._spent))

    def _basic(self) -> str | None:
        if self.login is None or self.login.identity_token is not None:
            return None
        pair = f"{self.login.username}:{self.login.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"

    def _key(self, challenge: Challenge, scope: str) -> tuple[_Service, str]:
        asked = challenge.parameters.get("scope", "")
        if asked and not asked.startswith("repository:"):
            scope = asked  # an odd scope is a registry's own word (ECR public: "aws")
        return _Service(challenge.parameters.get("realm", ""), challenge.parameters.get("service")), scope

    async def _new_grant(self, service: _Service, scope: str, fetch: Fetch) -> Grant:
        answer = await self._ask(_Service(self._checked(service.realm), service.name), scope, fetch)
        if answer.status != 200:
            if answer.request.method == "POST" and answer.status == 400:  # RFC 6749, 5.2: an invalid grant
                hint = (
                    self.login_hint or "log in again: the token service does not accept this login, or no longer does"
                )
                raise error_for(answer, self, cls=AuthenticationError, hint=hint)
            raise error_for(answer, self)
        grant = parse_grant(answer.body)
        if grant is None:
            raise UnexpectedResponseError(
                f"the token service {redact(answer.request.url)} gave no token",
                hint="is it one? A proxy or a portal may be answering for it",
                status=200,
                **answer.request.facts(),
            )
        if grant.refresh_token is not None:
            self._refresh = (service, grant.refresh_token)
        return grant

    async def _ask(self, service: _Service, scope: str, fetch: Fetch) -> Answer:
        """Ask for a token with the login: by POST with a token for tokens (OAuth2), else by GET, which services know best.

        A refresh token that the service gave is dropped when it is refused. It is for that service alone.
        """
        identity = self.login.identity_token if self.login else None
        given = self._refresh[1] if self._refresh and self._refresh[0] == service else None
        answer: Answer | None = None
        for token in (given, identity):
            if token is not None:
                self._spent.append(token)
                answer = await _post(service, scope, fetch, grant_type="refresh_token", refresh_token=token)
                if answer.status not in {400, 401, 404, 405}:
                    return answer
                self._refresh = None
        if answer is not None and identity is not None:
            return answer
        basic = self._basic()
        answer = await _get(service, scope, fetch, {"Authorization": basic} if basic else {})
        if answer.status in {404, 405} and self.login is not None:
            login = {"username": self.login.username, "password": self.login.password}
            by_post = await _post(service, scope, fetch, grant_type="password", **login)
            return answer if by_post.status in {404, 405} else by_post
        return answer

    def _checked(self, realm: str) -> str:
        """The token service that the registry names, if the login may go there: over TLS, or within this machine."""
        try:
            parts = split_url(realm)
        except ValueError:
            parts = None
        if parts is None or (parts.scheme == "http" and self._tls_verify and not is_loopback(parts.netloc)):
            raise UnsafeLocationError(
                f"the registry names a token service that is not HTTPS: {redact(realm)!r}",
                hint="--tls-verify=false (tls_verify=False) allows plain HTTP, where the network is trusted",
            )
        return urlunsplit(parts)


async def _get(service: _Service, scope: str, fetch: Fetch, headers: dict[str, str]) -> Answer:
    query = [("scope", one) for one in scope.split()]
    if service.name:
        query.append(("service", service.name))
    joint = "&" if "?" in service.realm else "?"
    url = f"{service.realm}{joint}{urlencode(query)}" if query else service.realm
    return await fetch(Request(method="GET", url=url, headers=headers))


async def _post(service: _Service, scope: str, fetch: Fetch, **grant: str) -> Answer:
    fields = {**grant, "client_id": _CLIENT_ID, "service": service.name or "", "scope": scope}
    body = urlencode({name: value for name, value in fields.items() if value}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return await fetch(Request(method="POST", url=service.realm, headers=headers, body=body))
