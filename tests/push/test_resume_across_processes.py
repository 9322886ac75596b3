"""An upload that a killed process left unfinished is resumed by another process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from tests import layouts

import ocipush
from ocipush import errors
from ocipush.testing import Registry, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

KIB = 1024
CHUNK = 512 * KIB
LAYER = os.urandom(8 * KIB) * 320  # five chunks
ONCE = ocipush.RetryPolicy(attempts=1)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return layouts.write_image(tmp_path / "store" / "app", LAYER)


def ranges(registry: Registry, since: int = 0) -> list[str]:
    """The Content-Range of each request with a part of the layer; empty for the whole layer."""
    return [
        request.headers.get("content-range", "")
        for request in registry.requests[since:]
        if request.method in {"PATCH", "PUT"} and int(request.headers["content-length"]) >= 64 * KIB
    ]


def chunk(number: int) -> str:
    return f"{number * CHUNK}-{min((number + 1) * CHUNK, len(LAYER)) - 1}"


# distribution 2.8 accepts only the latest Location of a session.
@pytest.mark.parametrize("dialect", ["spec", "distribution-2.8"])
def test_process_that_follows_one_killed_in_the_third_chunk_starts_with_that_chunk(
    tmp_path: Path, image: Path, dialect: str
) -> None:
    reached, killed = threading.Event(), anyio.Event()

    async def hold_third_chunk(request: Request) -> Response | None:
        if request.headers.get("content-range") == chunk(2) and not reached.is_set():
            reached.set()
            await killed.wait()
            raise anyio.BrokenResourceError
        return None

    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Registry(dialect=dialect, intercept=hold_third_chunk)) as registry,
    ):
        words = ["push", "app", "--images-store-dir", str(image.parent), "--target", f"{registry.host}/app:1"]
        words += ["--authfile", str(tmp_path / "none"), "--resume-dir", str(tmp_path / "sessions")]
        command = [sys.executable, "-m", "ocipush", *words, "--chunk-size", f"{CHUNK}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                assert reached.wait(30), process.communicate()
            finally:
                process.kill()
                process.communicate()
        assert process.returncode == -signal.SIGKILL
        portal.call(killed.set)
        assert ranges(registry) == [chunk(0), chunk(1), chunk(2)]
        seen = len(registry.requests)
        ocipush.sync.push(
            image,
            target=f"{registry.host}/app:1",
            authfile=tmp_path / "none",
            resume_dir=tmp_path / "sessions",
            chunk_size=CHUNK,
            retry=ONCE,
        )
        assert ranges(registry, seen) == [chunk(2), chunk(3), chunk(4)]
        assert registry.repository("app").tags
        assert not list((tmp_path / "sessions").iterdir())


@pytest.mark.anyio
async def test_resumed_upload_that_breaks_again_is_resumed_again(tmp_path: Path, image: Path) -> None:
    stops = [900 * KIB, 1500 * KIB]

    async def push(registry: Registry) -> None:
        target, sessions = f"{registry.host}/app:1", tmp_path / "sessions"
        await ocipush.push(image, target=target, authfile=tmp_path / "none", resume_dir=sessions, retry=ONCE)

    async def stop(request: Request) -> Response | None:
        upload = registry.repository("app").uploads.get(request.path.rpartition("/")[2])
        if not stops or upload is None or request.method != "PUT" or request.headers["content-length"] == "2":
            return None
        end = stops.pop(0)
        while upload.size < end and (piece := await request.receive()):
            await upload.write(piece[: end - upload.size])
        raise anyio.BrokenResourceError

    async with Registry(intercept=stop) as registry:
        for _ in range(2):
            with pytest.raises(errors.ConnectionLostError):
                await push(registry)
        await push(registry)
        end = len(LAYER) - 1
        assert ranges(registry) == ["", f"{900 * KIB}-{end}", f"{1500 * KIB}-{end}"]
        assert registry.repository("app").tags
        assert not list((tmp_path / "sessions").iterdir())
