"""``python -m benchmarks``: make the layouts, start the registries, run everyone in turn, write what came out."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from .contenders import COMMAND, FLOOR, LIBRARY, ROOT, find_contenders
from .registries import Certificates, find_registries
from .report import Results
from .runner import Arena, run_scenario
from .scenarios import SCENARIOS, Scenario, write_work


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compare ocipush with other tools.")
    names = [scenario.name for scenario in SCENARIOS]
    add = parser.add_argument
    add(
        "--quick",
        action="store_true",
        help="small images, one registry, the first round only: under a minute, proves nothing",
    )
    add("--scenario", action="append", choices=names, metavar="NAME", help=f"only this one: {', '.join(names)}")
    add("--registry", action="append", metavar="NAME", help="only this one: distribution, zot, docker-registry")
    add("--contender", action="append", metavar="NAME", help="only this one and ocipush, e.g. crane")
    add(
        "--pairs",
        type=int,
        metavar="N",
        help="rounds that are timed, after a first one that warms up and counts bytes  [default: 11]",
    )
    add("--round-trip", type=float, metavar="MS", help="milliseconds to the registry and back, in every scenario")
    add("--rate", type=float, metavar="MBIT", help="limit of the line, in every scenario")
    add("--work", type=Path, metavar="DIR", help="for layouts and storage, 3 GiB  [default: /dev/shm if there is one]")
    add("--output", type=Path, metavar="DIR", help="default: benchmarks/results, or build/benchmarks where it is quick")
    return parser.parse_args(argv)


def chosen_scenarios(options: argparse.Namespace) -> list[Scenario]:
    """The scenarios asked for, as they were asked for."""
    found = [one for one in SCENARIOS if not options.scenario or one.name in options.scenario]
    if options.quick:
        found = [one.quick() for one in found]
    if options.round_trip is not None:
        trip = options.round_trip
        found = [replace(one, title=f"{one.title} (at {trip:g} ms)", round_trip=trip / 1000) for one in found]
    if options.rate is not None:
        rate = options.rate
        found = [replace(one, title=f"{one.title} (at {rate:g} Mbit/s)", rate=rate * 1e6 / 8) for one in found]
    return found


def main() -> int:
    """Run it all; 1 where a registry served something else than what was pushed, or ocipush failed."""
    options = parse(sys.argv[1:])
    registries = find_registries()
    registries = [one for one in registries if not options.registry or one.name in options.registry]
    if not registries:
        print("no registry on PATH; `make servers` installs docker-registry on Debian", file=sys.stderr)
        return 2
    if options.quick:
        registries = registries[:1]
    ours = {LIBRARY, COMMAND, FLOOR}
    contenders = [one for one in find_contenders() if not options.contender or one.name in {*ours, *options.contender}]
    pairs = (0 if options.quick else 11) if options.pairs is None else options.pairs
    output = options.output or ROOT / ("build/benchmarks" if options.quick else "benchmarks/results")
    memory = Path("/dev/shm")
    work = options.work or (memory if memory.is_dir() else None)
    results, failed = Results.load(output / "results.json"), False

    def tell(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    tell("comparing " + ", ".join(f"{one.name} {one.version}".strip() for one in contenders))
    for scenario in chosen_scenarios(options):
        with tempfile.TemporaryDirectory(prefix="ocipush-bench-", dir=work) as scratch:
            home = Path(scratch)
            tell(f"{scenario.name}: {scenario.title}: writing the layouts")
            images = write_work(scenario, home / "store")
            certificates = Certificates.issue(home / "tls") if scenario.tls else None
            for registry in registries:
                tell(f"{scenario.name}: {registry.name} {registry.version}")
                arena = Arena(registry, scenario, images, certificates, home)
                records = run_scenario(arena, contenders, pairs=pairs, tell=tell)
                results.add(arena, records)
                results.save(output)
                failed |= any(one.mismatch or (one.failure and one.contender.name in ours) for one in records)
    results.draw(output)
    tell(f"written: {output}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
