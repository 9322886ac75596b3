"""Which token service a registry may name, so that the login is sent over TLS or to this machine only."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import anyio
import pytest
import trio.testing
from tests.registry.tokens import PASSWORD, SCOPE, TokenService, challenged

import ocipush
from ocipush import errors
from ocipush._http.answer import Answer
from ocipush._http.request import Request
from ocipush._registry.authorizer import Authorizer

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.mark.parametrize(
    "realm",
    [
        "http://auth.example/token",
        "ftp://auth.example/token",
        "/token",
        "//auth.example/token",
        "https://",
        "https://[",
        "https://auth.example:99999/",
        "https://аuth.example/token",
        "https://auth%2eexample/",
        "http://127.0.0.1.evil.example/",
        "http://evil.example#@127.0.0.1/",
        "http://localhost@evil.example/",
    ],
)
async def test_no_login_is_sent_to_an_unsafe_realm(realm: str) -> None:
    service = TokenService()
    with pytest.raises(errors.UnsafeLocationError):
        await challenged(realm=realm).header(SCOPE, service)
    assert service.asked == []


@pytest.mark.parametrize(
    ("tls_verify", "realm", "allowed"),
    [
        (True, "https://token.example/t", True),
        (True, "http://token.example/t", False),
        (True, "http://127.0.0.1:9/t", True),
        (True, "http://[::1]:9/t", True),
        (True, "http://localhost/t", True),
        (True, "http://localhost.example/t", False),
        (False, "http://token.example/t", True),
        (False, "ftp://token.example/t", False),
        (False, "https:///t", False),
        (False, "http://[", False),
    ],
)
async def test_login_is_sent_to_a_token_service_over_tls_or_where_plain_http_is_allowed(
    tls_verify: bool, realm: str, allowed: bool
) -> None:
    asked: list[tuple[str, dict[str, str]]] = []

    async def fetch(request: Request) -> Answer:
        asked.append((request.url, dict(request.headers)))
        return Answer(request, 200, {}, b'{"token": "t"}')

    authorizer = Authorizer(ocipush.Login("u", "p"), registry="registry.example", tls_verify=tls_verify)
    challenge = {"www-authenticate": f'Bearer realm="{realm}"'}
    authorizer.learn(Answer(Request(method="GET", url=""), 401, challenge, b""), "s", None)
    if allowed:
        assert await authorizer.header("s", fetch) == "Bearer t"
        assert asked == [(f"{realm}?scope=s", {"Authorization": "Basic dTpw"})]
    else:
        with pytest.raises(errors.UnsafeLocationError):
            await authorizer.header("s", fetch)
        assert asked == []


@pytest.mark.parametrize(
    ("registry", "realm", "tls_verify", "asked"),
    [
        ("https://registry.example", "http://registry.example/token", True, "https://registry.example/token"),
        ("https://registry.example", "http://registry.example:80/token", True, "https://registry.example/token"),
        ("https://registry.example", "http://registry.example:443/token", True, "https://registry.example/token"),
        ("https://registry.example", "http://Registry.Example/token?a=b", True, "https://registry.example/token?a=b"),
        ("https://registry.example:5000", "http://registry.example:5000/t", True, "https://registry.example:5000/t"),
        ("https://registry.example:5000", "http://registry.example/t", True, "https://registry.example:5000/t"),
        ("https://registry.example", "http://registry.example/token", False, "https://registry.example/token"),
        ("https://registry.example", "http://registry.example:5001/token", True, None),
        ("https://registry.example", "http://registry.example:5001/t", False, "http://registry.example:5001/t"),
        ("https://registry.example", "http://registry.example.evil.example/token", True, None),
        ("https://registry.example", "http://registry.example@evil.example/token", True, None),
        ("https://localhost:5000", "http://localhost:5000/token", True, "https://localhost:5000/token"),
        ("https://localhost:5000", "http://localhost:5001/token", True, "http://localhost:5001/token"),
        ("https://localhost:5000", "http://localhost/token", True, "http://localhost/token"),
        ("http://localhost:5000", "http://localhost:5000/token", True, "http://localhost:5000/token"),
    ],
)
async def test_plain_http_realm_on_the_host_of_a_registry_with_tls_is_asked_over_tls(
    registry: str, realm: str, tls_verify: bool, asked: str | None
) -> None:
    service, authorizer = TokenService(), Authorizer(PASSWORD, registry="registry.example", tls_verify=tls_verify)
    headers = {"www-authenticate": f'Bearer realm="{realm}"'}
    authorizer.learn(Answer(Request(method="GET", url=f"{registry}/v2/"), 401, headers, b""), "", None)
    if asked is None:
        with pytest.raises(errors.UnsafeLocationError, match="not an https URL") as caught:
            await authorizer.header("", service)
        assert "tls_verify" not in str(caught.value)
        assert service.asked == []
    else:
        assert await authorizer.header("", service) == "Bearer t1"
        assert [one.url for one in service.asked] == [asked]


async def test_refresh_token_of_a_realm_that_was_raised_to_tls_is_used() -> None:
    service = TokenService(answer=lambda _: (200, {"token": "t", "refresh_token": "next", "expires_in": 20}))
    authorizer = challenged(realm="http://registry.example/token")
    await authorizer.header(SCOPE, service)
    await anyio.sleep(20)
    await authorizer.header(SCOPE, service)
    assert [(one.method, one.url) for one in service.asked] == [
        ("GET", f"https://registry.example/token?{urlencode({'scope': SCOPE, 'service': 'registry'})}"),
        ("POST", "https://registry.example/token"),
    ]


async def test_user_information_and_fragment_of_a_realm_are_dropped() -> None:
    service = TokenService()
    await challenged(realm="https://evil:pass@auth.example/t?a=b#c").header("", service)
    assert service.asked[0].url == "https://auth.example/t?a=b&service=registry"
