"""Which hosts a registry may point its client to. The address that is connected to decides, not the name."""

from __future__ import annotations

import json
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from tests.networks import Network

import ocipush
from ocipush import errors
from ocipush.testing import Registry, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
LOGIN = ocipush.Login("user", "correct horse")
PUBLIC, PRIVATE, LINK_LOCAL, LOOPBACK = "192.0.2.1", "10.0.0.1", "169.254.169.254", "127.0.0.1"


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    return Network(monkeypatch)


def port(registry: Registry) -> str:
    return registry.host.rpartition(":")[2]


class Hosts:
    """A registry, and another host that it points to for uploads or for tokens."""

    def __init__(self, kind: str, registry: Registry, other: Registry) -> None:
        self.kind, self.registry, self.other = kind, registry, other
        self.other_is_registry = False
        self.target = f"registry.example:{port(registry)}/team/app:1"
        self.where = f"http://other.example:{port(other)}"

    async def answer(self, request: Request) -> Response | None:
        if self.kind == "location" and request.method == "POST":
            return Response(202, {"Location": f"{self.where}/up?sig=1"})
        if self.kind == "location" and request.path.endswith("/manifests/1") and request.method == "PUT":
            return Response(201)  # although this registry does not have the blobs
        if self.kind == "realm" and request.headers.get("authorization") != "Bearer t":
            return Response(401, {"WWW-Authenticate": f'Bearer realm="{self.where}/token"'})
        return None

    async def serve(self, request: Request) -> Response | None:
        if request.path == "/token":
            return Response(200, {}, json.dumps({"token": "t"}).encode())
        if self.other_is_registry:
            return None
        while await request.receive():
            pass
        return Response(201)


async def enter(stack: AsyncExitStack, kind: str) -> Hosts:
    hosts: Hosts

    async def answer(request: Request) -> Response | None:
        return await hosts.answer(request)

    async def serve(request: Request) -> Response | None:
        return await hosts.serve(request)

    registry = await stack.enter_async_context(Registry(intercept=answer))
    other = await stack.enter_async_context(Registry(intercept=serve))
    hosts = Hosts(kind, registry, other)
    return hosts


def pusher(image: Path, hosts: Hosts, **options: Any) -> ocipush.Pusher:
    host = hosts.target.partition("/")[0]
    options = {"retry": ocipush.RetryPolicy(attempts=1), "tls_verify": False, **options}
    return ocipush.Pusher(authfile=image / "none", credentials={host: LOGIN}, **options)


@pytest.mark.parametrize("kind", ["location", "realm"])
@pytest.mark.parametrize(
    ("own", "theirs", "allowed"),
    [
        (PUBLIC, "192.0.2.2", True),
        (PUBLIC, "10.0.0.2", False),
        (PUBLIC, "127.0.0.2", False),
        (PUBLIC, "0.0.0.0", False),
        (PUBLIC, "::ffff:10.0.0.2", False),
        (PRIVATE, "10.0.0.2", True),
        (PRIVATE, "192.0.2.2", True),
        (PRIVATE, "127.0.0.2", False),
        (PRIVATE, LINK_LOCAL, False),
        (LOOPBACK, "127.0.0.2", True),
        (LOOPBACK, "10.0.0.2", True),
        (LOOPBACK, LINK_LOCAL, False),
    ],
)
async def test_registry_may_not_point_to_a_more_private_address(
    image: Path, network: Network, kind: str, own: str, theirs: str, allowed: bool
) -> None:
    network.names = {"registry.example": [own], "other.example": [theirs]}
    async with AsyncExitStack() as stack:
        hosts = await enter(stack, kind)
        async with pusher(image, hosts) as one:
            if allowed:
                await one.push(image, target=hosts.target)
                assert theirs in network
                return
            with pytest.raises(errors.UnsafeLocationError, match=r"points to other\.example") as caught:
                await one.push(image, target=hosts.target)
        host = f"other.example:{port(hosts.other)}"
        assert caught.value.hint == f"if this is intended, allow {host} with allow_hosts="
        assert theirs not in network
        assert hosts.other.connections == 0
        assert not hosts.registry.repository("team/app").tags


@pytest.mark.parametrize("kind", ["location", "realm"])
@pytest.mark.parametrize("entry", ["other.example", "other.example:{port}"])
async def test_host_that_the_user_allows_is_used(image: Path, network: Network, kind: str, entry: str) -> None:
    network.names = {"registry.example": [PUBLIC], "other.example": [PRIVATE]}
    async with AsyncExitStack() as stack:
        hosts = await enter(stack, kind)
        async with pusher(image, hosts, allow_hosts=[entry.format(port=port(hosts.other))]) as one:
            await one.push(image, target=hosts.target)
    assert PRIVATE in network


async def test_single_allowed_host_may_be_given_as_a_string(image: Path, network: Network) -> None:
    network.names = {"registry.example": [PUBLIC], "other.example": [PRIVATE]}
    async with AsyncExitStack() as stack:
        hosts = await enter(stack, "location")
        async with pusher(image, hosts, allow_hosts="other.example") as one:
            await one.push(image, target=hosts.target)
        assert PRIVATE in network
        assert {request.method for request in hosts.other.requests} == {"PUT"}


@pytest.mark.parametrize("host", ["10.0.0.2", "0x7f.1", "2130706433", "[::1]", "localhost"])
@pytest.mark.parametrize("kind", ["location", "realm"])
async def test_literal_address_is_checked_before_any_connection(
    image: Path, network: Network, kind: str, host: str
) -> None:
    network.names = {"registry.example": [PUBLIC], "0x7f.1": [LOOPBACK], "2130706433": [LOOPBACK]}
    async with AsyncExitStack() as stack:
        hosts = await enter(stack, kind)
        hosts.where = f"http://{host}:{port(hosts.other)}"
        async with pusher(image, hosts) as one:
            with pytest.raises(errors.UnsafeLocationError):
                await one.push(image, target=hosts.target)
        assert hosts.other.connections == 0
    assert {address for address, _ in network.connected} == {PUBLIC}


async def test_name_is_checked_each_time_it_is_resolved(image: Path, network: Network) -> None:
    network.names = {"registry.example": [PUBLIC], "other.example": ["192.0.2.2"]}
    async with AsyncExitStack() as stack:
        hosts = await enter(stack, "location")
        async with pusher(image, hosts) as one:
            await one.push(image, target=hosts.target)
            network.names["other.example"] = [PRIVATE]
        async with pusher(image, hosts) as one:
            with pytest.raises(errors.UnsafeLocationError):
                await one.push(image, target=hosts.target.replace("team/app", "team/other"))
    assert PRIVATE not in network


async def test_own_name_of_the_registry_on_another_port_is_checked_like_any_other(
    image: Path, network: Network
) -> None:
    async with AsyncExitStack() as stack:
        hosts = await enter(stack, "location")
        network.names = {"registry.example": [PUBLIC], f"registry.example:{port(hosts.other)}": [LOOPBACK]}
        hosts.where = f"http://registry.example:{port(hosts.other)}"
        async with pusher(image, hosts) as one:
            with pytest.raises(errors.UnsafeLocationError):
                await one.push(image, target=hosts.target)
    assert LOOPBACK not in network


async def test_connection_left_open_by_another_push_is_checked_too(image: Path, network: Network) -> None:
    network.names = {"registry.example": [PUBLIC], "other.example": [PRIVATE]}
    async with AsyncExitStack() as stack:
        hosts = await enter(stack, "location")
        hosts.other_is_registry = True
        async with pusher(image, hosts) as one:
            await one.push(image, target=f"other.example:{port(hosts.other)}/app:1")
            seen = len(hosts.other.requests)
            with pytest.raises(errors.UnsafeLocationError):
                await one.push(image, target=hosts.target)
        assert len(hosts.other.requests) == seen


async def test_only_the_allowed_addresses_of_a_name_are_connected_to(image: Path, network: Network) -> None:
    network.names = {"registry.example": [PUBLIC], "other.example": [PRIVATE, "192.0.2.2"]}
    async with AsyncExitStack() as stack:
        hosts = await enter(stack, "location")
        async with pusher(image, hosts) as one:
            await one.push(image, target=hosts.target)
    assert "192.0.2.2" in network
    assert PRIVATE not in network


@pytest.mark.parametrize("kind", ["location", "realm"])
async def test_plain_http_leaves_this_machine_only_when_it_is_allowed(image: Path, network: Network, kind: str) -> None:
    network.names = {"localhost": [LOOPBACK], "other.example": ["192.0.2.2"]}
    async with AsyncExitStack() as stack:
        hosts = await enter(stack, kind)
        hosts.target = f"localhost:{port(hosts.registry)}/team/app:1"
        async with pusher(image, hosts, tls_verify=True) as one:
            with pytest.raises(errors.UnsafeLocationError, match=r"plain HTTP|not an https URL") as caught:
                await one.push(image, target=hosts.target)
            hint = "tls_verify=False" if kind == "location" else "its own address"
            assert hint in (caught.value.hint or "")
            assert hosts.other.connections == 0
            await one.push(image, target=hosts.target, tls_verify=False)


async def test_name_that_resolves_elsewhere_once_plain_http_was_found_gets_no_login(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is resolved for TLS, then to see whether plain HTTP is allowed, and then for plain HTTP."""
    resolved = 0

    async def getaddrinfo(_: str, port: int, **__: Any) -> list[Any]:
        nonlocal resolved
        resolved += 1
        address = "127.0.0.1" if resolved <= 2 else "192.0.2.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    async with Registry() as registry:
        host = f"registry.localhost:{port(registry)}"
        push = ocipush.push(
            image,
            target=f"{host}/app:1",
            authfile=image / "none",
            credentials={host: LOGIN},
            retry=ocipush.RetryPolicy(attempts=1),
        )
        with pytest.raises(errors.UnsafeLocationError, match=r"192\.0\.2\.1 \(public\) in plain HTTP"):
            await push
        assert resolved == 3
        assert registry.requests == []


@pytest.mark.parametrize(
    ("where", "allowed"),
    [
        ("https://10.0.0.1/up", False),
        ("https://localhost/up", False),
        ("https://0x7f.1/up", False),
        ("https://o.example/up", True),
    ],
)
async def test_literal_address_is_checked_with_a_custom_transport_too(image: Path, where: str, allowed: bool) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        if request.method == "POST":
            return httpx.Response(202, headers={"Location": where})
        return httpx.Response(404 if request.method == "HEAD" else 201)

    asked: list[str] = []
    push = ocipush.push(
        image, target="registry.example/app:1", authfile=image / "none", transport=httpx.MockTransport(answer)
    )
    if allowed:
        await push
    else:
        with pytest.raises(errors.UnsafeLocationError):
            await push
    assert set(asked) == ({"registry.example", "o.example"} if allowed else {"registry.example"})
