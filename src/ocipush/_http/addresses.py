"""How private an address is, and which addresses a registry may send its client to."""

from __future__ import annotations

import ipaddress
import socket
from enum import IntEnum
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ..errors import UnsafeLocationError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address
    Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Privacy(IntEnum):
    """How few hosts can reach an address: the higher, the fewer."""

    PUBLIC = 0
    PRIVATE = 1
    LINK_LOCAL = 2
    LOOPBACK = 3

    def __str__(self) -> str:
        return self.name.lower().replace("_", "-")


# A table instead of ipaddress.is_private, which changes with the patch level of Python. The first match decides.
_NETWORKS: Final[tuple[tuple[Network, Privacy], ...]] = tuple(
    (ipaddress.ip_network(text), privacy)
    for privacy, *texts in (
        # The metadata services of some clouds are not in 169.254/16.
        (Privacy.LINK_LOCAL, "169.254.0.0/16", "fe80::/10"),
        (Privacy.LINK_LOCAL, "fd00:ec2::254/128", "fd20:ce::254/128", "100.100.100.200/32", "168.63.129.16/32"),
        (Privacy.LOOPBACK, "127.0.0.0/8", "0.0.0.0/8", "::1/128", "::/128"),  # "any" connects to this machine
        (Privacy.PRIVATE, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10"),
        (Privacy.PRIVATE, "192.0.0.0/24", "198.18.0.0/15", "224.0.0.0/3", "64:ff9b:1::/48", "100::/64", "ff00::/8"),
    )
    for text in texts
)
_PLAIN_HINT: Final = "tls_verify=False allows plain HTTP, for trusted networks only"
_NAT64: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")


@lru_cache(maxsize=1024)
def privacy_of(address: str) -> Privacy:
    """How private an IP address is. IPv4 addresses embedded in it (mapped, compatible, 6to4, NAT64, Teredo) count too.

    Raises:
        ValueError: it is not an address.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return max(_listed(parsed), *(_listed(one) for one in _embedded(parsed)))


def _listed(address: Address) -> Privacy:
    return next(
        (privacy for network, privacy in _NETWORKS if address.version == network.version and address in network),
        Privacy.PUBLIC,
    )


def _embedded(address: Address) -> tuple[Address, ...]:
    """The address itself, and the IPv4 addresses that a router may translate it to."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in _NAT64) or address in _COMPATIBLE:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return (address, *(one for one in inner if one is not None))


def literal(host: str) -> str | None:
    """The address that ``host`` is, in any notation that resolvers accept (``0x7f.1``); None for a name."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return "127.0.0.1"
    try:
        ipaddress.ip_address(name)
    except ValueError:
        pass
    else:
        return name
    try:
        return socket.inet_ntoa(socket.inet_aton(name))
    except (OSError, UnicodeEncodeError):
        return None


class AddressPolicy:
    """Where one registry may send its client (docs/requests.md, "Addresses").

    An upload's Location and a token service can be on another host, but not at a more private address than the
    registry's own: the registry could not reach that itself, and would use this machine to reach it. Link-local
    addresses, where clouds serve secrets, are always refused. A registry whose address is not known counts as public,
    for example behind a proxy.

    Args:
        base: the registry's own ``scheme://host[:port]``.
        allow_hosts: ``host`` or ``host:port`` that the registry may name whatever their addresses are; over TLS like
            any other.
        plain_http: whether plain HTTP is allowed to any host; else to this machine only (docs/requests.md, "Plain HTTP").
    """

    def __init__(self, base: str, *, allow_hosts: Collection[str] = (), plain_http: bool = False) -> None:
        self._base = f"{base}/"
        self._allowed = frozenset(host.lower() for host in allow_hosts)
        self._plain_http = plain_http
        self._own: set[str] = set()
        self._limit = Privacy.PUBLIC
        if (address := literal(urlsplit(base).hostname or "")) is not None:
            self._note(address)

    def is_own(self, url: str) -> bool:
        """Whether ``url`` is the registry's own."""
        return url.startswith(self._base)

    def note(self, address: str) -> None:
        """Remember an address that the registry itself was reached at."""
        if address not in self._own:
            self._note(address)

    def _note(self, address: str) -> None:
        # The most public one counts: naming a private address beside a public one gains nothing.
        privacy = privacy_of(address)
        self._limit = min(self._limit, privacy) if self._own else privacy
        self._own.add(address)

    def conditions(self, url: str) -> dict[str, Any]:
        """The extensions that a request for ``url`` needs, so that the transport connects only to allowed addresses.

        The registry's own address can be any, but where plain HTTP is for this machine only, each connection must be
        direct and to a loopback address: the name can resolve to another address than it did before.

        Raises:
            UnsafeLocationError: the URL alone tells that it is not allowed.
        """
        own, confined = self.is_own(url), self._leaves_tls(url)
        if own and not confined:
            return {}
        if not own:
            self.check(url)
        admit = partial(self.admit, url)
        return {"admit": admit, "direct": True} if confined else {"admit": admit}

    def check(self, url: str) -> None:
        """Judge the URL alone: an address in it is all that can be judged behind a proxy.

        Raises:
            UnsafeLocationError: the registry may not name it.
        """
        address = literal(urlsplit(url).hostname or "")
        if address is not None:
            self.admit(url, [address])
        elif self._leaves_tls(url):
            raise self._refusal(url, "in plain HTTP", hint=_PLAIN_HINT)

    def admit(self, url: str, addresses: Sequence[str]) -> list[str]:
        """Those of ``addresses`` that a request for ``url`` may connect to.

        Raises:
            UnsafeLocationError: none of them.
        """
        loopback_only, own = self._leaves_tls(url), self.is_own(url)
        trusted = own or self._is_allowed(url)
        fitting = [address for address in addresses if trusted or self._is_public_enough(address)]
        admitted = [one for one in fitting if not loopback_only or privacy_of(one) is Privacy.LOOPBACK]
        if admitted:
            return admitted
        found = ", ".join(f"{one} ({privacy_of(one)})" for one in addresses)
        if fitting:
            raise self._refusal(url, f"at {found} in plain HTTP", hint=_PLAIN_HINT)
        host = urlsplit(url).netloc.rpartition("@")[2]
        allow = f"if this is intended, allow {host} with allow_hosts="
        raise self._refusal(url, f"at {found}", hint=None if loopback_only else allow)

    def _is_public_enough(self, address: str) -> bool:
        privacy = privacy_of(address)
        return address in self._own or (privacy <= self._limit and privacy is not Privacy.LINK_LOCAL)

    def _leaves_tls(self, url: str) -> bool:
        return url.startswith("http:") and not self._plain_http

    def _is_allowed(self, url: str) -> bool:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        shown = f"[{host}]" if ":" in host else host
        return not self._allowed.isdisjoint((host, shown, f"{shown}:{port}"))

    def _refusal(self, url: str, what: str, *, hint: str | None) -> UnsafeLocationError:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        subject = f"the registry {host} is" if self.is_own(url) else f"the registry points to {host}"
        return UnsafeLocationError(
            f"{subject} {what}, which is not allowed", hint=hint, url=f"{parts.scheme}://{host}{parts.path[:500]}"
        )
