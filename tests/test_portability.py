"""Systems that have less than Linux: functions are taken away, and pushes and logins work with what is left.

Each test runs a Python of its own, which takes functions away before it imports ocipush. On a system without ``dir_fd``,
as on Windows, ``os.open`` opens no directories either.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests import archives, layouts
from tests.certificates import server_context, write_ca_file
from tests.registries import registry_in_thread

import ocipush
from ocipush.testing import Cut

# Coverage makes a new Python four times as slow, so only one push and one login are measured.
MEASURED = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
LAYER = os.urandom(4096) * 512  # 2 MiB: large enough for sendfile, and for several slices over TLS
TAKE_AWAY = """
import json, os, sys

missing = set(json.loads(sys.argv.pop(1)))
if "fcntl" in missing:
    sys.modules["fcntl"] = None
if "dir_fd" in missing:
    real_open = os.open
    def open_by_path(path, flags, mode=0o777, *, dir_fd=None):
        if dir_fd is not None:
            raise NotImplementedError("dir_fd unavailable on this platform")
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", path)
        return real_open(path, flags, mode)
    os.open = open_by_path
    os.supports_dir_fd.clear()
for name in missing - {"fcntl", "dir_fd"}:
    if hasattr(os, name):
        delattr(os, name)
"""
READ = {"preadv", "pread", "RWF_NOWAIT"}
LINKS = {"dir_fd", "O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK"}
ALL = {"fcntl", "sendfile", "geteuid", "fchmod", "major", "minor", *READ, *LINKS}
MISSING = [
    pytest.param({"fcntl", "fchmod"}, False, id="no flock"),
    pytest.param(LINKS, False, id="no dir_fd"),
    pytest.param({"sendfile"}, False, id="no sendfile"),
    pytest.param({"sendfile", *READ}, False, id="no sendfile, no pread"),
    pytest.param({"RWF_NOWAIT"}, True, id="TLS, no RWF_NOWAIT"),
    pytest.param({"preadv"}, True, id="TLS, no preadv"),
    pytest.param(ALL, False, id="all at once"),
    pytest.param(ALL, True, id="TLS, all at once"),
]


def run(missing: set[str], code: str, *arguments: object, measured: bool = False) -> subprocess.CompletedProcess[str]:
    words = [json.dumps(sorted(missing)), *map(str, arguments)]
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", TAKE_AWAY + code, *words],
        capture_output=True,
        text=True,
        check=False,
        env={
            "PYTHONPATH": str(Path(ocipush.__file__).parents[1]),
            "NO_PROXY": "127.0.0.1",
            **(MEASURED if measured else {}),
        },
    )


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return layouts.write_image(tmp_path / "store" / "app", LAYER, b"small")


PUSH = """
import ocipush
from ocipush import errors, sync
image, target, authfile, resume_dir, ca_file = sys.argv[1:]
sync.push(
    "app", store=os.path.dirname(image), target=target, authfile=authfile, resume_dir=resume_dir, ca_file=ca_file or None,
    verify=True, retry=ocipush.RetryPolicy(attempts=1),
)
"""


@pytest.mark.parametrize(("missing", "tls"), MISSING)
def test_push_sends_every_byte(image: Path, tmp_path: Path, missing: set[str], tls: bool) -> None:
    ca_file = write_ca_file(tmp_path) if tls else ""
    with registry_in_thread(ssl_context=server_context() if tls else None) as registry:
        target = f"{registry.host}/team/app:1"
        words = (image, target, tmp_path / "auth.json", tmp_path / "resume", ca_file)
        done = run(missing, PUSH, *words, measured=missing == ALL and tls)
        assert done.returncode == 0, done.stderr
        blobs, documents = layouts.contents(image)
        repository = registry.repository("team/app")
        assert repository.blobs == blobs
        assert repository.tags["1"] in documents


@pytest.mark.parametrize("missing", [{"geteuid"}, ALL], ids=["no geteuid", "all at once"])
def test_upload_of_an_earlier_process_is_resumed(image: Path, tmp_path: Path, missing: set[str]) -> None:
    half = 1_500_000  # bytes; fewer are left afterwards, so that the second push is not cut
    with registry_in_thread(faults=[Cut("PUT /v2/*/blobs/uploads/*", after=half, times=9)]) as registry:
        words = (image, f"{registry.host}/team/app:1", tmp_path / "auth.json", tmp_path / "resume", "")
        assert "ConnectionLostError" in run(missing, PUSH, *words).stderr
        done = run(missing, PUSH, *words)
        assert done.returncode == 0, done.stderr
        assert registry.repository("team/app").blobs == layouts.contents(image)[0]
        ranges = [one.headers["content-range"] for one in registry.requests if "content-range" in one.headers]
        assert ranges == [f"{half}-{len(LAYER) - 1}"]


@pytest.mark.parametrize("missing", [LINKS, ALL], ids=["no dir_fd", "all at once"])
@pytest.mark.parametrize("linked", ["blob", "directory of the blobs"])
def test_link_out_of_the_layout_is_refused(image: Path, tmp_path: Path, missing: set[str], linked: str) -> None:
    blobs = image / "blobs" / "sha256"
    inside = next(path for path in blobs.iterdir() if path.read_bytes() == LAYER) if linked == "blob" else blobs
    outside = tmp_path / "outside"
    inside.rename(outside)
    inside.symlink_to(outside)
    with registry_in_thread() as registry:
        words = (image, f"{registry.host}/team/app:1", tmp_path / "auth.json", tmp_path / "resume", "")
        done = run(missing, PUSH, *words)
        assert "BlobMissingError" in done.stderr
        assert "symbolic link" in done.stderr
        assert registry.requests == []


@pytest.mark.parametrize("form", ["layout", "docker save"])
def test_archive_arrives_without_the_functions_that_windows_lacks(image: Path, tmp_path: Path, form: str) -> None:
    archive = tmp_path / "app.tar"
    layers = [LAYER, LAYER[::-1]]
    layouts.write_image(image, *layers)
    archives.pack(image, archive)
    if form == "docker save":
        rootfs = {"diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]}
        files = {"0": layers[0], "1": layers[1], "config": json.dumps({"rootfs": rootfs}).encode()}
        files["manifest.json"] = json.dumps([{"Config": "config", "Layers": ["0", "1"]}]).encode()
        archives.write_archive(archive, [(archives.member(name, raw), raw) for name, raw in files.items()])
    code = """
from pathlib import Path
from ocipush import sync
sync.push(Path(sys.argv[1]), target=sys.argv[2], authfile=sys.argv[1] + ".auth")
"""
    with registry_in_thread() as registry:
        done = run(ALL, code, archive, f"{registry.host}/team/app:1")
        assert done.returncode == 0, done.stderr
        held = registry.repository("team/app")
    if form == "layout":
        assert held.blobs == layouts.contents(image)[0]
    else:
        compressed = [blob for blob in held.blobs.values() if isinstance(blob, bytes) and blob[:2] == b"\x1f\x8b"]
        assert {gzip.decompress(blob) for blob in compressed} == set(layers)


def test_path_that_is_not_a_directory_is_not_a_layout(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code = """
from pathlib import Path
from ocipush import errors, sync
for path in sys.argv[1:]:
    try:
        sync.push(Path(path), target="127.0.0.1:1/a:1")
    except errors.InvalidLayoutError as error:
        print(error.message)
"""
    done = run(ALL, code, tmp_path / "file", tmp_path / "nothing")
    assert f"{tmp_path / 'file'} is empty" in done.stdout, done.stderr
    assert f"{tmp_path / 'nothing'} cannot be read as a layout" in done.stdout


LOGINS = """
import threading
import ocipush
from ocipush._credentials.authfile import find_login
authfile = sys.argv[1]
failures = []

def save(number):
    try:
        for _ in range(20):
            ocipush.save_login("r.example", ocipush.Login("you", str(number) * 5_000), authfile=authfile)
            login = find_login("r.example", authfile=authfile)
            assert login is not None and len(set(login.password)) == 1 and len(login.password) == 5_000
    except BaseException as error:
        failures.append(error)

threads = [threading.Thread(target=save, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failures, failures
assert ocipush.remove_login("r.example", authfile=authfile)
assert find_login("r.example", authfile=authfile) is None
"""


@pytest.mark.parametrize("missing", [{"fcntl"}, {"fchmod"}, ALL], ids=["no flock", "no fchmod", "all at once"])
def test_login_file_is_always_complete_and_private(tmp_path: Path, missing: set[str]) -> None:
    """Without a lock, one of two logins saved at once can be lost; a reader never sees half a file."""
    path = tmp_path / "logins" / "auth.json"
    done = run(missing, LOGINS, path, measured=missing == ALL)
    assert done.returncode == 0, done.stderr
    assert path.stat().st_mode & 0o777 == 0o600
    assert {one.name for one in path.parent.iterdir()} == {"auth.json", "auth.json.lock"}
