"""Uploads that break go on where the registry stopped, on real sockets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests import layouts

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
QUICK = ocipush.RetryPolicy(attempts=3, base=0)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    layouts.write_layout(tmp_path / "app", [layouts.add_manifest(tmp_path / "app", [LAYER])])
    return tmp_path / "app"


async def push(image: Path, registry: Registry, **options: Any) -> ocipush.PushResult:
    options = {"retry": QUICK, "authfile": image / "none", **options}
    return await ocipush.push(image, target=f"{registry.host}/a:1", **options)


def sends(registry: Registry, *methods: str) -> list[tuple[str, str | None, str | None]]:
    """The requests that carried the layer: method, Content-Range, Content-Length."""
    return [
        (request.method, request.headers.get("content-range"), request.headers.get("content-length"))
        for request in registry.requests
        if request.method in (methods or ("PATCH", "PUT"))
        and "/uploads/" in request.path
        and request.headers.get("content-length") != "2"  # the config
    ]


class Cuts:
    """Stores so many bytes of each of the next requests that carry a layer, then lets the connection break, or answers."""

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
        upload = self.registry.repository("a").uploads[request.path.rpartition("/")[2]]
        while left > 0 and (piece := await request.receive()):
            await upload.write(piece[:left])
            left -= len(piece)
        if self.answer is not None:
            return self.answer
        raise anyio.BrokenResourceError


async def test_broken_put_goes_on_at_the_byte_where_the_registry_stopped(image: Path) -> None:
    cuts = Cuts(700_000)
    async with Registry(intercept=cuts) as registry:
        cuts.registry = registry
        result = await push(image, registry)
        assert registry.repository("a").tags
        first, second = sends(registry)
        assert first == ("PUT", None, str(len(LAYER)))
        assert second == ("PUT", f"700000-{len(LAYER) - 1}", str(len(LAYER) - 700_000))
        assert {blob.outcome for blob in result.blobs} == {"uploaded"}


async def test_blob_that_gets_on_may_break_more_often_than_the_policy_has_attempts(image: Path) -> None:
    cuts = Cuts(*[300 * KIB] * 8)
    async with Registry(intercept=cuts) as registry:
        cuts.registry = registry
        await push(image, registry)
        assert [length for _, _, length in sends(registry)] == [str(len(LAYER) - done * 300 * KIB) for done in range(9)]


async def test_blob_that_does_not_get_on_fails_and_says_what_it_took(image: Path) -> None:
    cuts = Cuts(*[0] * 100)
    async with Registry(intercept=cuts) as registry:
        cuts.registry = registry
        with pytest.raises(errors.ConnectionLostError) as caught:
            await push(image, registry)
        assert caught.value.attempts == 3
        assert caught.value.sent >= 3
        assert "3 attempts" in str(caught.value)
        assert not registry.repository("a").tags
        assert not registry.repository("a").uploads


async def test_session_that_the_registry_lost_is_begun_anew(image: Path) -> None:
    cuts = Cuts(1_000_000)

    async def intercept(request: Request) -> Response | None:
        if request.method == "GET" and "/uploads/" in request.path:
            cuts.registry.repository("a").uploads.clear()
        return await cuts(request)

    async with Registry(intercept=intercept) as registry:
        cuts.registry = registry
        await push(image, registry)
        assert registry.repository("a").tags
        assert sends(registry) == [("PUT", None, str(len(LAYER)))] * 2
        assert not sends(registry, "DELETE")


async def test_commit_whose_answer_was_lost_is_found_and_not_sent_again(image: Path) -> None:
    async def intercept(request: Request) -> Response | None:
        if request.method == "PUT" and "/uploads/" in request.path and not lost:
            lost.append(request.path)
            repository = registry.repository("a")
            upload = repository.uploads.pop(request.path.rpartition("/")[2])
            while piece := await request.receive():
                await upload.write(piece)
            await repository.commit(upload, request.query["digest"])
            raise anyio.BrokenResourceError
        return None

    lost: list[str] = []
    async with Registry(intercept=intercept) as registry:
        await push(image, registry)
        assert registry.repository("a").tags
        assert sends(registry) == [("PUT", None, str(len(LAYER)))]


async def test_token_that_ends_in_the_middle_of_a_body_is_renewed_and_the_upload_goes_on(image: Path) -> None:
    cuts = Cuts(2_000_000)
    async with Registry(auth=BearerAuth({"user": "secret"}), intercept=cuts) as registry:
        cuts.registry = registry
        challenge = f'Bearer realm="{registry.url}/token",service="ocipush",scope="repository:a:pull,push"'
        cuts.answer = Response(401, {"WWW-Authenticate": challenge, "Connection": "close"})
        await push(image, registry, credentials={registry.host: ocipush.Login("user", "secret")})
        assert registry.repository("a").tags
        assert sends(registry)[1] == ("PUT", f"2000000-{len(LAYER) - 1}", str(len(LAYER) - 2_000_000))
        assert [request.path for request in registry.requests].count("/token") == 2


async def test_token_that_is_refused_after_it_was_renewed_ends_the_push(image: Path) -> None:
    async def intercept(request: Request) -> Response | None:
        if request.method == "PUT":
            challenge = f'Bearer realm="{registry.url}/token",service="ocipush",scope="repository:a:pull,push"'
            return Response(401, {"WWW-Authenticate": challenge, "Connection": "close"})
        return None

    patient = ocipush.RetryPolicy(attempts=9, base=0)
    async with Registry(auth=BearerAuth({"user": "secret"}), intercept=intercept) as registry:
        credentials = {registry.host: ocipush.Login("user", "secret")}
        with pytest.raises(errors.AuthenticationError, match="401"):
            await push(image, registry, credentials=credentials, retry=patient)
        assert [length for _, _, length in sends(registry, "PUT")].count(str(len(LAYER))) <= 2
        assert [request.path for request in registry.requests].count("/token") <= 5


async def test_blob_goes_in_chunks_of_the_size_asked_for(image: Path) -> None:
    async with Registry() as registry:
        await push(image, registry, chunk_size=1_500_000)
        assert registry.repository("a").tags
        assert sends(registry) == [
            ("PATCH", "0-1499999", "1500000"),
            ("PATCH", "1500000-2999999", "1500000"),
            ("PUT", f"3000000-{len(LAYER) - 1}", str(len(LAYER) - 3_000_000)),
        ]


async def test_broken_chunk_goes_on_in_its_session(image: Path) -> None:
    cuts = Cuts(500_000)

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
        assert registry.repository("a").tags


def limit(bytes_: int, words: bytes = b"<html>Request Entity Too Large</html>", status: int = 413) -> Intercept:
    async def intercept(request: Request) -> Response | None:
        if request.method in {"PUT", "PATCH"} and int(request.headers.get("content-length", 0)) > bytes_:
            return Response(status, {"Content-Type": "text/html", "Connection": "close"}, words)
        return None

    return intercept


async def test_body_that_is_too_large_steps_down_and_the_limit_is_remembered(image: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    layouts.write_layout(second, [layouts.add_manifest(second, [LAYER[::-1]])])
    async with (
        Registry(intercept=limit(1024 * KIB)) as registry,
        ocipush.Pusher(retry=QUICK, authfile=tmp_path / "none") as pusher,
    ):
        await pusher.push(image, target=f"{registry.host}/a:1")
        assert [length for _, _, length in sends(registry)] == [str(len(LAYER)), *[str(1024 * KIB)] * 3]
        seen = len(registry.requests)
        await pusher.push(second, target=f"{registry.host}/a:2")
        assert registry.repository("a").tags.keys() == {"1", "2"}
        assert 413 not in {request.status for request in registry.requests[seen:]}


async def test_limit_that_the_registry_names_is_believed(image: Path) -> None:
    words = b'{"errors":[{"code":"BLOB_UPLOAD_INVALID","message":"exceeds the maximum permissible limit of 2.00MiB"}]}'
    async with Registry(intercept=limit(2048 * KIB, words, 416)) as registry:
        await push(image, registry)
        assert [length for _, _, length in sends(registry)][1:] == [str(2048 * KIB), str(len(LAYER) - 2048 * KIB)]


async def test_limit_below_every_chunk_fails_and_names_the_limit(image: Path) -> None:
    async with Registry(intercept=limit(10 * KIB)) as registry:
        with pytest.raises(errors.BlobTooLargeError, match="413") as caught:
            await push(image, registry)
        assert "client_max_body_size" in str(caught.value.hint)
        assert not registry.repository("a").uploads


async def test_registry_that_understands_no_put_with_a_body_gets_a_patch(image: Path) -> None:
    async def intercept(request: Request) -> Response | None:
        if request.method == "PUT" and "/uploads/" in request.path and request.headers["content-length"] != "0":
            return Response(404, {}, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}')
        return None

    async with Registry(intercept=intercept) as registry:
        await push(image, registry)
        assert registry.repository("a").tags
        assert ("PATCH", None, str(len(LAYER))) in sends(registry)
        assert sends(registry)[-1] == ("PUT", None, "0")


async def test_upload_of_a_killed_process_is_resumed_by_another(image: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    cuts = Cuts(2_000_000)
    async with Registry(intercept=cuts) as registry:
        cuts.registry = registry
        once = ocipush.RetryPolicy(attempts=1)
        with pytest.raises(errors.ConnectionLostError):
            await push(image, registry, resume_dir=journal, retry=once)
        (page,) = journal.iterdir()
        assert page.stat().st_mode & 0o777 == 0o600
        assert journal.stat().st_mode & 0o777 == 0o700
        assert len(registry.repository("a").uploads) == 1
        await push(image, registry, resume_dir=journal)
        assert sends(registry)[1:] == [("PUT", f"2000000-{len(LAYER) - 1}", str(len(LAYER) - 2_000_000))]
        assert registry.repository("a").tags
        assert not list(journal.iterdir())


@pytest.mark.parametrize("kept", ["", "{}", "[]", '{"location":"/x","least":0,"most":null,"acknowledged":9}'])
async def test_journal_that_makes_no_sense_costs_the_resume_and_not_the_push(
    image: Path, tmp_path: Path, kept: str
) -> None:
    journal = tmp_path / "journal"
    cuts = Cuts(2_000_000)
    async with Registry(intercept=cuts) as registry:
        cuts.registry = registry
        with pytest.raises(errors.ConnectionLostError):
            await push(image, registry, resume_dir=journal, retry=ocipush.RetryPolicy(attempts=1))
        (page,) = journal.iterdir()
        page.write_text(kept.replace("/x", f"{registry.url}/v2/a/blobs/uploads/{'0' * 32}"))
        await push(image, registry, resume_dir=journal)
        assert registry.repository("a").tags
        assert not list(journal.iterdir())


async def test_resume_dir_that_cannot_be_made_is_told_before_any_request(image: Path, tmp_path: Path) -> None:
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
        assert not registry.repository("a").uploads
        assert not registry.repository("a").tags


async def test_session_with_bytes_that_its_location_does_not_know_of_is_closed_all_the_same(image: Path) -> None:
    cuts = Cuts(*[100_000] * 9)
    async with Registry(dialect="distribution-3", intercept=cuts) as registry:
        cuts.registry = registry
        with pytest.raises(errors.ConnectionLostError):
            await push(image, registry, retry=ocipush.RetryPolicy(attempts=1))
        assert [request.status for request in registry.requests if request.method == "DELETE"] == [416, 204]
        assert not registry.repository("a").uploads


async def test_repository_hinted_at_gives_its_blobs_without_sending_them(image: Path) -> None:
    async with Registry() as registry:
        await push(image, registry)
        seen = len(registry.requests)
        result = await ocipush.push(
            image, target=f"{registry.host}/b:1", mount_from="a", authfile=image / "none", retry=QUICK
        )
        assert {blob.outcome for blob in result.blobs} == {"mounted"}
        assert [request.method for request in registry.requests[seen:]] == ["HEAD", "POST", "POST", "PUT"]


async def test_hint_that_leads_nowhere_costs_a_question_for_a_large_blob(image: Path) -> None:
    async with Registry() as registry:
        await push(image, registry)
        registry.repository("a").manifests.clear()
        registry.repository("a").tags.clear()
        result = await push(image, registry, mount_from="elsewhere")
        assert {blob.size: blob.outcome for blob in result.blobs} == {len(LAYER): "exists", 2: "uploaded"}
        assert not registry.repository("a").uploads


async def test_forced_push_sends_everything_again(image: Path) -> None:
    async with Registry() as registry:
        await push(image, registry)
        registry.repository("a").blobs.clear()
        assert (await push(image, registry)).unchanged
        result = await push(image, registry, force=True)
        assert not result.unchanged
        assert {blob.outcome for blob in result.blobs} == {"uploaded"}
        assert len(registry.repository("a").blobs) == 3  # the manifest, too: see docs/requests.md, "Missing blobs"


async def test_rate_limit_that_one_worker_meets_holds_all_of_them_back(tmp_path: Path) -> None:
    layers = [b"%d" % number for number in range(20)]
    layouts.write_layout(tmp_path / "app", [layouts.add_manifest(tmp_path / "app", layers)])
    times: list[float] = []
    limited_at: list[float] = []

    async def intercept(request: Request) -> Response | None:
        if request.method == "POST":
            if not limited_at:
                limited_at.append(anyio.current_time())
                body = b"TOOMANYREQUESTS: retry-after: 300ms, allowed: 2000/minute"
                return Response(429, {}, body)
            times.append(anyio.current_time())
        return None

    async with Registry(intercept=intercept) as registry:
        await push(tmp_path / "app", registry, concurrency=1)
        assert registry.repository("a").tags
        assert len(times) == 21
        assert min(times) - limited_at[0] >= 0.3


async def test_refusal_that_is_a_rate_limit_in_words_is_waited_for(image: Path) -> None:
    async def intercept(request: Request) -> Response | None:
        if request.method == "POST" and not refused:
            refused.append(request.path)
            return Response(403, {"Retry-After": "0"}, b"You have exceeded a secondary rate limit")
        return None

    refused: list[str] = []
    async with Registry(intercept=intercept) as registry:
        await push(image, registry)
        assert registry.repository("a").tags


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
