"""Connections through a proxy: a tunnel by CONNECT for HTTPS, the proxy itself for plain HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import h11
import httpx

from .proxy import ProxyFailedError
from .stream import start_tls

if TYPE_CHECKING:
    import ssl

    from .proxy import Proxy
    from .stream import Connect, Stream

MAX_HEAD: Final = 16 * 1024  # bytes of a proxy's answer


async def connect_through(
    proxy: Proxy, connect: Connect, proxy_context: ssl.SSLContext, host: str, port: int, context: ssl.SSLContext | None
) -> Stream:
    """Connect to ``host`` through ``proxy``, with TLS when ``context`` is given.

    Without ``context``, the stream ends at the proxy, which forwards the requests that it gets. ``connect`` makes the
    connection to the proxy, with ``proxy_context`` if the proxy itself uses TLS.

    Raises:
        ProxyFailedError: the proxy cannot be reached, or refuses.
        httpx.ConnectError: TLS with ``host`` failed.
    """
    try:
        stream = await connect(proxy.host, proxy.port, proxy_context if proxy.scheme == "https" else None, None)
    except httpx.ConnectError as exc:
        raise proxy.unreachable(exc) from exc
    stream.address = ""  # where the proxy is says nothing about where the host is
    if context is None:
        return stream
    try:
        early = await _open_tunnel(stream, proxy, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except BaseException:
        stream.close()
        raise
    return await start_tls(stream, context, host, early)


async def _open_tunnel(stream: Stream, proxy: Proxy, authority: str) -> bytes:
    """Have the proxy connect to ``authority`` (RFC 9110, 9.3.6); what came through the tunnel already."""
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    headers = [(b"Host", authority.encode("ascii")), *proxy.headers]
    head = http.send(h11.Request(method="CONNECT", target=authority, headers=headers)) or b""
    http.send(h11.EndOfMessage())
    try:
        stream.put(head)
        await stream.drain()
        while not isinstance(event := http.next_event(), h11.Response):
            if event is not h11.NEED_DATA:
                continue  # an interim answer
            while (data := stream.receive_now()) is None:
                await stream.readable()
            if not data:
                raise ProxyFailedError(
                    f"the proxy {proxy} closed the connection without an answer to CONNECT {authority}", temporary=True
                )
            http.receive_data(data)
    except h11.RemoteProtocolError:  # whose words quote the answer, which could repeat the login
        raise ProxyFailedError(
            f"the proxy {proxy} did not answer CONNECT {authority} with HTTP",
            hint="is this the address of an HTTP proxy?",
        ) from None
    except (httpx.ReadError, httpx.WriteError) as exc:
        raise ProxyFailedError(f"the connection to the proxy {proxy} was lost: {exc}", temporary=True) from exc
    if not 200 <= event.status_code <= 299:
        raise proxy.refused(event.status_code, authority)
    return http.trailing_data[0]
