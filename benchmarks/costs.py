"""``python -m benchmarks.costs [NAME …]``: what ocipush costs by itself, where there is nobody to compare it with.

start      processes beside ones that only import: ``--version``, and a push that finds nothing to send
plan       reading and checking an image of 500 and of 5,000 layers, which should take ten times as long, not a hundred
request    CPU of one small request, the client's side alone
memory     peak resident size for 8 layers of 1 GiB at once, and of 4 GiB, over HTTP and TLS (the files have holes)
cancelled  descriptors and sockets after 1,000 pushes that were cancelled on the way
system     what the system is asked for while 8 × 64 MiB go out over HTTP: sendfile, no read or write of a file's bytes
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio

from ocipush import Pusher
from ocipush._http.client import Client
from ocipush._http.request import Request
from ocipush._http.timeouts import Timeouts
from ocipush._http.tls import Context
from ocipush._sources.layout import Layout
from ocipush._sources.walk import read_contents

from .contenders import ROOT
from .layouts import CONFIG, LAYER, MANIFEST
from .machine import describe
from .ratios import Spread, pair_by_pair
from .registries import Certificates
from .report import table

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

Row = list[str]
_GIB: Final = 1024**3
_PROGRAM: Final = str(Path(sys.executable).with_name("ocipush"))


def write_hollow(path: Path, sizes: Sequence[int]) -> Path:
    """A layout whose layers are all holes, under digests that are not theirs: for servers that do not look."""
    blobs = path / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def add(content: bytes | int, media_type: str, name: str = "") -> dict[str, Any]:
        encoded = hashlib.sha256(content if isinstance(content, bytes) else name.encode()).hexdigest()
        size = len(content) if isinstance(content, bytes) else content
        with (blobs / encoded).open("wb") as file:
            file.write(content) if isinstance(content, bytes) else file.truncate(size)
        return {"mediaType": media_type, "digest": f"sha256:{encoded}", "size": size}

    layers = [add(size, LAYER, f"layer {number}") for number, size in enumerate(sizes)]
    config = add(b"{}", CONFIG)
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    root = add(json.dumps(document).encode(), MANIFEST)
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [root]}))
    return path


@contextmanager
def sink(certificates: Certificates | None = None, held: str = "") -> Generator[int]:
    """Run the registry that forgets; its port. Every tag there names ``held``."""
    files = [str(certificates.chain), str(certificates.key)] if certificates else []
    command = [sys.executable, "-m", "benchmarks.sink", held, *files]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.communicate()


def _process(command: Sequence[str]) -> tuple[float, str]:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    return time.perf_counter() - started, done.stderr


def _compare(command: Sequence[str], imports: str, rounds: int = 15) -> str:
    """Wall time of a command divided by that of a Python that imports these modules, pair by pair."""
    base = [sys.executable, "-c", f"import {imports}"]
    for warming in (command, base):
        _process(warming)
    pairs = [(_process(command)[0], _process(base)[0]) for _ in range(rounds)]
    ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    found, seconds = Spread.of(pair_by_pair(ours, theirs)), Spread.of(ours).median
    return f"{found.median:.2f} ({found.least:.2f}–{found.greatest:.2f}) × `import {imports}`; {seconds:.3f} s"


def start(home: Path) -> list[Row]:
    """Whole processes beside imports."""
    image = write_hollow(home / "store" / "small", [300, 3000])
    root = json.loads((image / "index.json").read_bytes())["manifests"][0]["digest"]
    rows = [["`ocipush --version`", _compare([_PROGRAM, "--version"], "click")]]
    certificates = Certificates.issue(home / "tls")
    for secure in (False, True):
        with sink(certificates if secure else None, root) as port:
            command = [_PROGRAM, "push", "small", "--target", f"127.0.0.1:{port}/a:b"]
            command += ["--images-store-dir", str(home / "store"), "--authfile", str(home / "auth.json")]
            command += ["--ca-file", str(certificates.ca_file)] if secure else []
            what = f"`ocipush push`, unchanged, {'TLS' if secure else 'HTTP'}"
            rows.append([what, _compare(command, "httpx, anyio, pydantic, click")])
    return rows


def plan(home: Path) -> list[Row]:
    """How long reading and checking an image takes, by its number of layers."""

    async def read(path: Path) -> float:
        started = time.perf_counter()
        async with await Layout.open(path) as layout:
            await read_contents(layout, layout.select())
        return time.perf_counter() - started

    taken = {}
    for count in (500, 5000):
        path = write_hollow(home / f"layers-{count}", [1000] * count)
        taken[count] = min(anyio.run(read, path) for _ in range(7))
    few, many = taken.values()
    return [["read and check 5,000 layers", f"{many:.3f} s, {many / few:.1f} × that of 500"]]


def request(_: Path) -> list[Row]:
    """CPU of one small request."""
    count = 2000

    async def ask(port: int) -> list[str]:
        client = Client(verify=Context(), timeouts=Timeouts(), user_agent="benchmarks", transport=None)
        url, headers = f"http://127.0.0.1:{port}/v2/a/blobs/uploads/", {"Content-Type": "application/octet-stream"}
        taken: list[float] = []
        for _ in range(7):
            before = resource.getrusage(resource.RUSAGE_SELF)
            for _ in range(count):
                await client.send(Request(method="POST", url=url, headers=headers, body=b"x" * 300))
            after = resource.getrusage(resource.RUSAGE_SELF)
            taken.append((after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) / count)
        await client.aclose()
        found = Spread.of(taken)
        return [f"{1000 * one:.3f}" for one in (found.median, found.least, found.greatest)]

    with sink() as port:
        median, least, greatest = anyio.run(ask, port)
    return [["CPU of a small request", f"{median} ms ({least}–{greatest})"]]


SIZES: Final = (1, 4)  # GiB
_PUSH: Final = """
import sys, resource, anyio, ocipush, pathlib
async def main():
    async with ocipush.Pusher(ca_file=sys.argv[3] or None, large_concurrency=8, authfile="/nonexistent") as pusher:
        await pusher.push(pathlib.Path(sys.argv[1]), target=f"127.0.0.1:{sys.argv[2]}/a:b")
anyio.run(main)
sys.stderr.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
"""


def memory(home: Path) -> list[Row]:
    """Peak resident size of a process that pushes eight layers at once."""
    certificates = Certificates.issue(home / "tls")
    rows: list[Row] = []
    for size in SIZES:
        path = write_hollow(home / f"of-{size}", [size * _GIB] * 8)
        for secure in (False, True):
            with sink(certificates if secure else None) as port:
                trust = str(certificates.ca_file) if secure else ""
                seconds, said = _process([sys.executable, "-c", _PUSH, str(path), str(port), trust])
            peak = int(said.split()[-1]) / 1024
            what = f"8 × {size} GiB at once, {'TLS' if secure else 'HTTP'}"
            rows.append([what, f"{peak:.0f} MiB at most, {8 * size / seconds:.1f} GiB/s"])
    return rows


def cancelled(home: Path) -> list[Row]:
    """What is still open after 1,000 pushes were cancelled, each a little later than the one before, up to 30 ms."""
    path = write_hollow(home / "image", [64 * 1024 * 1024, 2_000_000, *[20_000] * 20])

    def opened() -> list[str]:
        return [str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]

    async def push(port: int) -> tuple[int, list[str]]:
        ended, turn = 0, 0
        async with Pusher(authfile=home / "none.json") as pusher:
            while ended < 1000:
                with anyio.move_on_after(turn % 600 * 50e-6) as scope:
                    await pusher.push(path, target=f"127.0.0.1:{port}/a:b", force=True)
                ended, turn = ended + scope.cancelled_caught, turn + 1
            return ended, opened()

    before = len(opened())
    with sink() as port:
        ended, during = anyio.run(push, port)
    after = opened()
    sockets = sum(one.startswith("socket:") for one in during)
    return [
        ["pushes cancelled", str(ended)],
        ["sockets open after them, in the Pusher's pool", str(sockets)],
        ["descriptors left once it is closed", str(len(after) - before)],
    ]


def system(home: Path) -> list[Row]:
    """System calls that moved the layers' bytes."""
    path = write_hollow(home / "image", [64 * 1024 * 1024] * 8)
    log = home / "strace"
    with sink() as port:
        trace = ["strace", "-f", "-o", str(log), "-e", "trace=sendfile,pread64,read,sendto,write"]
        _process([*trace, sys.executable, "-c", _PUSH, str(path), str(port), ""])
    moved: dict[str, int] = {}
    for call, result in re.findall(r"^\d+\s+(\w+)\(.*= (\d+)$", log.read_text(errors="replace"), re.MULTILINE):
        moved[call] = moved.get(call, 0) + int(result)
    return [[f"bytes through {call}, of {8 * 64 * 1024 * 1024}", str(count)] for call, count in sorted(moved.items())]


COSTS: Final[dict[str, Callable[[Path], list[Row]]]] = {
    "start": start,
    "plan": plan,
    "request": request,
    "memory": memory,
    "cancelled": cancelled,
    "system": system,
}


def main() -> None:
    """Print a Markdown table of the costs that are named, or of all."""
    rows: list[Row] = []
    for name in sys.argv[1:] or COSTS:
        home = Path(tempfile.mkdtemp(prefix="ocipush-costs-"))
        try:
            rows += COSTS[name](home)
        finally:
            shutil.rmtree(home)
        print("\n".join(" | ".join(row) for row in rows[-10:]), file=sys.stderr)
    about = describe()
    print("\n".join(table([["cost", "measured"], *rows])))
    print(
        f"\n{time.strftime('%Y-%m-%d')}, commit {about['commit']}; {about['cpu']}, {about['cores']} cores, {about['python']}."
    )


if __name__ == "__main__":
    main()
