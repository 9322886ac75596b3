"""Which requests a push makes, and in which order."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import pytest
from tests import layouts
from tests.mocked.recorded import UPLOADS, Push, requests

from ocipush import errors

if TYPE_CHECKING:
    from pathlib import Path

    import respx

pytestmark = pytest.mark.asyncio
MIB = 1024 * 1024


def lines(router: respx.Router) -> list[str]:
    return [f"{request.method} {request.url.path}" for request in requests(router)]


def blobs(image: Path) -> list[str]:
    """Digests of the configuration and the layers."""
    return list(layouts.contents(image)[0])


async def test_new_image_is_a_head_of_its_tag_then_its_blobs_then_the_tag(push: Push, router: respx.Router) -> None:
    result = await push()
    assert lines(router) == [
        "HEAD /v2/team/app/manifests/1",
        f"POST {UPLOADS}",
        f"PUT {UPLOADS}session",
        f"POST {UPLOADS}",
        f"PUT {UPLOADS}session",
        "PUT /v2/team/app/manifests/1",
    ]
    assert result.requests == len(router.calls)


async def test_unchanged_image_is_one_head(push: Push, router: respx.Router, image: Path) -> None:
    (digest,) = layouts.contents(image)[1]
    router["tag"].respond(200, headers={"Docker-Content-Digest": digest})
    assert (await push()).unchanged
    assert lines(router) == ["HEAD /v2/team/app/manifests/1"]


async def test_tag_is_not_touched_while_a_blob_is_missing(push: Push, router: respx.Router) -> None:
    router["upload"].respond(403)
    with pytest.raises(errors.AuthorizationError):
        await push()
    assert not router["manifest"].called


@pytest.mark.parametrize("concurrency", [1, 64])
async def test_children_of_an_index_go_before_it_and_after_their_blobs(
    push: Push, router: respx.Router, tmp_path: Path, concurrency: int
) -> None:
    image = tmp_path / "index"
    children = [layouts.add_manifest(image, [layer], layer) for layer in (b"amd64", b"arm64")]
    layouts.write_layout(image, [layouts.add_index(image, children)])
    await push(image, concurrency=concurrency)
    made = lines(router)
    manifests = [line for line in made if line.startswith("PUT /v2/team/app/manifests/")]
    assert set(manifests[:-1]) == {f"PUT /v2/team/app/manifests/{child['digest']}" for child in children}
    assert manifests[-1] == made[-1] == "PUT /v2/team/app/manifests/1"
    sent = {
        request.url.params["digest"]: at
        for at, request in enumerate(requests(router))
        if "digest" in request.url.params
    }
    for child in children:
        document = json.loads((image / "blobs" / child["digest"].replace(":", "/")).read_bytes())
        at = made.index(f"PUT /v2/team/app/manifests/{child['digest']}")
        assert all(sent[blob["digest"]] < at for blob in (document["config"], *document["layers"]))


async def test_large_blob_that_the_registry_has_is_asked_for_and_not_sent(
    push: Push, router: respx.Router, tmp_path: Path
) -> None:
    image = tmp_path / "large"
    layouts.write_layout(image, [layouts.add_manifest(image, [b"x" * MIB])])
    router["blob"].respond(200)
    result = await push(image)
    large = next(blob.digest for blob in result.blobs if blob.size == MIB)
    assert f"HEAD /v2/team/app/blobs/{large}" in lines(router)
    assert [request.url.params["digest"] for request in requests(router) if "digest" in request.url.params] == [
        blob.digest for blob in result.blobs if blob.size != MIB
    ]


async def test_mount_that_the_registry_grants_sends_no_byte(push: Push, router: respx.Router, image: Path) -> None:
    router["session"].respond(201)
    result = await push(mount_from="team/base")
    assert [blob.outcome for blob in result.blobs] == ["mounted", "mounted"]
    posts = [request for request in requests(router) if request.method == "POST"]
    assert {(post.url.params["mount"], post.url.params["from"]) for post in posts} == {
        (digest, "team/base") for digest in blobs(image)
    }
    assert all(b"mount=sha256%3A" in post.url.query for post in posts)
    assert not router["upload"].called


async def test_mount_that_becomes_a_session_is_uploaded_there(push: Push, router: respx.Router, image: Path) -> None:
    router["session"].respond(202, headers={"Location": "/v2/team/app/blobs/uploads/mine"})
    await push(mount_from="team/base")
    uploads = [request for request in requests(router) if "digest" in request.url.params]
    assert {request.url.path for request in uploads} == {f"{UPLOADS}mine"}
    assert {request.url.params["digest"] for request in uploads} == set(blobs(image))
    assert len([line for line in lines(router) if line.startswith("POST")]) == len(uploads)


async def test_refused_mount_is_uploaded_and_not_asked_for_again(push: Push, router: respx.Router) -> None:
    def mount(request: httpx.Request) -> httpx.Response:
        refused = "mount" in request.url.params
        return httpx.Response(403) if refused else httpx.Response(202, headers={"Location": "session"})

    router["session"].mock(side_effect=mount)
    await push(mount_from="team/base")
    asked = [request.url.params.get("from") for request in requests(router) if request.method == "POST"]
    assert asked.count("team/base") == 1
    assert router["upload"].call_count == 2


async def test_every_session_of_a_failed_push_is_deleted(push: Push, router: respx.Router) -> None:
    opened: list[str] = []

    def session(_: httpx.Request) -> httpx.Response:
        opened.append(f"{UPLOADS}{len(opened)}")
        return httpx.Response(202, headers={"Location": opened[-1]})

    router["session"].mock(side_effect=session)
    router["upload"].respond(400, json={"errors": [{"code": "DENIED", "message": "no"}]})
    with pytest.raises(errors.AuthorizationError, match="DENIED"):
        await push()
    assert opened
    assert [call.request.url.path for call in router["cancel"].calls] == opened
    assert not router["manifest"].called
