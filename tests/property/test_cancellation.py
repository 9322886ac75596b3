"""A push that is cancelled at each of its steps, once each: it ends at once, and leaves nothing behind.

The steps are counted in a first run; then one run for each is cancelled after it. A step is what runs between two points
where something waits, so that no such point is left out. Registry and network are in memory; on trio, so is time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio
import trio.testing
from tests import layouts
from tests.memory_network import MemoryRegistry, Network
from tests.virtual_time import descriptors, deterministic

import ocipush
from ocipush._http.transport import Transport
from ocipush._registry.blobs import BlobRequests
from ocipush.testing import BearerAuth, Cut, Dialect, GatewayTimeout, RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from ocipush._registry.session import Session
    from ocipush.testing import Fault

SPEC = Dialect()
CLEAN_UP = 2.1  # virtual seconds that may pass after the cancellation
UPLOAD = "PUT /v2/*/blobs/uploads/*"


class Steps(trio.abc.Instrument):
    """Counts steps while it is on, and calls once after the ``last``."""

    def __init__(self, last: int, call: Callable[[], None]) -> None:
        self.count = 0
        self._last = last
        self._call = call

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        del task
        self.step()

    def step(self) -> None:
        self.count += 1
        if self.count == self._last:
            self._call()

    @contextlib.contextmanager
    def on(self) -> Generator[None]:
        if not in_trio():
            with pytest.MonkeyPatch.context() as patch:
                run = asyncio.Handle._run

                def counted(handle: asyncio.Handle) -> None:
                    run(handle)
                    self.step()

                patch.setattr(asyncio.Handle, "_run", counted)
                yield
            return
        trio.lowlevel.add_instrument(self)
        try:
            yield
        finally:
            trio.lowlevel.remove_instrument(self)


def in_trio() -> bool:
    return trio.lowlevel.in_trio_run()


def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living if in_trio() else len(asyncio.all_tasks())


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The sessions that the engine has heard of."""
    heard: set[str] = set()
    start = BlobRequests.start_upload

    async def noting(*args: Any, **options: Any) -> Session | None:
        session = await start(*args, **options)
        if session is not None:
            heard.add(session.location.partition("?")[0].rpartition("/")[2])
        return session

    monkeypatch.setattr(BlobRequests, "start_upload", noting)
    return heard


@dataclass
class World:
    """The image that the tag names, the one that is pushed there, and what goes wrong on its way."""

    old: Path
    new: Path
    sessions: set[str]
    faults: tuple[Fault, ...] = ()
    chunk_size: int | None = None
    dialect: Dialect = SPEC

    async def push(self, cancel_after: int) -> int:
        """Push, and cancel it after so many steps; how many there were."""
        network = Network()
        files, threads = descriptors(), threading.active_count()
        auth = BearerAuth({"you": "secret"})
        async with MemoryRegistry(network, auth=auth, faults=self.faults, dialect=self.dialect) as registry:
            before, held = registry.hold("app", self.old, "1"), registry.repository("app")
            await anyio.wait_all_tasks_blocked()
            running = tasks()
            async with self._pusher(network, registry) as pusher:
                cancelled: list[float] = []
                scope = anyio.CancelScope()

                def cancel() -> None:
                    cancelled.append(anyio.current_time())
                    scope.cancel()

                steps = Steps(cancel_after, cancel)
                with scope, steps.on():
                    await pusher.push(self.new, target=f"{registry.host}/app:1")
                if in_trio() and cancelled:
                    assert anyio.current_time() - cancelled[0] <= CLEAN_UP
                await anyio.wait_all_tasks_blocked()  # the registry may still be at it
                now = held.tags["1"]
                assert not held.uploads.keys() & self.sessions
                held.uploads.clear()  # those whose Location was still on its way
                with anyio.fail_after(30):  # nothing is stuck
                    result = await pusher.push(self.new, target=f"{registry.host}/app:1")
                assert now in {before, result.digest}
                assert result.unchanged == (now == result.digest)
                blobs, documents = layouts.contents(self.new)
                assert blobs.items() <= held.blobs.items()
                assert documents.items() <= {digest: one.raw for digest, one in held.manifests.items()}.items()
                assert not held.uploads
            await anyio.wait_all_tasks_blocked()
            assert network.open == 0
            assert tasks() == running
        assert threading.active_count() <= threads  # those of earlier tests may end meanwhile
        assert descriptors() == files
        return steps.count

    def _pusher(self, network: Network, registry: MemoryRegistry) -> ocipush.Pusher:
        return ocipush.Pusher(
            authfile=self.new / "none",
            credentials={registry.host: ocipush.Login("you", "secret")},
            retry=ocipush.RetryPolicy(base=0),
            chunk_size=self.chunk_size,
            transport=Transport(ssl.create_default_context(), connect=network.connect),
        )

    def run(self, backend: str, cancel_after: int, seed: int) -> int:
        clock = {"clock": trio.testing.MockClock(autojump_threshold=0)} if backend == "trio" else {}
        with deterministic(seed):
            return anyio.run(self.push, cancel_after, backend=backend, backend_options=clock)


FAULTS = (
    Cut(UPLOAD, 1, after=140_000),
    Cut(UPLOAD, 2, of="answer"),
    RateLimit("POST *", wait=0.001, notation="milliseconds"),
    GatewayTimeout("PUT /v2/*/manifests/*", status=524),
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("faults", "chunk_size", "dialect"),
    [
        pytest.param((), None, SPEC, id="whole"),
        pytest.param((), 60_000, Dialect(unseen_lookups=1, missing_named="first"), id="chunks-eventual"),
        pytest.param(FAULTS, None, Dialect(blob_redirect=307), id="faults-redirect"),
    ],
)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_push_cancelled_after_any_step_ends_immediately_and_leaves_nothing_behind(
    tmp_path: Path,
    sessions: set[str],
    backend: str,
    faults: tuple[Fault, ...],
    chunk_size: int | None,
    dialect: Dialect,
) -> None:
    for name, layers in (("old", [b"old"]), ("new", [b"layer", os.urandom(150_000)])):
        layouts.write_layout(tmp_path / name, [layouts.add_manifest(tmp_path / name, layers, name.encode())])
    world = World(tmp_path / "old", tmp_path / "new", sessions, faults, chunk_size, dialect)
    for seed in range(1 if backend == "asyncio" else 5):  # trio takes tasks that can go on in any order
        steps = world.run(backend, 0, seed)
        assert steps > 50
        for last in range(1, steps + 1):
            world.run(backend, last, seed)
