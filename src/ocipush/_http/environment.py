"""The transport of a client that was given none: our own, with the proxies that the environment names."""

from __future__ import annotations

import ssl

import httpx

from .failures import causes
from .proxy import Proxy, ProxyFailedError, ProxyRules
from .tls import Context
from .transport import Transport


def default_transport(context: ssl.SSLContext, rules: ProxyRules | None = None) -> httpx.AsyncBaseTransport:
    """Our own transport, which connects directly or through proxies: those of ``rules``, or of the environment."""
    rules = rules or ProxyRules.from_environment()
    ours = Transport(context, rules=rules)
    return SocksTransport(rules, ours, context) if rules.may_use_socks else ours


class SocksTransport(httpx.AsyncBaseTransport):
    """Sends requests through SOCKS proxies with httpx's own transport, and all others through ours."""

    def __init__(self, rules: ProxyRules, ours: httpx.AsyncBaseTransport, context: ssl.SSLContext) -> None:
        self._rules = rules
        self._ours = ours
        self._context = context
        self._through: dict[str, httpx.AsyncBaseTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request through the proxy that the rules name for it."""
        proxy = None if "direct" in request.extensions else self._rules.proxy_for(request.url)
        if proxy is None or not proxy.is_socks:
            return await self._ours.handle_async_request(request)
        if (transport := self._through.get(proxy.url)) is None:
            transport = self._through[proxy.url] = self._connected_by(proxy)
        try:
            return await transport.handle_async_request(request)
        except httpx.ProxyError as exc:
            raise ProxyFailedError(f"the SOCKS proxy {proxy} failed: {exc}", temporary=True) from exc
        except httpx.ConnectError as exc:
            if any(isinstance(one, ssl.SSLError) for one in causes(exc)):
                raise  # TLS is the registry's
            raise proxy.unreachable(exc) from exc

    def _connected_by(self, proxy: Proxy) -> httpx.AsyncBaseTransport:
        if isinstance(self._context, Context) and self._context.lacks_authorities:
            self._context.load_authorities()  # httpx does the handshake without asking
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        try:
            return httpx.AsyncHTTPTransport(
                proxy=httpx.Proxy(proxy.url), verify=self._context, trust_env=False, limits=limits
            )
        except ImportError:
            raise ProxyFailedError(
                f"the SOCKS proxy {proxy} needs a package that is not installed", hint="pip install 'httpx[socks]'"
            ) from None
        except ValueError:
            raise ProxyFailedError(f"this version of httpx does not know proxies of type {proxy.scheme}") from None

    async def aclose(self) -> None:
        """Close every connection."""
        await self._ours.aclose()
        for transport in self._through.values():
            await transport.aclose()
