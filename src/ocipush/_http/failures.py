"""Turn httpx's and OpenSSL's errors into the library's own."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Final

import httpx

from ..errors import ConnectFailedError, ConnectionLostError, StalledError, TLSVerificationError, TransportError
from .connection import without_header
from .redact import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .request import Request

# What OpenSSL says when the first bytes that come are no TLS record.
_NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"})
_CA_HINT: Final = "name its CA with ca_file=, or, in a trusted private network only, use tls_verify=False"
_PLAIN_HINTS: Final = {
    "registry": "a registry that speaks plain HTTP needs tls_verify=False",
    "token service": "the registry names this token service with https, and it speaks plain HTTP: check the registry's settings",
    "storage": "the registry sends uploads to this storage with https, and it speaks plain HTTP: check the registry's settings",
}
_UNREACHABLE_HINTS: Final = {
    "registry": "is the registry running, and its name and port right?",
    "token service": "the registry names this token service: can it be reached from here, by this name and port?",
    "storage": "the registry sends uploads to this storage: can it be reached from here, by this name and port?",
}
_CERTIFICATE_HINTS: Final = {  # by OpenSSL's X509_V_ERR codes, where another CA would not help
    9: "it is not valid yet: is this machine's clock right?",
    10: "it has expired: the registry needs a new one",
    62: "it is for another name: push to the name that it has",
    64: "it is for another address: push to a name that it has",
}


def failure_of(exc: httpx.HTTPError | ssl.SSLError | UnicodeError, request: Request) -> TransportError:
    """The library's error for what ended a request."""
    if isinstance(exc, httpx.ProxyError | httpx.UnsupportedProtocol):
        return proxy_error(exc, request)
    return transport_error(exc, request)


def stalled(request: Request, seconds: float) -> StalledError:
    """The error for a request that made no progress in time, ``seconds`` after it began."""
    return StalledError(
        f"{request} stalled: no progress, {seconds:.0f} s after it began",
        hint=f"the {request.peer}, or the way to it, is slow or stuck; timeouts= sets how long to wait",
        **request.facts(),
    )


def proxy_error(exc: httpx.ProxyError | httpx.UnsupportedProtocol, request: Request) -> TransportError:
    return ConnectFailedError(
        f"{request}: {printable(str(exc))}",
        hint="check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY",
        **request.facts(),
        temporary=isinstance(exc, httpx.ProxyError) and not str(exc).startswith("407"),
    )


def transport_error(exc: httpx.HTTPError | ssl.SSLError | UnicodeError, request: Request) -> TransportError:
    asked = str(request)
    tls = next((cause for cause in _causes(exc) if isinstance(cause, ssl.SSLError)), None)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return TLSVerificationError(
            f"{asked}: the certificate is not trusted: {tls.verify_message}",
            hint=_CERTIFICATE_HINTS.get(tls.verify_code, _CA_HINT),
            **request.facts(),
        )
    if tls is not None and (isinstance(exc, httpx.ConnectError) or "ALERT" in (tls.reason or "")):
        plain = tls.reason in _NOT_TLS
        return ConnectFailedError(
            f"{asked}: the other side does not speak TLS" if plain else f"{asked}: TLS failed: {tls.reason or tls}",
            hint=_PLAIN_HINTS[request.peer]
            if plain
            else "the two sides agree on no version or cipher, or the server requires a client certificate (ssl_context=)",
            **request.facts(),
            temporary=False,
        )
    if isinstance(exc, httpx.ConnectTimeout):
        return StalledError(
            f"{asked}: no connection in time",
            hint="is the port right, and not filtered? timeouts= sets how long to wait",
            **request.facts(),
        )
    if isinstance(exc, httpx.ConnectError | UnicodeError):
        unknown = next((one for one in _causes(exc) if isinstance(one, socket.gaierror | UnicodeError)), None)
        refused = any(isinstance(cause, ConnectionRefusedError) for cause in _causes(exc))
        reason = f"the name cannot be resolved: {unknown}" if unknown else f"cannot connect: {exc}"
        return ConnectFailedError(
            f"{asked}: {'nobody listens there: connection refused' if refused else reason}",
            hint=_UNREACHABLE_HINTS[request.peer],
            **request.facts(),
            refused=refused,
            temporary=unknown is None or getattr(unknown, "errno", None) == socket.EAI_AGAIN,
        )
    if isinstance(exc, httpx.RemoteProtocolError):
        return ConnectionLostError(
            f"{asked}: what came is not the whole of an HTTP answer: {printable(without_header(str(exc)))}",
            hint=f"is this the address of a {request.peer}? Something between may have cut the connection",
            **request.facts(),
        )
    return ConnectionLostError(
        f"{asked}: the connection was lost: {str(exc) or type(exc).__name__}",
        hint="try again; something between may have cut the connection",
        **request.facts(),
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
