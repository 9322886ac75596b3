"""What a push does about the answers of a registry: typed errors, warnings, tokens and logins."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests import layouts

import ocipush
from ocipush import errors
from ocipush._oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio
HOST = "registry.example"
OK = {
    "HEAD": httpx.Response(404),
    "POST": httpx.Response(202, headers={"location": "/v2/a/blobs/uploads/1"}),
    "PUT": httpx.Response(201),
    "DELETE": httpx.Response(204),
}


async def push(image: Path, handler: Callable[[httpx.Request], httpx.Response], **options: Any) -> ocipush.PushResult:
    options = {"retry": ocipush.RetryPolicy(attempts=2, base=0), **options}
    return await ocipush.push(
        image, target=f"{HOST}/a:1", authfile=image / "none", transport=httpx.MockTransport(handler), **options
    )


def accept(request: httpx.Request) -> httpx.Response:
    """A registry that has nothing and accepts everything."""
    answer = OK[request.method]
    return httpx.Response(answer.status_code, headers=answer.headers)


@pytest.mark.parametrize(
    ("method", "part", "answer", "error"),
    [
        ("HEAD", "manifests", httpx.Response(302), errors.UnexpectedResponseError),
        ("HEAD", "manifests", httpx.Response(500), errors.RegistryError),
        ("POST", "uploads", httpx.Response(403), errors.AuthorizationError),
        ("POST", "uploads", httpx.Response(202), errors.UnexpectedResponseError),
        ("POST", "uploads", httpx.Response(200, html="<b>hello</b>"), errors.UnexpectedResponseError),
        ("PUT", "uploads", httpx.Response(413, html="too large"), errors.BlobTooLargeError),
        (
            "PUT",
            "uploads",
            httpx.Response(404, json={"errors": [{"code": "BLOB_UPLOAD_UNKNOWN"}]}),
            errors.UploadInvalidatedError,
        ),
        ("PUT", "manifests", httpx.Response(400, content=b"x" * 100_000), errors.ManifestRejectedError),
        (
            "PUT",
            "manifests",
            httpx.Response(201, headers={"docker-content-digest": "sha256:no"}),
            errors.UnexpectedResponseError,
        ),
    ],
)
async def test_refusal_raises_its_typed_error(
    image: Path, method: str, part: str, answer: httpx.Response, error: type[errors.OcipushError]
) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.method == method and part in request.url.path:
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
        return accept(request)

    with pytest.raises(error) as caught:
        await push(image, handler)
    assert type(caught.value) is error
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (httpx.ReadError("cut"), errors.ConnectionLostError),
        (httpx.ConnectTimeout("late"), errors.StalledError),
        (httpx.ConnectError("no route"), errors.ConnectFailedError),
    ],
)
async def test_broken_connection_is_retried_and_then_raised(
    image: Path, raised: httpx.HTTPError, error: type[errors.OcipushError]
) -> None:
    events: list[ocipush.Event] = []

    def handler(request: httpx.Request) -> httpx.Response:
        raise raised

    with pytest.raises(error) as caught:
        await push(image, handler, on_event=events.append)
    assert type(caught.value) is error
    assert [type(event) for event in events[1:]] == [ocipush.RetryScheduled]


async def test_registry_warning_is_reported_once_and_existing_blobs_are_not_sent(image: Path) -> None:
    events: list[ocipush.Event] = []

    def handler(request: httpx.Request) -> httpx.Response:
        warning = {"warning": '299 - "old"'}
        status = 200 if request.method == "HEAD" else 201
        return httpx.Response(status, headers=warning)

    result = await push(image, handler, on_event=events.append)
    assert {blob.outcome for blob in result.blobs} == {"exists"}
    assert [event.text for event in events if isinstance(event, ocipush.RegistryWarning)] == ["old"]


@pytest.mark.parametrize(
    ("challenge", "token", "error"),
    [
        ('Bearer realm="http://token.example/t"', httpx.Response(200), errors.UnsafeLocationError),
        ('Bearer realm="https://token.example/t"', httpx.Response(401), errors.AuthenticationError),
        ('Bearer realm="https://token.example/t?x=1",service="s"', httpx.Response(500), errors.RegistryError),
        (
            'Bearer realm="https://token.example/t"',
            httpx.Response(200, json={"token": 1}),
            errors.UnexpectedResponseError,
        ),
        ('Bearer realm="https://token.example/t"', httpx.Response(200, text="no"), errors.UnexpectedResponseError),
        ("Digest x=y", httpx.Response(200), errors.AuthenticationError),
        ('Basic realm="r"', httpx.Response(200), errors.AuthenticationError),
    ],
)
async def test_failed_authentication_raises_its_typed_error(
    image: Path, challenge: str, token: httpx.Response, error: type[errors.OcipushError]
) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.host == HOST:
            return httpx.Response(401, headers={"www-authenticate": challenge})
        return httpx.Response(token.status_code, headers=token.headers, content=token.content)

    with pytest.raises(error) as caught:
        await push(image, handler)
    assert type(caught.value) is error


async def test_refused_token_is_fetched_again_once(image: Path) -> None:
    tokens = iter(["first", "second"])

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.host != HOST:
            return httpx.Response(200, json={"access_token": next(tokens), "expires_in": 300})
        if request.headers.get("authorization") is None or (
            request.method == "POST" and request.headers["authorization"] == "Bearer first"
        ):
            return httpx.Response(401, headers={"www-authenticate": 'Bearer realm="https://token.example/t"'})
        return accept(request)

    assert not (await push(image, handler, concurrency=1)).unchanged
    assert next(tokens, None) is None


async def test_pusher_that_is_not_open_refuses_to_push(image: Path) -> None:
    with pytest.raises(errors.PusherClosedError):
        await ocipush.Pusher().push(image)
    with pytest.raises(errors.PusherClosedError):
        ocipush.sync.Pusher().push(image)


async def test_unusable_ca_file_is_named(image: Path) -> None:
    with pytest.raises(errors.OcipushError, match=r"index\.json cannot be used"):
        await push(image, accept, ca_file=os.fspath(image / "index.json"))


async def test_login_is_checked_by_one_authenticated_request() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.headers.get("authorization") == "Basic dTpw":
            return httpx.Response(200)
        return httpx.Response(401, headers={"www-authenticate": 'Basic realm="r"'})

    async with ocipush.Pusher(transport=httpx.MockTransport(handler)) as pusher:
        await pusher.check_login(HOST, ocipush.Login("u", "p"))
        with pytest.raises(errors.AuthenticationError):
            await pusher.check_login(HOST, ocipush.Login("u", "wrong"))


async def test_registry_may_name_a_manifest_with_a_sha512_digest_by_its_sha256(image: Path) -> None:
    index = json.loads((image / "index.json").read_text())
    raw = (image / "blobs" / index["manifests"][0]["digest"].replace(":", "/")).read_bytes()
    digest = Digest.of(raw, "sha512")
    (image / "blobs" / "sha512").mkdir()
    (image / "blobs" / "sha512" / digest.encoded).write_bytes(raw)
    layouts.write_layout(image, [{**index["manifests"][0], "digest": digest}])

    def handler(request: httpx.Request) -> httpx.Response:
        named = {"docker-content-digest": Digest.of(raw)} if "manifests" in request.url.path else {}
        return httpx.Response(201, headers=named) if request.method == "PUT" else accept(request)

    assert (await push(image, handler)).digest == digest


@pytest.mark.parametrize(
    ("registry", "login", "sent"),
    [
        ("docker.io", ocipush.Login("user", "secret"), {None, "Basic dXNlcjpzZWNyZXQ="}),
        ("index.docker.io", ocipush.Login("user", "secret"), {None, "Basic dXNlcjpzZWNyZXQ="}),
        ("docker.io", ocipush.Login("user", ""), {None}),
    ],
)
async def test_login_for_docker_hub_is_used_under_any_of_its_names(
    image: Path, registry: str, login: ocipush.Login, sent: set[str | None]
) -> None:
    seen: set[str | None] = set()

    def handler(request: httpx.Request) -> httpx.Response:
        seen.add(request.headers.get("authorization"))
        if "authorization" not in request.headers:
            return httpx.Response(401, headers={"www-authenticate": 'Basic realm="hub"'})
        return accept(request)

    transport = httpx.MockTransport(handler)
    push = partial(ocipush.push, image, target="app:1", authfile=image / "none", transport=transport)
    if len(sent) == 1:
        with pytest.raises(errors.AuthenticationError):
            await push(credentials={registry: login})
    else:
        await push(credentials={registry: login})
    assert seen == sent
