"""Run one scenario: every contender in turn, round by round, each on a registry with empty storage, each read back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from .check import MismatchError, check
from .clients import floor
from .contenders import ROOT, clear_caches, environment
from .jobs import Job
from .registries import running
from .relay import relaying

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .contenders import Contender
    from .registries import Certificates, RegistryProgram
    from .relay import Traffic
    from .scenarios import Scenario, Work

_LIMIT: Final = 600  # seconds that one run may take


class RunFailedError(Exception):
    """A contender did not do its work."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run took.

    Attributes:
        seconds: wall time.
        user, system: seconds of CPU, of all threads.
        peak: greatest resident size of the process, in bytes.
        requests: as the registry's access log counts them, or None.
        load: of the machine, over the minute before.
    """

    seconds: float
    user: float
    system: float
    peak: int
    requests: int | None
    load: float

    @property
    def cpu(self) -> float:
        """Seconds of CPU."""
        return self.user + self.system


@dataclass(slots=True)
class Record:
    """One contender's runs of a scenario.

    Attributes:
        traffic: bytes and connections of the first run, which goes through the relay.
        failure: why it took part no longer.
        mismatch: the failure is that the registry served something else.
    """

    contender: Contender
    runs: list[Run] = field(default_factory=list[Run])
    traffic: Traffic | None = None
    failure: str | None = None
    mismatch: bool = False


@dataclass(frozen=True, slots=True)
class Arena:
    """Where a scenario is run."""

    program: RegistryProgram
    scenario: Scenario
    work: Work
    certificates: Certificates | None
    home: Path


def run_scenario(
    arena: Arena, contenders: Sequence[Contender], *, pairs: int, tell: Callable[[str], None]
) -> list[Record]:
    """A first round that warms up and counts bytes, then ``pairs`` rounds that are timed: A B C A B C …

    No pairs: the first round is all there is, relay and all.
    """
    records = [Record(contender) for contender in contenders]
    for number in range(pairs + 1):
        for record in records:
            if record.failure is not None:
                continue
            try:
                run, traffic = _run(arena, record.contender, count=number == 0)
            except (RunFailedError, MismatchError, OSError) as exc:
                record.failure, record.mismatch = str(exc), isinstance(exc, MismatchError)
                tell(f"  {record.contender.name} fails: {exc}")
                continue
            if number == 0:
                record.traffic = traffic
            if number or not pairs:
                record.runs.append(run)
            what = f"round {number} of {pairs}" if number else "first round"
            tell(f"  {what}: {record.contender.name}: {run.seconds:.3f} s, {run.requests} requests")
    return records


def _run(arena: Arena, contender: Contender, *, count: bool) -> tuple[Run, Traffic | None]:
    scenario, work = arena.scenario, arena.work
    scratch = arena.home / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    ca_file = arena.certificates.ca_file if arena.certificates else None
    known = frozenset(digest for image in work.before for digest in (image.digest, *image.blobs))
    with ExitStack() as stack:
        registry = stack.enter_context(running(arena.program, arena.home / "registry", arena.certificates))
        if work.before:
            floor.push(Job(registry.port, ca_file, work.store, work.before, frozenset(), 8, scratch))
        port, relay = registry.port, None
        if count or scenario.round_trip or scenario.rate:
            relay = stack.enter_context(relaying(port, round_trip=scenario.round_trip, rate=scenario.rate))
            port = relay.port
        job = Job(port, ca_file, work.store, work.images, known, scenario.connections, scratch)
        clear_caches()
        mark, load = registry.mark(), os.getloadavg()[0]
        took = _launch(contender, job)
        run = Run(**took, requests=registry.requests_since(mark), load=load)
        traffic = relay.traffic if relay else None
        check(registry.port, ca_file, work.images)
    return run, traffic


def _launch(contender: Contender, job: Job) -> dict[str, Any]:
    log = job.scratch / "output.log"
    order = json.dumps({"commands": contender.commands(job), "log": str(log)})
    took: dict[str, Any] = json.loads(_wait_for(order, environment(job)))
    said = log.read_text(errors="replace").strip().splitlines()
    if code := took.pop("code"):
        raise RunFailedError(f"exit code {code}: {said[-1][-200:] if said else ''}")
    if contender.timed == "call":
        took |= json.loads(said[-1])
    return took


def _wait_for(order: str, environ: dict[str, str]) -> bytes:
    command = [sys.executable, "-I", "-S", str(ROOT / "benchmarks" / "launch.py"), order]
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, start_new_session=True) as launcher:
        try:
            said, _ = launcher.communicate(timeout=_LIMIT)
        except BaseException as exc:  # an interrupt too: nothing that was started here outlives it
            os.killpg(launcher.pid, signal.SIGKILL)
            if isinstance(exc, subprocess.TimeoutExpired):
                raise RunFailedError(f"not done after {_LIMIT} s") from exc
            raise
    if launcher.returncode:
        raise RunFailedError(f"the launcher ended with {launcher.returncode}")
    return said
