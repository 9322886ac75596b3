"""How often a request is repeated, and what a Pusher remembers about a registry that refused it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
import trustme
from tests.certificates import client_context, server_context
from tests.pushing import WITHOUT_WAITS, push

import ocipush
from ocipush import errors
from ocipush.testing import BasicAuth, Dialect, Registry, Request, Response

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.anyio


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
async def test_request_is_made_exactly_as_often_as_the_policy_allows(
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
            await push(image, registry, concurrency=1)
    assert (len(seen), caught.value.attempts, caught.value.status) == (made, made, status)


async def test_invalid_location_is_not_retried(image: Path) -> None:
    async def intercept(request: Request) -> Response | None:
        return Response(202, {"Location": "/" + "x" * 70_000}) if request.method == "POST" else None

    async with Registry(intercept=intercept) as registry:
        with pytest.raises(errors.UnsafeLocationError) as caught:
            await push(image, registry, concurrency=1)
        assert [request.method for request in registry.requests] == ["HEAD", "POST"]
    assert caught.value.attempts == 1


async def test_successful_put_with_the_content_type_of_html_is_accepted(image: Path) -> None:
    """Quay answers a PUT with the text OK, with the Content-Type of HTML."""
    async with Registry(dialect=Dialect(html_ok=True)) as registry:
        result = await push(image, registry)
        assert registry.repository("app").tags == {"1": result.digest}


async def test_plain_http_is_remembered_after_a_refusal_and_warned_about_once(image: Path) -> None:
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


async def test_given_ssl_context_is_used_and_not_changed(image: Path) -> None:
    own = client_context()
    async with (
        Registry(ssl_context=server_context()) as registry,
        Registry(ssl_context=server_context(authority=trustme.CA())) as other,
        ocipush.Pusher(authfile=image / "none", ssl_context=own, retry=WITHOUT_WAITS) as pusher,
    ):
        await pusher.push(image, target=f"{registry.host}/a:1")
        await pusher.push(image, target=f"{other.host}/a:1", tls_verify=False)
        assert own.verify_mode == ssl.CERT_REQUIRED
        with pytest.raises(errors.TLSVerificationError):
            await pusher.push(image, target=f"{other.host}/a:1")
