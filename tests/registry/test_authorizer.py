"""Challenges, tokens and their ends, without a socket; on trio with a clock that the test turns."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest
import trio.testing
from tests.registry.tokens import PASSWORD, SCOPE, Asked, TokenService, challenge, challenged, refuse

from ocipush import Login, errors
from ocipush._http.answer import Answer
from ocipush._http.request import Request
from ocipush._registry.answers import error_for
from ocipush._registry.authorizer import Authorizer
from ocipush._registry.statuses import Kind

pytestmark = pytest.mark.anyio
IDENTITY = Login("<token>", "identity-0123456789")
BASIC = "Basic dXNlcjpjb3JyZWN0IGhvcnNl"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


async def test_no_credentials_are_sent_before_the_registry_asks() -> None:
    service = TokenService()
    assert await Authorizer(PASSWORD, registry="registry.example", tls_verify=True).header(SCOPE, service) is None
    assert service.asked == []


async def test_password_is_sent_to_the_realm_by_get_with_service_and_scope() -> None:
    service = TokenService()
    assert (
        await challenged(realm="https://auth.example/token?x=1").header(f"{SCOPE} repository:b:pull", service)
        == "Bearer t1"
    )
    (asked,) = service.asked
    assert (asked.method, asked.authorization, asked.form) == ("GET", BASIC, {})
    query = parse_qs(urlsplit(asked.url).query)
    assert query == {"x": ["1"], "scope": [SCOPE, "repository:b:pull"], "service": ["registry"]}


async def test_all_workers_wait_for_one_token() -> None:
    service, authorizer, headers = TokenService(), challenged(), []

    async def work() -> None:
        headers.append(await authorizer.header(SCOPE, service))

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(work)
    assert headers == ["Bearer t1"] * 50
    assert len(service.asked) == 1


async def test_another_worker_fetches_the_token_when_the_first_is_cancelled() -> None:
    service, authorizer, headers = TokenService(), challenged(), []

    async def work() -> None:
        headers.append(await authorizer.header(SCOPE, service))

    async with anyio.create_task_group() as others, anyio.create_task_group() as owner:
        owner.start_soon(work)
        await anyio.wait_all_tasks_blocked()
        others.start_soon(work)
        others.start_soon(work)
        await anyio.wait_all_tasks_blocked()
        owner.cancel_scope.cancel()
    assert headers == ["Bearer t2"] * 2


async def test_tokens_of_two_scopes_are_fetched_concurrently() -> None:
    authorizer, both = challenged(), anyio.Event()
    waiting = 0

    async def slow(request: Request) -> Answer:
        nonlocal waiting
        waiting += 1
        both.set() if waiting == 2 else None
        await both.wait()
        return Answer(request, 200, {}, b'{"token":"t"}')

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(authorizer.header, SCOPE, slow)
        tasks.start_soon(authorizer.header, "repository:other:pull,push", slow)
    assert waiting == 2


@pytest.mark.parametrize(
    ("lifetime", "good_until"),
    [(300, 290), (41, 31), (40, 30), (20, 15), (5, 3.75), (1, 0.75), (0.4, 0.3), (None, 50), (0, 50), (True, 50)],
)
async def test_token_is_renewed_ten_seconds_or_a_quarter_of_its_lifetime_before_it_expires(
    lifetime: float | None, good_until: float
) -> None:
    service, authorizer = TokenService(lifetime), challenged()
    begun = anyio.current_time()
    await authorizer.header(SCOPE, service)
    await anyio.sleep(begun + good_until - 0.01 - anyio.current_time())
    assert await authorizer.header(SCOPE, service) == "Bearer t1"
    await anyio.sleep(0.02)
    assert await authorizer.header(SCOPE, service) == "Bearer t2"


async def test_lifetime_of_a_token_starts_with_its_request() -> None:
    authorizer, number = challenged(), 0

    async def slow(request: Request) -> Answer:
        nonlocal number
        number += 1
        await anyio.sleep(100)
        return Answer(request, 200, {}, b'{"token":"t%d","expires_in":200}' % number)

    assert await authorizer.header(SCOPE, slow) == "Bearer t1"
    await anyio.sleep(91)
    assert await authorizer.header(SCOPE, slow) == "Bearer t2"


async def test_token_that_expires_during_its_request_is_fetched_once_for_all_waiting_workers() -> None:
    authorizer, number, headers = challenged(), 0, list[str | None]()

    async def slow(request: Request) -> Answer:
        nonlocal number
        number += 1
        await anyio.sleep(2)
        return Answer(request, 200, {}, b'{"token":"t%d","expires_in":1}' % number)

    async def work() -> None:
        headers.append(await authorizer.header(SCOPE, slow))

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(work)
    assert headers == ["Bearer t1"] * 50


async def test_refused_token_is_replaced_once_for_all_workers() -> None:
    service, authorizer = TokenService(), challenged()
    old = await authorizer.header(SCOPE, service)
    assert challenge(authorizer, old)
    assert await authorizer.header(SCOPE, service) == "Bearer t2"
    assert challenge(authorizer, old)  # a slow worker's 401, for the old one
    assert await authorizer.header(SCOPE, service) == "Bearer t2"
    assert len(service.asked) == 2


async def test_token_refused_before_every_worker_got_it_is_fetched_again() -> None:
    authorizer, service = challenged(), TokenService()
    got: list[str | None] = []

    async def worker() -> None:
        used = await authorizer.header(SCOPE, service)
        got.append(used)
        challenge(authorizer, used)  # the answer is faster than the next worker

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(worker)
    assert got == ["Bearer t1", "Bearer t2", "Bearer t3"]


async def test_changed_challenge_does_not_get_the_token_of_the_previous_one() -> None:
    service, authorizer = TokenService(), challenged()
    assert await authorizer.header(SCOPE, service) == "Bearer t1"
    for number, change in enumerate(({"realm": "https://evil.example/t"}, {"service": "other"}), 2):
        challenge(authorizer, **change)
        assert authorizer.held(SCOPE) is None
        assert await authorizer.header(SCOPE, service) == f"Bearer t{number}"
    challenge(authorizer)
    assert authorizer.held(SCOPE) == "Bearer t1"


async def test_scope_of_another_form_is_requested_unchanged() -> None:
    service, authorizer = TokenService(), Authorizer(PASSWORD, registry="registry.example", tls_verify=True)
    authorizer.learn(refuse('Bearer realm="https://auth.example/t",service="ecr",scope="aws"'), SCOPE, None)
    assert await authorizer.header(SCOPE, service) == "Bearer t1"
    assert await authorizer.header("repository:other:pull,push", service) == "Bearer t1"
    assert parse_qs(urlsplit(service.asked[0].url).query)["scope"] == ["aws"]


async def test_expired_tokens_are_forgotten() -> None:
    service, authorizer = TokenService(), challenged()
    for number in range(100):
        await authorizer.header(f"repository:{number}:pull,push", service)
        await anyio.sleep(100)
    assert len(authorizer._slots) <= 4


# Identity and refresh tokens


async def test_identity_token_is_sent_to_the_realm_only_by_post() -> None:
    service = TokenService()
    assert await challenged(IDENTITY).header(f"{SCOPE} repository:b:pull", service) == "Bearer t1"
    (asked,) = service.asked
    assert (asked.method, asked.url, asked.authorization) == ("POST", "https://auth.example/token", None)
    assert asked.form == {
        "grant_type": "refresh_token",
        "refresh_token": IDENTITY.password,
        "service": "registry",
        "scope": f"{SCOPE} repository:b:pull",
        "client_id": "ocipush",
    }


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
async def test_refused_identity_token_does_not_lead_to_an_anonymous_push(status: int) -> None:
    service = TokenService(answer=lambda _: (status, {"error": "invalid_grant"}))
    with pytest.raises(errors.RegistryError) as caught:
        await challenged(IDENTITY).header(SCOPE, service)
    assert [asked.method for asked in service.asked] == ["POST"] * (2 if status == 404 else 1)
    assert caught.value.status == status
    if status in {400, 401}:
        assert isinstance(caught.value, errors.AuthenticationError)


async def test_identity_token_is_not_used_as_a_password() -> None:
    authorizer = Authorizer(IDENTITY, registry="registry.example", tls_verify=True)
    assert not authorizer.learn(refuse('Basic realm="r"'), SCOPE, None)
    assert await authorizer.header(SCOPE, TokenService()) is None
    assert "identity token" in (error_for(refuse('Basic realm="r"'), Kind.LOGIN, authorizer).hint or "")


async def test_refresh_token_replaces_the_login_until_it_is_refused() -> None:
    def answer(asked: Asked) -> tuple[int, dict[str, Any]]:
        if asked.form["refresh_token"] == refused:
            return 401, {}
        return 200, {"access_token": "a", "refresh_token": f"next-{len(service.asked)}", "expires_in": 20}

    refused = ""
    service, authorizer = TokenService(answer=answer), challenged(IDENTITY)
    for _ in range(2):
        await authorizer.header(SCOPE, service)
        await anyio.sleep(20)
    refused = "next-2"
    await authorizer.header(SCOPE, service)
    sent = [asked.form["refresh_token"] for asked in service.asked]
    assert sent == [IDENTITY.password, "next-1", "next-2", IDENTITY.password]


@pytest.mark.parametrize("status", [400, 401, 404, 405])
async def test_password_is_used_when_a_refresh_token_is_refused(status: int) -> None:
    def answer(asked: Asked) -> tuple[int, dict[str, Any]]:
        if asked.method == "POST":
            return status, {}
        return 200, {"token": f"t{len(service.asked)}", "refresh_token": "refresh", "expires_in": 20}

    service, authorizer = TokenService(answer=answer), challenged()
    await authorizer.header(SCOPE, service)
    await anyio.sleep(20)
    assert await authorizer.header(SCOPE, service) == "Bearer t3"
    assert [(asked.method, asked.authorization) for asked in service.asked] == [
        ("GET", BASIC),
        ("POST", None),
        ("GET", BASIC),
    ]


async def test_refresh_token_is_not_sent_to_another_realm() -> None:
    service = TokenService(answer=lambda asked: (200, {"token": asked.url, "refresh_token": "refresh-of-one"}))
    authorizer = challenged()
    await authorizer.header(SCOPE, service)
    challenge(authorizer, realm="https://evil.example/token")
    await authorizer.header(SCOPE, service)
    assert [asked.method for asked in service.asked] == ["GET", "GET"]


@pytest.mark.parametrize("status", [404, 405])
async def test_service_that_accepts_only_post_gets_the_password_by_post(status: int) -> None:
    service = TokenService(answer=lambda asked: (status, {}) if asked.method == "GET" else None)
    assert await challenged().header(SCOPE, service) == "Bearer t2"
    assert service.asked[1].form["grant_type"] == "password"
    assert service.asked[1].form["password"] == PASSWORD.password


async def test_error_about_a_service_that_accepts_neither_method_shows_its_answer_to_get() -> None:
    service = TokenService(answer=lambda _: (404, {}))
    with pytest.raises(errors.RegistryError, match=r"GET https://auth\.example") as caught:
        await challenged().header(SCOPE, service)
    assert caught.value.method == "GET"


async def test_anonymous_request_sends_no_login() -> None:
    service = TokenService(answer=lambda _: (404, {}))
    with pytest.raises(errors.RegistryError):
        await challenged(None).header(SCOPE, service)
    assert [(asked.method, asked.authorization) for asked in service.asked] == [("GET", None)] * 2


async def test_token_service_that_answers_404_once_is_asked_again() -> None:
    service = TokenService(answer=lambda _: (404, {}) if len(service.asked) == 1 else None)
    assert await challenged(None).header(SCOPE, service) == "Bearer t2"


async def test_secrets_echoed_by_the_registry_are_removed_from_the_error() -> None:
    def answer(asked: Asked) -> tuple[int, dict[str, Any]]:
        tokens = {"token": f"token-0123456789-{len(service.asked)}", "refresh_token": "refresh-0123456789"}
        return 200, {**tokens, "expires_in": 20}

    service, authorizer = TokenService(answer=answer), challenged()
    held = await authorizer.header(SCOPE, service)
    await anyio.sleep(20)
    held_next = await authorizer.header(SCOPE, service)
    assert [asked.method for asked in service.asked] == ["GET", "POST"]  # the second by the refresh token
    assert (held, held_next) == ("Bearer token-0123456789-1", "Bearer token-0123456789-2")
    echo = f"{BASIC}; correct horse; correct+horse; {held}; {held_next}; refresh-0123456789"
    body = json.dumps({"errors": [{"code": echo, "message": echo}]}).encode()
    request = Request(method="GET", url="https://registry.example/v2/")
    error = error_for(Answer(request, 400, {}, body), Kind.LOGIN, authorizer)
    told = f"{error} {error.detail} {error.codes}"
    assert "Bearer …; Bearer …; …" in error.detail
    for secret in (
        "dXNlcjpjb3JyZWN0IGhvcnNl",
        "correct horse",
        "correct+horse",
        "token-0123456789",
        "refresh-0123456789",
    ):
        assert secret not in told
