"""Pushes through tinyproxy: by CONNECT to registries over TLS, by forwarding to those on plain HTTP."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests import layouts
from tests.real.broken import free_port
from tests.real.images import root_of
from tests.real.proxies import Proxy, behind_a_proxy, tinyproxy
from tests.real.servers import LOGIN, Server

import ocipush
from ocipush._http import stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.real]
USER, PASSWORD = "proxy-user", "pass.w0rd-9"  # tinyproxy takes no other signs
QUOTED = "proxy%2Duser:pass%2Ew0rd%2D9@"
ONCE = ocipush.RetryPolicy(attempts=1)
with_tls = pytest.mark.parametrize("server", ["tls"], indirect=True)
plain = pytest.mark.parametrize("server", ["plain"], indirect=True)
both = pytest.mark.parametrize("server", ["plain", "tls"], indirect=True)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with tinyproxy(tmp_path / "proxy") as running:
        yield running


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The ports that this process connects to."""
    ports: set[int] = set()
    connect = stream._connect_one

    async def connect_one(address: Any) -> Any:
        ports.add(address[1][1])
        return await connect(address)

    monkeypatch.setattr(stream, "_connect_one", connect_one)
    return ports


def options(server: Server) -> dict[str, Any]:
    """Options of ``push``: plain HTTP to another machine has to be allowed."""
    return {**server.push_options, "tls_verify": server.ca_file is not None}


def served(server: Server, repository: str, store: Path, image: str) -> bool:
    """Whether the registry serves an image of the store."""
    found = server.skopeo("inspect", "--format", "{{.Digest}}", f"docker://{server.host}/{repository}")
    return found.decode().strip() == str(root_of(store / image)["digest"])


async def test_every_request_uses_the_proxy(
    server: Server, store: Path, proxy: Proxy, connected: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy.url)
    far = behind_a_proxy(server)
    async with ocipush.Pusher(store=store, **options(far)) as pusher:
        result = await pusher.push("umoci", target=f"{far.host}/team/app:v1")
        assert {blob.outcome for blob in result.blobs} == {"uploaded"}
        again = await pusher.push("umoci", target=f"{far.host}/team/app:v1")
        assert (again.unchanged, again.requests) == (True, 1)
    assert served(server, "team/app:v1", store, "umoci")
    port = int(server.host.rpartition(":")[2])
    assert proxy.port in connected
    assert port not in connected
    forwarded = [request for request in proxy.requests if not request.startswith("CONNECT")]
    assert set(proxy.requests) - set(forwarded) == {f"CONNECT {far.host}"}
    if server.ca_file is not None:
        assert forwarded == []
    else:
        assert all(request.split(" ")[1].startswith(f"http://{far.host}/v2/") for request in forwarded)
        assert f"PUT http://{far.host}/v2/team/app/manifests/v1" in forwarded


@both
async def test_large_layer_is_pushed_through_the_proxy(
    server: Server, tmp_path: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy.url)
    layout, far = tmp_path / "large", behind_a_proxy(server)
    layouts.write_layout(layout, [layouts.add_manifest(layout, [os.urandom(1024) * 32 * 1024])])
    result = await ocipush.push(layout, target=f"{far.host}/team/large:v1", **options(far))
    assert {blob.outcome for blob in result.blobs} == {"uploaded"}
    assert result.sent >= 32 * 1024**2
    assert proxy.requests


@both
@pytest.mark.parametrize("login", ["right", "wrong", "none"])
async def test_only_the_proxy_gets_the_login_that_it_requires(
    server: Server, store: Path, tmp_path: Path, login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    quoted = {"right": QUOTED, "wrong": "proxy-user:guessed-it@", "none": ""}[login]
    far = behind_a_proxy(server)
    with tinyproxy(tmp_path / "proxy", f"BasicAuth {USER} {PASSWORD}") as proxy:
        monkeypatch.setenv("ALL_PROXY", f"http://{quoted}{proxy.address}")
        push = ocipush.push("umoci", store=store, target=f"{far.host}/team/app:v1", retry=ONCE, **options(far))
        if login == "right":
            await push
            assert served(server, "team/app:v1", store, "umoci")
            return
        with pytest.raises(ocipush.errors.ConnectFailedError) as caught:
            await push
    words = str(caught.value)
    assert f"the proxy {proxy.address}" in words
    assert ("requires a login: 407 Proxy" if login == "none" else "did not accept the login: 401") in words
    assert ("USER:PASSWORD@" if login == "none" else "check the login in the proxy's URL") in (caught.value.hint or "")
    assert "guessed-it" not in words
    assert base64.b64encode(b"proxy-user:guessed-it").decode() not in words
    assert not (server.data / "docker/registry/v2/repositories/team").exists()


@both
async def test_proxy_that_does_not_allow_the_port_is_named_or_asked_to_forward(
    server: Server, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = behind_a_proxy(server)
    with tinyproxy(tmp_path / "proxy", "ConnectPort 443") as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        push = ocipush.push("umoci", store=store, target=f"{far.host}/team/app:v1", retry=ONCE, **options(far))
        if server.ca_file is None:
            await push
            assert served(server, "team/app:v1", store, "umoci")
            return
        with pytest.raises(ocipush.errors.ConnectFailedError) as caught:
            await push
    assert f"the proxy {proxy.address} refused to connect to {far.host}: 403 Forbidden" in str(caught.value)
    assert "NO_PROXY" in (caught.value.hint or "")
    assert not caught.value.temporary


@pytest.mark.parametrize("tls_verify", [True, False])
async def test_registry_that_is_down_behind_the_proxy_is_named_with_it(
    store: Path, proxy: Proxy, tls_verify: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy.url)
    host = f"0.0.0.0:{free_port()}"
    target = f"{host}/team/app:v1"
    push = ocipush.push("umoci", store=store, target=target, authfile="/nonexistent", retry=ONCE, tls_verify=tls_verify)
    with pytest.raises(ocipush.errors.ConnectFailedError) as caught:
        await push
    assert f"the proxy {proxy.address} cannot connect to {host}: 500" in str(caught.value)


async def test_proxy_that_is_down_is_named(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("ALL_PROXY", f"http://{QUOTED}127.0.0.1:{port}")
    for tls_verify in (True, False):
        push = ocipush.push(
            "umoci",
            store=store,
            target="0.0.0.0:5000/team/app:v1",
            authfile="/nonexistent",
            retry=ONCE,
            tls_verify=tls_verify,
        )
        with pytest.raises(ocipush.errors.ConnectFailedError) as caught:
            await push
        assert f"cannot connect to the proxy 127.0.0.1:{port}: connection refused" in str(caught.value)
        assert "w0rd" not in str(caught.value)


@both
@pytest.mark.parametrize("entry", ["0.0.0.0", "{host}", "0.0.0.0/8", "*"])
async def test_registry_in_no_proxy_is_reached_directly(
    server: Server, store: Path, proxy: Proxy, connected: set[int], entry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = behind_a_proxy(server)
    monkeypatch.setenv("ALL_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", f"registry.example,{entry.format(host=far.host)}")

    async def connect_one(address: Any) -> Any:  # as tests connect to loopback only
        return await connect((address[0], ("127.0.0.1", address[1][1])))

    connect = stream._connect_one
    monkeypatch.setattr(stream, "_connect_one", connect_one)
    await ocipush.push("umoci", store=store, target=f"{far.host}/team/app:v1", **options(far))
    assert proxy.requests == []
    assert served(server, "team/app:v1", store, "umoci")


@both
async def test_custom_transport_may_use_a_proxy(server: Server, store: Path, proxy: Proxy) -> None:
    far = behind_a_proxy(server)
    verify = server.ssl_context() if server.ca_file else False
    # tinyproxy closes connections without saying so, and httpx leaves its generators open where that meets a request.
    limits = httpx.Limits(max_keepalive_connections=0)
    theirs = httpx.AsyncHTTPTransport(proxy=httpx.Proxy(proxy.url), verify=verify, limits=limits)
    target = f"{far.host}/team/app:v1"
    result = await ocipush.push("index", store=store, target=target, transport=theirs, **options(far))
    assert {blob.outcome for blob in result.blobs} == {"uploaded"}
    assert f"CONNECT {far.host}" in proxy.requests
    assert served(server, "team/app:v1", store, "index")


@pytest.mark.parametrize("server", ["htpasswd", "token"], indirect=True)
@pytest.mark.parametrize(("password", "code"), [(LOGIN.password, 0), ("guessed", 1)], ids=["right", "wrong"])
def test_command_logs_in_and_pushes_through_the_proxy(
    server: Server, store: Path, proxy: Proxy, tmp_path: Path, password: str, code: int
) -> None:
    far = behind_a_proxy(server)
    common = ["--authfile", str(tmp_path / "auth.json")]
    common += ["--ca-file", str(server.ca_file)] if server.ca_file else ["--tls-verify=false"]
    login = ["image", "login", far.host, "--username", LOGIN.username, "--password-stdin", "--check", *common]
    push = ["--images-store-dir", str(store), "push", "umoci", "--target", f"{far.host}/team/app:v1", *common]
    environment = {**os.environ, "HTTP_PROXY": proxy.url, "https_proxy": proxy.url}
    for arguments in (login, push)[: 2 - code]:
        run = subprocess.run(
            [sys.executable, "-m", "ocipush", *arguments],
            input=password,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert run.returncode == code, run.stderr
        assert "Traceback" not in run.stderr
    assert f"CONNECT {far.host}" in proxy.requests
    if code == 0:
        assert served(server, "team/app:v1", store, "umoci")
