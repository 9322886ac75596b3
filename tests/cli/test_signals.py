"""Signals to a push in its own process: the first, the second, and one that is ignored."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from tests import layouts

from ocipush import sync
from ocipush.testing import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from ocipush.testing import Request, Response

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


class HeldPush:
    """A push to an existing tag, held while the registry is about to answer an upload."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.reached = {"PUT": threading.Event(), "DELETE": threading.Event()}
        self.hold: set[str] = set()
        self.waiting = 0
        self.released = anyio.Event()
        self.registry = Registry(intercept=self._intercept)
        self.release: Callable[[], None]

    async def _intercept(self, request: Request) -> Response | None:
        if request.method in self.hold and "/uploads/" in request.path:
            self.waiting += 1
            if request.method == "DELETE" or self.waiting == 2:  # two blobs are new: no session is still being opened
                self.reached[request.method].set()
            await self.released.wait()
        return None

    @contextmanager
    def running(self, *wrapper: str, hold: set[str]) -> Generator[subprocess.Popen[str]]:
        """The push, once the registry has the bodies of all its uploads."""
        authfile = self.store.parent / "auth.json"
        self.old = sync.push("old", store=self.store, authfile=authfile, target=f"{self.registry.host}/app:1").digest
        self.hold = hold
        words = ["push", "new", "--images-store-dir", str(self.store), "--authfile", str(authfile)]
        command = [*wrapper, sys.executable, "-m", "ocipush", *words, "--target", f"{self.registry.host}/app:1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert self.reached["PUT"].wait(30), "the push does not come to its uploads"
                yield process
            finally:
                process.kill()

    @property
    def uploads(self) -> int:
        return len(self.registry.repository("app").uploads)

    @property
    def tag(self) -> str:
        return self.registry.repository("app").tags["1"]


@pytest.fixture
def held(tmp_path: Path) -> Generator[HeldPush]:
    for name in ("old", "new"):
        layouts.write_image(tmp_path / "store" / name, name.encode(), name.encode() * 2)
    held = HeldPush(tmp_path / "store")
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(held.registry):
        held.release = lambda: portal.call(held.released.set)
        yield held


@pytest.mark.parametrize("number", SIGNALS)
def test_first_signal_closes_the_uploads_and_leaves_the_tag(held: HeldPush, number: signal.Signals) -> None:
    with held.running(hold={"PUT"}) as process:
        assert held.uploads > 0
        process.send_signal(number)
        out, err = process.communicate()
    assert (process.returncode, out) == (128 + number, "")
    assert err.splitlines()[-2:] == ["stopping: closing uploads; press Ctrl-C again to quit immediately", "interrupted"]
    assert "Traceback" not in err
    assert (held.uploads, held.tag) == (0, held.old)


@pytest.mark.parametrize("number", SIGNALS)
def test_second_signal_quits_immediately(held: HeldPush, number: signal.Signals) -> None:
    with held.running(hold={"PUT", "DELETE"}) as process:
        process.send_signal(signal.SIGINT)
        assert held.reached["DELETE"].wait(30), "the push does not stop"
        process.send_signal(number)
        out, err = process.communicate()
    assert (process.returncode, out) == (-number, "")  # by the signal itself: not after a cleanup that was given up
    assert "interrupted" not in err
    assert held.tag == held.old


def test_signal_that_nohup_ignores_does_not_stop_the_push(held: HeldPush) -> None:
    with held.running("sh", "-c", 'trap "" HUP; exec "$@"', "sh", hold={"PUT"}) as process:
        process.send_signal(signal.SIGHUP)
        held.release()
        out, _ = process.communicate()
    assert process.returncode == 0
    assert out == f"{held.registry.host}/app@{held.tag}\n"
    assert held.tag != held.old
