from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocipush._registry.limits import MIB, Limits, parse_chunk_length, parse_size_limit
from ocipush._registry.session import Session, Step, parse_range


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("0-699999", 700_000),
        ("bytes=0-9", 10),
        ("bytes 0-9", 10),
        ("bytes=0--1", 0),
        ("0-0", 0),
        ("5-9", None),
        ("0-", None),
        ("", None),
        (None, None),
        ("0-99999999999999999999", None),
    ],
)
def test_range_gives_the_number_of_stored_bytes(value: str | None, stored: int | None) -> None:
    assert parse_range(value) == stored


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        ("chunk size exceeds the maximum permissible limit of 4.00MiB", 4 * MIB),
        ("limit: 1000000 bytes", 1_000_000),
        ("limit: 1 byte", None),
        ("limit: 1000 bytes", None),
        ("max body size 10 MB", 10_000_000),
        ("Request Entity Too Large", None),
        ("limit of 0 B", None),
    ],
)
def test_size_limit_is_read_from_the_text_of_a_refusal(words: str, limit: int | None) -> None:
    assert parse_size_limit(words) == limit


@pytest.mark.parametrize(("value", "length"), [("1024", 1024), (" 7 ", 7), ("-1", None), ("x", None), (None, None)])
def test_chunk_length_is_a_number_of_bytes(value: str | None, length: int | None) -> None:
    assert parse_chunk_length(value) == length


def steps(session: Session, limits: Limits, **options: int | bool | None) -> list[tuple[str, int, int, str | None]]:
    made: list[tuple[str, int, int, str | None]] = []
    while True:
        step: Step = session.next_step(limits, **options)  # type: ignore[arg-type]
        made.append((step.method, step.start, step.end, step.content_range))
        if step.final:
            return made
        session.stored(step.end, None)


def test_blob_is_sent_whole_in_the_closing_put() -> None:
    assert steps(Session("/u", 10), Limits()) == [("PUT", 0, 10, None)]
    assert steps(Session("/u", 0), Limits(patch_only=True)) == [("PUT", 0, 0, None)]


def test_last_chunk_is_sent_in_the_closing_put() -> None:
    made = [("PATCH", 0, 4, "0-3"), ("PATCH", 4, 8, "4-7"), ("PUT", 8, 10, "8-9")]
    assert steps(Session("/u", 10), Limits(), chunk_size=4) == made


def test_harbor_gets_an_empty_closing_put_after_a_patch() -> None:
    made = [("PATCH", 0, 6, "0-5"), ("PATCH", 6, 10, "6-9"), ("PUT", 10, 10, None)]
    assert steps(Session("/u", 10), Limits(), chunk_size=6, closes_empty=True) == made
    assert steps(Session("/u", 10), Limits(), closes_empty=True) == [("PUT", 0, 10, None)]


def test_registry_without_put_bodies_gets_one_patch_and_an_empty_put() -> None:
    made = [("PATCH", 0, 10, None), ("PUT", 10, 10, None)]
    assert steps(Session("/u", 10), Limits(patch_only=True)) == made
    assert steps(Session("/u", 10), Limits(), patch_first=True) == made


def test_chunks_are_as_large_as_the_registry_asks_and_no_larger() -> None:
    assert steps(Session("/u", 10, least=6), Limits(), chunk_size=2)[0][2] == 6
    assert steps(Session("/u", 10, most=3), Limits(), chunk_size=5)[0][2] == 3
    assert steps(Session("/u", 10), Limits(whole=7, ranged=5))[0][2] == 5


def test_limit_of_ranged_bodies_does_not_apply_to_whole_ones() -> None:
    limits = Limits()
    assert limits.refused(100, ranged=True, said=10)
    assert steps(Session("/u", 50), limits) == [("PUT", 0, 50, None)]
    resumed = Session("/u", 30, acknowledged=5)
    assert steps(resumed, limits)[0] == ("PATCH", 5, 15, "5-14")


def test_limit_shrinks_until_no_smaller_one_is_left() -> None:
    limits, size, tried = Limits(), 1000 * MIB, []
    while limits.refused(size, ranged=False, said=None):
        assert limits.whole is not None
        size = limits.whole
        tried.append(size)
    assert tried == [64 * MIB, 16 * MIB, 8 * MIB, 4 * MIB, MIB, MIB // 2, MIB // 4, MIB // 16]


def test_session_resumes_after_the_stored_bytes() -> None:
    session = Session("/u", 100)
    session.reach = 70
    assert session.resume(50, "/v")
    assert (session.offset, session.location) == (50, "/v")
    assert session.next_step(Limits()).content_range == "50-99"


@pytest.mark.parametrize("stored", [None, 0, 10, 72])
def test_session_with_a_contradictory_offset_is_not_resumed(stored: int | None) -> None:
    session = Session("/u", 100, acknowledged=20, sent=70)
    assert not session.resume(stored)


def test_offset_of_one_byte_too_many_is_detected() -> None:
    session = Session("/u", 100)
    session.reach = 70
    assert session.resume(71)
    assert session.offset == 70
    assert session.resume(51)
    assert session.offset == 51
    session.out_of_range()
    assert session.resume(51)
    assert session.offset == 50
    session.out_of_range()
    assert not session.resume(51)


@given(st.integers(1, 400), st.integers(0, 90), st.integers(0, 60), st.booleans(), st.booleans())
def test_steps_cover_the_blob_once_and_in_order(size: int, chunk: int, least: int, patch: bool, empty: bool) -> None:
    made = steps(
        Session("/u", size, least=least), Limits(), chunk_size=chunk or None, patch_first=patch, closes_empty=empty
    )
    assert [start for _, start, _, _ in made] == [0, *(end for _, _, end, _ in made[:-1])]
    assert made[-1][2] == size
    assert [method for method, *_ in made[:-1]] == ["PATCH"] * (len(made) - 1)


@given(st.text(max_size=60))
def test_any_text_is_read_or_ignored(text: str) -> None:
    assert (parse_range(text) or 0) >= 0
    assert (parse_size_limit(text) or 1) >= 1
    assert (parse_chunk_length(text) or 0) >= 0


def test_blob_is_sent_whole_when_chunks_are_not_accepted() -> None:
    limits = Limits(ranged=2, unchunked=True)
    assert steps(Session("/u", 10, least=5), limits, chunk_size=3) == [("PUT", 0, 10, None)]


def test_given_chunk_size_is_limited_by_the_limit_of_ranged_bodies() -> None:
    limits = Limits(ranged=4)
    chunks = [("PATCH", 0, 4, "0-3"), ("PATCH", 4, 8, "4-7"), ("PUT", 8, 10, "8-9")]
    assert steps(Session("/u", 10), limits, chunk_size=8) == chunks
    assert steps(Session("/u", 8), limits, chunk_size=8) == [("PUT", 0, 8, None)]  # no chunk, and so no limit
