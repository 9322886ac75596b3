"""The architecture: which package may import which, how deep imports go, and what the docstring of each package names.

Imports for type checkers and imports inside functions count like any other.
"""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ocipush
from ocipush import errors, sync, testing

if TYPE_CHECKING:
    from collections.abc import Mapping

SRC = Path(ocipush.__file__).parent
MODULES = {
    ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
    for path in SRC.rglob("*.py")
}

# What each package may import of the library. The root is what users import, `ocipush` and `ocipush.sync`; `__main__` belongs to
# the command line; `errors`, `_events`, `_threads` and `_version` stand for themselves.
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "_version": set(),
    "_events": set(),
    "_threads": set(),
    "_oci": {"errors"},
    "_http": {"errors", "_threads"},
    "_credentials": {"errors", "_oci"},
    "_sources": {"errors", "_threads", "_oci"},
    "_registry": {"errors", "_threads", "_events", "_oci", "_credentials", "_http"},
    "_push": {"errors", "_threads", "_version", "_events", "_oci", "_credentials", "_sources", "_http", "_registry"},
    "": {"errors", "_version", "_events", "_oci", "_credentials", "_sources", "_http", "_registry", "_push"},
    "_cli": {"", "errors", "_events"},
    "testing": set(),
}
# Which packages may import which library: the HTTP library stays behind `_http`, the command line's libraries behind `_cli`.
LIBRARIES: dict[str, set[str]] = {
    "httpx": {"_http"},
    "h11": {"_http", "testing"},
    "click": {"_cli"},
    "rich": {"_cli"},
    "pydantic": {"_oci", "_registry", "_credentials"},
    "pydantic_core": {"_oci"},  # the type of what Digest tells pydantic, for type checkers
}
PACKAGES = sorted({name.partition(".")[0] for name in MODULES if "." in name})
DEEPEST_PACKAGES = 7
DEEPEST_MODULES = 6  # inside one package


def package_of(module: str) -> str:
    return {"sync": "", "__main__": "_cli"}.get(module, module.partition(".")[0])


@cache
def imports(module: str) -> tuple[set[str], set[str]]:
    """Modules of the library, and top-level names of others, that a module imports."""
    here = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    inside: set[str] = set()
    outside: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = ["ocipush", *filter(None, here.split("."))]
            base = ".".join([*parts[: len(parts) - node.level + 1] * bool(node.level), *filter(None, [node.module])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            first, _, rest = name.partition(".")
            if first != "ocipush":
                outside.add(first)
            else:  # a module, or a name in one
                inside.add(rest if rest in MODULES else rest.rpartition(".")[0])
    return inside - {module}, outside


def levels(graph: Mapping[str, set[str]]) -> dict[str, int]:
    """How long the longest chain of imports below each node is; raises CycleError for a cycle."""
    found: dict[str, int] = {}
    for node in TopologicalSorter(graph).static_order():
        found[node] = 1 + max((found[below] for below in graph.get(node, ())), default=0)
    return found


def package_graph() -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for module in MODULES:
        below = {package_of(one) for one in imports(module)[0]}
        graph.setdefault(package_of(module), set()).update(below - {package_of(module)})
    return graph


def test_every_package_is_in_the_table_of_allowed_imports() -> None:
    assert ARROWS.keys() == {package_of(module) for module in MODULES}


@pytest.mark.parametrize("package", sorted(ARROWS))
def test_package_imports_only_what_is_allowed(package: str) -> None:
    assert package_graph()[package] <= ARROWS[package]


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_library_is_imported_only_by_its_packages(library: str) -> None:
    assert {package_of(module) for module in MODULES if library in imports(module)[1]} <= LIBRARIES[library]


def test_packages_are_at_most_seven_levels_deep_without_cycles() -> None:
    assert max(levels(package_graph()).values()) <= DEEPEST_PACKAGES


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_of_a_package_are_at_most_six_levels_deep_without_cycles(package: str) -> None:
    modules = [module for module in MODULES if package_of(module) == package]
    graph = {module: {one for one in imports(module)[0] if package_of(one) == package} for module in modules}
    assert max(levels(graph).values()) <= DEEPEST_MODULES


@pytest.mark.parametrize("package", PACKAGES)
def test_docstring_of_a_package_names_its_modules(package: str) -> None:
    docstring = ast.get_docstring(ast.parse(MODULES[package].read_text())) or ""
    names = {name.rpartition(".")[2] for name in MODULES if name.startswith(f"{package}.")}
    assert {name for name in names if name not in docstring} == set()


def test_contributing_names_every_package() -> None:
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
    assert {package for package in PACKAGES if f"{package}/" not in text} == set()


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
