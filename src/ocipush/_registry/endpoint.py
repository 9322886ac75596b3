"""A registry as one login sees it, shared by all pushes to it: its scheme, its challenge, what it can do and what it holds."""

from __future__ import annotations

import copy
import ipaddress
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from .._http.addresses import AddressPolicy
from .._http.failures import is_refused_or_plain
from .._oci.reference import DOCKER_HUB, is_loopback, split_port
from ..errors import ConnectFailedError, RegistryError, TransportError
from .authorizer import Authorizer
from .capabilities import Capabilities
from .rate_gate import RateGate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from .._credentials.base import Login
    from .._events import BlobOutcome
    from .retry import RetryPolicy

    Ask = Callable[["Route"], Awaitable["T"]]


T = TypeVar("T")
LARGE: Final = 1024 * 1024  # bytes from which sending a blob again costs more than a round trip


@dataclass(slots=True)
class Route:
    """How a registry is reached: ``scheme://host[:port]``, what answers its challenge, and where it may point to.

    ``proven`` is False while it is being found out: a refused connection is then no reason to wait and try again. The
    push that found it out goes on with it.
    """

    base: str
    authorizer: Authorizer
    guard: AddressPolicy
    proven: bool = True


@dataclass(slots=True)
class InFlight:
    """A blob that some push is sending now."""

    landed: anyio.Event = field(default_factory=anyio.Event)
    outcome: BlobOutcome | None = None
    failure: TransportError | RegistryError | None = None


class Endpoint:
    """Where a registry is reached, and what was learned of it, for the life of a ``Pusher``.

    Args:
        registry: as in a reference.
        login: the login for it, or None to stay anonymous.
        tls_verify: False allows plain HTTP to any host (rules.md, 3).
        concurrency: how many small blobs are sent at once.
        large_concurrency: how many blobs of 1 MiB and more are sent at once, beside the small ones.
        allow_hosts: where else the registry may point to, whatever their addresses.

    Attributes:
        pace: how fast it takes requests.
        learned: what it turned out to support.
        holds: digests that each repository is known to hold.
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
        self._lock = anyio.Lock()
        self._route: Route | None = None
        self._flights: dict[tuple[str, str], InFlight] = {}
        self.pace = RateGate(concurrency, large_concurrency)
        self.learned = Capabilities()
        self.known_blobs: dict[str, set[str]] = {}

    @property
    def counts_pulls(self) -> bool:
        """Whether a GET of a manifest counts as a pull (Docker Hub's rate limit does)."""
        return self._registry == DOCKER_HUB

    def gate(self, size: int) -> anyio.CapacityLimiter:
        """Where a blob of ``size`` bytes waits for its turn."""
        return self.pace.large if size >= LARGE else self.pace.small

    def mount_source(self, repository: str, digest: str) -> str | None:
        """Another repository that holds ``digest``, and that it may be mounted from."""
        for name, held in self.known_blobs.items():
            if name != repository and digest in held and (repository, name) not in self.learned.refused_mounts:
                return name
        return None

    async def single_flight(
        self, repository: str, digest: str, send: Callable[[], Awaitable[BlobOutcome]]
    ) -> BlobOutcome:
        """Send a blob, or wait for the push that is sending it now.

        When that push is cancelled, or its own source fails, one that waits takes over; when the registry fails it,
        all that wait fail.
        """
        key = (repository, digest)
        while (flight := self._flights.get(key)) is not None:
            await flight.landed.wait()
            if flight.failure is not None:
                raise copy.copy(flight.failure)
            if flight.outcome is not None:
                return "joined"
        flight = self._flights[key] = InFlight()
        try:
            flight.outcome = await send()
            self.known_blobs.setdefault(repository, set()).add(digest)
        except (TransportError, RegistryError) as exc:
            flight.failure = exc
            raise
        finally:
            del self._flights[key]
            flight.landed.set()
        return flight.outcome

    async def ask(
        self,
        question: Ask[T],
        *,
        retry: RetryPolicy,
        warn: Callable[[str], None],
        on_retry: Callable[[str, str, int, float], None],
    ) -> T:
        """Ask a question that any push starts with; the first one finds out which scheme the registry speaks.

        It is asked over TLS, and again over plain HTTP where that is allowed and the connection is refused or what
        answers is not TLS. Never after a certificate error, a time-out or a reset.
        """
        if self._route is None:
            async with self._lock:
                attempt, started = 0, anyio.current_time()
                while self._route is None:
                    attempt += 1
                    try:
                        return await self._find_out(question, warn)
                    except ConnectFailedError as exc:
                        delay = retry.delay(attempt)
                        if delay is None or not exc.refused:
                            exc.attempts, exc.seconds = attempt, anyio.current_time() - started
                            raise
                        on_retry(self._host, exc.message, attempt + 1, delay)
                        await anyio.sleep(delay)
        return await question(self._route)

    async def _find_out(self, question: Ask[T], warn: Callable[[str], None]) -> T:
        authorizer = Authorizer(self._login, tls_verify=self._tls_verify)
        secure = self._new_route("https", authorizer)
        try:
            answer = await question(secure)
        except RegistryError:
            self._settle(secure)  # it answered, so TLS works: never plain HTTP from now on
            raise
        except ConnectFailedError as exc:
            if not is_refused_or_plain(exc) or not await self._may_be_plain():
                raise
            plain = self._new_route("http", authorizer)
            try:
                answer = await question(plain)
            except RegistryError:
                self._settle_for_plain_http(plain, warn)
                raise
            self._settle_for_plain_http(plain, warn)
        else:
            self._settle(secure)
        return answer

    def _new_route(self, scheme: str, authorizer: Authorizer) -> Route:
        base = f"{scheme}://{self._host}"
        guard = AddressPolicy(base, allow_hosts=self._allow_hosts, plain_http=not self._tls_verify)
        return Route(base, authorizer, guard, proven=False)

    def _settle(self, route: Route) -> None:
        route.proven = True
        self._route = route

    def _settle_for_plain_http(self, plain: Route, warn: Callable[[str], None]) -> None:
        self._settle(plain)
        warn(f"{self._host} does not speak TLS: using plain HTTP")
        if self._login is not None:
            warn(f"the login for {self._host} goes over plain HTTP, readable to the network")

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
