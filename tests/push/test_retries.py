"""How often a request is made, and what a push remembers of a registry that refused it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
import trustme
from tests import layouts

import ocipush
from ocipush import errors
from ocipush._http import request as http
from ocipush._http.answer import Answer
from ocipush._registry.authorizer import Authorizer
from ocipush._registry.endpoint import Endpoint
from ocipush.testing import BasicAuth, Dialect, Registry, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

    from ocipush._registry.client import Route

pytestmark = pytest.mark.anyio
THRICE = ocipush.RetryPolicy(attempts=3, base=0)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    layouts.write_layout(tmp_path / "app", [layouts.add_manifest(tmp_path / "app", [b"layer"])])
    return tmp_path / "app"


@pytest.mark.parametrize(
    ("method", "part", "status", "made"),
    [
        ("HEAD", "manifests", 503, 3),
        ("POST", "uploads", 429, 3),
        ("POST", "uploads", 500, 3),
        ("PUT", "uploads", 503, 3),
        ("PUT", "manifests", 502, 3),
        ("PUT", "manifests", 400, 1),
        ("PUT", "uploads", 400, 1),
    ],
)
async def test_request_is_made_as_often_as_the_policy_says_and_no_oftener(
    image: Path, method: str, part: str, status: int, made: int
) -> None:
    seen: list[str] = []

    async def intercept(request: Request) -> Response | None:
        if request.method == method and part in request.path:
            seen.append(request.path)
            return Response(status)
        return None

    async with Registry(intercept=intercept) as registry:
        with pytest.raises(errors.RegistryError) as caught:
            await ocipush.push(
                image, target=f"{registry.host}/a:1", authfile=image / "none", retry=THRICE, concurrency=1
            )
    assert (len(seen), caught.value.attempts, caught.value.status) == (made, made, status)


async def test_address_that_cannot_be_asked_is_not_asked_again(image: Path) -> None:
    async def intercept(request: Request) -> Response | None:
        return Response(202, {"Location": "/" + "x" * 70_000}) if request.method == "POST" else None

    async with Registry(intercept=intercept) as registry:
        with pytest.raises(errors.UnsafeLocationError) as caught:
            await ocipush.push(
                image, target=f"{registry.host}/a:1", authfile=image / "none", retry=THRICE, concurrency=1
            )
        assert [request.method for request in registry.requests] == ["HEAD", "POST"]
    assert caught.value.attempts == 1


async def test_answer_that_only_calls_itself_html_is_taken(image: Path) -> None:
    """Quay answers a PUT with OK, in what its framework calls HTML."""
    async with Registry(dialect=Dialect(html_ok=True)) as registry:
        result = await ocipush.push(image, target=f"{registry.host}/a:1", authfile=image / "none")
        assert registry.repository("a").tags == {"1": result.digest}


async def test_registry_that_spoke_tls_is_never_spoken_to_in_plain_http() -> None:
    endpoint, asked = Endpoint("127.0.0.1:1", None, tls_verify=False), list[str]()
    failures = [errors.AuthenticationError("no"), errors.ConnectFailedError("gone", refused=True)]

    async def question(route: Route) -> None:
        asked.append(route.base)
        if len(asked) == 1:
            route.prove()
        raise failures[len(asked) - 1]

    for failure in failures:
        with pytest.raises(type(failure)):
            await endpoint.ask(question, retry=ocipush.RetryPolicy(attempts=1), warn=asked.append, on_retry=print)
    assert asked == ["https://127.0.0.1:1"] * 2


async def test_registry_that_spoke_plain_http_is_remembered_with_its_warnings_though_it_refused(image: Path) -> None:
    events: list[ocipush.Event] = []
    async with Registry(auth=BasicAuth({"user": "secret"})) as registry:
        login = {registry.host: ocipush.Login("user", "wrong")}
        async with ocipush.Pusher(authfile=image / "none", credentials=login) as pusher:
            for connections in (2, 2):
                with pytest.raises(errors.AuthenticationError):
                    await pusher.push(image, target=f"{registry.host}/a:1", on_event=events.append)
                assert registry.connections == connections
    warnings = [event.text for event in events if isinstance(event, ocipush.PushWarning)]
    assert [("does not speak TLS" in text, "the login" in text) for text in warnings] == [(True, False), (False, True)]


async def test_own_ssl_context_is_used_and_left_as_it_is(image: Path) -> None:
    authority = trustme.CA()
    server, own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(own)
    async with (
        Registry(ssl_context=server) as registry,
        Registry(ssl_context=stranger()) as other,
        ocipush.Pusher(authfile=image / "none", ssl_context=own, retry=THRICE) as pusher,
    ):
        await pusher.push(image, target=f"{registry.host}/a:1")
        await pusher.push(image, target=f"{other.host}/a:1", tls_verify=False)
        assert own.verify_mode == ssl.CERT_REQUIRED
        with pytest.raises(errors.TLSVerificationError):
            await pusher.push(image, target=f"{other.host}/a:1")


def stranger() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


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
async def test_login_goes_to_a_token_service_over_tls_or_where_plain_http_is_allowed(
    tls_verify: bool, realm: str, allowed: bool
) -> None:
    asked: list[tuple[str, dict[str, str]]] = []

    async def fetch(request: http.Request) -> Answer:
        asked.append((request.url, dict(request.headers)))
        return Answer(request, 200, {}, b'{"token": "t"}')

    authorizer = Authorizer(ocipush.Login("u", "p"), tls_verify=tls_verify)
    challenge = {"www-authenticate": f'Bearer realm="{realm}"'}
    authorizer.learn(Answer(http.Request(method="GET", url=""), 401, challenge, b""), "s", None)
    if allowed:
        assert await authorizer.header("s", fetch) == "Bearer t"
        assert asked == [(f"{realm}?scope=s", {"Authorization": "Basic dTpw"})]
    else:
        with pytest.raises(errors.UnsafeLocationError):
            await authorizer.header("s", fetch)
        assert asked == []
