"""The sdist and the wheel: what they hold, what their metadata says, and that they work in an empty environment.

Building and installing them needs the package index that pip is configured for. Without it, the tests are skipped, or fail if
``CI`` is set.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests import layouts

import ocipush

if TYPE_CHECKING:
    from ocipush.testing import Registry

pytestmark = pytest.mark.timeout(300)  # most of it to download what is not in pip's cache
ROOT = Path(__file__).parents[1]
# What a parallel run, a measured one or a source tree would add.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("COVERAGE_", "COV_", "PYTEST_")) and name not in {"PYTHONPATH", "VIRTUAL_ENV"}
}
PUSH = """
import sys
from pathlib import Path
from ocipush import sync
print(sync.push(Path(sys.argv[1]), target=sys.argv[2], authfile=sys.argv[3]).digest)
"""


def run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    env = ENVIRONMENT | environment
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=cwd, env=env)


def succeed(*command: object, cwd: Path, **environment: str) -> str:
    done = run(*command, cwd=cwd, **environment)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Distributions:
    """What is built from this tree, and two environments with nothing but the wheel and its dependencies."""

    home: Path

    @property
    def sdist(self) -> Path:
        (found,) = (self.home / "dist").glob("*.tar.gz")
        return found

    @property
    def wheel(self) -> Path:
        (found,) = (self.home / "dist").glob("*.whl")
        return found

    def bin(self, environment: str) -> Path:
        return self.home / environment / "bin"

    def build(self) -> None:
        """Build the sdist, the wheel from the sdist, and install the wheel without and with ``[cli]``."""
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
        self.home.mkdir(exist_ok=True)  # another process may have failed here
        probe = run(*pip, "download", "--quiet", "--no-deps", "--retries", "1", "hatchling", cwd=self.home)
        if probe.returncode:
            say = pytest.fail if os.environ.get("CI") else pytest.skip
            say(f"the package index cannot be reached: {probe.stderr.strip()[-500:]}")
        succeed(sys.executable, "-m", "build", "--outdir", self.home / "dist", ROOT, cwd=self.home)
        for name, extra in (("library", ""), ("command", "[cli]")):
            succeed(sys.executable, "-m", "venv", "--without-pip", name, cwd=self.home)
            python = self.bin(name) / "python"
            succeed(*pip, "--python", python, "install", "--quiet", f"{self.wheel}{extra}", cwd=self.home)
            succeed(*pip, "--python", python, "check", cwd=self.home)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """Build once, also where the tests run in several processes."""
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    distributions, done = Distributions(place / "distributions"), place / "distributions.done"
    with (place / "distributions.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            distributions.build()
            done.touch()
    return distributions


def pushed(registry: Registry, image: Path) -> str:
    """The digest of the tag, after a comparison of all blobs."""
    repository = registry.repository("team/app")
    assert repository.blobs == layouts.contents(image)[0]
    return repository.tags["1"]


def test_metadata_and_readme_are_valid_for_a_package_index(built: Distributions) -> None:
    out = succeed(sys.executable, "-m", "twine", "check", "--strict", built.sdist, built.wheel, cwd=built.home)
    assert out.count("PASSED") == 2


def test_wheel_holds_the_typed_package_and_nothing_else(built: Distributions) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        names = wheel.namelist()
    assert {name.partition("/")[0] for name in names} == {"ocipush", f"ocipush-{ocipush.__version__}.dist-info"}
    assert "ocipush/py.typed" in names
    assert {name for name in names if name.startswith("ocipush/")} >= {
        path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "ocipush").rglob("*.py")
    }


def test_sdist_runs_its_own_tests(built: Distributions, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as sdist:
        sdist.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()
    pytest_ = (sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider")
    source = str(tree / "src")
    succeed(*pytest_, "--collect-only", cwd=tree, PYTHONPATH=source)
    # Tests that read files outside src: pages, the Makefile, test data, examples.
    files = ["test_architecture.py", "test_security_promises.py", "test_readme.py", "test_exports.py", "oci"]
    words = [*(f"tests/{name}" for name in files), "-k", "not as_written"]
    out = succeed(*pytest_, *words, cwd=tree, PYTHONPATH=source)
    assert " passed" in out


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="only a Git checkout lists its files")
def test_sdist_holds_every_file_of_the_repository(built: Distributions) -> None:
    with tarfile.open(built.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    tracked = set(succeed("git", "ls-files", cwd=ROOT).splitlines())
    assert {name for name in tracked if (ROOT / name).exists()} <= names


def test_push_works_with_the_wheel_alone(
    built: Distributions, image: Path, tmp_path: Path, ocipush_registry: Registry
) -> None:
    python = built.bin("library") / "python"
    words = (image, f"{ocipush_registry.host}/team/app:1", tmp_path / "auth.json")
    out = succeed(python, "-W", "error", "-c", PUSH, *words, cwd=tmp_path)
    assert out.strip() == pushed(ocipush_registry, image)


def test_command_without_its_extra_says_what_to_install(built: Distributions, tmp_path: Path) -> None:
    done = run(built.bin("library") / "ocipush", "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'ocipush[cli]'" in done.stderr


def test_command_works_with_its_extra(
    built: Distributions, image: Path, tmp_path: Path, ocipush_registry: Registry
) -> None:
    command = built.bin("command") / "ocipush"
    assert succeed(command, "--version", cwd=tmp_path) == f"ocipush {ocipush.__version__}\n"
    options = ("--images-store-dir", image.parent, "--authfile", tmp_path / "auth.json", "--progress", "bar")
    out = succeed(command, "push", "app", "--target", f"{ocipush_registry.host}/team/app:1", *options, cwd=tmp_path)
    assert out.strip() == f"{ocipush_registry.host}/team/app@{pushed(ocipush_registry, image)}"
