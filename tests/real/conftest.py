"""Servers and clients that nobody here wrote: Debian's docker-registry, skopeo and umoci."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import trustme

import ocipush

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USER, PASSWORD = "user", "correct horse"
TOOLS = ("docker-registry", "skopeo", "umoci", "htpasswd")


@pytest.fixture(scope="session", autouse=True)
def _tools() -> None:
    """Skip without the tools; where CI should have installed them, fail."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"CI should have installed {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (`make servers` as root)")


@dataclass(frozen=True)
class Server:
    """A docker-registry that runs, and what a client needs to know of it."""

    host: str
    ca_file: Path | None = None
    login: ocipush.Login | None = None

    def push_options(self) -> dict[str, object]:
        return {
            "ca_file": self.ca_file,
            "credentials": {self.host: self.login} if self.login else {},
            "authfile": "/nonexistent/auth.json",
        }

    def skopeo(self, *arguments: str, side: str = "src") -> str:
        """Run skopeo against this registry; what it prints."""
        tls = f"--{side}-" if arguments[0] == "copy" else "--"
        options = [f"{tls}cert-dir={self.ca_file.parent}"] if self.ca_file else [f"{tls}tls-verify=false"]
        if self.login:
            options.append(f"{tls}creds={self.login.username}:{self.login.password}")
        run = subprocess.run(
            ["skopeo", arguments[0], *options, *arguments[1:]], capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        return run.stdout


@pytest.fixture(params=["plain", "tls", "htpasswd"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A docker-registry of its own, on a free port of this machine, with storage that goes with the test."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    host, home = f"127.0.0.1:{port}", tmp_path / "registry"
    home.mkdir()
    settings: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(home / "data")}},
    }
    http: dict[str, object] = {"addr": host, "secret": "test"}
    ca_file = login = None
    if request.param == "tls":
        ca, certs = trustme.CA(), tmp_path / "certs"
        certs.mkdir()
        ca_file = certs / "ca.crt"
        ca.cert_pem.write_to_path(ca_file)
        issued = ca.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(home / "key.pem")
        for pem in issued.cert_chain_pems:
            pem.write_to_path(home / "cert.pem", append=True)
        http["tls"] = {"certificate": str(home / "cert.pem"), "key": str(home / "key.pem")}
    if request.param == "htpasswd":
        login = ocipush.Login(USER, PASSWORD)
        subprocess.run(["htpasswd", "-Bbc", str(home / "htpasswd"), USER, PASSWORD], check=True, capture_output=True)
        settings["auth"] = {"htpasswd": {"realm": "test", "path": str(home / "htpasswd")}}
    (home / "config.yml").write_text(json.dumps({**settings, "http": http}))
    with (
        (home / "log").open("w") as log,
        subprocess.Popen(["docker-registry", "serve", str(home / "config.yml")], stdout=log, stderr=log) as process,
    ):
        try:
            _wait_until_ready(f"{'https' if ca_file else 'http'}://{host}/v2/", ca_file, process)
            yield Server(host, ca_file, login)
        finally:
            process.terminate()


def _wait_until_ready(url: str, ca_file: Path | None, process: subprocess.Popen[bytes]) -> None:
    context = ssl.create_default_context(cafile=ca_file) if ca_file else None
    for _ in range(200):
        assert process.poll() is None, "docker-registry ended"
        try:
            urllib.request.urlopen(url, context=context).close()
        except urllib.error.HTTPError:
            return  # 401: it answers
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("docker-registry does not answer")


@pytest.fixture(scope="session")
def umoci_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store written by umoci: one image of three layers, one of them empty of files."""
    store = tmp_path_factory.mktemp("store")
    image, files = store / "app", tmp_path_factory.mktemp("files")

    def umoci(*arguments: str) -> None:
        subprocess.run(["umoci", *arguments], check=True, capture_output=True)

    umoci("init", "--layout", str(image))
    umoci("new", "--image", f"{image}:v1")
    for number, size in enumerate((3_000_000, 5_000)):
        path = files / str(number)
        path.write_bytes(os.urandom(size))
        umoci("insert", "--image", f"{image}:v1", str(path), f"/data/{number}")
    (files / "empty").mkdir()
    umoci("insert", "--image", f"{image}:v1", str(files / "empty"), "/empty")
    return store


def digests_in(directory: Path) -> set[str]:
    """Digests of the manifests and blobs that skopeo wrote to a ``dir:``."""
    names = {path.name for path in directory.iterdir()} - {"version"}
    return {hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in names}


def digests_of(layout: Path) -> set[str]:
    """Digests of the blobs of an OCI layout."""
    return {path.name for path in (layout / "blobs" / "sha256").iterdir()}
