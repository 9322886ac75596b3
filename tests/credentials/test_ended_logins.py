"""Logins that end in the middle of a push: the function or helper that gave them is asked again."""

from __future__ import annotations

import base64
import json
import logging
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests import layouts

import ocipush
from ocipush import Login, errors
from ocipush.testing import BasicAuth, BearerAuth, ExpireTokens, Registry, Request, Response

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ocipush.testing import Fault

pytestmark = pytest.mark.anyio
LARGE = 2 * 1024 * 1024


@pytest.fixture
def image(tmp_path: Path) -> Path:
    directory = tmp_path / "store" / "app"
    layers = [b"layer %d" % number for number in range(20)] + [b"a" * LARGE]
    layouts.write_layout(directory, [layouts.add_manifest(directory, layers)])
    return directory


class Vault:
    """A password that ends after a number of requests, and the registry's view of it.

    Attributes:
        calls: how often it was asked for the login.
    """

    def __init__(self, *, lasts: int, ends: int = 1, knows: int = 100) -> None:
        self.users = {"user": "password-0"}
        self.calls = 0
        self._lasts = self._left = lasts
        self._ends = ends
        self._knows = knows

    def __call__(self, registry: str) -> Login:
        self.calls += 1
        return Login("user", self.users["user"] if self.calls <= self._knows else "password-0")

    async def intercept(self, request: Request) -> Response | None:
        """Count a request that has the valid password; after the last one, another password is valid."""
        valid = base64.b64encode(f"user:{self.users['user']}".encode()).decode()
        if request.headers.get("authorization") == f"Basic {valid}" and self._ends:
            if self._left == 0:
                self._left, self._ends = self._lasts, self._ends - 1
                self.users["user"] = f"password-{self.calls}"
            else:
                self._left -= 1
        return None


async def push_with(
    vault: Vault, image: Path, auth: BasicAuth | BearerAuth, faults: Sequence[Fault] = (), **options: Any
) -> tuple[Registry, ocipush.PushResult]:
    async with Registry(auth=auth, intercept=vault.intercept, faults=faults) as registry:
        result = await ocipush.push(image, target=f"{registry.host}/app:1", credentials=vault, **options)
        assert registry.repository("app").tags == {"1": result.digest}
        return registry, result


@pytest.mark.parametrize("lasts", [0, 1, 2, 5, 20, 40])
async def test_basic_login_that_expires_during_a_push_is_fetched_again(image: Path, lasts: int) -> None:
    vault = Vault(lasts=lasts)
    _, result = await push_with(vault, image, BasicAuth(vault.users))
    assert {blob.outcome for blob in result.blobs} == {"uploaded"}
    assert vault.calls == 2


async def test_basic_login_that_expires_repeatedly_is_fetched_each_time(image: Path) -> None:
    vault = Vault(lasts=12, ends=3)
    await push_with(vault, image, BasicAuth(vault.users), concurrency=1, large_concurrency=1)
    assert vault.calls == 4


async def test_token_service_that_refuses_an_expired_login_gets_the_next_one(image: Path) -> None:
    vault = Vault(lasts=1)
    auth = BearerAuth(vault.users)
    faults = [ExpireTokens("PATCH /v2/*", nth=number) for number in (1, 3, 5)]
    registry, _ = await push_with(vault, image, auth, faults=faults, chunk_size=256 * 1024)
    refused = [request for request in registry.requests if request.path == "/token" and request.status == 401]
    assert (len(refused), vault.calls) == (1, 2)


async def test_login_that_stays_refused_is_fetched_again_once_and_not_for_every_blob(image: Path) -> None:
    vault = Vault(lasts=5, knows=1)
    with pytest.raises(errors.AuthenticationError):
        await push_with(vault, image, BasicAuth(vault.users))
    assert vault.calls == 2


async def test_refused_login_that_cannot_be_renewed_is_an_error_immediately(image: Path) -> None:
    async with Registry(auth=BasicAuth({"user": "right"})) as registry:
        with pytest.raises(errors.AuthenticationError):
            await ocipush.push(
                image, target=f"{registry.host}/app:1", credentials={registry.host: Login("user", "wrong")}
            )
        assert [request.status for request in registry.requests] == [401, 401]


async def test_first_login_of_a_push_may_be_expired(image: Path) -> None:
    logins = iter([Login("user", "ended"), Login("user", "right")])
    async with (
        Registry(auth=BasicAuth({"user": "right"})) as registry,
        ocipush.Pusher(credentials=lambda _registry: next(logins)) as pusher,
    ):
        await pusher.push(image, target=f"{registry.host}/app:1")
        refused = [request for request in registry.requests if request.status == 401]
        await pusher.push(image, target=f"{registry.host}/app:2")
        assert [request for request in registry.requests if request.status == 401] == refused
        assert len(pusher._endpoints) == 1


async def test_expired_login_leaves_nothing_behind_and_concurrent_pushes_continue(image: Path) -> None:
    vault = Vault(lasts=7)
    async with (
        Registry(auth=BasicAuth(vault.users), intercept=vault.intercept) as registry,
        ocipush.Pusher(credentials=vault) as pusher,
    ):
        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(push_to, pusher, image, f"{registry.host}/app{number}:1")
        assert vault.calls == 2
        assert len(pusher._endpoints) == 1
        assert all(registry.repository(f"app{number}").tags for number in range(5))


async def push_to(pusher: ocipush.Pusher, image: Path, target: str) -> None:
    await pusher.push(image, target=target)


async def test_rewritten_file_is_read_again(tmp_path: Path, image: Path) -> None:
    authfile = tmp_path / "auth.json"
    users = {"user": "first-password"}
    left = 8

    async def intercept(request: Request) -> Response | None:
        nonlocal left
        left -= 1
        if left == 0:
            users["user"] = "second-password"
            ocipush.save_login(registry.host, Login("user", "second-password"), authfile=authfile)
        return None

    async with Registry(auth=BasicAuth(users), intercept=intercept) as registry:
        ocipush.save_login(registry.host, Login("user", "first-password"), authfile=authfile)
        await ocipush.push(image, target=f"{registry.host}/app:1", authfile=authfile)
        assert registry.repository("app").tags


async def test_registry_token_that_expires_is_fetched_again(image: Path) -> None:
    tokens = ["token-number-one", "token-number-two"]
    left = 10

    async def intercept(request: Request) -> Response | None:
        nonlocal left
        left -= 1
        valid = tokens[0] if left > 0 else tokens[1]
        if request.headers.get("authorization") == f"Bearer {valid}":
            return None
        challenge = {"WWW-Authenticate": 'Bearer realm="https://token.invalid/"', "Content-Type": "application/json"}
        return Response(401, challenge, b'{"errors": [{"code": "UNAUTHORIZED"}]}')

    given = iter(tokens)
    async with Registry(intercept=intercept) as registry:
        await ocipush.push(
            image,
            target=f"{registry.host}/app:1",
            credentials=lambda _registry: Login(registry_token=next(given)),
        )
        assert registry.repository("app").tags


async def test_previous_password_is_not_shown_when_the_registry_echoes_it_later(
    image: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "ocipush")
    vault = Vault(lasts=3)

    async def intercept(request: Request) -> Response | None:
        if request.method == "PUT" and "/manifests/" in request.path:
            words = " ".join(f"password-{number} is not valid" for number in range(vault.calls))
            body = json.dumps({"errors": [{"code": "DENIED", "message": words}]}).encode()
            return Response(403, {"Content-Type": "application/json"}, body)
        return await vault.intercept(request)

    async with Registry(auth=BasicAuth(vault.users), intercept=intercept) as registry:
        with pytest.raises(errors.AuthorizationError) as caught:
            await ocipush.push(image, target=f"{registry.host}/app:1", credentials=vault)
    assert vault.calls == 2
    assert "password-" not in f"{caught.value} {vars(caught.value)} {caplog.text}"
