"""What each status means for each kind of request: all of them, against the table written out here."""

from __future__ import annotations

import pytest

from ocipush._registry.statuses import Kind, Meaning, is_temporary, meaning_of

ALL = range(100, 600)
TEMPORARY = {408, 425, 429, 499} | (set(range(500, 600)) - {501, 505})
YES, NO, UNCLEAR, RETRY, ASK, REFUSED = (
    Meaning.YES,
    Meaning.NO,
    Meaning.UNCLEAR,
    Meaning.RETRY,
    Meaning.ASK,
    Meaning.REFUSED,
)
CARRIED_OUT = set(range(400, 500)) - {401, 407, 408, 411, 413, 414, 416, 425, 429, 499}
# Per kind: what means yes, what means no, what a temporary status means, what is asked about, and what all others mean.
TABLE = {
    Kind.LOGIN: ({200}, set[int](), RETRY, set[int](), REFUSED),
    Kind.TOKEN: ({200}, set[int](), RETRY, set[int](), REFUSED),
    Kind.TAG: ({200}, {400, 403, 404, 405, 501}, RETRY, set[int](), REFUSED),
    Kind.FETCH: ({200}, set[int](), RETRY, set[int](), NO),
    Kind.MANIFEST: ({200, 201, 202, 204}, set[int](), RETRY, CARRIED_OUT, REFUSED),
    Kind.PROBE: ({200, 302, 303, 307}, {404}, RETRY, set[int](), UNCLEAR),
    Kind.OPEN: ({202}, set[int](), RETRY, set[int](), REFUSED),
    Kind.MOUNT: ({201, 202}, {400, 401, 403, 404, 405}, RETRY, set[int](), REFUSED),
    Kind.SESSION: ({200, 202, 204}, set[int](), RETRY, set[int](), NO),
    Kind.CHUNK: ({200, 201, 202, 204}, set[int](), ASK, set[int](), REFUSED),
    Kind.COMMIT: ({200, 201, 202, 204}, set[int](), ASK, CARRIED_OUT, REFUSED),
}


@pytest.mark.parametrize("kind", Kind)
def test_every_status_means_what_the_table_says(kind: Kind) -> None:
    yes, no, temporary, asked, others = TABLE[kind]

    def wanted(status: int) -> Meaning:
        if status in yes:
            return YES
        if status in no:
            return NO
        if status in TEMPORARY:
            return temporary
        return ASK if status in asked else others

    assert {status: meaning_of(kind, status) for status in ALL} == {status: wanted(status) for status in ALL}


def test_every_5xx_but_two_and_four_4xx_are_temporary() -> None:
    assert {status for status in ALL if is_temporary(status)} == TEMPORARY
