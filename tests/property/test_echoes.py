"""A registry says back the login, a token or a signed address, however it spells it: nothing that a person reads shows it."""

from __future__ import annotations

import base64
import html
import json
import logging
import pickle
import re
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from tests import layouts

import ocipush
from ocipush._http.redact import Secret, conceal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LEAST = 8  # characters; a shorter part is not promised to be concealed
BLANKS = ("", " ", "\t", "\n", "\x00", "\x1b", "\u200b", "\u2028", "\xa0")
LETTERS = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKMNPQRSTUVWXYZ23456789+/=&<>\"'\\%._-~ éß"


def _json(text: str) -> str:
    return "".join(f"\\u{int.from_bytes(text.encode('utf-16-be')[i : i + 2]):04x}" for i in range(0, 2 * len(text), 2))


def _base64(text: str, offset: int) -> str:
    return base64.b64encode(b"\xff" * offset + text.encode() + b"\xff").decode()


SPELLINGS: dict[str, Callable[[str], str]] = {
    "verbatim": str,
    "upper": str.upper,
    "lower": str.lower,
    "quoted": quote,
    "percent": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "json": _json,
    "json string": json.dumps,
    "html": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "html hex": lambda text: "".join(f"&#x{ord(c):X};" for c in text),
    "html names": html.escape,
    "repr": lambda text: repr(text.encode()),
    "base64": lambda text: _base64(text, 0),
    "base64 at 1": lambda text: _base64(text, 1),
    "base64 at 2": lambda text: _base64(text, 2),
}

secrets = st.text(LETTERS, min_size=14, max_size=60).filter(lambda text: len(set(_fold(text))) > 9)
gaps = st.tuples(st.sampled_from(BLANKS), st.integers(1, 9))
margins = st.one_of(
    st.sampled_from(["", "you sent ", "<b>", "…", "Basic ", "a" * 985, "a" * 993, "/x/" * 165]), st.text(max_size=5)
)


@dataclass(frozen=True)
class Echo:
    """How a secret, or a part of it, is said back."""

    spelling: str
    gap: tuple[str, int]
    cut: tuple[int, int]
    before: str
    after: str

    def of(self, secret: str) -> str:
        start = min(self.cut[0], len(secret) - LEAST)
        said = SPELLINGS[self.spelling](secret[start : max(start + LEAST, len(secret) - self.cut[1])])
        blank, every = self.gap
        return self.before + blank.join(said[i : i + every] for i in range(0, len(said), every)) + self.after


whole = st.just((0, 0))
echoes = st.builds(
    Echo, st.sampled_from(sorted(SPELLINGS)), gaps, st.one_of(whole, st.tuples(st.integers(0, 9), st.integers(0, 9))), margins, margins
)  # fmt: skip


def _fold(text: str) -> str:
    return "".join(c for c in text if c.isprintable() and c != " ").casefold()


def _readings(text: str) -> Iterator[str]:
    yield text
    yield unquote(text)
    yield html.unescape(text)
    yield re.sub(
        r"(?:\\u[0-9a-f]{4})+", lambda m: bytes.fromhex(m[0].replace("\\u", "")).decode("utf-16-be", "replace"), text
    )
    yield re.sub(r"\\(.)", r"\1", text)


def _parts(secret: str) -> set[str]:
    said = [_fold(secret)]
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + secret.encode()).decode()
        said.append(encoded[(0, 2, 3)[offset] : (offset + len(secret.encode())) * 8 // 6].lower())
    return {one[i : i + LEAST] for one in said for i in range(len(one) - LEAST + 1)}


def check(texts: list[str], *secret: str) -> None:
    parts = set[str]().union(*map(_parts, secret))
    for text in texts:
        for reading in map(_fold, _readings(text)):
            shown = parts.intersection(reading[i : i + LEAST] for i in range(len(reading) - LEAST + 1))
            assert not shown, f"{shown} of {secret} in {text[:3000]!r}"


@settings(max_examples=300, deadline=None)
@given(secret=secrets, echo=echoes)
@example(secret="correct horse/battery", echo=Echo("html", ("\t", 3), (2, 2), "<b>", "</b>"))
def test_text_shows_no_part_of_a_secret_in_any_spelling(secret: str, echo: Echo) -> None:
    check([conceal(echo.of(secret), [Secret("another secret"), Secret(secret)])], secret)


@given(words=st.text(max_size=200))
def test_text_without_a_secret_stays_unchanged(words: str) -> None:
    assert conceal(words, [Secret("\N{SNOWMAN}-0123456789-\N{SNOWMAN}")]) == words


PLACES = ["HEAD", "POST", "blob", "tag", "token", "warning"]
MEDIA = ["message", "code", "detail", "text", "page", "path", "host", "query", "realm", "digest", "line", "refusal", "form"]  # fmt: skip
ENDS = ["error", "cancelled", "callback"]


class EchoingRegistry(httpx.AsyncBaseTransport):
    """A registry with a token service that says back what ``echo`` makes of a secret, where and how it is told to."""

    def __init__(self, place: str, medium: str, end: str, said: str, token: str, signature: str) -> None:
        self.place, self.medium, self.end, self.said = place, medium, end, said
        self.token, self.signature = token, signature
        self.reached = anyio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        place = self._place(request)
        authorization = request.headers.get("authorization", "")
        if place == self.place and (authorization or place == "blob"):
            self.reached.set()
            if self.end == "cancelled":
                await anyio.sleep_forever()
            return self._fail()
        if place == "token":
            return httpx.Response(200, json={"token": self.token})
        warning = [(b"Warning", f'299 - "{self.said}"'.encode())] if self.place == "warning" else []
        if place != "blob" and authorization != f"Bearer {self.token}":
            realm = f"https://registry.example/token?k={quote(self.signature, safe='')}"
            return httpx.Response(401, headers=[(b"WWW-Authenticate", f'Bearer realm="{realm}"'.encode()), *warning])
        if place == "POST":
            location = f"https://registry.example/up?sig={quote(self.signature, safe='')}"
            return httpx.Response(202, headers=[(b"Location", location.encode()), *warning])
        return httpx.Response(404 if place == "HEAD" else 201, headers=warning)

    def _place(self, request: httpx.Request) -> str:
        if request.url.path == "/token":
            return "token"
        if request.url.path == "/up":
            return "blob"
        return {"HEAD": "HEAD", "POST": "POST", "PUT": "tag"}[request.method]

    def _fail(self) -> httpx.Response:
        said = self.said
        if self.medium in {"message", "code", "detail"}:
            return httpx.Response(
                400, json={"errors": [{"code": "DENIED", "message": "no", "detail": {}, self.medium: said}]}
            )
        if self.medium in {"text", "page"}:
            kind = {"content-type": "text/html"} if self.medium == "page" else {}
            return httpx.Response(403, headers=kind, content=f"<p>{said}</p>".encode())
        if self.medium in {"path", "host", "query"}:
            where = {"path": f"https://other.example/{said}", "host": f"http://{said}/up", "query": f"ftp://x/?{said}"}
            return httpx.Response(
                307 if self.place == "HEAD" else 202, headers=[(b"Location", where[self.medium].encode())]
            )
        if self.medium == "realm":
            return httpx.Response(
                401, headers=[(b"WWW-Authenticate", f'Bearer realm="http://other.example/{said}"'.encode())]
            )
        if self.medium == "digest":
            return httpx.Response(201, headers=[(b"Docker-Content-Digest", said.encode())])
        if self.medium == "line":
            raise httpx.RemoteProtocolError(f"illegal status line: {bytearray(said.encode())!r}")
        if self.medium == "refusal":
            raise httpx.ConnectError(said) from OSError(113, said)
        return httpx.Response(400, json={"error": "invalid_grant", "error_description": said})


def _told_by(failure: BaseException) -> Iterator[str]:
    left, seen = [failure], set[int]()
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield from (str(one), repr(one), repr(vars(one)), repr(one.args), *getattr(one, "__notes__", ()))
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if Path(frame.f_code.co_filename) != Path(__file__):
                yield from (f"{name} = {value!r}" for name, value in frame.f_locals.items())
        left += [cause for cause in (one.__cause__, one.__context__) if cause is not None]
        left += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
    yield from traceback.format_exception(failure)
    if isinstance(failure, ocipush.OcipushError):
        yield pickle.dumps(failure, 0).decode("latin-1")


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        layouts.write_layout(Path(directory), [layouts.add_manifest(Path(directory), [b"layer"])])
        yield Path(directory)


class CallbackFailedError(Exception):
    pass


async def _push(image: Path, registry: EchoingRegistry, password: str, told: list[str]) -> BaseException | None:
    def on_event(event: object) -> None:
        told.append(repr(event))
        if registry.end == "callback" and isinstance(event, ocipush.RetryScheduled | ocipush.RegistryWarning):
            raise CallbackFailedError

    async def stop() -> None:
        await registry.reached.wait()
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()

    failed: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        if registry.end == "cancelled":
            tasks.start_soon(stop)
        try:
            await ocipush.push(
                image,
                target="registry.example/team/app:1",
                authfile=image / "none",
                credentials={"registry.example": ocipush.Login("user", password)},
                retry=ocipush.RetryPolicy(attempts=2, base=0),
                transport=registry,
                on_event=on_event,
            )
        except BaseException as exc:  # noqa: BLE001 - however it ends
            failed = exc
        tasks.cancel_scope.cancel()
    return failed


@settings(
    max_examples=80,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    place=st.sampled_from(PLACES),
    medium=st.sampled_from(MEDIA),
    end=st.sampled_from(ENDS),
    which=st.sampled_from(["password", "basic", "token", "signature"]),
    password=secrets,
    token=st.text("abcdefghjkmnpqrstuvwxyzABCDEFGH23456789.-_", min_size=20, max_size=40),
    signature=secrets,
    echo=echoes,
)
def test_push_shows_no_part_of_a_secret_that_is_echoed(
    image: Path, place: str, medium: str, end: str, which: str, password: str, token: str, signature: str, echo: Echo
) -> None:
    basic = base64.b64encode(f"user:{password}".encode()).decode()
    secret = {"password": password, "basic": basic, "token": token, "signature": signature}[which]
    registry = EchoingRegistry(place, medium, end, echo.of(secret), token, signature)
    told: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(f"{record.getMessage()} {record.args!r}")

    log, handler = logging.getLogger("ocipush"), Keep(level=0)
    before = log.level
    log.setLevel(1)
    log.addHandler(handler)
    try:
        failed = anyio.run(_push, image, registry, password, told)
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
    known = {"HEAD": (password, token, signature), "token": (password, signature)}.get(
        place, (password, token, signature)
    )
    check(told, *known)
    if failed is not None:
        check(list(_told_by(failed)), *known)
