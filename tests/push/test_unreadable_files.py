"""Files that the user may not read: one error with a hint, and the registry gets no request."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests import layouts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocipush.testing import Registry

# Root may read every file, so the push runs as the user nobody. The process imports what it needs before it changes the user,
# who may not be allowed to read the source either.
AS_NOBODY = """
import os, sys
import anyio._backends._asyncio, httpx, rich.console
import ocipush._push.pusher, ocipush._cli.hints, ocipush._cli.progress
from ocipush._cli.commands import cli
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
cli.main(sys.argv[1:])
"""


@pytest.fixture
def shared_directory() -> Iterator[Path]:
    """A directory that the user nobody may read; those of pytest are private."""
    with tempfile.TemporaryDirectory(prefix="ocipush-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize(
    ("secret", "words", "hint"),
    [
        ("auth.json", "auth.json cannot be read: Permission denied", "--authfile"),
        ("private", "auth.json cannot be read: Permission denied", "--authfile"),
        ("store", "store cannot be read: Permission denied", "--images-store-dir"),
        ("store/app", "app cannot be read as a layout: Permission denied", "run as a user who may read it"),
        ("store/app/index.json", "index.json cannot be opened: Permission denied", "run as a user who may read it"),
        ("store/app/oci-layout", "oci-layout cannot be opened: Permission denied", "run as a user who may read it"),
        ("store/app/blobs", "cannot be opened: Permission denied", "run as a user who may read it"),
        ("layer", "cannot be opened: Permission denied", "run as a user who may read it"),
        ("ca.pem", "ca.pem cannot be read: Permission denied", "PEM"),
    ],
)
def test_unreadable_file_is_one_error_before_any_request(
    secret: str, words: str, hint: str, shared_directory: Path, ocipush_registry: Registry
) -> None:
    here = shared_directory
    image, authfile, ca_file = here / "store" / "app", here / "private" / "auth.json", here / "ca.pem"
    layouts.write_image(image, b"layer")
    authfile.parent.mkdir()
    for path in (authfile, ca_file):
        path.write_text("{}")
    hidden = {"auth.json": authfile, "layer": layouts.file_of(image, b"layer")}.get(secret, here / secret)
    hidden.chmod(0)
    options = {"authfile": authfile, "images-store-dir": here / "store", "target": f"{ocipush_registry.host}/a:1"}
    if secret == "ca.pem":
        options["ca-file"] = ca_file
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, "push", *(f"--{name}={value}" for name, value in options.items()), "app"],
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")},
    )
    hidden.chmod(0o700)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    error, shown_hint = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert words in error
    assert shown_hint.startswith("hint: ")
    assert hint in shown_hint
    assert (ocipush_registry.connections, ocipush_registry.requests) == (0, [])
