"""Which login or token goes to which origin, and which scopes a token is asked for."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.mocked.recorded import Push, requests

import ocipush

if TYPE_CHECKING:
    from collections.abc import Callable

    import respx

pytestmark = pytest.mark.asyncio
LOGIN = {"registry.test": ocipush.Login("you", "secret")}
BASIC = f"Basic {base64.b64encode(b'you:secret').decode()}"
BEARER = 'Bearer realm="https://auth.test/token",service="registry",scope="repository:team/app:pull"'
SCOPE = "repository:team/app:pull,push"


def challenge(router: respx.Router, header: str, accepts: Callable[[str], bool]) -> None:
    """Make the registry respond 401 unless it accepts the Authorization."""

    def check(request: httpx.Request) -> httpx.Response | None:
        if accepts(request.headers.get("Authorization", "")):
            return None
        return httpx.Response(401, headers={"WWW-Authenticate": header})

    router["challenge"].mock(side_effect=check)


@pytest.fixture
def tokens(router: respx.Router) -> respx.Route:
    """A token service beside the registry, whose tokens the registry accepts."""
    challenge(router, BEARER, lambda authorization: authorization.startswith("Bearer token"))
    numbered = (httpx.Response(200, json={"token": f"token{number}"}) for number in range(1, 10))
    return router.get("https://auth.test/token").mock(side_effect=numbered)


def sent_to(router: respx.Router, host: str) -> list[str | None]:
    """The Authorization of each request to a host."""
    return [request.headers.get("Authorization") for request in requests(router) if request.url.host == host]


async def test_no_login_is_sent_to_a_registry_that_does_not_ask(push: Push, router: respx.Router) -> None:
    await push(credentials=LOGIN)
    assert set(sent_to(router, "registry.test")) == {None}


async def test_basic_login_is_sent_once_the_registry_asks_for_it(push: Push, router: respx.Router) -> None:
    challenge(router, 'Basic realm="registry"', lambda authorization: authorization == BASIC)
    await push(credentials=LOGIN)
    assert sent_to(router, "registry.test") == [None, *[BASIC] * 6]


async def test_token_is_asked_for_once_with_the_scope_of_a_push(
    push: Push, router: respx.Router, tokens: respx.Route
) -> None:
    await push(credentials=LOGIN)
    (asked,) = [call.request for call in tokens.calls]
    assert asked.url.params.get_list("scope") == [SCOPE]
    assert asked.url.params["service"] == "registry"
    assert sent_to(router, "registry.test") == [None, *["Bearer token1"] * 6]


async def test_login_goes_to_the_token_service_and_never_to_the_registry(
    push: Push, router: respx.Router, tokens: respx.Route
) -> None:
    del tokens
    await push(credentials=LOGIN)
    assert sent_to(router, "auth.test") == [BASIC]
    assert BASIC not in sent_to(router, "registry.test")


async def test_token_is_anonymous_without_a_login(push: Push, router: respx.Router, tokens: respx.Route) -> None:
    del tokens
    await push()
    assert sent_to(router, "auth.test") == [None]


async def test_mount_asks_for_the_source_as_well(push: Push, router: respx.Router, tokens: respx.Route) -> None:
    router["session"].respond(201)
    await push(credentials=LOGIN, mount_from="team/base")
    scopes = [call.request.url.params.get_list("scope") for call in tokens.calls]
    assert scopes == [[SCOPE], [SCOPE, "repository:team/base:pull"]]
    mounts = {request.headers["Authorization"] for request in requests(router) if "mount" in request.url.params}
    assert mounts == {"Bearer token2"}


async def test_refused_token_is_replaced_and_the_request_repeated(
    push: Push, router: respx.Router, tokens: respx.Route
) -> None:
    expired = {"Bearer token1"}

    def check(request: httpx.Request) -> httpx.Response:
        if request.headers["Authorization"] in expired:
            return httpx.Response(401, headers={"WWW-Authenticate": BEARER})
        return httpx.Response(201)

    router["manifest"].mock(side_effect=check)
    await push(credentials=LOGIN)
    assert tokens.call_count == 2
    assert sent_to(router, "registry.test")[-2:] == ["Bearer token1", "Bearer token2"]


@pytest.mark.parametrize("location", ["https://storage.test/1?sig=a", "https://registry.test:8443/1"])
async def test_upload_elsewhere_gets_neither_login_nor_token(
    push: Push, router: respx.Router, tokens: respx.Route, location: str
) -> None:
    del tokens
    elsewhere = router.put(url__startswith=location).respond(201)
    router["session"].respond(202, headers={"Location": location})
    await push(credentials=LOGIN)
    assert [call.request.headers.get("Authorization") for call in elsewhere.calls] == [None, None]


async def test_login_of_another_registry_is_not_used(push: Push, router: respx.Router, tokens: respx.Route) -> None:
    del tokens
    login = LOGIN["registry.test"]
    await push(credentials={"registry.test:5000": login, "test.registry.test": login, "auth.test": login})
    assert sent_to(router, "auth.test") == [None]


async def test_upload_session_is_closed_with_the_token_of_its_push(
    push: Push, router: respx.Router, tokens: respx.Route
) -> None:
    del tokens
    router["upload"].respond(400)
    with pytest.raises(ocipush.OcipushError):
        await push(credentials=LOGIN)
    assert {call.request.headers["Authorization"] for call in router["cancel"].calls} == {"Bearer token1"}
