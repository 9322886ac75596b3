"""What the client says of a request that got no answer: who is to blame, why, and what may help."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from tests.certificates import CA, client_context, server_context
from tests.networks import Network
from tests.peers import OK, Link, answering, serve

from ocipush._http.addresses import AddressPolicy
from ocipush._http.client import Client
from ocipush._http.failures import causes, is_refused_or_plain
from ocipush._http.request import Request
from ocipush._http.stream import TLSStream
from ocipush._http.timeouts import Timeouts
from ocipush._http.transport import Transport
from ocipush.errors import ConnectFailedError, ConnectionLostError, TransportError, UnsafeLocationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = pytest.mark.anyio


def client(transport: httpx.AsyncBaseTransport) -> Client:
    return Client(verify=client_context(), timeouts=Timeouts(), user_agent="test", transport=transport)


async def failure(one: Client, url: str, method: str = "GET") -> TransportError:
    with pytest.raises(TransportError) as caught:
        await one.send(Request(method=method, url=url))
    return caught.value


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port where nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def not_tls() -> ssl.SSLError:
    error = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    error.reason = "WRONG_VERSION_NUMBER"
    return error


def speak_no_tls(link: Link) -> None:
    link.more()
    link.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


# Causes


async def test_error_does_not_take_its_cause_from_an_exception_handled_before_the_request(
    transport: Transport, nobody: int
) -> None:
    before = not_tls()
    try:
        raise before
    except ssl.SSLError:
        error = await failure(client(transport), f"http://127.0.0.1:{nobody}/token")
    assert before in causes(error)  # Python links them all the same
    assert isinstance(error, ConnectFailedError)
    assert error.message.endswith("connection refused")
    assert error.refused
    assert error.temporary


async def test_second_attempt_in_the_handler_of_the_first_is_judged_on_its_own(transport: Transport) -> None:
    def cut(link: Link) -> None:
        link.head()
        link.reset()

    first: ConnectFailedError | None = None
    second: TransportError | None = None
    with serve(speak_no_tls) as plain, serve(cut) as cutting:
        plain.secure = True
        try:
            await client(transport).send(Request(method="HEAD", url=plain.url()))
        except ConnectFailedError as exc:
            first, second = exc, await failure(client(transport), cutting.url())
    assert first is not None
    assert is_refused_or_plain(first)
    assert isinstance(second, ConnectionLostError)
    assert "TLS" not in str(second)


async def test_failure_that_is_only_the_context_of_an_error_does_not_lead_to_plain_http() -> None:
    error = ConnectFailedError("another request")
    error.__context__ = not_tls()
    assert not is_refused_or_plain(error)
    error.__cause__ = httpx.ReadError("this request")
    error.__cause__.__context__ = not_tls()
    assert not is_refused_or_plain(error)
    error.__cause__ = httpx.ConnectError("")
    error.__cause__.__cause__ = not_tls()
    assert is_refused_or_plain(error)


class Chaining(httpx.AsyncBaseTransport):
    """A transport that loses the cause, as many wrappers do: Python keeps it as the context."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            raise not_tls()
        except ssl.SSLError:
            raise httpx.ConnectError("failed")  # noqa: B904 - what is tested


async def test_cause_of_the_same_attempt_is_found_in_the_context_too() -> None:
    try:
        raise ConnectionRefusedError
    except ConnectionRefusedError:
        error = await failure(client(Chaining()), "https://registry.test/")
    assert isinstance(error, ConnectFailedError)
    assert "does not speak TLS" in error.message
    assert is_refused_or_plain(error)
    assert not error.refused


class Bare(httpx.AsyncBaseTransport):
    """A transport that does not map the errors of OpenSSL."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise not_tls()


async def test_error_of_openssl_itself_is_understood() -> None:
    error = await failure(client(Bare()), "https://registry.test/")
    assert isinstance(error, ConnectFailedError)
    assert "does not speak TLS" in error.message
    assert is_refused_or_plain(error)


async def test_causes_pass_through_httpx() -> None:
    with serve(speak_no_tls) as plain:
        plain.secure = True
        try:
            raise ConnectionRefusedError
        except ConnectionRefusedError:
            async with httpx.AsyncHTTPTransport() as transport:
                error = await failure(client(transport), plain.url())
    assert isinstance(error, ConnectFailedError)
    assert is_refused_or_plain(error)
    assert not error.refused


async def test_members_of_a_group_count_as_causes() -> None:
    refused = ConnectionRefusedError()
    outer = OSError("no address answered")
    outer.__cause__ = ExceptionGroup("", [OSError(), refused])
    assert refused in causes(outer)


async def test_host_that_the_registry_named_is_not_called_the_registry(transport: Transport, nobody: int) -> None:
    one = client(transport).guarded(AddressPolicy("https://127.0.0.1:1"))
    named = await failure(one, f"https://127.0.0.1:{nobody}/token")
    own = await failure(one, "https://127.0.0.1:1/v2/")
    assert "the registry names this address" in (named.hint or "")
    assert "is the registry running" in (own.hint or "")


# TLS


def requiring_a_certificate(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = server_context()
    context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    CA.configure_trust(context)
    return context


def of_tls_1_0() -> ssl.SSLContext:
    context = server_context()
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    return context


def shaking(context: ssl.SSLContext, *, rudely: bool) -> Callable[[Link], None]:
    """A server that shakes hands as ``context`` says, and sends its alert and nothing more."""

    def script(link: Link) -> None:
        inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(inward, outward, server_side=True)
        while True:
            link.more()
            inward.write(link.buffer)
            link.buffer = b""
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                link.send(outward.read())
            except ssl.SSLError:
                link.send(outward.read())
                break
        if rudely:  # with the request unread, so that a reset follows the alert
            link.sock.close()
        else:
            link.half_close()
            link.more()

    return script


@pytest.mark.parametrize("rudely", [True, False])
@pytest.mark.parametrize(
    ("context", "words", "hint"),
    [
        (
            lambda: requiring_a_certificate(ssl.TLSVersion.TLSv1_3),
            "the server requires a client certificate (TLSV13_ALERT_CERTIFICATE_REQUIRED)",
            "client certificate",
        ),
        (
            lambda: requiring_a_certificate(ssl.TLSVersion.TLSv1_2),
            "TLS failed: SSLV3_ALERT_HANDSHAKE_FAILURE",
            "requires a client certificate (cert=)",
        ),
        (of_tls_1_0, "supports no TLS version that is allowed here (TLSV1_ALERT_PROTOCOL_VERSION)", "TLS 1.2 or later"),
    ],
    ids=["certificate, TLS 1.3", "certificate, TLS 1.2", "TLS 1.0"],
)
async def test_error_names_the_tls_version_that_a_server_requires(
    transport: Transport, context: Callable[[], ssl.SSLContext], words: str, hint: str, rudely: bool
) -> None:
    with serve(shaking(context(), rudely=rudely)) as peer:
        peer.secure = True
        for method in ("GET", "PUT"):
            error = await failure(client(transport), peer.url(), method)
            assert isinstance(error, ConnectFailedError)
            assert words in error.message
            assert hint in (error.hint or "")
            assert not error.temporary
            assert not is_refused_or_plain(error)


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_alert_is_read_though_the_connection_was_reset_before_the_request(
    transport: Transport, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = shaking(requiring_a_certificate(ssl.TLSVersion.TLSv1_3), rudely=False)
    gone = threading.Event()

    def script(link: Link) -> None:
        monkeypatch.setattr(link, "half_close", link.reset)
        with contextlib.suppress(OSError):
            play(link)
        gone.set()

    async def handshake(self: TLSStream, early: bytes = b"") -> None:
        await shake(self, early)
        await anyio.to_thread.run_sync(gone.wait)
        await self.readable()

    shake = TLSStream.handshake
    monkeypatch.setattr(TLSStream, "handshake", handshake)
    with serve(script) as peer:
        peer.secure = True
        error = await failure(client(transport), peer.url(), method)
    assert "requires a client certificate" in error.message


@pytest.mark.parametrize("alert", [b"", b"\x15\x03\x03\x00\x02\x02\x2a", b"\x15\x03\x03\x00\x02\x02\x30"])
async def test_client_certificate_that_the_server_refuses_is_an_error(transport: Transport, alert: bytes) -> None:
    """42 is bad_certificate, which Go's servers send for none at all, and 48 unknown_ca."""

    def script(link: Link) -> None:
        link.more()
        link.send(alert)

    with serve(script) as peer:
        peer.secure = True
        error = await failure(client(transport), peer.url())
    assert isinstance(error, ConnectFailedError)
    if alert:
        assert "requires a client certificate" in error.message
    else:
        assert "the server closed the connection during the TLS handshake" in error.message
        assert error.temporary
    assert "client certificate" in (error.hint or "")


async def test_connection_reset_in_the_handshake_is_named(transport: Transport) -> None:
    def script(link: Link) -> None:
        link.more()
        link.reset()

    with serve(script) as peer:
        peer.secure = True
        error = await failure(client(transport), peer.url())
    assert isinstance(error, ConnectFailedError)
    assert "reset by peer during the TLS handshake" in error.message
    assert "client certificate" in (error.hint or "")


async def test_error_says_where_an_answer_was_cut_off(transport: Transport, secure: bool) -> None:
    def script(link: Link) -> None:
        link.head()
        link.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

    with serve(script, secure=secure) as peer:
        error = await failure(client(transport), peer.url())
    assert isinstance(error, ConnectionLostError)
    assert "incomplete HTTP response: peer closed connection without sending complete message body" in error.message


# Plain HTTP that is for this machine only


@pytest.fixture
async def wary() -> AsyncIterator[Callable[[str, bool], Client]]:
    """Clients of one registry, by its base and whether plain HTTP is allowed to any host."""
    async with Transport(client_context()) as transport:

        def made(base: str, plain_http: bool) -> Client:
            return client(transport).guarded(AddressPolicy(base, plain_http=plain_http))

        yield made


@pytest.mark.parametrize("plain_http", [True, False])
async def test_registry_on_plain_http_that_must_be_this_machine_is_checked_at_each_connection(
    wary: Callable[[str, bool], Client], plain_http: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(monkeypatch)
    asked = 0
    resolve = network._resolve

    async def resolve_otherwise_the_third_time(host: str, port: int) -> Any:
        nonlocal asked
        asked += 1
        network.names[host] = ["127.0.0.1" if asked <= 2 else "192.0.2.1"]
        return await resolve(host, port)

    monkeypatch.setattr("ocipush._http.stream._resolve", resolve_otherwise_the_third_time)
    closing = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with serve(answering(closing)) as registry:
        registry.host = "registry.localhost"
        one = wary(registry.url(""), plain_http)
        for _ in range(2):
            await one.send(Request(method="GET", url=registry.url("/v2/")))
        if plain_http:
            await one.send(Request(method="GET", url=registry.url("/v2/")))
            return
        with pytest.raises(UnsafeLocationError, match=r"192\.0\.2\.1 \(public\) in plain HTTP") as caught:
            await one.send(Request(method="GET", url=registry.url("/v2/")))
        assert "tls_verify=False" in (caught.value.hint or "")
        assert "192.0.2.1" not in network
        assert len(registry.seen) == 2


async def test_only_loopback_addresses_of_a_registry_on_plain_http_are_used(
    wary: Callable[[str, bool], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(monkeypatch)
    network.names["registry.localhost"] = ["192.0.2.1", "127.0.0.1", "10.0.0.1"]
    with serve(answering(OK)) as registry:
        registry.host = "registry.localhost"
        await wary(registry.url(""), False).send(Request(method="GET", url=registry.url("/v2/")))
    assert [address for address, _ in network.connected] == ["127.0.0.1"]


async def test_connection_of_another_client_is_checked_before_it_is_used(
    wary: Callable[[str, bool], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(monkeypatch)
    network.names["registry.localhost"] = ["192.0.2.1"]
    with serve(answering(OK)) as registry:
        registry.host = "registry.localhost"
        request = httpx.Request("GET", registry.url(), extensions={"direct": True})
        strict = wary(registry.url(""), False)
        response = await strict._transport.handle_async_request(request)
        await response.aclose()
        assert registry.accepted == 1
        with pytest.raises(UnsafeLocationError):
            await strict.send(Request(method="GET", url=registry.url("/v2/")))
        assert len(registry.seen) == 1


async def test_names_are_resolved_for_each_connection(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        assert host == "registry.localhost"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    with serve(answering(OK)) as registry:
        registry.host = "registry.localhost"
        one = client(transport).guarded(AddressPolicy(registry.url("")))
        answer = await one.send(Request(method="GET", url=registry.url("/v2/")))
        assert answer.body == b"ok"
