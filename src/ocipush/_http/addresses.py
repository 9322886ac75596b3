"""How private an address is, and which addresses the answers of a registry may point to."""

from __future__ import annotations

import ipaddress
import socket
from enum import IntEnum
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ..errors import UnsafeLocationError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address
    Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Privacy(IntEnum):
    """Who can reach an address: the higher, the fewer."""

    PUBLIC = 0
    PRIVATE = 1
    LINK_LOCAL = 2
    LOOPBACK = 3

    def __str__(self) -> str:
        return self.name.lower().replace("_", "-")


# A table, and not ipaddress.is_private, whose mind changes with the patch level of Python. The first that fits decides.
_NETWORKS: Final[tuple[tuple[Network, Privacy], ...]] = tuple(
    (ipaddress.ip_network(text), privacy)
    for privacy, *texts in (
        # Clouds' metadata services that are not in 169.254/16 belong to the machine just the same.
        (Privacy.LINK_LOCAL, "169.254.0.0/16", "fe80::/10"),
        (Privacy.LINK_LOCAL, "fd00:ec2::254/128", "fd20:ce::254/128", "100.100.100.200/32", "168.63.129.16/32"),
        (Privacy.LOOPBACK, "127.0.0.0/8", "0.0.0.0/8", "::1/128", "::/128"),  # "any" connects to oneself
        (Privacy.PRIVATE, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10"),
        (Privacy.PRIVATE, "192.0.0.0/24", "198.18.0.0/15", "224.0.0.0/3", "64:ff9b:1::/48", "100::/64", "ff00::/8"),
    )
    for text in texts
)
_NAT64: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")


def privacy_of(address: str) -> Privacy:
    """How private an IP address is, and so an IPv4 address inside an IPv6 one (mapped, compatible, 6to4, NAT64, Teredo).

    Raises:
        ValueError: it is no address.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return max(_listed(parsed), *(_listed(one) for one in _embedded(parsed)))


def _listed(address: Address) -> Privacy:
    return next(
        (privacy for network, privacy in _NETWORKS if address.version == network.version and address in network),
        Privacy.PUBLIC,
    )


def _embedded(address: Address) -> tuple[Address, ...]:
    """The address itself, and the IPv4 addresses that a router may make of it."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in _NAT64) or address in _COMPATIBLE:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return (address, *(one for one in inner if one is not None))


def literal(host: str) -> str | None:
    """The address that ``host`` spells, in any of the forms that resolvers take (``0x7f.1``); None for a name."""
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
    """Where the answers of one registry may send its client (wire.md, "Private targets").

    An upload's Location and a token service may be on another host, but not at a more private address than the
    registry's own: it could not reach that itself, and would have this machine reach it. Link-local addresses, where
    clouds hand out their secrets, are refused always. While the registry's address is not known, as behind a proxy, it
    counts as public.

    Args:
        base: the registry's own ``scheme://host[:port]``, which is never judged.
        allow_hosts: ``host`` or ``host:port`` that may be pointed to, whatever their addresses; over TLS like any other.
        plain_http: whether another host may be spoken to in plain HTTP; else only this machine (rules.md, 3).
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
        """Learn an address that the registry itself was reached at."""
        if address not in self._own:
            self._note(address)

    def _note(self, address: str) -> None:
        # Of several, the most public one: who names a private address beside a public one gains nothing.
        privacy = privacy_of(address)
        self._limit = min(self._limit, privacy) if self._own else privacy
        self._own.add(address)

    def check(self, url: str) -> None:
        """Judge what the URL alone tells: an address in it, the only thing that can be judged behind a proxy.

        Raises:
            UnsafeLocationError: the registry may not point there.
        """
        address = literal(urlsplit(url).hostname or "")
        if address is not None:
            self.admit(url, [address])
        elif self._leaves_tls(url):
            raise self._refusal(url, "in plain HTTP", plain=True)

    def admit(self, url: str, addresses: Sequence[str]) -> list[str]:
        """Those of ``addresses`` that a request for ``url`` may connect to.

        Raises:
            UnsafeLocationError: none of them.
        """
        plain, allowed = self._leaves_tls(url), self._is_allowed(url)
        admitted: list[str] = []
        for address in addresses:
            privacy = privacy_of(address)
            if plain and privacy is not Privacy.LOOPBACK:
                continue
            if allowed or address in self._own or (privacy <= self._limit and privacy is not Privacy.LINK_LOCAL):
                admitted.append(address)
        if not admitted:
            told = ", ".join(f"{one}, {privacy_of(one)}" for one in addresses)
            raise self._refusal(url, f"at {told}", plain=plain)
        return admitted

    def _leaves_tls(self, url: str) -> bool:
        return url.startswith("http:") and not self._plain_http

    def _is_allowed(self, url: str) -> bool:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        shown = f"[{host}]" if ":" in host else host
        return not self._allowed.isdisjoint((host, shown, f"{shown}:{port}"))

    def _refusal(self, url: str, what: str, *, plain: bool) -> UnsafeLocationError:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        return UnsafeLocationError(
            f"the registry points to {host} {what}, where it has no business",
            hint="tls_verify=False allows plain HTTP, where the network is trusted"
            if plain
            else f"if this is intended, allow {host} with allow_hosts=",
            url=f"{parts.scheme}://{host}{parts.path[:500]}",
        )
