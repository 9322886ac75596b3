"""The headers of requests, and how bodies are framed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
import pytest
from tests import layouts
from tests.mocked.recorded import UPLOADS, Push, requests

import ocipush

if TYPE_CHECKING:
    from pathlib import Path

    import respx

pytestmark = pytest.mark.asyncio
MANIFEST_TYPES = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
]


async def test_head_of_the_tag_accepts_every_type_of_manifest(push: Push, router: respx.Router) -> None:
    await push()
    (head,) = [call.request for call in router["tag"].calls]
    assert head.headers["Accept"].split(", ") == MANIFEST_TYPES


async def test_no_other_request_narrows_what_it_accepts(push: Push, router: respx.Router) -> None:
    await push()
    assert {request.headers["Accept"] for request in requests(router)[1:]} == {"*/*"}


async def test_no_response_may_be_compressed(push: Push, router: respx.Router) -> None:
    await push()
    assert {request.headers["Accept-Encoding"] for request in requests(router)} == {"identity"}


async def test_blob_is_an_octet_stream(push: Push, router: respx.Router) -> None:
    await push()
    assert [call.request.headers["Content-Type"] for call in router["upload"].calls] == ["application/octet-stream"] * 2


async def test_manifest_and_index_go_with_their_media_types(push: Push, router: respx.Router, tmp_path: Path) -> None:
    image = tmp_path / "index"
    layouts.write_layout(image, [layouts.add_index(image, [layouts.add_manifest(image, [b"layer"])])])
    await push(image)
    assert [call.request.headers["Content-Type"] for call in router["manifest"].calls] == MANIFEST_TYPES[:2]


@pytest.mark.parametrize("chunk_size", [None, 2])
async def test_every_body_has_its_length_and_none_is_chunked_by_the_transfer_encoding(
    push: Push, router: respx.Router, chunk_size: int | None
) -> None:
    accept_chunks(router)
    await push(chunk_size=chunk_size)
    for request in requests(router):
        assert "Transfer-Encoding" not in request.headers
        if request.method == "HEAD":
            assert "Content-Length" not in request.headers
        else:
            assert request.headers["Content-Length"] == str(len(request.content))
    assert [len(request.content) for request in requests(router) if request.method == "POST"] == [0, 0]


async def test_content_is_that_of_the_layout(push: Push, router: respx.Router, image: Path) -> None:
    await push()
    held, documents = layouts.contents(image)
    sent = {call.request.url.params["digest"]: call.request.content for call in router["upload"].calls}
    assert sent == held
    assert [call.request.content for call in router["manifest"].calls] == list(documents.values())


def accept_chunks(router: respx.Router) -> None:
    """Accept PATCH, with a Location that counts up."""

    def patch(request: httpx.Request) -> httpx.Response:
        last = request.headers["Content-Range"].partition("-")[2]
        return httpx.Response(202, headers={"Location": f"{UPLOADS}after-{last}", "Range": f"0-{last}"})

    router.patch(path__regex=f"^{UPLOADS}", name="chunk").mock(side_effect=patch)


async def test_chunks_say_where_they_go_and_follow_the_latest_location(
    push: Push, router: respx.Router, tmp_path: Path
) -> None:
    image = tmp_path / "one"
    layouts.write_layout(image, [layouts.add_manifest(image, [b"0123456789"], b"0123456789")])  # one blob
    accept_chunks(router)
    await push(image, chunk_size=4)
    parts = [request for request in requests(router) if "Content-Range" in request.headers]
    assert [
        (request.method, request.url.path, request.headers["Content-Range"], request.content) for request in parts
    ] == [
        ("PATCH", f"{UPLOADS}session", "0-3", b"0123"),
        ("PATCH", f"{UPLOADS}after-3", "4-7", b"4567"),
        ("PUT", f"{UPLOADS}after-7", "8-9", b"89"),
    ]


async def test_blob_in_one_body_has_no_content_range(push: Push, router: respx.Router) -> None:
    await push()
    assert not any("Content-Range" in request.headers for request in requests(router))


async def test_chunks_are_as_large_as_the_registry_wants(push: Push, router: respx.Router, tmp_path: Path) -> None:
    image = tmp_path / "one"
    layouts.write_layout(image, [layouts.add_manifest(image, [b"0123456789"], b"0123456789")])
    router["session"].respond(202, headers={"Location": "session", "OCI-Chunk-Min-Length": "6"})
    accept_chunks(router)
    await push(image, chunk_size=4)
    ranges = [request.headers["Content-Range"] for request in requests(router) if "Content-Range" in request.headers]
    assert ranges == ["0-5", "6-9"]


async def test_location_comes_back_byte_for_byte_with_the_digest_added(push: Push, router: respx.Router) -> None:
    router["session"].respond(202, headers={"Location": f"{UPLOADS}session?_state=a%2fb%7E+c&x"})
    await push()
    for call in router["upload"].calls:
        assert re.fullmatch(rb"_state=a%2fb%7E\+c&x&digest=sha256%3A[0-9a-f]{64}", call.request.url.query)


async def test_user_agent_names_the_library_and_its_version(push: Push, router: respx.Router) -> None:
    await push()
    assert {request.headers["User-Agent"] for request in requests(router)} == {f"ocipush/{ocipush.__version__}"}


async def test_own_user_agent_comes_before_that_of_the_library(push: Push, router: respx.Router) -> None:
    await push(user_agent="builder/2")
    agents = {request.headers["User-Agent"] for request in requests(router)}
    assert agents == {f"builder/2 ocipush/{ocipush.__version__}"}


async def test_cookie_of_the_registry_does_not_come_back(push: Push, router: respx.Router) -> None:
    router["tag"].respond(404, headers={"Set-Cookie": "sid=1; Path=/"})
    await push()
    assert not any("Cookie" in request.headers for request in requests(router))
