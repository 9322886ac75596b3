from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocipush._http.answer import parse_retry_after
from ocipush._registry.retry import RetryPolicy


def test_wait_doubles_up_to_the_cap_and_the_last_attempt_has_none() -> None:
    policy = RetryPolicy(attempts=4, base=1, cap=3)
    assert [policy.delay(attempt, chance=1.0) for attempt in (1, 2, 3, 4)] == [1, 2, 3, None]


def test_jitter_never_waits_longer_than_the_full_step() -> None:
    waited = RetryPolicy(base=2).delay(1)
    assert waited is not None
    assert 0 <= waited <= 2


def test_wait_given_by_the_registry_is_used_up_to_the_cap() -> None:
    policy = RetryPolicy(cap=10)
    assert policy.delay(1, retry_after=7) == 7
    assert policy.delay(1, retry_after=1000) == 10


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"attempts": 0}, "attempts must be at least 1"),
        ({"base": -1}, "base must be at least 0"),
        ({"cap": -1}, "cap must be at least 0"),
        ({"jitter": 2}, "jitter must be from 0 to 1"),
        ({"deadline": 0}, "deadline must be more than 0"),
    ],
)
def test_impossible_policy_is_refused(options: dict[str, int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        RetryPolicy(**options)


def test_wait_without_jitter_is_the_full_step() -> None:
    assert RetryPolicy(base=4, jitter=0).delay(1, chance=0.0) == 4
    assert RetryPolicy(base=4, jitter=0.5).delay(1, chance=0.0) == 2


@pytest.mark.parametrize(
    ("value", "date", "words", "seconds"),
    [
        (None, None, "", None),
        ("", None, "", None),
        ("soon", None, "", None),
        (" 7 ", None, "", 7.0),
        ("1.5", None, "", 1.5),
        ("Thu, 01 Jan 1970 00:01:40 GMT", None, "", 90.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None, "", 0.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", "Thu, 01 Jan 1970 00:01:30 GMT", "", 10.0),
        (None, None, "TOOMANYREQUESTS: retry-after: 10.3ms, allowed: 2000/minute", 0.0103),
        (None, None, "Retry after 2m", 120.0),
        ("3", None, "retry-after: 10ms", 3.0),
    ],
)
def test_wait_is_read_from_four_notations(
    value: str | None, date: str | None, words: str, seconds: float | None
) -> None:
    assert parse_retry_after(value, date=date, words=words, now=10.0) == pytest.approx(seconds)


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_any_retry_after_is_read_or_ignored(value: str, date: str, words: str) -> None:
    seconds = parse_retry_after(value, date=date, words=words, now=0.0)
    assert seconds is None or seconds >= 0
