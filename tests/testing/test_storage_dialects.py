"""Registries whose blobs are in a storage service, and those that find a new blob only after a while."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
import trio
import trio.testing
from tests.memory_network import MemoryRegistry, Network

from ocipush.testing import DIALECTS, BasicAuth, BearerAuth, Dialect, Registry, Restart, UnexpectedRequestError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
TYPE = "application/vnd.oci.image.manifest.v1+json"
REDIRECTING = {name: one.blob_redirect for name, one in DIALECTS.items() if one.blob_redirect}
BLOB = b"layer"


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def client(registry: Registry) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=registry.url, trust_env=False)


async def upload(http: httpx.AsyncClient, data: bytes, name: str = "a") -> None:
    location = (await http.post(f"/v2/{name}/blobs/uploads/")).headers["location"]
    join = "&" if "?" in location else "?"
    put = await http.put(f"{location}{join}digest={sha(data)}", content=data)
    assert put.status_code == 201


async def put_manifest(http: httpx.AsyncClient, *blobs: bytes) -> httpx.Response:
    layers = [{"digest": sha(blob)} for blob in blobs]
    raw = json.dumps({"mediaType": TYPE, "layers": layers}).encode()
    return await http.put("/v2/a/manifests/1", content=raw, headers={"content-type": TYPE})


def test_docker_hub_harbor_pulp_and_distribution_on_s3_redirect() -> None:
    assert REDIRECTING == {"docker-hub": 307, "harbor": 307, "pulp": 302, "distribution-s3": 307}


@pytest.mark.parametrize("status", [302, 303, 307])
@pytest.mark.parametrize("where", ["port", "path"])
@pytest.mark.parametrize("kept", [False, True], ids=["memory", "directory"])
async def test_blob_is_redirected_to_a_signed_url_of_another_origin_or_path(
    where: Any, status: int, kept: bool, tmp_path: Path
) -> None:
    dialect = Dialect(blob_redirect=status, blob_storage=where)
    async with Registry(dialect=dialect, storage=tmp_path if kept else None) as registry, client(registry) as http:
        await upload(http, BLOB)
        for method, body in (("HEAD", b""), ("GET", BLOB)):
            answer = await http.request(method, f"/v2/a/blobs/{sha(BLOB)}")
            target = urlsplit(answer.headers["location"])
            assert answer.status_code == status
            assert (f"{target.scheme}://{target.netloc}" == registry.url) is (where == "path")
            assert not target.path.startswith("/v2/")
            assert bool(answer.content) is (method == "GET")
            stored = await http.request(method, answer.headers["location"])
            assert (stored.status_code, stored.content) == (200, body)
            assert stored.headers["content-length"] == str(len(BLOB))
        unknown = await http.head(f"/v2/a/blobs/{sha(b'none')}")
        assert (unknown.status_code, "location" in unknown.headers) == (404, False)


@pytest.mark.parametrize("where", ["port", "path"])
async def test_storage_refuses_an_unsigned_url_and_one_that_was_signed_for_another_method(where: Any) -> None:
    dialect = Dialect(blob_redirect=307, blob_storage=where)
    async with Registry(dialect=dialect) as registry, client(registry) as http:
        await upload(http, BLOB)
        signed = (await http.head(f"/v2/a/blobs/{sha(BLOB)}")).headers["location"]
        for url in (signed.partition("?")[0], f"{signed}0", signed.replace(sha(BLOB), sha(b"other"))):
            assert (await http.head(url)).status_code == 403
        refused = await http.get(signed)
        assert (refused.status_code, "SignatureDoesNotMatch" in refused.text) == (403, True)
        registry.repository("a").blobs.clear()
        assert (await http.head(signed)).status_code == 404


async def test_storage_on_its_own_port_is_no_registry_and_the_registry_no_storage() -> None:
    async with Registry(dialect=Dialect(blob_redirect=307)) as registry, client(registry) as http:
        await upload(http, BLOB)
        signed = urlsplit((await http.head(f"/v2/a/blobs/{sha(BLOB)}")).headers["location"])
        assert (await http.get(f"http://{signed.netloc}/v2/")).status_code == 403
        assert (await http.get(f"{signed.path}?{signed.query}")).status_code == 404


@pytest.mark.parametrize("where", ["port", "path"])
async def test_login_that_is_sent_to_the_storage_is_refused_and_reported(where: Any) -> None:
    dialect = Dialect(blob_redirect=307, blob_storage=where)
    with pytest.raises(UnexpectedRequestError, match="it sends a login to the storage service"):  # noqa: PT012
        async with (
            Registry(dialect=dialect, auth=BasicAuth({"u": "p"}), strict=True) as registry,
            client(registry) as http,
            client(registry) as anonymous,
        ):
            http.auth = ("u", "p")
            await upload(http, BLOB)
            signed = (await http.head(f"/v2/a/blobs/{sha(BLOB)}")).headers["location"]
            assert (await http.head(signed)).status_code == 400
            assert (await anonymous.head(signed)).status_code == 200


async def test_storage_survives_a_restart_on_the_same_port() -> None:
    dialect = Dialect(blob_redirect=307)
    async with Registry(dialect=dialect, faults=[Restart("GET /v2/")]) as registry, client(registry) as http:
        await upload(http, BLOB)
        signed = (await http.head(f"/v2/a/blobs/{sha(BLOB)}")).headers["location"]
        with pytest.raises(httpx.TransportError):
            await http.get("/v2/")
        with anyio.fail_after(10):
            while not (await reached(http, signed)):
                await anyio.sleep(0.001)


async def reached(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.head(url)).status_code == 200
    except httpx.TransportError:
        return False


async def test_redirect_is_only_for_those_who_may_read() -> None:
    async with (
        Registry(dialect="docker-hub", auth=BearerAuth({"u": "p"})) as registry,
        client(registry) as http,
    ):
        registry.repository("a").blobs[sha(BLOB)] = BLOB
        refused = await http.head(f"/v2/a/blobs/{sha(BLOB)}")
        assert (refused.status_code, "location" in refused.headers) == (401, False)


async def test_new_blob_is_not_found_so_many_times() -> None:
    async with Registry(dialect=Dialect(unseen_lookups=3)) as registry, client(registry) as http:
        await upload(http, BLOB)
        seen = [
            (await http.head(f"/v2/a/blobs/{sha(BLOB)}")).status_code,
            (await http.post("/v2/b/blobs/uploads/", params={"mount": sha(BLOB), "from": "a"})).status_code,
            (await put_manifest(http, BLOB)).status_code,
            (await put_manifest(http, BLOB)).status_code,
            (await http.head(f"/v2/a/blobs/{sha(BLOB)}")).status_code,
        ]
        assert seen == [404, 202, 404, 201, 200]
        await upload(http, BLOB)  # what is there already stays found
        assert (await http.get(f"/v2/a/blobs/{sha(BLOB)}")).content == BLOB


async def test_mounted_blob_is_new_in_its_repository_and_old_in_the_other() -> None:
    async with Registry(dialect=Dialect(unseen_lookups=1)) as registry, client(registry) as http:
        registry.repository("b").blobs[sha(BLOB)] = BLOB
        assert (await http.post("/v2/a/blobs/uploads/", params={"mount": sha(BLOB), "from": "b"})).status_code == 201
        seen = [(await http.head(f"/v2/{name}/blobs/{sha(BLOB)}")).status_code for name in "aab"]
        assert seen == [404, 200, 200]


async def test_deleted_blob_is_new_when_it_comes_again() -> None:
    async with Registry(dialect=Dialect(unseen_lookups=1)) as registry, client(registry) as http:
        await upload(http, BLOB)
        await http.head(f"/v2/a/blobs/{sha(BLOB)}")
        assert (await http.delete(f"/v2/a/blobs/{sha(BLOB)}")).status_code == 202
        await upload(http, BLOB)
        seen = [(await http.head(f"/v2/a/blobs/{sha(BLOB)}")).status_code for _ in range(2)]
        assert seen == [404, 200]


async def test_manifest_is_refused_with_the_names_of_the_blobs_that_are_not_found_yet() -> None:
    async with Registry(dialect=replace(DIALECTS["eventual"], unseen_lookups=1)) as registry, client(registry) as http:
        registry.repository("a").blobs[sha(b"old")] = b"old"
        await upload(http, BLOB)
        refused = await put_manifest(http, b"old", BLOB)
        assert [error["detail"] for error in refused.json()["errors"]] == [sha(BLOB)]
        assert registry.repository("a").blobs == {sha(b"old"): b"old", sha(BLOB): BLOB}


def test_new_blob_is_not_found_for_so_many_seconds_of_whatever_clock_the_event_loop_has() -> None:
    seen: list[int] = []

    async def main() -> None:
        network = Network()
        async with MemoryRegistry(network, secure=False, dialect=Dialect(unseen_seconds=30.0)) as registry:
            repository = registry.repository("a")
            session = await repository.start()
            await ask(network, f"PUT /v2/a/blobs/uploads/{session.id}?digest={sha(BLOB)}", BLOB)
            for wait in (0, 29.9, 0.2):
                await trio.sleep(wait)
                seen.append(await ask(network, f"HEAD /v2/a/blobs/{sha(BLOB)}"))

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert seen == [404, 404, 200]


async def ask(network: Network, line: str, body: bytes = b"") -> int:
    """The status of a request on a connection of its own."""
    wire = await network.connect("registry.test", 80, None, None)
    head = f"{line} HTTP/1.1\r\nHost: registry.test\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    wire.put(head.encode() + body)
    answer = b""
    while b"\r\n\r\n" not in answer:
        await wire.readable()
        answer += wire.receive_now() or b""
    wire.close()
    return int(answer.split(b" ", 2)[1])
