"""What the failures of a blob teach, as a table: failure and step, what to do, and how the blob is sent after it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from ocipush import errors
from ocipush._registry.lessons import Lessons, Remedy, Sent, may_be_stored
from ocipush._registry.limits import LADDER, MIB, Limits
from ocipush._registry.session import Event, Session, Step
from ocipush._registry.statuses import Kind

WHOLE = Sent(Step("PUT", 0, 100 * MIB, final=True, ranged=False))
CHUNK = Sent(Step("PATCH", 0, 16 * MIB, final=False, ranged=True))
LAST = Sent(Step("PUT", 16 * MIB, 20 * MIB, final=True, ranged=True))
BROKEN, LOST, DAMAGED = Remedy(Event.BROKEN), Remedy(Event.LOST), Remedy(Event.REFUSED, restart=True)
AT_ONCE = Remedy(Event.REFUSED, at_once=True)


def answer(status: int, *codes: str, cls: type[errors.RegistryError] = errors.RegistryError, **facts: Any) -> Any:
    return cls("no", status=status, codes=codes, **facts)


@pytest.mark.parametrize(
    ("failure", "sent", "remedy"),
    [
        pytest.param(errors.ConnectionLostError("cut"), WHOLE, BROKEN, id="connection lost"),
        pytest.param(errors.StalledError("slow"), CHUNK, BROKEN, id="stalled"),
        pytest.param(errors.ConnectFailedError("refused"), WHOLE, BROKEN, id="refused connection"),
        pytest.param(errors.ConnectFailedError("no name", temporary=False), WHOLE, None, id="unknown name"),
        pytest.param(errors.TLSVerificationError("expired"), WHOLE, None, id="certificate"),
        pytest.param(errors.UnsafeLocationError("metadata"), WHOLE, None, id="unsafe Location"),
        pytest.param(errors.ConnectionLostError("cut"), None, None, id="request that was repeated already"),
        *(
            pytest.param(answer(status), WHOLE, BROKEN, id=f"{status}")
            for status in (408, 425, 499, 500, 502, 503, 504, 507, 520, 524, 599)
        ),
        *(pytest.param(answer(status), WHOLE, None, id=f"{status}") for status in (400, 402, 404, 409, 501, 505)),
        pytest.param(answer(503, retry_after=7.0), WHOLE, Remedy(Event.BROKEN, 7.0), id="503 with a wait"),
        pytest.param(answer(429, cls=errors.RateLimitedError), CHUNK, BROKEN, id="rate limit"),
        pytest.param(answer(403, cls=errors.RateLimitedError), CHUNK, BROKEN, id="rate limit of GHCR"),
        pytest.param(answer(404, cls=errors.UploadInvalidatedError), WHOLE, LOST, id="unknown session"),
        pytest.param(answer(416, cls=errors.UploadInvalidatedError), LAST, LOST, id="other offset"),
        pytest.param(answer(400, cls=errors.UploadInvalidatedError), None, LOST, id="session that cannot be opened"),
        pytest.param(answer(413, cls=errors.BlobTooLargeError), WHOLE, AT_ONCE, id="too large"),
        pytest.param(answer(413, cls=errors.BlobTooLargeError), None, None, id="too large without a body"),
        pytest.param(answer(405), CHUNK, AT_ONCE, id="no PATCH"),
        pytest.param(answer(501), CHUNK, AT_ONCE, id="PATCH not implemented"),
        pytest.param(answer(405), WHOLE, None, id="no PUT"),
        pytest.param(answer(400, "BLOB_UNKNOWN"), WHOLE, AT_ONCE, id="PUT with a body is not understood"),
        pytest.param(answer(400, "DIGEST_INVALID"), WHOLE, DAMAGED, id="damaged"),
        pytest.param(answer(401, cls=errors.AuthenticationError), WHOLE, None, id="refused login"),
        pytest.param(
            answer(401, cls=errors.AuthenticationError, renewable=True),
            WHOLE,
            Remedy(Event.BROKEN, 0.0),
            id="token that has ended",
        ),
        pytest.param(answer(403, cls=errors.AuthorizationError), WHOLE, None, id="forbidden"),
    ],
)
def test_failure_has_the_remedy_of_the_table(failure: Any, sent: Sent | None, remedy: Remedy | None) -> None:
    assert Lessons(Limits(), None).learn(failure, sent) == remedy


def test_bodies_that_are_too_large_shrink_step_by_step_until_the_blob_fails() -> None:
    limits = Limits()
    lessons, sizes = Lessons(limits, None), list[int]()
    session, sent = Session("https://r.example/u", 100 * MIB), WHOLE
    while lessons.learn(answer(413, cls=errors.BlobTooLargeError), sent):
        step = session.next_step(limits, chunk_size=lessons.chunk_size)
        sent = Sent(step)
        sizes.append(step.end - step.start)
        assert len(sizes) <= len(LADDER)
    assert sizes == list(LADDER)


def page(status: int) -> Any:
    return answer(status, answered_by="web page")


@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
def test_large_body_refused_by_a_web_page_is_followed_by_smaller_ones_for_this_blob(status: int) -> None:
    limits = Limits()
    lessons, sizes = Lessons(limits, None), list[int | None]()
    for _ in range(3):
        lessons.learn(page(status), WHOLE)
        sizes.append(lessons.chunk_size)
    assert sizes[-1] == 64 * MIB
    assert sizes[0] == (None if status >= 500 else 64 * MIB)  # a temporary status is believed once
    assert limits.whole is None
    lessons.arrived(CHUNK)
    assert limits.whole == 64 * MIB


def test_smallest_body_refused_by_a_web_page_is_final() -> None:
    lessons = Lessons(Limits(), None)
    small = Sent(Step("PUT", 0, LADDER[-1], final=True, ranged=False))
    assert lessons.learn(page(403), small) is None


def test_web_page_that_refuses_every_size_ends_the_upload() -> None:
    limits = Limits()
    lessons, session, sent = Lessons(limits, None), Session("https://r.example/u", 100 * MIB), WHOLE
    attempts = 0
    while lessons.learn(page(403), sent):
        attempts += 1
        sent = Sent(session.next_step(limits, chunk_size=lessons.chunk_size))
    assert attempts == len(LADDER)


def test_registry_without_place_is_tried_twice() -> None:
    lessons = Lessons(Limits(), None)
    full = answer(500, detail="UNKNOWN: unknown error: write /var/lib/registry/x: no space left on device")
    assert lessons.learn(full, WHOLE) == BROKEN
    assert lessons.learn(full, WHOLE) is None


def test_same_size_refused_again_is_final() -> None:
    lessons = Lessons(Limits(), None)
    too_large = answer(413, cls=errors.BlobTooLargeError, limit=30 * MIB)
    assert lessons.learn(too_large, WHOLE) == AT_ONCE
    assert lessons.learn(too_large, WHOLE) is None


def test_lost_sessions_lead_to_smaller_and_smaller_chunks_unless_a_size_was_given() -> None:
    lessons, asked = Lessons(Limits(), None), Lessons(Limits(), MIB)
    sizes = [lessons.chunk_size]
    for _ in range(12):
        lessons.session_lost()
        asked.session_lost()
        sizes.append(lessons.chunk_size)
    assert sizes == [None, None, *LADDER[1:], *[LADDER[-1]] * 4]
    assert asked.chunk_size == MIB


def cut(seconds: float, rate: float, step: Step = WHOLE.step) -> Sent:
    return Sent(step, int(rate * seconds), seconds)


def test_two_cuts_at_the_same_age_lead_to_chunks_that_take_a_third_of_it_for_every_blob() -> None:
    limits = Limits()
    lessons, other = Lessons(limits, None), Lessons(limits, None)
    assert lessons.learn(errors.ConnectionLostError("cut"), cut(60.0, MIB)) == BROKEN
    assert lessons.chunk_size is None
    assert lessons.learn(answer(504), cut(60.5, MIB)) == BROKEN
    assert lessons.chunk_size == pytest.approx(20 * MIB, rel=0.001)
    other.learn(errors.ConnectionLostError("cut"), cut(60.2, MIB / 4))
    assert other.chunk_size == pytest.approx(5 * MIB, rel=0.001)


def test_chunks_shrink_while_they_are_cut_and_then_follow_the_measured_rate() -> None:
    lessons = Lessons(Limits(), None)
    for _ in range(2):
        lessons.learn(errors.ConnectionLostError("cut"), cut(2.0, 30 * MIB))  # most of it is in a proxy's buffer
    sizes = [lessons.chunk_size or 0]
    for _ in range(3):
        chunk = Step("PATCH", 0, sizes[-1], final=False, ranged=True)
        lessons.learn(errors.ConnectionLostError("cut"), Sent(chunk, sizes[-1], 2.0))
        sizes.append(lessons.chunk_size or 0)
    assert all(after <= before / 2 for before, after in pairwise(sizes))
    lessons.arrived(Sent(Step("PATCH", 0, MIB, final=False, ranged=True), MIB, 1.0))
    assert lessons.chunk_size == pytest.approx(2 * MIB / 3, rel=0.01)


@pytest.mark.parametrize("ages", [(10.0, 20.0, 40.0), (0.1, 0.1, 0.1), (5.0,)])
def test_cuts_at_different_ages_or_immediately_are_not_a_time_limit(ages: tuple[float, ...]) -> None:
    limits = Limits()
    for age in ages:
        Lessons(limits, None).learn(errors.ConnectionLostError("cut"), cut(age, MIB))
    assert limits.time.seconds is None


def test_location_that_grows_too_long_leads_to_a_new_session_and_larger_chunks() -> None:
    lessons = Lessons(Limits(), MIB)
    assert lessons.learn(answer(414), CHUNK) == Remedy(Event.LOST, at_once=True, restart=True)
    assert lessons.chunk_size == 4 * MIB
    assert lessons.learn(answer(414), WHOLE) is None


@pytest.mark.parametrize(
    ("status", "codes", "asked"),
    [
        *((status, (), True) for status in (400, 403, 404, 405, 409, 412, 418, 422, 451)),
        *((status, (), False) for status in (401, 407, 411, 413, 414, 416, 501, 505, 302)),
        *(
            (400, (code,), False)
            for code in ("BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN", "SIZE_INVALID", "DIGEST_INVALID")
        ),
        (400, ("BLOB_UPLOAD_INVALID",), True),
    ],
)
@pytest.mark.parametrize("kind", [Kind.COMMIT, Kind.MANIFEST])
def test_refusal_that_can_follow_a_lost_answer_is_checked(
    kind: Kind, status: int, codes: tuple[str, ...], asked: bool
) -> None:
    assert may_be_stored(answer(status, *codes), kind) == asked


def test_second_unknown_session_leads_to_patch_first_which_is_remembered_when_it_works() -> None:
    limits = Limits()
    lessons = Lessons(limits, None)
    unknown = answer(404, cls=errors.UploadInvalidatedError)
    lessons.learn(unknown, WHOLE)
    assert not lessons.patch_first
    lessons.arrived(WHOLE)
    assert not limits.patch_only
    lessons.learn(unknown, WHOLE)
    assert lessons.patch_first
    assert not limits.patch_only
    lessons.arrived(WHOLE)
    assert limits.patch_only


def test_unknown_session_in_the_middle_of_a_blob_does_not_lead_to_patch_first() -> None:
    lessons = Lessons(Limits(), None)
    for _ in range(3):
        lessons.learn(answer(404, cls=errors.UploadInvalidatedError), LAST)
    assert not lessons.patch_first


def test_form_of_the_upload_is_changed_once_per_blob() -> None:
    limits = Limits()
    lessons = Lessons(limits, None)
    assert lessons.learn(answer(405), CHUNK) == AT_ONCE
    assert limits.unchunked
    assert lessons.learn(answer(405), CHUNK) is None


@pytest.mark.parametrize(("step", "unchunked"), [(LAST, True), (WHOLE, False)])
def test_blob_garbled_twice_in_several_bodies_is_sent_in_one(step: Sent, unchunked: bool) -> None:
    limits = Limits()
    lessons = Lessons(limits, None)
    for _ in range(2):
        assert not limits.unchunked
        assert lessons.learn(answer(400, "DIGEST_INVALID"), step) == DAMAGED
    assert limits.unchunked == unchunked


def test_garbled_blob_that_is_too_large_for_one_body_stays_in_chunks() -> None:
    limits = Limits(whole=MIB)
    lessons = Lessons(limits, None)
    for _ in range(3):
        lessons.learn(answer(400, "DIGEST_INVALID"), LAST)
    assert not limits.unchunked


def test_second_refused_token_without_progress_is_final() -> None:
    lessons = Lessons(Limits(), None)
    ended = answer(401, cls=errors.AuthenticationError, renewable=True)
    assert lessons.learn(ended, WHOLE)
    assert lessons.learn(ended, WHOLE) is None
    lessons.progressed()
    assert lessons.learn(ended, WHOLE)
