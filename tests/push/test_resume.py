"""Interrupted uploads resume at the last byte that the registry stored, over real sockets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import anyio
import pytest
from tests import layouts
from tests.pushing import WITHOUT_WAITS, push

import ocipush
from ocipush import errors
from ocipush._registry.journal import SavedSession
from ocipush.testing import BearerAuth, Registry, Request, Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Intercept = Callable[[Request], Awaitable[Response | None]]

pytestmark = pytest.mark.anyio
KIB = 1024
LAYER = os.urandom(8192) * 384  # 3 MiB


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return layouts.write_image(tmp_path / "app", LAYER)


def sends(registry: Registry, *methods: str) -> list[tuple[str, str | None, str | None]]:
    """The requests that carried the layer: method, Content-Range, Content-Length."""
    return [
        (request.method, request.headers.get("content-range"), request.headers.get("content-length"))
        for request in registry.requests
        if request.method in (methods or ("PATCH", "PUT"))
        and "/uploads/" in request.path
        and request.headers.get("content-length") != "2"  # the config
    ]


class CutUploads:
    """Stores some bytes of each of the next requests that carry the layer, then breaks the connection, or answers."""

    def __init__(self, *after: int, answer: Response | None = None) -> None:
        self.after = list(after)
        self.answer = answer
        self.registry: Registry

    async def __call__(self, request: Request) -> Response | None:
        if (
            request.method not in {"PUT", "PATCH"}
            or int(request.headers["content-length"]) < 64 * KIB
            or not self.after
        ):
            return None
        left = self.after.pop(0)
        upload = self.registry.repository("app").uploads[request.path.rpartition("/")[2]]
        while left > 0 and (piece := await request.receive()):
            await upload.write(piece[:left])
            left -= len(piece)
        if self.answer is not None:
            return self.answer
        raise anyio.BrokenResourceError


async def test_broken_put_resumes_at_the_last_byte_the_registry_stored(image: Path) -> None:
    cuts = CutUploads(700_000)
    async with Registry(intercept=cuts) as registry:
        cuts.registry = registry
        result = await push(image, registry)
        assert registry.repository("app").tags
        first, second = sends(registry)
        assert first == ("PUT", None, str(len(LAYER)))
        assert second == ("PUT", f"700000-{len(LAYER) - 1}", str(len(LAYER) - 700_000))
        assert {blob.outcome for blob in result.blobs} == {"uploaded"}


async def test_blob_that_makes_progress_may_break_more_often_than_the_policy_has_attempts(image: Path) -> None:
    cuts = CutUploads(*[300 * KIB] * 8)
    async with Registry(intercept=cuts) as registry:
        cuts.registry = registry
        await push(image, registry)
        assert [length for _, _, length in sends(registry)] == [str(len(LAYER) - done * 300 * KIB) for done in range(9)]


async def test_blob_without_progress_fails_and_the_error_counts_attempts_and_bytes(image: Path) -> None:
    cuts = CutUploads(*[0] * 100)
    async with Registry(intercept=cuts) as registry:
        cuts.registry = registry
        with pytest.raises(errors.ConnectionLostError) as caught:
            await push(image, registry)
        assert caught.value.attempts == 3
        assert caught.value.sent >= 3
        assert "3 attempts" in str(caught.value)
        assert not registry.repository("app").tags
        assert not registry.repository("app").uploads


async def test_upload_is_restarted_when_its_session_no_longer_exists(image: Path) -> None:
    cuts = CutUploads(1_000_000)

    async def intercept(request: Request) -> Response | None:
        if request.method == "GET" and "/uploads/" in request.path:
            cuts.registry.repository("app").uploads.clear()
        return await cuts(request)

    async with Registry(intercept=intercept) as registry:
        cuts.registry = registry
        await push(image, registry)
        assert registry.repository("app").tags
        assert sends(registry) == [("PUT", None, str(len(LAYER)))] * 2
        assert not sends(registry, "DELETE")


async def test_blob_whose_commit_was_not_answered_is_found_and_not_sent_again(image: Path) -> None:
    async def intercept(request: Request) -> Response | None:
        if request.method == "PUT" and "/uploads/" in request.path and not lost:
            lost.append(request.path)
            repository = registry.repository("app")
            upload = repository.uploads.pop(request.path.rpartition("/")[2])
            while piece := await request.receive():
                await upload.write(piece)
            await repository.commit(upload, request.query["digest"])
            raise anyio.BrokenResourceError
        return None

    lost: list[str] = []
    async with Registry(intercept=intercept) as registry:
        await push(image, registry)
        assert registry.repository("app").tags
        assert sends(registry) == [("PUT", None, str(len(LAYER)))]


async def test_token_that_expires_during_a_body_is_renewed_and_the_upload_resumes(image: Path) -> None:
    cuts = CutUploads(2_000_000)
    async with Registry(auth=BearerAuth({"user": "secret"}), intercept=cuts) as registry:
        cuts.registry = registry
        challenge = f'Bearer realm="{registry.url}/token",service="ocipush",scope="repository:app:pull,push"'
        cuts.answer = Response(401, {"WWW-Authenticate": challenge, "Connection": "close"})
        await push(image, registry, credentials={registry.host: ocipush.Login("user", "secret")})
        assert registry.repository("app").tags
        assert sends(registry)[1] == ("PUT", f"2000000-{len(LAYER) - 1}", str(len(LAYER) - 2_000_000))
        assert [request.path for request in registry.requests].count("/token") == 2


async def test_token_refused_after_its_renewal_ends_the_push(image: Path) -> None:
    async def intercept(request: Request) -> Response | None:
        if request.method == "PUT":
            challenge = f'Bearer realm="{registry.url}/token",service="ocipush",scope="repository:app:pull,push"'
            return Response(401, {"WWW-Authenticate": challenge, "Connection": "close"})
        return None

    patient = ocipush.RetryPolicy(attempts=9, base=0)
    async with Registry(auth=BearerAuth({"user": "secret"}), intercept=intercept) as registry:
        credentials = {registry.host: ocipush.Login("user", "secret")}
        with pytest.raises(errors.AuthenticationError, match="401"):
            await push(image, registry, credentials=credentials, retry=patient)
        assert [length for _, _, length in sends(registry, "PUT")].count(str(len(LAYER))) <= 2
        assert [request.path for request in registry.requests].count("/token") <= 5


async def test_blob_is_sent_in_chunks_of_the_given_size(image: Path) -> None:
    async with Registry() as registry:
        await push(image, registry, chunk_size=1_500_000)
        assert registry.repository("app").tags
        assert sends(registry) == [
            ("PATCH", "0-1499999", "1500000"),
            ("PATCH", "1500000-2999999", "1500000"),
            ("PUT", f"3000000-{len(LAYER) - 1}", str(len(LAYER) - 3_000_000)),
        ]


async def test_broken_chunk_resumes_in_its_session(image: Path) -> None:
    cuts = CutUploads(500_000)

    async def intercept(request: Request) -> Response | None:
        if request.headers.get("content-range", "").startswith("0-"):
            return None
        return await cuts(request)

    async with Registry(intercept=intercept) as registry:
        cuts.registry = registry
        await push(image, registry, chunk_size=1_500_000)
        assert [content_range for _, content_range, _ in sends(registry)][:3] == [
            "0-1499999",
            "1500000-2999999",
            "2000000-" + str(len(LAYER) - 1),
        ]
        assert registry.repository("app").tags


def limit(bytes_: int, words: bytes = b"<html>Request Entity Too Large</html>", status: int = 413) -> Intercept:
    async def intercept(request: Request) -> Response | None:
        if request.method in {"PUT", "PATCH"} and int(request.headers.get("content-length", 0)) > bytes_:
            return Response(status, {"Content-Type": "text/html", "Connection": "close"}, words)
        return None

    return intercept


async def test_bodies_shrink_until_they_are_accepted_and_the_limit_is_remembered(image: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    layouts.write_image(second, LAYER[::-1])
    async with (
        Registry(intercept=limit(1024 * KIB)) as registry,
        ocipush.Pusher(retry=WITHOUT_WAITS, authfile=tmp_path / "none") as pusher,
    ):
        await pusher.push(image, target=f"{registry.host}/app:1")
        assert [length for _, _, length in sends(registry)] == [str(len(LAYER)), *[str(1024 * KIB)] * 3]
        seen = len(registry.requests)
        await pusher.push(second, target=f"{registry.host}/app:2")
        assert registry.repository("app").tags.keys() == {"1", "2"}
        assert 413 not in {request.status for request in registry.requests[seen:]}


async def test_limit_named_by_the_registry_is_used(image: Path) -> None:
    words = b'{"errors":[{"code":"BLOB_UPLOAD_INVALID","message":"exceeds the maximum permissible limit of 2.00MiB"}]}'
    async with Registry(intercept=limit(2048 * KIB, words, 416)) as registry:
        await push(image, registry)
        assert [length for _, _, length in sends(registry)][1:] == [str(2048 * KIB), str(len(LAYER) - 2048 * KIB)]


async def test_limit_below_the_smallest_chunk_is_an_error_with_a_hint(image: Path) -> None:
    async with Registry(intercept=limit(10 * KIB)) as registry:
        with pytest.raises(errors.BlobTooLargeError, match="413") as caught:
            await push(image, registry)
        assert "client_max_body_size" in str(caught.value.hint)
        assert not registry.repository("app").uploads


async def test_registry_that_does_not_accept_a_put_with_a_body_gets_a_patch(image: Path) -> None:
    async def intercept(request: Request) -> Response | None:
        if request.method == "PUT" and "/uploads/" in request.path and request.headers["content-length"] != "0":
            return Response(404, {}, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}')
        return None

    async with Registry(intercept=intercept) as registry:
        await push(image, registry)
        assert registry.repository("app").tags
        assert ("PATCH", None, str(len(LAYER))) in sends(registry)
        assert sends(registry)[-1] == ("PUT", None, "0")


async def test_upload_is_resumed_by_another_push_with_the_same_resume_dir(image: Path, tmp_path: Path) -> None:
    sessions = tmp_path / "sessions"
    cuts = CutUploads(2_000_000)
    async with Registry(intercept=cuts) as registry:
        cuts.registry = registry
        once = ocipush.RetryPolicy(attempts=1)
        with pytest.raises(errors.ConnectionLostError):
            await push(image, registry, resume_dir=sessions, retry=once)
        (saved,) = sessions.iterdir()
        assert saved.stat().st_mode & 0o777 == 0o600
        assert sessions.stat().st_mode & 0o777 == 0o700
        assert len(registry.repository("app").uploads) == 1
        await push(image, registry, resume_dir=sessions)
        assert sends(registry)[1:] == [("PUT", f"2000000-{len(LAYER) - 1}", str(len(LAYER) - 2_000_000))]
        assert registry.repository("app").tags
        assert not list(sessions.iterdir())


@pytest.mark.parametrize("kept", ["", "{}", "[]", '{"location":"/x","least":0,"most":null,"acknowledged":9}'])
async def test_invalid_saved_session_is_ignored_and_the_blob_is_sent_whole(
    image: Path, tmp_path: Path, kept: str
) -> None:
    sessions = tmp_path / "sessions"
    cuts = CutUploads(2_000_000)
    async with Registry(intercept=cuts) as registry:
        cuts.registry = registry
        with pytest.raises(errors.ConnectionLostError):
            await push(image, registry, resume_dir=sessions, retry=ocipush.RetryPolicy(attempts=1))
        (saved,) = sessions.iterdir()
        saved.write_text(kept.replace("/x", f"{registry.url}/v2/a/blobs/uploads/{'0' * 32}"))
        await push(image, registry, resume_dir=sessions)
        assert registry.repository("app").tags
        assert not list(sessions.iterdir())


async def test_resume_dir_that_cannot_be_created_is_an_error_before_any_request(image: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with Registry() as registry:
        with pytest.raises(errors.OcipushError, match="cannot keep upload sessions") as caught:
            await push(image, registry, resume_dir=tmp_path / "file")
        assert "resume_dir=" in str(caught.value.hint)
        assert not registry.requests


async def test_push_that_takes_longer_than_its_deadline_ends_and_closes_its_sessions(image: Path) -> None:
    async def intercept(request: Request) -> Response | None:
        if request.method == "PUT":
            await anyio.sleep_forever()
        return None

    async with Registry(intercept=intercept) as registry:
        with pytest.raises(errors.DeadlineExceededError, match=r"not pushed within 0\.3 s"):
            await push(image, registry, retry=ocipush.RetryPolicy(deadline=0.3))
        assert not registry.repository("app").uploads
        assert not registry.repository("app").tags


async def test_session_is_closed_even_when_its_location_is_out_of_date(image: Path) -> None:
    cuts = CutUploads(*[100_000] * 9)
    async with Registry(dialect="distribution-3", intercept=cuts) as registry:
        cuts.registry = registry
        with pytest.raises(errors.ConnectionLostError):
            await push(image, registry, retry=ocipush.RetryPolicy(attempts=1))
        assert [request.status for request in registry.requests if request.method == "DELETE"] == [416, 204]
        assert not registry.repository("app").uploads


async def test_wait_in_the_body_of_a_rate_limit_is_used(image: Path) -> None:
    limited: list[str] = []
    events: list[ocipush.Event] = []

    async def intercept(request: Request) -> Response | None:
        if request.method == "POST" and not limited:
            limited.append(request.path)
            return Response(429, {}, b"TOOMANYREQUESTS: retry-after: 10.3ms, allowed: 2000/minute")
        return None

    async with Registry(intercept=intercept) as registry:
        await push(image, registry, on_event=events.append, retry=ocipush.RetryPolicy(attempts=2, base=60))
        assert registry.repository("app").tags
    assert [event.delay for event in events if isinstance(event, ocipush.RetryScheduled)] == [0.0103]


async def test_refusal_that_only_its_text_calls_a_rate_limit_is_retried(image: Path) -> None:
    async def intercept(request: Request) -> Response | None:
        if request.method == "POST" and not refused:
            refused.append(request.path)
            return Response(403, {"Retry-After": "0"}, b"You have exceeded a secondary rate limit")
        return None

    refused: list[str] = []
    async with Registry(intercept=intercept) as registry:
        await push(image, registry)
        assert registry.repository("app").tags


async def test_disk_that_cannot_keep_a_session_is_told_once(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(saved: SavedSession, _: object) -> None:
        saved.problem = "No space left on device"

    monkeypatch.setattr(SavedSession, "_note", full)
    warnings: list[str] = []

    def on_event(event: object) -> None:
        if isinstance(event, ocipush.PushWarning):
            warnings.append(event.text)

    async with Registry() as registry:
        await push(image, registry, resume_dir=tmp_path / "sessions", on_event=on_event)
    told = [text for text in warnings if "cannot be saved" in text]
    assert told == ["upload sessions cannot be saved, so this push cannot be resumed later: No space left on device"]
    assert list((tmp_path / "sessions").iterdir()) == []
