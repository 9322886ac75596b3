from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocipush._retry import RetryPolicy, parse_retry_after


def test_wait_doubles_up_to_the_cap_and_the_last_attempt_has_none() -> None:
    policy = RetryPolicy(attempts=4, base=1, cap=3)
    assert [policy.delay(attempt, jitter=1.0) for attempt in (1, 2, 3, 4)] == [1, 2, 3, None]


def test_jitter_never_waits_longer_than_the_full_step() -> None:
    waited = RetryPolicy(base=2).delay(1)
    assert waited is not None
    assert 0 <= waited <= 2


def test_registry_that_says_when_to_come_back_is_believed_up_to_the_cap() -> None:
    policy = RetryPolicy(cap=10)
    assert policy.delay(1, retry_after=7) == 7
    assert policy.delay(1, retry_after=1000) == 10


@pytest.mark.parametrize("options", [{"attempts": 0}, {"base": -1}, {"cap": -1}])
def test_impossible_policy_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="attempts must be at least 1"):
        RetryPolicy(**options)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        (" 7 ", 7.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now=10.0) == seconds


@given(st.text(max_size=40))
def test_any_retry_after_is_read_or_ignored(value: str) -> None:
    seconds = parse_retry_after(value, now=0.0)
    assert seconds is None or seconds >= 0
