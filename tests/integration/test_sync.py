"""The blocking twins: in a script, in threads, beside a running loop, after a fork, and under Ctrl-C."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests import layouts

from ocipush import errors, sync

if TYPE_CHECKING:
    from pathlib import Path

    import ocipush
    from ocipush.testing import Registry


@pytest.fixture
def image(tmp_path: Path) -> Path:
    layout = tmp_path / "app"
    layouts.write_layout(layout, [layouts.add_manifest(layout, [b"one", b"two"])])
    return layout


def test_script_pushes_many_images_on_one_pusher(ocipush_registry: Registry, image: Path, tmp_path: Path) -> None:
    with sync.Pusher(authfile=tmp_path / "none") as pusher:
        first = pusher.push(image, target=f"{ocipush_registry.host}/app:1")
        second = pusher.push(image, target=f"{ocipush_registry.host}/app:2")
    assert ocipush_registry.repository("app").tags == {"1": first.digest, "2": second.digest}
    assert second.requests == 2


def test_threads_share_one_pusher(ocipush_registry: Registry, image: Path, tmp_path: Path) -> None:
    with sync.Pusher(authfile=tmp_path / "none") as pusher, ThreadPoolExecutor(8) as threads:
        targets = [f"{ocipush_registry.host}/app:{number}" for number in range(16)]
        results = list(threads.map(lambda target: pusher.push(image, target=target), targets))
    assert [result.reference for result in results] == targets
    sent = [blob.digest for result in results for blob in result.blobs if blob.outcome == "uploaded"]
    assert len(sent) == len(set(sent)) == 3


def test_thread_whose_own_loop_is_running_can_push(ocipush_registry: Registry, image: Path, tmp_path: Path) -> None:
    async def notebook() -> ocipush.PushResult:
        return sync.push(image, target=f"{ocipush_registry.host}/app:1", authfile=tmp_path / "none")

    assert asyncio.run(notebook()).reference.endswith("/app:1")


def test_error_comes_through_as_it_is(image: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidReferenceError, match="drop 'docker://'"):
        sync.push(image, target="docker://a/b", authfile=tmp_path / "none")


def test_no_thread_is_left_behind(ocipush_registry: Registry, image: Path, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    sync.push(image, target=f"{ocipush_registry.host}/app:1", authfile=tmp_path / "none")
    left = set(threading.enumerate()) - before
    assert not [thread for thread in left if thread.name == "ocipush"]


def _push_in_child(pusher: sync.Pusher, image: Path, said: multiprocessing.Queue[str]) -> None:
    try:
        pusher.push(image, target="127.0.0.1:1/app:1")
    except errors.PusherClosedError as exc:
        said.put(str(exc))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_child_is_told_instead_of_hanging(image: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    said: multiprocessing.Queue[str] = context.Queue()
    with sync.Pusher(authfile=tmp_path / "none") as pusher:
        child = context.Process(target=_push_in_child, args=(pusher, image, said))
        child.start()
        assert "not open in this process" in said.get(timeout=20)
        child.join()


def test_interrupt_cancels_that_push_and_the_pusher_stays_usable(
    ocipush_registry: Registry, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = threading.Event()
    cancelled = threading.Event()

    def on_event(event: ocipush.Event) -> None:
        started.set()
        cancelled.wait(20)

    with sync.Pusher(authfile=tmp_path / "none") as pusher:
        portal = pusher._portal
        start = portal.start_task_soon

        class Interrupted:
            """A future whose ``result`` is left by Ctrl-C, as the main thread's would be."""

            def __init__(self, future: object) -> None:
                self.future = future

            def result(self) -> None:
                started.wait(20)
                raise KeyboardInterrupt

            def cancel(self) -> None:
                self.future.cancel()  # type: ignore[attr-defined]
                cancelled.set()

        monkeypatch.setattr(portal, "start_task_soon", lambda *arguments: Interrupted(start(*arguments)))
        with pytest.raises(KeyboardInterrupt):
            pusher.push(image, target=f"{ocipush_registry.host}/app:1", on_event=on_event)
        monkeypatch.undo()
        pusher.push(image, target=f"{ocipush_registry.host}/app:2")
    assert set(ocipush_registry.repository("app").tags) == {"2"}
