"""The development registry answers as the distribution specification says."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.lowlevel
import h11
import httpx
import pytest
import trio
import trustme
from tests.virtual_time import descriptors

from ocipush import testing
from ocipush.testing import BasicAuth, BearerAuth, Registry, Request, Response, UnexpectedRequestError
from ocipush.testing.__main__ import main, parse, serve
from ocipush.testing.pytest_plugin import ocipush_registry as _fixture

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
        assert 'scope="repository:a:pull,push"' in refused.headers["www-authenticate"]
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


PERMISSIONS = {"reader": {"team/*": "pull", "open": "pull,push"}}


@pytest.mark.parametrize(
    ("login", "method", "path", "status"),
    [
        (("reader", "r"), "HEAD", "/v2/team/a/manifests/1", 404),
        (("reader", "r"), "POST", "/v2/team/a/blobs/uploads/", 403),
        (("reader", "r"), "POST", "/v2/open/blobs/uploads/", 202),
        (("reader", "r"), "HEAD", "/v2/elsewhere/manifests/1", 403),
        (("reader", "r"), "GET", "/v2/", 200),
        (("owner", "o"), "POST", "/v2/team/a/blobs/uploads/", 202),
    ],
)
async def test_basic_user_may_do_what_is_permitted_in_each_repository(
    login: tuple[str, str], method: str, path: str, status: int
) -> None:
    auth = BasicAuth({"reader": "r", "owner": "o"}, permissions=PERMISSIONS)
    async with Registry(auth=auth) as registry, client(registry) as http:
        answer = await http.request(method, path, auth=login)
        assert answer.status_code == status
        if status == 403 and method != "HEAD":
            assert answer.json()["errors"][0]["code"] == "DENIED"


async def test_bearer_token_holds_no_more_than_is_permitted() -> None:
    auth = BearerAuth({"reader": "r"}, permissions=PERMISSIONS)
    async with Registry(auth=auth) as registry, client(registry) as http:
        scope = {"scope": ["repository:team/a:pull,push repository:open:pull,push", "repository:hidden:pull"]}
        token = (await http.get("/token", params=scope, auth=("reader", "r"))).json()["token"]
        http.headers["authorization"] = f"Bearer {token}"
        assert (await http.head("/v2/team/a/manifests/1")).status_code == 404
        assert (await http.head("/v2/hidden/manifests/1")).status_code == 401
        assert (await http.post("/v2/open/blobs/uploads/")).status_code == 202
        refused = await http.post("/v2/team/a/blobs/uploads/")
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].endswith(
            'scope="repository:team/a:pull,push",error="insufficient_scope"'
        )


async def test_mount_needs_a_scope_on_its_source_and_the_challenge_names_both() -> None:
    async with Registry(auth=BearerAuth({"u": "p"})) as registry, client(registry) as http:
        mount = {"mount": sha(b"x"), "from": "b"}
        refused = await http.post("/v2/a/blobs/uploads/", params=mount)
        wanted = "repository:a:pull,push repository:b:pull"
        assert f'scope="{wanted}"' in refused.headers["www-authenticate"]
        for scope, status in (("repository:a:pull,push", 401), (wanted, 202)):
            token = (await http.get("/token", params={"scope": scope}, auth=("u", "p"))).json()["token"]
            bearer = {"authorization": f"Bearer {token}"}
            assert (await http.post("/v2/a/blobs/uploads/", params=mount, headers=bearer)).status_code == status


async def test_intercept_answers_instead_of_the_registry_and_is_recorded(tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"x" * 300_000)

    async def intercept(request: Request) -> Response | None:
        if request.method == "GET":
            return Response(429, {"Retry-After": "7", "Warning": '299 - "slow"'}, body)
        return None

    async with Registry(intercept=intercept) as registry, client(registry) as http:
        answer = await http.get("/v2/")
        assert (answer.status_code, answer.headers["retry-after"], len(answer.content)) == (429, "7", 300_000)
        assert (await http.head("/v2/")).status_code == 200
        assert [request.status for request in registry.requests] == [429, 200]
        assert registry.connections == 1


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_digest_of_either_algorithm_is_checked(tmp_path: Path, kept: bool, algorithm: str) -> None:
    async with Registry(storage=tmp_path if kept else None) as registry, client(registry) as http:
        for content, status in ((b"x", 201), (b"y", 400)):
            digest = f"{algorithm}:{hashlib.new(algorithm, b'x').hexdigest()}"
            where = (await http.post("/v2/a/blobs/uploads/")).headers["location"]
            await http.patch(where, content=content)
            assert (await http.put(where, params={"digest": digest})).status_code == status


class Served:
    """Runs the command in this process, on a free port, until told to stop."""

    def __init__(self, *argv: str) -> None:
        self.registry = parse(["--port", "0", *argv])

    async def __aenter__(self) -> Registry:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(serve, self.registry)
        while not self.registry.host:
            await anyio.lowlevel.checkpoint()
        return self.registry

    async def __aexit__(self, *_: object) -> None:
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)


async def test_command_keeps_what_was_pushed_in_its_storage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for expected in (404, 200):
        async with Served("--storage", str(tmp_path)) as registry, client(registry) as http:
            assert (await http.head(f"/v2/a/blobs/{sha(b'x')}")).status_code == expected
            await upload(http, "a", b"x")
            assert capsys.readouterr().out == f"{registry.host}\n"


@pytest.mark.parametrize(("kind", "scheme"), [("basic", "Basic"), ("bearer", "Bearer")])
async def test_command_asks_for_the_login_that_it_was_given(kind: str, scheme: str) -> None:
    async with Served("--user", "u", "--password", "p", "--auth", kind) as registry, client(registry) as http:
        assert (await http.get("/v2/")).headers["www-authenticate"].startswith(scheme)
        path = "/token" if kind == "bearer" else "/v2/"
        assert (await http.get(path, auth=("u", "no"))).status_code == 401
        assert (await http.get(path, auth=("u", "p"))).status_code == 200


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    where = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    cert, key, ca = where / "cert.pem", where / "key.pem", where / "ca.pem"
    issued.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca)
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return cert, key, ca


async def test_command_speaks_tls_with_the_certificate_it_was_given(certificate: tuple[Path, Path, Path]) -> None:
    cert, key, ca = certificate
    verify = ssl.create_default_context(cafile=ca)
    async with (
        Served("--tls-cert", str(cert), "--tls-key", str(key)) as registry,
        httpx.AsyncClient(base_url=registry.url, verify=verify, trust_env=False) as http,
    ):
        assert registry.url.startswith("https://")
        assert (await http.get("/v2/")).status_code == 200


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--user", "u"], "--user and --password must be given together"),
        (["--tls-cert", "c"], "--tls-cert and --tls-key must be given together"),
        (
            ["--tls-cert", "/no/cert", "--tls-key", "/no/key"],
            "cannot use --tls-cert /no/cert with --tls-key /no/key: no such file or directory",
        ),
        (["--auth", "digest"], "argument --auth: invalid choice: 'digest'"),
        (["--port", "99999"], "argument --port: 99999 is not a port number between 0 and 65535"),
        (["--port", "http"], "argument --port: http is not a port number between 0 and 65535"),
        (["--storage", __file__], f"cannot use --storage {__file__}: not a directory"),
        (["--storage", f"{__file__}/in"], f"cannot use --storage {__file__}/in: not a directory"),
        (["--storage", "/proc/images"], "cannot use --storage /proc/images: no such file or directory"),
    ],
)
def test_wrong_command_line_is_one_line_that_says_what_is_wrong(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {words}")


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("127.0.0.1", "address already in use (hint: choose another --port, or 0 for any free one)"),
        ("192.0.2.1", "cannot assign requested address"),
    ],
)
def test_command_that_cannot_listen_says_why_in_one_line_and_exits_with_1(host: str, reason: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(SystemExit) as caught:
            main(["--host", host, "--port", str(port)])
    assert caught.value.code == f"error: cannot listen on {host}:{port}: {reason}"  # printed on stderr, exit status 1


def test_interrupted_command_exits_with_130() -> None:
    command = [sys.executable, "-m", "ocipush.testing", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            host = process.stdout.readline().strip()
            assert httpx.get(f"http://{host}/v2/", trust_env=False).status_code == 200
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
            assert process.stderr.read() == ""
        finally:
            process.kill()


def test_the_fixture_runs_a_registry_for_blocking_code(ocipush_registry: Registry) -> None:
    url = f"{ocipush_registry.url}/v2/"
    assert httpx.get(url, trust_env=False).status_code == 200
    assert [request.path for request in ocipush_registry.requests] == ["/v2/"]


async def test_error_of_the_block_comes_through_as_it_is() -> None:
    with pytest.raises(LookupError, match="of the block"):
        async with Registry():
            raise LookupError("of the block")


async def test_cancelled_block_ends_with_its_registry() -> None:
    registry = Registry()
    with anyio.CancelScope() as scope:
        async with registry:
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    with pytest.raises(OSError, match="connection attempts failed"):
        await anyio.connect_tcp("127.0.0.1", int(registry.host.rpartition(":")[2]))


def test_every_exported_name_can_be_imported() -> None:
    assert sorted(testing.__all__) == dir(testing)
    for name in testing.__all__:
        assert getattr(testing, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Server'"):
        testing.Server  # noqa: B018


async def test_registry_is_entered_in_one_task_and_left_in_another() -> None:
    registry = Registry()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(registry.__aenter__)
    async with client(registry) as http:
        assert (await http.get("/v2/")).status_code == 200
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(registry.__aexit__, None, None, None)
    with pytest.raises(OSError, match="connection attempts failed"):
        await anyio.connect_tcp("127.0.0.1", int(registry.host.rpartition(":")[2]))


def tasks_living() -> int:
    in_trio = trio.lowlevel.in_trio_run()
    return trio.lowlevel.current_statistics().tasks_living if in_trio else len(asyncio.all_tasks())


async def test_registry_leaves_no_task_and_no_descriptor() -> None:
    tasks = tasks_living()
    before = descriptors()
    async with Registry() as registry, client(registry) as http:
        await http.get("/v2/")
    assert tasks_living() == tasks
    assert descriptors() == before


async def test_registry_on_a_busy_port_is_an_error_that_leaves_no_task() -> None:
    tasks = tasks_living()
    async with Registry() as first:
        with pytest.raises(OSError, match="in use"):
            await Registry(port=int(first.host.rpartition(":")[2])).__aenter__()
    assert tasks_living() == tasks


async def test_registry_whose_start_is_cancelled_leaves_no_task() -> None:
    tasks = tasks_living()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await Registry().__aenter__()
    assert scope.cancelled_caught
    assert tasks_living() == tasks


def test_registry_that_was_never_left_ends_with_its_event_loop(anyio_backend: str) -> None:
    async def enter() -> None:
        registry = await Registry().__aenter__()
        async with client(registry) as http:
            await http.get("/v2/")

    before = descriptors()
    anyio.run(enter, backend=anyio_backend)
    assert descriptors() == before


async def test_registry_is_opened_again_after_it_was_left() -> None:
    registry = Registry()
    hosts = set[str]()
    for _ in range(2):
        async with registry, client(registry) as http:
            assert (await http.get("/v2/")).status_code == 200
            hosts.add(registry.host)
    assert len(hosts) == 1


@pytest.mark.parametrize("storage", [Path(__file__), Path("/proc/images")])
async def test_unusable_storage_is_an_error_before_the_registry_listens(storage: Path) -> None:
    registry = Registry(storage=storage)
    with pytest.raises(OSError, match=str(storage)):
        await registry.__aenter__()
    assert registry.host == ""


async def failing(_: Request) -> Response | None:
    raise LookupError("of the interceptor")


async def test_what_intercept_raises_is_logged_answered_with_500_and_raised_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(LookupError, match="of the interceptor"):  # noqa: PT012
        async with Registry(intercept=failing) as registry, client(registry) as http:
            for _ in range(2):
                answer = await http.get("/v2/")
                assert answer.json()["errors"][0]["message"] == "LookupError: of the interceptor"
            assert [request.status for request in registry.requests] == [500, 500]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "GET /v2/ failed"
    ] * 2


async def test_what_intercept_raised_is_not_raised_again_when_the_registry_is_reused() -> None:
    async def intercept(request: Request) -> Response | None:
        return await failing(request) if len(registry.requests) == 1 else None

    registry = Registry(intercept=intercept)
    with pytest.raises(LookupError):
        async with registry, client(registry) as http:
            await http.get("/v2/")
    async with registry, client(registry) as http:
        assert (await http.get("/v2/")).status_code == 200


async def test_what_intercept_raises_does_not_hide_the_error_of_the_block() -> None:
    with pytest.raises(LookupError, match="of the interceptor") as caught:
        async with Registry(intercept=failing) as registry, client(registry) as http:
            (await http.get("/v2/")).raise_for_status()
    assert isinstance(caught.value.__context__, httpx.HTTPStatusError)


async def test_what_intercept_raises_does_not_hide_a_cancellation() -> None:
    with anyio.CancelScope() as scope:
        async with Registry(intercept=failing) as registry, client(registry) as http:
            await http.get("/v2/")
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_response_that_is_not_valid_http_ends_its_connection_only_and_is_raised_at_the_end() -> None:
    async def intercept(request: Request) -> Response | None:
        return Response(200, {"X": "a\r\nb"}) if request.path == "/bad" else None

    with pytest.raises(h11.LocalProtocolError, match="Illegal header value"):  # noqa: PT012
        async with Registry(intercept=intercept) as registry, client(registry) as http:
            with pytest.raises(httpx.RemoteProtocolError):
                await http.get("/bad")
            assert (await http.get("/v2/")).status_code == 200


class Interrupted(BaseException):
    """Not an Exception, as those of ``pytest.fail``."""


async def test_what_is_no_exception_stops_the_registry_and_is_raised_at_the_end() -> None:
    async def intercept(_: Request) -> Response | None:
        raise Interrupted

    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012
        async with Registry(intercept=intercept) as registry, client(registry) as http:
            with pytest.raises(httpx.TransportError):
                await http.get("/v2/")
    assert caught.group_contains(Interrupted)


def image_manifest(config: bytes) -> bytes:
    return json.dumps({"mediaType": TYPE, "config": {"digest": sha(config)}, "layers": []}).encode()


@pytest.mark.parametrize("kept", [False, True], ids=["memory", "directory"])
async def test_tags_manifests_and_blobs_are_deleted(tmp_path: Path, kept: bool) -> None:
    storage = tmp_path / "kept" if kept else None
    raw = image_manifest(b"{}")
    async with Registry(storage=storage, strict=True) as registry, client(registry) as http:
        await upload(http, "a", b"{}")
        for tag in ("1", "2", "3"):
            await http.put(f"/v2/a/manifests/{tag}", content=raw, headers={"content-type": TYPE})

        async def delete(what: str) -> list[object]:
            found = [(await http.delete(f"/v2/a/{what}")).status_code for _ in range(2)]
            return [*found, sorted(registry.repository("a").tags), len(registry.repository("a").manifests)]

        assert await delete("manifests/1") == [202, 404, ["2", "3"], 1]
        if kept:
            assert Registry(storage=storage).repository("a").tags.keys() == {"2", "3"}
        assert await delete(f"manifests/{sha(raw)}") == [202, 404, [], 0]
        assert registry.repository("a").blobs.keys() == {sha(b"{}")}
        assert await delete(f"blobs/{sha(b'{}')}") == [202, 404, [], 0]
        assert registry.repository("a").blobs == {}
    if kept:
        left = Registry(storage=storage).repository("a")
        assert (left.tags, left.manifests, left.blobs) == ({}, {}, {})
        assert [path.name for path in (tmp_path / "kept").rglob("sha256:*")] == []


async def test_catalog_lists_repositories_with_content_and_those_that_exist_from_the_start(tmp_path: Path) -> None:
    async with Registry(storage=tmp_path) as registry, client(registry) as http:
        await upload(http, "team/app", b"x")
        await http.head("/v2/empty/manifests/1")
    async with Registry(storage=tmp_path, repositories=["made"], strict=True) as registry, client(registry) as http:
        assert (await http.get("/v2/_catalog")).json() == {"repositories": ["made", "team/app"]}


@pytest.mark.parametrize(("path", "key"), [("/v2/_catalog", "repositories"), ("/v2/n0/tags/list", "tags")])
async def test_list_comes_in_pages_that_are_linked(path: str, key: str) -> None:
    async with Registry(repositories=[f"n{number}" for number in range(5)], strict=True) as registry:
        registry.repository("n0").tags.update({f"n{number}": sha(b"") for number in range(5)})
        async with client(registry) as http:
            pages = [await http.get(path, params={"n": "2"})]
            for _ in range(2):
                pages.append(await http.get(pages[-1].links["next"]["url"]))
            assert pages[-1].links == {}
            assert [page.json()[key] for page in pages] == [["n0", "n1"], ["n2", "n3"], ["n4"]]
            none = await http.get(path, params={"n": "0"})
            assert (none.json()[key], none.links) == ([], {})


async def test_catalog_needs_a_scope_of_its_own() -> None:
    auth = BearerAuth({"owner": "o", "reader": "r"}, permissions={"reader": {"*": "pull"}})
    async with Registry(auth=auth) as registry, client(registry) as http:
        refused = await http.get("/v2/_catalog")
        assert refused.headers["www-authenticate"].endswith(',scope="registry:catalog:*"')
        for login, scope, status in (
            (("owner", "o"), "registry:catalog:*", 200),
            (("owner", "o"), "repository:a:pull", 401),
            (("owner", "o"), "*:*", 401),
            (("reader", "r"), "registry:catalog:*", 401),
        ):
            token = (await http.get("/token", params={"scope": scope}, auth=login)).json()["token"]
            headers = {"authorization": f"Bearer {token}"}
            assert (await http.get("/v2/_catalog", headers=headers)).status_code == status


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v2/_catalog", "GET"),
        ("PUT", "/v2/", "GET, HEAD"),
        ("POST", "/v2/a/manifests/1", "GET, HEAD, PUT, DELETE"),
        ("PUT", f"/v2/a/blobs/{sha(b'')}", "GET, HEAD, DELETE"),
        ("DELETE", "/v2/a/tags/list", "GET"),
    ],
)
async def test_method_that_an_endpoint_lacks_is_405_and_reported(method: str, path: str, allowed: str) -> None:
    with pytest.raises(UnexpectedRequestError, match="method is not allowed"):  # noqa: PT012
        async with Registry(strict=True) as registry, client(registry) as http:
            answer = await http.request(method, path)
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
            assert answer.json()["errors"][0]["code"] == "UNSUPPORTED"
