"""Push an image from a store to a registry on this machine, read it back, and push it again.

``make demo`` runs it. It uses only a temporary directory, does not open your login file, and starts the development
registry ``ocipush.testing`` on a free port of 127.0.0.1 for as long as it runs.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import shlex
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
FILE_SIZES = (48 * 1024 * 1024, 12 * 1024 * 1024, 3 * 1024 * 1024, 40_000, 300)
OCIPUSH = Path(sys.executable).with_name("ocipush")


def make_layer(name: str, size: int) -> bytes:
    """Make a tar archive of one file with random content, so that no registry has it yet."""
    archive, member = io.BytesIO(), tarfile.TarInfo(name)
    member.size = size
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(member, io.BytesIO(os.urandom(size)))
    return archive.getvalue()


def add_blob(layout: Path, content: bytes, media_type: str) -> dict[str, object]:
    """Store content under its digest, and return its descriptor."""
    encoded = hashlib.sha256(content).hexdigest()
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    (blobs / encoded).write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{encoded}", "size": len(content)}


def make_image(layout: Path, ref: str) -> str:
    """Write an image that records the reference it belongs to, and return its digest."""
    layers = [add_blob(layout, make_layer(f"file-{size}", size), LAYER) for size in FILE_SIZES]
    rootfs = {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).encode()
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": add_blob(layout, config, CONFIG),
        "layers": layers,
    }
    manifest = add_blob(layout, json.dumps(document).encode(), MANIFEST)
    manifest["annotations"] = {"org.opencontainers.image.ref.name": ref}
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    return str(manifest["digest"])


def run(*arguments: str) -> str:
    """Run the command with its progress on this terminal, and return what it prints on stdout."""
    print(f"\n$ {shlex.join(['ocipush', *arguments])}", flush=True)
    direct = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    done = subprocess.run(  # noqa: S603 - our own command
        [OCIPUSH, *arguments], stdout=subprocess.PIPE, text=True, check=True, env=direct
    )
    print(done.stdout, end="", flush=True)
    return done.stdout.strip()


def read_back(host: str) -> str:
    """Download the manifest that the registry serves for the tag, and return its digest."""
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.request("GET", "/v2/team/demo/manifests/1.0", headers={"Accept": MANIFEST})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    if answer.status != 200:
        sys.exit(f"error: the registry answers {answer.status}")
    return "sha256:" + hashlib.sha256(content).hexdigest()


def show(host: str, scratch: Path) -> None:
    """List, push, read back, push again."""
    store = scratch / "images"
    digest = make_image(store / "demo-1_0", f"{host}/team/demo:1.0")
    print(f"a store with one image:       {store}\na registry on this machine:   http://{host}")
    where = ("--images-store-dir", str(store), "--authfile", str(scratch / "auth.json"))
    run("image", "list", *where)
    pushed = run("image", "push", "demo-1_0", *where)
    served = read_back(host)
    print(f"\nThe manifest in the store is    {digest}\nand the registry serves         {served}")
    if served != digest or not pushed.endswith(f"@{digest}"):
        sys.exit("error: the digests differ")
    print("The digests are equal. Now the same push again, which sends nothing:")
    run("image", "push", "demo-1_0", *where)


def main() -> None:
    """Run the demo. It fails if a digest is wrong."""
    with (
        tempfile.TemporaryDirectory(prefix="ocipush-demo-") as scratch,
        subprocess.Popen(
            [sys.executable, "-m", "ocipush.testing", "--port", "0"], stdout=subprocess.PIPE, text=True
        ) as registry,
    ):
        try:
            host = registry.stdout.readline().strip() if registry.stdout else ""
            if not host:
                sys.exit("error: the registry did not start")
            show(host, Path(scratch))
        finally:
            registry.terminate()
    here = os.path.relpath(OCIPUSH)
    print(
        "\nThe same with your own store and registry:\n"
        "  export OCIPUSH_AUTHFILE=~/.config/ocipush/auth.json    # without it: /var/lib/ar/auth.json\n"
        f"  {here} image login registry.example --username you\n"
        f"  {here} image push IMAGE --images-store-dir DIRECTORY --target registry.example/team/app:1.0\n"
        "DIRECTORY holds one OCI layout per directory. IMAGE is the name of such a directory, or a recorded reference.\n"
        "Without --target, the image is pushed to the reference that it records. --tls-verify=false allows plain HTTP."
    )


if __name__ == "__main__":
    main()
