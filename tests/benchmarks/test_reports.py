"""The parts of the benchmark suite that decide what is reported: ratios, tables, layouts, what the floor client does."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from benchmarks.clients.floor import plan
from benchmarks.contenders import COMMAND, LIBRARY
from benchmarks.jobs import Job
from benchmarks.layouts import content
from benchmarks.ratios import Spread, pair_by_pair
from benchmarks.relay import Link
from benchmarks.report import details, markdown, ratios, table
from benchmarks.scenarios import SCENARIOS, Scenario, write_work

from ocipush._sources.layout import Layout

if TYPE_CHECKING:
    from pathlib import Path

KIB = 1024


def contender(name: str, seconds: list[float], **facts: Any) -> dict[str, Any]:
    run = {"user": 0.25, "system": 0.25, "peak": 30_000_000, "requests": 7, "load": 1.0}
    return {
        "name": name,
        "version": "1.0",
        "timed": "process",
        "failure": None,
        "traffic": {"sent": 5_000_000, "received": 1, "connections": 3},
        "runs": [{**run, "seconds": one} for one in seconds],
        **facts,
    }


def entry(*contenders: dict[str, Any], title: str = "one | two") -> dict[str, Any]:
    return {
        "scenario": "big",
        "title": title,
        "registry": "distribution v3",
        "at": "2026-11-24T00:00:00Z",
        "machine": {"cpu": "c", "cores": 2, "memory": "24 GiB", "system": "Linux", "python": "3", "commit": "abc"},
        "image_bytes": 2_000_000,
        "contenders": list(contenders),
        "ratios": {ours: ratios(contenders, ours) for ours in (LIBRARY, COMMAND)},
    }


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([1.0, 2.0, 30.0], [2.0, 4.0, 60.0], [0.5, 0.5, 0.5]),  # a slow round slows both: not 11 / 22, not 30 / 4
        ([1.0, 2.0], [4.0], [0.25]),
        ([], [1.0], []),
    ],
)
def test_ratios_are_taken_within_a_round(ours: list[float], theirs: list[float], expected: list[float]) -> None:
    assert pair_by_pair(ours, theirs) == expected


def test_spread_is_least_median_greatest() -> None:
    assert Spread.of([5.0, 1.0, 9.0, 2.0]) == Spread(1.0, 3.5, 9.0)


def test_contender_without_runs_has_no_ratio() -> None:
    found = ratios([contender(LIBRARY, [1.0, 3.0]), contender("crane", [2.0, 2.0]), contender("oras", [])], LIBRARY)
    assert found == {"crane": {"least": 0.5, "median": 1.0, "greatest": 1.5}}


def test_table_escapes_what_would_break_a_row() -> None:
    assert table([["a", "b"], ["x|y", "1\n2"]]) == ["| a | b |", "|---|---:|", "| x\\|y | 1 2 |"]


def test_details_show_medians_with_their_range_and_why_one_failed() -> None:
    lines = details(entry(contender(LIBRARY, [1.0, 2.0, 6.0]), contender("crane", [], failure="exit code 1: no")))
    assert lines[2] == f"| {LIBRARY} 1.0 | 2.000 (1.000–6.000) |  |  | 0.500 | 30 | 7 | 5.00 | 3 |"
    assert lines[3].startswith("| crane 1.0 | exit code 1: no |")
    assert "3 pairs" in lines[-1]


def test_markdown_gives_the_library_time_over_each_peer_time() -> None:
    text = markdown([entry(contender(LIBRARY, [1.0]), contender(COMMAND, [2.0]), contender("crane", [4.0]))])
    assert "| one \\| two | 1.000 s | 0.50 | 0.25 |" in text
    assert f"| crane 1.0 | 4.000 (4.000–4.000) | {'0.25 (0.25–0.25)'} | {'0.50 (0.50–0.50)'} |" in text


@pytest.mark.parametrize("size", [0, 1, 300, 1024 * KIB, 3 * 1024 * KIB + 5])
def test_content_has_its_size_and_depends_only_on_its_seed(size: int) -> None:
    once, again, other = (b"".join(content(seed, size)) for seed in ("a", "a", "b"))
    assert len(once) == size
    assert once == again
    assert size < 300 or once != other
    assert size <= 1024 * KIB or once[: 1024 * KIB] != once[1024 * KIB : 2048 * KIB]


def small(name: str) -> Scenario:
    return replace(next(one for one in SCENARIOS if one.name == name).quick(), layers=(10, 20, 30))


@pytest.mark.parametrize("name", [scenario.name for scenario in SCENARIOS])
def test_layouts_of_each_scenario_are_sound(name: str, tmp_path: Path) -> None:
    work = write_work(small(name), tmp_path)
    for image in (*work.before, *work.images):
        layout = Layout.open_blocking(image.path)
        assert [descriptor.digest for descriptor in layout.index.manifests] == [image.digest]
        layout.close()
        for path in (image.path / "blobs" / "sha256").iterdir():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
        manifest = json.loads(image.blob(image.digest).read_bytes())
        assert {layer["digest"]: layer["size"] for layer in (manifest["config"], *manifest["layers"])} == image.blobs


def job(name: str, store: Path) -> Job:
    work = write_work(small(name), store)
    known = frozenset(digest for image in work.before for digest in (image.digest, *image.blobs))
    return Job(1, None, store, work.images, known, 1, store)


@pytest.mark.parametrize(
    ("name", "uploads", "mounts"),
    [("big", 4, 0), ("unchanged", 0, 0), ("changed", 2, 0), ("shared", 6, 2)],  # shared: 2 layers of 2 images
)
def test_floor_client_sends_only_what_is_new(name: str, uploads: int, mounts: int, tmp_path: Path) -> None:
    planned = plan(job(name, tmp_path))
    assert (len(planned[0]), len(planned[1])) == (uploads, mounts)


def test_job_can_be_saved_and_loaded(tmp_path: Path) -> None:
    made = job("shared", tmp_path)
    assert Job.load(str(made.save())) == made


def test_link_delays_data_and_queues_what_is_sent_together() -> None:
    free = Link(delay=0.02)
    assert [free.arrival(1.0, 500), free.arrival(1.0, 500)] == [1.02, 1.02]
    narrow = Link(delay=1.0, rate=1000)
    assert [narrow.arrival(10.0, 500), narrow.arrival(10.0, 500), narrow.arrival(20.0, 500)] == [11.5, 12.0, 21.5]
