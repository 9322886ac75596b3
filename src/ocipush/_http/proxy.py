"""Which requests go through a proxy, by the usual environment variables, and the transport that sends them there."""

from __future__ import annotations

import ipaddress
import re
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx

from .tls import Context
from .transport import Transport

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping


_PORT: Final = re.compile(r"(?:\[(.+)\]|([^:]*))(?::(\d+))?")


@dataclass(frozen=True, slots=True)
class ProxyRules:
    """The proxy of each scheme, and the hosts that are reached without one.

    Attributes:
        proxies: URLs by scheme, ``all`` for any.
        direct: names, addresses and networks of NO_PROXY; ``*`` stands for every host.
    """

    proxies: Mapping[str, str]
    direct: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls) -> ProxyRules:
        """What HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY say, or the system's settings on macOS and Windows."""
        found = urllib.request.getproxies()
        proxies = {scheme: found[scheme] for scheme in ("http", "https", "all") if found.get(scheme)}
        return cls(proxies, tuple(re.split(r"[,\s]+", found.get("no", "").strip().lower())))

    def proxy_for(self, url: httpx.URL) -> str | None:
        """The proxy for ``url``; None: go there directly, as to this machine itself always (as Go does)."""
        proxy = self.proxies.get(url.scheme) or self.proxies.get("all")
        if not proxy:
            return None
        host, port = url.host.rstrip("."), url.port or (443 if url.scheme == "https" else 80)
        address = _address(host)
        if host == "localhost" or (address is not None and address.is_loopback):
            return None
        if any(_covers(entry, host, port) for entry in self.direct):
            return None
        return proxy if "://" in proxy else f"http://{proxy}"


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY covers a host: ``*``, a network, or a name or address with or without a port."""
    if entry == "*":
        return True
    address = _address(host)
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        pass
    else:
        return address is not None and address in network
    if (parts := _PORT.fullmatch(entry)) is None or (parts[3] and int(parts[3]) != port):
        return False
    if parts[1]:
        return address is not None and address == _address(parts[1])
    name = parts[2].lstrip("*").lstrip(".")
    return bool(name) and (host == name or (address is None and host.endswith(f".{name}")))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class ProxyTransport(httpx.AsyncBaseTransport):
    """Sends directly where the rules say so, and through httpx's own transport where they name a proxy.

    Args:
        direct: for requests without a proxy.
        context: for ``https``, the proxy's own included.
    """

    def __init__(self, rules: ProxyRules, direct: httpx.AsyncBaseTransport, context: ssl.SSLContext) -> None:
        self._rules = rules
        self._direct = direct
        self._context = context
        self._proxied: dict[str, httpx.AsyncBaseTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request where it belongs."""
        proxy = self._rules.proxy_for(request.url)
        if proxy is None:
            return await self._direct.handle_async_request(request)
        if (transport := self._proxied.get(proxy)) is None:
            transport = self._proxied[proxy] = self._through(proxy)
        return await transport.handle_async_request(request)

    def _through(self, proxy: str) -> httpx.AsyncBaseTransport:
        if isinstance(self._context, Context) and self._context.lacks_authorities:
            self._context.load_authorities()  # httpx shakes hands without asking
        try:
            named = httpx.Proxy(proxy, ssl_context=self._context if proxy.startswith("https:") else None)
            if (named.url.port or 0) > 65535:
                raise ValueError("its port is above 65535")
            return httpx.AsyncHTTPTransport(
                proxy=named,
                verify=self._context,
                trust_env=False,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            )
        except httpx.InvalidURL:  # whose words can be a part of the proxy's password
            raise httpx.UnsupportedProtocol(
                "the proxy cannot be used: its address is no URL; characters like / # ? @ in its password are to be quoted"
            ) from None
        except (ValueError, ImportError) as exc:  # ImportError: SOCKS needs a package of its own
            raise httpx.UnsupportedProtocol(f"the proxy cannot be used: {exc}") from exc

    async def aclose(self) -> None:
        """Close every connection."""
        await self._direct.aclose()
        for transport in self._proxied.values():
            await transport.aclose()


def default_transport(context: ssl.SSLContext) -> httpx.AsyncBaseTransport:
    """The transport for who brings none: direct, or through the environment's proxies."""
    direct, rules = Transport(context), ProxyRules.from_environment()
    return ProxyTransport(rules, direct, context) if rules.proxies else direct
