"""How upload sessions are opened, retried and closed."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from tests import layouts
from tests.pushing import WITHOUT_WAITS, bodies, push

import ocipush
from ocipush import errors
from ocipush.testing import Cut, Registry, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024
LAYER = os.urandom(1024) * 1536
UPLOAD = "PUT /v2/*/blobs/uploads/*"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return layouts.write_image(tmp_path / "app", LAYER)


class ScriptedRegistry:
    """A registry, as a transport, that answers the bodies of a large layer by a script, and accepts everything else."""

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
        options = {
            "retry": WITHOUT_WAITS,
            "authfile": image / "none",
            "transport": httpx.MockTransport(self),
            **options,
        }
        return await ocipush.push(image, target="registry.example/app:1", **options)


async def test_blob_is_sent_in_chunks_after_it_was_cut_twice_and_lost_its_session(tmp_path: Path) -> None:
    size = 17 * MIB
    layouts.write_image(tmp_path / "app", bytes(size))
    registry = ScriptedRegistry(httpx.WriteError("cut"), httpx.WriteError("cut"))
    await registry.push(tmp_path / "app")
    whole, again, chunk, rest = registry.bodies
    assert [whole, again] == [("PUT", size)] * 2
    assert chunk[0] == "PATCH"
    assert chunk[1] <= 16 * MIB
    assert chunk[1] + rest[1] == size


async def test_start_of_a_blob_is_reported_once_however_often_it_is_sent(image: Path) -> None:
    events: list[ocipush.Event] = []
    async with Registry(faults=[Cut(UPLOAD, times=9, after=MIB)]) as registry:
        result = await push(image, registry, on_event=events.append)
        assert len(bodies(registry)) == 2
    started = [event.digest for event in events if isinstance(event, ocipush.BlobStarted)]
    assert sorted(started) == sorted(blob.digest for blob in result.blobs)


async def test_registry_that_refuses_a_put_with_a_body_is_remembered(image: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    layouts.write_image(second, LAYER[::-1], config=b"[]")
    async with (
        Registry(dialect="artifactory-patch-only") as registry,
        ocipush.Pusher(authfile=tmp_path / "none", retry=WITHOUT_WAITS) as pusher,
    ):
        await pusher.push(image, target=f"{registry.host}/app:1")
        assert 404 in {status for _, _, status in bodies(registry)}
        seen = len(registry.requests)
        await pusher.push(second, target=f"{registry.host}/app:2")
        assert bodies(registry, seen) == [("PATCH", len(LAYER), 202)]


class Unreachable(httpx.AsyncBaseTransport):
    """Everything works, except that the layer finds the connection refused."""

    def __init__(self, registry: ScriptedRegistry) -> None:
        self._inner = httpx.MockTransport(registry)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PUT" and int(request.headers["content-length"]) == len(LAYER):
            raise httpx.ConnectError("connection refused")
        return await self._inner.handle_async_request(request)


async def test_session_without_any_data_is_closed_and_not_saved(image: Path, tmp_path: Path) -> None:
    registry = ScriptedRegistry()
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
    layout = tmp_path / "app"
    layouts.write_image(layout, layouts.add_blob(layout, LAYER, algorithm=algorithm))
    registry = ScriptedRegistry()
    await registry.push(layout, force=True)  # so that no session is opened by a mount that is refused
    opened = {line.partition("uploads/")[2] for line in registry.others if line.startswith("POST")}
    assert opened == {"", query}


@pytest.mark.parametrize(("status", "closed"), [(404, 0), (400, 1), (405, 1)])
async def test_session_whose_status_is_unknown_is_closed_unless_it_no_longer_exists(
    image: Path, status: int, closed: int
) -> None:
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


async def test_renewed_token_is_tried_without_a_wait(image: Path) -> None:
    challenge = {"www-authenticate": 'Bearer realm="https://token.example/t"'}
    registry, events = ScriptedRegistry(httpx.Response(401, headers=challenge)), list[ocipush.Event]()

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
async def test_refused_body_is_sent_again_only_if_the_status_is_temporary(
    image: Path, status: int, bodies: int
) -> None:
    registry = ScriptedRegistry(*[httpx.Response(status) for _ in range(9)])
    with pytest.raises(errors.RegistryError) as caught:
        await registry.push(image)
    assert (caught.value.status, caught.value.attempts, len(registry.bodies)) == (status, bodies, bodies)


async def test_body_refused_by_a_rate_limit_in_words_is_sent_again(image: Path) -> None:
    registry = ScriptedRegistry(httpx.Response(403, json=RATE_LIMIT, headers={"retry-after": "0"}))
    await registry.push(image)
    assert len(registry.bodies) == 2


async def test_bodies_that_were_too_large_do_not_count_as_attempts_and_cause_no_wait(image: Path) -> None:
    """A limit of 64 KiB is found in more steps than there are attempts; the registry fails once before and once after that."""
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
async def test_limit_that_would_allow_the_refused_body_is_ignored(image: Path, named: str) -> None:
    words = json.dumps({"errors": [{"code": "SIZE_INVALID", "message": f"maximum permissible limit of {named}"}]})

    async def intercept(request: Request) -> Response | None:
        if request.method in {"PATCH", "PUT"} and int(request.headers["content-length"]) > MIB:
            return Response(413, {"Connection": "close"}, words.encode())
        return None

    async with Registry(intercept=intercept) as registry:
        await push(image, registry)
        assert bodies(registry)[1:] == [("PATCH", MIB, 202), ("PUT", len(LAYER) - MIB, 201)]
