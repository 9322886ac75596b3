"""From a challenge to an Authorization header, for one origin: Basic logins and Bearer tokens.

A token is fetched once for all workers, and renewed before it ends. No request is sent again here.
"""

from __future__ import annotations

import base64
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

import anyio

from .._http.redact import Secret, conceal, redact
from .._http.request import Request
from .._http.urls import split_url
from .._oci.reference import is_loopback
from ..errors import UnexpectedResponseError, UnsafeLocationError
from .answers import concealed, error_for, is_web_page
from .challenge import Challenge, parse_challenges
from .hints import HINTS
from .statuses import Kind
from .token import Grant, parse_grant

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .._credentials.base import Login
    from .._http.answer import Answer

    Fetch = Callable[[Request], Awaitable[Answer]]
    Renew = Callable[[Login], Awaitable[Login | None]]


_CLIENT_ID: Final = "ocipush"
_REMEMBERED_TOKENS: Final = 32
_REMEMBERED_URLS: Final = 128
_FUTILE: Final = 5.0  # seconds for which nobody is asked for another login again, after there was none
_EARLY: Final = 10.0  # seconds before its end that a token is renewed; of a short life, the last quarter


@dataclass(frozen=True, slots=True)
class _Service:
    """A token service, as named in a challenge: the URL of the realm, and the name of the registry there."""

    realm: str
    name: str | None


@dataclass(slots=True)
class _Slot:
    """A token, and the lock of the worker that fetches the next one."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    generation: int = 0  # how many tokens it has had
    header: str | None = field(default=None, repr=False)
    renew_at: float = float("-inf")


class Authorizer:
    """The challenge of one origin, and the answer to it.

    Its tokens are kept by realm, service and scope, and itself serves one origin and one login: a registry that names
    the token service of another gets no token that was fetched for the other, and one that changes its challenge none
    of the challenge before.

    Args:
        registry: the registry, as in a reference; errors name it.
        login: the login for this origin, or None to stay anonymous.
        tls_verify: False lets the origin name a token service of plain HTTP anywhere, not on this machine only.
        renew: called with a login that was refused; returns the one to use instead, or the same one, or None.

    Attributes:
        has_token: whether a token service has granted a token for the login.
        asks_for_reads: whether the registry requires a login, or a token, for reading too.
    """

    def __init__(self, login: Login | None, *, registry: str, tls_verify: bool, renew: Renew | None = None) -> None:
        self.login = login
        self.registry = registry
        self._renew = renew
        self._renewing = anyio.Lock()
        self._futile_until = float("-inf")
        self.has_token = False
        self.asks_for_reads = False
        self._tls_verify = tls_verify
        self._named_by = ""  # the URL whose answer was the challenge
        self._challenge: Challenge | None = None
        self._slots: dict[tuple[_Service, str], _Slot] = {}
        self._refresh: tuple[_Service, str] | None = None
        # Recent tokens and signed addresses, which answers may still echo.
        self._spent: deque[Secret] = deque(maxlen=_REMEMBERED_TOKENS)
        self._signed: deque[Secret] = deque(maxlen=_REMEMBERED_URLS)
        self._given: dict[str, Secret] = {}

    @property
    def service(self) -> str | None:
        """The token service's name for this registry, once it has sent a challenge."""
        return self._challenge.parameters.get("service") if self._challenge else None

    async def header(self, scope: str, fetch: Fetch) -> str | None:
        """The Authorization value for a request that needs ``scope``; None as long as there was no challenge.

        ``scope`` can hold several scopes, separated by spaces, as in the token specification.
        ``fetch`` sends a request to the token service.

        Raises:
            AuthenticationError: the token service does not accept the login.
            UnsafeLocationError: the login would be sent to the realm without TLS.
        """
        challenge = self._challenge
        if challenge is None or challenge.scheme == "basic" or self._registry_token is not None:
            return self.held(scope)
        key = service, scope = self._key(challenge, scope)
        if (slot := self._slots.get(key)) is None:
            now = anyio.current_time()
            self._slots = {k: s for k, s in self._slots.items() if s.renew_at > now or s.lock.locked()}
            slot = self._slots[key] = _Slot()
        if slot.renew_at <= anyio.current_time():
            seen = slot.generation
            async with slot.lock:
                # No other worker has fetched a token meanwhile, or it has been refused already.
                if slot.generation == seen or slot.header is None:
                    now = anyio.current_time()
                    grant = await self._new_grant(service, scope, fetch)
                    slot.generation += 1
                    slot.header = f"Bearer {grant.token}"
                    self._spent.append(Secret(grant.token))
                    slot.renew_at = now + grant.lifetime - min(_EARLY, grant.lifetime / 4)
        return slot.header

    def held(self, scope: str) -> str | None:
        """The Authorization value at hand, without a request for a new one."""
        if self._challenge is None:
            return None
        if self._challenge.scheme == "basic":
            return self._basic()
        if self._registry_token is not None:
            return f"Bearer {self._registry_token}"
        slot = self._slots.get(self._key(self._challenge, scope))
        return slot.header if slot else None

    def learn(self, answer: Answer, scope: str, used: str | None) -> bool:
        """Learn from a 401. Returns whether another attempt, with a new value of :meth:`header`, can succeed.

        ``used`` is the value that the refused request had. If another one was fetched meanwhile, that one is tried.
        """
        challenges = parse_challenges(answer.headers.get("www-authenticate", ""))
        challenge = next((one for one in challenges if one.scheme == "bearer"), None) or next(
            (one for one in challenges if one.scheme == "basic"), None
        )
        if challenge is None:
            return False
        if challenge != self._challenge:
            self.remember(challenge.parameters.get("realm", ""))
        self._challenge, self._named_by = challenge, answer.request.url
        self.asks_for_reads |= answer.request.method in {"GET", "HEAD"}
        if challenge.scheme == "basic":
            return self._basic() is not None and used != self._basic()
        if self._registry_token is not None:
            return used != self.held(scope)
        slot = self._slots.get(self._key(challenge, scope))
        if slot is not None and slot.header == used:
            slot.header, slot.renew_at = None, float("-inf")
        return True

    async def renew_login(self, used: str | None) -> bool:
        """Ask for another login, if ``used`` is the present one and was refused. Returns whether another attempt can succeed.

        Raises:
            CredentialError: the logins cannot be read.
        """
        return used is not None and used == self.held("") and await self._replace_login(self.login)

    async def _replace_login(self, refused: Login | None) -> bool:
        if refused is None or self._renew is None:
            return False
        async with self._renewing:
            if self.login != refused:  # another worker has replaced it
                return True
            if anyio.current_time() < self._futile_until:
                return False
            login = await self._renew(refused)
            if login is None or login == refused:
                self._futile_until = anyio.current_time() + _FUTILE
                return False
            self._spent.extend(
                map(Secret, filter(None, (refused.password, refused.registry_token, self._basic_value())))
            )
            self.login, self._refresh = login, None
            return True

    @property
    def anonymous(self) -> bool:
        """Whether there is no login for this origin."""
        return self.login is None

    @property
    def has_identity_token(self) -> bool:
        """Whether the login is an identity token, or a registry token, which no registry takes as a password either."""
        return self.login is not None and (self.login.identity_token or self.login.registry_token) is not None

    def conceal(self, text: str) -> str:
        """``text`` without the login and its tokens: a registry may echo what it was sent."""
        given = (self.login.password if self.login else "", self._registry_token or "", self._basic_value())
        self._given = {one: self._given.get(one) or Secret(one) for one in given if one}
        return conceal(text, (*self._given.values(), *self._spent, *self._signed))

    def remember(self, url: str) -> None:
        """Conceal the query of this address from now on: it can be signed."""
        if "?" in url:
            self._signed.append(Secret(url, is_url=True))

    @property
    def _registry_token(self) -> str | None:
        return self.login.registry_token if self.login else None

    def _basic(self) -> str | None:
        value = self._basic_value()
        return f"Basic {value}" if value else None

    def _basic_value(self) -> str:
        if self.login is None or self.login.identity_token is not None or self._registry_token is not None:
            return ""
        return base64.b64encode(f"{self.login.username}:{self.login.password}".encode()).decode()

    def _key(self, challenge: Challenge, scope: str) -> tuple[_Service, str]:
        asked = challenge.parameters.get("scope", "")
        if asked and not asked.startswith("repository:"):
            scope = asked  # a registry can name a scope of its own (ECR public: "aws")
        return _Service(challenge.parameters.get("realm", ""), challenge.parameters.get("service")), scope

    async def _new_grant(self, service: _Service, scope: str, fetch: Fetch) -> Grant:
        login, asked = self.login, _Service(self._checked(service.realm), service.name)
        answer = await self._ask(asked, scope, fetch)
        if answer.status in {400, 401, 403} and await self._replace_login(login):
            answer = await self._ask(asked, scope, fetch)
        if answer.status != 200:
            name = scope.split(":")[1] if scope.startswith("repository:") else ""
            raise error_for(answer, Kind.TOKEN, self, repository=name)
        grant = parse_grant(answer.body)
        if grant is None:
            page = is_web_page(answer.headers, answer.body)
            raise UnexpectedResponseError(
                f"{self.conceal(str(answer.request))} gave no token",
                hint=HINTS["token service, page" if page else "token service, no token"],
                status=200,
                answered_by="web page" if page else "token service",
                **concealed(answer.request.facts(), self.conceal),
            )
        self.has_token = self.login is not None
        if grant.refresh_token is not None:
            self._refresh = (asked, grant.refresh_token)
            self._spent.append(Secret(grant.refresh_token))
        return grant

    async def _ask(self, service: _Service, scope: str, fetch: Fetch) -> Answer:
        """Ask for a token; twice, if the service answers 404, as one that is being replaced does."""
        answer = await self._ask_once(service, scope, fetch)
        return answer if answer.status != 404 else await self._ask_once(service, scope, fetch)

    async def _ask_once(self, service: _Service, scope: str, fetch: Fetch) -> Answer:
        """Ask for a token: by POST (OAuth2) with an identity or refresh token, else by GET, which most services support.

        A refresh token is sent only to the service that issued it, and dropped when it is refused.
        """
        identity = self.login.identity_token if self.login else None
        given = self._refresh[1] if self._refresh and self._refresh[0] == service else None
        answer: Answer | None = None
        for token in (given, identity):
            if token is not None:
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
        """The token service that the registry names, if the login may be sent there: over TLS, or to this machine.

        A registry behind a proxy that ends TLS can believe in plain HTTP, and name a token service of its own there. On its
        own host this is raised to ``https``, as a Location is.
        """
        own = urlsplit(self._named_by)
        try:
            parts = split_url(realm)
        except ValueError:
            parts = None
        if parts is not None and parts.scheme == "http" and own.scheme == "https" and parts.hostname == own.hostname:
            local = is_loopback(parts.netloc)  # other services of this machine may speak plain HTTP
            if parts.port == (own.port or 443) or (parts.port in {None, 80} and not local):
                parts = parts._replace(scheme="https", netloc=own.netloc.rpartition("@")[2])
        if parts is None or (parts.scheme == "http" and self._tls_verify and not is_loopback(parts.netloc)):
            raise UnsafeLocationError(
                f"the registry names a token service that is not an https URL: {redact(self.conceal(realm))!r}",
                hint="the registry, or a proxy in front of it, does not know its own address: check its settings "
                "(distribution: auth.token.realm, Harbor: external_url, Gitea: ROOT_URL)",
                url=redact(self._named_by),
            )
        return urlunsplit(parts)


async def _get(service: _Service, scope: str, fetch: Fetch, headers: dict[str, str]) -> Answer:
    query = [("scope", one) for one in scope.split()]
    if service.name:
        query.append(("service", service.name))
    joint = "&" if "?" in service.realm else "?"
    url = f"{service.realm}{joint}{urlencode(query)}" if query else service.realm
    return await fetch(Request(method="GET", url=url, headers=headers, peer="token service"))


async def _post(service: _Service, scope: str, fetch: Fetch, **grant: str) -> Answer:
    fields = {**grant, "client_id": _CLIENT_ID, "service": service.name or "", "scope": scope}
    body = urlencode({name: value for name, value in fields.items() if value}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return await fetch(Request(method="POST", url=service.realm, headers=headers, body=body, peer="token service"))
