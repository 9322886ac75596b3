"""Who may push, as docker-registry and its token service see it."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import anyio
import pytest
from tests.real.servers import LOGIN

import ocipush

if TYPE_CHECKING:
    from pathlib import Path

    from tests.real.servers import Server
    from tests.real.token_service import TokenService

pytestmark = [pytest.mark.anyio, pytest.mark.real]
with_login = pytest.mark.parametrize("server", ["htpasswd", "token"], indirect=True)
with_tokens = pytest.mark.parametrize("server", ["token"], indirect=True)


LOGIN_TOOLS = ["skopeo", "buildah"]


@pytest.mark.parametrize("server", ["htpasswd"], indirect=True)
@pytest.mark.parametrize("tool", LOGIN_TOOLS)
@pytest.mark.parametrize("namespace", ["", "/team"], ids=["registry", "namespace"])
async def test_login_that_another_tool_saved_is_used(
    server: Server, store: Path, tmp_path: Path, tool: str, namespace: str
) -> None:
    file = tmp_path / "auth.json"
    command = [tool, "login", "--authfile", str(file), "--username", LOGIN.username, "--password-stdin"]
    command += ["--tls-verify=false", f"{server.host}{namespace}"]
    run = subprocess.run(command, input=LOGIN.password, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    before = file.read_bytes()
    result = await ocipush.push("umoci", store=store, target=f"{server.host}/team/app:v1", authfile=file)
    assert not result.unchanged
    if namespace:
        with pytest.raises(ocipush.errors.AuthenticationError):
            await ocipush.push("umoci", store=store, target=f"{server.host}/other/app:v1", authfile=file)
    with pytest.raises(ocipush.errors.CredentialError, match="does not write"):
        ocipush.save_login(server.host, LOGIN, authfile=file)
    assert file.read_bytes() == before


def tokens_of(server: Server) -> TokenService:
    assert server.tokens is not None
    return server.tokens


@with_login
@pytest.mark.parametrize("login", [None, ocipush.Login(LOGIN.username, "guessed")], ids=["none", "wrong"])
async def test_push_without_the_right_login_is_refused(
    server: Server, store: Path, login: ocipush.Login | None
) -> None:
    with pytest.raises(ocipush.errors.AuthenticationError) as caught:
        await ocipush.push("umoci", store=store, target=f"{server.host}/team/app:v1", **server.options(login))
    assert "ocipush image login" in (caught.value.hint or "")
    assert "guessed" not in str(caught.value)
    assert not (server.data / "docker/registry/v2/repositories/team").exists()


@with_login
@pytest.mark.parametrize(("password", "code"), [(LOGIN.password, 0), ("guessed", 1)], ids=["right", "wrong"])
def test_login_is_saved_only_when_the_registry_accepts_it(
    server: Server, tmp_path: Path, password: str, code: int
) -> None:
    authfile = tmp_path / "auth.json"
    command = [sys.executable, "-m", "ocipush", "image", "login", server.host, "--username", LOGIN.username]
    command += ["--password-stdin", "--check", "--authfile", str(authfile)]
    command += ["--ca-file", str(server.ca_file)] if server.ca_file else []
    run = subprocess.run(command, input=password, capture_output=True, text=True, check=False)
    assert run.returncode == code, run.stderr
    assert authfile.exists() == (code == 0)
    assert "Traceback" not in run.stderr


@with_tokens
async def test_one_token_serves_a_whole_push(server: Server, store: Path) -> None:
    service = tokens_of(server)
    await ocipush.push("index", store=store, target=f"{server.host}/team/app:v1", **server.push_options)
    ((_, claims),) = service.tokens
    assert claims["sub"] == LOGIN.username
    assert service.queries == [{"service": [service.name], "scope": ["repository:team/app:pull,push"]}]


@with_tokens
async def test_anonymous_token_pushes_to_a_public_repository(server: Server, store: Path) -> None:
    service = tokens_of(server)
    service.anonymous = ("pull", "push")
    result = await ocipush.push("umoci", store=store, target=f"{server.host}/public/app:v1", **server.options(None))
    assert not result.unchanged
    assert [claims["sub"] for _, claims in service.tokens] == [""]


@with_tokens
async def test_anonymous_token_without_push_leaves_nothing_behind(server: Server, store: Path) -> None:
    tokens_of(server).anonymous = ("pull",)
    with pytest.raises(ocipush.errors.AuthenticationError, match="UNAUTHORIZED"):
        await ocipush.push("umoci", store=store, target=f"{server.host}/team/app:v1", **server.options(None))
    assert not (server.data / "docker/registry/v2/repositories/team").exists()


@with_tokens
async def test_token_that_lacks_the_right_to_push_is_renewed_once_for_all_blobs(server: Server, store: Path) -> None:
    service = tokens_of(server)
    service.withheld = 1
    result = await ocipush.push("index", store=store, target=f"{server.host}/team/app:v1", **server.push_options)
    assert {blob.outcome for blob in result.blobs} == {"uploaded"}
    assert [claims["access"][0]["actions"] for _, claims in service.tokens] == [["pull"], ["pull", "push"]]


@with_tokens
async def test_token_that_expires_early_is_renewed(server: Server, store: Path) -> None:
    service = tokens_of(server)
    service.lifetime = 2
    async with ocipush.Pusher(store=store, **server.push_options) as pusher:
        await pusher.push("umoci", target=f"{server.host}/team/app:v1")
        ended = len(service.tokens)
        await anyio.to_thread.run_sync(wait_until_refused, server, service.tokens[-1][0])
        service.lifetime = 300
        result = await pusher.push("docker", target=f"{server.host}/team/app:v1")
    assert not result.unchanged
    assert len(service.tokens) == ended + 1


def wait_until_refused(server: Server, token: str) -> None:
    """Ask the registry itself, until it no longer takes a token."""
    context = server.ssl_context()
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"https://{server.host}/v2/team/app/tags/list", headers=headers)
    for _ in range(200):
        try:
            urllib.request.urlopen(request, context=context).close()
        except urllib.error.HTTPError as refusal:
            if refusal.code == 401:
                return
            raise
        time.sleep(0.02)
    raise AssertionError("docker-registry still takes the token")
