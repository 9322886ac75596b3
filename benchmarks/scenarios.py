"""The scenarios: what is pushed, over what line, and what the registry holds before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from .layouts import Image, Writer

if TYPE_CHECKING:
    from pathlib import Path

KIB: Final = 1024
MIB: Final = 1024 * KIB
# From 300 B to 30 MB, each about 2.85 times the one before: what layers of a real image look like.
MIXED: Final = tuple(round(300 * 100_000 ** (step / 11)) for step in range(12))


@dataclass(frozen=True, slots=True)
class Scenario:
    """One piece of work that every contender does.

    Attributes:
        name: for the command line.
        title: for people.
        layers: bytes of each layer.
        connections: how many the floor client opens.
        tls: whether the registry speaks TLS.
        round_trip: seconds to the registry and back; 0: loopback as it is.
        rate: bytes a second in each direction; None: as fast as it goes.
        before: what the tag names before: nothing, the same image, or one of which a layer differs.
        images: how many images are pushed, each to a repository of its own.
        own: how many layers, from the last, are an image's own; the others all images share.
    """

    name: str
    title: str
    layers: tuple[int, ...]
    connections: int
    tls: bool = False
    round_trip: float = 0.0
    rate: float | None = None
    before: Literal["nothing", "same", "one layer differs"] = "nothing"
    images: int = 1
    own: int = 0

    def quick(self) -> Scenario:
        """The same in small: at most 12 layers of 1 MiB, 2 images, 10 ms away."""
        layers = tuple(min(size, MIB) for size in self.layers[-12:])
        trip = min(self.round_trip, 0.010)
        return replace(self, title=f"{self.title} (quick)", layers=layers, round_trip=trip, images=min(self.images, 2))


SCENARIOS: Final = (
    Scenario("big", "10 × 100 MiB, HTTP", (100 * MIB,) * 10, connections=4),
    Scenario("big-tls", "10 × 100 MiB, TLS", (100 * MIB,) * 10, connections=4, tls=True),
    Scenario("huge", "1 × 1000 MiB, HTTP", (1000 * MIB,), connections=1),
    Scenario("small", "200 × 64 KiB, HTTP", (64 * KIB,) * 200, connections=8),
    Scenario("small-tls", "200 × 64 KiB, TLS", (64 * KIB,) * 200, connections=8, tls=True),
    Scenario("small-far", "200 × 64 KiB, 40 ms away", (64 * KIB,) * 200, connections=64, round_trip=0.040),
    Scenario("mixed-far", "12 layers, 300 B – 30 MB, 40 ms away", MIXED, connections=12, round_trip=0.040),
    Scenario("unchanged", "12 layers, unchanged, 40 ms away", MIXED, 12, round_trip=0.040, before="same"),
    Scenario(
        "changed",
        "1 of 100 layers changed, 40 ms away",
        (64 * KIB,) * 100,
        connections=2,
        round_trip=0.040,
        before="one layer differs",
    ),
    Scenario("shared", "100 images sharing 8 of 9 layers, HTTP", (MIB,) * 8 + (64 * KIB,), 8, images=100, own=1),
)


@dataclass(frozen=True, slots=True)
class Work:
    """A scenario's images on disk.

    Attributes:
        store: the directory that holds the layouts.
        before: what the registry holds before the run.
        images: what is pushed.
    """

    store: Path
    before: tuple[Image, ...]
    images: tuple[Image, ...]


def write_work(scenario: Scenario, store: Path) -> Work:
    """Write the layouts of a scenario to ``store``."""
    writer = Writer(store)
    first_own = len(scenario.layers) - scenario.own

    def write(name: str, repository: str, changed: int | None = None) -> Image:
        layers = [
            (f"{index} of {name}" if index >= first_own or index == changed else f"{index}", size)
            for index, size in enumerate(scenario.layers)
        ]
        return writer.write(name, layers, repository=repository)

    images = tuple(write(f"image-{number}", f"bench/image-{number}") for number in range(scenario.images))
    if scenario.before == "same":
        return Work(store, images, images)
    if scenario.before == "one layer differs":
        return Work(store, (write("before", "bench/image-0", changed=len(scenario.layers) // 2),), images)
    return Work(store, (), images)
