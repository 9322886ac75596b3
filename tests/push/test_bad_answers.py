"""Answers that a registry should not give: one error with a hint, soon, and with little memory."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tests import layouts

from ocipush import errors
from ocipush.testing import Request, Response

if TYPE_CHECKING:
    from pathlib import Path
from tests.push.answers import HTML, JSON, refusal, web_page
from tests.push.user import User, check_error
from tests.registries import registry_in_thread


@dataclass
class Case:
    """An answer to every request, or to those of one method whose path contains ``path``."""

    name: str
    answer: Response
    error: type[errors.OcipushError]
    words: str
    hint: str | None
    method: str = ""
    path: str = ""


def location(where: str) -> Response:
    return Response(202, {"Location": where})


UNEXPECTED, UNSAFE = errors.UnexpectedResponseError, errors.UnsafeLocationError
CASES = [
    Case("web page", web_page(200), UNEXPECTED, "HEAD", "address of a registry"),
    Case("web page for a blob", web_page(200), UNEXPECTED, "Sign in Hotel", "address of", "PUT", "/blobs/uploads/*"),
    Case("web page for a tag", web_page(200), UNEXPECTED, "Sign in Hotel", "address of", "PUT", "/manifests/1"),
    Case("page not found", web_page(404), UNEXPECTED, "404: Sign in Hotel", "address of a registry"),
    Case("proxy", web_page(502), UNEXPECTED, "502", "a proxy in front of the registry could not reach it"),
    Case("redirect", Response(307, {"Location": "https://u:p@x.example/v2/?s=1"}), UNEXPECTED, "307", "https://x.example"),
    Case("redirect to nowhere", Response(301, {"Location": "http://["}), UNEXPECTED, "301", "redirect"),
    Case("401 without a challenge", Response(401), errors.AuthenticationError, "401", "no login was found"),
    Case("unknown challenge", Response(401, {"WWW-Authenticate": "Magic"}), errors.AuthenticationError, "401", "requires a login by Magic"),
    Case("rate limit", refusal(429, "TOOMANYREQUESTS", **{"Retry-After": "9" * 400}), errors.RateLimitedError, "429", "wait"),
    Case("503", Response(503, {"Retry-After": "soon"}), errors.RegistryError, "503", "its log"),
    Case("escapes", refusal(400, "\x1b[31mX", "a\x1b]0;b\x07\u202e\ud800"), errors.RegistryError, "400", None, "PUT"),
    Case("JSON that nests", Response(400, JSON, b"[" * 60_000), errors.RegistryError, "400", None, "POST"),
    Case("tags that do not close", Response(400, HTML, b"<" * 65_536), UNEXPECTED, "400", "address of", "POST"),
    Case("packed", Response(400, {"Content-Encoding": "gzip"}, gzip.compress(b"x" * 2**25)), errors.RegistryError, "400", None, "POST"),
    Case("wrong packing", Response(400, {"Content-Encoding": "gzip"}, b"no"), errors.RegistryError, "400: no", None, "POST"),
    Case("no Location", Response(202), UNEXPECTED, "202", "address of", "POST"),
    Case("Location of half an address", location("http://[::1/x"), UNSAFE, "not a URL", "its own address", "POST"),
    Case("Location of a file", location("file:///etc/passwd"), UNSAFE, "not HTTP", "its own address", "POST"),
    Case("Location of a port", location("http://h:99999/"), UNSAFE, "not a URL", "its own address", "POST"),
    Case("Location of no name", location(f"https://{'a' * 64}.example/x"), errors.TransportError, "cannot be", "names this storage", "POST"),
    Case("Location without end", location("/" + "x" * 70_000), UNSAFE, "invalid address", "its own address", "POST"),
    Case("other digest", Response(201, {"Docker-Content-Digest": "sha256:x"}), UNEXPECTED, "'sha256:x'", "changed the manifest", "PUT", "/manifests/1"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_unexpected_answer_is_an_error_with_a_hint(user: User, case: Case) -> None:
    async def intercept(request: Request) -> Response | None:
        wanted = request.method == (case.method or request.method)
        place = case.path.removesuffix("*")
        return case.answer if wanted and place in request.path else None

    with registry_in_thread(intercept=intercept) as registry:
        outcome = user.push(registry.host)
        error = case.error
        if user.way != "command" and error is errors.TransportError:
            assert outcome.error is not None
            assert issubclass(outcome.error, error)
            error = outcome.error
        check_error(user, outcome, error, case.words, case.hint)
        assert "u:p" not in outcome.output
        assert not registry.repository("team/app").tags


@pytest.mark.parametrize("status", [400, 500])
def test_error_body_of_100_megabytes_is_not_read_completely(user: User, tmp_path: Path, status: int) -> None:
    body = tmp_path / "body"
    body.touch()
    os.truncate(body, 100_000_000)

    async def intercept(request: Request) -> Response | None:
        return Response(status, JSON, body) if request.method == "POST" else None

    with registry_in_thread(intercept=intercept) as registry:
        tracemalloc.start()
        try:
            outcome = user.push(registry.host)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert str(status) in outcome.message
    assert peak < 20_000_000


@pytest.mark.parametrize(
    ("headers", "refusal"),
    [({"OCI-Chunk-Max-Length": "1"}, None), ({}, "the maximum permissible limit of 1 B is exceeded")],
    ids=["announced", "refused"],
)
def test_blob_is_not_sent_byte_by_byte_even_if_the_registry_asks_for_it(
    user: User, headers: dict[str, str], refusal: str | None
) -> None:
    image = user.store / "app"
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

    with registry_in_thread(intercept=intercept) as registry:
        outcome = user.push(registry.host)
    if refusal:
        check_error(user, outcome, errors.BlobTooLargeError, "413", "limits the size")
    else:
        assert outcome.error is None
    assert sent < 40
