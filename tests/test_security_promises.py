"""SECURITY.md names the tests that hold its promises; they exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "SECURITY.md").read_text()
PROMISES = re.search(r"## What is promised.*?\n(.*?)\n## ", TEXT, re.DOTALL)
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT)


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_named_test_exists(file: str, name: str) -> None:
    text = (ROOT / file).read_text()
    assert re.search(rf"^(?:async )?def {name or 'test_'}", text, re.MULTILINE)


def test_every_promise_names_its_tests() -> None:
    assert PROMISES is not None
    promises = re.split(r"\n\n(?=\*\*)", PROMISES[1].strip())
    assert len(promises) >= 7
    assert all("`tests/" in promise for promise in promises)
