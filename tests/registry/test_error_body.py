"""Error bodies: those of the distribution specification, and whatever else registries and proxies send."""

from __future__ import annotations

import codecs
import json
from typing import Any

import pytest

from ocipush._registry.error_body import MAX_ERRORS, MAX_FIELD, Failure, parse_failure

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
        (body({"code": "a\x1b[31m\n", "message": "b\r"}), Failure(("a [31m",), "a [31m: b")),
        (body({"code": "A", "message": f"no {DIGEST}"}), Failure(("A",), f"A: no {DIGEST}", (DIGEST,))),
        (body(), Failure((), "")),
        (codecs.BOM_UTF8 + body({"code": "A"}), Failure(("A",), "A")),
    ],
)  # fmt: skip
def test_codes_messages_and_digests_of_an_error_body_are_read(raw: bytes, failure: Failure) -> None:
    assert parse_failure(raw) == failure


@pytest.mark.parametrize(
    ("detail", "shown"),
    [
        ("Repository does not allow updating assets", ": Repository does not allow updating assets"),
        ("write /var/lib/registry/data: file too large", ": write /var/lib/registry/data: file too large"),
        ({"digest": DIGEST}, f': {{"digest": "{DIGEST}"}}'),
        ([{"Type": "repository", "Action": "push"}], ': [{"Type": "repository", "Action": "push"}]'),
        ("磁盘已满", ": 磁盘已满"),
        ({"原因": "\x1b[31m"}, ': {"原因": "\\u001b[31m"}'),
        (28, ": 28"),
        (False, ": false"),
        ("the words", ""),
        ("words", ""),
        ("", ""),
        ({}, ""),
        ([], ""),
        (None, ""),
        (" \n", ""),
        ("\ud800", ""),
    ],
)
def test_detail_is_shown_as_text_or_short_json_unless_it_says_nothing_new(detail: Any, shown: str) -> None:
    failure = parse_failure(body({"code": "A", "message": "the words", "detail": detail}))
    assert failure.detail == f"A: the words{shown}"
    assert failure.detail.isprintable()


def test_detail_of_every_entry_is_shown_with_its_digest() -> None:
    digests = tuple(f"sha256:{number:064}" for number in range(3))
    failure = parse_failure(body(*({"code": "BLOB_UNKNOWN", "detail": digest} for digest in digests)))
    assert failure.detail == "; ".join(f"BLOB_UNKNOWN: {digest}" for digest in digests)
    assert failure.digests == digests


@pytest.mark.parametrize(
    "detail",
    [
        "x" * 5000,
        ["x"] * 5000,
        {str(number): [] for number in range(5000)},
        {"x": "x" * 5000},
        json.loads("[" * 90 + "]" * 90),
    ],
    ids=["string", "list", "object", "long value", "deep"],
)
def test_long_detail_is_shortened_so_that_the_next_entry_is_seen(detail: Any) -> None:
    failure = parse_failure(body({"code": "A", "detail": detail}, {"code": "B", "message": "seen"}))
    assert failure.detail.endswith("; B: seen")
    assert len(failure.detail) < MAX_FIELD + 40


def test_number_that_json_cannot_spell_is_shown() -> None:
    assert parse_failure(b'{"errors":[{"code":"A","detail":1e999}]}').detail == "A: Infinity"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"code": 'pass"word'}, "…"),
        ({"code": "A", "message": 'pass"word'}, "A: …"),
        ({"code": "A", "detail": 'your pass"word'}, "A: your …"),
        ({"code": "A", "detail": {'pass"word': ['pass"word']}}, 'A: {"…": ["…"]}'),
        ({"code": "A", "detail": "x" * (MAX_FIELD - 4) + 'pass"word'}, "A: " + "x" * (MAX_FIELD - 4) + "…"),
    ],
)
def test_secret_is_concealed_before_it_is_quoted_or_cut(value: dict[str, Any], shown: str) -> None:
    failure = parse_failure(body(value), lambda text: text.replace('pass"word', "…"))
    assert failure.detail == shown
    assert "pass" not in "".join(failure.codes)


def test_secret_is_concealed_before_tags_and_spaces_are_removed() -> None:
    failure = parse_failure(b"<p>hidden <b>  secret</p>", lambda text: text.replace("hidden <b>  secret", "…"))
    assert failure.detail == "…"


def test_concealing_costs_no_more_for_many_values() -> None:
    calls = 0

    def conceal(text: str) -> str:
        nonlocal calls
        calls += 1
        return text

    parse_failure(body(*[{"code": "A", "detail": [["x"] * 20] * 50}] * 50), conceal)
    assert calls < 1000


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
def test_any_other_body_is_shown_unchanged(raw: bytes) -> None:
    assert parse_failure(raw) == Failure((), raw.decode())


def test_web_page_is_shown_without_its_tags() -> None:
    assert parse_failure(b"<html>\n <b>502</b> Bad\xff Gateway</html>").detail == "502 Bad\ufffd Gateway"


def test_entries_after_the_first_hundred_are_not_read() -> None:
    failure = parse_failure(body(*[{"code": "A", "message": "x"}] * MAX_ERRORS, "odd"))
    assert failure.codes == ("A",) * MAX_ERRORS


@pytest.mark.parametrize("raw", [b'{"errors":[{"code":' + b"[" * 30_000, b'{"errors":' * 6_000, body(*[0] * 20_000)])
def test_deeply_nested_or_very_long_body_is_text(raw: bytes) -> None:
    failure = parse_failure(raw)
    assert failure.codes == ()
    assert raw.decode().startswith(failure.detail.rstrip("…"))
