"""Logins and tokens are sent only to the origin they are for, and to the token service that this origin names."""

from __future__ import annotations

import base64
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from tests.networks import Network

import ocipush
from ocipush import errors
from ocipush.testing import Registry, Request, Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Answer = Callable[["Host", Request], Awaitable[Response | None]]

pytestmark = pytest.mark.anyio
GOOD, EVIL = ocipush.Login("good", "password-of-good"), ocipush.Login("evil", "password-of-evil")
RETRY = ocipush.RetryPolicy(attempts=1)


def basic(login: ocipush.Login) -> str:
    return "Basic " + base64.b64encode(f"{login.username}:{login.password}".encode()).decode()


class Host:
    """One server, under any name: the requests to it, and their credentials."""

    def __init__(self, name: str, port: str) -> None:
        self.name = name
        self.host = f"{name}:{port}"
        self.url = f"http://{self.host}"
        self.port = port
        self.seen: list[tuple[str, str, str | None]] = []

    @property
    def credentials(self) -> set[str | None]:
        return {authorization for _, _, authorization in self.seen}


class Hosts:
    """Servers under made-up names, and pushes to them."""

    def __init__(self, stack: AsyncExitStack, network: Network, image: Path) -> None:
        self._stack = stack
        self.network = network
        self.image = image

    async def add(self, name: str, answer: Answer) -> Host:
        found: list[Host] = []

        async def intercept(request: Request) -> Response | None:
            assert "cookie" not in request.headers
            found[0].seen.append((request.method, request.path, request.headers.get("authorization")))
            await request.read(100_000)
            reply = await answer(found[0], request)
            if reply is not None:
                reply.headers["Set-Cookie"] = "session=1; Path=/"
            return reply

        registry = await self._stack.enter_async_context(Registry(intercept=intercept))
        found.append(Host(name, registry.host.rpartition(":")[2]))
        self.network.names.setdefault(name, ["192.0.2.1"])
        return found[0]

    def pusher(self, logins: dict[str, ocipush.Login], **options: Any) -> ocipush.Pusher:
        options = {"tls_verify": False, "retry": RETRY, **options}
        return ocipush.Pusher(authfile=self.image / "none", credentials=logins, **options)

    async def push(self, logins: dict[str, ocipush.Login], *targets: Host) -> None:
        async with self.pusher(logins) as pusher:
            for target in targets:
                await pusher.push(self.image, target=f"{target.host}/app:1")


@pytest.fixture
async def hosts(monkeypatch: pytest.MonkeyPatch, image: Path) -> Any:
    async with AsyncExitStack() as stack:
        yield Hosts(stack, Network(monkeypatch), image)


def registry(*, challenge: str, accepts: str, location: Callable[[Host], str] | None = None) -> Answer:
    """A registry that wants this Authorization, and names this ``location`` for uploads."""

    async def answer(host: Host, request: Request) -> Response:
        if request.path.startswith("/up"):
            return Response(201)
        if request.headers.get("authorization") != accepts:
            return Response(401, {"WWW-Authenticate": challenge})
        if request.method == "POST":
            return Response(202, {"Location": location(host) if location else "/up?x=1"})
        return Response(404 if request.method == "HEAD" else 201)

    return answer


async def tokens(_: Host, request: Request) -> Response:
    """A token service whose tokens contain the login that they were issued for."""
    given = request.headers.get("authorization", "nobody").removeprefix("Basic ")
    return Response(200, {}, json.dumps({"token": f"token-for-{given}"}).encode())


async def storage(_: Host, __: Request) -> Response:
    return Response(201)


WHERE = [
    "http://other.example:{other}/up",
    "http://registry.example:{other}/up",
    "http://registry.example.:{own}/up",
    "http://user:pass@other.example:{other}/up",
    "http://registry.example:{own}@other.example:{other}/up",
    "http://xn--registry-9fb.example:{other}/up",
    "//other.example:{other}/up",
]


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
@pytest.mark.parametrize("where", WHERE)
async def test_no_credentials_are_sent_to_an_upload_on_another_origin(hosts: Hosts, scheme: str, where: str) -> None:
    auth = await hosts.add("auth.example", tokens)
    other = await hosts.add("other.example", storage)
    hosts.network.names |= {"registry.example.": ["192.0.2.1"], "xn--registry-9fb.example": ["192.0.2.1"]}
    asked: list[Host] = []

    def location(host: Host) -> str:
        asked.append(host)
        return where.format(own=host.port, other=other.port)

    accepts = basic(GOOD) if scheme == "basic" else f"Bearer token-for-{basic(GOOD)[6:]}"
    challenge = 'Basic realm="r"' if scheme == "basic" else f'Bearer realm="{auth.url}/t",service="s"'
    own = await hosts.add("registry.example", registry(challenge=challenge, accepts=accepts, location=location))
    await hosts.push({own.host: GOOD}, own)
    assert asked
    uploads = [entry for host in (own, other) for entry in host.seen if entry[1].startswith("/up")]
    assert {method for method, _, _ in uploads} == {"PUT"}
    assert {authorization for _, _, authorization in uploads} == {None}
    assert other.credentials <= {None}
    assert auth.credentials <= {basic(GOOD)}


@pytest.mark.parametrize(
    "spelling", ["http://registry.example:{own}/up", "http://REGISTRY.example:{own}/up", "/up", "up"]
)
async def test_credentials_are_sent_to_an_upload_on_the_registrys_own_origin(hosts: Hosts, spelling: str) -> None:
    def location(host: Host) -> str:
        return spelling.format(own=host.port) if spelling != "up" else f"../../../../up?{host.port}"

    hosts.network.names["REGISTRY.example"] = ["192.0.2.1"]
    answer = registry(challenge='Basic realm="r"', accepts=basic(GOOD), location=location)
    own = await hosts.add("registry.example", answer)
    await hosts.push({own.host: GOOD}, own)
    assert {one for _, path, one in own.seen if path.startswith("/up")} == {basic(GOOD)}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "token"])
async def test_redirects_are_never_followed(hosts: Hosts, status: int, method: str) -> None:
    other = await hosts.add("other.example", storage)

    async def token(host: Host, request: Request) -> Response:
        return redirect if method == "token" else await tokens(host, request)

    async def answer(host: Host, request: Request) -> Response | None:
        return redirect if request.method == method else await usual(host, request)

    redirect = Response(status, {"Location": f"{other.url}/v2/"})
    auth = await hosts.add("auth.example", token)
    challenge = f'Bearer realm="{auth.url}/t",service="s"'
    usual = registry(challenge=challenge, accepts=f"Bearer token-for-{basic(GOOD)[6:]}")
    own = await hosts.add("registry.example", answer)
    with pytest.raises(errors.UnexpectedResponseError, match=f"answered {status}"):
        await hosts.push({own.host: GOOD}, own)
    assert other.seen == []


@pytest.mark.parametrize("login", [EVIL, None], ids=["own login", "no login"])
async def test_registry_that_names_the_token_service_of_another_gets_none_of_its_tokens(
    hosts: Hosts, login: ocipush.Login | None
) -> None:
    auth = await hosts.add("auth.example", tokens)
    challenge = f'Bearer realm="{auth.url}/token",service="good",scope="repository:app:pull,push"'
    good_token = f"Bearer token-for-{basic(GOOD)[6:]}"
    evil_token = f"Bearer token-for-{basic(EVIL)[6:] if login else 'nobody'}"
    good = await hosts.add("good.example", registry(challenge=challenge, accepts=good_token))
    evil = await hosts.add("evil.example", registry(challenge=challenge, accepts=evil_token))
    await hosts.push({good.host: GOOD} | ({evil.host: login} if login else {}), good, evil, good)
    assert good.credentials == {None, good_token}
    assert evil.credentials == {None, evil_token}
    assert [one for _, _, one in auth.seen] == [basic(GOOD), basic(login) if login else None]


async def test_token_of_one_realm_is_not_sent_after_the_registry_names_another(hosts: Hosts) -> None:
    first, second = await hosts.add("first.example", tokens), await hosts.add("second.example", tokens)

    async def answer(host: Host, request: Request) -> Response:
        moved = any(method == "POST" for method, _, _ in host.seen)
        realm = (second if moved else first).url
        if host.seen[-1][2] is None or (request.method == "POST" and len(second.seen) == 0):
            return Response(401, {"WWW-Authenticate": f'Bearer realm="{realm}/t",service="s"'})
        if request.method == "POST":
            return Response(202, {"Location": "/up?x=1"})
        return Response(404 if request.method == "HEAD" else 201)

    own = await hosts.add("registry.example", answer)
    await hosts.push({own.host: GOOD}, own)
    assert (len(first.seen), len(second.seen)) == (1, 1)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_blob_is_uploaded_when_the_token_service_refuses_the_scope_of_a_mount(hosts: Hosts, status: int) -> None:
    asked: list[list[str]] = []

    async def picky(host: Host, request: Request) -> Response:
        asked.append(request.scopes)
        if len(request.scopes) > 1:
            return Response(status)
        return await tokens(host, request)

    auth = await hosts.add("auth.example", picky)
    token = f"Bearer token-for-{basic(GOOD)[6:]}"
    challenge = f'Bearer realm="{auth.url}/token",service="s"'
    own = await hosts.add("registry.example", registry(challenge=challenge, accepts=token))
    async with hosts.pusher({own.host: GOOD}) as pusher:
        await pusher.push(hosts.image, target=f"{own.host}/app:1")
        result = await pusher.push(hosts.image, target=f"{own.host}/other:1")
    assert {blob.outcome for blob in result.blobs} == {"uploaded"}
    assert [len(scopes) for scopes in asked].count(1) == 2
    assert any(len(scopes) == 2 for scopes in asked)


async def test_token_service_that_fails_temporarily_is_asked_again(hosts: Hosts) -> None:
    answers = iter([Response(503), Response(429, {"Retry-After": "0"})])

    async def shaky(host: Host, request: Request) -> Response:
        return next(answers, None) or await tokens(host, request)

    auth = await hosts.add("auth.example", shaky)
    token = f"Bearer token-for-{basic(GOOD)[6:]}"
    challenge = f'Bearer realm="{auth.url}/token",service="s"'
    own = await hosts.add("registry.example", registry(challenge=challenge, accepts=token))
    async with hosts.pusher({own.host: GOOD}, retry=ocipush.RetryPolicy(attempts=3, base=0)) as pusher:
        await pusher.push(hosts.image, target=f"{own.host}/app:1")
    assert len(auth.seen) == 3
