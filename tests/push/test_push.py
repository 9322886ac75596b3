"""A push from start to end, with and without logins, and the errors of bad input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests import layouts

import ocipush
from ocipush import errors
from ocipush.testing import BasicAuth, BearerAuth, Registry

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
QUICK = ocipush.RetryPolicy(attempts=1)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    layouts.write_image(tmp_path / "store" / "app", b"one" * 1000, b"", b"two")
    return tmp_path / "store"


@pytest.mark.parametrize(
    ("auth", "login"),
    [(None, False), (BasicAuth({"user": "secret"}), True), (BearerAuth({"user": "secret"}), True)],
    ids=["open", "basic", "bearer"],
)
async def test_image_arrives_complete_and_a_second_push_makes_one_request(
    store: Path, authfile: Path, auth: Any, login: bool
) -> None:
    async with Registry(auth=auth) as registry:
        if login:
            ocipush.save_login(registry.host, ocipush.Login("user", "secret"), authfile=authfile)
        async with ocipush.Pusher(store=store, authfile=authfile, retry=QUICK) as pusher:
            events: list[ocipush.Event] = []
            target = f"{registry.host}/team/app:1"
            result = await pusher.push("app", target=target, on_event=events.append)
            assert not result.unchanged
            assert {blob.outcome for blob in result.blobs} == {"uploaded"}
            assert len(result.blobs) == 4
            held = registry.repository("team/app")
            assert held.tags == {"1": result.digest}
            assert set(held.blobs) >= {blob.digest for blob in result.blobs}
            assert isinstance(events[-1], ocipush.PushDone)
            order = [(request.method, request.path.rpartition("/")[2]) for request in registry.requests]
            assert order[-1] == ("PUT", "1")
            before = len(registry.requests)
            again = await pusher.push("app", target=target)
            assert again.unchanged
            assert len(registry.requests) == before + 1


async def test_wrong_password_is_an_authentication_error_and_nothing_is_stored(store: Path, authfile: Path) -> None:
    async with Registry(auth=BasicAuth({"user": "secret"})) as registry:
        with pytest.raises(errors.AuthenticationError) as caught:
            await ocipush.push(
                "app",
                store=store,
                authfile=authfile,
                credentials={registry.host: ocipush.Login("user", "wrong")},
                target=f"{registry.host}/team/app:1",
                retry=QUICK,
            )
        assert "wrong" not in str(caught.value)
        assert registry.repository("team/app").tags == {}


@pytest.mark.parametrize(
    ("source", "target", "error"),
    [
        ("nothing", "127.0.0.1:1/a:1", errors.ImageNotFoundError),
        ("app", "docker://a", errors.InvalidReferenceError),
        ("app", "127.0.0.1:1/a@sha256:" + "0" * 64, errors.DigestMismatchError),
        ("app", "127.0.0.1:1/a:1", errors.ConnectFailedError),
    ],
)
async def test_bad_input_raises_its_typed_error(
    store: Path, authfile: Path, source: str, target: str, error: type[errors.OcipushError]
) -> None:
    with pytest.raises(error):
        await ocipush.push(source, store=store, authfile=authfile, target=target, retry=QUICK)


async def test_missing_blob_is_found_before_the_first_request(store: Path, authfile: Path) -> None:
    layouts.file_of(store / "app", b"two").unlink()
    async with Registry() as registry:
        with pytest.raises(errors.BlobMissingError):
            await ocipush.push("app", store=store, authfile=authfile, target=f"{registry.host}/a:1")
        assert registry.requests == []
