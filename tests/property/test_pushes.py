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
from tests.property.scenario import HARMLESS, Layer, Scenario, run

from ocipush.testing import (
    DIALECTS,
    IMMUTABLE_TAGS,
    Cut,
    Drip,
    Duplicate,
    EarlyAnswer,
    ExpireTokens,
    Fault,
    GatewayTimeout,
    RateLimit,
    Refuse,
    Restart,
    Stall,
    WebPage,
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
EDGE_STATUSES = st.sampled_from([499, 504, 520, 522, 524])
# What differs from a named dialect, some fields at a time.
REDIRECTS = st.fixed_dictionaries(
    {"blob_redirect": st.sampled_from([302, 303, 307]), "blob_storage": st.sampled_from(["port", "path"])}
)
NAMED = st.fixed_dictionaries({"missing_named": st.sampled_from(["all", "first", "message", "none"])})
TAGS = st.fixed_dictionaries({"immutable_tags": st.sampled_from(sorted(IMMUTABLE_TAGS))})
UNSEEN = st.fixed_dictionaries({"unseen_lookups": st.integers(1, 3)}) | st.fixed_dictionaries(
    {"unseen_seconds": st.floats(0.01, 1)}
)
BODY_LIMITS = st.fixed_dictionaries(
    {
        "max_body": st.integers(64, 300).map(lambda kib: kib * KIB),
        "max_body_status": st.sampled_from([400, 403, 404, 413, 500, 503]),
    }
)
TIME_LIMITS = st.fixed_dictionaries(
    {
        "time_limit": st.sampled_from([2.0, 10.0, 60.0]),
        "time_limit_of": st.sampled_from(["all", "bodies"]),
        "time_limit_status": st.sampled_from([0, 0, 408, 504]),
        "time_limit_end": ENDINGS,
        "line_rate": st.sampled_from([0, 50_000, 200_000]),
    }
)


def fields(*groups: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[tuple[tuple[str, Any], ...]]:
    """Fields of a dialect, of at most two groups."""

    def merge(found: list[dict[str, Any]]) -> tuple[tuple[str, Any], ...]:
        return tuple(sorted({name: value for one in found for name, value in one.items()}.items()))

    return st.just(()) | st.lists(st.one_of(*groups), max_size=2).map(merge)


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
    hits(Refuse, status=st.sampled_from([400, 401, 403, 404, 408, 409, 413, 416, 425, 429, 500, 502, 503, 504, 507])),
    hits(WebPage, status=st.sampled_from([400, 403, 404, 500, 503])),
    hits(GatewayTimeout, status=EDGE_STATUSES, wait=st.sampled_from([0.0, 30.0, 100.0])),
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
    also=fields(REDIRECTS, NAMED, TAGS, UNSEEN, BODY_LIMITS, TIME_LIMITS),
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
    hits(Refuse, status=st.sampled_from([408, 425, 429, 499, 500, 502, 503, 504, 520, 522, 524])),
    hits(WebPage, status=st.sampled_from([500, 503])),
    hits(GatewayTimeout, status=EDGE_STATUSES, wait=st.sampled_from([0.0, 30.0, 100.0])),
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
    also=fields(REDIRECTS, NAMED, TAGS, UNSEEN),
    seed=st.integers(0, 1000),
).filter(lambda one: one.old is None or "immutable_tags" not in dict(one.also))
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


@st.composite
def timed_scenarios(draw: st.DrawFn) -> Scenario:
    """Layers over a slow line, behind a proxy that cuts every request long before they are through."""
    secure, limit = draw(st.booleans()), draw(st.sampled_from([2.0, 10.0, 60.0]))
    layers = draw(st.sampled_from([1, 2] if secure else [1, 1, 2, 4]))
    # Bytes that get through within the limit: over TLS, a few of the slices that are encrypted at a time.
    in_time = layers * draw(st.integers(640, 768) if secure else st.integers(128, 256)) * KIB
    size = round(in_time * draw(st.floats(2, 6 if secure else 10)) / layers)  # of each layer
    proxy = draw(TIME_LIMITS) | {"time_limit": limit, "line_rate": round(in_time / limit)}
    kept = draw(st.sampled_from([{}, {"cut": "acknowledged"}, {"cut": "dropped"}]))
    return Scenario(
        images=(tuple((number, size + number) for number in range(layers)),),
        attempts=5,
        secure=secure,
        dialect=draw(st.sampled_from(["spec", "distribution-2.8", "distribution-3"])),
        also=tuple(sorted((proxy | kept).items())),
        seed=draw(st.integers(0, 1000)),
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
@schedules(0.47)
@given(scenario=SCENARIOS)
@example(
    scenario=Scenario(  # a proxy's page refused the blob for its size, and the registry takes no chunks: it came for ever
        images=(((0, 128 * KIB),),), dialect="gar", also=(("max_body", 64 * KIB), ("max_body_status", 400))
    )
)
def test_push_succeeds_or_ends_in_one_typed_error_with_the_tag_unchanged(shard: int, scenario: Scenario) -> None:
    outcome = run(scenario)
    undisturbed = not outcome.registry.fired and dict(scenario.also).keys() <= HARMLESS
    if undisturbed and scenario.chunk_size is None and scenario.attempts > 2 and not scenario.deadline:
        assert not outcome.failures


@shards
@schedules(0.33)
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


@shards
@schedules(0.05)
@given(scenario=timed_scenarios())
def test_push_gets_through_a_limit_in_time_and_sends_little_twice(shard: int, scenario: Scenario) -> None:
    outcome, proxy = run(scenario), dict(scenario.also)
    assert not outcome.failures
    in_time = proxy["line_rate"] * proxy["time_limit"]
    keeps = scenario.dialect != "distribution-2.8" and "cut" not in proxy
    # Two cuts show the limit; where nothing of them is kept, what was sent until then is sent again.
    assert outcome.received <= outcome.size + (0.1 if keeps else 2.5) * in_time
