"""A registry that asks to wait is left alone by every worker, whatever it was that it refused; on virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from tests import layouts
from tests.virtual_push import World, run

import ocipush
from ocipush.testing import BearerAuth, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

WAIT = 30
WORKERS = 8
LOGIN = ocipush.Login("you", "correct horse battery")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Small blobs, for which a mount is tried, and large ones, which are asked for."""
    layers = [b"%d" % number for number in range(24)] + [b"%d" % number * 1024 * 1024 for number in range(4)]
    layouts.write_layout(tmp_path / "app", [layouts.add_manifest(tmp_path / "app", layers)])
    return tmp_path / "app"


class Refusing:
    """Answers each request after a time of its own, and refuses the third of a kind; notes when which request came."""

    def __init__(self, method: str, part: str, refusal: Response) -> None:
        self._method, self._part = method, part
        self._refusal = refusal
        self._left = 3
        self.arrived: list[float] = []
        self.refused_at = 0.0
        self.under_way = 0  # when one was refused
        self._waiting = 0

    async def __call__(self, request: Request) -> Response | None:
        self.arrived.append(trio.current_time())
        self._waiting += 1
        await trio.sleep(0.1 + len(self.arrived) / 1000)  # no two answers at the same moment
        self._waiting -= 1
        self._left -= request.method == self._method and self._part in request.path
        if self._left or self.refused_at:
            return None
        self.refused_at, self.under_way = trio.current_time(), self._waiting
        return self._refusal

    @property
    def within_the_wait(self) -> list[float]:
        """How many seconds after the refusal requests came, though none should come so soon."""
        since = (moment - self.refused_at for moment in self.arrived)
        return [seconds for seconds in since if 0 < seconds < WAIT]


def push(directory: Path, image: Path, refusing: Refusing) -> None:
    """Push with eight workers, through one refusal. A wait that nobody names is as long as one that is named.

    Tokens end after a second, so that some would be asked for in the wait too.
    """

    async def test(world: World) -> None:
        await world.push(
            image,
            credentials={world.registry.host: LOGIN},
            concurrency=WORKERS - 2,
            large_concurrency=2,
            retry=ocipush.RetryPolicy(base=WAIT, jitter=0),
        )
        assert world.registry.repository("app").tags
        assert refusing.under_way > 3

    auth = BearerAuth({LOGIN.username: LOGIN.password}, lifetime=1, clock=trio.current_time)
    run(test, directory, auth=auth, intercept=refusing)


NAMED = {"Retry-After": str(WAIT)}
BLOB, SESSION, BODY = ("HEAD", "/blobs/"), ("POST", "/uploads/"), ("PUT", "/uploads/")
WORDS = b'{"errors":[{"code":"DENIED","message":"You have exceeded a secondary rate limit"}]}'
REFUSALS = {
    "429 with a time": Response(429, NAMED),
    "429": Response(429),
    "403 with a time": Response(403, NAMED, WORDS),
    "403": Response(403, {}, WORDS),
}


@pytest.mark.parametrize(
    ("kind", "refusal"),
    [
        *((BLOB, name) for name in REFUSALS if name.startswith("429")),  # words take a body, which HEAD has not
        *((kind, name) for kind in (SESSION, BODY) for name in REFUSALS),
    ],
)
def test_no_request_is_made_during_the_pause_that_a_registry_asks_for(
    tmp_path: Path, image: Path, kind: tuple[str, str], refusal: str
) -> None:
    refusing = Refusing(*kind, REFUSALS[refusal])
    push(tmp_path, image, refusing)
    assert refusing.within_the_wait == []


@pytest.mark.parametrize("kind", [BLOB, SESSION], ids=["question", "session"])
def test_registry_that_is_unavailable_for_a_given_time_gets_no_request_until_then(
    tmp_path: Path, image: Path, kind: tuple[str, str]
) -> None:
    refusing = Refusing(*kind, Response(503, NAMED))
    push(tmp_path, image, refusing)
    assert refusing.within_the_wait == []


def test_failure_of_one_request_does_not_delay_the_others(tmp_path: Path, image: Path) -> None:
    refusing = Refusing(*SESSION, Response(503))
    push(tmp_path, image, refusing)
    assert refusing.within_the_wait
