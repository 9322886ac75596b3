"""One HTTP client for all registries: TLS, time-outs, and the library's own errors."""

from __future__ import annotations

import copy
import logging
import re
import ssl
import sys
from contextlib import aclosing
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Self, cast

import anyio
import httpx

from ..errors import StalledError, UnsafeLocationError
from .answer import Answer
from .body import FileBody
from .environment import default_transport
from .failures import proxy_error, transport_error
from .redact import redact
from .urls import ExactURL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from .addresses import AddressPolicy
    from .timeouts import Timeouts

_LOG = logging.getLogger("ocipush")
MAX_ANSWER: Final = 4 * 1024 * 1024
MAX_ERROR: Final = 64 * 1024
_STEP: Final = 16 * 1024  # bytes of a body that must go within the stall time-out: fewer is a standstill
# An URL whose target goes out as it is, shorter than what httpx takes for one.
_URL: Final = re.compile(r"(https?://[^/?#]*)(/[\x21\x22\x24-\x7e]{0,60000})", re.IGNORECASE)


class Client:
    """Sends requests on shared connections, over HTTP/1.1: its flow control does not throttle uploads."""

    def __init__(
        self, *, verify: ssl.SSLContext, timeouts: Timeouts, user_agent: str, transport: httpx.AsyncBaseTransport | None
    ) -> None:
        self.timeouts = timeouts
        self._transport = transport or default_transport(verify)
        self._whole_urls = transport is not None
        self._headers = {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        self._guard: AddressPolicy | None = None

    def guarded(self, guard: AddressPolicy) -> Self:
        """The same client, on the same connections, for one registry: it goes elsewhere only where ``guard`` allows it."""
        client = copy.copy(self)
        client._guard = guard
        return client

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | FileBody = b"", answer: float | None
    ) -> Answer:
        """Send one request once and read its answer, at most 4 MiB of it (64 KiB of an error).

        Raises:
            TransportError: no usable answer came.
            UnsafeLocationError: the registry has no business pointing there.
        """
        request = self._request(method, url, headers, body)
        guard = self._guard
        own = guard is not None and guard.is_own(url)
        if guard is not None:
            request.extensions.update(guard.conditions(url))
        before, named = sys.exception(), guard is not None and not own
        started = anyio.current_time()
        with anyio.CancelScope() as scope:
            self._watch(scope, body, self.timeouts.stall, answer, self.timeouts.connect)
            try:
                response = await self._transport.handle_async_request(request)
                content = await _read(response)
            except (httpx.HTTPError, ssl.SSLError, UnicodeError) as exc:  # the last two come through httpx as they are
                if isinstance(exc, httpx.ProxyError | httpx.UnsupportedProtocol):
                    raise proxy_error(exc, method, redact(url)) from exc
                raise transport_error(exc, method, redact(url), before=before, named=named) from exc
            if guard is not None and own and (address := response.extensions.get("address")):
                guard.note(address)
            if _LOG.isEnabledFor(logging.DEBUG):
                _LOG.debug("%s %s: %d", method, redact(url), response.status_code)
            latency = response.extensions.get("latency")
            return Answer(method, url, response.status_code, _fields(response), content, latency=latency)
        shown = redact(url)
        raise StalledError(
            f"{method} {shown} stalled: no progress, {anyio.current_time() - started:.0f} s after it began",
            hint="the registry, or the way to it, is slow or stuck; timeouts= sets how long to wait",
            method=method,
            url=shown,
        )

    def _request(self, method: str, url: str, headers: Mapping[str, str], body: bytes | FileBody) -> httpx.Request:
        """A request as the transport takes it.

        Nothing of httpx's client is used: it would keep cookies, take a login from the URL, and quote the path anew,
        where an upload's Location must come back byte for byte.
        """
        try:
            split = _URL.fullmatch(url)
            # Reading an upload's Location takes httpx longer than making and sending the request; ours needs the origin.
            parsed = httpx.URL(url) if split is None or self._whole_urls else _origin(split[1])
            host = parsed.netloc.decode("ascii")
        except (httpx.InvalidURL, ValueError) as exc:
            shown = redact(url)
            raise UnsafeLocationError(
                f"{method} {shown}: this address cannot be asked: {exc}",
                hint="the registry, or a proxy in front of it, does not know its own address: look into its settings",
                method=method,
                url=shown,
            ) from exc
        fields = {"Host": host, **self._headers, **headers}
        if method in {"POST", "PUT", "PATCH"}:  # never Transfer-Encoding: chunked, which some registries refuse
            fields["Content-Length"] = str(body.length if isinstance(body, FileBody) else len(body))
        timeouts = {"connect": self.timeouts.connect, "read": None, "write": None, "pool": None}
        target = split[2].encode("ascii") if split else parsed.raw_path
        request = httpx.Request(
            method,
            parsed,
            headers=fields,
            stream=body if isinstance(body, FileBody) else httpx.ByteStream(body),
            extensions={"timeout": timeouts},
        )
        if self._whole_urls:  # not as an extension, which httpcore would also send to a proxy in CONNECT
            request.url = ExactURL(parsed, target)
        else:
            request.extensions["target"] = target
        return request

    def _watch(
        self,
        scope: anyio.CancelScope,
        body: bytes | FileBody,
        stall: float | None,
        answer: float | None,
        connect: float | None,
    ) -> None:
        """Move the deadline of ``scope`` along with the bytes that go out."""

        def allow(seconds: float | None) -> None:
            scope.deadline = float("inf") if seconds is None else anyio.current_time() + seconds

        if not isinstance(body, FileBody):
            allow(None if answer is None else answer + (connect or 0))
            return
        left, since, report = body.length, 0, body.on_sent

        def sent(count: int) -> None:
            nonlocal left, since
            left, since = left - count, since + count
            if left <= 0:
                allow(answer)
            elif since >= _STEP:
                since = 0
                allow(stall)
            if report is not None:
                report(count)

        body.on_sent = sent
        allow(None if stall is None else stall + (connect or 0))


@lru_cache(maxsize=64)
def _origin(url: str) -> httpx.URL:
    return httpx.URL(url)


def _fields(response: httpx.Response) -> dict[str, str]:
    fields: dict[str, str] = {}
    encoding = response.headers.encoding
    for raw, content in response.headers.raw:
        name, value = raw.decode(encoding).lower(), content.decode(encoding)
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


async def _read(response: httpx.Response) -> bytes:
    """An answer's body. Raw: what is packed in spite of Accept-Encoding is not unpacked, a small answer could be gigabytes."""
    limit = MAX_ANSWER if response.status_code < 400 else MAX_ERROR
    if isinstance(response.stream, httpx.ByteStream):
        return b"".join(response.stream)[:limit]
    content = bytearray()
    try:
        async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_raw())) as pieces:
            async for piece in pieces:
                content += piece
                if len(content) >= limit:
                    break
    finally:
        with anyio.CancelScope(shield=True):
            await response.aclose()
    return bytes(content[:limit])
