"""The rule of the house: a module imports what its docstring's "May import" names, and only from below in the map."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import ocipush
from ocipush import errors, sync, testing

SRC = Path(ocipush.__file__).parent
MODULES = {
    ".".join(path.relative_to(SRC.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SRC.rglob("*.py")
}
ROWS = re.findall(r"^\| (`.*?) \|", (SRC.parents[1] / "CONTRIBUTING.md").read_text(), re.MULTILINE)
MAP = [f"ocipush.{name.replace('/', '.')}" for row in ROWS for name in re.findall(r"`(.*?)`", row)]


def package_of(module: str) -> str:
    return module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]


def imports(module: str) -> set[str]:
    """Modules of the house by full name, others by their first part; the standard library left out."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, [package_of(module) if node.level else "", node.module]))
            names = {f"{base}.{alias.name}" for alias in node.names}
            found |= (names & MODULES.keys()) or {base}
    return {name if name in MODULES else name.partition(".")[0] for name in found} - sys.stdlib_module_names


def may_import(module: str) -> set[str]:
    docstring = ast.get_docstring(ast.parse(MODULES[module].read_text())) or ""
    stated = re.search(r"May import: (.*?)\.(?:\s|$)", docstring, re.DOTALL)
    assert stated is not None, f"{module} does not say what it may import"
    allowed: set[str] = set()
    for name in re.sub(r"\(.*?\)", "", stated[1]).split(","):
        full = f"{package_of(module)}.{name.strip()}"
        below = MAP[: MAP.index(module)] if module in MAP else MAP
        allowed |= set(below) if name.strip() == "all below" else {full if full in MODULES else name.strip()}
    return allowed


@pytest.mark.parametrize("module", sorted(MODULES))
def test_module_imports_only_what_its_docstring_names(module: str) -> None:
    assert imports(module) <= may_import(module)


@pytest.mark.parametrize("module", MAP)
def test_module_may_import_only_from_above_it_in_the_map_of_the_house(module: str) -> None:
    assert may_import(module) & set(MAP) <= set(MAP[: MAP.index(module)])


def test_map_of_the_house_names_every_module() -> None:
    assert set(MAP) == MODULES.keys() - {"ocipush", "ocipush.__main__"}


def public_functions() -> list[Any]:
    spaces = [(ocipush, ocipush.__all__), (errors, errors.__all__), (sync, sync.__all__), (testing, testing.__all__)]
    public = [getattr(space, name) for space, names in spaces for name in names]
    members = [
        value
        for one in public
        if inspect.isclass(one)
        for name, value in vars(one).items()
        if name == "__init__" or not name.startswith("_")
    ]
    return [one for one in [*public, *members] if inspect.isfunction(one)]


def test_no_public_signature_shows_a_type_of_the_http_library() -> None:
    assert ocipush.Pusher.push in public_functions()
    for one in public_functions():
        assert not re.search(r"\b(httpx|httpcore)\b", str(inspect.signature(one))), one


@pytest.mark.parametrize(
    ("original", "twin"),
    [
        pytest.param(ocipush.push, sync.push, id="push"),
        pytest.param(ocipush.Pusher, sync.Pusher, id="Pusher"),
        pytest.param(ocipush.Pusher.push, sync.Pusher.push, id="Pusher.push"),
        pytest.param(ocipush.Pusher.check_login, sync.Pusher.check_login, id="Pusher.check_login"),
    ],
)
def test_blocking_twin_takes_the_same_options(original: Any, twin: Any) -> None:
    assert inspect.signature(twin) == inspect.signature(original)


def test_every_public_method_has_a_blocking_twin() -> None:
    assert {n for n in vars(ocipush.Pusher) if n[0] != "_"} == {n for n in vars(sync.Pusher) if n[0] != "_"}
