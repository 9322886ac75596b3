"""A layer of 1 GiB that is cut at ten random places, over real sockets: what was there already is not sent again."""

from __future__ import annotations

import hashlib
import json
import random
from typing import TYPE_CHECKING

import pytest
from tests import layouts

import ocipush
from ocipush.testing import Cut, Fault, Registry

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1024**3
CUTS = 10


def sparse_image(layout: Path) -> str:
    """Write an image whose one layer is 1 GiB of nothing; its digest."""
    digest, zeros = hashlib.sha256(), bytes(1024 * 1024)
    for _ in range(GIB // len(zeros)):
        digest.update(zeros)
    name = digest.hexdigest()
    config = layouts.add_blob(layout, b"{}", "application/vnd.oci.image.config.v1+json")
    with (layout / "blobs" / "sha256" / name).open("wb") as file:
        file.truncate(GIB)
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": f"sha256:{name}", "size": GIB}
    manifest = {"schemaVersion": 2, "mediaType": layouts.MANIFEST, "config": config, "layers": [layer]}
    layouts.write_layout(layout, [layouts.add_blob(layout, json.dumps(manifest).encode(), layouts.MANIFEST)])
    return str(config["digest"])


def cuts(chance: random.Random) -> list[Fault]:
    """Each request goes on where the one before was cut."""
    places = sorted(chance.sample(range(1, GIB), CUTS))
    gaps = [place - before for before, place in zip([0, *places], places, strict=False)]
    upload = "PUT /v2/*/blobs/uploads/*"
    return [Cut(upload, nth, after=gap, how=chance.choice(["reset", "close"])) for nth, gap in enumerate(gaps, 1)]


@pytest.mark.anyio
@pytest.mark.timeout(300)
async def test_gibibyte_cut_ten_times_is_sent_once_with_at_most_five_percent_more(tmp_path: Path) -> None:
    config = sparse_image(tmp_path / "image")
    held = tmp_path / "registry" / "app" / "_blobs" / config  # so that every PUT is the layer's
    held.parent.mkdir(parents=True)
    held.write_bytes(b"{}")
    faults = cuts(random.Random(4))
    async with Registry(dialect="distribution-3", storage=tmp_path / "registry", faults=faults) as registry:
        result = await ocipush.push(
            tmp_path / "image",
            target=f"{registry.host}/app:1",
            authfile=tmp_path / "none",
            retry=ocipush.RetryPolicy(base=0),
        )
        received = sum(request.body_size for request in registry.requests if "/uploads/" in request.path)
    assert registry.fired == faults
    assert received == GIB
    assert result.sent <= 1.05 * GIB
