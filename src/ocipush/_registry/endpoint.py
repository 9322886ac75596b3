"""A registry as one login sees it, shared by all pushes to it: its scheme, its challenge, what it can do and what it holds."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from .._http.addresses import AddressPolicy
from .._http.failures import is_refused_or_plain
from .._oci.reference import DOCKER_HUB, is_loopback, split_port
from ..errors import ConnectFailedError, TransportError
from .authorizer import Authorizer
from .capabilities import Capabilities
from .client import Route
from .rate_gate import RateGate
from .retry import Attempts
from .single_flight import InFlight, SingleFlight

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from .._credentials.base import Login
    from .._events import BlobOutcome
    from .._http.request import Effort
    from .retry import OnRetry, RetryPolicy

    Ask = Callable[[Route], Awaitable["T"]]


T = TypeVar("T")
LARGE: Final = 1024 * 1024  # bytes from which sending a blob again costs more than a round trip


class Endpoint:
    """Where a registry is reached, and what was learned of it, for the life of a ``Pusher``.

    Args:
        registry: as in a reference.
        login: the login for it, or None to stay anonymous.
        tls_verify: False allows plain HTTP to any host (docs/requests.md, "Plain HTTP").
        concurrency: how many small blobs are sent at once.
        large_concurrency: how many blobs of 1 MiB and more are sent at once, beside the small ones.
        allow_hosts: where else the registry may point to, whatever their addresses.

    Attributes:
        gate: how fast it takes requests.
        capabilities: what it turned out to support.
        known_blobs: digests that each repository is known to hold.
    """

    def __init__(
        self,
        registry: str,
        login: Login | None,
        *,
        tls_verify: bool,
        concurrency: int = 64,
        large_concurrency: int = 4,
        allow_hosts: Collection[str] = (),
    ) -> None:
        self._registry = registry
        self._host = "registry-1.docker.io" if registry == DOCKER_HUB else registry
        self._login = login
        self._tls_verify = tls_verify
        self._allow_hosts = allow_hosts
        self._route: Route | None = None
        self._contact: InFlight[None] | None = None
        self._uploads = SingleFlight["BlobOutcome"]()
        self.gate = RateGate(concurrency, large_concurrency)
        self.capabilities = Capabilities()
        self.known_blobs: dict[str, set[str]] = {}

    @property
    def counts_pulls(self) -> bool:
        """Whether a GET of a manifest counts as a pull (Docker Hub's rate limit does)."""
        return self._registry == DOCKER_HUB

    def turn(self, size: int) -> anyio.CapacityLimiter:
        """Where a blob of ``size`` bytes waits for its turn."""
        return self.gate.large if size >= LARGE else self.gate.small

    def mount_source(self, repository: str, digest: str) -> str | None:
        """Another repository that holds ``digest``, and that it may be mounted from."""
        for name, held in self.known_blobs.items():
            if name != repository and digest in held and (repository, name) not in self.capabilities.refused_mounts:
                return name
        return None

    async def single_flight(
        self, repository: str, digest: str, send: Callable[[], Awaitable[BlobOutcome]]
    ) -> BlobOutcome:
        """Send a blob, or wait for the push that is sending it now."""
        outcome, joined = await self._uploads.run((repository, digest), send)
        if joined:
            return "joined"
        self.known_blobs.setdefault(repository, set()).add(digest)
        return outcome

    async def ask(self, question: Ask[T], *, retry: RetryPolicy, warn: Callable[[str], None], on_retry: OnRetry) -> T:
        """Ask a question that any push starts with; the first one finds out which scheme the registry speaks.

        It is asked over TLS, and again over plain HTTP where that is allowed and the connection is refused or what
        answers is not TLS. Never after a certificate error, a time-out or a reset (docs/requests.md, "Plain HTTP").
        The others wait until the scheme is known, and fail with the first one if it never is.
        """
        while self._route is None and self._contact is not None:
            await self._contact.wait()
        if self._route is not None:
            return await question(self._route)
        contact = self._contact = InFlight()
        try:
            return await self._make_contact(question, Attempts(retry, self._host, on_retry), warn)
        except TransportError as exc:
            contact.failure = None if self._is_known() else exc
            raise
        finally:
            self._contact = None
            contact.landed.set()

    async def _make_contact(self, question: Ask[T], attempts: Attempts, warn: Callable[[str], None]) -> T:
        authorizer = Authorizer(self._login, tls_verify=self._tls_verify)
        while True:
            try:
                return await self._try_schemes(question, authorizer, attempts.effort, warn)
            except ConnectFailedError as exc:
                delay = attempts.delay() if exc.refused and not self._is_known() else None
                if delay is None:
                    raise
                reason = exc.message
            await attempts.wait(reason, delay)

    async def _try_schemes(
        self, question: Ask[T], authorizer: Authorizer, effort: Effort, warn: Callable[[str], None]
    ) -> T:
        try:
            return await question(self._new_route("https", authorizer, effort, self._settle))
        except ConnectFailedError as exc:
            # Once TLS has worked, plain HTTP is never spoken.
            if self._is_known() or not is_refused_or_plain(exc) or not await self._may_be_plain():
                raise

        def settle(plain: Route) -> None:
            self._settle(plain)
            warn(f"{self._host} does not speak TLS: using plain HTTP")
            if self._login is not None:
                warn(f"the login for {self._host} is sent over plain HTTP, readable to the network")

        return await question(self._new_route("http", authorizer, effort, settle))

    def _new_route(
        self, scheme: str, authorizer: Authorizer, effort: Effort, on_proof: Callable[[Route], None]
    ) -> Route:
        base = f"{scheme}://{self._host}"
        policy = AddressPolicy(base, allow_hosts=self._allow_hosts, plain_http=not self._tls_verify)
        return Route(base, authorizer, policy, effort, on_proof)

    def _is_known(self) -> bool:
        return self._route is not None

    def _settle(self, route: Route) -> None:
        self._route = route
        if self._contact is not None:
            self._contact.landed.set()

    async def _may_be_plain(self) -> bool:
        """Whether plain HTTP was asked for, or every address the name resolves to is this machine's."""
        if not self._tls_verify:
            return True
        if not is_loopback(self._registry):
            return False
        host, port = split_port(self._registry)
        try:
            found = await anyio.getaddrinfo(host.strip("[]"), port or 80, type=socket.SOCK_STREAM)
        except OSError:
            return False
        return all(ipaddress.ip_address(address[4][0]).is_loopback for address in found)
