"""An exception that ``on_event`` raises ends the push, and the caller gets the same object."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from tests import layouts
from tests.certificates import client_context, server_context
from tests.descriptors import open_descriptors
from tests.registries import registry_in_thread

import ocipush
from ocipush import errors, sync
from ocipush._push.reporter import CallbackRaised, Reporter
from ocipush.testing import Registry, Response

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ocipush import Event
    from ocipush.testing import Request

LARGE = bytes(range(256)) * 8192  # 2 MiB: more than one write, so that there is a BlobProgress while it is sent
RENEWABLE = errors.AuthenticationError("a", status=401)
RENEWABLE.renewable = True
RAISED: list[BaseException] = [
    LookupError("a"),
    OSError(24, "a"),
    BrokenPipeError("a"),
    ConnectionResetError("a"),
    ConnectionRefusedError("a"),
    BlockingIOError("a"),
    TimeoutError("a"),
    EOFError("a"),
    UnicodeEncodeError("idna", "a", 0, 1, "a"),
    ssl.SSLError(1, "a"),
    ssl.SSLCertVerificationError("a"),
    ssl.SSLWantReadError("a"),
    httpx.ConnectError("a"),
    httpx.ReadError("a"),
    httpx.WriteError("a"),
    httpx.RemoteProtocolError("a"),
    httpx.ProxyError("a"),
    errors.ConnectFailedError("a", refused=True),
    errors.ConnectionLostError("a"),
    errors.StalledError("a"),
    errors.RegistryError("a", status=503),
    errors.RateLimitedError("a", status=429, retry_after=0.0),
    errors.BlobTooLargeError("a", status=413),
    errors.UploadInvalidatedError("a", status=404),
    errors.ManifestRejectedError("a", status=400, codes=("MANIFEST_BLOB_UNKNOWN", "DIGEST_INVALID")),
    errors.TagImmutableError("a", status=409),
    errors.BlobCorruptError("a"),
    errors.DeadlineExceededError("a"),
    RENEWABLE,
    ExceptionGroup("a", [LookupError("a"), OSError("a")]),
    asyncio.CancelledError("a"),
    GeneratorExit("a"),
    SystemExit(1),
    KeyboardInterrupt("a"),
]
EVENTS = ocipush.Event.__args__


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return layouts.write_image(tmp_path / "image", LARGE, b"one", b"two", b"three")


def all_events() -> Callable[[Request], Any]:
    """A registry that warns, and fails one request, so that a push emits every event."""
    failed: list[str] = []

    async def intercept(request: Request) -> Response | None:
        if request.method == "HEAD" and "/manifests/" in request.path:
            return Response(404, headers={"Warning": '299 - "read this"'})
        if request.method == "POST" and not failed:
            failed.append(request.path)
            return Response(503, headers={"Retry-After": "0"})
        return None

    return intercept


class RaisingCallback:
    """A callback that raises ``error`` at the first event of one kind, and counts the events after it."""

    def __init__(self, kind: type, error: BaseException) -> None:
        self.kind = kind
        self.error = error
        self.seen: list[type] = []
        self.later = 0

    def __call__(self, event: Event) -> None:
        self.later += self.kind in self.seen
        self.seen.append(type(event))
        if type(event) is self.kind:
            raise self.error


@pytest.mark.anyio
async def test_push_of_the_tests_below_emits_every_event(image: Path, tmp_path: Path) -> None:
    seen: set[type] = set()
    async with Registry(intercept=all_events()) as registry:
        await ocipush.push(
            image,
            target=f"{registry.host}/a:1",
            authfile=tmp_path / "none",
            on_event=lambda event: seen.add(type(event)),
        )
    assert seen == set(EVENTS)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
async def test_exception_of_a_callback_is_raised_unchanged(image: Path, tmp_path: Path, kind: type) -> None:
    for error in RAISED:
        before = open_descriptors()
        async with Registry(intercept=all_events()) as registry:
            callback = RaisingCallback(kind, error)
            with pytest.raises(type(error)) as caught:
                await ocipush.push(image, target=f"{registry.host}/a:1", authfile=tmp_path / "none", on_event=callback)
            assert caught.value is error
            assert (callback.seen.count(kind), callback.later) == (1, 0)
            assert not hasattr(error, "__notes__")
        assert open_descriptors() <= before, error
        error.__traceback__ = error.__context__ = None


@pytest.mark.anyio
@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
async def test_pusher_is_usable_after_a_callback_raised(image: Path, tmp_path: Path, kind: type) -> None:
    async with Registry(intercept=all_events()) as registry, ocipush.Pusher(authfile=tmp_path / "none") as pusher:
        with pytest.raises(BrokenPipeError):
            await pusher.push(image, target=f"{registry.host}/a:1", on_event=RaisingCallback(kind, BrokenPipeError()))
        result = await pusher.push(image, target=f"{registry.host}/a:1")
        assert registry.repository("a").tags == {"1": result.digest}


@pytest.mark.anyio
@pytest.mark.parametrize("way", ["tls", "own transport"])
@pytest.mark.parametrize("kind", [ocipush.BlobStarted, ocipush.BlobProgress])
async def test_transport_does_not_mistake_the_exception_of_a_callback_for_its_own(
    image: Path, tmp_path: Path, way: str, kind: type
) -> None:
    options: dict[str, Any] = {"authfile": tmp_path / "none"}
    if way == "tls":
        options["ssl_context"] = client_context()
    else:
        options["transport"] = httpx.AsyncHTTPTransport()
    async with (
        Registry(ssl_context=server_context() if way == "tls" else None) as registry,
        ocipush.Pusher(**options) as pusher,
    ):
        for error in RAISED:
            callback = RaisingCallback(kind, error)
            with pytest.raises(type(error)) as caught:
                await pusher.push(image, target=f"{registry.host}/a:1", on_event=callback)
            assert caught.value is error
            assert (callback.seen.count(kind), callback.later) == (1, 0)
            error.__traceback__ = error.__context__ = None


@pytest.mark.anyio
async def test_another_push_takes_over_the_blobs_after_a_callback_raised(image: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    layouts.write_image(other, LARGE, b"one", b"two", b"three", b"its own")
    error = errors.ConnectionLostError("a")
    caught: list[BaseException] = []
    posts: list[str] = []
    all_of_first, one_of_second = anyio.Event(), anyio.Event()

    async def intercept(request: Request) -> None:
        if request.method == "POST" and len(posts) < 6:
            posts.append(request.path)
            (all_of_first if len(posts) == 5 else one_of_second if len(posts) == 6 else anyio.Event()).set()
            await one_of_second.wait()  # the second push waits for the blobs of the first, and sends its own

    async with (
        Registry(intercept=intercept) as registry,
        ocipush.Pusher(authfile=tmp_path / "none") as pusher,
        anyio.create_task_group() as tasks,
    ):

        async def push_and_raise() -> None:
            try:
                await pusher.push(
                    image, target=f"{registry.host}/a:1", on_event=RaisingCallback(ocipush.BlobStarted, error)
                )
            except errors.ConnectionLostError as exc:
                caught.append(exc)

        tasks.start_soon(push_and_raise)
        await all_of_first.wait()
        result = await pusher.push(other, target=f"{registry.host}/a:2")
        assert {blob.outcome for blob in result.blobs} == {"uploaded"}
        assert caught == [error]
        assert registry.repository("a").tags == {"2": result.digest}


@pytest.mark.anyio
async def test_exception_of_a_callback_wins_over_whatever_the_push_ends_with() -> None:
    error = LookupError("a")
    reporter = Reporter(RaisingCallback(ocipush.PushWarning, error))

    async def push() -> None:
        with pytest.raises(CallbackRaised):
            reporter.warn("text")
        raise OSError("what a transport of the caller made of it")

    with pytest.raises(LookupError) as caught:
        await reporter.run(push())
    assert caught.value is error
    assert caught.value.__context__ is None


def test_blocking_push_raises_the_exception_of_its_callback_and_the_pusher_stays_usable(
    image: Path, tmp_path: Path
) -> None:
    with registry_in_thread() as registry, sync.Pusher(authfile=tmp_path / "none") as pusher:
        for error in (BrokenPipeError("a"), KeyboardInterrupt("a"), SystemExit(1), GeneratorExit("a")):
            callback = RaisingCallback(ocipush.BlobStarted, error)
            with pytest.raises(type(error)) as caught:
                pusher.push(image, target=f"{registry.host}/a:1", on_event=callback)
            assert caught.value is error
            with pytest.raises(type(error)) as caught:
                sync.push(image, target=f"{registry.host}/a:1", on_event=callback, authfile=tmp_path / "none")
            assert caught.value is error
        result = pusher.push(image, target=f"{registry.host}/a:1")
        assert registry.repository("a").tags == {"1": result.digest}
