"""Requests through proxies, byte by byte: what the proxy sees, what the registry sees, and who is to blame."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from tests.certificates import client_context
from tests.peers import OK, Cutting, Link, Peer, answering, ask, serve, tunnelling

from ocipush._http import stream as _socket
from ocipush._http.addresses import AddressPolicy
from ocipush._http.body import FileBody
from ocipush._http.client import Client
from ocipush._http.connection import Connection
from ocipush._http.failures import is_refused_or_plain
from ocipush._http.proxy import ProxyRules
from ocipush._http.request import Request
from ocipush._http.timeouts import Timeouts
from ocipush._http.transport import Transport
from ocipush.errors import ConnectFailedError, StalledError, TLSVerificationError, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.anyio

BASIC = base64.b64encode(b"us@er:pass/word").decode().encode()
LOGIN = "us%40er:pass%2Fword@"
EARLY = b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge"


def through(proxy: Peer | str, login: str = "", **options: Any) -> Transport:
    """A transport that reaches every host through ``proxy``."""
    url = proxy if isinstance(proxy, str) else proxy.url("").replace("://", f"://{login}")
    return Transport(client_context(), rules=ProxyRules({"all": url}), **options)


@pytest.fixture(params=["http", "https"])
def secure_proxy(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "https")


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port where nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def test_https_uses_a_tunnel_that_is_kept(secure_proxy: bool) -> None:
    with (
        serve(answering(OK), secure=True) as registry,
        serve(tunnelling(registry.port), secure=secure_proxy) as proxy,
    ):
        registry.host = "registry.test"
        async with through(proxy, LOGIN) as transport:
            for _ in range(3):
                assert await ask(transport, registry.url("/v2/")) == (200, b"ok")
        host = b"registry.test:%d" % registry.port
        assert [head.split(b"\r\n") for _, head, _ in proxy.seen] == [
            [b"CONNECT %b HTTP/1.1" % host, b"Host: " + host, b"Proxy-Authorization: Basic " + BASIC]
        ]
        assert [head.split(b"\r\n") for _, head, _ in registry.seen] == 3 * [[b"GET /v2/ HTTP/1.1", b"Host: " + host]]


async def test_plain_http_is_forwarded_with_the_full_url_and_the_login_on_a_new_connection_each_time(
    secure_proxy: bool,
) -> None:
    with serve(answering(OK), secure=secure_proxy) as proxy:
        async with through(proxy, LOGIN) as transport:
            for _ in range(2):
                answer = await ask(transport, "http://registry.test:5000/x", target=b"/up%2f..//?_s==[")
                assert answer == (200, b"ok")
            await ask(transport, "http://[fd00::1]/y")
        assert [head.split(b"\r\n") for _, head, _ in proxy.seen] == [
            *2 * [[
                b"GET http://registry.test:5000/up%2f..//?_s==[ HTTP/1.1",
                b"Host: registry.test:5000",
                b"Connection: close",
                b"Proxy-Authorization: Basic " + BASIC,
            ]],
            [
                b"GET http://[fd00::1]/y HTTP/1.1",
                b"Host: [fd00::1]",
                b"Connection: close",
                b"Proxy-Authorization: Basic " + BASIC,
            ],
        ]  # fmt: skip
        assert proxy.accepted == 3


async def test_proxy_without_a_login_gets_none(secure_proxy: bool) -> None:
    with serve(answering(OK), secure=secure_proxy) as proxy:
        async with through(proxy) as transport:
            await ask(transport, "http://registry.test/")
        assert b"authorization" not in proxy.seen[0][1].lower()


async def test_ipv6_address_is_in_brackets_in_connect() -> None:
    def script(link: Link) -> None:
        link.seen.append((0, link.head(), b""))
        link.send(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")

    with serve(script) as proxy:
        async with through(proxy) as transport:
            with pytest.raises(httpx.ProxyError, match=r"\[fd00::1\]:443: 403"):
                await ask(transport, "https://[fd00::1]/")
        assert proxy.seen[0][1].split(b"\r\n") == [b"CONNECT [fd00::1]:443 HTTP/1.1", b"Host: [fd00::1]:443"]


async def test_large_file_arrives_complete_through_a_tunnel(secure_proxy: bool, file: int, content: bytes) -> None:
    with (
        serve(answering(OK), secure=True) as registry,
        serve(tunnelling(registry.port), secure=secure_proxy) as proxy,
    ):
        registry.host = "registry.test"
        told: list[int] = []
        async with through(proxy) as transport:
            for length in (0, 1, 100_000, len(content)):
                body = FileBody(file, length=length, on_sent=told.append)
                assert await ask(transport, registry.url(), body) == (200, b"ok")
            assert await ask(transport, registry.url(), content) == (200, b"ok")
        assert [len(body) for _, _, body in registry.seen] == [0, 1, 100_000, len(content), len(content)]
        assert registry.seen[-2][2] == registry.seen[-1][2] == content
        assert sum(told) == 100_001 + len(content)


async def test_large_answer_arrives_complete_through_a_tunnel(secure_proxy: bool, content: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content
    with (
        serve(answering(answer), secure=True) as registry,
        serve(tunnelling(registry.port), secure=secure_proxy) as proxy,
    ):
        registry.host = "registry.test"
        async with through(proxy) as transport:
            assert await ask(transport, registry.url()) == (200, content)


async def test_large_file_is_forwarded_without_being_copied(
    file: int, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("read", "read_into"):
        monkeypatch.delattr(FileBody, name)
    with serve(answering(OK)) as proxy:
        async with through(proxy) as transport:
            await ask(transport, "http://registry.test/", FileBody(file, length=len(content)))
        assert proxy.seen[0][2] == content


@pytest.mark.parametrize("forwarded", [True, False])
async def test_early_answer_is_always_seen_behind_a_proxy(forwarded: bool, file: int, content: bytes) -> None:
    def refuse(link: Link) -> None:
        link.head()
        link.send(EARLY)
        link.half_close()
        while link.sock.recv(1 << 20):  # a relay may drop what it holds when one side resets
            pass

    with serve(refuse, secure=not forwarded) as registry, serve(tunnelling(registry.port)) as tunnel:
        registry.host = "registry.test"
        async with through(
            registry.url("").replace("registry.test", "127.0.0.1") if forwarded else tunnel
        ) as transport:
            for _ in range(20):
                body = FileBody(file, length=len(content))
                assert await ask(transport, registry.url(), body) == (413, b"large")


async def test_address_of_the_proxy_does_not_count_as_that_of_the_registry() -> None:
    asked: list[Any] = []

    def admit(addresses: Any) -> Any:
        asked.append(addresses)
        return addresses

    with (
        serve(answering(OK), secure=True) as registry,
        serve(tunnelling(registry.port)) as proxy,
        serve(answering(OK)) as forwarder,
    ):
        registry.host = "registry.test"
        rules = ProxyRules({"https": proxy.url(), "http": forwarder.url()})
        async with Transport(client_context(), rules=rules) as transport:
            for url in (registry.url(), "http://registry.test/"):
                for _ in range(2):
                    request = httpx.Request("GET", url, extensions={"admit": admit})
                    response = await transport.handle_async_request(request)
                    await response.aclose()
                    assert response.extensions["address"] == ""
    assert asked == []


async def test_request_that_must_be_direct_does_not_use_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved: list[str] = []

    async def resolve(host: str, port: int) -> list[Any]:
        resolved.append(host)
        return [(socket.AF_INET, ("127.0.0.1", port))]

    monkeypatch.setattr(_socket, "_resolve", resolve)
    with serve(answering(OK)) as registry, serve(answering(OK)) as proxy:
        async with through(proxy) as transport:
            registry.host = "registry.test"
            await ask(transport, registry.url())
            assert (len(registry.seen), len(proxy.seen), resolved) == (0, 1, ["127.0.0.1"])
            await ask(transport, registry.url(), direct=True)
            assert (len(registry.seen), len(proxy.seen), resolved[1:]) == (1, 1, ["registry.test"])


async def test_interim_answers_before_the_tunnel_are_skipped() -> None:
    def script(link: Link) -> None:
        link.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n")
        tunnelling(registry.port)(link)

    with serve(answering(OK), secure=True) as registry, serve(script) as proxy:
        registry.host = "registry.test"
        async with through(proxy) as transport:
            assert await ask(transport, registry.url()) == (200, b"ok")


# Connections that end


def cutting(link: Link) -> None:
    """A registry that closes the first connection after one answer, or, where that was POST, after a second request."""
    if link.number:
        answering(OK)(link)
    head, _ = link.request()
    link.send(OK)
    if head.startswith(b"POST"):
        link.request()


async def test_request_that_arrived_at_a_closed_tunnel_is_sent_through_a_fresh_one(
    secure_proxy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_alive(_: Connection) -> bool:
        return True

    with serve(cutting, secure=True) as registry, serve(tunnelling(registry.port), secure=secure_proxy) as proxy:
        registry.host = "registry.test"
        async with through(proxy) as transport:
            await ask(transport, registry.url())
            [connection] = transport._open
            await connection._stream.readable()
            monkeypatch.setattr(Connection, "is_alive", is_alive)
            for thread in proxy.threads:
                await anyio.to_thread.run_sync(thread.join)
            assert await ask(transport, registry.url(), b"bytes", method="POST") == (200, b"ok")
        assert [(number, body) for number, _, body in registry.seen] == [(0, b""), (1, b"bytes")]


async def test_request_that_arrived_in_the_tunnel_is_not_sent_again(secure_proxy: bool) -> None:
    with serve(cutting, secure=True) as registry, serve(tunnelling(registry.port), secure=secure_proxy) as proxy:
        registry.host = "registry.test"
        async with through(proxy) as transport:
            await ask(transport, registry.url(), b"first", method="POST")
            with pytest.raises(httpx.TransportError):
                await ask(transport, registry.url(), b"second", method="POST")
        assert [(number, body) for number, _, body in registry.seen] == [(0, b"first"), (0, b"second")]


async def test_request_of_which_a_part_went_into_the_tunnel_is_not_sent_again(secure_proxy: bool) -> None:
    with (
        serve(answering(OK), secure=True) as registry,
        serve(tunnelling(registry.port), secure=secure_proxy) as proxy,
    ):
        registry.host = "registry.test"
        async with through(proxy) as transport:
            await ask(transport, registry.url())
            [connection] = transport._open
            stream: Any = connection._stream
            stream = stream._below if secure_proxy else stream
            stream._socket = Cutting(stream._socket)
            with pytest.raises(httpx.WriteError):
                await ask(transport, registry.url(), b"bytes", method="POST")
        assert len(registry.seen) == 1


# Failures, as the client tells them


async def failure(transport: httpx.AsyncBaseTransport, url: str, **timeouts: float) -> TransportError:
    """The error of one request."""
    client = Client(
        verify=ssl.create_default_context(), timeouts=Timeouts(**timeouts), user_agent="test", transport=transport
    )
    with pytest.raises(TransportError) as caught:
        await client.send(Request(method="GET", url=url))
    words = repr(caught.value) + str(caught.value) + str(caught.value.__cause__)
    assert "pass/word" not in words
    assert BASIC.decode() not in words
    return caught.value


def refusing(status: int, *, echo: bool = True) -> Callable[[Link], None]:
    """A proxy that answers with a status, and repeats the login that it got."""

    def script(link: Link) -> None:
        head, _ = link.request()
        words = head.rpartition(b": ")[2] if echo else b"No"
        link.send(b"HTTP/1.1 %d %b\r\nContent-Length: %d\r\n\r\n%b" % (status, words, len(words), words))

    return script


@pytest.mark.parametrize(
    ("status", "words", "hint", "temporary", "refused"),
    [
        (400, "refused to connect to registry.test:443: 400 Bad Request", "NO_PROXY", False, False),
        (403, "refused to connect to registry.test:443: 403 Forbidden", "must allow this host and port", False, False),
        (405, "refused to connect to registry.test:443: 405 Method Not Allowed", "NO_PROXY", False, False),
        (407, "did not accept the login: 407 Proxy", "check the login in the proxy's URL", False, False),
        (429, "refused to connect to registry.test:443: 429 Too Many Requests", "NO_PROXY", True, False),
        (500, "cannot connect to registry.test:443: 500 Internal Server Error", "name and port", True, True),
        (505, "refused to connect to registry.test:443: 505 HTTP Version Not Supported", "NO_PROXY", False, False),
        (501, "refused to connect to registry.test:443: 501 Not Implemented", "NO_PROXY", False, False),
        (502, "cannot connect to registry.test:443: 502 Bad Gateway", "name and port", True, True),
        (503, "cannot connect to registry.test:443: 503 Service Unavailable", "name and port", True, True),
        (504, "cannot connect to registry.test:443: 504 Gateway Timeout", "name and port", True, False),
        (599, "cannot connect to registry.test:443: 599", "name and port", True, False),
        (302, "refused to connect to registry.test:443: 302 Found", "NO_PROXY", False, False),
    ],
)
async def test_proxy_that_opens_no_tunnel_is_named_without_its_password(
    status: int, words: str, hint: str, temporary: bool, refused: bool
) -> None:
    with serve(refusing(status)) as proxy:
        async with through(proxy, LOGIN) as transport:
            error = await failure(transport, "https://registry.test/v2/")
            assert not transport._open
    assert isinstance(error, ConnectFailedError)
    assert f"the proxy 127.0.0.1:{proxy.port} {words}" in error.message
    assert error.message.startswith("GET https://registry.test/v2/: ")
    assert hint in (error.hint or "")
    assert (error.temporary, error.refused) == (temporary, refused)


@pytest.mark.parametrize("url", ["https://registry.test/", "http://registry.test/"])
async def test_hint_says_where_to_put_the_login_that_a_proxy_requires(url: str) -> None:
    with serve(refusing(407, echo=False)) as proxy:
        async with through(proxy) as transport:
            error = await failure(transport, url)
            assert not transport._open
    assert isinstance(error, ConnectFailedError)
    assert f"the proxy 127.0.0.1:{proxy.port} requires a login: 407 Proxy Authentication Required" in error.message
    assert f"http://USER:PASSWORD@127.0.0.1:{proxy.port}" in (error.hint or "")
    assert not error.temporary
    assert not is_refused_or_plain(error)


async def test_refusal_of_a_large_forwarded_body_is_seen_during_the_body(file: int, content: bytes) -> None:
    def script(link: Link) -> None:
        link.head()
        link.send(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
        link.half_close()
        while link.sock.recv(1 << 20):
            pass

    with serve(script) as proxy:
        async with through(proxy) as transport:
            with pytest.raises(httpx.ProxyError, match="requires a login"):
                await ask(transport, "http://registry.test/", FileBody(file, length=len(content)))
            assert not transport._open
            assert not transport._origins


@pytest.mark.parametrize(
    ("header", "status", "words"),
    [
        (b"X-Squid-Error: ERR_CONNECT_FAIL 111", 503, "cannot connect to registry.test:5000: 503 Service Unavailable"),
        (b"x-squid-error: ERR_ACCESS_DENIED 0", 403, "refused to connect to registry.test:5000: 403 Forbidden"),
        (b"Server: tinyproxy/1.11.1", 500, "cannot connect to registry.test:5000: 500 Internal Server Error"),
        (b"Server: tinyproxy/1.11.1", 200, None),
        (b"Server: nginx", 503, None),
        (b"Via: 1.1 proxy (squid/5.7)", 503, None),
    ],
)
async def test_answer_to_a_forwarded_request_is_the_proxys_where_it_says_so(
    header: bytes, status: int, words: str | None
) -> None:
    answer = b"HTTP/1.1 %d Is\r\n%b\r\nContent-Length: 2\r\n\r\nno" % (status, header)
    with serve(answering(answer)) as proxy:
        async with through(proxy) as transport:
            if words is None:
                assert await ask(transport, "http://registry.test:5000/") == (status, b"no")
                return
            error = await failure(transport, "http://registry.test:5000/")
            assert not transport._open
    assert isinstance(error, ConnectFailedError)
    assert f"the proxy 127.0.0.1:{proxy.port} {words}" in error.message


async def test_answer_of_a_registry_that_only_looks_like_a_proxys_is_its_own() -> None:
    no = b"HTTP/1.1 407 No\r\nServer: tinyproxy/1.11.1\r\nX-Squid-Error: a\r\nContent-Length: 2\r\n\r\nno"
    with serve(answering(no), secure=True) as registry, serve(tunnelling(registry.port)) as proxy:
        registry.host = "registry.test"
        async with through(proxy) as transport:
            assert await ask(transport, registry.url()) == (407, b"no")
            registry.host = "127.0.0.1"
            assert await ask(transport, registry.url()) == (407, b"no")


@pytest.mark.parametrize("url", ["https://registry.test/", "http://registry.test/"])
async def test_proxy_that_is_down_is_named(url: str, nobody: int) -> None:
    async with through(f"http://{LOGIN}127.0.0.1:{nobody}") as transport:
        error = await failure(transport, url)
    assert isinstance(error, ConnectFailedError)
    assert f"cannot connect to the proxy 127.0.0.1:{nobody}: connection refused" in error.message
    assert "is the proxy running" in (error.hint or "")
    assert error.temporary
    assert not error.refused  # so that nobody goes on in plain HTTP
    assert not is_refused_or_plain(error)


@pytest.mark.parametrize(("code", "temporary"), [(socket.EAI_NONAME, False), (socket.EAI_AGAIN, True)])
async def test_proxy_whose_name_does_not_resolve_is_named(
    code: int, temporary: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(code, "not known")

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    async with through("http://proxy.test:3128") as transport:
        error = await failure(transport, "https://registry.test/")
    assert isinstance(error, ConnectFailedError)
    assert "the name of the proxy proxy.test:3128 cannot be resolved" in error.message
    assert error.temporary is temporary
    assert not is_refused_or_plain(error)


@pytest.mark.parametrize(
    ("answer", "words", "temporary"),
    [
        (b"", "closed the connection without an answer to CONNECT registry.test:443", True),
        (b"HTTP/1.1 20", "closed the connection without an answer", True),
        (b"SSH-2.0-OpenSSH_9.2 Basic %b\r\n\r\n" % BASIC, "did not answer CONNECT registry.test:443 with HTTP", False),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, "did not answer CONNECT registry.test:443 with HTTP", False),
    ],
    ids=["nothing", "a part", "no HTTP", "endless head"],
)
async def test_proxy_that_does_not_speak_http_is_named(answer: bytes, words: str, temporary: bool) -> None:
    def script(link: Link) -> None:
        link.head()
        link.send(answer)

    with serve(script) as proxy:
        async with through(proxy, LOGIN) as transport:
            error = await failure(transport, "https://registry.test/")
    assert isinstance(error, ConnectFailedError)
    assert f"the proxy 127.0.0.1:{proxy.port} {words}" in error.message
    assert error.temporary is temporary
    assert not is_refused_or_plain(error)


async def test_proxy_that_resets_the_connection_is_named() -> None:
    def script(link: Link) -> None:
        link.head()
        link.reset()

    with serve(script) as proxy:
        async with through(proxy) as transport:
            error = await failure(transport, "https://registry.test/")
    assert f"the connection to the proxy 127.0.0.1:{proxy.port} was lost" in error.message


def speak_no_tls(link: Link) -> None:
    link.more()
    link.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def test_failed_tls_at_the_proxy_is_an_error_of_the_proxy() -> None:
    with serve(answering(OK), secure=True) as untrusted, serve(speak_no_tls) as plain:
        plain.secure = True
        for proxy, words in ((untrusted, "the certificate of the proxy"), (plain, "the TLS handshake with the proxy")):
            rules = ProxyRules({"all": proxy.url()})
            async with Transport(client_context(trusted=False), rules=rules) as transport:
                error = await failure(transport, "https://registry.test/")
            assert isinstance(error, ConnectFailedError)
            assert f"{words} 127.0.0.1:{proxy.port}" in error.message
            assert not error.temporary
            assert not is_refused_or_plain(error)


async def test_failed_tls_behind_the_tunnel_is_an_error_of_the_registry(secure_proxy: bool) -> None:
    with (
        serve(answering(OK), secure=True) as registry,
        serve(tunnelling(registry.port), secure=secure_proxy) as proxy,
    ):
        registry.host = "other.test"  # which the certificate does not name
        async with through(proxy) as transport:
            error = await failure(transport, registry.url())
            assert isinstance(error, TLSVerificationError)
            assert "proxy" not in error.message
            assert not transport._open


async def test_registry_without_tls_behind_the_tunnel_may_be_asked_in_plain_http(secure_proxy: bool) -> None:
    def hasty(link: Link) -> None:
        link.head()
        link.send(b"HTTP/1.1 200 OK\r\n\r\nSSH-2.0-OpenSSH_9.2\r\n")
        link.more()

    with (
        serve(speak_no_tls) as registry,
        serve(tunnelling(registry.port), secure=secure_proxy) as proxy,
        serve(hasty, secure=secure_proxy) as early,
    ):
        for one in (proxy, early):
            async with through(one) as transport:
                error = await failure(transport, "https://registry.test/")
            assert isinstance(error, ConnectFailedError)
            assert "does not speak TLS" in error.message
            assert is_refused_or_plain(error)


@pytest.mark.parametrize(("status", "plain"), [(403, True), (405, True), (502, True), (504, False), (407, False)])
async def test_plain_http_is_tried_when_the_proxy_does_not_connect(status: int, plain: bool) -> None:
    with serve(refusing(status)) as proxy:
        async with through(proxy) as transport:
            error = await failure(transport, "https://registry.test/")
    assert isinstance(error, ConnectFailedError)
    assert is_refused_or_plain(error) is plain


async def test_proxy_that_does_not_answer_in_time_is_named() -> None:
    done = threading.Event()

    def script(link: Link) -> None:
        link.head()
        done.wait()

    with serve(script) as proxy:
        try:
            async with through(proxy) as transport:
                error = await failure(transport, "https://registry.test/", connect=0.2)
                assert not transport._open
        finally:
            done.set()
    assert isinstance(error, StalledError)
    assert f"no connection within 0.2 s through the proxy 127.0.0.1:{proxy.port}" in error.message


# A caller's own transport


async def test_callers_own_proxy_transport_gets_the_right_request() -> None:
    target = "/v2/a/../uploads//1%2f2|?_state=a==[&b=<%7e>"
    with (
        serve(answering(OK), secure=True) as registry,
        serve(tunnelling(registry.port)) as tunnel,
        serve(answering(OK)) as forwarder,
    ):
        registry.host = "registry.test"
        for proxy, base in ((tunnel, registry.url("")), (forwarder, "http://registry.test:5000")):
            theirs = httpx.AsyncHTTPTransport(proxy=httpx.Proxy(proxy.url("")), verify=client_context())
            client = Client(verify=client_context(), timeouts=Timeouts(), user_agent="test", transport=theirs)
            answer = await client.send(Request(method="GET", url=f"{base}{target}"))
            assert (answer.status, answer.body) == (200, b"ok")
            await client.aclose()
        lines = [peer.seen[0][1].split(b"\r\n")[0].decode() for peer in (tunnel, registry, forwarder)]
        assert lines == [
            f"CONNECT registry.test:{registry.port} HTTP/1.1",
            f"GET {target} HTTP/1.1",
            f"GET http://registry.test:5000{target} HTTP/1.1",
        ]


@pytest.mark.parametrize(("status", "temporary"), [(403, False), (407, False), (503, True)])
async def test_refusal_of_a_custom_proxy_is_an_error_of_the_proxy(status: int, temporary: bool) -> None:
    with serve(refusing(status, echo=False)) as proxy:
        async with httpx.AsyncHTTPTransport(proxy=httpx.Proxy(proxy.url(""))) as theirs:
            error = await failure(theirs, "https://registry.test/")
    assert isinstance(error, ConnectFailedError)
    assert f"the proxy failed: {status}" in error.message
    assert error.temporary is temporary


# Plain HTTP that is for this machine only


async def test_plain_http_for_this_machine_only_does_not_use_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    with serve(answering(OK)) as registry, serve(answering(OK)) as proxy:
        registry.host = "registry.localhost"
        async with through(proxy) as transport:
            client = Client(verify=client_context(), timeouts=Timeouts(), user_agent="test", transport=transport)
            for plain_http in (False, True):
                guarded = client.guarded(AddressPolicy(registry.url(""), plain_http=plain_http))
                await guarded.send(Request(method="GET", url=registry.url("/v2/")))
                assert (len(registry.seen), len(proxy.seen)) == (1, int(plain_http))
