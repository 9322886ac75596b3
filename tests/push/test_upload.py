"""What happens to a blob when its upload fails, or when its file changes."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests import layouts

import ocipush
from ocipush import errors
from ocipush.testing import BearerAuth, Registry

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio
LAYER = b"layer" * 1000


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return layouts.write_image(tmp_path / "app", LAYER)


class ScriptedRegistry:
    """A registry that answers each PUT of the layer with the next step of a script, and accepts everything else.

    A step is a status, or an exception to raise; with ``stored``, after the blob was stored.
    """

    def __init__(self, *script: Any, stored: bool = False, headers: dict[str, str] | None = None) -> None:
        self.script = list(script)
        self.stored = stored
        self.headers = headers or {}
        self.held = False
        self.calls: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.method == "HEAD":
            self.calls.append("HEAD" if "blobs" in path else "HEAD manifest")
            return httpx.Response(200 if self.held and "blobs" in path else 404)
        if request.method == "POST":
            return httpx.Response(202, headers={"location": f"/v2/a/blobs/uploads/{len(self.calls)}"})
        if request.method == "DELETE":
            self.calls.append("DELETE")
            return httpx.Response(204)
        if "uploads" in path and request.headers["content-length"] == str(len(LAYER)):
            self.calls.append("PUT")
            self.held = self.stored
            if self.script:
                step = self.script.pop(0)
                if isinstance(step, Exception):
                    raise step
                code = "DIGEST_INVALID" if step == 400 else "UNKNOWN"
                return httpx.Response(step, headers=self.headers, json={"errors": [{"code": code, "message": "no"}]})
        return httpx.Response(201)


async def push(image: Path, handler: Callable[[httpx.Request], httpx.Response], **options: Any) -> ocipush.PushResult:
    options = {"retry": ocipush.RetryPolicy(attempts=3, base=0), **options}
    return await ocipush.push(
        image,
        target="registry.example/a:1",
        authfile=image / "none",
        transport=httpx.MockTransport(handler),
        **options,
    )


@pytest.mark.parametrize("broken", [httpx.ReadError("cut"), httpx.WriteError("reset"), 500, 503, 404])
async def test_blob_is_not_sent_again_when_its_broken_commit_arrived(image: Path, broken: Any) -> None:
    registry = ScriptedRegistry(broken if broken != 404 else httpx.RemoteProtocolError("half"), stored=True)
    result = await push(image, registry)
    assert registry.calls.count("PUT") == 1
    assert {blob.outcome for blob in result.blobs} == {"uploaded"}


async def test_broken_upload_that_did_not_arrive_restarts_in_a_new_session(image: Path) -> None:
    registry = ScriptedRegistry(httpx.WriteError("reset"), 503)
    events: list[ocipush.Event] = []
    await push(image, registry, on_event=events.append)
    assert registry.calls.count("PUT") == 3
    assert registry.calls.count("DELETE") == 2
    assert [event.attempt for event in events if isinstance(event, ocipush.RetryScheduled)] == [2, 3]


async def test_error_after_the_last_attempt_has_the_number_of_attempts(image: Path) -> None:
    registry = ScriptedRegistry(500, 500, 500)
    with pytest.raises(errors.RegistryError) as caught:
        await push(image, registry)
    assert caught.value.attempts == 3
    assert registry.calls.count("PUT") == 3


async def test_content_damaged_in_transit_is_sent_again(image: Path) -> None:
    registry = ScriptedRegistry(400)
    await push(image, registry)
    assert registry.calls.count("PUT") == 2


async def test_corrupt_file_is_an_error_of_the_source(image: Path) -> None:
    registry = ScriptedRegistry(400)
    blob = layouts.file_of(image, LAYER)
    blob.write_bytes(b"X" + LAYER[1:])
    with pytest.raises(errors.BlobCorruptError, match="the registry refused it") as caught:
        await push(image, registry)
    assert (caught.value.path, caught.value.origin) == (str(blob), "source")
    assert registry.calls.count("PUT") == 1


def delete(blob: Path) -> None:
    blob.unlink()


def truncate(blob: Path) -> None:
    blob.write_bytes(b"short")


@pytest.mark.parametrize(("change", "error"), [(delete, errors.BlobMissingError), (truncate, errors.BlobCorruptError)])
async def test_file_that_changes_during_the_push_is_named_and_the_tag_is_not_set(
    image: Path, tmp_path: Path, change: Callable[[Path], None], error: type[errors.LayoutError]
) -> None:
    blob = layouts.file_of(image, LAYER)

    def on_event(event: ocipush.Event) -> None:
        if isinstance(event, ocipush.PushStarted):
            change(blob)

    async with Registry() as registry:
        with pytest.raises(error) as caught:
            await ocipush.push(image, target=f"{registry.host}/a:1", authfile=tmp_path / "none", on_event=on_event)
        assert caught.value.path == str(blob)
        assert registry.repository("a").tags == {}


async def test_file_that_shrinks_while_it_is_read_is_an_error_of_the_source(image: Path, tmp_path: Path) -> None:
    blob = layouts.file_of(image, LAYER)

    def on_event(event: ocipush.Event) -> None:
        if isinstance(event, ocipush.BlobStarted) and event.size == len(LAYER):
            blob.write_bytes(b"short")

    async with Registry() as registry:
        with pytest.raises(errors.BlobCorruptError, match="while it was read"):
            await ocipush.push(image, target=f"{registry.host}/a:1", authfile=tmp_path / "none", on_event=on_event)
        assert registry.repository("a").tags == {}


async def test_content_replaced_during_the_push_is_an_error_of_the_source_and_the_tag_is_not_set(
    image: Path, tmp_path: Path
) -> None:
    blob = layouts.file_of(image, LAYER)

    def on_event(event: ocipush.Event) -> None:
        if isinstance(event, ocipush.PushStarted):
            blob.write_bytes(LAYER[::-1])

    async with Registry() as registry:
        with pytest.raises(errors.BlobCorruptError, match="does not match its digest") as caught:
            await ocipush.push(image, target=f"{registry.host}/a:1", authfile=tmp_path / "none", on_event=on_event)
        assert caught.value.path == str(blob)
        assert registry.repository("a").tags == {}
        assert not registry.repository("a").uploads


async def test_failing_disk_is_an_error_of_the_source_and_is_not_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = os.urandom(1024) * 1024
    layouts.write_image(tmp_path / "app", layer)
    reads: list[int] = []

    def fail(*arguments: int) -> bytes:
        reads.append(arguments[1])
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("ocipush._http.stream._SENDFILE", None)
    monkeypatch.setattr("os.pread", fail)
    async with Registry() as registry:
        with pytest.raises(errors.BlobCorruptError, match="Input/output error") as caught:
            await ocipush.push(
                tmp_path / "app", target=f"{registry.host}/a:1", authfile=tmp_path / "none", concurrency=1
            )
        assert caught.value.origin == "source"
        assert (tmp_path / "app/blobs") in Path(caught.value.path).parents
        assert registry.repository("a").tags == {}
        assert len(reads) <= 2  # of the layer, and of the config beside it


async def test_index_rewritten_between_list_and_push_never_sets_a_tag_to_an_incomplete_image(tmp_path: Path) -> None:
    store = tmp_path / "store"
    layouts.write_image(store / "app", LAYER, ref="r.example/app:1")
    replacement = layouts.add_manifest(store / "app", [b"another"])
    layouts.file_of(store / "app", b"another").unlink()
    (listed,) = ocipush.list_images(store)
    layouts.write_layout(store / "app", [replacement], ref="r.example/app:1")
    async with Registry() as registry:
        with pytest.raises(errors.BlobMissingError, match=hashlib.sha256(b"another").hexdigest()):
            await ocipush.push(listed.name, target=f"{registry.host}/a:1", store=store, authfile=tmp_path / "none")
        assert not registry.requests


async def test_content_embedded_in_a_descriptor_is_sent_when_its_file_is_missing(tmp_path: Path) -> None:
    layout = tmp_path / "app"
    config = {**layouts.add_blob(layout, b"{}", layouts.CONFIG), "data": base64.b64encode(b"{}").decode()}
    layouts.write_image(layout, config=config)
    layouts.file_of(layout, b"{}").unlink()
    async with Registry() as registry:
        await ocipush.push(layout, target=f"{registry.host}/a:1", authfile=tmp_path / "none", verify=True)
        assert config["digest"] in registry.repository("a").blobs


async def test_wait_that_the_registry_asks_for_is_used(image: Path) -> None:
    registry = ScriptedRegistry(429, headers={"retry-after": "0"})
    events: list[ocipush.Event] = []
    await push(image, registry, on_event=events.append, retry=ocipush.RetryPolicy(attempts=2, base=60))
    assert [event.delay for event in events if isinstance(event, ocipush.RetryScheduled)] == [0.0]


async def test_token_that_expires_during_a_push_is_renewed(image: Path, tmp_path: Path) -> None:
    now = [0.0]
    auth = BearerAuth({"user": "secret"}, lifetime=300, clock=lambda: now[0])

    def on_event(event: ocipush.Event) -> None:
        if isinstance(event, ocipush.BlobDone):
            now[0] += 1000

    async with Registry(auth=auth) as registry:
        credentials = {registry.host: ocipush.Login("user", "secret")}
        await ocipush.push(
            image,
            target=f"{registry.host}/a:1",
            authfile=tmp_path / "none",
            credentials=credentials,
            concurrency=1,
            on_event=on_event,
        )
        assert registry.repository("a").tags
        assert [request.path for request in registry.requests].count("/token") >= 2


async def test_progress_ends_with_the_last_byte_of_each_blob(tmp_path: Path) -> None:
    layout = tmp_path / "app"
    layouts.write_image(layout, bytes(3_000_000), b"")
    last: dict[str, tuple[int, int]] = {}
    ids: set[str] = set()

    def on_event(event: ocipush.Event) -> None:
        ids.add(event.push_id)
        if isinstance(event, ocipush.BlobProgress):
            last[event.digest] = (event.offset, event.size)

    async with Registry() as registry:
        result = await ocipush.push(
            layout, target=f"{registry.host}/a:1", authfile=tmp_path / "none", on_event=on_event
        )
    assert len(ids) == 1
    assert {digest for digest, (offset, size) in last.items() if offset == size} >= {
        blob.digest for blob in result.blobs if blob.size
    }
    assert result.sent == result.size
