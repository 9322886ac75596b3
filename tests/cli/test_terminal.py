"""Text of a registry does not control the terminal, with and without --debug."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest
from anyio.from_thread import start_blocking_portal
from click.testing import CliRunner
from tests import layouts

from ocipush._cli.commands import cli
from ocipush.testing import Registry, Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STEER = "\x1b]0;owned\x07\x1b[2J\x08"  # a title, a clear screen, a backspace
MORE = STEER + "\x9b31m\x85\u202e\u2066\u2028\u200f\ud800\n\rroot"


def at(
    method: str, part: str, *, status: int = 400, headers: dict[str, str] | None = None, body: bytes = b""
) -> Callable[[Request], Response | None]:
    """Give this answer to requests with this method whose path contains ``part``."""

    def says(request: Request) -> Response | None:
        fits = request.method == method and part in request.path
        return Response(status, dict(headers or {}), body) if fits else None

    return says


BODY = json.dumps({"errors": [{"code": MORE, "message": MORE, "detail": MORE}]}).encode()
CASES = {
    "error": at("PUT", "manifests", body=BODY),
    "error of the token service": at("GET", "token", status=403, body=BODY),
    "error that is text": at("POST", "uploads", body=STEER.encode()),
    "error that is a page": at("POST", "uploads", headers={"Content-Type": "text/html"}, body=f"<b>{STEER}</b>".encode()),
    "warning": at("HEAD", "manifests", status=404, headers={"Warning": f'299 - "{STEER}"'}),
    "Location of no HTTP": at("POST", "uploads", status=202, headers={"Location": f"ftp://{STEER}/{STEER}"}),
    "Location elsewhere": at("POST", "uploads", status=202, headers={"Location": f"http://other.example/{STEER}"}),
    "Location of no address": at("POST", "uploads", status=202, headers={"Location": f"http://{STEER}/"}),
    "redirect": at("HEAD", "manifests", status=302, headers={"Location": f"https://other.example/{STEER}"}),
    "digest": at("PUT", "manifests", status=201, headers={"Docker-Content-Digest": STEER}),
    "realm": at("HEAD", "manifests", status=401, headers={"WWW-Authenticate": f'Bearer realm="ftp://{STEER}"'}),
    "realm elsewhere": at("HEAD", "manifests", status=401, headers={"WWW-Authenticate": f'Bearer realm="http://a.example/{STEER}"'}),
    "rate limit": at("HEAD", "manifests", status=429, headers={"Retry-After": f"0{STEER}"}, body=BODY),
}  # fmt: skip
SUCCEEDS = {"warning"}


@pytest.fixture(autouse=True)
def _no_handlers() -> Iterator[None]:
    yield
    logging.getLogger("ocipush").handlers.clear()


@pytest.mark.parametrize(("progress", "debug"), [("plain", False), ("plain", True), ("json", True), ("bar", True)])
@pytest.mark.parametrize("case", sorted(CASES))
def test_text_of_a_registry_does_not_control_the_terminal(
    tmp_path: Path, case: str, debug: bool, progress: str
) -> None:
    path = tmp_path / "store" / "app"
    layouts.write_layout(path, [layouts.add_manifest(path, [b"layer"])])
    said = 0

    async def intercept(request: Request) -> Response | None:
        nonlocal said
        if case == "error of the token service" and request.method == "HEAD":
            return Response(401, {"WWW-Authenticate": f'Bearer realm="{registry.url}/token",service="s"'})
        answer = CASES[case](request)
        said += answer is not None
        return answer

    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Registry(intercept=intercept)) as registry,
    ):
        words = ["--images-store-dir", str(path.parent), "--authfile", str(tmp_path / "none"), "--progress", progress]
        words += ["--debug"] if debug else []
        done = CliRunner().invoke(cli, ["push", *words, "--target", f"{registry.host}/team/app:1", "app"])
    assert said
    assert done.exit_code == (0 if case in SUCCEEDS else 1)
    lines = [line for stream in (done.stdout, done.stderr) for line in stream.split("\n")]
    assert len(lines) > 2
    assert all(line.isprintable() for line in lines), ascii(done.stderr)
