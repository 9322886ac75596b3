"""What is known of repositories: found by digest, and bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocipush._registry import known_blobs
from ocipush._registry.known_blobs import KnownBlobs

if TYPE_CHECKING:
    import pytest


def test_repositories_are_found_by_the_digest_that_they_hold() -> None:
    known = KnownBlobs()
    known.add("a", ["x", "y"])
    known.add("b", ["x"])
    assert list(known.holders("x")) == ["a", "b"]
    assert known.of("a") == {"x", "y"}
    known.discard("a", "x")
    known.discard("a", "x")
    known.discard("c", "x")
    assert list(known.holders("x")) == ["b"]
    assert (known.holds("a", "x"), known.holds("b", "x"), known.holds("c", "x")) == (False, True, False)


def test_what_was_not_used_for_long_is_forgotten_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_blobs, "MAX_REPOSITORIES", 3)
    monkeypatch.setattr(known_blobs, "MAX_BLOBS", 2)
    known = KnownBlobs()
    for name in "abc":
        known.add(name, ["x", f"{name}1"])
    assert known.holds("a", "x")
    known.add("a", ["a2"])
    assert known.of("a") == {"x", "a2"}
    assert list(known.holders("a1")) == []
    known.add("d", ["x"])
    assert known.of("b") == set()
    assert set(known.holders("x")) == {"a", "c", "d"}
    assert set(known._holders) == {"x", "a2", "c1"}
