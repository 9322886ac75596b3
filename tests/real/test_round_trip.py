"""What was pushed is read back by skopeo, and compared by digest with what umoci, skopeo and buildah wrote."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Literal

import anyio
import pytest
from tests.real.images import digests_in, reachable, root_of, run

import ocipush

if TYPE_CHECKING:
    from pathlib import Path

    from tests.real.servers import Server

pytestmark = [pytest.mark.anyio, pytest.mark.real]
DOCKER = "application/vnd.docker.distribution.manifest"
OCI = "application/vnd.oci.image"
# Image of the store, and its media type.
IMAGES = {
    "umoci": f"{OCI}.manifest.v1+json",
    "index": f"{OCI}.index.v1+json",
    "docker": f"{DOCKER}.v2+json",
    "docker-list": f"{DOCKER}.list.v2+json",
}


def assert_same(server: Server, target: str, layout: Path, directory: Path) -> None:
    """See that the registry serves exactly what the layout's only image consists of."""
    root = root_of(layout)["digest"]
    raw = server.skopeo("inspect", "--raw", f"docker://{target}")
    assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == root
    server.skopeo("copy", "--all", "--preserve-digests", f"docker://{target}", f"dir:{directory}")
    assert digests_in(directory) == reachable(layout, root)


@pytest.mark.parametrize("image", IMAGES)
async def test_image_is_read_back_with_the_same_digests_and_is_then_unchanged(
    server: Server, store: Path, tmp_path: Path, image: str
) -> None:
    target = f"{server.host}/team/{image}:v1"
    async with ocipush.Pusher(store=store, **server.push_options) as pusher:
        result = await pusher.push(image, target=target)
        assert (result.unchanged, result.media_type) == (False, IMAGES[image])
        assert {blob.outcome for blob in result.blobs} == {"uploaded"}
        again = await pusher.push(image, target=target)
        assert (again.unchanged, again.requests, again.sent) == (True, 1, 0)
    assert_same(server, target, store / image, tmp_path / "copy")


async def test_index_of_buildah_is_read_back_with_the_same_digests(
    server: Server, buildah_layout: Path, tmp_path: Path
) -> None:
    target = f"{server.host}/team/buildah:v1"
    result = await ocipush.push(buildah_layout, target=target, **server.push_options)
    assert result.media_type == f"{OCI}.index.v1+json"
    assert_same(server, target, buildah_layout, tmp_path / "copy")


def test_command_pushes_what_the_library_pushes(server: Server, store: Path, tmp_path: Path) -> None:
    target = f"{server.host}/cli/app:v1"
    command = [sys.executable, "-m", "ocipush", "push", "index", "--images-store-dir", str(store), "--target", target]
    command += server.command_options(tmp_path / "auth.json")
    digest = root_of(store / "index")["digest"]
    for message in (
        f"image pushed to the remote repository: {target}",
        f"image already in the remote repository: {target}",
    ):
        run = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
        words = run.stderr
        assert run.returncode == 0, words
        assert run.stdout == f"{server.host}/cli/app@{digest}\n"
        assert message in words.splitlines()
        assert "correct horse" not in words
    assert_same(server, target, store / "index", tmp_path / "copy")


async def test_blobs_of_another_repository_are_mounted(server: Server, store: Path, tmp_path: Path) -> None:
    target = f"{server.host}/second/app:v1"
    async with ocipush.Pusher(store=store, **server.push_options) as pusher:
        await pusher.push("umoci", target=f"{server.host}/first/app:v1")
        result = await pusher.push("umoci", target=target)
    assert {blob.outcome for blob in result.blobs} == {"mounted"}
    assert_same(server, target, store / "umoci", tmp_path / "copy")


@pytest.mark.parametrize("server", ["plain", "token"], indirect=True)
async def test_sixty_four_concurrent_pushes_all_arrive(server: Server, store: Path) -> None:
    digests = {image: root_of(store / image)["digest"] for image in IMAGES}
    names = list(IMAGES)
    async with ocipush.Pusher(store=store, **server.push_options) as pusher:

        async def push(number: int) -> None:
            image = names[number % len(names)]
            result = await pusher.push(image, target=f"{server.host}/many/app{number // 8}:{number}")
            assert result.digest == digests[image]

        async with anyio.create_task_group() as tasks:
            for number in range(64):
                tasks.start_soon(push, number)
    for repository in range(8):
        raw = server.skopeo("list-tags", f"docker://{server.host}/many/app{repository}")
        assert set(json.loads(raw)["Tags"]) == {str(8 * repository + number) for number in range(8)}
    assert {session for number in range(8) for session in server.upload_sessions(f"many/app{number}")} == set()


@pytest.mark.parametrize("server", ["tls"], indirect=True)
async def test_unknown_ca_is_refused_and_the_hint_names_the_option(server: Server, store: Path) -> None:
    call = partial(
        ocipush.push, "umoci", store=store, target=f"{server.host}/team/app:v1", authfile="/nonexistent/auth.json"
    )
    with pytest.raises(ocipush.errors.TLSVerificationError, match="ca_file="):
        await call()
    result = await call(tls_verify=False)
    assert not result.unchanged


@pytest.mark.parametrize("image", ["umoci", "index"])
async def test_archive_of_skopeo_arrives_digest_for_digest(
    server: Server, store: Path, tmp_path: Path, image: str
) -> None:
    archive, layout = tmp_path / f"{image}.tar", tmp_path / "layout"
    run("skopeo", "copy", "--all", f"oci:{store / image}:v1", f"oci-archive:{archive}:v1")
    layout.mkdir()
    run("tar", "-xf", archive, "-C", layout)
    target = f"{server.host}/team/{image}:archive"
    result = await ocipush.push(archive, target=target, **server.push_options)
    assert (result.digest, result.media_type) == (root_of(layout)["digest"], IMAGES[image])
    assert_same(server, target, layout, tmp_path / "copy")


@pytest.mark.parametrize("image", ["umoci", "index"])
async def test_directory_of_skopeo_arrives_digest_for_digest(
    server: Server, store: Path, tmp_path: Path, image: str
) -> None:
    directory = tmp_path / image
    run("skopeo", "copy", "--all", f"oci:{store / image}:v1", f"dir:{directory}")
    target = f"{server.host}/team/{image}:dir"
    result = await ocipush.push(directory, target=target, **server.push_options)
    assert (result.digest, result.media_type) == (root_of(store / image)["digest"], IMAGES[image])
    assert_same(server, target, store / image, tmp_path / "copy")


@pytest.mark.parametrize("compress", ["gzip", "none"])
async def test_docker_archive_of_skopeo_arrives_with_the_same_layers(
    server: Server, store: Path, tmp_path: Path, compress: Literal["gzip", "none"]
) -> None:
    archive = tmp_path / "saved.tar"
    target = f"{server.host}/team/saved:{compress}"
    run("skopeo", "copy", f"oci:{store / 'umoci'}:v1", f"docker-archive:{archive}:{target}")
    async with ocipush.Pusher(**server.push_options) as pusher:
        result = await pusher.push(archive, compress=compress)
        again = await pusher.push(archive, compress=compress)
    assert (result.reference, again.unchanged, again.digest) == (target, True, result.digest)
    server.skopeo("copy", f"docker://{target}", f"docker-archive:{tmp_path / 'pulled.tar'}")
    saved, pulled = (
        json.loads(run("tar", "-xOf", tmp_path / name, "manifest.json")) for name in ("saved.tar", "pulled.tar")
    )
    assert (pulled[0]["Config"], pulled[0]["Layers"]) == (saved[0]["Config"], saved[0]["Layers"])
