"""Each example does what it says, against the development registry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from examples import background_push
from tests import layouts

import ocipush
from ocipush.testing import Registry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two images that share a layer and the config."""
    for name in ("alpine-3_18_0", "app-1_0"):
        layouts.write_image(tmp_path / "store" / name, b"base" * 1000, name.encode())
    return tmp_path / "store"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    source = str(Path(ocipush.__file__).parents[1])  # the library under test, even if another one is installed

    def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, EXAMPLES / name, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            env={"OCIPUSH_AUTHFILE": str(tmp_path / "auth.json"), "PYTHONPATH": source},
        )

    return run


def test_every_example_has_a_test() -> None:
    here = Path(__file__).read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if path.stem not in here] == []


def test_demo_compares_the_digests_and_pushes_nothing_the_second_time(run: Any) -> None:
    done = run("demo.py")
    assert (done.returncode, done.stderr.count("uploaded")) == (0, 6), done.stderr
    assert "The digests are equal." in done.stdout
    assert "image already in the remote repository" in done.stderr
    assert "The same with your own store and registry" in done.stdout


def test_push_one_prints_the_outcome_of_each_blob(run: Any, store: Path, ocipush_registry: Registry) -> None:
    target = f"{ocipush_registry.host}/team/app:1"
    first, second = (run("push_one.py", store, "app-1_0", target) for _ in range(2))
    digest = ocipush_registry.repository("team/app").tags["1"]
    assert first.stdout.startswith(f"{target} is {digest}\n")
    assert first.stdout.count(" uploaded\n") == 3
    assert second.stdout == f"{target} is {digest}\nit was already there\n"
    failed = run("push_one.py", store, "absent", target)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: ")


def test_push_many_sends_shared_blobs_once_and_continues_after_a_failure(
    run: Any, store: Path, ocipush_registry: Registry
) -> None:
    broken = layouts.write_image(store / "broken", b"lost")
    for blob in (broken / "blobs/sha256").iterdir():
        if blob.read_bytes() == b"lost":
            blob.unlink()
    done = run("push_many.py", store, f"{ocipush_registry.host}/team")
    assert done.returncode == 1
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["alpine-3_18_0", "app-1_0"]
    assert done.stderr.splitlines()[-1].startswith("broken: ")
    for name in ("alpine-3_18_0", "app-1_0"):
        assert ocipush_registry.repository(f"team/{name}").tags.keys() == {"latest"}


def test_sync_script_prints_immutable_names(run: Any, store: Path, ocipush_registry: Registry) -> None:
    done = run("sync_script.py", store, f"{ocipush_registry.host}/team", "alpine-3_18_0", "app-1_0")
    assert done.stdout.splitlines() == [
        f"{ocipush_registry.host}/team/{name}@{ocipush_registry.repository(f'team/{name}').tags['latest']}"
        for name in ("alpine-3_18_0", "app-1_0")
    ]
    failed = run("sync_script.py", store, f"{ocipush_registry.host}/team", "app-1_1")
    assert (failed.returncode, failed.stderr) == (1, "no image app-1_1; similar names: app-1_0, alpine-3_18_0\n")


def test_progress_bar_draws_a_bar_for_each_blob(run: Any, store: Path, ocipush_registry: Registry) -> None:
    done = run("progress_bar.py", store, "app-1_0", f"{ocipush_registry.host}/team/app:1")
    digest = ocipush_registry.repository("team/app").tags["1"]
    assert done.stdout == f"{ocipush_registry.host}/team/app@{digest}\n"
    for blob in ocipush_registry.repository("team/app").blobs:
        assert blob[7:19] in done.stderr


class Lifespan:
    """The part of an ASGI server that runs the lifespan."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app
        self.started = anyio.Event()
        self.stop = anyio.Event()
        self.sent: list[str] = []

    async def run(self) -> None:
        asked = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> dict[str, str]:
            kind = next(asked)
            if kind == "lifespan.shutdown":
                await self.stop.wait()
            return {"type": kind}

        async def send(message: dict[str, str]) -> None:
            self.sent.append(message["type"])
            self.started.set()

        await self.app({"type": "lifespan"}, receive, send)


@pytest.mark.anyio
async def test_background_push_responds_immediately_and_finishes_before_shutdown(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCIPUSH_AUTHFILE", str(tmp_path / "auth.json"))
    release = anyio.Event()

    async def hold(_: object) -> None:
        await release.wait()

    app = background_push.Service(str(store))
    lifespan = Lifespan(app)
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")
    async with Registry(intercept=hold) as registry, client, anyio.create_task_group() as tasks:
        tasks.start_soon(lifespan.run)
        await lifespan.started.wait()
        target = f"{registry.host}/team/app:1"
        accepted = await client.post("/push", params={"image": "app-1_0", "target": target})
        assert (accepted.status_code, accepted.json()) == (202, {"url": "/pushes/1"})
        assert (await client.get("/pushes/1")).json()["state"] == "running"
        assert (await client.post("/push", params={"image": "absent"})).json() == {"url": "/pushes/2"}
        assert (await client.post("/push")).status_code == 400
        assert (await client.get("/pushes/3")).status_code == 404
        lifespan.stop.set()
        release.set()
    assert lifespan.sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    states = [app._answer("GET", f"/pushes/{number}", "")[1] for number in (1, 2)]
    assert (states[0]["state"], states[0]["digest"]) == ("done", registry.repository("team/app").tags["1"])
    assert states[0]["sent"] > 0
    assert states[1]["state"] == "failed"
    assert "absent" in states[1]["error"]
