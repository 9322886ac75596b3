"""A function of the caller's as ``credentials``: sync or async, called once for many pushes."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from ocipush import Login, errors
from ocipush._credentials.chain import AskedLogins

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio
SECRET = "hunter2-and-more"


def plain(registry: str) -> Login | None:
    return Login(registry, SECRET) if registry == "r.example" else None


async def asynchronous(registry: str) -> Login | None:
    await anyio.sleep(0)
    return plain(registry)


class Callable_:  # noqa: N801 - the name of what it is
    async def __call__(self, registry: str) -> Login | None:
        return await asynchronous(registry)

    def method(self, registry: str) -> Login | None:
        return plain(registry)


FUNCTIONS: dict[str, Callable[[str], Any]] = {
    "plain": plain,
    "async": asynchronous,
    "partial": functools.partial(asynchronous),
    "lambda": lambda registry: asynchronous(registry),  # noqa: PLW0108 - no coroutine function
    "object": Callable_(),
    "method": Callable_().method,
}


@pytest.mark.parametrize("name", FUNCTIONS)
async def test_function_of_any_kind_is_called_with_the_registry(name: str) -> None:
    logins = AskedLogins(FUNCTIONS[name])
    assert await logins.login("r.example", "team/app") == Login("r.example", SECRET)
    assert await logins.login("other.example") is None


async def test_plain_function_never_runs_in_the_thread_of_the_event_loop() -> None:
    threads: list[int] = []
    await AskedLogins(lambda _registry: threads.append(threading.get_ident())).login("r.example")
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_fifty_pushes_make_one_call_until_its_login_is_refused() -> None:
    calls: list[str] = []

    async def ask(registry: str) -> Login:
        calls.append(registry)
        await anyio.sleep(0.01)
        return Login("user", str(len(calls)))

    logins = AskedLogins(ask)
    found: list[Login | None] = []

    async def one(refused: Login | None) -> None:
        found.append(await logins.login("r.example", refused=refused))

    for refused in (None, Login("user", "1")):
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(one, refused)
    assert found == [Login("user", "1")] * 50 + [Login("user", "2")] * 50
    assert calls == ["r.example"] * 2


def fails(_registry: str) -> Login:
    raise RuntimeError(SECRET)


async def test_function_that_fails_is_an_error_and_not_an_anonymous_push() -> None:
    with pytest.raises(errors.CredentialError) as caught:
        await AskedLogins(fails).login("r.example")
    assert str(caught.value) == "the function in credentials= failed for r.example: RuntimeError"
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("value", [("user", SECRET), SECRET, {"username": SECRET}])
async def test_invalid_result_of_a_function_is_an_error_that_does_not_show_it(value: Any) -> None:
    with pytest.raises(errors.CredentialError, match=r"must return Login or None, not (tuple|str|dict)") as caught:
        await AskedLogins(lambda _registry: value).login("r.example")
    assert SECRET not in str(caught.value)


async def test_own_error_of_the_library_is_raised_unchanged() -> None:
    error = errors.CredentialError("the vault is sealed")

    def sealed(_registry: str) -> Login:
        raise error

    with pytest.raises(errors.CredentialError) as caught:
        await AskedLogins(sealed).login("r.example")
    assert caught.value is error
