"""The strict reader that every JSON boundary uses, its limits, and what becomes of a pydantic error."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, FailFast, Field
from tests.oci.hostile import DOCUMENTS, SIZE

from ocipush._oci.document import parse_document
from ocipush._oci.json import MAX_NESTING, MAX_VALUES, JSONError, is_text, quoted, read_json_object, validate
from ocipush.errors import InvalidLayoutError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES), st.booleans())
def test_any_object_is_read_as_it_was_written(value: dict[str, Any], ascii_only: bool) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    with contextlib.suppress(JSONError):  # half of a surrogate pair that is not escaped
        assert read_json_object(raw) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    with contextlib.suppress(JSONError):
        assert isinstance(read_json_object(raw), dict)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", "is not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b'{"a":1', "is not JSON: Expecting ',' delimiter: line 1 column 7 (char 6)"),
        (b'{"a":1} 2', "is not JSON: Extra data: line 1 column 9 (char 8)"),
        (b"\xff", "is not UTF-8"),
        ("{}".encode("utf-16"), "is not UTF-8"),
        ("{}".encode("utf-16-le"), "is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b"[]", "is not a JSON object"),
        (b"null", "is not a JSON object"),
        (b'{"a":NaN}', "is not JSON: NaN is not a JSON number"),
        (b'{"a":-Infinity}', "is not JSON: -Infinity is not a JSON number"),
        (b'{"a":1,"b":2,"a":1}', "has a duplicate key: 'a'"),
        (b'{"x":[{"a":1,"a":2}]}', "has a duplicate key: 'a'"),
        (b'{"\\u0061":1,"a":2}', "has a duplicate key: 'a'"),
        (b'{"a\\u0000":1,"a\\u0000":2}', "has a duplicate key: 'a\\x00'"),
        (b'{"a":' + b"9" * 601 + b"}", "has an integer of more than 600 digits"),
    ],
)  # fmt: skip
def test_anything_but_a_json_object_is_refused_with_a_reason(raw: bytes, text: str) -> None:
    with pytest.raises(JSONError) as caught:
        read_json_object(raw)
    assert str(caught.value) == text
    assert caught.value.__context__ is None  # which would keep all that was read


def test_error_has_the_problem_and_the_line_without_the_content() -> None:
    with pytest.raises(JSONError) as caught:
        read_json_object(b'{"registries":\n{"secret"}}')
    assert (caught.value.problem, caught.value.line) == ("is not JSON", 2)
    with pytest.raises(JSONError) as caught:
        read_json_object(b'{"secret":1,"secret":2}')
    assert (caught.value.problem, caught.value.line) == ("has a duplicate key", None)


def nested(levels: int) -> bytes:
    return b'{"a":' * (levels - 1) + b"[]" + b"}" * (levels - 1)


def test_objects_and_lists_nest_up_to_the_limit() -> None:
    read_json_object(nested(MAX_NESTING))
    read_json_object(b'{"a":[' + b",".join([nested(MAX_NESTING - 2)] * 5) + b"]}")
    for raw in (nested(MAX_NESTING + 1), b'{"a":[' + nested(MAX_NESTING - 1) + b"]}"):
        with pytest.raises(JSONError, match="is nested more than 100 levels deep"):
            read_json_object(raw)


def test_values_are_counted_up_to_the_limit() -> None:
    def values(count: int) -> bytes:
        return b'{"a":[' + b",".join([b"0"] * (count - 1)) + b"]}"

    assert len(read_json_object(values(MAX_VALUES))["a"]) == MAX_VALUES - 1
    with pytest.raises(JSONError, match="has more than 200,000 values"):
        read_json_object(values(MAX_VALUES + 1))


@pytest.mark.parametrize("text", [",[{", '\\",', "\\\\,", "\\u0022,", "é,"])
def test_text_inside_strings_is_not_counted(text: str) -> None:
    texts = {"a": text * MAX_VALUES, "b": [text * 50, {text: text * 50}]}
    assert read_json_object(json.dumps(texts).encode()) == texts


@pytest.mark.parametrize("name", DOCUMENTS)
def test_hostile_document_is_read_or_refused_in_one_short_line(name: str) -> None:
    words, make = DOCUMENTS[name]
    raw = make()
    assert len(raw) <= SIZE
    if not words:
        parse_document(raw, where="remote", index=True)
        return
    with pytest.raises(InvalidLayoutError) as caught:
        parse_document(raw, where="remote", index=True)
    assert words in caught.value.message
    assert caught.value.message.startswith("remote ")
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 600


# The peak of a process of its own, all its documents together.
PEAK = """
from pathlib import Path
from tests.oci.hostile import DOCUMENTS
from ocipush._oci.document import parse_document
from ocipush.errors import InvalidLayoutError

def peak():
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) // 1024

before = peak()
for _, make in DOCUMENTS.values():
    try:
        parse_document(make(), where="remote", index=True)
    except InvalidLayoutError:
        pass
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_hostile_documents_take_less_than_200_mib() -> None:
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True, timeout=50)
    assert int(done.stdout) < 200


def test_document_read_near_the_recursion_limit_is_refused_without_a_recursion_error() -> None:
    def deep(left: int) -> None:
        if left:
            deep(left - 1)
        else:
            read_json_object(nested(MAX_NESTING))

    for levels in range(1, sys.getrecursionlimit(), 5):
        try:
            deep(levels)
        except JSONError as exc:
            assert str(exc) == "is nested too deep"  # noqa: PT017
            break
        except RecursionError:
            continue  # not even a call fits


class Item(BaseModel):
    size: int = Field(alias="itemSize")


class Box(BaseModel):
    items: Annotated[list[Item], FailFast(), Field(max_length=3)]
    names: dict[str, int] = {}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([], "Input should be an object"),
        ({}, "items: Field required"),
        ({"items": [{"itemSize": 1}, {}, {}]}, "items.1.itemSize: Field required"),
        ({"items": [{"itemSize": 1}] * 1000}, "items: more than 3 items"),
        ({"items": [], "names": {"a b": []}}, "names.'a b': Input should be a valid integer"),
        ({"items": [], "names": {"a\n" * 99: []}}, "names.'" + "a\\n" * 40 + "'…: Input should be a valid integer"),
    ],
)  # fmt: skip
def test_first_problem_becomes_one_line(value: object, text: str) -> None:
    with pytest.raises(ValueError, match=r"^.+$") as caught:
        validate(Box, value)
    assert type(caught.value) is ValueError
    assert caught.value.__context__ is None  # which would keep the value
    assert str(caught.value) == text


def test_valid_value_becomes_the_model() -> None:
    assert validate(Box, {"items": [{"itemSize": 1}], "other": 1}).items[0].size == 1


def test_quoted_text_is_ascii_and_short() -> None:
    assert quoted("a\u202e\n") == r"'a\u202e\n'"
    assert quoted("it's") == '"it\'s"'
    assert len(quoted("\U0001f600" * 10**6)) < 1000


def test_lone_surrogate_is_not_text() -> None:
    assert is_text("a镜\U0001f600")
    assert not is_text("\ud800")
    assert not is_text(b"a")


def test_references_and_digests_do_not_load_pydantic() -> None:
    code = "import sys; import ocipush._oci.reference, ocipush._oci.digest; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
