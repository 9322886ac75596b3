"""SECURITY.md names the tests that hold its promises: they exist, none of them is skipped, and each can fail."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "SECURITY.md").read_text()
PROMISES = re.search(r"## What is promised.*?\n(.*?)\n## ", TEXT, re.DOTALL)
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT)

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def functions(file: str) -> dict[str, Function]:
    """The functions of a file, and of the modules of ``tests`` that it imports from, by name."""
    found: dict[str, Function] = {}
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, Function):
            found[node.name] = node
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests."):
            found = functions(f"{(node.module or '').replace('.', '/')}.py") | found
    return found


def can_fail(name: str, file: str, seen: frozenset[str] = frozenset()) -> bool:
    """Whether a function asserts something, or expects an error, by itself or by another function that it calls."""
    function = functions(file).get(name)
    if function is None or name in seen:
        return False
    for node in ast.walk(function):
        if isinstance(node, ast.Assert) or (isinstance(node, ast.Name) and node.id == "TARGETS"):
            return True  # TARGETS are checks of ``fuzz``, which assert
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called == "pytest.raises" or can_fail(called, file, seen | {name}):
                return True
    return False


def is_skipped(function: Function) -> bool:
    """Whether a function is never run, or is expected to fail."""
    marks = [ast.unparse(one) for one in function.decorator_list]
    return any(re.match(r"pytest\.mark\.(skip\b|xfail)", mark) for mark in marks)


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_named_tests_exist_are_run_and_can_fail(file: str, name: str) -> None:
    own = {node.name: node for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, Function)}
    tests = [name] if name else [one for one in own if one.startswith("test_")]
    assert tests
    for test in tests:
        assert not is_skipped(own[test]), f"{test} is skipped"
        assert can_fail(test, file), f"{test} asserts nothing"


def test_every_promise_names_its_tests() -> None:
    assert PROMISES is not None
    promises = re.split(r"\n\n(?=\*\*)", PROMISES[1].strip())
    assert len(promises) >= 7
    assert all("`tests/" in promise for promise in promises)
