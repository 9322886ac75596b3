"""How many requests a push makes, counted by the development registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from tests import layouts

import ocipush
from ocipush import errors
from ocipush.testing import BasicAuth, BearerAuth, Registry

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
LOGIN = ocipush.Login("user", "secret")
LARGE = 1024 * 1024


def small(count: int) -> list[bytes]:
    """The content of small layers."""
    return [b"layer %d" % number for number in range(count)]


def methods(registry: Registry, since: int = 0) -> list[str]:
    return [request.method for request in registry.requests[since:] if request.path.startswith("/v2/")]


def pusher(registry: Registry, tmp_path: Path, **options: Any) -> ocipush.Pusher:
    options = {"retry": ocipush.RetryPolicy(attempts=3, base=0), **options}
    return ocipush.Pusher(authfile=tmp_path / "none", credentials={registry.host: LOGIN}, **options)


@pytest.mark.parametrize("layers", [3, 10, 100])
@pytest.mark.parametrize(
    ("auth", "challenges"),
    [(None, 0), (BasicAuth({"user": "secret"}), 1), (BearerAuth({"user": "secret"}), 1)],
    ids=["open", "basic", "bearer"],
)
async def test_push_makes_no_unnecessary_request(tmp_path: Path, layers: int, auth: Any, challenges: int) -> None:
    async with Registry(auth=auth) as registry:
        target = f"{registry.host}/team/app:1"
        first = layouts.write_image(tmp_path / "first", *small(layers))
        async with pusher(registry, tmp_path) as fresh:
            result = await fresh.push(first, target=target)
            assert len(methods(registry)) == 2 * (layers + 1) + 2 + challenges
            assert result.requests == len(registry.requests)
        async with pusher(registry, tmp_path) as again:
            seen = len(registry.requests)
            assert (await again.push(first, target=target)).unchanged
            assert methods(registry, seen) == ["HEAD"] * (1 + challenges)
        changed = layouts.write_image(tmp_path / "changed", *small(layers)[1:], b"new", config=b'{"new":1}')
        async with pusher(registry, tmp_path) as third:
            seen = len(registry.requests)
            await third.push(changed, target=target)
            assert len(methods(registry, seen)) == 7 + challenges


async def test_same_image_under_another_tag_takes_a_head_and_a_put(tmp_path: Path) -> None:
    source = layouts.write_image(tmp_path / "app", *small(5))
    async with Registry() as registry, pusher(registry, tmp_path) as one:
        await one.push(source, target=f"{registry.host}/app:1")
        seen = len(registry.requests)
        result = await one.push(source, target=f"{registry.host}/app:2")
        assert methods(registry, seen) == ["HEAD", "PUT"]
        assert {blob.outcome for blob in result.blobs} == {"exists"}


async def test_push_to_another_repository_mounts_every_blob(tmp_path: Path) -> None:
    source = layouts.write_image(tmp_path / "app", *small(2), b"x" * LARGE)
    async with Registry(auth=BearerAuth({"user": "secret"})) as registry, pusher(registry, tmp_path) as one:
        await one.push(source, target=f"{registry.host}/app:1")
        seen = len(registry.requests)
        result = await one.push(source, target=f"{registry.host}/other/app:1")
        assert methods(registry, seen).count("POST") == 4
        assert methods(registry, seen).count("PUT") == 1
        assert {blob.outcome for blob in result.blobs} == {"mounted"}


async def test_large_blob_is_probed_before_it_is_sent_to_an_unknown_registry(tmp_path: Path) -> None:
    source = layouts.write_image(tmp_path / "app", b"x" * LARGE)
    async with Registry() as registry, pusher(registry, tmp_path) as one:
        await one.push(source, target=f"{registry.host}/app:1")
        assert sorted(methods(registry)) == ["HEAD", "HEAD", "POST", "POST", "PUT", "PUT", "PUT"]


async def test_large_blob_is_not_probed_once_a_mount_from_the_same_repository_has_worked(
    tmp_path: Path,
) -> None:
    async with Registry() as registry:
        async with pusher(registry, tmp_path) as other:
            await other.push(layouts.write_image(tmp_path / "old", *small(2)), target=f"{registry.host}/app:old")
        async with pusher(registry, tmp_path) as one:
            await one.push(layouts.write_image(tmp_path / "same", *small(1)), target=f"{registry.host}/app:same")
            seen = len(registry.requests)
            await one.push(layouts.write_image(tmp_path / "new", b"x" * LARGE), target=f"{registry.host}/app:new")
            assert sorted(methods(registry, seen)) == ["HEAD", "POST", "PUT", "PUT"]


async def test_concurrent_pushes_send_a_shared_blob_once(tmp_path: Path) -> None:
    sources = [layouts.write_image(tmp_path / str(number), b"shared", b"own %d" % number) for number in range(64)]
    async with Registry() as registry, pusher(registry, tmp_path) as one:
        results: list[ocipush.PushResult] = []

        async def push(number: int) -> None:
            results.append(await one.push(sources[number], target=f"{registry.host}/app:{number}"))

        async with anyio.create_task_group() as tasks:
            for number in range(64):
                tasks.start_soon(push, number)
        assert len(registry.repository("app").tags) == 64
        sent = [blob.digest for result in results for blob in result.blobs if blob.outcome == "uploaded"]
        assert len(sent) == len(set(sent)) == 64 + 2


async def test_blobs_of_the_remote_child_for_the_same_platform_are_not_sent(tmp_path: Path) -> None:
    def index(path: Path, last: bytes) -> Path:
        children = []
        for arch in ("amd64", "arm64"):
            child = layouts.add_manifest(path, [*small(3), arch.encode(), last], arch.encode())
            children.append({**child, "platform": {"os": "linux", "architecture": arch}})
        layouts.write_layout(path, [layouts.add_index(path, children)])
        return path

    async with Registry() as registry:
        for name in (b"old", b"new"):
            async with pusher(registry, tmp_path) as one:
                seen = len(registry.requests)
                result = await one.push(index(tmp_path / name.decode(), name), target=f"{registry.host}/app:1")
        made = methods(registry, seen)
        assert made.count("GET") == 3
        assert made.count("POST") == 1
        assert [blob.outcome for blob in result.blobs].count("uploaded") == 1


async def test_blob_that_the_registry_lost_is_sent_when_the_manifest_is_refused(tmp_path: Path) -> None:
    source = layouts.write_image(tmp_path / "app", *small(3))
    async with Registry() as registry, pusher(registry, tmp_path) as one:
        await one.push(source, target=f"{registry.host}/app:1")
        lost = registry.repository("app").blobs
        digest = next(iter(lost))
        del lost[digest]
        await one.push(source, target=f"{registry.host}/app:2")
        assert digest in registry.repository("app").blobs
        assert set(registry.repository("app").tags) == {"1", "2"}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
async def test_refused_mount_is_not_tried_again(tmp_path: Path, status: int) -> None:
    source = layouts.write_image(tmp_path / "app", *small(4))
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        if request.method == "HEAD":
            return httpx.Response(404)
        if "mount" in request.url.query.decode():
            asked.append(str(request.url))
            return httpx.Response(status)
        if request.method == "POST":
            return httpx.Response(202, headers={"location": "/u/1"})
        return httpx.Response(201)

    async with ocipush.Pusher(authfile=tmp_path / "none", transport=httpx.MockTransport(handler), concurrency=1) as one:
        await one.push(source, target="registry.example/app:1")
    assert len(asked) == 1


async def test_immutable_tag_that_meanwhile_has_the_same_digest_is_a_success(tmp_path: Path) -> None:
    source = layouts.write_image(tmp_path / "app", *small(1))
    digest = layouts.root_digest(source)
    now = {"digest": "sha256:" + "0" * 64}

    def handler(request: httpx.Request) -> httpx.Response:
        if request.method == "HEAD" and "manifests" in request.url.path:
            return httpx.Response(200, headers={"docker-content-digest": now["digest"]})
        if request.method == "HEAD" or (request.method == "POST" and "mount" in str(request.url)):
            return httpx.Response(201 if request.method == "POST" else 200)
        return httpx.Response(400, json={"errors": [{"code": "TAG_INVALID", "message": "immutable"}]})

    async with ocipush.Pusher(authfile=tmp_path / "none", transport=httpx.MockTransport(handler)) as one:
        with pytest.raises(errors.TagImmutableError, match="immutable"):
            await one.push(source, target="registry.example/app:1")

        def on_event(event: ocipush.Event) -> None:
            if isinstance(event, ocipush.BlobDone):
                now["digest"] = digest

        await one.push(source, target="registry.example/app:1", on_event=on_event)


async def test_digest_missing_from_the_headers_is_computed_from_the_manifest(tmp_path: Path) -> None:
    source = layouts.write_image(tmp_path / "app", *small(1))
    raw = layouts.blob_path(source, layouts.root_digest(source)).read_bytes()

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=raw if request.method == "GET" else b"")

    async with ocipush.Pusher(authfile=tmp_path / "none", transport=httpx.MockTransport(handler)) as one:
        assert (await one.push(source, target="registry.example/app:1")).unchanged


async def test_cancelled_push_closes_its_upload_session_and_leaves_the_tag(tmp_path: Path) -> None:
    source = layouts.write_image(tmp_path / "app", b"x" * LARGE)
    async with Registry() as registry, pusher(registry, tmp_path) as one:
        scope = anyio.CancelScope()

        def stop(event: ocipush.Event) -> None:
            if isinstance(event, ocipush.BlobStarted):
                scope.cancel()

        with scope:
            await one.push(source, target=f"{registry.host}/app:1", on_event=stop)
        assert registry.repository("app").tags == {}
        assert "DELETE" in methods(registry)
