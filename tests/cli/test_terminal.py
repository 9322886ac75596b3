"""Text from a registry does not control the terminal, with and without --debug."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from tests.registries import registry_in_thread

import ocipush
from ocipush._cli.commands import cli
from ocipush.testing import Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTROLS = "\x1b]0;owned\x07\x1b[2J\x08"  # a title, a clear screen, a backspace
MORE = CONTROLS + "\x9b31m\x85\u202e\u2066\u2028\u200f\ud800\n\rroot"


def at(
    method: str, part: str, *, status: int = 400, headers: dict[str, str] | None = None, body: bytes = b""
) -> Callable[[Request], Response | None]:
    """Give this answer to requests with this method whose path contains ``part``."""

    def respond(request: Request) -> Response | None:
        matches = request.method == method and part in request.path
        return Response(status, dict(headers or {}), body) if matches else None

    return respond


BODY = json.dumps({"errors": [{"code": MORE, "message": MORE, "detail": MORE}]}).encode()
CASES = {
    "error": at("PUT", "manifests", body=BODY),
    "error of the token service": at("GET", "token", status=403, body=BODY),
    "error in plain text": at("POST", "uploads", body=CONTROLS.encode()),
    "error as a web page": at("POST", "uploads", headers={"Content-Type": "text/html"}, body=f"<b>{CONTROLS}</b>".encode()),
    "warning": at("HEAD", "manifests", status=404, headers={"Warning": f'299 - "{CONTROLS}"'}),
    "Location that is not HTTP": at("POST", "uploads", status=202, headers={"Location": f"ftp://{CONTROLS}/{CONTROLS}"}),
    "Location elsewhere": at("POST", "uploads", status=202, headers={"Location": f"http://other.example/{CONTROLS}"}),
    "Location that is not an address": at("POST", "uploads", status=202, headers={"Location": f"http://{CONTROLS}/"}),
    "redirect": at("HEAD", "manifests", status=302, headers={"Location": f"https://other.example/{CONTROLS}"}),
    "digest": at("PUT", "manifests", status=201, headers={"Docker-Content-Digest": CONTROLS}),
    "realm": at("HEAD", "manifests", status=401, headers={"WWW-Authenticate": f'Bearer realm="ftp://{CONTROLS}"'}),
    "realm elsewhere": at("HEAD", "manifests", status=401, headers={"WWW-Authenticate": f'Bearer realm="http://a.example/{CONTROLS}"'}),
    "rate limit": at("HEAD", "manifests", status=429, headers={"Retry-After": f"0{CONTROLS}"}, body=BODY),
}  # fmt: skip
SUCCEEDS = {"warning"}


@pytest.mark.parametrize(("progress", "debug"), [("plain", False), ("plain", True), ("json", True), ("bar", True)])
@pytest.mark.parametrize("case", sorted(CASES))
def test_text_from_a_registry_does_not_control_the_terminal(
    store: Path, authfile: Path, monkeypatch: pytest.MonkeyPatch, case: str, debug: bool, progress: str
) -> None:
    monkeypatch.setattr(ocipush, "push", partial(ocipush.push, retry=ocipush.RetryPolicy(base=0)))
    answered = 0

    async def intercept(request: Request) -> Response | None:
        nonlocal answered
        if case == "error of the token service" and request.method == "HEAD":
            return Response(401, {"WWW-Authenticate": f'Bearer realm="{registry.url}/token",service="s"'})
        answer = CASES[case](request)
        answered += answer is not None
        return answer

    with registry_in_thread(intercept=intercept) as registry:
        words = ["--images-store-dir", str(store), "--authfile", str(authfile), "--progress", progress]
        words += ["--debug"] if debug else []
        done = CliRunner().invoke(cli, ["push", *words, "--target", f"{registry.host}/team/app:1", "app"])
    assert answered
    assert done.exit_code == (0 if case in SUCCEEDS else 1)
    lines = [line for stream in (done.stdout, done.stderr) for line in stream.split("\n")]
    assert len(lines) > 2
    assert all(line.isprintable() for line in lines), ascii(done.stderr)
