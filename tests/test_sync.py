"""The blocking API: in a script, in several threads, in a program with a running event loop, and on Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import anyio
import pytest
from click.testing import CliRunner
from tests import layouts
from tests.registries import registry_in_thread

import ocipush
from ocipush import errors, sync
from ocipush._cli.commands import cli
from ocipush.testing import BasicAuth, Registry

if TYPE_CHECKING:
    from pathlib import Path

    from ocipush.testing import Request, Response


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Four images that share a layer and the config."""
    for name in ("a", "b", "c", "d"):
        layouts.write_image(tmp_path / "store" / name, b"shared", name.encode())
    return tmp_path / "store"


def test_script_pushes_one_image(store: Path, authfile: Path, ocipush_registry: Registry) -> None:
    result = sync.push("a", target=f"{ocipush_registry.host}/a:1", store=store, authfile=authfile)
    assert ocipush_registry.repository("a").tags == {"1": result.digest}


@pytest.mark.asyncio
async def test_pusher_works_in_a_thread_with_a_running_event_loop(
    store: Path, authfile: Path, ocipush_registry: Registry
) -> None:
    with sync.Pusher(store=store, authfile=authfile) as pusher:
        result = pusher.push("a", target=f"{ocipush_registry.host}/a:1")
    assert ocipush_registry.repository("a").tags == {"1": result.digest}


@pytest.mark.asyncio
async def test_push_works_in_a_worker_thread_of_a_running_event_loop(store: Path, authfile: Path) -> None:
    async with Registry() as registry:
        result = await asyncio.to_thread(sync.push, "a", target=f"{registry.host}/a:1", store=store, authfile=authfile)
        assert registry.repository("a").tags == {"1": result.digest}


def test_threads_share_one_pusher_and_its_connections(store: Path, authfile: Path, ocipush_registry: Registry) -> None:
    threads: set[int] = set()
    with sync.Pusher(store=store, authfile=authfile) as pusher, ThreadPoolExecutor(4) as pool:

        def push(name: str) -> ocipush.PushResult:
            return pusher.push(
                name,
                target=f"{ocipush_registry.host}/team/app:{name}",
                on_event=lambda _: threads.add(threading.get_ident()),
            )

        results = list(pool.map(push, "abcd"))
    assert ocipush_registry.repository("team/app").tags == {
        name: result.digest for name, result in zip("abcd", results, strict=True)
    }
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    sent = [request for request in ocipush_registry.requests if request.method == "PUT" and request.query]
    assert len(sent) == len("abcd") + 2  # the shared layer and the shared config were sent once


def test_pusher_raises_errors_unchanged_and_stays_usable(
    store: Path, authfile: Path, ocipush_registry: Registry
) -> None:
    with sync.Pusher(store=store, authfile=authfile) as pusher:
        with pytest.raises(errors.ImageNotFoundError):
            pusher.push("nothing", target=f"{ocipush_registry.host}/a:1")
        assert pusher.push("a", target=f"{ocipush_registry.host}/a:1").blobs


def test_login_is_checked_by_asking_the_registry(authfile: Path) -> None:
    with registry_in_thread(auth=BasicAuth({"user": "secret"})) as registry, sync.Pusher(authfile=authfile) as pusher:
        pusher.check_login(registry.host, ocipush.Login("user", "secret"))
        with pytest.raises(errors.AuthenticationError):
            pusher.check_login(registry.host, ocipush.Login("user", "guess"))
        with pytest.raises(errors.InvalidReferenceError):  # a bare word is a repository of Docker Hub
            pusher.check_login("myregistry", ocipush.Login("user", "secret"))


def test_login_checked_over_plain_http_causes_a_warning(authfile: Path) -> None:
    with registry_in_thread(auth=BasicAuth({"user": "secret"})) as registry:
        words = ["login", registry.host, "-u", "user", "--password-stdin", "--check", "--authfile", str(authfile)]
        done = CliRunner().invoke(cli, words, input="secret")
    assert done.exit_code == 0
    assert f"warning: the login for {registry.host} is sent over plain HTTP" in done.stderr


def test_ctrl_c_cancels_the_push_and_the_pusher_stays_usable(store: Path, authfile: Path) -> None:
    main = threading.main_thread().ident
    assert main is not None
    pressed: list[str] = []

    async def press(request: Request) -> Response | None:
        if request.method != "PUT" or "/slow/" not in request.path:
            return None
        if not pressed:
            pressed.append(request.path)
            signal.pthread_kill(main, signal.SIGINT)
        await anyio.sleep_forever()
        return None

    with registry_in_thread(intercept=press) as registry, sync.Pusher(store=store, authfile=authfile) as pusher:
        with pytest.raises(KeyboardInterrupt):
            pusher.push("a", target=f"{registry.host}/slow/a:1")
        assert registry.repository("slow/a").tags == {}
        result = pusher.push("a", target=f"{registry.host}/a:1")
        assert registry.repository("a").tags == {"1": result.digest}


def test_pusher_refuses_to_push_outside_its_block_and_in_another_process(
    store: Path, authfile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pusher = sync.Pusher(store=store, authfile=authfile)
    with pytest.raises(errors.PusherClosedError):
        pusher.push("a")
    with pusher, monkeypatch.context() as forked:
        forked.setattr(os, "getpid", lambda: 1)
        with pytest.raises(errors.PusherClosedError, match="this process"):
            pusher.push("a")
    with pytest.raises(errors.PusherClosedError):
        pusher.push("a")
