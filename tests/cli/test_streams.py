"""Standard streams that are closed, or write to a full disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ocipush.testing import Registry


def run(redirection: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run the command with a redirection of the shell, such as ``>&-``, which closes stdout."""
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "ocipush", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def push(redirection: str, store: Path, registry: Registry, *words: str) -> subprocess.CompletedProcess[str]:
    options = ("--images-store-dir", store, "--authfile", store / "none", "--target", f"{registry.host}/app:1")
    return run(redirection, "push", "app", *options, *words)


@pytest.mark.parametrize("redirection", [">&-", "<&- >&-"])
@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_push_whose_result_cannot_be_printed_fails_before_any_request(
    store: Path, ocipush_registry: Registry, quiet: tuple[str, ...], redirection: str
) -> None:
    done = push(redirection, store, ocipush_registry, *quiet)
    assert (done.returncode, done.stderr) == (1, "error: stdout is closed, so the result cannot be printed\n")
    assert ocipush_registry.connections == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only some systems have /dev/full")
def test_result_that_cannot_be_written_is_an_error(store: Path, ocipush_registry: Registry) -> None:
    done = push(">/dev/full", store, ocipush_registry, "-q")
    assert done.returncode == 1
    assert done.stderr.endswith("error: [Errno 28] No space left on device\n")


@pytest.mark.parametrize("redirection", ["2>&-", "<&- 2>&-", "2>/dev/null"])
@pytest.mark.parametrize("progress", ["plain", "json", "bar"])
def test_push_without_stderr_prints_its_result(
    store: Path, ocipush_registry: Registry, redirection: str, progress: str
) -> None:
    done = push(redirection, store, ocipush_registry, "--progress", progress)
    digest = ocipush_registry.repository("app").tags["1"]
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{ocipush_registry.host}/app@{digest}\n", "")


@pytest.mark.parametrize("words", [("-u", "me"), ("-u", "me", "--password-stdin")])
def test_login_without_stdin_is_a_usage_error(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run("<&-", "login", "r.example", "--authfile", tmp_path / "auth.json", *words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "auth.json").exists()
