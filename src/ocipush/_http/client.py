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

from ..errors import TransportError, UnsafeLocationError
from .answer import Answer
from .body import FileBody
from .environment import default_transport
from .failures import failure_of, stalled
from .redact import conceal_error
from .urls import ExactURL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from .addresses import AddressPolicy
    from .proxy import ProxyRules
    from .request import Request
    from .timeouts import Timeouts

_LOG = logging.getLogger("ocipush")
MAX_ANSWER: Final = 4 * 1024 * 1024
MAX_ERROR: Final = 64 * 1024
_STEP: Final = 16 * 1024  # bytes of a body that must be accepted within the stall timeout
# A URL whose target is sent as it is, shorter than the limit of httpx.
_URL: Final = re.compile(r"(https?://[^/?#]*)(/[\x21\x22\x24-\x7e]{0,60000})", re.IGNORECASE)


class Client:
    """Sends requests on shared connections, over HTTP/1.1: its flow control does not throttle uploads."""

    def __init__(
        self,
        *,
        verify: ssl.SSLContext,
        timeouts: Timeouts,
        user_agent: str,
        transport: httpx.AsyncBaseTransport | None,
        rules: ProxyRules | None = None,
    ) -> None:
        self.timeouts = timeouts
        self._transport = transport or default_transport(verify, rules)
        self._whole_urls = transport is not None
        self._headers = {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        self._policy: AddressPolicy | None = None
        self._hide: Callable[[str], str] = str

    def guarded(self, policy: AddressPolicy, hide: Callable[[str], str] = str) -> Self:
        """The same client and connections for one registry: requests to other hosts need the permission of ``policy``.

        ``hide`` conceals secrets in what errors and the log say, because it may come from the registry.
        """
        client = copy.copy(self)
        client._policy, client._hide = policy, hide
        return client

    @property
    def transport(self) -> httpx.AsyncBaseTransport:
        """Where the connections are; several clients can have the same."""
        return self._transport

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def send(self, request: Request, *, count: Callable[[int], None] | None = None) -> Answer:
        """Send one request once and read its answer, at most 4 MiB of it (64 KiB of an error).

        ``count`` is called with how many times the request was sent: a second time if the first connection was closed by
        the server before a byte of the request left.

        Raises:
            TransportError: no usable answer came.
            UnsafeLocationError: the registry may not point there.
        """
        try:
            answer = await self._exchange(request, count)
        except TransportError as exc:
            conceal_error(exc, self._hide)
            raise
        if _LOG.isEnabledFor(logging.DEBUG):
            _LOG.debug("%s: %d", self._hide(str(request)), answer.status)
        return answer

    async def _exchange(self, request: Request, count: Callable[[int], None] | None) -> Answer:
        url, timeouts = request.url, self.timeouts
        prepared = self._prepare(request)
        policy = self._policy
        own = policy is not None and policy.is_own(url)
        if policy is not None:
            prepared.extensions.update(policy.conditions(url))
        before, named = sys.exception(), policy is not None and not own
        answer = timeouts.answer if request.commits is None else timeouts.for_commit(request.commits)
        started = anyio.current_time()
        with anyio.CancelScope() as scope:
            prepared.extensions["clock"] = self._watch(scope, request.body, answer)
            try:
                response = await self._transport.handle_async_request(prepared)
                content = await _read(response)
            except (httpx.HTTPError, ssl.SSLError, UnicodeError) as exc:  # httpx does not map the last two
                raise failure_of(exc, request, before=before, named=named) from exc
            finally:
                if count is not None:
                    count(1 + prepared.extensions.get("resent", 0))
            if policy is not None and own and (address := response.extensions.get("address")):
                policy.note(address)
            latency = response.extensions.get("latency")
            return Answer(request, response.status_code, _fields(response), content, latency=latency)
        raise stalled(request, anyio.current_time() - started)

    def _prepare(self, request: Request) -> httpx.Request:
        """A request as the transport takes it.

        Nothing of httpx's client is used: it would keep cookies, take a login from the URL, and quote the path again,
        where an upload's Location must be sent back byte for byte.
        """
        method, url, body = request.method, request.url, request.body
        try:
            split = _URL.fullmatch(url)
            # httpx takes longer to parse an upload's Location than to send the request; our transport needs only the origin.
            parsed = httpx.URL(url) if split is None or self._whole_urls else _origin(split[1])
            host = parsed.netloc.decode("ascii")
        except (httpx.InvalidURL, ValueError) as exc:
            raise UnsafeLocationError(
                f"{request}: invalid address: {exc}",
                hint="the registry, or a proxy in front of it, does not know its own address: check its settings",
                **request.facts(),
            ) from exc
        fields = {"Host": host, **self._headers, **request.headers}
        if method in {"POST", "PUT", "PATCH"}:  # never chunked transfer encoding, which some registries refuse
            fields["Content-Length"] = str(body.length if isinstance(body, FileBody) else len(body))
        timeouts = {"connect": self.timeouts.connect, "read": None, "write": None, "pool": None}
        target = split[2].encode("ascii") if split else parsed.raw_path
        prepared = httpx.Request(
            method,
            parsed,
            headers=fields,
            stream=body if isinstance(body, FileBody) else httpx.ByteStream(body),
            extensions={"timeout": timeouts},
        )
        if self._whole_urls:  # not as an extension, which httpcore would also send to a proxy in CONNECT
            prepared.url = ExactURL(parsed, target)
        else:
            prepared.extensions["target"] = target
        return prepared

    def _watch(self, scope: anyio.CancelScope, body: bytes | FileBody, answer: float | None) -> Callable[[bool], None]:
        """Move the deadline of ``scope`` as bytes are sent; after the last one, it is ``answer`` seconds.

        Returns a function that stops the clock (False), or restarts it (True).
        """
        stall = self.timeouts.stall

        def allow(seconds: float | None) -> None:
            scope.deadline = float("inf") if seconds is None else anyio.current_time() + seconds

        if not isinstance(body, FileBody):
            return self._clock(allow, answer)
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
        return self._clock(allow, stall)

    def _clock(self, allow: Callable[[float | None], None], limit: float | None) -> Callable[[bool], None]:
        first = None if limit is None else limit + (self.timeouts.connect or 0)
        allow(first)
        return lambda runs: allow(first if runs else None)


@lru_cache(maxsize=64)
def _origin(url: str) -> httpx.URL:
    return httpx.URL(url)


def _fields(response: httpx.Response) -> dict[str, str]:
    fields: dict[str, str] = {}
    encoding = response.headers.encoding
    for raw, content in response.headers.raw:
        name, value = raw.decode(encoding).lower(), content.decode(encoding)
        if name not in fields:
            fields[name] = value
        elif fields[name] != value:  # some proxies double a header
            fields[name] += f", {value}"
    return fields


async def _read(response: httpx.Response) -> bytes:
    """The body of an answer, not decompressed: a small compressed body could become gigabytes."""
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
