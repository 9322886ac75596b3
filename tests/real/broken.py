"""docker-registry that is killed and restarted or runs out of storage, and nginx in front of a registry or beside it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the port accepts connections."""
    for _ in range(1000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, log.read_text()
        time.sleep(0.01)
    raise AssertionError(f"nothing listens on port {port}: {log.read_text()}")


class RestartableRegistry:
    """A docker-registry that keeps its port when it is restarted.

    Args:
        home: where its configuration, log and data are.
        user: who runs it.
        program: what it is called.
        redirect: it redirects requests for blobs to this URL, followed by the path of the blob's file.
    """

    def __init__(
        self, home: Path, *, user: str | None = None, program: str = "docker-registry", redirect: str = ""
    ) -> None:
        self.home = home
        self.data = home / "data"
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self._user = user
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        settings: dict[str, Any] = {
            "version": "0.1",
            "log": {"accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.data)}},
            "http": {"addr": self.host, "secret": "test"},
        }
        if redirect:
            settings["middleware"] = {"storage": [{"name": "redirect", "options": {"baseurl": redirect}}]}
        (home / "config.yml").write_text(json.dumps(settings))

    def start(self) -> None:
        command = [self._program, "serve", str(self.home / "config.yml")]
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, user=self._user, cwd="/")
        wait_for(self.port, self._process, self.home / "log")

    def kill(self) -> None:
        """SIGKILL: there is no clean-up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def digest_of(self, reference: str) -> str | None:
        """The digest that skopeo reads, or None."""
        command = ["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{reference}"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        return run.stdout.strip() if run.returncode == 0 else None


@contextmanager
def registry_home() -> Generator[Path]:
    """A directory that other users may enter; pytest's are private."""
    home = Path(tempfile.mkdtemp(prefix="ocipush-registry-"))
    home.chmod(0o755)
    try:
        yield home
    finally:
        shutil.rmtree(home)


@contextmanager
def running(registry: RestartableRegistry) -> Generator[RestartableRegistry]:
    try:
        registry.start()
        yield registry
    finally:
        registry.kill()


@contextmanager
def small_disk(directory: Path, size: str) -> Generator[None]:
    """A tmpfs of its own at ``directory``; PermissionError where that is not allowed."""
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        raise PermissionError(mounted.stderr)
    try:
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)


@contextmanager
def nginx(home: Path, upstream: str, *settings: str, tls: Sequence[str] = ()) -> Generator[str]:
    """Nginx in front of ``upstream``, with these lines in its location, and those of TLS in its server; its host and port."""
    port = free_port()
    with _nginx(home, port, f"proxy_pass http://{upstream};", "proxy_set_header Host $http_host;", *settings, tls=tls):
        yield f"127.0.0.1:{port}"


@contextmanager
def file_server(home: Path, root: Path, port: int) -> Generator[None]:
    """Nginx that serves the files of a directory, as a storage service does."""
    with _nginx(home, port, f"root {root};"):
        yield


@contextmanager
def _nginx(home: Path, port: int, *settings: str, tls: Sequence[str] = ()) -> Generator[None]:
    home.mkdir()
    folders = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"{name}_temp_path {home / name};" for name in folders)
    lines, more = "\n".join(settings), "\n".join(tls)
    owner = "user root;" if os.geteuid() == 0 else ""
    (home / "nginx.conf").write_text(
        f"""
        {owner}
        daemon off;
        pid {home / "pid"};
        error_log {home / "log"};
        events {{}}
        http {{
            access_log off;
            {temporary}
            server {{
                listen 127.0.0.1:{port}{" ssl" if tls else ""};
                {more}
                location / {{
                    {lines}
                }}
            }}
        }}
        """
    )
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None
    with subprocess.Popen(
        [program, "-c", str(home / "nginx.conf"), "-p", str(home)], stderr=subprocess.PIPE
    ) as process:
        try:
            wait_for(port, process, home / "log")
            yield
        finally:
            process.terminate()
