"""Random images, random faults, every dialect: a push ends whole, or in one typed error with the tag as it was.

What is checked of any push is in scenario.py. `make soak` plays 10,000 schedules; the tests play 300, always the same.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from tests.memory_network import BUFFER
from tests.property.scenario import Layer, Scenario, run

from ocipush.testing import (
    DIALECTS,
    Cut,
    Drip,
    Duplicate,
    EarlyAnswer,
    ExpireTokens,
    Fault,
    RateLimit,
    Refuse,
    Restart,
    Stall,
)

SCHEDULES = int(os.environ.get("OCIPUSH_SCHEDULES", "300"))
SHARDS = int(os.environ.get("OCIPUSH_SHARDS", "1"))  # more than one: other schedules each time
KIB, MIB = 1024, 1024 * 1024
UPLOAD = "PUT /v2/*/blobs/uploads/*"
PATTERNS = [
    "HEAD /v2/*/manifests/*",
    "GET /v2/*/manifests/*",
    "HEAD /v2/*/blobs/*",
    "POST /v2/*/blobs/uploads/*",
    UPLOAD,
    UPLOAD,
    UPLOAD,
    "PATCH /v2/*/blobs/uploads/*",
    "GET /v2/*/blobs/uploads/*",
    "DELETE /v2/*/blobs/uploads/*",
    "PUT /v2/*/manifests/*",
    "GET /token",
    "*",
]
EDGES = [64 * KIB, 128 * KIB - 1, 128 * KIB, 128 * KIB + 1, 256 * KIB - 1, 256 * KIB, 256 * KIB + 1, 1024 * KIB + 1]
SIZES = st.sampled_from([0, 1, 2, 100]) | st.integers(0, 300 * KIB) | st.sampled_from(EDGES)
LAYERS: st.SearchStrategy[Layer] = st.tuples(st.integers(0, 2), SIZES)
IMAGE = st.lists(LAYERS, min_size=0, max_size=5).map(tuple)
IMAGES = st.lists(IMAGE, min_size=1, max_size=2).map(tuple)
NTH = st.sampled_from([1, 1, 1, 2, 2, 3, 4, 6])
PLACES = st.sampled_from([0, 1, 50, 200, 64 * KIB]) | st.integers(0, 300 * KIB)
SIDES: Any = st.sampled_from(["request", "answer"])
NOTATIONS: Any = st.sampled_from(["seconds", "date", "milliseconds", "forbidden"])
LIFETIMES = st.sampled_from([300.0, 300.0, 1.0, 20.0])
ENDINGS: Any = st.sampled_from(["reset", "close", "half-close"])


def hits(kind: Any, *, most: int = 3, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Faults of one kind, on any request."""
    times = st.just(1) | st.integers(1, most)
    return st.builds(kind, st.sampled_from(PATTERNS), NTH, times=times, **fields)


CUTS = hits(Cut, of=SIDES, after=PLACES, how=ENDINGS)
FAULTS: st.SearchStrategy[Fault] = st.one_of(
    CUTS,
    CUTS,
    hits(Stall, of=SIDES, after=PLACES, seconds=st.sampled_from([1.0, 59.0, 61.0, 600.0, float("inf")])),
    hits(Drip, of=SIDES, after=PLACES, rate=st.sampled_from([1, 1000, 100_000])),
    hits(EarlyAnswer, after=PLACES, status=st.sampled_from([401, 413, 429, 500, 503]), how=ENDINGS),
    hits(Restart, of=SIDES, after=PLACES, down=st.sampled_from([0.0, 1.0, 20.0]), keep_sessions=st.booleans()),
    hits(Refuse, status=st.sampled_from([400, 401, 403, 404, 408, 409, 413, 416, 425, 429, 500, 502, 503, 504])),
    hits(RateLimit, most=12, wait=st.floats(0.001, 100), notation=NOTATIONS),
    hits(ExpireTokens),
    hits(Duplicate),
)
SCENARIOS = st.builds(
    Scenario,
    images=IMAGES,
    faults=st.lists(FAULTS, max_size=6).map(tuple),
    old=st.none() | IMAGE,
    auth=st.sampled_from(["open", "basic", "bearer"]),
    secure=st.booleans(),
    elsewhere=st.sampled_from([False, False, True]),
    attempts=st.integers(1, 5),
    pushes=st.sampled_from([1, 1, 2]),
    deadline=st.sampled_from([None, None, 1.0, 100.0]),
    chunk_size=st.sampled_from([None, None, 64 * KIB, 100_000]),
    dialect=st.sampled_from(["spec", "distribution-3", "distribution-3", *sorted(DIALECTS)]),
    lifetime=LIFETIMES,
    resume=st.booleans(),
    seed=st.integers(0, 1000),
)
# Each of these heals: whoever tries again often enough gets through.
PASSING: st.SearchStrategy[Fault] = st.one_of(
    CUTS,
    hits(Stall, of=SIDES, after=PLACES, seconds=st.sampled_from([1.0, 61.0, 600.0])),
    hits(EarlyAnswer, after=PLACES, status=st.sampled_from([429, 500, 503]), how=ENDINGS),
    hits(Restart, of=SIDES, after=PLACES, keep_sessions=st.booleans()),
    hits(Refuse, status=st.sampled_from([408, 425, 429, 500, 502, 503, 504])),
    hits(RateLimit, wait=st.floats(0.001, 50), notation=NOTATIONS),
    hits(ExpireTokens, most=1),
    hits(Duplicate),
)


def few(faults: tuple[Fault, ...]) -> bool:
    """A login that a fresh token does not help is not worth another try, so none is void as soon as it is used."""
    expiries = [one for one in faults if isinstance(one, ExpireTokens)]
    early = any(one.on[:4] == "HEAD" or one.on == "*" for one in expiries)
    return sum(one.times for one in faults) <= 4 and len(expiries) <= 1 and not early


PASSING_SCENARIOS = st.builds(
    Scenario,
    images=IMAGES,
    faults=st.lists(PASSING, max_size=4).map(tuple).filter(few),
    old=st.none() | IMAGE,
    auth=st.sampled_from(["open", "basic", "bearer"]),
    secure=st.booleans(),
    elsewhere=st.booleans(),
    attempts=st.just(5),
    pushes=st.sampled_from([1, 2]),
    resume=st.booleans(),
    chunk_size=st.sampled_from([None, None, 64 * KIB]),
    dialect=st.sampled_from(["distribution-3", *sorted(DIALECTS)]),
    seed=st.integers(0, 1000),
)
LARGE_CUTS = st.builds(
    Cut, st.just("P[UA]T* /v2/*/blobs/uploads/*"), st.integers(1, 6), after=st.integers(0, 3 * MIB), how=ENDINGS
)
RESUMING_SCENARIOS = st.builds(
    Scenario,
    images=st.tuples(st.tuples(st.tuples(st.just(0), st.integers(MIB, 3 * MIB)), LAYERS)),
    faults=st.lists(LARGE_CUTS, min_size=1, max_size=4).map(tuple),
    attempts=st.just(5),
    secure=st.booleans(),
    chunk_size=st.sampled_from([None, None, MIB]),
    dialect=st.sampled_from(["spec", "distribution-3"]),
    seed=st.integers(0, 1000),
)
SENT_TWICE = 128 * KIB + BUFFER + 256 * KIB  # for each cut: what was not worth resuming, and what was on its way


def schedules(share: float) -> settings:
    return settings(
        max_examples=max(1, round(SCHEDULES * share / SHARDS)),
        deadline=None,
        derandomize=SHARDS == 1,
        database=None,
        print_blob=True,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


shards = pytest.mark.parametrize("shard", range(SHARDS))
pytestmark = pytest.mark.timeout(0 if SHARDS > 1 else 300)


@shards
@schedules(0.5)
@given(scenario=SCENARIOS)
def test_push_succeeds_or_ends_in_one_typed_error_with_the_tag_unchanged(shard: int, scenario: Scenario) -> None:
    outcome = run(scenario)
    if not outcome.registry.fired and scenario.chunk_size is None and scenario.attempts > 2 and not scenario.deadline:
        assert not outcome.failures


@shards
@schedules(0.35)
@given(scenario=PASSING_SCENARIOS)
@example(
    scenario=Scenario(  # the push that found out how a registry is reached took a refused connection for final
        images=((), ()), faults=(Restart("PUT /v2/*/manifests/*"),), secure=False, attempts=5
    )
)
@example(
    scenario=Scenario(  # the blob was there all the time, and the session that was refused was left open
        images=((), ()),
        faults=(Refuse("PUT /v2/*/blobs/uploads/*", times=2, status=408),),
        old=(),
        attempts=5,
        dialect="minimal",
    )
)
def test_push_survives_fewer_faults_than_it_has_attempts(shard: int, scenario: Scenario) -> None:
    assert not run(scenario).failures


@shards
@schedules(0.15)
@given(scenario=RESUMING_SCENARIOS)
@example(
    scenario=Scenario(  # one byte of a slice arrived that was not seen to go out
        images=(((0, 1179649), (0, 0)),),
        faults=(Cut("P[UA]T* /v2/*/blobs/uploads/*", 1), Cut("P[UA]T* /v2/*/blobs/uploads/*", 5, after=1)),
        attempts=5,
        chunk_size=MIB,
        dialect="distribution-3",
    )
)
def test_push_sends_little_twice_to_a_registry_that_keeps_what_arrived(shard: int, scenario: Scenario) -> None:
    outcome = run(scenario)
    cuts = len(outcome.registry.fired)
    assert outcome.sent <= outcome.size + cuts * SENT_TWICE
    assert outcome.received <= outcome.size + cuts * SENT_TWICE
