"""The transport of a client that was given none."""

from __future__ import annotations

import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from tests.certificates import client_context
from tests.peers import OK, answering, ask, serve

from ocipush._http.environment import default_transport
from ocipush._http.proxy import ProxyFailedError
from ocipush._http.tls import Context
from ocipush._http.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio
SOCKS = "socks5://user:secret@proxy.example:1080"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class Fake(httpx.AsyncBaseTransport):
    """What stands in for httpx's own transport, which needs a further package for SOCKS."""

    made: list[Fake]
    failure: Exception | None

    def __init__(self, *, proxy: httpx.Proxy, verify: ssl.SSLContext, trust_env: bool, limits: httpx.Limits) -> None:
        assert not trust_env
        assert limits.max_connections is None
        self.proxy = proxy
        self.verify = verify
        self.closed = False
        self.made.append(self)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.failure is not None:
            raise self.failure
        return httpx.Response(299, content=str(request.url).encode())

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Fake]]:
    Fake.made, Fake.failure = [], None
    monkeypatch.setattr(httpx, "AsyncHTTPTransport", Fake)
    yield Fake
    Fake.made, Fake.failure = [], None


async def test_proxies_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(answering(OK)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url(""))
        async with default_transport(client_context()) as transport:
            assert isinstance(transport, Transport)
            assert await ask(transport, "http://registry.test/") == (200, b"ok")
        assert proxy.seen[0][1].startswith(b"GET http://registry.test/ HTTP/1.1")


async def test_without_proxies_connections_are_direct() -> None:
    with serve(answering(OK)) as peer:
        async with default_transport(client_context()) as transport:
            assert await ask(transport, peer.url()) == (200, b"ok")


async def test_only_socks_proxies_are_left_to_httpx(fake: type[Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    context = client_context()
    with serve(answering(OK)) as peer, serve(answering(OK)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", SOCKS)
        monkeypatch.setenv("HTTP_PROXY", proxy.url(""))
        transport = default_transport(context)
        for _ in range(2):
            assert (await ask(transport, "https://registry.test/"))[0] == 299
        assert await ask(transport, peer.url()) == (200, b"ok")
        assert await ask(transport, "http://registry.test/") == (200, b"ok")
        assert (len(peer.seen), len(proxy.seen)) == (1, 1)
        [made] = fake.made
        assert (made.proxy.url.scheme, made.proxy.raw_auth) == ("socks5", (b"user", b"secret"))
        assert made.verify is context
        await transport.aclose()
        assert made.closed
        proxy.settle()
        peer.settle()


async def test_request_that_must_be_direct_does_not_use_a_socks_proxy(
    fake: type[Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    monkeypatch.setenv("ALL_PROXY", SOCKS)
    with serve(answering(OK)) as peer:
        peer.host = "registry.test"
        async with default_transport(client_context()) as transport:
            assert await ask(transport, peer.url(), direct=True) == (200, b"ok")
            assert fake.made == []


async def test_authorities_are_loaded_before_httpx_needs_them(
    fake: type[Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context()
    monkeypatch.setenv("ALL_PROXY", SOCKS)
    transport = default_transport(context)
    assert context.lacks_authorities
    await ask(transport, "https://registry.test/")
    assert not context.lacks_authorities


async def test_socks_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", SOCKS)
    async with default_transport(client_context()) as transport:
        with pytest.raises(ProxyFailedError, match=r"SOCKS proxy proxy\.example:1080 needs a package") as caught:
            await ask(transport, "https://registry.test/")
    assert caught.value.hint == "pip install 'httpx[socks]'"
    assert not caught.value.temporary
    assert "secret" not in str(caught.value)


def chained(outer: Exception, *causes: Exception) -> Exception:
    one = outer
    for cause in causes:
        one.__cause__ = cause
        one = cause
    return outer


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (httpx.ProxyError("General SOCKS server failure"), "SOCKS proxy proxy.example:1080 failed: General"),
        (
            chained(httpx.ConnectError("All connection attempts failed"), OSError(), ConnectionRefusedError()),
            "cannot connect to the proxy proxy.example:1080: ",
        ),
    ],
)
async def test_socks_proxy_that_fails_is_named(
    fake: type[Fake], failure: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.failure = failure
    monkeypatch.setenv("ALL_PROXY", SOCKS)
    transport = default_transport(client_context())
    with pytest.raises(ProxyFailedError) as caught:
        await ask(transport, "https://registry.test/")
    assert words in str(caught.value)
    assert caught.value.temporary


async def test_failed_tls_behind_a_socks_proxy_is_an_error_of_the_registry(
    fake: type[Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.failure = chained(httpx.ConnectError("no"), OSError(), ssl.SSLError(1, "bad"))
    monkeypatch.setenv("ALL_PROXY", SOCKS)
    transport = default_transport(client_context())
    with pytest.raises(httpx.ConnectError, match="no"):
        await ask(transport, "https://registry.test/")
