"""How the sessions of a blob's upload are opened, tried again, and closed."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from tests import layouts

import ocipush
from ocipush import errors
from ocipush.testing import Cut, Registry, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024
LAYER = os.urandom(1024) * 1536
QUICK = ocipush.RetryPolicy(attempts=3, base=0)
UPLOAD = "PUT /v2/*/blobs/uploads/*"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    layouts.write_layout(tmp_path / "app", [layouts.add_manifest(tmp_path / "app", [LAYER])])
    return tmp_path / "app"


async def push(image: Path, registry: Registry, **options: Any) -> ocipush.PushResult:
    options = {"retry": QUICK, "authfile": image / "none", **options}
    return await ocipush.push(image, target=f"{registry.host}/app:1", **options)


def layer_bodies(registry: Registry, since: int = 0) -> list[tuple[str, int, int]]:
    """The requests that carried a part of the layer: method, length and status."""
    return [
        (request.method, int(request.headers["content-length"]), request.status)
        for request in registry.requests[since:]
        if request.method in {"PATCH", "PUT"} and int(request.headers["content-length"]) >= 1024
    ]


class Uploads:
    """A registry, as a transport, whose answers to the bodies of a large layer come from a script, the rest being ``201``."""

    def __init__(self, *script: httpx.Response | Exception, least: int = 1024) -> None:
        self.script = list(script)
        self.least = least
        self.bodies: list[tuple[str, int]] = []
        self.others: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        length = int(request.headers.get("content-length", 0))
        if request.method in {"PATCH", "PUT"} and length >= self.least and "/manifests/" not in request.url.path:
            self.bodies.append((request.method, length))
            if self.script:
                step = self.script.pop(0)
                if isinstance(step, Exception):
                    raise step
                return step
            return httpx.Response(202 if request.method == "PATCH" else 201)
        self.others.append(f"{request.method} {request.url.raw_path.decode()}")
        if request.method == "POST":
            return httpx.Response(202, headers={"location": f"/uploads/{len(self.others)}"})
        return httpx.Response(201 if request.method == "PUT" else 404)

    async def push(self, image: Path, **options: Any) -> ocipush.PushResult:
        options = {"retry": QUICK, "authfile": image / "none", "transport": httpx.MockTransport(self), **options}
        return await ocipush.push(image, target="registry.example/app:1", **options)


async def test_blob_that_was_cut_twice_and_lost_its_session_goes_in_chunks(tmp_path: Path) -> None:
    size = 17 * MIB
    layouts.write_layout(tmp_path / "app", [layouts.add_manifest(tmp_path / "app", [bytes(size)])])
    registry = Uploads(httpx.WriteError("cut"), httpx.WriteError("cut"))
    await registry.push(tmp_path / "app")
    whole, again, chunk, rest = registry.bodies
    assert [whole, again] == [("PUT", size)] * 2
    assert chunk[0] == "PATCH"
    assert chunk[1] <= 16 * MIB
    assert chunk[1] + rest[1] == size


async def test_start_of_a_blob_is_told_once_however_often_it_is_sent(image: Path) -> None:
    events: list[ocipush.Event] = []
    async with Registry(faults=[Cut(UPLOAD, times=9, after=MIB)]) as registry:
        result = await push(image, registry, on_event=events.append)
        assert len(layer_bodies(registry)) == 2
    started = [event.digest for event in events if isinstance(event, ocipush.BlobStarted)]
    assert sorted(started) == sorted(blob.digest for blob in result.blobs)


async def test_registry_that_takes_no_put_with_a_body_is_remembered_as_one(image: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    layouts.write_layout(second, [layouts.add_manifest(second, [LAYER[::-1]], b"[]")])
    async with (
        Registry(dialect="artifactory-patch-only") as registry,
        ocipush.Pusher(authfile=tmp_path / "none", retry=QUICK) as pusher,
    ):
        await pusher.push(image, target=f"{registry.host}/app:1")
        assert 404 in {status for _, _, status in layer_bodies(registry)}
        seen = len(registry.requests)
        await pusher.push(second, target=f"{registry.host}/app:2")
        assert layer_bodies(registry, seen) == [("PATCH", len(LAYER), 202)]


class Unreachable(httpx.AsyncBaseTransport):
    """Everything works until the layer is to be sent: then nobody listens."""

    def __init__(self, registry: Uploads) -> None:
        self._inner = httpx.MockTransport(registry)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PUT" and int(request.headers["content-length"]) == len(LAYER):
            raise httpx.ConnectError("connection refused")
        return await self._inner.handle_async_request(request)


async def test_session_of_which_nothing_was_sent_is_closed_and_not_kept(image: Path, tmp_path: Path) -> None:
    registry = Uploads()
    with pytest.raises(errors.ConnectFailedError):
        await ocipush.push(
            image,
            target="registry.example/app:1",
            authfile=tmp_path / "none",
            transport=Unreachable(registry),
            resume_dir=tmp_path / "sessions",
            retry=ocipush.RetryPolicy(attempts=1),
        )
    assert [line for line in registry.others if line.startswith("DELETE")]
    assert not list((tmp_path / "sessions").iterdir())


@pytest.mark.parametrize(("algorithm", "query"), [("sha256", ""), ("sha512", "?digest-algorithm=sha512")])
async def test_session_is_opened_for_the_algorithm_of_the_digest(tmp_path: Path, algorithm: str, query: str) -> None:
    layout, content = tmp_path / "app", LAYER
    config = layouts.add_blob(layout, b"{}", "application/vnd.oci.image.config.v1+json")
    encoded = hashlib.new(algorithm, content).hexdigest()
    (layout / "blobs" / algorithm).mkdir(parents=True, exist_ok=True)
    (layout / "blobs" / algorithm / encoded).write_bytes(content)
    layer = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar",
        "digest": f"{algorithm}:{encoded}",
        "size": len(LAYER),
    }
    manifest = {"schemaVersion": 2, "mediaType": layouts.MANIFEST, "config": config, "layers": [layer]}
    layouts.write_layout(layout, [layouts.add_blob(layout, json.dumps(manifest).encode(), layouts.MANIFEST)])
    registry = Uploads()
    await registry.push(layout, force=True)  # so that no session is opened by a mount that came to nothing
    opened = {line.partition("uploads/")[2] for line in registry.others if line.startswith("POST")}
    assert opened == {"", query}


@pytest.mark.parametrize(("status", "closed"), [(404, 0), (400, 1), (405, 1)])
async def test_session_that_cannot_be_asked_is_closed_unless_it_is_gone(image: Path, status: int, closed: int) -> None:
    cut = False

    async def intercept(request: Request) -> Response | None:
        nonlocal cut
        if request.method == "PUT" and int(request.headers["content-length"]) == len(LAYER) and not cut:
            cut = True
            while request.body_size < MIB:
                await request.receive()
            raise anyio.BrokenResourceError
        return Response(status) if request.method == "GET" and "/uploads/" in request.path else None

    async with Registry(intercept=intercept) as registry:
        await push(image, registry)
        assert [request.method for request in registry.requests].count("DELETE") == closed


async def test_new_token_is_tried_at_once(image: Path) -> None:
    challenge = {"www-authenticate": 'Bearer realm="https://token.example/t"'}
    registry, events = Uploads(httpx.Response(401, headers=challenge)), list[ocipush.Event]()

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"token": "t"}) if request.url.host == "token.example" else registry(request)

    await ocipush.push(
        image,
        target="registry.example/app:1",
        authfile=image / "none",
        transport=httpx.MockTransport(handler),
        on_event=events.append,
        retry=ocipush.RetryPolicy(base=0.1, jitter=0),
    )
    assert len(registry.bodies) == 2
    assert [event.delay for event in events if isinstance(event, ocipush.RetryScheduled)] == [0.0]


RATE_LIMIT = {"errors": [{"code": "DENIED", "message": "You have exceeded a secondary rate limit"}]}


@pytest.mark.parametrize(("status", "bodies"), [(403, 1), (400, 1), (410, 1), (408, 3), (503, 3)])
async def test_body_that_is_refused_is_sent_again_only_where_that_can_help(
    image: Path, status: int, bodies: int
) -> None:
    registry = Uploads(*[httpx.Response(status) for _ in range(9)])
    with pytest.raises(errors.RegistryError) as caught:
        await registry.push(image)
    assert (caught.value.status, caught.value.attempts, len(registry.bodies)) == (status, bodies, bodies)


async def test_body_that_is_refused_by_a_rate_limit_in_words_is_sent_again(image: Path) -> None:
    registry = Uploads(httpx.Response(403, json=RATE_LIMIT, headers={"retry-after": "0"}))
    await registry.push(image)
    assert len(registry.bodies) == 2


async def test_bodies_that_were_too_large_count_as_no_attempts_and_are_not_waited_for(image: Path) -> None:
    """A limit of 64 KiB is found in more steps than there are attempts; before it and after it, the registry fails once."""
    failures = [("PUT", len(LAYER)), ("PATCH", MIB // 16)]
    events: list[ocipush.Event] = []

    async def intercept(request: Request) -> Response | None:
        if request.method not in {"PATCH", "PUT"} or "/manifests/" in request.path:
            return None
        length = int(request.headers["content-length"])
        if failures and failures[0] == (request.method, length):
            del failures[0]
            return Response(503)
        return Response(413, {"Connection": "close"}) if length > MIB // 16 else None

    async with Registry(intercept=intercept) as registry:
        retry = ocipush.RetryPolicy(attempts=2, base=0.001, jitter=0)
        await push(image, registry, retry=retry, on_event=events.append)
        assert failures == []
        assert registry.repository("app").tags
    delays = [event.delay for event in events if isinstance(event, ocipush.RetryScheduled)]
    assert delays == [0.001, *[0] * 4, 0.001]


@pytest.mark.parametrize("named", ["10.00MiB", "1.50MiB"], ids=["more than was sent", "as much as was sent"])
async def test_limit_that_allows_what_was_refused_is_not_believed(image: Path, named: str) -> None:
    words = json.dumps({"errors": [{"code": "SIZE_INVALID", "message": f"maximum permissible limit of {named}"}]})

    async def intercept(request: Request) -> Response | None:
        if request.method in {"PATCH", "PUT"} and int(request.headers["content-length"]) > MIB:
            return Response(413, {"Connection": "close"}, words.encode())
        return None

    async with Registry(intercept=intercept) as registry:
        await push(image, registry)
        assert layer_bodies(registry)[1:] == [("PATCH", MIB, 202), ("PUT", len(LAYER) - MIB, 201)]
