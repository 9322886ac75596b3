from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ocipush
from ocipush.errors import InvalidReferenceError

DATA = Path(__file__).parent.parent / "data"
REFERENCES: list[dict[str, Any]] = json.loads((DATA / "reference.json").read_text())
NAMES: list[dict[str, str]] = json.loads((DATA / "sanitize.json").read_text())


@pytest.mark.parametrize("case", [case for case in REFERENCES if case["accept"]])
def test_accepted_reference_is_normalised(case: dict[str, Any]) -> None:
    reference = ocipush.Reference.parse(case["input"])
    for part in ("name", "registry", "repository", "identifier", "kind"):
        assert getattr(reference, part) == case[part], part
    assert (case["insecure"] or reference.is_loopback) == case["plain_http_allowed"]
    assert str(reference) == reference.name


@pytest.mark.parametrize("case", [case for case in REFERENCES if not case["accept"]])
def test_invalid_reference_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(InvalidReferenceError, match="is not a valid reference"):
        ocipush.Reference.parse(case["input"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("you:s3cret@host.example/app:1", "must not contain a login"),
        ("you:s3c@ret/@host.example/app:1", "must not contain a login"),
        ("https://you:s3cret@host.example/app:1", "must not have a scheme"),
    ],
)
def test_login_in_a_reference_is_not_shown(text: str, words: str) -> None:
    with pytest.raises(InvalidReferenceError, match=words) as caught:
        ocipush.Reference.parse(text)
    assert "s3c" not in str(caught.value)


@pytest.mark.parametrize("case", NAMES)
def test_store_name_is_sanitized_as_specified(case: dict[str, str]) -> None:
    assert ocipush.sanitize_image_name(case["input"]) == case["output"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("docker://alpine", "drop 'docker://'"),
        ("Team/app", "did you mean 'team/app'"),
        ("host:99999/a", "port 99999"),
        ("[::zz]/a", "is not host or host:port"),
        ("[1:2]/a", "is not an IPv6 address"),
        ("a.b/", "the repository is missing"),
        ("a@sha512:00", "the digest is not sha256"),
        ("alpine:-1", "tag '-1'"),
        ("x" * 400, "longer than 255"),
    ],
)
def test_error_says_which_part_is_wrong(text: str, words: str) -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        ocipush.Reference.parse(text)
    assert words in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_tag_beside_a_digest_is_dropped_and_remembered() -> None:
    reference = ocipush.Reference.parse("host:5000/a:1@sha256:" + "0" * 64)
    assert (reference.tag, reference.dropped_tag, reference.kind) == (None, "1", "digest")


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused_and_names_parse_to_themselves(text: str) -> None:
    try:
        reference = ocipush.Reference.parse(text)
    except InvalidReferenceError:
        return
    again = ocipush.Reference.parse(reference.name)
    assert again.name == reference.name


@given(st.text(max_size=60))
def test_sanitized_name_is_safe_as_a_directory_name(text: str) -> None:
    name = ocipush.sanitize_image_name(text)
    assert "/" not in name
    assert not name.startswith((".", "_", "-"))
    assert ocipush.sanitize_image_name(name) == name
