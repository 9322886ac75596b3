"""Who is compared: ocipush twice, the floor, and every peer that is found; how each is told to push a job."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from .layouts import TAG

if TYPE_CHECKING:
    from collections.abc import Callable

    from .jobs import Job

LIBRARY: Final = "ocipush (library)"
COMMAND: Final = "ocipush (command)"
FLOOR: Final = "floor (bare sockets)"
ROOT: Final = Path(__file__).parent.parent
_PROXIES: Final = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


@dataclass(frozen=True, slots=True)
class Contender:
    """A tool or library that can push.

    Attributes:
        name: for people.
        version: what it says of itself.
        timed: "call": from the first call to the last answer, imports done; "process": the whole process.
        commands: the processes that push a job, one after another.
    """

    name: str
    version: str
    timed: Literal["call", "process"]
    commands: Callable[[Job], list[list[str]]]


def environment(job: Job) -> dict[str, str]:
    """What every contender's process sees: no proxies, no logins, caches and settings of its own."""
    environ = {name: value for name, value in os.environ.items() if name.lower() not in _PROXIES}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed has its bytecode
    home = str(job.scratch)
    environ |= {
        "HOME": home,
        "XDG_RUNTIME_DIR": home,
        "XDG_DATA_HOME": home,
        "XDG_CONFIG_HOME": home,
        "DOCKER_CONFIG": home,
        "REGCTL_CONFIG": f"{home}/regctl.json",
    }
    if job.ca_file:
        environ["SSL_CERT_FILE"] = str(job.ca_file)  # the tools written in Go have no option for it, or not all
    return environ


def clear_caches() -> None:
    """Forget which registry holds which blob: run as root, skopeo keeps that outside any home directory."""
    Path("/var/lib/containers/cache/blob-info-cache-v1.boltdb").unlink(missing_ok=True)
    Path("/var/lib/containers/cache/blob-info-cache-v1.sqlite").unlink(missing_ok=True)


def _reference(job: Job, number: int) -> str:
    return f"{job.host}/{job.images[number].repository}:{TAG}"


def _each(job: Job, command: Callable[[str, str], list[str]]) -> list[list[str]]:
    """One command for each image, of its layout and its target."""
    return [command(str(image.path), _reference(job, number)) for number, image in enumerate(job.images)]


def _client(module: str) -> Callable[[Job], list[list[str]]]:
    return lambda job: [[sys.executable, "-m", f"benchmarks.clients.{module}", str(job.save())]]


def _ocipush(job: Job) -> list[list[str]]:
    trust = ["--ca-file", str(job.ca_file)] if job.ca_file else []
    common = ["--images-store-dir", str(job.store), "--authfile", str(job.scratch / "auth.json"), *trust]
    program = str(Path(sys.executable).with_name("ocipush"))
    return _each(job, lambda path, target: [program, "image", "push", Path(path).name, "--target", target, *common])


def _skopeo(program: str) -> Callable[[Job], list[list[str]]]:
    def commands(job: Job) -> list[list[str]]:
        tls = f"--dest-cert-dir={job.ca_file.parent}" if job.ca_file else "--dest-tls-verify=false"
        start = [program, "--insecure-policy", "copy", "--preserve-digests", tls]
        return _each(job, lambda path, target: [*start, f"oci:{path}:{TAG}", f"docker://{target}"])

    return commands


def _crane(program: str) -> Callable[[Job], list[list[str]]]:
    return lambda job: _each(job, lambda path, target: [program, "push", path, target])


def _oras(program: str) -> Callable[[Job], list[list[str]]]:
    def commands(job: Job) -> list[list[str]]:
        tls = ["--to-ca-file", str(job.ca_file)] if job.ca_file else ["--to-plain-http"]
        return _each(job, lambda path, target: [program, "cp", *tls, "--from-oci-layout", f"{path}:{TAG}", target])

    return commands


def _regctl(program: str) -> Callable[[Job], list[list[str]]]:
    def commands(job: Job) -> list[list[str]]:
        host = f"reg={job.host},tls={'enabled' if job.ca_file else 'disabled'}"
        start = [program, "image", "copy", "--host", host]
        return _each(job, lambda path, target: [*start, f"ocidir://{path}:{TAG}", target])

    return commands


_TOOLS: Final = (
    ("crane", ("version",), _crane),
    ("skopeo", ("--version",), _skopeo),
    ("oras", ("version",), _oras),
    ("regctl", ("version",), _regctl),
)
_LIBRARIES: Final = (("oras-py", "oras", "oras", "oras_py"), ("python-dxf", "dxf", "python-dxf", "python_dxf"))


def find_contenders() -> list[Contender]:
    """Everyone, in the order in which they run in each round."""
    version = importlib.metadata.version("ocipush")
    found = [
        Contender(LIBRARY, version, "call", _client("ocipush_library")),
        Contender(FLOOR, "", "call", _client("floor")),
        Contender(COMMAND, version, "process", _ocipush),
    ]
    for name, ask, commands in _TOOLS:
        if program := shutil.which(name):
            said = subprocess.run([program, *ask], capture_output=True, text=True, check=False).stdout
            match = re.search(r"v?\d+\.\d[\w.+~-]*", said)
            found.append(Contender(name, match[0] if match else said.strip(), "process", commands(program)))
    for name, module, distribution, client in _LIBRARIES:
        if importlib.util.find_spec(module):
            found.append(Contender(name, importlib.metadata.version(distribution), "call", _client(client)))
    return found
