"""Pushes with logins from everywhere: which one is sent, which endpoint has it, and what a refusal says."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import pytest
from click.testing import CliRunner
from tests import layouts

import ocipush
from ocipush import Login, errors
from ocipush._cli.commands import cli
from ocipush.testing import BasicAuth, BearerAuth, Registry, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
SECRET = "hunter2-and-more"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "OCIPUSH_AUTHFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    directory = tmp_path / "store" / "app"
    layouts.write_layout(directory, [layouts.add_manifest(directory, [b"layer"])])
    return directory


def save_for_docker(home: Path, **users: str) -> None:
    """Write Docker's file, with a user for each key."""
    path = home / ".docker" / "config.json"
    path.parent.mkdir(exist_ok=True)
    auths = {key: {"auth": base64.b64encode(f"{user}:{SECRET}".encode()).decode()} for key, user in users.items()}
    path.write_text(json.dumps({"auths": auths}))
    path.chmod(0o600)


def users_of(registry: Registry) -> list[str]:
    """The users that the registry was sent, in order, each once."""
    sent = [request.headers.get("authorization", "") for request in registry.requests]
    users = [base64.b64decode(one.removeprefix("Basic ")).decode().partition(":")[0] for one in sent if one]
    return list(dict.fromkeys(users))


@pytest.mark.parametrize("auth", [BasicAuth({"user": SECRET}), BearerAuth({"user": SECRET})], ids=["basic", "bearer"])
async def test_login_of_docker_is_used_only_when_it_is_named(
    home: Path, image: Path, auth: BasicAuth | BearerAuth
) -> None:
    async with Registry(auth=auth) as registry:
        save_for_docker(home, **{registry.host: "user"})
        target = f"{registry.host}/team/app:1"
        with pytest.raises(errors.AuthenticationError) as caught:
            await ocipush.push(image, target=target, authfile=home / "none")
        assert caught.value.hint == 'Docker has a login for this registry: authfile="docker" uses it'
        assert not any("Basic" in request.headers.get("authorization", "") for request in registry.requests)
        result = await ocipush.push(image, target=target, authfile=[home / "none", "docker"])
        assert registry.repository("team/app").tags == {"1": result.digest}
        async with ocipush.Pusher(authfile="podman") as pusher:
            with pytest.raises(errors.AuthenticationError) as caught:
                await pusher.check_login(registry.host)
    assert caught.value.hint == 'Docker has a login for this registry: authfile="docker" uses it'


async def test_command_names_its_own_option(home: Path, image: Path) -> None:
    async with Registry(auth=BasicAuth({"user": SECRET})) as registry:
        save_for_docker(home, **{registry.host: "user"})
        words = ["push", "app", "--images-store-dir", str(image.parent), "--target", f"{registry.host}/team/app:1"]
        words += ["--progress", "none", "--authfile", str(home / "none")]
        run = await in_thread(words)
        assert run.exit_code == 1
        assert "hint: Docker has a login for this registry: --authfile docker uses it\n" in run.stderr
        assert SECRET not in run.output
        run = await in_thread([*words, "--authfile", "docker"])
        assert run.exit_code == 0, run.output


async def in_thread(words: list[str]) -> Any:
    return await anyio.to_thread.run_sync(lambda: CliRunner().invoke(cli, words))


async def test_hint_about_a_refused_login_does_not_mention_other_files(home: Path, image: Path) -> None:
    async with Registry(auth=BasicAuth({"user": SECRET})) as registry:
        save_for_docker(home, **{registry.host: "user"})
        credentials = {registry.host: Login("user", "wrong password")}
        with pytest.raises(errors.AuthenticationError) as caught:
            await ocipush.push(image, target=f"{registry.host}/app:1", credentials=credentials)
    assert "authfile" not in (caught.value.hint or "")


async def test_each_namespace_has_its_own_login(home: Path, image: Path) -> None:
    async with Registry(auth=BasicAuth({"one": SECRET, "two": SECRET})) as registry:
        save_for_docker(home, **{registry.host: "one", f"{registry.host}/team": "two"})
        async with ocipush.Pusher(authfile="docker") as pusher:
            for repository in ("app", "team/app", "app2", "team/app2"):
                await pusher.push(image, target=f"{registry.host}/{repository}:1")
            assert len(pusher._endpoints) == 2
        by_user = {
            request.path.removeprefix("/v2/").partition("/manifests/")[0]: user
            for request in registry.requests
            if "/manifests/" in request.path and (user := user_of(request.headers.get("authorization")))
        }
    assert by_user == {"app": "one", "app2": "one", "team/app": "two", "team/app2": "two"}


def user_of(authorization: str | None) -> str | None:
    if authorization is None:
        return None
    return base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")[0]


async def test_rotated_login_leaves_no_endpoint_behind(home: Path, image: Path) -> None:
    users = {f"user{number}": SECRET for number in range(5)}
    async with Registry(auth=BasicAuth(users)) as registry, ocipush.Pusher(authfile="docker") as pusher:
        for number, user in enumerate(users):
            save_for_docker(home, **{registry.host: user})
            await pusher.push(image, target=f"{registry.host}/app:{number}")
        assert len(pusher._endpoints) == 1
        assert users_of(registry) == list(users)


TOKEN = "registry-token-0123456789"


def token_registry(challenge: str) -> Registry:
    """A registry that takes one bearer token, and asks for a login by ``challenge``."""

    async def intercept(request: Request) -> Response | None:
        if request.headers.get("authorization") == f"Bearer {TOKEN}":
            return None
        echo = request.headers.get("authorization", "")
        body = json.dumps({"errors": [{"code": "UNAUTHORIZED", "message": f"no: {echo}"}]}).encode()
        return Response(401, {"WWW-Authenticate": challenge, "Content-Type": "application/json"}, body)

    return Registry(intercept=intercept)


BEARER = 'Bearer realm="https://token.invalid/token",service="r"'


async def test_registry_token_is_sent_unchanged_without_a_token_service(home: Path, image: Path) -> None:
    async with token_registry(BEARER) as registry:
        path = home / ".docker" / "config.json"
        path.parent.mkdir()
        path.write_text(json.dumps({"auths": {registry.host: {"registrytoken": TOKEN}}}))
        path.chmod(0o600)
        result = await ocipush.push(image, target=f"{registry.host}/app:1", authfile="docker")
        assert registry.repository("app").tags == {"1": result.digest}


@pytest.mark.parametrize(
    ("challenge", "hint"),
    [
        (BEARER, "check the login"),
        ('Basic realm="r"', "the login is an identity token or a registry token, but this registry requires"),
    ],
)
async def test_refused_registry_token_is_an_error_that_does_not_show_it(
    home: Path, image: Path, challenge: str, hint: str
) -> None:
    login = Login(registry_token="wrong-token-0123456789")
    async with token_registry(challenge) as registry:
        with pytest.raises(errors.AuthenticationError) as caught:
            await ocipush.push(image, target=f"{registry.host}/app:1", credentials={registry.host: login})
    assert hint in (caught.value.hint or "")
    assert "wrong-token" not in f"{caught.value} {vars(caught.value)} {login!r}"
