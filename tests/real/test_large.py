"""Large layers: the memory that pushing one takes, and what an interrupted push of one leaves behind."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests import layouts
from tests.real.images import digests_in, reachable, root_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.real.servers import Server

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]
GIB = 1024**3
SPARSE_LAYER = "sha256:49bc20df15e412a64472421e13fe86ff1c5165e18b2afccf160d4dc19fe68a14"  # 1 GiB of zeros
# Pushes, then prints the peak of the resident memory. Unlike ru_maxrss, VmHWM does not include the parent's.
PUSH = """
import anyio, functools, json, pathlib, re, sys, ocipush
layout, target, ca_file, backend = sys.argv[1:]
push = functools.partial(
    ocipush.push, pathlib.Path(layout), target=target, ca_file=ca_file or None, authfile="/nonexistent/auth.json"
)
result = anyio.run(push, backend=backend)
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) * 1024
print(json.dumps({"digest": result.digest, "sent": result.sent, "peak": peak}))
"""


@pytest.fixture(scope="module")
def sparse_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with an image of one layer of 1 GiB that takes no room on the disk, and a small one."""
    store = tmp_path_factory.mktemp("sparse")
    layouts.write_image(store / "small", b"small")
    manifest = layouts.add_manifest(store / "app", [])
    blobs = store / "app/blobs/sha256"
    with (blobs / SPARSE_LAYER.removeprefix("sha256:")).open("wb") as file:
        file.truncate(GIB)
    document = json.loads((blobs / manifest["digest"].removeprefix("sha256:")).read_bytes())
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": SPARSE_LAYER, "size": GIB}
    manifest = layouts.add_blob(
        store / "app", json.dumps({**document, "layers": [layer]}).encode(), document["mediaType"]
    )
    layouts.write_layout(store / "app", [manifest])
    return store


@pytest.mark.parametrize(("server", "backend"), [("plain", "asyncio"), ("tls", "trio")], indirect=["server"])
def test_push_of_one_gibibyte_takes_less_than_100_mb_of_memory(
    server: Server, backend: str, sparse_store: Path
) -> None:
    target = f"{server.host}/large/app:v1"
    arguments = [str(sparse_store / "app"), target, str(server.ca_file or ""), backend]
    run = subprocess.run([sys.executable, "-c", PUSH, *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    report: dict[str, Any] = json.loads(run.stdout)
    assert report["sent"] > GIB
    assert report["peak"] < 100_000_000
    raw = server.skopeo("inspect", "--raw", f"docker://{target}")
    assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == report["digest"] == root_of(sparse_store / "app")["digest"]


@pytest.mark.parametrize("server", ["tls"], indirect=True)
def test_large_layer_is_read_back_with_the_same_digests(server: Server, large_layout: Path, tmp_path: Path) -> None:
    target = f"{server.host}/large/app:v1"
    command = [sys.executable, "-m", "ocipush", "push", "large", "--images-store-dir", str(large_layout.parent)]
    command += ["--target", target, *server.command_options(tmp_path / "auth.json")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    server.skopeo("copy", "--preserve-digests", f"docker://{target}", f"dir:{tmp_path / 'copy'}")
    assert digests_in(tmp_path / "copy") == reachable(large_layout, root_of(large_layout)["digest"])


@pytest.mark.parametrize("server", ["plain"], indirect=True)
def test_interrupted_push_exits_with_130_and_leaves_the_tag_unchanged(
    server: Server, sparse_store: Path, tmp_path: Path
) -> None:
    target = f"{server.host}/large/app:v1"
    options = ["--images-store-dir", str(sparse_store), "--target", target, "--progress", "json", "--debug"]
    options += server.command_options(tmp_path / "auth.json")
    command = [sys.executable, "-m", "ocipush", "push"]
    subprocess.run([*command, "small", *options], check=True, capture_output=True)
    with subprocess.Popen(
        [*command, "app", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                event: dict[str, Any] = json.loads(line) if line.startswith("{") else {}  # else a line of the log
                if event.get("event") == "BlobProgress" and event["size"] == GIB and event["offset"] > 0:
                    break
            process.send_signal(signal.SIGINT)
            printed, words = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, printed) == (130, "")
    assert json.loads(words.splitlines()[-1])["code"] == "Interrupted"
    raw = server.skopeo("inspect", "--raw", f"docker://{target}")
    assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == root_of(sparse_store / "small")["digest"]
    assert not server.holds("large/app", SPARSE_LAYER)
    # docker-registry 2.8 answers 404 to this, because it has more bytes than the Location of the session says.
    assert f"DELETE http://{server.host}/v2/large/app/blobs/uploads/" in words
