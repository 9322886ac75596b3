"""Real servers that break: killed during a push, out of disk space, without write permission, behind a proxy with limits."""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests import layouts
from tests.real.broken import RestartableRegistry, nginx, registry_home, running, small_disk

import ocipush
from ocipush import errors
from ocipush.testing import Registry, Request, Response

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]
MIB = 1024 * 1024
PATIENT = ocipush.RetryPolicy(attempts=8, base=0.2, cap=2)


@pytest.fixture
def home() -> Iterator[Path]:
    with registry_home() as made:
        yield made


def write_image(path: Path, *layers: bytes) -> tuple[Path, str]:
    """A layout, and the digest of its manifest."""
    layouts.write_image(path, *layers)
    return path, layouts.root_digest(path)


def push(source: Path, target: str, **options: Any) -> ocipush.PushResult:
    options = {"retry": PATIENT, **options}
    return ocipush.sync.push(source, target=target, authfile=source / "none", **options)


def test_registry_killed_and_restarted_during_a_push_gets_the_whole_image(home: Path, tmp_path: Path) -> None:
    layers = [os.urandom(MIB) * 64, os.urandom(MIB) * 16, b"small"]
    source, digest = write_image(tmp_path / "app", *layers)
    killed: list[float] = []

    def on_event(event: ocipush.Event) -> None:
        if (
            isinstance(event, ocipush.BlobProgress)
            and event.size == 64 * MIB
            and event.offset > 16 * MIB
            and not killed
        ):
            killed.append(time.monotonic())
            registry.kill()
            threading.Timer(0.5, registry.start).start()

    with running(RestartableRegistry(home)) as registry:
        result = push(source, f"{registry.host}/app:1", on_event=on_event)
        assert killed
        assert result.digest == digest == registry.digest_of(f"{registry.host}/app:1")
        assert result.sent > sum(map(len, layers))


def test_registry_that_stays_down_is_an_error_and_the_tag_is_unchanged(home: Path, tmp_path: Path) -> None:
    old, old_digest = write_image(tmp_path / "old", b"old")
    new, _ = write_image(tmp_path / "new", os.urandom(MIB) * 64)

    def on_event(event: ocipush.Event) -> None:
        if isinstance(event, ocipush.BlobProgress) and event.size > MIB:
            registry.kill()

    with running(RestartableRegistry(home)) as registry:
        push(old, f"{registry.host}/app:1")
        quick = ocipush.RetryPolicy(attempts=3, base=0.05)
        with pytest.raises(errors.TransportError) as caught:
            push(new, f"{registry.host}/app:1", on_event=on_event, retry=quick)
        assert caught.value.attempts >= 3
        registry.start()
        assert registry.digest_of(f"{registry.host}/app:1") == old_digest


def refused(registry: RestartableRegistry, source: Path) -> errors.RegistryError:
    quick = ocipush.RetryPolicy(attempts=2, base=0.05)
    with pytest.raises(errors.RegistryError) as caught:
        push(source, f"{registry.host}/app:1", retry=quick)
    return caught.value


def assert_points_to_the_log(error: errors.RegistryError) -> None:
    """docker-registry writes the reason only to its log, so the error has to point there."""
    assert (error.status, error.codes, error.attempts) == (500, ("UNKNOWN",), 2)
    assert "check its log" in str(error)


def test_full_disk_is_an_error_of_the_registry_and_the_tag_is_unchanged(home: Path, tmp_path: Path) -> None:
    old, old_digest = write_image(tmp_path / "old", b"old")
    new, _ = write_image(tmp_path / "new", os.urandom(16 * MIB))
    with ExitStack() as stack:
        registry = RestartableRegistry(home)
        try:
            stack.enter_context(small_disk(registry.data, "8m"))
        except PermissionError as exc:
            pytest.skip(f"mounting a small disk is not allowed here: {exc}")
        stack.enter_context(running(registry))
        push(old, f"{registry.host}/app:1")
        error = refused(registry, new)
        assert_points_to_the_log(error)
        assert registry.digest_of(f"{registry.host}/app:1") == old_digest
        registry.kill()


def test_storage_without_write_permission_is_an_error_of_the_registry(home: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("runs docker-registry as another user, which takes root")
    source, _ = write_image(tmp_path / "app", b"layer")
    registry = RestartableRegistry(home, user="nobody")
    registry.data.mkdir(mode=0o755)
    with running(registry):
        error = refused(registry, source)
        assert_points_to_the_log(error)
        assert registry.digest_of(f"{registry.host}/app:1") is None


def test_proxy_with_a_limit_of_one_mebibyte_gets_chunks(home: Path, tmp_path: Path) -> None:
    source, digest = write_image(tmp_path / "app", os.urandom(5 * MIB), os.urandom(3 * MIB), b"small")
    with (
        running(RestartableRegistry(home)) as registry,
        nginx(home / "nginx", registry.host, "client_max_body_size 1m;") as front,
    ):
        result = push(source, f"{front}/app:1")
        assert result.digest == digest == registry.digest_of(f"{registry.host}/app:1")


def test_error_quotes_a_proxy_whose_limit_is_too_low(home: Path, tmp_path: Path) -> None:
    source, _ = write_image(tmp_path / "app", os.urandom(5 * MIB))
    with (
        running(RestartableRegistry(home)) as registry,
        nginx(home / "nginx", registry.host, "client_max_body_size 1k;") as front,
        pytest.raises(errors.BlobTooLargeError, match="413 Request Entity Too Large") as caught,
    ):
        push(source, f"{front}/app:1")
    assert "client_max_body_size" in str(caught.value.hint)


def test_commit_that_outlasts_the_timeout_of_a_proxy_is_not_lost(home: Path, tmp_path: Path) -> None:
    source, digest = write_image(tmp_path / "app", os.urandom(2 * MIB))
    slow: list[str] = []
    served: list[Registry] = []

    async def intercept(request: Request) -> Response | None:
        """Commit the first layer, and answer after the proxy has stopped waiting."""
        if (
            request.method != "PUT"
            or "/uploads/" not in request.path
            or slow
            or int(request.headers["content-length"]) < MIB
        ):
            return None
        slow.append(request.path)
        repository = served[0].repository("app")
        upload = repository.uploads.pop(request.path.rpartition("/")[2])
        while piece := await request.receive():
            await upload.write(piece)
        await repository.commit(upload, request.query["digest"])
        await anyio.sleep(3)
        return Response(201)

    async def run() -> None:
        async with Registry(intercept=intercept) as registry:
            served.append(registry)
            limits = ("proxy_read_timeout 2s;", "proxy_send_timeout 2s;", "client_max_body_size 0;")
            with nginx(home / "nginx", registry.host, *limits) as front:
                result = await ocipush.push(source, target=f"{front}/app:1", authfile=source / "none", retry=PATIENT)
            assert result.digest == digest == registry.repository("app").tags["1"]
            lengths = [request.headers.get("content-length") for request in registry.requests]
            assert lengths.count(str(2 * MIB)) == 1

    anyio.run(run)
    assert slow
