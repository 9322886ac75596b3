"""Errors whose hint depends on what happened earlier in the push, or in the registry; and remedies that work."""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from tests import layouts
from tests.certificates import server_context, write_ca_file
from tests.push.answers import JSON, refusal, web_page
from tests.pushing import WITHOUT_WAITS, push
from tests.registries import registry_in_thread

import ocipush
from ocipush import errors
from ocipush._cli.commands import cli
from ocipush.testing import IMMUTABLE_TAGS, BasicAuth, BearerAuth, Dialect, Registry, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
LOGIN = ocipush.Login("user", "correct horse")
USERS = {"user": "correct horse"}
BASIC = {"WWW-Authenticate": 'Basic realm="r"'}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return layouts.write_image(tmp_path / "app", b"a" * 200_000, b"b")


def other_image(directory: Path) -> Path:
    return layouts.write_image(directory / "other", b"other")


async def failure(
    image: Path, registry: Registry, cls: type[errors.OcipushError], login: ocipush.Login | None = None, **options: Any
) -> Any:
    """The error that a push ends with."""
    credentials = {registry.host: login} if login is not None else {}
    with pytest.raises(cls) as caught:
        await push(image, registry, "team/app:1", credentials=credentials, **options)
    assert type(caught.value) is cls
    return caught.value


# Logins


async def test_login_that_may_not_push_is_told_from_a_wrong_password(image: Path) -> None:
    async def intercept(request: Request) -> Response | None:
        if request.path == "/token":
            return Response(200, JSON, b'{"token": "t"}')
        return Response(
            401,
            {**JSON, "WWW-Authenticate": f'Bearer realm="{registry.url}/token",service="r"'},
            json.dumps({"errors": [{"code": "UNAUTHORIZED", "message": "reqPackageAccess"}]}).encode(),
        )

    async with Registry(intercept=intercept) as registry:
        error = await failure(image, registry, errors.AuthorizationError, LOGIN)
        assert "the token service accepted the login" in error.hint
        assert "no permission to push to team/app" in error.hint
        assert len(registry.requests) <= 4


@pytest.mark.parametrize("kind", [BasicAuth, BearerAuth])
async def test_wrong_password_hints_at_the_login_of_this_registry(image: Path, kind: Any) -> None:
    async with Registry(auth=kind(USERS)) as registry:
        error = await failure(image, registry, errors.AuthenticationError, ocipush.Login("user", "wrong"))
        assert f"check the login (`ocipush image login {registry.host}`)" in error.hint
        assert error.answered_by == ("registry" if kind is BasicAuth else "token service")


async def test_login_that_worked_until_now_may_have_expired(image: Path) -> None:
    expired = False

    async def intercept(request: Request) -> Response | None:
        nonlocal expired
        expired |= request.method == "PUT" and "/manifests/" in request.path
        return Response(401, BASIC) if expired or "authorization" not in request.headers else None

    async with Registry(intercept=intercept) as registry:
        error = await failure(image, registry, errors.AuthenticationError, LOGIN)
        assert error.hint.startswith("the login worked until now: it may have expired; log in again with")


async def test_token_service_that_refuses_a_login_it_took_before_says_so(image: Path) -> None:
    granted = 0

    async def intercept(request: Request) -> Response | None:
        nonlocal granted
        if request.path == "/token":
            granted += 1
            return Response(200, JSON, b'{"token": "t"}') if granted == 1 else refusal(401, "UNAUTHORIZED")
        if request.method == "HEAD" and request.headers.get("authorization"):
            return Response(404)
        return Response(401, {"WWW-Authenticate": f'Bearer realm="{registry.url}/token"'})

    async with Registry(intercept=intercept) as registry:
        error = await failure(image, registry, errors.AuthenticationError, LOGIN)
        assert error.hint.startswith("the login worked until now")
        assert error.answered_by == "token service"


async def test_login_that_is_accepted_for_reading_alone_is_no_wrong_password(image: Path) -> None:
    async def intercept(request: Request) -> Response | None:
        reads = request.method in {"HEAD", "GET"} and "authorization" in request.headers
        return Response(404) if reads else Response(401, BASIC)

    async with Registry(intercept=intercept) as registry:
        error = await failure(image, registry, errors.AuthorizationError, LOGIN)
        assert "accepts the login, but does not allow it to push to team/app" in error.hint


async def test_reads_that_need_no_login_prove_none(image: Path) -> None:
    async def intercept(request: Request) -> Response | None:
        return None if request.method in {"HEAD", "GET"} else Response(401, BASIC)

    async with Registry(intercept=intercept) as registry:
        logins = {registry.host: LOGIN}
        async with ocipush.Pusher(retry=WITHOUT_WAITS, credentials=logins) as pusher:
            for _ in range(2):  # the second push sends the login from the start
                with pytest.raises(errors.AuthenticationError, match="check the login"):
                    await pusher.push(image, target=f"{registry.host}/team/app:1")
        reads = [one for one in registry.requests if one.method == "HEAD" and "authorization" in one.headers]
        assert {one.status for one in reads} == {404}


async def test_hint_for_a_missing_login_leads_to_a_push(image: Path) -> None:
    async with Registry(auth=BasicAuth(USERS)) as registry:
        error = await failure(image, registry, errors.AuthenticationError)
        command = re.search(r"`ocipush image login (\S+)`", error.hint)
        assert command is not None
        ocipush.save_login(command[1], LOGIN, authfile=image / "auth.json")
        await push(image, registry, authfile=image / "auth.json")


def anonymous_reads() -> Any:
    async def intercept(request: Request) -> Response | None:
        reads = request.method in {"HEAD", "GET"}
        return None if reads or "authorization" in request.headers else Response(401, BASIC)

    return intercept


async def test_checked_login_that_nobody_asked_for_is_no_accepted_login() -> None:
    async with (
        Registry(intercept=anonymous_reads()) as anonymous,
        Registry(auth=BasicAuth(USERS)) as asking,
        Registry(auth=BearerAuth(USERS)) as bearer,
        ocipush.Pusher(retry=WITHOUT_WAITS) as pusher,
    ):
        assert await pusher.check_login(anonymous.host, ocipush.Login("user", "wrong")) is False
        assert await pusher.check_login(asking.host, LOGIN) is True
        assert await pusher.check_login(bearer.host, LOGIN) is True


def test_command_warns_of_a_login_that_nobody_asked_for(tmp_path: Path) -> None:
    words = ["-u", "user", "--password-stdin", "--check", "--authfile", str(tmp_path / "auth.json")]
    with registry_in_thread(intercept=anonymous_reads()) as registry:
        done = CliRunner().invoke(cli, ["login", registry.host, *words], input="wrong")
        assert done.exit_code == 0
        warning = f"warning: {registry.host} did not ask for the login, so it was not checked"
        assert warning in done.stderr
    with registry_in_thread(auth=BasicAuth(USERS)) as registry:
        done = CliRunner().invoke(cli, ["login", registry.host, *words], input="correct horse")
        assert "did not ask" not in done.stderr
        done = CliRunner().invoke(cli, ["login", registry.host, *words], input="wrong")
        assert (done.exit_code, done.stderr.splitlines()[-1]) == (1, "hint: check the username and the password")


# Token services


async def test_realm_of_a_registry_behind_a_tls_proxy_is_asked_over_tls(image: Path, tmp_path: Path) -> None:
    async def intercept(request: Request) -> Response | None:
        if request.path == "/token":
            return Response(200, JSON, b'{"token": "t"}')
        if request.headers.get("authorization") == "Bearer t":
            return None
        return Response(401, {"WWW-Authenticate": f'Bearer realm="http://{registry.host}/token"'})

    async with Registry(intercept=intercept, ssl_context=server_context()) as registry:
        await push(image, registry, credentials={registry.host: LOGIN}, ca_file=write_ca_file(tmp_path))
        assert "/token" in [request.path for request in registry.requests]


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_token_service_that_cannot_be_reached_is_called_that(image: Path, scheme: str) -> None:
    async def intercept(_: Request) -> Response:
        return Response(401, {"WWW-Authenticate": f'Bearer realm="{scheme}://127.0.0.1:{port}/token"'})

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        async with Registry(intercept=intercept) as registry:
            error = await failure(image, registry, errors.ConnectFailedError, LOGIN)
    assert error.message.startswith(f"GET {scheme}://127.0.0.1:{port}/token?… (token service): connection refused")
    assert error.hint.startswith("the registry names this token service: can it be reached from here")
    assert error.refused
    assert error.attempts == 3


async def test_token_service_without_tls_is_no_reason_to_send_the_login_in_clear(image: Path) -> None:
    async with Registry() as service:

        async def intercept(_: Request) -> Response:
            return Response(401, {"WWW-Authenticate": f'Bearer realm="https://{service.host}/token"'})

        async with Registry(intercept=intercept) as registry:
            error = await failure(image, registry, errors.ConnectFailedError, LOGIN)
        assert "(token service): the server does not speak TLS" in error.message
        assert "tls_verify" not in error.hint
        assert service.requests == []


# Uploads


async def test_lost_sessions_hint_at_replicas_behind_one_name(image: Path) -> None:
    async def intercept(request: Request) -> Response | None:
        lost = request.method in {"PUT", "PATCH"} and "/uploads/" in request.path
        return refusal(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry") if lost else None

    async with Registry(intercept=intercept) as registry:
        error = await failure(image, registry, errors.UploadInvalidatedError)
        assert "replicas behind one name need shared storage and the same secret" in error.hint


async def test_replica_that_does_not_find_what_another_stored_hints_at_shared_storage(image: Path) -> None:
    async def intercept(request: Request) -> Response | None:
        missing = request.method == "PUT" and "/manifests/" in request.path
        return refusal(404, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry") if missing else None

    async with Registry(intercept=intercept) as registry:
        error = await failure(image, registry, errors.ManifestRejectedError)
        assert "replicas behind one name need shared storage" in error.hint


async def test_storage_that_refuses_an_upload_is_no_refused_login(image: Path) -> None:
    async def refuse(_: Request) -> Response:
        return Response(403, {"Content-Type": "application/xml"}, b"<Error><Code>AccessDenied</Code></Error>")

    async with Registry(intercept=refuse) as storage:

        async def intercept(request: Request) -> Response | None:
            return Response(202, {"Location": f"{storage.url}/up?sig=1"}) if request.method == "POST" else None

        async with Registry(intercept=intercept) as registry:
            error = await failure(image, registry, errors.RegistryError, LOGIN)
        assert error.answered_by == "storage"
        assert "(storage) was answered 403: AccessDenied" in error.message
        assert "check the registry's storage settings" in error.hint


async def test_upload_that_is_sent_outside_of_the_repository_says_so(image: Path) -> None:
    """The registry is served under a path that it does not know."""

    async def intercept(request: Request) -> Response | None:
        if request.method == "POST":
            return Response(202, {"Location": "/v2/app/blobs/uploads/1"})
        return web_page(404) if request.path == "/v2/app/blobs/uploads/1" else None

    async with Registry(intercept=intercept) as registry:
        error = await failure(image, registry, errors.UnexpectedResponseError)
        assert "its Location leads to a path outside of team/app" in error.hint


async def test_smaller_chunks_pass_a_limit_that_only_words_tell_of(image: Path) -> None:
    async def intercept(request: Request) -> Response | None:
        large = int(request.headers.get("content-length", 0)) > 100_000
        if not large:
            return None
        while await request.receive():
            pass
        return refusal(400, "UNKNOWN", "the request body is too large")

    async with Registry(intercept=intercept) as registry:
        error = await failure(image, registry, errors.RegistryError)
        limit = re.search(r"send less than ([\d,]+) bytes at once with chunk_size=", error.hint)
        assert limit is not None
        chunk_size = int(limit[1].replace(",", "")) // 4
        assert (await push(image, registry, "team/app:1", chunk_size=chunk_size)).sent > 200_000


# Tags and manifests


def immutable(registry: str) -> Dialect:
    return Dialect(immutable_tags=registry)


@pytest.mark.parametrize("registry_name", sorted(IMMUTABLE_TAGS))
async def test_immutable_tag_is_told_in_the_words_of_each_registry(image: Path, registry_name: str) -> None:
    refused = IMMUTABLE_TAGS[registry_name]
    async with Registry(dialect=immutable(registry_name)) as registry:
        before = await push(image, registry, "team/app:1")
        error = await failure(other_image(image.parent), registry, errors.TagImmutableError)
        assert error.status == refused.status
        assert f"the tag 1 names {before.digest}, and is immutable or not allowed to change" in error.hint
        assert (registry.repository("team/app").tags["1"]) == before.digest
        await push(other_image(image.parent), registry, "team/app:2")


@pytest.mark.parametrize("registry_name", sorted(IMMUTABLE_TAGS))
async def test_tag_that_does_not_exist_is_not_immutable(image: Path, registry_name: str) -> None:
    refused = IMMUTABLE_TAGS[registry_name]
    body = {"code": refused.code, "message": refused.message, "detail": refused.detail}

    async def intercept(request: Request) -> Response | None:
        if request.method == "PUT" and "/manifests/" in request.path:
            return Response(refused.status, JSON, json.dumps({"errors": [body]}).encode())
        return None

    async with Registry(intercept=intercept) as registry:
        error = await failure(image, registry, errors.ManifestRejectedError)
        assert "push to another tag" in error.hint


async def test_tag_of_another_digest_is_immutable_only_if_the_registry_says_so(image: Path) -> None:
    async def intercept(request: Request) -> Response | None:
        if request.method == "PUT" and "/manifests/" in request.path and registry.repository("team/app").tags:
            return refusal(403, "DENIED", "requested access to the resource is denied")
        return None

    async with Registry(intercept=intercept) as registry:
        await push(image, registry, "team/app:1")
        error = await failure(other_image(image.parent), registry, errors.AuthorizationError)
        assert "no login was found" in error.hint


async def test_refused_manifest_is_never_a_lost_upload(image: Path) -> None:
    async def intercept(request: Request) -> Response | None:
        if request.method == "PUT" and "/manifests/" in request.path:
            return refusal(400, "BLOB_UPLOAD_INVALID", "blob upload invalid")
        return None

    async with Registry(intercept=intercept) as registry:
        error = await failure(image, registry, errors.ManifestRejectedError)
        assert "(application/vnd.oci.image.manifest.v1+json) was answered 400" in error.message


async def test_content_that_is_not_part_of_the_image_has_no_hint_about_replicas(image: Path) -> None:
    other = "sha256:" + "1" * 64

    async def intercept(request: Request) -> Response | None:
        if request.method == "PUT" and "/manifests/" in request.path:
            error = {"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown", "detail": {"digest": other}}
            return Response(404, JSON, json.dumps({"errors": [error]}).encode())
        return None

    async with Registry(intercept=intercept) as registry:
        error = await failure(image, registry, errors.ManifestRejectedError)
        assert error.hint is None
        assert f"{other} is not part of this image" in error.message
