"""Commands that hints name do what the hints say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from tests.pushing import push
from tests.real import images

from ocipush import errors
from ocipush.testing import Registry, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", ["docker", "docker-list", "umoci", "index"])
async def test_skopeo_converts_an_image_whose_media_types_are_refused(store: Path, tmp_path: Path, name: str) -> None:
    family = ".docker." if name.startswith("docker") else ".oci."

    async def intercept(request: Request) -> Response | None:
        return Response(415) if family in request.headers.get("content-type", "") else None

    async with Registry(intercept=intercept) as registry:
        with pytest.raises(errors.ManifestRejectedError) as caught:
            await push(store / name, registry)
        command = re.search("`(skopeo [^`]+)`", str(caught.value.hint))
        assert command is not None
        words = command[1].replace("IMAGE", str(store / name)).replace("DIRECTORY", str(tmp_path / "converted"))
        images.run(*words.split())
        result = await push(tmp_path / "converted", registry)
        assert family not in result.media_type
