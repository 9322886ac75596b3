"""Debian's tinyproxy in front of a registry on this machine.

Clients never ask a proxy for a loopback address, so the registry is called 0.0.0.0: it is not one, and a connection to
it ends at this machine all the same.
"""

from __future__ import annotations

import re
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.real.broken import free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tests.real.servers import Server


@dataclass(frozen=True)
class Proxy:
    """A tinyproxy that runs."""

    port: int
    log: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def requests(self) -> list[str]:
        """Method and target of each request that it got."""
        return re.findall(r"Request \(file descriptor \d+\): (\S+ \S+) HTTP", self.log.read_text())


@contextmanager
def tinyproxy(home: Path, *settings: str) -> Generator[Proxy]:
    """Run tinyproxy with these lines in its configuration."""
    home.mkdir()
    proxy = Proxy(free_port(), home / "log")
    lines = (
        f"Port {proxy.port}",
        "Listen 127.0.0.1",
        "Allow 127.0.0.1",
        "Timeout 60",
        f'LogFile "{proxy.log}"',
        "LogLevel Connect",
        *settings,
    )
    (home / "tinyproxy.conf").write_text("".join(f"{line}\n" for line in lines))
    command = ["tinyproxy", "-d", "-c", str(home / "tinyproxy.conf")]
    with (home / "output").open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            wait_for(proxy.port, process, home / "output")
            yield proxy
        finally:
            process.terminate()


def behind_a_proxy(server: Server) -> Server:
    """The same registry under the name that goes through a proxy."""
    return replace(server, host=server.host.replace("127.0.0.1", "0.0.0.0"))
