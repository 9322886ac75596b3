"""Figures of one contender beside another's: pair by pair, never average by average. Pure."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Spread:
    """The least, the middle and the greatest of some figures."""

    least: float
    median: float
    greatest: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        """Sum up at least one figure."""
        return cls(min(figures), statistics.median(figures), max(figures))


def pair_by_pair(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Divide each of our figures by theirs from the same round: what slowed one then slowed the other too.

    A contender that failed on the way has fewer figures; the rounds that both ran are compared.
    """
    return [our / their for our, their in zip(ours, theirs, strict=False)]
