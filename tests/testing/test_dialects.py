"""Each dialect of the development registry behaves on the wire as that registry was seen to behave."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from ocipush.testing import DIALECTS, BearerAuth, Dialect, Registry, UnexpectedRequestError
from ocipush.testing.__main__ import parse
from ocipush.testing._storage import StoredManifest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio
UPLOADS = "/v2/a/blobs/uploads/"
TYPE = "application/vnd.oci.image.manifest.v1+json"
BLOB = {"content-type": "application/octet-stream"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def client(registry: Registry) -> httpx.AsyncClient:
    http = httpx.AsyncClient(base_url=registry.url, trust_env=False, headers=BLOB)
    http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return http


def registry_of(name: str, **changes: Any) -> Registry:
    return Registry(dialect=replace(DIALECTS[name], **changes), repositories=("a", "b"))


def closing(location: str, data: bytes) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={sha(data)}"


def said(answer: httpx.Response) -> str:
    """The status, then Range, and the first error's code, as far as there are."""
    body = answer.json() if "json" in answer.headers.get("content-type", "") else {}
    codes = [error["code"] for error in body.get("errors", ())]
    return " ".join([str(answer.status_code), *filter(None, [answer.headers.get("range")]), *codes])


class Session:
    """An upload session that a well-behaved client holds: always at the latest Location."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.location = ""

    async def ask(self, method: str, data: bytes = b"", start: int | None = None, closes: bytes | None = None) -> str:
        where = self.location if method != "POST" else UPLOADS
        where = closing(where, closes) if closes is not None else where
        ranged = {} if start is None else {"content-range": f"{start}-{start + len(data) - 1}"}
        answer = await self.http.request(method, where, content=data, headers=ranged)
        self.location = answer.headers.get("location", self.location) if answer.status_code < 300 else self.location
        return said(answer)


async def open_with(http: httpx.AsyncClient, *chunks: bytes) -> Session:
    session, start = Session(http), 0
    await session.ask("POST")
    for chunk in chunks:
        await session.ask("PATCH", chunk, start)
        start += len(chunk)
    return session


# opened · first chunk · second chunk · GET · the first chunk sent again · POST of a whole blob · mounts: itself, another
WIRE = {
    "spec": ["202 0-0", "202 0-2", "202 0-4", "204 0-4", "416 0-4 RANGE_INVALID", "201", "201", "201"],
    "minimal": ["202 0-0", "202 0-2", "202 0-4", "204 0-4", "416 RANGE_INVALID", "202 0-0", "202 0-0", "202 0-0"],
    "distribution-2.8": ["202 0-0", "202 0-2", "202 0-4", "204 0-4", "202 0-7", "202 0-0", "201", "201"],
    "distribution-3": ["202 0-0", "202 0-2", "202 0-4", "204 0-4", "416 RANGE_INVALID", "202 0-0", "201", "201"],
    "zot": ["202 0-0", "202 0-2", "202 0-4", "204 0-4", "416 0-4 RANGE_INVALID", "201", "201", "201"],
    "quay": ["202 bytes=0--1", "202 0-2", "202 0-4", "204 bytes=0-5", "202 0-4", "201", "201", "201"],
    "ecr": ["202 0-0", "201 0-2", "201 0-2", "204 0-2", "416 0-4 RANGE_INVALID", "201", "202 0-0", "202 0-0"],
    "ecr-public": ["202 0-0", "202 0-2", "202 0-4", "204 0-4", "416 0-4 RANGE_INVALID", "201", "202 0-0", "202 0-0"],
    "ghcr": ["202 0-0", "202 0-2", "202 0-4", "204 0-4", "416 0-4 RANGE_INVALID", "201", "201", "201"],
    "gar": ["202 0-0", *["405 UNSUPPORTED"] * 2, "204 0-0", "405 UNSUPPORTED", "201", "201", "201"],
    "acr": ["202 0-0", "202 0-2", "202 0-4", "204 0-4", "416 0-4 RANGE_INVALID", "201", "201", "201"],
    "docker-hub": ["202 0-0", "202 0-2", "202 0-4", "204 0-4", "416 RANGE_INVALID", "202 0-0", "201", "201"],
    "harbor": ["202 0-0", "202 0-2", "202 0-4", "204 0-4", "202 0-7", "202 0-0", "201", "201"],
    "artifactory": ["202 0-0", "202 0-2", "202 0-4", "204 0-4", "416 0-4 RANGE_INVALID", "201", "201", "201"],
    "artifactory-patch-only": [
        "202 0-0",
        "202 0-2",
        "202 0-4",
        "204 0-4",
        "416 0-4 RANGE_INVALID",
        "201",
        "201",
        "201",
    ],
    "nexus": ["202 0-0", "202 0-2", "202 0-4", "204 0-4", "416 0-4 RANGE_INVALID", "201", *["405 UNSUPPORTED"] * 2],
    "aliyun": ["202 0-0", "202 0-2", "202 0-1", "204 0-1", "416 0-4 RANGE_INVALID", "201", "201", "201"],
    "gitlab": ["202 0-0", "202 0-2", "202 0-4", "204 0-4", "416 RANGE_INVALID", "202 0-0", "201", "401 UNAUTHORIZED"],
    "ggcr": ["202 0-0", "202 0-2", "202 0-4", "400 NAME_INVALID", "416 RANGE_INVALID", "201", "202 0-0", "202 0-0"],
    "pulp": ["202 0-0", "204 0-2", "204 0-4", "204 0-4", "416 0-4 RANGE_INVALID", "201", "202 0-0", "202 0-0"],
    "body-limit": ["202 0-0", "202 0-2", "202 0-4", "204 0-4", "416 RANGE_INVALID", "202 0-0", "201", "201"],
}
WIRE.update(dict.fromkeys(("distribution-s3", "body-limit-403", "time-limit"), WIRE["distribution-3"]))
WIRE.update({"time-limit-2.8": WIRE["distribution-2.8"], "eventual": WIRE["spec"]})


async def test_table_has_every_dialect() -> None:
    assert WIRE.keys() == DIALECTS.keys()


@pytest.mark.parametrize("name", DIALECTS)
async def test_session_and_mounts_are_answered_as_that_registry_does(name: str) -> None:
    async with registry_of(name, min_chunk=0) as registry, client(registry) as http:
        session = Session(http)
        seen = [await session.ask("POST"), await session.ask("PATCH", b"abc", 0), await session.ask("PATCH", b"de", 3)]
        seen += [await session.ask("GET"), await session.ask("PATCH", b"abc", 0)]
        seen.append(said(await http.post(UPLOADS, params={"digest": sha(b"x")}, content=b"x")))
        registry.repository("a").blobs[sha(b"m")] = registry.repository("b").blobs[sha(b"n")] = b"m"
        for digest, source in ((sha(b"m"), "a"), (sha(b"n"), "b")):
            seen.append(said(await http.post(UPLOADS, params={"mount": digest, "from": source})))
        assert seen == WIRE[name]


@pytest.mark.parametrize("name", DIALECTS)
async def test_blob_is_closed_by_a_put_with_its_last_bytes_or_none(name: str) -> None:
    taken = {"empty": "201", "last": "201", "whole": "201"}
    odd = {
        "ecr": {"empty": "500 UNKNOWN"},
        "ecr-public": {"last": "400 DIGEST_INVALID"},
        "artifactory-patch-only": {"last": "404 BLOB_UNKNOWN", "whole": "404 BLOB_UNKNOWN"},
        "gar": {"empty": "400 DIGEST_INVALID", "last": "416 0-0 RANGE_INVALID"},
    }
    async with registry_of(name, min_chunk=0) as registry, client(registry) as http:
        seen = {
            "empty": await (await open_with(http, b"abc")).ask("PUT", closes=b"abc"),
            "last": await (await open_with(http, b"abc")).ask("PUT", b"de", 3, closes=b"abcde"),
            "whole": await (await open_with(http)).ask("PUT", b"fgh", closes=b"fgh"),
        }
        assert seen == {**taken, **odd.get(name, {})}
        violations = [request.violation for request in registry.unexpected]
        assert violations == (
            [f"{sha(b'abcde')} is recorded with 2 bytes, but has 5"] if name == "harbor" else []
        )  # Harbor takes the last Content-Length for the blob's size


@pytest.mark.parametrize("name", DIALECTS)
async def test_closing_put_made_twice_finds_no_session(name: str) -> None:
    async with registry_of(name, put_body=True) as registry, client(registry) as http:
        session = await open_with(http)
        where = session.location
        assert await session.ask("PUT", b"x", closes=b"x") == "201"
        session.location = where
        assert await session.ask("PUT", b"x", closes=b"x") == "404 BLOB_UPLOAD_UNKNOWN"


LOCATIONS = {
    "spec": "/v2/a/blobs/uploads/ID",
    "ghcr": "/v2/a/blobs/upload/ID",
    "gar": "/artifacts-uploads/namespaces/a/uploads/ID",
    "acr": "/v2/a/blobs/uploads/ID?_nouploadcache=false&_state=STATE",
    "distribution-3": "URL/v2/a/blobs/uploads/ID?_state=STATE",
}


@pytest.mark.parametrize("name", LOCATIONS)
async def test_location_has_the_shape_of_that_registry(name: str) -> None:
    async with registry_of(name) as registry, client(registry) as http:
        location = (await open_with(http)).location.replace(registry.url, "URL")
        (upload,) = registry.repository("a").uploads
        state = location.partition("_state=")[2] or "STATE"
        assert location.replace(upload, "ID").replace(state, "STATE") == LOCATIONS[name]


async def test_quay_tells_no_location_when_it_is_asked() -> None:
    async with registry_of("quay") as registry, client(registry) as http:
        answer = await http.get((await open_with(http, b"abc")).location)
        assert "location" not in answer.headers


async def test_quay_takes_what_is_new_of_a_chunk_that_overlaps() -> None:
    async with registry_of("quay") as registry, client(registry) as http:
        session = await open_with(http, b"abc")
        assert await session.ask("PATCH", b"cde", 4) == "416 0-3 RANGE_INVALID"
        assert await session.ask("PUT", b"bcde", 1, closes=b"abcde") == "201"
        assert registry.repository("a").blobs == {sha(b"abcde"): b"abcde"}


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize(
    ("name", "seen", "then"),
    [
        ("distribution-2.8", "404 BLOB_UPLOAD_INVALID", "204 0-2"),
        ("harbor", "404 BLOB_UPLOAD_INVALID", "204 0-2"),
        ("acr", "404 BLOB_UPLOAD_INVALID", "404 BLOB_UPLOAD_UNKNOWN"),
        ("distribution-3", "416 RANGE_INVALID", "204 0-2"),
    ],
)
async def test_stale_state_is_refused_and_may_end_the_session(name: str, seen: str, then: str, method: str) -> None:
    async with registry_of(name) as registry, client(registry) as http:
        session = await open_with(http)
        stale = session.location
        await session.ask("PATCH", b"abc", 0)
        latest, session.location = session.location, stale
        answered = await session.ask(method, b"de" if method in {"PATCH", "PUT"} else b"")
        assert answered == ("204 0-2" if (name, method) == ("distribution-3", "GET") else seen)
        session.location = latest
        assert await session.ask("GET") == then


@pytest.mark.parametrize(
    ("name", "seen"), [("distribution-3", "204 0-2"), ("distribution-2.8", "404 BLOB_UPLOAD_INVALID")]
)
async def test_state_that_is_missing_is_no_state(name: str, seen: str) -> None:
    async with registry_of(name) as registry, client(registry) as http:
        session = await open_with(http, b"abc")
        session.location = session.location.partition("?")[0]
        assert await session.ask("PATCH", b"de", 3) == "404 BLOB_UPLOAD_INVALID"
        assert await session.ask("GET") == seen


async def test_distribution_keeps_a_session_whose_digest_was_wrong() -> None:
    async with registry_of("distribution-3") as registry, client(registry) as http:
        session = await open_with(http)
        assert await session.ask("PUT", b"ab", closes=b"other") == "400 DIGEST_INVALID"
        assert await session.ask("GET") == "204 0-1"
        assert await session.ask("PUT", b"c", closes=b"abc") == "201"


async def test_ggcr_neither_tells_of_a_session_nor_deletes_it() -> None:
    async with registry_of("ggcr") as registry, client(registry) as http:
        session = await open_with(http, b"abc")
        assert await session.ask("DELETE") == "400 NAME_INVALID"
        assert await session.ask("PUT", b"d", 3, closes=b"abcd") == "201"


@pytest.mark.parametrize(
    ("name", "status", "named"), [("spec", 404, True), ("distribution-3", 400, True), ("minimal", 404, False)]
)
async def test_manifest_without_its_blobs_is_refused_by_name_or_without(name: str, status: int, named: bool) -> None:
    layers = [{"digest": sha(b"1")}, {"digest": sha(b"2")}]
    raw = json.dumps({"mediaType": TYPE, "layers": layers}).encode()
    async with registry_of(name) as registry, client(registry) as http:
        put = await put_manifest(http, raw, "1")
        details = [error.get("detail") for error in put.json()["errors"]]
        assert put.status_code == status
        assert details == ([layer["digest"] for layer in layers] if named else [None])


async def test_query_of_a_location_has_to_come_back_byte_for_byte() -> None:
    odd = "sig=a%2fb%7E+c&x"
    with pytest.raises(UnexpectedRequestError, match="its query does not start with sig"):  # noqa: PT012
        async with Registry(dialect=Dialect(location_query=odd), strict=True) as registry, client(registry) as http:
            session = await open_with(http)
            assert session.location.endswith(f"?{odd}")
            await session.ask("GET")
            session.location = session.location.replace("%2f", "%2F")
            await session.ask("GET")


async def break_off(registry: Registry, method: str, location: str, start: int) -> None:
    """Send half of a body of six bytes, and go away."""
    host, _, port = registry.host.rpartition(":")
    target = location.removeprefix(registry.url)
    head = f"{method} {target} HTTP/1.1\r\nHost: {registry.host}\r\nContent-Length: 6\r\nContent-Range: {start}-{start + 5}"
    async with await anyio.connect_tcp(host, int(port)) as stream:
        await stream.send(f"{head}\r\n\r\nxyz".encode())
        await stream.send_eof()
        assert (await stream.receive()).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("kept", [False, True], ids=["memory", "directory"])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("spec", "204 0-5"),
        ("distribution-3", "204 0-5"),
        ("quay", "204 bytes=0-6"),
        ("zot", "404 BLOB_UPLOAD_UNKNOWN"),
        ("distribution-2.8", "404 BLOB_UPLOAD_INVALID"),
        ("ecr", "204 0-2"),
    ],
)
async def test_body_that_broke_off_is_kept_or_lost(
    name: str, held: str, method: str, kept: bool, tmp_path: Path
) -> None:
    dialect = replace(DIALECTS[name], min_chunk=0)
    storage = tmp_path if kept else None
    async with Registry(dialect=dialect, repositories=("a",), storage=storage) as registry, client(registry) as http:
        session = await open_with(http, b"abc")
        where = session.location if method == "PATCH" else closing(session.location, b"abcuvwxyz")
        await break_off(registry, method, where, 3)
        assert await session.ask("GET") == held
        if held.startswith("204"):  # what was kept is gone on with
            data, start = (b"abcuvw", 3) if name == "ecr" else (b"abcxyzuvw", 6)
            assert await session.ask("PUT", data[start:], start, closes=data) == "201"


async def test_zot_tells_of_a_streamed_body_alone_and_wants_the_place_of_the_last() -> None:
    async def streamed() -> AsyncIterator[bytes]:
        yield b"de"

    async with registry_of("zot") as registry, client(registry) as http:
        session = await open_with(http, b"abc")
        answer = await http.patch(session.location, content=streamed())
        assert said(answer) == "202 0-1"
        assert await session.ask("PUT", b"f", closes=b"abcdef") == "416 0-4 RANGE_INVALID"
        assert await session.ask("PUT", b"f", 5, closes=b"abcdef") == "201"


async def test_distribution_does_not_check_the_place_of_a_streamed_body() -> None:
    async def streamed() -> AsyncIterator[bytes]:
        yield b"de"

    async with registry_of("distribution-3") as registry, client(registry) as http:
        session = await open_with(http, b"abc")
        assert await session.ask("PATCH", b"de", 7) == "416 RANGE_INVALID"
        answer = await http.patch(session.location, content=streamed(), headers={"content-range": "7-8"})
        assert said(answer) == "202 0-4"


async def test_ghcr_refuses_a_ranged_patch_over_its_limit_and_takes_one_without_a_range() -> None:
    async with registry_of("ghcr") as registry, client(registry) as http:
        session, much = await open_with(http), b"x" * (4 * 1024 * 1024 + 1)
        headers = {"content-range": f"0-{len(much) - 1}"}
        answer = await http.patch(session.location, content=much, headers=headers)
        assert said(answer) == "416 REQUESTED_RANGE_NOT_SATISFIABLE"
        assert "exceeds the maximum permissible limit of 4.00MiB" in answer.text
        assert await session.ask("PATCH", much[1:], 0) == "202 0-4194303"
        assert await (await open_with(http)).ask("PATCH", much) == "202 0-4194304"


async def test_ecr_announces_the_least_chunk_and_refuses_what_follows_a_smaller_one() -> None:
    async with registry_of("ecr", min_chunk=3) as registry, client(registry) as http:
        answer = await http.post(UPLOADS, params={"mount": sha(b"abcde"), "from": "a"})
        assert (said(answer), answer.headers["oci-chunk-min-length"]) == ("202 0-0", "3")
        session = await open_with(http, b"abc")
        assert await session.ask("PUT", b"de", 3, closes=b"abcde") == "201"
        session = await open_with(http, b"ab")
        assert await session.ask("PATCH", b"cde", 2) == "400 SIZE_INVALID"


@pytest.mark.parametrize(("name", "said_to_be"), [("ecr", "404 NAME_UNKNOWN"), ("aliyun", "403 DENIED")])
async def test_repository_is_not_made_by_a_push(name: str, said_to_be: str) -> None:
    async with registry_of(name) as registry, client(registry) as http:
        assert said(await http.post("/v2/new/blobs/uploads/")) == said_to_be
        assert said(await http.get("/v2/a/manifests/1")) == "404 MANIFEST_UNKNOWN"


async def test_zot_finds_a_blob_wherever_it_is_and_refuses_from_alone() -> None:
    async with registry_of("zot") as registry, client(registry) as http:
        registry.repository("b").blobs[sha(b"m")] = b"m"
        assert said(await http.post(UPLOADS, params={"mount": sha(b"m"), "from": "c"})) == "201"
        assert said(await http.post(UPLOADS, params={"mount": sha(b"none")})) == "202 0-0"
        assert said(await http.post(UPLOADS, params={"from": "b"})) == "405 UNSUPPORTED"


async def test_zot_takes_a_whole_blob_of_its_media_type_only() -> None:
    async with registry_of("zot") as registry, client(registry) as http:
        wrong = {"content-type": "text/plain"}
        answer = await http.post(UPLOADS, params={"digest": sha(b"x")}, content=b"x", headers=wrong)
        assert (said(answer), registry.repository("a").uploads) == ("415 UNSUPPORTED", {})


@pytest.mark.parametrize(("name", "status"), [("gar", 201), ("spec", 202), ("distribution-3", 202)])
async def test_mount_without_a_source_asks_for_a_blob_of_the_repository_itself(name: str, status: int) -> None:
    async with registry_of(name) as registry, client(registry) as http:
        registry.repository("a").blobs[sha(b"m")] = b"m"
        assert (await http.post(UPLOADS, params={"mount": sha(b"m")})).status_code == status


async def test_nexus_refuses_the_second_of_two_sessions_that_close_with_one_blob() -> None:
    async with registry_of("nexus") as registry, client(registry) as http:
        first, second = await open_with(http), await open_with(http)
        reached, go_on = anyio.Event(), anyio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield b"x"
            reached.set()
            await go_on.wait()
            yield b"y"

        seen: list[str] = []

        async def put() -> None:
            seen.append(said(await http.put(closing(first.location, b"xy"), content=slowly())))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(put)
            await reached.wait()
            while not any(upload.size for upload in registry.repository("a").uploads.values()):
                await anyio.lowlevel.checkpoint()
            assert await second.ask("PUT", b"xy", closes=b"xy") == "400 BLOB_UPLOAD_INVALID"
            go_on.set()
        assert seen == ["201"]
        assert await (await open_with(http)).ask("PUT", b"xy", closes=b"xy") == "201"


async def put_manifest(http: httpx.AsyncClient, raw: bytes, identifier: str) -> httpx.Response:
    return await http.put(f"/v2/a/manifests/{identifier}", content=raw, headers={"content-type": TYPE})


async def test_quay_says_ok_in_what_calls_itself_html() -> None:
    raw = json.dumps({"mediaType": TYPE}).encode()
    async with registry_of("quay") as registry, client(registry) as http:
        put = await put_manifest(http, raw, "1")
        assert (put.status_code, put.text, put.headers["content-type"]) == (201, "OK", "text/html; charset=utf-8")


@pytest.mark.parametrize("stated", ["x", "0-1", "bytes 0-2/*"])
async def test_content_range_that_contradicts_its_body_is_refused(stated: str) -> None:
    async with registry_of("spec") as registry, client(registry) as http:
        session = await open_with(http)
        answer = await http.patch(session.location, content=b"abc", headers={"content-range": stated})
        assert said(answer) == "416 0-0 RANGE_INVALID"


async def test_minimal_registry_says_no_digest_and_knows_no_referrers() -> None:
    raw = json.dumps({"mediaType": TYPE, "subject": {"digest": sha(b"s")}}).encode()
    async with registry_of("minimal") as registry, client(registry) as http:
        put = await put_manifest(http, raw, "1")
        got = await http.get("/v2/a/manifests/1")
        referrers = await http.get(f"/v2/a/referrers/{sha(b's')}")
        assert (put.status_code, got.content, referrers.status_code) == (201, raw, 404)
        assert not {"docker-content-digest", "oci-subject"} & {*put.headers, *got.headers}
        assert referrers.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(("name", "tags"), [("zot", {"1", "2"}), ("distribution-3", set())])
async def test_manifest_put_by_digest_is_tagged_where_that_is_known(name: str, tags: set[str]) -> None:
    raw = json.dumps({"mediaType": TYPE}).encode()
    async with registry_of(name) as registry, client(registry) as http:
        put = await put_manifest(http, raw, f"{sha(raw)}?tag=1&tag=2&tag=-")
        assert put.headers.get("oci-tag", "") == ", ".join(sorted(tags))
        assert registry.repository("a").tags.keys() == tags


async def test_immutable_tag_is_put_once_even_if_it_is_the_same() -> None:
    raw = json.dumps({"mediaType": TYPE}).encode()
    async with registry_of("ecr", immutable_tags="ecr") as registry, client(registry) as http:
        assert said(await put_manifest(http, raw, "1")) == "201"
        assert said(await put_manifest(http, raw, "1")) == "400 TAG_INVALID"
        assert said(await put_manifest(http, raw, sha(raw))) == "201"


async def test_harbor_sets_a_cookie_and_reports_a_request_that_returns_it() -> None:
    async with registry_of("harbor") as registry, client(registry) as http:
        cookie = (await http.get("/v2/")).headers["set-cookie"].partition(";")[0]
        await http.get("/v2/", headers={"cookie": cookie})
        assert cookie.startswith("sid=")
        assert [request.violation for request in registry.unexpected] == ["it sends a cookie"]


async def test_artifactory_takes_an_accept_with_manifests_only() -> None:
    accept = {"accept": TYPE}
    async with registry_of("artifactory") as registry, client(registry) as http:
        assert said(await http.post(UPLOADS, headers=accept)) == "406 UNSUPPORTED"
        assert said(await http.get("/v2/a/manifests/1", headers=accept)) == "404 MANIFEST_UNKNOWN"


async def test_acr_takes_no_body_of_unknown_length() -> None:
    async def streamed() -> AsyncIterator[bytes]:
        yield b"x"

    async with registry_of("acr") as registry, client(registry) as http:
        session = await open_with(http)
        assert said(await http.patch(session.location, content=streamed())) == "400 CONTENT_LENGTH_INVALID"


async def test_warning_comes_with_every_answer() -> None:
    async with Registry(dialect=Dialect(warning="going away")) as registry, client(registry) as http:
        assert (await http.get("/v2/")).headers["warning"] == '299 - "going away"'


async def test_body_over_the_limit_is_refused_before_it_is_sent_and_the_connection_is_closed() -> None:
    async with registry_of("body-limit", max_body=10) as registry, client(registry) as http:
        assert said(await http.post(UPLOADS, content=b"x" * 10)) == "202 0-0"
        host, _, port = registry.host.rpartition(":")
        async with await anyio.connect_tcp(host, int(port)) as stream:
            await stream.send(
                f"PUT {UPLOADS} HTTP/1.1\r\nHost: {registry.host}\r\nContent-Length: 11\r\n\r\nx".encode()
            )
            answer = b""
            while b"</html>" not in answer:
                answer += await stream.receive()
            assert answer.startswith(b"HTTP/1.1 413")
            assert b"text/html" in answer
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()


@pytest.mark.parametrize(
    ("name", "challenge", "scope", "fields"),
    [
        ("spec", 'service="ocipush",scope="repository:a:pull,push"', "", {"token", "access_token", "expires_in"}),
        (
            "harbor",
            'service="harbor-registry",scope="repository:a:pull,push"',
            "",
            {"token", "access_token", "expires_in"},
        ),
        ("ecr-public", 'service="ocipush",scope="aws"', "aws", {"token", "access_token", "expires_in"}),
        ("acr", 'service="ocipush",scope="repository:a:pull,push"', "", {"access_token"}),
    ],
)
async def test_token_service_is_named_and_answers_as_that_registry_does(
    name: str, challenge: str, scope: str, fields: set[str]
) -> None:
    async with (
        Registry(dialect=name, auth=BearerAuth({"u": "p"})) as registry,
        client(registry) as http,
    ):
        refused = await http.post(UPLOADS)
        assert refused.headers["www-authenticate"].endswith(challenge)
        wanted = {"scope": scope or "repository:a:pull,push"}
        issued = (await http.get("/token", params=wanted, auth=("u", "p"))).json()
        assert issued.keys() == fields
        bearer = {"authorization": f"Bearer {issued['access_token']}"}
        assert (await http.post(UPLOADS, headers=bearer)).status_code == 202
        if scope:
            computed = {"scope": "repository:a:pull,push"}
            issued = (await http.get("/token", params=computed, auth=("u", "p"))).json()
            http.headers["authorization"] = f"Bearer {issued['access_token']}"
            assert (await http.head("/v2/a/manifests/1")).status_code == 404


async def test_gitlab_refuses_a_mount_with_a_challenge_that_a_token_was_issued_for() -> None:
    scopes = "repository:a:pull,push repository:b:pull"
    async with Registry(dialect="gitlab", auth=BearerAuth({"u": "p"})) as registry, client(registry) as http:
        token = (await http.get("/token", params={"scope": scopes}, auth=("u", "p"))).json()["token"]
        http.headers["authorization"] = f"Bearer {token}"
        refused = await http.post(UPLOADS, params={"mount": sha(b"m"), "from": "b"})
        assert said(refused) == "401 UNAUTHORIZED"
        assert refused.headers["www-authenticate"].endswith(f'scope="{scopes}"')


async def test_session_is_deleted_only_with_a_token_that_allows_it() -> None:
    async with Registry(dialect="distribution-3", auth=BearerAuth({"u": "p"})) as registry, client(registry) as http:
        for scope, status in (("repository:a:pull,push", 401), ("repository:a:pull,push,delete", 204)):
            token = (await http.get("/token", params={"scope": scope}, auth=("u", "p"))).json()["token"]
            http.headers["authorization"] = f"Bearer {token}"
            answer = await http.delete((await open_with(http)).location)
            assert answer.status_code == status
            if status == 401:
                assert 'scope="repository:a:pull,push repository:a:delete"' in answer.headers["www-authenticate"]


async def test_command_serves_the_dialect_and_repositories_that_it_was_given() -> None:
    registry = parse(["--port", "0", "--dialect", "ecr", "--repository", "team/app"])
    async with registry, client(registry) as http:
        assert (await http.post("/v2/team/app/blobs/uploads/")).headers["oci-chunk-min-length"] == "5242880"
        assert said(await http.post("/v2/other/blobs/uploads/")) == "404 NAME_UNKNOWN"


def test_unknown_dialect_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="none"):
        Registry(dialect="none")


@pytest.mark.parametrize("name", DIALECTS)
async def test_delete_is_unsupported_where_that_registry_does_not_delete(name: str) -> None:
    kept = name in {"minimal", "docker-hub"} or name.startswith(("distribution", "body-limit", "time-limit"))
    async with Registry(dialect=name, repositories=("a",), strict=True) as registry, client(registry) as http:
        for what in ("manifests/1", f"manifests/{sha(b'm')}", f"blobs/{sha(b'b')}"):
            repository = registry.repository("a")
            repository.blobs[sha(b"b")] = b"b"
            repository.manifests[sha(b"m")] = StoredManifest(TYPE, b"m")
            repository.tags["1"] = sha(b"m")
            assert said(await http.delete(f"/v2/a/{what}")) == ("405 UNSUPPORTED" if kept else "202")
            assert (len(repository.blobs) + len(repository.manifests) + len(repository.tags) == 3) is kept
