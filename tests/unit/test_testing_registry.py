"""The development registry answers as the distribution specification says."""

from __future__ import annotations

import hashlib
import json
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest
import trustme

from ocipush.testing import BasicAuth, BearerAuth, Registry, UnexpectedRequestError
from ocipush.testing.pytest_plugin import ocipush_registry as _fixture

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
TYPE = "application/vnd.oci.image.manifest.v1+json"
ocipush_registry = _fixture


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def client(registry: Registry) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=registry.url, trust_env=False)


async def upload(http: httpx.AsyncClient, name: str, data: bytes) -> httpx.Response:
    where = (await http.post(f"/v2/{name}/blobs/uploads/")).headers["location"]
    return await http.put(where, params={"digest": sha(data)}, content=data)


@pytest.mark.parametrize("kept", [False, True])
async def test_an_image_is_pushed_and_read_back(tmp_path: Path, kept: bool) -> None:
    storage = tmp_path / "kept" if kept else None
    config = b"{}"
    raw = json.dumps({"mediaType": TYPE, "config": {"digest": sha(config)}, "layers": []}).encode()
    async with Registry(storage=storage) as registry, client(registry) as http:
        early = await http.put("/v2/a/b/manifests/v1", content=raw, headers={"content-type": TYPE})
        assert early.json()["errors"][0]["code"] == "MANIFEST_BLOB_UNKNOWN"
        assert (await upload(http, "a/b", config)).status_code == 201
        put = await http.put("/v2/a/b/manifests/v1", content=raw, headers={"content-type": TYPE})
        assert put.status_code == 201
        assert (await http.get("/v2/a/b/manifests/v1")).content == raw
        assert (await http.get(f"/v2/a/b/blobs/{sha(config)}")).content == config
        assert (await http.head(f"/v2/a/c/blobs/{sha(config)}")).status_code == 404
        assert (await http.get("/v2/a/b/tags/list")).json()["tags"] == ["v1"]
        mount = {"mount": sha(config), "from": "a/b"}
        assert (await http.post("/v2/a/c/blobs/uploads/", params=mount)).status_code == 201
        assert [r.status for r in registry.requests][:3] == [404, 202, 201]
    if kept:
        assert Registry(storage=storage).repository("a/b").tags == {"v1": sha(raw)}


async def test_chunks_out_of_order_are_refused_with_416() -> None:
    async with Registry() as registry, client(registry) as http:
        where = (await http.post("/v2/a/blobs/uploads/")).headers["location"]
        first = await http.patch(where, content=b"abc", headers={"content-range": "0-2"})
        assert (first.status_code, first.headers["range"]) == (202, "0-2")
        again = await http.patch(where, content=b"abc", headers={"content-range": "0-2"})
        assert again.status_code == 416
        assert (await http.get(where)).headers["range"] == "0-2"
        wrong = await http.put(where, params={"digest": sha(b"x")})
        assert wrong.json()["errors"][0]["code"] == "DIGEST_INVALID"
        assert (await http.delete(where)).status_code == 404


async def test_basic_auth_refuses_a_wrong_password() -> None:
    async with Registry(auth=BasicAuth({"u": "p"})) as registry, client(registry) as http:
        assert (await http.get("/v2/", auth=("u", "no"))).status_code == 401
        assert (await http.get("/v2/", auth=("u", "p"))).status_code == 200


async def test_a_bearer_token_has_scopes_and_expires() -> None:
    now = [0.0]
    auth = BearerAuth({"u": "p"}, anonymous=("pull",), clock=lambda: now[0])
    async with Registry(auth=auth) as registry, client(registry) as http:
        refused = await http.post("/v2/a/blobs/uploads/")
        assert 'scope="repository:a:push"' in refused.headers["www-authenticate"]
        scope = {"scope": "repository:a:pull,push"}
        for login, status in ((None, 401), (("u", "p"), 202)):
            token = (await http.get("/token", params=scope, auth=login)).json()["token"]
            headers = {"authorization": f"Bearer {token}"}
            answer = await http.post("/v2/a/blobs/uploads/", headers=headers)
            assert answer.status_code == status
        now[0] = 301
        assert (await http.post("/v2/a/blobs/uploads/", headers=headers)).status_code == 401


async def test_a_strict_registry_reports_unknown_routes() -> None:
    with pytest.raises(UnexpectedRequestError, match="GET /v3/"):
        async with Registry(strict=True) as registry, client(registry) as http:
            await http.get("/v3/")


async def test_a_request_outside_the_allowed_list_is_reported() -> None:
    with pytest.raises(UnexpectedRequestError, match="/v2/a/tags/list"):  # noqa: PT012
        async with Registry(strict=True, allowed=("GET /v2/",)) as registry, client(registry) as http:
            await http.get("/v2/")
            await http.get("/v2/a/tags/list")


@pytest.mark.parametrize(
    ("raw", "headers"),
    [
        (b"[" * 100_000, {"content-type": TYPE}),
        (b"[]", {"content-type": TYPE}),
        (b"{}", {}),
        (b'{"subject": null}', {"content-type": TYPE}),
        (b'{"mediaType": "other"}', {"content-type": TYPE}),
    ],
)
async def test_a_malformed_manifest_is_refused(raw: bytes, headers: dict[str, str]) -> None:
    async with Registry() as registry, client(registry) as http:
        put = await http.put("/v2/a/manifests/v1", content=raw, headers=headers)
        assert (put.status_code, put.json()["errors"][0]["code"]) == (400, "MANIFEST_INVALID")


async def test_a_manifest_is_put_by_digest_and_listed_as_a_referrer() -> None:
    subject = sha(b"subject")
    raw = json.dumps({"mediaType": TYPE, "subject": {"digest": subject}}).encode()
    async with Registry() as registry, client(registry) as http:
        kind = {"content-type": TYPE}
        wrong = await http.put(f"/v2/a/manifests/{subject}", content=raw, headers=kind)
        assert wrong.json()["errors"][0]["code"] == "DIGEST_INVALID"
        put = await http.put(f"/v2/a/manifests/{sha(raw)}", content=raw, headers=kind)
        assert (put.status_code, put.headers["oci-subject"]) == (201, subject)
        found = (await http.get(f"/v2/a/referrers/{subject}")).json()["manifests"]
        assert [entry["digest"] for entry in found] == [sha(raw)]
        assert registry.repository("a").tags == {}
        big = await http.put("/v2/a/manifests/v1", content=b" " * (4 << 20 | 1), headers=kind)
        assert big.status_code == 413


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"GET //[ HTTP/1.1\r\nHost: a\r\n\r\n"])
async def test_what_is_not_http_gets_400(sent: bytes) -> None:
    async with Registry() as registry:
        host, _, port = registry.host.rpartition(":")
        async with await anyio.connect_tcp(host, int(port)) as stream:
            await stream.send(sent)
            assert (await stream.receive()).startswith(b"HTTP/1.1 400")


async def test_tls_is_spoken_with_the_given_certificate() -> None:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    verify = ssl.create_default_context()
    authority.configure_trust(verify)
    async with (
        Registry(ssl_context=server) as registry,
        httpx.AsyncClient(base_url=registry.url, verify=verify) as http,
    ):
        assert (await http.get("/v2/")).status_code == 200


async def test_a_client_that_leaves_in_mid_body_does_not_stop_the_registry() -> None:
    async with Registry() as registry, client(registry) as http:
        where = (await http.post("/v2/a/blobs/uploads/")).headers["location"]
        host, _, port = registry.host.rpartition(":")
        async with await anyio.connect_tcp(host, int(port)) as stream:
            head = f"PATCH {where} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"
            await stream.send(head.encode())
            await stream.send_eof()
            assert (await stream.receive()).startswith(b"HTTP/1.1 400")
        assert (await http.get(where)).headers["range"] == "0-2"
        assert (await http.delete(where)).status_code == 204


async def test_an_expected_body_is_asked_for_with_100_continue() -> None:
    async with Registry() as registry:
        host, _, port = registry.host.rpartition(":")
        async with await anyio.connect_tcp(host, int(port)) as stream:
            head = "PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
            await stream.send(f"{head}Expect: 100-continue\r\n\r\n".encode())
            assert (await stream.receive()).startswith(b"HTTP/1.1 100")
            await stream.send(b"{}")
            assert (await stream.receive()).startswith(b"HTTP/1.1 400")


async def test_plain_http_to_a_tls_port_does_not_stop_the_registry() -> None:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    verify = ssl.create_default_context()
    authority.configure_trust(verify)
    async with Registry(ssl_context=server) as registry, httpx.AsyncClient(verify=verify, trust_env=False) as http:
        with pytest.raises(httpx.TransportError):
            await http.get(f"http://{registry.host}/v2/")
        assert (await http.get(f"{registry.url}/v2/")).status_code == 200


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH", "PUT"])
async def test_an_unknown_upload_session_is_reported(method: str) -> None:
    async with Registry() as registry, client(registry) as http:
        answer = await http.request(method, f"/v2/a/blobs/uploads/{'0' * 32}")
        assert answer.json()["errors"][0]["code"] == "BLOB_UPLOAD_UNKNOWN"


async def test_a_blob_is_posted_whole_and_a_mount_from_elsewhere_falls_back_to_an_upload() -> None:
    async with Registry() as registry, client(registry) as http:
        where = "/v2/a/blobs/uploads/"
        done = await http.post(where, params={"digest": sha(b"x")}, content=b"x")
        assert done.status_code == 201
        assert registry.repository("a").blobs == {sha(b"x"): b"x"}
        mount = await http.post(where, params={"mount": sha(b"y"), "from": "b"})
        assert mount.status_code == 202
        ranged = {"content-range": "5-6"}
        bad = await http.put(mount.headers["location"], content=b"yy", headers=ranged)
        assert bad.status_code == 416
        assert (await http.get("/v2/a/manifests/none")).status_code == 404
        assert (await http.get("/v2/a/tags/list", params={"n": "1"})).json()["tags"] == []
        assert (await http.put("/v2/a/manifests/-no", content=b"{}")).status_code == 400


def test_the_command_prints_its_address() -> None:
    command = [sys.executable, "-m", "ocipush.testing", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            host = process.stdout.readline().strip()
            assert httpx.get(f"http://{host}/v2/", trust_env=False).status_code == 200
        finally:
            process.terminate()


def test_the_fixture_runs_a_registry_for_blocking_code(ocipush_registry: Registry) -> None:
    url = f"{ocipush_registry.url}/v2/"
    assert httpx.get(url, trust_env=False).status_code == 200
    assert [request.path for request in ocipush_registry.requests] == ["/v2/"]
