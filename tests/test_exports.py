from __future__ import annotations

import subprocess
import sys

import pytest

import ocipush


def test_every_exported_name_can_be_imported() -> None:
    assert sorted(ocipush.__all__) == dir(ocipush)
    for name in ocipush.__all__:
        assert getattr(ocipush, name) is not None


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'pull'"):
        ocipush.pull  # noqa: B018


def test_importing_the_package_loads_none_of_its_libraries() -> None:
    libraries = {"httpx", "h11", "pydantic", "pydantic_core", "anyio", "click", "rich"}
    code = f"import sys, ocipush; print(sorted({libraries} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
