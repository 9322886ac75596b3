"""Turn the errors of httpx and OpenSSL into the library's own."""

from __future__ import annotations

import re
import socket
import ssl
from typing import TYPE_CHECKING, Final

import httpx

from ..errors import ConnectFailedError, ConnectionLostError, StalledError, TLSVerificationError, TransportError
from .connection import without_header
from .proxy import LOGIN_REQUIRED, ProxyFailedError
from .redact import printable
from .stream import DURING_HANDSHAKE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .request import Request

# What OpenSSL says when the first bytes that arrive are not a TLS record.
_NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"})
# And what it says of a server that has no version of TLS in common with the client, or wants a certificate from it.
_OLD_TLS: Final = frozenset({"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "WRONG_SSL_VERSION"})
_CLIENT_CERTIFICATE: Final = re.compile(r"ALERT_((BAD|UNSUPPORTED|NO)_CERTIFICATE|CERTIFICATE_|UNKNOWN_CA)")
_CA_HINT: Final = "name its CA with ca_file=, or, in a trusted private network only, use tls_verify=False"
_PLAIN_HINT: Final = "a registry on plain HTTP needs tls_verify=False"
_NAMED_PLAIN_HINT: Final = (
    "the registry names this {peer} with https, and it speaks plain HTTP: check the registry's settings"
)
_VERSION_HINT: Final = "the server must support TLS 1.2 or later; ssl_context= can allow an older version"
_CLIENT_HINT: Final = "a client certificate that the server accepts is needed: pass it with cert= and key="
_CIPHER_HINT: Final = "client and server have no cipher in common, or the server requires a client certificate (cert=)"
_HANDSHAKE_HINT: Final = "the server may require a client certificate (cert=) or speak an older TLS version"
_REGISTRY_HINT: Final = "is the registry running, and are its name and port right?"
_NAMED_HINT: Final = "the registry names this {peer}: can it be reached from here, by this name and port?"
_CERTIFICATE_HINTS: Final = {  # by OpenSSL's X509_V_ERR codes, where another CA would not help
    9: "it is not valid yet: is this machine's clock right?",
    10: "it has expired: the registry needs a new one",
    62: "it is for another name: use a name that the certificate contains",
    64: "it is for another address: use a name that the certificate contains",
}


def failure_of(
    exc: httpx.HTTPError | ssl.SSLError | UnicodeError,
    request: Request,
    *,
    before: BaseException | None = None,
    named: bool = False,
) -> TransportError:
    """The library's error for what ended a request without a usable answer.

    ``before`` is the exception that was being handled when the request began: Python links the failures of the request
    to it, but it did not cause them. ``named`` says whether the registry named the URL's host.
    """
    if isinstance(exc, httpx.ProxyError | httpx.UnsupportedProtocol):
        return _proxy_error(exc, request)
    found = list(causes(exc, before))
    tls = next((one for one in found if isinstance(one, ssl.SSLError)), None)
    if tls is not None and (isinstance(exc, httpx.ConnectError | ssl.SSLError) or "ALERT" in (tls.reason or "")):
        if tls is not exc:
            exc.__cause__ = tls  # httpcore leaves it in the context, where another request's may be as well
        return _tls_error(tls, request)
    if isinstance(exc, httpx.ConnectTimeout):
        return StalledError(
            f"{request}: {str(exc) or 'no connection in time'}",
            hint="is the port right, and not filtered? timeouts= sets how long to wait",
            **request.facts(),
        )
    if isinstance(exc, httpx.ConnectError | UnicodeError):
        return _connect_error(exc, found, request, named=named)
    return _lost_error(exc, request)


def stalled(request: Request, seconds: float) -> StalledError:
    """The error for a request that made no progress in time, ``seconds`` after it began."""
    return StalledError(
        f"{request} stalled: no progress, {seconds:.0f} s after it began",
        hint=f"the {request.peer} or the network is slow or stuck; timeouts= sets how long to wait",
        **request.facts(),
    )


def _proxy_error(exc: httpx.ProxyError | httpx.UnsupportedProtocol, request: Request) -> ConnectFailedError:
    """The error for a proxy that could not be used. The registry is not to blame, whatever the proxy says."""
    if not isinstance(exc, ProxyFailedError):  # of a transport that is not ours; a ProxyError is "407 Proxy Auth…"
        temporary = isinstance(exc, httpx.ProxyError) and not str(exc).startswith((str(LOGIN_REQUIRED), "403"))
        exc = ProxyFailedError(f"the proxy failed: {printable(str(exc))}", temporary=temporary)
    return ConnectFailedError(
        f"{request}: {exc}", hint=exc.hint, **request.facts(), refused=exc.unreachable, temporary=exc.temporary
    )


def _tls_error(tls: ssl.SSLError, request: Request) -> TransportError:
    if isinstance(tls, ssl.SSLCertVerificationError):
        return TLSVerificationError(
            f"{request}: the certificate is not trusted: {tls.verify_message}",
            hint=_CERTIFICATE_HINTS.get(tls.verify_code, _CA_HINT),
            **request.facts(),
        )
    reason = tls.reason or str(tls)
    if reason in _NOT_TLS:
        words, hint = "the server does not speak TLS", _PLAIN_HINT
        if request.peer != "registry":
            hint = _NAMED_PLAIN_HINT.format(peer=request.peer)
    elif reason in _OLD_TLS:
        words, hint = f"TLS failed: the server supports no TLS version that is allowed here ({reason})", _VERSION_HINT
    elif _CLIENT_CERTIFICATE.search(reason):
        words, hint = f"TLS failed: the server requires a client certificate ({reason})", _CLIENT_HINT
    else:
        words, hint = f"TLS failed: {reason}", _CIPHER_HINT
    return ConnectFailedError(f"{request}: {words}", hint=hint, **request.facts(), temporary=False)


def _connect_error(
    exc: httpx.HTTPError | ssl.SSLError | UnicodeError, found: list[BaseException], request: Request, *, named: bool
) -> ConnectFailedError:
    refused = any(isinstance(one, ConnectionRefusedError) for one in found)
    unknown = next((one for one in found if isinstance(one, socket.gaierror | UnicodeError)), None)
    reason = f"the name cannot be resolved: {unknown}" if unknown else f"cannot connect: {exc}"
    hint = _HANDSHAKE_HINT if DURING_HANDSHAKE in str(exc) else _REGISTRY_HINT
    if hint is _REGISTRY_HINT and (named or request.peer != "registry"):
        hint = _NAMED_HINT.format(peer="address" if request.peer == "registry" else request.peer)
    return ConnectFailedError(
        f"{request}: {'connection refused' if refused else reason}",
        hint=hint,
        **request.facts(),
        refused=refused,
        temporary=unknown is None or getattr(unknown, "errno", None) == socket.EAI_AGAIN,
    )


def _lost_error(exc: Exception, request: Request) -> ConnectionLostError:
    if isinstance(exc, httpx.RemoteProtocolError):
        words = f"incomplete HTTP response: {printable(without_header(str(exc)))}"
        hint = f"is this the address of a {request.peer}? A proxy or firewall may have cut the connection"
    else:
        words = f"the connection was lost: {str(exc) or type(exc).__name__}"
        hint = "try again; a proxy or firewall may have cut the connection"
    return ConnectionLostError(f"{request}: {words}", hint=hint, **request.facts())


def causes(exc: BaseException, before: BaseException | None = None) -> Iterator[BaseException]:
    """An exception and those that led to it, members of groups included, up to ``before``."""
    if exc is before:
        return
    yield exc
    if isinstance(exc, BaseExceptionGroup):
        for member in exc.exceptions:
            yield from causes(member, before)
    if (cause := exc.__cause__ or exc.__context__) is not None:
        yield from causes(cause, before)


def is_refused_or_plain(error: ConnectFailedError) -> bool:
    """Whether plain HTTP may be tried after ``error`` (docs/requests.md, "Plain HTTP").

    It may if the connection was refused, or the server does not speak TLS. A proxy that does not connect to the host
    counts as well.
    """
    cause = error.__cause__
    if isinstance(cause, ProxyFailedError):
        return cause.unreachable or cause.denied
    while cause is not None:  # not the context, which can be another request's
        if isinstance(cause, ssl.SSLError) and cause.reason in _NOT_TLS:
            return True
        cause = cause.__cause__
    return error.refused
