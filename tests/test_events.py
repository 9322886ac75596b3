"""The result of a push."""

from __future__ import annotations

import pytest

import ocipush

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("host:5000/a/b:1", f"host:5000/a/b@{DIGEST}"),
        (f"host:5000/a/b@{DIGEST}", f"host:5000/a/b@{DIGEST}"),
    ],
)
def test_result_has_the_immutable_name(reference: str, expected: str) -> None:
    result = ocipush.PushResult(reference, DIGEST, "", 0, (), True, 1, 0, 0.0)
    assert result.name_with_digest == expected
