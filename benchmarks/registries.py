"""The registries that are found on PATH, each started anew with empty storage for every run."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import trustme

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_REQUEST: Final = re.compile(rb'"(?:GET|HEAD|POST|PUT|PATCH|DELETE) \S+ HTTP/\d\.\d" \d{3} ')
_START: Final = 20.0  # seconds that a registry may take to listen


@dataclass(frozen=True, slots=True)
class Certificates:
    """A certificate authority and what it issued for 127.0.0.1. ``directory`` holds nothing but ``ca.crt``."""

    directory: Path
    chain: Path
    key: Path

    @property
    def ca_file(self) -> Path:
        """The authority's certificate."""
        return self.directory / "ca.crt"

    @classmethod
    def issue(cls, home: Path) -> Certificates:
        """Make them."""
        authority, directory = trustme.CA(), home / "ca"
        directory.mkdir(parents=True)
        made = cls(directory, home / "chain.pem", home / "key.pem")
        issued = authority.issue_cert("127.0.0.1")
        authority.cert_pem.write_to_path(made.ca_file)
        issued.private_key_pem.write_to_path(made.key)
        for pem in issued.cert_chain_pems:
            pem.write_to_path(made.chain, append=True)
        return made


@dataclass(frozen=True, slots=True)
class RegistryProgram:
    """A registry that can be started.

    Attributes:
        name: for people and for the command line.
        version: what it says of itself.
        path: the program.
    """

    name: str
    version: str
    path: str

    def configuration(self, port: int, storage: Path, certificates: Certificates | None) -> dict[str, Any]:
        """What its configuration file says; JSON is YAML too."""
        if self.name == "zot":
            http: dict[str, Any] = {"address": "127.0.0.1", "port": str(port)}
            if certificates:
                http["tls"] = {"cert": str(certificates.chain), "key": str(certificates.key)}
            return {
                "distSpecVersion": "1.1.0",
                "storage": {"rootDirectory": str(storage), "gc": False, "dedupe": False},
                "http": http,
                "log": {"level": "warn"},
            }
        http = {"addr": f"127.0.0.1:{port}", "secret": "benchmarks"}
        if certificates:
            http["tls"] = {"certificate": str(certificates.chain), "key": str(certificates.key)}
        return {
            "version": "0.1",
            "log": {"level": "error"},  # the access log is written all the same
            "storage": {"filesystem": {"rootdirectory": str(storage)}},
            "http": http,
        }


def find_registries() -> list[RegistryProgram]:
    """Those on PATH, the ones that hash fast first."""
    found: list[RegistryProgram] = []
    for name, program in (("distribution", "registry"), ("zot", "zot"), ("docker-registry", "docker-registry")):
        if path := shutil.which(program):
            said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
            version = re.search(r"v?\d+\.\d[\w.+~-]*", said.stdout + said.stderr)
            found.append(RegistryProgram(name, version[0] if version else "?", path))
    return found


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry that runs."""

    port: int
    access_log: Path

    def mark(self) -> int:
        """A place in the access log, to count from."""
        return self.access_log.stat().st_size

    def requests_since(self, mark: int) -> int | None:
        """Requests logged since; None where this registry's log shows none."""
        with self.access_log.open("rb") as log:
            log.seek(mark)
            return len(_REQUEST.findall(log.read())) or None


@contextmanager
def running(program: RegistryProgram, home: Path, certificates: Certificates | None) -> Generator[Registry]:
    """Start a registry with empty storage in ``home``; end it, and remove what it stored."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shutil.rmtree(home, ignore_errors=True)
    storage, log = home / "storage", home / "access.log"
    storage.mkdir(parents=True)
    (home / "config.json").write_text(json.dumps(program.configuration(port, storage, certificates)))
    environ = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    with (
        log.open("wb") as out,
        (home / "error.log").open("wb") as err,
        subprocess.Popen(
            [program.path, "serve", str(home / "config.json")], stdout=out, stderr=err, env=environ
        ) as process,
    ):
        try:
            _wait(port, process, home / "error.log")
            yield Registry(port, log)
        finally:
            process.terminate()
            process.wait()
            shutil.rmtree(home, ignore_errors=True)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.005)
        else:
            return
    raise OSError(f"the registry does not start: {log.read_text(errors='replace')[-500:]}")
