"""Which requests go through which proxy, as the usual environment variables say, and how a proxy fails."""

from __future__ import annotations

import base64
import ipaddress
import re
import socket
import ssl
import urllib.request
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


LOGIN_REQUIRED: Final = 407
_LOGIN_REFUSED: Final = frozenset({401, LOGIN_REQUIRED})  # tinyproxy answers 401 to a wrong login
_SCHEMES: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}  # and their default ports
_CANNOT_REACH: Final = frozenset(
    {500, 502, 503}
)  # how proxies say that they cannot connect (tinyproxy: 500, squid: 503)
_ENTRY: Final = re.compile(r"(?:\[(.+)\]|([^:]*))(?::(\d+))?")  # of NO_PROXY: a host or [address], and a port
_NAMES: Final = "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY"


class ProxyFailedError(httpx.ProxyError):
    """A proxy could not be used, or did not do what it was asked for.

    Attributes:
        hint: what to do about it.
        temporary: whether trying again can help.
        unreachable: the proxy answered that it could not connect to the host.
        denied: the proxy answered that it does not connect to the host.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = f"check {_NAMES}",
        temporary: bool = False,
        unreachable: bool = False,
        denied: bool = False,
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.temporary = temporary
        self.unreachable = unreachable
        self.denied = denied


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy. ``str()`` gives its host and port, and never its login.

    Attributes:
        url: where it was configured; it may contain a login.
        authorization: the value of Proxy-Authorization, if there is a login.
    """

    scheme: str
    host: str
    port: int
    url: str = field(repr=False)
    authorization: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """Read a proxy's URL; without a scheme, it is an HTTP proxy.

        Raises:
            ProxyFailedError: it is not valid. The message does not quote it, because it may contain a password.
        """
        try:
            parsed = httpx.URL(url if "://" in url else f"http://{url}")
            host = parsed.raw_host.decode("ascii")
        except (httpx.InvalidURL, ValueError):
            parsed, host = httpx.URL(), ""
        if not host or "@" in parsed.path or "@" in parsed.fragment or b"@" in parsed.query:
            raise ProxyFailedError(
                "the proxy's URL is not valid; characters like / # ? @ in its password must be percent-encoded"
            )
        if parsed.scheme not in _SCHEMES:
            raise ProxyFailedError(f"a proxy's URL must begin with {', '.join(f'{one}://' for one in _SCHEMES)}")
        port = parsed.port if parsed.port is not None else _SCHEMES[parsed.scheme]
        if not 0 < port <= 65535:
            raise ProxyFailedError("the port in the proxy's URL is not valid")
        login = f"{parsed.username}:{parsed.password}".encode()
        authorization = f"Basic {base64.b64encode(login).decode()}" if login != b":" else None
        return cls(parsed.scheme, host, port, str(parsed), authorization)

    @property
    def is_socks(self) -> bool:
        """Whether it is a SOCKS proxy."""
        return self.scheme.startswith("socks")

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The header fields that only the proxy may see."""
        return [(b"Proxy-Authorization", self.authorization.encode("ascii"))] if self.authorization else []

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def made(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether the answer to a forwarded request is known to be the proxy's own, and not the registry's."""
        if status == LOGIN_REQUIRED:
            return True
        return status >= 400 and any(
            name == b"x-squid-error" or (name == b"server" and value.startswith(b"tinyproxy/"))
            for name, value in headers
        )

    def unreachable(self, exc: httpx.TransportError) -> ProxyFailedError:
        """The error for a proxy to which no connection could be made."""
        cause = exc.__cause__
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ProxyFailedError(
                f"the certificate of the proxy {self} is not trusted: {cause.verify_message}",
                hint="name the CA of the proxy with ca_file=",
            )
        if isinstance(cause, ssl.SSLError):
            return ProxyFailedError(
                f"the TLS handshake with the proxy {self} failed: {cause.reason or cause}",
                hint="the URL of a proxy that does not use TLS itself begins with http://, also in HTTPS_PROXY",
            )
        if isinstance(cause, socket.gaierror | UnicodeError):
            return ProxyFailedError(
                f"the name of the proxy {self} cannot be resolved: {cause}",
                temporary=getattr(cause, "errno", None) == socket.EAI_AGAIN,
            )
        refused = isinstance(cause, ConnectionRefusedError)
        return ProxyFailedError(
            f"cannot connect to the proxy {self}: {'connection refused' if refused else exc}",
            hint=f"is the proxy running? It is configured by {_NAMES}",
            temporary=True,
        )

    def refused(self, status: int, host: str) -> ProxyFailedError:
        """The error for a proxy that answered ``status`` itself instead of connecting to ``host``.

        Its own words are not shown: they could repeat the login.
        """
        try:
            answer = f"{status} {HTTPStatus(status).phrase}"
        except ValueError:
            answer = str(status)
        if status in _LOGIN_REFUSED:
            if self.authorization:
                return ProxyFailedError(
                    f"the proxy {self} did not accept the login: {answer}",
                    hint="check the login in the proxy's URL; only Basic authentication is supported",
                )
            return ProxyFailedError(
                f"the proxy {self} requires a login: {answer}",
                hint=f"put it into the proxy's URL, percent-encoded: {self.scheme}://USER:PASSWORD@{self}",
            )
        if status >= 500 and status not in {501, 505}:
            return ProxyFailedError(
                f"the proxy {self} cannot connect to {host}: {answer}",
                hint="are the registry's name and port right? Hosts in NO_PROXY are reached without the proxy",
                temporary=True,
                unreachable=status in _CANNOT_REACH,
            )
        return ProxyFailedError(
            f"the proxy {self} refused to connect to {host}: {answer}",
            hint="the proxy must allow this host and port; hosts in NO_PROXY are reached without it",
            temporary=status in {408, 425, 429},
            denied=True,
        )


@dataclass(frozen=True, slots=True)
class ProxyRules:
    """The proxy for each scheme, and the hosts that are reached without one.

    Attributes:
        proxies: URLs by scheme, ``all`` for any.
        direct: names, addresses and networks of NO_PROXY, in lower case; ``*`` stands for every host.
    """

    proxies: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    direct: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls) -> ProxyRules:
        """What HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY say, or the system's settings on macOS and Windows."""
        found = urllib.request.getproxies()
        proxies = {scheme: found[scheme] for scheme in ("http", "https", "all") if found.get(scheme)}
        return cls(proxies, tuple(re.split(r"[,\s]+", found.get("no", "").strip().lower())))

    @classmethod
    def chosen(cls, proxy: str | None, no_proxy: Iterable[str] | None) -> ProxyRules:
        """What the caller chose, in place of what the environment says; an empty ``proxy`` means none."""
        rules = cls.from_environment()
        if proxy is not None:
            rules = replace(rules, proxies={"all": proxy} if proxy else {})
        return rules if no_proxy is None else replace(rules, direct=tuple(one.strip().lower() for one in no_proxy))

    @property
    def may_use_socks(self) -> bool:
        """Whether one of the proxies is a SOCKS proxy."""
        return any(url.lower().startswith("socks") for url in self.proxies.values())

    def proxy_for(self, url: httpx.URL) -> Proxy | None:
        """The proxy for ``url``; None for a direct connection, which loopback always gets (as in Go).

        Raises:
            ProxyFailedError: the proxy's URL is not valid.
        """
        proxy = self.proxies.get(url.scheme) or self.proxies.get("all")
        if not proxy:
            return None
        host, port = url.host.rstrip("."), url.port or (443 if url.scheme == "https" else 80)
        address = _address(host)
        if host == "localhost" or (address is not None and address.is_loopback):
            return None
        if any(_covers(entry, host, port) for entry in self.direct):
            return None
        return Proxy.parse(proxy)


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY covers a host.

    An entry is ``*``, a network, or an address or name with or without a port. A name covers its subdomains too,
    and a leading ``.`` or ``*.`` makes no difference.
    """
    if entry == "*":
        return True
    address = _address(host)
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        pass
    else:
        return address is not None and address in network
    if (parts := _ENTRY.fullmatch(entry)) is None or (parts[3] and int(parts[3]) != port):
        return False
    if parts[1]:
        return address is not None and address == _address(parts[1])
    name = parts[2].lstrip("*").strip(".")
    return bool(name) and (host == name or (address is None and host.endswith(f".{name}")))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def proxy_problem(url: str) -> str | None:
    """What is wrong with the URL of a proxy, without showing any of it; None if it can be used."""
    try:
        Proxy.parse(url)
    except ProxyFailedError as exc:
        return str(exc)
    return None
