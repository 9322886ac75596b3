"""The development registry as a user of anyio's pytest plugin has it, on asyncio and on trio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from tests import layouts

import ocipush
from ocipush.testing import Registry, Restart

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio
UPLOAD = "PUT /v2/*/blobs/uploads/*"


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    layouts.write_layout(tmp_path / "app", [layouts.add_manifest(tmp_path / "app", [b"layer"])])
    return tmp_path / "app"


async def push(image: Path, registry: Registry, name: str = "team/app") -> str:
    target = f"{registry.host}/{name}:1"
    retry = ocipush.RetryPolicy(base=0)
    return (await ocipush.push(image, target=target, authfile=image / "none", retry=retry)).digest


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    async with Registry(faults=[Restart(UPLOAD)], strict=True) as registry:
        yield registry


async def test_fixture_serves_the_test_through_a_restart(registry: Registry, image: Path) -> None:
    digest = await push(image, registry)
    assert len(registry.fired) == 1
    assert registry.repository("team/app").tags == {"1": digest}


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[Registry]:
    async with Registry() as registry:
        yield registry


@pytest.mark.parametrize("name", ["first", "second"])
async def test_fixture_of_a_module_serves_each_of_its_tests(shared: Registry, image: Path, name: str) -> None:
    digest = await push(image, shared, name)
    assert shared.repository(name).tags == {"1": digest}


async def test_registry_is_opened_in_a_task_group_of_the_test(image: Path) -> None:
    async with anyio.create_task_group() as tasks, Registry() as registry:
        tasks.start_soon(push, image, registry)
        with anyio.fail_after(30):
            while not registry.repository("team/app").tags:
                await anyio.sleep(0.01)


async def test_synchronous_fixture_serves_an_asynchronous_test(ocipush_registry: Registry, image: Path) -> None:
    digest = await push(image, ocipush_registry)
    assert ocipush_registry.repository("team/app").tags == {"1": digest}
