"""Where the login of a push comes from: the caller's logins first, then the login file, read without blocking."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import ocipush
from ocipush import Login, errors
from ocipush._credentials.chain import Chain, GivenLogins
from ocipush._credentials.files import LoginFiles
from ocipush.testing import BasicAuth, Registry

if TYPE_CHECKING:
    from pathlib import Path

    from ocipush._credentials.base import Credentials

pytestmark = pytest.mark.anyio
GIVEN, SAVED = Login("given", "password"), Login("saved", "password")


@pytest.fixture
def authfile(authfile: Path) -> Path:
    """A login file with two logins."""
    for registry in ("r.example", "saved.example"):
        ocipush.save_login(registry, SAVED, authfile=authfile)
    return authfile


def chain(authfile: Path, **given: Login) -> Credentials:
    return Chain(GivenLogins({f"{name}.example": login for name, login in given.items()}), LoginFiles(authfile))


async def test_login_given_by_the_caller_wins_over_the_file(authfile: Path) -> None:
    credentials = chain(authfile, r=GIVEN)
    assert await credentials.login("r.example") == GIVEN
    assert await credentials.login("saved.example") == SAVED
    assert await credentials.login("other.example") is None


@pytest.mark.parametrize("empty", [Login("", ""), Login("user", ""), Login("", "password")])
async def test_empty_login_given_by_the_caller_means_anonymous(authfile: Path, empty: Login) -> None:
    assert await chain(authfile, r=empty).login("r.example") is None


async def test_file_is_not_read_when_the_caller_gave_a_login(authfile: Path) -> None:
    authfile.write_text("{")
    credentials = chain(authfile, r=GIVEN)
    assert await credentials.login("r.example") == GIVEN
    with pytest.raises(errors.CredentialError, match="not JSON"):
        await credentials.login("saved.example")


async def test_login_given_under_any_name_of_docker_hub_is_found() -> None:
    for name in ("docker.io", "index.docker.io", "https://index.docker.io/v1/"):
        assert await GivenLogins({name: GIVEN}).login("index.docker.io") == GIVEN


async def test_login_given_for_an_invalid_registry_is_refused() -> None:
    with pytest.raises(errors.InvalidReferenceError, match="not a valid registry"):
        GivenLogins({"host.example/team": GIVEN})


async def test_login_file_is_read_each_time_and_never_on_the_event_loop(
    authfile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def load(path: Path) -> dict[str, object]:
        threads.append(threading.get_ident())
        return {}

    monkeypatch.setattr("ocipush._credentials.files.load", load)
    credentials = LoginFiles(authfile)
    assert [await credentials.login("r.example") for _ in range(2)] == [None, None]
    assert len(threads) == 2
    assert threading.get_ident() not in threads


class Vault:
    """Logins from elsewhere: an object that has what the protocol asks for, and no more."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def login(self, registry: str, repository: str = "", *, refused: Login | None = None) -> Login | None:
        self.asked.append(registry)
        return Login("user", "secret")


async def test_push_gets_its_login_from_any_object_that_implements_the_protocol(tmp_path: Path) -> None:
    vault = Vault()
    async with (
        Registry(auth=BasicAuth({"user": "secret"})) as registry,
        ocipush.Pusher(authfile=tmp_path / "none") as pusher,
    ):
        pusher._credentials = Chain(GivenLogins({}), vault)
        await pusher.check_login(registry.host)
    assert vault.asked == [registry.host]
