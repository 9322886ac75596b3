"""Requests to one registry: with its login, at its pace, repeated where that is safe, and counted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from .._http.redact import conceal_error, without_query
from .._http.urls import resolve_location, same_origin
from ..errors import ConnectFailedError, TransportError, UnsafeLocationError
from .answers import Asker, error_for, is_rate_limit, parse_warnings
from .retry import Attempts, may_pass
from .situations import Standing
from .statuses import Kind, Meaning, meaning_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .._credentials.base import Login
    from .._http.addresses import AddressPolicy
    from .._http.answer import Answer
    from .._http.client import Client
    from .._http.request import Effort, Request
    from ..errors import RegistryError
    from .rate_gate import RateGate
    from .retry import OnRetry, RetryPolicy


class Authorizer(Asker, Protocol):
    """What answers the challenges of a registry; see ``authorizer``."""

    @property
    def login(self) -> Login | None:
        """The login that is used now."""
        ...

    @property
    def service(self) -> str | None:
        """The token service's name for the registry."""
        ...

    @property
    def asks_for_reads(self) -> bool:
        """Whether the registry requires a login for reading, too."""
        ...

    async def header(self, scope: str, fetch: Callable[[Request], Awaitable[Answer]]) -> str | None:
        """The Authorization value for a request that needs ``scope``."""
        ...

    def held(self, scope: str) -> str | None:
        """The Authorization value at hand."""
        ...

    async def renew_login(self, used: str | None) -> bool:
        """Ask for another login after ``used`` was refused."""
        ...

    def learn(self, answer: Answer, scope: str, used: str | None) -> bool:
        """Learn from a 401; returns whether another attempt can succeed."""
        ...

    def remember(self, url: str) -> None:
        """Conceal the query of this address from now on."""
        ...


@dataclass(slots=True)
class Route:
    """How a registry is reached.

    Attributes:
        base: ``scheme://host[:port]``.
        authorizer: answers the registry's challenges.
        policy: decides which addresses it may point to.
        effort: the effort of the first contact, until it has succeeded.
        on_proof: called with the first answer.
        proven: whether there was an answer.
    """

    base: str
    authorizer: Authorizer
    policy: AddressPolicy
    effort: Effort | None
    on_proof: Callable[[Route], None]
    proven: bool = False

    def prove(self) -> None:
        """The registry has answered."""
        self.proven, self.effort = True, None
        self.on_proof(self)


class RegistryClient:
    """The requests of one push to one registry.

    Args:
        http: sends them.
        route: how the registry is reached, and what answers its challenge.
        gate: how fast the registry accepts requests; shared by all pushes to it.
        retry: how often a request that is safe to repeat is tried.
        on_retry: called with (what, why, number of the next attempt, seconds) before each wait.
        on_warning: called with each text of a ``Warning`` header.

    Attributes:
        requests: number of requests, including those for tokens.
    """

    def __init__(
        self,
        http: Client,
        route: Route,
        gate: RateGate,
        *,
        retry: RetryPolicy,
        on_retry: OnRetry,
        on_warning: Callable[[str], None],
    ) -> None:
        self.route = route
        self.requests = 0
        self._login_before: Standing | None = None  # how the login was treated earlier in this push
        self._http = http.guarded(route.policy, route.authorizer.conceal)
        self._gate = gate
        self._retry = retry
        self._on_retry = on_retry
        self._on_warning = on_warning

    async def send(self, request: Request, scope: str, kind: Kind, *, attempts: int | None = None) -> Answer:
        """Send a request that is safe to repeat; after a 401, once more with what the registry asked for.

        Redirects are not followed. ``attempts``: a lower limit than that of the retry policy.

        Raises:
            TransportError: there was no answer, after all attempts.
            RegistryError: the token service refused.
        """
        repeat = partial(self._repeat, kind=kind, at_most=attempts)
        answer = await self._send_with_login(request, scope, repeat)
        if answer.renewable:
            login = self.route.authorizer.login
            answer = await self._send_with_login(request, scope, repeat)
            if answer.renewable and self.route.authorizer.login != login:  # the one before has ended
                answer = await self._send_with_login(request, scope, repeat)
            answer = replace(answer, renewable=False)
        self._show_warnings(answer)
        return answer

    async def send_once(self, request: Request, scope: str) -> Answer:
        """Send a request once. If the answer is a 401, its ``renewable`` says whether another token can be fetched."""
        answer = await self._send_with_login(request, scope, self._send_once)
        self._show_warnings(answer)
        return answer

    async def give_up(self, request: Request, scope: str) -> Answer:
        """Send a request once, with the current token and without waiting for a turn: to clean up."""
        ours = same_origin(self.route.base, request.url)
        held = self.route.authorizer.held(scope) if ours else None
        return await self._http.send(_authorized(request, held), count=self._count)

    def error(self, answer: Answer, kind: Kind, repository: str) -> RegistryError:
        """The typed error for an answer that said no."""
        authorizer = self.route.authorizer
        return error_for(answer, kind, authorizer, repository=repository, before=self._login_before)

    def location(self, answer: Answer) -> str | None:
        """Where the Location of an answer points; None if there is none. Its query can be signed, so it is concealed.

        Raises:
            UnsafeLocationError: it is not HTTP, or leaves TLS for another host.
        """
        location = answer.headers.get("location")
        if not location:
            return None
        if "?" in location:
            self.route.authorizer.remember(location)
        try:
            return resolve_location(answer.request.url, location)
        except UnsafeLocationError as exc:
            conceal_error(exc, self.route.authorizer.conceal)
            raise

    async def _send_with_login(
        self, request: Request, scope: str, send: Callable[[Request], Awaitable[Answer]]
    ) -> Answer:
        ours = same_origin(self.route.base, request.url)
        authorizer = self.route.authorizer
        authorization = await authorizer.header(scope, partial(self._repeat, kind=Kind.TOKEN)) if ours else None
        answer = await send(_authorized(request, authorization))
        if authorization is not None:
            self._note_login(answer)
        if answer.status != 401 or not ours:
            return answer
        renewable = authorizer.learn(answer, scope, authorization) or await authorizer.renew_login(authorization)
        return replace(answer, renewable=renewable)

    def _note_login(self, answer: Answer) -> None:
        """Note whether the login that was sent has been accepted. A registry whose reads are anonymous ignores it there."""
        if answer.request.method not in {"GET", "HEAD"}:
            if answer.status < 300:
                self._login_before = Standing.WORKED
        elif self.route.authorizer.asks_for_reads and answer.status in {200, 404}:
            self._login_before = self._login_before or Standing.READS

    async def _repeat(self, request: Request, *, kind: Kind, at_most: int | None = None) -> Answer:
        policy = self._retry
        if at_most is not None and at_most < policy.attempts:
            policy = replace(policy, attempts=at_most)
        attempts = Attempts(policy, request, self._retrying, whole=request.effort or self.route.effort)
        request = replace(request, effort=attempts.effort)
        while True:
            try:
                answer = await self._transmit(request)
            except TransportError as exc:
                refused = isinstance(exc, ConnectFailedError) and exc.refused
                # Until the scheme is known, a refused connection is no reason to wait.
                delay = attempts.delay() if may_pass(exc) and (self.route.proven or not refused) else None
                if delay is None:
                    raise
                reason = exc.message
            else:
                limited = is_rate_limit(answer.status, answer.words)
                if meaning_of(kind, answer.status) is not Meaning.RETRY and not limited:
                    self._gate.served(answer.latency)
                    return answer
                delay = attempts.delay(retry_after=answer.retry_after)
                if limited or answer.retry_after is not None:
                    self._slow_down(answer, delay or 0.0)
                if delay is None:
                    return answer
                reason = f"answered {answer.status}"
            await attempts.wait(reason, delay)

    async def _send_once(self, request: Request) -> Answer:
        answer = await self._transmit(request)
        if is_rate_limit(answer.status, answer.words):
            self._slow_down(answer, self._retry.base)
        elif answer.status < 400:
            self._gate.served(answer.latency)
        return answer

    async def _transmit(self, request: Request) -> Answer:
        async with self._gate.turn():
            answer = await self._http.send(request, count=self._count)
        if not self.route.proven:
            self.route.prove()
        return answer

    def _retrying(self, what: str, reason: str, attempt: int, delay: float) -> None:
        self._on_retry(self.route.authorizer.conceal(what), reason, attempt, delay)

    def _count(self, requests: int) -> None:
        self.requests += requests

    def _slow_down(self, answer: Answer, otherwise: float) -> None:
        asked = answer.retry_after
        self._gate.limited(min(otherwise if asked is None else asked, self._retry.cap))

    def _show_warnings(self, answer: Answer) -> None:
        if warning := answer.headers.get("warning"):
            for text in parse_warnings(self._hide(warning, answer)):
                self._on_warning(self._hide(text, answer))

    def _hide(self, text: str, answer: Answer) -> str:
        return self.route.authorizer.conceal(without_query(text, answer.request.url))


def _authorized(request: Request, authorization: str | None) -> Request:
    if authorization is None:
        return request
    return replace(request, headers={**request.headers, "Authorization": authorization})
