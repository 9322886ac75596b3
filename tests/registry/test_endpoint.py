from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from ocipush._registry.endpoint import Endpoint
from ocipush._registry.retry import RetryPolicy
from ocipush.errors import AuthenticationError, BlobMissingError, ConnectFailedError, RegistryError

if TYPE_CHECKING:
    from ocipush._events import BlobOutcome
    from ocipush._registry.client import Route

pytestmark = pytest.mark.anyio


class Sender:
    """Sends nothing, but says when it was asked to, and ends when told how."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.calls = 0
        self.go = anyio.Event()
        self.failure = failure

    async def __call__(self) -> BlobOutcome:
        self.calls += 1
        await self.go.wait()
        if self.failure is not None:
            raise self.failure
        return "uploaded"


def endpoint() -> Endpoint:
    return Endpoint("registry.example", None, tls_verify=True)


async def test_blob_in_flight_is_joined_and_then_known() -> None:
    shared, owner, waiter = endpoint(), Sender(), Sender()
    outcomes: list[str] = []

    async def run(sender: Sender) -> None:
        outcomes.append(await shared.single_flight("app", "d", sender))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, owner)
        await wait_all_tasks_blocked()
        tasks.start_soon(run, waiter)
        await wait_all_tasks_blocked()
        owner.go.set()
    assert sorted(outcomes) == ["joined", "uploaded"]
    assert waiter.calls == 0
    assert shared.mount_source("other", "d") == "app"
    assert shared.mount_source("app", "d") is None


async def test_waiting_push_takes_over_when_the_owner_is_cancelled() -> None:
    shared, owner, waiter = endpoint(), Sender(), Sender()
    waiter.go.set()
    scope = anyio.CancelScope()

    async def own() -> None:
        with scope:
            await shared.single_flight("app", "d", owner)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(own)
        await wait_all_tasks_blocked()
        tasks.start_soon(shared.single_flight, "app", "d", waiter)
        await wait_all_tasks_blocked()
        scope.cancel()
    assert (owner.calls, waiter.calls) == (1, 1)


@pytest.mark.parametrize(("failure", "asked"), [(RegistryError("no", status=403), 0), (BlobMissingError("gone"), 1)])
async def test_waiting_push_fails_with_the_registry_but_continues_when_only_the_source_failed(
    failure: Exception, asked: int
) -> None:
    shared, owner, waiter = endpoint(), Sender(failure), Sender()
    waiter.go.set()
    raised: list[BaseException] = []

    async def run(sender: Sender) -> None:
        try:
            await shared.single_flight("app", "d", sender)
        except (RegistryError, BlobMissingError) as exc:
            raised.append(exc)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, owner)
        await wait_all_tasks_blocked()
        tasks.start_soon(run, waiter)
        await wait_all_tasks_blocked()
        owner.go.set()
    assert waiter.calls == asked
    assert len(raised) == 2 - asked
    assert len(set(map(id, raised))) == len(raised)


async def test_plain_http_is_never_used_after_tls_has_worked() -> None:
    endpoint, asked = Endpoint("127.0.0.1:1", None, tls_verify=False), list[str]()
    failures = [AuthenticationError("no"), ConnectFailedError("gone", refused=True)]

    async def question(route: Route) -> None:
        asked.append(route.base)
        if len(asked) == 1:
            route.prove()
        raise failures[len(asked) - 1]

    for failure in failures:
        with pytest.raises(type(failure)):
            await endpoint.ask(question, retry=RetryPolicy(attempts=1), warn=asked.append, on_retry=print)
    assert asked == ["https://127.0.0.1:1"] * 2
