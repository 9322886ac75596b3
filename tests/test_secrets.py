"""No login, token or signed URL appears in a log record, error, traceback, event or line of the command."""

from __future__ import annotations

import base64
import json
import logging
import pickle
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, quote_plus, urlencode

import anyio
import pytest
from click.testing import CliRunner
from tests.registries import registry_in_thread
from tests.scripted import scripted_server

import ocipush
from ocipush import errors
from ocipush._cli.commands import cli
from ocipush.testing import Registry, Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.peers import Link

    Fails = Callable[[str], Response | None]

JSON = {"Content-Type": "application/json"}
PASSWORD, TOKEN, REFRESH = "correct horse/battery", "token-0123456789abcdef", "refresh-0123456789abcdef"
SIGNATURE, STATE = "signature-0123456789", "state+0123456789="
BASIC = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
SECRETS = {
    PASSWORD,
    quote(PASSWORD),
    quote_plus(PASSWORD),
    BASIC,
    TOKEN,
    REFRESH,
    SIGNATURE,
    STATE,
    quote(STATE, safe=""),
}
QUERY = f"_state={quote(STATE, safe='')}&X-Sig={SIGNATURE}"
RETRY = ocipush.RetryPolicy(attempts=2, base=0)
# Only a commit that is never answered runs into a timeout soon.
TIMEOUTS = ocipush.Timeouts(commit=0.2)
LOGINS = {"password": ocipush.Login("user", PASSWORD), "identity": ocipush.Login("<token>", PASSWORD)}


def error(status: int, code: str = "UNKNOWN") -> Fails:
    """An error as registries send them, which echoes the request."""

    def answer(echo: str) -> Response:
        body = json.dumps({"errors": [{"code": code, "message": echo, "detail": echo}]}).encode()
        return Response(status, JSON, body)

    return answer


def pointing(location: str, status: int = 202) -> Fails:
    return lambda _: Response(status, {"Location": location})


def never(_: str) -> None:
    """No answer at all."""


FAILURES: list[tuple[str, Fails]] = [
    ("", never),
    ("HEAD", error(401)),
    ("HEAD", error(410, "GONE")),
    ("POST", error(403, "DENIED")),
    ("HEAD", pointing(f"https://user:{quote(PASSWORD, safe='')}@other.example/?{QUERY}", 307)),
    ("POST", error(429, "TOOMANYREQUESTS")),
    ("POST", error(500)),
    ("POST", pointing(f"ftp://user:{quote(PASSWORD, safe='')}@other.example/?{QUERY}")),
    ("POST", pointing(f"https://[half/?{QUERY}")),
    ("POST", pointing(f"https://half%00.example/?{QUERY}")),
    ("POST", pointing(f"http://10.0.0.1/up?{QUERY}")),
    ("POST", pointing(f"https://nowhere.invalid/up?{QUERY}")),
    ("POST", pointing(f"/{'x' * 70_000}?{QUERY}")),
    ("POST", pointing(f"/up?{'x' * 70_000}&{QUERY}")),
    ("blob", error(413)),
    ("blob", error(404, "BLOB_UPLOAD_UNKNOWN")),
    ("blob", error(400, "DIGEST_INVALID")),
    ("blob", lambda echo: Response(403, {"Content-Type": "application/xml"}, f"<Error>{echo}</Error>".encode())),
    ("blob", never),
    ("tag", error(400, "MANIFEST_INVALID")),
    ("tag", lambda echo: Response(201, {"Docker-Content-Digest": echo})),
    ("token", error(401)),
    ("token", error(403)),
    ("token", error(404)),
    ("token", lambda echo: Response(400, JSON, json.dumps({"error": "invalid_grant", "error_description": echo}).encode())),
    ("token", lambda echo: Response(200, JSON, json.dumps({"tokens": echo}).encode())),
    ("token", lambda echo: Response(500, {}, echo.encode())),
]  # fmt: skip
IDS = [f"{number}-{place or 'never'}" for number, (place, _) in enumerate(FAILURES)]


@dataclass
class Hostile:
    """A registry that asks for a login, hands out secrets, echoes what it is sent, and fails at one place."""

    auth: str
    place: str
    fails: Fails
    elsewhere: bool = False
    base: str = ""
    other: str = ""
    failures: int = 0
    seen: str = ""

    def _fails_at(self, request: Request) -> bool:
        return {
            "": False,
            "token": request.path == "/token",
            "HEAD": request.method == "HEAD",
            "POST": request.method == "POST" and "/uploads" in request.path,
            "blob": request.method == "PUT" and request.path == "/up",
            "tag": request.method == "PUT" and "/manifests/" in request.path,
        }[self.place]

    async def answer(self, request: Request) -> Response | None:
        form = (await request.read(100_000)).decode("latin-1")
        authorization = request.headers.get("authorization", "")
        sent = [authorization, authorization.partition(" ")[2], *request.query.values(), urlencode(request.query)]
        if authorization == f"Basic {BASIC}":
            sent += [PASSWORD, quote(PASSWORD), quote_plus(PASSWORD)]
        if request.path == "/token":
            sent += [form, *(value for values in parse_qs(form).values() for value in values)]
        echo = " ; ".join(filter(None, sent))
        self.seen += echo
        if self._fails_at(request) and (authorization or self.place in {"token", "blob"}):
            self.failures += 1
            if (answer := self.fails(echo)) is not None:
                return answer
            await anyio.sleep_forever()
        return self._serve(request, {"Warning": f'299 - "{echo}"'})

    def _serve(self, request: Request, warning: dict[str, str]) -> Response:
        given = request.headers.get("authorization")
        if request.path == "/token":
            grant = {"token": TOKEN, "refresh_token": REFRESH, "expires_in": 300}
            return Response(200, JSON, json.dumps(grant).encode())
        if request.path == "/up":
            return Response(201, warning)
        if self.auth == "basic" and given != f"Basic {BASIC}":
            return Response(401, {"WWW-Authenticate": 'Basic realm="r"', **warning})
        if self.auth == "bearer" and given != f"Bearer {TOKEN}":
            realm = f"{self.base}/token?k={SIGNATURE}"
            return Response(401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="s"', **warning})
        if request.method == "POST":
            where = self.other if self.elsewhere else self.base
            return Response(202, {**warning, "Location": f"{where}/up?{QUERY}"})
        return Response(404 if request.method == "HEAD" else 201, warning)


@pytest.fixture
def records() -> Iterator[list[str]]:
    """Everything that is logged, by any logger at any level: as text, and in parts."""
    kept: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(f"{record.getMessage()} {vars(record)!r} {self.format(record)}")

    root, handler = logging.getLogger(), Keep(level=0)
    before = root.level
    root.setLevel(0)
    root.addHandler(handler)
    yield kept
    root.removeHandler(handler)
    root.setLevel(before)


def texts_of(exc: BaseException) -> Iterator[str]:
    """Everything that an error can show."""
    yield from (str(exc), repr(exc), repr(vars(exc)), repr(exc.args), *getattr(exc, "__notes__", ()))
    yield from traceback.format_exception(exc)
    yield repr(pickle.dumps(exc))
    seen: list[BaseException] = []

    def chain(one: BaseException | None) -> None:
        if one is None or one in seen:
            return
        seen.append(one)
        chain(one.__cause__)
        chain(None if one.__suppress_context__ else one.__context__)
        for member in one.exceptions if isinstance(one, BaseExceptionGroup) else ():
            chain(member)

    chain(exc)
    for one in seen:
        yield from (str(one), repr(one))
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if Path(frame.f_code.co_filename) != Path(__file__):
                yield from (f"{frame.f_code.co_filename} {name} = {value!r}" for name, value in frame.f_locals.items())


def check(texts: list[str]) -> None:
    for text in texts:
        for secret in SECRETS:
            assert secret not in text, f"{secret} is in: {text[:2000]}"


async def attempt(image: Path, host: str, login: ocipush.Login, on_event: Any) -> BaseException | None:
    try:
        await ocipush.push(
            image,
            target=f"{host}/team/app:1",
            authfile=image / "none",
            credentials={host: login},
            retry=RETRY,
            timeouts=TIMEOUTS,
            on_event=on_event,
        )
    except errors.OcipushError as exc:
        return exc
    return None


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(("place", "fails"), FAILURES, ids=IDS)
@pytest.mark.parametrize(
    ("auth", "login", "elsewhere"),
    [
        ("basic", "password", False),
        ("basic", "password", True),
        ("bearer", "password", True),
        ("bearer", "identity", False),
    ],
)
async def test_library_reveals_no_secret(
    image: Path, records: list[str], auth: str, login: str, elsewhere: bool, place: str, fails: Fails
) -> None:
    hostile, events = Hostile(auth, "" if (place, auth) == ("token", "basic") else place, fails, elsewhere), list[Any]()
    async with Registry(intercept=hostile.answer) as registry, Registry(intercept=hostile.answer) as other:
        hostile.base, hostile.other = registry.url, other.url
        failed = await attempt(image, registry.host, LOGINS[login], events.append)
    assert (failed is not None, hostile.failures > 0) == (hostile.place != "", hostile.place != "")
    assert {"basic": BASIC, "bearer": PASSWORD if login == "identity" else BASIC}[auth] in hostile.seen
    if failed is None:
        assert SIGNATURE in hostile.seen
        assert STATE in hostile.seen
    check(records)
    check([repr(event) for event in events] + [json.dumps(asdict(event), default=str) for event in events])
    if failed is not None:
        check(list(texts_of(failed)))


@pytest.mark.parametrize(("place", "fails"), FAILURES, ids=IDS)
def test_command_reveals_no_secret_with_debug(
    store: Path, authfile: Path, monkeypatch: pytest.MonkeyPatch, place: str, fails: Fails
) -> None:
    async def hasty(*args: Any, **options: Any) -> Any:
        return await push(*args, retry=RETRY, timeouts=TIMEOUTS, **options)

    push = ocipush.push
    monkeypatch.setattr(ocipush, "push", hasty)
    hostile = Hostile("bearer", place, fails)
    with registry_in_thread(intercept=hostile.answer) as registry:
        hostile.base = hostile.other = registry.url
        ocipush.save_login(registry.host, LOGINS["password"], authfile=authfile)
        words = ["--debug", "--images-store-dir", str(store), "--authfile", str(authfile), "--progress", "json"]
        done = CliRunner().invoke(cli, ["push", *words, "--target", f"{registry.host}/team/app:1", "app"])
    assert done.exit_code == (1 if place else 0)
    assert (hostile.failures > 0) == (place != "")
    assert ("Traceback" in done.stderr) == (place != "")
    check([done.output, done.stderr, done.stdout])
    assert all(line.isprintable() for line in done.output.splitlines())


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    "proxy",
    [
        "http://user:{}/x@127.0.0.1:9",
        "http://user:{}#x@127.0.0.1:9",
        "http://user:{}@127.0.0.1:99999",
        "magic://user:{}@127.0.0.1:9",
        "http://user:{}@127.0.0.1:9",
    ],
)
async def test_password_of_a_proxy_is_never_shown(
    image: Path, records: list[str], monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", proxy.format(SIGNATURE))
    failed = await attempt(image, "registry.example", LOGINS["password"], None)
    assert isinstance(failed, errors.TransportError)
    check(records)
    check(list(texts_of(failed)))


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("line", ["Location: /up?{}\x00", "Location : /up?{}", "Loca tion: /up?{}"])
async def test_error_about_an_invalid_header_does_not_show_its_value(
    image: Path, records: list[str], line: str
) -> None:
    def play(link: Link) -> None:
        if link.buffer.startswith(b"HEAD"):
            link.send(b"HTTP/1.1 404 No\r\nConnection: close\r\n\r\n")
        else:
            link.send(f"HTTP/1.1 202 A\r\n{line.format(QUERY)}\r\n\r\n".encode())

    with scripted_server(play) as server:
        failed = await attempt(image, server.host, LOGINS["password"], None)
    assert isinstance(failed, errors.ConnectionLostError)
    assert "header" in str(failed)
    check(records)
    check(list(texts_of(failed)))


def test_login_does_not_show_its_password() -> None:
    for login in LOGINS.values():
        check([repr(login), str(login), f"{login}"])


def test_check_finds_a_secret() -> None:
    with pytest.raises(AssertionError, match="is in"):
        check([f"Basic {BASIC}"])
