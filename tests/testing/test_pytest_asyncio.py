"""The development registry as a user of pytest-asyncio, in strict mode, has it: as async fixtures and tests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from tests import layouts

import ocipush
from ocipush.testing import BasicAuth, Cut, Registry, Restart

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

UPLOAD = "PUT /v2/*/blobs/uploads/*"
AT_ONCE = ocipush.RetryPolicy(base=0)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    layouts.write_layout(tmp_path / "app", [layouts.add_manifest(tmp_path / "app", [b"layer", b"x" * 100_000])])
    return tmp_path / "app"


@pytest_asyncio.fixture
async def registry() -> AsyncIterator[Registry]:
    async with Registry(auth=BasicAuth({"you": "secret"}), strict=True) as registry:
        yield registry


async def push(image: Path, registry: Registry, name: str = "team/app") -> ocipush.PushResult:
    return await ocipush.push(
        image,
        target=f"{registry.host}/{name}:1",
        authfile=image / "none",
        credentials={registry.host: ocipush.Login("you", "secret")},
        retry=AT_ONCE,
    )


@pytest.mark.asyncio
async def test_fixture_serves_the_test(registry: Registry, image: Path) -> None:
    result = await push(image, registry)
    assert registry.repository("team/app").tags == {"1": result.digest}


@pytest.mark.asyncio
async def test_each_test_has_its_own_registry(registry: Registry) -> None:
    assert registry.requests == []


@pytest.mark.asyncio
async def test_two_pushes_at_once_in_a_task_group(registry: Registry, image: Path) -> None:
    async with asyncio.TaskGroup() as tasks:
        both = [tasks.create_task(push(image, registry)) for _ in range(2)]
    assert registry.repository("team/app").tags == {"1": both[0].result().digest}


@pytest_asyncio.fixture
async def restarting() -> AsyncIterator[Registry]:
    async with Registry(faults=[Cut(UPLOAD, after=1), Restart(UPLOAD, 3)]) as registry:
        yield registry


@pytest.mark.asyncio
async def test_registry_of_a_fixture_restarts_when_a_fault_says_so(restarting: Registry, image: Path) -> None:
    result = await push(image, restarting)
    assert len(restarting.fired) == 2
    assert restarting.repository("team/app").tags == {"1": result.digest}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Registry]:
    async with Registry() as registry:
        yield registry


@pytest.mark.parametrize("name", ["first", "second"])
@pytest.mark.asyncio(loop_scope="module")
async def test_fixture_of_a_module_serves_each_of_its_tests(shared: Registry, image: Path, name: str) -> None:
    result = await push(image, shared, name)
    assert shared.repository(name).tags == {"1": result.digest}


@pytest.mark.asyncio
async def test_synchronous_fixture_serves_an_asynchronous_test(ocipush_registry: Registry, image: Path) -> None:
    result = await push(image, ocipush_registry)
    assert ocipush_registry.repository("team/app").tags == {"1": result.digest}
