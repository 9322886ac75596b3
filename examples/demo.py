"""The main job in one go: an image from a store is pushed to a registry on this machine, read back, and pushed again.

Nothing outside a temporary directory is read or written; the registry is ``ocipush.testing`` on a free loopback port.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER_SIZES = (24 * 1024 * 1024, 3 * 1024 * 1024, 40_000, 300)


def add_blob(layout: Path, content: bytes, media_type: str) -> dict[str, object]:
    """Store content under its digest, and describe it."""
    encoded = hashlib.sha256(content).hexdigest()
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    (blobs / encoded).write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{encoded}", "size": len(content)}


def make_image(store: Path) -> str:
    """Write one image to the store; give its digest."""
    layout = store / "demo-1_0"
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": add_blob(layout, b"{}", "application/vnd.oci.image.config.v1+json"),
        "layers": [
            add_blob(layout, os.urandom(size), "application/vnd.oci.image.layer.v1.tar") for size in LAYER_SIZES
        ],
    }
    manifest = add_blob(layout, json.dumps(document).encode(), MANIFEST)
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    return str(manifest["digest"])


def push(store: Path, target: str, authfile: Path) -> str:
    """Run the command as a person would, its progress on this terminal; give what it prints on stdout."""
    command = ["ocipush", "image", "push", "demo-1_0", "--images-store-dir", str(store), "--target", target]
    print(f"\n$ {' '.join(command)}", flush=True)
    command[0] = str(Path(sys.executable).with_name("ocipush"))
    run = subprocess.run([*command, "--authfile", str(authfile)], stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    print(run.stdout, end="", flush=True)
    return run.stdout.strip()


def main() -> None:
    """Run the demo; a wrong digest ends it with an error."""
    with tempfile.TemporaryDirectory(prefix="ocipush-demo-") as scratch:
        store, authfile = Path(scratch, "images"), Path(scratch, "auth.json")
        digest = make_image(store)
        with subprocess.Popen(
            [sys.executable, "-m", "ocipush.testing", "--port", "0"], stdout=subprocess.PIPE, text=True
        ) as registry:
            try:
                host = registry.stdout.readline().strip() if registry.stdout else ""
                print(f"a store with one image: {store}\na registry: http://{host}")
                target = f"{host}/team/demo:1.0"
                pushed = push(store, target, authfile)
                request = urllib.request.Request(
                    f"http://{host}/v2/team/demo/manifests/1.0", headers={"Accept": MANIFEST}
                )
                with urllib.request.urlopen(request) as answer:  # noqa: S310
                    served = "sha256:" + hashlib.sha256(answer.read()).hexdigest()
                print(f"\nread back: the registry serves {served}\nin the store it is              {digest}")
                if not pushed.endswith(digest) or served != digest:
                    sys.exit("error: the digests differ")
                print("the digests are equal; now the same push again:")
                push(store, target, authfile)
            finally:
                registry.terminate()
    print(
        "\nWith your own store and registry:\n"
        "  ocipush image login registry.example --username you --password-stdin\n"
        "  ocipush image push IMAGE --images-store-dir /var/lib/ar/images --target registry.example/team/app:1.0"
    )


if __name__ == "__main__":
    main()
