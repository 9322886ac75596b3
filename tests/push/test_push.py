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
    image = tmp_path / "store" / "app"
    manifest = layouts.add_manifest(image, [b"one" * 1000, b"", b"two"])
    layouts.write_layout(image, [manifest], ref="registry.example/team/app:1")
    return image.parent


@pytest.fixture
def authfile(tmp_path: Path) -> Path:
    return tmp_path / "auth.json"


@pytest.mark.parametrize(
    ("auth", "login"),
    [(None, False), (BasicAuth({"user": "secret"}), True), (BearerAuth({"user": "secret"}), True)],
    ids=["open", "basic", "bearer"],
)
async def test_image_arrives_whole_and_a_second_push_finds_it_there(
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
    ocipush_login = ocipush.Login("user", "wrong")
    async with Registry(auth=BasicAuth({"user": "secret"})) as registry:
        with pytest.raises(errors.AuthenticationError) as caught:
            await ocipush.push(
                "app",
                store=store,
                authfile=authfile,
                credentials={registry.host: ocipush_login},
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
async def test_bad_input_is_its_typed_error(
    store: Path, authfile: Path, source: str, target: str, error: type[errors.OcipushError]
) -> None:
    with pytest.raises(error):
        await ocipush.push(source, store=store, authfile=authfile, target=target, retry=QUICK)


async def test_missing_blob_is_found_before_the_first_request(store: Path, authfile: Path) -> None:
    for blob in (store / "app" / "blobs" / "sha256").iterdir():
        if blob.read_bytes() == b"two":
            blob.unlink()
    async with Registry() as registry:
        with pytest.raises(errors.BlobMissingError):
            await ocipush.push("app", store=store, authfile=authfile, target=f"{registry.host}/a:1")
        assert registry.requests == []


async def test_blocking_twin_pushes_beside_a_running_loop(store: Path, authfile: Path) -> None:
    async with Registry() as registry:
        import anyio.to_thread

        result = await anyio.to_thread.run_sync(
            lambda: ocipush.sync.push("app", store=store, authfile=authfile, target=f"{registry.host}/team/app:2")
        )
        assert registry.repository("team/app").tags == {"2": result.digest}


def test_list_shows_name_and_recorded_reference(store: Path) -> None:
    (image,) = ocipush.list_images(store, sizes=True)
    assert (image.name, image.ref) == ("app", "registry.example/team/app:1")
    assert image.size is not None
    assert image.size > 3000
    assert ocipush.list_images(store / "absent") == []


def test_login_is_kept_private_and_removed(authfile: Path) -> None:
    ocipush.save_login("docker.io", ocipush.Login("user", "secret"), authfile=authfile)
    assert authfile.stat().st_mode & 0o777 == 0o600
    assert "secret" not in repr(ocipush.Login("user", "secret"))
    assert ocipush.remove_login("docker.io", authfile=authfile)
    assert not ocipush.remove_login("docker.io", authfile=authfile)
