"""Images that umoci, skopeo and buildah write: layouts that ocipush had no part in."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

OCI_INDEX = "application/vnd.oci.image.index.v1+json"


def run(*command: str | Path) -> str:
    """Run a tool; what it prints."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout.strip()


def write_tar(path: Path, members: dict[str, int]) -> None:
    """An archive of files of zeros, by name and size; the archive is sparse, and quick to write."""
    with path.open("wb") as file:
        for name, size in members.items():
            member = tarfile.TarInfo(name)
            member.size = size
            file.write(member.tobuf())
            file.seek(-(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE, os.SEEK_CUR)
        file.truncate(file.tell() + 2 * tarfile.BLOCKSIZE)


def write_umoci_image(layout: Path, *, architecture: str = "amd64") -> None:
    """By umoci: a layer of 3 MB, a small one, one with a directory alone, and one of an archive of nothing."""
    image = f"{layout}:v1"
    files = layout.with_name(f"{layout.name}-files")
    (files / "directory").mkdir(parents=True)
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", image)
    run("umoci", "config", "--image", image, "--architecture", architecture, "--os", "linux")
    for number, size in enumerate((3_000_000, 5_000)):
        (files / str(number)).write_bytes(os.urandom(size))
        run("umoci", "insert", "--image", image, files / str(number), f"/data/{number}")
    run("umoci", "insert", "--image", image, files / "directory", "/directory")
    write_tar(files / "nothing.tar", {})
    run("umoci", "raw", "add-layer", "--image", image, files / "nothing.tar")


def write_index_directory(directory: Path, layouts: list[Path]) -> None:
    """In skopeo's ``dir:`` form, an image index of images that skopeo copies from ``layouts``."""
    manifests: list[dict[str, Any]] = []
    directory.mkdir()
    for layout in layouts:
        copy = directory.with_name(f"{directory.name}-{layout.name}")
        run("skopeo", "copy", f"oci:{layout}:v1", f"dir:{copy}")
        raw = (copy / "manifest.json").read_bytes()
        digest = hashlib.sha256(raw).hexdigest()
        config = json.loads((copy / json.loads(raw)["config"]["digest"].partition(":")[2]).read_bytes())
        for path in copy.iterdir():
            path.rename(directory / (f"{digest}.{path.name}" if path.name == "manifest.json" else path.name))
        manifests.append(
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": f"sha256:{digest}",
                "size": len(raw),
                "platform": {"architecture": config["architecture"], "os": config["os"]},
            }
        )
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    (directory / "manifest.json").write_text(json.dumps(index))


def write_docker_layout(layout: Path, source: str) -> None:
    """The manifests and blobs of an image as skopeo converts them to Docker's media types.

    Its ``oci:`` form takes none, so they are moved, byte for byte, out of its ``dir:`` form.
    """
    directory = layout.with_name(f"{layout.name}-dir")
    run("skopeo", "copy", "--all", "--format=v2s2", source, f"dir:{directory}")
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)
    root = (directory / "manifest.json").read_bytes()
    for path in directory.iterdir():
        if path.name != "version":
            path.rename(blobs / hashlib.sha256(path.read_bytes()).hexdigest())
    descriptor = {
        "mediaType": json.loads(root)["mediaType"],
        "digest": f"sha256:{hashlib.sha256(root).hexdigest()}",
        "size": len(root),
    }
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))


def buildah_command(home: Path) -> list[str]:
    """Call buildah with all its state in ``home``."""
    return ["buildah", "--root", f"{home}/root", "--runroot", f"{home}/run", "--storage-driver", "vfs"]


def write_buildah_index(layout: Path, home: Path) -> None:
    """By buildah: an index of two images, one of them with its layer uncompressed."""

    def buildah(*command: str | Path) -> str:
        return run(*buildah_command(home), *command)

    (home / "images").mkdir()
    buildah("manifest", "create", "all")
    for architecture, options in (("amd64", ["--disable-compression"]), ("arm64", [])):
        (home / architecture).write_bytes(os.urandom(100_000))
        container = buildah("from", "scratch")
        buildah("add", container, home / architecture, "/file")
        buildah("config", "--arch", architecture, "--os", "linux", container)
        buildah("commit", *options, container, f"oci:{home / 'images' / architecture}:v1")
        buildah("manifest", "add", "all", f"oci:{home / 'images' / architecture}:v1")
    buildah("manifest", "push", "--all", "all", f"oci:{layout}:v1")


def write_large_image(layout: Path, size: int) -> None:
    """By skopeo: an image of one layer, an uncompressed archive that holds a file of ``size`` bytes."""
    archive = layout.with_name(f"{layout.name}.tar")
    write_tar(archive, {"file": size})
    run("skopeo", "copy", "--dest-oci-accept-uncompressed-layers", f"tarball:{archive}", f"oci:{layout}:v1")
    archive.unlink()


def root_of(layout: Path, tag: str | None = None) -> dict[str, Any]:
    """The descriptor of a layout's only image, or of the one with a tag."""
    manifests: list[dict[str, Any]] = json.loads((layout / "index.json").read_text())["manifests"]
    (found,) = (
        one
        for one in manifests
        if tag is None or one.get("annotations", {}).get("org.opencontainers.image.ref.name") == tag
    )
    return found


def reachable(layout: Path, digest: str) -> set[str]:
    """The digests of all that a digest of a layout refers to; umoci leaves unreferenced blobs behind."""
    path = layout / "blobs" / Path(*digest.split(":"))
    found = {digest}
    document = json.loads(path.read_bytes())
    for child in document.get("manifests", []):
        found |= reachable(layout, child["digest"])
    blobs = [*document.get("layers", []), *([document["config"]] if "config" in document else [])]
    return found | {blob["digest"] for blob in blobs}


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def digests_in(directory: Path) -> set[str]:
    """The digests of the manifests and blobs that skopeo wrote to a ``dir:``, hashed again."""
    return {digest_of(path) for path in directory.iterdir() if path.name != "version"}
