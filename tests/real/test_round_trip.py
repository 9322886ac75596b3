"""What was pushed is read back by skopeo and compared by digest with what umoci and skopeo wrote."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import ocipush

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.real]


def root_of(layout: Path) -> dict[str, Any]:
    descriptor: dict[str, Any] = json.loads((layout / "index.json").read_text())["manifests"][0]
    return descriptor


def reachable(layout: Path) -> set[str]:
    """What the layout's first descriptor refers to; umoci leaves the blobs of its steps behind."""

    def walk(digest: str) -> set[str]:
        found = {digest.partition(":")[2]}
        document = json.loads((layout / "blobs/sha256" / digest.partition(":")[2]).read_bytes())
        for child in document.get("manifests", []):
            found |= walk(child["digest"])
        blobs = [*document.get("layers", []), *([document["config"]] if "config" in document else [])]
        return found | {blob["digest"].partition(":")[2] for blob in blobs}

    return walk(root_of(layout)["digest"])


def read_back(server: Any, target: str, directory: Path) -> set[str]:
    server.skopeo("copy", "--all", "--preserve-digests", f"docker://{target}", f"dir:{directory}")
    names = {path for path in directory.iterdir() if path.name != "version"}
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in names}


async def test_image_of_umoci_arrives_digest_for_digest(server: Any, umoci_store: Path, tmp_path: Path) -> None:
    target = f"{server.host}/team/app:v1"
    async with ocipush.Pusher(store=umoci_store, **server.push_options()) as pusher:
        result = await pusher.push("app", target=target)
        assert not result.unchanged
        again = await pusher.push("app", target=target)
        assert (again.unchanged, again.requests) == (True, 1)
    raw = await anyio.to_thread.run_sync(server.skopeo, "inspect", "--raw", f"docker://{target}")
    assert (
        "sha256:" + hashlib.sha256(raw.encode()).hexdigest() == result.digest == root_of(umoci_store / "app")["digest"]
    )
    assert read_back(server, target, tmp_path / "copy") == reachable(umoci_store / "app")


@pytest.fixture
def docker_layout(server: Any, umoci_store: Path, tmp_path: Path) -> Path:
    """An image with Docker media types, which skopeo converts on its way through a registry's directory form."""
    made = tmp_path / "docker"
    subprocess.run(
        ["skopeo", "copy", "--format=v2s2", f"oci:{umoci_store / 'app'}:v1", f"dir:{made}"],
        check=True,
        capture_output=True,
    )
    raw = (made / "manifest.json").read_bytes()
    layout = tmp_path / "docker-layout"
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)
    for path in made.iterdir():
        if path.name not in {"version", "manifest.json"}:
            path.rename(blobs / path.name)
    encoded = hashlib.sha256(raw).hexdigest()
    (blobs / encoded).write_bytes(raw)
    descriptor = {"mediaType": json.loads(raw)["mediaType"], "digest": f"sha256:{encoded}", "size": len(raw)}
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))
    return layout


async def test_docker_media_types_are_kept(server: Any, docker_layout: Path, tmp_path: Path) -> None:
    target = f"{server.host}/docker/app:v1"
    result = await ocipush.push(docker_layout, target=target, **server.push_options())
    assert result.media_type == "application/vnd.docker.distribution.manifest.v2+json"
    assert read_back(server, target, tmp_path / "copy") == reachable(docker_layout)


async def test_command_pushes_what_the_library_pushes(server: Any, umoci_store: Path, tmp_path: Path) -> None:
    target = f"{server.host}/cli/app:v1"
    authfile = tmp_path / "auth.json"
    if server.login:
        ocipush.save_login(server.host, server.login, authfile=authfile)
    command = [sys.executable, "-m", "ocipush", "image", "push", "app", "--images-store-dir", str(umoci_store)]
    command += ["--target", target, "--authfile", str(authfile)]
    command += ["--ca-file", str(server.ca_file)] if server.ca_file else []
    run = await anyio.run_process(command, check=False)
    assert run.returncode == 0, run.stderr.decode()
    assert run.stdout.decode().strip() == f"{server.host}/cli/app@{root_of(umoci_store / 'app')['digest']}"
    assert b"correct horse" not in run.stderr
    assert read_back(server, target, tmp_path / "copy") == reachable(umoci_store / "app")


@pytest.mark.parametrize("server", ["tls"], indirect=True)
async def test_unknown_ca_is_refused_and_the_option_that_helps_is_named(server: Any, umoci_store: Path) -> None:
    with pytest.raises(ocipush.errors.TLSVerificationError, match="--ca-file"):
        await ocipush.push(
            "app", store=umoci_store, target=f"{server.host}/team/app:v1", authfile="/nonexistent/auth.json"
        )
    result = await ocipush.push(
        "app",
        store=umoci_store,
        target=f"{server.host}/team/app:v1",
        authfile="/nonexistent/auth.json",
        tls_verify=False,
    )
    assert not result.unchanged


async def test_sixty_four_pushes_at_once_all_arrive(server: Any, umoci_store: Path) -> None:
    async with ocipush.Pusher(store=umoci_store, **server.push_options()) as pusher:

        async def push(number: int) -> None:
            await pusher.push("app", target=f"{server.host}/many/app{number % 8}:{number}")

        async with anyio.create_task_group() as tasks:
            for number in range(64):
                tasks.start_soon(push, number)
    raw = await anyio.to_thread.run_sync(server.skopeo, "list-tags", f"docker://{server.host}/many/app3")
    assert len(json.loads(raw)["Tags"]) == 8
