"""How many round trips a push of an index takes: each request of the registry takes a second of virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
from tests import layouts
from tests.virtual_push import World, run

if TYPE_CHECKING:
    from pathlib import Path

    from ocipush.testing import Request, Response

PLATFORMS = ["amd64", "arm64", "arm", "386", "ppc64le", "s390x", "riscv64", "mips64le"]


def write_index(layout: Path, changed: bytes) -> None:
    """Write an index of eight platforms, each with its attestation, as buildx does; ``changed`` is one layer of one."""
    children: list[dict[str, Any]] = []
    for number, architecture in enumerate(PLATFORMS):
        own = changed if number == 0 else b"layer"
        layers = [b"%d base %d" % (number, layer) for layer in range(4)] + [b"%d " % number + own]
        image = layouts.add_manifest(layout, layers, b'{"n": %d, "of": "%s"}' % (number, own))
        attestation = layouts.add_manifest(layout, [b"sbom %d of " % number + own], b'{"a": %d}' % number)
        children.append({**image, "platform": {"os": "linux", "architecture": architecture}})
        annotation = {"vnd.docker.reference.digest": image["digest"]}
        unknown = {"os": "unknown", "architecture": "unknown"}
        children.append({**attestation, "platform": unknown, "annotations": annotation})
    layouts.write_layout(layout, [layouts.add_index(layout, children)])


def test_index_of_eight_platforms_with_one_changed_layer_takes_eight_round_trips_at_most(tmp_path: Path) -> None:
    write_index(tmp_path / "old", b"old")
    write_index(tmp_path / "new", b"new")
    slow = False

    async def intercept(_: Request) -> Response | None:
        await trio.sleep(1.0 if slow else 0.0)
        return None

    async def test(world: World) -> None:
        nonlocal slow
        async with world.pusher() as pusher:
            await pusher.push(tmp_path / "old", target=world.target())
        async with world.pusher() as pusher:  # it has learned nothing yet
            await pusher.push(tmp_path / "old", target=world.target("other:1"))  # but has connections
            world.registry.requests.clear()
            slow, started = True, trio.current_time()
            result = await pusher.push(tmp_path / "new", target=world.target())
            assert trio.current_time() - started <= 8
        puts = [one.path for one in world.registry.requests if one.method == "PUT" and "/manifests/" in one.path]
        assert len(puts) == 3  # one image, its attestation, and the index
        assert world.registry.repository("app").tags["1"] == result.digest
        assert [blob.outcome for blob in result.blobs].count("uploaded") == 3  # a layer, a configuration, an SBOM

    run(test, tmp_path, intercept=intercept)
