"""One HTTP client for all registries: TLS, time-outs, retries of what is safe to repeat, error mapping.

May import: errors, _addresses, _connection, _pace, _protocol, _proxy, _retry, _transport, anyio, httpx. With ``_transport`` and its
parts the only module that imports httpx.
"""

from __future__ import annotations

import copy
import logging
import re
import socket
import ssl
import time
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, Self, cast

import anyio
import httpx

from ._connection import without_header
from ._protocol import is_rate_limit, printable, redact
from ._proxy import default_transport
from ._retry import RETRIED_STATUSES, RetryPolicy, may_pass, parse_retry_after
from ._transport import FileBody
from .errors import (
    ConnectFailedError,
    ConnectionLostError,
    StalledError,
    TLSVerificationError,
    TransportError,
    UnsafeLocationError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping

    from ._addresses import Guard
    from ._pace import Pace

_LOG = logging.getLogger("ocipush")
MAX_ANSWER: Final = 4 * 1024 * 1024
MAX_ERROR: Final = 64 * 1024
_WORDS: Final = 4096  # bytes of an error's body that are searched for a rate limit
_STEP: Final = 16 * 1024  # bytes of a body that must go within the stall time-out: fewer is a standstill
# An URL whose target goes out as it is, shorter than what httpx takes for one.
_URL: Final = re.compile(r"(https?://[^/?#]*)(/[\x21\x22\x24-\x7e]{0,60000})", re.IGNORECASE)
# What OpenSSL says when the first bytes that come are no TLS record.
_NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"})
_CA_HINT: Final = "name its CA with --ca-file (ca_file=), or, in a trusted private network only, use --tls-verify=false"
_CERTIFICATE_HINTS: Final = {  # by OpenSSL's X509_V_ERR codes, where another CA would not help
    9: "it is not valid yet: is this machine's clock right?",
    10: "it has expired: the registry needs a new one",
    62: "it is for another name: push to the name that it has",
    64: "it is for another address: push to a name that it has",
}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that one step of a request may take; None waits for ever.

    Attributes:
        connect: until the connection, TLS included, stands.
        stall: until the next 16 KiB of the body, or its end, are taken.
        answer: from the last byte of the request to the whole answer.
        commit: the same for the request that ends a blob, which the registry may have to copy and hash;
            None: ``answer`` and a second for each 10 MiB.
    """

    connect: float | None = 10.0
    stall: float | None = 60.0
    answer: float | None = 60.0
    commit: float | None = None

    def for_commit(self, size: int) -> float | None:
        """Seconds that the closing request of a blob of ``size`` bytes may wait for its answer."""
        if self.commit is not None or self.answer is None:
            return self.commit
        return self.answer + size / (10 * 1024 * 1024)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, read whole. Header names are lower-case.

    ``attempts`` is how often the request was made for it, and ``seconds`` what that took where it was more than once;
    ``renewable`` is said of a 401 for which another token can be had; ``latency``, of a request sent at once, is known
    where our own transport sent it.
    """

    method: str
    url: str = field(repr=False)
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    attempts: int = 1
    seconds: float = 0.0
    renewable: bool = False
    latency: float | None = None

    @property
    def is_rate_limit(self) -> bool:
        """Whether the registry wants fewer requests."""
        return is_rate_limit(self.status, self._words)

    @property
    def retry_after(self) -> float | None:
        """Seconds that the registry asks to wait, in whichever notation, or None."""
        return parse_retry_after(
            self.headers.get("retry-after"), date=self.headers.get("date"), words=self._words, now=time.time()
        )

    @property
    def _words(self) -> str:
        return self.body[:_WORDS].decode("utf-8", "replace") if self.status >= 400 else ""


class Client:
    """Sends requests on shared connections, over HTTP/1.1: its flow control does not throttle uploads."""

    def __init__(
        self, *, verify: ssl.SSLContext, timeouts: Timeouts, user_agent: str, transport: httpx.AsyncBaseTransport | None
    ) -> None:
        self.timeouts = timeouts
        self._transport = transport or default_transport(verify)
        self._whole_urls = transport is not None
        self._headers = {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        self._guard: Guard | None = None

    def guarded(self, guard: Guard) -> Self:
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
        if guard is not None and not own:
            guard.check(url)
            request.extensions["admit"] = partial(guard.admit, url)
        started = anyio.current_time()
        with anyio.CancelScope() as scope:
            self._watch(scope, body, self.timeouts.stall, answer, self.timeouts.connect)
            try:
                response = await self._transport.handle_async_request(request)
                content = await _read(response)
            except (httpx.HTTPError, ssl.SSLError, UnicodeError) as exc:  # the last two come through httpx as they are
                if isinstance(exc, httpx.ProxyError | httpx.UnsupportedProtocol):
                    raise _proxy_error(exc, method, redact(url)) from exc
                raise _transport_error(exc, method, redact(url)) from exc
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
        extensions: dict[str, Any] = {"timeout": timeouts, **({"target": split[2].encode("ascii")} if split else {})}
        return httpx.Request(
            method,
            parsed,
            headers=fields,
            stream=body if isinstance(body, FileBody) else httpx.ByteStream(body),
            extensions=extensions,
        )

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

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        retry: RetryPolicy,
        pace: Pace,
        on_retry: Callable[[str, str, int, float], None],
        retry_refused: bool = True,
    ) -> Answer:
        """Send a request that is safe to repeat, and repeat it as ``retry`` says.

        ``retry_refused=False`` gives a refused connection back at once.
        """
        attempt, started = 0, anyio.current_time()
        while True:
            attempt += 1
            try:
                async with pace.turn():
                    answer = await self.send(method, url, headers=headers, body=body, answer=self.timeouts.answer)
            except TransportError as exc:
                refused = isinstance(exc, ConnectFailedError) and exc.refused
                delay = retry.delay(attempt) if may_pass(exc) and (retry_refused or not refused) else None
                if delay is None:
                    exc.attempts, exc.seconds = attempt, anyio.current_time() - started
                    raise
                reason = exc.message
            else:
                limited = answer.is_rate_limit
                if answer.status not in RETRIED_STATUSES and not limited:
                    pace.served(answer.latency)
                    return answer
                asked = answer.retry_after
                delay = retry.delay(attempt, retry_after=asked)
                if limited or asked is not None:
                    pace.limited(min(asked, retry.cap) if asked is not None else delay or 0.0)
                if delay is None:
                    return replace(answer, attempts=attempt, seconds=anyio.current_time() - started)
                reason = f"answered {answer.status}"
            on_retry(f"{method} {redact(url)}", reason, attempt + 1, delay)
            await anyio.sleep(delay)


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


def _proxy_error(exc: httpx.ProxyError | httpx.UnsupportedProtocol, method: str, url: str) -> TransportError:
    return ConnectFailedError(
        f"{method} {url}: {printable(str(exc))}",
        hint="check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY",
        method=method,
        url=url,
        temporary=isinstance(exc, httpx.ProxyError) and not str(exc).startswith("407"),
    )


def _transport_error(exc: httpx.HTTPError | ssl.SSLError | UnicodeError, method: str, url: str) -> TransportError:
    asked = f"{method} {url}"
    tls = next((cause for cause in _causes(exc) if isinstance(cause, ssl.SSLError)), None)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return TLSVerificationError(
            f"{asked}: the certificate is not trusted: {tls.verify_message}",
            hint=_CERTIFICATE_HINTS.get(tls.verify_code, _CA_HINT),
            method=method,
            url=url,
        )
    if tls is not None and (isinstance(exc, httpx.ConnectError) or "ALERT" in (tls.reason or "")):
        plain = tls.reason in _NOT_TLS
        return ConnectFailedError(
            f"{asked}: the other side does not speak TLS" if plain else f"{asked}: TLS failed: {tls.reason or tls}",
            hint="a registry that speaks plain HTTP needs --tls-verify=false (tls_verify=False)"
            if plain
            else "the two sides agree on no version or cipher, or the registry wants a client certificate (ssl_context=)",
            method=method,
            url=url,
            temporary=False,
        )
    if isinstance(exc, httpx.ConnectTimeout):
        return StalledError(
            f"{asked}: no connection in time",
            hint="is the port right, and not filtered? timeouts= sets how long to wait",
            method=method,
            url=url,
        )
    if isinstance(exc, httpx.ConnectError | UnicodeError):
        unknown = next((one for one in _causes(exc) if isinstance(one, socket.gaierror | UnicodeError)), None)
        refused = any(isinstance(cause, ConnectionRefusedError) for cause in _causes(exc))
        reason = f"the name cannot be resolved: {unknown}" if unknown else f"cannot connect: {exc}"
        return ConnectFailedError(
            f"{asked}: {'nobody listens there: connection refused' if refused else reason}",
            hint="is the registry running, and its name and port right?",
            method=method,
            url=url,
            refused=refused,
            temporary=unknown is None or getattr(unknown, "errno", None) == socket.EAI_AGAIN,
        )
    if isinstance(exc, httpx.RemoteProtocolError):
        return ConnectionLostError(
            f"{asked}: what came is not the whole of an HTTP answer: {printable(without_header(str(exc)))}",
            hint="is this the address of a registry? Something between may have cut the connection",
            method=method,
            url=url,
        )
    return ConnectionLostError(
        f"{asked}: the connection was lost: {str(exc) or type(exc).__name__}",
        hint="try again; something between may have cut the connection",
        method=method,
        url=url,
    )


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """An exception, and those it came from, members of groups included."""
    yield exc
    if isinstance(exc, BaseExceptionGroup):
        for member in exc.exceptions:
            yield from _causes(member)
    if (cause := exc.__cause__ or exc.__context__) is not None:
        yield from _causes(cause)


def is_refused_or_plain(error: ConnectFailedError) -> bool:
    """Whether nobody listens, or whoever does speaks no TLS: the two failures that plain HTTP may follow (rules.md, 3)."""
    return error.refused or any(isinstance(one, ssl.SSLError) and one.reason in _NOT_TLS for one in _causes(error))
