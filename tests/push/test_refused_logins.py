"""Logins that a registry or its token service refuses: one error with a hint, and no secret is shown or misdirected."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests.push.answers import JSON, refusal, web_page
from tests.push.user import User, check_error
from tests.registries import registry_in_thread

from ocipush import errors
from ocipush.testing import BasicAuth, BearerAuth, Request, Response

UNEXPECTED = errors.UnexpectedResponseError
READER = {"user": {"*": "pull"}}
NOBODY = {"user": {"elsewhere": "pull,push"}}
RIGHT, WRONG = "battery staple/9", "battery stable/9"


def spellings(password: str) -> set[str]:
    """A password as it is, and as it was sent."""
    return {password, base64.b64encode(f"user:{password}".encode()).decode()}


@pytest.mark.parametrize("kind", [BasicAuth, BearerAuth])
@pytest.mark.parametrize(
    ("password", "permissions", "error", "hint"),
    [
        (WRONG, {}, errors.AuthenticationError, "check the login (`ocipush image login {host}`)"),
        (
            None,
            {},
            errors.AuthenticationError,
            "no login was found for {host}: save one with `ocipush image login {host}`",
        ),
        (RIGHT, READER, errors.AuthorizationError, "to push to team/app, or the repository does not exist"),
        (RIGHT, NOBODY, errors.AuthorizationError, "to push to team/app, or the repository does not exist"),
    ],
    ids=["wrong password", "no login", "reader", "stranger"],
)
def test_error_about_a_refused_login_does_not_show_the_password(
    user: User, kind: Any, password: str | None, permissions: Any, error: type[errors.OcipushError], hint: str
) -> None:
    with registry_in_thread(auth=kind({"user": RIGHT}, permissions=permissions)) as registry:
        if password is not None:
            user.log_in(registry.host, password)
        outcome = user.push(registry.host)
        check_error(user, outcome, error, registry.host, hint.replace("{host}", registry.host))
        for secret in spellings(password) if password is not None else ():
            assert secret not in outcome.output
        assert not registry.repository("team/app").blobs


def test_hint_asks_for_a_login_when_an_anonymous_token_may_not_push(user: User) -> None:
    with registry_in_thread(auth=BearerAuth({"user": "secret"}, anonymous=["pull"])) as registry:
        check_error(user, user.push(registry.host), errors.AuthenticationError, "POST", "no login was found")


def test_user_who_may_only_write_can_push(user: User) -> None:
    for kind in (BasicAuth, BearerAuth):
        with registry_in_thread(auth=kind({"user": "secret"}, permissions={"user": {"team/*": "push"}})) as registry:
            user.log_in(registry.host, "secret")
            assert user.push(registry.host).error is None
            assert registry.repository("team/app").tags


REALMS = [
    ("", "not an https URL: ''"),
    ("/token", "not an https URL: '/token'"),
    ("ftp://token.example/", "not an https URL: 'ftp://token.example/'"),
    ("http://token.example/", "not an https URL: 'http://token.example/'"),
    ("https://[", "not an https URL"),
    ("https://", "not an https URL: 'https://'"),
]


@pytest.mark.parametrize(("realm", "words"), REALMS)
def test_no_login_is_sent_to_an_invalid_token_service(user: User, realm: str, words: str) -> None:
    async def intercept(_: Request) -> Response:
        return Response(401, {"WWW-Authenticate": f'Bearer realm="{realm}"'})

    with registry_in_thread(intercept=intercept) as registry:
        user.log_in(registry.host, "secret")
        check_error(user, user.push(registry.host), errors.UnsafeLocationError, words, "its own address")


@pytest.mark.parametrize(
    ("answer", "error", "words", "hint"),
    [
        (web_page(200), UNEXPECTED, "gave no token", "a web page answered"),
        (Response(200, JSON, b"[]"), UNEXPECTED, "gave no token", "check the realm"),
        (Response(200, JSON, b'{"token": "a\\nb"}'), UNEXPECTED, "gave no token", "check the realm"),
        (Response(200, JSON, b'{"token": "%s"}' % (b"x" * 5_000_000)), UNEXPECTED, "gave no token", "check the realm"),
        (Response(200, JSON, b"[" * 100_000), UNEXPECTED, "gave no token", "check the realm"),
        (refusal(401, "UNAUTHORIZED", "bad"), errors.AuthenticationError, "bad", "check the login"),
        (refusal(403, "DENIED", "bad"), errors.AuthorizationError, "bad", "ask for the permission"),
        (Response(302, {"Location": "https://other.example/"}), UNEXPECTED, "302", "redirects are not followed"),
        (Response(500), errors.RegistryError, "500", "try again later"),
    ],
)
def test_token_service_without_a_token_is_an_error(
    user: User, answer: Response, error: type[errors.OcipushError], words: str, hint: str
) -> None:
    async def intercept(request: Request) -> Response | None:
        return answer if request.path == "/token" else None

    with registry_in_thread(intercept=intercept, auth=BearerAuth({"user": "secret"})) as registry:
        user.log_in(registry.host, "secret")
        check_error(user, user.push(registry.host), error, words, hint)


@pytest.mark.parametrize("lifetime", [b"null", b'"soon"', b"-1", b"1e999", b"[]", b"true"])
def test_token_with_an_invalid_lifetime_is_used(user: User, lifetime: bytes) -> None:
    seen: list[str | None] = []

    async def intercept(request: Request) -> Response | None:
        if request.path == "/token":
            return Response(200, JSON, b'{"token": "t", "expires_in": ' + lifetime + b"}")
        seen.append(request.headers.get("authorization"))
        return None if seen[-1] == "Bearer t" else Response(401, {"WWW-Authenticate": f'Bearer realm="{realm[0]}"'})

    realm = [""]
    with registry_in_thread(intercept=intercept) as registry:
        realm[0] = f"http://user:other@{registry.host}/token"
        assert user.push(registry.host).error is None
        assert seen[0] is None
        assert all("user" not in (request.headers.get("authorization") or "") for request in registry.requests)


def test_cookies_are_never_sent(user: User) -> None:
    cookies: list[str | None] = []

    async def intercept(request: Request) -> Response | None:
        cookies.append(request.headers.get("cookie"))
        if request.method == "HEAD":
            return Response(404, {"Set-Cookie": "session=1; Path=/"})
        return None

    with registry_in_thread(intercept=intercept) as registry:
        assert user.push(registry.host).error is None
        assert len(cookies) > 3
        assert set(cookies) == {None}
