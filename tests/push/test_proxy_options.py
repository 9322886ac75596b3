"""Proxies that are chosen by option, in place of those of the environment."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
from tests import layouts
from tests.peers import answering, serve

import ocipush
from ocipush import errors

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
NOBODY = "http://127.0.0.1:9"  # the port of the discard service, where nothing listens here
REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    async def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr("ocipush._http.stream.anyio.getaddrinfo", unknown)
    layouts.write_layout(tmp_path / "app", [layouts.add_manifest(tmp_path / "app", [b"layer"])])
    return tmp_path / "app"


async def failure(image: Path, host: str = "registry.test", **options: Any) -> errors.TransportError:
    with pytest.raises(errors.TransportError) as caught:
        await ocipush.push(
            image,
            target=f"{host}/app:1",
            authfile=image / "none",
            retry=ocipush.RetryPolicy(attempts=1),
            **options,
        )
    return caught.value


async def test_proxy_option_wins_over_the_environment(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", NOBODY)
    monkeypatch.setenv("NO_PROXY", "other.test")
    with serve(answering(REFUSAL)) as proxy:
        error = await failure(image, proxy=proxy.url(""))
        assert "refused to connect to registry.test:443" in error.message
        assert [head.split(b"\r\n")[0] for _, head, *_ in proxy.seen] == [b"CONNECT registry.test:443 HTTP/1.1"]


@pytest.mark.parametrize(
    "options",
    [{"proxy": ""}, {"no_proxy": "*"}, {"no_proxy": ["Registry.TEST"]}, {"no_proxy": "a.test, registry.test"}],
)
async def test_option_can_turn_off_the_proxy_of_the_environment(
    image: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", NOBODY)
    assert "cannot connect to the proxy" in (await failure(image)).message
    assert "the name cannot be resolved" in (await failure(image, **options)).message


@pytest.mark.parametrize("proxy", ["ftp://proxy.example", "http://", "http://user:secret@proxy.example:99999", "::"])
def test_invalid_proxy_is_refused_immediately_and_not_shown(proxy: str) -> None:
    with pytest.raises(ValueError, match=r"^proxy must be the URL of a proxy") as caught:
        ocipush.Pusher(proxy=proxy)
    assert "secret" not in str(caught.value)
