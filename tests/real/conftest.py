"""Servers and clients of other projects: Debian's docker-registry, nginx, tinyproxy, skopeo, umoci and buildah."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.real import images
from tests.real.servers import KINDS, Server, docker_registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOOLS = ("docker-registry", "skopeo", "umoci", "buildah", "nginx", "tinyproxy")


@pytest.fixture(scope="session", autouse=True)
def _tools() -> None:
    """Skip without the tools; fail on CI, which should have installed them."""
    missing = [tool for tool in TOOLS if shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"CI should have installed {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (`make servers` as root installs them)")


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A docker-registry for this test alone."""
    with docker_registry(request.param, tmp_path / "registry") as running:
        yield running


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of images written by all tools but buildah."""
    store = tmp_path_factory.mktemp("store")
    work = tmp_path_factory.mktemp("work")
    for architecture in ("amd64", "arm64"):
        images.write_umoci_image(work / architecture, architecture=architecture)
    shutil.copytree(work / "amd64", store / "umoci")
    images.write_index_directory(work / "index", [work / "amd64", work / "arm64"])
    images.run("skopeo", "copy", "--all", f"dir:{work / 'index'}", f"oci:{store / 'index'}:v1")
    for name, source in (("docker", f"oci:{work / 'amd64'}:v1"), ("docker-list", f"dir:{work / 'index'}")):
        images.write_docker_layout(work / name, source)
        (work / name).rename(store / name)
    return store


@pytest.fixture(scope="session")
def buildah_layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index written by buildah, which needs root or user namespaces."""
    home = tmp_path_factory.mktemp("buildah")
    probe = subprocess.run(
        [*images.buildah_command(home), "from", "scratch"], capture_output=True, text=True, check=False
    )
    if probe.returncode != 0:
        pytest.skip(f"buildah does not run here: {probe.stderr}")
    images.write_buildah_index(home / "layout", home)
    return home / "layout"


@pytest.fixture(scope="session")
def large_layout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An image of one layer of 256 MiB, written by skopeo."""
    layout = tmp_path_factory.mktemp("large") / "large"
    images.write_large_image(layout, 256 * 1024**2)
    yield layout
    shutil.rmtree(layout)
