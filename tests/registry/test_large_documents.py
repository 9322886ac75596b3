"""A registry's documents: a large one is hashed and parsed in a worker thread, whatever it holds."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from tests import layouts
from tests.oci.hostile import DOCUMENTS

import ocipush
from ocipush._oci.digest import Digest
from ocipush._oci.document import parse_document
from ocipush._registry import repository

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
TARGET = "registry.example/team/app:1"


@pytest.fixture
def parsed_on(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The sizes of the documents that the registry gave, and the threads that parsed them."""
    seen: list[tuple[int, int]] = []

    def parse(raw: bytes, **options: Any) -> Any:
        seen.append((len(raw), threading.get_ident()))
        return parse_document(raw, **options)

    monkeypatch.setattr(repository, "parse_document", parse)
    return seen


async def push(tmp_path: Path, held: bytes, *, named: bytes | None = None) -> ocipush.PushResult:
    """Push an image of three layers to a registry that holds ``held`` under the tag, and names it so or otherwise."""
    digest = Digest.of(held if named is None else named)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "HEAD" and request.url.path.endswith("/manifests/1"):
            return httpx.Response(200, headers={"docker-content-digest": digest})
        if request.method == "GET":
            return httpx.Response(200, content=held)
        if request.method == "POST":
            return httpx.Response(202, headers={"location": f"{request.url.path}1"})
        return httpx.Response(404 if request.method == "HEAD" else 201)

    path = tmp_path / "app"
    layouts.write_image(path, b"one", b"two", b"three")
    async with ocipush.Pusher(
        authfile=tmp_path / "none", transport=httpx.MockTransport(answer), retry=ocipush.RetryPolicy(attempts=1)
    ) as pusher:
        return await pusher.push(path, target=TARGET)


def manifest(size: int) -> bytes:
    """A valid manifest of this many bytes, which names the second of the layers that are pushed."""
    config = {"digest": Digest.of(b"another"), "size": 7}
    raw = json.dumps({"config": config, "layers": [{"digest": Digest.of(b"two"), "size": 3}], "x": ""}).encode()
    return raw.replace(b'"x": ""', b'"x": "' + b"x" * (size - len(raw)) + b'"')


@pytest.mark.parametrize(("size", "on_the_loop"), [(64 * 1024, True), (64 * 1024 + 1, False), (4 * 1024 * 1024, False)])
async def test_large_document_is_parsed_in_a_worker_thread_and_used(
    tmp_path: Path, parsed_on: list[tuple[int, int]], size: int, on_the_loop: bool
) -> None:
    result = await push(tmp_path, manifest(size))
    assert parsed_on[0][0] == size
    assert (parsed_on[0][1] == threading.get_ident()) == on_the_loop
    outcomes = {blob.digest: blob.outcome for blob in result.blobs}
    assert outcomes.pop(Digest.of(b"two")) == "exists"
    assert set(outcomes.values()) == {"uploaded"}


@pytest.mark.parametrize("name", ["empty descriptors", "objects of one key", "annotations", "deep lists", "not UTF-8"])
async def test_push_ignores_a_hostile_document_in_the_registry(
    tmp_path: Path, parsed_on: list[tuple[int, int]], name: str
) -> None:
    result = await push(tmp_path, DOCUMENTS[name][1]())
    assert {blob.outcome for blob in result.blobs} == {"uploaded"}
    assert threading.get_ident() not in {thread for _, thread in parsed_on}


async def test_large_document_that_has_another_digest_is_not_parsed(
    tmp_path: Path, parsed_on: list[tuple[int, int]]
) -> None:
    result = await push(tmp_path, manifest(100_000), named=b"something else")
    assert {blob.outcome for blob in result.blobs} == {"uploaded"}
    assert parsed_on == []


@pytest.mark.timeout(20)  # without abandon_on_cancel, the push would wait for a thread that waits for the push
async def test_cancelled_push_does_not_wait_for_the_worker_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, go = threading.Event(), threading.Event()

    def parse(_: bytes, **__: Any) -> Any:
        started.set()
        go.wait()

    monkeypatch.setattr(repository, "parse_document", parse)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(push, tmp_path, manifest(100_000))
            await anyio.to_thread.run_sync(started.wait)
            tasks.cancel_scope.cancel()
    finally:
        go.set()
    assert tasks.cancel_scope.cancelled_caught
