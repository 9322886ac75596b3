"""Error bodies: those of the distribution specification, and whatever else registries and proxies send."""

from __future__ import annotations

import codecs
import json
from typing import Any

import pytest

from ocipush._registry.error_body import MAX_ERRORS, Failure, parse_failure

DIGEST = "sha256:" + "0" * 64


def body(*errors: Any) -> bytes:
    return json.dumps({"errors": errors}).encode()


@pytest.mark.parametrize(
    ("raw", "failure"),
    [
        (body({"code": "DENIED", "message": "no"}), Failure(("DENIED",), "DENIED: no")),
        (body({"code": "DENIED"}, {"code": "UNKNOWN", "message": None}), Failure(("DENIED", "UNKNOWN"), "DENIED; UNKNOWN")),
        (body({"code": "A", "message": ["x", 1]}), Failure(("A",), "A: ['x', 1]")),
        (body({"code": 404, "message": "no"}), Failure(("404",), "404: no")),
        (body({"code": None}), Failure(("None",), "None")),
        (body({"code": "a\x1b[31m\n", "message": "b\r"}), Failure(("a [31m",), "a [31m : b")),
        (body({"code": "A", "detail": {"x": [DIGEST]}}), Failure(("A",), "A", (DIGEST,))),
        (body({"code": "A", "detail": "\ud800"}), Failure(("A",), "A")),
        (body(), Failure((), "")),
        (codecs.BOM_UTF8 + body({"code": "A"}), Failure(("A",), "A")),
        (b'{"errors":[{"code":"A","detail":1e999}]}', Failure(("A",), "A")),
    ],
)  # fmt: skip
def test_codes_words_and_digests_of_an_error_body_are_read(raw: bytes, failure: Failure) -> None:
    assert parse_failure(raw) == failure


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no",
        b"[]",
        b"null",
        b'"x"',
        b"{}",
        b'{"errors": null}',
        b'{"errors": {}}',
        b'{"errors": "no"}',
        b'{"errors": [1]}',
        b'{"errors": [{"message": "no"}]}',
        b'{"errors": [{"code": "A"}, {}]}',
        b'{"errors": [{"code": "A", "code": "B"}]}',
        b'{"errors": [], "errors": []}',
        b'{"errors": [{"code": NaN}]}',
        b'{"errors": [{"code": "A"}]',
        b'{"errors": [{"code": ' + b"9" * 700 + b"}]}",
    ],
)
def test_any_other_body_is_shown_as_it_is(raw: bytes) -> None:
    assert parse_failure(raw) == Failure((), raw.decode())


def test_web_page_is_shown_without_its_tags() -> None:
    assert parse_failure(b"<html>\n <b>502</b> Bad\xff Gateway</html>").detail == "502 Bad\ufffd Gateway"


def test_entries_after_the_first_hundred_are_not_read() -> None:
    failure = parse_failure(body(*[{"code": "A", "message": "x"}] * MAX_ERRORS, "odd"))
    assert failure.codes == ("A",) * MAX_ERRORS


@pytest.mark.parametrize("raw", [b'{"errors":[{"code":' + b"[" * 30_000, b'{"errors":' * 6_000, body(*[0] * 20_000)])
def test_body_that_nests_or_lists_without_end_is_text(raw: bytes) -> None:
    failure = parse_failure(raw)
    assert failure.codes == ()
    assert raw.decode().startswith(failure.detail.rstrip("…"))
