"""Layouts and stores are read where files cannot be opened relative to a directory, nor without following links."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests import layouts

from ocipush._sources import files

if TYPE_CHECKING:
    from pathlib import Path

# What Windows lacks, as far as it concerns the sources, is taken away before anything of the library is imported.
SCRIPT = """
import errno, json, os, sys
import anyio
from pathlib import Path

for name in ("O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK", "pread", "preadv", "sendfile"):
    delattr(os, name)
os.supports_dir_fd.clear()
os.supports_fd.clear()
real = os.open

def opening(path, flags, mode=0o777, *, dir_fd=None):
    assert dir_fd is None
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return real(path, flags, mode)

os.open = opening
from ocipush import errors, list_images
from ocipush._sources.layout import Layout
from ocipush._sources.open import open_source
from ocipush._sources.verify import is_corrupt, verify_blobs
from ocipush._sources.walk import read_contents

store = Path(sys.argv[1])

async def outcome(image):
    try:
        async with open_source(image, ref=None, store=store) as found:
            contents = await read_contents(found.source, found.root)
            await verify_blobs(found.source, contents)
            return [str(found.root.digest), len(contents.blobs)]
    except errors.OcipushError as exc:
        return [type(exc).__name__, exc.message.rpartition(": ")[2]]

async def main():
    names = sorted(one.name for one in list_images(store))
    images = ["app", "host.example/app:1", "linked", "absent", "file", "inside", "corrupt", "nothing"]
    print(json.dumps({"list": names} | {image: await outcome(image) for image in images}
        | {"path": await outcome(store / "app"), "tar": await outcome(store / "file")}))

anyio.run(main)
"""


def test_store_is_read_without_the_functions_that_windows_lacks(tmp_path: Path) -> None:
    store = tmp_path / "store"
    digests: dict[str, str] = {}
    for name in ("app", "inside", "corrupt"):
        root = layouts.add_manifest(store / name, [b"layer of " + name.encode()])
        digests[name] = root["digest"]
        layouts.write_layout(store / name, [root], ref=f"host.example/{name}:1")
    (store / "linked").symlink_to(store / "app")
    (store / "file").write_text("")
    (store / "nothing").mkdir()
    (store / "inside" / "blobs" / "sha256").rename(tmp_path / "sha256")
    (store / "inside" / "blobs" / "sha256").symlink_to(tmp_path / "sha256")
    blobs = (store / "corrupt" / "blobs" / "sha256").iterdir()
    layer = next(path for path in blobs if path.read_bytes().startswith(b"layer of"))
    layer.write_bytes(b"LAYER of corrupt")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(store)], stdout=subprocess.PIPE, check=True, text=True, timeout=50
    )
    assert json.loads(done.stdout) == {
        "list": ["app", "corrupt", "inside"],
        "app": [digests["app"], 2],
        "host.example/app:1": [digests["app"], 2],
        "path": [digests["app"], 2],
        "linked": ["ImageNotFoundError", f"no image 'linked' in the store {store}"],
        "absent": ["ImageNotFoundError", f"no image 'absent' in the store {store}"],
        "file": ["ImageNotFoundError", f"no image 'file' in the store {store}"],
        "inside": ["BlobMissingError", "it is a symbolic link, which is not followed"],
        "corrupt": ["BlobCorruptError", "the content does not match its digest"],
        "nothing": ["InvalidLayoutError", "No such file or directory"],
        "tar": ["InvalidLayoutError", f"{store / 'file'} is empty"],
    }


@pytest.fixture
def by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> files.Directory:
    monkeypatch.setattr(files, "_RELATIVE", False)
    monkeypatch.setattr(files, "_FILE", os.O_RDONLY)  # without O_NOFOLLOW
    (tmp_path / "blob").write_bytes(b"layer")
    (tmp_path / "secret").write_bytes(b"layer")
    return files.Directory.open(tmp_path)


def test_link_is_not_opened_by_path(by_path: files.Directory) -> None:
    os.close(by_path.open_file("blob"))
    (by_path.path / "link").symlink_to(by_path.path / "secret")
    with pytest.raises(OSError, match="symbolic links"):
        by_path.open_file("link")


def test_file_that_becomes_a_link_after_the_check_is_not_opened_by_path(
    by_path: files.Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = files._status

    def check(path: Path) -> os.stat_result:
        status = real(path)
        path.unlink()
        path.symlink_to(path.with_name("secret"))
        return status

    monkeypatch.setattr(files, "_status", check)
    with pytest.raises(OSError, match="symbolic links"):
        by_path.open_file("blob")


@pytest.mark.parametrize("positional", [True, False])
def test_read_at_an_offset_ignores_the_file_position(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, positional: bool
) -> None:
    if not positional:
        monkeypatch.setattr(files, "_pread", None)
    (tmp_path / "file").write_bytes(b"0123456789")
    with (tmp_path / "file").open("rb") as file:
        assert [files.read_at(file.fileno(), 3, offset) for offset in (4, 4, 0, 8, 10)] == [
            b"456",
            b"456",
            b"012",
            b"89",
            b"",
        ]
