"""Results as JSON, and as Markdown tables made from that JSON alone. A scenario that is run again replaces its entry."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from . import machine
from .contenders import COMMAND, LIBRARY
from .ratios import Spread, pair_by_pair
from .scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .runner import Arena, Record

Entry = dict[str, Any]
_ORDER: Final = {scenario.name: number for number, scenario in enumerate(SCENARIOS)}
_MB: Final = 1_000_000


def entry_of(arena: Arena, records: Sequence[Record]) -> Entry:
    """One scenario on one registry, for the JSON file."""
    contenders = [
        {
            "name": record.contender.name,
            "version": record.contender.version,
            "timed": record.contender.timed,
            "failure": record.failure,
            "traffic": asdict(record.traffic) if record.traffic else None,
            "runs": [asdict(run) for run in record.runs],
        }
        for record in records
    ]
    return {
        "scenario": arena.scenario.name,
        "title": arena.scenario.title,
        "registry": f"{arena.program.name} {arena.program.version}",
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine.describe(),
        "image_bytes": sum(image.size for image in arena.work.images),
        "contenders": contenders,
        "ratios": {ours: ratios(contenders, ours) for ours in (LIBRARY, COMMAND)},
    }


def ratios(contenders: Sequence[dict[str, Any]], ours: str) -> dict[str, dict[str, float]]:
    """Time of ``ours`` divided by that of every other, pair by pair: below 1, ours took less."""
    seconds = {one["name"]: [run["seconds"] for run in one["runs"]] for one in contenders}
    mine = seconds.get(ours, [])
    others = {name: pair_by_pair(mine, theirs) for name, theirs in seconds.items() if name != ours}
    return {name: asdict(Spread.of(found)) for name, found in others.items() if found}


@dataclass(slots=True)
class Results:
    """All entries of one results directory."""

    entries: list[Entry] = field(default_factory=list[Entry])

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what was saved before, if anything was."""
        return cls(json.loads(path.read_bytes()) if path.exists() else [])

    def add(self, arena: Arena, records: Sequence[Record]) -> None:
        """Put in one scenario on one registry, for what stood there before."""
        made = entry_of(arena, records)
        same = ("registry", "title")
        self.entries = [entry for entry in self.entries if any(entry[key] != made[key] for key in same)]
        self.entries = sorted([*self.entries, made], key=lambda entry: (entry["registry"], _ORDER[entry["scenario"]]))

    def save(self, directory: Path) -> None:
        """Write ``results.json`` and ``results.md``."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "results.json").write_text(json.dumps(self.entries, indent=1) + "\n")
        (directory / "results.md").write_text(markdown(self.entries))

    def draw(self, directory: Path) -> list[Path]:
        """Draw the charts, where matplotlib is installed."""
        try:
            from .chart import draw
        except ImportError as exc:
            print(f"no chart: {exc}")
            return []
        return draw(self.entries, directory)


def markdown(entries: Sequence[Entry]) -> str:
    """An overview of each registry, then a table of each scenario."""
    lines = ["# Results", "", "How to read and repeat this: [README](../README.md). Made from `results.json`.", ""]
    for registry in dict.fromkeys(entry["registry"] for entry in entries):
        mine = [entry for entry in entries if entry["registry"] == registry]
        lines += [f"## {registry}", "", *overview(mine), ""]
        for entry in mine:
            lines += [f"### {entry['title']}", "", *details(entry), ""]
    return "\n".join(lines)


def overview(entries: Sequence[Entry]) -> list[str]:
    """Time of the library, and divided by that of each other: the median of all pairs."""
    names = list(
        dict.fromkeys(one["name"] for entry in entries for one in entry["contenders"] if one["name"] != LIBRARY)
    )
    rows = [["scenario", LIBRARY, *(f"÷ {name}" for name in names)]]
    for entry in entries:
        mine: list[dict[str, Any]] = next((one["runs"] for one in entry["contenders"] if one["name"] == LIBRARY), [])
        seconds = f"{Spread.of([run['seconds'] for run in mine]).median:.3f} s" if mine else "failed"
        found = entry["ratios"][LIBRARY]
        rows.append(
            [entry["title"], seconds, *(f"{found[name]['median']:.2f}" if name in found else "–" for name in names)]
        )
    return table(rows)


def details(entry: Entry) -> list[str]:
    """Everything measured of one scenario, a line a contender."""
    ratio_of = entry["ratios"]
    head = ["", "seconds", "library ÷ this", "command ÷ this", "CPU s", "peak MB", "requests", "sent MB", "connections"]
    rows = [head]
    for one in entry["contenders"]:
        name = f"{one['name']} {one['version']}".strip() + (" *" if one["timed"] == "call" else "")
        if one["failure"] or not one["runs"]:
            rows.append([name, one["failure"] or "not timed", *[""] * (len(head) - 2)])
            continue
        runs, traffic = one["runs"], one["traffic"] or {}
        requests = [run["requests"] for run in runs if run["requests"] is not None]
        rows.append(
            [
                name,
                _spread([run["seconds"] for run in runs], ".3f"),
                *(_ratio(ratio_of[ours].get(one["name"])) for ours in (LIBRARY, COMMAND)),
                f"{Spread.of([run['user'] + run['system'] for run in runs]).median:.3f}",
                f"{Spread.of([run['peak'] for run in runs]).median / _MB:.0f}",
                f"{Spread.of(requests).median:g}" if requests else "–",
                f"{traffic['sent'] / _MB:.2f}" if traffic else "–",
                str(traffic["connections"]) if traffic else "–",
            ]
        )
    loads = Spread.of([run["load"] for one in entry["contenders"] for run in one["runs"]] or [0.0])
    about, pairs = entry["machine"], max(len(one["runs"]) for one in entry["contenders"])
    note = (
        f"{pairs} pairs, {entry['image_bytes'] / _MB:.1f} MB of blobs; {entry['at']}, commit {about['commit']}; "
        f"{about['cpu']}, {about['cores']} cores, {about['memory']}, {about['system']}, {about['python']}; "
        f"load {loads.least:.1f}–{loads.greatest:.1f}."
    )
    return [*table(rows), "", note]


def _spread(figures: Sequence[float], form: str) -> str:
    found = Spread.of(figures)
    return f"{found.median:{form}} ({found.least:{form}}–{found.greatest:{form}})"


def _ratio(found: dict[str, float] | None) -> str:
    return f"{found['median']:.2f} ({found['least']:.2f}–{found['greatest']:.2f})" if found else ""


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; the first row is its head, and numbers stand to the right."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    head, *body = [f"| {' | '.join(row)} |" for row in cells]
    return [head, f"|---|{'---:|' * (len(rows[0]) - 1)}", *body]
