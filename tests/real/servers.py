"""Debian's docker-registry in four set-ups, each a process of its own on a free port of this machine."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import trustme
from tests.real.token_service import TokenService

import ocipush

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

Kind = Literal["plain", "tls", "htpasswd", "token"]
KINDS: tuple[Kind, ...] = ("plain", "tls", "htpasswd", "token")
LOGIN = ocipush.Login("user", "correct horse")
# Made by `htpasswd -nbB user "correct horse"`; docker-registry takes bcrypt only.
HTPASSWD = "user:$2y$05$go0ia5/nrRxB/lkIuJlf9.3MCZPdP1izZVcdYFBH0Ezl5qs9bUFRe\n"


@dataclass(frozen=True)
class Server:
    """A docker-registry that runs, and what a client needs to know of it.

    Attributes:
        host: as in a reference.
        data: the directory that it stores repositories in.
        tokens: its token service, where it has one.
    """

    host: str
    data: Path
    ca_file: Path | None = None
    login: ocipush.Login | None = None
    tokens: TokenService | None = None

    def options(self, login: ocipush.Login | None) -> dict[str, Any]:
        """Options of ``Pusher``, with a login of the caller's choice."""
        credentials = {self.host: login} if login else {}
        return {"ca_file": self.ca_file, "credentials": credentials, "authfile": "/nonexistent/auth.json"}

    @property
    def push_options(self) -> dict[str, Any]:
        """Options of ``Pusher``, with the login that this registry wants."""
        return self.options(self.login)

    def command_options(self, authfile: Path) -> list[str]:
        """Options of the command, with the login in ``authfile``."""
        if self.login:
            ocipush.save_login(self.host, self.login, authfile=authfile)
        return ["--authfile", str(authfile), *(["--ca-file", str(self.ca_file)] if self.ca_file else [])]

    def ssl_context(self) -> ssl.SSLContext:
        """What a client needs to trust this registry."""
        return ssl.create_default_context(cafile=self.ca_file)

    def skopeo(self, *arguments: str) -> bytes:
        """Run skopeo to read from this registry; what it prints."""
        prefix = "--src-" if arguments[0] == "copy" else "--"
        options = [f"{prefix}cert-dir={self.ca_file.parent}"] if self.ca_file else [f"{prefix}tls-verify=false"]
        if self.login:
            options.append(f"{prefix}creds={self.login.username}:{self.login.password}")
        run = subprocess.run(["skopeo", arguments[0], *options, *arguments[1:]], capture_output=True, check=False)
        assert run.returncode == 0, run.stderr.decode()
        return run.stdout

    def holds(self, repository: str, digest: str) -> bool:
        """Whether a repository has a layer or config."""
        layers = self.data / "docker/registry/v2/repositories" / repository / "_layers"
        return (layers / digest.replace(":", "/")).exists()

    def upload_sessions(self, repository: str) -> list[str]:
        """The upload sessions of a repository that are neither finished nor given up."""
        sessions = self.data / "docker/registry/v2/repositories" / repository / "_uploads"
        return [path.name for path in sessions.iterdir()] if sessions.exists() else []


@contextmanager
def docker_registry(kind: Kind, home: Path) -> Generator[Server]:
    """Run docker-registry, and delete what it stored at the end."""
    settings: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "info", "formatter": "json", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(home / "data")}},
        "http": {"addr": "127.0.0.1:0", "secret": "test"},
    }
    ca_file, tokens = None, None
    certs = home / "certs"
    certs.mkdir(parents=True)
    with ExitStack() as stack:
        if kind in {"tls", "token"}:
            ca, ca_file = trustme.CA(), certs / "ca.crt"  # skopeo reads the *.crt of a directory
            ca.cert_pem.write_to_path(ca_file)
            issued = ca.issue_cert("127.0.0.1", "0.0.0.0")  # the second is its name behind a proxy
            issued.private_key_pem.write_to_path(home / "key.pem")
            for pem in issued.cert_chain_pems:
                pem.write_to_path(home / "cert.pem", append=True)
            settings["http"]["tls"] = {"certificate": str(home / "cert.pem"), "key": str(home / "key.pem")}
            if kind == "token":
                service = TokenService(issued, users={LOGIN.username: LOGIN.password})
                tokens = stack.enter_context(service.running())
                settings["auth"] = {
                    "token": {
                        "realm": tokens.realm,
                        "service": tokens.name,
                        "issuer": tokens.name,
                        "rootcertbundle": str(ca_file),
                    }
                }
        if kind == "htpasswd":
            (home / "htpasswd").write_text(HTPASSWD)
            settings["auth"] = {"htpasswd": {"realm": "test", "path": str(home / "htpasswd")}}
        login = LOGIN if "auth" in settings else None
        (home / "config.yml").write_text(json.dumps(settings))  # JSON is YAML
        log = stack.enter_context((home / "log").open("w"))
        command = ["docker-registry", "serve", str(home / "config.yml")]
        process = stack.enter_context(subprocess.Popen(command, stdout=log, stderr=log))
        try:
            yield Server(_address(home / "log", process), home / "data", ca_file, login, tokens)
        finally:
            process.terminate()
            process.wait()
            shutil.rmtree(home / "data", ignore_errors=True)


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    """Wait until docker-registry has logged the port it listens on."""
    for _ in range(1000):
        for line in log.read_text().splitlines():
            if "listening on" in line:
                message: str = json.loads(line)["msg"]
                return message.removeprefix("listening on ").removesuffix(", tls")
        assert process.poll() is None, log.read_text()
        time.sleep(0.01)
    raise AssertionError(f"docker-registry does not listen: {log.read_text()}")
