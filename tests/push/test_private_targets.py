"""Where a registry may send its client, judged by the address that is connected to (docs/requests.md, "Addresses")."""

from __future__ import annotations

import json
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from tests import layouts
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
def image(tmp_path: Path) -> Path:
    path = tmp_path / "app"
    layouts.write_layout(path, [layouts.add_manifest(path, [b"layer"])])
    return path


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    return Network(monkeypatch)


def port(registry: Registry) -> str:
    return registry.host.rpartition(":")[2]


class World:
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
            return Response(201)  # whose blobs this registry has not seen
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


async def enter(stack: AsyncExitStack, kind: str) -> World:
    world: World

    async def answer(request: Request) -> Response | None:
        return await world.answer(request)

    async def serve(request: Request) -> Response | None:
        return await world.serve(request)

    registry = await stack.enter_async_context(Registry(intercept=answer))
    other = await stack.enter_async_context(Registry(intercept=serve))
    world = World(kind, registry, other)
    return world


def pusher(image: Path, world: World, **options: Any) -> ocipush.Pusher:
    host = world.target.partition("/")[0]
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
        world = await enter(stack, kind)
        async with pusher(image, world) as one:
            if allowed:
                await one.push(image, target=world.target)
                assert theirs in network
                return
            with pytest.raises(errors.UnsafeLocationError, match=r"points to other\.example") as caught:
                await one.push(image, target=world.target)
        assert "--allow-host other.example" in (caught.value.hint or "")
        assert theirs not in network
        assert world.other.connections == 0
        assert not world.registry.repository("team/app").tags


@pytest.mark.parametrize("kind", ["location", "realm"])
@pytest.mark.parametrize("entry", ["other.example", "other.example:{port}"])
async def test_host_that_the_user_allows_is_gone_to(image: Path, network: Network, kind: str, entry: str) -> None:
    network.names = {"registry.example": [PUBLIC], "other.example": [PRIVATE]}
    async with AsyncExitStack() as stack:
        world = await enter(stack, kind)
        async with pusher(image, world, allow_hosts=[entry.format(port=port(world.other))]) as one:
            await one.push(image, target=world.target)
    assert PRIVATE in network


async def test_one_host_that_is_allowed_may_be_given_as_a_string(image: Path, network: Network) -> None:
    network.names = {"registry.example": [PUBLIC], "other.example": [PRIVATE]}
    async with AsyncExitStack() as stack:
        world = await enter(stack, "location")
        async with pusher(image, world, allow_hosts="other.example") as one:
            await one.push(image, target=world.target)


@pytest.mark.parametrize("host", ["10.0.0.2", "0x7f.1", "2130706433", "[::1]", "localhost"])
@pytest.mark.parametrize("kind", ["location", "realm"])
async def test_address_in_place_of_a_name_is_judged_before_any_connection(
    image: Path, network: Network, kind: str, host: str
) -> None:
    network.names = {"registry.example": [PUBLIC], "0x7f.1": [LOOPBACK], "2130706433": [LOOPBACK]}
    async with AsyncExitStack() as stack:
        world = await enter(stack, kind)
        world.where = f"http://{host}:{port(world.other)}"
        async with pusher(image, world) as one:
            with pytest.raises(errors.UnsafeLocationError):
                await one.push(image, target=world.target)
        assert world.other.connections == 0
    assert {address for address, _ in network.connected} == {PUBLIC}


async def test_name_that_is_resolved_anew_is_judged_anew(image: Path, network: Network) -> None:
    network.names = {"registry.example": [PUBLIC], "other.example": ["192.0.2.2"]}
    async with AsyncExitStack() as stack:
        world = await enter(stack, "location")
        async with pusher(image, world) as one:
            await one.push(image, target=world.target)
            network.names["other.example"] = [PRIVATE]
        async with pusher(image, world) as one:
            with pytest.raises(errors.UnsafeLocationError):
                await one.push(image, target=world.target.replace("team/app", "team/other"))
    assert PRIVATE not in network


async def test_registrys_own_name_on_another_port_is_judged_like_any_other(image: Path, network: Network) -> None:
    async with AsyncExitStack() as stack:
        world = await enter(stack, "location")
        network.names = {"registry.example": [PUBLIC], f"registry.example:{port(world.other)}": [LOOPBACK]}
        world.where = f"http://registry.example:{port(world.other)}"
        async with pusher(image, world) as one:
            with pytest.raises(errors.UnsafeLocationError):
                await one.push(image, target=world.target)
    assert LOOPBACK not in network


async def test_connection_that_another_push_left_open_is_judged_too(image: Path, network: Network) -> None:
    network.names = {"registry.example": [PUBLIC], "other.example": [PRIVATE]}
    async with AsyncExitStack() as stack:
        world = await enter(stack, "location")
        world.other_is_registry = True
        async with pusher(image, world) as one:
            await one.push(image, target=f"other.example:{port(world.other)}/app:1")
            seen = len(world.other.requests)
            with pytest.raises(errors.UnsafeLocationError):
                await one.push(image, target=world.target)
        assert len(world.other.requests) == seen


async def test_of_a_names_addresses_only_the_allowed_are_connected_to(image: Path, network: Network) -> None:
    network.names = {"registry.example": [PUBLIC], "other.example": [PRIVATE, "192.0.2.2"]}
    async with AsyncExitStack() as stack:
        world = await enter(stack, "location")
        async with pusher(image, world) as one:
            await one.push(image, target=world.target)
    assert "192.0.2.2" in network
    assert PRIVATE not in network


@pytest.mark.parametrize("kind", ["location", "realm"])
async def test_upload_and_login_leave_this_machine_in_plain_http_only_where_that_is_allowed(
    image: Path, network: Network, kind: str
) -> None:
    network.names = {"localhost": [LOOPBACK], "other.example": ["192.0.2.2"]}
    async with AsyncExitStack() as stack:
        world = await enter(stack, kind)
        world.target = f"localhost:{port(world.registry)}/team/app:1"
        async with pusher(image, world, tls_verify=True) as one:
            with pytest.raises(errors.UnsafeLocationError, match=r"plain HTTP|not HTTPS") as caught:
                await one.push(image, target=world.target)
            assert "--tls-verify=false" in (caught.value.hint or "")
            assert world.other.connections == 0
            await one.push(image, target=world.target, tls_verify=False)


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
async def test_where_names_are_resolved_elsewhere_addresses_in_an_url_are_judged(
    image: Path, where: str, allowed: bool
) -> None:
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
