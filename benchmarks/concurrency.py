"""``python -m benchmarks.concurrency``: the library's time by how much is sent at once, near and far.

Small blobs are tried with several ``concurrency``, large ones with several ``large_concurrency``; each cell is the
median of its rounds, everyone in turn in each. What was chosen from this stands in README.md.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from ocipush import Pusher

from .jobs import Job
from .layouts import TAG
from .ratios import Spread
from .registries import Registry, find_registries, running
from .relay import relaying
from .report import table
from .scenarios import MIXED, SCENARIOS, Scenario, write_work

if TYPE_CHECKING:
    from .scenarios import Work

TRIPS: Final = (0.0, 0.010, 0.040, 0.150)
SMALL: Final = (8, 16, 32, 64, 128)
LARGE: Final = (2, 3, 4, 6, 8)
ROUNDS: Final = 5


async def _push(job: Job, options: dict[str, int]) -> float:
    started = anyio.current_time()
    async with Pusher(authfile=job.scratch / "none.json", **options) as pusher:  # type: ignore[arg-type]
        image = job.images[0]
        await pusher.push(image.path, target=f"{job.host}/{image.repository}:{TAG}")
        return anyio.current_time() - started


def _measure(registry: Registry, scenario: Scenario, work: Work, home: Path, options: dict[str, int]) -> float:
    with relaying(registry.port, round_trip=scenario.round_trip, rate=scenario.rate) as relay:
        port = relay.port if scenario.round_trip else registry.port
        job = Job(port, None, work.store, work.images, frozenset(), 0, home)
        return anyio.run(_push, job, options)


def compare(scenario: Scenario, option: str, values: tuple[int, ...], home: Path) -> list[list[str]]:
    """A row for each round trip, a column for each value."""
    program, work = find_registries()[0], write_work(scenario, home / "store")
    rows = [[scenario.title, *(str(value) for value in values)]]
    for trip in TRIPS:
        at = Scenario(scenario.name, scenario.title, scenario.layers, 0, round_trip=trip)
        taken: dict[int, list[float]] = {value: [] for value in values}
        for number in range(ROUNDS + 1):
            for value in values:
                with running(program, home / "registry", None) as registry:
                    seconds = _measure(registry, at, work, home, {option: value})
                if number:  # the first round warms up
                    taken[value].append(seconds)
        rows.append([f"{1000 * trip:g} ms", *(f"{Spread.of(taken[value]).median:.2f}" for value in values)])
        print(rows[-1], file=sys.stderr)
    return rows


def main() -> None:
    """Print a Markdown table for each kind of work."""
    named = {scenario.name: scenario for scenario in SCENARIOS}
    large = Scenario("large", "12 × 20 MiB", (20 * 1024 * 1024,) * 12, 0)
    mixed = Scenario("mixed", named["mixed-far"].title.partition(",")[0] + ", 300 B – 30 MB", MIXED, 0)
    work = (
        ("small", named["small"], "concurrency", SMALL),
        ("mixed", mixed, "concurrency", SMALL[:3]),
        ("large", large, "large_concurrency", LARGE),
    )
    for name, scenario, option, values in work:
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        home = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        try:
            print("\n".join([f"`{option}`:", "", *table(compare(scenario, option, values, home)), ""]), flush=True)
        finally:
            shutil.rmtree(home)


if __name__ == "__main__":
    main()
