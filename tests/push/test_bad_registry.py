"""Registries that refuse, mislead or fall silent: each is its typed error, one message with a hint, and an end in time."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import json
import os
import socket
import ssl
import tracemalloc
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trustme
from anyio.from_thread import start_blocking_portal
from click.testing import CliRunner
from tests import layouts, scripted

import ocipush
from ocipush import errors
from ocipush._cli.commands import cli
from ocipush._cli.hints import rewrite_hint
from ocipush.testing import BasicAuth, BearerAuth, Registry, Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path


WAYS = ["asyncio", "trio", "command"]
ONCE = ocipush.RetryPolicy(attempts=1)
PATIENT = ocipush.Timeouts(connect=30, stall=30, answer=30, commit=30)
HASTY = ocipush.Timeouts(connect=0.2, stall=0.2, answer=0.2, commit=0.2)
HTML = {"Content-Type": "text/html; charset=utf-8"}
JSON = {"Content-Type": "application/json"}


@dataclass
class Told:
    """What the person was told, however they asked."""

    error: type[BaseException] | None
    message: str
    hint: str
    all: str


@contextmanager
def running(**options: Any) -> Generator[Registry]:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(Registry(**options)) as registry:
        yield registry


class Person:
    """Pushes one image, by the library or by the command, and keeps what comes of it."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
        self.store, self.authfile, self.way = directory / "store", directory / "auth.json", way
        self._monkeypatch = monkeypatch
        layouts.write_layout(self.store / "app", [layouts.add_manifest(self.store / "app", [b"layer"])])

    def log_in(self, host: str, password: str) -> None:
        ocipush.save_login(host, ocipush.Login("user", password), authfile=self.authfile)

    def push(
        self, host: str, *, timeouts: ocipush.Timeouts = PATIENT, ca_file: Path | None = None, tls_verify: bool = True
    ) -> Told:
        call = partial(ocipush.push, retry=ONCE, timeouts=timeouts)
        target = f"{host}/team/app:1"
        if self.way == "command":
            self._monkeypatch.setattr(ocipush, "push", call)
            words = [f"--tls-verify={str(tls_verify).lower()}", *([f"--ca-file={ca_file}"] if ca_file else [])]
            place = ["--images-store-dir", str(self.store), "--authfile", str(self.authfile)]
            done = CliRunner().invoke(cli, ["push", *place, "--target", target, *words, "app"])
            return self._told_by_command(done)
        options = {"target": target, "store": self.store, "authfile": self.authfile}
        call = partial(call, "app", ca_file=ca_file, tls_verify=tls_verify, **options)
        try:
            anyio.run(call, backend=self.way)
        except errors.OcipushError as exc:
            return Told(type(exc), exc.message, exc.hint or "", str(exc))
        return Told(None, "", "", "")

    def _told_by_command(self, done: Any) -> Told:
        assert "Traceback" not in done.stderr
        lines = [line.partition(": ") for line in done.stderr.splitlines()]
        said = [text for kind, _, text in lines if kind == "error"]
        hints = [text for kind, _, text in lines if kind == "hint"]
        assert len(hints) <= len(said) == done.exit_code == (1 if done.stdout == "" else 0), done.stderr
        return Told(errors.OcipushError if said else None, "".join(said), "".join(hints), done.stderr)


@pytest.fixture(params=WAYS)
def person(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Person:
    return Person(tmp_path, monkeypatch, request.param)


def check(person: Person, told: Told, error: type[errors.OcipushError], words: str, hint: str | None) -> None:
    assert told.error is (errors.OcipushError if person.way == "command" else error), told.all
    assert words in told.message
    assert bool(told.hint) is (hint is not None)
    if person.way == "command":
        hint = rewrite_hint(hint) or ""
        assert "timeouts=" not in told.hint
    assert (hint or "") in told.hint
    assert len(told.message) < 2000
    assert told.message.isprintable()


# httpcore does not close its generators when an answer is not read to its end; trio says so, asyncio is silent.
cut_short = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


# Logins


READER = {"user": {"*": "pull"}}
NOBODY = {"user": {"elsewhere": "pull,push"}}
RIGHT, WRONG = "battery staple/9", "battery stable/9"


def spellings(password: str) -> set[str]:
    """A password as it is, and as it was sent."""
    return {password, base64.b64encode(f"user:{password}".encode()).decode()}


@pytest.mark.parametrize("kind", [BasicAuth, BearerAuth])
@pytest.mark.parametrize(
    ("password", "permissions", "error", "hint"),
    [
        (WRONG, {}, errors.AuthenticationError, "check the login (`ocipush image login {host}`)"),
        (
            None,
            {},
            errors.AuthenticationError,
            "no login was found for {host}: save one with `ocipush image login {host}`",
        ),
        (RIGHT, READER, errors.AuthorizationError, "to push to team/app, or the repository does not exist"),
        (RIGHT, NOBODY, errors.AuthorizationError, "to push to team/app, or the repository does not exist"),
    ],
    ids=["wrong password", "no login", "reader", "stranger"],
)
def test_refused_login_is_told_without_its_password(
    person: Person, kind: Any, password: str | None, permissions: Any, error: type[errors.OcipushError], hint: str
) -> None:
    with running(auth=kind({"user": RIGHT}, permissions=permissions)) as registry:
        if password is not None:
            person.log_in(registry.host, password)
        told = person.push(registry.host)
        check(person, told, error, registry.host, hint.replace("{host}", registry.host))
        for secret in spellings(password) if password is not None else ():
            assert secret not in told.all
        assert not registry.repository("team/app").blobs


def test_anonymous_token_that_may_not_push_asks_for_a_login(person: Person) -> None:
    with running(auth=BearerAuth({"user": "secret"}, anonymous=["pull"])) as registry:
        check(person, person.push(registry.host), errors.AuthenticationError, "POST", "no login was found")


def test_user_who_may_only_write_can_push(person: Person) -> None:
    for kind in (BasicAuth, BearerAuth):
        with running(auth=kind({"user": "secret"}, permissions={"user": {"team/*": "push"}})) as registry:
            person.log_in(registry.host, "secret")
            assert person.push(registry.host).error is None
            assert registry.repository("team/app").tags


# TLS, and none


@dataclass
class Certificates:
    """A private CA, and what it issued."""

    authority: trustme.CA = field(default_factory=trustme.CA)

    def context(self, name: str = "127.0.0.1", not_after: dt.datetime | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert(name, not_after=not_after).configure_cert(context)
        return context

    def ca_file(self, directory: Path) -> Path:
        self.authority.cert_pem.write_to_path(directory / "ca.pem")
        return directory / "ca.pem"


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates()


def test_unknown_ca_names_the_option_that_helps_and_the_option_helps(
    person: Person, certificates: Certificates, tmp_path: Path
) -> None:
    with running(ssl_context=certificates.context()) as registry:
        check(person, person.push(registry.host), errors.TLSVerificationError, "not trusted", "ca_file=")
        assert registry.requests == []
        assert person.push(registry.host, ca_file=certificates.ca_file(tmp_path)).error is None


def test_tls_of_any_certificate_is_spoken_where_verification_is_off(person: Person, certificates: Certificates) -> None:
    with running(ssl_context=certificates.context("elsewhere.example")) as registry:
        assert person.push(registry.host, tls_verify=False).error is None
        assert registry.repository("team/app").tags


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"name": "elsewhere.example"}, "another"),
        ({"not_after": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}, "has expired"),
    ],
)
def test_certificate_that_no_ca_file_can_mend_says_what_is_wrong_with_it(
    person: Person, certificates: Certificates, tmp_path: Path, options: Any, hint: str
) -> None:
    with running(ssl_context=certificates.context(**options)) as registry:
        told = person.push(registry.host, ca_file=certificates.ca_file(tmp_path))
        check(person, told, errors.TLSVerificationError, "not trusted", hint)
        assert registry.requests == []


def test_registry_that_wants_a_client_certificate_says_so(
    person: Person, certificates: Certificates, tmp_path: Path
) -> None:
    context = certificates.context()
    context.verify_mode = ssl.CERT_REQUIRED

    def shake_hands(connection: Any) -> None:
        inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(inward, outward, server_side=True)
        piece = connection.first
        while piece:
            inward.write(piece)
            with suppress(ssl.SSLError):
                tls.do_handshake()
            connection.send(outward.read())
            piece = connection.sock.recv(65536)

    with scripted.ScriptedServer(say(b""), tls=shake_hands) as server:
        told = person.push(server.host, ca_file=certificates.ca_file(tmp_path))
        check(person, told, errors.ConnectFailedError, "TLS failed", "client certificate")
        assert server.heads == []


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> str:
    """A name that promises no loopback address, though it resolves to one."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if host in {"far.example", b"far.example"} else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return "far.example"


def test_plain_port_of_another_machine_is_not_spoken_to_in_plain_http_unless_asked_for(
    person: Person, far: str
) -> None:
    with running() as registry:
        host = f"{far}:{registry.host.rpartition(':')[2]}"
        told = person.push(host)
        check(person, told, errors.ConnectFailedError, "does not speak TLS", "tls_verify=False")
        assert registry.requests == []
        assert person.push(host, tls_verify=False).error is None


def test_tls_port_that_is_named_as_plain_http_gets_no_login(person: Person, certificates: Certificates) -> None:
    with running(ssl_context=certificates.context()) as tls:
        challenge = {"WWW-Authenticate": f'Bearer realm="http://{tls.host}/token"'}

        async def intercept(_: Request) -> Response:
            return Response(401, challenge)

        with running(intercept=intercept) as registry:
            person.log_in(registry.host, "secret")
            told = person.push(registry.host)
        check(person, told, errors.ConnectionLostError, "GET http://", "cut the connection")
        assert tls.requests == []


@pytest.mark.parametrize("tls_verify", [True, False])
def test_port_where_nobody_listens_is_told(person: Person, tls_verify: bool) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{bound.getsockname()[1]}"
        told = person.push(host, tls_verify=tls_verify)
    check(person, told, errors.ConnectFailedError, "connection refused", "name and port")


def test_name_that_does_not_resolve_is_told(person: Person) -> None:
    told = person.push("registry.invalid")
    check(person, told, errors.ConnectFailedError, "registry.invalid", "name and port")


# Answers that no registry gives


@dataclass
class Odd:
    """An answer to every request, or to those of one method whose path ends in ``path``."""

    name: str
    answer: Response
    error: type[errors.OcipushError]
    words: str
    hint: str | None
    method: str = ""
    path: str = ""


def html(status: int) -> Response:
    return Response(status, HTML, b"<html><head><title>Sign in</title></head><body>Hotel</body></html>")


def refusal(status: int, code: str, message: str = "", **headers: str) -> Response:
    return Response(status, {**JSON, **headers}, json.dumps({"errors": [{"code": code, "message": message}]}).encode())


def location(where: str) -> Response:
    return Response(202, {"Location": where})


UNEXPECTED, UNSAFE = errors.UnexpectedResponseError, errors.UnsafeLocationError
ODD = [
    Odd("web page", html(200), UNEXPECTED, "HEAD", "address of a registry"),
    Odd("web page for a blob", html(200), UNEXPECTED, "Sign in Hotel", "address of", "PUT", "/blobs/uploads/*"),
    Odd("web page for a tag", html(200), UNEXPECTED, "Sign in Hotel", "address of", "PUT", "/manifests/1"),
    Odd("page not found", html(404), UNEXPECTED, "404: Sign in Hotel", "address of a registry"),
    Odd("proxy", html(502), UNEXPECTED, "502", "a proxy in front of the registry could not reach it"),
    Odd("redirect", Response(307, {"Location": "https://u:p@x.example/v2/?s=1"}), UNEXPECTED, "307", "https://x.example"),
    Odd("redirect to nowhere", Response(301, {"Location": "http://["}), UNEXPECTED, "301", "redirect"),
    Odd("401 without a challenge", Response(401), errors.AuthenticationError, "401", "no login was found"),
    Odd("unknown challenge", Response(401, {"WWW-Authenticate": "Magic"}), errors.AuthenticationError, "401", "requires a login by Magic"),
    Odd("rate limit", refusal(429, "TOOMANYREQUESTS", **{"Retry-After": "9" * 400}), errors.RateLimitedError, "429", "wait"),
    Odd("503", Response(503, {"Retry-After": "soon"}), errors.RegistryError, "503", "its log"),
    Odd("escapes", refusal(400, "\x1b[31mX", "a\x1b]0;b\x07\u202e\ud800"), errors.RegistryError, "400", None, "PUT"),
    Odd("JSON that nests", Response(400, JSON, b"[" * 60_000), errors.RegistryError, "400", None, "POST"),
    Odd("tags that do not close", Response(400, HTML, b"<" * 65_536), UNEXPECTED, "400", "address of", "POST"),
    Odd("packed", Response(400, {"Content-Encoding": "gzip"}, gzip.compress(b"x" * 2**25)), errors.RegistryError, "400", None, "POST"),
    Odd("wrong packing", Response(400, {"Content-Encoding": "gzip"}, b"no"), errors.RegistryError, "400: no", None, "POST"),
    Odd("no Location", Response(202), UNEXPECTED, "202", "address of", "POST"),
    Odd("Location of half an address", location("http://[::1/x"), UNSAFE, "not a URL", "its own address", "POST"),
    Odd("Location of a file", location("file:///etc/passwd"), UNSAFE, "not HTTP", "its own address", "POST"),
    Odd("Location of a port", location("http://h:99999/"), UNSAFE, "not a URL", "its own address", "POST"),
    Odd("Location of no name", location(f"https://{'a' * 64}.example/x"), errors.TransportError, "cannot be", "", "POST"),
    Odd("Location without end", location("/" + "x" * 70_000), UNSAFE, "invalid address", "its own address", "POST"),
    Odd("other digest", Response(201, {"Docker-Content-Digest": "sha256:x"}), UNEXPECTED, "'sha256:x'", "changed the manifest", "PUT", "/manifests/1"),
]  # fmt: skip


@cut_short
@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.name.replace(" ", "-"))
def test_answer_that_no_registry_gives_is_told(person: Person, odd: Odd) -> None:
    async def intercept(request: Request) -> Response | None:
        wanted = request.method == (odd.method or request.method)
        place = odd.path.removesuffix("*")
        return odd.answer if wanted and place in request.path else None

    with running(intercept=intercept) as registry:
        told = person.push(registry.host)
        error = odd.error
        if person.way != "command" and error is errors.TransportError:
            assert told.error is not None
            assert issubclass(told.error, error)
            error = told.error
        check(person, told, error, odd.words, odd.hint)
        assert "u:p" not in told.all
        assert not registry.repository("team/app").tags


@cut_short
@pytest.mark.parametrize("status", [400, 500])
def test_error_body_of_100_megabytes_is_not_read_to_its_end(person: Person, tmp_path: Path, status: int) -> None:
    body = tmp_path / "body"
    body.touch()
    os.truncate(body, 100_000_000)

    async def intercept(request: Request) -> Response | None:
        return Response(status, JSON, body) if request.method == "POST" else None

    with running(intercept=intercept) as registry:
        tracemalloc.start()
        try:
            told = person.push(registry.host)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert str(status) in told.message
    assert peak < 20_000_000


REALMS = [
    ("", "not an https URL: ''"),
    ("/token", "not an https URL: '/token'"),
    ("ftp://token.example/", "not an https URL: 'ftp://token.example/'"),
    ("http://token.example/", "not an https URL: 'http://token.example/'"),
    ("https://[", "not an https URL"),
    ("https://", "not an https URL: 'https://'"),
]


@pytest.mark.parametrize(("realm", "words"), REALMS)
def test_token_service_that_is_none_gets_no_login(person: Person, realm: str, words: str) -> None:
    async def intercept(_: Request) -> Response:
        return Response(401, {"WWW-Authenticate": f'Bearer realm="{realm}"'})

    with running(intercept=intercept) as registry:
        person.log_in(registry.host, "secret")
        check(person, person.push(registry.host), errors.UnsafeLocationError, words, "its own address")


@cut_short
@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (html(200), UNEXPECTED, "gave no token"),
        (Response(200, JSON, b"[]"), UNEXPECTED, "gave no token"),
        (Response(200, JSON, b'{"token": "a\\nb"}'), UNEXPECTED, "gave no token"),
        (Response(200, JSON, b'{"token": "' + b"x" * 5_000_000 + b'"}'), UNEXPECTED, "gave no token"),
        (Response(200, JSON, b"[" * 100_000), UNEXPECTED, "gave no token"),
        (refusal(401, "UNAUTHORIZED", "bad"), errors.AuthenticationError, "bad"),
        (refusal(403, "DENIED", "bad"), errors.AuthorizationError, "bad"),
        (Response(302, {"Location": "https://other.example/"}), UNEXPECTED, "302"),
        (Response(500), errors.RegistryError, "500"),
    ],
)
def test_token_service_that_gives_no_token_is_told(
    person: Person, answer: Response, error: type[errors.OcipushError], words: str
) -> None:
    async def intercept(request: Request) -> Response | None:
        return answer if request.path == "/token" else None

    with running(intercept=intercept, auth=BearerAuth({"user": "secret"})) as registry:
        person.log_in(registry.host, "secret")
        check(person, person.push(registry.host), error, words, "")


@pytest.mark.parametrize("lifetime", [b"null", b'"soon"', b"-1", b"1e999", b"[]", b"true"])
def test_token_of_unreadable_lifetime_is_used(person: Person, lifetime: bytes) -> None:
    seen: list[str | None] = []

    async def intercept(request: Request) -> Response | None:
        if request.path == "/token":
            return Response(200, JSON, b'{"token": "t", "expires_in": ' + lifetime + b"}")
        seen.append(request.headers.get("authorization"))
        return None if seen[-1] == "Bearer t" else Response(401, {"WWW-Authenticate": f'Bearer realm="{realm[0]}"'})

    realm = [""]
    with running(intercept=intercept) as registry:
        realm[0] = f"http://user:other@{registry.host}/token"
        assert person.push(registry.host).error is None
        assert seen[0] is None
        assert all("user" not in (request.headers.get("authorization") or "") for request in registry.requests)


def test_cookie_is_never_sent_back(person: Person) -> None:
    cookies: list[str | None] = []

    async def intercept(request: Request) -> Response | None:
        cookies.append(request.headers.get("cookie"))
        if request.method == "HEAD":
            return Response(404, {"Set-Cookie": "session=1; Path=/"})
        return None

    with running(intercept=intercept) as registry:
        assert person.push(registry.host).error is None
        assert len(cookies) > 3
        assert set(cookies) == {None}


@pytest.mark.parametrize(
    ("headers", "refusal"),
    [({"OCI-Chunk-Max-Length": "1"}, None), ({}, "the maximum permissible limit of 1 B is exceeded")],
    ids=["announced", "refused"],
)
def test_blob_is_not_sent_byte_by_byte_because_a_registry_wants_it_so(
    person: Person, headers: dict[str, str], refusal: str | None
) -> None:
    image = person.store / "app"
    layouts.write_layout(image, [layouts.add_manifest(image, [b"x" * 1_000_000])])
    sent = 0

    async def intercept(request: Request) -> Response | None:
        nonlocal sent
        if request.method == "HEAD":
            return Response(404)
        if request.method == "POST":
            return Response(202, {"Location": "/up?x=1", **headers})
        sent += 1
        while await request.receive():
            pass
        if refusal and request.body_size > 1 and request.path == "/up":
            return Response(413, JSON, json.dumps({"errors": [{"code": "SIZE_INVALID", "message": refusal}]}).encode())
        return Response(202 if request.method == "PATCH" else 201, {"Location": "/up?x=1"})

    with running(intercept=intercept) as registry:
        told = person.push(registry.host)
    if refusal:
        check(person, told, errors.BlobTooLargeError, "413", "limits the size")
    else:
        assert told.error is None
    assert sent < 40


# Silence, and half an answer


OK = b"HTTP/1.1 200 OK\r\n"


def say(data: bytes) -> Callable[[Any], None]:
    return lambda connection: connection.send(data)


def endless(start: bytes, piece: bytes) -> Callable[[Any], None]:
    def play(connection: Any) -> None:
        connection.send(start)
        while True:
            connection.send(piece)

    return play


def reset(connection: Any) -> None:
    connection.reset()


LOST = errors.ConnectionLostError
SCRIPTS = [
    ("headers without end", endless(OK, b"X-More: of the same\r\n"), LOST, "HTTP response", "address of a registry"),
    ("header line without end", endless(OK, b"x" * 1000), LOST, "HTTP response", "address of a registry"),
    ("status line without end", endless(b"", b"H" * 1000), LOST, "HTTP response", "address of a registry"),
    ("closed at once", say(b""), LOST, "HTTP response", "cut the connection"),
    ("closed in the status line", say(b"HTTP/1."), LOST, "HTTP response", "cut the connection"),
    ("closed in the headers", say(OK + b"Content-Le"), LOST, "HTTP response", "cut the connection"),
    ("SSH", say(b"SSH-2.0-OpenSSH_9.2\r\n"), LOST, "HTTP response", "address of a registry"),
    ("noise", say(bytes(range(256))), LOST, "HTTP response", "address of a registry"),
    ("two lengths", say(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"), LOST, "HTTP response", "address of"),
    ("length below zero", say(OK + b"Content-Length: -1\r\n\r\n"), LOST, "HTTP response", "address of"),
    ("reset", reset, LOST, "lost", "try again"),
    ("Location of bytes", say(b"HTTP/1.1 202 A\r\nLocation: /\xff\r\n\r\n"), UNEXPECTED, "404", "a path outside of team/app"),
    (
        "errors without end",
        endless(b"HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nwords\r\n"),
        errors.RegistryError,
        "400: words",
        None,
    ),
]  # fmt: skip


def on(method: bytes, script: Callable[[Any], None]) -> Callable[[Any], None]:
    """Play ``script`` to one method, and say to HEAD that nothing is there."""

    def play(connection: Any) -> None:
        if connection.first.startswith(method):
            script(connection)
        else:
            connection.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    return play


@cut_short
@pytest.mark.parametrize(
    ("script", "error", "words", "hint"), [row[1:] for row in SCRIPTS], ids=[row[0] for row in SCRIPTS]
)
def test_answer_that_is_no_http_ends_the_push(
    person: Person, script: Callable[[Any], None], error: type[errors.OcipushError], words: str, hint: str | None
) -> None:
    with scripted.ScriptedServer(on(b"POST", script)) as server:
        check(person, person.push(server.host), error, words, hint)


def test_answer_cut_off_in_its_body_ends_the_push(person: Person) -> None:
    cut = say(b"HTTP/1.1 400 No\r\nContent-Length: 100\r\n\r\nwords")
    with scripted.ScriptedServer(on(b"POST", cut)) as server:
        check(person, person.push(server.host), LOST, "HTTP response", "cut the connection")


def fall_silent(after: bytes = b"") -> Callable[[Any], None]:
    def play(connection: Any) -> None:
        connection.send(after)
        connection.wait_for_the_other_side()

    return play


SILENCES = [
    ("after the request", {"plain": on(b"HEAD", fall_silent())}),
    ("after the status line", {"plain": on(b"POST", fall_silent(OK))}),
    ("in the body", {"plain": on(b"POST", fall_silent(OK + b"Content-Length: 9\r\n\r\n1"))}),
    ("instead of TLS", {"plain": say(b""), "tls": fall_silent()}),
]  # fmt: skip


@pytest.mark.parametrize("scripts", [row[1] for row in SILENCES], ids=[row[0] for row in SILENCES])
def test_silence_ends_when_its_time_is_up(person: Person, scripts: dict[str, Any]) -> None:
    with scripted.ScriptedServer(**scripts) as server:
        check(person, person.push(server.host, timeouts=HASTY), errors.StalledError, server.host, "timeouts=")


def test_registry_that_is_for_ever_about_to_answer_is_left(person: Person) -> None:
    with scripted.ScriptedServer(plain=on(b"POST", endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"))) as server:
        check(person, person.push(server.host), errors.ConnectionLostError, "without end", "address of a registry")


@pytest.mark.parametrize("reads", [True, False], ids=["after the blob", "in mid-blob"])
def test_registry_that_falls_silent_over_a_blob_ends_when_its_time_is_up(person: Person, reads: bool) -> None:
    image = person.store / "app"
    layouts.write_layout(image, [layouts.add_manifest(image, [b"x" * 20_000_000])])

    async def intercept(request: Request) -> Response | None:
        if request.method == "PUT":
            while reads and await request.receive():
                pass
            await anyio.sleep_forever()
        return None

    with running(intercept=intercept) as registry:
        told = person.push(registry.host, timeouts=ocipush.Timeouts(stall=0.5, answer=5, commit=0.5))
        check(person, told, errors.StalledError, "PUT", "timeouts=")
        assert not registry.repository("team/app").tags


ALERT = b"\x15\x03\x01\x00\x02\x02\x46"  # fatal: protocol version


@pytest.mark.parametrize(
    ("tls", "error", "words"),
    [
        (say(ALERT), errors.ConnectFailedError, "TLS failed"),
        (say(b""), errors.ConnectFailedError, "HEAD https://"),
        (reset, errors.ConnectFailedError, "HEAD https://"),
    ],
    ids=["alert", "closed", "reset"],
)
def test_tls_that_fails_is_no_reason_for_plain_http(
    person: Person, tls: Callable[[Any], None], error: type[errors.OcipushError], words: str
) -> None:
    with scripted.ScriptedServer(say(b""), tls=tls) as server:
        for tls_verify in (True, False):
            check(person, person.push(server.host, tls_verify=tls_verify), error, words, "")
        assert server.heads == []
