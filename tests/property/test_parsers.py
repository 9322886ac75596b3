"""Every reader of a registry's words, on words that hypothesis makes up, and on those that make bad readers slow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from fuzz.targets import TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = sorted(TARGETS)
# What the readers look for, so that made-up texts come near to what they take.
PIECES = [
    *'",;:=<>?&@#%\\/[]{}().-_ \t\n\0\x1b\x7f\u0430\u202e\u3002\ud7ff',
    *("Bearer ", "Basic ", "realm=", 'realm="', "https://", "http://", "//", "registry.example", "127.0.0.1", "localhost"),
    *("0-", "bytes=", "299 - ", "299 ", "retry-after: ", "ms", "GMT", "Wed, 21 Oct 2026 07:28:00 ", "-0000", "limit of "),
    *('{"errors":[', '{"code":"', '"message":', '"detail":', '{"token":"', '"expires_in":', "1e999", "9" * 400, "sha256:", "0" * 64),
    *("%2e", "%00", "%25", "&amp;", "digest=", "xn--", "MiB", "null", "true", "NaN", "[[[[", "<a", "</a>"),
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=40).map("".join)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.sampled_from(PIECES),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            [
                *("errors", "code", "message", "detail", "token", "access_token", "refresh_token", "expires_in"),
                *("schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size", "platform", "annotations"),
            ]
        ),
        inner,
        max_size=6,
    ),
    max_leaves=30,
).map(json.dumps)  # fmt: skip


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("name", NAMES)
@given(data=st.binary(max_size=200) | TEXTS.map(encoded) | JSONS.map(encoded))
@settings(max_examples=200, deadline=None)
def test_any_input_is_handled_as_documented(name: str, data: bytes) -> None:
    TARGETS[name][0](data)


@pytest.mark.parametrize("name", NAMES)
def test_examples_are_read(name: str) -> None:
    check, examples = TARGETS[name]
    for example in examples:
        check(example)


# Each repeats what a reader with nested or overlapping repetitions would try in every way before it gave up: at this
# length, one whose time grows with the square would not be done before the tests' own limit.
SIZE = 60_000
SLOW: dict[str, Callable[[int], str]] = {
    "quotes": lambda n: 'Basic realm="' + "\\a" * (n // 2),
    "open quotes": lambda n: 'a="' * (n // 3),
    "words": lambda n: "a " * (n // 2),
    "commas": lambda n: "," * n,
    "spaces": lambda n: "a" + " " * n + "!",
    "spaces and commas": lambda n: " ," * (n // 2) + "!",
    "one word": lambda n: "a" * n + "!",
    "parameters": lambda n: "Basic " + "a=b," * (n // 4) + "!",
    "warnings": lambda n: '299 - "' * (n // 7),
    "warning spaces": lambda n: "299" + " " * n,
    "warning word": lambda n: "299 " + "x" * n,
    "warning escapes": lambda n: '299 - "' + '\\"' * (n // 2),
    "299": lambda n: "299 " * (n // 4),
    "tags": lambda n: "<" * n,
    "open tags": lambda n: "<a" * (n // 2),
    "closed tags": lambda n: "<>" * (n // 2),
    "lines": lambda n: " \n" * (n // 2),
    "digits": lambda n: "9" * n,
    "range": lambda n: "0-" + "9" * n,
    "slashes": lambda n: "/" * n,
    "dots": lambda n: "/.." * (n // 3),
    "query": lambda n: "/?" + "&a=0123456789" * (n // 13),
    "digests": lambda n: "/?digest=sha" + "0" * n,
    "many digests": lambda n: "/?" + "&digest=sha256:0" * (n // 16),
    "host": lambda n: "https://" + "a." * (n // 2),
    "userinfo": lambda n: "https://" + "a@" * (n // 2),
    "address": lambda n: "https://[" + ":" * n,
    "limit": lambda n: "limit " * (n // 6),
    "limit words": lambda n: "limit" + " a" * (n // 2),
    "retry": lambda n: "retry-after " * (n // 12),
    "date": lambda n: "Wed, 21 Oct 2026 " + "0" * n,
    "date words": lambda n: "Wed " * (n // 4),
    "date commas": lambda n: "(" * n,
    "lists": lambda n: "[" * n,
    "objects": lambda n: '{"errors":' * (n // 10),
    "escapes": lambda n: '{"errors":[{"code":"' + "\\u001b" * (n // 6) + '"}]}',
    "errors": lambda n: '{"errors":[' + '{"code":"A"},' * (n // 13) + '{"code":"A"}]}',
    "number": lambda n: '{"token":"a","expires_in":' + "9" * n + "}",
    "keys": lambda n: "{" + ",".join(f'"{i}":0' for i in range(n // 8)) + "}",
    "controls": lambda n: "\x1b" * n,
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(SLOW))
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.timeout(20)
def test_long_text_is_read_in_linear_time(name: str, kind: str) -> None:
    TARGETS[name][0](SLOW[kind](SIZE).encode())
