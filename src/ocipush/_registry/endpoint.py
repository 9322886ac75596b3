"""One registry and login, shared by all pushes to it: its scheme, its challenge, its capabilities, its known blobs."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from .._http.addresses import AddressPolicy
from .._http.failures import is_refused_or_plain
from .._oci.reference import DOCKER_HUB, is_loopback, split_port
from ..errors import ConnectFailedError, TransportError
from .authorizer import Authorizer
from .capabilities import Capabilities
from .client import Route
from .known_blobs import KnownBlobs
from .rate_gate import RateGate
from .retry import Attempts
from .single_flight import InFlight, SingleFlight

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection

    from .._credentials.base import Login
    from .._events import BlobOutcome
    from .._http.request import Effort
    from .authorizer import Renew
    from .retry import OnRetry, RetryPolicy

    Ask = Callable[[Route], Awaitable["T"]]


T = TypeVar("T")
LARGE: Final = 1024 * 1024  # bytes; sending a larger blob again costs more than a round trip


class Endpoint:
    """A registry, and what was learned about it, for the life of a ``Pusher``.

    Args:
        registry: as in a reference.
        login: the login for it, or None to stay anonymous.
        tls_verify: False allows plain HTTP to any host (docs/requests.md, "Plain HTTP").
        concurrency: maximum number of small blobs sent at the same time.
        large_concurrency: maximum number of blobs of 1 MiB and more, in addition to the small ones.
        allow_hosts: other hosts that the registry may point to, whatever their addresses.
        renew: called with a login that was refused; returns the one to use instead, or None.

    Attributes:
        registry: as given.
        login: the one that is used now.
        gate: how fast the registry accepts requests.
        capabilities: what the registry supports, as far as it is known.
        known_blobs: what each repository is known to hold.
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
        renew: Renew | None = None,
    ) -> None:
        self.registry = registry
        self._host = "registry-1.docker.io" if registry == DOCKER_HUB else registry
        self.login = login
        self._tls_verify = tls_verify
        self._allow_hosts = allow_hosts
        self._renew = renew
        self._route: Route | None = None
        self._contact: InFlight[None] | None = None
        self._uploads = SingleFlight["BlobOutcome"]()
        self._homes: dict[str, tuple[str, anyio.Event]] = {}  # by digest: the repository that it is being uploaded to
        self.gate = RateGate(concurrency, large_concurrency)
        self.capabilities = Capabilities()
        self.known_blobs = KnownBlobs()

    @property
    def counts_pulls(self) -> bool:
        """Whether a GET of a manifest counts as a pull (Docker Hub's rate limit does)."""
        return self.registry == DOCKER_HUB

    def turn(self, size: int) -> anyio.CapacityLimiter:
        """Where a blob of ``size`` bytes waits for its turn."""
        return self.gate.large if size >= LARGE else self.gate.small

    def mount_source(self, repository: str, digest: str) -> str | None:
        """Another repository from which the blob ``digest`` can be mounted, or None."""
        refused = self.capabilities.refused_mounts
        names = self.known_blobs.holders(digest)
        return next((name for name in names if name != repository and (repository, name) not in refused), None)

    @asynccontextmanager
    async def home(self, repository: str, digest: str) -> AsyncGenerator[None]:
        """Upload a blob in this block. Pushes to other repositories wait for it, if the registry is known to mount blobs."""
        while self.capabilities.mounts_across and (found := self._homes.get(digest)) is not None:
            other, landed = found
            if other == repository or (repository, other) in self.capabilities.refused_mounts:
                break
            await landed.wait()
        if digest in self._homes:
            yield
            return
        landed = anyio.Event()
        self._homes[digest] = repository, landed
        try:
            yield
        finally:
            del self._homes[digest]
            landed.set()

    async def single_flight(
        self, repository: str, digest: str, send: Callable[[], Awaitable[BlobOutcome]], *, force: bool = False
    ) -> BlobOutcome:
        """Send a blob, or wait for the push that is sending it now. With ``force``, wait only for one that has it, too."""
        outcome, joined = await self._uploads.run((repository, digest, force), send)
        if joined:
            return "joined"
        self.known_blobs.add(repository, [digest])
        return outcome

    async def ask(self, question: Ask[T], *, retry: RetryPolicy, warn: Callable[[str], None], on_retry: OnRetry) -> T:
        """Send the first request of a push, and find out which scheme the registry speaks if that is not known.

        ``question`` is called with a route over TLS. If the connection is refused, or the server does not speak TLS, it is
        called again with a route over plain HTTP, if that is allowed; never after a certificate error, a timeout or a
        reset (docs/requests.md, "Plain HTTP"). Other pushes wait until the scheme is known. If the registry cannot be
        reached, they fail with the same error.
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
        renew = self._renew_login if self._renew is not None else None
        authorizer = Authorizer(self.login, registry=self.registry, tls_verify=self._tls_verify, renew=renew)
        while True:
            try:
                return await self._try_schemes(question, authorizer, attempts.effort, warn)
            except ConnectFailedError as exc:
                delay = attempts.delay() if exc.refused and not self._is_known() else None
                if delay is None:
                    raise
                reason = exc.message
            await attempts.wait(reason, delay)

    async def _renew_login(self, refused: Login) -> Login | None:
        login = await self._renew(refused) if self._renew is not None else None
        if login is not None:
            self.login = login
        return login

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
            if self.login is not None:
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
        """Whether plain HTTP is allowed: by option, or because all addresses of the name are loopback."""
        if not self._tls_verify:
            return True
        if not is_loopback(self.registry):
            return False
        host, port = split_port(self.registry)
        try:
            found = await anyio.getaddrinfo(host.strip("[]"), port or 80, type=socket.SOCK_STREAM)
        except OSError:
            return False
        return all(ipaddress.ip_address(address[4][0]).is_loopback for address in found)
